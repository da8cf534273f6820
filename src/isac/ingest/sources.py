"""A feed's run: get what is new, look whether it is what the source usually sends, take it in, keep it as it came.

Whatever goes wrong, the last good state stays: a run that fails or looks wrong changes nothing, and the next one begins
where the last good one ended.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from isac import times
from isac.errors import Classified, Invalid, IsacError
from isac.formats.found import Problems, Unreadable, one_line
from isac.formats.texts import trimmed
from isac.ingest import authoring, disk, upstream
from isac.ingest.feeds import Feed
from isac.ingest.fetching import Fetcher, Outbound
from isac.ingest.files import Payload, any_classified, documents, entries, ingest
from isac.ingest.intake import Submission, take_in
from isac.ingest.report import Report
from isac.ingest.upstream import Document, Place
from isac.policy.actors import Actor
from isac.store import archive, members, runs
from isac.store.database import Connection, Pool
from isac.store.members import Collection
from isac.store.runs import Brought, Seen
from isac.store.submissions import Counts

#: seconds after which a run is stuck
_LONGEST = 3600
#: a list of fewer may well be ten times as long tomorrow
_FEW = 20
_TENFOLD = 10
_DAY = timedelta(days=1)
_LONGEST_PROBLEM = 2000
#: problems that are told; of more only the number
_TOLD = 3
_ID = re.compile(rb'"id":"([^"]+)"')
_logger = logging.getLogger(__name__)


class Suspect(Invalid):
    """It is not what the source usually sends"""


@dataclass(frozen=True, slots=True)
class Around:
    """What runs are given by whoever starts them."""

    #: where the definitions lie, and files that they name by `path`
    folder: Path
    outbound: Outbound = field(default_factory=Outbound)
    #: the value of a variable of the environment, for keys
    secret: Callable[[str], str | None] = lambda _: None


async def run(
    pool: Pool,
    feed: Feed,
    around: Around,
    *,
    anyway: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    report: Report | None = None,
) -> tuple[Brought, Counts]:
    """Run a feed once. What goes wrong with the source is noted and answered, not raised.

    `anyway`: take it in though it looks unusual. `report` hears what became of each document. Raises Invalid if it is
    being read already.
    """
    async with pool.connection() as guard, runs.alone(guard, feed.name) as free:
        if not free:
            raise Invalid(f"Feed {feed.name} is being read right now; one run at a time is enough.")
        pk = await runs.begin(guard, feed.name, times.now())
        running = _Running(pool, guard, pk, feed, around, anyway, progress, report)
        brought = Brought("failed", "It was stopped.")
        try:
            async with asyncio.timeout(_LONGEST):
                brought = await running.go()
        except TimeoutError:
            brought = Brought("failed", f"It took longer than {_LONGEST // 60} minutes and was ended.")
        except Suspect as error:
            brought = Brought("suspect", error.detail)
        except IsacError as error:
            brought = Brought("failed", "; ".join(filter(None, (running.problem, error.detail))))
        except Exception as error:
            brought = Brought("failed", f"The program failed ({type(error).__name__}); the log says more.")
            raise
        finally:
            brought = replace(brought, problem=one_line(brought.problem, _LONGEST_PROBLEM))
            await runs.end(guard, pk, brought, times.now())
            _tell(feed, brought, running.counts)
        return brought, running.counts


def _tell(feed: Feed, brought: Brought, counts: Counts) -> None:
    level = logging.INFO if brought.outcome in runs.GOOD and not brought.problem else logging.WARNING
    told = {"feed": feed.name, "outcome": brought.outcome, "problem": brought.problem}
    told |= {"submission": brought.submission} if brought.submission else {}
    numbers = {name: getattr(counts, name) for name in ("accepted", "held", "refused", "repeated")}
    _logger.log(level, "feed run", extra=told | numbers)


class _Met(Mapping[str, Seen]):
    """What was seen of each document, and for which of them somebody asks: these the source still has."""

    def __init__(self, seen: Mapping[str, Seen]) -> None:
        self._seen = seen
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Seen:
        self.names.add(name)
        return self._seen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)


@dataclass(slots=True)
class _Running:
    """One run while it lasts, and what it has brought so far."""

    pool: Pool
    guard: Connection
    pk: int
    feed: Feed
    around: Around
    anyway: bool
    progress: Callable[[int], None]
    report: Report | None
    counts: Counts = field(default_factory=Counts)
    documents: int = 0
    size: int = 0
    listed: int = 0
    unreadable: int = 0
    submission: str | None = None
    payload: int | None = None
    problems: list[str] = field(default_factory=list)
    #: of a source that has many documents: what was seen of each
    seen: dict[str, Seen] = field(default_factory=dict)
    met: "_Met" = field(default_factory=lambda: _Met({}))

    async def go(self) -> Brought:
        """All documents, one after the other; of many, one that is broken stops no other."""
        feed = self.feed
        async with self.pool.connection() as conn, conn.transaction():
            asking = await members.source(conn, feed.name)
            collection = await members.shelf(conn, feed.audience)
        new = await runs.latest(self.guard, feed.name, outcomes=("taken", "kept"))
        usual = (new[0].listed or 0, new[0].unreadable or 0) if new and not self.anyway else None
        missing = False
        place, self.seen = await self._bookmark(new)
        self.met = _Met(self.seen)
        async for document in self._found(place):
            if feed.current and not document.only:
                raise Invalid("`current` is for one list that names all that holds now, and here are several.")
            try:
                if document.problem:
                    raise Invalid(document.problem)
                await self._take(document, collection, asking, usual)
            except Invalid as error:
                if document.only:
                    raise
                self.problems.append(f"{document.name}: {error.detail}")
                missing = missing or bool(document.problem)
                document.failed = True  # so it is asked for again
                await self._put_off(document)
                continue
            if document.key:
                self.seen[document.key] = Seen(document.mark)
                await runs.see(self.guard, feed.name, document.key, self.seen[document.key])
            if document.place:
                await runs.bookmark(self.guard, self.pk, feed.name, document.place)
        await runs.meet(self.guard, feed.name, self.met.names, times.now())
        self._tell_of_waiting()
        if feed.current and feed.redistribute:
            await self._end_gone(collection, asking)
        if missing and not self.documents:
            return Brought("failed", self.problem)
        outcome: runs.Outcome = "unchanged" if not self.documents else "taken" if feed.redistribute else "kept"
        looked = (self.size, self.listed, self.unreadable) if self.documents else (None, None, None)
        return Brought(outcome, self.problem, self.submission, self.payload, *looked)

    @property
    def problem(self) -> str:
        rest = len(self.problems) - _TOLD
        return "; ".join(self.problems[:_TOLD]) + (f"; and {rest} more" if rest > 0 else "")

    async def _bookmark(self, new: Sequence[runs.Run]) -> tuple[Place, dict[str, Seen]]:
        """From where it goes on. Where values hold for a while only, an unchanged list is read anew in time."""
        spans = self.feed.validity.values()
        if spans and new and times.now() - new[0].started_at > min(spans) / 4:
            return {}, {}
        name = self.feed.name
        seen = await runs.seen(self.guard, name)
        if self.anyway:  # whoever asks for it by hand has mended something
            seen = {key: replace(each, again_at=None) for key, each in seen.items()}
        return await runs.last_bookmark(self.guard, name), seen

    async def _put_off(self, document: Document) -> None:
        """The next run asks for it again; then those after 1, 2, 4 … runs, but each day."""
        if not document.key:
            return
        before = self.seen.get(document.key)
        failures = before.failures + 1 if before else 1
        mark = document.mark if document.mark_of_failure is None else document.mark_of_failure
        again_at = None
        if self.feed.every is not None and failures > 1:
            # A run may begin a little early.
            span = self.feed.every * 2 ** min(failures - 2, 20) - self.feed.every / 2
            again_at = times.now() + min(span, max(self.feed.every / 2, _DAY - self.feed.every / 2))
        self.seen[document.key] = Seen(mark, failures, again_at)
        await runs.see(self.guard, self.feed.name, document.key, self.seen[document.key])

    def _tell_of_waiting(self) -> None:
        """Documents that were not asked for because they failed before: nobody should take them for read."""
        waiting = {key: each for key, each in self.seen.items() if each.waits(times.now())}
        if waiting:
            key, one = max(waiting.items(), key=lambda item: item[1].failures)
            self.problems.append(
                f"{len(waiting):,} failed before and {'waits' if len(waiting) == 1 else 'wait'}, such as {key} "
                f"({one.failures} times; asked for again after {one.again_at:%Y-%m-%d %H:%M} UTC, or at once by "
                f"`isac feeds run {self.feed.name} --anyway`)"
            )

    async def _found(self, place: Place) -> AsyncIterator[Document]:
        feed, around = self.feed, self.around
        if feed.path is not None:
            path = (around.folder / feed.path).resolve()
            if not path.is_relative_to(around.folder.resolve()):
                raise Invalid(f"path: {feed.path} leads out of {around.folder}; put the file beside the definition.")
            documents = upstream.files(path, place, self.met)
            while (document := await asyncio.to_thread(next, documents, None)) is not None:
                yield document
            return
        headers = {}
        if feed.auth_env is not None:
            secret = around.secret(feed.auth_env)
            if not secret:
                raise Invalid(f"auth_env: the variable {feed.auth_env} is not set; it should hold the source's key.")
            headers[feed.auth_header] = secret
        async with Fetcher(around.outbound) as fetcher:
            url = feed.url or ""
            async for document in upstream.documents(fetcher, url, feed.format, headers, place, self.met):
                yield document

    async def _take(
        self, document: Document, collection: Collection, asking: Actor, usual: tuple[int, int] | None
    ) -> None:
        payloads = await asyncio.to_thread(lambda: [*documents(document.name, document.content, self.feed)])
        if not payloads:
            raise Suspect("It is an archive without one file.")
        if len(payloads) == 1:
            await self._take_one(document, payloads[0], collection, asking, usual)
        else:
            await self._take_each(document, payloads, collection, asking)
        if not self.feed.redistribute:
            packed = await asyncio.to_thread(archive.packed, document.content, disk.spooled)
            async with self.guard.transaction():
                self.payload = await archive.keep(self.guard, packed, document.media_type, times.now())
        self.documents += 1
        self.size += len(document.content)

    async def _take_each(
        self, document: Document, payloads: Sequence[Payload], collection: Collection, asking: Actor
    ) -> None:
        """What is in an archive; one that is broken stops no other."""
        if self.feed.current:
            raise Invalid("`current` is for one list that names all that holds now, and here are several.")
        broken = []
        for payload in payloads:
            try:
                await self._take_one(document, payload, collection, asking, None)
            except Classified:
                raise
            except Invalid as error:
                broken.append(f"{payload.name}: {error.detail}")
        if len(broken) == len(payloads):
            raise Invalid(broken[0])
        self.problems += broken

    async def _take_one(
        self,
        document: Document,
        payload: Payload,
        collection: Collection,
        asking: Actor,
        usual: tuple[int, int] | None,
    ) -> None:
        begins = (await asyncio.to_thread(trimmed, payload.data))[:1]
        if not begins and not payload.events:
            raise Suspect("It is empty, without one byte.")
        if begins == b"<":
            raise Invalid("a web page came instead of the list; look at the address with a browser.")

        def looked(listed: int, unreadable: int) -> None:
            if document.only and usual is not None:
                _compare(listed, unreadable, *usual, current=self.feed.current)
            self.listed += listed
            self.unreadable += unreadable

        if self.feed.redistribute:
            read: list[Sequence[bytes]] = []

            def look(pieces: Sequence[bytes], problems: Problems) -> None:
                looked(len(pieces), problems.refused)
                read.append(pieces)

            reading = await ingest(
                self.pool,
                payload,
                collection,
                asking,
                self.feed.name,
                feed=self.feed,
                sample=self.feed.sample,
                progress=self.progress,
                looked=look,
                media_type=document.media_type,
            )
            self.counts += reading.outcome.counts
            if reading.outcome.counts.refused and not _gave(reading.outcome.counts):
                why = next((line["message"] for line in reading.outcome.failures), "see its submission.")
                self.problems.append(f"{payload.name}: all {reading.outcome.counts.refused:,} are refused: {why}")
            if self.report is not None:
                self.report.add(reading)
            self.submission = reading.outcome.id
            if self.feed.current:
                ids = (found[1].decode() for piece in read[0] if (found := _ID.search(piece)))
                async with self.guard.transaction():
                    await runs.compare_listed(self.guard, self.feed.name, ids, times.now())
        else:
            if await asyncio.to_thread(any_classified, payload):
                raise Classified("It carries a classification banner, and is not kept: call the ISAC.")
            looked(*await asyncio.to_thread(_counted, payload, self.feed))

    async def _end_gone(self, collection: Collection, asking: Actor) -> None:
        """What the list has not named for longer than the feed's grace holds no more."""
        now = times.now()
        gone = await runs.gone(self.guard, self.feed.name, now - self.feed.grace)
        if gone:
            pieces = await authoring.ended(self.guard, gone, now)
            outcome = await take_in(
                self.pool, Submission(pieces, collection.own, self.feed.name, None, self.feed.sample), asking
            )
            self.counts += outcome.counts
            await runs.forget(self.guard, self.feed.name, gone)


def _gave(counts: Counts) -> int:
    """How many of them anybody has or may get."""
    return counts.accepted + counts.repeated + counts.held


def _counted(payload: Payload, feed: Feed) -> tuple[int, int]:
    """How many objects or values it holds, and how many lines cannot be read."""
    read = entries(payload, feed)
    if not isinstance(read, Iterator):
        return len(read), 0
    listed = unreadable = 0
    for entry in read:
        listed += not isinstance(entry, Unreadable)
        unreadable += isinstance(entry, Unreadable) and not entry.left_out
    return listed, unreadable


def _compare(listed: int, unreadable: int, before: int, unreadable_before: int, *, current: bool) -> None:
    """Raises Suspect where a list is suddenly empty, a tenth or ten times as long, or mostly something else.

    Of one that shows what holds now half is too little already, since all that is missing ends.
    """
    if before and not listed:
        words = f", but {unreadable:,} that cannot be read" if unreadable else ""
        raise Suspect(f"It has no entries{words}, and had {before:,} before.")
    if unreadable > max(listed, 2) and unreadable_before <= before:
        raise Suspect(f"It has another shape: {unreadable:,} lines cannot be read, and only {listed:,} can.")
    if before >= _FEW and listed * (2 if current else _TENFOLD) < before:
        raise Suspect(f"It has {listed:,} entries, and had {before:,} before.")
    if listed >= _FEW and before and listed > _TENFOLD * before:
        raise Suspect(f"It has {listed:,} entries, more than {_TENFOLD} times the {before:,} before.")
