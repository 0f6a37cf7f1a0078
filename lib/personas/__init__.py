"""Personas: who answers. One module per kind, found by its name.

A module of this package is a kind of persona when it defines `persona`, an object with the method of
`Persona`. It is imported when the first turn needs it, so a function pays only for the kinds it uses.
docs/personas.md shows how to add one.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal, Protocol, cast

Role = Literal["contact", "user", "persona", "member"]
ErrorCode = Literal[
    "persona_unreachable",  # nothing answers at the address
    "persona_timeout",  # no answer in time
    "persona_refused",  # answered with another status than 2xx
    "persona_bad_answer",  # not what it says it is, unreadable or empty
    "persona_failed",  # says itself that it failed
    "persona_cut_off",  # ended before the end
    "persona_too_large",  # more than we take
    "persona_address_refused",  # an address that the workspace does not allow
    "persona_misconfigured",  # its settings make no sense
]

_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """An earlier message of the conversation; `created_at` is RFC 3339, UTC."""

    role: Role
    text: str
    created_at: str


@dataclass(frozen=True, slots=True)
class PersonaTurn:
    """All that a persona is given to answer one message.

    `history` is oldest first and without the new message. `config` is as stored and unchecked: the module
    checks it. `secret` comes from the vault and belongs in no error and no log.
    """

    turn_id: str
    session_id: str
    conversation_id: str
    persona_id: str
    contact_id: str | None
    user_id: str | None
    message: str
    history: tuple[HistoryMessage, ...]
    time_limit_seconds: int
    config: Mapping[str, Any] = field(default_factory=dict)
    secret: str | None = field(default=None, repr=False)
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the answer, never empty; the pieces joined are the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What the answer cost, in the persona's own units; at most once, after the text."""

    usage: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Deferred:
    """The message was accepted and the answer comes later, to POST /webhooks/{kind}; nothing else follows."""


Piece = Text | Usage | Deferred


class PersonaError(Exception):
    """A persona that gives no, or no whole, answer.

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
        """The answer's pieces as they come: some text and perhaps its usage, or one Deferred.

        Ends within the turn's time limit. Closing it early (`aclose`) ends the work. Raises PersonaError,
        also after pieces: what was given out by then counts as said.
        """
        ...


def find(kind: str) -> Persona:
    """The persona of a kind. Raises PersonaError (persona_misconfigured) when there is none."""
    name = f"{__name__}.{kind}"
    if not _KIND.fullmatch(kind) or find_spec(name) is None:
        raise PersonaError("persona_misconfigured", f"there is no kind of persona called {kind[:32]!r}")
    persona = getattr(importlib.import_module(name), "persona", None)
    if persona is None:
        raise PersonaError("persona_misconfigured", f"there is no kind of persona called {kind!r}")
    return cast("Persona", persona)
