"""A text search finds whole words of messages. The access matrix has the callers."""

# ruff: noqa: RUF001 (words in many scripts)

from collections.abc import Callable

import asyncpg
import pytest

from tests.database.desk import WORKSPACE, Desk, own_token, with_token
from tests.servers import VERSIONS, Server

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
    "订单": ["ann"],
    "cafe -blue": ["ann"],
    "needle": ["bob"],
    # A message is searched up to its 50,000th character.
    "haystack": [],
}

# A text, the searches that find it, and the searches that do not.
SCRIPTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "我想查询我的订单号是多少。iPhone16订单，2024年",
        ("订单", "订单号", "单", "少", "iphone16", "订单 查询", '"我的订单"', '"iPhone16 订单"', '"订单 2024"', "2024",
         "x or 订单", "订单 -退款", "我想查询我的订单号是多少"),
        ("单订", "查我", "退款", "订单 -查询", "-订单", '"订单 我的"', "定", "iphone1"),
    ),
    (
        "領収書をファックスで送ってください。ｶﾀｶﾅ",
        ("領収書", "ファックス", "カタカナ", "ｶﾀｶﾅ", "書を", "送"),
        ("バックス", "納品書", "かたかな"),
    ),
    ("제 주문번호가 무엇인가요? 집", ("주문", "번호", '"주문 번호"', "집", "주문번호"), ("문주", "반품")),
    ("สวัสดีครับ ขอเลขที่คำสั่งซื้อ", ("สวัสดี", "คำสั่งซื้อ", "ซื้อ"), ("คืนเงิน", "สวสด")),
    ("ສະບາຍດີ ຂໍເລກທີ", ("ສະບາຍດີ", "ເລກ"), ("ສະບາຍດ",)),
    ("ខ្ញុំចង់បានលេខបញ្ជាទិញ", ("លេខ", "ទិញ"), ("ជំនួយ",)),
    ("ကျေးဇူးတင်ပါတယ်", ("တင်ပါ",), ("တငပါ",)),
    (
        "Un café à l’Hôtel, s’il vous plaît",
        ("cafe", "CAFÉ", "cafe\u0301", "hotel", "plait", '"cafe a"'),
        ("caf", "tea"),
    ),
    ("Die Straße nach Łódź: Ærø, ﬁnden", ("strasse", "STRASSE", "Straße", "lodz", "aero", "finden"), ("strase",)),
    ("Işık ve İstanbul’da ılık ÇAY", ("ışık", "isik", "ISIK", "istanbul", "İSTANBUL", "ilik", "cay"), ("asik",)),
    ("كِتَابٌ مُحَمَّد أين الطلب ١٢٣", ("كتاب", "محمد", "اين", "كتــاب", "123"), ("كتب",)),
    ("שָׁלוֹם, ההזמנה שלי", ("שלום", "הזמנה or ההזמנה"), ("שלו",)),
    ("Ещё один ЗАКАЗ «привет»", ("еще", "заказ", "привет"), ("зака",)),
    ("Η ΟΔΟΣ μου, καφές", ("οδος", "οδός", "καφες"), ("οδο",)),
    ("मेरा हिन्दी ऑर्डर कहाँ है", ("हिन्दी", "ऑर्डर"), ("हिन्द",)),
    ("so\u00adft\u200b hyphen “needle” \u202d12345\u202c", ("soft", "needle", "“needle”", "12345"), ("so",)),
    ("plain red order", ("RED", "réd", "plain order"), ("pla", "订单")),
)  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_search_finds_words_in_every_script_with_and_without_accents(
    server: Callable[[int], Server], version: int
) -> None:
    name = await server(version).migrated()
    connection = await asyncpg.connect(server(version).admin_url(name))
    found = "select private.message_words($1) @@ words from public.search_words($2)"
    wrong = [
        (text, query, wanted)
        for text, present, absent in SCRIPTS
        for queries, wanted in ((present, True), (absent, False))
        for query in queries
        if await connection.fetchval(found, text, query) is not wanted
    ]
    # The longest words, and more of them than a message holds, fit.
    for letter in ("单", "é", "\ufdfa", "\U00020000", "สั้"):
        await connection.fetchval("select private.message_words($1)", letter * 50_000)
    await connection.close()
    await server(version).drop(name)
    assert wrong == []


async def test_a_search_finds_words_of_one_message(desk: Desk) -> None:
    boss = await desk.member("owner")
    sessions = {}
    long = "needle " + "w " * 100_000 + "haystack"
    for name, said, answer in (
        ("ann", "My order is red, 我的订单号 café", "Noted"),
        ("bob", "Another order, blue", long),
    ):
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
