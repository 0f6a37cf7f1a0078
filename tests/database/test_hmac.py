"""The database's own HMAC-SHA256, compared with Python's."""

import hashlib
import hmac

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.database.desk import Desk


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.binary(max_size=140), message=st.binary(max_size=200))
@example(key=b"\xaa" * 63, message=b"the block size is 64")
@example(key=b"\xaa" * 64, message=b"the block size is 64")
@example(key=b"\xaa" * 65, message=b"the block size is 64")
async def test_the_digest_is_pythons(desk: Desk, key: bytes, message: bytes) -> None:
    made = await desk.one("select private.hmac_sha256($1, $2)", key, message)
    assert made == (hmac.new(key, message, hashlib.sha256).digest(),)
