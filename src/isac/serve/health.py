"""For those who watch the service: does it live, can it serve, and how it stands.

Whether it lives and can serve anybody may ask, for load balancers have no keys; numbers are for the ISAC's own.
"""

import asyncio

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from isac import times
from isac.errors import NotFound
from isac.ingest import feeds
from isac.ingest import health as feed_health
from isac.ingest.health import Health
from isac.policy.actors import Role
from isac.serve.access import Anybody, Here, Member, ReadDb
from isac.store import database, statistics
from isac.store.statistics import Statistics

#: seconds that the database may take to answer
_PATIENCE = 2.0

routes = APIRouter()


@routes.get("/healthz")
async def get_health(anybody: Anybody) -> Response:
    """Does this worker answer?"""
    return PlainTextResponse("ok\n")


@routes.get("/readyz")
async def get_readiness(anybody: Anybody, here: Here) -> Response:
    """Can it serve members? 503 with the reason where the database does not answer."""
    try:
        async with asyncio.timeout(_PATIENCE), here.pool.connection(timeout=_PATIENCE) as conn:
            await statistics.answers(conn)
    except (TimeoutError, database.Away):
        return PlainTextResponse("The database does not answer.\n", status_code=503)
    if not await here.follower.catch_up():
        return PlainTextResponse("The log cannot be followed.\n", status_code=503)
    return PlainTextResponse("ready\n")


@routes.get("/metrics")
async def get_metrics(member: Member, db: ReadDb, here: Here) -> Response:
    """Numbers in Prometheus's text format, for a steward's key; of processes those of the worker that answers."""
    if member.role is not Role.STEWARD:
        raise NotFound("There is nothing at this address.")
    defined, problems = await asyncio.to_thread(feeds.load_good, here.feeds) if here.feeds else ([], [])
    states = [await feed_health.of(db, feed, times.now()) for feed in defined]
    found = _written(await statistics.now(db), states, len(problems))
    return Response(found, media_type=CONTENT_TYPE_LATEST)


def _written(stands: Statistics, states: list[Health], broken: int) -> bytes:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)

    def gauge(name: str, words: str, *labels: str) -> Gauge:
        return Gauge(name, words, labels, namespace="isac", registry=registry)

    gauge("log_entries", "Entries of the release log, ends among them.").set(stands.entries)
    gauge("log_newest_timestamp_seconds", "When the newest entry was dated.").set(stands.newest)
    held = gauge("held_objects", "Objects that wait for an analyst.", "rule")
    for rule, count in stands.held.items():
        held.labels(rule).set(count)
    jobs = gauge("jobs", "Jobs by their state.", "state")
    for state, count in stands.jobs.items():
        jobs.labels(state).set(count)
    gauge("feed_definitions_broken", "Files in the feeds' folder that define no feed, or one a second time.").set(
        broken
    )
    alarm = gauge("feed_alarm", "Something is wrong with a feed.", "feed", "kind")
    good = gauge("feed_last_good_timestamp_seconds", "When a feed was last read well.", "feed")
    entries = gauge("feed_entries", "Entries that it had when something was last new.", "feed")
    for of in states:
        for each in of.alarms:
            alarm.labels(of.feed.name, each.kind).set(1)
        if of.last_good is not None:
            good.labels(of.feed.name).set(of.last_good.started_at.timestamp())
        if of.last_new is not None and of.last_new.listed is not None:
            entries.labels(of.feed.name).set(of.last_new.listed)
    return generate_latest(registry)
