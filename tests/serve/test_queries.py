"""Filters and `next`, without a server: the table of cases, and what holds for every token."""

import base64
import contextlib
import re
import urllib.parse
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isac.errors import BadRequest
from isac.serve import queries
from isac.serve.queries import DEFAULT_LIMIT, MAX_LIMIT, Asked, Tokens
from isac.store.objects import Page, Query, Versions

TOKENS = Tokens(b"a key of thirty-two bytes, invented")
EVERYTHING = Versions(last=False, all=True)
ELECTION_DAY = datetime(2026, 11, 3, 6, 30, tzinfo=UTC)


def read(query: str, known: frozenset[str] = queries.OF_OBJECTS) -> Asked:
    return queries.read(query.encode(), known)


def page(last: datetime = ELECTION_DAY, more: bool = True) -> Page:
    return Page([b"{}"], last, last, more)


def token(query: Query, collection: int = 7, last: datetime = ELECTION_DAY) -> str:
    found = TOKENS.next(collection, query, page(last))
    assert found is not None
    return found


def resumed(earlier: Query, later: Asked = Asked(), collection: int = 7) -> Query:  # noqa: B008
    return TOKENS.query(later._replace(next=token(earlier)), collection)


# ----------------------------------------------------------------------------------------------------------- filters


def test_no_query_asks_for_the_newest_versions_from_the_start() -> None:
    assert TOKENS.query(read(""), 7) == Query(limit=DEFAULT_LIMIT, versions=Versions(last=True))


@pytest.mark.taxii("A-4")
@pytest.mark.parametrize(
    "text",
    [
        "2026-11-03T06:30:00Z",
        "2026-11-03T06:30:00.000Z",
        "2026-11-03T06:30:00.000000Z",
        "2026-11-03T06:30:00.000000999Z",
        "2026-11-03t06:30:00z",
        "2026-11-03T01:30:00-05:00",
        "2026-11-03T06:30:00+00:00",
        "2026-11-03T06:30:00%2B00:00",
    ],
)
def test_a4_any_rfc_3339_time_is_read_and_cut_down(text: str) -> None:
    assert read(f"added_after={text}").added_after == ELECTION_DAY


@pytest.mark.taxii("T-33", "A-4")
@pytest.mark.parametrize("text", ["zzz", "", "2026-11-03", "2026-11-03T06:30:00", "2026-02-30T00:00:00Z", "1793687400"])
def test_t33_a4_other_times_are_malformed(text: str) -> None:
    with pytest.raises(BadRequest):
        read(f"added_after={text}")


@pytest.mark.taxii("T-62")
@pytest.mark.parametrize(("text", "limit"), [("1", 1), ("007", 7), ("1000", 1000), ("1001", 1000), ("9" * 5000, 1000)])
def test_t62_limit_is_clamped_and_never_refused_for_its_size(text: str, limit: int) -> None:
    assert TOKENS.query(read(f"limit={text}"), 7).limit == limit


@pytest.mark.taxii("T-62")
@pytest.mark.parametrize("text", ["0", "-1", "", "ten", "1.5", "+5", "1e3", "٣", " 5"])
def test_t62_limit_is_a_whole_number_above_0(text: str) -> None:
    with pytest.raises(BadRequest):
        read(urllib.parse.urlencode({"limit": text}))


@pytest.mark.taxii("T-50", "A-28")
@pytest.mark.parametrize(
    "field",
    [
        "added_after=2026-11-03T06:30:00Z",
        "limit=5",
        "match[id]=x",
        "match[type]=malware",
        "match[version]=last",
        "next=x",
    ],
)
def test_t50_i4_a28_a_field_given_twice_is_malformed(field: str) -> None:
    with pytest.raises(BadRequest):
        read(f"{field}&{field}")


@pytest.mark.taxii("T-50")
def test_t50_a_field_given_twice_in_two_spellings_is_given_twice() -> None:
    with pytest.raises(BadRequest):
        read("match[type]=malware&match%5Btype%5D=tool")


@pytest.mark.taxii("T-50")
def test_t50_values_of_one_field_are_a_list() -> None:
    found = read("match[type]=indicator,malware&match[id]=Tool--A,tool--b")

    assert (found.types, found.ids) == (("indicator", "malware"), ("tool--a", "tool--b"))


@pytest.mark.taxii("T-33")
@pytest.mark.parametrize(
    "query", ["match[type]=", "match[type]=a,,b", "match[id]=,", "match[version]=", "match[version]=,"]
)
def test_t33_an_empty_value_is_malformed(query: str) -> None:
    with pytest.raises(BadRequest):
        read(query)


@pytest.mark.taxii("T-33")
def test_t33_a_control_character_is_malformed() -> None:
    with pytest.raises(BadRequest):
        read("match[id]=tool--%00")


@pytest.mark.taxii("T-51", "A-7")
@pytest.mark.parametrize("query", ["foo=1", "match[foo]=1&match[foo]=2", "=", "&&", "match[]=x", "Limit=0"])
def test_t51_a7_unknown_parameters_are_ignored(query: str) -> None:
    assert read(query)._replace(ignored=()) == Asked()


@pytest.mark.taxii("T-49")
@pytest.mark.parametrize(
    ("known", "counted"),
    [
        (queries.OF_OBJECTS, {"added_after", "limit", "next", "ids", "types", "versions", "spec_versions"}),
        (queries.OF_OBJECT, {"added_after", "limit", "next", "versions", "spec_versions"}),
        (queries.OF_VERSIONS, {"added_after", "limit", "next", "spec_versions"}),
        (queries.OF_DELETE, {"versions", "spec_versions"}),
    ],
)
def test_t49_each_endpoint_has_its_filters_and_ignores_the_others(known: frozenset[str], counted: set[str]) -> None:
    everything = (
        "added_after=2026-11-03T06:30:00Z&limit=5&next=x"
        "&match[id]=a&match[type]=b&match[version]=all&match[spec_version]=2.1"
    )

    found = read(everything, known)

    assert {name for name in Asked._fields if getattr(found, name) not in (None, found.ignored)} == counted
    assert len(found.ignored) == 7 - len(counted)


@pytest.mark.taxii("T-58")
@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("last", Versions(last=True)),
        ("first", Versions(last=False, first=True)),
        ("all", EVERYTHING),
        ("first,last", Versions(last=True, first=True)),
        ("1970-01-01T00:00:01Z", Versions(last=False, instants=frozenset({10**9}))),
        ("last,1970-01-01T00:00:01.000Z", Versions(last=True, instants=frozenset({10**9}))),
        ("1970-01-01T00:00:00.123456789Z", Versions(last=False, instants=frozenset({123_456_789}))),
        ("1969-12-31T23:59:59.5Z", Versions(last=False, instants=frozenset({-500_000_000}))),
    ],
)
def test_t58_versions(text: str, versions: Versions) -> None:
    assert read(f"match[version]={text}").versions == versions


@pytest.mark.taxii("T-58", "T-59", "A-28")
@pytest.mark.parametrize(
    "text",
    [
        "all,last",
        "all,all",
        "last,last",
        "2026-11-03T06:30:00Z,2026-11-03T06:30:00.000Z",
        "newest",
        "LAST",
        "2026-11-03",
        "2026-11-03T06:30:00",
        "2026-11-03T06:30:00+00:00",
        "2026-02-30T00:00:00Z",
    ],
)
def test_t58_t59_a28_malformed_versions(text: str) -> None:
    with pytest.raises(BadRequest):
        read(f"match[version]={urllib.parse.quote(text)}")


@pytest.mark.taxii("T-59")
def test_t59_a_version_beyond_what_can_be_stored_matches_nothing() -> None:
    query = TOKENS.query(read("match[version]=9999-12-31T23:59:59Z"), 7)

    assert query.ids == ()


@pytest.mark.taxii("T-33")
@given(st.text())
def test_t33_any_query_string_is_read_or_malformed(text: str) -> None:
    with contextlib.suppress(BadRequest):
        queries.read(urllib.parse.quote(text, safe="&=[],+%:").encode(), queries.OF_OBJECTS)


@given(
    st.lists(st.sampled_from(["%", "3", "A", "a", "2", "5", "C3", "A9", "%3A", "%3a", "%25", "%C3", "%A9", "+", ":"]))
)
def test_a_text_is_unquoted_as_everywhere(pieces: list[str]) -> None:
    text = "".join(pieces)

    assert queries._unquoted(text) == urllib.parse.unquote_plus(text)


# -------------------------------------------------------------------------------------------------------------- next

instants = st.integers(0, 2**53).map(lambda n: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=n))
values = st.none() | st.lists(st.text(min_size=1), min_size=1, max_size=5).map(tuple)
wanted = st.just(EVERYTHING) | st.builds(
    Versions, st.booleans(), st.booleans(), st.just(False), st.frozensets(st.integers(-(2**62), 2**62), max_size=3)
).filter(lambda found: bool(found.last or found.first or found.instants))
asking = st.builds(
    Query,
    limit=st.integers(1, MAX_LIMIT),
    added_after=st.none(),
    position=st.none(),
    ids=values,
    types=values,
    versions=wanted,
    spec_versions=values,
)


@pytest.mark.taxii("L-6")
@given(asking, instants, st.integers(1, 2**31))
def test_l6_a_token_carries_collection_position_and_query(query: Query, last: datetime, collection: int) -> None:
    again = TOKENS.query(Asked(next=token(query, collection, last)), collection)

    assert again == query._replace(position=last)


@pytest.mark.taxii("L-6")
@given(asking, instants)
def test_l6_a_token_is_url_safe_and_the_same_each_time(query: Query, last: datetime) -> None:
    found = token(query, last=last)

    assert re.fullmatch(r"[A-Za-z0-9_-]+", found)
    assert found == token(query, last=last)


@pytest.mark.taxii("T-63")
@given(asking, st.data())
def test_t63_a_token_that_was_changed_is_malformed(query: Query, data: st.DataObject) -> None:
    sealed = base64.urlsafe_b64decode(token(query) + "==")
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8

    with pytest.raises(BadRequest):
        TOKENS.query(Asked(next=base64.urlsafe_b64encode(changed).rstrip(b"=").decode()), 7)


@pytest.mark.taxii("T-63")
@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_t63_garbage_is_malformed(text: str) -> None:
    with pytest.raises(BadRequest):
        TOKENS.query(Asked(next=text), 7)


@pytest.mark.taxii("T-63")
def test_t63_another_servers_token_is_malformed() -> None:
    foreign = Tokens(b"another key").next(7, Query(limit=5), page())

    with pytest.raises(BadRequest):
        TOKENS.query(Asked(next=foreign), 7)


@pytest.mark.taxii("L-6")
def test_l6_positions_of_others_do_not_show() -> None:
    """Two neighboring positions give tokens that share nothing, so nobody counts what lies between them."""
    raw = [
        base64.urlsafe_b64decode(token(Query(limit=5), last=ELECTION_DAY + n * timedelta(microseconds=1)) + "==")
        for n in range(200)
    ]

    alike = [sum(a == b for a, b in zip(raw[0], other, strict=True)) for other in raw[1:]]
    assert max(alike) < len(raw[0]) // 4
    assert [bytes(each) for each in raw] != sorted(raw)


@pytest.mark.taxii("L-5")
def test_l5_there_is_a_token_with_more_and_never_without() -> None:
    assert TOKENS.next(7, Query(limit=5), page(more=True))
    assert TOKENS.next(7, Query(limit=5), page(more=False)) is None


@pytest.mark.taxii("A-19")
def test_a19_filters_left_out_are_taken_from_the_token() -> None:
    earlier = Query(limit=5, ids=("a",), types=("malware",), versions=EVERYTHING, spec_versions=("2.1",))

    assert resumed(earlier) == earlier._replace(position=ELECTION_DAY)


@pytest.mark.taxii("A-19")
def test_a19_filters_given_again_change_nothing() -> None:
    earlier = Query(limit=5, types=("malware", "tool"), versions=Versions(first=True))
    later = Asked(types=("tool", "malware"), versions=Versions(first=True))

    assert set(resumed(earlier, later).types or ()) == {"malware", "tool"}
    assert resumed(earlier, later).versions == earlier.versions


@pytest.mark.taxii("A-19")
@pytest.mark.parametrize(
    ("earlier", "given", "narrowed"),
    [(None, ("a",), ("a",)), (("a", "b"), ("b", "c"), ("b",)), (("a",), ("b",), ()), (("a",), None, ("a",))],
)
def test_a19_filters_narrow_by_intersection(
    earlier: tuple[str, ...] | None, given: tuple[str, ...] | None, narrowed: tuple[str, ...]
) -> None:
    found = resumed(
        Query(limit=5, ids=earlier, types=earlier, spec_versions=earlier),
        Asked(ids=given, types=given, spec_versions=given),
    )

    assert (found.ids, found.types, found.spec_versions) == (narrowed, narrowed, narrowed)


@pytest.mark.taxii("A-19")
@pytest.mark.parametrize(
    ("earlier", "given", "narrowed"),
    [
        (EVERYTHING, Versions(), Versions()),
        (Versions(), EVERYTHING, Versions()),
        (EVERYTHING, None, EVERYTHING),
        (Versions(first=True), Versions(last=False, first=True), Versions(last=False, first=True)),
        (
            Versions(instants=frozenset({1, 2})),
            Versions(last=False, instants=frozenset({2, 3})),
            Versions(last=False, instants=frozenset({2})),
        ),
    ],
)
def test_a19_versions_narrow_by_intersection(earlier: Versions, given: Versions | None, narrowed: Versions) -> None:
    found = resumed(Query(limit=5, versions=earlier), Asked(versions=given))

    assert (found.versions, found.ids) == (narrowed, None)


@pytest.mark.taxii("A-19")
def test_a19_versions_that_exclude_each_other_match_nothing() -> None:
    assert resumed(Query(limit=5), Asked(versions=Versions(last=False, first=True))).ids == ()


@pytest.mark.taxii("L-6")
def test_l6_the_limit_may_change_and_is_kept_if_left_out() -> None:
    assert resumed(Query(limit=5), Asked(limit=9)).limit == 9
    assert resumed(Query(limit=5)).limit == 5


@pytest.mark.taxii("L-6")
@pytest.mark.parametrize("days", [-1, 1])
def test_l6_of_position_and_added_after_the_later_counts(days: int) -> None:
    given = ELECTION_DAY + timedelta(days=days)

    assert resumed(Query(limit=5), Asked(added_after=given)).after == max(given, ELECTION_DAY)


@pytest.mark.taxii("A-19")
def test_a19_another_collections_token_says_nothing() -> None:
    """OpenCTI's habit: the next collection is asked with the last one's token (C-OCTC-2)."""
    earlier = Query(limit=5, types=("malware",), versions=EVERYTHING)
    later = Asked(added_after=ELECTION_DAY - timedelta(days=9))

    assert resumed(earlier, later, collection=8) == Query(limit=DEFAULT_LIMIT, added_after=later.added_after)


@pytest.mark.taxii("L-6")
def test_l6_a_token_of_a_long_query_fits_into_an_address() -> None:
    ids = tuple(f"indicator--{n:08x}-0000-4000-8000-{n * n:012x}" for n in range(50))

    assert len(token(Query(limit=100, ids=ids))) < 4000
