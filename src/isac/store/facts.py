"""What the log knows of objects: read under their locks, and changed by a deed before it settles.

One row of `objects` is one STIX id and its lock. Everything here runs in the deed's transaction, in READ COMMITTED:
each statement sees what was committed before it, so facts read after locking are the latest.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from isac.errors import Forbidden, NotFound
from isac.policy.actors import Audience, covers
from isac.policy.admit import Admission, Arrival, Move, Poster
from isac.policy.release import Facts, Grant, Notice, Put, Row, Version, possible
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
    facts: Facts
    lost: list[Grant] = dataclasses.field(default_factory=list)
    history: list[Put] = dataclasses.field(default_factory=list)


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
        # Waits for whoever is making one of them right now; in this order, so nobody waits in a circle.
        new = await fetch(
            conn,
            "INSERT INTO objects (stix_id) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING RETURNING pk, stix_id",
            (ids,),
        )
        changes = {stix_id: Change(pk, stix_id, Facts()) for pk, stix_id in new}
    rest = [stix_id for stix_id in ids if stix_id not in changes]
    if rest:
        rows = await fetch(
            conn, "SELECT pk, stix_id FROM objects WHERE stix_id = ANY(%s) ORDER BY stix_id FOR UPDATE", (rest,)
        )
        facts = await _facts(conn, [pk for pk, _ in rows])
        changes |= {stix_id: Change(pk, stix_id, facts[pk]) for pk, stix_id in rows}
    return changes


async def _facts(conn: Connection, pks: Sequence[int]) -> dict[int, Facts]:
    """What is stored of each object, as of now: call it after locking, in READ COMMITTED."""
    versions = await _by_object(
        conn,
        """SELECT object, pk, producer, modified, tlp, revoked, expired, created, publisher
           FROM versions WHERE object = ANY(%s)""",
        pks,
    )
    grants = await _by_object(
        conn,
        """SELECT g.object, g.ordinal, g.producer, a.pk, a.kind, a.above || a.pk, a.code, a.frozen
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
    deletions = await _by_object(conn, "SELECT object, version, audience FROM deletions WHERE object = ANY(%s)", pks)
    return {
        pk: Facts(
            versions=tuple(
                Version(v, producer, modified, TLP(tlp), revoked, expired, created, publisher)
                for _, v, producer, modified, tlp, revoked, expired, created, publisher in versions[pk]
            ),
            grants=tuple(Grant(row[1], row[2], audience_of(row[3:])) for row in grants[pk]),
            rows=tuple(
                Row(seq, producer, version, audience_of(rest), ended, TLP(tlp))
                for _, seq, producer, version, ended, tlp, *rest in rows[pk]
            ),
            notices=tuple(Notice(row[1], row[2], audience_of(row[3:])) for row in notices[pk]),
            deletions=frozenset((version, node) for _, version, node in deletions[pk]),
        )
        for pk in pks
    }


async def _by_object(conn: Connection, query: LiteralString, pks: Sequence[int]) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = collections.defaultdict(list)
    for row in await fetch(conn, query, (pks,)):
        found[row[0]].append(row)
    return found


async def fetch(conn: Connection, query: LiteralString, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query, values)).fetchall()


async def isac(conn: Connection) -> tuple[int, str, int]:
    """The ISAC itself: its database key as a producer, its STIX id, its database key as an organization."""
    ((identity, organization),) = await fetch(conn, "SELECT identity, pk FROM organizations WHERE kind = 'isac'")
    return (await producers(conn, [identity]))[identity], identity, organization


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


async def compare(
    conn: Connection,
    arrivals: Sequence[Arrival],
    changes: Mapping[str, Change],
    creators: Mapping[str, tuple[int, int | None]],
) -> dict[str, bool]:
    """Of each arrival whose version is stored already: is it identical?"""
    known: dict[int, Arrival] = {}
    for arrival in arrivals:
        for version in changes[arrival.stix_id].facts.versions:
            if (version.producer, version.modified) == (creators[arrival.producer][0], arrival.modified):
                known[version.pk] = arrival
    rows = await fetch(conn, "SELECT pk, raw FROM versions WHERE pk = ANY(%s)", (list(known),)) if known else []
    return {known[pk].stix_id: objects.same(raw, known[pk].raw) for pk, raw in rows}


async def stood_nowhere(conn: Connection, change: Change, grants: Sequence[Grant], audience: Audience) -> list[Grant]:
    """The grants at or below the audience whose now newest version had never stood there."""
    stood = set(await fetch(conn, "SELECT version, audience FROM log WHERE object = %s", (change.pk,)))
    nowhere = []
    for grant in grants:
        newest = change.facts.newest(grant.producer, grant.audience)
        if not (grant.audience.pk == audience.pk or covers(audience, grant.audience)):
            continue
        if newest is None or not any((newest.pk, node) in stood for node in grant.audience.path):
            nowhere.append(grant)
    return nowhere


# ------------------------------------------------------------------------------------------ facts, changed


async def add_versions(
    conn: Connection,
    stored: Sequence[tuple[Arrival, Change, int, Move]],
    audience: Audience,
    poster: Poster,
    submission: int | None,
) -> None:
    if not stored:
        return
    rows = [
        (arrival, change.pk, producer, poster.actor.organization, submission) for arrival, change, producer, _ in stored
    ]
    pks = await copy_versions(conn, rows)
    for (arrival, change, producer, move), pk in zip(stored, pks, strict=True):
        version = Version(
            pk,
            producer,
            arrival.modified,
            arrival.tlp,
            revoked=arrival.revoked,
            created=arrival.created,
            publisher=poster.actor.organization,
        )
        change.facts = dataclasses.replace(change.facts, versions=(*change.facts.versions, version))
        if move is Move.HISTORY:
            change.history.append(Put(pk, audience, ended=True))


async def copy_versions(conn: Connection, rows: Sequence[tuple[Arrival, int, int, int, int | None]]) -> list[int]:
    """Store (arrival, object, producer, publisher, submission) and answer the versions' database keys, in order."""
    numbers = await fetch(conn, "SELECT nextval('versions_pk_seq') FROM generate_series(1, %s)", (len(rows),))
    pks = [pk for (pk,) in numbers]
    statement = """COPY versions (pk, object, producer, modified, created, version, type, tlp, revoked, expired,
    valid_until,                publisher, submission, raw) FROM STDIN (FORMAT binary)"""
    async with conn.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(_VERSION_TYPES)
        for pk, (arrival, pk_object, producer, publisher, submission) in zip(pks, rows, strict=True):
            await copy.write_row(
                (
                    pk,
                    pk_object,
                    producer,
                    arrival.modified,
                    arrival.created,
                    arrival.version,
                    arrival.type,
                    int(arrival.tlp),
                    arrival.revoked,
                    False,
                    arrival.valid_until,
                    publisher,
                    submission,
                    arrival.raw,
                )
            )
    return pks


_VERSION_TYPES = (
    *("int8", "int8", "int4", "int8", "int8", "text", "text", "int2", "bool", "bool"),
    *("timestamptz", "int4", "int8", "bytea"),
)


async def add_grants(conn: Connection, new: Iterable[tuple[Change, int]], audience: Audience, by: By) -> None:
    """Decide that these objects, of these producers, are for the audience; those that have the grant keep it."""
    wanted = [
        (change, producer)
        for change, producer in new
        if not any(grant.producer == producer and grant.audience.pk == audience.pk for grant in change.facts.grants)
    ]
    if not wanted:
        return
    ordinals = await fetch(
        conn,
        """INSERT INTO grants (object, producer, audience, granted_at, granted_by)
           SELECT object, producer, %s, %s, %s FROM unnest(%s::bigint[], %s::int[]) AS wanted (object, producer)
           RETURNING ordinal""",
        (audience.pk, by.at, by.actor, [change.pk for change, _ in wanted], [producer for _, producer in wanted]),
    )
    for (change, producer), (ordinal,) in zip(wanted, ordinals, strict=True):
        grants = (*change.facts.grants, Grant(ordinal, producer, audience))
        change.facts = dataclasses.replace(change.facts, grants=grants)


async def grant_known(conn: Connection, change: Change, subject: Subject, audience: Audience, by: By) -> None:
    """Grant the object as it stands: its newest version that was not deleted there, or that was and now returns."""
    newest = max((v for v in change.facts.versions if v.producer == subject.producer), key=lambda v: v.modified)
    if not by.free and not possible(newest.tlp, audience):
        raise Forbidden(f"TLP:{str(newest.tlp).upper()} may not go to {audience.code}.")
    await undelete(conn, change, newest.pk, audience)
    await add_grants(conn, [(change, subject.producer)], audience, by)


async def allow_known(
    conn: Connection, change: Change, producer: int, admission: Admission, audience: Audience
) -> None:
    """A known version comes for an audience: it is deleted there no more, and stands there as history or by a grant."""
    version = admission.version
    if version is None:
        raise AssertionError("a known version has its database key")
    await undelete(conn, change, version, audience)
    if admission.move is Move.HISTORY:
        change.history.append(Put(version, audience, ended=True))


async def undelete(conn: Connection, change: Change, version: int, audience: Audience) -> None:
    if change.facts.deleted(version, audience):
        await conn.execute(
            "DELETE FROM deletions WHERE object = %s AND version = %s AND audience = ANY(%s)",
            (change.pk, version, list(audience.path)),
        )
        left = frozenset(pair for pair in change.facts.deletions if pair not in {(version, n) for n in audience.path})
        change.facts = dataclasses.replace(change.facts, deletions=left)


async def mark_deleted(conn: Connection, change: Change, gone: Sequence[Version], audience: Audience) -> None:
    pks = [version.pk for version in gone]
    await conn.execute(
        "INSERT INTO deletions (object, version, audience) SELECT %s, unnest(%s::bigint[]), %s",
        (change.pk, pks, audience.pk),
    )
    deletions = change.facts.deletions | {(pk, audience.pk) for pk in pks}
    change.facts = dataclasses.replace(change.facts, deletions=deletions)


async def take_grant(conn: Connection, change: Change, subject: Subject, audience: Audience) -> None:
    lost = [g for g in change.facts.grants if (g.producer, g.audience.pk) == (subject.producer, audience.pk)]
    if not lost:
        raise NotFound("This audience has no such object.")
    change.lost.extend(lost)


async def add_revoked(conn: Connection, change: Change, subject: Subject, by: By) -> None:
    """Store the revoked version of an object of ours, unless it is revoked already."""
    newest = max((v for v in change.facts.versions if v.producer == subject.producer), key=lambda v: v.modified)
    if newest.revoked:
        return
    ((raw, kind, publisher),) = await fetch(
        conn, "SELECT raw, type, publisher FROM versions WHERE pk = %s", (newest.pk,)
    )
    seen = objects.accept(authored.revoked(raw, by.at))
    arrival = Arrival(
        seen.id, kind, "", False, seen.modified, seen.created, seen.version, newest.tlp, True, None, seen.raw
    )
    (pk,) = await copy_versions(conn, [(arrival, change.pk, subject.producer, publisher, None)])
    version = dataclasses.replace(newest, pk=pk, modified=arrival.modified, revoked=True, expired=False)
    change.facts = dataclasses.replace(change.facts, versions=(*change.facts.versions, version))


def audience_of(row: Sequence[Any]) -> Audience:
    """An audience from its columns: pk, kind, path, code, frozen."""
    pk, kind, path, code, frozen = row
    return Audience(pk=pk, kind=kind, path=tuple(path), code=code, frozen=frozen)
