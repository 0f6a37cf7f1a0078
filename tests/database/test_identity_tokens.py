"""Identity tokens: whose signature counts, and the contact that a subject, an email or both lead to."""

import asyncio
import base64
import hmac
import json
import time
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib import errors
from lib.auth import identity_tokens
from tests.database.desk import JSON, SECRET, SPACE, Answer, Desk, claims, refusal, signed, user, with_token
from tests.database.merging import made
from tests.database.test_identities import known_by
from tests.database.test_merges_visitors import conflicts, merged_into
from tests.database.test_merges_visitors import visit as chat

INVALID = (401, "identity_token_invalid")
ANN, BOB = "ann@example.test", "bob@example.test"


def presented(token: str) -> JSON:
    """The arguments that the functions make of a token. Raises Refused."""
    read = identity_tokens.read(token, UUID(SPACE))
    proof = {"signed": read.signed, "signature": read.signature, "subject": read.subject}
    return {
        "email": read.email.typed if read.email else None,
        "email_key": read.email.key if read.email else None,
        "identity_token": proof,
    }


def vouched(sub: str | None = None, email: str | None = None, secret: str = SECRET) -> JSON:
    """The arguments for a token that the customer's own server makes now."""
    said = {"sub": sub, "email": email, "exp": int(time.time()) + 300}
    return presented(token_of(said, secret))


def token_of(said: JSON, secret: str = SECRET) -> str:
    """The token with these claims."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, said)]
    text = b".".join(map(_base64, parts))
    return b".".join((text, _base64(hmac.digest(secret.encode(), text, "sha256")))).decode()


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


async def arrive(desk: Desk, token: JSON | None = None, proof: JSON | None = None, **more: Any) -> Answer:
    """Register with an identity token."""
    arguments = {"space_id": SPACE, "space_kind": "embed", **(proof or vouched("1")), **more}
    return await desk.call("register_contact", token or claims(), **arguments)


async def say(desk: Desk, proof: JSON, **more: Any) -> Answer:
    """Send a message with an identity token, and end its turn."""
    answer = await desk.call("start_turn", claims(), space_id=SPACE, message="Hello", **proof, **more)
    await desk.finish(answer)
    return answer


@pytest_asyncio.fixture
async def trusting(desk: Desk) -> Desk:
    """The space has a secret."""
    await desk.believe_hmacs()
    return desk


async def test_a_token_leads_to_one_lasting_conversation_by_registration_and_by_message(trusting: Desk) -> None:
    async with trusting.crowd(8) as crowd:
        proof = vouched("1", ANN)
        arrived = await asyncio.gather(*(arrive(crowd, proof=proof) for _ in range(16)))
    turn = await say(trusting, proof)
    for answer in (*arrived, turn):
        assert (answer["conversation_id"], answer["proof"]) == (arrived[0]["conversation_id"], "verified")
    # Each of the two identities leads there by itself, and the persona is told the email.
    for alone in (vouched("1"), vouched(email=ANN)):
        again = await say(trusting, alone)
        assert (again["conversation_id"], again["contact"]["email"]) == (turn["conversation_id"], ANN)
    assert await known_by(trusting, turn["contact_id"]) == f"email:{ANN}! external:sub:1!"
    verified_by = await trusting.all("select distinct verified_by from public.contact_identities")
    assert verified_by == [("identity_token",)]
    other = await say(trusting, vouched("1"), thread_key="order 7")
    assert other["conversation_id"] != turn["conversation_id"]


async def test_a_space_that_requires_tokens_refuses_hmacs_and_takes_visitors_as_before(trusting: Desk) -> None:
    await trusting.admin.execute("update public.spaces set identity = 'token' where id = $1", SPACE)
    before = await trusting.everything()
    for proof in (signed(ANN, SECRET), signed(BOB, SECRET)):
        for attempt in (trusting.register(ANN, email_hmac=proof), trusting.start(email=ANN, email_hmac=proof)):
            assert await refusal(attempt) == (401, "identity_token_required")
    assert await trusting.everything() == before
    assert (await trusting.register(ANN))["proof"] == "asserted"
    assert (await trusting.start())["proof"] == "asserted"
    assert (await arrive(trusting, proof=vouched(email=ANN)))["proof"] == "verified"
    user_id = await trusting.sign_up(BOB)
    assert (await trusting.register(BOB, claims(user(user_id, BOB))))["proof"] == "verified"


async def test_only_the_spaces_secrets_sign_tokens(trusting: Desk) -> None:
    before = await trusting.everything()
    forged = [vouched("1", ANN, secret=secret) for secret in ("another secret", SECRET + " ", SECRET[:-1])]
    # An HMAC is no signature of a token, and the signature of another token neither.
    right = vouched("1", ANN)
    other = vouched("2", ANN)["identity_token"]["signature"]
    forged += [
        right | {"identity_token": right["identity_token"] | {"signature": signature}}
        for signature in (signed(ANN, SECRET), other, "", right["identity_token"]["signature"][:-2])
    ]
    for proof in forged:
        assert await refusal(arrive(trusting, proof=proof)) == INVALID
        assert await refusal(say(trusting, proof)) == INVALID
    # Nor is the signature of a token an HMAC of an email.
    mixed = trusting.register(ANN, email_hmac=right["identity_token"]["signature"])
    assert await refusal(mixed) == (401, "email_hmac_invalid")
    await trusting.admin.execute("update public.spaces set hmac_secret_id = null")
    assert await refusal(arrive(trusting, proof=right)) == INVALID
    assert await trusting.everything() == before


TOKEN = token_of({"sub": "1", "email": ANN, "exp": int(time.time()) + 3_000})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(min_value=0, max_value=8 * len(TOKEN) - 1))
async def test_a_token_with_any_bit_flipped_is_refused(trusting: Desk, bit: int) -> None:
    flipped = bytearray(TOKEN.encode())
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        refused = await refusal(arrive(trusting, proof=presented(flipped.decode("latin-1"))))
    except errors.Refused as read:
        refused = (read.status, read.code)
    # The time of a changed exp may be over.
    assert refused in (INVALID, (401, "identity_token_expired"))


# Each line is a token, or an HMAC, with the contact that it leads to; or what a contact is known by, or the conflicts.
STORIES = {
    "an account keeps its contact when its email changes": """
        sub=1 email=old@example.test -> ann
        sub=1 email=ann@example.test -> ann
        sub=1 -> ann
        ann = email:ann@example.test! email:old@example.test! external:sub:1!
    """,
    "the contact of a proven email gets the subject": """
        hmac=ann@example.test -> ann
        sub=1 email=ann@example.test -> ann
        ann = email:ann@example.test! external:sub:1!
    """,
    "an email that was only typed moves to the account that proves it": """
        typed=ann@example.test -> stranger
        sub=1 -> ann
        sub=1 email=ann@example.test -> ann
        ann = email:ann@example.test! external:sub:1!
        stranger =
    """,
    "an email that another account had proven leads to neither the other account nor its conversation": """
        sub=1 email=ann@example.test -> ann
        sub=2 email=ann@example.test -> bob
        sub=2 -> bob
        sub=1 -> ann
        bob = external:sub:2!
        conflict bob ann
    """,
    "two proven contacts are not merged": """
        sub=1 -> ann
        hmac=ann@example.test -> other
        sub=1 email=ann@example.test -> ann
        other = email:ann@example.test!
        conflict ann other
    """,
    "a subject that a member had entered is the account's own": """
        entered=external:sub:1 -> ann
        sub=1 email=ann@example.test -> ann
        ann = email:ann@example.test! external:sub:1!
    """,
    "subjects are compared as they are": """
        sub=ann -> ann
        sub=Ann -> other
        sub=auth:00000000-0000-7000-8000-000000000009 -> third
        third = external:sub:auth:00000000-0000-7000-8000-000000000009!
    """,
}


@pytest.mark.parametrize("story", STORIES)
async def test_a_subject_and_an_email_lead_to_a_contact(trusting: Desk, story: str) -> None:
    people: dict[str, str] = {}
    expected = []
    for line in STORIES[story].split("\n"):
        asked, arrow, name = (part.strip() for part in line.partition("->"))
        who, equals, known = (part.strip() for part in line.partition(" ="))
        if arrow:
            fields = dict(field.split("=", 1) for field in asked.split())
            if "hmac" in fields:
                found = (await trusting.prove(fields["hmac"]))["contact_id"]
            elif "typed" in fields:
                found = (await trusting.register(fields["typed"]))["contact_id"]
            elif "entered" in fields:
                found = await made(trusting, fields["entered"])
            else:
                found = (await arrive(trusting, proof=vouched(**fields)))["contact_id"]
                turn = await say(trusting, vouched(**fields))
                assert turn["contact_id"] == found, "a message leads to the same contact"
            assert people.setdefault(name, found) == found, line
        elif line.strip().startswith("conflict"):
            one, two = (people[each] for each in line.split()[1:])
            expected.append((one, two, "identity_token"))
        elif equals:
            assert await known_by(trusting, people[who]) == known
    assert len(set(people.values())) == len(people)
    assert await conflicts(trusting) == expected


@pytest.mark.parametrize(
    ("earlier", "told", "becomes", "known"),
    [
        (None, {"sub": "1", "email": ANN}, "visitor", f"email:{ANN}! external:sub:1!"),
        (None, {"sub": "1"}, "visitor", "external:sub:1!"),
        ({"sub": "1"}, {"sub": "1", "email": ANN}, "ann", f"email:{ANN}! external:sub:1!"),
        ({"email": ANN}, {"sub": "1", "email": ANN}, "ann", f"email:{ANN}! external:sub:1!"),
        ({"sub": "2", "email": ANN}, {"sub": "1", "email": ANN}, "new", "external:sub:1!"),
    ],
)
async def test_a_visitor_who_presents_a_token_stays_or_joins_the_contact_that_it_names(
    trusting: Desk, earlier: dict[str, str] | None, told: dict[str, str], becomes: str, known: str
) -> None:
    contacts = {(await arrive(trusting, proof=vouched(**earlier)))["contact_id"]: "ann"} if earlier else {}
    visitor = await chat(trusting)
    contacts[visitor["contact_id"]] = "visitor"
    typed = {"first_name": "Ann", "phone": "+49 1", "phone_key": "+491"}
    answer = await arrive(trusting, with_token(visitor), vouched(**told), **typed)
    contact = answer["contact_id"]
    assert (contacts.get(contact, "new"), answer["proof"]) == (becomes, "verified")
    assert await merged_into(trusting, visitor) == (None if becomes == "visitor" else contact)
    assert await known_by(trusting, contact) == f"{known} phone:+491"
    assert (await trusting.row("contacts", contact))["first_name"] == "Ann"
    assert len(await conflicts(trusting)) == (becomes == "new"), "the email's two accounts are for a member to judge"
