"""Runs of feeds: from files, folders, web servers and MISP feeds; what looks wrong changes nothing."""

import asyncio
import contextlib
import gzip
import io
import tarfile
import tracemalloc
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError
from tests.conftest import zipped
from tests.ingest.sources_desk import NAMES, TERMS, Desk, Run, listed, web
from tests.ingest.web import Asked, Source, says

from isac import times
from isac.errors import Classified, Invalid
from isac.ingest import fetching, files
from isac.ingest.feeds import Feed
from isac.store import archive, log, members, runs
from isac.store.database import Connection, Pool
from isac.store.facts import By
from isac.store.runs import Brought
from isac.store.submissions import Counts


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSE", 0.01)


@pytest.fixture
def desk(pool: Pool, run: Run, tmp_path: Path, database_url: str) -> Desk:
    return Desk(pool, run, tmp_path, database_url)


def test_a_list_is_read_once(desk: Desk) -> None:
    """Unchanged by its tag, unchanged by its bytes, shuffled, and with one line more."""
    body, tagged = listed(NAMES), True

    def answer(asked: Asked) -> bytes:
        tag = f'"{hash(body)}"'
        if tagged and asked.headers.get("if-none-match") == tag:
            return says("304 Not Modified")
        return says("200 OK", body, **({"ETag": tag} if tagged else {}))

    async def work(server: Source) -> None:
        nonlocal body, tagged
        feed = web(server.address + "/list")
        brought, counts = await desk.run_feed(feed)
        assert (brought.outcome, brought.listed, counts) == ("taken", 200, Counts(accepted=200))
        assert (await desk.run_feed(feed))[0].outcome == "unchanged"
        tagged = False
        assert (await desk.run_feed(feed))[0].outcome == "unchanged"
        body = listed(NAMES[::-1])
        brought, counts = await desk.run_feed(feed)
        assert (brought.outcome, counts) == ("taken", Counts(repeated=200))
        body = listed([*NAMES[::-1], "one-more.example"])
        _, counts = await desk.run_feed(feed)
        assert counts == Counts(accepted=1, repeated=200)

    desk.fetched(answer, work)
    assert len(desk.names()) == 201


def test_a_key_is_sent_as_the_definition_says(desk: Desk) -> None:
    async def work(server: Source) -> None:
        await desk.run_feed(web(server.address, auth_env="THE_KEY", auth_header="Auth-Key"))
        brought, _ = await desk.run_feed(web(server.address, auth_env="NO_KEY"))
        assert brought.problem == "auth_env: the variable NO_KEY is not set; it should hold the source's key."
        assert [asked.headers.get("auth-key") for asked in server.asked] == ["secret"]

    desk.fetched(lambda _: says("200 OK", b"one.example\n"), work)


@pytest.mark.parametrize(
    ("odd", "outcome", "words"),
    [
        (b"", "suspect", "It is empty"),
        (b"# nothing today\n", "suspect", "It has no entries, and had 200 before"),
        (b"".join(b"much-%d.example\n" % n for n in range(2001)), "suspect", "more than 10 times the 200 before"),
        (b"this is no value at all\n" * 201 + b"one.example\n", "suspect", "another shape"),
        (b"<!DOCTYPE html><html>Sorry, maintenance.example</html>", "failed", "a web page came instead"),
        (gzip.compress(listed(NAMES))[:-20], "failed", "damaged"),
    ],
    ids=["no byte", "no line", "tenfold", "other shape", "web page", "damaged"],
)
def test_what_looks_wrong_changes_nothing(desk: Desk, odd: bytes, outcome: str, words: str) -> None:
    body = listed(NAMES)

    async def work(server: Source) -> None:
        nonlocal body
        feed = web(server.address)
        await desk.run_feed(feed)
        body = odd
        brought, counts = await desk.run_feed(feed)
        assert (brought.outcome, counts) == (outcome, Counts())
        assert words in brought.problem
        body = listed([*NAMES, "back.example"])
        assert (await desk.run_feed(feed))[1].accepted == 1

    desk.fetched(lambda _: says("200 OK", body), work)
    assert desk.names() == {*NAMES, "back.example"}


def test_another_charset_is_read_alike(desk: Desk) -> None:
    body = listed(NAMES)

    async def work(server: Source) -> None:
        nonlocal body
        await desk.run_feed(web(server.address))
        body = body.decode().encode("utf-16")
        assert (await desk.run_feed(web(server.address)))[1] == Counts(repeated=200)

    desk.fetched(lambda _: says("200 OK", body), work)


def test_an_operator_may_take_in_what_looks_unusual(desk: Desk) -> None:
    body = listed(NAMES[:20])

    async def work(server: Source) -> None:
        nonlocal body
        await desk.run_feed(web(server.address))
        body = listed([f"many-{n}.example" for n in range(300)])
        assert (await desk.run_feed(web(server.address)))[0].outcome == "suspect"
        assert (await desk.run_feed(web(server.address), anyway=True))[1].accepted == 300

    desk.fetched(lambda _: says("200 OK", body), work)


def test_what_a_current_list_no_longer_names_ends_after_its_grace(desk: Desk) -> None:
    """Not at once; and what comes back in time, or after its end, holds again."""
    body = listed(NAMES[:30])

    async def work(server: Source) -> None:
        nonlocal body
        feed = web(server.address, current=True, grace="1d")
        await desk.run_feed(feed)
        body = listed(NAMES[2:30])
        assert (await desk.run_feed(feed))[1] == Counts(repeated=28)
        desk.sql("UPDATE listed SET gone_since = gone_since - interval '2 days' WHERE gone_since IS NOT NULL")
        body = listed(NAMES[1:30])
        assert (await desk.run_feed(feed))[1] == Counts(accepted=1, repeated=29)
        assert (await desk.run_feed(feed))[1] == Counts()

    desk.fetched(lambda _: says("200 OK", body), work)
    ended = [body for body in desk.bodies() if "valid_until" in body]
    assert [each["name"] for each in ended] == [NAMES[0]]
    desk.ask(lambda conn: log.expire(conn, By("test", times.now())))
    assert desk.names() == set(NAMES[1:30])
    desk.fetched(
        lambda _: says("200 OK", listed(NAMES[:30])),
        lambda server: desk.run_feed(web(server.address, current=True)),  # type: ignore[arg-type,return-value]
    )
    assert desk.names() == set(NAMES[:30])


def test_very_many_ids_that_a_list_names_pass_through_in_little_memory(desk: Desk) -> None:
    async def compare(conn: Connection, count: int) -> int:
        tracemalloc.start()
        ids = (f"indicator--{uuid.UUID(int=number)}" for number in range(count))
        await runs.compare_listed(conn, "a-list", ids, times.now())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert desk.ask(compare, 60_000) < 4_000_000  # the ids alone would have twice as many
    assert desk.sql("SELECT count(*) FROM listed WHERE gone_since IS NULL") == [(60_000,)]
    assert desk.ask(compare, 2) < 4_000_000
    assert desk.sql("SELECT count(*) FROM listed WHERE gone_since IS NULL") == [(2,)]


def test_a_list_without_current_keeps_what_it_named(desk: Desk) -> None:
    body = listed(NAMES[:30])

    async def work(server: Source) -> None:
        nonlocal body
        await desk.run_feed(web(server.address))
        body = listed(NAMES[5:30])
        await desk.run_feed(web(server.address))

    desk.fetched(lambda _: says("200 OK", body), work)
    assert desk.sql("SELECT count(*) FROM listed") == [(0,)]
    assert len(desk.names()) == 30


def test_what_may_not_be_given_on_is_kept_alone(desk: Desk) -> None:
    packed = gzip.compress(listed(NAMES))

    async def work(server: Source) -> None:
        brought, counts = await desk.run_feed(web(server.address, redistribute=False))
        assert (brought.outcome, brought.listed, counts) == ("kept", 200, Counts())
        assert brought.payload is not None

    desk.fetched(lambda _: says("200 OK", packed), work)
    assert desk.names() == set()
    ((payload,),) = desk.sql("SELECT payload FROM feed_runs")
    kept = bytearray()
    desk.ask(archive.read, payload, kept.extend)
    assert kept == packed


def test_the_archive_keeps_what_came_once(desk: Desk) -> None:
    body = listed(NAMES)

    async def work(server: Source) -> None:
        await desk.run_feed(web(server.address))
        await desk.run_feed(web(server.address + "/elsewhere", name="b-list"))

    desk.fetched(lambda _: says("200 OK", body, Content_Type="text/plain"), work)
    rows = desk.sql(
        "SELECT s.feed, s.tlp, s.sample, p.pk, p.media_type FROM submissions s JOIN payloads p ON p.pk = s.payload"
    )
    assert sorted(row[:3] for row in rows) == [("a-list", 1, True), ("b-list", 1, True)]
    assert {row[4] for row in rows} == {"text/plain"}
    ((pk,),) = {row[3:4] for row in rows}
    kept = bytearray()
    desk.ask(archive.read, pk, kept.extend)
    assert kept == body


def test_one_run_at_a_time_and_a_killed_one_stands_in_nobodys_way(desk: Desk) -> None:
    (desk.around.folder / "list.txt").write_bytes(listed(NAMES))
    feed = Feed(name="a-list", path="list.txt", format="text", **TERMS)

    async def two() -> None:
        async with desk.pool.connection() as conn, runs.alone(conn, feed.name) as free:
            assert free
            await runs.begin(conn, feed.name, times.now())
            with pytest.raises(Invalid, match="is being read right now"):
                await desk.run_feed(feed)
        # The connection of a killed worker ends, and so does its lock; what it noted stays.
        assert (await desk.run_feed(feed))[1].accepted == 200

    desk._run(two())
    assert desk.sql("SELECT outcome, problem FROM feed_runs ORDER BY pk") == [
        ("failed", "It was cut off, and the next one goes on from where the last good one was."),
        ("taken", ""),
    ]


def test_a_folder_gives_each_file_once(desk: Desk) -> None:
    inbox = desk.around.folder / "inbox"
    inbox.mkdir()
    (inbox / "1.txt").write_bytes(b"one.example\n")
    (inbox / "2.txt").write_bytes(b"<html>")
    feed = Feed(name="inbox", path="inbox", format="text", **TERMS)
    brought, counts = desk.read(feed)
    assert (brought.outcome, counts.accepted) == ("taken", 1)
    assert brought.problem.startswith("2.txt: a web page")
    (inbox / "3.txt.gz").write_bytes(gzip.compress(b"three.example\n"))
    brought, counts = desk.read(feed)
    # What could not be read is tried again, so that nothing is lost.
    assert (brought.problem[:6], counts) == ("2.txt:", Counts(accepted=1))
    (inbox / "2.txt").write_bytes(b"two.example\n")
    assert desk.read(feed)[1] == Counts(accepted=1)
    assert desk.read(feed)[0].outcome == "unchanged"
    assert desk.names() == {"one.example", "two.example", "three.example"}


def test_a_zip_archive_gives_its_lists_and_a_broken_one_stops_no_other(desk: Desk) -> None:
    feed = Feed(name="packed", path="packed.zip", format="text", **TERMS)
    (desk.around.folder / "packed.zip").write_bytes(zipped(b"one.example\n"))
    assert desk.read(feed)[1] == Counts(accepted=1)
    (desk.around.folder / "packed.zip").write_bytes(zipped(b"<html>", b"one.example\n", b"two.example\n"))
    brought, counts = desk.read(feed)
    assert (brought.outcome, brought.problem[:22], counts) == ("taken", "packed.zip:0: a web pa", Counts(1, repeated=1))
    assert desk.names() == {"one.example", "two.example"}
    assert desk.read(feed)[0].outcome == "unchanged"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "an archive without one file"),
        ([b"one.example", b"two.example"], "for one list that names all that holds now"),
    ],
)
def test_a_zip_archive_that_is_of_no_use_changes_nothing(desk: Desk, files: list[bytes], words: str) -> None:
    (desk.around.folder / "packed.zip").write_bytes(zipped(*files))
    brought, counts = desk.read(Feed(name="packed", path="packed.zip", format="text", current=True, **TERMS))
    assert brought.outcome in ("failed", "suspect")
    assert words in brought.problem
    assert counts == Counts()


def test_of_what_may_not_be_given_on_a_zip_archive_is_looked_at(desk: Desk) -> None:
    feed = Feed(name="packed", path="packed.zip", format="text", **TERMS | {"redistribute": False})
    (desk.around.folder / "packed.zip").write_bytes(zipped(b"one.example\n", b"two.example\nthree.example\n"))
    brought, _ = desk.read(feed)
    assert (brought.outcome, brought.listed) == ("kept", 3)
    assert desk.sql("SELECT count(*) FROM payloads") == [(1,)]


def test_a_path_does_not_lead_out_of_its_folder(desk: Desk, tmp_path: Path) -> None:
    """What is plainly elsewhere no definition names; a link shows it when it is read."""
    for path in ("../secret", "/etc/hostname"):
        with pytest.raises(ValidationError):
            Feed(name="a-list", path=path, format="text", **TERMS)
    (tmp_path.parent / "secret").write_text("secret.example")
    (desk.around.folder / "link").symlink_to(tmp_path.parent / "secret")
    brought, _ = desk.read(Feed(name="a-list", path="link", format="text", **TERMS))
    assert "leads out of" in brought.problem


def test_a_web_listing_gives_its_files(desk: Desk) -> None:
    """Those below it; not its parents, not other servers, not folders."""
    files = {"a.txt": b"one.example\n", "b%20c.txt": b"two.example\n"}
    page = b"<html>" + b"".join(
        b'<a class="x" href="%b">x</a>' % link.encode()
        for link in (*files, "../secret", "/elsewhere", "sub/", "?C=M", "http://192.0.2.1/x", "a.txt")
    )

    def answer(asked: Asked) -> bytes:
        name = asked.path.removeprefix("/drop/")
        if not name:
            return says("200 OK", page, Content_Type="text/html")
        tag = f'"{len(files[name])}"'
        if asked.headers.get("if-none-match") == tag:
            return says("304 Not Modified")
        return says("200 OK", files[name], ETag=tag)

    async def work(server: Source) -> None:
        feed = web(server.address + "/drop/")
        assert (await desk.run_feed(feed))[1] == Counts(accepted=2)
        assert (await desk.run_feed(feed))[0].outcome == "unchanged"
        files["a.txt"] = b"one.example\nthree.example\n"
        assert (await desk.run_feed(feed))[1] == Counts(accepted=1, repeated=1)

    desk.fetched(answer, work)


def event(uuid: str, *names: str) -> bytes:
    attributes = [
        {"uuid": f"{uuid[:-4]}{n:04d}", "type": "domain", "value": name, "to_ids": True, "timestamp": "1767225600"}
        for n, name in enumerate(names)
    ]
    body = {"uuid": uuid, "info": "x", "date": "2026-01-01", "timestamp": "1767225600", "Attribute": attributes}
    return orjson.dumps({"Event": body})


def test_a_misp_feed_gives_what_its_manifest_dates_anew(desk: Desk) -> None:
    """One event that is no JSON and one that is missing stop no other; the missing one is asked for again."""
    ids = [f"00000000-0000-4000-8000-00000000{n}000" for n in range(4)]
    dates = dict.fromkeys(ids, "1")
    events = {ids[0]: event(ids[0], "one.example"), ids[1]: b'{"Event": {,}', ids[2]: event(ids[2], "two.example")}

    def answer(asked: Asked) -> bytes:
        name = asked.path.removeprefix("/feed/")
        if name == "manifest.json":
            return says("200 OK", orjson.dumps({uuid: {"timestamp": at} for uuid, at in dates.items()}))
        body = events.get(name.removesuffix(".json"))
        return says("404 Not Found") if body is None else says("200 OK", body)

    async def work(server: Source) -> None:
        feed = web(server.address + "/feed/", format="misp")
        brought, counts = await desk.run_feed(feed)
        assert (brought.outcome, counts) == ("taken", Counts(accepted=2))
        assert brought.problem.count(";") == 2, brought.problem
        server.asked.clear()
        events[ids[3]] = event(ids[3], "three.example")
        dates[ids[0]] = "2"
        events[ids[0]] = event(ids[0], "one.example", "four.example")
        assert (await desk.run_feed(feed))[1] == Counts(accepted=2, repeated=1)
        # The broken one is asked for each time, until it can be read.
        asked = sorted(asked.path[6:] for asked in server.asked)
        assert asked == [f"{ids[0]}.json", f"{ids[1]}.json", f"{ids[3]}.json", "manifest.json"]
        brought, _ = await desk.run_feed(feed)
        assert (brought.outcome, "not JSON" in brought.problem) == ("unchanged", True)
        events[ids[1]] = event(ids[1], "mended.example")
        assert (await desk.run_feed(feed))[1] == Counts(accepted=1)
        assert (await desk.run_feed(feed))[0] == Brought("unchanged")

    desk.fetched(answer, work)
    assert desk.names() == {"one.example", "two.example", "three.example", "four.example", "mended.example"}


def test_a_definition_says_how_sure_and_how_long(desk: Desk) -> None:
    """Read again before that it changes nothing; listed still when it is over, it holds as long once more."""
    body = b"one.example\n192.0.2.7\nhttp://two.example/x\n"

    async def work(server: Source) -> None:
        feed = web(server.address, confidence=70, validity={"ip": "14d", "domain": "1d"})
        await desk.run_feed(feed)
        spans = {
            each["name"]: times.read(each["valid_until"]) - times.read(each["valid_from"])
            for each in await asyncio.to_thread(indicators)
            if "valid_until" in each
        }
        assert {name: round(span.total_seconds() / 86_400) for name, span in spans.items()} == {
            "one.example": 1,
            "192.0.2.7": 14,
        }
        desk.sql("DELETE FROM feed_runs")
        assert (await desk.run_feed(feed))[1] == Counts(repeated=3)

    def indicators() -> list[dict[str, Any]]:
        rows = desk.sql("SELECT raw FROM log WHERE type = 'indicator'")
        return [orjson.loads(raw) for (raw,) in rows]

    desk.fetched(lambda _: says("200 OK", body), work)
    assert {each["confidence"] for each in indicators()} == {70}


BANNER = b"# TOP SECRET//SI//NOFORN\none.example\n"


@pytest.mark.parametrize("redistribute", [True, False])
def test_what_is_classified_is_neither_taken_nor_kept(desk: Desk, redistribute: bool) -> None:
    async def work(server: Source) -> None:
        brought, counts = await desk.run_feed(web(server.address, redistribute=redistribute))
        assert (brought.outcome, counts) == ("failed", Counts())
        assert "classification banner" in brought.problem

    desk.fetched(lambda _: says("200 OK", BANNER), work)
    assert desk.sql("SELECT count(*) FROM payload_pieces") == [(0,)]
    assert desk.names() == set()


@pytest.mark.parametrize("order", [1, -1])
def test_one_classified_part_keeps_its_whole_archive_out(desk: Desk, order: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name, content in [("a.txt", b"two.example\n"), ("b.txt", BANNER)][::order]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))

    async def take() -> None:
        async with desk.pool.connection() as conn, conn.transaction():
            shelf, asking = await members.shelf(conn, "us"), await members.source(conn, "x")
        for part in files.documents("x.tar", buffer.getvalue()):
            with contextlib.suppress(Classified):
                await files.ingest(desk.pool, part, shelf, asking, "x", sample=True)

    desk._run(take())
    assert desk.names() == {"two.example"}
    assert desk.sql("SELECT count(*) FROM payload_pieces") == [(0,)]


def test_a_list_that_loses_most_is_looked_at_first(desk: Desk) -> None:
    """With `current` half is enough, for all that is missing would end."""
    body = listed(NAMES[:100])

    async def work(server: Source) -> None:
        nonlocal body
        plain, current = web(server.address), web(server.address, name="b-list", current=True)
        await desk.run_feed(plain)
        await desk.run_feed(current)
        body = listed(NAMES[:45])
        assert (await desk.run_feed(plain))[0].outcome == "taken"
        assert (await desk.run_feed(current))[0].outcome == "suspect"
        body = listed(NAMES[:1])
        assert (await desk.run_feed(plain))[0].outcome == "suspect"

    desk.fetched(lambda _: says("200 OK", body), work)


def test_current_is_for_one_list(desk: Desk) -> None:
    (desk.around.folder / "inbox").mkdir()
    (desk.around.folder / "inbox" / "1.txt").write_bytes(b"one.example\n")
    brought, _ = desk.read(Feed(name="inbox", path="inbox", format="text", current=True, **TERMS))
    assert (brought.outcome, "is for one list" in brought.problem) == ("failed", True)


def test_what_is_listed_still_does_not_lapse(desk: Desk) -> None:
    """Its end comes near while the file stays the same, which is read anew in time."""

    async def work(server: Source) -> None:
        feed = web(server.address, validity={"domain": "4d"})
        await desk.run_feed(feed)
        assert (await desk.run_feed(feed))[0].outcome == "unchanged"
        desk.sql("UPDATE feed_runs SET started_at = started_at - interval '3 days'")
        assert (await desk.run_feed(feed))[1] == Counts(repeated=1)
        soon = times.stix(times.now() + timedelta(days=1))
        desk.sql(
            "UPDATE versions SET raw = convert_to(regexp_replace(convert_from(raw, 'UTF8'),"
            " '\"valid_until\":\"[^\"]*\"', %s), 'UTF8') WHERE type = 'indicator'",
            f'"valid_until":"{soon}"',
        )
        desk.sql("UPDATE feed_runs SET started_at = started_at - interval '3 days'")
        assert (await desk.run_feed(feed))[1] == Counts(accepted=1)

    desk.fetched(lambda _: says("200 OK", b"one.example\n", ETag='"1"'), work)
    (until,) = (each["valid_until"] for each in desk.bodies())
    assert times.read(until) > times.now() + timedelta(days=3)
