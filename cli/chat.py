"""`switchboard chat`: a conversation with a persona in the terminal, over the HTTP API of any deployment."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import click

from cli import api, options
from cli.api import Api, Event, Refusal
from cli.target import ApiTarget

MAIN_THREAD = "main"
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


@click.command()
@click.option("--persona", "persona_id", type=click.UUID, required=True, help="The persona that answers.")
@click.option("--contact-id", type=click.UUID, help="The contact who speaks; without it and --sender, you yourself.")
@click.option("--sender", help="The contact who speaks, as platform:id.")
@click.option("--create", is_flag=True, help="Create a --sender that is not known yet.")
@click.option("--workspace", "workspace_id", type=click.UUID, help="The --sender's workspace, if you have several.")
@click.option("--thread", "thread_key", help="Another key is another conversation; main by default.")
@api.over_http
@options.as_json
def chat(functions: ApiTarget, as_json: bool, sender: str | None, create: bool, **values: Any) -> None:
    """Chat with a persona: a line is a message. Ctrl-C cancels an answer, Ctrl-C once more leaves.

    Messages come from the terminal, or one a line from standard input. With --json each event is an object in a line.
    Speaking for a contact is for owners, admins and their API keys.

    \b
    switchboard chat --persona PERSONA
    switchboard chat --persona PERSONA --sender telegram:123 --create
    switchboard chat --persona PERSONA --contact-id CONTACT --json < messages.txt
    """
    if sender is not None and values["contact_id"] is not None:
        raise click.UsageError("Either --contact-id or --sender.")
    if create and sender is None:
        raise click.UsageError("--create needs --sender.")
    with api.failures(), asyncio.Runner() as runner:
        opening = api.opened(functions)
        conversation = Conversation(
            runner.run(opening.__aenter__()), as_json, values["persona_id"], values["thread_key"]
        )
        try:
            if sender is not None:
                values["contact_id"] = runner.run(
                    conversation.api.resolve(sender, values["workspace_id"], create=create)
                )
            runner.run(conversation.open_for(values["contact_id"]))
            for message in _messages(as_json):
                try:
                    runner.run(conversation.say(message))
                except Refusal as refused:
                    # At the terminal, what passes is shown, and the next message may succeed.
                    if not sys.stdin.isatty() or refused.status in (401, 403, 404):
                        raise
                    click.echo(str(refused), err=True)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        finally:
            runner.run(opening.__aexit__(None, None, None))
    sys.exit(conversation.status)


def _messages(as_json: bool) -> Iterator[str]:
    """The lines that are not empty, of the terminal after a prompt, or of standard input."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    while True:
        try:
            line = input("" if as_json else "> ")
        except EOFError:
            click.echo(err=True)
            return
        if line.strip():
            yield line.strip()


@dataclass
class Conversation:
    """One conversation with a persona; ``status`` is the exit status, 1 after an answer that failed."""

    api: Api
    as_json: bool
    persona_id: UUID
    thread_key: str | None
    contact_id: UUID | None = None
    session_id: str | None = None
    status: int = 0
    _turn_id: str | None = field(default=None, repr=False)
    _opened: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    async def open_for(self, contact_id: UUID | None) -> None:
        """Start the contact's session; that of the caller starts with the first message."""
        self.contact_id = contact_id
        if contact_id is None:
            return
        self.thread_key = self.thread_key or MAIN_THREAD
        body = {"contact_id": str(contact_id), "persona_id": str(self.persona_id), "thread_key": self.thread_key}
        started = await self.api.ask("POST", "/chat-sessions", body)
        if self.as_json:
            self._show(Event("session", started))
        self._tell_session(started["session_id"])

    async def say(self, message: str) -> None:
        """Send a message and show the answer as it arrives; a Ctrl-C meanwhile cancels the answer."""
        body = {"message": message, "client_message_id": str(uuid4())}
        body |= {"contact_id": str(self.contact_id)} if self.contact_id else {}
        body |= {"thread_key": self.thread_key} if self.thread_key else {}
        self._opened.clear()
        answering = asyncio.create_task(self._answer(body))
        try:
            await asyncio.shield(answering)
        except asyncio.CancelledError:
            if answering.cancelled() or (task := asyncio.current_task()) is None:
                raise
            task.uncancel()
            await self._cancel(answering)
            await answering

    async def _answer(self, body: dict[str, str]) -> None:
        async for event in self.api.stream(f"/personas/{self.persona_id}/messages", body):
            if event.name == "turn":
                self._turn_id = event.data["turn_id"]
                self._opened.set()
                self._tell_session(event.data["session_id"])
            self._show(event)

    async def _cancel(self, answering: "asyncio.Task[None]") -> None:
        """Cancel the turn as soon as it is known."""
        opening = asyncio.create_task(self._opened.wait())
        await asyncio.wait({opening, answering}, return_when=asyncio.FIRST_COMPLETED)
        opening.cancel()
        if not answering.done():
            await self.api.ask("POST", f"/turns/{self._turn_id}/cancel")

    def _tell_session(self, session_id: str) -> None:
        """Show the session once, and again when another one begins."""
        if session_id != self.session_id and not self.as_json:
            click.echo(f"Session {session_id}", err=True)
        self.session_id = session_id

    def _show(self, event: Event) -> None:
        failed = event.name == "error"
        self.status = 1 if failed else self.status
        if self.as_json:
            click.echo(json.dumps({"event": event.name, **event.data}))
        elif event.name == "delta":
            click.echo(event.data["text"], nl=False)
        elif event.name in ("done", "error"):
            click.echo()
            if failed:
                click.echo(f"{event.data['title']} ({event.data['code']})", err=True)
            elif event.data.get("taken_over"):
                click.echo("A member has taken the session over, and answers later.", err=True)
            elif event.data["status"] != "completed":
                click.echo(f"The answer was {event.data['status']}.", err=True)
