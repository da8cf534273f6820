"""Submissions: one hand-over by anyone, and what became of its objects (TAXII 2.1 §4.3, the status resource).

Counts are kept as batches commit; the lines of the report are written when all is taken in. Whoever takes it in says so
from time to time, and what falls silent is ended. What is held stays pending until it is judged, in the status of every
submission that a key handed in. Nobody asks for the status of what an operator reads, and a feed brings the same each
hour.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, LiteralString

import orjson

from isac import times
from isac.errors import NotFound
from isac.policy.actors import MANAGERS, Actor, Audience, Role
from isac.stix.markings import TLP
from isac.store.database import Away, Connection, Pool
from isac.store.facts import as_uuid, fetch

_logger = logging.getLogger(__name__)

#: longer lists are left out, as they are of a report
LINES = 10_000
#: seconds between two signs of life of whoever takes one in, and how long one may be silent
_BEAT, _SILENCE = 10.0, timedelta(minutes=1)
#: ended at one go
_AT_ONCE = 100
_CUT_OFF = (
    "The server was stopped before it had taken in the rest of this submission. Send all of it again: what is there"
    " already changes nothing."
)
_REASON_LOST = "This object was refused; the reason was lost when the server was stopped."


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


async def begin(
    conn: Connection, asking: Actor, audience: int, source: str, at: datetime, context: str = ""
) -> tuple[int, str]:
    """Note a hand-over; answers its database key and its public id (UUIDv4)."""
    public_id = str(uuid.uuid4())
    ((pk,),) = await fetch(
        conn,
        # It may have been looked over for minutes since it came.
        """INSERT INTO submissions (id, organization, actor, audience, source, received_at, alive_at, context)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING pk""",
        (public_id, asking.organization, asking.key_id, audience, source, at, times.now(), context),
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
    """Close a submission with the lines of its status, but for those of what is pending: they are in `pendings`.

    One that was taken for dead meanwhile, since its machine stood still, loses the line that said so.
    """
    await conn.execute(
        """UPDATE submissions SET completed_at = %s, report = %s, refused = refused - (completed_at IS NOT NULL)::int
           WHERE pk = %s""",
        (at, orjson.dumps(report), pk),
    )


@contextlib.asynccontextmanager
async def alive(pool: Pool, pk: int) -> AsyncIterator[None]:
    """While the context lasts, a submission is known to be under way."""
    beating = asyncio.create_task(_beat(pool, pk))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait({beating})


async def _beat(pool: Pool, pk: int) -> None:
    while True:
        await asyncio.sleep(_BEAT)
        try:
            async with pool.connection() as conn:
                await conn.execute("UPDATE submissions SET alive_at = %s WHERE pk = %s", (times.now(), pk))
        except Away:
            pass  # then taking it in fails, too, or it goes on
        except Exception:  # whatever it is: who falls silent for a minute is ended as cut off, so it is tried again
            _logger.exception("a submission under way cannot say so")


async def end_cut_off(conn: Connection, at: datetime) -> list[str]:
    """End the submissions whose writer is silent: it was killed. Answers their public ids.

    What was taken in is counted already. A line of the status says that the rest has to come again, and the list of
    failures stays whole, though the reasons of those before are lost.
    """
    async with conn.transaction():
        # A row that is locked has a living writer.
        found = await fetch(
            conn,
            """SELECT pk, id::text, refused FROM submissions
               WHERE completed_at IS NULL AND coalesce(alive_at, received_at) < %s
               ORDER BY pk LIMIT %s FOR UPDATE SKIP LOCKED""",
            (at - _SILENCE, _AT_ONCE),
        )
        for pk, _, refused in found:
            told = [*[_REASON_LOST] * refused, _CUT_OFF] if refused < LINES else []
            failures = [{"id": "unknown", "version": times.taxii(at), "message": message} for message in told]
            await conn.execute(
                "UPDATE submissions SET completed_at = %s, refused = refused + 1, report = %s WHERE pk = %s",
                (at, orjson.dumps({"failures": failures}), pk),
            )
    return [public_id for _, public_id, _ in found]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a submission was read from, and how, so that it can be read once more."""

    #: database key of the payload
    payload: int
    #: of a member of an archive: which
    name: str
    feed: str | None
    tlp: TLP | None
    sample: bool
    #: how to read it, where no feed says so: a feed's definition in JSON
    definition: str | None = None


async def attach(conn: Connection, public_id: str, kept: Kept) -> None:
    """Note what a submission was read from."""
    tlp = None if kept.tlp is None else int(kept.tlp)
    await conn.execute(
        """UPDATE submissions SET payload = %s, name = %s, feed = %s, tlp = %s, sample = %s, definition = %s
           WHERE id = %s""",
        (kept.payload, kept.name, kept.feed, tlp, kept.sample, kept.definition, public_id),
    )


@dataclass(frozen=True, slots=True)
class Handed:
    """How a submission was handed in, to be read once more."""

    kept: Kept
    #: by whom: a key's id, and the organization's name
    actor: str
    organization: str
    #: code of the audience
    audience: str
    source: str
    #: a key's hand-over, and no operator's or feed's
    by_key: bool
    #: of a feed: its newest submission, if that is another one
    newer: str | None


async def handed(conn: Connection, public_id: str) -> Handed:
    """Raises NotFound for one that is unknown, or that nothing was kept of."""
    rows = await fetch(
        conn,
        """SELECT s.payload, s.name, s.feed, s.tlp, s.sample, s.definition, s.actor, o.name, a.code, s.source,
                  EXISTS (SELECT FROM keys k WHERE k.key_id = s.actor),
                  (SELECT n.id::text FROM submissions n WHERE n.organization = s.organization AND n.pk > s.pk
                   AND n.feed = s.feed AND n.payload <> s.payload ORDER BY n.pk DESC LIMIT 1)
           FROM submissions s JOIN organizations o ON o.pk = s.organization JOIN audiences a ON a.pk = s.audience
           WHERE s.id = %s::uuid""",
        (as_uuid(public_id),),
    )
    if not rows:
        raise NotFound("There is no such submission.")
    payload, name, feed, tlp, sample, definition, *rest = rows[0]
    if payload is None:
        raise NotFound("Nothing is kept of this submission: it came over TAXII, or its time is over.")
    return Handed(Kept(payload, name, feed, None if tlp is None else TLP(tlp), sample, definition), *rest)


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


# ------------------------------------------------------------------------------------------- for whoever handed it in


@dataclass(frozen=True, slots=True)
class Unread:
    """The lines or rows of a submission that gave no object."""

    refused: int = 0
    #: nothing is wrong with them
    left_out: int = 0
    #: each with its reason; None where there are very many
    lines: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A submission as those who handed it in read it: how, and what became of it. A list that is None is left out."""

    id: str
    organization: str
    source: str
    #: code of the audience
    audience: str
    context: str
    tlp: TLP | None
    sample: bool
    received_at: datetime
    #: None while it is being taken in
    completed_at: datetime | None
    counts: Counts
    unread: Unread
    successes: list[dict[str, str]] | None = None
    #: places in `successes` of what was there already
    repeated: Sequence[int] = ()
    failures: list[dict[str, str]] | None = None
    pendings: list[dict[str, str]] | None = None
    #: of objects that were held or refused, by id
    names: Mapping[str, str] = field(default_factory=dict)


async def note(conn: Connection, public_id: str, unread: Unread, names: Mapping[str, str]) -> None:
    """Keep what makes an account readable for whoever handed it in."""
    await conn.execute(
        "UPDATE submissions SET unreadable = %s, left_out = %s, details = %s WHERE id = %s",
        (unread.refused, unread.left_out, orjson.dumps({"lines": unread.lines, "names": names}), public_id),
    )


async def account(conn: Connection, public_id: str, asking: Actor) -> Account:
    """A submission of the asking organization's; the ISAC's own analysts see all. Raises NotFound."""
    rows = await fetch(
        conn,
        "SELECT s.pk, s.report, s.details, " + _ACCOUNT + "WHERE s.id = %s::uuid AND " + _MAY_SEE,
        (as_uuid(public_id), *_who(asking)),
    )
    if not rows:
        raise NotFound("There is no such submission of yours.")
    pk, report, details, *rest = rows[0]
    found, lines = _account(rest), orjson.loads(report) if report else {}
    more = orjson.loads(details) if details else {}
    counts = found.counts
    return replace(
        found,
        unread=replace(found.unread, lines=more.get("lines")),
        names=more.get("names", {}),
        successes=_whole(lines.get("successes"), counts.accepted + counts.repeated),
        repeated=lines.get("repeated", ()),
        failures=_whole(lines.get("failures"), counts.refused),
        pendings=_whole(await _pendings(conn, pk, found.received_at), counts.held) if counts.held <= LINES else None,
    )


async def accounts(conn: Connection, asking: Actor, before: str | None, limit: int) -> list[Account]:
    """The asking organization's, the newest first, those before that one; without what became of each object.

    Raises NotFound where `before` is none of them.
    """
    pk = _LAST
    if before is not None:
        rows = await fetch(
            conn,
            "SELECT pk FROM submissions WHERE organization = %s AND id = %s::uuid",
            (asking.organization, as_uuid(before)),
        )
        if not rows:
            raise NotFound("There is no such submission of yours to go on from.")
        ((pk,),) = rows
    rows = await fetch(
        conn,
        "SELECT "
        + _ACCOUNT
        + "WHERE s.organization = %s AND s.pk < %s ORDER BY s.organization DESC, s.pk DESC LIMIT %s",
        (asking.organization, pk, limit),
    )
    return [_account(row) for row in rows]


_LAST = 2**63 - 1
_ACCOUNT: LiteralString = """
       s.id::text, o.name, s.source, a.code, s.context, s.tlp, s.sample, s.received_at, s.completed_at,
       s.accepted, s.held, s.refused, s.repeated, s.unreadable, s.left_out
  FROM submissions s JOIN organizations o ON o.pk = s.organization JOIN audiences a ON a.pk = s.audience
"""
_MAY_SEE: LiteralString = """(s.organization = %s OR %s OR %s AND EXISTS
  (SELECT FROM organizations own WHERE own.pk = %s AND own.kind = 'isac'))"""


def _who(asking: Actor) -> tuple[int, bool, bool, int]:
    return asking.organization, asking.role is Role.STEWARD, asking.role in MANAGERS, asking.organization


def _account(row: Sequence[Any]) -> Account:
    public_id, organization, source, audience, context, tlp, sample, received_at, completed_at, *numbers = row
    return Account(
        public_id,
        organization,
        source,
        audience,
        context,
        None if tlp is None else TLP(tlp),
        sample,
        received_at,
        completed_at,
        Counts(*numbers[:4]),
        Unread(*numbers[4:]),
    )
