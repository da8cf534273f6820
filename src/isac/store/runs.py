"""Runs of feeds: what each brought, from where the next one goes on, and what a list named.

One run of a feed at a time: whoever runs it holds a lock that ends with its connection, so a killed worker's run stands
in nobody's way.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson

from isac.store.database import Connection
from isac.store.facts import fetch

#: taken in; kept, but not given on, as its terms forbid; the same as before; not taken: somebody has to look; failed
Outcome = Literal["running", "taken", "kept", "unchanged", "suspect", "failed"]
GOOD: tuple[Outcome, ...] = ("taken", "kept", "unchanged")

#: it was another list than before
_BROUGHT: tuple[Outcome, ...] = ("taken", "kept")
#: runs that go in one transaction
_AT_ONCE = 1000
#: ids that are held in memory, names of one statement
_CHUNK = 10_000
_CUT_OFF = "It was cut off, and the next one goes on from where the last good one was."


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a feed."""

    feed: str
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome
    #: in words for an operator; empty where there is none
    problem: str
    size: int | None
    #: objects or values that it named; lines that nobody could read
    listed: int | None
    unreadable: int | None


@dataclass(frozen=True, slots=True)
class Brought:
    """What a run found out, to be written down when it ends."""

    outcome: Outcome
    problem: str = ""
    #: public id of its last submission
    submission: str | None = None
    payload: int | None = None
    size: int | None = None
    listed: int | None = None
    unreadable: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one document of a source that has many."""

    #: JSON; what tells whether it changed
    mark: Any
    #: how often in a row it could not be taken in
    failures: int = 0
    again_at: datetime | None = None

    def waits(self, now: datetime) -> bool:
        """It failed, and is not to be asked for yet."""
        return self.again_at is not None and now < self.again_at


@contextlib.asynccontextmanager
async def alone(conn: Connection, feed: str) -> AsyncIterator[bool]:
    """Is nobody else running this feed? While the context lasts nobody will."""
    ((free,),) = await fetch(conn, "SELECT pg_try_advisory_lock('feed_runs'::regclass::int, hashtext(%s))", (feed,))
    try:
        yield free
    finally:
        if free:
            await conn.execute("SELECT pg_advisory_unlock('feed_runs'::regclass::int, hashtext(%s))", (feed,))


async def begin(conn: Connection, feed: str, at: datetime) -> int:
    """Note that a run began; answers its database key. Whoever calls it is alone, so what still runs was killed."""
    await conn.execute(
        "UPDATE feed_runs SET outcome = 'failed', problem = %s, ended_at = %s WHERE feed = %s AND outcome = 'running'",
        (_CUT_OFF, at, feed),
    )
    ((pk,),) = await fetch(
        conn,
        "INSERT INTO feed_runs (feed, started_at, outcome, problem) VALUES (%s, %s, 'running', '') RETURNING pk",
        (feed, at),
    )
    return int(pk)


async def end(conn: Connection, pk: int, brought: Brought, at: datetime) -> None:
    """Note what became of it."""
    await conn.execute(
        """UPDATE feed_runs SET ended_at = %s, outcome = %s, problem = %s, payload = %s, size = %s, listed = %s,
                                unreadable = %s, submission = (SELECT pk FROM submissions WHERE id = %s::uuid)
           WHERE pk = %s""",
        (
            at,
            brought.outcome,
            brought.problem,
            brought.payload,
            brought.size,
            brought.listed,
            brought.unreadable,
            brought.submission,
            pk,
        ),
    )


async def bookmark(conn: Connection, pk: int, feed: str, place: dict[str, Any]) -> None:
    """Note how far a run has come, so that the next one goes on from there even if this one is cut off."""
    await conn.execute("UPDATE feed_runs SET bookmark = %s WHERE pk = %s", (orjson.dumps(place), pk))
    # Only the newest is asked for.
    await conn.execute(
        "UPDATE feed_runs SET bookmark = NULL WHERE feed = %s AND pk < %s AND bookmark IS NOT NULL", (feed, pk)
    )


async def last_bookmark(conn: Connection, feed: str) -> dict[str, Any]:
    """How far the feed has been read; empty at first."""
    rows = await fetch(
        conn,
        "SELECT bookmark FROM feed_runs WHERE feed = %s AND bookmark IS NOT NULL ORDER BY pk DESC LIMIT 1",
        (feed,),
    )
    return dict(orjson.loads(rows[0][0])) if rows else {}


async def see(conn: Connection, feed: str, name: str, seen: Seen) -> None:
    """Note what was seen of one document."""
    await conn.execute(
        """INSERT INTO feed_documents (feed, name, mark, failures, again_at) VALUES (%s, %s, %s, %s, %s)
           ON CONFLICT (feed, name) DO UPDATE
           SET mark = EXCLUDED.mark, failures = EXCLUDED.failures, again_at = EXCLUDED.again_at, met_at = now()""",
        (feed, name, orjson.dumps(seen.mark), min(seen.failures, 30_000), seen.again_at),
    )


async def seen(conn: Connection, feed: str) -> dict[str, Seen]:
    """What was seen of each document, by its name."""
    rows = await fetch(conn, "SELECT name, mark, failures, again_at FROM feed_documents WHERE feed = %s", (feed,))
    return {name: Seen(orjson.loads(mark), failures, again_at) for name, mark, failures, again_at in rows}


async def meet(conn: Connection, feed: str, names: Iterable[str], at: datetime) -> None:
    """Note that the source still has these documents; of one that was met within a day nothing is written."""
    wanted = list(names)
    for begin in range(0, len(wanted), _CHUNK):
        await conn.execute(
            "UPDATE feed_documents SET met_at = %s WHERE feed = %s AND name = ANY(%s) AND met_at < %s",
            (at, feed, wanted[begin : begin + _CHUNK], at - timedelta(days=1)),
        )


async def prune_documents(conn: Connection, before: datetime) -> int:
    """Forget some documents that no source has had since that instant; answers how many went. Call it until 0."""
    deleted = await conn.execute(
        """DELETE FROM feed_documents
           WHERE ctid = ANY(ARRAY(SELECT ctid FROM feed_documents WHERE met_at < %s LIMIT %s))""",
        (before, _AT_ONCE),
    )
    return deleted.rowcount


async def latest(conn: Connection, feed: str, limit: int = 1, outcomes: Sequence[Outcome] = ()) -> list[Run]:
    """The last runs of a feed, the newest first; of these outcomes only, if any are named."""
    rows = await fetch(
        conn,
        """SELECT feed, started_at, ended_at, outcome, problem, size, listed, unreadable FROM feed_runs
           WHERE feed = %s AND (%s OR outcome = ANY(%s)) ORDER BY pk DESC LIMIT %s""",
        (feed, not outcomes, list(outcomes), limit),
    )
    return [Run(*row) for row in rows]


async def prune(conn: Connection, before: datetime) -> int:
    """Forget some runs that began before that instant; answers how many went. Call it until 0.

    Of each feed the last runs stay by which it is judged how it is: the last one, the last good one, the last that
    brought something; and the one that knows from where the next goes on.
    """
    deleted = await conn.execute(
        """DELETE FROM feed_runs WHERE pk = ANY(ARRAY(
             SELECT pk FROM feed_runs r WHERE started_at < %s AND bookmark IS NULL
                AND EXISTS (SELECT FROM feed_runs n WHERE n.feed = r.feed AND n.pk > r.pk)
                AND (outcome <> ALL(%s) OR EXISTS (
                  SELECT FROM feed_runs n WHERE n.feed = r.feed AND n.pk > r.pk AND n.outcome = ANY(%s)))
                AND (outcome <> ALL(%s) OR EXISTS (
                  SELECT FROM feed_runs n WHERE n.feed = r.feed AND n.pk > r.pk AND n.outcome = ANY(%s)))
             ORDER BY pk LIMIT %s))""",
        (before, *[list(GOOD)] * 2, *[list(_BROUGHT)] * 2, _AT_ONCE),
    )
    return deleted.rowcount


# ---------------------------------------------------------------------------------------------------- what a list names


async def compare_listed(conn: Connection, feed: str, stix_ids: Iterator[str], at: datetime) -> None:
    """Note what the list names now: what is new, what is back, what is gone. The same list writes nothing.

    In the caller's transaction. It may name millions: they are read, and pass through here, a chunk at a time.
    """
    await conn.execute('CREATE TEMPORARY TABLE named (stix_id text COLLATE "C" NOT NULL) ON COMMIT DROP')
    async with conn.cursor() as cursor, cursor.copy("COPY named FROM STDIN") as copy:
        while chunk := await asyncio.to_thread(lambda: list(itertools.islice(stix_ids, _CHUNK))):
            for stix_id in chunk:
                await copy.write_row((stix_id,))
    await conn.execute("ANALYZE named")
    await conn.execute(
        """INSERT INTO listed (feed, stix_id)
           SELECT %s, stix_id FROM named n
           WHERE NOT EXISTS (SELECT FROM listed l WHERE l.feed = %s AND l.stix_id = n.stix_id)
           ON CONFLICT DO NOTHING""",
        (feed, feed),
    )
    await conn.execute(
        """UPDATE listed SET gone_since = NULL
           WHERE feed = %s AND gone_since IS NOT NULL AND stix_id IN (SELECT stix_id FROM named)""",
        (feed,),
    )
    await conn.execute(
        """UPDATE listed SET gone_since = %s
           WHERE feed = %s AND gone_since IS NULL AND NOT EXISTS (
             SELECT FROM named n WHERE n.stix_id = listed.stix_id)""",
        (at, feed),
    )


async def gone(conn: Connection, feed: str, before: datetime) -> list[str]:
    """Ids that the list has not named since before that instant."""
    rows = await fetch(
        conn, "SELECT stix_id FROM listed WHERE feed = %s AND gone_since < %s ORDER BY stix_id", (feed, before)
    )
    return [stix_id for (stix_id,) in rows]


async def forget(conn: Connection, feed: str, stix_ids: Sequence[str]) -> None:
    """What was gone has ended."""
    await conn.execute("DELETE FROM listed WHERE feed = %s AND stix_id = ANY(%s)", (feed, list(stix_ids)))
