"""`switchboard doctor`: what is wrong with a deployment."""

from typing import TYPE_CHECKING

import click

from cli import options, running

if TYPE_CHECKING:
    from cli.backend import Backend
    from cli.health import Check

EXIT = {"ok": 0, "skipped": 0, "warning": 1, "failure": 2}
"""As monitoring plugins exit."""


@click.command()
@click.option(
    "--idle-hours",
    default=24,
    show_default=True,
    type=click.IntRange(0),
    envvar="CHAT_SESSION_TIMEOUT_HOURS",
    help="The idle timeout of workspaces that set none; 0: never.",
)
@options.as_json
def doctor(idle_hours: int, as_json: bool) -> None:
    """Check schedules, stuck and dead work, the archive, policies, indexes, migrations, and what has to be reachable.

    Exits with 0 when all is well, 1 for warnings, 2 for failures.

    \b
    switchboard doctor
    """  # fmt: skip
    from cli import health  # noqa: PLC0415 (its clients take long to import, and --help does without them)

    project = running.project()
    checks: list[Check] = []

    async def examine(backend: "Backend") -> None:
        async for check in health.examine(backend, project, idle_hours):
            checks.append(check)
            _show(check, err=as_json)

    running.run(examine)
    worst = max((check.state for check in checks), key=lambda state: EXIT[state])
    if as_json:
        import json  # noqa: PLC0415

        click.echo(json.dumps({"state": worst, "checks": [check.model_dump(mode="json") for check in checks]}))
    click.get_current_context().exit(EXIT[worst])


def _show(check: "Check", *, err: bool) -> None:
    """Two or three lines at most: the sentence, what was found, and what to do."""
    click.echo(f"{check.state:8} {check.name:25} {check.text}", err=err)
    for line in (", ".join(check.examples), check.remedy):
        if line:
            click.echo(f"{'':34} {line}", err=err)
