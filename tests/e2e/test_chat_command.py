"""`switchboard chat`, over the HTTP API with an API key, against the running stack."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest_asyncio
from click.testing import Result

from local.paths import REPOSITORY
from local.stack import Stack
from tests.e2e.commands import Environment, Switchboard, alone
from tests.functions.conftest import Workspace, add_model, add_workspace
from tests.standins.openai import OpenAI


@dataclass
class Terminal:
    """`switchboard chat` with a persona, and the key of an admin."""

    cli: Switchboard
    workspace: Workspace
    key: str
    url: str

    @property
    def environment(self) -> Environment:
        """What its user sets: no service key."""
        service = dict.fromkeys(("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"))
        return {**service, "SWITCHBOARD_URL": self.url, "SWITCHBOARD_API_KEY": self.key}

    async def run(self, options: str = "", *messages: str) -> Result:
        """Chat, with these lines on standard input."""
        command = f"chat --persona {self.workspace.persona_id} {options}"
        return await self.cli.run(command, stdin="".join(f"{line}\n" for line in messages), changed=self.environment)

    async def events(self, options: str, *messages: str) -> list[dict[str, Any]]:
        """What a chat that succeeds prints as JSON."""
        ran = await self.run(f"{options} --json", *messages)
        assert ran.exit_code == 0, ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    async def fails(self, options: str, status: int, said: str, *messages: str) -> None:
        """The chat exits with this status, and says this."""
        ran = await self.run(options, *messages)
        assert (ran.exit_code, said in ran.stderr) == (status, True), ran.output

    async def memory(self, command: str) -> Any:
        """What `switchboard memory …` prints as JSON."""
        ran = await self.cli.run(f"memory {command} --json", changed=self.environment)
        assert ran.exit_code == 0, ran.stderr
        return json.loads(ran.stdout)

    async def contact(self, identity: str) -> str:
        """The id of a new contact."""
        made = await self.cli.told(f"contact resolve {self.workspace.id} {identity} --create")
        return str(made["id"])

    async def session(self, session_id: str) -> dict[str, Any]:
        """A session, as an operator sees it."""
        shown: dict[str, Any] = await self.cli.told(f"session show {session_id}")
        return shown


@pytest_asyncio.fixture
async def terminal(stack: Stack, database: asyncpg.Connection) -> Terminal:
    """A chat in a workspace of its own."""
    cli, workspace = Switchboard(stack), await add_workspace(database)
    return Terminal(cli, workspace, await key_of(database, workspace, cli, "admin"), stack.api_url)


async def key_of(database: asyncpg.Connection, workspace: Workspace, cli: Switchboard, role: str) -> str:
    """A new API key."""
    made = await cli.told(f"api-key create {workspace.id} Terminal --role {role}")
    return str(made["secret"])


async def test_start_session_passes_the_contact(terminal: Terminal) -> None:
    contact = await terminal.contact("telegram:1")
    started, *_ = await terminal.events(f"--contact-id {contact}")
    assert (started["event"], started["contact_id"], started["created"]) == ("session", contact, True)
    session = await terminal.session(started["session_id"])
    assert (session["contact"]["id"], session["persona"]["id"]) == (contact, str(terminal.workspace.persona_id))
    await terminal.fails(f"--contact-id {uuid4()}", 3, "(contact_not_found)")
    await terminal.fails(f"--contact-id {contact} --sender telegram:1", 2, "Either --contact-id or --sender.")


async def test_different_contacts_have_separate_sessions(terminal: Terminal) -> None:
    contacts = [await terminal.contact(f"telegram:{number}") for number in (1, 2)]
    first, second = [(await terminal.events(f"--contact-id {contact}"))[0] for contact in contacts]
    again, *_ = await terminal.events(f"--contact-id {contacts[0]}")
    thread, *_ = await terminal.events(f"--contact-id {contacts[0]} --thread offer")
    assert (again["session_id"], again["created"]) == (first["session_id"], False)
    assert len({each["conversation_id"] for each in (first, second, thread)}) == 3


async def test_no_flag_means_no_contact(terminal: Terminal) -> None:
    theirs, *_ = await terminal.events(f"--contact-id {await terminal.contact('telegram:1')}", "I am the contact")
    turn, *_, done = await terminal.events("", "I am the owner")
    assert (turn["event"], turn["contact_id"], done["status"]) == ("turn", None, "completed")
    assert turn["conversation_id"] != theirs["conversation_id"]
    session = await terminal.session(turn["session_id"])
    assert session["contact"] is None
    assert [said["text"] for said in session["messages"] if said["role"] != "persona"] == ["I am the owner"]


async def test_without_settings_the_demo_owner_chats_with_the_local_backend(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("".join(f'{name}="{value}"\n' for name, value in stack.env.items()))
    at_once = "00000000-0000-7000-8000-000000000005"
    ran = await Switchboard(stack).run(f"chat --persona {at_once}", stdin="Hello!\n", changed=alone(file))
    assert (ran.exit_code, ran.stdout[:8]) == (0, "You said"), ran.stderr


async def test_sender_resolves_through_the_admin_endpoint(terminal: Terminal, database: asyncpg.Connection) -> None:
    sender = "--sender telegram:123"
    unknown = "There is no contact telegram:123; `chat` and `memory remember` create it with --create."
    await terminal.fails(sender, 3, unknown, "Hello?")
    assert (await terminal.workspace.counts())["contacts"] == 0
    created, *_ = await terminal.events(f"{sender} --create")
    found, *_ = await terminal.events(sender)
    assert found["contact_id"] == created["contact_id"] == await terminal.contact("telegram:123")
    terminal.key = await key_of(database, terminal.workspace, terminal.cli, "agent")
    await terminal.fails(sender, 4, "(forbidden)", "Hello?")
    terminal.key = "swb_nonsense"
    await terminal.fails(sender, 4, "(api_key_invalid)", "Hello?")
    terminal.url = "http://127.0.0.1:9"
    await terminal.fails(sender, 5, "cannot be reached", "Hello?")
    terminal.key = ""
    await terminal.fails(sender, 2, "SWITCHBOARD_API_KEY is not set")


async def test_messages_flow_in_the_contacts_session(terminal: Terminal) -> None:
    contact = await terminal.contact("telegram:1")
    talk = await terminal.run(f"--contact-id {contact}", "Hello!", "", "How are you?")
    session_id = talk.stderr.removeprefix("Session ").strip()
    session = await terminal.session(session_id)
    said = [(message["role"], message["text"]) for message in session["messages"]]
    assert [text for role, text in said if role == "contact"] == ["Hello!", "How are you?"]
    assert talk.stdout.splitlines() == [text for role, text in said if role == "persona"]
    later = await terminal.events("--sender telegram:1", "Again")
    assert [event["event"] for event in later[:2]] == ["session", "turn"]
    assert "".join(event["text"] for event in later if event["event"] == "delta").startswith("You said")
    assert {event["session_id"] for event in later if "session_id" in event} == {session_id}


async def test_what_is_remembered_of_a_sender_is_listed_and_forgotten(terminal: Terminal) -> None:
    options = "--kind preference --importance 0.9 --valid-from 2026-01-02"
    first, second = await terminal.memory(
        f"remember 'Likes tea.' 'Flies to Oslo.' --sender telegram:1 --create {options}"
    )
    (known,) = await terminal.memory("remember 'Opens at nine.'")
    assert (first["kind"], first["importance"], first["valid_from"][:10]) == ("preference", 0.9, "2026-01-02")
    assert "contact_id" not in known
    for filters, found in (
        ("--sender telegram:1", [second, first]), (f"--contact-id {first['contact_id']} --text TEA", [first]),
        ("--without-contact", [known]), ("--limit 1", [known]),
    ):  # fmt: skip
        items = (await terminal.memory(f"list {filters}"))["items"]
        assert [item["id"] for item in items] == [memory["id"] for memory in found], filters
    assert await terminal.memory(f"forget {first['id']}") == {"done": True}
    assert [item["id"] for item in (await terminal.memory("list --sender telegram:1"))["items"]] == [second["id"]]
    table = await terminal.cli.run("memory list --sender telegram:1", changed=terminal.environment)
    assert (table.stdout.split()[:2], "Flies to Oslo." in table.stdout) == (["id", "kind"], True)
    for command, status, said in (
        (f"forget {first['id']}", 3, "(memory_not_found)"),
        ("list --sender telegram:9", 3, "There is no contact telegram:9"),
        ("remember x --importance 2", 2, "importance"),
    ):
        ran = await terminal.cli.run(f"memory {command}", changed=terminal.environment)
        assert (ran.exit_code, said in ran.stderr) == (status, True), ran.output


async def test_the_statements_of_one_sender_never_appear_in_the_recall_of_the_other(terminal: Terminal) -> None:
    secrets = {"telegram:1": "Zanzibar", "telegram:2": "Reykjavik"}
    async with OpenAI() as openai:
        terminal.workspace.persona_id = await add_model(terminal.workspace, openai.url("stream"))
        await terminal.cli.told(f"persona update {terminal.workspace.persona_id} --recall-limit 20 --remember-turns")
        for sender, secret in secrets.items():
            await terminal.events(f"--sender {sender} --create", f"My secret destination is {secret}.")
            await terminal.memory(f"remember 'The destination {secret} is a secret.' --sender {sender}")
        for sender, secret in secrets.items():
            # In another thread, so that nothing is there but what is recalled.
            await terminal.events(f"--sender {sender} --thread later", "What is my secret destination?")
            told = json.dumps(openai.received[-1].body)
            assert [other in told for other in secrets.values()] == [other == secret for other in secrets.values()]
            found = (await terminal.memory(f"recall 'secret destination' --sender {sender}"))["memories"]
            assert len(found) >= 2
            assert [hit["content"] for hit in found if other_than(secret, secrets.values(), hit["content"])] == []
        everything = (await terminal.memory("recall 'secret destination' --limit 50"))["memories"]
        assert all(any(secret in hit["content"] for hit in everything) for secret in secrets.values())


def other_than(secret: str, secrets: Iterable[str], text: str) -> bool:
    """Whether a text has another secret than this one."""
    return any(other in text for other in secrets if other != secret)


async def test_the_first_interrupt_cancels_the_answer_and_the_second_leaves(terminal: Terminal) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE", "SWITCHB"))}
    environment |= {name: value for name, value in terminal.environment.items() if value is not None}
    terminal_side, program_side = pty.openpty()
    async with OpenAI() as openai, asyncio.timeout(30):
        persona = await add_model(terminal.workspace, openai.url("held"))
        command = [sys.executable, "-m", "cli", "chat", "--persona", str(persona), "--json"]
        chat = await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=REPOSITORY, stdin=program_side, stdout=asyncio.subprocess.PIPE,
            # Tests that run in the background ignore it, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        assert chat.stdout is not None
        os.write(terminal_side, b"Hello?\n")
        turn, delta = [json.loads(await chat.stdout.readline()) for _ in range(2)]
        chat.send_signal(signal.SIGINT)
        while (event := json.loads(await chat.stdout.readline()))["event"] != "done":
            delta["text"] += event["text"]
        assert (event["status"], delta["text"][:10]) == ("cancelled", "You wrote:")
        # It waits for the next message.
        chat.send_signal(signal.SIGINT)
        assert await chat.wait() == 130
    os.close(terminal_side)
    os.close(program_side)
    status = "select status from public.turns where id = $1"
    assert await terminal.workspace.database.fetchval(status, UUID(turn["turn_id"])) == "cancelled"
