"""kill -9 of the process that takes in, and of PostgreSQL, at random moments: what was acknowledged is there, whole.

The taking in runs in a process of its own, which says which submissions are committed. After each kill everything
starts again as an operator would start it, and SQL compares what the versions, the grants and the log say.
"""

import base64
import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import psycopg
import pytest
import uvloop
from tests.conftest import ROSTER

from isac.ingest.foundation import found
from isac.ingest.intake import Submission, take_in
from isac.policy.actors import Actor, Audience
from isac.policy.release import possible
from isac.stix.markings import TLP
from isac.store import database, embedded, members, migrations
from isac.store.database import Pool
from isac.store.embedded import Server
from isac.store.objects import Query, page
from isac.store.submissions import Counts

#: PostgreSQL forgets nothing that it acknowledged when it is killed; without fsync only a power cut would matter
SETTINGS = {"fsync": "off", "shared_buffers": "32MB"}
ROUNDS = 3
CODES = ("us", "us-oh", "us-oh-39901")
#: objects of each submission; the large ones take several transactions
SIZES = (1, 40, 2, 2600, 7, 120, 15, 300, 60)

TAKE_IN = """
import asyncio, base64, json, sys
from isac.ingest.intake import Submission, take_in
from isac.stix.markings import TLP
from isac.store import database, members

async def main(url, path):
    async with database.pool(url, size=2) as pool:
        async with pool.connection() as conn:
            asking = await members.steward(conn)
            shelves = {code: (await members.shelf(conn, code)).own for code in ("us", "us-oh", "us-oh-39901")}
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                code, _, pieces = line.partition(b" ")
                pieces = [base64.b64decode(piece) for piece in pieces.split()]
                submission = Submission(pieces, shelves[code.decode()], "crash", TLP.GREEN, sample=True)
                outcome = await take_in(pool, submission, asking)
                print(number, outcome.counts.accepted + outcome.counts.repeated, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass(frozen=True)
class Delivery:
    """One submission: the audience's code and the objects."""

    code: str
    pieces: list[bytes]

    @property
    def ids(self) -> set[str]:
        return {orjson.loads(piece)["id"] for piece in self.pieces}

    @property
    def line(self) -> bytes:
        return b" ".join([self.code.encode(), *(_base64(piece) for piece in self.pieces)])


def _base64(piece: bytes) -> bytes:
    return base64.b64encode(piece)


def deliveries(dice: random.Random) -> list[Delivery]:
    return [Delivery(dice.choice(CODES), [indicator(dice) for _ in range(size)]) for size in SIZES]


def indicator(dice: random.Random) -> bytes:
    return orjson.dumps(
        {
            "type": "indicator",
            "spec_version": "2.1",
            "id": f"indicator--{uuid.UUID(int=dice.getrandbits(128), version=4)}",
            "created": "2024-01-01T00:00:00.000Z",
            "modified": "2024-01-01T00:00:00.000Z",
            "pattern": f"[ipv4-addr:value = '192.0.2.{dice.randrange(256)}']",
            "pattern_type": "stix",
            "valid_from": "2024-01-01T00:00:00Z",
        }
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server of our own with a founded ISAC: it is killed, so nobody else may use it."""
    home = tmp_path_factory.mktemp("crash") / "home"
    try:
        url = reachable(home)[1]
        migrations.migrate(url)
        uvloop.run(lay_foundation(url))
        yield home
    finally:
        embedded.destroy(home)


async def lay_foundation(url: str) -> None:
    async with database.pool(url, size=2) as pool:
        await found(pool, ROSTER)


def reachable(home: Path) -> tuple[Server, str]:
    server = embedded.start(home, SETTINGS)
    return server, database.create(server.conninfo, "isac")


# -------------------------------------------------------------------------------------------------------- the killing


def killed_in(url: str, path: Path, dice: random.Random, kill: Callable[[int], object], span: float) -> set[int]:
    """Let another process take everything in, and kill at a random one; answers the submissions it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", TAKE_IN, url, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        acknowledged, timer, moment = set[int](), None, dice.randrange(len(SIZES) - 2)
        try:
            for line in process.stdout:
                number, taken = map(int, line.split())
                assert taken == SIZES[number]
                acknowledged.add(number)
                if number == moment:
                    timer = threading.Timer(dice.random() * span, kill, [process.pid])
                    timer.start()
        finally:
            if timer is not None:
                timer.join()
            process.kill()
            process.wait(30)
    assert timer is not None, "it ended before it was killed"
    return acknowledged


def kill_process(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


# ------------------------------------------------------------------------------------------------------- what is there


def nothing_is_half_done(url: str) -> None:
    """Every version has a grant; every grant that no other covers one live row of the newest version; no other row."""
    for claim, query in CLAIMS.items():
        with psycopg.connect(database.conninfo(url), autocommit=True) as conn:
            assert conn.execute(query.encode()).fetchall() == [], claim


CLAIMS = {
    "a version without a grant": """
        SELECT v.pk FROM versions v WHERE NOT v.deleted AND NOT EXISTS (
          SELECT FROM grants g WHERE (g.object, g.producer) = (v.object, v.producer))""",
    "a grant without its live row": """
        SELECT g.* FROM grants g WHERE NOT EXISTS (
          SELECT FROM log l JOIN versions v ON v.pk = l.version WHERE l.ended_seq IS NULL
           AND (l.object, l.audience, v.producer) = (g.object, g.audience, g.producer)
           AND v.modified = (SELECT max(modified) FROM versions n
                              WHERE (n.object, n.producer) = (g.object, g.producer)))
         AND NOT EXISTS (SELECT FROM grants w JOIN audiences a ON a.pk = g.audience
                          WHERE w.object = g.object AND w.audience = ANY(a.above))""",
    "two live rows": """
        SELECT object, audience FROM log WHERE ended_seq IS NULL GROUP BY 1, 2 HAVING count(*) > 1""",
    "a live row without a grant": """
        SELECT l.seq FROM log l WHERE l.ended_seq IS NULL AND NOT EXISTS (
          SELECT FROM grants g WHERE (g.object, g.audience) = (l.object, l.audience))""",
    "an object without a version": """
        SELECT o.pk FROM objects o WHERE NOT EXISTS (SELECT FROM versions v WHERE v.object = o.pk)""",
    "bytes that differ": """
        SELECT l.seq FROM log l JOIN versions v ON v.pk = l.version WHERE l.raw <> v.raw""",
    "a head that is not the newest": """
        SELECT h.seq FROM head h WHERE h.seq <> (SELECT max(seq) FROM log)
                                    OR h.date_added <> (SELECT max(date_added) FROM log)""",
    "a submission that counts other than what is there": """
        SELECT s.pk, s.accepted, count(v.pk) FROM submissions s LEFT JOIN versions v ON v.submission = s.pk
         GROUP BY s.pk HAVING s.accepted <> count(v.pk)""",
    "a gap in the log": """
        SELECT seq FROM (SELECT seq, lag(seq, 1, 0::bigint) OVER (ORDER BY seq) AS before,
                                date_added, lag(date_added) OVER (ORDER BY seq) AS earlier FROM log) AS l
         WHERE seq <> before + 1 OR date_added <= earlier""",
}


async def shown(pool: Pool, code: str) -> set[str]:
    """All ids that a collection shows, a page at a time."""
    async with pool.connection() as conn:
        shelf, ids, position = await members.shelf(conn, code), list[str](), None
        for _ in range(1000):
            answer = await page(conn, shelf, Query(limit=1000, position=position))
            ids += [orjson.loads(raw)["id"] for raw in answer.objects]
            position = answer.last
            if not answer.more:
                break
    assert len(ids) == len(set(ids))
    return set(ids)


async def places(pool: Pool) -> tuple[Actor, dict[str, Audience]]:
    async with pool.connection() as conn:
        return await members.steward(conn), {code: (await members.shelf(conn, code)).own for code in CODES}


async def all_is_there_and_comes_again(url: str, sent: list[Delivery], acknowledged: set[int]) -> None:
    async with database.pool(url, size=4) as pool:
        asking, audiences = await places(pool)
        assert all(possible(TLP.GREEN, audience) for audience in audiences.values())
        before = {code: await shown(pool, code) for code in CODES}
        for number in acknowledged:
            assert sent[number].ids <= before[sent[number].code]
        for number, delivery in enumerate(sent):
            there = delivery.ids & before[delivery.code]
            outcome = await take_in(
                pool, Submission(delivery.pieces, audiences[delivery.code], "again", TLP.GREEN, sample=True), asking
            )
            assert outcome.counts == Counts(accepted=len(delivery.ids - there), repeated=len(there)), number
            assert number not in acknowledged or outcome.counts.accepted == 0
        after = {code: await shown(pool, code) for code in CODES}
    for code in CODES:
        reaching = CODES[: CODES.index(code) + 1]
        sent_here = set[str]().union(*(delivery.ids for delivery in sent if delivery.code in reaching))
        assert after[code] == before[code] | sent_here


def round_of(home: Path, path: Path, seed: int, killing: Callable[[Server], Callable[[int], object]]) -> None:
    dice = random.Random(seed)
    sent = deliveries(dice)
    path.write_bytes(b"\n".join(delivery.line for delivery in sent) + b"\n")
    server, url = reachable(home)
    acknowledged = killed_in(url, path, dice, killing(server), span=0.25)
    _, url = reachable(home)
    migrations.require_migrated(url)
    nothing_is_half_done(url)
    uvloop.run(all_is_there_and_comes_again(url, sent, acknowledged))
    nothing_is_half_done(url)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_nothing_is_lost_or_half_done_when_the_process_is_killed(seed: int, home: Path, tmp_path: Path) -> None:
    round_of(home, tmp_path / "sent", seed, lambda _: kill_process)


@pytest.mark.parametrize("seed", range(100, 100 + ROUNDS))
def test_nothing_is_lost_or_half_done_when_postgresql_is_killed(seed: int, home: Path, tmp_path: Path) -> None:
    def killing(server: Server) -> Callable[[int], object]:
        return lambda _: kill_process(server.pid)

    round_of(home, tmp_path / "sent", seed, killing)
