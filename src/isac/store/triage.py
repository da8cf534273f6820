"""What is held until it is judged, each with its reason, and what waits for nothing but its time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from isac.stix import objects
from isac.stix.markings import TLP
from isac.store.database import Connection
from isac.store.facts import fetch
from isac.store.submissions import Counts, count


@dataclass(frozen=True, slots=True)
class Held:
    """An object that waits for an analyst, with its reason."""

    stix_id: str
    version: str
    type: str
    #: code of the audience it was handed in for
    audience: str
    source: str
    rule: str
    reason: str
    held_at: datetime


@dataclass(frozen=True, slots=True)
class Holding:
    """One object to hold."""

    stix_id: str
    version: str
    type: str
    rule: str
    reason: str
    digest: bytes
    raw: bytes
    #: where it is held for nothing but its time: when that has come, and its TLP
    until: datetime | None = None
    tlp: TLP | None = None

    @property
    def modified(self) -> int:
        """Nanoseconds since 1970; 0 for what has no version."""
        return objects.instant(self.version) if self.version else 0


async def hold(conn: Connection, pk: int, audience: int, holdings: Sequence[Holding], at: datetime) -> None:
    """Keep objects until an analyst judges them: the same bytes once, and pending in each key's submission of them."""
    ordered = sorted(holdings, key=lambda holding: holding.digest)  # so that two of these never wait for each other
    async with conn.cursor() as cursor:
        await cursor.executemany(
            # An update, though of nothing, locks what is there already: nobody judges it before we are in its list.
            """WITH kept AS (
                 INSERT INTO held (digest, submission, audience, stix_id, version, type, rule, reason, held_at, raw,
                                   until, tlp)
                 VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
                 ON CONFLICT (audience, digest) DO UPDATE SET digest = excluded.digest RETURNING pk)
               INSERT INTO pendings (submission, held, count, reason)
               SELECT s.pk, kept.pk, 1, %s FROM kept, submissions s JOIN keys k ON k.key_id = s.actor WHERE s.pk = %s
               ON CONFLICT (submission, held) DO UPDATE SET count = pendings.count + 1""",
            [
                (
                    *(h.digest, pk, audience, h.stix_id, h.version, h.type, h.rule, h.reason, at, h.raw),
                    *(h.until, None if h.tlp is None else int(h.tlp), h.reason, pk),
                )
                for h in ordered
            ],
        )


async def held(conn: Connection, limit: int, after: int = 0) -> list[tuple[int, Held]]:
    """What waits, the oldest first, by its database key: the page after `after`."""
    rows = await fetch(
        conn,
        """SELECT h.pk, h.stix_id, h.version, h.type, a.code, s.source, h.rule, h.reason, h.held_at
           FROM held h JOIN submissions s ON s.pk = h.submission JOIN audiences a ON a.pk = h.audience
           WHERE h.pk > %s ORDER BY h.pk LIMIT %s""",
        (after, limit),
    )
    return [(row[0], Held(*row[1:])) for row in rows]


async def held_by_tlp(conn: Connection, stix_ids: Iterable[str], source: str) -> dict[str, bytes]:
    """What waits since its TLP does not allow its audience: of each object the source's newest version, by its id.

    The organization tells whose it is: a submission may name any source.
    """
    rows = await fetch(
        conn,
        """SELECT DISTINCT ON (h.stix_id) h.stix_id, h.raw FROM held h JOIN submissions s ON s.pk = h.submission
           JOIN organizations o ON o.pk = s.organization
           WHERE h.stix_id = ANY(%s) AND h.rule = 'tlp' AND lower(o.name) = lower(%s)
           ORDER BY h.stix_id, h.held_at DESC""",
        (list(stix_ids), source),
    )
    return dict(rows)


async def held_reasons(conn: Connection) -> list[tuple[str, int]]:
    """How many objects each rule holds, the busiest first."""
    rows = await fetch(conn, "SELECT rule, count(*) FROM held GROUP BY rule ORDER BY count(*) DESC, rule")
    return [(rule, number) for rule, number in rows]


# ------------------------------------------------------------------------------------------ what is held for its time


@dataclass(frozen=True, slots=True)
class Taker:
    """A submission in which it came: its database key, by whom, and how many of its objects these bytes are."""

    submission: int
    actor: str
    organization: str
    #: a key's hand-over, and no operator's or feed's
    by_key: bool
    number: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """An object that is held for nothing but its time."""

    stix_id: str
    #: code of the audience it was handed in for
    audience: str
    tlp: TLP
    raw: bytes
    #: the first hand-over, and then all of keys, in their order
    takers: list[Taker]


async def due(conn: Connection, at: datetime, limit: int) -> list[int]:
    """Database keys of what was held until then, the earliest first."""
    rows = await fetch(conn, "SELECT pk FROM held WHERE until <= %s ORDER BY until, pk LIMIT %s", (at, limit))
    return [pk for (pk,) in rows]


async def waiting(conn: Connection, pk: int) -> Waiting | None:
    """What is held for its time; None where it is so no more."""
    rows = await fetch(
        conn,
        """SELECT h.stix_id, a.code, h.tlp, h.raw FROM held h JOIN audiences a ON a.pk = h.audience
           WHERE h.pk = %s AND h.until IS NOT NULL""",
        (pk,),
    )
    if not rows:
        return None
    ((stix_id, audience, tlp, raw),) = rows
    takers = await fetch(
        conn,
        """SELECT s.pk, s.actor, o.name, EXISTS (SELECT FROM keys k WHERE k.key_id = s.actor), coalesce(p.count, 1)
           FROM held h JOIN submissions s ON s.pk = h.submission
                                          OR s.pk IN (SELECT submission FROM pendings WHERE held = h.pk)
           JOIN organizations o ON o.pk = s.organization
           LEFT JOIN pendings p ON p.held = h.pk AND p.submission = s.pk
           WHERE h.pk = %s ORDER BY s.pk""",
        (pk,),
    )
    return Waiting(stix_id, audience, TLP(tlp), raw, [Taker(*taker) for taker in takers])


async def lock_held(conn: Connection, pk: int) -> None:
    """Let nobody hand the same bytes in until the transaction ends. To be called after the ids are locked."""
    await conn.execute("SELECT FROM held WHERE pk = %s FOR UPDATE", (pk,))


async def hold_on(conn: Connection, pk: int, submission: int, rule: str, reason: str) -> None:
    """Its time has come, but now it waits for something else."""
    await conn.execute("UPDATE held SET rule = %s, reason = %s, until = NULL WHERE pk = %s", (rule, reason, pk))
    await conn.execute("UPDATE pendings SET reason = %s WHERE held = %s AND submission = %s", (reason, pk, submission))


async def settle(conn: Connection, pk: int, taker: Taker, became: Counts, line: dict[str, str]) -> None:
    """A submission waits for it no more: what it became, and its line in the status."""
    await conn.execute("DELETE FROM pendings WHERE held = %s AND submission = %s", (pk, taker.submission))
    await count(conn, taker.submission, became + Counts(held=-taker.number))
    ((stored,),) = await fetch(conn, "SELECT report FROM submissions WHERE pk = %s", (taker.submission,))
    report: dict[str, Any] = orjson.loads(stored) if stored else {}
    lines = report.setdefault("failures" if became.refused else "successes", [])
    if became.repeated:
        report.setdefault("repeated", []).extend(range(len(lines), len(lines) + taker.number))
    lines += [line] * taker.number
    await conn.execute("UPDATE submissions SET report = %s WHERE pk = %s", (orjson.dumps(report), taker.submission))


async def let_go(conn: Connection, pk: int) -> None:
    """Nobody waits for it any more."""
    await conn.execute("DELETE FROM held WHERE pk = %s", (pk,))
