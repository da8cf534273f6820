"""What was held for nothing but its time is taken in when that has come.

Clients whose cursor is the greatest `modified` would pass over what is added before its own time (L-16).
"""

import logging
from datetime import datetime

from isac.errors import Invalid, NotFound
from isac.ingest.intake import handed_by, poster_of
from isac.ingest.judging import arrival, line
from isac.policy.admit import Admission, Move, Poster
from isac.stix.objects import accept
from isac.store import audit, facts, log, members, triage
from isac.store.database import Connection, Pool
from isac.store.submissions import Counts
from isac.store.triage import Taker, Waiting

_logger = logging.getLogger(__name__)

#: objects of one run; the next goes on
_MOST = 10_000
_RIGHTS = Admission(Move.HOLD, "review", "Who handed it in may not do so any more; an analyst has to look at it.")


async def take_due(pool: Pool, at: datetime, actor: str) -> int:
    """Take in what was held until then; answers how many objects there were, those included that are held on.

    Each is judged anew, for each submission in which it came and with the rights that who handed it in has by now.
    """
    async with pool.connection() as conn:
        due = await triage.due(conn, at, _MOST)
    for pk in due:
        try:
            async with pool.connection() as conn, conn.transaction():
                await _take(conn, pk, at, actor)
        except Exception:  # whatever it is: the others do not wait for it, and it is tried again
            _logger.exception("an object that is due cannot be taken in")
    return len(due)


async def _take(conn: Connection, pk: int, at: datetime, actor: str) -> None:
    """One object, in the order of locks that `intake` has: producers, ids, what is held, the log, the counts."""
    found = await triage.waiting(conn, pk)
    if found is None:
        return
    posters = [await _poster(conn, taker) for taker in found.takers]
    await facts.lock(conn, [found.stix_id])
    await triage.lock_held(conn, pk)
    if found != await triage.waiting(conn, pk):
        return  # somebody has just handed it in once more: in the next round
    became = [
        await _take_for(conn, pk, found, taker, poster, at) for taker, poster in zip(found.takers, posters, strict=True)
    ]
    if not any(verdict.rule for verdict in became):
        await triage.let_go(conn, pk)
    words = ", ".join(f"held, {each.rule}" if each.rule else each.move.value for each in became)
    await audit.record(conn, actor, "due", found.stix_id, f"{found.audience}: {words}", at)


async def _poster(conn: Connection, taker: Taker) -> Poster | None:
    """Who hands it in, with today's rights; None for a key that is revoked."""
    try:
        asking = await handed_by(conn, taker.actor, taker.organization, by_key=taker.by_key)
    except NotFound:
        return None
    return await poster_of(conn, asking, free=False)


async def _take_for(
    conn: Connection, pk: int, found: Waiting, taker: Taker, poster: Poster | None, at: datetime
) -> Admission:
    """Judge and write it for one submission; one that is still held waits on."""
    audience = (await members.shelf(conn, found.audience)).own
    version = None
    if poster is None or not poster.may_release(audience):
        verdict = _RIGHTS
    else:
        try:
            seen = accept(found.raw)
        except Invalid as error:  # what is valid has become less since
            verdict = Admission(Move.REFUSE, reason=error.detail)
        else:
            version, producer = seen.version, seen.created_by or poster.actor.identity
            weighed = await log.weigh(conn, [arrival(seen, producer, found.tlp)], audience, poster)
            (verdict,) = weighed.admissions
            await log.put(conn, weighed, audience, poster, facts.By(poster.actor.key_id, at), taker.submission)
    if verdict.rule:
        await triage.hold_on(conn, pk, taker.submission, verdict.rule, verdict.reason)
        return verdict
    refused, repeated = verdict.move is Move.REFUSE, verdict.move is Move.REPEAT
    # The first of several that are the same enters, the others are there already.
    first = 0 if refused or repeated else 1
    rest = 0 if refused else taker.number - first
    became = Counts(accepted=first, repeated=rest, refused=taker.number if refused else 0)
    told = line(found.stix_id, version, verdict.reason if refused else None, at)
    await triage.settle(conn, pk, taker, became, told)
    return verdict
