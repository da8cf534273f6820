"""The one way in: every entry ends in `take_in`.

pieces → accept → screen → weigh → put: each object is taken, held or refused with its reason, and one bad object never
costs its batch. A batch is one transaction of at most 2,000 objects, each id at most once.
"""

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from isac import times
from isac.errors import Invalid
from isac.policy.actors import Actor, Audience, Role
from isac.policy.admit import Admission, Arrival, Move, Poster
from isac.policy.screen import COMPANIONS, Hold, Refusal, Survey, default_tlp, screen, survey, tlp_of, trace
from isac.stix.markings import MARKINGS, TLP
from isac.stix.objects import Object, accept
from isac.store import audit, facts, log, submissions
from isac.store.database import Connection, Pool
from isac.store.submissions import Counts, Holding

#: longer lists are left out of the status, whose counts stay exact
LINES = 10_000


@dataclass(frozen=True, slots=True)
class Submission:
    """One hand-over: objects as their own bytes, for one audience."""

    pieces: Sequence[bytes]
    audience: Audience
    #: who hands it in, in words
    source: str
    #: of what comes unmarked; None: what the audience's kind asks for
    tlp: TLP | None = None
    #: documentation addresses are welcome
    sample: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of a submission: `id` is its public one, the lists are lines of the status resource."""

    id: str
    counts: Counts = field(default_factory=Counts)
    successes: list[dict[str, str]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    pendings: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """One transaction's worth: what enters, what is held, what is refused."""

    arrivals: list[Arrival] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list)
    refusals: list[dict[str, str]] = field(default_factory=list)
    pieces: int = 0


async def take_in(
    pool: Pool,
    submission: Submission,
    asking: Actor,
    *,
    free: bool = False,
    executor: Executor | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Take a submission in and answer what became of it; `progress` hears of each batch's size.

    Objects are judged in the executor (None: threads); another process makes a large import half as fast again.
    What was committed stays when the rest is cut off; handing the same in again changes nothing that is there. `free`
    is the sandbox's road: everything well-formed is released at once.
    """
    now = times.now()
    default = submission.tlp if submission.tlp is not None else default_tlp(submission.audience)
    async with pool.connection() as conn:
        poster = await _poster(conn, asking, free=free)
        known = await asyncio.to_thread(_survey, submission.pieces, default)
        await _learn_stored(conn, known)
        async with conn.transaction():
            pk, public_id = await submissions.begin(conn, asking, submission.audience.pk, submission.source, now)
            await audit.record(conn, asking.key_id, "submit", public_id, submission.audience.code, now)
        outcome = Outcome(public_id)
        road = _Road(
            known, default, now, asking.identity, submission.audience.code, free=free, sample=submission.sample
        )
    writing: set[asyncio.Task[None]] = set()
    try:
        async for batch in _judged(road, submission.pieces, executor):
            task = asyncio.create_task(_write(pool, batch, submission.audience, poster, pk, outcome, progress))
            writing.add(task)
            # The first alone: it holds the companions. Later ones in twos: one is prepared while one is written.
            alone = executor is None or outcome.counts == Counts()
            done, writing = await asyncio.wait(
                writing,
                return_when=asyncio.ALL_COMPLETED if alone or len(writing) > 1 else asyncio.FIRST_COMPLETED,
                timeout=None if alone or len(writing) > 1 else 0,
            )
            for written in done:
                written.result()
        await asyncio.gather(*writing)
    finally:
        for task in writing:
            task.cancel()
    async with pool.connection() as conn:
        await submissions.complete(conn, pk, _report(outcome), times.now())
    return outcome


async def _judged(road: "_Road", pieces: Sequence[bytes], executor: Executor | None) -> AsyncIterator[_Batch]:
    """The submission's batches, companions first: clients want markings before what they mark.

    The next pieces are judged while PostgreSQL writes these.
    """
    loop = asyncio.get_running_loop()
    ordered = await asyncio.to_thread(sorted, pieces, key=_is_no_companion)
    chunks = (ordered[start : start + log.BATCH] for start in range(0, len(ordered), log.BATCH))
    ahead: deque[asyncio.Future[list[_Batch]]] = deque()
    for chunk in chunks:
        ahead.append(loop.run_in_executor(executor, road.batches, chunk))
        if len(ahead) > (_AHEAD if executor else 1):
            for batch in await ahead.popleft():
                yield batch
    for judging in ahead:
        for batch in await judging:
            yield batch


#: chunks that another process judges before they can be written, so that neither waits for the other
_AHEAD = 3


async def _poster(conn: Connection, asking: Actor, *, free: bool) -> Poster:
    producers = {(await facts.producers(conn, [asking.identity]))[asking.identity]}
    organizations = {asking.organization}
    if asking.role is Role.STEWARD:
        producer, _, organization = await facts.isac(conn)
        producers.add(producer)
        organizations.add(organization)
    return Poster(asking, frozenset(producers), frozenset(organizations), free)


def _survey(pieces: Sequence[bytes], default: TLP) -> Survey:
    known = survey(_Bodies([piece for piece in pieces if not _says_nothing(piece)]))
    if known.company:
        trace(known, _Bodies(pieces), default)
    return known


_MARKING = re.compile(r"marking-definition--[0-9a-f-]{36}")
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


async def _learn_stored(conn: Connection, known: Survey) -> None:
    """What the stored marking definitions say, those too that the submission brings itself."""
    rows = await facts.fetch(
        conn,
        """SELECT v.raw FROM versions v JOIN objects o ON o.pk = v.object
           WHERE o.stix_id = ANY(%s) AND v.type = 'marking-definition'""",
        ([marking for marking in known.marked if _MARKING.fullmatch(marking)],),
    )
    for (raw,) in rows:
        known.learn(orjson.loads(raw))


@dataclass(frozen=True, slots=True)
class _Road:
    """The pure part of the road, run beside the event loop, in a thread or in another process."""

    known: Survey
    default: TLP
    now: datetime
    #: STIX id of who hands in
    identity: str
    #: code of the audience
    audience: str
    free: bool
    sample: bool

    def batches(self, pieces: Iterable[bytes]) -> list[_Batch]:
        """The pieces, each accepted, held or refused, in as many batches as it takes for an id to be once in each."""
        batches, ids, instant = [_Batch()], set[str](), times.nanoseconds(self.now)
        for piece in pieces:
            try:
                seen = accept(piece)
            except Invalid as error:
                self._refuse(batches[-1], piece, error.detail)
                continue
            if seen.id in ids:
                batches.append(_Batch())
                ids.clear()
            ids.add(seen.id)
            self._judge(batches[-1], seen, instant)
        return batches

    def _judge(self, batch: _Batch, seen: Object, instant: int) -> None:
        batch.pieces += 1
        verdict = None if self.free else screen(seen, self.known, instant, sample=self.sample)
        if isinstance(verdict, Refusal):
            batch.refusals.append(_line(seen.id, seen.version, verdict.reason, self.now))
        elif isinstance(verdict, Hold):
            batch.holdings.append(_holding(seen.id, seen.version, seen.type, seen.raw, verdict.rule, verdict.reason))
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

    def _refuse(self, batch: _Batch, piece: bytes, reason: str) -> None:
        batch.pieces += 1
        body = next(iter(_Bodies([piece])), {})
        stix_id, version = body.get("id"), body.get("modified") or body.get("created")
        batch.refusals.append(
            _line(
                stix_id if isinstance(stix_id, str) else "unknown",
                version if isinstance(version, str) else None,
                reason,
                self.now,
            )
        )


def _is_no_companion(piece: bytes) -> bool:
    if _DOMAIN_OBJECT.match(piece):
        return True  # the usual case, by its bytes alone
    return next(iter(_Bodies([piece])), {}).get("type") not in COMPANIONS


async def _write(
    pool: Pool,
    batch: _Batch,
    audience: Audience,
    poster: Poster,
    pk: int,
    outcome: Outcome,
    progress: Callable[[int], None],
) -> None:
    """One transaction: judge under the locks, note what is held and counted, and last the log."""
    now = times.now()
    by = facts.By(poster.actor.key_id, now, free=poster.free)
    async with pool.connection() as conn, conn.transaction():
        weighed = await log.weigh(conn, batch.arrivals, audience, poster)
        judged = list(zip(batch.arrivals, weighed.admissions, strict=True))
        holdings = [
            *batch.holdings,
            *(_held(arrival, verdict) for arrival, verdict in judged if verdict.rule),
        ]
        failures = [*batch.refusals, *_refused(judged, now)]
        repeated = sum(verdict.move is Move.REPEAT for _, verdict in judged)
        counts = Counts(
            accepted=batch.pieces - len(holdings) - len(failures) - repeated,
            held=len(holdings),
            refused=len(failures),
            repeated=repeated,
        )
        if holdings:
            await submissions.hold(conn, pk, audience.pk, holdings, now)
        await submissions.count(conn, pk, counts)
        await log.put(conn, weighed, audience, poster, by, pk)
    progress(batch.pieces)
    outcome.counts += counts
    if len(outcome.failures) <= LINES:
        outcome.failures += failures
    if len(outcome.pendings) <= LINES:
        outcome.pendings += [_line(h.stix_id, h.version, h.reason, now) for h in holdings]
    if len(outcome.successes) <= LINES:
        outcome.successes += [
            _line(arrival.stix_id, arrival.version, None, now)
            for arrival, verdict in judged
            if not verdict.rule and verdict.move is not Move.REFUSE
        ]


def _held(arrival: Arrival, verdict: Admission) -> Holding:
    return _holding(arrival.stix_id, arrival.version, arrival.type, arrival.raw, verdict.rule, verdict.reason)


def _holding(stix_id: str, version: str | None, kind: str, raw: bytes, rule: str, reason: str) -> Holding:
    return Holding(stix_id, version or "", kind, rule, reason, hashlib.sha256(raw).digest(), raw)


def _refused(judged: Iterable[tuple[Arrival, Admission]], now: datetime) -> list[dict[str, str]]:
    return [
        _line(arrival.stix_id, arrival.version, verdict.reason, now)
        for arrival, verdict in judged
        if verdict.move is Move.REFUSE
    ]


def _line(stix_id: str, version: str | None, message: str | None, now: datetime) -> dict[str, str]:
    """A line of the status resource; what has no version of its own gets this hand-over's time (TAXII 2.1 §4.3)."""
    line = {"id": stix_id, "version": version or times.taxii(now)}
    return line | {"message": message} if message else line


def _report(outcome: Outcome) -> dict[str, Any]:
    lists = {"successes": outcome.successes, "failures": outcome.failures, "pendings": outcome.pendings}
    return {name: lines for name, lines in lists.items() if 0 < len(lines) <= LINES}
