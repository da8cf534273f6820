"""Every STIX 2.1 file and every plain list of the corpus, as an operator's `isac ingest` takes them in, whole."""

import asyncio
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import uvloop
from psycopg import sql
from tests.conftest import Person
from tests.corpus import CORPUS, needs_corpus

from isac.errors import Invalid
from isac.formats import misp, stix, text
from isac.formats.found import Unreadable
from isac.ingest import files
from isac.ingest.files import Reading
from isac.store import database, members, tables
from isac.store.database import Pool

pytestmark = [needs_corpus, pytest.mark.slow]

#: the one list that is not read whole: of its 120,000 lines the head is, packed as the file is
LONG, LINES = "ipsum.txt.gz", 3000


def listed(*patterns: str) -> list[Path]:
    return [path for pattern in patterns for path in sorted(CORPUS.glob(pattern))] if CORPUS else [Path("absent")]


class Town:
    """One database for all files, and what an operator does with it."""

    def __init__(self, pool: Pool, runner: asyncio.Runner, url: str) -> None:
        self._pool, self._runner, self._url = pool, runner, url

    def take_in(self, path: Path) -> tuple[list[tuple[files.Payload, Reading]], list[str]]:
        """What became of the documents in a file, and the reasons of those that could not be read."""
        return self._runner.run(self._take_in(path))

    async def _take_in(self, path: Path) -> tuple[list[tuple[files.Payload, Reading]], list[str]]:
        done, reasons = [], []
        async with self._pool.connection() as conn, conn.transaction():
            shelf, asking = await members.shelf(conn, "us"), await members.source(conn, path.name)
        for payload in files.payloads(path):
            try:
                reading = await files.ingest(self._pool, payload, shelf, asking, path.name, sample=True)
            except Invalid as error:
                reasons.append(error.detail)
            else:
                done.append((payload, reading))
        return done, reasons

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


@pytest.fixture(scope="module")
def town(postgres: str, template: dict[str, Person]) -> Iterator[Town]:
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute("CREATE DATABASE test_corpus TEMPLATE template_isac")
    url = database.create(postgres, "test_corpus")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        context = database.pool(url, size=4)
        yield Town(runner.run(context.__aenter__()), runner, url)
        runner.run(context.__aexit__(None, None, None))


def is_sentence(reason: str) -> bool:
    return bool(re.fullmatch(r"\S.{10,}\S", reason)) and "Traceback" not in reason


def accounted(reading: Reading) -> int:
    counts = reading.outcome.counts
    return counts.accepted + counts.held + counts.refused + counts.repeated + len(reading.problems)


@pytest.mark.parametrize("path", listed("stix21/*"), ids=lambda path: path.name)
def test_every_object_of_a_stix_file_is_accounted_for(town: Town, path: Path) -> None:
    done, reasons = town.take_in(path)

    assert done or reasons
    assert [reason for reason in reasons if not is_sentence(reason)] == []
    for payload, reading in done:
        if payload.pieces or payload.data.lstrip()[:1] in (b"{", b"["):
            pieces = payload.pieces or stix.split(payload.data)
            assert accounted(reading) == len(pieces), payload.name
        said = [*reading.outcome.failures, *reading.outcome.pendings]
        assert [line for line in said if not is_sentence(line["message"])] == []
    before = town.rows()
    again, _ = town.take_in(path)
    assert sum(reading.outcome.counts.accepted for _, reading in again) == 0
    assert town.rows() == before


@pytest.mark.parametrize("path", listed("feeds/*.txt*"), ids=lambda path: path.name)
def test_every_line_of_a_list_is_accounted_for(town: Town, path: Path, tmp_path: Path) -> None:
    if path.name == LONG:
        head = b"".join(gzip.decompress(path.read_bytes()).splitlines(keepends=True)[:LINES])
        path = tmp_path / LONG
        path.write_bytes(gzip.compress(head))
    done, reasons = town.take_in(path)

    assert reasons == []
    ((payload, reading),) = done
    values = list(text.read(payload.data))
    distinct = {each.observable for each in values if not isinstance(each, Unreadable)}
    assert accounted(reading) == len(distinct) + sum(isinstance(each, Unreadable) for each in values)
    assert [problem for problem in reading.problems if not is_sentence(problem.reason)] == []
    assert reading.outcome.counts.accepted > 0
    before = town.rows()
    again, _ = town.take_in(path)
    assert [each.outcome.counts.accepted for _, each in again] == [0]
    assert town.rows() == before


#: 123,000 attributes; its events are read in tests/formats
WHOLE_FEED = "feed-tweetfeed.tar.gz"


@pytest.mark.parametrize("path", listed("misp/*"), ids=lambda path: path.name)
def test_every_attribute_of_misp_is_accounted_for(town: Town, path: Path) -> None:
    if path.name == WHOLE_FEED:
        (payload,) = files.payloads(path)
        assert len(payload.events) == 365
        return
    done, reasons = town.take_in(path)

    assert [reason for reason in reasons if not is_sentence(reason)] == []
    ((payload, reading),) = [each for each in done if misp.events(each[0].data) or each[0].events]
    values = list(misp.read_events(payload.events) if payload.events else misp.read(payload.data))
    distinct = {each.observable for each in values if not isinstance(each, Unreadable)}
    assert accounted(reading) == len(distinct) + sum(isinstance(each, Unreadable) for each in values)
    before = town.rows()
    again, _ = town.take_in(path)
    assert sum(reading.outcome.counts.accepted for _, reading in again) == 0
    assert town.rows() == before
