"""The one way in: every entry ends in `take_in`.

pieces → accept → screen → weigh → put: each object is taken, held or refused with its reason, and one bad object never
costs its batch. A batch is one transaction of at most 2,000 objects, each id at most once.
"""

import asyncio
import re
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

import orjson

from isac import times
from isac.ingest import owners
from isac.ingest.judging import Batch, Judge, Second, holding, json_objects, judged, line, look_over, second_process
from isac.policy.actors import Actor, Audience, Role
from isac.policy.admit import ERASED, Admission, Arrival, Move, Poster, was_erased
from isac.policy.screen import Survey, default_tlp
from isac.stix.markings import TLP
from isac.store import assets, audit, erasure, facts, log, members, submissions, triage
from isac.store.alerts import Cause
from isac.store.database import Connection, Pool
from isac.store.submissions import LINES, Counts
from isac.store.triage import Holding


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
    #: words for analysts
    context: str = ""


@dataclass(slots=True)
class Outcome:
    """What became of a submission: `id` is its public one, the lists are lines of the status resource."""

    id: str
    counts: Counts = field(default_factory=Counts)
    successes: list[dict[str, str]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    pendings: list[dict[str, str]] = field(default_factory=list)
    #: places in `successes` of what was there already
    repeated: list[int] = field(default_factory=list)
    #: codes of the audiences from which a stricter marking took objects, and how many
    taken: Counter[str] = field(default_factory=Counter)
    #: something in it is classified, or was erased here, so nothing of it must be archived
    unkept: bool = False


async def take_in(
    pool: Pool,
    submission: Submission,
    asking: Actor,
    *,
    free: bool = False,
    beside: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Take a submission in and answer what became of it; `progress` hears of each batch's size.

    `beside`: judge the objects in a second process, for a program that has nothing else to do. What was committed stays
    when the rest is cut off; handing the same in again changes nothing that is there. `free` is the sandbox's road:
    everything well-formed is released at once.
    """
    with second_process(submission.pieces) if beside else nullcontext() as second:
        return await _take_in(pool, submission, asking, second, free=free, progress=progress)


async def _take_in(
    pool: Pool,
    submission: Submission,
    asking: Actor,
    second: Second | None,
    *,
    free: bool,
    progress: Callable[[int], None],
) -> Outcome:
    now = times.now()
    async with pool.connection() as conn:
        poster = await poster_of(conn, asking, free=free)
        judge, companions, others = await prepared(conn, submission, asking, now, free=free)
        async with conn.transaction():
            pk, public_id = await submissions.begin(
                conn, asking, submission.audience.pk, submission.source, now, submission.context
            )
            await audit.record(conn, asking.key_id, "submit", public_id, submission.audience.code, now)
        outcome = Outcome(public_id)
    #: what is written just now, with the ids in it: of two versions of one object the first is written first
    writing: dict[asyncio.Task[None], set[str]] = {}
    #: pieces whose writing began; were companions among the last of them?
    begun, in_company = 0, False
    try:
        # Companions first, since clients want markings before what they mark.
        found = judged(judge, submission.pieces, companions + others, second)
        async with submissions.alive(pool, pk), aclosing(found) as batches:
            async for batch in batches:
                ids = {arrival.stix_id for arrival in batch.arrivals}
                # In twos: one is prepared while one is written. But nothing overtakes the companions.
                most = 1 if in_company else 2
                in_company = begun < len(companions)
                begun += batch.count
                while len(writing) >= most or any(map(ids.intersection, writing.values())):
                    await _one_written(writing)
                task = asyncio.create_task(_write(pool, batch, submission.audience, poster, pk, outcome, progress))
                writing[task] = ids
            while writing:
                await _one_written(writing)
    finally:
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
    async with pool.connection() as conn:
        await submissions.complete(conn, pk, _report(outcome), times.now())
    return outcome


async def _one_written(writing: dict[asyncio.Task[None], set[str]]) -> None:
    done, _ = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        del writing[task]
        task.result()


async def prepared(
    conn: Connection, submission: Submission, asking: Actor, now: datetime, *, free: bool
) -> "tuple[Judge, array[int], array[int]]":
    """Who judges the pieces; the places of companions, which go first, and of the others."""
    default = submission.tlp if submission.tlp is not None else default_tlp(submission.audience)
    known, companions, others = await asyncio.to_thread(look_over, submission.pieces, default)
    await _learn_stored(conn, known)
    judge = Judge(
        known,
        default,
        now,
        times.nanoseconds(now),
        asking.identity,
        submission.audience.code,
        free=free,
        sample=submission.sample,
        watched=await assets.any_registered(conn),
    )
    return judge, companions, others


async def poster_of(conn: Connection, asking: Actor, *, free: bool) -> Poster:
    """Who hands in, with all that verdicts hang on."""
    producers = {(await facts.producers(conn, [asking.identity]))[asking.identity]}
    organizations = {asking.organization}
    if asking.role is Role.STEWARD:
        producer, _, organization = await facts.isac(conn)
        producers.add(producer)
        organizations.add(organization)
    source = await facts.is_source(conn, asking.organization)
    return Poster(asking, frozenset(producers), frozenset(organizations), source=source, free=free)


async def handed_by(conn: Connection, key_id: str, organization: str, *, by_key: bool) -> Actor:
    """Who handed something in, with today's rights. Raises NotFound for a key that is revoked."""
    return await (members.keyholder(conn, key_id) if by_key else members.source(conn, organization))


_MARKING = re.compile(r"marking-definition--[0-9a-f-]{36}")


async def _learn_stored(conn: Connection, known: Survey) -> None:
    """What the stored marking definitions say, those too that the submission brings itself."""
    wanted = [marking for marking in known.marked if _MARKING.fullmatch(marking)]
    if not wanted:
        return
    for raw in await facts.marking_definitions(conn, wanted):
        known.learn(orjson.loads(raw))


async def _write(
    pool: Pool,
    batch: Batch,
    audience: Audience,
    poster: Poster,
    pk: int,
    outcome: Outcome,
    progress: Callable[[int], None],
) -> None:
    """One transaction: judge under the locks, note what is held, then the log, then the counts.

    Those stand in the submission's one row, on which its next batch would wait; on the log it waits anyway.
    """
    now = times.now()
    by = facts.By(poster.actor.key_id, now, free=poster.free)
    async with pool.connection() as conn, conn.transaction():
        weighed = await log.weigh(conn, batch.arrivals, audience, poster)
        batch = await without_erased(conn, batch, now)
        found = verdicts(batch, weighed.admissions, now)
        if found.holdings:
            await triage.hold(conn, pk, audience.pk, found.holdings, now)
        named = _naming(batch, found) if batch.named else {}
        taken = await owners.put(conn, weighed, named, audience, poster, by, pk)
        await submissions.count(conn, pk, found.counts)
        told = found.entered if len(outcome.successes) <= LINES else []
        unversioned = {arrival.stix_id for arrival, _ in told if arrival.version is None}
        shown = await submissions.shown_versions(conn, audience, unversioned) if unversioned else {}
    progress(batch.count)
    outcome.taken.update(lost.code for lost in taken)
    add(outcome, batch, found, now, shown)


def _naming(batch: Batch, found: "Verdicts") -> dict[bytes, Cause]:
    """What owners of assets may have to be told of, of a batch: what was not seen before, and what is held."""
    raws = [arrival.raw for arrival, verdict in found.entered if verdict.move not in owners.QUIET]
    raws += [held.raw for held in found.holdings]
    return {raw: batch.named[raw] for raw in raws if raw in batch.named}


async def erased_since(conn: Connection, public_id: str, pieces: Sequence[bytes]) -> bool:
    """Was something erased of what this submission brought, since it began?

    To be asked in the transaction that writes down what came, or words of it.
    """
    ids = await erasure.since(conn, public_id)
    return bool(ids) and await asyncio.to_thread(_names_one, pieces, ids)


def _names_one(pieces: Iterable[bytes], ids: Collection[str]) -> bool:
    return any(str(body.get("id", "")).lower() in ids for body in json_objects(pieces))


async def without_erased(conn: Connection, batch: Batch, now: datetime) -> Batch:
    """What was erased here is refused as such before it is weighed, too: to hold it, or its file, would keep it."""
    ids = {holding.stix_id for holding in batch.holdings} | {line["id"].lower() for line in batch.refusals}
    erased = await erasure.kept_out(conn, ids) if ids else {}
    if not erased:
        return batch
    gone = [
        each
        for each in batch.holdings
        if each.stix_id in erased and was_erased(erased[each.stix_id], each.digest, each.modified, None)
    ]
    # Of what was refused already nobody knows the version for sure.
    refusals = [each | {"message": ERASED.reason} if each["id"].lower() in erased else each for each in batch.refusals]
    lines = [line(each.stix_id, each.version, ERASED.reason, now) for each in gone]
    rest = [each for each in batch.holdings if each not in gone]
    return replace(batch, holdings=rest, refusals=[*refusals, *lines])


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What becomes of a batch."""

    counts: Counts
    holdings: list[Holding]
    failures: list[dict[str, str]]
    entered: list[tuple[Arrival, Admission]]
    #: something in it was erased here before
    erased: bool


def verdicts(batch: Batch, admissions: Iterable[Admission], now: datetime) -> Verdicts:
    """What becomes of a batch whose arrivals were admitted so."""
    judged = _with_repeats(batch, list(zip(batch.arrivals, admissions, strict=True)))
    holdings = [*batch.holdings, *(_held(arrival, verdict) for arrival, verdict in judged if verdict.rule)]
    failures = [*batch.refusals, *_refused(judged, now)]
    entered = [
        (arrival, verdict) for arrival, verdict in judged if not verdict.rule and verdict.move is not Move.REFUSE
    ]
    repeated = sum(verdict.move is Move.REPEAT for _, verdict in judged)
    accepted = batch.count - len(holdings) - len(failures) - repeated
    erased = any(line["message"] == ERASED.reason for line in failures)
    return Verdicts(Counts(accepted, len(holdings), len(failures), repeated), holdings, failures, entered, erased)


def add(
    outcome: Outcome, batch: Batch, found: Verdicts, now: datetime, shown: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Add what became of a batch; `shown` are the versions under which clients meet what has none of its own."""
    outcome.counts += found.counts
    outcome.unkept |= batch.classified or found.erased
    if len(outcome.failures) <= LINES:
        outcome.failures += found.failures
    if len(outcome.pendings) <= LINES:
        outcome.pendings += [line(h.stix_id, h.version, h.reason, now) for h in found.holdings]
    if len(outcome.successes) <= LINES:
        first = len(outcome.successes)
        outcome.successes += [
            line(arrival.stix_id, arrival.version or shown.get(arrival.stix_id), None, now)
            for arrival, _ in found.entered
        ]
        outcome.repeated += [
            first + place for place, (_, verdict) in enumerate(found.entered) if verdict.move is Move.REPEAT
        ]


def _with_repeats(batch: Batch, judged: list[tuple[Arrival, Admission]]) -> list[tuple[Arrival, Admission]]:
    """The verdicts, also on what came again in the same batch: it is there already, or waits or is refused alike."""
    if not batch.again:
        return judged
    known = {arrival.stix_id: (arrival, verdict) for arrival, verdict in judged}
    again = [known[stix_id] for stix_id in batch.again]
    entered = Admission(Move.REPEAT)
    return judged + [
        (arrival, verdict if verdict.rule or verdict.move is Move.REFUSE else entered) for arrival, verdict in again
    ]


def _held(arrival: Arrival, verdict: Admission) -> Holding:
    return holding(arrival.stix_id, arrival.version, arrival.type, arrival.raw, verdict.rule, verdict.reason)


def _refused(judged: Iterable[tuple[Arrival, Admission]], now: datetime) -> list[dict[str, str]]:
    return [
        line(arrival.stix_id, arrival.version, verdict.reason, now)
        for arrival, verdict in judged
        if verdict.move is Move.REFUSE
    ]


def _report(outcome: Outcome) -> dict[str, Any]:
    lists = {"successes": outcome.successes, "failures": outcome.failures}
    report: dict[str, Any] = {name: lines for name, lines in lists.items() if 0 < len(lines) <= LINES}
    if "successes" in report and outcome.repeated:
        report["repeated"] = outcome.repeated
    return report
