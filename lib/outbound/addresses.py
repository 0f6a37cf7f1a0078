"""Checks of addresses: public ones may be called, and those in a workspace's allowed networks."""

from __future__ import annotations

import functools
import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = tuple[Network, ...]

# IPv6 addresses outside the global unicast space (RFC 4291, 2.4) are never public …
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
# … nor are addresses of either family that the registries reserve. Listed here, because the result of
# `ipaddress.is_global` changed between patch releases of Python.
# https://www.iana.org/assignments/iana-ipv4-special-registry · …/iana-ipv6-special-registry
_SPECIAL: Networks = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's metadata, a public address by its number only
        "169.254.0.0/16",  # link-local: the metadata of AWS, Google and Azure
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, and Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # protocol assignments, Teredo (which carries IPv4) among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries IPv4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
# NAT64 (64:ff9b::/96), unique local, link-local and the rest lie outside 2000::/3.


def permitted(address: Address, allowed: Networks = ()) -> bool:
    """Whether an address may be connected to: it is public, or inside an allowed network.

    An IPv4-mapped IPv6 address is checked as the IPv4 address to which the system connects.
    """
    address = _unmapped(address)
    if any(address in network for network in allowed):
        return True
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_V6:
        return False
    return not any(address in network for network in _SPECIAL)


@functools.lru_cache(maxsize=1_024)
def networks(texts: tuple[str, ...]) -> Networks:
    """The networks that the database returns as texts; equal texts give the same object. Raises ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def host_permitted(host: str, allowed: Networks = ()) -> bool:
    """Whether a URL's host may be called, as far as that is known before it is resolved.

    A name may: its addresses are checked when a connection is opened. A host written as an address is checked as that
    address. Unusual spellings (0x7f.1, 2130706433, 0177.0.0.1, an IPv6 zone) are always refused.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return not _is_spelled_oddly(host)
    zoned = isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None
    return not zoned and permitted(address, allowed)


def parse(text: str) -> Address:
    """An address from the system's resolver or a socket, with or without a zone."""
    return ipaddress.ip_address(text.partition("%")[0])


def _is_spelled_oddly(host: str) -> bool:
    try:
        socket.inet_aton(host.rstrip("."))
    except (OSError, UnicodeEncodeError):
        return False
    return True


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
