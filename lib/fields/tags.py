"""Tags: members' labels for contacts and sessions, normalised only here."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

from lib.fields.types import storable

LONGEST_TAG = 64


def _tag(text: str) -> str:
    name = " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower()).split())
    if not 1 <= len(name) <= LONGEST_TAG:
        raise ValueError(f"must be 1 to {LONGEST_TAG} characters")
    return name


Tag = Annotated[str, Field(max_length=4 * LONGEST_TAG), AfterValidator(storable), AfterValidator(_tag)]
"""A tag: trimmed, NFC, lower case, single spaces."""
