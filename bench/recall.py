"""Quality and speed of recall.

With --data: how much of the evidence of questions about dialogues is recalled, beside other methods. FILE holds
`[{sample_id, speakers, sessions: [{date_time, turns: [{speaker, dia_id, text}]}], questions: [{question, evidence:
[dia_id], category}]}]`. The weights of recall were chosen on the first three dialogues of LoCoMo; --held-out shows the
others by themselves. With --grow: how long recall takes in workspaces of these sizes.
"""

from collections.abc import Callable
from pathlib import Path

import click

from bench import recall_growth, recall_quality, rounds, stacks

CATEGORIES = {4: "single-hop", 1: "multi-hop", 2: "temporal", 3: "open-domain", 5: "adversarial"}
"""As LoCoMo numbers them."""


Group = Callable[[str, int], bool]
"""Whether a question, of a dialogue and a category, belongs to it."""


def _category(number: int) -> Group:
    return lambda _, category: category == number


def show_quality(data: Path, held_out: int, *, compared: bool) -> None:
    """Print the table of quality, from a stack of its own."""
    dialogues = recall_quality.read(data)
    tuned = {dialogue.sample_id for dialogue in dialogues[:held_out]}
    with stacks.own_stack(functions_env={"SWITCHBOARD_EMBEDDINGS": "local"}) as stack:
        recalls = recall_quality.run(stack, dialogues, compared=compared)
    chosen: dict[str, Group] = {
        f"the first {held_out}": lambda name, _: name in tuned,
        "held out": lambda name, _: name not in tuned,
    }
    asked = {question.category for dialogue in dialogues for question in dialogue.asked()}
    groups: dict[str, Group] = {"all": lambda *_: True, **(chosen if 0 < held_out < len(dialogues) else {})}
    for number in (number for number in CATEGORIES if number in asked):
        groups[CATEGORIES[number]] = _category(number)
    rounds.show_table(["evidence recalled at 5 / 10 / 20, %", *groups], recalls.rows(groups))


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file of dialogues.")
@click.option("--held-out", default=3, show_default=True, help="Dialogues before those that are held out.")
@click.option("--compare/--no-compare", "compared", default=True, show_default=True, help="Beside other methods.")
@click.option("--grow", "sizes", multiple=True, type=click.IntRange(5_000), help="Memories of a workspace.")
@click.option("--samples", default=200, show_default=True, type=click.IntRange(10), help="Recalls of each kind.")
def command(data: Path | None, held_out: int, compared: bool, sizes: tuple[int, ...], samples: int) -> None:
    if data is None and not sizes:
        raise click.UsageError("Name --data, --grow or both.")
    if data is not None:
        show_quality(data, held_out, compared=compared)
    if sizes:
        recall_growth.run(sizes, samples)
