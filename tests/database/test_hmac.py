"""The database's own HMAC-SHA256, held against RFC 4231 and Python's, and the secrets it is made with."""

import hashlib
import hmac

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.database.desk import PERSONA, SPACE, WORKSPACE, Desk, signed

VECTORS = {
    "case 1": ("0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    "case 2": (
        b"Jefe".hex(),
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    "case 3": ("aa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    "case 4": (
        "0102030405060708090a0b0c0d0e0f10111213141516171819",
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    "case 5": ("0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
    "case 6": (
        "aa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    "case 7": (
        "aa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. "
        b"The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
}


async def _hmac(desk: Desk, key: bytes, message: bytes) -> bytes:
    made: bytes = await desk.admin.fetchval("select private.hmac_sha256($1, $2)", key, message)
    return made


@pytest.mark.parametrize(("key", "message", "digest"), VECTORS.values(), ids=VECTORS.keys())
async def test_it_makes_the_digests_of_rfc_4231(desk: Desk, key: str, message: bytes, digest: str) -> None:
    made = await _hmac(desk, bytes.fromhex(key), message)

    # Case 5 of the RFC gives the first 128 bits only.
    assert made.hex()[: len(digest)] == digest
    assert len(made) == 32


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.binary(max_size=140), message=st.binary(max_size=200))
async def test_it_agrees_with_pythons(desk: Desk, key: bytes, message: bytes) -> None:
    assert await _hmac(desk, key, message) == hmac.new(key, message, hashlib.sha256).digest()


@pytest.mark.parametrize("length", [63, 64, 65])
async def test_it_agrees_with_pythons_around_the_block_size(desk: Desk, length: int) -> None:
    key = bytes(range(length))

    assert await _hmac(desk, key, b"message") == hmac.new(key, b"message", hashlib.sha256).digest()


async def test_secrets_are_used_for_the_entered_workspace_only(desk: Desk) -> None:
    elsewhere, _ = await desk.open_workspace()
    secret = await desk.keep_secret("s3cret")
    await desk.admin.execute("update public.spaces set hmac_secret_id = $1 where id = $2", secret, SPACE)
    await desk.admin.execute("update public.personas set secret_id = $1 where id = $2", secret, PERSONA)

    told = []
    for workspace in (WORKSPACE, elsewhere, ""):
        await desk.admin.execute("select set_config('switchboard.workspace_id', $1, false)", workspace)
        told.append(
            (
                await desk.admin.fetchval(
                    "select private.email_is_signed($1, 'a@b.test', 'a@b.test', $2)",
                    SPACE,
                    signed("a@b.test", "s3cret"),
                ),
                await desk.admin.fetchval("select private.persona_secret($1)", PERSONA),
            )
        )

    assert told == [(True, "s3cret"), (False, None), (False, None)]
