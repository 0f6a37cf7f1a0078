import asyncio
import gzip
import ipaddress
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from lib.outbound import client as outbound
from lib.outbound import wire
from lib.outbound.addresses import Networks, host_permitted, permitted
from lib.outbound.client import (
    AddressError,
    AnswerError,
    CutOffError,
    LateError,
    Limits,
    SizeError,
    UnreachableError,
    UrlError,
)
from lib.outbound.wire import AddressInfo, Origin
from tests.standins.n8n import N8n

LOOPBACK: Networks = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest_asyncio.fixture(autouse=True)
async def closed_connections() -> AsyncIterator[None]:
    yield
    await outbound.close()


@pytest_asyncio.fixture
async def n8n() -> AsyncIterator[N8n]:
    async with N8n() as running:
        yield running


async def fetch(url: str, allowed: Networks = LOOPBACK, **limits: Any) -> tuple[int, bytes]:
    async with outbound.post(url, json={}, limits=Limits(**limits), allowed=allowed) as answer:
        return answer.status, b"".join([chunk async for chunk in answer.chunks()])


# Which addresses


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 (nothing is bound)
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not permitted(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "172.15.255.255", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"]
)
def test_a_public_address_is_permitted(address: str) -> None:
    assert permitted(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["1.1.1.1", "2606:4700::1111", "n8n.example.com"])
def test_a_public_host_may_be_a_name_or_an_address(host: str) -> None:
    assert host_permitted(host)


@given(st.ip_addresses())
def test_whatever_is_permitted_is_global_for_python_too(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
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
def test_no_other_form_smuggles_an_ipv4_address(address: ipaddress.IPv4Address, prefix: int) -> None:
    shift = 80 if prefix >> 112 == 0x2002 else 0
    assert not permitted(ipaddress.IPv6Address(prefix | int(address) << shift))


@given(st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_an_allowed_network_permits_its_addresses_and_no_others(address: ipaddress.IPv4Address) -> None:
    allowed = (ipaddress.ip_network("10.0.0.0/9"),)
    assert permitted(address, allowed) == (address in allowed[0])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "2130706433",
        "１２７.０.０.１",  # noqa: RUF001 (that is the attempt)
        "①②⑦.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:169.254.169.254]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[fe80::1%25eth0]",
    ],
)
async def test_a_private_host_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(AddressError) as refused:
        await fetch(f"http://{host}:9/", allowed=())
    assert refused.value.code == "address_refused"


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1"])
async def test_an_odd_spelling_is_refused_even_of_an_allowed_address(host: str) -> None:
    with pytest.raises(AddressError):
        await fetch(f"http://{host}:9/")


async def test_an_allowed_address_can_be_called(n8n: N8n) -> None:
    assert (await fetch(n8n.url("last-node")))[0] == 200


async def test_a_name_is_judged_by_what_it_resolves_to(n8n: N8n) -> None:
    with pytest.raises(AddressError):
        await fetch(n8n.url("last-node", host="localhost"), allowed=())
    assert (await fetch(n8n.url("last-node", host="localhost")))[0] == 200


async def test_a_pooled_connection_serves_nobody_who_may_not_open_it(n8n: N8n) -> None:
    url = n8n.url("last-node", host="localhost")
    await fetch(url)
    await fetch(url)
    assert n8n.received[0].port == n8n.received[1].port
    with pytest.raises(AddressError):
        await fetch(url, allowed=())
    assert len(n8n.received) == 2


def resolve_to(*addresses: str) -> Any:
    async def resolve(origin: Origin, *_: object) -> list[AddressInfo]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, origin.port)) for address in addresses]

    return resolve


async def test_a_name_without_an_address_is_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "resolve", resolve_to())
    with pytest.raises(UnreachableError, match="no host"):
        await fetch("http://nobody.example/")


async def test_of_several_addresses_only_the_permitted_are_tried(n8n: N8n, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "resolve", resolve_to("10.255.255.1", "127.0.0.1"))
    assert (await fetch(n8n.url("last-node", host="both.example"), connect_seconds=1))[0] == 200


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.1", "127.0.0.2", "127.0.0.3")])
async def test_the_address_of_the_socket_counts_whatever_the_resolver_said(
    n8n: N8n, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    monkeypatch.setattr(outbound, "_permitted_addresses", resolve_to(*addresses))
    with pytest.raises(AddressError):
        await fetch(n8n.url("last-node", host="rebinding.example"), allowed=())
    assert n8n.received == []


# Which URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/webhook",
        "//example.org",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user@example.org/",
        "http://user:word@example.org/",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://example.org/a b",
        "http://example.org/a\r\nHost: other",
        "http://example.org\\@other.example/",
        "http://[::1/",
        "http://example.org/" + "a" * 2_048,
    ],
)
async def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(UrlError) as refused:
        await fetch(url)
    assert refused.value.code == "misconfigured"


# What is sent and taken


async def test_a_redirect_is_not_followed(n8n: N8n) -> None:
    n8n.say("away", status=307, headers={"Location": n8n.url("last-node")})
    assert (await fetch(n8n.url("away")))[0] == 307
    assert [received.path for received in n8n.received] == ["away"]


async def test_cookies_are_not_kept(n8n: N8n) -> None:
    n8n.say("cookie", b"{}", headers={"Set-Cookie": "session=1; Path=/"})
    for _ in range(2):
        await fetch(n8n.url("cookie", host="localhost"))
    assert "cookie" not in n8n.received[1].headers


async def test_proxies_of_the_environment_are_ignored(n8n: N8n, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await fetch(n8n.url("last-node")))[0] == 200


async def test_an_answer_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(n8n: N8n) -> None:
    url = n8n.say("sized", b"x" * 600, b"x" * 400)
    assert len((await fetch(url, max_bytes=1_000))[1]) == 1_000
    with pytest.raises(SizeError) as refused:
        await fetch(url, max_bytes=999)
    assert refused.value.code == "too_large"


async def test_a_compressed_answer_is_read(n8n: N8n) -> None:
    url = n8n.say("packed", gzip.compress(b"hello"), headers={"Content-Encoding": "gzip"})
    assert (await fetch(url))[1] == b"hello"


async def test_a_gzip_bomb_is_stopped_at_the_limit_and_not_in_memory(n8n: N8n) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    url = n8n.say("bomb", bomb, headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        with pytest.raises(SizeError):
            await fetch(url, max_bytes=2_000_000)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


async def test_an_answer_that_is_not_encoded_as_it_says_is_no_answer(n8n: N8n) -> None:
    url = n8n.say("lie", b"plain", headers={"Content-Encoding": "gzip"})
    with pytest.raises(AnswerError):
        await fetch(url)


# How long


async def test_a_first_byte_that_does_not_come_ends_the_wait(n8n: N8n) -> None:
    with pytest.raises(LateError, match="did not begin"):
        await fetch(n8n.url("slow"), first_byte_seconds=0.1)


async def test_silence_in_the_middle_ends_the_wait(n8n: N8n) -> None:
    with pytest.raises(LateError, match="stopped coming"):
        await fetch(n8n.url("silent"), idle_seconds=0.1)


async def test_silence_is_counted_from_the_last_byte_on(n8n: N8n) -> None:
    status, body = await fetch(n8n.url("stream?seconds=0.6"), idle_seconds=1.5)
    assert status == 200
    assert body.count(b'"item"') == 3


async def test_who_reads_late_waits_for_no_one(n8n: N8n) -> None:
    limits = Limits(idle_seconds=0.1)
    async with outbound.post(n8n.url("stream?seconds=0.02"), json={}, limits=limits, allowed=LOOPBACK) as answer:
        await asyncio.sleep(0.3)
        assert b'"end"' in b"".join([chunk async for chunk in answer.chunks()])


async def test_the_total_counts_while_nobody_reads(n8n: N8n) -> None:
    limits = Limits(total_seconds=0.3)
    async with outbound.post(n8n.url("silent"), json={}, limits=limits, allowed=LOOPBACK) as answer:
        chunks = answer.chunks()
        await anext(chunks)
        await asyncio.sleep(0.4)
        with pytest.raises(LateError, match="too long"):
            await anext(chunks)


async def test_an_answer_that_keeps_coming_ends_at_the_total(n8n: N8n) -> None:
    with pytest.raises(LateError, match="too long"):
        await fetch(n8n.url("stream?seconds=0.1"), total_seconds=0.25)


async def test_a_connection_that_is_not_made_in_time_is_given_up() -> None:
    # Nobody accepts: once the queue of connections is full, the kernel lets further ones wait.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        filling = [socket.socket() for _ in range(4)]
        for client in filling:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        await asyncio.sleep(0.05)
        with pytest.raises(UnreachableError, match="in time") as given_up:
            await fetch(f"http://127.0.0.1:{full.getsockname()[1]}/", connect_seconds=0.2)
        assert given_up.value.retryable
        for client in filling:
            client.close()


# What breaks


@pytest.mark.parametrize("url", ["http://nowhere.invalid/", "http://a..b/", "http://127.0.0.1:1/"])
async def test_where_nobody_listens_nobody_is_reached(url: str) -> None:
    with pytest.raises(UnreachableError) as unreachable:
        await fetch(url)
    assert unreachable.value.code == "unreachable"


async def test_an_answer_that_breaks_off_is_cut_off(n8n: N8n) -> None:
    with pytest.raises(CutOffError) as cut:
        await fetch(n8n.url("cut"))
    assert cut.value.code == "cut_off"


@pytest.mark.parametrize(("said", "error"), [(b"", UnreachableError), (b"SSH-2.0-OpenSSH\r\n\r\n", AnswerError)])
async def test_a_server_that_does_not_speak_http(said: bytes, error: type[Exception]) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        with pytest.raises(error):
            await fetch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_a_certificate_that_nobody_vouches_for_is_not_accepted(tmp_path: Path) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=own_certificate(tmp_path))
    async with server:
        with pytest.raises(UnreachableError, match="certificate"):
            await fetch(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


def own_certificate(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
