"""The pure part of the road: each piece of a submission is accepted, held or refused, and they gather in batches.

In small steps between the answers of a server, or, for a large import, in a second process.
"""

import asyncio
import hashlib
import multiprocessing
import re
import signal
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import orjson

from isac import times
from isac.errors import Invalid, Surroundings
from isac.policy.admit import Arrival
from isac.policy.screen import COMPANIONS, Hold, Refusal, Survey, screen, survey, tlp_of, trace
from isac.stix.markings import MARKINGS, TLP
from isac.stix.objects import Object, accept
from isac.store import log
from isac.store.submissions import Holding

#: bytes that are judged at one go, a millisecond's work, before others have their turn
_STEP = 32 * 1024
#: seconds after which a step has kept the others waiting
_SLOW = 0.01
#: batches that the second process may be ahead
_AHEAD = 3


@dataclass(slots=True)
class Batch:
    """One transaction's worth: what enters, what is held, what is refused; each id at most once."""

    arrivals: list[Arrival] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list)
    refusals: list[dict[str, str]] = field(default_factory=list)
    pieces: int = 0
    ids: set[str] = field(default_factory=set, compare=False)


@dataclass(frozen=True, slots=True)
class Judge:
    """What is known of a submission, and judges each of its pieces."""

    known: Survey
    default: TLP
    now: datetime
    #: STIX id of who hands in
    identity: str
    #: code of the audience
    audience: str
    free: bool
    sample: bool

    def judge(self, pieces: Iterable[bytes], batches: list[Batch]) -> None:
        """Add the pieces to the last batch; to a new one where an id is in it already."""
        instant = times.nanoseconds(self.now)
        for piece in pieces:
            try:
                seen = accept(piece)
            except Invalid as error:
                self._refuse(batches[-1], piece, error.detail)
                continue
            if seen.id in batches[-1].ids:
                batches.append(Batch())
            batches[-1].ids.add(seen.id)
            self._screen(batches[-1], seen, instant)

    def _screen(self, batch: Batch, seen: Object, instant: int) -> None:
        batch.pieces += 1
        verdict = None if self.free else screen(seen, self.known, instant, sample=self.sample)
        if isinstance(verdict, Refusal):
            batch.refusals.append(line(seen.id, seen.version, verdict.reason, self.now))
        elif isinstance(verdict, Hold):
            batch.holdings.append(holding(seen.id, seen.version, seen.type, seen.raw, verdict.rule, verdict.reason))
        else:
            batch.arrivals.append(self._arrival(seen))

    def _arrival(self, seen: Object) -> Arrival:
        creator = seen.created_by
        if self.free:
            # In the sandbox an id belongs to its collection, whatever creator the object names: the four are strangers.
            creator = f"{self.identity} {self.audience}"
        return Arrival(
            stix_id=seen.id,
            type=seen.type,
            producer=creator or self.identity,
            anonymous=seen.created_by is None,
            modified=seen.modified,
            created=seen.created,
            version=seen.version,
            tlp=tlp_of(seen, self.known, self.default),
            revoked=seen.revoked,
            valid_until=seen.valid_until,
            raw=seen.raw,
        )

    def _refuse(self, batch: Batch, piece: bytes, reason: str) -> None:
        batch.pieces += 1
        body = next(iter(_Bodies([piece])), {})
        stix_id, version = body.get("id"), body.get("modified") or body.get("created")
        batch.refusals.append(
            line(
                stix_id if isinstance(stix_id, str) else "unknown",
                version if isinstance(version, str) else None,
                reason,
                self.now,
            )
        )


def holding(stix_id: str, version: str | None, kind: str, raw: bytes, rule: str, reason: str) -> Holding:
    """What is kept of a held object."""
    return Holding(stix_id, version or "", kind, rule, reason, hashlib.sha256(raw).digest(), raw)


def line(stix_id: str, version: str | None, message: str | None, now: datetime) -> dict[str, str]:
    """A line of the status resource; what has no version of its own gets this hand-over's time (TAXII 2.1 §4.3)."""
    told = {"id": stix_id, "version": version or times.taxii(now)}
    return told | {"message": message} if message else told


async def judged(judge: Judge, pieces: Sequence[bytes], *, beside: bool) -> AsyncGenerator[Batch, None]:
    """The submission's batches, companions first: clients want markings before what they mark.

    They are judged while PostgreSQL writes earlier ones: `beside`, in a second process, which pays for its start from
    some thousand objects on.
    """
    ordered = await asyncio.to_thread(sorted, pieces, key=_is_no_companion)
    if beside:
        with _second_process(judge, ordered) as results:
            async for batch in _received(results, ordered):
                yield batch
        return
    for chunk in _chunks(ordered):
        for batch in await _judged_here(judge, chunk):
            yield batch


async def _judged_here(judge: Judge, chunk: Sequence[bytes]) -> list[Batch]:
    """Step by step, others in between; in a thread where the objects are large or need the grammar of patterns."""
    loop = asyncio.get_running_loop()
    batches = [Batch()]
    slow = False
    for step in _steps(chunk):
        began = loop.time()
        if slow:
            await asyncio.to_thread(judge.judge, step, batches)
        else:
            judge.judge(step, batches)
            await asyncio.sleep(0)
        slow = loop.time() - began > _SLOW
    return batches


def _chunks(pieces: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (pieces[start : start + log.BATCH] for start in range(0, len(pieces), log.BATCH))


def _steps(pieces: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    start = size = 0
    for end, piece in enumerate(pieces, 1):
        size += len(piece)
        if size >= _STEP or end == len(pieces):
            yield pieces[start:end]
            start, size = end, 0


# ---------------------------------------------------------------------------------------------------- a second process

#: a batch on its way between processes: the arrivals' columns but for their bytes, the places of those in the chunk
_Packed: TypeAlias = tuple[list[tuple[Any, ...]], list[int], list[Holding], list[dict[str, str]], int]


@contextmanager
def _second_process(judge: Judge, ordered: Sequence[bytes]) -> Iterator[Connection]:
    """A process that judges all pieces, a chunk after the other. It is forked, so it has them already."""
    forking = multiprocessing.get_context("fork")
    results, sending = forking.Pipe(duplex=False)
    process = forking.Process(target=_judge_all, args=(judge, ordered, results, sending), daemon=True)
    process.start()
    sending.close()
    try:
        yield results
    finally:
        process.kill()
        process.join()
        results.close()


def _judge_all(judge: Judge, ordered: Sequence[bytes], results: Connection, sending: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us
    results.close()
    with suppress(BrokenPipeError):  # or was killed
        for chunk in _chunks(ordered):
            batches = [Batch()]
            judge.judge(chunk, batches)
            place = {id(piece): number for number, piece in enumerate(chunk)}
            sending.send([_packed(batch, place) for batch in batches])


def _packed(batch: Batch, place: dict[int, int]) -> _Packed:
    *columns, raws = zip(*batch.arrivals, strict=True) if batch.arrivals else [()]
    return columns, [place[id(raw)] for raw in raws], batch.holdings, batch.refusals, batch.pieces


async def _received(results: Connection, ordered: Sequence[bytes]) -> AsyncGenerator[Batch, None]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as reader:
        coming: deque[tuple[Sequence[bytes], asyncio.Future[list[_Packed]]]] = deque()
        for chunk in _chunks(ordered):
            coming.append((chunk, loop.run_in_executor(reader, results.recv)))
            if len(coming) > _AHEAD:
                for batch in await _unpacked(*coming.popleft()):
                    yield batch
        while coming:
            for batch in await _unpacked(*coming.popleft()):
                yield batch


async def _unpacked(chunk: Sequence[bytes], sent: asyncio.Future[list[_Packed]]) -> list[Batch]:
    try:
        batches = await sent
    except EOFError as error:
        raise Surroundings("The process that judges the objects was stopped; hand the file in again.") from error
    return [
        Batch(
            [Arrival._make(row) for row in zip(*columns, map(chunk.__getitem__, places), strict=True)],
            holdings,
            refusals,
            count,
        )
        for columns, places, holdings, refusals, count in batches
    ]


# ------------------------------------------------------------------------------------- the whole submission, beforehand


def look_over(pieces: Sequence[bytes], default: TLP) -> Survey:
    """What the pieces say of each other, told by most of them through their bytes alone."""
    known = survey(_Bodies([piece for piece in pieces if not _says_nothing(piece)]))
    if known.company:
        trace(known, _Bodies(pieces), default)
    return known


_MARKINGS = re.compile(rb'marking-definition--[^"]*')
_TLPS = frozenset(stix_id.encode() for stix_id in MARKINGS)
# The type stands first wherever programs write STIX. Behind escapes anything could hide.
_DOMAIN_OBJECT = re.compile(
    rb'\s*\{\s*"type"\s*:\s*"(?:attack-pattern|campaign|course-of-action|grouping|indicator|infrastructure|intrusion-set'
    rb'|location|malware|malware-analysis|note|observed-data|opinion|report|threat-actor|tool|vulnerability)"'
)


def _says_nothing(piece: bytes) -> bool:
    """Told by its bytes alone, the usual case: does it carry no marking but TLP, and is as strict as that says?"""
    return bool(_DOMAIN_OBJECT.match(piece)) and b"\\" not in piece and _TLPS.issuperset(_MARKINGS.findall(piece))


def _is_no_companion(piece: bytes) -> bool:
    if _DOMAIN_OBJECT.match(piece):
        return True  # the usual case, by its bytes alone
    return next(iter(_Bodies([piece])), {}).get("type") not in COMPANIONS


@dataclass(frozen=True, slots=True)
class _Bodies:
    """The pieces that are JSON objects, parsed anew for each reading: a large submission is never held parsed."""

    pieces: Iterable[bytes]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for piece in self.pieces:
            try:
                body = orjson.loads(piece)
            except orjson.JSONDecodeError:
                continue  # it is refused, with its reason, when its turn comes
            if isinstance(body, dict) and _is_plausible(body):
                yield body


def _is_plausible(body: dict[str, Any]) -> bool:
    """Is what the survey reads of it of the right shape? What is not is refused, with its reason, in its turn."""
    refs, granular = body.get("object_marking_refs", []), body.get("granular_markings", [])
    return (
        isinstance(body.get("type"), str)
        and isinstance(refs, list)
        and all(isinstance(ref, str) for ref in refs)
        and isinstance(granular, list)
        and all(isinstance(mark, dict) and isinstance(mark.get("marking_ref", ""), str) for mark in granular)
    )
