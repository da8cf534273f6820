"""What a follower promises: all up to its horizon is in memory or was passed over, whoever is about to commit."""

import asyncio
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest

from isac.store import database, facts
from isac.store import follower as follower_module
from isac.store.database import Pool
from isac.store.follower import Follower, Written
from isac.store.objects import Page

#: puts a stored version once more before the nation
RELEASE = """
SELECT newest FROM release_batch('{}', '{}', ARRAY[(SELECT min(pk) FROM versions)],
                                 ARRAY[(SELECT pk FROM audiences WHERE code = 'us')], '{false}')"""

#: puts it several times, each with so many bytes
RELEASE_MANY = """
SELECT newest FROM release_batch('{{}}', '{{}}', array_fill((SELECT min(pk) FROM versions), ARRAY[{times}]),
                                 array_fill((SELECT pk FROM audiences WHERE code = 'us'), ARRAY[{times}]),
                                 array_fill(false, ARRAY[{times}]));
UPDATE log SET raw = convert_to(repeat('x', {size}), 'utf8') WHERE seq > (SELECT seq FROM head) - {times}"""
END_ALL = """
SELECT newest FROM release_batch((SELECT array_agg(seq) FROM log), (SELECT array_agg(true) FROM log), '{}', '{}', '{}')
"""

Run = Callable[[Coroutine[Any, Any, Any]], Any]
_looking: list[Follower] = []


@pytest.fixture(autouse=True)
def closed(run: Run) -> Iterator[None]:
    """All followers of the test are closed after it."""
    yield
    while _looking:
        run(_looking.pop().close())


async def looking(url: str, written: Written | None = None) -> Follower:
    """A follower that has looked once and does not look by itself."""
    follower = Follower(url, written or Written())
    _looking.append(follower)
    await follower.look()
    return follower


def after(follower: Follower, audience: int, date: datetime) -> Page:
    """An audience's rows after a date, as a page of a hundred."""
    _, page = follower.page([audience], follower.places([audience], date), None, 100)
    return page


def test_what_is_stamped_and_not_yet_committed_lies_beyond_the_horizon(pool: Pool, database_url: str, run: Run) -> None:
    async def story() -> None:
        follower = await looking(database_url)
        async with pool.connection() as conn, conn.transaction():
            ((audience,),) = await (await conn.execute("SELECT pk FROM audiences WHERE code = 'us'")).fetchall()
            ((date,),) = await (await conn.execute(RELEASE)).fetchall()
            before = follower.horizon
            await follower.look()
            assert before <= follower.horizon < date
            assert follower.newest([audience]) is None
        await follower.look()
        assert follower.newest([audience]) == date <= follower.horizon
        shown = after(follower, audience, follower.floor)
        assert (len(shown.objects), shown.first, shown.last) == (1, date, date)

    run(story())


def test_a_quiet_log_is_known_two_seconds_ahead(pool: Pool, database_url: str, run: Run) -> None:
    async def story() -> None:
        follower = await looking(database_url)
        async with pool.connection() as conn:
            ((now,),) = await (await conn.execute("SELECT clock_timestamp() + interval '1 s'")).fetchall()
        assert now < follower.horizon

    run(story())


def test_entries_that_a_restore_took_back_are_forgotten(pool: Pool, database_url: str, run: Run) -> None:
    async def story() -> None:
        follower = await looking(database_url)
        async with pool.connection() as conn:
            ((audience,),) = await (await conn.execute("SELECT pk FROM audiences WHERE code = 'us'")).fetchall()
            await conn.execute(RELEASE)
        await follower.wrote()
        era = follower.era
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("DELETE FROM elections.log WHERE seq = (SELECT seq FROM elections.head)")
            owner.execute("UPDATE elections.head SET seq = seq - 1")
        await follower.look()

        assert follower.era > era
        assert follower.is_fresh()
        assert follower.newest([audience]) is None

    run(story())


def test_it_follows_by_notices(pool: Pool, database_url: str, run: Run) -> None:
    async def story() -> None:
        follower = Follower(database_url, Written())
        async with follower.following(), await database.connect(database_url) as conn:
            await conn.execute("LISTEN elections_log")
            seen = follower.seq
            await conn.execute(RELEASE)
            async for _ in conn.notifies(timeout=5, stop_after=1):
                pass
            for _ in range(100):
                if follower.seq > seen:
                    break
                async for _ in conn.notifies(timeout=0.002):
                    pass
        assert follower.seq > seen

    run(story())


def test_after_a_write_of_another_worker_a_follower_is_not_fresh_until_it_has_seen_it(
    pool: Pool, database_url: str, run: Run
) -> None:
    async def story() -> None:
        shared = Written()
        here, there = [await looking(database_url, shared) for _ in range(2)]
        assert here.is_fresh()
        async with pool.connection() as conn:
            await conn.execute(RELEASE)
        await there.wrote()
        assert not here.is_fresh()
        await here.look()
        assert here.is_fresh()

    run(story())


def _note(written: Written, seq: int) -> None:
    written.note(seq)


def test_what_is_written_is_shared_between_processes() -> None:
    written = Written()
    other = multiprocessing.get_context("spawn").Process(target=_note, args=(written, 7))
    other.start()
    other.join()
    written.note(5)

    assert written.seq == 7


def test_a_worker_that_starts_does_not_take_back_what_another_one_noted(database_url: str, run: Run) -> None:
    async def story() -> None:
        shared = Written()
        shared.note(1_000_000)
        await looking(database_url, shared)
        assert shared.seq == 1_000_000

    run(story())


def released(url: str, times: int, size: int) -> tuple[int, datetime]:
    """Put so many rows of that size before the nation at one go; answers its audience and their newest date."""
    with psycopg.connect(database.conninfo(url, database.OWNER)) as owner:
        owner.execute(RELEASE_MANY.format(times=times, size=size))
        ((audience, date),) = owner.execute("SELECT a.pk, h.date_added FROM audiences a, head h WHERE code = 'us'")
    return audience, date


def test_objects_that_are_too_much_together_are_never_in_memory(
    database_url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "MAX_BYTES", 10_000)

    async def story() -> None:
        follower = await looking(database_url)
        audience, first = released(database_url, 3, 3000)
        await follower.look()
        assert len(after(follower, audience, follower.floor).objects) == 3
        _, last = released(database_url, 4, 3000)
        await follower.look()
        assert follower._bytes == 0
        assert follower.floor == follower.newest([audience]) == last > first
        assert follower.put([audience]) == follower.seq
        _, newest = released(database_url, 1, 10_000)
        await follower.look()
        shown = after(follower, audience, last)
        assert (len(shown.objects), shown.first) == (1, newest)

    run(story())


def test_large_rows_after_many_small_ones_stay_within_the_bound(
    database_url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "MAX_BYTES", 20_000)

    async def story() -> None:
        follower = await looking(database_url)
        for times, size in ((10, 1000), (5, 3900)):
            audience, date = released(database_url, times, size)
            await follower.look()
        shown = after(follower, audience, follower.floor)
        assert 0 < sum(map(len, shown.objects)) == follower._bytes <= 20_000
        assert shown.last == date

    run(story())


def test_of_very_many_ends_each_audience_is_read_once(
    database_url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        follower = await looking(database_url)
        audience, _ = released(database_url, 50, 100)
        await follower.look()
        assert len(after(follower, audience, follower.floor).objects) == 50
        monkeypatch.setattr(follower_module, "_IMPORT", 20)
        with psycopg.connect(database.conninfo(database_url), autocommit=True) as conn:
            conn.execute(END_ALL)
        fetched: list[int] = []

        async def counting(*asked: Any) -> Any:
            found = await facts.fetch(*asked)
            fetched.append(len(found))
            return found

        monkeypatch.setattr(follower_module, "fetch", counting)
        await follower.look()
        assert max(fetched) < 5
        assert follower.ended([audience]) == follower.seq
        assert follower.newest([audience]) is None
        assert after(follower, audience, follower.floor).objects == []
        assert follower._bytes == 0

    run(story())


def test_a_look_that_nobody_waits_for_any_more_ends_before_the_next_one(
    pool: Pool, database_url: str, run: Run
) -> None:
    async def story() -> None:
        follower = await looking(database_url)
        async with pool.connection() as conn:
            await conn.execute(RELEASE)
            ((audience,),) = await (await conn.execute("SELECT pk FROM audiences WHERE code = 'us'")).fetchall()
        with psycopg.connect(database_url) as owner:
            owner.execute("LOCK TABLE elections.log")
            first = asyncio.ensure_future(follower.look())
            assert follower._conn is not None
            await _waits_for_a_lock(database_url, follower._conn.info.backend_pid)
            first.cancel()
            await asyncio.wait({first}, timeout=5)
            assert first.cancelled()
            second = asyncio.ensure_future(follower.look())
            for _ in range(10):  # it has asked by then, if it may
                await asyncio.sleep(0)
            owner.rollback()
        await second
        assert len(after(follower, audience, follower.floor).objects) == 1
        assert len(follower._raws) == 1
        assert follower.is_fresh()

    run(story())


async def _waits_for_a_lock(url: str, backend: int) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        async with asyncio.timeout(5):
            while not await facts.fetch(conn, "SELECT FROM pg_locks WHERE pid = %s AND NOT granted", (backend,)):
                await asyncio.sleep(0.01)


def test_a_look_that_fails_late_is_no_secret(
    database_url: str, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(follower_module, "_PATIENCE", 0.3)
    monkeypatch.setattr(follower_module, "STALE", 0.1)

    async def story() -> None:
        follower = await looking(database_url)
        assert follower._conn is not None
        stopped = follower._conn.info.backend_pid
        os.kill(stopped, signal.SIGSTOP)
        try:
            assert not await _fresh_again(follower)
            assert follower._common is not None
            await asyncio.wait({follower._common})
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert await follower.catch_up()

    run(story())
    gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


async def _fresh_again(follower: Follower) -> bool:
    """Wait until it has to look again; could it?"""
    while follower.is_fresh():
        await asyncio.sleep(0.02)
    return await follower.catch_up()


def test_a_database_that_is_silent_is_away(database_url: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "_PATIENCE", 0.5)

    async def story() -> None:
        follower = await looking(database_url)
        assert follower._conn is not None
        stopped = follower._conn.info.backend_pid
        os.kill(stopped, signal.SIGSTOP)
        try:
            with pytest.raises(database.Away):
                await asyncio.wait_for(follower.look(), 10)
        finally:
            os.kill(stopped, signal.SIGCONT)
        await follower.look()
        assert follower.is_fresh()

    run(story())
