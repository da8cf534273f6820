"""Every product that reads, on a log that lives: it ends with all that is there, and what comes again is known.

`followed` is one story with all of them in it; each test asks one thing of each.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from tests.clients.conftest import Followed, Row
from tests.clients.readers import READERS, Elastic, OpenCtiIngester, Page, Reader

from isac import times

#: products that go on from X-TAXII-Date-Added-Last or `next`: nothing comes twice
EXACT = ("Elastic", "Sentinel", "EclecticIQ")
#: products that ask by their own clock, and for how many seconds after it came a row may come again: date_added runs
#: 2 s ahead, and the connector asks in whole seconds
OWN_CLOCK = {"taxii2-client": 2, "taxii2-client, manifest": 2, "OpenCTI connector": 3}
#: products whose cursor is the greatest `modified`
GREATEST_MODIFIED = ("XSOAR", "MineMeld")

every_product = pytest.mark.parametrize("product", READERS)


@dataclass(frozen=True)
class Delivery:
    """A row, as one answer brought it."""

    row: Row
    page: Page


def shelves(followed: Followed, product: str) -> list[str]:
    return [followed.home, followed.own] if product == "OpenCTI connector" else [followed.home]


def deliveries(followed: Followed, reader: Reader, shelf: str) -> Iterator[Delivery]:
    """Which row each object was: of two with one version, the later is the one that stood."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in followed.rows[shelf]:
        rows.setdefault((row.id, row.version), []).append(row)
    for page in reader.pages:
        if page.shelf != shelf:
            continue
        for each in page.objects:
            version = each.get("modified") or each["created"]
            yield Delivery(max((r for r in rows[each["id"], version] if in_page(r, page)), key=lambda r: r.added), page)


def in_page(row: Row, page: Page) -> bool:
    return page.first is not None and page.last is not None and page.first <= row.added <= page.last


def repeats(followed: Followed, product: str) -> list[tuple[Delivery, Delivery]]:
    """Each row that came again, with its first delivery."""
    found = []
    for shelf in shelves(followed, product):
        first: dict[Row, Delivery] = {}
        came = deliveries(followed, followed.readers[product], shelf)
        found += [(first[each.row], each) for each in came if first.setdefault(each.row, each) is not each]
    return found


def wanted(reader: Reader, row: Row) -> bool:
    return reader.types is None or row.type in reader.types


# ---------------------------------------------------------------------------------------------------- what all must do


def test_the_story_has_everything_in_it(followed: Followed) -> None:
    deeds = {"add", "add an old one", "renew", "tighten", "revoke", "delete"}
    stewards = {"widen", "narrow", "withdraw", "delete_newest", "expire"}
    assert deeds | stewards <= set(followed.journal.done)

    rows = followed.rows[followed.home]
    gone = [row for row in rows if not row.live]
    assert len(rows) - len(gone) > 60
    assert len(gone) > 30
    assert {"note", "indicator", "marking-definition"} <= {row.type for row in rows if row.live}
    assert all(len(reader.runs) > 8 for reader in followed.readers.values())


@pytest.mark.taxii("T-67", "A-25", "L-6")
@pytest.mark.taxii("L-7")
@every_product
def test_it_ends_with_all_that_is_there(followed: Followed, product: str) -> None:
    """Notices and revocations that stand are there, too."""
    reader = followed.readers[product]
    for shelf in shelves(followed, product):
        held = {delivery.row.id: delivery.row for delivery in deliveries(followed, reader, shelf)}
        live = {row.id: row for row in followed.rows[shelf] if row.live and wanted(reader, row)}

        assert {stix_id: held.get(stix_id) for stix_id in live} == live


@pytest.mark.taxii("L-15")
@pytest.mark.taxii("L-15")
@every_product
def test_it_was_told_of_all_that_was_taken_back(followed: Followed, product: str) -> None:
    """What it got and is there no more: a notice names it, or it went without a word (DELETE, expiry)."""
    reader = followed.readers[product]
    if reader.types is not None or "manifest" in product:
        return  # it asked for no notes, or sees their ids alone
    for shelf in shelves(followed, product):
        live = {row.id for row in followed.rows[shelf] if row.live}
        pages = [page for page in reader.pages if page.shelf == shelf]
        got = {each["id"] for page in pages for each in page.objects if each["type"] == "indicator"}
        named = {ref for page in pages for each in page.objects for ref in each.get("object_refs", [])}

        assert got - live <= named | followed.journal.silent
        assert shelf != followed.home or got - live - followed.journal.silent


@pytest.mark.taxii("T-5")
@every_product
def test_it_sees_nothing_of_others(followed: Followed, product: str) -> None:
    allowed = {(row.id, row.version) for shelf in shelves(followed, product) for row in followed.rows[shelf]}
    seen = {
        (each["id"], each.get("modified") or each["created"])
        for page in followed.readers[product].pages
        for each in page.objects
    }

    assert seen <= allowed


@pytest.mark.parametrize("product", EXACT)
def test_markings_come_before_what_carries_them(followed: Followed, product: str) -> None:
    known: set[str] = set()
    for each in [each for page in followed.readers[product].pages for each in page.objects]:
        assert set(each.get("object_marking_refs", [])) <= known
        known.add(each["id"])


@pytest.mark.taxii("L-5", "L-8")
@pytest.mark.taxii("L-5", "L-8")
@every_product
def test_pages_are_full_and_lead_on(followed: Followed, product: str) -> None:
    """A page is full unless it is the last, `next` comes with `more` and only then, and never with an empty page."""
    for page in followed.readers[product].pages:
        limit = int(page.asked_for.get("limit", 100))
        assert (page.next is not None) == page.more
        assert len(page.objects) == limit if page.more else len(page.objects) <= limit


# ------------------------------------------------------------------------------------------------- what comes again


@pytest.mark.taxii("A-19", "L-6", "L-10")
@pytest.mark.parametrize("product", EXACT)
def test_nothing_comes_twice_to_who_uses_our_cursors(followed: Followed, product: str) -> None:
    reader = followed.readers[product]
    dated = [page for page in reader.pages if page.objects]

    assert repeats(followed, product) == []
    assert all(one.last < other.first for one, other in itertools.pairwise(dated) if one.last and other.first)
    assert [page.objects for page in reader.pages if page.run >= reader.quiet] == [[]]


@pytest.mark.parametrize("product", OWN_CLOCK)
def test_the_own_clock_brings_again_what_is_two_seconds_old(followed: Followed, product: str) -> None:
    """C-T2C-6, C-OCTC-5: what came no more than that before the last run began; nothing on a quiet day."""
    reader, found = followed.readers[product], repeats(followed, product)
    lead = timedelta(seconds=OWN_CLOCK[product])

    assert found
    for first, again in found:
        assert first.page.run < again.page.run
        assert reader.runs[again.page.run - 1] < first.page.answered_at + lead
    assert not any(page.objects for page in reader.pages if page.run >= reader.quiet)


@pytest.mark.taxii("A-1", "L-6")
def test_a_javascript_date_brings_again_what_shares_the_last_millisecond(followed: Followed) -> None:
    """C-OCTI-6: at every quiet tick, and only that."""
    reader, found = followed.readers["OpenCTI ingester"], repeats(followed, "OpenCTI ingester")
    assert isinstance(reader, OpenCtiIngester)

    assert found
    for _, again in found:
        assert again.row.added[:-4] == again.page.asked_for["added_after"][:-1]
    (quiet,) = [page for page in reader.pages if page.run >= reader.quiet]
    cut = f"{quiet.asked_for['added_after'][:-1]}000Z"
    assert [each["id"] for each in quiet.objects] == [
        row.id for row in followed.rows[followed.home] if row.live and row.added > cut
    ]


@pytest.mark.taxii("L-16")
@pytest.mark.parametrize("product", GREATEST_MODIFIED)
def test_the_greatest_modified_brings_again_what_was_added_after_it(followed: Followed, product: str) -> None:
    """C-XSOAR-7, C-MM: objects older than the newest `modified` at every poll, the newest itself too; never a loss."""
    reader, found = followed.readers[product], repeats(followed, product)

    assert found
    assert all(times.read(again.row.added) > times.read(again.page.asked_for["added_after"]) for _, again in found)
    # The run before brought it as well, so who drops what that had takes nothing twice.
    came = {(each.row, each.page.run) for each in deliveries(followed, reader, followed.home)}
    assert all((again.row, again.page.run - 1) in came for _, again in found)
    quiet = [page for page in reader.pages if page.run >= reader.quiet]
    cursor = times.read(quiet[0].asked_for["added_after"])  # has three decimals, a row's date six
    rows = [row for row in followed.rows[followed.home] if row.live and wanted(reader, row)]
    late = [row for row in rows if times.read(row.added) > cursor]
    assert [each["id"] for page in quiet for each in page.objects] == [row.id for row in late]


def test_the_older_elastic_reads_its_interval_at_every_poll(followed: Followed) -> None:
    """C-ELA-6: here the interval holds all; at each run each object once."""
    reader = followed.readers["Elastic, older"]
    times_in_run = Counter((d.page.run, d.row) for d in deliveries(followed, reader, followed.home))
    quiet = {row for run, row in times_in_run if run >= reader.quiet}

    assert set(times_in_run.values()) == {1}
    assert quiet == {row for row in followed.rows[followed.home] if row.live}


@pytest.mark.taxii("L-9")
def test_elastic_logs_an_error_at_a_quiet_poll(followed: Followed) -> None:
    """C-ELA-5: the standard has no empty list of objects."""
    reader = followed.readers["Elastic"]
    assert isinstance(reader, Elastic)

    assert [page.objects for page in reader.pages][-1] == []
    assert reader.errors > 0
