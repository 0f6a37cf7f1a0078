"""Connecting a channel: the provider is told where to deliver, and a test message shows whether it can be sent to.

Repeatable: everything is set again. What a member has to do in the provider's console is in the answer.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, get_args
from uuid import UUID, uuid4

from pydantic import Field, SecretStr, StringConstraints

from lib import errors
from lib.database.management import Database
from lib.database.paging import PageRequest
from lib.database.queries import Queries
from lib.fields.models import Body, Record, StrictRecord
from lib.workspaces import channels, workspaces
from lib.workspaces.channels import Channel
from lib.workspaces.secrets import GivenSecret, NewSecret, Rotation

if TYPE_CHECKING:
    # Their modules bring aiohttp and the providers along, which the other routes do without.
    from lib.channels.messenger_api import Bot, Connection, SetUp

MessengerKind = Literal["telegram", "whatsapp", "discord"]

OVERLAP_SECONDS = 3_600
"""How long deliveries with the former secret are accepted: those that Telegram tries again."""

TEST_TEXT = "A test message from Switchboard. This channel can send messages here."

_CHATS: Mapping[str, re.Pattern[str]] = {
    "telegram": re.compile(r"-?[0-9]{1,18}", re.ASCII),
    "whatsapp": re.compile(r"[0-9]{1,20}|[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}", re.ASCII),
    "discord": re.compile(r"[0-9]{1,20}", re.ASCII),
}
"""How a chat is written: an id, or a number with its country code. Nothing else may become part of a call."""

PublicUrl = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9\-._~:/\[\]%!$&'()*+,;=]+$", max_length=500)]
"""An http or https URL without credentials, query and fragment."""

Done = Literal["token_verified", "webhook_set", "command_registered", "app_subscribed"]
Left = Literal["choose_persona", "enter_webhook", "subscribe_app", "install_app"]
Outcome = Literal["sent", "refused", "busy", "unreachable", "address_refused", "unknown"]


class ConnectRequest(Body):
    """Where the provider is to deliver."""

    url: PublicUrl
    """The public address of the functions; the webhooks function answers below it."""
    account_id: str | None = Field(default=None, pattern=r"^[0-9]{1,40}$")
    """WhatsApp: the business account's id, to subscribe the app to it."""


class TestMessage(Body):
    """Who gets a test message."""

    __test__ = False  # it is no test of pytest's

    to: str = Field(min_length=1, max_length=200)
    """Telegram: a chat's id. WhatsApp: a number with its country code, or a scoped id. Discord: a channel's id."""


class Connected(Record):
    """A connected channel. ``done`` is what the provider was told; ``left`` what a member has to do: choose a persona,
    enter `webhook_url` and `verify_token` in Meta's dashboard and subscribe to `messages`, subscribe the app to the
    business account, install the application in Discord."""

    channel_id: UUID
    name: str
    external_id: str
    webhook_url: str
    verify_token: str | None = Field(default=None, repr=False)
    done: tuple[Done, ...]
    left: tuple[Left, ...]


class TestOutcome(Record):
    """What became of a test message. `sent`: the provider has taken it, under `external_id`. `refused`: for good.
    `busy`: for now. `unreachable`: no connection. `address_refused`: the workspace may not call the address of the API.
    `unknown`: the call broke off, so it may have been sent. ``detail`` has the provider's words, or ours."""

    __test__ = False

    outcome: Outcome
    external_id: str | None = None
    detail: str | None = None


class NewConnection(StrictRecord):
    """A channel to set up with one command. ``url`` is the public address of the functions; ``chat_id`` gets a test
    message.

    WhatsApp also needs ``external_id`` (the phone number's id), ``app_secret``, and ``account_id`` (of the business
    account) unless its app is subscribed already.
    """

    kind: MessengerKind
    persona_id: UUID
    token: SecretStr
    url: PublicUrl
    external_id: channels.ExternalId | None = None
    app_secret: SecretStr | None = None
    account_id: str | None = Field(default=None, pattern=r"^[0-9]{1,40}$")
    api_base: str | None = None
    chat_id: str | None = None


class NewConnected(Connected):
    """A channel that was set up. ``test_message_id`` is the provider's."""

    test_message_id: str | None = None


class _Opened(Record):
    kind: str
    persona_id: UUID | None
    external_id: str | None
    config: Mapping[str, object]
    enabled: bool
    token: SecretStr | None
    verify_secret: SecretStr | None
    allowed_networks: tuple[str, ...]


async def connect(database: Database, queries: Queries, channel_id: UUID, asked: ConnectRequest) -> Connected:
    """Verify a channel's token, tell its provider where to deliver, and enable it.

    Raises Refused: channel_not_found, forbidden, rate_limited; channel_not_connectable, channel_incomplete (a token or
    a secret is missing), external_id_differs (the token is another bot's), external_id_taken; provider_refused,
    provider_unreachable, address_refused.
    """
    from lib.channels.messenger_api import SetUp  # noqa: PLC0415

    opened = await _open(database, channel_id, "connect")
    connection = _connection(opened)
    if opened.kind == "whatsapp":
        _require(opened.external_id, "external_id, the phone number's id")
        _require(opened.verify_secret, "verify secret, the app's secret")
    set_up = SetUp(connection)
    bot = await set_up.identify()
    if opened.external_id not in (None, bot.external_id):
        raise errors.Refused(409, "external_id_differs")
    config = {**opened.config} | ({} if bot.username is None else {"username": bot.username})
    changes = channels.ChannelChanges(external_id=bot.external_id, config=config, enabled=True)
    channel = await channels.change(queries, database, channel_id, changes)
    secret = None if opened.verify_secret is None else opened.verify_secret.get_secret_value()
    if secret is None and opened.kind == "telegram":
        made = await database.call("generate_verify_secret", {"channel_id": channel_id}, NewSecret, repeatable=True)
        secret = made.secret
    return await _tell(database, queries, channel, bot, set_up, asked, secret)


async def send_test(database: Database, channel_id: UUID, message: TestMessage) -> TestOutcome:
    """Send a test message, as answers are sent; it is stored nowhere.

    Raises Refused: channel_not_found, forbidden, rate_limited, channel_not_connectable, channel_incomplete; InvalidBody
    if `to` is no chat of the channel's kind.
    """
    opened = await _open(database, channel_id, "test")
    connection = _connection(opened)
    if not opened.enabled:
        raise _incomplete("It is not enabled.")
    if opened.kind == "whatsapp":
        _require(opened.external_id, "external_id, the phone number's id")
    return await _test(connection, message.to)


async def set_up(database: Database, queries: Queries, workspace_id: UUID, asked: NewConnection) -> NewConnected:
    """Create a channel, or find it by the provider's own id, with its secrets; and connect it, as `connect` does.

    Raises as `connect` and `channels.create`; Refused (provider_refused) if the test message is not sent.
    """
    from lib.channels.messenger_api import Connection, SetUp, refused  # noqa: PLC0415

    if asked.kind == "whatsapp":
        for field, meaning in (("external_id", "the phone number's id"), ("app_secret", "the app's secret")):
            if getattr(asked, field) is None:
                raise errors.InvalidBody([errors.FieldError(field, f"is needed: {meaning}")])
    workspace = await workspaces.read(queries, workspace_id)
    connection = Connection(
        kind=asked.kind,
        external_id=asked.external_id,
        config={"api_base": asked.api_base},
        token=asked.token,
        allowed_networks=workspace.allowed_networks or (),
    )
    calls = SetUp(connection)
    bot = await calls.identify()
    channel = await _channel(database, queries, workspace_id, asked, bot)
    await channels.set_token(database, channel.id, GivenSecret(secret=asked.token.get_secret_value()))
    secret = None if asked.app_secret is None else asked.app_secret.get_secret_value()
    if secret is not None and asked.kind == "whatsapp":
        await channels.set_verify_secret(queries, database, channel.id, GivenSecret(secret=secret))
    request = ConnectRequest(url=asked.url, account_id=asked.account_id)
    connected = await _tell(database, queries, channel, bot, calls, request, secret)
    if asked.chat_id is None:
        return NewConnected(**dict(connected))
    outcome = await _test(connection, asked.chat_id)
    if outcome.outcome != "sent":
        raise refused(outcome.detail or outcome.outcome)
    return NewConnected(**dict(connected), test_message_id=outcome.external_id)


async def _open(database: Database, channel_id: UUID, purpose: Literal["connect", "test"]) -> _Opened:
    opened = await database.call("open_channel", {"channel_id": channel_id, "purpose": purpose}, _Opened)
    if opened.kind not in get_args(MessengerKind):
        raise errors.Refused(422, "channel_not_connectable")
    _require(opened.token, "token")
    return opened


def _connection(opened: _Opened) -> "Connection":
    from lib.channels.messenger_api import Connection  # noqa: PLC0415

    return Connection(**dict(opened))


async def _tell(
    database: Database,
    queries: Queries,
    channel: Channel,
    bot: "Bot",
    calls: "SetUp",
    asked: ConnectRequest,
    secret: str | None,
) -> Connected:
    """Tell the provider where to deliver. ``secret`` is what verifies deliveries, if that is known."""
    url = f"{asked.url.rstrip('/')}/webhooks/{channel.kind}/{channel.id}"
    done: list[Done] = ["token_verified"]
    left: list[Left] = ["choose_persona"] if channel.persona_id is None else []
    verify_token = None
    if channel.kind == "telegram":
        if secret is None:
            rotation = Rotation(overlap_seconds=OVERLAP_SECONDS)
            secret = (await channels.rotate_verify_secret(queries, database, channel.id, rotation)).secret
        await calls.set_webhook(url, secret)
        done.append("webhook_set")
    elif channel.kind == "discord":
        if bot.public_key is not None and bot.public_key != secret:
            given = GivenSecret(secret=bot.public_key)
            await channels.set_verify_secret(queries, database, channel.id, given)
        await calls.register_command(bot.external_id)
        await calls.set_endpoint(url)
        done += ["command_registered", "webhook_set"]
        left.append("install_app")
    else:
        from lib.providers import whatsapp  # noqa: PLC0415

        verify_token = whatsapp.provider.verify_token(secret or "", str(channel.id))
        left.append("enter_webhook")
        if asked.account_id is None:
            left.append("subscribe_app")
        else:
            await calls.subscribe_app(asked.account_id)
            done.append("app_subscribed")
    return Connected(
        channel_id=channel.id,
        name=bot.name,
        external_id=bot.external_id,
        webhook_url=url,
        verify_token=verify_token,
        done=tuple(done),
        left=tuple(left),
    )


async def _test(connection: "Connection", to: str) -> TestOutcome:
    from lib.channels import messenger_api  # noqa: PLC0415
    from lib.providers import Part, Sent  # noqa: PLC0415

    if not _CHATS[connection.kind].fullmatch(to):
        raise errors.InvalidBody([errors.FieldError("to", f"is no chat of {connection.kind}")])
    # Discord sends one message for each reference.
    part = Part(text=TEST_TEXT, chat_id=to, reference=f"test:{uuid4()}")
    answer = await messenger_api.send(connection, part, messenger_api.MEMBER_SECONDS)
    if answer is None:
        return TestOutcome(outcome="unknown", detail="The call broke off, so it may have been sent.")
    if isinstance(answer, Sent):
        return TestOutcome(outcome="sent", external_id=answer.external_id)
    outcomes: Mapping[str, Outcome] = {"address": "address_refused", "network": "unreachable"}
    return TestOutcome(
        outcome=outcomes.get(answer.cause, "busy" if answer.retryable else "refused"), detail=answer.error
    )


async def _channel(
    database: Database, queries: Queries, workspace_id: UUID, asked: NewConnection, bot: "Bot"
) -> Channel:
    """The workspace's channel with the bot's id, with its persona and config as asked; created if there is none."""
    config = {"username": bot.username, "api_base": asked.api_base}
    given = {name: value for name, value in config.items() if value is not None}
    page = PageRequest(limit=200)
    while True:
        found = await channels.list_all(queries, workspace_id, page)
        for channel in found.items:
            if (channel.kind, channel.external_id) == (asked.kind, bot.external_id):
                changes = channels.ChannelChanges(
                    persona_id=asked.persona_id, config=channel.config | given, enabled=True
                )
                return await channels.change(queries, database, channel.id, changes)
        if found.next_cursor is None:
            break
        page = PageRequest(limit=200, cursor=UUID(found.next_cursor))
    new = channels.NewChannel(
        kind=asked.kind, name=bot.name, persona_id=asked.persona_id, external_id=bot.external_id, config=given
    )
    return await channels.create(database, workspace_id, new)


def _require(value: object, noun: str) -> None:
    if value is None:
        raise _incomplete(f"It has no {noun}.")


def _incomplete(why: str) -> errors.Refused:
    return errors.Refused(422, "channel_incomplete", detail=why)
