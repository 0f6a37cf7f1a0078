"""Merges and unmerges in any order, with messages, registrations and tags in between, against a model: nothing is lost,
and after the last unmerge everything is as it was."""

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.database.desk import JSON, OPERATOR, SECRET, Answer, Desk, Loop, Raised, explore, signed, with_token
from tests.database.merging import made, merge, unmerge

NAMES = ("late", "lead", "vip")

who = st.integers(0, 1000)


class Merges(RuleBasedStateMachine):
    """Some contacts, what belongs to whom, and the ledger of the merges that stand."""

    loop: Loop
    desk: Desk
    numbers = itertools.count()

    @initialize()
    def people_arrive(self) -> None:
        self.people: list[str] = []
        self.emails: dict[str, str] = {}
        self.rows: dict[str, str] = {}
        self.verified: set[str] = set()
        self.tokens: list[JSON] = []
        self.into: dict[str, str] = {}
        # By row: whose it is. The rows of tags are (contact, name) of whom they were made for.
        self.places: dict[str, dict[Any, str]] = {"contact_identities": {}, "conversations": {}, "tags": {}}
        self.keys: dict[str, str] = {}
        self.said: dict[str, str] = {}
        self.moved: dict[str, dict[str, list[Any]]] = {}
        self.profiles: dict[str, tuple[Any, ...]] = {}
        for number in range(4):
            self.somebody_arrives(proven=number % 2 == 0)

    # What happens ----------------------------------------------------------------------------------------------------

    @rule(proven=st.booleans())
    def somebody_arrives(self, *, proven: bool) -> None:
        number = next(self.numbers)
        email = f"p{number}@example.test"
        more: JSON = {"email_hmac": signed(email, SECRET)} if proven else {}
        name: JSON = {"first_name": f"P{number}", "attributes": {"n": number}} if number % 3 else {}
        arrived = self.loop.run(self.desk.register(email, **name, **more))
        contact = arrived["contact_id"]
        self.people.append(contact)
        self.emails[contact] = email
        self.rows[email] = self._found_identity(f"email:{email}", contact)
        if proven:
            self.verified.add(self.rows[email])
        self._opened(arrived, contact)
        self.profiles[contact] = self.loop.run(self._profile(contact))

    @rule(one=who)
    def somebody_comes_again(self, one: int) -> None:
        email = self.emails[self._pick(one)]
        arrived = self.loop.run(self.desk.register(email))
        assert arrived["contact_id"] == self._holder(email)
        self._opened(arrived, arrived["contact_id"])

    @rule(one=who)
    def somebody_proves_their_email(self, one: int) -> None:
        email = self.emails[self._pick(one)]
        row, holder = self.rows[email], self._holder(email)
        proven = {place for other, place in self.places["contact_identities"].items() if other in self.verified}
        arrived = self.loop.run(self.desk.register(email, email_hmac=signed(email, SECRET)))
        contact = arrived["contact_id"]
        if row in self.verified or holder not in proven:
            assert contact == holder
            if row not in self.verified:
                # What they typed before, or took over from others who typed it, is not theirs.
                self.profiles[contact] = (None, None, None, None, {}, self.profiles[contact][-1])
        else:
            # Typed by somebody who has proved to be somebody else: it is whose proof it is, whatever is undone later.
            assert contact not in self.people
            self.people.append(contact)
            self.emails[contact] = email
            self.profiles[contact] = self.loop.run(self._profile(contact))
            self.places["contact_identities"][row] = contact
            for moved in self.moved.values():
                moved["contact_identities"] = [other for other in moved["contact_identities"] if other != row]
        self.verified.add(row)
        self._opened(arrived, contact)

    @rule(one=who)
    def somebody_writes(self, one: int) -> None:
        token = self.tokens[one % len(self.tokens)]
        text = f"said {next(self.numbers)}"
        conversation = token["caller"]["conversation_id"]
        if self.places["conversations"][conversation] != self._standing(token["caller"]["contact_id"]):
            # Given while two were one, and the conversation was the other's.
            assert self._refusal(self.desk.start(token, text)) == "conversation_not_found"
            return
        turn = self.loop.run(self.desk.start(token, text))
        assert turn["conversation_id"] == conversation
        assert turn["contact_id"] == self.places["conversations"][turn["conversation_id"]]
        self.said[text] = turn["conversation_id"]
        self.loop.run(self.desk.finish(turn))

    @rule(one=who)
    def a_program_knows_more_of_somebody(self, one: int) -> None:
        contact = self._pick(one)
        name = f"omi:u{next(self.numbers)}"
        found = self.loop.run(made(self.desk, f"email:{self.emails[contact]}", name, kind="person"))
        assert found == self._holder(self.emails[contact])
        self._found_identity(name, found)

    @rule(one=who, names=st.sets(st.sampled_from(NAMES)))
    def a_member_tags_somebody(self, one: int, names: set[str]) -> None:
        contact = self._pick(one)
        standing = self._standing(contact)
        answer = self.loop.run(self.desk.call("set_contact_tags", OPERATOR, contact_id=contact, names=sorted(names)))
        assert answer["tags"] == sorted(names)
        here = {row for row, place in self.places["tags"].items() if place == standing}
        for row in here:
            if row[1] not in names:
                del self.places["tags"][row]
        for name in names - {row[1] for row in here}:
            self.places["tags"][next(self.numbers), name] = standing

    @rule(one=who, other=who)
    def a_member_merges_two(self, one: int, other: int) -> None:
        contact, into = self._pick(one), self._pick(other)
        standing = self._standing(into)
        if contact in self.into or standing == contact:
            again = self.into.get(contact) == standing
            assert self._refusal(merge(self.desk, contact, into)) == (
                None if again else "same_contact" if standing == contact else "already_merged"
            )
            return
        assert self.loop.run(merge(self.desk, contact, into))["changed"] is True
        self.moved[contact] = {}
        there = {row[1] for row, place in self.places["tags"].items() if place == standing}
        for table, rows in self.places.items():
            going = [row for row, place in rows.items() if place == contact]
            if table == "tags":
                going = [row for row in going if row[1] not in there]
            self.moved[contact][table] = going
            rows.update(dict.fromkeys(going, standing))
        self.into[contact] = standing

    @rule(one=who)
    def a_member_parts_somebody(self, one: int) -> None:
        contact = self._pick(one)
        expected = (
            "not_merged" if contact not in self.into else "merged_further" if self.into[contact] in self.into else None
        )
        assert self._refusal(unmerge(self.desk, contact)) == expected
        if expected is None:
            self._part(contact)

    # What must hold --------------------------------------------------------------------------------------------------

    @invariant()
    def everything_is_where_the_model_says(self) -> None:
        self.loop.run(self._compare())

    def teardown(self) -> None:
        if not hasattr(self, "people"):
            return
        while free := [contact for contact, into in self.into.items() if into not in self.into]:
            self.loop.run(unmerge(self.desk, free[0]))
            self._part(free[0])
        self.loop.run(self._compare())
        for contact, profile in self.profiles.items():
            assert self.loop.run(self._profile(contact)) == profile
        keys = self.loop.run(
            self.desk.admin.fetch(
                "select id::text, thread_key from public.conversations where id = any ($1::uuid[])", list(self.keys)
            )
        )
        assert {row["id"]: row["thread_key"] for row in keys} == self.keys

    async def _compare(self) -> None:
        fetch, people = self.desk.admin.fetch, self.people
        merged = await fetch(
            "select id::text, merged_into_id::text from public.contacts where id = any ($1::uuid[])", people
        )
        assert {row["id"]: row["merged_into_id"] for row in merged if row["merged_into_id"]} == self.into
        for table in ("contact_identities", "conversations"):
            rows = await fetch(
                f"select id::text, contact_id::text from public.{table} where contact_id = any ($1::uuid[])", people
            )
            assert {row["id"]: row["contact_id"] for row in rows} == self.places[table]
        tags = await fetch("select contact_id::text, name from public.tags where contact_id = any ($1::uuid[])", people)
        assert sorted(map(tuple, tags)) == sorted((place, row[1]) for row, place in self.places["tags"].items())
        said = await fetch(
            "select m.text, m.conversation_id::text, m.contact_id::text as speaker, s.contact_id::text as holder, "
            "c.contact_id::text as whose from public.messages m join public.sessions s on s.id = m.session_id "
            "join public.conversations c on c.id = m.conversation_id "
            "where m.role = 'contact' and m.conversation_id = any ($1::uuid[])",
            list(self.places["conversations"]),
        )
        assert {row["text"]: row["conversation_id"] for row in said} == self.said
        for row in said:
            assert row["holder"] == row["whose"]
            # Who spoke is whose the conversation is, or somebody whom that one stands for.
            assert row["whose"] in self._chain(row["speaker"])

    async def _profile(self, contact: str) -> tuple[Any, ...]:
        row = await self.desk.admin.fetchrow(
            "select first_name, last_name, title, source, attributes, session_id from public.contacts where id = $1",
            contact,
        )
        assert row is not None
        return tuple(row)

    # The model -------------------------------------------------------------------------------------------------------

    def _pick(self, one: int) -> str:
        return self.people[one % len(self.people)]

    def _chain(self, contact: str) -> list[str]:
        chain = [contact]
        while chain[-1] in self.into:
            chain.append(self.into[chain[-1]])
        return chain

    def _standing(self, contact: str) -> str:
        return self._chain(contact)[-1]

    def _part(self, contact: str) -> None:
        for table, rows in self.moved.pop(contact).items():
            self.places[table].update(dict.fromkeys(rows, contact))
        del self.into[contact]

    def _holder(self, email: str) -> str:
        return self.places["contact_identities"][self.rows[email]]

    def _found_identity(self, name: str, contact: str) -> str:
        kind, _, key = name.partition(":")
        row: str = self.loop.run(
            self.desk.admin.fetchval(
                "select id::text from public.contact_identities where kind::text = $1 and key = $2", kind, key
            )
        )
        self.places["contact_identities"][row] = contact
        return row

    def _opened(self, arrived: Answer, contact: str) -> None:
        conversation = arrived["conversation_id"]
        self.tokens.append(with_token(arrived))
        if conversation in self.keys:
            assert self.places["conversations"][conversation] == contact
            return
        self.places["conversations"][conversation] = contact
        self.keys[conversation] = self.loop.run(
            self.desk.admin.fetchval("select thread_key from public.conversations where id = $1", conversation)
        )

    def _refusal(self, call: Any) -> str | None:
        try:
            self.loop.run(call)
        except Raised as refused:
            return refused.code
        return None


def test_merges_lose_nothing_and_undone_leave_everything_as_it_was(loop_and_desk: tuple[Loop, Desk]) -> None:
    loop, desk = loop_and_desk
    loop.run(desk.believe_hmacs())
    loop.run(desk.lift_limits())
    machine = type("Machine", (Merges,), {"loop": loop, "desk": desk})
    explore(machine, examples=20, steps=30)
