"""What the log knows of objects: read under their locks, and changed by a deed before it settles.

One row of `objects` is one STIX id and its lock. Everything here runs in the deed's transaction, in READ COMMITTED:
each statement sees what was committed before it, so facts read after locking are the latest.
"""

import collections
import dataclasses
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from isac.errors import NotFound
from isac.policy.actors import Audience
from isac.policy.admit import Admission, Arrival, Move, Poster
from isac.policy.release import Erased, Facts, Grant, Notice, Put, Row, Version, Waiting, new_grant, remembered
from isac.stix import authored, objects
from isac.stix.markings import TLP
from isac.store.database import Connection


@dataclass(frozen=True, slots=True)
class By:
    """Who does a deed, when, and why: what the audit and the grants keep."""

    actor: str
    at: datetime
    reason: str = ""
    #: the sandbox's: no TLP gate, no notices
    free: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """One object: a STIX id of one producer (its database key)."""

    stix_id: str
    producer: int


@dataclass(slots=True)
class Change:
    """One locked object on its way through a deed: its facts as the deed leaves them."""

    pk: int
    stix_id: str
    #: as they were read
    before: Facts
    facts: Facts
    lost: list[Grant] = dataclasses.field(default_factory=list)
    history: list[Put] = dataclasses.field(default_factory=list)
    #: versions deleted at an audience and below
    deleted: list[tuple[int, Audience]] = dataclasses.field(default_factory=list)
    #: the one row of an object that nobody knew, for one audience: there is nothing to settle
    first: Put | None = None


#: of an id that nobody has used yet
NOTHING = Facts()


async def one(conn: Connection, subject: Subject) -> Change:
    change = (await lock(conn, [subject.stix_id], make=False)).get(subject.stix_id)
    if change is None or not any(v.producer == subject.producer for v in change.facts.versions):
        raise NotFound("No such object.")
    return change


async def lock(conn: Connection, stix_ids: Iterable[str], make: bool = True) -> dict[str, Change]:
    """Lock the ids in one order, making those that are new, and read the facts of the others."""
    ids = sorted(set(stix_ids))
    changes: dict[str, Change] = {}
    if make:
        # Waits for whoever is making one of them right now; in this order, so nobody waits in a circle. One row of
        # lists, since the driver takes longer for thousands of rows.
        ((pks, new),) = await fetch(
            conn,
            """WITH new AS (INSERT INTO objects (stix_id) SELECT unnest(string_to_array(%s, ' '))
                            ON CONFLICT (stix_id) DO NOTHING
                            RETURNING pk, stix_id)
               SELECT array_agg(pk), string_agg(stix_id, ' ') FROM new""",
            (" ".join(ids),),  # an id that was accepted has no blanks; a list would be quoted one by one
        )
        if pks:
            made = zip(pks, new.split(" "), strict=True)
            changes = {stix_id: Change(pk, stix_id, NOTHING, NOTHING) for pk, stix_id in made}
    rest = [stix_id for stix_id in ids if stix_id not in changes]
    if rest:
        rows = await fetch(
            conn, "SELECT pk, stix_id FROM objects WHERE stix_id = ANY(%s) ORDER BY stix_id FOR UPDATE", (rest,)
        )
        facts = await _facts(conn, [pk for pk, _ in rows])
        changes |= {stix_id: Change(pk, stix_id, facts[pk], facts[pk]) for pk, stix_id in rows}
    return changes


async def _facts(conn: Connection, pks: Sequence[int]) -> dict[int, Facts]:
    """What is stored of each object, as of now: call it after locking, in READ COMMITTED."""
    versions = await _by_object(
        conn,
        """SELECT object, pk, producer, modified, tlp, revoked, expired, deleted, created, publisher
           FROM versions WHERE object = ANY(%s) AND octet_length(raw) > 0""",
        pks,
    )
    grants = await _by_object(
        conn,
        """SELECT g.object, g.ordinal, g.producer, g.without, a.pk, a.kind, a.above || a.pk, a.code, a.frozen
            FROM grants g JOIN audiences a ON a.pk = g.audience WHERE g.object = ANY(%s)""",
        pks,
    )
    rows = await _by_object(
        conn,
        """SELECT l.object, l.seq, v.producer, l.version, l.ended_seq IS NOT NULL, l.tlp,
                  a.pk, a.kind, a.above || a.pk, a.code, a.frozen
            FROM log l JOIN versions v ON v.pk = l.version JOIN audiences a ON a.pk = l.audience
            WHERE l.object = ANY(%s) AND l.shut_seq IS NULL""",
        pks,
    )
    notices = await _by_object(
        conn,
        """SELECT n.object, l.seq, n.version, a.pk, a.kind, a.above || a.pk, a.code, a.frozen
            FROM notices n JOIN versions v ON v.pk = n.version JOIN log l ON l.object = v.object AND l.shut_seq IS NULL
            JOIN audiences a ON a.pk = n.audience WHERE n.object = ANY(%s)""",
        pks,
    )
    held = await _by_object(conn, "SELECT object, producer, modified, tlp FROM waiting WHERE object = ANY(%s)", pks)
    erased = await _by_object(
        conn, "SELECT object, producer, modified, digests FROM erased WHERE object = ANY(%s)", pks
    )
    return {
        pk: Facts(
            versions=tuple(
                Version(v, producer, modified, TLP(tlp), *rest) for _, v, producer, modified, tlp, *rest in versions[pk]
            ),
            grants=tuple(
                Grant(ordinal, producer, audience_of(rest), frozenset(without))
                for _, ordinal, producer, without, *rest in grants[pk]
            ),
            rows=tuple(
                Row(seq, producer, version, audience_of(rest), ended, TLP(tlp))
                for _, seq, producer, version, ended, tlp, *rest in rows[pk]
            ),
            notices=tuple(Notice(row[1], row[2], audience_of(row[3:])) for row in notices[pk]),
            waiting=tuple(Waiting(producer, modified, TLP(tlp)) for _, producer, modified, tlp in held[pk]),
            erased=tuple(
                Erased(producer, modified, frozenset(digests)) for _, producer, modified, digests in erased[pk]
            ),
        )
        for pk in pks
    }


async def _by_object(conn: Connection, query: LiteralString, pks: Sequence[int]) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = collections.defaultdict(list)
    for row in await fetch(conn, query, (pks,)):
        found[row[0]].append(row)
    return found


async def fetch(
    conn: Connection, query: LiteralString, values: Sequence[object] | Mapping[str, object] = ()
) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query, values)).fetchall()


def numbers(values: Iterable[int]) -> str:
    """An array as PostgreSQL reads it: the driver would look at each number by itself, five times as long."""
    return f"{{{','.join(map(str, values))}}}"


async def isac(conn: Connection) -> tuple[int, str, int]:
    """The ISAC itself: its database key as a producer, its STIX id, its database key as an organization."""
    ((identity, organization),) = await fetch(conn, "SELECT identity, pk FROM organizations WHERE kind = 'isac'")
    return (await producers(conn, [identity]))[identity], identity, organization


async def is_source(conn: Connection, organization: int) -> bool:
    """Is it no body with people, but something that the ISAC reads?"""
    return bool(await fetch(conn, "SELECT FROM organizations WHERE pk = %s AND kind = 'source'", (organization,)))


async def is_ours(conn: Connection, producer: int) -> bool:
    """Is this producer an organization of ours, so that its objects come from nobody else?"""
    query = "SELECT FROM producers p JOIN organizations o ON o.identity = p.identity WHERE p.pk = %s"
    return bool(await fetch(conn, query, (producer,)))


async def producers(conn: Connection, identities: Iterable[str]) -> dict[str, int]:
    """Database keys of these STIX ids as producers, made where they are new."""
    wanted = sorted(set(identities))
    known = "SELECT identity, pk FROM producers WHERE identity = ANY(%s)"
    found = dict(await fetch(conn, known, (wanted,)))
    if len(found) < len(wanted):
        # Whoever makes one of them at the same time has committed when this returns.
        await conn.execute(
            "INSERT INTO producers (identity) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
            ([identity for identity in wanted if identity not in found],),
        )
        found = dict(await fetch(conn, known, (wanted,)))
    return found


async def creators(conn: Connection, identities: Iterable[str]) -> dict[str, tuple[int, int | None]]:
    """Of each creator its database key, and the organization of ours that it is."""
    keys = await producers(conn, identities)
    ours = dict(await fetch(conn, "SELECT identity, pk FROM organizations WHERE identity = ANY(%s)", (list(keys),)))
    return {identity: (pk, ours.get(identity)) for identity, pk in keys.items()}


async def newest(conn: Connection, stix_ids: Iterable[str], identity: str) -> dict[str, tuple[bytes, bool]]:
    """A producer's newest version of each object that is stored, by its id: the bytes, and whether it is revoked."""
    rows = await fetch(
        conn,
        # By its index, object after object: before the first ANALYZE PostgreSQL would read all versions for each.
        """SELECT o.stix_id, v.raw, v.revoked FROM objects o
           CROSS JOIN LATERAL (SELECT raw, revoked FROM versions v
                               WHERE v.object = o.pk AND v.producer = (SELECT pk FROM producers WHERE identity = %s)
                               AND NOT v.deleted ORDER BY v.modified DESC LIMIT 1) v
           WHERE o.stix_id = ANY(%s)""",
        (identity, list(stix_ids)),
    )
    return {stix_id: (raw, revoked) for stix_id, raw, revoked in rows}


async def marking_definitions(conn: Connection, stix_ids: Sequence[str]) -> list[bytes]:
    """Those of them that are stored, whoever made them."""
    rows = await fetch(
        conn,
        """SELECT v.raw FROM versions v JOIN objects o ON o.pk = v.object
           WHERE o.stix_id = ANY(%s) AND v.type = 'marking-definition' AND octet_length(v.raw) > 0""",
        (list(stix_ids),),
    )
    return [raw for (raw,) in rows]


async def compare(
    conn: Connection,
    arrivals: Sequence[Arrival],
    changes: Mapping[str, Change],
    creators: Mapping[str, tuple[int, int | None]],
) -> dict[str, dict[int, bool]]:
    """Of each arrival whose version is stored already, by producer: is it identical?

    One that names no creator is compared with everybody's.
    """
    known: dict[int, tuple[Arrival, int]] = {}
    for arrival in arrivals:
        for version in changes[arrival.stix_id].facts.versions:
            own = version.producer == creators[arrival.producer][0]
            if version.modified == arrival.modified and (own or arrival.anonymous):
                known[version.pk] = arrival, version.producer
    rows = await fetch(conn, "SELECT pk, raw FROM versions WHERE pk = ANY(%s)", (list(known),)) if known else []
    found: dict[str, dict[int, bool]] = collections.defaultdict(dict)
    for pk, raw in rows:
        arrival, producer = known[pk]
        found[arrival.stix_id][producer] = objects.same(raw, arrival.raw)
    return found


async def stood(conn: Connection, change: Change) -> list[tuple[int, int]]:
    """All (version, audience) of the object's rows, shut ones too."""
    return [
        (version, audience)
        for version, audience in await fetch(
            conn, "SELECT DISTINCT version, audience FROM log WHERE object = %s", (change.pk,)
        )
    ]


# ---------------------------------------------------------------------------------------------------- facts, changed


async def add_versions(
    conn: Connection,
    entering: Sequence[tuple[Arrival, Change, int, Admission]],
    audience: Audience,
    poster: Poster,
    submission: int | None,
) -> None:
    """Store the versions that enter (arrival, object, producer, verdict), but for those that come again."""
    rows = [
        (arrival, change.pk, producer, poster.actor.organization, submission)
        for arrival, change, producer, admission in entering
        if admission.version is None
    ]
    pks = iter(await copy_versions(conn, rows) if rows else [])
    for arrival, change, producer, admission in entering:
        version = Version(
            pk=next(pks) if admission.version is None else admission.version,
            producer=producer,
            modified=arrival.modified,
            tlp=arrival.tlp,
            revoked=arrival.revoked,
            created=arrival.created,
            publisher=poster.actor.organization,
        )
        change.facts = remembered(change.facts, version, live=admission.move is not Move.HISTORY, audience=audience)
        if admission.move is Move.HISTORY:
            change.history.append(Put(version.pk, audience, ended=True))


async def add_fresh(
    conn: Connection,
    fresh: Sequence[tuple[Arrival, Change, int, Admission]],
    audience: Audience,
    poster: Poster,
    by: By,
    submission: int | None,
) -> None:
    """Store objects that nobody knew: a version, a grant, and the one row that follows from them.

    The usual case by itself, because an import consists of it.
    """
    if not fresh:
        return
    organization = poster.actor.organization
    rows = [(arrival, change.pk, producer, organization, submission) for arrival, change, producer, _ in fresh]
    for (_, change, _, _), pk in zip(fresh, await copy_versions(conn, rows), strict=True):
        change.first = Put(pk, audience)
    await conn.execute(
        """INSERT INTO grants (object, producer, audience, without, granted_at, granted_by)
           SELECT object, producer, %s, '{}', %s, %s
           FROM unnest(%s::bigint[], %s::int[]) AS wanted (object, producer)""",
        (audience.pk, by.at, by.actor, numbers(entry[1].pk for entry in fresh), numbers(entry[2] for entry in fresh)),
    )


async def add_waiting(conn: Connection, held: Sequence[tuple[Change, int, int, TLP]]) -> None:
    """Versions (object, producer, modified, TLP) that are held, but whose marking rules from now on."""
    for change, producer, modified, tlp in held:
        change.facts = dataclasses.replace(
            change.facts, waiting=(*change.facts.waiting, Waiting(producer, modified, tlp))
        )
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO waiting (object, producer, modified, tlp) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [(change.pk, producer, modified, int(tlp)) for change, producer, modified, tlp in held],
        )


async def copy_versions(conn: Connection, rows: Sequence[tuple[Arrival, int, int, int, int | None]]) -> list[int]:
    """Store (arrival, object, producer, publisher, submission) and answer the versions' database keys, in order."""
    pks: list[int]
    ((pks,),) = await fetch(
        conn, "SELECT array_agg(nextval('versions_pk_seq')) FROM generate_series(1, %s)", (len(rows),)
    )
    async with conn.cursor() as cursor, cursor.copy(_COPY_VERSIONS) as copy:
        await copy.write(COPY_HEAD)
        for some in range(0, len(pks), _STRIDE):
            numbered = zip(pks[some : some + _STRIDE], rows[some : some + _STRIDE], strict=True)
            await copy.write(b"".join(_version_row(pk, *row) for pk, row in numbered))
        await copy.write(COPY_TAIL)
    return pks


# PostgreSQL reads so many rows while the next ones are put together, and they stay in the processor's cache.
_STRIDE = 200
_COPY_VERSIONS = """COPY versions (pk, object, producer, publisher, modified, tlp, revoked, expired, deleted, created,
                                   valid_until, submission, version, type, raw) FROM STDIN (FORMAT binary)"""
# PostgreSQL's binary COPY format, which the driver would write field by field in three times the time: a field is its
# length (-1 for NULL) and its value in network order; a timestamp is microseconds since 2000.
COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TAIL = b"\xff\xff"
_FIXED = struct.Struct("!h iq iq ii ii iq ih i? i? i?")
NULL = struct.pack("!i", -1)
_INT8 = struct.Struct("!iq")
LENGTH = struct.Struct("!i")
_YEAR_2000 = 946_684_800_000_000


def _version_row(
    pk: int, arrival: Arrival, pk_object: int, producer: int, publisher: int, submission: int | None
) -> bytes:
    _, type_name, _, _, modified, created, text, tlp, revoked, valid_until, raw = arrival
    kind = type_name.encode()
    version = None if text is None else text.encode()
    return b"".join(
        (
            _FIXED.pack(
                15, 8, pk, 8, pk_object, 4, producer, 4, publisher, 8, modified, 2, tlp, 1, revoked, 1, False, 1, False
            ),
            NULL if created is None else _INT8.pack(8, created),
            NULL if valid_until is None else _INT8.pack(8, valid_until // 1000 - _YEAR_2000),
            NULL if submission is None else _INT8.pack(8, submission),
            NULL if version is None else LENGTH.pack(len(version)) + version,
            LENGTH.pack(len(kind)),
            kind,
            LENGTH.pack(len(raw)),
            raw,
        )
    )


async def add_grants(
    conn: Connection, new: Iterable[tuple[Change, int, int | None]], audience: Audience, by: By
) -> None:
    """Decide that these objects (object, producer, version wanted) are for the audience; those that have it keep it."""
    wanted = [entry for entry in new if entry[0].facts.granted(entry[1], audience) is None]
    if not wanted:
        return
    drafts = [new_grant(change.facts, 0, producer, audience, version) for change, producer, version in wanted]
    ordinals = await fetch(
        conn,
        """INSERT INTO grants (object, producer, audience, without, granted_at, granted_by)
           SELECT object, producer, %s, '{}', %s, %s FROM unnest(%s::bigint[], %s::int[]) AS wanted (object, producer)
           RETURNING ordinal""",
        (audience.pk, by.at, by.actor, [entry[0].pk for entry in wanted], [entry[1] for entry in wanted]),
    )
    for (change, _, _), draft, (ordinal,) in zip(wanted, drafts, ordinals, strict=True):
        grants = (*change.facts.grants, dataclasses.replace(draft, ordinal=ordinal))
        change.facts = dataclasses.replace(change.facts, grants=grants)


async def copy_grants(conn: Connection, leaving: Iterable[tuple[Change, Grant]], audience: Audience, by: By) -> None:
    """Write down the same grants for another audience, in their old order; those that it has stay as they are."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            """INSERT INTO grants (ordinal, object, producer, audience, without, granted_at, granted_by)
               VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
            [
                (g.ordinal, change.pk, g.producer, audience.pk, sorted(g.without), by.at, by.actor)
                for change, g in leaving
            ],
        )


async def add_revoked(conn: Connection, change: Change, subject: Subject, by: By) -> bool:
    """Store the revoked version of an object of ours; answers False if it is revoked already."""
    newest = change.facts.newest(subject.producer)
    if newest is None or newest.revoked:
        return False
    ((raw, kind, publisher),) = await fetch(
        conn, "SELECT raw, type, publisher FROM versions WHERE pk = %s", (newest.pk,)
    )
    seen = objects.accept(authored.revoked(raw, by.at))
    arrival = Arrival(
        seen.id, kind, "", False, seen.modified, seen.created, seen.version, newest.tlp, True, None, seen.raw
    )
    (pk,) = await copy_versions(conn, [(arrival, change.pk, subject.producer, publisher, None)])
    version = dataclasses.replace(newest, pk=pk, modified=arrival.modified, revoked=True, expired=False)
    change.facts = remembered(change.facts, version, live=True)
    return True


async def save(conn: Connection, changes: Iterable[Change]) -> None:
    """Write down what a deed changed of the grants and versions that were there, and drop the grants that it took.

    What waited and was overtaken goes, too.
    """
    changes = list(changes)
    dropped = [(change.pk, grant.producer, grant.audience.pk) for change in changes for grant in change.lost]
    kept = {(c.pk, g.producer, g.audience.pk): g.without for c in changes for g in c.before.grants}
    lacking = [
        (sorted(grant.without), change.pk, grant.producer, grant.audience.pk)
        for change in changes
        for grant in change.facts.grants
        if grant.without != kept.get((change.pk, grant.producer, grant.audience.pk), frozenset())
    ]
    before = {v.pk: v for change in changes for v in change.before.versions}
    flagged = [
        (v.deleted, v.expired, v.publisher, v.pk)
        for change in changes
        for v in change.facts.versions
        if v.pk in before and v != before[v.pk]
    ]
    if dropped:
        await conn.execute(
            """DELETE FROM grants USING unnest(%s::bigint[], %s::int[], %s::int[]) AS lost (object, producer, audience)
               WHERE (grants.object, grants.producer, grants.audience) = (lost.object, lost.producer, lost.audience)""",
            [list(column) for column in zip(*dropped, strict=True)],
        )
    overtaken = [(change.pk, w.producer, w.modified) for change in changes for w in change.facts.overtaken()]
    async with conn.cursor() as cursor:
        if overtaken:
            await cursor.executemany(
                "DELETE FROM waiting WHERE object = %s AND producer = %s AND modified = %s", overtaken
            )
        if lacking:
            await cursor.executemany(
                "UPDATE grants SET without = %s WHERE object = %s AND producer = %s AND audience = %s", lacking
            )
        if flagged:
            await cursor.executemany(
                "UPDATE versions SET deleted = %s, expired = %s, publisher = %s WHERE pk = %s", flagged
            )


def as_uuid(text: str) -> str | None:
    """The UUID that a client wrote, or None, which equals nothing."""
    try:
        return str(uuid.UUID(text)) if len(text) == 36 else None
    except ValueError:
        return None


def audience_of(row: Sequence[Any]) -> Audience:
    """An audience from its columns: pk, kind, path, code, frozen."""
    pk, kind, path, code, frozen = row
    return Audience(pk=pk, kind=kind, path=tuple(path), code=code, frozen=frozen)
