"""What is done by itself, in a real worker: feeds when they are due, the end of what is over, and after kill -9."""

import itertools
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from isac import child, jobs, times
from isac.errors import Surroundings
from isac.ingest import intake
from isac.ingest.feeds import Feed
from isac.ingest.fetching import Outbound
from isac.ingest.health import alarms, spoken
from isac.ingest.sources import Around
from isac.store import archive, members, migrations, objects
from isac.store.database import Pool
from isac.store.objects import Query
from isac.store.runs import Run

DEFINITION = """
name = "a-list"
path = "list.txt"
format = "text"
every = "1m"
license = "CC0"
redistribute = true
sample = true
"""


@contextmanager
def worker(url: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """What it says goes into the file `said` in the folder."""
    environment = os.environ | {"ISAC_DATABASE_URL": url, "ISAC_FEEDS": str(folder)}
    command = [sys.executable, "-m", "isac", "worker", "--beside"]
    with (
        (folder / "said").open("w") as said,
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=said, text=True) as running,
    ):
        try:
            yield running
        finally:
            running.kill()


def until(fact: Callable[[], Any], seconds: float = 40) -> Any:
    end = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)
    return found


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, options="-c search_path=elections", autocommit=True) as conn:
        cursor = conn.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_worker_reads_what_is_due_and_ends_with_its_server(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(DEFINITION)
    (tmp_path / "list.txt").write_text("one.example\ntwo.example\n")
    with worker(database_url, tmp_path) as running:
        until(lambda: rows(database_url, "SELECT 1 FROM feed_runs WHERE outcome = 'taken'"))
        assert running.stdin
        running.stdin.close()
        assert running.wait(30) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert len(rows(database_url, "SELECT 1 FROM log WHERE type = 'indicator'")) == 2


@pytest.mark.parametrize("known", [True, False], ids=["known to be dead", "found dead later"])
def test_after_kill_9_the_next_worker_goes_on(
    pool: Pool, run: Callable[..., Any], database_url: str, tmp_path: Path, *, known: bool
) -> None:
    """Killed while it takes in; the run is noted as cut off, and nothing is there twice.

    The next worker sees first that its job stands still, or that the feed is due.
    """
    (tmp_path / "a.toml").write_text(DEFINITION)
    count = 30_000
    (tmp_path / "list.txt").write_text("".join(f"host-{number}.example\n" for number in range(count)))
    with worker(database_url, tmp_path) as running:
        until(lambda: rows(database_url, "SELECT 1 FROM log WHERE type = 'indicator' LIMIT 1"))
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    there = len(rows(database_url, "SELECT 1 FROM log WHERE type = 'indicator'"))
    assert 0 < there < count
    rows(database_url, "UPDATE feed_runs SET started_at = started_at - interval '1 hour'")
    app = jobs.jobs(database_url, jobs.Work(pool, Around(tmp_path, Outbound()), None))

    async def find() -> None:
        async with app.open_async():
            await jobs._due(app, jobs.Work(pool, Around(tmp_path, Outbound()), None))
            age_workers(database_url)
            await jobs._again(app)

    if known:
        age_workers(database_url)
    else:
        run(find())
    with worker(database_url, tmp_path):
        until(lambda: rows(database_url, "SELECT 1 FROM feed_runs WHERE outcome = 'taken'"), 90)
    assert rows(database_url, "SELECT outcome FROM feed_runs ORDER BY pk") == [("failed",), ("taken",)]
    assert len(rows(database_url, "SELECT 1 FROM log WHERE type = 'indicator'")) == count
    assert rows(database_url, "SELECT 1 FROM log GROUP BY object HAVING count(*) > 1") == []


def test_a_worker_that_loses_its_database_ends_with_a_sentence(database_url: str, tmp_path: Path) -> None:
    """So that whoever started it starts it anew."""
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    with worker(database_url, tmp_path) as running:
        until(lambda: len(rows(database_url, "SELECT 1 FROM isac_jobs.procrastinate_workers")) == 2)
        with psycopg.connect(database_url, dbname="postgres", autocommit=True) as conn:
            conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            try:
                assert running.wait(60) == 3
            finally:
                conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    said = (tmp_path / "said").read_text(encoding="utf-8").splitlines()
    (words,) = (line for line in said if not line.startswith("{"))
    assert words.startswith("error: The database does not answer")


def test_long_reads_keep_nothing_else_waiting(database_url: str, tmp_path: Path) -> None:
    """Four feeds wait for their sources, a pipe that nobody writes to; what is over ends meanwhile."""
    for number in range(5):
        os.mkfifo(tmp_path / f"pipe-{number}")
        definition = DEFINITION.replace("a-list", f"list-{number}").replace("list.txt", f"pipe-{number}")
        (tmp_path / f"{number}.toml").write_text(definition)
    with worker(database_url, tmp_path):
        until(lambda: len(rows(database_url, "SELECT 1 FROM feed_runs WHERE outcome = 'running'")) == 4)
        rows(
            database_url,
            """SET search_path = isac_jobs;
               INSERT INTO procrastinate_jobs (queue_name, task_name, args)
               VALUES ('default', 'expire', '{"timestamp": 0}')""",
        )
        done = "SELECT 1 FROM isac_jobs.procrastinate_jobs WHERE task_name = 'expire'"
        until(lambda: not rows(database_url, done))
        assert len(rows(database_url, "SELECT 1 FROM feed_runs WHERE outcome = 'running'")) == 4


def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_PAUSE", 0.05)
    program, trace = tmp_path / "program", tmp_path / "trace"
    with child.beside([str(program)], os.environ):
        time.sleep(0.2)
        new = tmp_path / "new"
        new.write_text(f"#!/bin/sh\necho once >> {trace}\n")
        new.chmod(0o700)
        new.rename(program)
        until(lambda: trace.exists() and len(trace.read_text().splitlines()) > 1, 10)


def test_a_child_that_ends_at_once_is_started_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_LOOK", 0.01)
    monkeypatch.setattr(child, "_PAUSE", 0.05)
    trace = tmp_path / "trace"
    with child.beside(["sh", "-c", f"date +%s%N >> {trace}"], os.environ):
        until(lambda: trace.exists() and len(trace.read_text().splitlines()) > 4, 10)
    began = [int(line) for line in trace.read_text().splitlines()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert gaps[3] > 4 * 50_000_000 + gaps[0]


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_GRACE", 0.1)
    monkeypatch.setattr(child, "_HASTE", 0.1)
    trace = tmp_path / "trace"
    with child.beside(
        ["sh", "-c", f"trap 'echo told >> {trace}' TERM; echo $$ > {trace}; while :; do sleep 0.05; done"], os.environ
    ):
        until(trace.exists, 10)
        until(trace.read_text, 10)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    pid, *told = trace.read_text().split()
    assert told == ["told"]
    assert not Path("/proc", pid).exists()


@pytest.mark.parametrize("there", ["1.0.0", "2.999", None])
def test_a_program_wants_the_tables_of_its_jobs(database_url: str, there: str | None) -> None:
    migrations.require_migrated(database_url)
    rows(database_url, f"COMMENT ON SCHEMA isac_jobs IS '{there}'" if there else "DROP SCHEMA isac_jobs CASCADE")
    with pytest.raises(Surroundings, match="isac migrate"):
        migrations.require_migrated(database_url)


def test_an_older_program_leaves_the_tables_of_newer_jobs_alone(database_url: str) -> None:
    rows(database_url, "COMMENT ON SCHEMA isac_jobs IS '999.0.0'")
    migrations.migrate(database_url)
    migrations.require_migrated(database_url)
    assert rows(database_url, "SELECT obj_description('isac_jobs'::regnamespace, 'pg_namespace')") == [("999.0.0",)]


def age_workers(url: str) -> None:
    rows(url, "UPDATE isac_jobs.procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")


def there(url: str) -> list[tuple[Any, ...]]:
    return rows(url, "SELECT id, status::text FROM isac_jobs.procrastinate_jobs ORDER BY id")


@pytest.fixture
def at(pool: Pool, tmp_path: Path) -> jobs.Work:
    (tmp_path / "a.toml").write_text(DEFINITION)
    return jobs.Work(pool, Around(tmp_path, Outbound()), None)


def test_a_feed_that_is_read_is_not_enqueued_and_goes_on_after_a_kill(
    at: jobs.Work, run: Callable[..., Any], database_url: str
) -> None:
    """The feed is due once more while its job stands still in a killed worker; then that is found."""

    async def go() -> None:
        app = jobs.jobs(database_url, at)
        async with app.open_async():
            await jobs._due(app, at)
            await jobs._due(app, at)
            killed = await app.job_manager.register_worker()
            first = await app.job_manager.fetch_job(None, worker_id=killed)
            await jobs._due(app, at)
            assert first
            assert there(database_url) == [(first.id, "doing")]
            age_workers(database_url)
            await jobs._again(app)
            assert there(database_url) == [(first.id, "todo")]

    run(go())


@pytest.mark.parametrize("tries", [0, 3], ids=["one like it waits", "cut off too often"])
def test_a_job_that_cannot_be_done_again_lets_the_next_one_run(
    at: jobs.Work, run: Callable[..., Any], database_url: str, tries: int
) -> None:
    async def go() -> None:
        app = jobs.jobs(database_url, at)
        read = app.configure_task("read", lock="feed a-list", queueing_lock="feed a-list")
        async with app.open_async():
            await read.defer_async(feed="a-list")
            killed = await app.job_manager.register_worker()
            assert await app.job_manager.fetch_job(None, worker_id=killed)
            if tries:
                rows(database_url, f"UPDATE isac_jobs.procrastinate_jobs SET attempts = {tries}")
                await jobs._again(app)  # its worker lives
                age_workers(database_url)
                await jobs._again(app)
                await jobs._due(app, at)
            else:
                age_workers(database_url)
                await read.defer_async(feed="a-list")
                await jobs._again(app)
            living = await app.job_manager.register_worker()
            waiting = await app.job_manager.fetch_job(None, worker_id=living)
            assert waiting
            assert there(database_url) == [(waiting.id, "doing")]

    run(go())


def test_one_wrong_definition_stops_no_feed_and_is_told_once(
    at: jobs.Work, run: Callable[..., Any], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = at.around.folder / "0.toml"
    (at.around.folder / "list.txt").write_text("one.example\n")

    def told() -> list[str]:
        return [record.problem for record in caplog.records if record.message == "feed definition"]  # type: ignore[attr-defined]

    async def go() -> None:
        app = jobs.jobs(database_url, at)
        async with app.open_async():
            for words, lines in (("nmae = 1", 1), ("nmae = 1", 1), ("nmae =", 2), ("", 3), ("", 3)):
                wrong.write_text(words)
                await jobs._due(app, at)
                assert len(told()) == lines
        await jobs._read(at, "a-list")

    run(go())
    assert len(there(database_url)) == 1
    assert all(words.startswith(str(wrong)) for words in told())
    assert rows(database_url, "SELECT outcome FROM feed_runs") == [("taken",)]


def test_old_payloads_go(pool: Pool, run: Callable[..., Any], tmp_path: Path, database_url: str) -> None:
    at = jobs.Work(pool, Around(tmp_path, Outbound()), timedelta(days=400))

    async def keep() -> None:
        async with pool.connection() as conn, conn.transaction():
            await archive.keep(conn, archive.packed(b"old"), "text/plain", times.now() - timedelta(days=401))
            await archive.keep(conn, archive.packed(b"young"), "text/plain", times.now())

    run(keep())
    run(jobs._prune(at))
    assert rows(database_url, "SELECT size FROM payloads") == [(5,)]


def test_what_is_over_ends(at: jobs.Work, run: Callable[..., Any], database_url: str) -> None:
    """Two values of which one holds for a day, and the day is over."""
    folder = at.around.folder
    (folder / "a.toml").write_text(DEFINITION + 'validity = { domain = "1d" }\n')
    (folder / "list.txt").write_text("one.example\n192.0.2.7\n")

    async def names() -> set[str]:
        async with at.pool.connection() as conn, conn.transaction():
            page = await objects.page(conn, await members.shelf(conn, "us"), Query(limit=100))
        bodies = [orjson.loads(raw) for raw in page.objects]
        return {body["name"] for body in bodies if body["type"] == "indicator"}

    async def go() -> None:
        await jobs._read(at, "a-list")
        await jobs._expire(at.pool)
        assert await names() == {"one.example", "192.0.2.7"}
        rows(database_url, "UPDATE versions SET valid_until = valid_until - interval '2 days'")
        await jobs._expire(at.pool)
        assert await names() == {"192.0.2.7"}

    run(go())


def test_what_was_held_until_its_time_is_taken_in(at: jobs.Work, run: Callable[..., Any], database_url: str) -> None:
    soon = times.taxii(times.now() + timedelta(minutes=2))
    head = f'{{"type":"tool","spec_version":"2.1","id":"tool--{uuid.uuid4()}","name":"a name"'
    piece = f'{head},"created":"{soon}","modified":"{soon}"}}'.encode()

    async def go() -> None:
        async with at.pool.connection() as conn:
            asking, us = await members.source(conn, None), (await members.shelf(conn, "us")).own
        await intake.take_in(at.pool, intake.Submission([piece], us, "a test"), asking)
        app = jobs.jobs(database_url, at)
        await app.tasks["later"](timestamp=0)
        assert rows(database_url, "SELECT accepted, held FROM submissions WHERE source = 'a test'") == [(0, 1)]
        rows(database_url, "UPDATE held SET until = now()")
        await app.tasks["later"](timestamp=0)

    run(go())
    assert rows(database_url, "SELECT accepted, held FROM submissions WHERE source = 'a test'") == [(1, 0)]
    assert rows(database_url, "SELECT raw FROM log WHERE type = 'tool'") == [(piece,)]


NOW = times.now()


def ran(outcome: str, ago: timedelta, problem: str = "") -> Run:
    return Run("a-list", NOW - ago, NOW - ago, outcome, problem, 1, 1, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("runs", "kinds"),
    [
        ([], ["late"]),
        ([ran("taken", timedelta(minutes=30))], []),
        ([ran("unchanged", timedelta(minutes=30)), ran("taken", timedelta(days=1))], []),
        ([ran("taken", timedelta(hours=3))], ["late"]),
        ([ran("failed", timedelta(minutes=1), "x"), ran("taken", timedelta(hours=1))], ["failing"]),
        ([ran("failed", timedelta(minutes=1), "x"), ran("taken", timedelta(hours=3))], ["failing", "late"]),
        ([ran("suspect", timedelta(minutes=1), "x"), ran("taken", timedelta(hours=1))], ["suspect"]),
        ([ran("taken", timedelta(minutes=1), "x")], ["partly"]),
        ([ran("unchanged", timedelta(minutes=1)), ran("taken", timedelta(days=8))], ["quiet"]),
        ([ran("running", timedelta(minutes=1)), ran("taken", timedelta(hours=1))], []),
    ],
)
def test_alarms_say_what_is_wrong(runs: list[Run], kinds: list[str]) -> None:
    feed = Feed(name="a-list", path="x", format="text", license="CC0", every="1h", rhythm="7d")  # type: ignore[arg-type]
    good = [each for each in runs if each.outcome in ("taken", "unchanged")][:1]
    new = [each for each in runs if each.outcome == "taken"][:1]
    found = alarms(feed, runs, good, new, NOW)
    assert [alarm.kind for alarm in found] == kinds
    assert all(alarm.words.endswith((".", "x", ")", "--anyway")) for alarm in found)


def test_spans_are_spoken() -> None:
    assert [spoken(timedelta(minutes=each)) for each in (0, 1, 59, 60, 180, 1440, 4320)] == [
        "a moment",
        "1 minute",
        "59 minutes",
        "1 hour",
        "3 hours",
        "1 day",
        "3 days",
    ]
