"""Reading from a TAXII 2.1 server: filters, pages, one object (T-…, A-… of the target)."""

import json
import uuid
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from tests.conftest import Person, serving
from tests.serve.conftest import (
    FEBRUARY,
    JANUARY,
    MARCH,
    STAMP,
    TAXII,
    UNKNOWN,
    Ask,
    Asking,
    date_added,
    is_error,
    mutex,
    tool,
    tools,
    versions_of,
)

from isac import times


def first_and_last(answer: httpx2.Response) -> tuple[str, str]:
    return answer.headers["x-taxii-date-added-first"], answer.headers["x-taxii-date-added-last"]


# -------------------------------------------------------------------------------------------------------------- filters


@pytest.mark.taxii("T-33", "T-58", "A-28")
def test_t33_i4_malformed_queries_are_400(clerk: Asking) -> None:
    for path in ("objects/", "manifest/"):
        for query in (
            "limit=0",
            "limit=ten",
            "added_after=yesterday",
            "next=garbage",
            "match[version]=all,last",
            "match[version]=last,last",
            "match[version]=recent",
            "match[type]=tool&match[type]=malware",
            "added_after=2026-01-01T00:00:00Z&added_after=2026-01-01T00:00:00Z",
            "match[id]=%00",
        ):
            assert (query, is_error(clerk.get(f"{path}?{query}"), 400)) == (query, True)


@pytest.mark.taxii("T-51", "A-7", "L-10")
def test_t51_a7_l10_unknown_parameters_are_ignored(clerk: Asking) -> None:
    clerk.add(tool("one"))

    for query in ("foo=1", "match[foo]=1", "match[foo]=1&match[foo]=2", "foo", "LIMIT=0"):
        assert clerk.names(f"objects/?{query}") == ["one"]


@pytest.mark.taxii("T-49", "A-7")
def test_a7_t49_a_filter_of_another_endpoint_is_ignored(clerk: Asking) -> None:
    one = tool("one")
    clerk.add(one)

    assert clerk.names(f"objects/{one['id']}/", **{"match[type]": "malware", "match[id]": UNKNOWN}) == ["one"]
    assert clerk.get(f"objects/{one['id']}/versions/", {"match[version]": "all,last"}).status_code == 200


@pytest.mark.taxii("T-50")
def test_t50_fields_and_together_and_values_or(clerk: Asking) -> None:
    a, b, c = tool("a"), tool("b"), {**tool("c"), "type": "campaign", "id": f"campaign--{uuid.uuid4()}"}
    clerk.add(a, b, c)

    assert clerk.names(**{"match[id]": f"{a['id']},{c['id']}"}) == ["a", "c"]
    assert clerk.names(**{"match[id]": f"{a['id']},{c['id']}", "match[type]": "campaign,malware"}) == ["c"]


@pytest.mark.taxii("T-52")
def test_t52_3_4_added_after_is_exclusive(clerk: Asking) -> None:
    a, b = tool("a"), tool("b")
    clerk.add(a, b)

    assert clerk.names(added_after=date_added(clerk, a["id"])) == ["b"]
    assert clerk.names(added_after=date_added(clerk, b["id"])) == []


@pytest.mark.taxii("T-52", "A-30")
def test_t52_added_after_looks_at_date_added_and_at_no_time_of_stix(clerk: Asking) -> None:
    clerk.add(tool("old", modified=JANUARY))

    assert clerk.names(added_after="2026-06-01T00:00:00Z") == ["old"]


@pytest.mark.taxii("A-4", "L-10")
def test_a4_added_after_in_whole_seconds_and_with_an_offset(clerk: Asking) -> None:
    one = tool("one")
    clerk.add(one)
    added = times.read(date_added(clerk, one["id"])).replace(microsecond=0)

    for text in (
        f"{added:%Y-%m-%dT%H:%M:%SZ}",
        f"{added:%Y-%m-%dT%H:%M:%S+00:00}",
        f"{added:%Y-%m-%dT%H:%M:%S}.9999999Z",
    ):
        expected = (
            ["one"] if ".9" not in text else clerk.names(added_after=times.taxii(added.replace(microsecond=999999)))
        )
        assert clerk.names(added_after=text) == expected


@pytest.mark.taxii("T-53")
def test_t53_without_added_after_it_begins_at_the_oldest(clerk: Asking) -> None:
    clerk.add(*tools(*"abc"))

    assert clerk.names(limit=1) == ["a"]


@pytest.mark.taxii("T-54")
def test_t54_only_the_types_asked_for_and_no_error_for_unknown_ones(clerk: Asking) -> None:
    clerk.add(tool("a"), mutex("b"))

    assert clerk.names(**{"match[type]": "mutex"}) == ["b"]
    assert clerk.names(**{"match[type]": "x-elm-thing,tool"}) == ["a"]
    assert clerk.get("objects/", {"match[type]": "incident"}).json() == {}


@pytest.mark.taxii("T-55")
def test_t55_an_id_that_is_not_there_gives_nothing(clerk: Asking) -> None:
    clerk.add(tool())

    assert clerk.get("objects/", {"match[id]": UNKNOWN}).json() == {}


@pytest.mark.taxii("T-56")
def test_t56_nothing_outside_the_spec_versions_asked_for(clerk: Asking) -> None:
    clerk.add(tool("a"))

    assert clerk.names(**{"match[spec_version]": "2.0,2.1"}) == ["a"]
    assert clerk.names(**{"match[spec_version]": "2.0"}) == []


@pytest.mark.taxii("T-57")
def test_t57_the_newest_version_alone_unless_asked_otherwise(clerk: Asking, three: dict[str, Any]) -> None:
    assert clerk.names() == [MARCH]
    assert clerk.names(f"objects/{three['id']}/") == [MARCH]
    assert [record["version"] for record in clerk.objects("manifest/")] == [MARCH]


@pytest.mark.taxii("T-58", "T-59", "T-61", "T-78")
def test_t58_t59_t61_t78_match_version(clerk: Asking, three: dict[str, Any]) -> None:
    for wanted, names in (
        ("last", [MARCH]),
        ("first", [JANUARY]),
        ("all", [JANUARY, FEBRUARY, MARCH]),
        ("first,last", [JANUARY, MARCH]),
        (FEBRUARY, [FEBRUARY]),
        (f"{FEBRUARY},last", [FEBRUARY, MARCH]),
        (f"{FEBRUARY},{JANUARY}", [JANUARY, FEBRUARY]),
        ("2026-02-01T00:00:00Z", [FEBRUARY]),
        ("2026-02-01T00:00:00.000000000Z", [FEBRUARY]),
        ("2026-02-01T00:00:00.000000001Z", []),
        ("2026-02-02T00:00:00Z", []),
    ):
        for path in ("objects/", f"objects/{three['id']}/", "manifest/"):
            found = clerk.objects(path, **{"match[version]": wanted})
            assert (path, wanted, [each.get("version", each.get("name")) for each in found]) == (path, wanted, names)


@pytest.mark.taxii("T-58")
def test_t58_what_is_first_and_last_comes_once(clerk: Asking) -> None:
    clerk.add(tool("one"))

    assert clerk.names(**{"match[version]": "first,last"}) == ["one"]


@pytest.mark.taxii("T-64", "A-9")
def test_a9_last_is_the_newest_version_even_if_an_older_one_came_later(clerk: Asking) -> None:
    older, newer = versions_of(tool(), JANUARY, FEBRUARY)
    clerk.add(newer, older)
    between = date_added(clerk, newer["id"])

    assert clerk.names() == [FEBRUARY]
    assert clerk.names(added_after=between) == []
    assert clerk.names(added_after=between, **{"match[version]": "all"}) == [JANUARY]


@pytest.mark.taxii("T-60", "T-74", "A-8")
def test_t60_t74_a8_the_version_of_what_has_none_is_when_it_came(clerk: Asking) -> None:
    one = mutex()
    clerk.add(one)
    (record,) = clerk.objects("manifest/")

    assert STAMP.fullmatch(record["version"])
    assert clerk.get(f"objects/{one['id']}/versions/").json()["versions"] == [record["version"]]
    assert clerk.names(**{"match[version]": record["version"]}) == [one["name"]]


@pytest.mark.taxii("T-62", "T-66", "A-26")
def test_t62_never_more_than_asked_for_and_all_that_fits(clerk: Asking) -> None:
    clerk.add(*tools(*"abcde"))

    assert [len(clerk.objects(limit=n)) for n in (1, 4, 5, 6, 100000)] == [1, 4, 5, 5, 5]
    assert "more" not in clerk.get("objects/", {"limit": 5}).json()


@pytest.mark.taxii("L-8")
def test_l8_a_limit_above_the_cap_is_clamped(clerk: Asking) -> None:
    clerk.add_many(*(f"{n}" for n in range(1005)))

    assert [len(page) for page in clerk.pages("objects/", limit=100000)] == [1000, 5]
    assert [len(page) for page in clerk.pages("objects/")] == [100] * 10 + [5]


# ---------------------------------------------------------------------------------------------------- pages and headers


@pytest.mark.taxii("T-65", "L-7")
def test_t65_ascending_by_date_added(clerk: Asking) -> None:
    clerk.add(*tools(*"abc"))
    clerk.add_many(*"de")

    records = clerk.objects("manifest/")
    dates = [record["date_added"] for record in records]
    assert dates == sorted(set(dates))
    assert [each["id"] for each in clerk.objects()] == [record["id"] for record in records]
    assert [record["date_added"] for page in clerk.pages("manifest/", limit=2) for record in page] == dates


@pytest.mark.taxii("T-66", "T-72", "T-75", "A-12", "A-26", "L-5")
def test_t66_a12_a26_l5_more_and_next_on_all_four_and_never_an_empty_page(clerk: Asking, three: dict[str, Any]) -> None:
    every = {"match[version]": "all"}
    for path, member, query in (
        ("objects/", "objects", every),
        ("manifest/", "objects", every),
        (f"objects/{three['id']}/", "objects", every),
        (f"objects/{three['id']}/versions/", "versions", {}),
    ):
        whole = clerk.get(path, query).json()[member]
        assert list(clerk.pages(path, member, limit=1, **query)) == [[each] for each in whole]
        assert list(clerk.pages(path, member, limit=2, **query)) == [whole[:2], whole[2:]]
        assert list(clerk.pages(path, member, limit=3, **query)) == [whole]


@pytest.mark.taxii("T-67")
def test_t67_i5_paging_without_next_goes_by_the_last_date(clerk: Asking, three: dict[str, Any]) -> None:
    clerk.add(*tools("a", "b"))
    for path, member in (
        ("objects/", "objects"),
        ("manifest/", "objects"),
        (f"objects/{three['id']}/versions/", "versions"),
    ):
        everything = clerk.get(path).json()[member]
        found, query = [], {"limit": "1"}
        while True:
            answer = clerk.get(path, query)
            found += answer.json().get(member, [])
            if not answer.json().get("more"):
                break
            query["added_after"] = first_and_last(answer)[1]
        assert found == everything


@pytest.mark.taxii("T-67", "L-8")
def test_a_page_has_at_most_16_mib_of_objects_and_both_ways_lead_on(clerk: Asking) -> None:
    """The page is cut where large objects fill it, usual ones between them; nothing is lost or comes twice."""
    for name in "abcdef":
        answer = clerk.post(*(tool(description=name * 1_000_000) for _ in range(4)), *tools(name))
        assert answer.json()["success_count"] == 5
    everything = [record["id"] for record in clerk.objects("manifest/")]
    answers, query = list[httpx2.Response](), {"limit": "1000"}
    while not answers or answers[-1].json().get("more"):
        answers.append(clerk.get("objects/", query))
        query["added_after"] = first_and_last(answers[-1])[1]

    assert [16_000_000 < len(answer.content) <= 16 * 1024 * 1024 + 1000 for answer in answers] == [True, False]
    assert [each["id"] for answer in answers for each in answer.json()["objects"]] == everything
    assert [[each["id"] for each in page] for page in clerk.pages("objects/", limit="1000")] == [
        [each["id"] for each in answer.json()["objects"]] for answer in answers
    ]


@pytest.mark.taxii("T-67", "A-13")
def test_t67_a13_versions_that_came_out_of_order_are_all_found_page_by_page(clerk: Asking) -> None:
    versions = versions_of(tool(), JANUARY, MARCH, FEBRUARY)
    clerk.add(*versions)
    path = f"objects/{versions[0]['id']}/versions/"

    assert clerk.get(path).json()["versions"] == [JANUARY, FEBRUARY, MARCH]
    for limit in (1, 2):
        found = [version for page in clerk.pages(path, "versions", limit=limit) for version in page]
        assert sorted(found) == [JANUARY, FEBRUARY, MARCH]


@pytest.mark.taxii("T-26", "T-69", "L-7")
def test_t26_t69_the_dates_of_the_first_and_the_last_member(clerk: Asking, three: dict[str, Any]) -> None:
    clerk.add(*tools("a", "b"))
    dates = [record["date_added"] for record in clerk.objects("manifest/", **{"match[version]": "all"})]

    for path in ("objects/", "manifest/"):
        assert first_and_last(clerk.get(path, {"match[version]": "all"})) == (dates[0], dates[-1])
        assert first_and_last(clerk.get(path, {"match[version]": "all", "limit": 2})) == (dates[0], dates[1])
    assert first_and_last(clerk.get(f"objects/{three['id']}/")) == (dates[2], dates[2])
    assert first_and_last(clerk.get(f"objects/{three['id']}/versions/")) == (dates[0], dates[2])
    assert all(STAMP.fullmatch(date) for date in dates)


@pytest.mark.taxii("T-69")
def test_t69_no_dates_elsewhere(clerk: Asking, paths: list[str]) -> None:
    answers = [clerk.get(path) for path in paths[:5]] + [clerk.post(tool()), clerk.request("DELETE", paths[-2])]

    assert not [answer for answer in answers if "x-taxii-date-added-last" in answer.headers]


@pytest.mark.taxii("T-69", "A-11", "L-7")
def test_a11_an_empty_answer_gives_back_where_it_was_asked_from(clerk: Asking) -> None:
    clerk.add(tool())
    newest = clerk.objects("manifest/")[0]["date_added"]

    for path in ("objects/", "manifest/"):
        answer = clerk.get(path, {"added_after": newest})
        assert (answer.json(), first_and_last(answer)) == ({}, (newest, newest))


@pytest.mark.taxii("A-11")
def test_a11_and_never_more_than_the_newest_date_of_the_collection(clerk: Asking) -> None:
    clerk.add(tool())
    newest = clerk.objects("manifest/")[0]["date_added"]

    assert first_and_last(clerk.get("objects/", {"added_after": "2999-01-01T00:00:00Z"})) == (newest, newest)
    assert first_and_last(clerk.get("objects/", {"match[type]": "malware"})) == (newest, newest)


@pytest.mark.taxii("A-11")
def test_a11_an_empty_collection_names_no_date_but_one_asked_from(clerk: Asking) -> None:
    assert "x-taxii-date-added-last" not in clerk.get("objects/").headers
    assert first_and_last(clerk.get("objects/", {"added_after": JANUARY})) == (("2026-01-01T00:00:00.000000Z",) * 2)
    ahead = first_and_last(clerk.get("objects/", {"added_after": "2999-01-01T00:00:00Z"}))[1]
    assert times.read(ahead) <= times.now()


@pytest.mark.taxii("T-63", "A-19")
def test_t63_a19_a_page_goes_on_with_next_alone(clerk: Asking) -> None:
    """C-ELA-3: following pages carry only `next`, and not always the limit."""
    clerk.add(*tools(*"abc"), *(mutex(name) for name in "def"), *tools(*"ghi"))

    query, found = {"limit": "2", "match[type]": "tool", "added_after": JANUARY}, []
    while True:
        answer = clerk.get("objects/", query).json()
        found.append([each["name"] for each in answer["objects"]])
        if not answer.get("more"):
            break
        query = {"next": answer["next"]}
    assert found == [["a", "b"], ["c", "g"], ["h", "i"]]


@pytest.mark.taxii("A-19", "A-31", "L-6")
def test_a19_c_t2c_3_the_limit_may_change_between_pages(clerk: Asking) -> None:
    clerk.add(*tools(*"abcde"))
    following = clerk.get("objects/", {"limit": 1}).json()["next"]

    assert clerk.names(next=following, limit=3) == ["b", "c", "d"]


@pytest.mark.taxii("T-63")
def test_t63_next_gives_no_right_in_another_collection(ask: Ask) -> None:
    clerk, cook = ask("franklin_submitter"), ask("cook")
    clerk.add(*tools(*"abc"))
    following = clerk.get("objects/", {"limit": 1}).json()["next"]

    assert cook.get(clerk.shelf + "objects/", {"next": following}).status_code == 404
    assert cook.get("objects/", {"next": following}).json() == {}


@pytest.mark.taxii("A-19", "L-6")
def test_a19_c_octc_2_the_next_of_another_collection_says_nothing(clerk: Asking) -> None:
    clerk.add(*tools(*"abc"), to=clerk.home + "objects/")
    clerk.add(*tools(*"def"))
    following = clerk.get(clerk.home + "objects/", {"limit": 1, "match[type]": "tool"}).json()["next"]
    first = clerk.objects("manifest/")[0]["date_added"]

    assert clerk.names(next=following) == ["d", "e", "f"]
    assert clerk.names(next=following, added_after=first) == ["e", "f"]


@pytest.mark.taxii("L-6")
def test_l6_of_next_and_added_after_the_later_counts(clerk: Asking) -> None:
    """C-OCTI-2: `next` kept for days, with the first request's added_after."""
    clerk.add(*tools(*"abcd"))
    dates = [record["date_added"] for record in clerk.objects("manifest/")]
    following = clerk.get("objects/", {"limit": 2}).json()["next"]

    assert clerk.names(next=following, added_after=JANUARY) == ["c", "d"]
    assert clerk.names(next=following, added_after=dates[2]) == ["d"]


@pytest.mark.taxii("T-63", "A-31", "L-6")
def test_t63_next_outlives_the_server(clerk: Asking, database_url: str, people: dict[str, Person]) -> None:
    clerk.add(*tools(*"abc"))
    following = clerk.get("objects/", {"limit": 1}).json()["next"]

    with serving(database_url) as another:
        later = Asking(another, people["franklin"])
        assert later.names(next=following, limit=10) == ["b", "c"]
        later.http.close()


def test_decision_14_a_page_is_the_same_bytes_for_everybody_who_may_read_it(ask: Ask) -> None:
    clerk, poller = ask("franklin_submitter"), ask("franklin")
    clerk.add(*tools(*"abc"))

    assert clerk.get("objects/", {"limit": 2}).content == poller.get("objects/", {"limit": 2}).content


@pytest.mark.taxii("A-25")
def test_a25_a_newer_version_between_two_pages_comes_once_and_later(clerk: Asking) -> None:
    first, *rest = tools(*"abc")
    clerk.add(first, *rest)
    following = clerk.get("objects/", {"limit": 1}).json()["next"]
    clerk.add({**first, "modified": FEBRUARY, "name": "a again"})

    assert clerk.names(next=following, limit=10) == ["b", "c", "a again"]


@pytest.mark.taxii("T-70", "T-72", "L-9")
def test_t70_nothing_found_is_an_empty_envelope(clerk: Asking) -> None:
    for path in ("objects/", "manifest/"):
        assert clerk.get(path).content == b"{}"


@pytest.mark.taxii("T-71", "A-29")
def test_t71_objects_come_back_as_the_bytes_that_were_sent(clerk: Asking) -> None:
    piece = json.dumps(tool("caf\u00e9"), indent=1).replace('"2.1"', ' "2.1" ').encode()
    clerk.request("POST", "objects/", content=b'{"objects":[%b]}' % piece, headers={"Content-Type": TAXII})

    assert clerk.get("objects/").content == b'{"objects":[%b]}' % piece


@pytest.mark.taxii("T-73", "T-74", "T-76")
def test_t73_t74_t76_a_record_for_each_version(clerk: Asking, three: dict[str, Any]) -> None:
    records = clerk.objects("manifest/", **{"match[version]": "all"})

    assert [record["version"] for record in records] == [JANUARY, FEBRUARY, MARCH]
    assert {record["id"] for record in records} == {three["id"]}
    assert {record["media_type"] for record in records} == {"application/stix+json;version=2.1"}
    assert len({record["date_added"] for record in records}) == 3


@pytest.mark.taxii("A-29")
def test_a29_a_version_is_the_text_of_modified(clerk: Asking) -> None:
    one = tool(modified="2026-01-01T00:00:00.1Z")
    clerk.add(one)

    assert clerk.objects("manifest/")[0]["version"] == "2026-01-01T00:00:00.1Z"
    assert clerk.get(f"objects/{one['id']}/versions/").json() == {"versions": ["2026-01-01T00:00:00.1Z"]}


@pytest.mark.taxii("T-75", "A-13")
def test_t75_a13_versions_ascend(clerk: Asking, three: dict[str, Any]) -> None:
    assert clerk.get(f"objects/{three['id']}/versions/").json() == {"versions": [JANUARY, FEBRUARY, MARCH]}


@pytest.mark.taxii("A-10")
def test_a10_dates_are_never_the_same_nor_long_before_the_clock(clerk: Asking) -> None:
    clerk.add(*tools(*"abc"))

    for record in clerk.objects("manifest/"):
        assert (
            timedelta(0) < times.read(record["date_added"]) - times.now() + timedelta(minutes=1) < timedelta(minutes=2)
        )


# ----------------------------------------------------------------------------------------------------------- one object


@pytest.mark.taxii("T-75", "T-77", "A-14")
def test_t77_a14_unknown_is_404_and_filtered_away_is_empty(clerk: Asking) -> None:
    one = tool()
    clerk.add(one)

    assert is_error(clerk.get(f"objects/{UNKNOWN}/"), 404)
    assert is_error(clerk.get(f"objects/{UNKNOWN}/versions/"), 404)
    assert is_error(clerk.get("objects/no-id/"), 404)
    for query in ({"match[version]": MARCH}, {"match[spec_version]": "2.0"}, {"added_after": "2999-01-01T00:00:00Z"}):
        answer = clerk.get(f"objects/{one['id']}/", query)
        assert (answer.status_code, answer.content) == (200, b"{}")
    for query in ({"match[spec_version]": "2.0"}, {"added_after": "2999-01-01T00:00:00Z"}):
        answer = clerk.get(f"objects/{one['id']}/versions/", query)
        assert (answer.status_code, answer.content) == (200, b"{}")


@pytest.mark.taxii("T-10", "A-14")
def test_a14_an_object_of_others_is_like_one_that_does_not_exist(ask: Ask) -> None:
    clerk, cook = ask("franklin_submitter"), ask("cook")
    one = tool()
    clerk.add(one)

    def told(stix_id: str) -> dict[str, str]:
        answer = cook.get(f"objects/{stix_id}/")
        return {name: value for name, value in answer.json().items() if name != "error_id"}

    assert told(one["id"]) == told(UNKNOWN)
