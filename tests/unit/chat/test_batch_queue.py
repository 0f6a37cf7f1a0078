import asyncio

from lib.chat.batch_queue import BatchQueue


async def test_what_waits_is_taken_at_once_and_in_order() -> None:
    batches = BatchQueue[int]()
    for item in range(3):
        batches.put(item)
    assert await batches.take() == [0, 1, 2]


async def test_who_takes_waits_for_something() -> None:
    batches = BatchQueue[int]()
    taking = asyncio.create_task(batches.take())
    await asyncio.sleep(0.01)
    assert not taking.done()
    batches.put(1)
    batches.put(2)
    assert await asyncio.wait_for(taking, 5) == [1, 2]


async def test_nothing_is_lost_when_a_take_is_cancelled() -> None:
    batches = BatchQueue[int]()
    taking = asyncio.create_task(batches.take())
    await asyncio.sleep(0)
    batches.put(1)
    taking.cancel()
    await asyncio.wait({taking})
    assert taking.cancelled()
    batches.put(2)
    assert await asyncio.wait_for(batches.take(), 5) == [1, 2]


async def test_what_is_in_no_hurry_is_taken_with_what_is() -> None:
    batches = BatchQueue[int]()
    taking = asyncio.create_task(batches.take())
    await asyncio.sleep(0)
    batches.put(1, wake=False)
    await asyncio.sleep(0.01)
    assert not taking.done()
    batches.put(2)
    assert await asyncio.wait_for(taking, 5) == [1, 2]
