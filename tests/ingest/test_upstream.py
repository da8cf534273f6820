"""TAXII 2.1 collections as sources: every object once, whatever breaks on the way; taxii2-client is the oracle."""

import asyncio
import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import psycopg
import pytest
from taxii2client.v21 import Collection, as_pages
from tests.conftest import Person, Running, copied
from tests.ingest.web import Asked, Source, says, source

from isac import times
from isac.errors import Unreachable
from isac.ingest import fetching, sources, upstream
from isac.ingest.feeds import Feed
from isac.ingest.fetching import Fetcher, Outbound, networks
from isac.ingest.sources import Around
from isac.ingest.upstream import Document, Place
from isac.store import database
from isac.store.database import Pool
from isac.store.runs import Brought, Seen
from isac.store.submissions import Counts

Run = Callable[[Coroutine[Any, Any, Any]], Any]

TAXII = "application/taxii+json;version=2.1"
HERE = Outbound(allow=networks("127.0.0.1/32"))
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
TERMS: dict[str, Any] = {"license": "CC0", "redistribute": True, "sample": True}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSE", 0.01)


def indicator(number: int) -> dict[str, Any]:
    at = times.stix(BEGIN + timedelta(seconds=number))
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{uuid.UUID(int=number, version=4)}",
        "created": at,
        "modified": at,
        "valid_from": at,
        "pattern": f"[domain-name:value = 'host-{number}.example']",
        "pattern_type": "stix",
    }


class Upstream:
    """A collection with 30 objects a page at most, three of one date each; what breaks a test says."""

    def __init__(self, count: int) -> None:
        self.objects = [(BEGIN + timedelta(seconds=n // 3), indicator(n)) for n in range(count)]
        self.asked: list[str] = []
        #: called with the number of the request; True drops the connection
        self.breaks: Callable[[int], bool] = lambda _: False
        self.tokens = True
        self.dates = True
        self.stuck = False
        self.epoch = 0

    def page(self, query: dict[str, str]) -> tuple[int, dict[str, Any], dict[str, str]]:
        after = times.read(query["added_after"]) if "added_after" in query else None
        there = [each for each in self.objects if after is None or each[0] > after]
        begin = 0
        if "next" in query:
            epoch, _, place = query["next"].partition(".")
            if int(epoch) != self.epoch:
                return 400, {"title": "unknown next"}, {}
            begin = int(place)
        limit = min(30, int(query.get("limit", 30)))
        some = there[begin : begin + limit]
        more = len(there) > begin + limit
        if self.stuck and some:
            some, more = there[:limit], True
        body: dict[str, Any] = {"objects": [each for _, each in some]} if some else {}
        headers = {}
        if more:
            body["more"] = True
            if self.tokens:
                body["next"] = f"{self.epoch}.{0 if self.stuck else begin + limit}"
        if some and self.dates:
            headers = {
                "X-TAXII-Date-Added-First": times.taxii(some[0][0]),
                "X-TAXII-Date-Added-Last": times.taxii(some[-1][0]),
            }
        return 200, body, headers

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its collection's address."""
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                upstream.asked.append(self.path)
                if upstream.breaks(len(upstream.asked)):
                    self.connection.close()
                    return
                query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                if self.path.endswith("/objects/") or "/objects/?" in self.path:
                    status, body, headers = upstream.page(query)
                else:
                    status, headers = 200, {}
                    body = {"id": "1", "title": "x", "can_read": True, "can_write": False, "media_types": [TAXII]}
                content = orjson.dumps(body)
                self.send_response(status)
                for name, value in (headers | {"Content-Type": TAXII, "Content-Length": str(len(content))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *rest: Any) -> None:
                """Tests are silent."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/root/collections/1/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class Desk:
    """Runs one feed, and looks at what is there."""

    def __init__(self, pool: Pool, run: Run, folder: Path, url: str) -> None:
        self.pool, self.run, self._url = pool, run, url
        self.around = Around(folder, Outbound(allow=networks("127.0.0.1/32")), {"KEY": "Bearer x"}.get)

    def read(self, url: str, **more: Any) -> tuple[Brought, Counts]:
        feed = Feed(**{"name": "upstream", "url": url, "format": "taxii", **TERMS, **more})
        done: tuple[Brought, Counts] = self.run(sources.run(self.pool, feed, self.around))
        return done

    def stored(self) -> list[str]:
        with psycopg.connect(self._url, options="-c search_path=elections") as conn:
            rows = conn.execute("SELECT stix_id FROM log JOIN objects o ON o.pk = object WHERE type = 'indicator'")
            return sorted(row[0] for row in rows)


@pytest.fixture
def desk(pool: Pool, run: Run, tmp_path: Path, database_url: str) -> Desk:
    return Desk(pool, run, tmp_path, database_url)


@pytest.mark.parametrize("tokens", [True, False], ids=["next", "dates"])
def test_a_collection_is_read_once(desk: Desk, tokens: bool) -> None:
    upstream = Upstream(200)
    upstream.tokens = tokens
    if not tokens:  # what shares a date at a page's end would be lost to everybody
        upstream.objects = [(BEGIN + timedelta(seconds=n), each) for n, (_, each) in enumerate(upstream.objects)]
    with upstream.serving() as url:
        assert desk.read(url)[1] == Counts(accepted=200)
        upstream.objects += [(BEGIN + timedelta(hours=1), indicator(1000))]
        assert desk.read(url)[1].accepted == 1
        upstream.asked.clear()
        assert desk.read(url)[1].repeated <= 1
        assert desk.read(url)[0].outcome == "unchanged"
        assert len(upstream.asked) == 2
    assert len(desk.stored()) == 201


def test_we_read_what_taxii2_client_reads(desk: Desk) -> None:
    upstream = Upstream(100)
    with upstream.serving() as url:
        desk.read(url)
        pages = as_pages(Collection(url).get_objects, per_request=30)
        oracle = [each["id"] for page in pages for each in page.get("objects", [])]
    assert desk.stored() == sorted(oracle)


@pytest.mark.parametrize("at", range(2, 8))
def test_a_sync_that_is_cut_off_goes_on(desk: Desk, at: int) -> None:
    """The server dies for good in the middle and comes back with other tokens: every object once, few read twice."""
    upstream = Upstream(200)
    with upstream.serving() as url:
        upstream.breaks = lambda number: number >= at
        brought, _ = desk.read(url)
        assert (brought.outcome, "broke off" in brought.problem) == ("failed", True)
        assert len(desk.stored()) == 30 * (at - 1)
        upstream.breaks, upstream.epoch = lambda _: False, 1
        again = desk.read(url)[1]
        assert (again.accepted, again.repeated <= 3) == (200 - 30 * (at - 1), True)
    assert len(desk.stored()) == 200


def test_a_connection_that_breaks_now_and_then_is_made_anew(desk: Desk) -> None:
    upstream = Upstream(200)
    upstream.breaks = lambda number: number % 3 == 1
    with upstream.serving() as url:
        assert desk.read(url)[1] == Counts(accepted=200)


def test_a_server_that_does_not_get_on_is_left(desk: Desk) -> None:
    upstream = Upstream(90)
    upstream.stuck = True
    with upstream.serving() as url:
        brought, _ = desk.read(url)
    assert "the same page again and again" in brought.problem
    assert len(upstream.asked) < 5


def test_a_server_without_dates_is_read_by_our_clock(desk: Desk) -> None:
    upstream = Upstream(100)
    upstream.dates = False
    with upstream.serving() as url:
        assert desk.read(url)[1] == Counts(accepted=100)
        upstream.objects.append((times.now(), indicator(1000)))
        assert desk.read(url)[1] == Counts(accepted=1)


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"objects": 7}', b""])
def test_what_is_no_taxii_is_said(desk: Desk, body: bytes) -> None:
    upstream = Upstream(1)
    upstream.page = lambda query: (200, orjson.loads(body) if body.startswith((b"[", b"{")) else body.decode(), {})  # type: ignore[method-assign,assignment,return-value]
    with upstream.serving() as url:
        assert "does not answer as a TAXII 2.1 collection" in desk.read(url)[0].problem


def test_our_own_server_is_a_source(
    postgres: str, run: Run, tmp_path: Path, server: Running, people: dict[str, Person]
) -> None:
    """Read with a key in the header, into another database."""
    steward = people["isac_steward"]
    address = f"{server.base}{server.root}collections/{steward.collection}/"
    sent = [indicator(n) | {"pattern": f"[domain-name:value = 'h{n}.org']"} for n in range(5)]
    Collection(address, user=steward.key_id, password=steward.secret).add_objects({"objects": sent})

    async def read(url: str) -> tuple[Brought, Counts]:
        async with database.pool(url, size=3) as pool:
            feed = Feed(name="upstream", url=address, format="taxii", auth_env="KEY", license="CC0", redistribute=True)
            beside = Around(tmp_path, Outbound(allow=networks("127.0.0.1/32")), {"KEY": f"Bearer {steward.secret}"}.get)
            return await sources.run(pool, feed, beside)

    with copied(postgres) as url:
        brought, counts = run(read(url))
        assert (brought.outcome, brought.problem, counts.refused) == ("taken", "", 0)
        with psycopg.connect(url, options="-c search_path=elections") as conn:
            rows = conn.execute("SELECT stix_id FROM log JOIN objects o ON o.pk = object WHERE type = 'indicator'")
            assert {row[0] for row in rows} == {each["id"] for each in sent}


def test_a_worker_that_is_killed_leaves_no_hole(desk: Desk) -> None:
    """Ended between two pages, as by kill -9: what was read stays, and the next run goes on from there."""
    upstream = Upstream(200)

    async def killed(url: str) -> None:
        feed = Feed(name="upstream", url=url, format="taxii", **TERMS)
        running = asyncio.create_task(sources.run(desk.pool, feed, desk.around))
        while len(upstream.asked) < 4:
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    with upstream.serving() as url:
        desk.run(killed(url))
        there = len(desk.stored())
        assert 0 < there < 200
        assert desk.read(url)[1].accepted == 200 - there
    assert len(desk.stored()) == 200


def serving(pages: dict[str, bytes]) -> contextlib.AbstractAsyncContextManager[Source]:
    """A web server with these pages; a page that is not there is a 404."""

    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        there = pages.get(asked.path)
        out.write(says("404 Not Found") if there is None else says("200 OK", there))

    return source(answer)


def read(pages: dict[str, bytes], path: str, format_name: str = "text") -> list[Document]:
    """What a server with these pages gives."""

    async def reading() -> list[Document]:
        async with serving(pages) as server, Fetcher(HERE) as fetcher:
            found = upstream.documents(fetcher, server.address + path, format_name, {}, {}, {})
            return [document async for document in found]

    return asyncio.run(reading())


@dataclass
class Reader:
    """Somebody who notes the place of what he could take in, as a run does."""

    #: what he cannot take in
    bad: bytes = b"bad"
    place: Place = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    #: when what failed is asked for again; None: at once
    again_at: datetime | None = None
    got: list[bytes] = field(default_factory=list)

    def take(self, document: Document) -> None:
        self.got.append(document.content[:])
        document.failed = bool(document.problem) or self.bad in document.content[:]
        if document.key:
            if document.failed:
                mark = document.mark if document.mark_of_failure is None else document.mark_of_failure
                self.seen[document.key] = Seen(mark, 1, self.again_at)
            else:
                self.seen[document.key] = Seen(orjson.loads(orjson.dumps(document.mark)))
        if not document.failed:
            self.place = orjson.loads(orjson.dumps(document.place)) or self.place

    async def read(self, server: Source, path: str, format_name: str) -> list[bytes]:
        self.got = []
        async with Fetcher(HERE) as fetcher:
            found = upstream.documents(fetcher, server.address + path, format_name, {}, self.place, self.seen)
            async for document in found:
                self.take(document)
        return self.got

    def read_files(self, path: Path) -> list[bytes]:
        self.got = []
        for document in upstream.files(path, self.place, self.seen):
            self.take(document)
        return self.got


def test_a_page_lists_files_below_it_each_once() -> None:
    page = b"""<a href="one.txt">1</a> <A class=x HREF='two.txt#top'> <a href=one.txt> <a href="a&amp;b c.txt">
        <a data-href="no.txt"> <a href="../up.txt"> <a href="http://[::1"> <a href="?C=M"> <a href="sub/x.txt">
        <a href> <a href="%s"> <a href="a\x01.txt">"""
    page = page.replace(b"%s", b"x" * 3000)
    names = ["one.txt", "two.txt", "a&b%20c.txt"]
    found = read({"/list/": page} | {f"/list/{name}": name.encode() for name in names}, "/list/")
    assert [(each.content[:].decode(), each.problem) for each in found] == [(name, "") for name in names]


@pytest.mark.parametrize("page", [b"<a ", b"<a href", b"<a href= ", b'<a href="', b"href=", b"<a\n\n "])
def test_a_page_of_nothing_but_beginnings_takes_no_time(page: bytes) -> None:
    began = time.monotonic()
    read({"/list/": page * (2_000_000 // len(page))}, "/list/")
    read({"/list/": b"<a " + page[-5:] * 300_000}, "/list/")
    assert time.monotonic() - began < 5


def test_a_page_that_lists_files_has_an_end() -> None:
    with pytest.raises(Unreachable, match="holds more than 2 MiB"):
        read({"/list/": b"x" * (2 << 20) + b"x"}, "/list/")


def test_a_listed_file_that_fails_is_asked_for_again() -> None:
    async def reading() -> None:
        pages = {"/list/": b"<a href=1><a href=2><a href=3><a href=4>", "/list/1": b"one", "/list/2": b"bad"}
        pages |= {"/list/3": b"three"}
        reader = Reader()
        async with serving(pages) as server:
            assert await reader.read(server, "/list/", "text") == [b"one", b"bad", b"three", b""]
            assert await reader.read(server, "/list/", "text") == [b"bad", b""]
            pages |= {"/list/2": b"two", "/list/4": b"bad"}
            assert await reader.read(server, "/list/", "text") == [b"two", b"bad"]
            pages["/list/4"] = b"four"
            assert await reader.read(server, "/list/", "text") == [b"four"]
            assert await reader.read(server, "/list/", "text") == []

    asyncio.run(reading())


UUIDS = [str(uuid.UUID(int=number, version=4)) for number in range(3)]


@pytest.mark.parametrize("bad", range(3))
def test_an_event_that_fails_is_asked_for_again(bad: int) -> None:
    async def reading() -> None:
        pages = {f"/misp/{each}.json": b"event %d" % number for number, each in enumerate(UUIDS)}
        pages["/misp/manifest.json"] = orjson.dumps({each: {"timestamp": n} for n, each in enumerate(UUIDS)})
        reader = Reader(bad=b"event %d" % bad)
        async with serving(pages) as server:
            assert len(await reader.read(server, "/misp/", "misp")) == 3
            assert "manifest" not in reader.place
            assert await reader.read(server, "/misp/", "misp") == [b"event %d" % bad]
            pages[f"/misp/{UUIDS[bad]}.json"] = b"mended"
            assert await reader.read(server, "/misp/", "misp") == [b"mended"]
            assert "manifest" in reader.place
            assert await reader.read(server, "/misp/", "misp") == []

    asyncio.run(reading())


def test_what_failed_is_left_alone_while_it_waits_unless_it_changes(tmp_path: Path) -> None:
    """A folder's file, a listed file, an event: each is asked for when its time has come."""

    async def reading() -> None:
        pages = {"/list/": b"<a href=1><a href=2>", "/list/1": b"bad", "/list/2": b"two"}
        pages |= {f"/misp/{each}.json": b"bad" for each in UUIDS}
        pages["/misp/manifest.json"] = orjson.dumps({each: {"timestamp": 1} for each in UUIDS})
        async with serving(pages) as server:
            for path, format_name, first in (("/list/", "text", 2), ("/misp/", "misp", 3)):
                reader = Reader(again_at=times.now() + timedelta(hours=1))
                assert len(await reader.read(server, path, format_name)) == first
                server.asked.clear()
                assert await reader.read(server, path, format_name) == []
                assert "manifest" not in reader.place
                if format_name == "misp":
                    assert [asked.path for asked in server.asked] == ["/misp/manifest.json"]
                    pages["/misp/manifest.json"] = orjson.dumps({UUIDS[0]: {"timestamp": 2}})
                    assert await reader.read(server, path, format_name) == [b"bad"]
                reader.seen = {key: replace(each, again_at=times.now()) for key, each in reader.seen.items()}
                assert b"bad" in await reader.read(server, path, format_name)

    asyncio.run(reading())
    (tmp_path / "1").write_bytes(b"bad")
    reader = Reader(again_at=times.now() + timedelta(hours=1))
    assert [reader.read_files(tmp_path) for _ in range(2)] == [[b"bad"], []]
    (tmp_path / "1").write_bytes(b"mended")
    assert [reader.read_files(tmp_path) for _ in range(2)] == [[b"mended"], []]


def test_a_manifest_has_an_end_and_keeps_no_strange_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = {each: {"timestamp": "\0" * 300} for each in UUIDS}
    pages = {"/manifest.json": orjson.dumps(manifest)} | {f"/{each}.json": b"{}" for each in UUIDS}
    dates = [each.mark for each in read(pages, "/", "misp")]
    assert all(date.isprintable() and len(date) <= 200 for date in dates)
    monkeypatch.setattr(upstream, "_MAX_EVENTS", 2)
    with pytest.raises(Unreachable, match="names 3 events; at most 2"):
        read(pages, "/", "misp")


def test_a_page_that_fails_is_never_skipped() -> None:
    async def reading() -> None:
        pages = {
            "/objects/?limit=1000": b'{"objects": [{"bad": 1}], "more": true, "next": "2"}',
            "/objects/?limit=1000&next=2": b'{"objects": [{"b": 2}]}',
        }
        reader = Reader()
        async with serving(pages) as server:
            for _ in range(2):
                with pytest.raises(Unreachable, match="the next run begins with it"):
                    await reader.read(server, "/", "taxii")
                assert (len(reader.got), reader.place) == (1, {})
            reader.bad = b"none"
            assert len(await reader.read(server, "/", "taxii")) == 2

    asyncio.run(reading())


def test_a_file_of_a_folder_that_fails_is_read_again(tmp_path: Path) -> None:
    for number, content in enumerate((b"one", b"bad", b"four")):
        file = tmp_path / f"{number}.txt"
        file.write_bytes(content)
        os.utime(file, (number, number))
    reader = Reader()
    assert reader.read_files(tmp_path) == [b"one", b"bad", b"four"]
    assert reader.read_files(tmp_path) == [b"bad"]
    (tmp_path / "1.txt").write_bytes(b"two")
    assert reader.read_files(tmp_path) == [b"two"]
    assert reader.read_files(tmp_path) == []


def test_a_file_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_bytes(b"%d" % number)
        os.utime(tmp_path / f"{number}.txt", (number, number))
    found = upstream.files(tmp_path, {}, {})
    next(found)
    (tmp_path / "1.txt").unlink()
    gone, last = found
    assert (gone.name, gone.problem) == ("1.txt", "cannot be read (No such file or directory).")
    assert last.content == b"2"


def test_a_folder_is_read_one_file_at_a_time(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).write_bytes(b"%d" % number)
        os.utime(tmp_path / str(number), (number, number))
    found = upstream.files(tmp_path, {}, {})
    assert next(found).content == b"0"
    (tmp_path / "1").write_bytes(b"later")
    assert next(found).content == b"later"


def test_a_folder_with_more_files_than_one_run_reads_is_read_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "_MAX_FILES", 2)
    for number in range(3):
        (tmp_path / str(number)).write_bytes(b"%d" % number)
    reader = Reader()
    assert [len(reader.read_files(tmp_path)) for _ in range(3)] == [2, 1, 0]


def test_a_name_is_one_printable_line(tmp_path: Path) -> None:
    names = ["%1b%5b2Jx.txt", "z%00.txt", "%e2%80%aetxt.exe", "%c2%9bx", "%0a", "a" * 500]
    page = "".join(f'<a href="{name}">' for name in names).encode()
    found = read({"/list/": page} | {f"/list/{name}": name.encode() for name in names}, "/list/")
    assert [each.problem for each in found] == [""] * len(names)
    (tmp_path / "a\x1b[2J\udcff").write_bytes(b"x")
    found += upstream.files(tmp_path, {}, {})
    assert orjson.dumps([found[-1].key, found[-1].mark])
    for each in found:
        assert each.name.isprintable()
        assert len(each.name) <= 200
