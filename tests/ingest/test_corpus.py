"""Every file of the corpus goes down the road as an operator's `isac ingest` takes it in: every row is accounted for.

What is counted in index.json but becomes neither an object nor a reason stands in LESS. Only the longest files go into
the database by their beginning; what they say is read whole.
"""

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import uvloop
from psycopg import sql
from tests.conftest import Person
from tests.corpus import CORPUS, needs_corpus
from tests.ingest.corpus_feeds import definition, is_cut_by_member

from isac.errors import Invalid
from isac.formats import misp
from isac.formats.found import Found, Unreadable
from isac.ingest import files
from isac.ingest.feeds import Feed
from isac.ingest.files import Payload, Reading
from isac.stix import objects
from isac.store import database, members, tables
from isac.store.database import Pool

pytestmark = [needs_corpus, pytest.mark.slow]

ANY = Feed(name="any", path="x", format="text", license="any")
#: of longer lists, archives and feeds so many lines, members and events go into the database
LINES, MEMBERS, EVENTS = 3000, 8, 4
LONG = {
    "feed-tweetfeed.tar.gz",
    "ipsum.txt.gz",
    "maltrail-apt-a-l.tar.gz",
    "phishtank-2021.csv.gz",
    "threatfox-ips.txt.gz",
    "threatfox-mangled.csv.gz",
    "unit42-silverterrier-domains18.csv.gz",
    "urlhaus-online.csv.gz",
}
#: a file of no more rows is taken in twice, to see that nothing changes
SHORT = 3000

#: how many counted rows are neither an object nor a reason, and why; headers are told by the definitions
LESS: dict[str, tuple[int, str]] = {
    "feeds/blocklistproject-adguard-scam-ags.txt.gz": (12, "comments that begin with !"),
    "feeds/intelmq-parser-samples-a.tar.gz": (1736, "fragments of 40 formats: web pages, XML, reports of a sandbox"),
    "interop/medallion-default-data.json": (4, "a server's whole memory, no collection"),
    "interop/stix21-interop-a.tar.gz": (9, "an index of the tests"),
    "misp/eset-events-a.tar.gz": (-987, "attributes of the event that is no JSON, which counts as none there"),
    "misp/feed-tweetfeed.tar.gz": (12457, "digests in hashes.csv, which is an index"),
    "misp/misp-stix-test-collections.tar.gz": (-17, "attributes of objects, which are not counted there"),
    "misp/pymisp-events-a.tar.gz": (39, "templates and answers that are no events"),
    "reports/executemalware-2021.tar.gz": (1996, "56 texts for people, which `isac extract` reads"),
    "reports/unit42-timely-2021-2024.tar.gz": (14777, "237 texts for people, which `isac extract` reads"),
    "stix21/validator-v21-valid-and-invalid.tar.gz": (0, "two files are no JSON, and not counted"),
    "vendor/aptnotes.csv.gz": (690, "an index of reports; its digests are those of documents"),
    "vendor/mcafee-atr.tar.gz": (187, "three texts for people and a list of Windows services"),
}


class Town:
    """One database for all files, and what an operator does with it."""

    def __init__(self, pool: Pool, runner: asyncio.Runner, url: str) -> None:
        self._pool, self._runner, self._url = pool, runner, url

    def take_in(self, payload: Payload, feed: Feed | None, source: str) -> Reading:
        """As the nation's source; raises Invalid where a document cannot be read."""
        reading: Reading = self._runner.run(self._take_in(payload, feed, source))
        return reading

    async def _take_in(self, payload: Payload, feed: Feed | None, source: str) -> Reading:
        async with self._pool.connection() as conn, conn.transaction():
            shelf, asking = await members.shelf(conn, "us"), await members.source(conn, source)
        return await files.ingest(self._pool, payload, shelf, asking, source, feed=feed, sample=True)

    def rows(self) -> dict[str, int]:
        """Number of rows of each table but for those that keep every hand-over."""
        names = [name.split(".")[-1] for name in tables.metadata.tables]
        with psycopg.connect(self._url) as conn:
            query = sql.SQL("SELECT count(*) FROM {}")
            return {
                name: conn.execute(query.format(sql.Identifier(database.SCHEMA, name))).fetchall()[0][0]
                for name in names
                if name not in ("submissions", "audit")
            }


@contextmanager
def opened(url: str) -> Iterator[Town]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        context = database.pool(url, size=4)
        yield Town(runner.run(context.__aenter__()), runner, url)
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def town(postgres: str, template: dict[str, Person]) -> Iterator[Town]:
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute("CREATE DATABASE test_corpus TEMPLATE template_isac")
    with opened(database.create(postgres, "test_corpus")) as whole:
        yield whole


@pytest.fixture
def empty_town(database_url: str) -> Iterator[Town]:
    """For objects without a creator, which belong to whichever file brings them first."""
    with opened(database_url) as empty:
        yield empty


def is_sentence(reason: str) -> bool:
    return bool(re.fullmatch(r"\S.{6,}\S", reason)) and "Traceback" not in reason


def accounted(reading: Reading) -> int:
    counts = reading.outcome.counts
    return counts.accepted + counts.held + counts.refused + counts.repeated + len(reading.problems)


def listed(*families: str) -> list[str]:
    if not CORPUS:
        return ["absent"]
    return [f"{family}/{path.name}" for family in families for path in sorted((CORPUS / family).iterdir())]


def documents(file: str) -> Iterator[tuple[Payload, Feed | None]]:
    """What a file holds, and the definition that says how it is read, where it has one."""
    assert CORPUS
    path = CORPUS / file
    for payload in files.payloads(path, ANY if is_cut_by_member(file) else None):
        member = payload.name.removeprefix(str(path)).lstrip(":")
        yield payload, definition(file, member)


def entries(payload: Payload, feed: Feed | None) -> Sequence[bytes | Found | Unreadable]:
    """What the readers find in a document. Raises Invalid."""
    return payload.pieces if payload.pieces is not None else [*files.entries(payload, feed)]


def shortened(payload: Payload) -> Payload:
    lines = payload.data[:].splitlines(keepends=True)[:LINES]
    return replace(payload, data=b"".join(lines), events=payload.events[:EVENTS])


def test_every_file_is_counted() -> None:
    assert CORPUS
    index = orjson.loads((CORPUS / "index.json").read_bytes())
    assert LESS.keys() < {entry["file"] for entry in index}


@pytest.mark.parametrize("file", listed("stix21", "stix20", "misp", "feeds", "vendor", "reports", "interop"))
def test_every_row_is_accounted_for(town: Town, file: str) -> None:
    assert CORPUS
    index = {entry["file"]: entry["count"] for entry in orjson.loads((CORPUS / "index.json").read_bytes())}
    is_long = Path(file).name in LONG
    rows = headers = 0
    taken: list[tuple[Payload, Feed | None]] = []
    for payload, feed in documents(file):
        headers += feed is not None and feed.format == "csv" and not feed.header
        try:
            found = entries(payload, feed)
        except Invalid:
            with pytest.raises(Invalid) as refusal:
                town.take_in(payload, feed, file)
            assert is_sentence(refusal.value.detail)
            continue
        rows += len({entry.line for entry in found if not isinstance(entry, bytes)} or found)
        if is_long and len(taken) >= MEMBERS:
            continue
        if is_long:
            payload = shortened(payload)
            found = entries(payload, feed)
        reading = town.take_in(payload, feed, file)
        taken.append((payload, feed))
        assert accounted(reading) == len(found), payload.name
        said = [*reading.outcome.failures, *reading.outcome.pendings]
        assert all(is_sentence(line["message"]) for line in said)
        assert all(is_sentence(problem.reason) for problem in reading.problems)
    assert index[file] - headers - rows == LESS.get(file, (0, ""))[0]
    if rows <= SHORT:
        before = town.rows()
        assert [town.take_in(*each, file).outcome.counts.accepted for each in taken] == [0] * len(taken)
        assert town.rows() == before


@pytest.mark.parametrize("file", listed("stix1"))
def test_trap_14_stix_1_is_refused_and_a_converter_named(town: Town, file: str) -> None:
    for payload, _ in documents(file):
        with pytest.raises(Invalid, match=r"This is STIX 1\.x .* convert it with stix2-elevator"):
            town.take_in(payload, None, file)


@pytest.mark.parametrize("file", listed("geo", "elections", "taxonomies", "warninglists", "patterns"))
def test_what_is_not_a_feed_is_refused_as_a_whole(town: Town, file: str) -> None:
    before = town.rows()
    for payload, _ in documents(file):
        with pytest.raises(Invalid, match="is not a feed"):
            town.take_in(payload, None, file)
    after = town.rows()
    assert all(after[name] == before[name] for name in ("objects", "versions", "held", "payloads"))


@pytest.mark.parametrize("file", listed("hostile"))
def test_hostile_files_end_in_a_sentence(town: Town, file: str) -> None:
    for payload, _ in documents(file):
        try:
            reading = town.take_in(payload, None, file)
        except Invalid as error:
            reasons = [error.detail]
        else:
            reasons = [line["message"] for line in reading.outcome.failures]
            reasons += [problem.reason for problem in reading.problems]
            assert reading.outcome.counts.accepted == 0
        assert all(map(is_sentence, reasons))


def test_trap_1_an_event_that_is_no_json_stops_no_other_and_is_read_as_far_as_it_goes(town: Town) -> None:
    ((payload, _),) = documents("misp/eset-events-a.tar.gz")
    (broken,) = [document for document in payload.events if not _is_json(document[:])]
    (event,) = misp.events(broken) or ()
    assert len(list(misp.read_events([event]))) > 900
    assert accounted(town.take_in(payload, None, "misp/eset-events-a.tar.gz")) > 4000


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def test_trap_4_versions_one_millisecond_apart_are_two(empty_town: Town) -> None:
    ((payload, _),) = documents("stix21/datastore-v21-versions.tar.gz")
    modified: dict[str, list[int]] = {}
    for body in (orjson.loads(piece) for piece in entries(payload, None) if isinstance(piece, bytes)):
        if "modified" in body:
            modified.setdefault(body["id"], []).append(objects.instant(body["modified"]))
    stix_id, versions = max(modified.items(), key=lambda item: len(item[1]))
    assert 1_000_000 in [later - earlier for earlier, later in itertools.pairwise(sorted(versions))]

    outcome = empty_town.take_in(payload, None, "trap 4").outcome
    assert outcome.failures == []
    assert [line["id"] for line in outcome.successes].count(stix_id) == len(versions) == 4


@pytest.mark.parametrize(
    ("file", "what", "size"),
    [
        ("stix20/unit42-playbook-emotet.json.gz", lambda body, _: len(body.get("object_refs", ())), 2589),
        ("stix21/mitre-ics-attack-18.1.json.gz", lambda _, raw: len(raw), 351_707),
        ("stix20/elevator-pairs-20-21-a.tar.gz", lambda body, _: len(body.get("pattern", "")), 1415),
    ],
)
def test_trap_16_what_is_large_is_taken(town: Town, file: str, what: Callable[[Any, bytes], int], size: int) -> None:
    ((payload, feed),) = documents(file)
    pieces = [piece for piece in entries(payload, feed) if isinstance(piece, bytes)]
    largest = max(pieces, key=lambda piece: what(orjson.loads(piece), piece))
    assert what(orjson.loads(largest), largest) == size
    outcome = town.take_in(Payload("largest", b"", [largest]), feed, file).outcome
    assert outcome.failures == []
