"""Filters and pages of a TAXII 2.1 server, in combination and in every way that they can be wrong (§3.3 to §3.5)."""

import itertools
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from tests.serve.conftest import (
    FEBRUARY,
    JANUARY,
    MARCH,
    UNKNOWN,
    Asking,
    date_added,
    is_error,
    mutex,
    tool,
    tools,
    versions_of,
)

CLEAR = "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487"

# ------------------------------------------------------------------------------------------------------- in combination


@pytest.fixture
def log(clerk: Asking) -> list[dict[str, Any]]:
    """Two objects of three versions, one of which came out of order, and two without versions: as they came."""
    one, other = versions_of(tool(), JANUARY, FEBRUARY, MARCH), versions_of(tool(), JANUARY, MARCH, FEBRUARY)
    came = [one[0], mutex("m"), other[0], one[1], other[1], mutex("n"), one[2], other[2]]
    clerk.add(*came)
    return came


def expected(log: Sequence[dict[str, Any]], query: dict[str, str], after: int) -> list[dict[str, Any]]:
    """What a collection shows of what came, by the words of the standard: date last, since A-9."""
    kinds, ids = query.get("match[type]"), query.get("match[id]")
    wanted = query.get("match[version]", "last").split(",")

    def chosen(each: dict[str, Any]) -> bool:
        versions = sorted(other.get("modified", "") for other in log if other["id"] == each["id"])
        version = each.get("modified", "")
        named = {"all": True, "first": version == versions[0], "last": version == versions[-1]}
        return any(named.get(value, value == version) for value in wanted)

    return [
        each
        for each in log[after:]
        if (kinds is None or each["type"] in kinds.split(","))
        and (ids is None or each["id"] in ids.split(","))
        and "2.1" in query.get("match[spec_version]", "2.1").split(",")
        and chosen(each)
    ]


@pytest.mark.taxii(
    "T-49", "T-50", "T-52", "T-54", "T-55", "T-56", "T-57", "T-58", "T-61", "T-62", "T-66", "A-9", "A-26"
)
def test_t50_t58_filters_in_combination_give_what_they_say_page_by_page(
    clerk: Asking, log: list[dict[str, Any]]
) -> None:
    dates = [record["date_added"] for record in clerk.objects("manifest/", **{"match[version]": "all"})]
    versions = ("last", "first", "all", "first,last", FEBRUARY, f"{JANUARY},last")
    narrow: list[dict[str, str]] = [
        {},
        {"match[type]": "mutex"},
        {"match[type]": "tool,mutex,malware", "match[spec_version]": "2.0,2.1"},
        {"match[id]": f"{log[0]['id']},{log[1]['id']},{UNKNOWN}"},
        {"match[id]": f"{log[0]['id']},{log[1]['id']}", "match[type]": "tool"},
        {"match[spec_version]": "2.0"},
    ]
    for version, more, after in itertools.product(versions, narrow, (0, 3)):
        query = {"match[version]": version, **more, **({"added_after": dates[after - 1]} if after else {})}
        wanted = expected(log, query, after)
        for limit in (1, 3, len(wanted) or 1):
            pages = list(clerk.pages("objects/", limit=str(limit), **query))
            assert (query, pages) == (query, [wanted[n : n + limit] for n in range(0, len(wanted), limit)] or [[]])
        records = clerk.objects("manifest/", **query)
        assert [each["id"] for each in records] == [each["id"] for each in wanted]


@pytest.mark.taxii("T-54")
def test_t54_a_type_named_twice_gives_its_objects_once(clerk: Asking) -> None:
    clerk.add(*tools("a", "b"))

    for version in ("last", "first", "all"):
        query = {"match[type]": "tool,tool", "match[version]": version}
        assert clerk.names(**query) == ["a", "b"]
        assert [len(page) for page in clerk.pages("manifest/", limit="1", **query)] == [1, 1]


@pytest.mark.taxii("T-10", "T-54")
def test_t10_thousands_of_types_cost_no_more_than_a_page(clerk: Asking) -> None:
    clerk.add(tool("a"), mutex("b"), to=clerk.home + "objects/")
    types = ",".join(f"x-{n}" for n in range(2000))

    for version in ("last", "first", "all"):
        assert clerk.names(f"{clerk.home}objects/?match[version]={version}&match[type]={types},tool") == ["a"]
    assert clerk.get(f"{clerk.home}objects/?match[type]={types}").json() == {}


@pytest.mark.taxii("T-10", "T-55")
def test_t10_many_ids_cost_no_more_than_a_page(clerk: Asking) -> None:
    a, b = tools("a", "b")
    clerk.add(a, b)
    others = ",".join(f"tool--{uuid.uuid4()}" for _ in range(250))

    assert clerk.names(f"objects/?match[id]={others},{b['id']}") == ["b"]


@pytest.mark.taxii("T-55", "T-77")
def test_t55_ids_are_found_in_any_letter_case(clerk: Asking) -> None:
    one = tool("one")
    clerk.add(one)

    assert clerk.names(**{"match[id]": one["id"].upper()}) == ["one"]
    assert clerk.names(f"objects/{one['id'].upper()}/") == ["one"]


# ------------------------------------------------------------------------------------------------------------ malformed


@pytest.mark.taxii("T-33", "T-50", "T-58", "T-59", "T-62", "T-63", "A-4", "A-28")
def test_t33_what_is_malformed_is_400_on_every_endpoint_that_has_the_filter(clerk: Asking) -> None:
    one = tool()
    clerk.add(one)
    everywhere = [
        "limit=",
        "limit=-1",
        "limit=1.5",
        "limit=1&limit=1",
        "added_after=",
        "added_after=2026-01-01",
        "added_after=2026-01-01T00:00:00",
        "added_after=2026-01-01%2000:00:00Z",
        "added_after=2026-13-01T00:00:00Z",
        "added_after=2026-01-01T00:00:00Z&added_after=2026-01-02T00:00:00Z",
        "next=",
        "next=AAAA",
        "match[spec_version]=",
        "match[spec_version]=2.1&match%5Bspec_version%5D=2.1",
    ]
    version = [
        "match[version]=",
        "match[version]=last,,first",
        "match[version]=first,all",
        f"match[version]={JANUARY},2026-01-01T00:00:00Z",
        "match[version]=2026-01-01T00:00:00%2B00:00",
        "match[version]=last&match[version]=first",
    ]
    objects = ["match[type]=", "match[id]=,", "match[type]=tool&match[type]=tool", f"match[id]={UNKNOWN}&match[id]=x"]
    for path, queries in (
        ("objects/", everywhere + version + objects),
        ("manifest/", everywhere + version + objects),
        (f"objects/{one['id']}/", everywhere + version),
        (f"objects/{one['id']}/versions/", everywhere),
    ):
        for query in queries:
            assert (path, query, is_error(clerk.get(f"{path}?{query}"), 400)) == (path, query, True)
    for query in version:
        assert (query, is_error(clerk.request("DELETE", f"objects/{one['id']}/?{query}"), 400)) == (query, True)
    assert clerk.get(f"objects/{one['id']}/").status_code == 200


@pytest.mark.taxii("T-51", "T-54", "A-7", "L-10")
def test_t51_a7_what_no_filter_is_and_what_no_type_is_are_no_errors(clerk: Asking) -> None:
    one = tool("one")
    clerk.add(one)

    for path in ("objects/", "manifest/", f"objects/{one['id']}/", f"objects/{one['id']}/versions/"):
        for query in ("x=1&x=2", "match[x]=", "match[confidence]=5,,5", "match[version", "=", "added-after=zzz"):
            assert (path, query, clerk.get(f"{path}?{query}").json()) == (path, query, clerk.get(path).json())
    for kind in ("x-elm", "no type", "\u00e9", "*", "TOOL", "a" * 300):
        assert (kind, clerk.get("objects/", {"match[type]": kind}).content) == (kind, b"{}")


@pytest.mark.taxii("T-63", "L-6")
def test_t63_a_next_that_was_changed_in_one_letter_is_400(clerk: Asking) -> None:
    clerk.add(*tools("a", "b"))
    following = clerk.get("objects/", {"limit": "1"}).json()["next"]

    for at in range(0, len(following) - 1, 5):
        changed = following[:at] + ("A" if following[at] != "A" else "B") + following[at + 1 :]
        assert is_error(clerk.get("objects/", {"next": changed}), 400)


@pytest.mark.taxii("T-63", "A-19")
def test_a19_filters_beside_next_narrow_it(clerk: Asking) -> None:
    a, b, c = tools("a", "b", "c")
    clerk.add(a, b, mutex("m"), c)
    following = clerk.get("objects/", {"limit": "1", "match[type]": "tool"}).json()["next"]

    assert clerk.names(next=following, limit="9") == ["b", "c"]
    assert clerk.names(next=following, limit="9", **{"match[type]": "mutex"}) == []
    assert clerk.names(next=following, limit="9", **{"match[id]": f"{a['id']},{c['id']}"}) == ["c"]


# ---------------------------------------------------------------------------------------------------------------- pages


@pytest.mark.taxii("T-68", "L-5", "L-9")
def test_t68_a_next_whose_rows_are_gone_is_empty_and_the_last_page(clerk: Asking) -> None:
    a, b = tools("a", "b")
    clerk.add(a, b)
    query = {"limit": "1", "next": clerk.get("objects/", {"limit": "1"}).json()["next"]}
    clerk.request("DELETE", f"objects/{b['id']}/")

    for path in ("objects/", "manifest/"):
        answer = clerk.get(path, query)
        assert (answer.status_code, answer.content) == (200, b"{}")
        assert answer.headers["x-taxii-date-added-last"] >= date_added(clerk, a["id"])


@pytest.mark.taxii("T-67", "T-69", "A-13")
def test_t67_t69_paging_by_date_finds_versions_that_came_out_of_order(clerk: Asking) -> None:
    versions = versions_of(tool(), MARCH, JANUARY, FEBRUARY)
    clerk.add(*versions)
    records = clerk.objects("manifest/", **{"match[version]": "all"})
    path, query, found = f"objects/{versions[0]['id']}/versions/", {"limit": "1"}, list[str]()
    for record in records:
        answer = clerk.get(path, query)
        dates = {answer.headers["x-taxii-date-added-first"], answer.headers["x-taxii-date-added-last"]}
        found += answer.json()["versions"]
        assert dates == {record["date_added"]}
        assert ("more" in answer.json()) == (record is not records[-1])
        query["added_after"] = record["date_added"]

    assert found == [MARCH, JANUARY, FEBRUARY]


@pytest.mark.taxii("T-60", "T-74", "A-8")
def test_t60_t74_without_modified_the_version_is_created_and_without_both_the_first_release(clerk: Asking) -> None:
    statement = {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": f"marking-definition--{uuid.uuid4()}",
        "created": FEBRUARY,
        "definition_type": "statement",
        "definition": {"statement": "Invented by Elm County."},
    }
    observable = mutex() | {"object_marking_refs": [CLEAR]}
    clerk.add(statement, observable)
    marking, value = clerk.objects("manifest/")
    clerk.add(observable, to=clerk.home + "objects/")
    (again,) = clerk.objects(f"{clerk.home}manifest/", **{"match[id]": observable["id"]})

    assert (marking["version"], value["version"]) == (FEBRUARY, value["date_added"])
    assert again["version"] == value["version"] < again["date_added"]
    assert clerk.objects(f"objects/{statement['id']}/", **{"match[version]": FEBRUARY}) == [statement]


@pytest.mark.taxii("T-59", "A-16")
def test_t59_two_texts_of_one_instant_are_one_version(clerk: Asking) -> None:
    one = tool("one", modified="2026-02-01T00:00:00Z")
    clerk.add(one)

    assert clerk.post({**one, "modified": FEBRUARY, "name": "other"}).json()["failure_count"] == 1
    assert clerk.names(**{"match[version]": "all"}) == ["one"]
