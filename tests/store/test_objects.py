"""What a collection shows, on real rows: each filter, whole paging, versions, manifests, and what a page costs."""

import dataclasses
import itertools
import uuid
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import Person, copied

from isac.errors import NotFound
from isac.ingest.intake import Submission, take_in
from isac.stix import objects as stix
from isac.stix.markings import TLP
from isac.store import database, facts, members
from isac.store import objects as store
from isac.store.database import Connection, Pool
from isac.store.members import Collection
from isac.store.objects import Query, Versions

Run = Callable[[Coroutine[Any, Any, Any]], Any]

ALL = Versions(last=False, all=True)
#: the namespace of observables' ids (STIX 2.1 §2.9)
_OBSERVABLES = uuid.UUID("00abedb4-aa42-466c-9c01-fed23315a9b7")


def uid(kind: str, number: int) -> str:
    return f"{kind}--{uuid.UUID(int=number + 1, version=4)}"


def stamp(number: int) -> str:
    return f"2024-01-01T00:00:{number:02d}.000Z"


def instant(number: int) -> int:
    return stix.instant(stamp(number))


def indicator(number: int, modified: int = 0) -> bytes:
    return orjson.dumps(
        {
            "type": "indicator",
            "spec_version": "2.1",
            "id": uid("indicator", number),
            "created": stamp(0),
            "modified": stamp(modified),
            "pattern": "[ipv4-addr:value = '192.0.2.1']",
            "pattern_type": "stix",
            "valid_from": stamp(0),
        }
    )


def malware(number: int) -> bytes:
    return orjson.dumps(
        {
            "type": "malware",
            "spec_version": "2.1",
            "id": uid("malware", number),
            "created": stamp(0),
            "modified": stamp(0),
            "name": "Example",
            "is_family": False,
        }
    )


def address(number: int) -> bytes:
    value = f"192.0.2.{number}"
    stix_id = f"ipv4-addr--{uuid.uuid5(_OBSERVABLES, orjson.dumps({'value': value}).decode())}"
    return orjson.dumps({"type": "ipv4-addr", "spec_version": "2.1", "id": stix_id, "value": value})


# --------------------------------------------------------------------------------------------------- the small world

#: versions of three indicators, two malwares, an address; in the order of their coming, each to an audience
STORY = (
    ("us", indicator(1, 1)),
    ("us-oh", indicator(2, 1)),
    ("us-oh-39901", malware(1)),
    ("us", indicator(1, 2)),
    ("us-oh-39901", indicator(3, 5)),
    ("us", indicator(1, 3)),
    ("us-oh-39901", indicator(3, 4)),
    ("us", address(7)),
    ("us", malware(2)),
    ("us-il", indicator(9, 1)),
)


@pytest.fixture(scope="module")
def world(postgres: str, template: dict[str, Person]) -> Iterator[str]:
    """A database in which the story has happened; tests only read it."""
    assert template
    with copied(postgres) as url:
        yield url


@dataclasses.dataclass(frozen=True)
class Reader:
    """Somebody who reads the county's collection."""

    conn: Connection
    shelf: Collection
    run: Run

    def page(self, limit: int = 1000, **filters: Any) -> store.Page:
        found: store.Page = self.run(store.page(self.conn, self.shelf, Query(limit, **filters)))
        return found

    def manifest(self, limit: int = 1000, **filters: Any) -> store.Manifest:
        found: store.Manifest = self.run(store.manifest(self.conn, self.shelf, Query(limit, **filters)))
        return found

    def versions(self, stix_id: str, limit: int = 1000, **filters: Any) -> store.Manifest:
        found: store.Manifest = self.run(store.versions(self.conn, self.shelf, stix_id, Query(limit, **filters)))
        return found

    def shows(self, **filters: Any) -> list[bytes]:
        """What of the story is shown, the foundation's marking definitions left out."""
        return [raw for raw in self.page(**filters).objects if b"marking-definition" not in raw]


@pytest.fixture
def county(world: str, run: Run) -> Iterator[Reader]:
    async def prepare() -> tuple[Connection, Collection]:
        async with database.pool(world, size=2) as pool, pool.connection() as conn:
            if not await facts.fetch(conn, "SELECT FROM objects WHERE stix_id = %s", (uid("indicator", 1),)):
                await tell(pool)
        conn = await database.connect(world)
        return conn, await members.shelf(conn, "us-oh-39901")

    conn, shelf = run(prepare())
    yield Reader(conn, shelf, run)
    run(conn.close())


async def tell(pool: Pool) -> None:
    for code, raw in STORY:
        async with pool.connection() as conn:
            asking, place = await members.steward(conn), (await members.shelf(conn, code)).own
        outcome = await take_in(pool, Submission([raw], place, "story", TLP.GREEN, sample=True), asking)
        assert outcome.counts.accepted == 1, (raw, outcome)


# ---------------------------------------------------------------------------------------------------------- filters


def test_the_default_view_is_the_newest_version_of_each_object_in_the_order_of_coming(county: Reader) -> None:
    assert county.shows() == [
        indicator(2, 1),
        malware(1),
        indicator(3, 5),
        indicator(1, 3),
        address(7),
        malware(2),
    ]


def test_match_id(county: Reader) -> None:
    assert county.shows(ids=(uid("indicator", 2), uid("malware", 1))) == [indicator(2, 1), malware(1)]
    assert county.shows(ids=(uid("indicator", 9),)) == []
    assert county.shows(ids=(uid("indicator", 77),)) == []
    assert county.shows(ids=()) == []


def test_match_type(county: Reader) -> None:
    assert county.shows(types=("malware",)) == [malware(1), malware(2)]
    assert county.shows(types=("malware", "ipv4-addr")) == [malware(1), address(7), malware(2)]
    assert county.shows(types=("tool",)) == []
    assert county.shows(types=()) == []


def test_match_id_and_type_must_both_hold(county: Reader) -> None:
    ids = (uid("indicator", 2), uid("malware", 1))

    assert county.shows(ids=ids, types=("malware",)) == [malware(1)]
    assert county.shows(ids=ids, types=("tool",)) == []


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (Versions(), [indicator(1, 3)]),
        (Versions(last=False, first=True), [indicator(1, 1)]),
        (ALL, [indicator(1, 1), indicator(1, 2), indicator(1, 3)]),
        (Versions(last=False, instants=frozenset({instant(2)})), [indicator(1, 2)]),
        (Versions(last=False, instants=frozenset({instant(1), instant(3)})), [indicator(1, 1), indicator(1, 3)]),
        (Versions(last=False, instants=frozenset({instant(30)})), []),
        (Versions(last=True, first=True), [indicator(1, 1), indicator(1, 3)]),
        (Versions(last=True, instants=frozenset({instant(2)})), [indicator(1, 2), indicator(1, 3)]),
        (Versions(last=False, first=True, instants=frozenset({instant(2)})), [indicator(1, 1), indicator(1, 2)]),
    ],
    ids=["last", "first", "all", "exact", "two exact", "none", "first+last", "last+exact", "first+exact"],
)
def test_match_version(versions: Versions, expected: list[bytes], county: Reader) -> None:
    of_one = {uid("indicator", 1)}

    assert county.shows(ids=tuple(of_one), versions=versions) == expected
    everything = county.shows(types=("indicator",), versions=versions)
    assert [raw for raw in everything if orjson.loads(raw)["id"] in of_one] == expected


def test_a_late_older_version_is_history(county: Reader) -> None:
    ids = (uid("indicator", 3),)

    assert county.shows(ids=ids) == [indicator(3, 5)]
    assert county.shows(ids=ids, versions=ALL) == [indicator(3, 5), indicator(3, 4)]
    assert county.shows(ids=ids, versions=Versions(last=False, first=True)) == [indicator(3, 4)]


def test_what_has_one_version_is_its_first_and_its_last(county: Reader) -> None:
    for versions in (Versions(), Versions(last=False, first=True), ALL):
        assert county.shows(types=("ipv4-addr", "malware"), versions=versions) == [malware(1), address(7), malware(2)]


def test_match_spec_version(county: Reader) -> None:
    assert county.shows(spec_versions=("2.1",)) == county.shows()
    assert county.shows(spec_versions=("2.0", "2.1")) == county.shows()
    assert county.shows(spec_versions=("2.0",)) == []
    assert county.manifest(spec_versions=("2.0",)).records == []
    assert county.versions(uid("indicator", 1), spec_versions=("2.0",)).records == []


def test_added_after_is_exclusive(county: Reader) -> None:
    records = county.manifest().records
    for nth, record in enumerate(records):
        assert county.manifest(added_after=record.date_added).records == records[nth + 1 :]
        assert county.manifest(added_after=record.date_added - timedelta(microseconds=1)).records == records[nth:]
        assert county.manifest(position=record.date_added).records == records[nth + 1 :]
    assert county.page(added_after=records[-1].date_added) == store.Page([], None, None, False)


def test_of_added_after_and_position_the_later_counts(county: Reader) -> None:
    records = county.manifest().records
    early, late = records[1].date_added, records[4].date_added

    for added_after, position in ((early, late), (late, early)):
        assert county.manifest(added_after=added_after, position=position).records == records[5:]


def test_the_other_states_rows_are_not_there(county: Reader) -> None:
    assert indicator(9, 1) not in county.shows(versions=ALL)
    assert county.shows(ids=(uid("indicator", 9),), versions=ALL) == []
    assert not county.run(store.exists(county.conn, county.shelf, uid("indicator", 9)))
    with pytest.raises(NotFound):
        county.versions(uid("indicator", 9))


# ----------------------------------------------------------------------------------------------------------- paging


FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"versions": ALL},
    {"types": ("indicator",)},
    {"types": ("indicator", "malware"), "versions": ALL},
    {"types": ("tool",)},
    {"ids": (uid("indicator", 1), uid("indicator", 3), uid("malware", 2)), "versions": ALL},
    {"versions": Versions(last=True, first=True)},
    {"versions": Versions(last=False, instants=frozenset({instant(1), instant(4)}))},
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    filters=st.sampled_from(FILTERS),
    limits=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    by_cursor=st.booleans(),
)
def test_paging_with_any_limits_gives_one_big_page(
    county: Reader, filters: dict[str, Any], limits: list[int], by_cursor: bool
) -> None:
    whole, listed = county.page(**filters), county.manifest(**filters)
    assert not whole.more
    found, records, after = list[bytes](), list[store.Record](), None
    sizes = itertools.cycle(limits)
    for _ in range(len(whole.objects) + 1):
        limit = next(sizes)
        where: dict[str, datetime | None] = {"added_after" if by_cursor else "position": after}
        part, entries = county.page(limit, **filters, **where), county.manifest(limit, **filters, **where)
        found += part.objects
        records += entries.records
        assert len(part.objects) == len(entries.records) <= limit
        assert (part.first, part.last, part.more) == (entries.first, entries.last, entries.more)
        assert part.more == (len(found) < len(whole.objects))
        if not part.more:
            break
        assert len(part.objects) == limit
        assert part.last is not None
        after = part.last

    assert found == whole.objects
    assert records == listed.records


def test_a_page_tells_the_dates_of_its_ends(county: Reader) -> None:
    records, part = county.manifest().records, county.page(3)

    assert (part.first, part.last, part.more) == (records[0].date_added, records[2].date_added, True)


def test_a_page_that_is_exactly_full_has_no_more(county: Reader) -> None:
    count = len(county.page().objects)

    assert not county.page(count).more
    assert county.page(count - 1).more


# -------------------------------------------------------------------------------------------- manifests and versions


def test_a_manifest_has_a_record_for_each_object_of_the_page(county: Reader) -> None:
    page, manifest = county.page(versions=ALL), county.manifest(versions=ALL)
    bodies = [orjson.loads(raw) for raw in page.objects]

    assert [record.id for record in manifest.records] == [body["id"] for body in bodies]
    for record, body in zip(manifest.records, bodies, strict=True):
        assert record.version == body.get("modified", body.get("created", record.version))


@pytest.mark.taxii("T-60", "A-8")
def test_an_unversioned_objects_version_is_its_first_date_added(county: Reader) -> None:
    (record,) = county.manifest(types=("ipv4-addr",)).records
    exact = Versions(last=False, instants=frozenset({stix.instant(record.version)}))

    assert record.version == record.date_added.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert county.shows(types=("ipv4-addr",), versions=exact) == [address(7)]


def test_versions_are_ascending_and_page_by_date_added(county: Reader) -> None:
    one, three = uid("indicator", 1), uid("indicator", 3)

    assert [record.version for record in county.versions(one).records] == [stamp(1), stamp(2), stamp(3)]
    # 4 came after 5.
    assert [record.version for record in county.versions(three).records] == [stamp(4), stamp(5)]
    first = county.versions(three, limit=1)
    assert ([record.version for record in first.records], first.more) == ([stamp(5)], True)
    rest = county.versions(three, limit=1, added_after=first.last)
    assert ([record.version for record in rest.records], rest.more) == ([stamp(4)], False)


def test_the_newest_row_may_be_history(county: Reader) -> None:
    dates = [record.date_added for record in county.manifest(versions=ALL).records]

    assert county.run(store.newest(county.conn, county.shelf)) == max(dates)


# ------------------------------------------------------------------------------------------------ what a page costs


class Recording(psycopg.AsyncCursor[tuple[Any, ...]]):
    """Remembers what the page's statement was, so that it can be explained."""

    seen: tuple[Any, Any] = ("", None)

    async def execute(self, query: Any, params: Any = None, **more: Any) -> "Recording":
        Recording.seen = (query, params)
        await super().execute(query, params, **more)
        return self


def fill(url: str, start: int, count: int) -> None:
    """Release `count` versions to the nation through the log's only writer, two of each object, the older as history.

    They are indicators, each tenth object a malware; the versions of one stand side by side.
    """
    with psycopg.connect(database.conninfo(url, database.OWNER), autocommit=True) as conn:
        for offset in range(start, start + count, 1000):
            conn.execute(
                """INSERT INTO versions (pk, object, producer, modified, created, version, type, tlp, revoked, expired,
                                         deleted, publisher, raw)
                   SELECT 1000000 + n, 1000000 + n / 2, 1, %s + n %% 2, %s,
                          '2024-01-01T00:00:00.000Z', CASE WHEN n / 2 %% 10 = 0 THEN 'malware' ELSE 'indicator' END,
                          1, false, false, false, 1, convert_to(repeat(md5(n::text), 38), 'UTF8')
                   FROM generate_series(%s::int, %s::int) AS n""",
                (instant(0), instant(0), offset, offset + 999),
            )
            conn.execute(
                """SELECT release_batch('{}', '{}', array_agg(pk ORDER BY pk), array_agg(place),
                                        array_agg(pk %% 2 = 0 ORDER BY pk))
                   FROM versions, (SELECT pk AS place FROM audiences WHERE code = 'us') AS nation
                   WHERE pk BETWEEN %s AND %s""",
                (1000000 + offset, 1000000 + offset + 999),
            )
        conn.execute("VACUUM ANALYZE log")
        held = conn.execute("SELECT max(count) FROM (SELECT count(*) FROM log GROUP BY audience) AS n").fetchone()
    assert held == (start + count,)


async def buffers(url: str, query: Query) -> int:
    """Blocks that the page's statement touches, once the plan's own look-ups in the catalog are done."""
    conn = await database.connect(url)
    try:
        shelf = await members.shelf(conn, "us-oh-39901")
        conn.cursor_factory = Recording
        found = await store.page(conn, shelf, query)
        text, values = Recording.seen
        conn.cursor_factory = psycopg.AsyncCursor
        assert len(found.objects) == query.limit
        explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + text
        ((plan,),) = await (await conn.execute(explain, values)).fetchall()
        return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])
    finally:
        await conn.close()


async def middle(url: str) -> datetime:
    """The date_added of the row in the middle of the log."""
    conn = await database.connect(url)
    query = "SELECT date_added FROM log ORDER BY seq OFFSET (SELECT count(*) / 2 FROM log) LIMIT 1"
    ((found,),) = await facts.fetch(conn, query)
    await conn.close()
    assert isinstance(found, datetime)
    return found


@pytest.fixture(scope="module")
def costs(postgres: str, template: dict[str, Person]) -> Iterator[dict[str, tuple[int, int]]]:
    """Of each query the blocks at 4,000 rows in an audience and at 40,000."""
    assert template
    with copied(postgres) as url:
        found: dict[str, list[int]] = {}
        for start, count in ((0, 4000), (4000, 36000)):
            fill(url, start, count)
            half = uvloop.run(middle(url))
            for title, query in QUERIES.items():
                asked = query._replace(added_after=half) if title.endswith("middle") else query
                found.setdefault(title, []).append(uvloop.run(buffers(url, asked)))
        yield {title: (small, large) for title, (small, large) in found.items()}


QUERIES = {
    "from the start": Query(500),
    "from the middle": Query(500),
    "with history, from the middle": Query(500, versions=ALL),
    "of a rare type, from the start": Query(40, types=("malware",)),
    "of a rare type, from the middle": Query(40, types=("malware",)),
    "of two types, from the middle": Query(500, types=("indicator", "malware")),
    "of first versions, from the start": Query(500, versions=Versions(last=False, first=True)),
    "of first versions, from the middle": Query(500, versions=Versions(last=False, first=True)),
    "of last and first versions, from the middle": Query(500, versions=Versions(first=True)),
    "of last and exact versions, from the middle": Query(500, versions=Versions(instants=frozenset({instant(9)}))),
}


@pytest.mark.parametrize("title", list(QUERIES))
def test_a_page_costs_the_same_whatever_the_audience_holds(title: str, costs: dict[str, tuple[int, int]]) -> None:
    small, large = costs[title]

    assert large <= small * 1.1, costs
