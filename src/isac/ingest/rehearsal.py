"""A dry run: what would become of a submission, by the same verdicts in transactions that are rolled back.

An object's verdict hangs on what is stored under its id, and on nothing else of the submission. So what comes once is
only weighed; of what comes in several versions each is put before the next is weighed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import zip_longest

from isac import times
from isac.errors import Invalid
from isac.ingest.intake import Outcome, Submission, add, poster_of, prepared, verdicts, without_erased
from isac.ingest.judging import Batch, judged
from isac.policy.actors import Actor, Audience
from isac.policy.admit import Arrival
from isac.store import facts, log
from isac.store.database import Pool

#: versions of one object; what is put holds the log's lock until it is rolled back, and everybody waits for that
_MAX_VERSIONS = 50
#: versions of all objects of such a transaction
_AT_ONCE = 200


async def rehearse(pool: Pool, submission: Submission, asking: Actor, *, free: bool = False) -> Outcome:
    """What `take_in` would answer, but for an id; nothing is written.

    Raises Invalid for an object in more versions than can be looked at.
    """
    now = times.now()
    outcome = Outcome("")
    async with pool.connection() as conn:
        judge, companions, others = await prepared(conn, submission, asking, now, free=free)
    async with aclosing(judged(judge, submission.pieces, companions + others)) as found:
        batches = [batch async for batch in found]
    often = Counter(arrival.stix_id for batch in batches for arrival in batch.arrivals)
    for batch in batches:
        await _weigh(pool, [_once(batch, often)], submission.audience, asking, outcome, free=free)
    for steps in _steps(batches, often):
        await _weigh(pool, steps, submission.audience, asking, outcome, free=free)
    return outcome


async def _weigh(
    pool: Pool, steps: Sequence[Batch], audience: Audience, asking: Actor, outcome: Outcome, *, free: bool
) -> None:
    """Judge batches, of which the later ones hang on the earlier. The first has all ids, so all are locked in order."""
    now = times.now()
    by = facts.By(asking.key_id, now, free=free)
    async with pool.connection() as conn, conn.transaction(force_rollback=True):
        # Who has never handed in gets a number as a producer, which is gone afterwards.
        poster = await poster_of(conn, asking, free=free)
        for batch in steps:
            weighed = await log.weigh(conn, batch.arrivals, audience, poster)
            found = verdicts(await without_erased(conn, batch, now), weighed.admissions, now)
            add(outcome, batch, found, now)
            if batch is not steps[-1]:
                await log.put(conn, weighed, audience, poster, by)


def _once(batch: Batch, often: Counter[str]) -> Batch:
    """The batch without the ids that come several times."""
    arrivals = [arrival for arrival in batch.arrivals if often[arrival.stix_id] == 1]
    again = [stix_id for stix_id in batch.again if often[stix_id] == 1]
    left_out = len(batch.arrivals) - len(arrivals) + len(batch.again) - len(again)
    return replace(batch, arrivals=arrivals, again=again, count=batch.count - left_out)


def _steps(batches: Sequence[Batch], often: Counter[str]) -> Iterator[list[Batch]]:
    """What comes several times: some ids each, the first of each in the first batch, and so on."""
    #: by id, its versions in their order, and how often the very same came with it
    versions: dict[str, list[tuple[Arrival, int]]] = defaultdict(list)
    for batch in batches:
        again = Counter(batch.again)
        for arrival in batch.arrivals:
            if often[arrival.stix_id] > 1:
                versions[arrival.stix_id].append((arrival, again[arrival.stix_id]))
    some: list[list[tuple[Arrival, int]]] = []
    for stix_id, several in versions.items():
        if len(several) > _MAX_VERSIONS:
            raise Invalid(f"{stix_id} comes in {len(several)} versions; a dry run looks at {_MAX_VERSIONS} at most.")
        some.append(several)
        if sum(map(len, some)) >= _AT_ONCE:
            yield _in_turn(some)
            some = []
    if some:
        yield _in_turn(some)


def _in_turn(some: Sequence[Sequence[tuple[Arrival, int]]]) -> list[Batch]:
    turns = [[each for each in turn if each] for turn in zip_longest(*some)]
    return [
        Batch(
            arrivals=[arrival for arrival, _ in turn],
            again=[arrival.stix_id for arrival, more in turn for _ in range(more)],
            count=sum(1 + more for _, more in turn),
        )
        for turn in turns
    ]
