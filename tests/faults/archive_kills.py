"""Kill the archive at random moments, and judge what is left.

Starts a stack of its own, fills a workspace with old sessions, and archives them in a process that is SIGKILLed at a
random moment, again and again. When all sessions are archived, they are checked, restored and compared byte for byte,
and archived anew, until the kills are used up. The exit status is 0 when every promise was kept, 1 when one was broken.
"""

import asyncio
import os
import random
import sys
import time
from collections import Counter

import asyncpg
import click
from tqdm import tqdm

from lib import config
from lib.archive import object_cleanup
from lib.database import commands
from local.stack import Stack
from tests.faults import harness
from tests.faults.archiving import Archive

# What a run takes in the moment of its death is in no queue until its lease is over.
_QUEUED = """
select exists (select from public.archive_queue) or exists (select from public.archive_objects where status = 'writing')
"""


@click.command(help=__doc__)
@click.option("--kills", default=200, show_default=True, type=click.IntRange(1))
@click.option("--sessions", default=5_000, show_default=True, type=click.IntRange(1))
@click.option("--batch", default=40, show_default=True, type=click.IntRange(1), help="Sessions of an object.")
@click.option("--longest", default=0.6, show_default=True, type=float, help="Seconds until a kill, at most.")
@click.option("--seed", type=int, help="Of the random moments; another one each time, if not given.")
def main(kills: int, sessions: int, batch: int, longest: float, seed: int | None) -> None:
    seed = int(time.time()) % 1_000_000 if seed is None else seed
    click.echo(f"{kills} kills over {sessions:,} sessions, seed {seed}")
    folder = harness.new_folder()
    try:
        with harness.own_stack(folder / "state") as stack:
            found = asyncio.run(_run(stack, kills, sessions, batch, longest, random.Random(seed)))  # noqa: S311
    finally:
        harness.remove(folder)
    for fault in found[:20]:
        click.echo(f"  ! {fault}")
    click.echo("Every promise was kept." if not found else f"{len(found)} promises were broken.")
    sys.exit(1 if found else 0)


async def _run(stack: Stack, kills: int, sessions: int, batch: int, longest: float, rng: random.Random) -> list[str]:
    os.environ |= stack.gateway_env(0)
    config.settings.cache_clear()
    database = await asyncpg.connect(stack.admin_url)
    await database.execute("update cron.job set active = false; notify pg_cron")
    archive = await Archive.new(stack, database, sessions)
    expected, found, done = await archive.rows(), list[str](), Counter[str]()
    await archive.queue()
    with tqdm(total=kills, unit="kill", disable=None) as bar:
        while True:
            queued = await database.fetchval(_QUEUED)
            if queued and done["kills"] < kills:
                done["kills"] += await _kill(archive, batch, rng.uniform(0, longest))
                bar.update(done["kills"] - bar.n)
                await archive.expire_leases()
                done["objects deleted"] += await object_cleanup.delete_dead(archive.store)
                continue
            if queued:
                await archive.expire_leases()
                (child := archive.child("none", batch)).wait()
                done["objects deleted"] += await object_cleanup.delete_dead(archive.store)
                assert child.returncode == 0
            await database.execute("update public.archive_objects set changed_at = now() - interval '1 hour'")
            done["objects deleted"] += await object_cleanup.delete_dead(archive.store)
            found += await archive.faults(expected)
            done["sessions restored and compared"] += sessions
            if found or done["kills"] >= kills:
                break
            await archive.queue()
    click.echo(", ".join(f"{number:,} {name}" for name, number in done.items()))
    await commands.close()
    await database.close()
    return found


async def _kill(archive: Archive, batch: int, seconds: float) -> int:
    """Start a run, and kill it so many seconds after it has begun; whether it still ran."""
    with archive.child("none", batch) as child:
        assert child.stdout is not None
        await asyncio.to_thread(child.stdout.readline)
        await asyncio.sleep(seconds)
        child.kill()
        return int(child.wait() == -9)


if __name__ == "__main__":
    main()
