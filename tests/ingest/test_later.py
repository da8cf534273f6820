"""What was held for nothing but its time is taken in when that has come, as if it were handed in then (L-16)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tests.ingest.conftest import Body, Desk
from tests.ingest.test_intake import MARKED, body, in_minutes, linked, marking

from isac import times
from isac.ingest import later
from isac.ingest.intake import Outcome, Submission, take_in
from isac.stix.markings import TLP
from isac.store import database, members, submissions, triage
from isac.store.facts import fetch
from isac.store.submissions import Counts, Status


def after(desk: Desk, minutes: int) -> int:
    """So much later: how many objects were due."""
    return desk.run(later.take_due(desk.pool, times.now() + timedelta(minutes=minutes), "a test"))  # type: ignore[no-any-return]


def status(desk: Desk, outcome: Outcome, by: str = "isac_steward") -> Status:
    found: Status = desk.ask(submissions.status, outcome.id, desk.actor(by))
    return found


def audited(desk: Desk, stix_id: str) -> list[tuple[Any, ...]]:
    lines: list[tuple[Any, ...]] = desk.ask(
        fetch, "SELECT actor, action, reason FROM audit WHERE subject = %s ORDER BY pk", (stix_id,)
    )
    return lines


@pytest.mark.taxii("L-16", "T-91")
def test_what_is_held_for_its_time_is_taken_in_when_that_has_come(desk: Desk) -> None:
    soon, known = in_minutes(4), body()
    outcome = desk.take(soon, known)

    assert (after(desk, 3), desk.ids(), desk.rules()) == (0, [known["id"]], {soon["id"]: "future"})
    assert not status(desk, outcome).complete

    assert (after(desk, 5), desk.ids(), desk.rules()) == (1, [known["id"], soon["id"]], {})
    found = status(desk, outcome)
    assert (found.complete, found.success, found.pending, found.pendings) == (True, 2, 0, None)
    assert found.successes is not None
    assert {"id": soon["id"], "version": soon["modified"]} in found.successes
    assert audited(desk, soon["id"]) == [("a test", "due", "us: release")]
    assert desk.page()[-1] == orjson.dumps(soon)
    assert after(desk, 5) == 0


@pytest.mark.taxii("L-16")
def test_it_waits_to_the_last_microsecond(desk: Desk) -> None:
    now = times.now()
    one = body(modified=times.taxii(now + timedelta(minutes=2))[:-1] + "001Z")
    desk.take(one)

    assert desk.run(later.take_due(desk.pool, now + timedelta(minutes=2), "a test")) == 0
    assert desk.run(later.take_due(desk.pool, now + timedelta(minutes=2, microseconds=1), "a test")) == 1


def test_what_is_held_for_something_else_too_stays_held(desk: Desk) -> None:
    odd = in_minutes(2) | {"object_marking_refs": [marking()["id"]]}
    outcome = desk.take(odd)

    assert (after(desk, 5), desk.rules()) == (0, {odd["id"]: "marking"})
    assert not status(desk, outcome).complete


def test_whoever_may_not_hand_in_there_any_more_waits_for_an_analyst(desk: Desk) -> None:
    soon = in_minutes(2)
    outcome = desk.take(soon, by="franklin_submitter")

    assert (after(desk, 5), desk.rules(), desk.ids()) == (1, {soon["id"]: "review"}, [])
    found = status(desk, outcome, "franklin_submitter")
    assert (found.complete, found.pending) == (False, 1)
    assert found.pendings is not None
    assert "an analyst has to look" in found.pendings[0]["message"]
    assert audited(desk, soon["id"]) == [("a test", "due", "us: held, review")]
    assert after(desk, 9) == 0


def test_an_unmarked_relationship_is_as_strict_as_its_company_was(desk: Desk) -> None:
    strict, other = body(**MARKED[TLP.AMBER_STRICT]), body()
    soon = linked(strict, other) | {"modified": in_minutes(2)["modified"]}
    desk.take(strict, other, soon)

    assert (after(desk, 5), desk.rules()[soon["id"]]) == (1, "tlp")
    assert soon["id"] not in desk.ids()


def test_every_submission_that_brought_it_learns_what_became_of_it(desk: Desk) -> None:
    soon = in_minutes(2)
    first, again = desk.take(soon), desk.take(soon, soon)
    other = desk.take(soon, by="isac_analyst")

    assert after(desk, 5) == 1
    assert (status(desk, first).success, status(desk, first).complete) == (1, True)
    found = status(desk, again)
    assert (found.success, found.complete, found.successes) == (
        2,
        True,
        [{"id": soon["id"], "version": soon["modified"]}] * 2,
    )
    assert desk.ask(submissions.account, again.id, desk.actor("isac_steward")).counts == Counts(repeated=2)
    assert status(desk, other, "isac_analyst").complete
    assert desk.rules() == {}


def test_two_versions_enter_in_their_order(desk: Desk) -> None:
    first = in_minutes(1)
    second = first | {"modified": in_minutes(2)["modified"], "name": "newer"}
    desk.take(second)
    desk.take(first)

    assert after(desk, 5) == 2
    assert desk.page() == [orjson.dumps(second)]


def test_what_a_revoked_key_handed_in_waits_for_an_analyst(desk: Desk) -> None:
    soon = in_minutes(2)
    outcome = desk.take(soon, by="franklin_admin", to="us-oh-39901")
    actor = desk.actor("franklin_admin")
    desk.ask(members.revoke_key, actor.key_id, "test", times.now())

    assert (after(desk, 5), desk.rules()) == (1, {soon["id"]: "review"})
    assert not status(desk, outcome, "franklin_submitter").complete


def test_what_a_source_lists_enters_too(desk: Desk) -> None:
    soon = in_minutes(2)
    submission = Submission([orjson.dumps(soon)], desk.shelf("us").own, "Example source")
    outcome = desk.run(take_in(desk.pool, submission, desk.ask(members.source, "Example source")))

    assert outcome.counts == Counts(held=1)
    assert after(desk, 5) == 1
    assert desk.take(soon | {"name": "other"}).counts == Counts(held=1)
    assert audited(desk, soon["id"]) == [("a test", "due", "us: release")]


def break_(desk: Desk, *broken: Body) -> None:
    """Something about them cannot be read any more: no TLP has this number."""
    with psycopg.connect(desk.url, options="-c search_path=elections") as conn:
        conn.execute("UPDATE held SET tlp = 99 WHERE stix_id = ANY(%s)", ([each["id"] for each in broken],))


def test_what_cannot_be_judged_stands_in_nobodys_way(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(later, "_AT_ONCE", 2)
    after(desk, 5)  # what the tests before have left
    first, second, third = (in_minutes(1) | {"modified": in_minutes(minutes)["modified"]} for minutes in (1, 2, 3))
    outcome = desk.take(first, second, third)
    break_(desk, first, second)

    assert (after(desk, 5), desk.ids()) == (3, [third["id"]])
    assert desk.rules() == {first["id"]: "review", second["id"]: "review"}
    found = status(desk, outcome)
    assert found.pendings is not None
    assert ["an analyst looks at it" in each["message"] for each in found.pendings] == [True, True]
    assert sum("cannot be taken in" in record.message for record in caplog.records) == 2
    assert after(desk, 5) == 0


def test_one_that_cannot_be_judged_costs_no_other_of_its_batch(desk: Desk) -> None:
    broken, good = in_minutes(1), in_minutes(2)
    desk.take(broken, good)
    break_(desk, broken)

    assert (after(desk, 5), desk.ids(), desk.rules()) == (2, [good["id"]], {broken["id"]: "review"})


def test_a_database_that_is_away_ends_the_run(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is judged to be wrong that only could not be asked for, and nothing is said a thousand times."""
    soon = [in_minutes(2) for _ in range(3)]
    desk.take(*soon)

    async def away() -> None:
        async with desk.pool.connection() as guard, guard.transaction():
            await guard.execute("SELECT FROM held WHERE stix_id = %s FOR UPDATE", (soon[0]["id"],))
            async with database.pool(make_conninfo(desk.url, options="-c lock_timeout=50"), size=2) as pool:
                await later.take_due(pool, times.now() + timedelta(minutes=5), "a test")

    with pytest.raises(database.Away):
        desk.run(away())
    assert caplog.records == []
    assert set(desk.rules().values()) == {"future"}
    assert after(desk, 5) == 3


@pytest.mark.parametrize("at_once", [1, 2, 50])
def test_many_that_are_due_make_one_whole_report(desk: Desk, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(later, "_AT_ONCE", at_once)
    soon, known = [in_minutes(2) for _ in range(5)], body()
    outcome = desk.take(*soon, known, soon[0], soon[0])

    assert after(desk, 5) == 5
    found = desk.ask(submissions.account, outcome.id, desk.actor("isac_steward"))
    assert found.counts == Counts(accepted=6, repeated=2)
    told = [line["id"] for line in found.successes]
    assert sorted(told) == sorted([each["id"] for each in (*soon, known)] + [soon[0]["id"]] * 2)
    assert {told[place] for place in found.repeated} == {soon[0]["id"]}
    assert len(found.repeated) == 2


def test_of_very_many_the_report_is_written_once_a_batch_and_past_its_limit_not_at_all(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triage, "LINES", 6)
    few, many = desk.take(*[in_minutes(2) for _ in range(6)]), desk.take(*[in_minutes(2) for _ in range(7)])
    with explaining() as ran:
        assert after(desk, 5) == 13

    assert sum("SET report" in text for text, _ in ran) == 1
    assert sum("INSERT INTO versions" in text or "COPY versions" in text for text, _ in ran) <= 2
    assert len(status(desk, few).successes or ()) == 6
    assert status(desk, many).success == 7


@contextmanager
def explaining() -> Iterator[list[tuple[str, int]]]:
    """Every statement that reads or changes something meanwhile, with the blocks that it touches."""
    ran: list[tuple[str, int]] = []
    execute = psycopg.AsyncCursor.execute

    async def explained(self: Any, query: Any, *rest: Any, **how: Any) -> Any:
        if str(query).lstrip().startswith(("SELECT", "UPDATE", "DELETE")):
            found = await execute(self, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query, *rest, **how)
            ((plan,),) = await found.fetchall()
            ran.append((query, plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]))
            if not query.lstrip().startswith("SELECT"):
                return self
        return await execute(self, query, *rest, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncCursor, "execute", explained)
        yield ran


def test_what_one_costs_does_not_grow_with_what_there_ever_was(desk: Desk) -> None:
    """Submissions are never pruned, and what an analyst has to judge may lie for long."""
    outcome = desk.take(in_minutes(4))
    desk.ask(
        fetch,
        """WITH model AS (SELECT * FROM submissions WHERE id = %s), more AS (
             INSERT INTO submissions (id, organization, actor, audience, source, received_at, completed_at)
             SELECT gen_random_uuid(), organization, actor, audience, source, received_at, received_at
             FROM model, generate_series(1, 20000) RETURNING pk, audience),
           kept AS (
             INSERT INTO held (digest, submission, audience, stix_id, version, type, rule, reason, held_at, raw)
             SELECT sha256(pk::text::bytea), pk, audience, 'x', '', 'x', 'tlp', 'x', now(), '' FROM more
             RETURNING pk, submission)
           INSERT INTO pendings (submission, held, count, reason)
           SELECT submission, pk, 1, 'x' FROM kept RETURNING 1""",
        (outcome.id,),
    )
    with explaining() as ran:
        assert after(desk, 5) == 1

    assert len(ran) > 10
    assert [(text, blocks) for text, blocks in ran if blocks > 60] == []
