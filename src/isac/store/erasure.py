"""Erasing: the bytes of an object, or what was handed in with a submission, leave every table; what stays says so.

`log.erase` takes an object out of the log; here is what else holds its words: held objects, payloads, the reports of
submissions, kept answers, the words of feeds' runs, alerts. All of it runs as isac_owner: isac_app has no right to
overwrite.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import orjson

from isac import times
from isac.errors import NotFound
from isac.policy.release import Erased
from isac.stix import objects
from isac.store import audit
from isac.store.database import Connection
from isac.store.facts import By, Change, as_uuid, fetch

#: clocks of several machines may differ, and an erasure is seen some seconds after it is dated
_SKEW = timedelta(minutes=1)
#: the instant of what has neither modified nor created
_NEVER = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Thing:
    """An object to erase: of everybody and in every version, unless they are named."""

    stix_id: str
    #: STIX id of a producer
    producer: str | None = None
    #: nanoseconds since 1970
    modified: int | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """A version that was erased: what stays known of it."""

    #: STIX id of its producer
    producer: str
    version: str
    sha256: str
    #: of each row, shut ones too: code of the audience, seq, date_added
    rows: list[tuple[str, int, str]]


@dataclass(frozen=True, slots=True)
class Rest:
    """What else was erased: held objects, payloads with their SHA-256 and size, submissions that lost their words."""

    held: int
    payloads: list[tuple[str, int]]
    #: public ids
    submissions: list[str]

    def __add__(self, other: "Rest") -> "Rest":
        return Rest(
            self.held + other.held,
            sorted(self.payloads + other.payloads),
            sorted({*self.submissions, *other.submissions}),
        )


# -------------------------------------------------------------------------------------------- of the log, for its deed


async def overwrite(conn: Connection, change: Change, versions: Sequence[int]) -> list[Gone]:
    """Overwrite the bytes of these versions of a locked object and of their rows."""
    found = await fetch(
        conn,
        """SELECT v.pk, p.identity, coalesce(v.version, ''), encode(sha256(v.raw), 'hex')
           FROM versions v JOIN producers p ON p.pk = v.producer WHERE v.pk = ANY(%s) ORDER BY v.pk""",
        (versions,),
    )
    rows = await fetch(
        conn,
        """UPDATE log SET raw = '' FROM audiences a WHERE a.pk = log.audience AND object = %s AND version = ANY(%s)
           RETURNING version, a.code, seq, date_added""",
        (change.pk, versions),
    )
    await conn.execute(
        "UPDATE versions SET raw = '', deleted = true, valid_until = NULL WHERE pk = ANY(%s)", (versions,)
    )
    # A note of ours says only that another object was withdrawn; without it nothing stands there.
    await conn.execute("DELETE FROM notices WHERE version = ANY(%s)", (versions,))
    stood = [(version, (code, seq, times.taxii(date))) for version, code, seq, date in sorted(rows, key=lambda r: r[2])]
    return [
        Gone(producer, text, digest, [row for version, row in stood if version == pk])
        for pk, producer, text, digest in found
    ]


async def keep_out(conn: Connection, change: Change, erased: Erased, by: By) -> None:
    """Remember what was erased of a locked object, once; a held version's marking rules no more."""
    known = [(each.producer, each.modified) for each in change.facts.erased]
    if erased.digests or (erased.producer, erased.modified) not in known:
        await conn.execute(
            "INSERT INTO erased (object, producer, modified, digests, at) VALUES (%s, %s, %s, %s, %s)",
            (change.pk, erased.producer, erased.modified, sorted(erased.digests), by.at),
        )
    await conn.execute(
        """DELETE FROM waiting WHERE object = %(object)s
             AND (%(producer)s::int IS NULL OR producer = %(producer)s)
             AND (%(modified)s::bigint IS NULL OR modified = %(modified)s)""",
        {"object": change.pk, "producer": erased.producer, "modified": erased.modified},
    )
    rest = tuple(
        waiting
        for waiting in change.facts.waiting
        if erased.producer not in (None, waiting.producer) or erased.modified not in (None, waiting.modified)
    )
    change.facts = dataclasses.replace(change.facts, waiting=rest, erased=(*change.facts.erased, erased))


async def kept_out(conn: Connection, stix_ids: Iterable[str]) -> dict[str, list[Erased]]:
    """What was erased under these ids, of those under which something was."""
    found: dict[str, list[Erased]] = {}
    for stix_id, producer, modified, digests in await fetch(
        conn,
        """SELECT o.stix_id, e.producer, e.modified, e.digests FROM erased e JOIN objects o ON o.pk = e.object
           WHERE o.stix_id = ANY(%s)""",
        (list(stix_ids),),
    ):
        found.setdefault(stix_id, []).append(Erased(producer, modified, frozenset(digests)))
    return found


# --------------------------------------------------------------------------------------------------- what carried them


async def stored(conn: Connection, thing: Thing) -> tuple[list[bytes], list[int]]:
    """The bytes of an object, held ones too, and the database keys of the organizations that handed it in."""
    rows = await fetch(
        conn,
        """SELECT v.raw, v.publisher FROM versions v JOIN objects o ON o.pk = v.object
            WHERE o.stix_id = %(id)s AND octet_length(v.raw) > 0
           UNION ALL
           SELECT h.raw, s.organization FROM held h JOIN submissions s ON s.pk = h.submission
            WHERE lower(h.stix_id) = %(id)s""",
        {"id": thing.stix_id},
    )
    return [raw for raw, _ in rows], sorted({organization for _, organization in rows})


@dataclass(frozen=True, slots=True)
class Handed:
    """Who handed a payload in, and how it was read."""

    #: database key
    organization: int
    #: by its name; and a definition of whoever handed it in, in JSON
    feed: str | None
    definition: str | None


async def payloads(conn: Connection, but: Collection[int]) -> list[tuple[int, list[Handed]]]:
    """Everything but these that is kept as it came."""
    rows = await fetch(
        conn,
        """SELECT p.pk, (SELECT jsonb_agg(DISTINCT jsonb_build_array(organization, feed, definition))
                         FROM submissions WHERE payload = p.pk) FROM payloads p
           WHERE p.pk <> ALL(%s) AND EXISTS (SELECT FROM payload_pieces WHERE payload = p.pk) ORDER BY p.pk""",
        (list(but),),
    )
    return [(pk, [Handed(*each) for each in handed or ()]) for pk, handed in rows]


async def since(conn: Connection, public_id: str) -> set[str]:
    """The ids under which something was erased since this submission began.

    To be asked in each transaction that writes words of it down: the eraser waits for those that have asked (`asking`),
    and who asks later finds what he erased.
    """
    await conn.execute("SELECT FROM submissions WHERE id = %s FOR NO KEY UPDATE", (public_id,))
    rows = await fetch(
        conn,
        """SELECT DISTINCT o.stix_id FROM erased e JOIN objects o ON o.pk = e.object, submissions s
           WHERE s.id = %s AND e.at > s.received_at - %s""",
        (public_id, _SKEW),
    )
    return {stix_id for (stix_id,) in rows}


async def asking(conn: Connection) -> set[str]:
    """The transactions that may have asked `since`, and have not ended."""
    # A lock of our own would be quicker to wait for, but then everybody else would wait behind it.
    rows = await fetch(
        conn,
        """SELECT virtualtransaction FROM pg_locks JOIN pg_database d ON d.oid = database
           WHERE datname = current_database() AND relation = 'submissions'::regclass
             AND mode IN ('RowShareLock', 'RowExclusiveLock')""",
    )
    return {transaction for (transaction,) in rows}


# ------------------------------------------------------------------------------------------------------- all else, gone


async def erase_rest(
    conn: Connection, things: Sequence[Thing], public_ids: Sequence[str], carriers: Collection[int], by: By
) -> Rest:
    """Erase what holds these objects outside the log, and what these submissions (public ids) were read from.

    A payload goes as a whole: it stays known by its hash, is never filled again, and can no longer be replayed. All
    submissions that were read from it, and those that name the objects, lose their reports and words; counts stay.
    `carriers` are payloads that are known to hold the objects. Runs in the caller's transaction, which must not have
    the log's lock. Raises NotFound for a submission that is unknown.
    """
    # First what takes long, before anybody has to wait for a row.
    named = await _naming(conn, things)
    for public_id in public_ids:
        rows = await fetch(conn, "SELECT pk FROM submissions WHERE id = %s::uuid", (as_uuid(public_id),))
        if not rows:
            raise NotFound(f"There is no submission {public_id}.")
        named.add(rows[0][0])
    held = 0
    for thing in things:
        number, brought = await _erase_held(conn, thing, by)
        held += number
        named |= brought
    rows = await fetch(
        conn, "SELECT payload FROM submissions WHERE pk = ANY(%s) AND payload IS NOT NULL", (list(named),)
    )
    pks = sorted({pk for (pk,) in rows} | set(carriers))
    gone = await fetch(
        conn,
        """UPDATE submissions SET report = NULL, details = NULL, context = '', name = NULL, definition = NULL
           WHERE pk = ANY(%s) OR payload = ANY(%s) RETURNING pk, id::text""",
        (list(named), pks),
    )
    await conn.execute(
        "UPDATE feed_runs SET problem = '' WHERE submission = ANY(%s) OR payload = ANY(%s)",
        ([pk for pk, _ in gone], pks),
    )
    emptied = await _empty(conn, pks, by)
    words = [thing.stix_id for thing in things] + [public_id for _, public_id in gone]
    await conn.execute(
        """DELETE FROM answers WHERE EXISTS
             (SELECT FROM unnest(%s::text[]) AS word WHERE position(convert_to(word, 'UTF8') IN body) > 0)""",
        (words,),
    )
    # An alert says which value it was, also to whom the object was never shown.
    await conn.execute("DELETE FROM alerts WHERE stix_id = ANY(%s)", ([thing.stix_id for thing in things],))
    for public_id in public_ids:
        await audit.record(conn, by.actor, "erase", f"submission {public_id}", by.reason, by.at)
    return Rest(held, emptied, sorted(public_id for _, public_id in gone))


async def _erase_held(conn: Connection, thing: Thing, by: By) -> tuple[int, set[int]]:
    """Erase what waits of an object: how many, and the submissions that brought it. There they count as refused."""
    pks: list[int] = []
    first, pending = Counter[int](), Counter[int]()
    rows = await fetch(
        conn,
        """SELECT h.pk, h.submission, h.version, encode(h.digest, 'hex'), h.raw, o.identity FROM held h
           JOIN submissions s ON s.pk = h.submission JOIN organizations o ON o.pk = s.organization
           WHERE lower(h.stix_id) = %s ORDER BY h.pk FOR UPDATE OF h""",
        (thing.stix_id,),
    )
    for pk, submission, version, digest, raw, handed_in_by in rows:
        producer = orjson.loads(raw).get("created_by_ref", handed_in_by)
        if thing.producer not in (None, producer) or thing.modified not in (None, objects.instant(version or _NEVER)):
            continue
        pks.append(pk)
        first[submission] += 1
        said = f"{by.reason} (held, producer {producer}, SHA-256 {digest})"
        await audit.record(conn, by.actor, "erase", f"{thing.stix_id} {version}", said, by.at)
    for submission, number in await fetch(
        conn, "DELETE FROM pendings WHERE held = ANY(%s) RETURNING submission, count", (pks,)
    ):
        pending[submission] += number
    await conn.execute("DELETE FROM held WHERE pk = ANY(%s)", (pks,))
    for submission in sorted(first.keys() | pending.keys()):
        # One by an operator or a feed is named by the held objects alone.
        await conn.execute(
            "UPDATE submissions SET held = held - %(n)s, refused = refused + %(n)s WHERE pk = %(pk)s AND held >= %(n)s",
            {"n": pending[submission] or first[submission], "pk": submission},
        )
    return len(pks), {*first, *pending}


async def _naming(conn: Connection, things: Sequence[Thing]) -> set[int]:
    """The submissions that brought what is or was erased of these objects, and those whose reports name one."""
    named = set[int]()
    for thing in things:
        rows = await fetch(
            conn,
            """SELECT v.submission
               FROM versions v JOIN objects o ON o.pk = v.object JOIN producers p ON p.pk = v.producer
               WHERE o.stix_id = %(id)s AND v.submission IS NOT NULL AND (octet_length(v.raw) = 0 OR (
                     (%(producer)s::text IS NULL OR p.identity = %(producer)s)
                     AND (%(modified)s::bigint IS NULL OR v.modified = %(modified)s)))""",
            {"id": thing.stix_id, "producer": thing.producer, "modified": thing.modified},
        )
        named.update(pk for (pk,) in rows)
    # All of them at once: each report is unpacked for it.
    rows = await fetch(
        conn,
        """SELECT pk FROM submissions WHERE EXISTS (
             SELECT FROM unnest(%s::text[]) AS id
              WHERE position(convert_to(id, 'UTF8') IN report) > 0
                 OR position(convert_to(id, 'UTF8') IN details) > 0)""",
        ([thing.stix_id for thing in things],),
    )
    return named | {pk for (pk,) in rows}


async def _empty(conn: Connection, pks: Sequence[int], by: By) -> list[tuple[str, int]]:
    """Drop the pieces of payloads; those that have none any more are left alone."""
    rows = await fetch(
        conn,
        """WITH gone AS (DELETE FROM payload_pieces WHERE payload = ANY(%s) RETURNING payload)
           UPDATE payloads SET media_type = '' WHERE pk IN (SELECT payload FROM gone)
           RETURNING encode(sha256, 'hex'), size""",
        (pks,),
    )
    for digest, size in rows:
        await audit.record(conn, by.actor, "erase", f"payload {digest}", f"{by.reason} ({size} bytes)", by.at)
    return sorted(rows)
