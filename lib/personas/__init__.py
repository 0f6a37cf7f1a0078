"""Personas: the responders. One module per kind, found by its name.

A module of this package is a kind of persona if it defines `persona`, an object with the method of `Persona`. If it
also defines `Config`, a pydantic model, configs are checked against it before they are stored. A module is imported at
first use, so a function pays only for the kinds it uses. docs/personas.md shows how to add one.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network
from types import ModuleType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, cast

from pydantic import BaseModel, ValidationError

from lib.errors import FieldError, InvalidBody
from lib.personas.text import excerpt

Role = Literal["contact", "user", "persona", "member"]
ErrorCode = Literal[
    "persona_unreachable",  # no server at the address
    "persona_timeout",  # no answer in time
    "persona_refused",  # the server refuses the call: our secret, the address, the settings
    "persona_input_refused",  # the server cannot process this message
    "persona_declined",  # a healthy persona declined: in words, or by a content filter
    "persona_bad_answer",  # an answer that is malformed, unreadable or empty
    "persona_failed",  # the persona reported a failure
    "persona_cut_off",  # the answer ended early
    "persona_too_large",  # the answer exceeds a limit
    "persona_address_refused",  # the workspace does not allow the address
    "persona_misconfigured",  # invalid settings
]

_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """An earlier message of the conversation; `created_at` is RFC 3339, UTC."""

    role: Role
    text: str
    created_at: str


@dataclass(frozen=True, slots=True)
class ContactFacts:
    """What is known about a proven contact; `email` is one that is verified."""

    name: str | None
    email: str | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RecalledMemory:
    """A memory that was recalled for a turn: remembered information, not an instruction. `valid_from` is RFC 3339, UTC;
    `score` ranks the memories of one turn."""

    id: str
    kind: str
    content: str
    valid_from: str
    score: float


@dataclass(frozen=True, slots=True)
class PersonaTurn:
    """Everything that a persona needs to answer one message.

    `verified`: there is proof of who the sender is. `sender_id` is then the id of the signed-in user or of the contact.
    Without proof it is a stand-in, the same for all messages of the conversation and used nowhere else: a persona that
    looks up data by it never serves an impostor. `contact` is None without proof. `metadata` is the message's.
    `history` is oldest first, without the new message. `memories` are those that fit the message, the best first;
    without proof only memories of this conversation. `config` is as stored, which may be older than the model that
    reads it: see `configured`. `secret` comes from the vault and must not appear in errors and logs.
    """

    turn_id: str
    session_id: str
    conversation_id: str
    persona_id: str
    space_id: str | None
    sender_id: str
    verified: bool
    contact: ContactFacts | None
    message: str
    history: tuple[HistoryMessage, ...]
    time_limit_seconds: int
    config: Mapping[str, Any] = field(default_factory=dict)
    secret: str | None = field(default=None, repr=False)
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    memories: tuple[RecalledMemory, ...] = ()


class Text(NamedTuple):
    """The next piece of the answer; the joined pieces are the answer. Characters that cannot be stored are removed."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """The cost of the answer in the persona's own units, as JSON; at most once, after the text."""

    usage: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Deferred:
    """The persona accepted the message and answers later, at POST /webhooks/{kind}; no other piece follows."""


Piece = Text | Usage | Deferred


class PersonaError(Exception):
    """The persona gives no answer, or only a part of one.

    `detail` is for members and the audit, not for the reader.
    """

    def __init__(self, code: ErrorCode, detail: str, *, retryable: bool = False) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.retryable = retryable


class Persona(Protocol):
    """A kind of persona."""

    def answer(self, turn: PersonaTurn) -> AsyncGenerator[Piece, None]:
        """The answer's pieces as they arrive: text and optionally its usage, or one Deferred.

        Ends within the turn's time limit. Closing it early (`aclose`) cancels the work. May raise PersonaError after
        pieces; they count as delivered.
        """
        ...


Model = TypeVar("Model", bound=BaseModel)


def find(kind: str) -> Persona:
    """The persona of a kind. Raises PersonaError (persona_misconfigured) for an unknown kind."""
    module = _module(kind)
    if module is None:
        raise PersonaError("persona_misconfigured", f"there is no kind of persona called {kind[:32]!r}")
    return cast("Persona", module.persona)


def kinds() -> tuple[str, ...]:
    """All kinds in alphabetical order. Imports all of them."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return tuple(name for name in names if _module(name) is not None)


def check(kind: str, config: Mapping[str, Any]) -> None:
    """Check a config before it is stored, without any call.

    A kind without a `Config` accepts any object. Raises InvalidBody: field `kind` for an unknown kind, `config.<name>`
    for each invalid setting, `config` if it is not an object.
    """
    module = _module(kind)
    if module is None:
        raise InvalidBody([FieldError("kind", f"must be one of {', '.join(kinds())}")])
    if not isinstance(config, Mapping):
        raise InvalidBody([FieldError("config", "must be an object")])
    model = getattr(module, "Config", None)
    if model is None:
        return
    try:
        cast("type[BaseModel]", model).model_validate(config)
    except ValidationError as invalid:
        faults = _faults(invalid)
    else:
        return
    raise InvalidBody(list(faults.values()))


def configured(model: type[Model], turn: PersonaTurn) -> Model:
    """The turn's config as a model. Raises PersonaError (persona_misconfigured), which names the invalid settings."""
    try:
        return model.model_validate(turn.config)
    except ValidationError as invalid:
        named = ", ".join(name or fault.message for name, fault in sorted(_faults(invalid).items()))
    raise PersonaError("persona_misconfigured", f"settings of the persona to correct: {excerpt(named, 300)}")


def _faults(invalid: ValidationError) -> dict[str, FieldError]:
    """The first error of each invalid setting, by its name, without the value that was sent."""
    faults: dict[str, FieldError] = {}
    for fault in invalid.errors(include_input=False, include_url=False):
        name = str(fault["loc"][0])[:64] if fault["loc"] else ""
        faults.setdefault(name, FieldError.of({**fault, "loc": (name,) if name else ()}, "config"))
    return faults


def _module(kind: str) -> ModuleType | None:
    """The module of a kind, or None; a module without `persona` is a part of another kind."""
    name = f"{__name__}.{kind}"
    if not _KIND.fullmatch(kind) or find_spec(name) is None:
        return None
    module = importlib.import_module(name)
    return module if hasattr(module, "persona") else None
