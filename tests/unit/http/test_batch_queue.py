import asyncio

from lib.http.batch_queue import BatchQueue


async def test_a_take_waits_for_an_item_that_wakes_it() -> None:
    batches = BatchQueue[int]()
    taking = asyncio.create_task(batches.take())
    await asyncio.sleep(0)
    batches.put(1, wake=False)
    await asyncio.sleep(0.01)
    assert not taking.done()
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
