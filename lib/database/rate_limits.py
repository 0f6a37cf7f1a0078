"""Rate limits: the RateLimit headers of a response.

The headers follow the IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers-08 and
later): a policy has the quota `q` and the window `w` in seconds; the state has the remaining `r` and the seconds `t`
until the window ends.
"""

from collections.abc import Iterable, Mapping

from pydantic import Field

from lib.fields.models import Record

WINDOW_SECONDS = 60


class RateLimit(Record):
    """A limit in the current minute; `reset` is in seconds."""

    name: str = Field(pattern=r"^[a-z_]{1,64}$")
    quota: int
    remaining: int
    reset: int


def headers(limits: Iterable[RateLimit]) -> Mapping[str, str]:
    """The headers of a response to which these limits apply; empty without limits."""
    listed = tuple(limits)
    if not listed:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{limit.name}";q={limit.quota};w={WINDOW_SECONDS}' for limit in listed),
        "RateLimit": ", ".join(f'"{limit.name}";r={max(limit.remaining, 0)};t={limit.reset}' for limit in listed),
    }
