"""The background process: pg_cron and pg_net, replaced by reading their tables."""

import asyncio
import logging
import os
import signal
from pathlib import Path

import asyncpg

from lib.database.failures import CALL_FAILED
from local.scheduler import Scheduler
from local.sender import Sender

log = logging.getLogger("background")


async def serve(url: str, ready: Path | None = None) -> None:
    """Run jobs and send requests forever; reconnect when Postgres restarts.

    `url` is a superuser's: a job's command runs as the job's own user. The file `ready` appears when both listen.
    """
    pause = 0.1
    while True:
        try:
            await _session(url, ready)
            pause = 0.1
        except CALL_FAILED as error:
            log.warning("connection lost, trying again: %s: %s", type(error).__name__, error)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 1.0)


async def _session(url: str, ready: Path | None) -> None:
    """One connection's lifetime; ends or raises when Postgres stops."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "background"})
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        async with Scheduler(url, connection) as scheduler, Sender(url, connection) as sender:
            if ready is not None:
                ready.touch()
            log.info("listening")
            works = [asyncio.create_task(scheduler.run()), asyncio.create_task(sender.run())]
            works.append(asyncio.create_task(_until(lost)))
            try:
                done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in works:
                    task.cancel()
                await asyncio.gather(*works, return_exceptions=True)
    finally:
        connection.terminate()


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _until_stopped(url: str, ready: Path) -> None:
    serving = asyncio.create_task(serve(url, ready))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    await asyncio.gather(serving, return_exceptions=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(_until_stopped(os.environ["BACKGROUND_DB_URL"], Path(os.environ["BACKGROUND_READY"])))
