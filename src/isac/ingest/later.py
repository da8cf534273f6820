"""What was held for nothing but its time is taken in when that has come.

Clients whose cursor is the greatest `modified` would pass over what is added before its own time (L-16).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from isac.errors import Invalid, NotFound
from isac.ingest import owners
from isac.ingest.intake import handed_by, poster_of
from isac.ingest.judging import arrival, line
from isac.policy.admit import Admission, Move, Poster
from isac.stix.objects import Object, accept
from isac.store import assets, audit, facts, log, members, triage
from isac.store.database import Away, Connection, Pool
from isac.store.submissions import Counts
from isac.store.triage import Due, Settled, Taker, Waiting

_logger = logging.getLogger(__name__)

#: objects of one transaction, which writes each submission's status once; and their bytes
_AT_ONCE, _ROOM = 1000, 4 * 1024 * 1024
_RIGHTS = Admission(Move.HOLD, "review", "Who handed it in may not do so any more; an analyst has to look at it.")
_FAILED = Admission(Move.HOLD, "review", "It could not be taken in when its time had come; an analyst looks at it.")


async def take_due(pool: Pool, at: datetime, actor: str) -> int:
    """Take in what was held until then; answers how many objects were judged, those included that are held on.

    Each is judged anew, for each submission in which it came and with the rights that who handed it in has by now.
    One that cannot be judged waits for an analyst. Raises Away where the database does not answer.
    """
    judged, last = 0, None
    while True:
        async with pool.connection() as conn:
            due = await triage.due(conn, at, last, _AT_ONCE)
        if not due:
            return judged
        last = due[-1]
        for batch in _batches(due):
            judged += await _take_all(pool, batch, at, actor)


def _batches(due: Sequence[Due]) -> Iterator[list[int]]:
    """Keys of what goes into one transaction, each id at most once, in their order."""
    batch, ids, size = list[int](), set[str](), 0
    for each in due:
        if batch and (each.stix_id in ids or size + each.size > _ROOM):
            yield batch
            batch, ids, size = [], set(), 0
        batch.append(each.pk)
        ids.add(each.stix_id)
        size += each.size
    yield batch


async def _take_all(pool: Pool, pks: Sequence[int], at: datetime, actor: str) -> int:
    """In one transaction, or each in its own if that fails: one that cannot be judged costs no other."""
    try:
        async with pool.connection() as conn, conn.transaction():
            return await _take(conn, pks, at, actor)
    except Away:
        raise
    except Exception:  # whatever it is
        if len(pks) == 1:
            _logger.exception("an object that is due cannot be taken in")
    if len(pks) > 1:
        return sum([await _take_all(pool, [pk], at, actor) for pk in pks])
    async with pool.connection() as conn, conn.transaction():
        await triage.hold_on(conn, pks[0], None, _FAILED.rule, _FAILED.reason)
    return 1


@dataclass(slots=True)
class _One:
    """An object whose time has come."""

    pk: int
    waiting: Waiting
    takers: list[Taker]
    #: None where it is no object any more, since what is valid has become less; and why
    seen: Object | None = None
    wrong: str = ""
    #: for each taker
    became: list[Admission] = field(default_factory=list)


async def _take(conn: Connection, pks: Sequence[int], at: datetime, actor: str) -> int:
    """Some objects, in the order of locks that `intake` has: producers, ids, what is held, the log, the counts."""
    takers = await triage.takers(conn, pks)
    found = [_accepted(pk, each, takers[pk]) for pk, each in (await triage.waiting(conn, pks)).items()]
    posters: dict[int, Poster | None] = {}
    for taker in {taker.submission: taker for each in found for taker in each.takers}.values():
        posters[taker.submission] = await _poster(conn, taker)
    await facts.producers(conn, {each.seen.created_by for each in found if each.seen and each.seen.created_by})
    await facts.lock(conn, [each.waiting.stix_id for each in found])
    still = await triage.lock_held(conn, pks)
    # What somebody has just handed in once more is left to the next run.
    now = await triage.takers(conn, pks)
    found = [each for each in found if each.pk in still and now[each.pk] == each.takers]
    # An object's submissions in their order: the first is given what enters.
    for submission in sorted({taker.submission for each in found for taker in each.takers}):
        await _take_for(conn, submission, found, posters[submission], at)
    await triage.let_go(conn, [each.pk for each in found if not any(verdict.rule for verdict in each.became)])
    for each in found:
        words = ", ".join(f"held, {verdict.rule}" if verdict.rule else verdict.move.value for verdict in each.became)
        await audit.record(conn, actor, "due", each.waiting.stix_id, f"{each.waiting.audience}: {words}", at)
    return len(found)


def _accepted(pk: int, waiting: Waiting, takers: list[Taker]) -> _One:
    try:
        return _One(pk, waiting, takers, accept(waiting.raw))
    except Invalid as error:
        return _One(pk, waiting, takers, None, error.detail)


async def _poster(conn: Connection, taker: Taker) -> Poster | None:
    """Who hands it in, with today's rights; None for a key that is revoked."""
    try:
        asking = await handed_by(conn, taker.actor, taker.organization, by_key=taker.by_key)
    except NotFound:
        return None
    return await poster_of(conn, asking, free=False)


async def _take_for(
    conn: Connection, submission: int, found: Sequence[_One], poster: Poster | None, at: datetime
) -> None:
    """Judge and write what came in one submission; what is still held waits on."""
    mine = [(each, taker) for each in found for taker in each.takers if taker.submission == submission]
    audience = (await members.shelf(conn, mine[0][0].waiting.audience)).own
    if poster is None or not poster.may_release(audience):
        verdicts = {each.pk: _RIGHTS for each, _ in mine}
    else:
        verdicts = {each.pk: Admission(Move.REFUSE, reason=each.wrong) for each, _ in mine}
        seen = [(each.pk, each.seen, each.waiting.tlp) for each, _ in mine if each.seen]
        arrivals = [arrival(one, one.created_by or poster.actor.identity, tlp) for _, one, tlp in seen]
        weighed = await log.weigh(conn, arrivals, audience, poster)
        verdicts |= dict(zip((pk for pk, *_ in seen), weighed.admissions, strict=True))
        watched = await assets.any_registered(conn)
        named = {
            one.raw: cause
            for (_, one, tlp), admission in zip(seen, weighed.admissions, strict=True)
            if watched and admission.move not in owners.QUIET and (cause := owners.cause(one, tlp))
        }
        by = facts.By(poster.actor.key_id, at)
        await owners.put(conn, weighed, named, audience, poster, by, submission)
    settled = []
    for each, taker in mine:
        verdict = verdicts[each.pk]
        each.became.append(verdict)
        if verdict.rule:
            await triage.hold_on(conn, each.pk, submission, verdict.rule, verdict.reason)
        else:
            settled.append(_settled(each, taker, verdict, at))
    if settled:
        await triage.settle(conn, submission, settled)


def _settled(one: _One, taker: Taker, verdict: Admission, at: datetime) -> Settled:
    refused, repeated = verdict.move is Move.REFUSE, verdict.move is Move.REPEAT
    # The first of several that are the same enters, the others are there already.
    first = 0 if refused or repeated else 1
    rest = 0 if refused else taker.number - first
    became = Counts(accepted=first, repeated=rest, refused=taker.number if refused else 0)
    version = one.seen.version if one.seen else None
    told = line(one.waiting.stix_id, version, verdict.reason if refused else None, at)
    return Settled(one.pk, taker.number, became, told)
