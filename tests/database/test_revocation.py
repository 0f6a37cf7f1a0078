"""What revokes contact tokens, and that nothing revives one. The routes are tests/functions/test_revocation.py's."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.database.desk import (
    JSON,
    LANDING,
    PERSONA,
    SECRET,
    SPACE,
    Desk,
    Raised,
    call,
    claims,
    managing,
    own_token,
    refusal,
    signed,
    with_token,
)

REVOKED = (401, "token_revoked")


async def is_revoked(desk: Desk, token: JSON) -> bool:
    """Whether policies and commands refuse a token; they agree."""
    reader, found = own_token(token["caller"]), []
    for asked in (
        desk.call("follow_conversation", reader, conversation_id=reader["conversation_id"]),
        desk.start_session(token, space_id=SPACE),
    ):
        try:
            await asked
            found.append((200, ""))
        except Raised as raised:
            found.append((raised.status or 500, raised.code))
    assert found in ([(200, "")] * 2, [REVOKED] * 2)
    return found[0] == REVOKED


async def sign_out(desk: Desk, contact_id: str) -> None:
    await desk.call("sign_out_contact", managing(await desk.member("agent")), contact_id=contact_id)


async def close_and_open(desk: Desk) -> None:
    for enabled in (False, True):
        await desk.admin.execute("update public.spaces set enabled = $1 where id = $2", enabled, SPACE)


@pytest.mark.parametrize(("steps", "both"), [("out merge undo", False), ("merge out undo", True)])
async def test_no_merge_and_no_undo_revives_a_token(desk: Desk, steps: str, both: bool) -> None:
    ann, ben = [await desk.arrive(name) for name in ("ann", "ben")]
    admin, contact_id = managing(await desk.member()), ann["caller"]["contact_id"]
    into = {"contact_id": contact_id, "into_id": ben["caller"]["contact_id"]}
    is_out = False
    for step in steps.split():
        if step == "merge":
            await desk.call("merge_contacts", admin, **into)
        elif step == "undo":
            await desk.call("unmerge_contact", admin, contact_id=contact_id)
        else:
            await sign_out(desk, contact_id)
            is_out = True
        assert [await is_revoked(desk, token) for token in (ann, ben)] == [is_out, is_out and both]
    assert ("contact.signed_out",) in await desk.audited(into["into_id"] if both else contact_id, "verb")
    assert not await is_revoked(desk, await desk.arrive("ann"))


@pytest.mark.parametrize(
    ("owner", "slot", "action", "seconds", "revoked"),
    [
        (SPACE, "hmac", "rotate", 0, True),
        (SPACE, "hmac", "remove", 0, True),
        (SPACE, "hmac", "rotate", 60, False),
        (PERSONA, "callback", "rotate", 0, False),
    ],
)
async def test_a_spaces_secret_that_is_replaced_without_an_overlap_revokes_its_tokens(
    desk: Desk, owner: str, slot: str, action: str, seconds: int, revoked: bool
) -> None:
    admin = managing(await desk.member())
    rotation = {"slot": slot, "owner_id": owner, "overlap_seconds": seconds}
    ann = await desk.arrive()
    await desk.call("replace_secret", admin, action="rotate", **rotation)
    assert not await is_revoked(desk, ann), "the first secret replaces none"
    await desk.call("replace_secret", admin, action=action, **rotation)
    assert await is_revoked(desk, ann) is revoked
    assert not await is_revoked(desk, await desk.arrive())


@pytest.mark.parametrize("way", ["contact", "space"])
async def test_a_repeated_first_message_gets_no_new_token_for_what_was_revoked(desk: Desk, way: str) -> None:
    said: JSON = {"message": "Hello", "client_message_id": str(uuid4())}
    first = await desk.start(**said)
    assert (await desk.start(**said))["conversation_id"] == first["conversation_id"]
    await (sign_out(desk, first["contact_id"]) if way == "contact" else close_and_open(desk))
    again = await desk.start(**said)
    assert again["conversation_id"] != first["conversation_id"]
    assert [await is_revoked(desk, with_token(each)) for each in (first, again)] == [True, False]


@pytest.mark.parametrize("table", ["contacts", "spaces"])
async def test_a_token_ends_with_its_contact_and_with_its_space(desk: Desk, table: str) -> None:
    ann = await desk.register("ann@example.test")
    gone = ann["contact_id"] if table == "contacts" else SPACE
    await desk.admin.execute(f"delete from public.{table} where id = $1", gone)
    assert await desk.refused("start_session", with_token(ann, LANDING), space_id=LANDING) == REVOKED


LEAK = {"slot": "hmac", "owner_id": SPACE, "action": "rotate", "overlap_seconds": 0}
DISABLE = "update public.spaces set enabled = false where id = $1"


@pytest.mark.parametrize("way", ["leak", "disable"])
@pytest.mark.parametrize("entry", ["register_contact", "start_turn"])
@pytest.mark.parametrize("issued_first", [True, False])
async def test_no_token_that_is_issued_during_a_revocation_outlives_it(
    desk: Desk, way: str, entry: str, *, issued_first: bool
) -> None:
    await desk.believe_hmacs()
    email, admin = "ann@example.test", managing(await desk.member())
    arguments: JSON = {"space_id": SPACE, "email": email, "email_key": email, "email_hmac": signed(email, SECRET)}
    arguments |= {"space_kind": "embed"} if entry == "register_contact" else {"message": "Hello"}
    async with desk._pool.acquire() as issuing, desk.as_owner() as owner:

        async def revoke() -> None:
            if way == "leak":
                await call(owner, "replace_secret", admin, **LEAK)
            else:
                await owner.execute(DISABLE, SPACE)

        async def in_transaction(connection: Any, work: Any) -> Any:
            async with connection.transaction():
                return await work

        issue = call(issuing, entry, claims(), **arguments)
        if issued_first:
            async with issuing.transaction():
                arrived = await issue
                revoking = asyncio.create_task(in_transaction(owner, revoke()))
                await desk.until_waiting()
            await revoking
            await desk.admin.execute("update public.spaces set enabled = true where id = $1", SPACE)
            assert await is_revoked(desk, with_token(arrived))
        else:
            async with owner.transaction():
                await revoke()
                late = asyncio.create_task(refusal(in_transaction(issuing, issue)))
                await desk.until_waiting()
            assert await late == ((404, "space_not_found") if way == "disable" else (401, "email_hmac_invalid"))
