"""Limits: how much a caller has left, as the RateLimit headers tell it.

The headers are those of the IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers, from
its eighth version on): a policy names the quota `q` and its window `w` in seconds, the state what remains `r` and in
how many seconds `t` the window ends.
"""

from collections.abc import Iterable, Mapping

from pydantic import Field

from lib.fields.models import Record

WINDOW_SECONDS = 60


class RateLimit(Record):
    """One limit of the current minute; `reset` is in seconds."""

    name: str = Field(pattern=r"^[a-z_]{1,64}$")
    quota: int
    remaining: int
    reset: int


def headers(limits: Iterable[RateLimit]) -> Mapping[str, str]:
    """The headers of an answer that these limits apply to; none where there are none."""
    listed = tuple(limits)
    if not listed:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{limit.name}";q={limit.quota};w={WINDOW_SECONDS}' for limit in listed),
        "RateLimit": ", ".join(f'"{limit.name}";r={max(limit.remaining, 0)};t={limit.reset}' for limit in listed),
    }
