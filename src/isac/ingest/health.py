"""Is a feed well? What its last runs say, in words for whoever has to look."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from isac.ingest.feeds import Feed
from isac.store import runs
from isac.store.database import Connection
from isac.store.runs import Run

#: runs that are looked at: how often in a row it failed
_LOOKED_AT = 20
#: a run may begin a little late
_SLACK = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that an operator should look at; `kind` is short and fixed."""

    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class Health:
    """One feed, as its last runs show it."""

    feed: Feed
    last: Run | None
    last_good: Run | None
    #: the last run that brought something new
    last_new: Run | None
    alarms: tuple[Alarm, ...]


async def of(conn: Connection, feed: Feed, now: datetime) -> Health:
    """The feed's health at this instant."""
    latest = await runs.latest(conn, feed.name, _LOOKED_AT)
    good = await runs.latest(conn, feed.name, outcomes=runs.GOOD)
    new = await runs.latest(conn, feed.name, outcomes=("taken", "kept"))
    return Health(
        feed,
        latest[0] if latest else None,
        good[0] if good else None,
        new[0] if new else None,
        tuple(alarms(feed, latest, good, new, now)),
    )


def alarms(feed: Feed, latest: Sequence[Run], good: Sequence[Run], new: Sequence[Run], now: datetime) -> list[Alarm]:
    """What is wrong: failing, suspect, late, quiet. The runs are the newest first."""
    found = []
    ended = [run for run in latest if run.outcome != "running"]
    if ended and ended[0].outcome == "suspect":
        found.append(
            Alarm("suspect", f"{ended[0].problem} Look at it; if it is right: isac feeds run {feed.name} --anyway")
        )
    elif ended and ended[0].outcome == "failed":
        failures = next((nth for nth, run in enumerate(ended) if run.outcome in runs.GOOD), len(ended))
        often = f"{failures} times in a row" if failures < _LOOKED_AT else f"at least {failures} times in a row"
        found.append(Alarm("failing", f"It failed {'once' if failures == 1 else often}: {ended[0].problem}"))
    elif ended and ended[0].problem:
        found.append(Alarm("partly", f"Not all of it could be read: {ended[0].problem}"))
    if feed.every is not None:
        if not latest:
            found.append(Alarm("late", "It was never read; do the jobs run? (isac worker)"))
        elif not good or now - good[0].started_at > 2 * feed.every + _SLACK:
            since = f"since {good[0].started_at:%Y-%m-%d %H:%M} UTC" if good else "ever"
            found.append(Alarm("late", f"It was not read well {since}, and should be every {spoken(feed.every)}."))
    if feed.rhythm is not None and new and now - (new[0].ended_at or new[0].started_at) > feed.rhythm:
        found.append(
            Alarm("quiet", f"Nothing new came for {spoken(now - new[0].started_at)}; usual is {spoken(feed.rhythm)}.")
        )
    return found


def spoken(span: timedelta) -> str:
    """About so long: 3 days, 6 hours, 15 minutes."""
    minutes = int(span.total_seconds() // 60)
    for size, word in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {word}{'s' * (count > 1)}"
    return "a moment"
