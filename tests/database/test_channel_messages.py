"""Messages of channels: whose conversation they reach, what answers them, and what is sent back."""

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.database.desk import JSON, PERSONA, WORKSPACE, Answer, Desk, Loop, explore, on_a_turn, on_behalf, refusal

_numbers = itertools.count(1)


def person(number: int, name: str | None = None, **more: str) -> JSON:
    """A person of Telegram, with further identities, or a group, whose number is negative."""
    keys = [("telegram", str(number)), *more.items()]
    return {
        "identities": [{"kind": kind, "key": key, "value": key, "implied": kind == "phone"} for kind, key in keys],
        "profile": {"title" if number < 0 else "first_name": name or f"N{number}"},
    }


class Channel:
    """A bot of the workspace."""

    def __init__(self, desk: Desk, channel_id: str) -> None:
        self.desk, self.id = desk, channel_id

    @classmethod
    async def of(cls, desk: Desk, **config: str) -> "Channel":
        """A new one with this config."""
        query = (
            "insert into public.channels (workspace_id, kind, name, persona_id, external_id, config)"
            " values ($1, 'telegram', 'x', $2, 'bot-' || $3, $4) returning id"
        )
        found = await desk.one(query, WORKSPACE, PERSONA, str(next(_numbers)), {"username": "Bot"} | config)
        return cls(desk, str(found[0]))

    async def call(self, function: str, **arguments: Any) -> Answer:
        """A function about the channel."""
        return await self.desk.call(function, on_a_turn(), channel_id=self.id, **arguments)

    async def accept(self, text: str, number: int = 42, *, group: int | None = None, **more: Any) -> Answer:
        """Accept a message of a person, in private or in a group."""
        arguments = {
            "thread_key": str(group or number),
            "sender": person(number),
            "chat_group": person(group) if group else None,
            "client_message_id": str(next(_numbers)),
            "speaker": f"N{number}" if group else None,
        }
        return await self.call("accept_channel_message", message=text, **arguments | more)

    async def take_up(self, accepted: Answer) -> Answer:
        """Take up the answer of a turn."""
        return await self.desk.call(
            "take_up_turn", on_a_turn(), turn_id=accepted["turn_id"], attempt_id=accepted["turn_id"]
        )

    async def answer(self, accepted: Answer, text: str = "Yes?") -> Answer:
        """Take up the answer of a turn and finish it; what the persona was asked."""
        turn = (await self.take_up(accepted))["turn"]
        await self.desk.call("finish_turn", on_a_turn(), turn_id=turn["turn_id"], status="completed", answer=text)
        return Answer(200, None, turn)


@pytest_asyncio.fixture
async def bot(desk: Desk) -> Channel:
    await desk.lift_limits()
    return await Channel.of(desk)


async def queued(desk: Desk, kind: str) -> list[JSON]:
    """The payloads of the queued jobs of a kind."""
    query = "select payload from public.jobs where kind = $1 and status = 'queued' order by seq"
    return [row[0] for row in await desk.all(query, kind)]


async def test_a_message_is_a_turn_whose_answer_is_queued_and_then_sent(bot: Channel, desk: Desk) -> None:
    accepted = await bot.accept("Hello", client_message_id="7")
    again = await bot.accept("Hello", client_message_id="7")
    assert (again["turn_id"], again["conversation_id"]) == (accepted["turn_id"], accepted["conversation_id"])
    assert await queued(desk, "channel_answer") == [{"turn_id": accepted["turn_id"]}]

    asked = await bot.answer(accepted)
    assert ([message["text"] for message in asked["messages"]], asked["history"]) == (["Hello"], [])
    assert (asked["proof"], asked["contact"]["name"]) == ("verified", "N42")
    (sent,) = await queued(desk, "send_message")
    sending = await desk.call("open_sending", on_a_turn(), **sent)
    assert (sending["text"], sending["thread_key"], sending["is_group"], sending["parts"]) == ("Yes?", "42", False, {})
    assert (await bot.take_up(accepted))["state"] == "ended"


@pytest.mark.parametrize("end", ["failed", "timeout", "cancelled"])
async def test_only_a_complete_answer_is_sent(bot: Channel, desk: Desk, end: str) -> None:
    turn = (await bot.take_up(await bot.accept("Hello")))["turn"]
    await desk.call("finish_turn", on_a_turn(), turn_id=turn["turn_id"], status=end, answer="partial")
    assert await queued(desk, "send_message") == []


async def test_a_second_message_waits_or_joins_or_interrupts_as_on_the_web(bot: Channel, desk: Desk) -> None:
    first = await bot.accept("one")
    assert (await bot.accept("two")).body["code"] == "turn_in_progress"
    await bot.answer(first)
    await desk.admin.execute("update public.personas set collect_seconds = 5")
    turns = [await bot.accept(text) for text in ("three", "four")]
    assert len({turn["turn_id"] for turn in turns}) == 1
    taken = await bot.take_up(turns[0])
    assert taken["turn"]["collect_seconds"] == 5
    assert [message["text"] for message in taken["turn"]["messages"]] == ["three", "four"]


async def test_a_turn_whose_worker_was_lost_is_answered_anew_by_the_next(bot: Channel, desk: Desk) -> None:
    accepted = await bot.accept("Hello")
    first = await bot.take_up(accepted)
    assert (await bot.take_up(accepted))["state"] == "answering"
    for _ in range(2):
        await desk.admin.execute("update public.turns set lease_until = now() - interval '1 s' where status = 'active'")
        again = await bot.take_up(accepted)
        assert (again["state"], again["turn"]["history"]) == ("taken", [])
        assert again["turn"]["turn_id"] != first["turn"]["turn_id"]
        assert [message["text"] for message in again["turn"]["messages"]] == ["Hello"]
    # The sweep may have ended it before.
    await desk.admin.execute("update public.turns set lease_until = now() - interval '1 s' where status = 'active'")
    await desk.admin.execute("select private.expire_turns()")
    assert (await bot.take_up(accepted))["state"] == "taken"


async def test_limits_and_the_breaker_hold_in_channels(bot: Channel, desk: Desk) -> None:
    await desk.admin.execute("update public.workspaces set messages_per_minute_by_contact = 1")
    await bot.answer(await bot.accept("one"))
    assert (await bot.accept("two")).status == 429
    assert (await bot.accept("of another person", 43)).status == 200
    await desk.admin.execute("update public.channels set persona_id = null")
    assert await refusal(bot.accept("three", 44)) == (422, "persona_required")


async def test_a_member_who_took_over_answers_through_the_channel(bot: Channel, desk: Desk) -> None:
    member = await desk.member("owner")
    accepted = await bot.accept("Hello")
    await bot.answer(accepted)
    session = str((await desk.one("select id from public.sessions where channel = 'telegram'"))[0])
    await desk.take_over(member, session)
    taken_over = await bot.accept("Are you human?")
    assert (await bot.take_up(taken_over))["state"] == "ended"
    said = await desk.say(member, session, "Yes.")
    contact = str((await desk.one("select contact_id from public.sessions where id = $1", session))[0])
    captured = [
        await desk.call("capture_message", on_behalf(member), contact_id=contact, text=role, role=role, source="mail")
        for role in ("member", "persona", "contact")
    ]
    sent = [payload["message_id"] for payload in await queued(desk, "send_message")]
    assert sent[1:] == [said["message_id"], captured[0]["message_id"], captured[1]["message_id"]]


async def test_a_message_in_the_providers_app_is_a_takeover(bot: Channel, desk: Desk) -> None:
    echo = {"thread_key": "42", "message": "I am on it.", "client_message_id": "e", "attachments": []}
    assert (await bot.call("record_business_message", **echo))["taken_over"] is False
    await desk.member("owner")
    accepted = await bot.accept("Hello")
    await bot.take_up(accepted)
    recorded = await bot.call("record_business_message", **echo)
    assert (recorded["taken_over"], recorded["stopping"]) == (True, True)
    assert (await bot.call("record_business_message", **echo))["taken_over"] is False
    session = (await desk.all("select taken_over_by is not null, message_count from public.sessions"))[-1]
    assert session == (True, 2)
    assert await queued(desk, "send_message") == [], "the contact has it already"


async def test_an_edit_replaces_the_text_unless_a_later_one_came_before(bot: Channel, desk: Desk) -> None:
    await desk.admin.execute("update public.personas set collect_seconds = 5")
    for number, text in (("1", "one"), ("2", "two")):
        accepted = await bot.accept(text, client_message_id=number)
    for number, text, minute, changed in (
        ("1", "ONE", 2, True), ("1", "older", 1, False), ("2", "TWO", 1, True), ("2", "THREE", 3, True),
        ("9", "unknown", 9, False),
    ):  # fmt: skip
        arguments = {"thread_key": "42", "client_message_id": number, "message": text}
        edited_at = datetime(2026, 12, 1, 0, minute, tzinfo=UTC)
        edited = await bot.call("edit_channel_message", **arguments, edited_at=edited_at)
        assert edited["changed"] is changed
    turn = (await bot.take_up(accepted))["turn"]
    assert [message["text"] for message in turn["messages"]] == ["ONE", "THREE"]


@pytest.mark.parametrize(
    ("config", "message", "answered"),
    [
        ({}, {}, False),
        ({}, {"mentions": ["@someone", "17"]}, False),
        ({}, {"mentions": ["@bot"]}, True),
        ({}, {"mentions": ["/"]}, True),
        ({}, {"reply_to": "9001"}, False),
        ({"group_replies": "all"}, {}, True),
    ],
)
async def test_in_a_group_the_persona_answers_who_addresses_it(
    desk: Desk, config: dict[str, str], message: JSON, answered: bool
) -> None:
    bot = await Channel.of(desk, **config)
    overheard = [await bot.accept("Hi", group=-1, client_message_id="1", **message) for _ in range(2)]
    assert [bool(one["turn_id"]) for one in overheard] == [answered] * 2
    assert await desk.all("select speaker, text from public.messages") == [("N42", "Hi")]
    # A private message is always answered.
    assert (await bot.accept("Hi", **message))["turn_id"]


async def test_the_persona_is_told_who_spoke_in_a_group_and_answers_replies_to_it(bot: Channel, desk: Desk) -> None:
    await bot.accept("Lunch?", 1, group=-1)
    asked = await bot.answer(await bot.accept("@Bot where?", 2, group=-1, mentions=["@bot"]))
    assert [said["text"] for said in asked["history"]] == ["N1: Lunch?"]
    assert [said["text"] for said in asked["messages"]] == ["N2: @Bot where?"]
    (sent,) = await queued(desk, "send_message")
    for status, external_id in (("sending", None), ("sent", "9001")):
        await desk.call("record_sending", on_a_turn(), **sent, part=0, status=status, external_id=external_id)
    assert (await bot.accept("There!", 1, group=-1, reply_to="9001"))["turn_id"]
    kinds = "select kind::text, coalesce(title, first_name) from public.contacts where source is null order by 2"
    assert await desk.all(kinds) == [("group", "N-1"), ("person", "N1"), ("person", "N2")]
    senders = "select distinct contact_id from public.messages where role = 'contact'"
    assert len(await desk.all(senders)) == 2
    participants = "select count(*) from public.group_participants where left_at is null"
    assert await desk.all(participants) == [(2,)]


async def test_a_group_that_moves_keeps_its_conversation_and_contact(bot: Channel, desk: Desk) -> None:
    accepted = await bot.accept("Hi", group=-1, mentions=["/"])
    topic = await bot.accept("Hi", group=-1, thread_key="-1:5", mentions=["/"])
    both = [one["identities"][0] for one in (person(-1), person(-1001))]
    for _ in range(2):
        await bot.call("migrate_chat", old_key="-1", new_key="-1001", identities=both)
    await bot.answer(accepted)
    await bot.answer(topic)
    assert (await bot.accept("Hi", group=-1001))["conversation_id"] == accepted["conversation_id"]
    assert (await bot.accept("Hi", group=-1001, thread_key="-1001:5"))["conversation_id"] == topic["conversation_id"]
    assert (await bot.accept("Hi", group=-10))["conversation_id"] != accepted["conversation_id"]


async def test_a_sender_is_the_contact_with_that_identity_and_proves_no_other(bot: Channel, desk: Desk) -> None:
    typed = await desk.register("ann@example.test", first_name="Eve")
    await desk.admin.execute(
        "insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)"
        " values ($1, $2, 'phone', '+49301', '+49301', 'asserted')",
        WORKSPACE, typed["contact_id"],
    )  # fmt: skip
    accepted = await bot.accept("Hi", sender=person(42, phone="+49301"))
    found = "select contact_id::text from public.conversations where id = $1"
    (contact,) = await desk.one(found, accepted["conversation_id"])
    # The number leads to the visitor who typed it; what was only typed besides is dropped.
    assert contact == typed["contact_id"]
    kept = (
        "select kind::text, evidence::text from public.contact_identities where contact_id = $1::text::uuid order by 1"
    )
    assert await desk.all(kept, contact) == [("phone", "verified"), ("telegram", "verified")]
    assert (await desk.row("contacts", contact))["first_name"] == "N42"
    # Two contacts of one sender are a conflict for members; the provider's own id decides.
    await bot.accept("Hi", 43)
    other = await bot.accept("Hi", 43, thread_key="43:1", sender=person(43, phone="+49301"))
    assert await desk.one(found, other["conversation_id"]) != (contact,)
    assert await desk.all("select count(*) from public.contact_conflicts") == [(1,)]


async def test_messages_of_a_new_sender_at_once_are_of_one_contact(bot: Channel, desk: Desk) -> None:
    await desk.admin.execute("update public.personas set collect_seconds = 5")
    async with desk.crowd(6) as crowd:
        channel = Channel(crowd, bot.id)
        accepted = await asyncio.gather(*(channel.accept(str(number), group=-1, mentions=["/"]) for number in range(6)))
    assert len({one["turn_id"] for one in accepted}) == 1
    assert await desk.all("select count(*) from public.contacts where kind = 'group'") == [(1,)]
    assert await desk.all("select count(*) from public.messages") == [(6,)]


async def test_attachments_are_kept_once_with_their_message(bot: Channel, desk: Desk) -> None:
    files = [{"kind": "image", "external_id": "f1", "size": 5_000_000_000}, {"kind": "location", "name": "1, 2"}]
    for _ in range(2):
        await bot.accept("[photo]", client_message_id="1", attachments=files)
    query = "select place, kind, external_id, size, name from public.attachments order by place"
    assert await desk.all(query) == [(0, "image", "f1", 5_000_000_000, None), (1, "location", None, None, "1, 2")]


RANKED = ["sending", "unknown", "sent", "failed", "delivered", "read"]


@pytest.mark.parametrize("known", RANKED)
async def test_a_status_of_the_provider_replaces_only_a_lower_one(bot: Channel, desk: Desk, known: str) -> None:
    await bot.answer(await bot.accept("Hello"))
    (sent,) = await queued(desk, "send_message")
    key = {**sent, "part": 0}
    for reported in RANKED:
        await desk.admin.execute("delete from public.message_deliveries")
        await desk.call("record_sending", on_a_turn(), **key, status=known, external_id="w")
        by_us = {"external_id": "other", **key} if known in ("sending", "unknown") else {"external_id": "w"}
        assert (await bot.call("record_sending_status", status=reported, **by_us))["changed"]
        (status,) = await desk.one("select status::text from public.message_deliveries")
        assert status == max(known, reported, key=RANKED.index)
    other = await Channel.of(desk)
    assert (await other.call("record_sending_status", status="read", external_id="w"))["changed"] is False


class Isolation(RuleBasedStateMachine):
    """Senders and groups in any order: what one says is told to no other."""

    loop: ClassVar[Loop]
    desk: ClassVar[Desk]

    @initialize()
    def begin(self) -> None:
        self.said: dict[str, list[str]] = {}
        self.bots = [self.loop.run(Channel.of(self.desk, group_replies="all")) for _ in range(2)]

    @rule(
        bot=st.integers(0, 1), sender=st.integers(1, 3), place=st.sampled_from([None, -1, -2]),
        topic=st.sampled_from(["", ":1"]),
    )  # fmt: skip
    def say(self, bot: int, sender: int, place: int | None, topic: str) -> None:
        channel, text = self.bots[bot], f"secret {next(_numbers)}"
        key = f"{place or sender}{topic}"
        accepted = self.loop.run(channel.accept(text, sender, group=place, thread_key=key))
        asked = self.loop.run(channel.answer(accepted, text.upper()))
        place_said = self.said.setdefault(f"{bot} {key}", [])
        assert [line["text"] for line in asked["history"]] == place_said[-20:]
        spoken = f"N{sender}: {text}" if place else text
        assert [line["text"] for line in asked["messages"]] == [spoken]
        place_said += [spoken, text.upper()]

    @invariant()
    def each_place_has_its_own_conversation(self) -> None:
        if hasattr(self, "said"):
            ids = [bot.id for bot in self.bots]
            query = "select count(distinct id) from public.conversations where channel_id = any ($1::text[]::uuid[])"
            assert self.loop.run(self.desk.one(query, ids)) == (len(self.said),)


def test_two_senders_or_groups_never_share_anything(loop_and_desk: tuple[Loop, Desk]) -> None:
    Isolation.loop, Isolation.desk = loop_and_desk
    Isolation.loop.run(Isolation.desk.lift_limits())
    explore(Isolation, examples=10, steps=15)
