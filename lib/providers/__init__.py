"""Providers: the senders of webhooks. One module per sender, found by its name in the path.

A module of this package is a provider if it has the three functions of `Provider`. They are pure: they take a body and
return an answer or raise an error of lib/errors. `reference` reads the unverified body only to find the secret; then
`verify` authenticates the sender, and only then `parse` may be trusted.
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
    """A persona's answer by webhook: a text, an error, or a partial text with an error.

    `turn_id` is a UUID in canonical form. `delivery_key` is the same for repeated deliveries of an answer.
    """

    turn_id: str
    text: str | None
    error: str | None
    delivery_key: str


class Provider(Protocol):
    """A sender of webhooks."""

    def reference(self, body: bytes) -> str:
        """The turn's id in the unverified body, to find the secret.

        Raises InvalidJson, InvalidBody.
        """
        ...

    def verify(self, secret: str, headers: Mapping[str, str], body: bytes) -> None:
        """Verify, in constant time, that the sender knows the secret. Raises SecretInvalid."""
        ...

    def parse(self, body: bytes) -> AsyncAnswer:
        """The answer in the body. Raises InvalidJson, InvalidBody."""
        ...


def find(name: str) -> Provider:
    """The provider with this name. Raises NotFound (provider_not_found)."""
    path = f"{__name__}.{name}"
    if not _NAME.fullmatch(name) or find_spec(path) is None:
        raise NotFound("provider")
    return cast("Provider", importlib.import_module(path))
