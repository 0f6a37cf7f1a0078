"""When a job is due, in UTC, as pg_cron would say."""

import datetime
import itertools

import pytest

from local.scheduler import due_times

# Far ahead, so that no run of it is late.
NEW_YEAR = datetime.datetime(2090, 1, 1, 0, 0, 30, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("* * * * *", ["2090-01-01 00:01", "2090-01-01 00:02", "2090-01-01 00:03"]),
        ("*/20 * * * *", ["2090-01-01 00:20", "2090-01-01 00:40", "2090-01-01 01:00"]),
        ("15 3 * * *", ["2090-01-01 03:15", "2090-01-02 03:15", "2090-01-03 03:15"]),
        ("0 */6 * * *", ["2090-01-01 06:00", "2090-01-01 12:00", "2090-01-01 18:00"]),
        ("0 0 $ * *", ["2090-01-31 00:00", "2090-02-28 00:00", "2090-03-31 00:00"]),
        ("@daily", ["2090-01-02 00:00", "2090-01-03 00:00", "2090-01-04 00:00"]),
        ("@Hourly", ["2090-01-01 01:00", "2090-01-01 02:00", "2090-01-01 03:00"]),
    ],
)
def test_a_schedule_is_due_on_cron_s_grid(schedule: str, due: list[str]) -> None:
    times = itertools.islice(due_times(schedule, NEW_YEAR), 3)
    assert [f"{time:%Y-%m-%d %H:%M}" for time in times] == due


def test_seconds_count_from_the_run_before() -> None:
    first, second = itertools.islice(due_times("5 seconds", NEW_YEAR), 2)
    assert (first - NEW_YEAR, second - first) == (datetime.timedelta(seconds=5), datetime.timedelta(seconds=5))


def test_runs_that_were_missed_are_made_up_for_once() -> None:
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)
    times = due_times("* * * * *", past)
    missed, made_up, following = itertools.islice(times, 3)
    now = datetime.datetime.now(datetime.UTC)
    assert missed < now - datetime.timedelta(hours=1)
    assert now - datetime.timedelta(seconds=10) < made_up <= now
    assert now - datetime.timedelta(seconds=10) < following <= now + datetime.timedelta(seconds=60)
