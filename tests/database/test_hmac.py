"""The database's own HMAC-SHA256, compared with Python's, and the workspace whose secrets it uses."""

import hashlib
import hmac

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.database.desk import PERSONA, SECRET, SPACE, WORKSPACE, Desk, signed


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.binary(max_size=140), message=st.binary(max_size=200))
@example(key=b"\xaa" * 63, message=b"the block size is 64")
@example(key=b"\xaa" * 64, message=b"the block size is 64")
@example(key=b"\xaa" * 65, message=b"the block size is 64")
async def test_the_digest_is_pythons(desk: Desk, key: bytes, message: bytes) -> None:
    made = await desk.one("select private.hmac_sha256($1, $2)", key, message)
    assert made == (hmac.new(key, message, hashlib.sha256).digest(),)


async def test_secrets_are_used_for_the_entered_workspace_only(desk: Desk) -> None:
    elsewhere, _ = await desk.open_workspace()
    await desk.believe_hmacs()
    secret = await desk.keep_secret(SECRET)
    await desk.admin.execute("update public.personas set secret_id = $1 where id = $2", secret, PERSONA)
    query = "select private.email_is_signed($1, 'a@b.test', 'a@b.test', $2), private.persona_secret($3)"
    for workspace, expected in ((WORKSPACE, (True, SECRET)), (elsewhere, (False, None)), ("", (False, None))):
        await desk.admin.execute("select set_config('switchboard.workspace_id', $1, false)", workspace)
        assert await desk.one(query, SPACE, signed("a@b.test", SECRET), PERSONA) == expected
