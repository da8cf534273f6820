"""What is done by itself: feeds are read when they are due, what is no longer valid ends, what is old goes.

procrastinate keeps the jobs in PostgreSQL, in a schema of its own: one run of a feed at a time, more tries with growing
pauses, and what a killed worker left is done by the next.
"""

import asyncio
import contextlib
import logging
import signal
from dataclasses import dataclass, field
from datetime import timedelta

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status

from isac import times
from isac.errors import Surroundings
from isac.ingest import feeds, later, owners, sources
from isac.ingest.feeds import Feed
from isac.ingest.sources import Around
from isac.store import archive, database, log, polls, runs, submissions
from isac.store.database import Pool
from isac.store.facts import By

_ACTOR = "jobs"
_MINUTELY, _NIGHTLY = "* * * * *", "17 3 * * *"
#: seconds between looks for jobs, where a wake-up was missed
_POLLING = 1.0
#: seconds between a worker's signs of life, and that a run under way gets when it is told to stop
_BEAT, _GRACE = 5.0, 20.0
#: seconds that the database may take to give a connection
_PATIENCE = 5.0
#: feeds that are read at the same time, and other jobs that are done meanwhile: four long reads keep nothing waiting
_AT_ONCE, _BESIDE = 4, 2
_FEEDS, _OTHERS = "feeds", "default"
_TRIES = 3
#: seconds between two portions of what goes
_PAUSE = 0.05
# 5, 25 and 125 seconds later; then it waits for its turn.
_AGAIN = procrastinate.RetryStrategy(max_attempts=_TRIES, exponential_wait=5)
_logger = logging.getLogger(__name__)


class RunFailed(Exception):
    """A feed could not be read, so it is tried again soon."""


@dataclass(frozen=True, slots=True)
class Work:
    """What jobs work with."""

    pool: Pool
    around: Around
    #: how long what came and what was given out is kept; None: for ever
    retention: timedelta | None
    #: what was wrong with definitions when last looked at; it is told once while it stays the same
    wrong: set[str] = field(default_factory=set)


async def work(url: str, around: Around, retention: timedelta | None) -> None:
    """Do jobs until SIGINT or SIGTERM; a run that is under way is finished first, for a while.

    Raises Surroundings where the database goes away.
    """
    with database.explaining():
        try:
            # A run takes two connections.
            async with database.pool(url, size=2 * _AT_ONCE + _BESIDE) as pool:
                app = jobs(url, Work(pool, around, retention))
                async with app.open_async():
                    await _again(app)
                    await _end_cut_off(pool)
                    with contextlib.suppress(AlreadyEnqueued):
                        await app.configure_task("due").defer_async(timestamp=0)
                    await _until_told(app)
        except ConnectorException as error:
            # The library wraps what the driver said.
            raise error.__cause__ or Surroundings("The database does not answer.") from error


async def _until_told(app: procrastinate.App) -> None:
    """Two workers, of which the library's own handlers of signals would stop only one."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    workers = [
        asyncio.create_task(
            app.run_worker_async(
                queues=[queue],
                name=queue,
                concurrency=concurrency,
                fetch_job_polling_interval=_POLLING,
                update_heartbeat_interval=_BEAT,
                stalled_worker_timeout=3 * _BEAT,
                shutdown_graceful_timeout=_GRACE,
                delete_jobs="always",
                install_signal_handlers=False,
            )
        )
        for queue, concurrency in ((_FEEDS, _AT_ONCE), (_OTHERS, _BESIDE))
    ]
    telling = asyncio.create_task(told.wait())
    await asyncio.wait([*workers, telling], return_when=asyncio.FIRST_COMPLETED)
    for task in (telling, *workers):
        task.cancel()  # a worker finishes what is under way
    ended = await asyncio.gather(*workers, return_exceptions=True)
    if not told.is_set():
        # One that ends untold has lost the database, said so in the log, and may yet end without an exception.
        raise next((error for error in ended if isinstance(error, Exception)), None) or Surroundings(
            "The database does not answer."
        )


def jobs(url: str, at: Work) -> procrastinate.App:
    """Every job: its name, its schedule, and a line that calls the room that does it."""
    connector = procrastinate.PsycopgConnector(
        conninfo=database.conninfo(url, schema=database.JOBS),
        min_size=1,
        max_size=_AT_ONCE + _BESIDE + 2,
        timeout=_PATIENCE,
    )
    app = procrastinate.App(connector=connector, periodic_defaults={"max_delay": 60})

    @app.periodic(cron=_MINUTELY)
    @app.task(name="due", lock="due", queueing_lock="due")  # one at a time, since it looks before it enqueues
    async def due(timestamp: int) -> None:
        await _due(app, at)

    @app.task(name="read", queue=_FEEDS, retry=_AGAIN)
    async def read(feed: str) -> None:
        await _read(at, feed)

    @app.periodic(cron=_MINUTELY)
    @app.task(name="expire", queueing_lock="expire")
    async def expire(timestamp: int) -> None:
        await _expire(at.pool)

    @app.periodic(cron=_MINUTELY)
    @app.task(name="later", lock="later", queueing_lock="later")
    async def take_due(timestamp: int) -> None:
        await later.take_due(at.pool, times.now(), _ACTOR)

    @app.periodic(cron=_MINUTELY)
    @app.task(name="look_back", lock="look_back", queueing_lock="look_back")
    async def look_back(timestamp: int) -> None:
        await owners.look_back(at.pool, times.now())

    @app.periodic(cron=_NIGHTLY)
    @app.task(name="prune", queueing_lock="prune")
    async def prune(timestamp: int) -> None:
        await _prune(at)

    @app.periodic(cron=_MINUTELY)
    @app.task(name="again", queueing_lock="again")
    async def again(timestamp: int) -> None:
        await _again(app)

    @app.periodic(cron=_MINUTELY)
    @app.task(name="end_cut_off", queueing_lock="end_cut_off")
    async def end_cut_off(timestamp: int) -> None:
        await _end_cut_off(at.pool)

    return app


async def _again(app: procrastinate.App) -> None:
    """What a worker that was killed had begun is done by another one; what was cut off too often is given up."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=3 * _BEAT):
        told = {"job": job.task_name, "of": job.task_kwargs, "attempts": job.attempts}
        try:
            if job.attempts < _TRIES and await _retried(app, job):
                _logger.warning("stalled job", extra=told)
            else:
                await app.job_manager.finish_job(job, Status.FAILED, delete_job=True)
                _logger.error("stalled job given up", extra=told)
        except ConnectorException as error:
            # Another worker was quicker; it must not keep the other jobs from being done.
            _logger.warning("stalled job is not to be had", extra=told | {"problem": str(error.__cause__ or error)})


async def _retried(app: procrastinate.App, job: Job) -> bool:
    """Whether it may be done again: not where one like it waits already, which does the same."""
    try:
        await app.job_manager.retry_job(job)
    except UniqueViolation:
        return False
    return True


async def _due(app: procrastinate.App, at: Work) -> None:
    good, problems = feeds.load_good(at.around.folder)
    for problem in problems:
        if problem not in at.wrong:
            _logger.error("feed definition", extra={"problem": problem})
    at.wrong.clear()
    at.wrong.update(problems)
    for feed in good:
        if feed.every is None or not await _is_due(at.pool, feed, feed.every):
            continue
        # One that waits would stand in the way of the other's next try.
        lock = f"feed {feed.name}"
        if not any(job.status in ("todo", "doing") for job in await app.job_manager.list_jobs_async(lock=lock)):
            await app.configure_task("read", lock=lock, queueing_lock=lock).defer_async(feed=feed.name)


async def _is_due(pool: Pool, feed: Feed, every: timedelta) -> bool:
    async with pool.connection() as conn:
        last = await runs.latest(conn, feed.name)
    return not last or last[0].started_at + every <= times.now()


async def _read(at: Work, name: str) -> None:
    good, _ = feeds.load_good(at.around.folder)
    for feed in good:
        if feed.name != name:
            continue
        brought, _ = await sources.run(at.pool, feed, at.around)
        if brought.outcome == "failed":
            raise RunFailed(brought.problem)


async def _expire(pool: Pool) -> None:
    over = True
    while over:
        async with pool.connection() as conn, conn.transaction():
            over = bool(await log.expire(conn, By(_ACTOR, times.now())))


async def _end_cut_off(pool: Pool) -> None:
    async with pool.connection() as conn:
        while ended := await submissions.end_cut_off(conn, times.now()):
            _logger.warning("submissions cut off", extra={"submissions": ended})


async def _prune(at: Work) -> None:
    """What is old goes, a little at a time: whoever serves meanwhile notices nothing."""
    if at.retention is None:
        return
    before = times.now() - at.retention
    kinds = (
        ("payloads", archive.prune),
        ("polls", polls.prune),
        ("runs", runs.prune),
        ("documents", runs.prune_documents),
    )
    gone = dict.fromkeys((name for name, _ in kinds), 0)
    for name, prune in kinds:
        while True:
            async with at.pool.connection() as conn:
                some = await prune(conn, before)
            gone[name] += some
            if not some:
                break
            await asyncio.sleep(_PAUSE)
    if any(gone.values()):
        _logger.info("pruned", extra=gone)
