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
from isac.store.submissions import LINES, Counts, count


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
class Due:
    """What may be taken in now, without its bytes."""

    until: datetime
    #: database key
    pk: int
    stix_id: str
    #: bytes
    size: int


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


async def due(conn: Connection, at: datetime, after: Due | None, limit: int) -> list[Due]:
    """What was held until then, the earliest first: the page after `after`."""
    rows = await fetch(
        conn,
        """SELECT until, pk, stix_id, octet_length(raw) FROM held
           WHERE until <= %s AND (until, pk) > (coalesce(%s, '-infinity'::timestamptz), %s)
           ORDER BY until, pk LIMIT %s""",
        (at, after and after.until, after.pk if after else 0, limit),
    )
    return [Due(*row) for row in rows]


async def waiting(conn: Connection, pks: Sequence[int]) -> dict[int, Waiting]:
    """What of these is held for its time, by its database key."""
    rows = await fetch(
        conn,
        """SELECT h.pk, h.stix_id, a.code, h.tlp, h.raw FROM held h JOIN audiences a ON a.pk = h.audience
           WHERE h.pk = ANY(%s) AND h.until IS NOT NULL ORDER BY h.until, h.pk""",
        (list(pks),),
    )
    return {pk: Waiting(stix_id, audience, TLP(tlp), raw) for pk, stix_id, audience, tlp, raw in rows}


async def takers(conn: Connection, pks: Sequence[int]) -> dict[int, list[Taker]]:
    """Of each: the first hand-over, and all of keys, in their order."""
    rows = await fetch(
        conn,
        # By key, each: without statistics PostgreSQL would rather read all submissions that there ever were.
        """SELECT t.held, s.pk, s.actor, o.name, s.by_key, t.count
           FROM (SELECT held, submission, max(count) AS count
                 FROM (SELECT pk AS held, submission, 1 AS count FROM held WHERE pk = ANY(%(pks)s)
                       UNION ALL SELECT held, submission, count FROM pendings WHERE held = ANY(%(pks)s)) AS each
                 GROUP BY held, submission) AS t,
           LATERAL (SELECT pk, actor, organization, EXISTS (SELECT FROM keys k WHERE k.key_id = actor) AS by_key
                    FROM submissions WHERE pk = t.submission OFFSET 0) AS s,
           LATERAL (SELECT name FROM organizations WHERE pk = s.organization OFFSET 0) AS o
           ORDER BY t.held, s.pk""",
        {"pks": list(pks)},
    )
    found: dict[int, list[Taker]] = {}
    for pk, *taker in rows:
        found.setdefault(pk, []).append(Taker(*taker))
    return found


async def lock_held(conn: Connection, pks: Sequence[int]) -> set[int]:
    """Let nobody hand the same bytes in until the transaction ends; answers which of them still wait for their time.

    To be called after the ids are locked.
    """
    rows = await fetch(
        conn,
        # In the order of `hold`, so that nobody waits in a circle.
        "SELECT pk FROM held WHERE pk = ANY(%s) AND until IS NOT NULL ORDER BY digest, pk FOR UPDATE",
        (list(pks),),
    )
    return {pk for (pk,) in rows}


async def hold_on(conn: Connection, pk: int, submission: int | None, rule: str, reason: str) -> None:
    """Its time has come, but now it waits for something else, as this submission may know it, or every one."""
    await conn.execute("UPDATE held SET rule = %s, reason = %s, until = NULL WHERE pk = %s", (rule, reason, pk))
    await conn.execute(
        "UPDATE pendings SET reason = %s WHERE held = %s AND submission = coalesce(%s, submission)",
        (reason, pk, submission),
    )


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of something that waited, in one submission: its counts, and its line in the status."""

    held: int
    number: int
    became: Counts
    line: dict[str, str]


async def settle(conn: Connection, submission: int, settled: Sequence[Settled]) -> None:
    """A submission waits for these no more. Their lines go into its status, where that is to be whole."""
    await conn.execute(
        "DELETE FROM pendings WHERE held = ANY(%s) AND submission = %s", ([each.held for each in settled], submission)
    )
    waited = Counts(held=-sum(each.number for each in settled))
    await count(conn, submission, sum((each.became for each in settled), waited))
    ((entered, refused, stored),) = await fetch(
        conn, "SELECT accepted + repeated, refused, report FROM submissions WHERE pk = %s", (submission,)
    )
    if min(entered, refused) > LINES:
        return
    report: dict[str, Any] = orjson.loads(stored) if stored else {}
    for each in settled:
        lines = report.setdefault("failures" if each.became.refused else "successes", [])
        if each.became.repeated:
            # The first of several that are the same enters, the others are there already.
            first = len(lines) + each.became.accepted
            report.setdefault("repeated", []).extend(range(first, first + each.became.repeated))
        lines += [each.line] * each.number
    for name, number in (("successes", entered), ("failures", refused)):
        if number > LINES or len(report.get(name, ())) != number:
            report.pop(name, None)
            if name == "successes":
                report.pop("repeated", None)
    rest = orjson.dumps(report)
    if rest != stored:
        await conn.execute("UPDATE submissions SET report = %s WHERE pk = %s", (rest, submission))


async def let_go(conn: Connection, pks: Sequence[int]) -> None:
    """Nobody waits for these any more."""
    await conn.execute("DELETE FROM held WHERE pk = ANY(%s)", (list(pks),))
