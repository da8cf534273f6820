"""Who registered assets is told of what names them: of what comes as it comes, of what was there soon after.

An object that comes again is told of once (`store.alerts.write`), so all of this may run twice.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from isac.errors import Invalid
from isac.policy import assets as policy
from isac.policy.actors import Audience
from isac.policy.admit import Move, Poster
from isac.stix.markings import TLP
from isac.stix.objects import Object, accept
from isac.store import alerts, assets, log
from isac.store.alerts import Cause, Standing
from isac.store.database import Connection, Pool
from isac.store.facts import By
from isac.store.log import Weighed

#: verdicts on what brings nothing new before anybody's eyes
QUIET = (Move.REPEAT, Move.HISTORY, Move.REFUSE)
#: objects of one look back; reading them takes a tenth of a second
_PORTION = 1000


def cause(seen: Object, tlp: TLP) -> Cause | None:
    """What owners may have to be told of; None where nothing in it can name an asset, or its producer took it back."""
    looked = policy.seen(seen)
    if seen.revoked or looked == policy.NOTHING:
        return None
    return Cause(seen.id, seen.type, tlp, seen.created_by, seen=looked)


async def put(
    conn: Connection,
    weighed: Weighed,
    named: Mapping[bytes, Cause],
    audience: Audience,
    poster: Poster,
    by: By,
    submission: int | None = None,
) -> list[Audience]:
    """`log.put`, and the alerts of what goes out by it or is held: `named` by their bytes.

    What names what is looked up before the log is locked; only where there is something to tell all others wait for it.
    """
    matches = await assets.matching(conn, [each.seen for each in named.values()]) if named else []
    taken = await log.put(conn, weighed, audience, poster, by, submission)
    if matches:
        standing = weighed.audiences(audience)
        causes = {
            place: replace(each, audiences=standing.get(raw, ())) for place, (raw, each) in enumerate(named.items())
        }
        await alerts.write(conn, matches, causes, by.at)
    return taken


async def look_back(pool: Pool, at: datetime) -> int:
    """Look through all that stands or is held for assets that are new; answers how many objects there were.

    It waits for submissions that began before the assets came: they may not know of them.
    """
    async with pool.connection() as conn:
        new = await assets.unlooked(conn)
    if not new:
        return 0
    count = 0
    for portions in (alerts.standing, alerts.held):
        after = 0
        while True:
            async with pool.connection() as conn, conn.transaction():
                found, end = await portions(conn, after, _PORTION)
                causes = await asyncio.to_thread(_causes, found)
                matches = await assets.matching(conn, [each.seen for each in causes]) if causes else []
                await alerts.write(conn, matches, dict(enumerate(causes)), at)
            count += len(found)
            if end is None:
                break
            after = end
    async with pool.connection() as conn:
        await assets.looked(conn, new, at)
    return count


def _causes(found: list[Standing]) -> list[Cause]:
    causes = []
    for each in found:
        try:
            seen = accept(each.raw)
        except Invalid:  # what is valid has become less since
            continue
        # What its company said of it is not known any more.
        tlp = TLP.RED if seen.marking.others or seen.marking.tlp is None else seen.marking.tlp
        named = cause(seen, tlp if each.tlp is None else each.tlp)
        if named:
            causes.append(replace(named, audiences=each.audiences))
    return causes
