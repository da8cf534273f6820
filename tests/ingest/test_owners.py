"""Owners of assets are told of what comes, as it comes; and of what was there before they registered."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.conftest import Person
from tests.ingest import sources_desk
from tests.ingest.conftest import Desk
from tests.ingest.test_intake import JANUARY, MARKED, body, in_minutes, marking
from tests.store.register import Register

from isac import times
from isac.ingest import intake, later, owners
from isac.ingest.feeds import Feed
from isac.policy.alerts import Alert
from isac.stix.markings import TLP
from isac.store import alerts, submissions
from isac.store.database import Pool
from isac.store.facts import fetch

ELM, OAK, BIRCH = "Elm County Clerk", "Oak County Clerk", "Birch County Clerk"


class Watch(Register):
    """The register, and the alerts."""

    def told(self, name: str) -> list[tuple[str | None, str | None, str | None]]:
        """Value, object and audience of each alert, the oldest first."""
        found: list[Alert] = self.do(alerts.page, self.owners[name])
        return [(each.value, each.stix_id, each.audience) for each in reversed(found)]

    def look_back(self, *, minutes: int = 1) -> int:
        return int(self.run(owners.look_back(self.pool, times.now() + timedelta(minutes=minutes))))


@pytest.fixture
def desk(
    pool: Pool, run: Callable[[Coroutine[Any, Any, Any]], Any], people: dict[str, Person], database_url: str
) -> Desk:
    return Desk(pool, run, people, database_url)


@pytest.fixture
def watch(pool: Pool, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> Watch:
    return Watch(pool, run)


def named(value: str, tlp: TLP = TLP.GREEN, **more: Any) -> dict[str, Any]:
    pattern = {"pattern": f"[domain-name:value = '{value}']", "pattern_type": "stix", "valid_from": JANUARY}
    return body("indicator", **pattern, **MARKED[tlp]) | more


def test_each_owner_is_told_of_its_own_as_it_comes(desk: Desk, watch: Watch) -> None:
    watch.add(ELM, "domain elmcounty.example", "vendor Example Systems")
    watch.add(OAK, "domain oakcounty.example")
    mine, alike, theirs = named("elmcounty.example"), named("elmc0unty.example"), named("vote.oakcounty.example")
    weak = body("vulnerability", name="CVE-2026-10000 Example Systems Poll Book")
    desk.take(mine, alike, theirs, weak, named("elsewhere.example"), sample=True)

    assert sorted(watch.told(ELM), key=str) == [
        ("CVE-2026-10000", weak["id"], "us"),
        ("elmc0unty.example", alike["id"], "us"),
        ("elmcounty.example", mine["id"], "us"),
    ]
    assert watch.told(OAK) == [("vote.oakcounty.example", theirs["id"], "us")]
    assert watch.told(BIRCH) == []


def test_what_is_not_for_the_owner_is_told_without_its_id(desk: Desk, watch: Watch) -> None:
    watch.add(ELM, "domain elmcounty.example")
    held = named("elmcounty.example", object_marking_refs=[marking()["id"]])
    elsewhere, strict = named("vote.elmcounty.example"), named("a.elmcounty.example", TLP.RED)
    desk.take(held, sample=True)
    desk.take(elsewhere, to="us-il", sample=True)
    desk.take(strict, to=desk.own("cook"), sample=True)

    assert watch.told(ELM)[1:] == [("vote.elmcounty.example", None, None), (None, None, None)]
    assert watch.told(ELM)[0][1:] == (None, None)


def test_nobody_is_told_of_what_is_refused_taken_back_or_repeated(desk: Desk, watch: Watch) -> None:
    watch.add(ELM, "domain elmcounty.example")
    one = named("elmcounty.example")
    newer = one | {"modified": "2026-03-01T00:00:00.000Z", "revoked": True}
    desk.take(named("elmcounty.example"), sample=False)
    assert watch.told(ELM) == []

    desk.take(one, one, sample=True)
    desk.take(one, sample=True)
    desk.take(newer, sample=True)
    assert watch.told(ELM) == [("elmcounty.example", one["id"], "us")]


def test_a_feed_that_is_read_twice_tells_once(
    pool: Pool, run: Callable[[Coroutine[Any, Any, Any]], Any], watch: Watch, tmp_path: Path, database_url: str
) -> None:
    feeds = sources_desk.Desk(pool, run, tmp_path, database_url)
    watch.add(ELM, "domain elmcounty.example")
    (tmp_path / "list.txt").write_text("elmcounty.example\nhost.example\n")
    feed = Feed.model_validate({"name": "a-list", "path": "list.txt", "format": "text"} | sources_desk.TERMS)
    first = feeds.read(feed)[1]
    (tmp_path / "list.txt").write_text("elmcounty.example\nhost.example\nother.example\n")

    assert (first.accepted, feeds.read(feed)[1].accepted) == (2, 1)
    assert [(value, audience) for value, _, audience in watch.told(ELM)] == [("elmcounty.example", "us")]


def test_a_second_process_tells_as_well(desk: Desk, watch: Watch) -> None:
    watch.add(ELM, "domain elmcounty.example")
    one = named("elmcounty.example")
    held = named("b.elmcounty.example", object_marking_refs=[marking()["id"]])
    submission = intake.Submission([orjson.dumps(one), orjson.dumps(held)], desk.shelf("us").own, "a test", sample=True)
    watch.run(intake.take_in(watch.pool, submission, desk.actor("isac_steward"), beside=True))

    assert {stix_id for _, stix_id, _ in watch.told(ELM)} == {one["id"], None}


def test_what_waited_for_its_time_gains_its_id_then(desk: Desk, watch: Watch) -> None:
    watch.add(ELM, "domain elmcounty.example")
    soon = named("elmcounty.example", modified=in_minutes(2)["modified"])
    desk.take(soon, sample=True)
    assert watch.told(ELM) == [("elmcounty.example", None, None)]

    assert watch.run(later.take_due(watch.pool, times.now() + timedelta(minutes=5), "a test")) == 1
    assert watch.told(ELM) == [("elmcounty.example", soon["id"], "us")]


def test_who_registers_later_is_told_of_what_stands_and_is_held_once(desk: Desk, watch: Watch) -> None:
    stands, held, gone = (named(f"{host}.elmcounty.example") for host in ("a", "b", "c"))
    held |= {"object_marking_refs": [marking()["id"]]}
    desk.take(stands, held, gone, sample=True)
    desk.take(gone | {"modified": "2026-03-01T00:00:00.000Z", "revoked": True}, sample=True)
    watch.add(ELM, "domain elmcounty.example")
    assert watch.told(ELM) == []

    assert watch.look_back() >= 3
    assert watch.told(ELM) == [("a.elmcounty.example", stands["id"], "us"), (None, None, None)]
    assert watch.look_back() == 0, "only where an asset is new"
    watch.add(OAK, "domain oakcounty.example")
    assert watch.look_back() >= 3
    assert len(watch.told(ELM)) == 2


def test_a_look_back_waits_for_who_may_not_know_of_the_asset(desk: Desk, watch: Watch) -> None:
    one = named("elmcounty.example")
    desk.take(one, sample=True)
    opened = watch.do(submissions.begin, desk.actor("isac_steward"), desk.shelf("us").own.pk, "a test", times.now())
    watch.add(ELM, "domain elmcounty.example")
    assert watch.look_back() == 0

    watch.do(submissions.complete, opened[0], {}, times.now())
    assert watch.look_back() > 0
    assert [stix_id for _, stix_id, _ in watch.told(ELM)] == [one["id"]]


def test_a_look_back_reads_all_in_portions(desk: Desk, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "_PORTION", 3)
    some = [named(f"h{number}.elmcounty.example") for number in range(7)]
    desk.take(*some, sample=True)
    watch.add(ELM, "domain elmcounty.example")
    watch.look_back()

    assert {stix_id for _, stix_id, _ in watch.told(ELM)} == {each["id"] for each in some}


def test_where_nobody_registered_anything_nothing_is_looked_at(desk: Desk, watch: Watch) -> None:
    desk.take(named("elmcounty.example"), sample=True)

    submission, asking = intake.Submission([], desk.shelf("us").own, "a test"), desk.actor("isac_steward")

    async def judged() -> bool:
        async with watch.pool.connection() as conn:
            judge, _, _ = await intake.prepared(conn, submission, asking, times.now(), free=False)
            return judge.watched

    assert watch.run(judged()) is False
    watch.add(ELM, "domain elmcounty.example")
    assert watch.run(judged()) is True
    assert watch.do(fetch, "SELECT count(*) FROM alerts") == [(0,)]
