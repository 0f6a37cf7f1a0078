"""The embedded chat: the script of web/widget/, served to any page."""

import functools
import gzip
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

BUNDLE = Path(__file__).parents[2] / "web" / "dist" / "widget.js"
"""The script, which `npm run build` bundles from web/widget/."""

FRESH_SECONDS = 300
"""max-age of the script: a new version reaches every page within this time."""

_HEADERS = {
    "Cache-Control": f"public, max-age={FRESH_SECONDS}, must-revalidate",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


@functools.cache
def script() -> bytes:
    """The whole script. Raises OSError if it has not been built."""
    return BUNDLE.read_bytes()


@functools.cache
def compressed() -> bytes:
    """The gzipped script (a third of its size), because not every host compresses responses."""
    return gzip.compress(script(), mtime=0)


@functools.cache
def etag(encoding: str = "") -> str:
    """The script's ETag for this encoding."""
    return f'"{hashlib.sha256(script()).hexdigest()[:32]}{encoding and "-" + encoding}"'


def answer(request: Request) -> Response:
    """The script, or 304 for a browser that has it."""
    zipped = _takes_gzip(request.headers.get("accept-encoding", ""))
    tag = etag("gzip" if zipped else "")
    headers = {**_HEADERS, "ETag": tag}
    if _names(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    if zipped:
        headers["Content-Encoding"] = "gzip"
    return Response(compressed() if zipped else script(), media_type="text/javascript", headers=headers)


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is accepted with a non-zero quality (RFC 9110, 12.5.3)."""
    for part in accept_encoding.lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "").rstrip("0.") != "q="
    return False


def _names(if_none_match: str, tag: str) -> bool:
    """Whether If-None-Match matches this ETag: weak comparison, and `*` matches any (RFC 9110, 13.1.2)."""
    known = [listed.strip().removeprefix("W/") for listed in if_none_match.split(",")]
    return tag in known or "*" in known
