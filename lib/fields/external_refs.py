"""References: by what other systems know what a session works on, normalised once, here.

    avinode  trip   atrip-64956150    a trip's id; the prefix in lower case
    avinode  trip   A1B2C3            the same trip's short code, as people and webhooks write it; in upper case
    avinode  rfp, rfq  arfq-1         what operators were asked with
    any other system and kind         kept as it is, trimmed, without invisible characters

Avinode knows a trip both as ``atrip-…`` and by a short code, and nothing derives one from the other: both are stored as
they become known, and either finds the session. Source: developer.avinodegroup.com, webhooks (``id``, ``tripId``).

Operators are named here too: each has one quote per request, so two spellings of one name are one key.
"""

import re
import unicodedata
from dataclasses import dataclass

from lib.fields import invisible

LONGEST = 200
"""Longest id in characters."""

AVINODE = "avinode"

_PREFIXED = re.compile(r"(a[a-z]{1,19})-([\x21-\x7e]{1,180})", re.IGNORECASE | re.ASCII)
_CODE = re.compile(r"[a-z0-9]{1,32}", re.IGNORECASE | re.ASCII)
_UNSTORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Ref:
    """A reference: the system, the kind of object there, and the id as it is compared."""

    system: str
    kind: str
    external_id: str

    def document(self) -> dict[str, str]:
        """Arguments for the database."""
        return {"system": self.system, "kind": self.kind, "external_id": self.external_id}


def of(system: str, kind: str, external_id: str) -> Ref:
    """A reference as it is stored. Raises ValueError for an id that is blank, too long or holds control characters."""
    known = _clean(invisible.removed(external_id))
    return Ref(system, kind, _avinode(known) if system == AVINODE else known)


def spellings(external_id: str) -> list[str]:
    """All forms in which an id of unknown system may be stored. Raises ValueError as `of`."""
    known = _clean(invisible.removed(external_id))
    return sorted({known, _avinode(known)})


def operator_name(name: str) -> str:
    """An operator's display name: NFC, single spaces. Raises ValueError as `of`."""
    return _clean(" ".join(_clean(name).split()))


def operator_key(name: str) -> str:
    """The key of an operator: its name in lower case. Raises ValueError as `of`."""
    return _clean(operator_name(name).lower())


def _clean(text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ValueError("must not contain control characters")
    known = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(known) <= LONGEST:
        raise ValueError(f"must be 1 to {LONGEST} characters")
    return known


def _avinode(known: str) -> str:
    if prefixed := _PREFIXED.fullmatch(known):
        return f"{prefixed[1].lower()}-{prefixed[2]}"
    return known.upper() if _CODE.fullmatch(known) else known
