"""The desk of intake's tests: who hands in, and what is there afterwards."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import orjson
import psycopg
import pytest
import uvloop
from psycopg import sql
from tests.conftest import Person, copied

from isac.ingest.intake import Outcome, Submission, take_in
from isac.policy.actors import Actor
from isac.store import database, members, objects, tables, triage
from isac.store.database import Pool
from isac.store.members import Collection
from isac.store.objects import Query, Versions

Body = dict[str, Any]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Desk:
    """Where people hand in. All tests of this file share a database, so each sees only what it sent itself."""

    def __init__(self, pool: Pool, run: Run, people: dict[str, Person], url: str) -> None:
        self.pool, self.run, self._people, self.url = pool, run, people, url
        self._sent: set[str] = set()

    def actor(self, person: str) -> Actor:
        found: Actor = self.ask(members.keyholder, self._people[person].key_id)
        return found

    def shelf(self, code: str) -> Collection:
        found: Collection = self.ask(members.shelf, code)
        return found

    def own(self, person: str) -> str:
        """The code of the audience of this person's organization."""
        asking = self.actor(person)
        shelves: list[Collection] = self.ask(members.collections, asking)
        return next(shelf.own.code for shelf in shelves if shelf.own.pk == asking.own)

    def take(self, *things: Body | bytes, by: str = "isac_steward", to: str = "us", **how: Any) -> Outcome:
        """What becomes of objects; those by a steward go to the nation unless the test says otherwise."""
        free, progress = how.pop("free", False), how.pop("progress", lambda _: None)
        pieces = [each if isinstance(each, bytes) else orjson.dumps(each) for each in things]
        self._sent |= {each["id"] for each in things if not isinstance(each, bytes)}
        submission = Submission(pieces, self.shelf(to).own, "a test", **how)
        outcome: Outcome = self.run(take_in(self.pool, submission, self.actor(by), free=free, progress=progress))
        self._sent |= {line["id"] for line in outcome.successes}
        return outcome

    def page(self, code: str = "us", versions: Versions = Versions()) -> list[bytes]:  # noqa: B008 - it is frozen
        """What a collection shows of what was sent."""
        query = Query(limit=10_000, ids=tuple(self._sent), versions=versions)
        page: objects.Page = self.ask(objects.page, self.shelf(code), query)
        return page.objects

    def ids(self, code: str = "us") -> list[str]:
        return [orjson.loads(raw)["id"] for raw in self.page(code)]

    def rules(self) -> dict[str, str]:
        """The rule that holds each held object."""
        held: list[tuple[int, triage.Held]] = self.ask(triage.held, 10_000)
        return {each.stix_id: each.rule for _, each in held if each.stix_id in self._sent}

    def rows(self) -> dict[str, Any]:
        """Number and content of all rows of all tables; each hand-over leaves its own in three of them."""
        own = ("submissions", "pendings", "audit")
        with psycopg.connect(self.url) as conn:
            names = [name for name in tables.metadata.tables if name.split(".")[-1] not in own]
            assert {"versions", "held", "log", "grants"} <= {name.split(".")[-1] for name in names}
            content = sql.SQL("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t")
            return {name: conn.execute(content.format(sql.Identifier(*_path(name)))).fetchone() for name in names}

    def ask(self, question: Callable[..., Coroutine[Any, Any, Any]], *rest: Any) -> Any:
        async def asking() -> Any:
            async with self.pool.connection() as conn:
                return await question(conn, *rest)

        return self.run(asking())


def _path(table: str) -> tuple[str, str]:
    return database.SCHEMA, table.split(".")[-1]


@pytest.fixture(scope="module")
def shared(postgres: str, template: dict[str, Person]) -> Iterator[tuple[Pool, Run, str]]:
    """One database for this file: a clone for each of these many small tests costs more than they do."""
    assert template
    with copied(postgres) as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        context = database.pool(url, size=4)
        yield runner.run(context.__aenter__()), runner.run, url
        runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def desk(shared: tuple[Pool, Run, str], people: dict[str, Person]) -> Desk:
    pool, run, url = shared
    return Desk(pool, run, people, url)
