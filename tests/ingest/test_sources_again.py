"""What a source is asked for again: what stays broken less and less, what was taken in not at all."""

import random
from pathlib import Path

import pytest
from tests.ingest.sources_desk import TERMS, Desk, Run, web
from tests.ingest.web import Asked, Source, says

from isac import times
from isac.ingest import fetching, health
from isac.ingest.feeds import Feed
from isac.store import runs
from isac.store.database import Pool
from isac.store.runs import Brought, Seen
from isac.store.submissions import Counts


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSE", 0.01)


@pytest.fixture
def desk(pool: Pool, run: Run, tmp_path: Path, database_url: str) -> Desk:
    return Desk(pool, run, tmp_path, database_url)


def test_what_stays_broken_is_asked_for_less_and_less(desk: Desk) -> None:
    """Every hour a run: it is asked for twice, then after 1, 2, 4, 8, 16 and at most 24 runs, and each run tells."""
    asked: list[int] = []
    run = 0

    def answer(request: Asked) -> bytes:
        if request.path == "/drop/":
            return says("200 OK", b"<a href=good.txt><a href=bad.txt>")
        if request.path == "/drop/bad.txt":
            asked.append(run)
            return says("500 Oops")
        return says("200 OK", b"one.example\n")

    async def work(server: Source) -> None:
        nonlocal run
        feed = web(server.address + "/drop/", every="1h")
        for run in range(90):
            brought, _ = await desk.run_feed(feed)
            assert "bad.txt" in brought.problem
            assert ("asked for again after" in brought.problem) is (run > 0)
            desk.sql("UPDATE feed_documents SET again_at = again_at - interval '1 hour'")
        async with desk.pool.connection() as conn:
            (alarm,) = (await health.of(conn, feed, times.now())).alarms
        assert alarm.kind == "partly"
        assert f"such as {server.address}/drop/bad.txt (9 times; asked for again after 20" in alarm.words
        asked.clear()
        await desk.run_feed(feed, anyway=True)
        assert asked == [run]

    desk.fetched(answer, work)


@pytest.mark.parametrize(
    ("broken", "again"),
    [(says("500 Oops"), "304"), (says("200 OK", b"<html>", ETag='"2"'), "200")],
    ids=["not had", "not taken in"],
)
def test_after_a_failure_only_what_was_not_taken_in_comes_whole(desk: Desk, broken: bytes, again: str) -> None:
    """A server that is down for an hour has not to send all its files once more."""
    state, sent = "well", list[str]()

    def answer(request: Asked) -> bytes:
        if request.path == "/drop/":
            return says("200 OK", b"<a href=a.txt>")
        if state == "broken":
            return broken
        fresh = request.headers.get("if-none-match") != '"1"'
        sent.append("200" if fresh else "304")
        return says("200 OK", b"one.example\n", ETag='"1"') if fresh else says("304 Not Modified")

    async def work(server: Source) -> None:
        nonlocal state
        feed = web(server.address + "/drop/", every="1h")
        for turn in ("well", "broken", "well"):
            state = turn
            await desk.run_feed(feed)

    desk.fetched(answer, work)
    assert sent == ["200", again]


def test_what_is_mended_is_read_and_forgotten_as_a_failure(desk: Desk) -> None:
    inbox = desk.around.folder / "inbox"
    inbox.mkdir()
    feed = Feed(**{"name": "inbox", "path": "inbox", "format": "text", "every": "1h", **TERMS})
    (inbox / "1.txt").write_bytes(b"<html>")
    for failures in (1, 2, 2):  # then it waits
        desk.read(feed)
        assert desk.sql("SELECT failures FROM feed_documents") == [(failures,)]
    (inbox / "1.txt").write_bytes(b"one.example\n")
    assert desk.read(feed)[0].problem == ""
    assert desk.sql("SELECT failures, again_at FROM feed_documents") == [(0, None)]
    assert desk.read(feed)[0] == Brought("unchanged")


def test_a_sync_of_many_files_writes_as_much_for_the_last_as_for_the_first(desk: Desk) -> None:
    """What is noted of each stands by itself: with one list of all, 2,000 files wrote 90 MB."""

    async def note(numbers: range) -> int:
        async with desk.pool.connection() as conn:
            before = desk.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
            for number in numbers:
                seen = Seen({"sha256": "0" * 64, "etag": f'"{number}"'})
                await runs.see(conn, "many", f"https://lists.example/drop/{number:06}.txt", seen)
            return int(desk.sql("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before)[0][0])

    first = desk._run(note(range(500)))
    desk._run(note(range(500, 1500)))
    last = desk._run(note(range(1500, 2000)))
    assert last < 500 * 2000
    assert last < 3 * first
    assert desk.sql("SELECT count(*) FROM feed_documents") == [(2000,)]


def test_a_run_writes_a_row_for_each_document_and_no_list_of_them(desk: Desk) -> None:
    inbox = desk.around.folder / "inbox"
    inbox.mkdir()
    for number in range(30):
        (inbox / f"{number}.txt").write_bytes(b"host-%d.example\n" % number)
    feed = Feed(name="inbox", path="inbox", format="text", **TERMS)
    assert desk.read(feed)[1].accepted == 30
    assert desk.sql("SELECT bookmark FROM feed_runs") == [(None,)]
    before = desk.sql("SELECT name, xmin::text FROM feed_documents ORDER BY name")
    (inbox / "31.txt").write_bytes(b"host-31.example\n")
    desk.read(feed)
    assert set(before) < set(desk.sql("SELECT name, xmin::text FROM feed_documents ORDER BY name"))


def test_a_long_list_that_is_read_again_writes_what_is_new_in_it_alone(desk: Desk) -> None:
    names = [f"host-{number}.example\n" for number in range(5000)]
    path = desk.around.folder / "long.txt"
    path.write_text("".join(names))
    feed = Feed(name="long", path="long.txt", format="text", **TERMS)
    assert desk.read(feed)[1].accepted == len(names)

    def written() -> list[tuple[object, ...]]:
        tables = ("objects", "versions", "grants", "log")
        return [desk.sql(f"SELECT count(*), max(xmin::text::bigint) FROM {table}")[0] for table in tables]

    before = written()
    assert desk.read(feed)[0].outcome == "unchanged"
    # Read again though nothing changed, then in another order and with one value in another's place.
    path.write_text("".join(names) + "\n")
    assert desk.read(feed)[1] == Counts(repeated=len(names))
    assert written() == before
    random.Random(1).shuffle(names)
    path.write_text("".join(["another.example\n", *names[1:]]))
    assert desk.read(feed)[1] == Counts(accepted=1, repeated=len(names) - 1)
    assert [count for count, _ in written()] == [count + 1 for count, _ in before]  # type: ignore[operator]
