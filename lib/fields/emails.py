"""Email addresses: kept as typed, compared by key.

The key is the trimmed address in NFC, its local part in lower case, its domain in IDNA's ASCII form.
Dots and plus-tags stay: they are different mailboxes with many providers. Nothing else makes keys, so
that the database compares what was normalised once, here.
"""

import functools
import unicodedata
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

LONGEST = 320


def _parsed(text: str) -> str:
    parse(text)
    return text


EmailText = Annotated[str, Field(max_length=LONGEST), AfterValidator(_parsed)]
"""An email address as somebody typed it."""

EmailHmac = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]
"""HMAC-SHA256 of the email under the space's secret, in hexadecimal."""


@dataclass(frozen=True)
class Email:
    """An address as somebody typed it, trimmed, and the key under which it is the same as another."""

    typed: str
    key: str


def parse(text: str) -> Email:
    """The address in a text. Raises ValueError, whose text may be shown to whoever typed it.

    Only the form is checked: no name server is asked, so no one's typing makes us call out.
    """
    typed = text.strip()
    library = _library()
    try:
        composed = unicodedata.normalize("NFC", typed)
        valid = library.validate_email(composed, check_deliverability=False, strict=True)
    except (library.EmailNotValidError, UnicodeError):
        raise ValueError("must be an email address") from None
    domain = valid.ascii_domain.lower() if valid.ascii_domain else valid.domain
    local = unicodedata.normalize("NFC", valid.local_part.lower())
    return Email(typed=typed, key=f"{local}@{domain}")


@functools.cache
def _library() -> ModuleType:
    """The validator, imported at the first address: its tables are nothing a webhook should wait for."""
    import email_validator  # noqa: PLC0415

    # Addresses under .test, .local and the like are real inside a company or a test, and nothing is sent
    # to them from here. The library documents this list as the way to allow them.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    return email_validator
