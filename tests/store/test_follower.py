"""What a follower promises: all up to its horizon is in memory or was passed over, whoever is about to commit."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import psycopg
import pytest

from isac.store import database
from isac.store import follower as follower_module
from isac.store.database import Pool
from isac.store.follower import Follower, Written

#: puts a stored version once more before the nation
RELEASE = """
SELECT newest FROM release_batch('{}', '{}', ARRAY[(SELECT min(pk) FROM versions)],
                                 ARRAY[(SELECT pk FROM audiences WHERE code = 'us')], '{false}')"""

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
        assert [row.date_added for row in follower.after([audience], follower.floor, None, 10)] == [date]

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
