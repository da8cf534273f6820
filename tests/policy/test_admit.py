"""Who brings back what was withdrawn, and who is told why it waits."""

from dataclasses import replace

import pytest
from tests.policy.test_actors import (
    COUNTY_ANALYST,
    HARMONY,
    HARMONY_CLERK,
    NATION_ANALYST,
    OHIO,
    OHIO_SECRETARY,
    OTHER_GROUP,
    POLL_BOOKS,
    STATE_ADMIN,
    STATE_ANALYST,
    STEWARD,
    SUBMITTER,
    US,
    VENDOR,
    actor,
)

from isac.policy.actors import Actor, Audience, Role
from isac.policy.admit import Arrival, Move, Poster, admit
from isac.policy.release import Facts, Grant, Notice, Version
from isac.stix.markings import TLP

X = "tool--00000000-0000-4000-8000-000000000001"
VENDORS, OURS = 7, 8
VERSION = Version(pk=1, producer=VENDORS, modified=1, tlp=TLP.CLEAR, created=1, publisher=9)
ARRIVAL = Arrival(X, "tool", "identity--7", False, 1, 1, "1", TLP.CLEAR, False, None, b"")

OHIO_SUBMITTER = actor(Role.SUBMITTER, OHIO, OHIO_SECRETARY, POLL_BOOKS)
VENDOR_SUBMITTER = actor(Role.SUBMITTER, None, VENDOR, POLL_BOOKS)


def judged(who: Actor, lost: Audience, wanted: Audience, arrival: Arrival = ARRIVAL, *, source: bool = False) -> str:
    """What becomes of a vendor's object that was withdrawn: the move, or the rule that holds it."""
    facts = Facts(versions=(VERSION,), notices=(Notice(1, 2, lost),))
    poster = Poster(who, frozenset({OURS}), frozenset({who.organization}), source=source)
    same = True if arrival.modified == VERSION.modified else None
    found = admit(arrival, VENDORS, facts, wanted, poster, member=False, same=same)
    return found.rule if found.move is Move.HOLD else found.move.value


@pytest.mark.parametrize(
    ("who", "lost", "wanted", "becomes"),
    [
        (STEWARD, US, US, "grant"),
        (NATION_ANALYST, US, US, "grant"),
        (STATE_ANALYST, US, OHIO, "grant"),
        (STATE_ADMIN, OHIO, HARMONY, "grant"),
        (COUNTY_ANALYST, US, HARMONY, "grant"),
        (SUBMITTER, US, HARMONY, "withdrawn"),
        (SUBMITTER, HARMONY, HARMONY, "withdrawn"),
        (SUBMITTER, HARMONY_CLERK, HARMONY_CLERK, "withdrawn"),
        (SUBMITTER, HARMONY_CLERK, HARMONY, "grant"),
        (VENDOR_SUBMITTER, POLL_BOOKS, POLL_BOOKS, "withdrawn"),
        # It does not look down, so it does not hear of what a county lost.
        (OHIO_SUBMITTER, HARMONY, OHIO, "review"),
    ],
)
def test_what_was_withdrawn_comes_back_by_a_manager_of_the_audience(
    who: Actor, lost: Audience, wanted: Audience, becomes: str
) -> None:
    assert judged(who, lost, wanted) == becomes
    newer = judged(who, lost, wanted, ARRIVAL._replace(modified=2))
    assert newer == ("release" if becomes == "grant" else becomes)
    assert judged(who, lost, wanted, ARRIVAL._replace(modified=2, revoked=True)) == "release"


def test_a_source_decides_nothing_though_it_has_a_stewards_rights() -> None:
    assert judged(STEWARD, US, US, source=True) == "withdrawn"
    assert judged(STEWARD, US, VENDOR, source=True) == "grant"


@pytest.mark.parametrize(
    ("who", "stands", "rule"),
    [
        (SUBMITTER, (US,), "newer version"),
        (SUBMITTER, (HARMONY, US), "newer version"),
        (SUBMITTER, (OTHER_GROUP, US), "newer version"),
        # What it may read is its own to release: of the other it must not hear.
        (SUBMITTER, (HARMONY, OTHER_GROUP), "review"),
        (SUBMITTER, (OTHER_GROUP,), "review"),
        (OHIO_SUBMITTER, (HARMONY,), "review"),
        (VENDOR_SUBMITTER, (US,), "review"),
    ],
)
@pytest.mark.parametrize("rules", [True, False])
def test_that_an_object_stands_wider_is_told_to_whom_it_stands_before(
    who: Actor, stands: tuple[Audience, ...], rule: str, *, rules: bool
) -> None:
    grants = tuple(Grant(ordinal, VENDORS, audience) for ordinal, audience in enumerate(stands))
    publisher = who.organization if rules else VERSION.publisher
    facts = Facts(versions=(replace(VERSION, publisher=publisher),), grants=grants)
    poster = Poster(who, frozenset({OURS}), frozenset({who.organization}), source=False)
    found = admit(ARRIVAL._replace(modified=2), VENDORS, facts, HARMONY, poster, member=False, same=None)
    assert (found.move, found.rule, found.rules) == (Move.HOLD, rule, rules)
    assert ("wider audience" in found.reason) == (rule == "newer version")


def test_the_sandbox_holds_nothing() -> None:
    facts = Facts(versions=(VERSION,), notices=(Notice(1, 2, US),))
    poster = Poster(SUBMITTER, frozenset(), frozenset(), source=True, free=True)
    assert admit(ARRIVAL, VENDORS, facts, US, poster, member=False, same=True).move is Move.GRANT
