"""What was handed in is read once more from what was kept: only what differs changes."""

import gzip
import io
import tarfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.conftest import zipped
from tests.stix.examples import make

from isac.errors import NotFound
from isac.ingest import files
from isac.ingest.feeds import Feed
from isac.ingest.files import Reading
from isac.ingest.replay import replay
from isac.store import members
from isac.store.database import Pool
from isac.store.submissions import Counts

Run = Callable[[Coroutine[Any, Any, Any]], Any]

LIST = b"one.example\ntwo.example\nno value\n"
KINDS = ("malware", "tool", "campaign")
TABLE = b"host;note\none.example;first\ntwo.example;second\n"


class Desk:
    """Takes files in, and reads them once more."""

    def __init__(self, pool: Pool, run: Run, folder: Path) -> None:
        self.pool, self.run, self.folder = pool, run, folder

    def take(self, name: str, content: bytes, feed: Feed | None = None) -> list[Reading]:
        (self.folder / name).write_bytes(content)

        async def work() -> list[Reading]:
            async with self.pool.connection() as conn, conn.transaction():
                shelf, asking = await members.shelf(conn, "us"), await members.source(conn, "a source")
            return [
                await files.ingest(self.pool, payload, shelf, asking, "a source", feed=feed, sample=True)
                for payload in files.payloads(self.folder / name, feed)
            ]

        done: list[Reading] = self.run(work())
        return done

    def again(self, submission: str, feed: Feed | None = None) -> Counts:
        def named(name: str) -> Feed:
            assert feed is not None
            assert name == feed.name
            return feed

        reading: Reading = self.run(replay(self.pool, submission, named))
        return reading.outcome.counts


@pytest.fixture
def desk(pool: Pool, run: Run, tmp_path: Path) -> Desk:
    return Desk(pool, run, tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_the_same_reading_changes_nothing(desk: Desk, packed: bool) -> None:
    (reading,) = desk.take("list.txt", gzip.compress(LIST) if packed else LIST)
    assert reading.outcome.counts.accepted == 2
    assert desk.again(reading.outcome.id) == Counts(repeated=2)


def test_a_mended_definition_changes_what_differs(desk: Desk) -> None:
    def feed(**columns: str) -> Feed:
        return Feed(name="a-table", path="x", format="csv", license="CC0", redistribute=True, columns=dict(columns))

    (reading,) = desk.take("table.csv", TABLE, feed(value="host"))
    assert reading.outcome.counts.accepted == 2
    assert desk.again(reading.outcome.id, feed(value="host", description="note")) == Counts(accepted=2)
    assert desk.again(reading.outcome.id, feed(value="host", description="note")) == Counts(repeated=2)


def test_each_part_of_an_archive_is_found_again(desk: Desk) -> None:
    """Two lists, and all STIX of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (
            ("a/list.txt", b"a.example\n"),
            ("b/list.txt", b"b.example\nc.example\n"),
            ("x.json", orjson.dumps({"type": "bundle", "id": "bundle--x", "objects": [make(kind) for kind in KINDS]})),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    readings = desk.take("all.tar.gz", buffer.getvalue())
    assert [reading.outcome.counts.accepted for reading in readings] == [1, 2, 3]
    assert [desk.again(reading.outcome.id).repeated for reading in readings] == [1, 2, 3]


def test_a_feeds_lists_in_a_zip_archive_are_read_once_more(desk: Desk) -> None:
    feed = Feed(name="a-list", path="x", format="text", license="CC0", redistribute=True, sample=True)
    readings = desk.take("all.zip", zipped(b"a.example\n", b"b.example\nc.example\n"), feed)
    assert [desk.again(reading.outcome.id, feed).repeated for reading in readings] == [1, 2]


@pytest.mark.parametrize("wrong", ["x", "00000000-0000-4000-8000-000000000000"])
def test_what_is_unknown_is_said(desk: Desk, wrong: str) -> None:
    with pytest.raises(NotFound):
        desk.again(wrong)
