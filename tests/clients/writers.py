"""Those who write while others read: members over HTTP, and the ISAC's deeds on what is there."""

import asyncio
import random
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2
from tests.conftest import Person
from tests.serve.conftest import TAXII

from isac import times
from isac.errors import Forbidden, Invalid, NotFound
from isac.store import database, facts, log, members
from isac.store.database import Connection
from isac.store.facts import By, Subject

CLEAR = "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9"
GREEN = "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"
OLD = "2024-01-01T00:00:00.000Z"
STEPS = 18


@dataclass
class Journal:
    """What was done, for the judge and for those who pick something to do."""

    #: ids of which something was taken without a word: deleted, expired
    silent: set[str] = field(default_factory=set)
    #: how often each thing was done
    done: dict[str, int] = field(default_factory=dict)

    def count(self, deed: str) -> None:
        self.done[deed] = self.done.get(deed, 0) + 1


#: waits until the readers have come far enough for the step
Turn = Callable[[int], None]


class Member:
    """Somebody who hands in, renews, revokes and deletes own objects at some collections."""

    def __init__(self, base: str, person: Person, shelves: Sequence[str], seed: int, journal: Journal) -> None:
        self.shelves, self.dice, self.journal = shelves, random.Random(seed), journal
        self.http = httpx2.Client(base_url=base, auth=(person.key_id, person.secret), trust_env=False)
        #: the newest version of each object that it may still renew, and where it was handed in
        self.mine: dict[str, tuple[dict[str, Any], str]] = {}

    def work(self, turn: Turn) -> None:
        for step in range(STEPS):
            turn(step)
            chosen = self.dice.sample(sorted(self.mine), min(2, len(self.mine)))
            deed = self.dice.choice(("add", "add", "add an old one", "renew", "renew", "tighten", "revoke", "delete"))
            if deed in ("add", "add an old one") or not chosen:
                old = deed == "add an old one"
                count, shelf = self.dice.randint(1, 9), self.dice.choice(self.shelves)
                self.post([self.indicator(old) for _ in range(count)], shelf)
            elif deed == "delete":
                self.delete(chosen[0])
            else:
                for stix_id in chosen:
                    self.renew(stix_id, deed)
            self.journal.count(deed)
        self.http.close()

    def indicator(self, old: bool) -> dict[str, Any]:
        at = OLD if old else times.stix(times.now())
        ends = {"valid_until": times.stix(times.now() + timedelta(days=1))} if self.dice.random() < 0.15 else {}
        return {
            "type": "indicator",
            "spec_version": "2.1",
            "id": f"indicator--{uuid.UUID(int=self.dice.getrandbits(128), version=4)}",
            "created": at,
            "modified": at,
            "pattern": f"[file:hashes.'SHA-256' = '{self.dice.getrandbits(256):064x}']",
            "pattern_type": "stix",
            "valid_from": OLD,
            "object_marking_refs": [CLEAR],
            **ends,
        }

    def renew(self, stix_id: str, deed: str) -> None:
        body, shelf = self.mine.pop(stix_id) if deed == "revoke" else self.mine[stix_id]
        newer = {**body, "modified": times.stix(times.now())}
        if newer["modified"] <= body["modified"]:
            return
        if deed == "tighten":
            newer["object_marking_refs"] = [GREEN]
        if deed == "revoke":
            newer["revoked"] = True
        self.post([newer], shelf)

    def post(self, objects: list[dict[str, Any]], shelf: str) -> None:
        answer = self.http.post(
            f"/elections/collections/{shelf}/objects/", json={"objects": objects}, headers={"Content-Type": TAXII}
        )
        status = answer.json()
        assert (answer.status_code, status["failure_count"]) in ((202, 0), (202, len(objects))), answer.text
        if status["failure_count"] == 0:
            self.mine |= {each["id"]: (each, shelf) for each in objects if not each.get("revoked")}

    def delete(self, stix_id: str) -> None:
        _, shelf = self.mine.pop(stix_id)
        self.journal.silent.add(stix_id)
        answer = self.http.delete(f"/elections/collections/{shelf}/objects/{stix_id}/")
        # 403 where it was widened, 404 where it was taken back.
        assert answer.status_code in (200, 403, 404), answer.text


class Stewards:
    """The ISAC's deeds, on whatever is granted to somebody."""

    def __init__(self, url: str, seed: int, journal: Journal) -> None:
        self.url, self.dice, self.journal = url, random.Random(seed), journal

    def work(self, turn: Turn) -> None:
        asyncio.run(self._work(turn))

    async def _work(self, turn: Turn) -> None:
        async with await database.connect(self.url) as conn:
            deeds = [self.widen, self.narrow, self.withdraw, self.revoke, self.delete_newest, self.expire]
            for step in range(2 * STEPS):
                turn(step // 2)
                deed = deeds[step % len(deeds)]
                try:
                    async with conn.transaction():
                        await deed(conn, By("the ISAC", times.now()))
                except (NotFound, Forbidden, Invalid):
                    continue
                self.journal.count(deed.__name__)

    async def granted(self, conn: Connection, *at: str, ours: bool = False) -> tuple[Subject, str]:
        """An object and where it is granted, at one of these audiences if any is named."""
        rows = await facts.fetch(
            conn,
            """SELECT o.stix_id, g.producer, a.code FROM grants g JOIN objects o ON o.pk = g.object
               JOIN audiences a ON a.pk = g.audience
               WHERE o.stix_id LIKE 'indicator--%%' AND (NOT %s OR g.producer = %s)
                 AND (%s::text[] = '{}' OR a.code = ANY(%s)) ORDER BY g.ordinal""",
            (ours, (await facts.isac(conn))[0], list(at), list(at)),
        )
        if not rows:
            raise NotFound("Nothing yet.")
        stix_id, producer, code = self.dice.choice(rows)
        return Subject(stix_id, producer), code

    async def audience(self, conn: Connection, *codes: str) -> Any:
        return (await members.shelf(conn, self.dice.choice(codes))).own

    async def widen(self, conn: Connection, by: By) -> None:
        subject, _ = await self.granted(conn)
        await log.widen(conn, subject, await self.audience(conn, "us", "us-oh", "public"), by)

    async def narrow(self, conn: Connection, by: By) -> None:
        subject, code = await self.granted(conn, "public", "us")
        to = await self.audience(conn, "us-oh", "us-oh-39901", "us-oh-39902", "us-tx")
        await log.narrow(conn, subject, await self.audience(conn, code), to, by)

    async def withdraw(self, conn: Connection, by: By) -> None:
        subject, code = await self.granted(conn)
        await log.withdraw(conn, subject, await self.audience(conn, code), by)

    async def revoke(self, conn: Connection, by: By) -> None:
        subject, _ = await self.granted(conn, ours=True)
        await log.revoke(conn, subject, by)

    async def delete_newest(self, conn: Connection, by: By) -> None:
        subject, code = await self.granted(conn)
        self.journal.silent.add(subject.stix_id)
        ((newest,),) = await facts.fetch(
            conn,
            """SELECT max(v.modified) FROM versions v JOIN objects o ON o.pk = v.object
               WHERE o.stix_id = %s AND v.producer = %s""",
            (subject.stix_id, subject.producer),
        )
        await log.delete(conn, subject, await self.audience(conn, code), by, {newest})

    async def expire(self, conn: Connection, by: By) -> None:
        """One by one, as time would: the clock of each is put to the day after."""
        rows = await facts.fetch(
            conn,
            """SELECT o.stix_id FROM versions v JOIN objects o ON o.pk = v.object
               WHERE v.valid_until IS NOT NULL AND NOT (v.expired OR v.revoked) ORDER BY v.valid_until LIMIT 1""",
        )
        self.journal.silent |= {stix_id for (stix_id,) in rows}
        await log.expire(conn, By("the clock", by.at + timedelta(days=2)), limit=1)


class Turns:
    """Lets writers go on only while everybody reads, so that each step falls between two polls of each reader."""

    def __init__(self, runs: Callable[[], int]) -> None:
        self._runs = runs
        self.over = threading.Event()

    def wait(self, step: int) -> None:
        while self._runs() < step // 4:
            if self.over.wait(0.005):
                raise RuntimeError("the readers have stopped")
