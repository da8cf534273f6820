"""Submissions: one hand-over by anyone, and what became of its objects (TAXII 2.1 §4.3, the status resource).

Counts are kept as batches commit; the lines of the report are written when all is taken in. What is held stays pending
until it is judged, in the status of every submission that a key handed in. Nobody asks for the status of what an
operator reads, and a feed brings the same each hour.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from isac import times
from isac.errors import NotFound
from isac.policy.actors import Actor, Audience
from isac.store.database import Connection
from isac.store.facts import as_uuid, fetch

#: longer lists are left out, as they are of a report
LINES = 10_000


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a submission's objects."""

    accepted: int = 0
    held: int = 0
    refused: int = 0
    #: the very same version was there already
    repeated: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.accepted + other.accepted,
            self.held + other.held,
            self.refused + other.refused,
            self.repeated + other.repeated,
        )


@dataclass(frozen=True, slots=True)
class Status:
    """A submission as its status resource shows it; a list that is None is left out."""

    id: str
    complete: bool
    received_at: datetime
    total: int
    success: int
    failure: int
    pending: int
    successes: list[dict[str, str]] | None
    failures: list[dict[str, str]] | None
    pendings: list[dict[str, str]] | None


async def begin(conn: Connection, asking: Actor, audience: int, source: str, at: datetime) -> tuple[int, str]:
    """Note a hand-over; answers its database key and its public id (UUIDv4)."""
    public_id = str(uuid.uuid4())
    ((pk,),) = await fetch(
        conn,
        """INSERT INTO submissions (id, organization, actor, audience, source, received_at)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING pk""",
        (public_id, asking.organization, asking.key_id, audience, source, at),
    )
    return pk, public_id


async def count(conn: Connection, pk: int, counts: Counts) -> None:
    """Add what one batch did, in the batch's transaction."""
    await conn.execute(
        """UPDATE submissions SET accepted = accepted + %s, held = held + %s, refused = refused + %s,
                                  repeated = repeated + %s WHERE pk = %s""",
        (counts.accepted, counts.held, counts.refused, counts.repeated, pk),
    )


async def shown_versions(conn: Connection, audience: Audience, stix_ids: Iterable[str]) -> dict[str, str]:
    """The versions that the manifests of an audience show of objects (STIX ids) that have none of their own."""
    rows = await fetch(
        conn,
        """SELECT o.stix_id, l.version_text FROM objects o JOIN log l ON l.object = o.pk
           WHERE o.stix_id = ANY(%s) AND l.audience = ANY(%s) AND l.ended_seq IS NULL""",
        (list(stix_ids), list(audience.path)),
    )
    return dict(rows)


async def complete(conn: Connection, pk: int, report: dict[str, Any], at: datetime) -> None:
    """Close a submission with the lines of its status, but for those of what is pending: they are in `pendings`."""
    await conn.execute(
        "UPDATE submissions SET completed_at = %s, report = %s WHERE pk = %s", (at, orjson.dumps(report), pk)
    )


async def status(conn: Connection, public_id: str, asking: Actor) -> Status:
    """A submission of the asking organization. Raises NotFound for an unknown one and for another organization's."""
    rows = await fetch(
        conn,
        """SELECT pk, received_at, completed_at, accepted + repeated, refused, held, report FROM submissions
           WHERE id = %s::uuid AND organization = %s""",
        (as_uuid(public_id), asking.organization),
    )
    if not rows:
        raise NotFound("No such status.")
    pk, received_at, completed_at, success, failure, pending, report = rows[0]
    lines = orjson.loads(report) if report else {}
    return Status(
        id=public_id.lower(),
        # Pending as long as one object waits for an analyst.
        complete=completed_at is not None and pending == 0,
        received_at=received_at,
        total=success + failure + pending,
        success=success,
        failure=failure,
        pending=pending,
        successes=_whole(lines.get("successes"), success),
        failures=_whole(lines.get("failures"), failure),
        pendings=_whole(await _pendings(conn, pk, received_at), pending) if pending <= LINES else None,
    )


async def _pendings(conn: Connection, pk: int, received_at: datetime) -> list[dict[str, str]]:
    """Lines of what still waits; what has no version of its own gets the hand-over's time."""
    rows = await fetch(
        conn,
        """SELECT h.stix_id, h.version, p.reason, p.count FROM pendings p JOIN held h ON h.pk = p.held
           WHERE p.submission = %s ORDER BY h.pk""",
        (pk,),
    )
    return [
        {"id": stix_id, "version": version or times.taxii(received_at), "message": reason}
        for stix_id, version, reason, number in rows
        for _ in range(number)
    ]


def _whole(lines: list[dict[str, str]] | None, expected: int) -> list[dict[str, str]] | None:
    """A list is given whole or not at all: clients compare its length with the count."""
    return lines if lines and len(lines) == expected else None


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


async def hold(conn: Connection, pk: int, audience: int, holdings: Sequence[Holding], at: datetime) -> None:
    """Keep objects until an analyst judges them: the same bytes once, and pending in each key's submission of them."""
    ordered = sorted(holdings, key=lambda holding: holding.digest)  # so that two of these never wait for each other
    async with conn.cursor() as cursor:
        await cursor.executemany(
            # An update, though of nothing, locks what is there already: nobody judges it before we are in its list.
            """WITH kept AS (
                 INSERT INTO held (digest, submission, audience, stix_id, version, type, rule, reason, held_at, raw)
                 VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
                 ON CONFLICT (audience, digest) DO UPDATE SET digest = excluded.digest RETURNING pk)
               INSERT INTO pendings (submission, held, count, reason)
               SELECT s.pk, kept.pk, 1, %s FROM kept, submissions s JOIN keys k ON k.key_id = s.actor WHERE s.pk = %s
               ON CONFLICT (submission, held) DO UPDATE SET count = pendings.count + 1""",
            [
                (h.digest, pk, audience, h.stix_id, h.version, h.type, h.rule, h.reason, at, h.raw, h.reason, pk)
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


async def held_reasons(conn: Connection) -> list[tuple[str, int]]:
    """How many objects each rule holds, the busiest first."""
    rows = await fetch(conn, "SELECT rule, count(*) FROM held GROUP BY rule ORDER BY count(*) DESC, rule")
    return [(rule, number) for rule, number in rows]
