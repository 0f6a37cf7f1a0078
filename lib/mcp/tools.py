"""The tools: what each takes, and the domain call that it makes, the same as that of a route."""

import contextlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from lib import config, errors
from lib.auth.callers import User
from lib.auth.client_info import ClientInfo
from lib.chat import turn_runner, turns, whole_answer
from lib.chat.events import Delta, Event
from lib.contacts import contacts
from lib.contacts.contacts import IdentityText
from lib.database.management import managing_as
from lib.database.paging import MAX_PAGE_SIZE
from lib.fields.identities import ContactKind
from lib.fields.models import Body
from lib.fields.types import Attributes, Content, DisplayName, Flag, Label, Message, Moment
from lib.http import request_body
from lib.memory import memories
from lib.memory import recall as recalling
from lib.memory.memories import Importance, Kind
from lib.sessions import models, session_details, sessions

Given = TypeVar("Given", bound=BaseModel)

Report = Callable[[int, str], None]
"""Reports progress: the number of characters of the answer so far, and the new ones."""

MAIN_THREAD = "main"


@dataclass(frozen=True)
class Call:
    """A tool call: its caller, the caller's client, and how it reports progress."""

    caller: User
    client: ClientInfo
    report: Report


class Arguments(Body):
    """The arguments of a tool. The docstring of a field is its description."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class StartSession(Arguments):
    """The contact and the persona of a session."""

    contact_id: UUID
    """The contact whose session it is."""
    persona_id: UUID | None = None
    """The persona that answers; by default the workspace's only one."""
    thread_key: Label = MAIN_THREAD
    """Another key is another conversation of the same contact."""
    context: Attributes = Field(default_factory=dict)
    """Stored with a new session, for members to read."""


class ResolveContact(Arguments):
    """The identities of a contact."""

    identities: tuple[IdentityText, ...] = Field(min_length=1, max_length=20)
    """Identities of one contact, each as `platform:id`: email, phone, telegram, whatsapp, discord, omi or external."""
    create: Flag = False
    """Create a contact that is not known yet, and add missing identities."""
    kind: ContactKind | None = None
    """`person` or `group`; the identities say it for most platforms."""
    first_name: DisplayName | None = None
    """Stored if the contact is created."""
    last_name: DisplayName | None = None
    """Stored if the contact is created."""
    title: DisplayName | None = None
    """The name of a group; stored if it is created."""
    workspace_id: UUID | None = None
    """For callers with several workspaces."""


class SendMessage(Arguments):
    """A message to a persona."""

    persona_id: UUID
    """The persona that answers."""
    message: Message
    """The text, up to 16,000 characters."""
    contact_id: UUID | None = None
    """The contact who speaks, for owners, admins and their keys; by default the caller."""
    thread_key: Label = MAIN_THREAD
    """Another key is another conversation."""
    client_message_id: Label | None = None
    """A message that is sent again with this id is answered once."""
    metadata: Attributes = Field(default_factory=dict)
    """Stored with the message, and given to the persona."""


class ReadSession(Arguments):
    """A session, and which page of its messages."""

    session_id: UUID
    """The session."""
    limit: int = Field(default=50, ge=1, le=MAX_PAGE_SIZE)
    """Most messages, the last ones."""
    before: UUID | None = None
    """Only messages before this one: the `messages_before` of an earlier answer."""


class Remember(Arguments):
    """What to remember, and of whom: of a contact, in a session, or without both what the workspace knows."""

    content: Content
    """The text, up to 8,000 characters, in words that can be understood without the conversation."""
    contact_id: UUID | None = None
    """The contact whose memory it is."""
    session_id: UUID | None = None
    """A session, which says whose memory it is, and which persona's."""
    persona_id: UUID | None = None
    """Only this persona recalls it."""
    kind: Kind | None = None
    """A word, such as `preference` or `fact`."""
    importance: Importance = 0.5
    """0 to 1."""
    expires_at: Moment | None = None
    """From when it is not recalled any more."""
    supersedes: UUID | None = None
    """The memory that this one corrects."""
    workspace_id: UUID | None = None
    """For callers with several workspaces."""


class Recall(Arguments):
    """What to recall, and of whose memories: those of a contact, of a session, or without both all that you see."""

    query: Message
    """A text, such as a question or the message that is being answered."""
    contact_id: UUID | None = None
    """The contact whose memories are searched."""
    session_id: UUID | None = None
    """A session, which says whose memories are searched."""
    persona_id: UUID | None = None
    """The persona that recalls: its own memories and those of every persona."""
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1, max_length=20)] | None = None
    """Only memories of these kinds."""
    since: Moment | None = None
    """Only memories that hold from then on."""
    until: Moment | None = None
    """Only memories that hold before then."""
    limit: int = Field(default=10, ge=1, le=50)
    """Most memories, the best first."""
    workspace_id: UUID | None = None
    """For callers with several workspaces."""


async def start_session(call: Call, given: StartSession) -> models.StartResult:
    """Start a contact's session with a persona, or return the one that is live."""
    _require_sessions()
    new = models.NewSession.model_validate(given.model_dump())
    return await sessions.start(call.caller, new, call.client)


async def resolve_contact(call: Call, given: ResolveContact) -> contacts.ResolveResult:
    """Find the contact with these identities, or create it."""
    wanted = request_of(contacts.ResolveRequest, given)
    return await contacts.resolve(managing_as(call.caller), wanted)


async def send_message(call: Call, given: SendMessage) -> whole_answer.Answer:
    """Send a message to a persona, as the caller or as a contact, and wait for the whole answer."""
    turn = await turns.start(call.caller, None, request_of(turns.ChatMessage, given), call.client)
    if turn.repeated or turn.taken_over:
        events = turns.follow(turn.rpc, await turns.snapshot(turn), turn.opened)
    else:
        events = turn_runner.stream_answer(turn)
    return await whole_answer.collect(turn.opened, _reported(events, call.report))


async def read_session(call: Call, given: ReadSession) -> models.SessionDetail:
    """Read a session: its status, turns, messages and timeline."""
    _require_sessions()
    page = models.MessagePageRequest(limit=given.limit, before=given.before)
    return await session_details.read(call.caller, given.session_id, page)


async def remember(call: Call, given: Remember) -> memories.RememberResult:
    """Remember a text; what was remembered before in the same words is not stored again."""
    members = given.model_dump(exclude_unset=True)
    about = {name: members.pop(name) for name in memories.NewMemory.model_fields if name in members}
    wanted = request_body.validate(memories.RememberRequest, {**members, "memories": [about]})
    return await memories.remember(call.caller, wanted)


async def recall(call: Call, given: Recall) -> recalling.RecallResult:
    """Recall the memories that fit a text best, each with the reasons why it fits."""
    return await recalling.recall(call.caller, request_of(recalling.RecallRequest, given))


async def _reported(events: AsyncGenerator[Event, None], report: Report) -> AsyncGenerator[Event, None]:
    """The events; each text is reported."""
    async with contextlib.aclosing(events):
        async for event in events:
            if isinstance(event, Delta):
                report(event.position, event.text)
            yield event


def request_of(kind: type[Given], given: Arguments) -> Given:
    """The arguments that were given as a request of the domain. Raises InvalidBody."""
    named = given.model_dump(exclude_unset=True) | given.model_dump(include={"thread_key"})
    return request_body.validate(kind, named)


def _require_sessions() -> None:
    if not config.settings().enable_chat_sessions:
        raise errors.NotFound()


@dataclass(frozen=True)
class Tool:
    """A tool, as its function declares it: named after it, described by its docstring, typed by its signature."""

    run: Callable[[Call, Any], Awaitable[BaseModel]]
    reads_only: bool = False

    @property
    def name(self) -> str:
        """The name by which it is called."""
        return self.run.__name__

    @property
    def description(self) -> str:
        """What it does, for the model that decides whether to call it."""
        return inspect.cleandoc(self.run.__doc__ or "")

    @property
    def arguments(self) -> type[Arguments]:
        """The model of its arguments."""
        given: type[Arguments] = self.run.__annotations__["given"]
        return given

    @property
    def answer(self) -> type[BaseModel]:
        """The model of its answer."""
        returned: type[BaseModel] = self.run.__annotations__["return"]
        return returned

    async def call(self, call: Call, document: Mapping[str, Any]) -> BaseModel:
        """Call it with these arguments. Raises Problem: InvalidBody, and as the domain call."""
        return await self.run(call, request_body.validate(self.arguments, document))


TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(start_session),
        Tool(resolve_contact),
        Tool(send_message),
        Tool(read_session, reads_only=True),
        Tool(remember),
        Tool(recall, reads_only=True),
    )
}
