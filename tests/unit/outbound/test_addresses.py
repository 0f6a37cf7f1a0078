import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.outbound.addresses import Networks, host_permitted, permitted

LOOPBACK: Networks = (ipaddress.ip_network("127.0.0.0/8"),)

SPECIAL = """
    0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254 169.254.170.2
    172.16.0.1 172.31.255.255 192.0.0.192 192.168.1.1 198.18.0.1 203.0.113.9 224.0.0.1 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::a00:1 2002:7f00:1::1
    2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1
"""
PUBLIC = "1.1.1.1 172.15.255.255 172.32.0.1 100.128.0.1 2606:4700::1111 ::ffff:1.1.1.1"


@pytest.mark.parametrize(("addresses", "public"), [(SPECIAL, False), (PUBLIC, True)])
def test_only_public_addresses_are_permitted(addresses: str, public: bool) -> None:
    for address in addresses.split():
        assert permitted(ipaddress.ip_address(address)) is public, address


@pytest.mark.parametrize("host", ["1.1.1.1", "2606:4700::1111", "n8n.example.com"])
def test_a_public_host_may_be_a_name_or_an_address(host: str) -> None:
    assert host_permitted(host)


@given(st.ip_addresses())
def test_a_permitted_address_is_global_for_python_too(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if permitted(address):
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        assert (mapped or address).is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_an_address_is_judged_alike_when_written_as_ipv6(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    assert permitted(mapped) == permitted(address)
    assert permitted(mapped, LOOPBACK) == permitted(address, LOOPBACK)


@given(st.ip_addresses(v=4), st.sampled_from([0x2002 << 112, 0x0064FF9B << 96, 0]))
def test_no_ipv6_form_hides_an_ipv4_address(address: ipaddress.IPv4Address, prefix: int) -> None:
    shift = 80 if prefix >> 112 == 0x2002 else 0
    assert not permitted(ipaddress.IPv6Address(prefix | int(address) << shift))


@given(st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_an_allowed_network_permits_its_addresses_and_no_others(address: ipaddress.IPv4Address) -> None:
    allowed = (ipaddress.ip_network("10.0.0.0/9"),)
    assert permitted(address, allowed) == (address in allowed[0])
