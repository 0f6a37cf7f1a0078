"""The APIs of messengers, called with a channel's token: to send a part, and to set up where they deliver."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from lib import errors, providers
from lib.fields.models import Record
from lib.outbound import addresses, client
from lib.outbound.addresses import Networks
from lib.personas.text import clean
from lib.providers import Messenger, Part, Rejected, Sent

MEMBER_SECONDS = 20.0
"""For all calls that a member waits for, well below the 30 s of the function."""

WORKER_SECONDS = 25.0

ALLOWED_UPDATES = ("message", "edited_message")

_MAX_BYTES = 256 * 1024

_COMMAND: Mapping[str, Any] = {
    "name": "ask",
    "type": 1,
    "description": "Ask a question",
    "options": [{"name": "question", "type": 3, "description": "The question", "required": True}],
}
"""Discord's command; one of this name is replaced."""

_AUTHORIZATION: Mapping[str, str] = {"whatsapp": "Bearer ", "discord": "Bot "}
"""What comes before the token in the header; Telegram has it in the URL."""

_ID = re.compile(r"[0-9]{1,40}", re.ASCII)
_USERNAME = re.compile(r"[A-Za-z0-9_.]{1,64}", re.ASCII)


class Connection(Record):
    """A channel with what calls to its provider need."""

    kind: str
    external_id: str | None = None
    config: Mapping[str, Any]
    enabled: bool = True
    token: SecretStr | None
    allowed_networks: tuple[str, ...] = ()

    @property
    def messenger(self) -> Messenger:
        """The provider. Raises TypeError for one whose chats cannot be answered."""
        provider = providers.find(self.kind)
        if not isinstance(provider, Messenger):
            raise TypeError(f"{self.kind} is no messenger")
        return provider

    @property
    def base(self) -> str:
        """The address of the API."""
        return str(self.config.get("api_base") or self.messenger.api_base).rstrip("/")

    @property
    def allowed(self) -> Networks:
        """The private networks that may be called."""
        return addresses.networks(self.allowed_networks)

    @property
    def secret(self) -> str:
        """The token; empty if there is none."""
        return "" if self.token is None else self.token.get_secret_value()


class Bot(Record):
    """Whom the provider knows by the token."""

    external_id: str
    name: str
    username: str | None = None
    public_key: str | None = None


async def send(connection: Connection, part: Part, seconds: float = WORKER_SECONDS) -> Sent | Rejected | None:
    """Send a part; None if the call broke off, so that it may have arrived."""
    limits = client.Limits(first_byte_seconds=20, idle_seconds=10, total_seconds=seconds, max_bytes=_MAX_BYTES)
    call = connection.messenger.call(
        part, base=connection.base, token=connection.secret, external_id=connection.external_id
    )
    request = client.patch if call.method == "PATCH" else client.post
    try:
        async with request(
            call.url, json=call.document, headers=call.headers, limits=limits, allowed=connection.allowed
        ) as answer:
            body = b"".join([chunk async for chunk in answer.chunks()])
            return connection.messenger.outcome(answer.status, answer.headers.get("Retry-After"), body)
    except (client.UrlError, client.AddressError) as fault:
        return Rejected(error=fault.detail, cause="address")
    except client.UnreachableError as fault:
        if isinstance(fault, client.ClosedError):
            return None
        return Rejected(error=fault.detail, retryable=True, cause="network")
    except client.OutboundError:
        return None


class SetUp:
    """The calls that connect a channel, together within MEMBER_SECONDS.

    All raise Refused: provider_refused with the provider's words, address_refused, provider_unreachable.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._deadline = asyncio.get_running_loop().time() + MEMBER_SECONDS

    async def identify(self) -> Bot:
        """Whom the token belongs to; of WhatsApp the number with the channel's external id."""
        kind = self._connection.kind
        if kind == "telegram":
            me = _object((await self._call("POST", f"/bot{self._connection.secret}/getMe", {})).get("result"))
            return _bot(me.get("id"), me.get("first_name"), me.get("username"))
        if kind == "discord":
            me = await self._call("GET", "/applications/@me")
            key = me.get("verify_key")
            return _bot(me.get("id"), me.get("name"), None, key if isinstance(key, str) else None)
        number = self._connection.external_id or ""
        me = await self._call("GET", f"/{quote(number, safe='')}?fields=display_phone_number,verified_name")
        shown = str(me.get("display_phone_number", ""))
        digits = "".join(filter(str.isdecimal, shown))
        return _bot(number, me.get("verified_name") or shown or "WhatsApp", digits)

    async def set_webhook(self, url: str, secret: str) -> None:
        """Tell Telegram where to deliver, and the secret to send along."""
        document = {"url": url, "secret_token": secret, "allowed_updates": list(ALLOWED_UPDATES)}
        await self._call("POST", f"/bot{self._connection.secret}/setWebhook", document)

    async def register_command(self, application_id: str) -> None:
        """Give an application of Discord its command."""
        await self._call("POST", f"/applications/{application_id}/commands", _COMMAND)

    async def set_endpoint(self, url: str) -> None:
        """Tell Discord where to deliver; it verifies the URL at once, before it answers."""
        await self._call("PATCH", "/applications/@me", {"interactions_endpoint_url": url})

    async def subscribe_app(self, account_id: str) -> None:
        """Have WhatsApp deliver what a business account receives to the token's app."""
        await self._call("POST", f"/{account_id}/subscribed_apps", {})

    async def _call(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        prefix = _AUTHORIZATION.get(self._connection.kind)
        headers = {"Authorization": f"{prefix}{self._connection.secret}"} if prefix else {}
        left = max(self._deadline - asyncio.get_running_loop().time(), 0.01)
        limits = client.Limits(first_byte_seconds=left, total_seconds=left, max_bytes=_MAX_BYTES)
        options: dict[str, Any] = {"headers": headers, "limits": limits, "allowed": self._connection.allowed}
        url = f"{self._connection.base}{path}"
        if method == "GET":
            request = client.get(url, **options)
        else:
            request = (client.patch if method == "PATCH" else client.post)(url, json=document, **options)
        try:
            async with request as response:
                status, content = response.status, b"".join([chunk async for chunk in response.chunks()])
        except (client.UrlError, client.AddressError) as fault:
            raise errors.Refused(422, "address_refused", detail=fault.detail) from None
        except client.OutboundError as fault:
            raise errors.Refused(422, "provider_unreachable", detail=fault.detail) from None
        try:
            answer = providers.read_json(content)
        except errors.InvalidJson:
            answer = None
        if status >= 300 or not isinstance(answer, dict):
            raise refused(f"{status} {_words(answer)}")
        return answer


def refused(words: str) -> errors.Refused:
    """What the provider says to a call that it refused."""
    return errors.Refused(422, "provider_refused", detail=f"The provider says: {clean(words).strip()}")


def _bot(external_id: object, name: object, username: object, public_key: str | None = None) -> Bot:
    known, called, at = str(external_id), clean(str(name or "")).strip(), str(username or "")
    if not _ID.fullmatch(known):
        raise refused("an answer without an id")
    at = at if _USERNAME.fullmatch(at) else ""
    return Bot(external_id=known, name=called[:200] or "Bot", username=at or None, public_key=public_key)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(answer: object) -> str:
    """What the three providers say of an error."""
    said = _object(answer)
    words = said.get("description") or said.get("message") or _object(said.get("error")).get("message")
    return str(words or "")[:300]
