"""Who may read, release and administer what: a table of people, and properties of random trees."""

import itertools
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isac.policy.actors import Actor, Audience, Role, Scope, administers, covers, may_read, may_release, scope_of

PUBLIC = Audience(1, "public", (1,), "public")
US = Audience(2, "nation", (1, 2), "us")
OHIO = Audience(3, "state", (1, 2, 3), "us-oh")
HARMONY = Audience(4, "local", (1, 2, 3, 4), "us-oh-39999")
ELM_TOWN = Audience(5, "local", (1, 2, 3, 4, 5), "us-oh-3999900001")
OAK = Audience(6, "local", (1, 2, 3, 6), "us-oh-39997")
TEXAS = Audience(7, "state", (1, 2, 7), "us-tx")
MESQUITE = Audience(8, "local", (1, 2, 7, 8), "us-tx-48999")
POLL_BOOKS = Audience(9, "group", (9,), "poll-books")
OTHER_GROUP = Audience(10, "group", (10,), "other")
HARMONY_CLERK = Audience(11, "organization", (11,), "harmony-clerk")
OHIO_SECRETARY = Audience(12, "organization", (12,), "ohio-secretary")
VENDOR = Audience(13, "organization", (13,), "vendor")
ISAC = Audience(14, "organization", (14,), "isac")
EVERYTHING = {
    each.code: each
    for each in (
        *(PUBLIC, US, OHIO, HARMONY, ELM_TOWN, OAK, TEXAS, MESQUITE),
        *(POLL_BOOKS, OTHER_GROUP, HARMONY_CLERK, OHIO_SECRETARY, VENDOR, ISAC),
    )
}


def actor(role: Role, home: Audience | None, own: Audience, *groups: Audience) -> Actor:
    pks = frozenset(group.pk for group in groups)
    # A vendor without a jurisdiction reads what is public: its scope begins at the root, its home is nowhere.
    scope = scope_of(role, home or PUBLIC, pks, own.pk)
    return Actor(1, "abcd1234", 1, "identity--1", role, home.pk if home else None, own.pk, pks, scope)


Asker = TypeVar("Asker")


def codes(question: Callable[[Asker, Audience], bool], who: Asker) -> set[str]:
    return {code for code, audience in EVERYTHING.items() if question(who, audience)}


UP_FROM_HARMONY = {"public", "us", "us-oh", "us-oh-39999"}
OHIO_AND_BELOW = {"us-oh", "us-oh-39999", "us-oh-3999900001", "us-oh-39997"}
NODES_OF_THE_NATION = {"us", *OHIO_AND_BELOW, "us-tx", "us-tx-48999"}

POLLER = actor(Role.POLLER, HARMONY, HARMONY_CLERK, POLL_BOOKS)
SUBMITTER = actor(Role.SUBMITTER, HARMONY, HARMONY_CLERK, POLL_BOOKS)
COUNTY_ANALYST = actor(Role.ANALYST, HARMONY, HARMONY_CLERK)
STATE_ANALYST = actor(Role.ANALYST, OHIO, OHIO_SECRETARY, POLL_BOOKS)
STATE_ADMIN = actor(Role.ADMIN, OHIO, OHIO_SECRETARY, POLL_BOOKS)
NATION_ANALYST = actor(Role.ANALYST, US, ISAC)
VENDOR_ANALYST = actor(Role.ANALYST, None, VENDOR, POLL_BOOKS)
VENDOR_ADMIN = actor(Role.ADMIN, None, VENDOR)
STEWARD = actor(Role.STEWARD, US, ISAC)


@pytest.mark.parametrize(
    ("who", "readable"),
    [
        (POLLER, UP_FROM_HARMONY | {"poll-books", "harmony-clerk"}),
        (SUBMITTER, UP_FROM_HARMONY | {"poll-books", "harmony-clerk"}),
        (COUNTY_ANALYST, UP_FROM_HARMONY | {"us-oh-3999900001", "harmony-clerk"}),
        (STATE_ANALYST, {"public", "us"} | OHIO_AND_BELOW | {"poll-books", "ohio-secretary"}),
        (STATE_ADMIN, {"public", "us"} | OHIO_AND_BELOW | {"poll-books", "ohio-secretary"}),
        (NATION_ANALYST, {"public"} | NODES_OF_THE_NATION | {"isac"}),
        (VENDOR_ANALYST, {"public", "poll-books", "vendor"}),
        (VENDOR_ADMIN, {"public", "vendor"}),
        (STEWARD, set(EVERYTHING)),
    ],
)
def test_each_reads_up_its_path_and_only_analysts_and_admins_read_down(who: Actor, readable: set[str]) -> None:
    assert codes(may_read, who.scope) == readable


@pytest.mark.parametrize(
    ("who", "releasable"),
    [
        (POLLER, set()),
        (SUBMITTER, {"us-oh-39999", "poll-books", "harmony-clerk"}),
        (COUNTY_ANALYST, {"us-oh-39999", "us-oh-3999900001", "harmony-clerk"}),
        (STATE_ANALYST, OHIO_AND_BELOW | {"poll-books", "ohio-secretary"}),
        (STATE_ADMIN, OHIO_AND_BELOW | {"poll-books", "ohio-secretary"}),
        (NATION_ANALYST, NODES_OF_THE_NATION | {"isac"}),
        (VENDOR_ANALYST, {"poll-books", "vendor"}),
        (STEWARD, set(EVERYTHING)),
    ],
)
def test_nobody_but_a_steward_releases_above_its_node(who: Actor, releasable: set[str]) -> None:
    assert codes(may_release, who) == releasable


@pytest.mark.parametrize(
    ("who", "administered"),
    [
        (POLLER, set()),
        (SUBMITTER, set()),
        (STATE_ANALYST, set()),
        (STATE_ADMIN, OHIO_AND_BELOW | {"ohio-secretary"}),
        (VENDOR_ADMIN, {"vendor"}),
        (STEWARD, set(EVERYTHING)),
    ],
)
def test_an_admin_manages_its_node_and_those_below(who: Actor, administered: set[str]) -> None:
    assert codes(administers, who) == administered


@pytest.mark.parametrize(
    ("audience", "covered"),
    [
        (PUBLIC, NODES_OF_THE_NATION),
        (US, NODES_OF_THE_NATION - {"us"}),
        (OHIO, OHIO_AND_BELOW - {"us-oh"}),
        (HARMONY, {"us-oh-3999900001"}),
        (ELM_TOWN, set()),
        (POLL_BOOKS, set()),
        (HARMONY_CLERK, set()),
    ],
)
def test_only_a_node_covers_and_only_what_is_below_it(audience: Audience, covered: set[str]) -> None:
    assert codes(covers, audience) == covered


def test_without_any_home_one_sees_its_groups_and_itself_only() -> None:
    scope = scope_of(Role.ADMIN, None, frozenset({POLL_BOOKS.pk}), VENDOR.pk)

    assert scope == Scope(frozenset({POLL_BOOKS.pk, VENDOR.pk}), None, False)


def test_a_home_at_the_root_by_mistake_gives_no_power_over_the_public() -> None:
    mistaken = actor(Role.ADMIN, PUBLIC, VENDOR)

    assert not may_release(mistaken, PUBLIC)
    assert not administers(mistaken, OHIO)


def test_a_group_with_a_path_through_a_node_is_still_not_below_it() -> None:
    strange = Audience(20, "group", (1, 2, 3, 20), "strange")

    assert not may_read(STATE_ANALYST.scope, strange)
    assert not covers(OHIO, strange)


@st.composite
def forests(draw: st.DrawFn) -> list[Audience]:
    """A tree below `public` of any depth, and groups and organizations beside it."""
    audiences = [Audience(1, "public", (1,), "public")]
    for pk in range(2, draw(st.integers(2, 14))):
        kind = draw(st.sampled_from(["node", "node", "group", "organization"]))
        if kind == "node":
            parent = draw(st.sampled_from([each for each in audiences if each.kind not in ("group", "organization")]))
            kind = ("nation", "state", "local")[min(len(parent.path), 3) - 1]
            audiences.append(Audience(pk, kind, (*parent.path, pk), str(pk)))
        else:
            audiences.append(Audience(pk, kind, (pk,), str(pk)))
    return audiences


def drawn_actor(data: st.DataObject, audiences: list[Audience], role: Role) -> Actor:
    homes = [each for each in audiences if each.kind in ("nation", "state", "local")]
    home = data.draw(st.sampled_from([None, *homes]))
    groups = [each for each in audiences if each.kind == "group"]
    mine = data.draw(st.lists(st.sampled_from(groups), unique=True)) if groups else []
    return actor(role, home, Audience(99, "organization", (99,), "own"), *mine)


@given(forests())
def test_covering_is_a_strict_partial_order(audiences: list[Audience]) -> None:
    for a in audiences:
        assert not covers(a, a)
        for b in audiences:
            assert not (covers(a, b) and covers(b, a))
            for c in audiences:
                assert not (covers(a, b) and covers(b, c)) or covers(a, c)


@given(forests(), st.data(), st.sampled_from([Role.POLLER, Role.SUBMITTER]))
def test_who_reads_only_upward_reads_all_that_covers_what_it_reads(
    audiences: list[Audience], data: st.DataObject, role: Role
) -> None:
    who = drawn_actor(data, audiences, role)

    for narrow in audiences:
        for wide in audiences:
            if covers(wide, narrow) and may_read(who.scope, narrow):
                assert may_read(who.scope, wide)


@given(forests(), st.data(), st.sampled_from([Role.ANALYST, Role.ADMIN]))
def test_who_manages_reads_and_releases_the_whole_tree_below_its_home(
    audiences: list[Audience], data: st.DataObject, role: Role
) -> None:
    who = drawn_actor(data, audiences, role)

    for audience in audiences:
        below = who.home is not None and who.home in audience.path
        on_path = audience.pk in who.scope.audiences
        assert may_read(who.scope, audience) == (below or on_path)
        assert may_release(who, audience) == (below or audience.pk in who.groups)


@given(forests(), st.data(), st.sampled_from(Role))
def test_whatever_one_may_release_or_administer_one_may_read(
    audiences: list[Audience], data: st.DataObject, role: Role
) -> None:
    who = drawn_actor(data, audiences, role)

    for audience in audiences:
        if may_release(who, audience) or administers(who, audience):
            assert may_read(who.scope, audience)


@given(forests(), st.data())
def test_a_higher_role_reads_no_less(audiences: list[Audience], data: st.DataObject) -> None:
    who = drawn_actor(data, audiences, Role.POLLER)
    home = next((each for each in audiences if each.pk == who.home), None)
    roles = [Role.POLLER, Role.SUBMITTER, Role.ANALYST, Role.ADMIN, Role.STEWARD]
    scopes = [scope_of(role, home, who.groups, who.own) for role in roles]

    for lower, higher in itertools.pairwise(scopes):
        assert all(may_read(higher, each) for each in audiences if may_read(lower, each))
