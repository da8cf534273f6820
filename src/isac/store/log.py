"""The release log: deeds on objects, and what each writes.

A deed locks its STIX ids (sorted), reads their facts, changes them and settles, all in the caller's transaction. It
ends with release_batch(), the log's only writer, and so should the transaction: all others wait for it. At most 2,000
objects a deed, so that a recall never waits long.
"""

import dataclasses
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from isac import times
from isac.errors import Forbidden, Invalid, NotFound
from isac.policy.actors import Audience, covers
from isac.policy.admit import Admission, Arrival, Move, Poster, admit, first_submitter
from isac.policy.release import (
    Erased,
    Grant,
    Notice,
    Put,
    deleted_versions,
    forgotten,
    is_narrower,
    moved,
    new_grant,
    permitted,
    returned,
    settle,
    ungranted,
    without,
)
from isac.stix import authored, objects
from isac.stix.markings import TLP
from isac.store import audit, erasure, facts
from isac.store.database import Connection
from isac.store.facts import By, Change, Subject

#: objects a deed, so the time that the log's lock is held
BATCH = 2000
#: a notice tells those who had the object; later it would only tell newcomers its id
NOTICE_TERM = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Weighed:
    """Versions judged under their locks: what `put` is to write, and one admission for each, in order."""

    admissions: list[Admission]
    changes: dict[str, Change]
    #: (arrival, object, producer, verdict)
    judged: list[tuple[Arrival, Change, int, Admission]]

    def audiences(self, given: Audience) -> dict[bytes, list[int]]:
        """After `put`, of the bytes of each arrival that goes out: the keys of the audiences that its object is for.

        `given` is what it was put to.
        """
        return {
            arrival.raw: [given.pk]
            if change.first
            else [grant.audience.pk for grant in change.facts.grants if grant.producer == producer]
            for arrival, change, producer, verdict in self.judged
            if verdict.move in _GOING_OUT
        }


async def weigh(conn: Connection, arrivals: Sequence[Arrival], audience: Audience, poster: Poster) -> Weighed:
    """Lock the arrivals' ids and judge each for the audience: release, newer or late, known, to be held or refused.

    The ids differ from each other and are at most BATCH. What the caller keeps of the verdicts it writes between this
    and `put`, so that the log's lock is the last that is taken.
    """
    creators = await facts.creators(conn, {arrival.producer for arrival in arrivals})
    changes = await facts.lock(conn, [arrival.stix_id for arrival in arrivals])
    stored = await facts.compare(conn, arrivals, changes, creators)
    weighed = Weighed([], changes, [])
    #: of ids that nobody has used, by all that it hangs on
    unknown: dict[tuple[TLP, bool, bool, bool], Admission] = {}
    for arrival in arrivals:
        change, (producer, organization) = changes[arrival.stix_id], creators[arrival.producer]
        member = organization is not None and organization not in poster.organizations
        if change.facts is facts.NOTHING:
            key = (arrival.tlp, arrival.revoked, member, producer in poster.producers)
            admission = unknown.get(key)
            if admission is None:
                admission = admit(arrival, producer, facts.NOTHING, audience, poster, member=member, same=None)
                unknown[key] = admission
        else:
            same = stored.get(arrival.stix_id, {})
            twin = first_submitter(arrival, producer, change.facts, poster, same)
            if twin is not None:
                producer, member = twin, False
            admission = admit(arrival, producer, change.facts, audience, poster, member=member, same=same.get(producer))
        weighed.admissions.append(admission)
        weighed.judged.append((arrival, change, producer, admission))
    return weighed


async def put(
    conn: Connection, weighed: Weighed, audience: Audience, poster: Poster, by: By, submission: int | None = None
) -> list[Audience]:
    """Write what was weighed: versions, grants, rows. What is held or refused is not stored here.

    Answers the audience of each notice, from which a stricter marking took an object.
    """
    moving = [entry for entry in weighed.judged if entry[3].move not in _STILL or entry[3].rules]
    fresh = [entry for entry in moving if entry[3].move is Move.RELEASE and entry[1].facts is facts.NOTHING]
    await facts.add_fresh(conn, fresh, audience, poster, by, submission)
    judged = [entry for entry in moving if not entry[1].first] if fresh else moving
    entering = [
        entry for entry in judged if entry[3].move in (Move.RELEASE, Move.UPDATE) or _is_new_history(entry[3], entry[1])
    ]
    await facts.add_versions(conn, entering, audience, poster, submission)
    ruling = [(change, producer, a.modified, a.tlp) for a, change, producer, verdict in judged if verdict.rules]
    if ruling:
        await facts.add_waiting(conn, ruling)
    for _, change, _, verdict in judged:
        if verdict.move is Move.RETURN and verdict.version is not None:
            change.facts = returned(change.facts, verdict.version, audience)
            change.history.append(Put(verdict.version, audience, ended=True))
        elif verdict.move is Move.HISTORY and verdict.version is not None and not _is_new_history(verdict, change):
            change.history.append(Put(verdict.version, audience, ended=True))
    new = [(c, producer, v.version) for _, c, producer, v in judged if v.move in (Move.RELEASE, Move.GRANT)]
    await facts.add_grants(conn, new, audience, by)
    # In the order of their coming: clients want markings and identities before what names them.
    return await _settle(conn, [change for _, change, _, _ in moving], by)


#: verdicts by which something may be seen that was not before
_GOING_OUT = (Move.RELEASE, Move.UPDATE, Move.GRANT, Move.RETURN)
#: verdicts that change no facts
_STILL = (Move.REPEAT, Move.HOLD, Move.REFUSE)


def _is_new_history(verdict: Admission, change: Change) -> bool:
    """Does a late older version enter, for the first time or once more after it was deleted everywhere?"""
    known = next((v for v in change.before.versions if v.pk == verdict.version), None)
    return verdict.move is Move.HISTORY and (known is None or known.deleted)


async def widen(conn: Connection, subject: Subject, audience: Audience, by: By) -> None:
    """Give a known object to a further audience as well; the grants that it has stay, covered or not.

    Raises NotFound for an object that is not stored, Forbidden where its TLP rules the audience out.
    """
    change = await facts.one(conn, subject)
    if change.facts.granted(subject.producer, audience):
        return
    await _grant_known(conn, change, subject, audience, by)
    await audit.record(conn, by.actor, "release", subject.stix_id, by.reason or audience.code, by.at)
    await _settle(conn, [change], by)


async def narrow(conn: Connection, subject: Subject, wide: Audience, narrower: Audience, by: By) -> None:
    """Take an object back from one audience and give it to a narrower one, in one deed.

    Raises Invalid where that is not narrower, NotFound where the wide one has no grant, Forbidden by TLP.
    """
    if not is_narrower(narrower, wide):
        raise Invalid(f"{narrower.code} is not narrower than {wide.code}; widen or withdraw the object instead.")
    change = await facts.one(conn, subject)
    _take(change, subject, wide)
    await _grant_known(conn, change, subject, narrower, by)
    await audit.record(conn, by.actor, "narrow", subject.stix_id, by.reason or f"{wide.code} to {narrower.code}", by.at)
    await _settle(conn, [change], by)


async def withdraw(conn: Connection, subject: Subject, audience: Audience, by: By) -> None:
    """Take an object back from an audience: a notice stands there instead.

    An object of ours is revoked instead of losing its last grant. Raises NotFound where the audience has no grant.
    """
    change = await facts.one(conn, subject)
    grants = [grant for grant in change.facts.grants if grant.producer == subject.producer]
    isac, _, _ = await facts.isac(conn)
    if subject.producer != isac or [grant.audience.pk for grant in grants] != [audience.pk]:
        _take(change, subject, audience)
    elif not await facts.add_revoked(conn, change, subject, by):
        return
    await audit.record(conn, by.actor, "withdraw", subject.stix_id, by.reason or audience.code, by.at)
    await _settle(conn, [change], by)


async def revoke(conn: Connection, subject: Subject, by: By) -> None:
    """Publish the revoked version of an object of ours; nothing follows it. Others' objects are revoked by their
    producers.

    Raises Forbidden for an object that is not ours.
    """
    isac, _, _ = await facts.isac(conn)
    if subject.producer != isac:
        raise Forbidden("Only its producer revokes an object; withdraw it instead.")
    change = await facts.one(conn, subject)
    if not await facts.add_revoked(conn, change, subject, by):
        return
    await audit.record(conn, by.actor, "revoke", subject.stix_id, by.reason, by.at)
    await _settle(conn, [change], by)


async def expire(conn: Connection, by: By, limit: int = BATCH) -> int:
    """End the live rows of what is no longer valid at `by.at`, and the notices whose term is over; history stays.

    Answers how many versions and notices ended; call it again until that is 0.
    """
    over = await facts.fetch(
        conn,
        """SELECT n.version, o.stix_id FROM notices n JOIN objects o ON o.pk = n.object
           WHERE n.ends_at <= %s ORDER BY n.ends_at LIMIT %s""",
        (by.at, limit),
    )
    due = await facts.fetch(
        conn,
        """SELECT o.stix_id FROM versions v JOIN objects o ON o.pk = v.object
           WHERE NOT (v.expired OR v.revoked) AND v.valid_until <= %s ORDER BY v.valid_until LIMIT %s""",
        (by.at, limit),
    )
    # Objects first, like every deed, then their notices.
    changes = await facts.lock(conn, {stix_id for (stix_id,) in due} | {stix_id for _, stix_id in over}, make=False)
    notices = await facts.fetch(
        conn, "DELETE FROM notices WHERE version = ANY(%s) RETURNING version", ([version for version, _ in over],)
    )
    ended = await facts.fetch(
        conn,
        """UPDATE versions SET expired = true
           WHERE NOT (expired OR revoked) AND valid_until <= %s AND object = ANY(%s) RETURNING pk""",
        (by.at, [change.pk for change in changes.values()]),
    )
    flagged = {pk for (pk,) in ended}
    for change in changes.values():
        change.facts = dataclasses.replace(
            change.facts,
            versions=tuple(
                dataclasses.replace(v, expired=True) if v.pk in flagged else v for v in change.facts.versions
            ),
        )
    standing = await facts.fetch(
        conn,
        """SELECT l.seq FROM log l JOIN versions v ON v.object = l.object
           WHERE v.pk = ANY(%s) AND l.shut_seq IS NULL""",
        ([version for (version,) in notices],),
    )
    await _settle(conn, changes.values(), by, more_leaving=[(seq, True) for (seq,) in standing])
    return len(ended) + len(notices)


async def delete(
    conn: Connection, subject: Subject, audience: Audience, by: By, versions: Iterable[int] | None = None
) -> None:
    """Delete an object, or its versions with these `modified` instants, from one audience; nothing announces it.

    Where the newest version goes, the next older one returns where it had stood. Raises NotFound where the audience
    has no such object, Forbidden while a wider audience is granted it (TAXII 2.1 §5.7).
    """
    change = await facts.one(conn, subject)
    known = change.facts
    own = known.granted(subject.producer, audience)
    if any(covers(grant.audience, audience) for grant in known.grants):
        raise Forbidden("A wider audience has this object; it can only be deleted there.")
    if own is None:
        raise NotFound("No such object.")
    if versions is None:
        _take(change, subject, audience)
        rest = dataclasses.replace(known, grants=tuple(grant for grant in known.grants if grant != own))
        if not rest.of(subject.producer):
            rest = forgotten(rest, subject.producer, relayed=not await facts.is_ours(conn, subject.producer))
        change.facts = rest
    else:
        await _delete_versions(conn, change, subject, set(versions), audience)
    await audit.record(conn, by.actor, "delete", subject.stix_id, by.reason or audience.code, by.at)
    await _settle(conn, [change], by, notices=False)


async def _delete_versions(
    conn: Connection, change: Change, subject: Subject, instants: set[int], audience: Audience
) -> None:
    there = {row.version for row in change.facts.rows if row.audience.pk == audience.pk}
    gone = [
        v for v in change.facts.versions if v.producer == subject.producer and v.modified in instants and v.pk in there
    ]
    if not gone:
        raise NotFound("No such version.")
    if any(version.revoked for version in gone):
        raise Forbidden("A revocation is for ever; only the whole object can be deleted.")
    change.deleted.extend((version.pk, audience) for version in gone)
    stood = await facts.stood(conn, change)
    change.facts, lost = deleted_versions(change.facts, gone, audience, stood)
    change.lost.extend(lost)


async def move(conn: Connection, old: Audience, new: Audience, by: By, limit: int = BATCH) -> int:
    """Give what `old` is granted to `new` and take it from `old`, without notices: a node was merged or re-parented.

    What stood at `old` leaves all views, also history below a wider grant, and notices. Answers how many objects had
    something there; call it again until that is 0.
    """
    rows = await facts.fetch(
        conn,
        """SELECT stix_id FROM objects WHERE pk IN (
             SELECT object FROM grants WHERE audience = %s UNION SELECT object FROM notices WHERE audience = %s
             UNION SELECT object FROM log WHERE audience = %s AND ended_seq IS NOT NULL AND shut_seq IS NULL)
           LIMIT %s""",
        (old.pk, old.pk, old.pk, limit),
    )
    changes = await facts.lock(conn, [stix_id for (stix_id,) in rows], make=False)
    leaving = [(c, g) for c in changes.values() for g in c.facts.grants if g.audience.pk == old.pk]
    await facts.copy_grants(conn, leaving, new, by)
    for change, grant in leaving:
        change.facts = moved(change.facts, grant, new)
        change.lost.append(grant)
    over: list[Notice] = []
    for change in changes.values():
        # As if each producer of a row there had lost a grant there.
        change.lost += [Grant(0, row.producer, old) for row in change.facts.rows if row.audience.pk == old.pk]
        over += [notice for notice in change.facts.notices if notice.audience.pk == old.pk]
        rest = tuple(notice for notice in change.facts.notices if notice.audience.pk != old.pk)
        change.facts = dataclasses.replace(change.facts, notices=rest)
    if changes:
        await audit.record(conn, by.actor, "move", f"{old.code} to {new.code}", by.reason, by.at)
    await conn.execute("DELETE FROM notices WHERE version = ANY(%s)", ([notice.version for notice in over],))
    await _settle(conn, changes.values(), by, notices=False, more_leaving=[(notice.seq, True) for notice in over])
    return len(changes)


async def erase(
    conn: Connection, stix_id: str, by: By, producer: int | None = None, modified: int | None = None
) -> list[erasure.Gone]:
    """Overwrite an object's bytes, those of every producer and version unless they are named, and keep them out.

    It leaves all views, without a notice; where the newest version goes, an older one returns that had stood there. Of
    a version stay the columns but for its bytes. Only isac_owner may; what else holds its words is `erasure`'s. Audit:
    `erase`, a line for each version with its producer, SHA-256 and rows.
    """
    change = (await facts.lock(conn, [stix_id]))[stix_id]
    # What began or was given out meanwhile is asked for by this date.
    done = dataclasses.replace(by, at=times.now())
    versions = [v for v in change.facts.versions if producer in (None, v.producer) and modified in (None, v.modified)]
    pks = [version.pk for version in versions]
    gone = await erasure.overwrite(conn, change, pks)
    digests = [bytes.fromhex(each.sha256) for each in gone]
    await erasure.keep_out(conn, change, Erased(producer, modified, frozenset(digests)), done)
    for each in gone:
        stood = "; ".join(f"seq {seq} for {code}, dated {date}" for code, seq, date in each.rows) or "it stood nowhere"
        said = f"{by.reason} (producer {each.producer}, SHA-256 {each.sha256}, {stood})"
        await audit.record(conn, by.actor, "erase", f"{stix_id} {each.version}", said, done.at)
    leaving = [(row.seq, True) for row in change.facts.rows if row.version in pks]
    change.facts, lost = without(change.facts, versions, await facts.stood(conn, change))
    change.lost.extend(lost)
    await _settle(conn, [change], by, notices=False, more_leaving=leaving)
    return gone


# ------------------------------------------------------------------------------------------------- rows, written


async def _settle(
    conn: Connection,
    changes: Iterable[Change],
    by: By,
    *,
    notices: bool = True,
    more_leaving: Iterable[tuple[int, bool]] = (),
) -> list[Audience]:
    """Settle each changed object and write the log: ends, notices, new rows, each audience's rows in one block.

    Answers the audience of each notice.
    """
    leaving, puts = list(more_leaving), list[Put]()
    told: list[tuple[Change, Audience, TLP]] = []
    over: list[int] = []
    changes = list(changes)
    for change in changes:
        if change.first:
            puts.append(change.first)
            continue
        change.facts = ungranted(change.facts, change.lost)
        result = settle(change.facts, change.lost, change.history, change.deleted, every_tlp=by.free)
        change.facts = ungranted(change.facts, result.dropped)
        change.lost.extend(result.dropped)
        leaving += result.leaving
        over += result.notices_ended
        told += [(change, audience, tlp) for audience, tlp in result.notices if notices and not by.free]
        puts += result.puts
    await facts.save(conn, [change for change in changes if not change.first])
    if over:
        await conn.execute("DELETE FROM notices WHERE version = ANY(%s)", (over,))
    notes = await _notes(conn, told, by) if told else []
    # Blocks: between two rows of one audience nobody can count the others'.
    rows = [*sorted(notes, key=_block), *sorted(puts, key=_block)]
    if leaving or rows:
        await conn.execute(
            "SELECT release_batch(%s, %s, %s, %s, %s)",
            (
                facts.numbers(seq for seq, _ in leaving),
                facts.numbers(shut for _, shut in leaving),
                facts.numbers(put.version for put in rows),
                facts.numbers(put.audience.pk for put in rows),
                facts.numbers(put.ended for put in rows),
            ),
        )
    return [audience for _, audience, _ in told]


async def _grant_known(conn: Connection, change: Change, subject: Subject, audience: Audience, by: By) -> None:
    """Grant the object as it stands. Raises Forbidden where its TLP rules the audience out."""
    draft = new_grant(change.facts, 0, subject.producer, audience)
    if not by.free and not permitted(change.facts, draft):
        raise Forbidden(f"Its TLP does not allow {audience.code}.")
    await facts.add_grants(conn, [(change, subject.producer, None)], audience, by)


def _take(change: Change, subject: Subject, audience: Audience) -> None:
    grant = change.facts.granted(subject.producer, audience)
    if grant is None:
        raise NotFound("This audience has no such object.")
    change.lost.append(grant)


def _block(put: Put) -> int:
    return put.audience.pk


async def _notes(conn: Connection, told: Sequence[tuple[Change, Audience, TLP]], by: By) -> list[Put]:
    """Store a note of ours for each audience that lost an object."""
    isac, identity, organization = await facts.isac(conn)
    rows = []
    for change, _, tlp in told:
        note_id = f"note--{uuid.uuid4()}"
        seen = objects.accept(
            authored.notice(producer=identity, note_id=note_id, subject=change.stix_id, tlp=tlp, created=by.at)
        )
        rows.append((seen, note_id, tlp))
    made = dict(
        await facts.fetch(
            conn,
            "INSERT INTO objects (stix_id) SELECT unnest(%s::text[]) RETURNING stix_id, pk",
            ([note_id for _, note_id, _ in rows],),
        )
    )
    pks = await facts.copy_versions(
        conn,
        [
            (
                Arrival(
                    note_id, "note", "", False, seen.modified, seen.created, seen.version, tlp, False, None, seen.raw
                ),
                made[note_id],
                isac,
                organization,
                None,
            )
            for seen, note_id, tlp in rows
        ],
    )
    await conn.execute(
        """INSERT INTO notices (version, object, audience, ends_at)
           SELECT version, object, audience, %s FROM unnest(%s::bigint[], %s::bigint[], %s::int[])
                                                  AS told (version, object, audience)""",
        (by.at + NOTICE_TERM, pks, [change.pk for change, _, _ in told], [audience.pk for _, audience, _ in told]),
    )
    return [Put(pk, audience) for pk, (_, audience, _) in zip(pks, told, strict=True)]
