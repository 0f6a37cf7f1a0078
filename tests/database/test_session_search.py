"""A text search finds whole words of messages. The access matrix has the callers."""

import asyncpg
import pytest

from tests.database.desk import WORKSPACE, Desk, own_token, with_token

SEARCH = "select array_agg(id::text order by created_at) from public.search_sessions($1, $2)"

QUERIES = {
    "ORDER": ["ann", "bob"],
    "order red": ["ann"],
    '"red order"': [],
    "blue or red": ["ann", "bob"],
    "order -red": ["bob"],
    "-red": ["ann", "bob"],
    "ord": [],
    "?!": [],
    "'; drop table public.sessions; --": [],
    "needle": ["bob"],
    # A message is searched up to its 50,000th character.
    "haystack": [],
}


async def test_a_search_finds_words_of_one_message(desk: Desk) -> None:
    boss = await desk.member("owner")
    sessions = {}
    long = "needle " + "w " * 100_000 + "haystack"
    for name, said, answer in (("ann", "My order is red", "Noted"), ("bob", "Another order, blue", long)):
        turn = await desk.start(with_token(await desk.register(f"{name}@example.test")), said)
        await desk.finish(turn, answer=answer)
        sessions[turn["session_id"]] = name
    async with desk.reading(own_token(boss)) as reader:
        found = {query: await reader.fetchval(SEARCH, WORKSPACE, query) for query in QUERIES}
    assert {query: [sessions[each] for each in ids or []] for query, ids in found.items()} == QUERIES


async def test_a_search_that_finds_too_much_is_refused_unless_something_else_narrows_it_down(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    await desk.admin.execute(
        "insert into public.messages (workspace_id, conversation_id, session_id, role, contact_id, text)"
        " select workspace_id, conversation_id, id, 'contact', contact_id, 'everywhere'"
        " from public.sessions, generate_series(1, 10001)"
    )
    await desk.admin.execute(
        "insert into public.tags (workspace_id, session_id, name) values ($1, $2, 'vip')", WORKSPACE, ann["session_id"]
    )
    async with desk.reading(own_token(boss)) as reader:
        with pytest.raises(asyncpg.PostgresError, match="too_many_matches"):
            await reader.fetchval(SEARCH, WORKSPACE, "everywhere")
    narrowed = "select id::text from public.search_sessions($1, $2, tag => 'vip')"
    async with desk.reading(own_token(boss)) as reader:
        found = {word: await reader.fetchval(narrowed, WORKSPACE, word) for word in ("everywhere", "nowhere")}
    assert found == {"everywhere": ann["session_id"], "nowhere": None}
