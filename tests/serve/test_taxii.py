"""The TAXII 2.1 server as a client meets it: a test for each clause that binds it (T-…, A-… of the target)."""

import json
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.conftest import Person, Running, serving
from tests.serve.conftest import JANUARY, TAXII, Asking, mutex, tool, tools, versions_of

from isac import times

FEBRUARY, MARCH = "2026-02-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
UNKNOWN = "tool--00000000-0000-4000-8000-000000000000"

Ask = Callable[[str], Asking]


def is_error(answer: httpx2.Response, status: int) -> bool:
    """TAXII's error resource, of this status, in our media type?"""
    error = answer.json()
    named = error["http_status"] == str(status) and bool(error["title"]) and bool(uuid.UUID(error["error_id"]))
    return answer.status_code == status and answer.headers["content-type"] == TAXII and named


def first_and_last(answer: httpx2.Response) -> tuple[str, str]:
    return answer.headers["x-taxii-date-added-first"], answer.headers["x-taxii-date-added-last"]


def date_added(clerk: Asking, stix_id: str) -> str:
    (record,) = clerk.objects("manifest/", **{"match[id]": stix_id})
    return str(record["date_added"])


# ------------------------------------------------------------------------------------------------- who asks, and where

PATHS = [
    "/taxii2/",
    "/elections/",
    "/elections/status/{status}/",
    "/elections/collections/",
    "/elections/collections/{shelf}/",
    "/elections/collections/{shelf}/manifest/",
    "/elections/collections/{shelf}/objects/",
    "/elections/collections/{shelf}/objects/{object}/",
    "/elections/collections/{shelf}/objects/{object}/versions/",
]


@pytest.fixture
def paths(clerk: Asking) -> list[str]:
    """Every endpoint, of things that are there."""
    one = tool()
    status = clerk.post(one).json()["id"]
    return [path.format(status=status, shelf=clerk.shelf.split("/")[3], object=one["id"]) for path in PATHS]


def test_t14_every_endpoint_is_there(clerk: Asking, paths: list[str]) -> None:
    assert [clerk.get(path).status_code for path in paths] == [200] * len(PATHS)


def test_t17_every_answer_names_type_and_version(clerk: Asking, paths: list[str]) -> None:
    """3.1: the response includes a Content-Type with media type and version, errors and DELETE included."""
    answers = [clerk.get(path) for path in paths]
    answers += [clerk.get(path, {"limit": "0", "match[version]": "x"}) for path in paths]
    answers += [clerk.request("PATCH", path) for path in paths]
    answers += [clerk.request("OPTIONS", path) for path in paths]
    answers += [clerk.post(tool()), clerk.post(), clerk.request("POST", "objects/", content=b"{")]
    answers += [clerk.get("objects/nothing/"), clerk.get("/elections/nothing/"), clerk.get("/nothing")]
    answers += [clerk.get(path, accept="application/taxii+json;version=9.9") for path in paths]
    answers += [clerk.http.get(path, auth=("", "")) for path in paths]
    answers += [clerk.request("DELETE", paths[-2])]

    assert {answer.headers["content-type"] for answer in answers} == {TAXII}
    assert {answer.status_code for answer in answers} == {200, 202, 204, 400, 401, 404, 405, 406, 415, 422}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_t3_a23_without_a_key_every_method_is_401_with_a_challenge(
    clerk: Asking, paths: list[str], method: str
) -> None:
    """1.6.9: 401 and WWW-Authenticate. For what is not there, too: nobody probes without a key."""
    for path in [*paths, "/elections/nothing/", "/another-root/collections/", "/another-root/"]:
        answer = clerk.http.request(method, path, auth=httpx2.Auth())

        assert (path, answer.status_code) == (path, 401)
        assert answer.headers["www-authenticate"].startswith('Basic realm="')
        assert method == "HEAD" or is_error(answer, 401)


def test_t4_a_request_without_a_key_is_401_before_anything_else_is_judged(clerk: Asking) -> None:
    answer = clerk.http.get(
        clerk.shelf + "objects/?limit=0",
        headers={"Accept": "application/taxii+json;version=2.0"},
        auth=httpx2.Auth(),
    )

    assert is_error(answer, 401)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token"])
def test_l1_the_same_key_as_a_token(clerk: Asking, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {clerk.person.secret}"}

    assert clerk.http.get("/elections/", headers=headers, auth=httpx2.Auth()).status_code == 200


def test_l1_the_same_key_as_x_api_key_and_under_any_user_name(clerk: Asking) -> None:
    by_header = clerk.http.get("/elections/", headers={"X-API-Key": clerk.person.secret}, auth=httpx2.Auth())
    by_another_name = clerk.http.get("/elections/", auth=("whoever", clerk.person.secret))

    assert (by_header.status_code, by_another_name.status_code) == (200, 200)


def test_t8_a_request_without_user_agent_is_served(server: Running, people: dict[str, Person]) -> None:
    address = urlsplit(server.base)
    request = (
        f"GET /elections/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {people['franklin'].secret}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(request.encode())
        assert connection.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"


def test_t12_a1_l4_slashes_do_not_matter_and_nothing_redirects(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        wanted = clerk.get(path).json()
        for form in (path.rstrip("/"), path + "/", "/" + path, path.replace("/", "//")):
            url = clerk.http.base_url.copy_with(raw_path=form.encode())
            assert (form, clerk.http.get(url).json()) == (form, wanted)


def test_a1_a_post_without_the_slash_is_taken(clerk: Asking) -> None:
    assert clerk.post(tool(), to="objects").status_code == 202


def test_a22_head_is_get_without_its_body(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        got, head = clerk.get(path), clerk.request("HEAD", path)

        assert (head.status_code, head.content) == (200, b"")
        dropped = {"date"}
        assert {k: v for k, v in head.headers.items() if k not in dropped} == {
            k: v for k, v in got.headers.items() if k not in dropped
        }


def test_a22_options_names_the_methods(clerk: Asking, paths: list[str]) -> None:
    allowed = {path: clerk.request("OPTIONS", path) for path in paths}

    assert {answer.status_code for answer in allowed.values()} == {204}
    assert [answer.headers["allow"] for answer in allowed.values()] == [
        *["GET, HEAD, OPTIONS"] * 6,
        "GET, HEAD, OPTIONS, POST",
        "DELETE, GET, HEAD, OPTIONS",
        "GET, HEAD, OPTIONS",
    ]


def test_a22_other_methods_are_405_and_say_which_are_allowed(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        answer = clerk.request("PUT", path)

        assert is_error(answer, 405)
        assert answer.headers["allow"] == clerk.request("OPTIONS", path).headers["allow"]


def test_a23_a_member_finds_nothing_in_an_unknown_root(clerk: Asking) -> None:
    assert is_error(clerk.get("/another-root/collections/"), 404)


def test_t19_t20_a_taxii_range_without_version_gets_2_1(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        assert clerk.get(path, accept="application/taxii+json").status_code == 200


def test_a2_c_xsoar_2_other_versions_are_406(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        assert is_error(clerk.get(path, accept="application/vnd.oasis.taxii+json; version=2.0"), 406)


def test_a2_no_accept_at_all_is_served(clerk: Asking, paths: list[str]) -> None:
    del clerk.http.headers["accept"]

    assert {clerk.get(path).status_code for path in paths} == {200}


# ---------------------------------------------------------------------------------------------------- discovery, root


def test_t11_t37_t38_discovery(clerk: Asking) -> None:
    found = clerk.get("/taxii2/").json()

    assert found["title"]
    assert found["api_roots"] == [found["default"]] == ["/elections/"]


def test_t13_t39_a_root_is_relative_and_answers(clerk: Asking) -> None:
    (root,) = clerk.get("/taxii2/").json()["api_roots"]

    assert re.fullmatch(r"/[a-z]+/", root)
    assert clerk.get(root).status_code == 200


def test_t40_t41_the_root_names_its_versions(clerk: Asking) -> None:
    found = clerk.get("/elections/").json()

    assert found["title"]
    assert "application/taxii+json;version=2.1" in found["versions"]
    assert found["max_content_length"] == 100 * 1024 * 1024


# -------------------------------------------------------------------------------------------------------- collections


def test_t27_t43_t44_t45_t47_collections(clerk: Asking) -> None:
    found = clerk.get("/elections/collections/").json()["collections"]

    for each in found:
        assert uuid.UUID(each["id"]).version == 4
        assert each["title"]
        assert (each["can_read"], each["can_write"]) == (True, True)
        assert each["media_types"] == ["application/stix+json;version=2.1"]
    assert found == clerk.get("/elections/collections/").json()["collections"]


def test_t45_a_poller_may_read_and_not_write(ask: Ask) -> None:
    found = ask("franklin").get("/elections/collections/").json()["collections"]

    assert {(each["can_read"], each["can_write"]) for each in found} == {(True, False)}


def test_l11_titles_are_unique_and_clients_may_split_them(ask: Ask) -> None:
    shelves = [
        each
        for name in ("franklin", "cook", "isac_analyst", "stranger")
        for each in ask(name).get("/elections/collections/").json()["collections"]
    ]

    titles = {each["id"]: each["title"] for each in shelves}
    assert len(set(titles.values())) == len(titles)
    assert not [title for title in titles.values() if re.search("[.,]", title)]


def test_t46_the_alias_stands_for_the_id_everywhere(clerk: Asking) -> None:
    one = tool()
    clerk.add(one)
    alias = clerk.get(clerk.shelf).json()["alias"]

    for rest in ("", "manifest/", "objects/", f"objects/{one['id']}/", f"objects/{one['id']}/versions/"):
        assert clerk.get(f"/elections/collections/{alias}/{rest}").json() == clerk.get(rest or clerk.shelf).json()


@pytest.mark.parametrize("rest", ["", "manifest/", "objects/", f"objects/{UNKNOWN}/", f"objects/{UNKNOWN}/versions/"])
def test_t48_t10_a_collection_of_others_is_like_one_that_does_not_exist(ask: Ask, rest: str) -> None:
    franklin, cook = ask("franklin"), ask("cook")

    def told(shelf: object) -> tuple[int, dict[str, str]]:
        answer = franklin.get(f"/elections/collections/{shelf}/{rest}")
        return answer.status_code, {name: value for name, value in answer.json().items() if name != "error_id"}

    unknown = told(uuid.uuid4())
    assert unknown[0] == 404
    assert told(cook.person.collection) == unknown
    assert told("us-il-17901") == unknown
    assert told("no-such-alias") == unknown
    assert told("%00") == unknown


# ------------------------------------------------------------------------------------------------------------ filters


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


@pytest.mark.parametrize("query", ["foo=1", "match[foo]=1", "match[foo]=1&match[foo]=2", "limit", "LIMIT=0"])
def test_t51_a7_l10_unknown_parameters_are_ignored(clerk: Asking, query: str) -> None:
    clerk.add(tool("one"))
    if query == "limit":
        pytest.skip("a limit without a value is malformed")

    assert clerk.names(f"objects/?{query}") == ["one"]


def test_a7_t49_a_filter_of_another_endpoint_is_ignored(clerk: Asking) -> None:
    one = tool("one")
    clerk.add(one)

    assert clerk.names(f"objects/{one['id']}/", **{"match[type]": "malware", "match[id]": UNKNOWN}) == ["one"]
    assert clerk.get(f"objects/{one['id']}/versions/", {"match[version]": "all,last"}).status_code == 200


def test_t50_fields_and_together_and_values_or(clerk: Asking) -> None:
    a, b, c = tool("a"), tool("b"), {**tool("c"), "type": "campaign", "id": f"campaign--{uuid.uuid4()}"}
    clerk.add(a, b, c)

    assert clerk.names(**{"match[id]": f"{a['id']},{c['id']}"}) == ["a", "c"]
    assert clerk.names(**{"match[id]": f"{a['id']},{c['id']}", "match[type]": "campaign,malware"}) == ["c"]


def test_t52_3_4_added_after_is_exclusive(clerk: Asking) -> None:
    a, b = tool("a"), tool("b")
    clerk.add(a)
    clerk.add(b)

    assert clerk.names(added_after=date_added(clerk, a["id"])) == ["b"]
    assert clerk.names(added_after=date_added(clerk, b["id"])) == []


def test_t52_added_after_looks_at_date_added_and_at_no_time_of_stix(clerk: Asking) -> None:
    clerk.add(tool("old", modified=JANUARY))

    assert clerk.names(added_after="2026-06-01T00:00:00Z") == ["old"]


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


def test_t53_without_added_after_it_begins_at_the_oldest(clerk: Asking) -> None:
    for name in "abc":
        clerk.add(tool(name))

    assert clerk.names(limit=1) == ["a"]


def test_t54_only_the_types_asked_for_and_no_error_for_unknown_ones(clerk: Asking) -> None:
    clerk.add(tool("a"), mutex("b"))

    assert clerk.names(**{"match[type]": "mutex"}) == ["b"]
    assert clerk.names(**{"match[type]": "x-elm-thing,tool"}) == ["a"]
    assert clerk.get("objects/", {"match[type]": "incident"}).json() == {}


def test_t55_an_id_that_is_not_there_gives_nothing(clerk: Asking) -> None:
    clerk.add(tool())

    assert clerk.get("objects/", {"match[id]": UNKNOWN}).json() == {}


def test_t56_nothing_outside_the_spec_versions_asked_for(clerk: Asking) -> None:
    clerk.add(tool("a"))

    assert clerk.names(**{"match[spec_version]": "2.0,2.1"}) == ["a"]
    assert clerk.names(**{"match[spec_version]": "2.0"}) == []


@pytest.fixture
def three(clerk: Asking) -> dict[str, Any]:
    """One object in three versions, which came in order; its name is its `modified`."""
    versions = versions_of(tool(), JANUARY, FEBRUARY, MARCH)
    for each in versions:
        clerk.add(each)
    return versions[0]


def test_t57_the_newest_version_alone_unless_asked_otherwise(clerk: Asking, three: dict[str, Any]) -> None:
    assert clerk.names() == [MARCH]
    assert clerk.names(f"objects/{three['id']}/") == [MARCH]
    assert [record["version"] for record in clerk.objects("manifest/")] == [MARCH]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
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
    ],
)
@pytest.mark.parametrize("path", ["objects/", "objects/{id}/", "manifest/"])
def test_t58_t59_t61_t78_match_version(
    clerk: Asking, three: dict[str, Any], path: str, wanted: str, names: list[str]
) -> None:
    found = clerk.objects(path.format(id=three["id"]), **{"match[version]": wanted})

    assert [each.get("version", each.get("name")) for each in found] == names


def test_t58_what_is_first_and_last_comes_once(clerk: Asking) -> None:
    clerk.add(tool("one"))

    assert clerk.names(**{"match[version]": "first,last"}) == ["one"]


def test_a9_last_is_the_newest_version_even_if_an_older_one_came_later(clerk: Asking) -> None:
    older, newer = versions_of(tool(), JANUARY, FEBRUARY)
    clerk.add(newer)
    between = date_added(clerk, newer["id"])
    clerk.add(older)

    assert clerk.names() == [FEBRUARY]
    assert clerk.names(added_after=between) == []
    assert clerk.names(added_after=between, **{"match[version]": "all"}) == [JANUARY]


def test_t60_t74_a8_the_version_of_what_has_none_is_when_it_came(clerk: Asking) -> None:
    one = mutex()
    clerk.add(one)
    (record,) = clerk.objects("manifest/")

    assert STAMP.fullmatch(record["version"])
    assert clerk.get(f"objects/{one['id']}/versions/").json()["versions"] == [record["version"]]
    assert clerk.names(**{"match[version]": record["version"]}) == [one["name"]]


def test_t62_never_more_than_asked_for_and_all_that_fits(clerk: Asking) -> None:
    clerk.add(*tools(*"abcde"))

    assert [len(clerk.objects(limit=n)) for n in (1, 4, 5, 6, 100000)] == [1, 4, 5, 5, 5]
    assert "more" not in clerk.get("objects/", {"limit": 5}).json()


def test_l8_a_limit_above_the_cap_is_clamped(clerk: Asking) -> None:
    clerk.add(*(mutex(f"{n}") for n in range(1005)))

    assert [len(page) for page in clerk.pages("objects/", limit=100000)] == [1000, 5]
    assert [len(page) for page in clerk.pages("objects/")] == [100] * 10 + [5]


# -------------------------------------------------------------------------------------------------- pages and headers


@pytest.mark.parametrize("path", ["objects/", "manifest/"])
def test_t65_ascending_by_date_added(clerk: Asking, path: str) -> None:
    for name in "abc":
        clerk.add(tool(name))
    clerk.add(*tools(*"de"))

    records = clerk.objects("manifest/")
    dates = [record["date_added"] for record in records]
    assert dates == sorted(set(dates))
    assert [each["id"] for each in clerk.objects(path)] == [record["id"] for record in records]


@pytest.mark.parametrize(
    ("path", "member", "query"),
    [
        ("objects/", "objects", {"match[version]": "all"}),
        ("manifest/", "objects", {"match[version]": "all"}),
        ("objects/{id}/", "objects", {"match[version]": "all"}),
        ("objects/{id}/versions/", "versions", {}),
    ],
)
def test_t66_a12_a26_l5_more_and_next_on_all_four_and_never_an_empty_page(
    clerk: Asking, three: dict[str, Any], path: str, member: str, query: dict[str, str]
) -> None:
    path = path.format(id=three["id"])
    whole = clerk.get(path, query).json()[member]

    assert list(clerk.pages(path, member, limit=1, **query)) == [[each] for each in whole]
    assert list(clerk.pages(path, member, limit=2, **query)) == [whole[:2], whole[2:]]
    assert list(clerk.pages(path, member, limit=3, **query)) == [whole]


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


def test_t67_a13_versions_that_came_out_of_order_are_all_found_page_by_page(clerk: Asking) -> None:
    versions = versions_of(tool(), JANUARY, MARCH, FEBRUARY)
    for each in versions:
        clerk.add(each)
    path = f"objects/{versions[0]['id']}/versions/"

    assert clerk.get(path).json()["versions"] == [JANUARY, FEBRUARY, MARCH]
    for limit in (1, 2):
        found = [version for page in clerk.pages(path, "versions", limit=limit) for version in page]
        assert sorted(found) == [JANUARY, FEBRUARY, MARCH]


def test_t26_t69_the_dates_of_the_first_and_the_last_member(clerk: Asking, three: dict[str, Any]) -> None:
    clerk.add(*tools("a", "b"))
    dates = [record["date_added"] for record in clerk.objects("manifest/", **{"match[version]": "all"})]

    for path in ("objects/", "manifest/"):
        assert first_and_last(clerk.get(path, {"match[version]": "all"})) == (dates[0], dates[-1])
        assert first_and_last(clerk.get(path, {"match[version]": "all", "limit": 2})) == (dates[0], dates[1])
    assert first_and_last(clerk.get(f"objects/{three['id']}/")) == (dates[2], dates[2])
    assert first_and_last(clerk.get(f"objects/{three['id']}/versions/")) == (dates[0], dates[2])
    assert all(STAMP.fullmatch(date) for date in dates)


def test_t69_no_dates_elsewhere(clerk: Asking, paths: list[str]) -> None:
    answers = [clerk.get(path) for path in paths[:5]] + [clerk.post(tool()), clerk.request("DELETE", paths[-2])]

    assert not [answer for answer in answers if "x-taxii-date-added-last" in answer.headers]


def test_a11_an_empty_answer_gives_back_where_it_was_asked_from(clerk: Asking) -> None:
    clerk.add(tool())
    newest = clerk.objects("manifest/")[0]["date_added"]

    for path in ("objects/", "manifest/"):
        answer = clerk.get(path, {"added_after": newest})
        assert (answer.json(), first_and_last(answer)) == ({}, (newest, newest))


def test_a11_and_never_more_than_the_newest_date_of_the_collection(clerk: Asking) -> None:
    clerk.add(tool())
    newest = clerk.objects("manifest/")[0]["date_added"]

    assert first_and_last(clerk.get("objects/", {"added_after": "2999-01-01T00:00:00Z"})) == (newest, newest)
    assert first_and_last(clerk.get("objects/", {"match[type]": "malware"})) == (newest, newest)


def test_a11_an_empty_collection_names_no_date_but_one_asked_from(clerk: Asking) -> None:
    assert "x-taxii-date-added-last" not in clerk.get("objects/").headers
    assert first_and_last(clerk.get("objects/", {"added_after": JANUARY})) == (("2026-01-01T00:00:00.000000Z",) * 2)
    ahead = first_and_last(clerk.get("objects/", {"added_after": "2999-01-01T00:00:00Z"}))[1]
    assert times.read(ahead) <= times.now()


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


def test_a19_c_t2c_3_the_limit_may_change_between_pages(clerk: Asking) -> None:
    clerk.add(*tools(*"abcde"))
    following = clerk.get("objects/", {"limit": 1}).json()["next"]

    assert clerk.names(next=following, limit=3) == ["b", "c", "d"]


def test_t63_next_gives_no_right_in_another_collection(ask: Ask) -> None:
    clerk, cook = ask("franklin_submitter"), ask("cook")
    clerk.add(*tools(*"abc"))
    following = clerk.get("objects/", {"limit": 1}).json()["next"]

    assert cook.get(clerk.shelf + "objects/", {"next": following}).status_code == 404
    assert cook.get("objects/", {"next": following}).json() == {}


def test_a19_c_octc_2_the_next_of_another_collection_says_nothing(clerk: Asking) -> None:
    clerk.add(*tools(*"abc"), to=clerk.home + "objects/")
    clerk.add(*tools(*"def"))
    following = clerk.get(clerk.home + "objects/", {"limit": 1, "match[type]": "tool"}).json()["next"]
    first = clerk.objects("manifest/")[0]["date_added"]

    assert clerk.names(next=following) == ["d", "e", "f"]
    assert clerk.names(next=following, added_after=first) == ["e", "f"]


def test_l6_of_next_and_added_after_the_later_counts(clerk: Asking) -> None:
    """C-OCTI-2: `next` kept for days, with the first request's added_after."""
    clerk.add(*tools(*"abcd"))
    dates = [record["date_added"] for record in clerk.objects("manifest/")]
    following = clerk.get("objects/", {"limit": 2}).json()["next"]

    assert clerk.names(next=following, added_after=JANUARY) == ["c", "d"]
    assert clerk.names(next=following, added_after=dates[2]) == ["d"]


def test_t63_next_outlives_the_server(clerk: Asking, database_url: str, people: dict[str, Person]) -> None:
    clerk.add(*tools(*"abc"))
    following = clerk.get("objects/", {"limit": 1}).json()["next"]

    with serving(database_url) as another:
        later = Asking(another, people["franklin"])
        assert later.names(next=following) == ["b", "c"]
        later.http.close()


def test_decision_14_a_page_is_the_same_bytes_for_everybody_who_may_read_it(ask: Ask) -> None:
    clerk, poller = ask("franklin_submitter"), ask("franklin")
    clerk.add(*tools(*"abc"))

    assert clerk.get("objects/", {"limit": 2}).content == poller.get("objects/", {"limit": 2}).content


def test_a25_a_newer_version_between_two_pages_comes_once_and_later(clerk: Asking) -> None:
    first, *rest = tools(*"abc")
    clerk.add(first, *rest)
    following = clerk.get("objects/", {"limit": 1}).json()["next"]
    clerk.add({**first, "modified": FEBRUARY, "name": "a again"})

    assert clerk.names(next=following) == ["b", "c", "a again"]


def test_t70_nothing_found_is_an_empty_envelope(clerk: Asking) -> None:
    for path in ("objects/", "manifest/"):
        assert clerk.get(path).content == b"{}"


def test_t71_objects_come_back_as_the_bytes_that_were_sent(clerk: Asking) -> None:
    piece = json.dumps(tool("caf\u00e9"), indent=1).replace('"2.1"', ' "2.1" ').encode()
    clerk.request("POST", "objects/", content=b'{"objects":[%b]}' % piece, headers={"Content-Type": TAXII})

    assert clerk.get("objects/").content == b'{"objects":[%b]}' % piece


def test_t73_t74_t76_a_record_for_each_version(clerk: Asking, three: dict[str, Any]) -> None:
    records = clerk.objects("manifest/", **{"match[version]": "all"})

    assert [record["version"] for record in records] == [JANUARY, FEBRUARY, MARCH]
    assert {record["id"] for record in records} == {three["id"]}
    assert {record["media_type"] for record in records} == {"application/stix+json;version=2.1"}
    assert len({record["date_added"] for record in records}) == 3


def test_a29_a_version_is_the_text_of_modified(clerk: Asking) -> None:
    one = tool(modified="2026-01-01T00:00:00.1Z")
    clerk.add(one)

    assert clerk.objects("manifest/")[0]["version"] == "2026-01-01T00:00:00.1Z"
    assert clerk.get(f"objects/{one['id']}/versions/").json() == {"versions": ["2026-01-01T00:00:00.1Z"]}


def test_t75_a13_versions_ascend(clerk: Asking, three: dict[str, Any]) -> None:
    assert clerk.get(f"objects/{three['id']}/versions/").json() == {"versions": [JANUARY, FEBRUARY, MARCH]}


def test_a10_dates_are_never_the_same_nor_long_before_the_clock(clerk: Asking) -> None:
    clerk.add(*tools(*"abc"))

    for record in clerk.objects("manifest/"):
        assert (
            timedelta(0) < times.read(record["date_added"]) - times.now() + timedelta(minutes=1) < timedelta(minutes=2)
        )


# --------------------------------------------------------------------------------------------- one object, and delete


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


def test_a14_an_object_of_others_is_like_one_that_does_not_exist(ask: Ask) -> None:
    clerk, cook = ask("franklin_submitter"), ask("cook")
    one = tool()
    clerk.add(one)

    def told(stix_id: str) -> dict[str, str]:
        answer = cook.get(f"objects/{stix_id}/")
        return {name: value for name, value in answer.json().items() if name != "error_id"}

    assert told(one["id"]) == told(UNKNOWN)


def test_t79_a15_delete_takes_all_versions(clerk: Asking, three: dict[str, Any]) -> None:
    clerk.add(tool("other"))
    answer = clerk.request("DELETE", f"objects/{three['id']}/")

    assert (answer.status_code, answer.content) == (200, b"")
    assert clerk.names(**{"match[version]": "all"}) == ["other"]
    assert len(clerk.objects("manifest/", **{"match[version]": "all"})) == 1
    assert is_error(clerk.get(f"objects/{three['id']}/"), 404)
    assert is_error(clerk.get(f"objects/{three['id']}/versions/"), 404)


def test_t80_delete_of_what_is_not_there_is_404(clerk: Asking) -> None:
    one = tool()
    clerk.add(one)

    assert is_error(clerk.request("DELETE", f"objects/{UNKNOWN}/"), 404)
    assert is_error(clerk.request("DELETE", f"objects/{one['id']}/?match[version]={MARCH}"), 404)
    assert is_error(clerk.request("DELETE", f"objects/{one['id']}/?match[spec_version]=2.0"), 404)
    assert is_error(clerk.request("DELETE", f"objects/{one['id']}/?match[version]=recent"), 400)
    assert len(clerk.objects()) == 1


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ("first", [FEBRUARY, MARCH]),
        ("last", [JANUARY, FEBRUARY]),
        ("first,last", [FEBRUARY]),
        (f"{FEBRUARY}", [JANUARY, MARCH]),
        (f"{FEBRUARY},{MARCH}", [JANUARY]),
        ("all", None),
    ],
)
def test_a15_delete_of_some_versions(clerk: Asking, three: dict[str, Any], wanted: str, left: list[str] | None) -> None:
    answer = clerk.request("DELETE", f"objects/{three['id']}/", params={"match[version]": wanted})

    assert answer.status_code == 200
    versions = clerk.get(f"objects/{three['id']}/versions/")
    assert versions.json().get("versions") == left
    assert left is not None or versions.status_code == 404


def test_a34_without_its_newest_version_the_one_before_comes_anew(clerk: Asking, three: dict[str, Any]) -> None:
    before = date_added(clerk, three["id"])
    clerk.request("DELETE", f"objects/{three['id']}/", params={"match[version]": "last"})

    assert clerk.names(added_after=before) == [FEBRUARY]


def test_a24_deleted_and_added_again_it_is_new(clerk: Asking) -> None:
    one = tool("one")
    clerk.add(one)
    before = date_added(clerk, one["id"])
    clerk.request("DELETE", f"objects/{one['id']}/")
    clerk.add(one)

    assert clerk.names(added_after=before) == ["one"]


def test_t35_t36_who_may_read_and_not_write_is_403(ask: Ask) -> None:
    clerk, poller = ask("franklin_submitter"), ask("franklin")
    one = tool()
    clerk.add(one)

    assert is_error(poller.post(tool()), 403)
    assert is_error(poller.request("DELETE", f"objects/{one['id']}/"), 403)
    assert clerk.names() == [one["name"]]


def test_t35_t36_who_may_neither_read_nor_write_is_404(ask: Ask) -> None:
    clerk, cook = ask("franklin_submitter"), ask("cook_submitter")
    one = tool()
    clerk.add(one, to=clerk.home + "objects/")

    assert is_error(cook.post(tool(), to=clerk.home + "objects/"), 404)
    assert is_error(cook.request("DELETE", f"{clerk.home}objects/{one['id']}/"), 404)
    assert one["id"] in [each["id"] for each in clerk.objects(clerk.home + "objects/")]


# ----------------------------------------------------------------------------------------------------- post and status


def test_t83_t86_t87_t89_t26_a_post_answers_202_with_its_status(clerk: Asking) -> None:
    answer = clerk.post(tool(), tool(), {"type": "tool"})

    status = answer.json()
    assert answer.status_code == 202
    assert uuid.UUID(status["id"]).version == 4
    assert status["status"] == "complete"
    assert (status["total_count"], status["success_count"], status["failure_count"], status["pending_count"]) == (
        3,
        2,
        1,
        0,
    )
    assert (len(status["successes"]), len(status["failures"])) == (2, 1)
    assert STAMP.fullmatch(status["request_timestamp"])
    assert "pendings" not in status


def test_t88_details_name_id_version_and_the_reason(clerk: Asking) -> None:
    one, bad = tool(), tool(name="")
    del bad["name"]
    status = clerk.post(one, bad).json()

    assert status["successes"] == [{"id": one["id"], "version": one["modified"]}]
    ((failure),) = status["failures"]
    assert (failure["id"], failure["version"]) == (bad["id"], bad["modified"])
    assert "name" in failure["message"]


def test_t91_the_status_can_be_read_again(clerk: Asking) -> None:
    status = clerk.post(tool()).json()

    assert clerk.get(f"/elections/status/{status['id']}/").json() == status


def test_t91_an_unknown_status_and_that_of_others_is_404(ask: Ask) -> None:
    clerk, cook = ask("franklin_submitter"), ask("cook_submitter")
    status = clerk.post(tool()).json()["id"]

    def told(status_id: object) -> tuple[int, dict[str, str]]:
        answer = cook.get(f"/elections/status/{status_id}/")
        return answer.status_code, {name: value for name, value in answer.json().items() if name != "error_id"}

    assert told(status) == told(uuid.uuid4()) == told("x") == told("%00")
    assert told(status)[0] == 404


def test_t84_the_very_same_again_is_no_error(clerk: Asking) -> None:
    one = tool()
    clerk.add(one)
    added = date_added(clerk, one["id"])
    clerk.add(one)

    assert date_added(clerk, one["id"]) == added


def test_a16_other_content_under_one_version_is_a_failure_and_the_first_stays(clerk: Asking) -> None:
    one = tool("first")
    clerk.add(one)
    status = clerk.post({**one, "name": "second"}).json()

    assert (status["failure_count"], bool(status["failures"][0]["message"])) == (1, True)
    assert clerk.names() == ["first"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/taxii+json",
        "application/taxii+json; version=2.1",
        "application/stix+json;version=2.1",
        "application/json",
    ],
)
def test_t22_a3_a_post_of_these_types_is_read(clerk: Asking, content_type: str) -> None:
    assert clerk.post(tool(), content_type=content_type).status_code == 202


@pytest.mark.parametrize("content_type", ["text/plain", "application/taxii+json;version=2.0", ""])
def test_a3_a_post_of_others_is_415(clerk: Asking, content_type: str) -> None:
    assert is_error(clerk.post(tool(), content_type=content_type), 415)


def test_a18_a_bundle_is_unwrapped(clerk: Asking) -> None:
    bundle = {"type": "bundle", "id": f"bundle--{uuid.uuid4()}", "spec_version": "2.1", "objects": [tool("one")]}
    answer = clerk.request("POST", "objects/", json=bundle, headers={"Content-Type": "application/json"})

    assert answer.json()["success_count"] == 1
    assert clerk.names() == ["one"]


def test_t30_i6_properties_of_the_envelope_that_are_not_ours_are_ignored(clerk: Asking) -> None:
    envelope = {"x_elm_note": {"a": [1]}, "more": False, "objects": [tool("one")]}
    answer = clerk.request("POST", "objects/", json=envelope, headers={"Content-Type": TAXII})

    assert (answer.status_code, answer.json()["success_count"]) == (202, 1)


@pytest.mark.parametrize("body", [b"", b"{", b"not json", b'{"x":1}', b"7", b'{"objects":[{]}', b"\xff\xfe{}"])
def test_t85_a17_what_cannot_be_understood_is_400(clerk: Asking, body: bytes) -> None:
    assert is_error(clerk.request("POST", "objects/", content=body, headers={"Content-Type": TAXII}), 400)


@pytest.mark.parametrize("body", [b'{"objects":[]}', b"{}", b'{"objects":{}}', b'{"objects":"x"}', b'{"objects":null}'])
def test_t85_a17_an_envelope_with_nothing_of_use_is_422(clerk: Asking, body: bytes) -> None:
    assert is_error(clerk.request("POST", "objects/", content=body, headers={"Content-Type": TAXII}), 422)


def test_a17_bad_members_are_failures_of_their_own(clerk: Asking) -> None:
    answer = clerk.post({"type": "tool", "id": "zzz"})

    assert answer.status_code == 202
    assert answer.json()["failure_count"] == answer.json()["total_count"] == 1


@pytest.fixture
def small(database_url: str, people: dict[str, Person]) -> Iterator[Asking]:
    """A clerk at a server that takes 2,000 bytes."""
    with serving(database_url, max_content_length=2000) as running:
        asking = Asking(running, people["franklin_submitter"])
        yield asking
        asking.http.close()


def envelope_of(size: int) -> bytes:
    bare = json.dumps({"objects": [tool("")]}).encode()
    return json.dumps({"objects": [tool("x" * (size - len(bare)))]}).encode()


def in_chunks(content: bytes) -> Iterator[bytes]:
    for begin in range(0, len(content), 300):
        yield content[begin : begin + 300]


@pytest.mark.parametrize("form", [bytes, in_chunks])
def test_t42_a5_a_body_may_be_as_large_as_the_root_says_and_no_larger(
    small: Asking, form: Callable[[bytes], bytes | Iterator[bytes]]
) -> None:
    def post(size: int) -> httpx2.Response:
        return small.request("POST", "objects/", content=form(envelope_of(size)), headers={"Content-Type": TAXII})

    assert small.get("/elections/").json()["max_content_length"] == 2000
    assert post(2000).json()["success_count"] == 1
    assert is_error(post(2001), 413)
    assert is_error(post(500_000), 413)
    assert post(1999).json()["success_count"] == 1


def test_t28_no_list_is_ever_empty(ask: Ask) -> None:
    clerk = ask("franklin_submitter")
    one = tool()
    answers = [clerk.post(one), clerk.post({"type": "tool"}), clerk.get("objects/", {"match[type]": "malware"})]
    answers += [clerk.get("manifest/", {"added_after": "2999-01-01T00:00:00Z"}), clerk.get("/elections/collections/")]
    answers += [clerk.get(f"objects/{one['id']}/versions/", {"match[spec_version]": "2.0"})]

    assert not [answer for answer in answers if b"[]" in answer.content]


def test_l17_posts_of_a_thousand_objects_are_complete_at_once(clerk: Asking) -> None:
    status = clerk.post(*(mutex(f"{n}") for n in range(1000))).json()

    assert (status["status"], status["success_count"]) == ("complete", 1000)


# ------------------------------------------------------------------------------------------------------ who sees what


def test_rule_7_what_a_county_shares_with_itself_nobody_beside_it_sees(ask: Ask) -> None:
    clerk, poller, analyst = ask("franklin_submitter"), ask("franklin"), ask("ohio_analyst")
    one = tool("of Elm County")
    clerk.add(one, to=clerk.home + "objects/")

    for reader in (clerk, poller, analyst):
        assert reader.get(f"{clerk.home}objects/{one['id']}/").status_code == 200
    for stranger in ("oak", "cook", "stranger", "ohio"):
        other = ask(stranger)
        assert other.get(f"{clerk.home}objects/{one['id']}/").status_code == 404
        assert is_error(other.get(f"{other.home}objects/{one['id']}/"), 404)
        assert "of Elm County" not in other.get(other.home + "objects/").text


def test_rule_7_what_the_nation_gets_every_county_gets_in_its_own_collection(ask: Ask) -> None:
    analyst = ask("isac_analyst")
    one = tool("for all")
    analyst.add(one, to=analyst.home + "objects/")

    for name in ("franklin", "oak", "cook", "ohio"):
        member = ask(name)
        assert member.names(f"{member.home}objects/{one['id']}/") == ["for all"]
    stranger = ask("stranger")
    assert stranger.get(f"{stranger.home}objects/{one['id']}/").status_code == 404


def test_f19_a_county_does_not_delete_what_the_nation_has(ask: Ask) -> None:
    analyst, admin = ask("isac_analyst"), ask("franklin_admin")
    one = tool()
    analyst.add(one, to=analyst.home + "objects/")

    assert is_error(admin.request("DELETE", f"{admin.home}objects/{one['id']}/"), 403)
    assert admin.get(f"{admin.home}objects/{one['id']}/").status_code == 200


def test_an_admin_deletes_what_others_put_there_and_a_submitter_does_not(ask: Ask) -> None:
    analyst, clerk, admin = ask("ohio_analyst"), ask("franklin_submitter"), ask("franklin_admin")
    one = tool()
    analyst.add(one, to=clerk.home + "objects/")

    assert is_error(clerk.request("DELETE", f"{clerk.home}objects/{one['id']}/"), 403)
    assert admin.request("DELETE", f"{clerk.home}objects/{one['id']}/").status_code == 200


def test_a_revoked_key_is_refused_within_two_seconds(ask: Ask, revoke: Callable[[str], None]) -> None:
    poller = ask("franklin")
    assert poller.get("objects/").status_code == 200
    revoke(poller.person.key_id)
    begun = times.now()

    while poller.get("objects/").status_code == 200:
        assert times.now() - begun < timedelta(seconds=2)
    assert is_error(poller.get("objects/"), 401)


def test_date_added_is_read_by_python(clerk: Asking) -> None:
    clerk.add(tool())

    assert isinstance(datetime.fromisoformat(clerk.objects("manifest/")[0]["date_added"]), datetime)
