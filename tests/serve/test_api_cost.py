"""What is handed in over the API goes the road of `isac ingest`, and costs as much: statements are counted."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psycopg
import pytest
import uvloop
from tests.conftest import Person, copied, serving
from tests.serve.api_world import SUBMISSIONS

from isac.ingest import files
from isac.ingest.files import Payload
from isac.store import database, members
from isac.store.submissions import Counts

LINES = 5000
LIST = "".join(f"host-{number}.example\n" for number in range(LINES)).encode()


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Every statement that this process sends meanwhile, by its text."""
    sent: Counter[str] = Counter()
    patch = pytest.MonkeyPatch()

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(psycopg.AsyncCursor, name)

        def send(self: Any, query: Any, *rest: Any, **how: Any) -> Any:
            sent[str(query)] += 1
            return original(self, query, *rest, **how)

        return send

    for name in ("execute", "executemany", "copy"):
        patch.setattr(psycopg.AsyncCursor, name, counted(name))
    try:
        yield sent
    finally:
        patch.undo()


async def by_ingest(url: str) -> Counts:
    async with database.pool(url, size=3) as pool:
        async with pool.connection() as conn, conn.transaction():
            shelf, asking = await members.shelf(conn, "us"), await members.source(conn, "a source")
        reading = await files.ingest(pool, Payload("list.txt", LIST), shelf, asking, "a source", sample=True)
        return reading.outcome.counts


def test_a_list_costs_over_the_api_what_it_costs_by_isac_ingest(postgres: str, people: dict[str, Person]) -> None:
    ours: list[Counter[str]] = []
    theirs: list[Counter[str]] = []
    with copied(postgres) as url:
        for expected in (Counts(accepted=LINES), Counts(repeated=LINES)):
            with counting() as sent, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                assert runner.run(by_ingest(url)) == expected
            ours.append(sent)
    auth = (people["isac_analyst"].key_id, people["isac_analyst"].secret)
    with copied(postgres) as url, serving(url, samples=True) as server, httpx2.Client(auth=auth, timeout=120) as client:
        for expected in (Counts(accepted=LINES), Counts(repeated=LINES)):
            with counting() as sent:
                params = {"audience": "us", "sample": "true"}
                told = client.post(server.base + SUBMISSIONS, content=LIST, params=params).json()["counts"]
            assert (told["accepted"], told["repeated"]) == (expected.accepted, expected.repeated)
            theirs.append(sent)

    for ingested, posted in zip(ours, theirs, strict=True):
        assert 20 < ingested.total() < LINES / 10, "a statement for each batch, and none for each line"
        # What keeps the server's memory up to date is sent all the time, and is not the road's.
        road = {query: (times, posted[query]) for query, times in ingested.items()}
        assert [(query, times) for query, times in road.items() if times[1] > 1.5 * times[0] + 2] == []
        assert sum(times for _, times in road.values()) <= 1.5 * ingested.total()
