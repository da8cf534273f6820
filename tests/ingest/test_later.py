"""What was held for nothing but its time is taken in when that has come, as if it were handed in then (L-16)."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from tests.ingest.conftest import Desk
from tests.ingest.test_intake import MARKED, body, in_minutes, linked, marking

from isac import times
from isac.ingest import later
from isac.ingest.intake import Outcome, Submission, take_in
from isac.stix.markings import TLP
from isac.store import members, submissions
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
