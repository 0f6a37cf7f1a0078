"""`switchboard memory …`: what is remembered of contacts and known by personas, over the HTTP API."""

import asyncio
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from cli import api, options, output, running
from cli.api import Api
from cli.target import ApiTarget
from lib.fields.models import Body
from lib.memory import memories, reembedding
from lib.memory import recall as recalling

if TYPE_CHECKING:
    from cli.backend import Backend

EMBED_LOOK_SECONDS = 0.5
"""Between two looks at how many memories wait."""


@click.group()
def memory() -> None:
    """Remember, recall, list and forget, with an API key or a user's token (SWITCHBOARD_API_KEY); embed anew."""


subject = options.group(
    click.option("--contact-id", type=click.UUID, help="The contact whose memories they are."),
    click.option("--sender", help="The contact, as platform:id."),
    click.option("--session", "session_id", type=click.UUID, help="A session, which says whose memories they are."),
    click.option("--persona", "persona_id", type=click.UUID, help="Only this persona recalls them."),
    click.option("--workspace", "workspace_id", type=click.UUID, help="If you have several."),
)
"""The options that say whose memories a command is about."""


@memory.command("remember")
@click.argument("content", nargs=-1, required=True)
@subject
@click.option("--create", is_flag=True, help="Create a --sender that is not known yet.")
@click.option("--kind", help="A word of your own, such as preference; fact by default.")
@click.option("--importance", type=float, help="0 to 1; 0.5 by default.")
@click.option("--valid-from", help="Since when it holds: a time with its offset, or a day.")
@click.option("--expires-at", help="From when it is not recalled any more.")
@click.option("--speaker", help="The name of who said it.")
@click.option("--message", "message_id", type=click.UUID, help="The message that it comes from.")
@click.option("--supersedes", type=click.UUID, help="The memory that it corrects.")
@click.option("--previous", "previous_id", type=click.UUID, help="Of a turn: the one before it.")
@api.over_http
@options.as_json
def remember(
    content: tuple[str, ...], functions: ApiTarget, sender: str | None, create: bool, as_json: bool, **values: Any
) -> None:
    """Remember one or several texts: of a contact, in a session, or without both what the workspace knows.

    \b
    switchboard memory remember "Prefers window seats." --sender telegram:123 --kind preference
    """
    about = {name: values[name] for name in memories.NewMemory.model_fields if values.get(name) is not None}
    of_whom = {name: values[name] for name in memories.RememberRequest.model_fields if values.get(name) is not None}
    texts = [{**about, "content": text} for text in content]
    asked = running.model(memories.RememberRequest, {**of_whom, "memories": texts})

    async def work(opened: Api) -> dict[str, Any]:
        named = await _named(opened, sender, values, create=create)
        return await opened.ask("POST", "/memories", {**_body(asked), **named})

    stored = api.run(functions, work)["memories"]
    output.documents(stored, ("id", "kind", "folded", "contact_id", "content"), as_json=as_json)


@memory.command("recall")
@click.argument("query")
@subject
@click.option("--name", "names", multiple=True, help="A name that the query may contain; repeatable.")
@click.option("--kind", "kinds", multiple=True, help="Only memories of this kind; repeatable.")
@click.option("--since", help="Only memories that hold from then on: a time with its offset, or a day.")
@click.option("--until", help="Only memories that hold before then.")
@click.option("--min-score", type=float, help="Only memories with this score at least.")
@click.option("--limit", type=int, help="Most memories, 10 by default; the best first.")
@api.over_http
@options.as_json
def recall(query: str, functions: ApiTarget, sender: str | None, as_json: bool, **values: Any) -> None:
    """Show the memories that fit a text best, with the reasons: of a contact, of a session, or of all that you see.

    \b
    switchboard memory recall "Which seat?" --sender telegram:123
    """
    asked = running.model(recalling.RecallRequest, {**values, "query": query})

    async def work(opened: Api) -> dict[str, Any]:
        named = await _named(opened, sender, values)
        return await opened.ask("POST", "/memories/recall", {**_body(asked), **named})

    found = api.run(functions, work)
    if as_json:
        output.document(found, as_json=True)
        return
    output.documents(found["memories"], ("score", "id", "kind", "contact_id", "content", "reasons"), as_json=False)


@memory.command("list")
@subject
@click.option("--without-contact", is_flag=True, help="Only what the workspace knows.")
@click.option("--kind", help="Only of this kind.")
@click.option("--text", help="A part of the content, in any case.")
@click.option("--superseded", is_flag=True, help="Also memories that were corrected.")
@click.option("--limit", type=int, help="Most memories, 50 by default; the newest first.")
@click.option("--cursor", help="The next_cursor of the JSON output before.")
@api.over_http
@options.as_json
def list_memories(functions: ApiTarget, sender: str | None, as_json: bool, **values: Any) -> None:
    """List memories, the newest first.

    \b
    switchboard memory list --sender telegram:123
    """
    search = running.model(memories.MemoryFilter, values)

    async def work(opened: Api) -> dict[str, Any]:
        named = await _named(opened, sender, values)
        return await opened.ask("GET", "/memories", **{**_body(search), **named})

    page = api.run(functions, work)
    if as_json:
        output.document(page, as_json=True)
        return
    output.documents(page["items"], ("id", "kind", "contact_id", "created_at", "content"), as_json=False)


@memory.command("forget")
@click.argument("memory_id", metavar="MEMORY", type=click.UUID)
@api.over_http
@options.as_json
def forget(memory_id: UUID, functions: ApiTarget, as_json: bool) -> None:
    """Delete a memory, with those that it has corrected.

    \b
    switchboard memory forget MEMORY
    """
    api.run(functions, lambda opened: opened.ask("DELETE", f"/memories/{memory_id}"))
    output.done("Forgotten.", as_json=as_json)


async def _named(opened: Api, sender: str | None, values: Mapping[str, Any], *, create: bool = False) -> dict[str, str]:
    """The contact whom --sender names. Raises Failure and Refusal."""
    if sender is None:
        return {}
    if values["contact_id"] is not None:
        raise click.UsageError("Either --contact-id or --sender.")
    return {"contact_id": str(await opened.resolve(sender, values["workspace_id"], create=create))}


@memory.command("embed")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--model", help="The model that the functions' embedder has to have.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until the worker has made the vectors.")
@options.as_json
def embed(workspace_id: UUID, model: str | None, wait: bool, as_json: bool) -> None:
    """Have vectors made of the memories that have none of the functions' model, with the service key.

    SWITCHBOARD_EMBEDDINGS and SWITCHBOARD_EMBEDDINGS_MODEL name it, as for the functions. Running it again resumes.

    \b
    switchboard memory embed WORKSPACE
    """
    theirs = running.project().embedding_model
    if theirs is None:
        raise running.Failure("SWITCHBOARD_EMBEDDINGS is not set: set it, and its model, as for the functions", 2)
    if not theirs:
        raise running.Failure("the functions have no embedder, so no vectors would be made", 2)
    if model not in (None, theirs):
        raise running.Failure(f"the functions' embedder is {theirs}: vectors of {model} would never be made", 2)

    async def work(database: "Backend") -> dict[str, int]:
        before = await reembedding.progress(database, workspace_id)
        queued = 0
        with click.progressbar(length=before.memories, label="Queue", file=sys.stderr) as bar:
            async for page in reembedding.queue(database, workspace_id, theirs):
                queued += page.queued
                bar.update(page.seen)
        left = await reembedding.progress(database, workspace_id)
        with click.progressbar(length=left.waiting, label="Embed", file=sys.stderr) as bar:
            while wait and left.waiting:
                await asyncio.sleep(EMBED_LOOK_SECONDS)
                now = await reembedding.progress(database, workspace_id)
                bar.update(max(left.waiting - now.waiting, 0))
                left = now
        return {"memories": left.memories, "queued": queued, "waiting": left.waiting}

    output.document(running.run(work), as_json=as_json)


def _body(asked: Body) -> dict[str, Any]:
    """The members that were given, as JSON."""
    return asked.model_dump(mode="json", exclude_unset=True)
