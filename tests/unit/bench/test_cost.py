"""bench/cost: its table says what was measured, and the server before a library sends the tokens on."""

import asyncio
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from bench.cost import figures, processes, sampling, server, statements
from bench.cost.figures import Cell, Statements
from bench.cost.systems.library import Library


def cell(
    system: str,
    number: int,
    rate: float,
    *,
    chats: int = 8,
    cpu: Mapping[str, float] | None = None,
    first: float = 0.01,
) -> Cell:
    return Cell(system, chats, number, 10, rate, (first,) * 4, (0.004,) * 4, cpu or {"program": 0.002})


def test_a_ratio_is_to_the_floor_of_the_same_round() -> None:
    cells = [cell("floor", 0, 100), cell("floor", 1, 400), cell("ours", 0, 50), cell("ours", 1, 100)]
    floor, ours = figures.rows(cells, {}, "floor")
    assert (floor.rate, floor.of_floor) == (250, 1)
    assert (ours.rate, ours.rate_least, ours.rate_most) == (75, 50, 100)
    assert (ours.of_floor, ours.of_floor_least, ours.of_floor_most) == (0.375, 0.25, 0.5)


def test_numbers_of_chats_are_not_mixed() -> None:
    cells = [cell("floor", 0, 100, chats=1), cell("ours", 0, 50, chats=1), cell("ours", 0, 80, chats=8)]
    by_chats = {(row.system, row.chats): row for row in figures.rows(cells, {}, "floor")}
    assert by_chats["ours", 1].of_floor == 0.5
    assert by_chats["ours", 8].of_floor is None


def test_added_time_is_what_the_model_alone_does_not_take() -> None:
    (row,) = figures.rows([cell("ours", 0, 1, first=0.0105)], {}, "floor")
    assert row.added_ms == pytest.approx(6.5)
    assert row.added_p95_ms == pytest.approx(6.5)
    assert math.isnan(figures.percentile([], 50))
    assert figures.percentile([1, 2, 3], 50) == 2


def test_the_table_has_a_line_a_row_and_every_part() -> None:
    cells = [cell("floor", 0, 100), cell("ours", 0, 50, cpu={"functions": 0.003, "postgrest": 0.001})]
    head, _, floor, ours = figures.table(figures.rows(cells, {"ours": Statements(8, 2)}, "floor"))
    assert head.count("|") == floor.count("|") == ours.count("|")
    assert [text.strip() for text in ours.split("|")[1:5]] == ["8", "ours", "50 (50-50)", "0.50 (0.50-0.50)"]
    assert "8.0 / 2.0" in ours
    assert "3.00" in ours
    assert "1.00" in ours


def test_transactions_are_blocks_and_statements_outside_of_one() -> None:
    said = [b"begin", b"select 1", b"insert", b"commit", b"select 2", b"start transaction", b"select", b"rollback"]
    assert statements.transactions(said) == 3
    assert statements.transactions([]) == 0


def test_a_sample_belongs_to_the_innermost_frame_that_says_whose_it_is() -> None:
    run = "main (uvicorn/main.py:1);run (asyncio/runners.py:118)"
    found = sampling.parts(
        [
            f"{run} 250",
            f"{run};start (lib/chat/turns.py:1);call (lib/database/commands.py:2);send (lib/outbound/wire.py:3) 500",
            f"{run};serve (lib/http/app.py:1);identify (lib/auth/callers.py:4);decode (jwt/api_jwt.py:1) 250",
            f"{run};_finish (lib/chat/turn_runner.py:1);answer (lib/personas/demo.py:4);loads (json/__init__.py:1) 250",
            f"{run};data_received (lib/outbound/wire.py:3) 125",
            f"{run};send (lib/http/streaming.py:3);send (uvicorn/protocols/http/h11_impl.py:3) 125",
        ]
    )
    assert found == {
        sampling.LOOP: 1,
        sampling.DATABASE: 2,
        sampling.OWN: 1,
        sampling.MODEL: 1,
        sampling.CLIENTS: 0.5,
        sampling.HTTP: 0.5,
    }
    split = sampling.milliseconds(found, turns=1000, cpu_ms=7)
    assert split[sampling.DATABASE] == 2
    assert split[sampling.LOOP] == pytest.approx(2)
    assert sum(sampling.milliseconds(found, turns=1000, cpu_ms=2.5).values()) == pytest.approx(2.5)


def test_the_cpu_of_a_process_counts_children_that_have_ended() -> None:
    before = processes.cpu({"us": os.getpid()})["us"]
    subprocess.run([sys.executable, "-c", "sum(number * number for number in range(3_000_000))"], check=True)
    assert processes.cpu({"us": os.getpid()})["us"] - before >= 0.05


class Echo(Library):
    """Answers with what it was told, a word a token, and whether the thread was new."""

    def __init__(self) -> None:
        """No model is asked."""

    async def answer(self, message: str, *, new_thread: bool) -> AsyncIterator[str]:
        for word in message.split():
            yield word
        yield str(new_thread)


class Echoes:
    versions: dict[str, str] = {}  # noqa: RUF012 - read only

    async def chat(self) -> Echo:
        return Echo()


async def test_pieces_that_are_there_are_one_write_and_none_waits_for_a_later_one() -> None:
    go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        await go_on.wait()
        yield "c"
        raise LookupError

    writes = server.gathered(pieces())
    assert await anext(writes) == "ab"
    go_on.set()
    assert await anext(writes) == "c"
    with pytest.raises(LookupError):
        await anext(writes)


async def test_the_server_before_a_library_sends_each_token_and_keeps_the_thread() -> None:
    app = Starlette(routes=[Route(server.PATH, server.Server(Echoes()).answer, methods=["POST"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        opened = (await client.post(server.PATH, json={"message": "hello there"})).text.split("\n\n")
        thread_id = opened[0].removeprefix('event: thread\ndata: {"thread_id":"').removesuffix('"}')
        went_on = (await client.post(server.PATH, json={"message": "again", "thread_id": thread_id})).text.split("\n\n")
        assert (await client.post(server.PATH, json={"message": "again", "thread_id": "other"})).status_code == 404
    deltas = [f'event: delta\ndata: {{"text":"{text}"}}' for text in ("hello", "there", "True")]
    assert opened[1:] == [*deltas, "event: done\ndata: {}", ""]
    assert went_on[0] == opened[0]
    assert 'event: delta\ndata: {"text":"False"}' in went_on
