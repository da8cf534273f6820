"""Directed cases of the release log: the table of events, and readings where the text leaves room (`CHOICES`)."""

from tests.store.log_cases import CASES, case, choice
from tests.store.story import (
    EVERY_NODE,
    FIRST,
    FRANKLIN,
    GROUP,
    NATION,
    OHIO,
    OPEN_GROUP,
    ORG_A,
    ORG_B,
    PUBLIC,
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
from tests.store.words import CLERK, ISAC

# ---- the table of events


@case
async def release_puts_the_object_at_the_end(log: Story) -> None:
    await log.release(1, "us", stix_id=Y)
    cursor = await log.world.position()
    await log.release(1, "us-oh-39049")
    await log.timeline({FRANKLIN: [put(1)]}, after=cursor)
    await log.default({NATION: [x(1, stix_id=Y)], FRANKLIN: [x(1, stix_id=Y), x(1)]})


@case
async def release_after_withdrawal_ends_the_notices_there_and_below(log: Story) -> None:
    await log.release(1, "us-oh")
    await log.release(1, "us-tx-48201")
    await log.release(1, "org-a")
    await log.withdraw("us-oh")
    await log.withdraw("us-tx-48201")
    await log.notices({OHIO: [X], ("us-tx-48201",): [X]})
    await log.release(1, "us")
    await log.timeline({NATION: [put(1)], ORG_A: [put(1)]})


@case
async def release_below_a_notice_leaves_it_standing(log: Story) -> None:
    await log.release(1, "us")
    await log.withdraw("us")
    await log.release(1, "us-oh")
    await log.timeline({NATION: [notice()], OHIO: [notice(), put(1)]})


@case
async def a_newer_version_goes_to_each_uncovered_grant(log: Story) -> None:
    for audience in ("us-oh-39049", "us-oh", "us-tx", "group-g", "group-open", "org-b"):
        await log.release(1, audience)
    cursor = await log.world.position()
    await log.release(2, "us-tx")
    there = {OHIO: [put(2)], TEXAS: [put(2)], GROUP: [put(2)], OPEN_GROUP: [put(2)], ORG_B: [put(2)]}
    await log.timeline(there, after=cursor)
    await log.timeline(there)
    both = [x(1), x(2)]
    await log.history({OHIO: both, TEXAS: both, GROUP: both, OPEN_GROUP: both, ORG_B: both})


@case
async def a_newer_stricter_version_leaves_a_notice_where_it_is_forbidden(log: Story) -> None:
    for audience in ("us-oh", "group-g", "group-open", "org-a"):
        await log.release(1, audience)
    await log.release(2, "group-g", "amber+strict")
    await log.timeline({OHIO: [notice()], OPEN_GROUP: [notice()], GROUP: [put(2)], ORG_A: [put(2)]})
    await log.history({GROUP: [x(1), x(2)], ORG_A: [x(1), x(2)]})
    await log.release(3, "org-a", "red")
    await log.timeline({OHIO: [notice()], OPEN_GROUP: [notice()], GROUP: [notice()], ORG_A: [put(3)]})


@case
async def a_newer_stricter_version_stays_where_a_narrower_grant_allows_it(log: Story) -> None:
    await log.release(1, "us", "clear")
    await log.widen("public")
    await log.release(2, "us", "green")
    await log.timeline({PUBLIC: [notice()], NATION: [notice(), put(2)]})
    await log.history({NATION: [x(2)]})


@case
async def a_late_older_version_is_history_at_the_end(log: Story) -> None:
    await log.release(2, "us")
    cursor = await log.world.position()
    await log.release(1, "us-oh")
    await log.timeline({}, after=cursor)
    await log.default({NATION: [x(2)]})
    await log.history({NATION: [x(2)], OHIO: [x(2), x(1)]})
    assert await log.world.position() > cursor
    assert await log.world.default_at(cursor, "us-oh") == [x(2)]


@case
async def a_late_older_version_leaves_with_its_grant(log: Story) -> None:
    await log.release(3, "us")
    await log.release(2, "us-oh-39049")
    await log.release(1, "us")
    await log.history({NATION: [x(3), x(1)], FRANKLIN: [x(3), x(2), x(1)]})
    await log.withdraw("us")
    await log.history({})


@case
async def widen_shows_the_object_once_more_to_who_had_it(log: Story) -> None:
    await log.release(1, "us-oh")
    await log.release(2, "us-oh")
    cursor = await log.world.position()
    await log.widen("us")
    await log.timeline({NATION: [put(2)]}, after=cursor)
    await log.timeline({NATION: [put(2)]})
    await log.history({NATION: [x(2)], OHIO: [x(1), x(2)]})


@case
async def narrow_takes_the_wide_rows_from_all_views(log: Story) -> None:
    await log.release(1, "us")
    await log.release(2, "us")
    cursor = await log.world.position()
    await log.narrow("us", "us-oh-39049")
    await log.timeline({NATION: [notice()], FRANKLIN: [notice(), put(2)]}, after=cursor)
    await log.history({FRANKLIN: [x(2)]})
    await log.narrow("us", "us-oh", answer="refuse")


@case
async def narrow_gives_to_fewer(log: Story) -> None:
    await log.release(1, "us-oh")
    for audience in ("us-oh", "us", "us-tx", "us-tx-48201"):
        await log.narrow("us-oh", audience, answer="refuse")
    await log.narrow("us-oh", "group-g")
    await log.timeline({OHIO: [notice()], GROUP: [put(1)]})
    for audience in ("group-open", "us-oh"):
        await log.narrow("group-g", audience, answer="refuse")
    await log.narrow("group-g", "org-a")
    await log.narrow("org-a", "org-b", answer="refuse")
    await log.timeline({OHIO: [notice()], GROUP: [notice()], ORG_A: [put(1)]})


@case
async def withdraw_leaves_the_object_to_who_is_still_granted(log: Story) -> None:
    await log.release(1, "us-oh-39049")
    await log.release(1, "us-tx")
    await log.widen("us")
    await log.withdraw("us")
    await log.timeline(
        {NATION: [notice()], TEXAS: [notice(), put(1)], FRANKLIN: [notice(), put(1)]},
    )
    await log.withdraw("us", answer="refuse")


@case
async def withdraw_of_a_covered_grant_tells_nobody(log: Story) -> None:
    await log.release(1, "us-oh")
    await log.widen("us")
    cursor = await log.world.position()
    await log.withdraw("us-oh")
    await log.timeline({}, after=cursor)
    await log.default({NATION: [x(1)]})
    await log.withdraw("us")
    await log.timeline({NATION: [notice()]})


@case
async def withdraw_of_a_covered_grant_takes_its_history(log: Story) -> None:
    await log.release(1, "us-oh")
    await log.release(2, "us-oh")
    await log.widen("us")
    await log.history({NATION: [x(2)], OHIO: [x(1), x(2)]})
    await log.withdraw("us-oh")
    await log.history({NATION: [x(2)]})


@case
async def revoke_puts_the_revoked_version_and_nothing_after_it(log: Story) -> None:
    await log.release(1, "us-oh-39049")
    await log.release(1, "us-oh")
    await log.release(1, "org-a")
    await log.revoke(2)
    await log.timeline({OHIO: [put(2)], ORG_A: [put(2)]})
    await log.history({OHIO: [x(1), x(2)], ORG_A: [x(1), x(2)]})
    await log.release(3, "us-oh", answer="refuse")
    await log.revoke(4, answer="refuse")
    await log.timeline({OHIO: [put(2)], ORG_A: [put(2)]})


@case
async def withdraw_of_the_last_grant_of_ours_is_a_revocation(log: Story) -> None:
    await log.release(1, "us", of=ISAC)
    cursor = await log.world.position()
    await log.withdraw("us", of=ISAC, at=8)
    await log.timeline({NATION: [put(8, ISAC)]}, after=cursor)
    await log.history({NATION: [x(1, ISAC), x(8, ISAC)]})
    await log.notices({})


@case
async def expire_ends_the_live_rows_alone(log: Story) -> None:
    await log.release(1, "us-oh")
    await log.release(1, "group-g")
    await log.expire()
    await log.timeline({})
    await log.history({OHIO: [x(1)], GROUP: [x(1)]})
    await log.release(1, "us")
    await log.timeline({})


@case
async def delete_uncovers_narrower_grants(log: Story) -> None:
    await log.release(1, "us-oh")
    await log.widen("us")
    cursor = await log.world.position()
    await log.delete("us")
    await log.timeline({OHIO: [put(1)]}, after=cursor)
    await log.timeline({OHIO: [put(1)]})
    await log.history({OHIO: [x(1)]})


@case
async def delete_of_the_newest_brings_the_older_anew(log: Story) -> None:
    await log.release(1, "us")
    await log.release(2, "us")
    await log.release(3, "us")
    cursor = await log.world.position()
    await log.delete_version(3, "us")
    await log.timeline({NATION: [put(2)]}, after=cursor)
    await log.history({NATION: [x(1), x(2)]})
    await log.delete_version(2, "us")
    await log.delete_version(1, "us")
    await log.history({})
    await log.timeline({})


@case
async def delete_of_an_older_version_takes_it_alone(log: Story) -> None:
    await log.release(1, "us")
    await log.release(2, "us")
    cursor = await log.world.position()
    await log.delete_version(1, "us")
    await log.timeline({}, after=cursor)
    await log.default({NATION: [x(2)]})
    await log.history({NATION: [x(2)]})
    await log.delete_version(1, "us", answer="refuse")


@case
async def delete_of_the_newest_leaves_other_audiences_alone(log: Story) -> None:
    for audience in ("us-oh", "us-tx"):
        await log.release(1, audience)
    await log.release(2, "us-oh")
    await log.delete_version(2, "us-oh")
    await log.default({OHIO: [x(1)], TEXAS: [x(2)]})
    await log.release(3, "us-tx")
    await log.default({OHIO: [x(3)], TEXAS: [x(3)]})
    await log.history({OHIO: [x(1), x(3)], TEXAS: [x(1), x(2), x(3)]})


# ---- where the text leaves room


@choice
async def a_deleted_version_released_there_again_is_back(log: Story) -> None:
    """F17 (no silent «duplicate, success») against «a repeated version changes nothing»."""
    for audience in ("us-oh", "us-tx"):
        await log.release(1, audience)
    await log.release(2, "us-oh")
    await log.delete_version(2, "us-oh")
    await log.release(2, "us-oh", by="us-oh")
    await log.default({OHIO: [x(2)], TEXAS: [x(2)]})


@choice
async def a_version_deleted_everywhere_does_not_come_out_by_widening(log: Story) -> None:
    """A new grant lacks the versions that every standing grant lacks."""
    await log.release(1, "us", "clear")
    await log.release(2, "us", "clear")
    await log.delete_version(2, "us")
    await log.widen("public")
    await log.default({EVERY_NODE: [x(1)]})


@choice
async def every_grant_that_a_tlp_drops_leaves_its_own_notice(log: Story) -> None:
    """Covered grants too: nothing «still gives» it to them."""
    await log.release(1, "us-oh")
    await log.widen("us")
    await log.release(2, "us", "red")
    await log.notices({NATION: [X], OHIO: [X, X]})


@choice
async def a_tlp_that_drops_the_last_grant_of_ours_revokes_nothing(log: Story) -> None:
    """Rule 6 says «withdraw the last grant»; the table gives a notice where the TLP forbids."""
    await log.release(1, "us", of=ISAC)
    await log.release(2, "us", "red", of=ISAC)
    await log.timeline({NATION: [notice()]})


@choice
async def delete_of_the_last_grant_of_ours_revokes_nothing(log: Story) -> None:
    """TAXII wants 404 afterwards."""
    await log.release(1, "us", of=ISAC)
    await log.delete("us", of=ISAC)
    await log.timeline({})


@choice
async def what_is_revoked_does_not_expire(log: Story) -> None:
    """One life cycle: active → expired | revoked | withdrawn."""
    await log.release(1, "us")
    await log.revoke(2)
    await log.expire(answer="refuse")
    await log.default({NATION: [x(2)]})


@choice
async def a_revoked_version_cannot_be_deleted_alone(log: Story) -> None:
    """«Revoked is a version, for ever»: else the older, unrevoked one would be live again."""
    await log.release(1, "us")
    await log.revoke(2)
    await log.delete_version(2, "us", answer="refuse")
    await log.default({NATION: [x(2)]})
    await log.delete("us")
    await log.history({})


@choice
async def a_revoked_object_may_be_granted_further(log: Story) -> None:
    """Its revoked version is the newest; a grant shows that."""
    await log.release(1, "us-oh")
    await log.revoke(2)
    await log.widen("us")
    await log.default({NATION: [x(2)]})


@choice
async def a_stricter_version_posted_below_the_grant_it_drops_is_granted_there(log: Story) -> None:
    """The drop comes first, then the poster's own audience is looked at."""
    await log.release(1, "public", "clear")
    await log.release(2, "us", "green")
    await log.timeline({PUBLIC: [notice()], NATION: [notice(), put(2)]})


@choice
async def a_stricter_version_that_waits_forbids_new_grants_too(log: Story) -> None:
    """«The newest version's TLP rules the object»: also while its bytes wait."""
    await log.release(1, "us-oh", by="us-oh")
    await log.widen("us")
    await log.release(1, "org-a")
    await log.release(2, "us-oh", "red", by="us-oh", answer="hold")
    await log.release(1, "us-oh", answer="refuse")
    await log.release(1, "org-b")
    await log.default({ORG_A: [x(1)], ORG_B: [x(1)]})


@choice
async def what_waits_rules_until_a_version_as_new_is_there_or_the_object_is_gone(log: Story) -> None:
    for reason in ("newer", "the same", "deleted"):
        await log.release(1, "us-oh", by="us-oh")
        await log.widen("us")
        await log.release(5, "us-oh", "amber", by="us-oh", answer="hold")
        assert await log.world.waiting() == {x(5)}
        await log.release(3, "us")
        assert await log.world.waiting() == {x(5)}, "an older one overtakes nothing"
        if reason == "newer":
            await log.release(7, "us")
        elif reason == "the same":
            await log.release(5, "us", "amber")
        else:
            await log.delete("us")
            await log.delete("us-oh")
        assert await log.world.waiting() == set(), reason
        for audience in ("us", "us-oh") if reason != "deleted" else ():
            await log.delete(audience)


@choice
async def permission_is_asked_for_every_grant_that_stood_on_arrival(log: Story) -> None:
    """Also for those that the version's TLP drops: it waits, though Ohio may release at all that is left."""
    await log.release(1, "us-oh", "clear", by="us-oh")
    await log.widen("public")
    await log.release(2, "us-oh", "green", by="us-oh", answer="hold")
    await log.timeline({PUBLIC: [notice()], NATION: [notice()], OHIO: [notice(), put(1)]})


@choice
async def a_late_version_too_strict_for_its_audience_waits(log: Story) -> None:
    """The gate is asked for every row; only the newest version's TLP drops grants."""
    await log.release(2, "us", "green")
    await log.release(1, "us", "red", answer="hold")
    await log.history({NATION: [x(2)]})


@choice
async def where_it_had_stood_means_a_row_at_that_very_audience(log: Story) -> None:
    """Ohio had version 1 through `us` only, so nothing returns."""
    await log.release(1, "us")
    await log.narrow("us", "us-oh")
    await log.release(2, "us-oh")
    await log.delete_version(2, "us-oh")
    await log.default({OHIO: [x(1)]})
    await log.release(1, "us", stix_id=Y)
    await log.release(2, "us", stix_id=Y)
    assert await log.world.narrow(Y, VENDOR, "us", "us-oh") == "accept"
    assert await log.world.delete_version(Y, VENDOR, 2, "us-oh") == "accept"
    await log.default({OHIO: [x(1)]})


@choice
async def another_producer_above_hides_late_history_below_a_grant_too(log: Story) -> None:
    """A collection shows one producer of an id, in its history as well."""
    await log.release(2, "us", "clear", of=FIRST)
    await log.release(1, "us-oh", "clear", of=FIRST)
    await log.history({NATION: [x(2, FIRST)], OHIO: [x(2, FIRST), x(1, FIRST)]})
    await log.release(1, "public", "clear", of=SECOND)
    await log.history({EVERY_NODE: [x(1, SECOND)]})


@choice
async def a_version_that_had_expired_does_not_return_live(log: Story) -> None:
    """Expiry is the version's; the grant stays, so an ordinary newer version brings the object back."""
    await log.release(1, "us")
    await log.expire()
    await log.release(2, "us")
    await log.delete_version(2, "us")
    await log.timeline({})
    await log.history({NATION: [x(1)]})
    await log.release(3, "us")
    await log.default({NATION: [x(3)]})


@choice
async def a_late_version_never_goes_live(log: Story) -> None:
    """Newer than what a deletion left in Ohio, older than what stands in Texas: history, for Ohio too."""
    for audience in ("us-oh", "us-tx"):
        await log.release(1, audience)
    await log.release(3, "us-oh")
    await log.delete_version(3, "us-oh")
    await log.release(2, "us-oh")
    await log.default({OHIO: [x(1)], TEXAS: [x(3)]})
    await log.history({OHIO: [x(1), x(2)], TEXAS: [x(1), x(3)]})


@choice
async def a_relay_that_may_not_release_everywhere_revokes_nothing(log: Story) -> None:
    """Only the producer's own revocation passes by; a relayed one waits."""
    await log.release(1, "us")
    await log.revoke(2, by="us-oh", answer="hold")
    await log.default({NATION: [x(1)]})


@choice
async def a_newer_version_too_strict_for_its_own_audience_rules_without_a_grant(log: Story) -> None:
    """Refusing it would keep the older, looser one in view."""
    await log.release(1, "us")
    await log.release(1, "org-a")
    await log.release(2, "group-g", "red")
    await log.timeline({NATION: [notice()], ORG_A: [put(2)]})


@choice
async def the_old_version_of_a_withdrawn_object_is_held(log: Story) -> None:
    """Without any grant the newest that we know is the one that may be granted."""
    await log.release(1, "us")
    await log.release(2, "us")
    await log.withdraw("us")
    await log.release(1, "us", answer="hold")
    await log.notices({NATION: [X]})
    await log.release(2, "us")
    await log.timeline({NATION: [put(2)]})


@choice
async def a_late_version_that_was_deleted_everywhere_returns_once(log: Story) -> None:
    """It counts as never received, so it enters as history like any other."""
    await log.release(1, "us")
    await log.delete("us")
    await log.release(3, "us")
    await log.release(1, "us")
    await log.history({NATION: [x(3), x(1)]})


@choice
async def a_first_version_that_is_revoked_already_waits_unless_its_producer_or_a_manager_hands_it_in(
    log: Story,
) -> None:
    """Nothing follows a revocation: from any relay, a false one would keep the producer's own versions out."""
    await log.release_revoked(9, "us-oh", by=CLERK + "us-oh", answer="hold")
    await log.release(1, "us-oh", by=CLERK + "us-oh")
    await log.default({OHIO: [x(1)]})
    await log.release_revoked(9, "us-tx", of=FIRST, by=FIRST)
    await log.release_revoked(9, "us-tx", of=SECOND, by="us-tx")
    await log.default({OHIO: [x(1)], TEXAS: [x(9, FIRST)]})


@choice
async def a_relayed_revocation_is_forgotten_with_its_object(log: Story) -> None:
    """«For ever» is for what comes from its producer: of others' objects nobody here can say that."""
    await log.release(1, "us-oh", by=CLERK + "us-oh")
    await log.release(1, "us-tx", by="us-tx")
    await log.revoke(8)
    await log.delete("us-oh")
    await log.release(9, "us-oh", answer="refuse")
    await log.delete("us-tx")
    await log.release(3, "us-oh")
    await log.default({OHIO: [x(3)]})


@choice
async def a_revocation_of_ours_outlives_its_object(log: Story) -> None:
    await log.release(1, "us", of=ISAC)
    await log.withdraw("us", of=ISAC, at=8)
    await log.delete("us", of=ISAC)
    await log.release(9, "us", of=ISAC, answer="refuse")
    await log.default({})


@case
async def erase_takes_an_object_of_all_producers_out_of_every_view_for_ever(log: Story) -> None:
    await log.release(1, "us", of=FIRST)
    await log.release(2, "us", of=FIRST)
    await log.release(1, "us-oh", of=SECOND)
    await log.release(1, "us-oh", stix_id=Y)
    await log.withdraw("us-oh", of=SECOND)
    cursor = await log.world.position()
    past = await log.world.history_at(cursor, "us-oh")
    assert await log.world.erase(X) == "accept"
    await log.timeline({}, after=cursor)
    await log.default({OHIO: [x(1, stix_id=Y)]})
    await log.history({OHIO: [x(1, stix_id=Y)]})
    await log.notices({})
    assert await log.world.history_at(cursor, "us-oh") == past
    for modified in (1, 2, 3):
        await log.release(modified, "us", of=FIRST, answer="refuse")
    await log.release(1, "us-oh", answer="refuse")
    await log.release_revoked(9, "us-tx", answer="refuse")
    await log.widen("public", of=FIRST, answer="refuse")
    await log.delete("us", of=FIRST, answer="refuse")
    await log.default({OHIO: [x(1, stix_id=Y)]})


#: every case, those of log_cases.py too
__all__ = ["CASES"]
