"""Runs feeds for the tests of sources, and looks at what became of them."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import psycopg
from tests.ingest.web import Asked, Source, source

from isac.ingest import sources
from isac.ingest.feeds import Feed
from isac.ingest.fetching import Outbound, networks
from isac.ingest.sources import Around
from isac.store import members, objects
from isac.store.database import Pool
from isac.store.objects import Query
from isac.store.runs import Brought
from isac.store.submissions import Counts

Run = Callable[[Coroutine[Any, Any, Any]], Any]

TERMS: dict[str, Any] = {"license": "CC0", "redistribute": True, "sample": True}
NAMES = [f"host-{number}.example" for number in range(200)]


class Desk:
    """Runs feeds, and looks at what became of them."""

    def __init__(self, pool: Pool, run: Run, folder: Path, url: str) -> None:
        self.pool, self._run, self._url = pool, run, url
        self.around = Around(folder, Outbound(allow=networks("127.0.0.1/32")), {"THE_KEY": "secret"}.get)

    def read(self, feed: Feed, **how: Any) -> tuple[Brought, Counts]:
        done: tuple[Brought, Counts] = self._run(sources.run(self.pool, feed, self.around, **how))
        return done

    def fetched(self, answer: Callable[[Asked], bytes], work: Callable[[Source], Coroutine[Any, Any, None]]) -> None:
        """Do some work while a web server answers so."""

        async def respond(asked: Asked, out: asyncio.StreamWriter) -> None:
            out.write(answer(asked))

        async def both() -> None:
            async with source(respond) as server:
                await work(server)

        self._run(both())

    async def run_feed(self, feed: Feed, **how: Any) -> tuple[Brought, Counts]:
        return await sources.run(self.pool, feed, self.around, **how)

    def ask(self, question: Callable[..., Coroutine[Any, Any, Any]], *rest: Any) -> Any:
        async def asking() -> Any:
            async with self.pool.connection() as conn, conn.transaction():
                return await question(conn, *rest)

        return self._run(asking())

    def bodies(self) -> list[dict[str, Any]]:
        """What the nation's collection shows."""
        page: objects.Page = self.ask(objects.page, self.ask(members.shelf, "us"), Query(limit=10_000))
        bodies = (orjson.loads(raw) for raw in page.objects)
        return [body for body in bodies if body["type"] == "indicator"]

    def names(self) -> set[str]:
        return {body["name"] for body in self.bodies()}

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._url, autocommit=True, options="-c search_path=elections") as conn:
            cursor = conn.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []


def listed(names: list[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def web(address: str, **more: Any) -> Feed:
    return Feed(**{"name": "a-list", "url": address, "format": "text", **TERMS, **more})
