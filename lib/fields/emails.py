"""Email addresses: kept as typed, compared by key.

The key is the trimmed address in NFC with a lower-case local part and an IDNA domain in ASCII. Invisible characters and
the `mailto:` of a copied link are no part of it. Dots and plus tags stay, because they are different mailboxes at many
providers. Keys are made only here; the database compares them.
"""

import functools
import re
import unicodedata
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from lib.fields import invisible

LONGEST = 320

_SCHEME = re.compile(r"mailto:\s*", re.IGNORECASE)


def _parsed(text: str) -> str:
    parse(text)
    return text


EmailText = Annotated[str, Field(max_length=LONGEST), AfterValidator(_parsed)]
"""An email address as typed."""

EmailHmac = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]
"""HMAC-SHA256 of the email under the space's secret, in hexadecimal."""


@dataclass(frozen=True)
class Email:
    """An address as typed (without invisible characters), and the key by which it is compared."""

    typed: str
    key: str


def parse(text: str) -> Email:
    """The address in a text. Raises ValueError with a message for its sender.

    Only the syntax is checked; no DNS request is made.
    """
    typed = _SCHEME.sub("", invisible.removed(text), count=1)
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
    """The validator, imported at the first address because loading its tables is slow."""
    import email_validator  # noqa: PLC0415

    # Companies and tests use addresses under .test, .local and similar domains, and nothing is sent to them from here.
    # Clearing this list is the documented way to allow them.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    return email_validator
