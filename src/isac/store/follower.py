"""The newest part of the log in a worker's memory: what polls are answered from without a question to PostgreSQL.

The log is in commit order, so a follower that lags shows an older prefix, never a hole. It looks at the log when it is
notified, and twice a second besides; beyond STALE nobody may answer from it.
"""

import asyncio
import contextlib
import itertools
import logging
import multiprocessing
import os
import socket
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from isac.errors import Surroundings
from isac.store import database
from isac.store.database import SCHEMA, Away, Connection
from isac.store.facts import fetch
from isac.store.objects import Page

log = logging.getLogger(__name__)

#: seconds since the last look at the log beyond which it has to be asked itself. New rows are dated two seconds ahead,
#: so whoever polls by a clock that is up to a second ahead of ours loses nothing.
STALE = 1.0
#: seconds between two looks without a notice
_PACE = 0.5
#: seconds that a look may take
_PATIENCE = 5.0
#: new rows are dated so far ahead of their commit
_AHEAD = timedelta(seconds=2)
#: what is kept in memory at most
MAX_ROWS, MAX_BYTES = 20_000, 32 * 1024 * 1024
# What comes faster, in rows a second, is an import, of which nothing is kept: it would slow the import down, and
# whoever reads that much reads pages.
_IMPORT = 1000
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Shelf:
    """One audience: its live rows in memory, and what was seen of it.

    In columns, ascending by number and so by date: a page compares hundreds of numbers, and fetches only what it shows.
    """

    seqs: list[int] = field(default_factory=list)
    dates: list[datetime] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    #: date of its newest row in any view, None without one
    newest: datetime | None = None
    #: the log's entries that last added a row to it, and last took one from a view
    put: int = 0
    ended: int = 0

    def wanted(self, place: int, types: Sequence[str] | None, most: int) -> list[int]:
        """The numbers of its first `most` rows of these types from a place on."""
        if types is None:
            return self.seqs[place : place + most]
        rows = zip(itertools.islice(self.seqs, place, None), itertools.islice(self.types, place, None), strict=True)
        return list(itertools.islice((seq for seq, kind in rows if kind in types), most))


_EMPTY = Shelf()


class Written:
    """How far the log was when a client of this server was last told that it is written, whichever worker told it.

    All workers of one server share it, so that none answers from a view that is older than its reader's own write.
    """

    def __init__(self) -> None:
        self._seq = multiprocessing.get_context("spawn").Value("q", -1)
        # Each request reads it several times.
        self._shared = self._seq.get_obj()

    @property
    def seq(self) -> int:
        return int(self._shared.value)

    def note(self, seq: int) -> None:
        with self._seq.get_lock():
            self._seq.value = max(self._seq.value, seq)

    def went_back(self, seq: int) -> None:
        """The log was restored, and its newest entry is an earlier one."""
        with self._seq.get_lock():
            self._seq.value = min(self._seq.value, seq)


class Follower:
    """Follows the log while `following` runs. It knows nothing before that, and so it is not fresh."""

    def __init__(self, url: str, written: Written) -> None:
        self._url, self._written = url, written
        # A connection of its own: where the pool's are all in use, answers from memory matter most.
        self._conn: Connection | None = None
        #: the look for which requests wait
        self._common: asyncio.Future[None] | None = None
        self._looking = asyncio.Lock()
        self._shelves: dict[int, Shelf] = {}
        #: the objects and the dates of all rows in memory by their numbers, and how long the objects are together
        self._raws: dict[int, bytes] = {}
        self._dates: dict[int, datetime] = {}
        self._bytes = 0
        #: no object in memory is longer
        self.longest = 0
        self._looked = float("-inf")
        self._clock = asyncio.get_running_loop().time
        #: a second, and the entries read in it
        self._lately = (-1, 0)
        self._timeline = -1
        #: changes where a failover or a restore took entries back: all that was remembered is void
        self.era = 0
        #: the log's newest entry that was seen
        self.seq = -1
        #: the era and that entry; the same tuple while both are the same
        self.at = (0, -1)
        #: counts the changes of who may see what
        self.roster = -1
        #: all live rows after this date are in memory
        self.floor = _BEGINNING
        #: no row with a date up to this can have escaped
        self.horizon = _BEGINNING
        #: the last look's time, by the database's clock
        self.passed = _BEGINNING

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow in the background while the context lasts."""
        await self.look()
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.close()

    async def close(self) -> None:
        """Look no more."""
        if self._common is not None:
            await asyncio.wait({self._common})
        await self._hang_up()

    async def _hang_up(self) -> None:
        if self._conn is not None:
            await self._conn.close()
            self._conn = None

    # ------------------------------------------------------------------------------------------------------ questions

    def is_fresh(self) -> bool:
        """Was the log looked at within the last second, and since the last write of a client of this server?"""
        return self._clock() - self._looked < STALE and self.seq >= self._written.seq

    async def catch_up(self) -> bool:
        """Look once for all who wait for it now, and answer whether that made it fresh."""
        for _ in range(2):  # the look that is under way may have begun too early
            if self._common is None or self._common.done():
                self._common = asyncio.ensure_future(self.look())
                self._common.add_done_callback(_is_known)
            await asyncio.wait({self._common}, timeout=STALE)
            if self.is_fresh():
                return True
            if not self._common.done() or self._common.exception():
                return False
        return False

    async def wrote(self) -> None:
        """Call it before a client is told that something is written: nobody's poll is older than what he wrote."""
        await self.look()
        self._written.note(self.seq)

    def put(self, audiences: Iterable[int]) -> int:
        """The log's entry that last added a row to one of the audiences."""
        return max(self._shelves.get(audience, _EMPTY).put for audience in audiences)

    def ended(self, audiences: Iterable[int]) -> int:
        """The log's entry that last took a row of theirs from a view."""
        return max(self._shelves.get(audience, _EMPTY).ended for audience in audiences)

    def newest(self, audiences: Iterable[int]) -> datetime | None:
        """date_added of their newest row in any view."""
        newest = None
        for audience in audiences:
            date = self._shelves.get(audience, _EMPTY).newest
            if date is not None and (newest is None or date > newest):
                newest = date
        return newest

    def places(self, audiences: Iterable[int], date: datetime) -> tuple[int, ...]:
        """Where in memory the rows of each audience begin that came after a date."""
        return tuple([bisect_right(self._shelves.get(audience, _EMPTY).dates, date) for audience in audiences])

    def page(
        self, audiences: Iterable[int], places: Iterable[int], types: Sequence[str] | None, limit: int
    ) -> tuple[tuple[int, ...], Page]:
        """Their first `limit` live rows from these places on, ascending by date_added, and the numbers of these rows.

        It is what the log has if the places were found for a date that is not before `floor`.
        """
        seqs: list[int] = []
        for audience, place in zip(audiences, places, strict=True):
            seqs += self._shelves.get(audience, _EMPTY).wanted(place, types, limit + 1)
        # Each audience's are in order already, so this only merges.
        seqs.sort()
        more = len(seqs) > limit
        del seqs[limit:]
        if not seqs:
            return (), Page([], None, None, False)
        first, last = self._dates[seqs[0]], self._dates[seqs[-1]]
        return tuple(seqs), Page(list(map(self._raws.__getitem__, seqs)), first, last, more)

    # ---------------------------------------------------------------------------------------------------------- looks

    async def look(self) -> None:
        """Look at the log: afterwards all is known that was committed before. Raises Away, Surroundings."""
        async with self._looking:
            if self._conn is None:
                self._conn = await database.connect(self._url)
            looking = asyncio.ensure_future(self._look(self._conn))
            try:
                await asyncio.wait({looking}, timeout=_PATIENCE)
            finally:
                # It is silent, or nobody waits any more. It has to end here: two looks would keep the same rows twice.
                if is_late := not looking.done():
                    _cut(self._conn)
                    await asyncio.wait({looking})
                if looking.exception() or is_late:
                    await self._hang_up()
            if is_late:
                raise Away("the database is silent")
            looking.result()

    async def _look(self, conn: Connection) -> None:
        """All questions first, and then all answers at once: nobody meets a view that is half one and half another."""
        looked = self._clock()
        ((seq, date, timeline, roster, is_quiet, at),) = await fetch(conn, "SELECT * FROM log_position()")
        if seq < self.seq or timeline != self._timeline:
            await self._begin(conn, seq, date)
        elif seq > self.seq:
            await self._read(conn, self.seq, seq, date)
        self._timeline, self.seq, self.roster = timeline, seq, roster
        # What was seen once stays seen, so a horizon stays true.
        self.horizon = max(self.horizon, date, at + _AHEAD if is_quiet else date)
        if self.at != (self.era, seq):
            self.at = self.era, seq
        self._looked, self.passed = looked, at

    async def _begin(self, conn: Connection, seq: int, date: datetime) -> None:
        """Of what is there already only the newest dates are read."""
        audiences = [audience for (audience,) in await fetch(conn, "SELECT pk FROM audiences")]
        newest = await self._newest(conn, audiences)
        if seq < self.seq:
            self._written.went_back(seq)
        self.era += 1
        self.horizon = self.floor = date
        self._raws.clear()
        self._dates.clear()
        self._bytes = 0
        self._shelves = {audience: Shelf(newest=latest) for audience, latest in newest}

    async def _read(self, conn: Connection, seen: int, seq: int, date: datetime) -> None:
        """What happened between two entries. Later ends count when their turn comes: a view never changes."""
        between = {"seen": seen, "seq": seq, "most": MAX_BYTES}
        second = int(self._clock())
        self._lately = (second, (self._lately[1] if self._lately[0] == second else 0) + seq - seen)
        if self._lately[1] > _IMPORT:
            await self._pass_over(conn, between, date)
            return
        async with conn.cursor(binary=True) as cursor:
            await cursor.execute(_PUT, between)
            rows = await cursor.fetchall()
        if rows and rows[0][-1] is None:
            await self._pass_over(conn, between, date)
            return
        ends = await fetch(conn, _ENDS, between)
        newest = await self._newest(conn, {audience for _, audience, is_shut in ends if is_shut})
        # From here on nothing is awaited.
        for number, audience, _ in ends:
            self._shelf(audience).ended = seq
            self._drop(number, audience)
        for row in rows:
            self._keep(*row)
        for audience, latest in newest:
            self._shelf(audience).newest = latest
        while len(self._raws) > MAX_ROWS or self._bytes > MAX_BYTES:
            dates = sorted(each for shelf in self._shelves.values() for each in shelf.dates)
            self._forget(dates[len(dates) // 2])

    async def _pass_over(self, conn: Connection, between: Mapping[str, int], date: datetime) -> None:
        """Too much happened, in entries or in bytes: nothing of it is kept, and nothing from before."""
        ended = await fetch(conn, _ENDED, between)
        put = await fetch(conn, _PASSED_OVER, between)
        unsure = {audience for audience, is_shut in ended if is_shut} | {audience for audience, _ in put}
        newest = await self._newest(conn, unsure)
        # From here on nothing is awaited.
        for audience, _ in ended:
            self._shelf(audience).ended = between["seq"]
        for audience, last in put:
            self._shelf(audience).put = last
        for audience, latest in newest:
            self._shelf(audience).newest = latest
        self._forget(date)

    def _keep(self, seq: int, date: datetime, audience: int, kind: str, live: bool, shut: bool, raw: bytes) -> None:
        shelf = self._shelf(audience)
        shelf.put = seq
        if not shut:
            shelf.newest = date
        if live:
            shelf.seqs.append(seq)
            shelf.dates.append(date)
            shelf.types.append(kind)
            self._raws[seq], self._dates[seq] = raw, date
            self._bytes += len(raw)
            self.longest = max(self.longest, len(raw))

    def _drop(self, seq: int, audience: int) -> None:
        """Drop a row, if it is here."""
        shelf = self._shelf(audience)
        place = bisect_left(shelf.seqs, seq)
        if place < len(shelf.seqs) and shelf.seqs[place] == seq:
            self._remove(shelf, place, place + 1)

    def _shelf(self, audience: int) -> Shelf:
        return self._shelves.setdefault(audience, Shelf())

    async def _newest(self, conn: Connection, audiences: Collection[int]) -> list[tuple[Any, ...]]:
        return await fetch(conn, _NEWEST, (list(audiences),)) if audiences else []

    def _forget(self, until: datetime) -> None:
        """Drop the rows up to this date."""
        self.floor = max(self.floor, until)
        for shelf in self._shelves.values():
            self._remove(shelf, 0, bisect_right(shelf.dates, self.floor))

    def _remove(self, shelf: Shelf, first: int, behind: int) -> None:
        """Remove the rows in these places."""
        for seq in shelf.seqs[first:behind]:
            self._bytes -= len(self._raws.pop(seq))
            del self._dates[seq]
        del shelf.seqs[first:behind], shelf.dates[first:behind], shelf.types[first:behind]

    # ------------------------------------------------------------------------------------------------------ following

    async def _follow(self) -> None:
        """Look again and again. Whatever happens to the database, this goes on."""
        while True:
            try:
                listening = await database.connect(self._url)
                try:
                    await self._listen(listening)
                finally:
                    await listening.close()
            except (Away, Surroundings) as error:
                log.warning("the log cannot be followed, so polls ask the database: %s", error)
            except Exception:  # whatever it is: it is tried again
                log.exception("the log cannot be followed, so polls ask the database")
            await asyncio.sleep(_PACE)

    async def _listen(self, listening: Connection) -> None:
        await listening.execute(f"LISTEN {SCHEMA}_log")
        while True:
            await self.look()
            if self._lately[1] > _IMPORT:
                await asyncio.sleep(_PACE / 2)  # an import is noticed often enough
            async for _ in listening.notifies(timeout=_PACE, stop_after=1):
                pass


_NEWEST = """
SELECT a.pk, greatest(
         (SELECT date_added FROM log WHERE audience = a.pk AND ended_seq IS NULL ORDER BY date_added DESC LIMIT 1),
         (SELECT date_added FROM log WHERE audience = a.pk AND ended_seq IS NOT NULL AND shut_seq IS NULL
           ORDER BY date_added DESC LIMIT 1))
  FROM audiences a WHERE a.pk = ANY(%s)"""
_ENDS = """
SELECT seq, audience, shut_seq IS NOT NULL AND shut_seq <= %(seq)s
  FROM log WHERE ended_seq > %(seen)s AND ended_seq <= %(seq)s
UNION ALL
SELECT seq, audience, true FROM log WHERE shut_seq > %(seen)s AND shut_seq <= %(seq)s"""
_ENDED = f"SELECT audience, bool_or(is_shut) FROM ({_ENDS}) AS gone (seq, audience, is_shut) GROUP BY audience"  # noqa: S608
_PASSED_OVER = """
SELECT audience, max(seq) FROM log WHERE seq > %(seen)s AND seq <= %(seq)s GROUP BY audience"""
# How long an object is, is known without reading it; they are read where all of them fit.
_PUT = """
SELECT seq, date_added, audience, type, ended_seq IS NULL OR ended_seq > %(seq)s,
       shut_seq IS NOT NULL AND shut_seq <= %(seq)s,
       CASE WHEN sum(octet_length(raw)) OVER () <= %(most)s THEN raw END
  FROM log WHERE seq > %(seen)s AND seq <= %(seq)s ORDER BY seq"""


def _cut(conn: Connection) -> None:
    """Cut a line as if the other end had hung up: whoever waits for its answer learns it at once.

    (To close it would leave the loop watching a number that another line may get.)
    """
    with contextlib.suppress(OSError, Away), socket.socket(fileno=os.dup(conn.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _is_known(look: asyncio.Future[None]) -> None:
    """Nobody may be waiting any more when a look fails; asyncio would complain that nobody asked why."""
    if not look.cancelled():
        look.exception()
