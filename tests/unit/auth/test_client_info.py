import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.auth import client_info

addresses = st.ip_addresses().map(str)


@given(addresses, st.lists(addresses, max_size=5))
def test_without_trusted_proxies_only_the_peer_counts(peer: str, claimed: list[str]) -> None:
    got = client_info.address(peer=peer, forwarded=[", ".join(claimed)], trusted_proxies=0)
    assert got == client_info.address(peer=peer, forwarded=[], trusted_proxies=0)


@given(addresses, addresses, st.lists(addresses, max_size=4), st.integers(1, 3), st.data())
def test_an_address_that_the_client_claims_never_counts(
    peer: str, real: str, claimed: list[str], proxies: int, data: st.DataObject
) -> None:
    hops = data.draw(st.lists(addresses, min_size=proxies - 1, max_size=proxies - 1))
    got = client_info.address(peer=peer, forwarded=[",".join([*claimed, real, *hops])], trusted_proxies=proxies)
    mapped = getattr(ipaddress.ip_address(real), "ipv4_mapped", None)
    assert got == str(mapped or ipaddress.ip_address(real))


@given(st.text(max_size=60), st.lists(st.text(max_size=60), max_size=3), st.integers(0, 3))
def test_no_header_makes_anything_but_an_address_or_nothing(peer: str, forwarded: list[str], proxies: int) -> None:
    got = client_info.address(peer=peer, forwarded=forwarded, trusted_proxies=proxies)
    assert got is None or str(ipaddress.ip_address(got)) == got


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "address"),
    [
        ("192.0.2.7:4711", [], 0, "192.0.2.7"),
        ("[2001:DB8::1]:4711", [], 0, "2001:db8::1"),
        ("2001:db8:0:0::1", [], 0, "2001:db8::1"),
        ("::ffff:192.0.2.7", [], 0, "192.0.2.7"),
        ("fe80::1%eth0", [], 0, "fe80::1"),
        ("unknown", [], 0, None),
        # Several headers are one list; a list shorter than the proxies leaves the peer.
        ("192.0.2.1", ["198.51.100.1", "198.51.100.2"], 2, "198.51.100.1"),
        ("192.0.2.1", ["198.51.100.1"], 2, "192.0.2.1"),
        (None, [], 1, None),
    ],
)
def test_an_address_has_one_form(peer: str | None, forwarded: list[str], proxies: int, address: str | None) -> None:
    assert client_info.address(peer=peer, forwarded=forwarded, trusted_proxies=proxies) == address


@pytest.mark.parametrize(
    ("user_agent", "hint", "device"),
    [
        (None, None, None),
        (None, "?1", "mobile"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36", "?0", "desktop"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148", None, "mobile"),
        ("Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/140.0 Mobile Safari/537.36", None, "mobile"),
        ("Mozilla/5.0 (Linux; Android 14; SM-X810) Chrome/140.0 Safari/537.36", None, "tablet"),
        ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X)", None, "tablet"),
        ("curl/8.9.1", None, "bot"),
        ("Googlebot/2.1 (+http://www.google.com/bot.html)", None, "bot"),
    ],
)
def test_the_device_is_guessed(user_agent: str | None, hint: str | None, device: str | None) -> None:
    assert client_info.device(user_agent, hint) == device
