"""Directed cases of the release log, told over an abstract World: the hard cases F1 … F29.

Each case is a function of a `Story`; the expected views stand in it by hand, and a collection that an expectation does
not name must be empty. `CASES` follow from the text; `CHOICES` are readings where the text leaves room, and say which.

Not here, because a store that is asked by one quiet process cannot show them: F12 and F26 (tokens, poll log), F13
(stamps), F14 (future `modified`), F18 and F30 (intake), F22 and F23 (failover, replica), F27 (two roots), F28 (erase).
"""

from collections.abc import Awaitable, Callable

from tests.store.story import (
    COLLECTIONS,
    EVERY_NODE,
    FIRST,
    FRANKLIN,
    GROUP,
    NATION,
    OHIO,
    ORG_A,
    ORG_B,
    SCO,
    SECOND,
    TEXAS,
    VENDOR,
    Story,
    X,
    Y,
    notice,
    put,
    x,
)
from tests.store.words import CLERK, FEED, ISAC
from tests.store.world import NoSuchCollection

Case = Callable[[Story], Awaitable[None]]
CASES: dict[str, Case] = {}
CHOICES: dict[str, Case] = {}


def case(told: Case) -> Case:
    CASES[getattr(told, "__name__", "")] = told
    return told


def choice(told: Case) -> Case:
    CHOICES[getattr(told, "__name__", "")] = told
    return told


# ---- the hard cases


@case
async def f01_withdrawal_is_a_notice_and_the_vendor_may_go_on(log: Story) -> None:
    await log.release(1, "us")
    await log.withdraw("us")
    await log.default({})
    await log.history({})
    await log.timeline({NATION: [notice()]})
    await log.release(2, "us")
    await log.default({NATION: [x(2)]})
    await log.history({NATION: [x(2)]})
    await log.notices({})


@case
async def f01_narrowing_puts_the_notice_before_the_row_it_keeps(log: Story) -> None:
    await log.release(1, "us")
    await log.narrow("us", "us-oh")
    await log.timeline({NATION: [notice()], OHIO: [notice(), put(1)]})
    await log.history({OHIO: [x(1)]})


@case
async def f01_the_next_run_of_a_feed_does_not_undo_a_withdrawal(log: Story) -> None:
    await log.release(1, "us", by=FEED)
    await log.withdraw("us")
    for number in (1, 2):
        await log.release(number, "us", by=FEED, answer="hold")
    await log.timeline({NATION: [notice()]})
    await log.release(1, "us")
    await log.timeline({NATION: [put(1)]})
    await log.release(2, "us", by=FEED)
    await log.timeline({NATION: [put(2)]})


@case
async def f01_nor_does_it_above_or_below_the_notice_or_by_another_producer(log: Story) -> None:
    await log.release(1, "us-oh", "clear")
    await log.withdraw("us-oh")
    for audience in ("public", "us", "us-oh", "us-oh-39049"):
        await log.release(1, audience, "clear", by=FEED, answer="hold")
        await log.release(1, audience, "clear", by=FEED, of=SECOND, answer="hold")
    for clerk in ("us-oh", "us-oh-39049"):
        await log.release(1, clerk, "clear", by=CLERK + clerk, answer="hold")
    await log.release(1, "us-tx", "clear", by=FEED)
    await log.release(1, "us-oh-39049", "clear", by="us-oh-39049")
    await log.timeline({TEXAS: [put(1)], OHIO: [notice()], FRANKLIN: [notice(), put(1)]})


@case
async def f01_the_next_run_of_a_feed_does_not_undo_a_narrowing(log: Story) -> None:
    await log.release(1, "us", by=FEED)
    await log.narrow("us", "us-oh")
    await log.release(1, "us", by=FEED, answer="hold")
    await log.timeline({NATION: [notice()], OHIO: [notice(), put(1)]})
    await log.release(2, "us", by=FEED)
    await log.timeline({NATION: [notice()], OHIO: [notice(), put(2)]})


@case
async def f03_a_looser_version_of_a_feed_brings_nothing_back_where_tlp_took_it(log: Story) -> None:
    await log.release(1, "public", "clear", by=FEED)
    await log.release(2, "public", "green", by=FEED)
    await log.release(3, "public", "clear", by=FEED, answer="hold")
    await log.timeline({EVERY_NODE: [notice()]})
    await log.release(3, "public", "clear")
    await log.timeline({EVERY_NODE: [put(3)]})


@case
async def f01_only_the_last_grant_of_an_object_of_ours_publishes_a_revocation(log: Story) -> None:
    await log.release(1, "us", of=ISAC)
    await log.release(1, "group-g", of=ISAC)
    await log.withdraw("us", of=ISAC, at=5)
    await log.timeline({NATION: [notice()], GROUP: [put(1, ISAC)]})
    await log.withdraw("group-g", of=ISAC, at=6)
    await log.timeline({NATION: [notice()], GROUP: [put(6, ISAC)]})
    await log.history({GROUP: [x(1, ISAC), x(6, ISAC)]})
    await log.release(7, "us", of=ISAC, answer="refuse")


@case
async def f01_what_a_vendor_loses_everywhere_is_not_revoked(log: Story) -> None:
    await log.release(1, "group-g")
    await log.withdraw("group-g", at=5)
    await log.timeline({GROUP: [notice()]})
    await log.release(2, "group-g")
    await log.timeline({GROUP: [put(2)]})


@case
async def f02_what_expired_can_return(log: Story) -> None:
    await log.release(1, "us")
    await log.expire()
    await log.timeline({})
    await log.history({NATION: [x(1)]})
    await log.release(1, "us")
    await log.default({})
    await log.release(2, "us")
    await log.timeline({NATION: [put(2)]})
    await log.history({NATION: [x(1), x(2)]})


@case
async def f03_a_stricter_version_drops_the_grant_it_forbids(log: Story) -> None:
    await log.release(1, "public", "clear")
    await log.release(2, "public", "green")
    await log.default({})
    await log.history({})
    await log.notices({EVERY_NODE: [X]})


@case
async def f03_what_was_dropped_does_not_come_back_by_itself(log: Story) -> None:
    await log.release(1, "public", "clear")
    await log.release(1, "group-g", "clear")
    await log.release(2, "group-g", "amber")
    await log.default({GROUP: [x(2)]})
    await log.history({GROUP: [x(1), x(2)]})
    await log.release(3, "group-g", "clear")
    await log.default({GROUP: [x(3)]})
    await log.notices({EVERY_NODE: [X]})


@case
async def f04_a_version_goes_to_who_has_a_grant_not_to_who_had_one(log: Story) -> None:
    await log.release(1, "us")
    await log.release(1, "group-g")
    await log.withdraw("us")
    await log.release(2, "us-oh")
    await log.default({OHIO: [x(2)], GROUP: [x(2)]})
    await log.timeline({NATION: [notice()], OHIO: [notice(), put(2)], GROUP: [put(2)]})


@case
async def f05_every_end_is_an_entry_and_no_past_view_changes(log: Story) -> None:
    empty = await log.world.position()
    await log.release(1, "us")
    first = await log.world.position()
    await log.release(2, "us")
    second = await log.world.position()
    await log.expire()
    expired = await log.world.position()
    await log.withdraw("us")
    withdrawn = await log.world.position()
    assert empty < first < second < expired < withdrawn, "deeds that only end rows move the position too"
    default = {empty: [], first: [x(1)], second: [x(2)], expired: [], withdrawn: []}
    history = {empty: [], first: [x(1)], second: [x(1), x(2)], expired: [x(1), x(2)], withdrawn: []}
    for at in default:
        assert await log.world.default_at(at, "us-oh") == default[at]
        assert await log.world.history_at(at, "us-oh") == history[at]


@case
async def f06_what_ohio_shared_comes_back_to_ohio_as_a_new_row(log: Story) -> None:
    await log.release(1, "us-oh", by="us-oh")
    await log.widen("us")
    cursor = await log.world.position()
    await log.withdraw("us")
    await log.timeline({NATION: [notice()], OHIO: [notice(), put(1)]}, after=cursor)
    await log.timeline({NATION: [notice()], OHIO: [notice(), put(1)]})
    await log.history({OHIO: [x(1)]})


@case
async def f07_releasing_narrower_than_what_stands_shows_nothing_twice(log: Story) -> None:
    await log.release(1, "us")
    cursor = await log.world.position()
    await log.release(1, "us-oh")
    await log.timeline({NATION: [put(1)]})
    await log.timeline({}, after=cursor)
    await log.history({NATION: [x(1)]})


@case
async def f07_the_covered_row_leaves_history_too(log: Story) -> None:
    await log.release(1, "us-oh-39049")
    await log.release(1, "us-oh-39035")
    await log.release(1, "us-oh")
    await log.default({OHIO: [x(1)]})
    await log.history({OHIO: [x(1)]})


@case
async def f07_groups_and_organizations_are_covered_by_nobody(log: Story) -> None:
    for audience in ("group-g", "org-a", "public"):
        await log.release(1, audience, "clear")
    await log.default({EVERY_NODE: [x(1)], GROUP: [x(1)], ORG_A: [x(1)]})
    await log.withdraw("group-g")
    await log.default({EVERY_NODE: [x(1)], ORG_A: [x(1)]})
    await log.notices({GROUP: [X]})


@case
async def f08_withdrawn_history_is_not_readable(log: Story) -> None:
    await log.release(1, "us")
    await log.release(2, "us")
    await log.history({NATION: [x(1), x(2)]})
    await log.withdraw("us")
    await log.history({})
    for collection in COLLECTIONS:
        assert not await log.world.may_read(collection, X, VENDOR, 1)


@case
async def f09_all_versions_move_together(log: Story) -> None:
    await log.release(1, "us")
    await log.release(2, "us-oh")
    await log.default({NATION: [x(2)]})
    await log.history({NATION: [x(1), x(2)]})


@case
async def f09_a_version_whose_poster_may_not_release_everywhere_waits_whole(log: Story) -> None:
    await log.release(1, "us")
    await log.release(2, "us-oh", by="us-oh", answer="hold")
    await log.default({NATION: [x(1)]})
    await log.history({NATION: [x(1)]})
    await log.release(2, "us-oh", by=ISAC)
    await log.default({NATION: [x(2)]})


@case
async def f09_a_poster_who_may_release_at_all_grants_does_not_wait(log: Story) -> None:
    await log.release(1, "us-oh", by="us-oh")
    await log.release(1, "us-oh-39049", by="us-oh")
    await log.release(2, "us-oh-39035", by="us-oh")
    await log.default({OHIO: [x(2)]})
    await log.release(1, "org-a", stix_id=Y, by="org-a")
    await log.release(2, "org-a", stix_id=Y, by="org-a")
    await log.default({OHIO: [x(2)], ORG_A: [x(2, stix_id=Y)]})


@case
async def f09_a_revocation_by_its_producer_goes_out_at_once(log: Story) -> None:
    await log.release(1, "us")
    await log.release(1, "org-b")
    await log.release(2, "us", by=VENDOR, answer="hold")
    await log.revoke(3, by=VENDOR)
    await log.default({NATION: [x(3)], ORG_B: [x(3)]})


@case
async def f09_a_stricter_marking_drops_its_grants_while_its_bytes_wait(log: Story) -> None:
    await log.release(1, "us-oh", by="us-oh")
    await log.widen("us")
    await log.release(1, "org-a")
    await log.release(2, "us-oh", "red", by="us-oh", answer="hold")
    await log.timeline({NATION: [notice()], OHIO: [notice(), notice()], ORG_A: [put(1)]})
    await log.history({ORG_A: [x(1)]})


@case
async def f10_a_late_old_version_is_no_skeleton_key(log: Story) -> None:
    await log.release(2, "group-g", "amber")
    await log.release(1, "us-oh", "clear", by="us-oh", answer="hold")
    await log.default({GROUP: [x(2)]})
    await log.history({GROUP: [x(2)]})


@case
async def f10_the_older_returns_only_where_it_had_stood(log: Story) -> None:
    await log.release(1, "us-oh")
    await log.release(2, "us-oh")
    await log.release(2, "group-g")
    await log.delete_version(2, "group-g")
    await log.timeline({OHIO: [put(2)]})
    await log.delete_version(2, "us-oh")
    await log.timeline({OHIO: [put(1)]})
    await log.history({OHIO: [x(1)]})


@case
async def f11_public_is_on_every_path(log: Story) -> None:
    await log.release(1, "us", "clear")
    await log.widen("public")
    await log.default({EVERY_NODE: [x(1)]})
    await log.history({EVERY_NODE: [x(1)]})


@case
async def f15_a_node_that_moves_takes_its_grants_along_without_notices(log: Story) -> None:
    await log.release(1, "us-oh-39049")
    await log.release(1, "us-oh")
    await log.release(1, "us-oh-39035", stix_id=Y)
    await log.withdraw("us-oh-39035", stix_id=Y)
    await log.release(1, "us-oh-39035", stix_id=Y)
    assert await log.world.move_node("us-oh-39049", "us-tx-48999", "us-tx") == "accept"
    assert await log.world.default_view("us-tx-48999") == [x(1)]
    assert await log.world.timeline("us-oh-39035", 0) == [put(1), put(1, stix_id=Y)]
    assert await log.world.default_view("us-tx") == []
    try:
        found = await log.world.default_view("us-oh-39049")
    except NoSuchCollection:
        return
    raise AssertionError(f"the collection of a node that is gone answers {found}")


@case
async def f15_nodes_merge_and_what_both_had_stands_once(log: Story) -> None:
    await log.release(1, "us-oh-39049")
    await log.release(1, "us-oh-39035")
    await log.release(1, "us-oh-39049", stix_id=Y)
    assert await log.world.move_node("us-oh-39049", "us-oh-39035", "us-oh") == "accept"
    assert await log.world.timeline("us-oh-39035", 0) == [put(1), put(1, stix_id=Y)]
    assert await log.world.timeline("us-oh", 0) == []


@case
async def f15_history_below_a_grant_ends_with_its_node(log: Story) -> None:
    await log.release(2, "us")
    await log.release(1, "us-oh-39049")
    assert await log.world.history_view("us-oh-39049") == [x(2), x(1)]
    assert await log.world.move_node("us-oh-39049", "us-oh-39035", "us-oh") == "accept"
    assert await log.world.history_view("us-oh-39035") == [x(2)]
    assert await log.world.history_view("us-oh") == [x(2)]
    assert await log.world.standing("us-oh-39049") == 0


@case
async def f15_of_what_moves_the_live_objects_alone_stand_at_the_new_node(log: Story) -> None:
    for number in (2, 3, 1):
        await log.release(number, "us-oh-39049")
    await log.release(1, "us-oh-39049", stix_id=Y)
    await log.withdraw("us-oh-39049", stix_id=Y)
    assert await log.world.history_view("us-oh-39049") == [x(2), x(3), x(1)]
    assert await log.world.move_node("us-oh-39049", "us-tx-48999", "us-tx") == "accept"
    assert await log.world.history_view("us-tx-48999") == [x(3)]
    assert await log.world.timeline("us-tx-48999", 0) == [put(3)]
    assert await log.world.standing("us-oh-39049") == 0


@case
async def f16_a_version_has_one_tlp(log: Story) -> None:
    await log.release(1, "us", "green")
    await log.release(1, "org-a", "red", answer="refuse")
    await log.default({NATION: [x(1)]})


@case
async def f17_what_came_in_for_somebody_else_does_not_travel(log: Story) -> None:
    await log.release(1, "org-a", "red", of=FIRST, stix_id=SCO, by="org-a")
    await log.release(1, "us", "green", of=SECOND, stix_id=SCO, by="us")
    await log.default({NATION: [x(1, SECOND, SCO)], ORG_A: [x(1, FIRST, SCO)]})


@case
async def f17_of_two_producers_a_collection_shows_the_wider(log: Story) -> None:
    await log.release(1, "us-oh", of=FIRST)
    await log.release(1, "us", of=SECOND)
    await log.default({NATION: [x(1, SECOND)]})
    await log.history({NATION: [x(1, SECOND)]})
    await log.withdraw("us", of=SECOND)
    await log.timeline({NATION: [notice()], OHIO: [notice(), put(1, FIRST)]})


@case
async def f17_of_two_producers_at_one_audience_the_first_is_shown(log: Story) -> None:
    await log.release(1, "us", of=FIRST)
    await log.release(1, "us", of=SECOND)
    await log.default({NATION: [x(1, FIRST)]})
    await log.release(2, "us", of=SECOND)
    await log.history({NATION: [x(1, FIRST)]})
    await log.withdraw("us", of=FIRST)
    await log.timeline({NATION: [put(2, SECOND)]})
    await log.release(1, "us", of=FIRST)
    await log.history({NATION: [x(2, SECOND)]})


@case
async def f17_the_covered_producers_history_leaves_and_stays_away(log: Story) -> None:
    await log.release(1, "us-oh", of=FIRST)
    await log.release(2, "us-oh", of=FIRST)
    await log.history({OHIO: [x(1, FIRST), x(2, FIRST)]})
    await log.release(1, "us", of=SECOND)
    await log.history({NATION: [x(1, SECOND)]})
    await log.delete("us", of=SECOND)
    await log.history({OHIO: [x(2, FIRST)]})


@case
async def f17_a_known_version_for_a_further_audience_is_a_grant(log: Story) -> None:
    await log.release(1, "us-tx")
    await log.release(1, "us-oh")
    await log.default({TEXAS: [x(1)], OHIO: [x(1)]})


@case
async def f19_a_county_cannot_delete_what_stands_wider(log: Story) -> None:
    await log.release(1, "us-oh-39049")
    await log.widen("us")
    await log.delete("us-oh-39049", answer="refuse")
    await log.delete_version(1, "us-oh-39049", answer="refuse")
    await log.default({NATION: [x(1)]})
    await log.withdraw("us")
    await log.default({FRANKLIN: [x(1)]})


@case
async def f19_what_its_owner_deletes_is_gone_without_a_notice(log: Story) -> None:
    await log.release(1, "us")
    await log.release(2, "us")
    await log.release(2, "group-g")
    await log.delete("us")
    await log.timeline({GROUP: [put(2)]})
    await log.history({GROUP: [x(2)]})
    await log.delete("us", answer="refuse")


@case
async def f20_red_and_amber_strict_never_meet_a_node(log: Story) -> None:
    for audience in (*EVERY_NODE, "group-open"):
        await log.release(1, audience, "amber+strict", answer="refuse")
    for audience in (*EVERY_NODE, "group-open", "group-g"):
        await log.release(1, audience, "red", stix_id=Y, answer="refuse")
    await log.default({})
    await log.release(1, "group-g", "amber+strict")
    await log.release(1, "org-a", "amber+strict")
    await log.release(1, "org-b", "red", stix_id=Y)
    await log.default({GROUP: [x(1)], ORG_A: [x(1)], ORG_B: [x(1, stix_id=Y)]})


@case
async def f21_an_update_and_a_widening_end_alike_in_either_order(log: Story) -> None:
    await log.release(1, "us-oh")
    await log.release(2, "us-oh")
    await log.widen("us")
    await log.release(1, "us-oh", stix_id=Y)
    await log.widen("us", stix_id=Y)
    await log.release(2, "us-oh", stix_id=Y)
    await log.default({NATION: [x(2), x(2, stix_id=Y)]})


@case
async def f24_may_read_says_what_history_shows(log: Story) -> None:
    await log.release(1, "us-oh")
    await log.release(2, "us-oh")
    await log.release(2, "org-a")
    await log.widen("us")
    for collection in COLLECTIONS:
        for modified in (1, 2, 3):
            shown = x(modified) in await log.world.history_view(collection)
            assert await log.world.may_read(collection, X, VENDOR, modified) == shown, f"{collection}, {modified}"


@case
async def f25_notices_end_after_their_time(log: Story) -> None:
    await log.release(1, "us")
    await log.withdraw("us")
    await log.notices({NATION: [X]})
    await log.world.expire_notices()
    await log.timeline({})
    await log.release(1, "us")
    await log.timeline({NATION: [put(1)]})


@case
async def f29_who_joins_a_group_reads_its_history(log: Story) -> None:
    await log.release(1, "group-g", "amber+strict")
    await log.release(2, "group-g", "amber+strict")
    await log.history({GROUP: [x(1), x(2)]})
    await log.timeline({GROUP: [put(2)]})
