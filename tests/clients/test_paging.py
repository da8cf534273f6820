"""Change while others page: every event of the log between the pages of clients of every habit, over HTTP.

Each answer must be a page of the collection as it was within the last two seconds: full unless it is the last, and with
`next` unless it is. At the end everybody whose cursors are ours has every row that is there, and had none twice.
"""

import asyncio
import itertools
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx2
import psycopg
import pytest
import uvloop
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from tests.clients.habits import COUNTY, HABITS, NEIGHBOR, Ask, Asking, Got, Habit, Token
from tests.conftest import Running, serving
from tests.serve.conftest import TAXII
from tests.store.store_world import StoreWorld, furnish
from tests.store.words import ISAC, Tlp

from isac import times
from isac.policy.actors import Role
from isac.store import database, facts, members, migrations

EXAMPLES = int(os.environ.get("ISAC_TEST_EXAMPLES", "8"))
STEPS = int(os.environ.get("ISAC_TEST_STEPS", "30"))
#: what the county reads, then others
AUDIENCES = ("public", "us", "us-oh", COUNTY, NEIGHBOR, "us-tx")
#: how old an answer may be
LAG = timedelta(seconds=2)
#: requests in which a quiet log must be read to its end
ENOUGH = 200


@dataclass(frozen=True)
class Place:
    """Two servers over the places of the log's tests, as a steward sees them; each remembers for itself."""

    url: str
    servers: tuple[httpx2.Client, httpx2.Client]


@pytest.fixture(scope="module")
def place(postgres: str) -> Iterator[Place]:
    url = database.create(postgres, "paging")
    migrations.migrate(url)
    secret = uvloop.run(_key(url))
    with serving(url) as one, serving(url) as other, _asking(one, secret) as first, _asking(other, secret) as second:
        yield Place(url, (first, second))


def _asking(server: Running, secret: str) -> httpx2.Client:
    headers = {"Accept": TAXII, "Authorization": f"Bearer {secret}"}
    return httpx2.Client(base_url=f"{server.base}/elections/collections/", headers=headers, trust_env=False)


async def _key(url: str) -> str:
    await furnish(url)
    async with database.pool(url, size=1) as pool, pool.connection() as conn, conn.transaction():
        _, _, isac = await facts.isac(conn)
        (key,) = await members.create_keys(conn, {isac: Role.STEWARD}, "test", times.now())
    return key.secret


# ---------------------------------------------------------------------------------------------------- what is there


@dataclass(frozen=True)
class Row:
    """A line of the log, by SQL of the test's own."""

    seq: int
    added: str
    id: str
    version: str
    type: str
    ended: int | None
    shut: int | None

    def stood(self, head: int, *, history: bool) -> bool:
        left = self.shut if history else self.ended
        return self.seq <= head and (left is None or left > head)


@dataclass
class Log:
    """The log as it is now, and its head after each deed with the time at which the next deed was done."""

    conn: psycopg.Connection[tuple[Any, ...]]
    head: int = 0
    #: (head, when it was the newest for the last time), the newest first
    earlier: list[tuple[int, datetime]] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def look(self) -> str:
        """After a deed; answers the newest date_added."""
        found = self.conn.execute("SELECT seq, date_added FROM head").fetchone()
        assert found is not None
        self.earlier.insert(0, (self.head, times.now()))
        self.head = found[0]
        for shelf in (COUNTY, NEIGHBOR, "us"):
            lines = self.conn.execute(
                """SELECT l.seq, l.date_added, o.stix_id, l.version_text, l.type, l.ended_seq, l.shut_seq
                   FROM collections c JOIN log l ON l.audience = ANY(c.audiences) JOIN objects o ON o.pk = l.object
                   WHERE c.alias = %s ORDER BY l.seq""",
                (shelf,),
            )
            self.rows[shelf] = [Row(seq, times.taxii(added), *rest) for seq, added, *rest in lines.fetchall()]
        return times.taxii(found[1])

    def heads(self, asked_at: datetime) -> Iterator[int]:
        """Those that an answer may show, the newest first."""
        yield self.head
        yield from (head for head, until in self.earlier if until >= asked_at - LAG)

    def view(self, shelf: str, head: int, types: tuple[str, ...] | None, *, history: bool) -> list[Row]:
        return [
            row for row in self.rows[shelf] if row.stood(head, history=history) and (types is None or row.type in types)
        ]


class Client:
    """Somebody with a habit, and the rows that it was given; each request goes to the other server."""

    def __init__(self, habit: Habit, servers: tuple[httpx2.Client, ...], log: Log, start: str) -> None:
        self.habit, self.log, self.start = habit, log, start
        self.servers = itertools.cycle(servers)
        self.asking: Asking = habit.begin(start)
        self.ask = next(self.asking)
        #: (collection, date_added) of each row that came
        self.dates: set[tuple[str, str]] = set()

    def step(self) -> None:
        """One request, its answer judged."""
        ask, token = self.ask, self.ask.next
        mine = token if token and token.shelf == ask.shelf else None
        types = ask.types or (mine.types if mine else None)
        history = ask.history or bool(mine and mine.history)
        limit = ask.limit or (mine.limit if mine else 100)
        after = max(ask.after or "", mine.position if mine else "")
        heads = list(self.log.heads(times.now()))
        answer = next(self.servers).get(f"{ask.shelf}/{ask.path}", params=_params(ask))
        assert answer.status_code == 200, answer.text
        body, headers = answer.json(), answer.headers
        found = [(each["id"], each.get("version") or each["modified"]) for each in body.get("objects", [])]
        first, last = headers.get("x-taxii-date-added-first"), headers.get("x-taxii-date-added-last")
        assert ("next" in body) == body.get("more", False)
        views = (self.log.view(ask.shelf, head, types, history=history) for head in heads)
        rows = self.page(views, after, limit, found, (first, last), more="next" in body)
        given = {(ask.shelf, row.added) for row in rows}
        assert not given & self.dates, f"{self.habit.name}: a row came twice"
        self.dates |= given
        if not rows and last and last < after:
            # What came after that date is taken back: a worker that lags may show it once more.
            self.dates = {(shelf, added) for shelf, added in self.dates if shelf != ask.shelf or added <= last}
        onward = Token(body["next"], ask.shelf, rows[-1].added, limit, types, history) if "next" in body else None
        self.ask = self.asking.send(Got(last, onward))

    def page(
        self,
        views: Iterable[list[Row]],
        after: str,
        limit: int,
        found: list[tuple[str, str]],
        dates: tuple[str | None, str | None],
        *,
        more: bool,
    ) -> list[Row]:
        """The rows of a page: of the newest view of which it is one, its dates included.

        A version that went and came back stands twice in the log, with two dates.
        """
        for view in views:
            rows = [row for row in view if row.added > after]
            shown = rows[:limit]
            if [(row.id, row.version) for row in shown] != found or more != (len(rows) > limit):
                continue
            if not shown or (shown[0].added, shown[-1].added) == dates:
                return shown
        raise AssertionError(
            f"{self.habit.name}: never was {found}, {dates}, {more=}, the page of {limit} after {after}"
        )

    def misses(self) -> list[Row]:
        """What is there at the end and was not given to it."""
        habit, head = self.habit, self.log.head
        return [
            row
            for shelf in habit.shelves
            for row in self.log.view(shelf, head, habit.types, history=habit.history)
            if row.added > self.start and (shelf, row.added) not in self.dates
        ]


def _params(ask: Ask) -> dict[str, str]:
    given = {
        "added_after": ask.after,
        "next": ask.next.text if ask.next else None,
        "limit": ask.limit,
        "match[type]": ",".join(ask.types) if ask.types else None,
        "match[version]": "all" if ask.history else None,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


# ----------------------------------------------------------------------------------------------------- the machine

tlps: st.SearchStrategy[Tlp] = st.sampled_from(["clear", "clear", "clear", "clear", "green", "amber", "red"])
audiences = st.sampled_from(AUDIENCES)
few = st.integers(1, 4)


class Paging(RuleBasedStateMachine):
    """Deeds and requests in any order; ids are new in each history, the log goes on."""

    def __init__(self, place: Place, run: asyncio.Runner) -> None:
        super().__init__()
        self.place, self.runner = place, run
        self.world = run.run(self.opened())
        self.log = Log(psycopg.connect(database.conninfo(place.url), autocommit=True))
        start = self.log.look()
        self.clients = [Client(habit, place.servers, self.log, start) for habit in HABITS]
        #: (id, producer) and the audiences at which it was ever released
        self.released: list[tuple[str, str, str]] = []
        self.tlps: dict[tuple[str, str, int], Tlp] = {}
        self.clock = 1

    async def opened(self) -> StoreWorld:
        owner = await psycopg.AsyncConnection.connect(database.conninfo(self.place.url, None), autocommit=True)
        return StoreWorld(await database.connect(self.place.url), owner)

    def do(self, deed: str, *values: Any) -> None:
        note(f"    {deed}{values}")
        self.runner.run(getattr(self.world, deed)(*values))
        self.log.look()

    def tick(self) -> int:
        self.clock += 2
        return self.clock

    def release(self, stix_id: str, producer: str, number: int, tlp: Tlp, audience: str) -> None:
        tlp = self.tlps.setdefault((stix_id, producer, number), tlp)
        self.do("release", stix_id, producer, number, tlp, audience, ISAC)
        self.released.append((stix_id, producer, audience))

    # ---- giving

    @rule(count=few, kind=st.sampled_from(["indicator", "indicator", "malware"]), tlp=tlps, audience=audiences)
    def add(self, count: int, kind: str, tlp: Tlp, audience: str) -> None:
        for _ in range(count):
            self.release(f"{kind}--{uuid.uuid4()}", ISAC if count % 2 else "va", self.tick(), tlp, audience)

    @precondition(lambda self: self.released)
    @rule(data=st.data(), tlp=tlps, audience=audiences, producer=st.sampled_from([None, "vb"]))
    def add_elsewhere(self, data: st.DataObject, tlp: Tlp, audience: str, producer: str | None) -> None:
        """A newer version for a further audience, or another producer's object under the id."""
        stix_id, own, _ = self.some(data)
        self.release(stix_id, producer or own, self.tick(), tlp, audience)

    @precondition(lambda self: self.released)
    @rule(data=st.data(), tlp=tlps, late=st.booleans())
    def add_version(self, data: st.DataObject, tlp: Tlp, late: bool) -> None:
        stix_id, producer, audience = self.some(data)
        number = data.draw(st.integers(1, self.clock), label="number") if late else self.tick()
        # Even numbers are for revocations: no two contents under one `modified`.
        self.release(stix_id, producer, number | 1, tlp, audience)

    @precondition(lambda self: self.released)
    @rule(data=st.data(), audience=audiences)
    def widen(self, data: st.DataObject, audience: str) -> None:
        stix_id, producer, _ = self.some(data)
        self.do("widen", stix_id, producer, audience)
        self.released.append((stix_id, producer, audience))

    # ---- taking away

    @precondition(lambda self: self.released)
    @rule(data=st.data(), narrow=audiences)
    def narrow(self, data: st.DataObject, narrow: str) -> None:
        stix_id, producer, audience = self.some(data)
        self.do("narrow", stix_id, producer, audience, narrow)
        self.released.append((stix_id, producer, narrow))

    @precondition(lambda self: self.released)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        self.do("withdraw", *self.some(data), self.tick() + 1)

    @precondition(lambda self: self.released)
    @rule(data=st.data(), tlp=tlps)
    def revoke(self, data: st.DataObject, tlp: Tlp) -> None:
        stix_id, producer, _ = self.some(data)
        self.do("revoke", stix_id, producer, self.tick() + 1, tlp, ISAC)

    @precondition(lambda self: self.released)
    @rule(data=st.data(), deed=st.sampled_from(["expire", "delete", "delete_version"]))
    def take(self, data: st.DataObject, deed: str) -> None:
        stix_id, producer, audience = self.some(data)
        numbers = [number for known, own, number in self.tlps if (known, own) == (stix_id, producer)]
        if deed == "expire":
            self.do(deed, stix_id, producer)
        elif deed == "delete":
            self.do(deed, stix_id, producer, audience)
        elif numbers:
            self.do(deed, stix_id, producer, max(numbers), audience)

    @precondition(lambda self: self.released)
    @rule(deed=st.sampled_from(["expire_notices", "move"]), often=st.integers(0, 3))
    def sometimes(self, deed: str, often: int) -> None:
        if often:
            return
        if deed == "expire_notices":
            self.do("expire_notices")
        else:
            self.do("move_node", COUNTY, NEIGHBOR, "us-oh")
            self.world.gone.clear()  # its collection stays, and what is released there after that is shown

    # ---- reading

    @rule(data=st.data(), requests=few)
    def somebody_asks(self, data: st.DataObject, requests: int) -> None:
        client = self.clients[data.draw(st.integers(0, len(self.clients) - 1), label="client")]
        for _ in range(requests):
            client.step()

    @rule()
    def everybody_asks(self) -> None:
        for client in self.clients:
            client.step()

    def some(self, data: st.DataObject) -> tuple[str, str, str]:
        return data.draw(st.sampled_from(self.released[-12:]), label="of")

    def teardown(self) -> None:
        try:
            until = times.now() + LAG
            for client in self.clients:
                requests = 0
                while missed := client.misses():
                    requests += 1
                    assert requests < ENOUGH or times.now() < until, f"{client.habit.name} misses {missed}"
                    client.step()
                for _ in range(3):
                    client.step()
            for shelf in (COUNTY, NEIGHBOR):
                expected = [row.id for row in self.log.view(shelf, self.log.head, None, history=False)]
                while (found := self.read_whole(shelf)) != expected:
                    assert times.now() < until, f"a full read of {shelf} shows {found}"
                assert len(found) == len(set(found))
        finally:
            self.runner.run(self.world.close())
            self.log.conn.close()

    def read_whole(self, shelf: str) -> list[str]:
        ids: list[str] = []
        query = {"limit": "40"}
        while query:
            body = self.place.servers[0].get(f"{shelf}/objects/", params=query).json()
            ids += [each["id"] for each in body.get("objects", [])]
            query = {"next": body["next"]} if "next" in body else {}
        return ids


@pytest.mark.taxii("A-19", "L-5", "L-6", "L-8")
def test_nobody_loses_a_row_or_gets_one_twice_while_the_log_changes(place: Place) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        class Machine(Paging):
            def __init__(self) -> None:
                super().__init__(place, runner)

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                # Shrinking on a real server takes longer than reading the history.
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
