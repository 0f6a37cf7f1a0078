"""Client information: user agent, client hints, IP address and device of a request."""

import functools
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from lib import config

Device = Literal["bot", "mobile", "tablet", "desktop"]

_LONGEST_HEADER = 512
_LONGEST_ADDRESS = 100  # with a zone and a port; bounds the cache below
_BOT = re.compile(r"bot\b|crawl|spider|curl/|wget/|python|aiohttp|httpx|okhttp|java/|node", re.IGNORECASE)
_TABLET = re.compile(r"ipad|tablet|kindle|silk/|android(?!.*mobile)", re.IGNORECASE)
_MOBILE = re.compile(r"mobi|iphone|ipod|android", re.IGNORECASE)


@dataclass(frozen=True)
class ClientInfo:
    """The client's user agent, address and device, as stored with a session.

    ``device_info`` is the client hint Sec-CH-UA: the browser's brands and versions.
    """

    user_agent: str | None
    address: str | None
    device: Device | None
    device_info: str | None = None

    def facts(self) -> dict[str, str | None]:
        """Arguments for the database."""
        told = {"user_agent": self.user_agent, "address": self.address, "device": self.device}
        return told if self.device_info is None else told | {"device_info": self.device_info}


def of(request: Request) -> ClientInfo:
    """The client information of a request."""
    user_agent = _printable(request.headers.get("user-agent", "")[: 4 * _LONGEST_HEADER])
    return ClientInfo(
        user_agent=user_agent,
        address=address(
            peer=request.client.host if request.client else None,
            forwarded=request.headers.getlist("x-forwarded-for"),
            trusted_proxies=config.settings().switchboard_trusted_proxies,
        ),
        device=device(user_agent, request.headers.get("sec-ch-ua-mobile", "")[:8]),
        device_info=_printable(request.headers.get("sec-ch-ua", "")[: 4 * _LONGEST_HEADER]),
    )


def address(*, peer: str | None, forwarded: Sequence[str], trusted_proxies: int) -> str | None:
    """The client's IP address in its canonical form, or None.

    Each trusted proxy appends the address of its peer to X-Forwarded-For, so with n proxies the n-th entry from the
    right was written by the outermost one. Entries further left come from the client and are ignored. If the header is
    shorter or the entry is no address, the peer's address is used.
    """
    entries = [entry.strip() for line in forwarded for entry in line.split(",")]
    if 0 < trusted_proxies <= len(entries):
        seen = _canonical(entries[-trusted_proxies][:_LONGEST_ADDRESS])
        if seen is not None:
            return seen
    return _canonical(peer) if peer else None


@functools.lru_cache(maxsize=512)
def device(user_agent: str | None, mobile_hint: str | None = None) -> Device | None:
    """The kind of device by user agent and Sec-CH-UA-Mobile; a guess, good enough for statistics."""
    if mobile_hint == "?1":
        return "mobile"
    if user_agent is None:
        return None
    kinds: tuple[tuple[re.Pattern[str], Device], ...] = (
        (_BOT, "bot"),
        (_TABLET, "tablet"),
        (_MOBILE, "mobile"),
    )
    return next((kind for pattern, kind in kinds if pattern.search(user_agent)), "desktop")


@functools.lru_cache(maxsize=512)
def _printable(header: str) -> str | None:
    return "".join(character for character in header if character.isprintable()).strip()[:_LONGEST_HEADER] or None


@functools.lru_cache(maxsize=512)
def _canonical(text: str) -> str | None:
    """The address without port, zone and IPv4-mapped prefix."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)
