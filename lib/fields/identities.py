"""Identities: ways to recognise a contact, written ``platform:id`` and normalised once, here.

    email:ana@example.com            as lib/fields/emails.py; also mailto:
    phone:+49 30 123456              as lib/fields/phones.py; international numbers only; also tel: and sms:
    telegram:42                      a decimal id, beyond 32 bits; groups and channels are negative (-100…)
    telegram:@Name                   a public name of a person, a group or a channel, in any case; also t.me/Name. Names
                                     change hands: telegram:42 and telegram:@name are two identities
    whatsapp:+49 151 1234            a number as lib/fields/phones.py; wa_id is the same without the +; also
                                     49151…@c.us, 49151…@s.whatsapp.net and wa.me/49151…
    whatsapp:US.1349…                a business-scoped user id, CC.<id>, and its parent form CC.ENT.<id>
    whatsapp:1203…@g.us              a group; or group:<id>
    discord:80351110224678912        a user's snowflake; channel:<snowflake> is a channel, that is a group. Also as
                                     Discord writes them in a text, <@8035…> and <#8035…>, and the links to them
    omi:uid                          as Omi writes it
    external:crm:4711                another system's id, system:id; the part after the system's name is kept as it is

The database is handed keys and compares them byte by byte. Two spellings of one id have one key, and a key is its own.

Invisible characters (lib/fields/invisible.py) are no part of an id. Full-width characters are the plain ones, except in
another system's ids.

Sources: core.telegram.org/bots/api (ids have up to 52 significant bits), core.telegram.org/api/links (names),
developers.facebook.com, business-scoped user ids (CC.<at most 128 letters and digits>),
discord.com/developers/docs/reference (snowflakes are 64-bit, unsigned; formats of mentions).
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from lib.fields import emails, invisible, phones

Kind = Literal["email", "phone", "telegram", "whatsapp", "discord", "omi", "external"]
ContactKind = Literal["person", "group"]

LONGEST = 400
"""Longest identity as typed, and longest key, in characters."""

USER_SYSTEM = "auth"
"""The system of Supabase users: external:auth:<uuid>. Only a user's own token links such an identity."""

SUBJECT_SYSTEM = "sub"
"""The system of the subjects of identity tokens: external:sub:<sub>, as the customer's own server names its users."""

_ALIASES = {"mailto": "email", "tel": "phone", "sms": "phone"}
"""The schemes of links whose rest is an identity's id."""

_WHOLE = re.compile(r"(-?)0*([0-9]{1,20})", re.ASCII)
_SCOPED = re.compile(r"([A-Za-z]{2})\.((?:ENT\.)?)([A-Za-z0-9]{1,128})", re.ASCII | re.IGNORECASE)
_WHATSAPP_GROUP = re.compile(r"group:([\x21-\x7e]{1,200})|([0-9-]{1,64}@g\.us)", re.ASCII)
_TELEGRAM_NAME = re.compile(
    r"@([a-z][a-z0-9_]{3,31})"
    r"|(?:https?://)?(?:www\.)?(?:t\.me|telegram\.me|telegram\.dog)/(?:s/)?@?([a-z][a-z0-9_]{3,31})/?(?:\?.*)?"
    r"|tg://resolve/?\?domain=([a-z][a-z0-9_]{3,31})(?:&.*)?",
    re.ASCII | re.IGNORECASE,
)
_TELEGRAM_PATHS = {"addlist", "addstickers", "addemoji", "boost", "confirmphone", "contact", "giftcode", "invoice",
                   "joinchat", "login", "proxy", "setlanguage", "share", "socks"}  # fmt: skip
"""First parts of Telegram's links that are no names."""
_DISCORD_USER = re.compile(r"<@!?(\d+)>|(?:https?://)?(?:www\.)?discord(?:app)?\.com/users/(\d+)/?", re.ASCII)
_DISCORD_CHANNEL = re.compile(
    r"<#(\d+)>|(?:https?://)?(?:www\.)?discord(?:app)?\.com/channels/(?:\d+|@me)/(\d+)/?", re.ASCII
)
_OMI = re.compile(r"[\x21-\x7e]{1,200}")
_SYSTEM = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
_UNSTORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Identity:
    """An identity: kind, key (by which it is compared) and the value as typed, without invisible characters.

    ``contact_kind`` is the only kind of contact that can have it; None if the id does not tell.
    """

    kind: Kind
    key: str
    value: str
    contact_kind: ContactKind | None

    @property
    def implied(self) -> "Identity | None":
        """The identity that follows from this one: a WhatsApp number is a phone number that its owner proved to
        WhatsApp."""
        if self.kind == "whatsapp" and self.key.startswith("+"):
            return Identity("phone", self.key, self.value, "person")
        return None

    @property
    def is_user(self) -> bool:
        """Whether it identifies a Supabase user."""
        return self.kind == "external" and self.key.startswith(f"{USER_SYSTEM}:")

    def document(self, *, implied: bool = False) -> dict[str, Any]:
        """Arguments for the database."""
        return {"kind": self.kind, "key": self.key, "value": self.value, "implied": implied}


def parse(text: str) -> Identity:
    """The identity in ``platform:id``. Raises ValueError with a message for its sender."""
    platform, colon, rest = text.partition(":")
    if not colon:
        raise ValueError("must be platform:id")
    return of(platform, rest)


def of(platform: str, platform_id: str) -> Identity:
    """The identity of an id on a platform. Raises ValueError as parse."""
    named, typed = invisible.removed(platform).lower(), invisible.removed(platform_id)
    named = _ALIASES.get(named, named)
    kind = next((kind for kind in _READERS if kind == named), None)
    if kind is None:
        raise ValueError(f"platform must be one of {', '.join(sorted(_READERS))}")
    if not typed or len(typed) > LONGEST or _UNSTORABLE.search(typed):
        raise ValueError(f"the id must be 1 to {LONGEST} characters without control characters")
    key, contact_kind = _READERS[kind](typed)
    return Identity(kind, key, typed, contact_kind)


def documents(identities: tuple[Identity, ...]) -> list[dict[str, Any]]:
    """Identities and the implied ones, deduplicated, as arguments for the database."""
    given = {(one.kind, one.key): one.document() for one in identities}
    follows = (one.implied for one in identities)
    return [
        *given.values(),
        *({(one.kind, one.key): one.document(implied=True) for one in follows
           if one is not None and (one.kind, one.key) not in given}).values(),
    ]  # fmt: skip


def contact_kind(identities: tuple[Identity, ...]) -> ContactKind | None:
    """The kind of contact that can have all of them. Raises ValueError for a mix of a person's and a group's."""
    kinds = {one.contact_kind for one in identities if one.contact_kind is not None}
    if len(kinds) > 1:
        raise ValueError("a person's identities and a group's cannot be one contact's")
    return kinds.pop() if kinds else None


def _email(typed: str) -> tuple[str, ContactKind | None]:
    return emails.parse(typed).key, "person"


def _phone(typed: str) -> tuple[str, ContactKind | None]:
    key = phones.parse(typed).key
    if key is None:
        raise ValueError("must be an international phone number, with + and the country")
    return key, "person"


def _telegram(typed: str) -> tuple[str, ContactKind | None]:
    plain = unicodedata.normalize("NFKC", typed)
    if (link := _TELEGRAM_NAME.fullmatch(plain)) is not None:
        name = (link[1] or link[2] or link[3]).lower()
        if name not in _TELEGRAM_PATHS:
            return f"@{name}", None
    number = _integer(plain, "a Telegram @name or id")
    if not -(2**63) <= number < 2**63:
        raise ValueError("must be a Telegram id: a whole number")
    return str(number), "group" if number < 0 else "person"


def _whatsapp(typed: str) -> tuple[str, ContactKind | None]:
    plain = unicodedata.normalize("NFKC", typed)
    if (group := _WHATSAPP_GROUP.fullmatch(plain)) is not None:
        return f"group:{group[1] or group[2]}", "group"
    if (scoped := _SCOPED.fullmatch(plain)) is not None:
        country, parent, user = scoped.groups()
        return f"{country.upper()}.{parent.upper()}{user}", "person"
    try:
        key = phones.parse_whatsapp(plain).key
    except ValueError:
        key = None
    if key is None or ";" in key:
        raise ValueError("must be a WhatsApp number, a business-scoped user id or a group's id")
    return key, "person"


def _discord(typed: str) -> tuple[str, ContactKind | None]:
    plain = unicodedata.normalize("NFKC", typed)
    place, colon, snowflake = plain.rpartition(":")
    if (user := _DISCORD_USER.fullmatch(plain)) is not None:
        place, colon, snowflake = "", "", user[1] or user[2]
    elif (channel := _DISCORD_CHANNEL.fullmatch(plain)) is not None:
        place, colon, snowflake = "channel", ":", channel[1] or channel[2]
    if colon and place != "channel":
        raise ValueError("must be a Discord user's id, or channel:id")
    number = _integer(snowflake, "a Discord id")
    if not 0 < number < 2**64:
        raise ValueError("must be a Discord id: a whole number")
    return (f"channel:{number}", "group") if colon else (str(number), "person")


def _omi(typed: str) -> tuple[str, ContactKind | None]:
    if not _OMI.fullmatch(typed):
        raise ValueError("must be an Omi user's id")
    return typed, "person"


def _external(typed: str) -> tuple[str, ContactKind | None]:
    system, colon, name = typed.partition(":")
    system, name = system.strip().lower(), unicodedata.normalize("NFC", name.strip())
    if not colon or not name or not _SYSTEM.fullmatch(system):
        raise ValueError("must be system:id, like crm:4711")
    if system == USER_SYSTEM:
        try:
            return f"{system}:{UUID(name)}", "person"
        except ValueError:
            raise ValueError("must be auth: and a user's id") from None
    key = f"{system}:{name}"
    if len(key) > LONGEST:
        raise ValueError(f"must be at most {LONGEST} characters")
    return key, None


def _integer(typed: str, what: str) -> int:
    found = _WHOLE.fullmatch(typed)
    if found is None or int(found[2]) == 0:
        raise ValueError(f"must be {what}: a whole number")
    return int(found[1] + found[2])


_READERS: Mapping[Kind, Callable[[str], tuple[str, ContactKind | None]]] = {
    "email": _email,
    "phone": _phone,
    "telegram": _telegram,
    "whatsapp": _whatsapp,
    "discord": _discord,
    "omi": _omi,
    "external": _external,
}
