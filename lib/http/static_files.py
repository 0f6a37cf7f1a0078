"""Files that a function serves to any browser: the script of the embedded chat, the description of the API and the page
that shows it.

`make install` builds those of web/dist from web/; the description is docs/openapi.json.
"""

import functools
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FRESH_SECONDS = 300
"""max-age of a file: a new version reaches every browser within this time."""

_ROOT = Path(__file__).parents[2]
_HEADERS = {
    "Cache-Control": f"public, max-age={FRESH_SECONDS}, must-revalidate",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}

_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Switchboard API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/reference.css">
</head>
<body>
<main id="reference"></main>
<script src="docs/reference.js"></script>
</body>
</html>
"""
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class StaticFile:
    """A file, read when it is first asked for."""

    path: str
    media_type: str

    @functools.cached_property
    def content(self) -> bytes:
        """The whole file. Raises OSError if it has not been built."""
        return (_ROOT / self.path).read_bytes()

    @functools.cached_property
    def compressed(self) -> bytes:
        """The gzipped file (a third of its size), because not every host compresses responses."""
        return gzip.compress(self.content, mtime=0)

    @functools.cached_property
    def digest(self) -> str:
        """Identifies the version."""
        return hashlib.sha256(self.content).hexdigest()[:32]

    def answer(self, request: Request) -> Response:
        """The file, or 304 for a browser that has it."""
        zipped = _takes_gzip(request.headers.get("accept-encoding", ""))
        tag = f'"{self.digest}{"-gzip" if zipped else ""}"'
        headers = {**_HEADERS, "ETag": tag}
        if _names(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
        if zipped:
            headers["Content-Encoding"] = "gzip"
        return Response(self.compressed if zipped else self.content, media_type=self.media_type, headers=headers)


WIDGET = StaticFile("web/dist/widget.js", "text/javascript")
DESCRIPTION = StaticFile("docs/openapi.json", "application/json")
REFERENCE: Mapping[str, StaticFile] = {
    "reference.js": StaticFile("web/dist/reference.js", "text/javascript"),
    "reference.css": StaticFile("web/dist/reference.css", "text/css"),
}


def reference_page() -> Response:
    """The page that shows the description, from its own origin only."""
    return Response(_PAGE, media_type="text/html", headers=_HEADERS | _PAGE_HEADERS)


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
