"""Where what is to be erased is handed in, and looked for afterwards, in every table."""

import asyncio
import gzip
import io
import uuid
import zipfile
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg import sql
from tests.conftest import Person

from isac import times
from isac.errors import NotFound
from isac.ingest import erasing, files
from isac.ingest.erasing import Erased
from isac.ingest.feeds import Feed
from isac.ingest.files import Reading
from isac.store import database, members, objects
from isac.store.database import Pool
from isac.store.facts import By
from isac.store.objects import Query, Versions
from isac.store.submissions import Counts

Run = Callable[[Coroutine[Any, Any, Any]], Any]

MARK = "zq-roe-1980"
JANUARY, FEBRUARY, MARCH = (f"2026-0{month}-01T00:00:00.000Z" for month in (1, 2, 3))
EVERYTHING = Versions(last=False, all=True)
LIST = Feed(name="a-list", path="x", format="text", license="CC0", redistribute=True, sample=True)


ACTIONS = Feed(
    name="actions",
    path="x",
    format="csv",
    license="CC0",
    redistribute=True,
    sample=True,
    columns={"value": "cve", "action": "do"},
)


def feed_named(name: str) -> Feed:
    if name not in ("a-list", "actions"):
        raise NotFound(name)
    return LIST if name == "a-list" else ACTIONS


def tool(**more: Any) -> dict[str, Any]:
    head = {"type": "tool", "spec_version": "2.1", "id": f"tool--{uuid.uuid4()}", "created": JANUARY}
    return {**head, "modified": JANUARY, "name": f"Tool of {MARK}", **more}


def bundle(*bodies: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": "bundle", "id": f"bundle--{uuid.uuid4()}", "objects": bodies})


class Desk:
    """Takes in, erases, and looks what is left."""

    def __init__(self, pool: Pool, run: Run, url: str, people: dict[str, Person], folder: Path) -> None:
        self.pool, self.run, self.url, self._people, self.folder = pool, run, url, people, folder

    def take(
        self, content: bytes, to: str = "us", source: str = "a source", *, by: str = "", **how: Any
    ) -> list[Reading]:
        path = self.folder / "file"
        path.write_bytes(content)

        async def work() -> list[Reading]:
            async with self.pool.connection() as conn, conn.transaction():
                shelf = await members.shelf(conn, to)
                asking = await (
                    members.keyholder(conn, self._people[by].key_id) if by else members.source(conn, source)
                )
            return [
                await files.ingest(self.pool, payload, shelf, asking, source, sample=True, **how)
                for payload in files.payloads(path, how.get("feed"))
            ]

        done: list[Reading] = self.run(work())
        return done

    def counts(self, *bodies: dict[str, Any], to: str = "us", **how: Any) -> Counts:
        (reading,) = self.take(bundle(*bodies), to, **how)
        return reading.outcome.counts

    def erase(
        self, *ids: str, dry: bool = False, reason: str = "asked for", began: datetime | None = None, **which: Any
    ) -> Erased:
        things = [erasing.thing(each, **which) for each in ids if "--" in each]
        by = By("op", began or times.now(), reason)

        async def work() -> Erased:
            async with database.pool(self.url, size=3, role=database.OWNER) as pool:
                carriers = await erasing.carriers(pool, things, feed_named)
                public_ids = [each for each in ids if "--" not in each]
                return await erasing.erase(pool, things, public_ids, carriers, by, dry=dry)

        done: Erased = self.run(work())
        return done

    def erase_meanwhile(self, *ids: str, **how: Any) -> None:
        """For what is called within a loop that runs already."""

        def work() -> None:
            with asyncio.Runner() as runner:
                Desk(self.pool, runner.run, self.url, {}, self.folder).erase(*ids, **how)

        with ThreadPoolExecutor(1) as beside:
            beside.submit(work).result()

    def shown(self, code: str = "us", versions: Versions = Versions()) -> list[dict[str, Any]]:  # noqa: B008
        """What a collection shows, but for what is there from the start."""

        async def work() -> list[dict[str, Any]]:
            async with self.pool.connection() as conn:
                page = await objects.page(conn, await members.shelf(conn, code), Query(limit=100, versions=versions))
            return [body for raw in page.objects if (body := orjson.loads(raw))["type"] != "marking-definition"]

        found: list[dict[str, Any]] = self.run(work())
        return found

    def marked(self) -> dict[str, int]:
        """In how many places of each table the mark stands, packed or not."""
        found = {}
        with psycopg.connect(self.url, autocommit=True) as conn:
            tables = conn.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('elections', 'isac_jobs')"
            ).fetchall()
            assert {"log", "payload_pieces", "procrastinate_jobs"} <= {table for _, table in tables}
            for place in tables:
                query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(*place))
                number = sum(MARK.encode() in plain(value) for row in conn.execute(query) for value in row)
                if number:
                    found[place[1]] = number
        return found


def plain(value: Any) -> bytes:
    if not isinstance(value, bytes):
        return str(value).lower().encode()
    for _ in range(3):
        if not value.startswith(b"\x1f\x8b"):
            break
        value = gzip.decompress(value)
    if value.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(value)) as archive:
            value = b"\n".join(map(archive.read, archive.namelist()))
    return bytes(value.lower())
