"""Providers: who calls our webhooks. One module per sender, found by its name in the path.

A module of this package is a provider when it has the three functions of `Provider`. They are pure: a body
goes in, an answer comes out or an error of lib/errors. The secret is found by `reference`, which reads an
unverified body and is good for nothing else; only then `verify` shows who sent it, and only after that
`parse` is to be believed.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol, cast

from lib.errors import NotFound

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class AsyncAnswer:
    """A persona's answer that came by webhook: a text, an error, or a text that breaks off in an error.

    `turn_id` is a UUID in its usual form. `delivery_key` is the same for the same answer, however often it
    is sent.
    """

    turn_id: str
    text: str | None
    error: str | None
    delivery_key: str


class Provider(Protocol):
    """A sender of webhooks."""

    def reference(self, body: bytes) -> str:
        """What the body claims to be about, to find the secret by: a turn's id.

        Raises InvalidJson, InvalidBody.
        """
        ...

    def verify(self, secret: str, headers: Mapping[str, str], body: bytes) -> None:
        """Returns when whoever sent this knows the secret; takes as long when not. Raises SecretInvalid."""
        ...

    def parse(self, body: bytes) -> AsyncAnswer:
        """What the body says. Raises InvalidJson, InvalidBody."""
        ...


def find(name: str) -> Provider:
    """The provider of a name. Raises NotFound (provider_not_found)."""
    path = f"{__name__}.{name}"
    if not _NAME.fullmatch(name) or find_spec(path) is None:
        raise NotFound("provider")
    return cast("Provider", importlib.import_module(path))
