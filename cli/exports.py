"""`switchboard export`: a zip with everything of a workspace, a contact or a session, over the HTTP API."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from tqdm import tqdm

from cli import api, options, output, running
from cli.api import Api
from cli.target import ApiTarget
from lib.exports.exports import Export
from lib.fields.models import Record
from lib.imports.readers import own_exports

POLL_SECONDS = 1.0


class Written(Record):
    """The file of an export, and the rows of each kind in it."""

    file: str
    size_bytes: int
    sha256: str
    counts: dict[str, int]


@click.command("export")
@click.option("--workspace", "workspace_id", type=click.UUID, help="Everything of a workspace.")
@click.option("--contact", "contact_id", type=click.UUID, help="Everything of a contact.")
@click.option("--session", "session_id", type=click.UUID, help="Everything of a session.")
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False, path_type=Path), required=True)
@api.over_http
@options.as_json
def export_file(
    functions: ApiTarget, path: Path, as_json: bool, workspace_id: UUID | None, contact_id: UUID | None,
    session_id: UUID | None,
) -> None:  # fmt: skip
    """Write everything of a workspace, a contact or a session to a zip of JSON Lines with a readable transcript.

    For owners and admins; sessions also for the agents who work on them.

    \b
    switchboard export --workspace WORKSPACE -o workspace.zip
    """
    places = {"/contacts/{}/export": contact_id, "/chat-sessions/{}/export": session_id}
    named = [template.format(object_id) for template, object_id in places.items() if object_id is not None]
    if len(named) + (workspace_id is not None) != 1:
        raise click.UsageError("One of --workspace, --contact and --session.")

    async def fetched(http: Api) -> Written:
        place = named[0] if named else await _requested(http, workspace_id)
        return await _fetch(http, place, path)

    output.one(api.run(functions, fetched), as_json=as_json)


async def _requested(http: Api, workspace_id: UUID | None) -> str:
    """Have a workspace exported: where its file will be, once it is made."""
    export = Export.model_validate(_whole(await http.ask("POST", f"/workspaces/{workspace_id}/exports")))
    with tqdm(unit=" rows", disable=None) as bar:
        while export.status == "queued":
            await asyncio.sleep(POLL_SECONDS)
            export = Export.model_validate(_whole(await http.ask("GET", f"/exports/{export.id}")))
            bar.update(sum(export.counts.values()) - bar.n)
            bar.set_postfix_str(next(reversed(list(export.counts)), ""))
    if export.status == "failed":
        raise running.Failure(f"The export could not be made: {export.error}.", 1)
    return f"/exports/{export.id}/file"


async def _fetch(http: Api, place: str, path: Path) -> Written:
    """Write the file at a place, which may still be being made. Raises Failure if it comes in part."""
    while True:
        async with http.http.get(place) as response:
            if response.status == 202:
                await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
                continue
            if response.status != 200:
                await http.ask("GET", place)
                raise running.Failure(f"The functions answer with {response.status}.", 1)
            digest, written, part = hashlib.sha256(), 0, path.with_name(f"{path.name}.part")
            with (
                part.open("wb") as file,
                tqdm(total=response.content_length, unit="B", unit_scale=True, disable=None) as bar,
            ):
                async for chunk in response.content.iter_any():
                    file.write(chunk)
                    digest.update(chunk)
                    written += len(chunk)
                    bar.update(len(chunk))
            # A file of that name is replaced by a whole one only.
            counts = dict(own_exports.verify(part).counts)
            part.replace(path)
            return Written(file=str(path), size_bytes=written, sha256=digest.hexdigest(), counts=counts)


def _whole(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the members that are null, which a response leaves out."""
    return {**dict.fromkeys(Export.model_fields), **document}
