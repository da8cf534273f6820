"""What is old goes in portions, and what is still asked for stays."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.test_jobs import rows

from isac import jobs, times
from isac.ingest import sources
from isac.ingest.feeds import Feed
from isac.ingest.fetching import Outbound
from isac.ingest.sources import Around
from isac.store import archive, polls, runs
from isac.store.database import Pool

Prune = Callable[[timedelta | None], None]


@pytest.fixture
def prune(pool: Pool, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prune:
    """The night's job."""
    monkeypatch.setattr(jobs, "_PAUSE", 0)
    around = Around(tmp_path, Outbound())
    return lambda retention: run(jobs._prune(jobs.Work(pool, around, retention)))


def test_old_polls_go_with_the_workers_that_gave_them(
    prune: Prune, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "_AT_ONCE", 7)
    rows(
        database_url,
        """INSERT INTO poll_workers (started_at, marked_at)
           VALUES (now() - interval '500 days', now() - interval '401 days'),
                  (now() - interval '500 days', now() - interval '399 days');
           INSERT INTO polls (at, worker, key, collection, first_added, last_added, count)
           SELECT now() - day * interval '1 day', 1, 1, 1, now(), now(), day FROM generate_series(390, 430) AS day""",
    )
    prune(None)
    assert len(rows(database_url, "SELECT 1 FROM polls")) == 41
    prune(timedelta(days=400))
    assert rows(database_url, "SELECT min(count), max(count), count(*) FROM polls") == [(390, 399, 10)]
    assert rows(database_url, "SELECT marked_at > now() - interval '400 days' FROM poll_workers") == [(True,)]


@pytest.mark.parametrize("at_once", [1, 1000])
def test_of_each_feed_the_runs_stay_that_tell_how_it_is(
    prune: Prune, database_url: str, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """`quiet` has been unchanged for years, `broken` fails, `new` is read each day; `place` failed with a bookmark."""
    monkeypatch.setattr(runs, "_AT_ONCE", at_once)
    runs_of: list[tuple[str, int, str, str]] = [
        ("quiet", 900, "taken", ""),
        ("quiet", 800, "taken", ""),
        ("quiet", 700, "unchanged", ""),
        ("quiet", 600, "unchanged", ""),
        ("quiet", 500, "failed", ""),
        ("broken", 700, "failed", ""),
        ("broken", 600, "failed", ""),
        ("new", 401, "kept", ""),
        ("new", 399, "failed", ""),
        ("new", 1, "kept", ""),
        ("place", 800, "failed", "x"),
        ("place", 700, "taken", ""),
    ]
    for feed, day, outcome, bookmark in runs_of:
        rows(
            database_url,
            f"""INSERT INTO feed_runs (feed, started_at, outcome, problem, bookmark)
                VALUES ('{feed}', now() - interval '{day} days', '{outcome}', '',
                        nullif('{bookmark}', '')::bytea)""",
        )
    prune(timedelta(days=400))
    left = rows(database_url, "SELECT feed, (now()::date - started_at::date) FROM feed_runs ORDER BY pk")
    assert left == [
        *(("quiet", day) for day in (800, 600, 500)),
        ("broken", 600),
        *(("new", day) for day in (399, 1)),
        *(("place", day) for day in (800, 700)),
    ]


def test_of_what_must_not_be_kept_the_hash_stays(
    prune: Prune, pool: Pool, run: Callable[..., Any], database_url: str
) -> None:
    long_ago = times.now() - timedelta(days=500)

    async def work() -> None:
        async with pool.connection() as conn, conn.transaction():
            for number in range(archive._AT_ONCE * 2 + 1):
                await archive.keep(conn, archive.packed(b"%d" % number), "text/plain", long_ago)
            await archive.drop(conn, b"never", long_ago)

    run(work())
    prune(timedelta(days=400))
    assert rows(database_url, "SELECT sha256 = sha256('never') FROM payloads") == [(True,)]


def test_documents_that_no_source_has_any_more_go(
    prune: Prune, pool: Pool, run: Callable[..., Any], database_url: str, tmp_path: Path
) -> None:
    """Their names may be a person's, and with a new name each day they would be ever more."""
    (tmp_path / "lists").mkdir()
    for name in ("kept", "gone"):
        (tmp_path / "lists" / f"{name}.txt").write_text(f"{name}.example\n")
    feed = Feed(name="a-list", path="lists", format="text", license="CC0", redistribute=True, sample=True)
    run(sources.run(pool, feed, Around(tmp_path, Outbound())))
    rows(database_url, "UPDATE feed_documents SET met_at = met_at - interval '401 days'")
    (tmp_path / "lists" / "gone.txt").unlink()
    brought, _ = run(sources.run(pool, feed, Around(tmp_path, Outbound())))
    assert brought.outcome == "unchanged"
    written = rows(database_url, "SELECT name, xmin::text FROM feed_documents ORDER BY name")
    run(sources.run(pool, feed, Around(tmp_path, Outbound())))
    assert rows(database_url, "SELECT name, xmin::text FROM feed_documents ORDER BY name") == written

    prune(None)
    assert len(written) == 2
    prune(timedelta(days=400))
    assert [name for (name,) in rows(database_url, "SELECT name FROM feed_documents")] == ["kept.txt"]
