"""Who was given what: each poll that answered with objects, so that a recall knows whom to tell.

Written each second, in one go, outside the answers' way. A worker marks its start, each writing and its end: where the
end is missing, whoever asked after the last mark may have had something that stands nowhere.
"""

import asyncio
import contextlib
import logging
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import orjson

from isac import times
from isac.policy.actors import Actor
from isac.store.database import Connection, Pool
from isac.store.facts import COPY_HEAD, COPY_TAIL, LENGTH, NULL, fetch
from isac.store.members import Collection
from isac.store.objects import Query

log = logging.getLogger(__name__)

#: seconds between two writings, and between two marks of a worker that nobody asks
_PACE, _REST = 1.0, timedelta(seconds=10)
#: a worker that has not marked for so long was cut off, and gave nothing out any later than that
SILENCE = timedelta(minutes=1)
#: so long before that it gives nothing more out: what is on its way is gone by then
_LEAVING = timedelta(seconds=15)
#: polls that may wait for being written
_MOST = 100_000
#: polls that go in one transaction
_AT_ONCE = 5000
#: of them so many are put into rows before others have their turn
_TURN = 100


class Served(NamedTuple):
    """What an answer held: the dates of its first and its last row, and how many there were."""

    first: datetime
    last: datetime
    number: int


class _Poll(NamedTuple):
    at: datetime
    key: int
    collection: int
    query: Query
    served: Served


class Polls:
    """The polls of one worker, recorded while `recording` runs."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: list[_Poll] = []
        self._worker = -1
        #: when it last marked
        self._marked = times.now()

    def is_behind(self) -> bool:
        """Do too many wait, or for too long? Then nothing may be given out: it would stand nowhere."""
        return len(self._waiting) > _MOST or times.now() - self._marked > SILENCE - _LEAVING

    def add(self, asking: Actor, shelf: Collection, query: Query, served: Served) -> None:
        """Note an answer that is about to leave."""
        self._waiting.append(_Poll(times.now(), asking.key, shelf.pk, query, served))

    @contextlib.asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Write in the background while the context lasts, and what is left at its end."""
        async with self._pool.connection() as conn:
            self._marked = times.now()
            ((self._worker,),) = await fetch(
                conn,
                "INSERT INTO poll_workers (started_at, marked_at) VALUES (%(at)s, %(at)s) RETURNING pk",
                {"at": self._marked},
            )
        task = asyncio.create_task(self._write_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            await self._write(is_last=True)

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(_PACE)
            try:
                if self._waiting or times.now() - self._marked > _REST:
                    await self._write()
            except Exception:  # whatever it is: nothing is lost while it is tried again
                log.exception("polls cannot be recorded yet")

    async def _write(self, *, is_last: bool = False) -> None:
        """All that waits, and the mark, in one transaction; what could not be written waits on."""
        some, now = self._waiting, times.now()
        self._waiting = []
        try:
            async with self._pool.connection() as conn, conn.transaction():
                async with conn.cursor() as cursor, cursor.copy(_COPY) as copy:
                    await copy.write(COPY_HEAD)
                    for begin in range(0, len(some), _TURN):
                        await copy.write(b"".join(self._row(poll) for poll in some[begin : begin + _TURN]))
                        await asyncio.sleep(0)
                    await copy.write(COPY_TAIL)
                await conn.execute(
                    "UPDATE poll_workers SET marked_at = %s, ended_at = %s WHERE pk = %s",
                    (now, now if is_last else None, self._worker),
                )
        except BaseException:
            self._waiting = some + self._waiting
            raise
        self._marked = now

    def _row(self, poll: _Poll) -> bytes:
        first, last, number = poll.served
        filters = _filters(poll.query)
        return b"".join(
            (
                _FIXED.pack(
                    *(8, 8, _microseconds(poll.at), 8, self._worker, 4, poll.key, 4, poll.collection),
                    *(8, _microseconds(first), 8, _microseconds(last), 4, number),
                ),
                NULL if filters is None else LENGTH.pack(len(filters)) + filters,
            )
        )


async def prune(conn: Connection, before: datetime) -> int:
    """Forget some polls from before that instant; answers how many went. Call it until 0.

    With the last of them go the workers that were gone by then: a recall no longer asks who gave out what.
    """
    deleted = await conn.execute(
        "DELETE FROM polls WHERE ctid = ANY(ARRAY(SELECT ctid FROM polls WHERE at < %s ORDER BY at LIMIT %s))",
        (before, _AT_ONCE),
    )
    if not deleted.rowcount:
        await conn.execute("DELETE FROM poll_workers WHERE marked_at < %s", (before,))
    return deleted.rowcount


_COPY = """COPY polls (at, worker, key, collection, first_added, last_added, count, filters)
           FROM STDIN (FORMAT binary)"""
_FIXED = struct.Struct("!h iq iq ii ii iq iq ii")
_YEAR_2000, _MICROSECOND = datetime(2000, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def _microseconds(instant: datetime) -> int:
    return (instant - _YEAR_2000) // _MICROSECOND


def _filters(query: Query) -> bytes | None:
    """The filters but for the cursor, as JSON; None where there were none."""
    if query.versions.only_last and query.ids is query.types is query.spec_versions is None:
        return None  # as nearly always
    named = {"id": query.ids, "type": query.types, "spec_version": query.spec_versions}
    given: dict[str, object] = {name: values for name, values in named.items() if values is not None}
    wanted = query.versions
    if not wanted.only_last:
        words = [
            word
            for word, is_wanted in (("first", wanted.first), ("last", wanted.last), ("all", wanted.all))
            if is_wanted
        ]
        given["version"] = [*words, *sorted(wanted.instants)]
    return orjson.dumps(given) if given else None
