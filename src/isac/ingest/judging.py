"""Before anything is written: each piece of a submission is accepted, held or refused, and they gather in batches.

A little at a time, between a server's answers; or, for a large import, in a second process.
"""

import asyncio
import hashlib
import multiprocessing
import re
import signal
import traceback
from array import array
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import orjson

from isac import times
from isac.errors import Classified, Invalid, Surroundings
from isac.ingest.owners import cause
from isac.policy.admit import Arrival
from isac.policy.screen import COMPANIONS, Refusal, Survey, screen, survey, tlp_of, trace
from isac.stix.markings import MARKINGS, TLP
from isac.stix.objects import Object, accept
from isac.store import log
from isac.store.alerts import Cause
from isac.store.triage import Holding

#: seconds that judging takes before others have their turn; beyond the second it goes on in a thread
_TURN, _SLOW = 0.002, 0.02
#: chunks that are fetched from the second process before they can be written
_AHEAD = 3
#: pieces of the shortest chunk of a second process
_SHORT = 500
#: bytes of a chunk, since objects may have a megabyte each
_ROOM = 4 * 1024 * 1024
#: pieces that the second process accepts beforehand, and bytes, since it has to keep them; after so many it listens
_AT_MOST, _AT_MOST_BYTES, _LISTEN = 10_000, 12 * 1024 * 1024, 50


@dataclass(slots=True)
class Batch:
    """One transaction's worth: what enters, each id once; what is held, what is refused."""

    arrivals: list[Arrival] = field(default_factory=list)
    #: ids of arrivals whose very bytes came again
    again: list[str] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list)
    refusals: list[dict[str, str]] = field(default_factory=list)
    #: pieces in all
    count: int = 0
    #: one of the refused is classified
    classified: bool = False
    #: where anybody registered assets: what may name one, by its bytes, of arrivals and of what is held
    named: dict[bytes, Cause] = field(default_factory=dict)


@dataclass(slots=True)
class Chunk:
    """What became of a chunk of pieces: the second version of an id goes into the second batch, and so on."""

    batches: list[Batch] = field(default_factory=lambda: [Batch()])
    #: by id, the bytes of its versions, each in the batch of its place
    versions: dict[str, list[bytes]] = field(default_factory=dict)

    def add(self, arrival: Arrival) -> Batch:
        """Into the first batch after that of the version before; the same bytes are only counted. Answers which."""
        versions = self.versions.setdefault(arrival.stix_id, [])
        if arrival.raw in versions:
            batch = self.batches[versions.index(arrival.raw)]
            batch.again.append(arrival.stix_id)
        else:
            versions.append(arrival.raw)
            if len(versions) > len(self.batches):
                self.batches.append(Batch())
            batch = self.batches[len(versions) - 1]
            batch.arrivals.append(arrival)
        batch.count += 1
        return batch


@dataclass(frozen=True, slots=True)
class Judge:
    """What is known of a submission, and judges each of its pieces."""

    known: Survey
    default: TLP
    now: datetime
    #: the same, in nanoseconds since 1970
    instant: int
    #: STIX id of who hands in
    identity: str
    #: code of the audience
    audience: str
    free: bool
    sample: bool
    #: somebody registered assets
    watched: bool

    def judge(self, piece: bytes, chunk: Chunk, seen: Object | None = None) -> None:
        """Add the piece to the chunk; `seen` is what it was accepted as, if that has been done."""
        try:
            seen = seen or accept(piece)
        except Invalid as error:
            self._refuse(chunk.batches[0], piece, error.detail)
            chunk.batches[0].classified |= isinstance(error, Classified)
            return
        verdict = None if self.free else screen(seen, self.known, self.instant, sample=self.sample)
        if verdict is None:
            # In the sandbox an id belongs to its collection, whatever creator the object names: the four are strangers.
            creator = f"{self.identity} {self.audience}" if self.free else seen.created_by
            tlp = tlp_of(seen, self.known, self.default)
            self._note(chunk.add(arrival(seen, creator or self.identity, tlp)), seen)
            return
        first = chunk.batches[0]
        first.count += 1
        if isinstance(verdict, Refusal):
            first.refusals.append(line(seen.id, seen.version, verdict.reason, self.now))
            first.classified |= verdict.classified
        else:
            held = holding(seen.id, seen.version, seen.type, seen.raw, verdict.rule, verdict.reason)
            if verdict.until is not None:
                # What its company says of it is known now alone.
                held = replace(held, until=times.not_before(verdict.until), tlp=tlp_of(seen, self.known, self.default))
            first.holdings.append(held)
            self._note(first, seen)

    def _note(self, batch: Batch, seen: Object) -> None:
        named = cause(seen, tlp_of(seen, self.known, self.default)) if self.watched else None
        if named:
            batch.named[seen.raw] = named

    def _refuse(self, batch: Batch, piece: bytes, reason: str) -> None:
        batch.count += 1
        body = next(json_objects([piece]), {})
        stix_id, version = body.get("id"), body.get("modified") or body.get("created")
        batch.refusals.append(
            line(
                stix_id if isinstance(stix_id, str) else "unknown",
                version if isinstance(version, str) else None,
                reason,
                self.now,
            )
        )


def arrival(seen: Object, producer: str, tlp: TLP) -> Arrival:
    """An accepted object on its way in."""
    # By place, which takes half the time; in the order of Arrival.
    return Arrival(
        seen.id,
        seen.type,
        producer,
        seen.created_by is None,
        seen.modified,
        seen.created,
        seen.version,
        tlp,
        seen.revoked,
        seen.valid_until,
        seen.raw,
    )


def holding(stix_id: str, version: str | None, kind: str, raw: bytes, rule: str, reason: str) -> Holding:
    """What is kept of a held object."""
    return Holding(stix_id, version or "", kind, rule, reason, hashlib.sha256(raw).digest(), raw)


def line(stix_id: str, version: str | None, message: str | None, now: datetime) -> dict[str, str]:
    """A line of the status resource; what has no version of its own gets this hand-over's time (TAXII 2.1 §4.3)."""
    told = {"id": stix_id, "version": version or times.taxii(now)}
    return told | {"message": message} if message else told


async def judged(
    judge: Judge, pieces: Sequence[bytes], order: Sequence[int], second: "Second | None" = None
) -> AsyncGenerator[Batch, None]:
    """The submission's batches, its pieces in this order, judged while PostgreSQL writes earlier ones.

    `second`: in this process, which has the same pieces.
    """
    chunks = second.judged(judge, pieces, order) if second else _judged_here(judge, pieces, order)
    async with aclosing(chunks):
        async for batches in chunks:
            for batch in batches:
                yield batch


async def _judged_here(
    judge: Judge, pieces: Sequence[bytes], order: Sequence[int]
) -> AsyncGenerator[list[Batch], None]:
    """By turns with all that the server does besides; in a thread, once a turn has kept the others waiting."""
    loop = asyncio.get_running_loop()
    slow = False
    for _, some in _chunks(pieces, order, log.BATCH):
        chunk, rest = Chunk(), iter(some)
        while not slow:
            began = loop.time()
            for piece in rest:
                judge.judge(piece, chunk)
                if loop.time() - began > _TURN:
                    break
            else:
                break
            slow = loop.time() - began > _SLOW
            await asyncio.sleep(0)
        await asyncio.to_thread(_judge_rest, judge, rest, chunk) if slow else await asyncio.sleep(0)
        yield chunk.batches


def _judge_rest(judge: Judge, pieces: Iterable[bytes], chunk: Chunk) -> None:
    for piece in pieces:
        judge.judge(piece, chunk)


def _chunks(
    pieces: Sequence[bytes], order: Sequence[int], shortest: int
) -> Iterator[tuple[Sequence[int], list[bytes]]]:
    """Places, and the pieces there: as many as fit into memory several times.

    Shorter chunks at both ends: writing begins sooner, and less is left to write when all is judged.
    """
    begin = 0
    while begin < len(order):
        size = max(shortest, min(log.BATCH, begin, (len(order) - begin) // 4))
        chunk: list[bytes] = []
        room = _ROOM
        for place in order[begin : begin + size]:
            chunk.append(pieces[place])
            room -= len(chunk[-1])
            if room < 0:
                break
        yield order[begin : begin + len(chunk)], chunk
        begin += len(chunk)


# ---------------------------------------------------------------------------------------------------- a second process

#: a batch on its way between processes: the arrivals' columns but for their bytes, the places of those in the chunk
_Packed: TypeAlias = tuple[
    list[tuple[Any, ...]],
    list[int],
    list[str],
    list[Holding],
    list[dict[str, str]],
    int,
    bool,
    list[tuple[int, Cause]],
]


class Second:
    """A process that judges all pieces, a chunk after the other. It is forked, so it has them already.

    It pays for its start from some thousand objects on.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def judged(
        self, judge: Judge, pieces: Sequence[bytes], order: Sequence[int]
    ) -> AsyncGenerator[list[Batch], None]:
        """Each chunk's batches. Raises Surroundings if the process is no more."""
        loop = asyncio.get_running_loop()
        coming: deque[tuple[Sequence[bytes], asyncio.Future[list[_Packed] | Exception]]] = deque()
        with ThreadPoolExecutor(1) as reader:
            try:
                with suppress(OSError):  # it is no more, which is told where its answer is read
                    await loop.run_in_executor(reader, self._pipe.send, (judge, order))
                for _, chunk in _chunks(pieces, order, _SHORT):
                    coming.append((chunk, loop.run_in_executor(reader, self._pipe.recv)))
                    if len(coming) > _AHEAD:
                        yield await _unpacked(*coming.popleft())
                while coming:
                    yield await _unpacked(*coming.popleft())
            finally:
                for _, future in coming:
                    future.cancel()


@contextmanager
def second_process(pieces: Sequence[bytes]) -> Iterator[Second]:
    """While the submission is looked over it accepts the first pieces: for that it need not know the others."""
    forking = multiprocessing.get_context("fork")
    ours, theirs = forking.Pipe()
    process = forking.Process(target=_judge_all, args=(pieces, theirs, ours), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Second(ours)
    finally:
        process.kill()
        process.join()
        ours.close()


def _judge_all(pieces: Sequence[bytes], pipe: Connection, other: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us
    other.close()
    with suppress(ConnectionError, EOFError):  # or was killed
        try:
            seen = _accepted_until(pipe, pieces)
            judge, order = pipe.recv()
            for places, some in _chunks(pieces, order, _SHORT):
                chunk, place = Chunk(), {}
                for number, (at, piece) in enumerate(zip(places, some, strict=True)):
                    ready = seen.pop(at, None)
                    piece = ready.raw if ready else piece
                    place[id(piece)] = number
                    judge.judge(piece, chunk, ready)
                pipe.send([_packed(batch, place) for batch in chunk.batches])
        except (ConnectionError, EOFError):
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it is told where somebody sees it
            pipe.send(RuntimeError(traceback.format_exc()))


def _accepted_until(pipe: Connection, pieces: Sequence[bytes]) -> dict[int, Object]:
    """What the first pieces are accepted as, by place, until it is told how to judge them."""
    seen: dict[int, Object] = {}
    room = _AT_MOST_BYTES
    for place, piece in enumerate(islice(pieces, _AT_MOST)):
        room -= len(piece)
        if room < 0 or (place % _LISTEN == 0 and pipe.poll()):
            break
        with suppress(Invalid):  # which it will be once more
            seen[place] = accept(piece)
    return seen


def _packed(batch: Batch, place: dict[int, int]) -> _Packed:
    *columns, raws = zip(*batch.arrivals, strict=True) if batch.arrivals else [()]
    places = [place[id(raw)] for raw in raws]
    named = [(place[id(raw)], each) for raw, each in batch.named.items()]
    return columns, places, batch.again, batch.holdings, batch.refusals, batch.count, batch.classified, named


async def _unpacked(pieces: Sequence[bytes], sent: asyncio.Future[list[_Packed] | Exception]) -> list[Batch]:
    try:
        batches = await sent
    except (EOFError, ConnectionResetError) as error:
        raise Surroundings("The process that judges the objects was stopped; hand the file in again.") from error
    if isinstance(batches, Exception):
        raise batches
    return [
        Batch(
            [Arrival._make(row) for row in zip(*columns, map(pieces.__getitem__, places), strict=True)],
            again,
            holdings,
            refusals,
            count,
            classified,
            {pieces[place]: each for place, each in named},
        )
        for columns, places, again, holdings, refusals, count, classified, named in batches
    ]


# ------------------------------------------------------------------------------------- the whole submission, beforehand


def look_over(pieces: Iterable[bytes], default: TLP) -> "tuple[Survey, array[int], array[int]]":
    """What the pieces say of each other; the places of companions, and of the others.

    Most pieces tell by their bytes alone that they say nothing.
    """
    companions, others = array("I"), array("I")

    def telling() -> Iterator[dict[str, Any]]:
        for place, piece in enumerate(pieces):
            if _DOMAIN_OBJECT.match(piece):
                others.append(place)
                if not _says_nothing(piece):
                    yield from _bodies([piece])
            else:
                body = next(_bodies([piece]), {})
                (companions if body.get("type") in COMPANIONS else others).append(place)
                if body:
                    yield body

    known = survey(telling())
    if known.company:
        trace(known, _bodies(pieces), default)
    return known, companions, others


_MARKING = b"marking-definition--"
_TLPS = frozenset(f'{stix_id}"'.encode() for stix_id in MARKINGS)
_LENGTH = max(map(len, _TLPS))
# The type stands first wherever programs write STIX. Behind escapes anything could hide.
_DOMAIN_OBJECT = re.compile(
    rb'\s*\{\s*"type"\s*:\s*"(?:attack-pattern|campaign|course-of-action|grouping|indicator|infrastructure|intrusion-set'
    rb'|location|malware|malware-analysis|note|observed-data|opinion|report|threat-actor|tool|vulnerability)"'
)


def _says_nothing(piece: bytes) -> bool:
    """Told by a domain object's bytes alone, the usual case: does it carry no marking but TLP, and is as strict as that
    says?
    """
    at = piece.find(_MARKING)
    while at >= 0:
        if piece[at : at + _LENGTH] not in _TLPS:
            return False
        at = piece.find(_MARKING, at + _LENGTH)
    return b"\\" not in piece


def json_objects(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The pieces that are JSON objects; a large submission is never held parsed."""
    for piece in pieces:
        try:
            body = orjson.loads(piece)
        except orjson.JSONDecodeError:
            continue  # it is refused, with its reason, when its turn comes
        if isinstance(body, dict):
            yield body


def _bodies(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    return filter(_is_plausible, json_objects(pieces))


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
