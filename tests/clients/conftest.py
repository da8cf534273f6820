"""The people of the serving tests, and one live log that every reader follows at once."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import httpx2
import psycopg
import pytest
from tests.clients.readers import READERS, Account, Reader, Shelf
from tests.clients.writers import Journal, Member, Stewards, Turns
from tests.conftest import Person, copied, serving
from tests.serve.conftest import ask as ask
from tests.serve.conftest import clerk as clerk

from isac import times
from isac.store import database


@dataclass(frozen=True)
class Row:
    """A row of the log, as it is told apart outside: an object's version at a date."""

    added: str
    id: str
    version: str
    type: str
    live: bool


@dataclass(frozen=True)
class Followed:
    """What everybody did, and the rows of each collection at the end."""

    readers: dict[str, Reader]
    journal: Journal
    #: by collection id
    rows: dict[str, list[Row]]
    home: str
    own: str


@pytest.fixture(scope="module")
def followed(postgres: str, template: dict[str, Person]) -> Iterator[Followed]:
    """A county's collection, followed by every product while members and the ISAC write to all that it shows.

    There are two workers; each product has one of them, and the writers the first.
    """
    with copied(postgres) as url, serving(url) as one, serving(url) as other:
        account = _account(one.base, template["franklin_submitter"])
        workers = itertools.cycle((account, replace(account, base=other.base)))
        readers = {name: reader(next(workers)) for name, reader in READERS.items()}
        journal = Journal()
        try:
            _follow(url, account, list(readers.values()), template, journal)
            yield Followed(readers, journal, _rows(url), account.home.id, account.own.id)
        finally:
            for reader in readers.values():
                reader.close()


def _account(base: str, person: Person) -> Account:
    with httpx2.Client(base_url=base, auth=(person.key_id, person.secret), trust_env=False) as http:
        listed = http.get("/elections/collections/").json()["collections"]
    home, own = (Shelf(each["id"], each["title"]) for each in listed)
    return Account(base, person.key_id, person.secret, home, own)


def _follow(url: str, account: Account, readers: list[Reader], people: dict[str, Person], journal: Journal) -> None:
    turns = Turns(lambda: min(len(reader.runs) for reader in readers))
    shelves = _shelves(url)
    writers: list[Member | Stewards] = [
        Member(account.base, people["franklin_submitter"], [account.home.id, account.own.id], 1, journal),
        Member(account.base, people["ohio_analyst"], [shelves["us-oh"], account.home.id], 2, journal),
        Member(account.base, people["isac_steward"], [shelves["us"], shelves["public"]], 3, journal),
        Member(account.base, people["cook_submitter"], [people["cook"].collection], 4, journal),
        Stewards(url, 5, journal),
    ]
    done = threading.Event()
    with ThreadPoolExecutor(len(writers) + len(readers)) as threads:
        reading = [threads.submit(_read_until, reader, done, turns) for reader in readers]
        writing = [threads.submit(writer.work, turns.wait) for writer in writers]
        try:
            for each in writing:
                each.result()
        finally:
            done.set()
        for each in reading:
            each.result()
    for reader in readers:
        reader.run()
        while reader.pages[-1].more:  # OpenCTI's ingester reads a page a run
            reader.run()
    # date_added runs ahead of the clock; who asks by the own clock, in whole seconds, reads twice until it is passed.
    newest = times.read(max(row.added for rows in _rows(url).values() for row in rows))
    _wait_until(newest + timedelta(seconds=1))
    for reader in readers:
        reader.run()
        reader.quiet = len(reader.runs)
        reader.run()


def _read_until(reader: Reader, done: threading.Event, turns: Turns) -> None:
    try:
        while not done.wait(0.2):
            reader.run()
    finally:
        if not done.is_set():
            turns.over.set()


def _wait_until(instant: datetime) -> None:
    waiting = threading.Event()
    while times.now() <= instant:
        waiting.wait(0.05)


def _shelves(url: str) -> dict[str, str]:
    with psycopg.connect(database.conninfo(url)) as conn:
        return dict(conn.execute("SELECT alias, id::text FROM collections").fetchall())


def _rows(url: str) -> dict[str, list[Row]]:
    """Every row that there ever was, by collection, in order: SQL of the test's own."""
    with psycopg.connect(database.conninfo(url)) as conn:
        found = conn.execute(
            """SELECT c.id::text, l.date_added, o.stix_id, l.version_text, l.type, l.ended_seq IS NULL
               FROM collections c JOIN log l ON l.audience = ANY(c.audiences) JOIN objects o ON o.pk = l.object
               ORDER BY c.id::text, l.date_added"""
        ).fetchall()
    return {
        shelf: [Row(times.taxii(added), *rest) for _, added, *rest in rows]
        for shelf, rows in itertools.groupby(found, key=lambda row: row[0])
    }
