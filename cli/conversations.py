"""`switchboard conversation …`: what was said."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.conversations import history
from lib.database.paging import NewestPageRequest


@click.group()
def conversation() -> None:
    """Read conversations."""


@conversation.command("messages")
@click.argument("conversation_id", metavar="CONVERSATION", type=click.UUID)
@click.option("--limit", type=int, help="Most messages, 50 by default; the newest first.")
@click.option("--cursor", help="The next_cursor of the JSON output before.")
@options.as_json
def list_messages(conversation_id: UUID, as_json: bool, **values: Any) -> None:
    """List the messages of a conversation.

    \b
    switchboard conversation messages CONVERSATION --limit 10
    """
    request = running.model(NewestPageRequest, values)
    page = running.run(lambda database: history.list_newest(database.queries, conversation_id, request))
    if as_json:
        output.one(page, as_json=True)
        return
    output.several(page.items, ("created_at", "session_id", "role", "text"), as_json=False)
