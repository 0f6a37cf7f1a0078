"""Connecting a channel: its secrets are stored, and the provider is told where to deliver.

Repeatable: the channel is found by the provider's own id, and everything is set again.
"""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from pydantic import Field, SecretStr

from lib import errors, providers
from lib.database.management import Database
from lib.database.paging import PageRequest
from lib.database.queries import Queries
from lib.fields.models import Record, StrictRecord
from lib.outbound import addresses, client
from lib.outbound.addresses import Networks
from lib.providers import Messenger, Part, Sent
from lib.workspaces import channels, workspaces
from lib.workspaces.channels import Channel
from lib.workspaces.secrets import GivenSecret, Rotation

MessengerKind = Literal["telegram", "whatsapp", "discord"]

OVERLAP_SECONDS = 3_600
"""How long deliveries with the former secret are accepted: those that Telegram tries again."""

ALLOWED_UPDATES = ("message", "edited_message")

_COMMAND: Mapping[str, Any] = {
    "name": "ask",
    "type": 1,
    "description": "Ask a question",
    "options": [{"name": "question", "type": 3, "description": "The question", "required": True}],
}
"""Discord's command; one of this name is replaced."""

_LIMITS = client.Limits(first_byte_seconds=20, total_seconds=25, max_bytes=256 * 1024)


class Connection(StrictRecord):
    """What connects a channel. ``url`` is the public address of the functions; ``chat_id`` gets a test message.

    WhatsApp also needs ``external_id`` (the phone number's id), ``app_secret``, and ``account_id`` (of the business
    account) unless its app is subscribed already.
    """

    kind: MessengerKind
    persona_id: UUID
    token: SecretStr
    url: str = Field(pattern=r"^https?://[^\s?#]+$", max_length=500)
    external_id: channels.ExternalId | None = None
    app_secret: SecretStr | None = None
    account_id: str | None = Field(default=None, pattern=r"^[0-9]{1,40}$")
    api_base: str | None = None
    chat_id: str | None = None


class Connected(Record):
    """A connected channel. ``verify_token`` is for Meta's dashboard, which is to be given it with the URL."""

    channel_id: UUID
    name: str
    external_id: str
    webhook_url: str
    verify_token: str | None = Field(default=None, repr=False)
    test_message_id: str | None = None


class _Bot(Record):
    """Whom the provider knows by the token."""

    external_id: str
    name: str
    username: str | None = None
    public_key: str | None = None


async def connect(database: Database, queries: Queries, workspace_id: UUID, asked: Connection) -> Connected:
    """Connect a channel, or connect it anew.

    Raises Refused (provider_refused, with the provider's words; external_id_taken: by another workspace), InvalidBody,
    and as `channels.create`.
    """
    workspace = await workspaces.read(queries, workspace_id)
    messenger = providers.find(asked.kind)
    if not isinstance(messenger, Messenger):
        raise TypeError(f"{asked.kind} is no messenger")
    api = _Api(asked, messenger, addresses.networks(workspace.allowed_networks or ()))
    bot = await api.identify()
    channel = await _channel(database, queries, workspace_id, asked, bot)
    await channels.set_token(database, channel.id, _given(asked.token))
    url = f"{asked.url.rstrip('/')}/webhooks/{asked.kind}/{channel.id}"
    verify_token = None
    if asked.kind == "telegram":
        rotation = Rotation(overlap_seconds=OVERLAP_SECONDS)
        made = await channels.rotate_verify_secret(queries, database, channel.id, rotation)
        await api.set_webhook(url, made.secret)
    else:
        secret = asked.app_secret if bot.public_key is None else SecretStr(bot.public_key)
        if secret is None:
            raise errors.InvalidBody([errors.FieldError("app_secret", "is needed")])
        verify_token = (await channels.set_verify_secret(queries, database, channel.id, _given(secret))).verify_token
        await api.subscribe(bot.external_id, url)
    return Connected(
        channel_id=channel.id,
        name=channel.name,
        external_id=bot.external_id,
        webhook_url=url,
        verify_token=verify_token,
        test_message_id=None if asked.chat_id is None else await api.say_hello(asked.chat_id, bot.external_id),
    )


async def _channel(database: Database, queries: Queries, workspace_id: UUID, asked: Connection, bot: _Bot) -> Channel:
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


def _given(secret: SecretStr) -> GivenSecret:
    return GivenSecret(secret=secret.get_secret_value())


class _Api:
    """The provider's API, called with the token."""

    def __init__(self, asked: Connection, messenger: Messenger, allowed: Networks) -> None:
        self._asked, self._messenger, self._allowed = asked, messenger, allowed
        self._base = (asked.api_base or messenger.api_base).rstrip("/")
        self._token = asked.token.get_secret_value()

    async def identify(self) -> _Bot:
        """Whom the token belongs to."""
        if self._asked.kind == "telegram":
            me = (await self._call("POST", f"/bot{self._token}/getMe", {})).get("result", {})
            return _Bot(external_id=str(me.get("id")), name=me.get("first_name") or "Bot", username=me.get("username"))
        if self._asked.kind == "discord":
            me = await self._call("GET", "/applications/@me")
            return _Bot(external_id=str(me.get("id")), name=me.get("name") or "Bot", public_key=me.get("verify_key"))
        if self._asked.external_id is None:
            raise errors.InvalidBody([errors.FieldError("external_id", "is needed: the phone number's id")])
        me = await self._call("GET", f"/{self._asked.external_id}?fields=display_phone_number,verified_name")
        number = "".join(filter(str.isdecimal, str(me.get("display_phone_number", ""))))
        name = str(me.get("verified_name") or me.get("display_phone_number") or "WhatsApp")
        return _Bot(external_id=self._asked.external_id, name=name, username=number or None)

    async def set_webhook(self, url: str, secret: str) -> None:
        """Tell Telegram where to deliver, and the secret to send along."""
        document = {"url": url, "secret_token": secret, "allowed_updates": list(ALLOWED_UPDATES)}
        await self._call("POST", f"/bot{self._token}/setWebhook", document)

    async def subscribe(self, external_id: str, url: str) -> None:
        """Have WhatsApp deliver to its app; give Discord the command, and the URL, which it verifies at once."""
        if self._asked.kind == "discord":
            await self._call("POST", f"/applications/{external_id}/commands", _COMMAND)
            await self._call("PATCH", "/applications/@me", {"interactions_endpoint_url": url})
        elif self._asked.account_id is not None:
            await self._call("POST", f"/{self._asked.account_id}/subscribed_apps", {})

    async def say_hello(self, chat_id: str, external_id: str) -> str | None:
        """Send a test message; its id."""
        part = Part(text="Connected to Switchboard.", chat_id=chat_id, reference="test")
        call = self._messenger.call(part, base=self._base, token=self._token, external_id=external_id)
        status, content = await self._send(call.method, call.url, call.document, call.headers)
        outcome = self._messenger.outcome(status, None, content)
        if not isinstance(outcome, Sent):
            raise _refused(outcome.error)
        return outcome.external_id

    async def _call(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        prefix = {"telegram": "", "whatsapp": "Bearer ", "discord": "Bot "}[self._asked.kind]
        headers = {"Authorization": f"{prefix}{self._token}"} if prefix else {}
        status, content = await self._send(method, f"{self._base}{path}", document, headers)
        try:
            answer = providers.read_json(content)
        except errors.InvalidJson:
            answer = {}
        if status >= 300 or not isinstance(answer, dict):
            raise _refused(f"{status} {_words(answer)}")
        return answer

    async def _send(
        self, method: str, url: str, document: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        options: dict[str, Any] = {"headers": headers, "limits": _LIMITS, "allowed": self._allowed}
        if method == "GET":
            request = client.get(url, **options)
        else:
            request = (client.patch if method == "PATCH" else client.post)(url, json=document, **options)
        try:
            async with request as answer:
                return answer.status, b"".join([chunk async for chunk in answer.chunks()])
        except client.OutboundError as fault:
            raise _refused(fault.detail) from None


def _words(answer: Any) -> str:
    """What the three providers say of an error."""
    if not isinstance(answer, dict):
        return ""
    fault = answer.get("error")
    return str(answer.get("description") or answer.get("message") or (fault or {}).get("message", ""))[:300]


def _refused(words: str) -> errors.Refused:
    return errors.Refused(
        422, "provider_refused", title="The provider refused the call.", detail=f"The provider says: {words.strip()}"
    )
