"""The table of conformance, and what holds for every answer of a TAXII 2.1 server (§1.6, §3; T-…, A-… of the table)."""

import json
import logging
import re
import socket
import uuid
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.conftest import Person, Running
from tests.serve import conformance
from tests.serve.conformance import Row
from tests.serve.conftest import JANUARY, STAMP, TAXII, UNKNOWN, Ask, Asking, is_error, mutex, tool, tools

VERSION_2_0 = "application/taxii+json;version=2.0"

# ----------------------------------------------------------------------------------------------------------- the table


def test_the_table_is_as_the_tests_and_the_statements_say() -> None:
    """Write it anew with `python -m tests.serve.conformance`."""
    known, held = conformance.rows(), conformance.holders()

    assert list(conformance.complaints(known, held)) == []
    assert conformance.TABLE.read_text(encoding="utf-8") == conformance.table(known, held)


@pytest.mark.parametrize(
    ("row", "held", "complaint"),
    [
        (Row("T-1", "M", "x"), {}, "T-1 has no test and no reason"),
        (Row("T-1", "M", "x", why="client"), {"T-1": ["t"]}, "T-1 has both a test and a reason to have none"),
        (Row("T-1", "M", "x", why="later"), {}, "T-1 has an unknown reason: later"),
        (Row("T-1", "M", ""), {"T-1": ["t"]}, "T-1 says no level or nothing"),
        (Row("T-1", "must", "x"), {"T-1": ["t"]}, "T-1 says no level or nothing"),
        (Row("T-1", "M", "x", unused="x"), {"T-1": ["t"]}, "T-1 is no permission that could be left unused"),
        (Row("T-1", "M", "x"), {"T-1": ["t"], "T-92": ["t"]}, "t names an unknown row: T-92"),
        (Row("T-1", "M", "x"), {"T-1": ["t"]}, "T-2 has no row"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(row: Row, held: dict[str, list[str]], complaint: str) -> None:
    assert complaint in conformance.complaints([row], held)


# ------------------------------------------------------------------------------------------------------- every resource

#: resource → properties that are required, and all that it may have (§4, §5)
PROPERTIES = {
    "discovery": ("title", "title description contact default api_roots"),
    "api-root": ("title versions max_content_length", "title description versions max_content_length"),
    "status": (
        "id status total_count success_count failure_count pending_count",
        "id status request_timestamp total_count success_count successes failure_count failures pending_count pendings",
    ),
    "collections": ("", "collections"),
    "collection": ("id title can_read can_write", "id title description alias can_read can_write media_types"),
    "manifest": ("", "more next objects"),
    "envelope": ("", "more next objects"),
    "object": ("", "more next objects"),
    "versions": ("", "more next versions"),
}
LINES = {
    "manifest-record": ("id date_added version", "id date_added version media_type"),
    "status-details": ("id version", "id version message"),
    "error": ("title", "title description error_id error_code http_status external_details details"),
}
LISTED = {"collections": "collection", "successes": "status-details", "failures": "status-details"}


def fits(found: dict[str, Any], resource: str) -> bool:
    required, possible = (names.split() for names in (PROPERTIES | LINES)[resource])
    return set(required) <= found.keys() <= set(possible)


@pytest.mark.taxii("T-29", "T-30", "T-37", "T-40", "T-44", "T-72", "T-73", "T-75", "T-86", "T-88")
def test_t29_each_resource_has_its_required_properties_and_no_others(clerk: Asking, paths: list[str]) -> None:
    clerk.add(tool())
    for path, resource in zip(paths, PROPERTIES, strict=True):
        for query in ({}, {"limit": "1"}, {"match[type]": "malware", "match[spec_version]": "2.0"}):
            answer = clerk.get(path, query).json()

            assert (path, fits(answer, resource)) == (path, True)
            for name, line in LISTED.items():
                assert all(fits(each, line) for each in answer.get(name, []))
    assert all(fits(each, "manifest-record") for each in clerk.objects("manifest/"))
    posted = clerk.post(tool(), {"type": "tool"}).json()
    assert fits(posted, "status")
    assert all(fits(each, "status-details") for each in posted["successes"] + posted["failures"])


def leaves(found: Any) -> Iterator[Any]:
    """Every value in a resource that is no object."""
    if isinstance(found, dict):
        for each in found.values():
            yield from leaves(each)
    elif isinstance(found, list):
        yield found
        for each in found:
            yield from leaves(each)
    else:
        yield found


@pytest.mark.taxii("T-26", "T-28", "T-45")
def test_t26_t28_no_list_is_empty_nothing_is_null_and_each_of_our_times_has_six_decimals(
    clerk: Asking, paths: list[str]
) -> None:
    answers = [clerk.get(path, query) for path in paths for query in ({}, {"added_after": "2999-01-01T00:00:00Z"})]
    answers += [clerk.post(mutex()), clerk.post({"type": "tool"}), clerk.get("objects/no-id/")]

    for answer in answers:
        assert not [found for found in leaves(answer.json()) if found is None or found == []]
        dates = [value for name, value in answer.headers.items() if name.startswith("x-taxii-")]
        # What was handed in has three decimals or its own text; all else is ours.
        ours = [
            found for found in leaves(answer.json()) if re.match(r"\d{4}-\d\d-\d\dT", str(found)) and found != JANUARY
        ]
        assert all(STAMP.fullmatch(date) for date in dates + ours)


def no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names)
    return dict(pairs)


@pytest.mark.taxii("T-25")
def test_t25_all_json_is_utf_8_and_names_nothing_twice(clerk: Asking, paths: list[str]) -> None:
    clerk.add(tool("caf\u00e9 \U0001f5f3"))
    answers = [clerk.get(path) for path in paths] + [clerk.get("objects/no-id/"), clerk.post(tool())]

    for answer in answers:
        json.loads(answer.content.decode("utf-8", "strict"), object_pairs_hook=no_name_twice)
    assert "caf\u00e9 \U0001f5f3" in clerk.names()


@pytest.mark.taxii("T-25")
def test_t25_an_object_that_names_a_property_twice_is_refused(clerk: Asking) -> None:
    twice = json.dumps(tool())[:-1] + ',"name":"another"}'
    answer = clerk.request("POST", "objects/", content=f'{{"objects":[{twice}]}}', headers={"Content-Type": TAXII})

    assert (answer.status_code, answer.json()["failure_count"]) == (202, 1)
    assert clerk.objects() == []


@pytest.mark.taxii("T-25")
@pytest.mark.parametrize("number", ["9007199254740992", "-9007199254740992", "18446744073709551616", "9" * 300])
def test_t25_whole_numbers_that_not_every_reader_has_exactly_are_refused(clerk: Asking, number: str) -> None:
    for place in ("%s", '{"a":[1,%s]}', "[ %s ]"):
        text = json.dumps(tool())[:-1] + f',"x_number":{place % number}}}'
        for form in (text, text.replace(", ", ",").replace(": ", ":")):
            body = f'{{"objects":[{form}]}}'
            answer = clerk.request("POST", "objects/", content=body, headers={"Content-Type": TAXII})
            ((failure),) = answer.json()["failures"]
            assert failure["message"].startswith(f"{number[:40]} is no whole number between")
    assert clerk.objects() == []


@pytest.mark.taxii("T-25")
def test_t25_other_numbers_come_back_as_they_were_sent(clerk: Asking) -> None:
    numbers = "[9007199254740991,-9007199254740991,1e300,0.1,1E20,12345678901234567890.5,0]"
    text = json.dumps(tool("9" * 30))[:-1] + f',"x_numbers":{numbers}}}'
    answer = clerk.request("POST", "objects/", content=f'{{"objects":[{text}]}}', headers={"Content-Type": TAXII})

    assert answer.json()["success_count"] == 1
    assert numbers in clerk.get("objects/").text


# ---------------------------------------------------------------------------------------------------------- every error


def refusals(clerk: Asking, paths: Sequence[str]) -> Iterator[tuple[int, httpx2.Response]]:
    """Each way in which each endpoint refuses, and the status that it has to have."""
    for path in paths:
        yield 401, clerk.http.get(path, auth=("x", "wrong"))
        yield 406, clerk.get(path, accept=VERSION_2_0)
        yield 405, clerk.request("PATCH", path)
        yield 404, clerk.get(f"{path}nothing/at/all/here/")
    for path in paths[5:]:
        yield 400, clerk.get(path, {"limit": "0"})
    for rest in ("", "manifest/", "objects/", f"objects/{UNKNOWN}/", f"objects/{UNKNOWN}/versions/"):
        yield 404, clerk.get(f"/elections/collections/{uuid.uuid4()}/{rest}")
    yield 404, clerk.get(f"/elections/status/{uuid.uuid4()}/")
    yield 400, clerk.request("POST", "objects/", content=b"{", headers={"Content-Type": TAXII})
    yield 401, clerk.request("POST", "objects/", auth=("x", "wrong"))
    yield 404, clerk.post(tool(), to="/elections/collections/us-il/objects/")
    yield 406, clerk.request("POST", "objects/", headers={"Accept": VERSION_2_0, "Content-Type": TAXII})
    yield 415, clerk.post(tool(), content_type="text/plain")
    yield 422, clerk.post()
    yield 400, clerk.request("DELETE", f"objects/{UNKNOWN}/?match[version]=x")
    yield 401, clerk.request("DELETE", f"objects/{UNKNOWN}/", auth=("x", "wrong"))
    yield 404, clerk.request("DELETE", f"objects/{UNKNOWN}/")
    yield 406, clerk.request("DELETE", f"objects/{UNKNOWN}/", headers={"Accept": VERSION_2_0})


@pytest.mark.taxii("T-17", "T-31", "T-32", "T-33", "T-34", "A-27")
def test_t31_t34_every_refusal_has_its_status_and_is_an_error_resource(clerk: Asking, paths: list[str]) -> None:
    for status, answer in refusals(clerk, paths):
        assert (answer.request.method, answer.request.url.path, is_error(answer, status)) == (
            answer.request.method,
            answer.request.url.path,
            True,
        )
        assert fits(answer.json(), "error")


@pytest.mark.taxii("T-31", "A-22")
def test_t31_a22_head_of_an_error_is_the_error_without_its_body(clerk: Asking, paths: list[str]) -> None:
    for path, query in ((paths[6], {"limit": "0"}), ("/elections/nothing/", {}), (f"objects/{UNKNOWN}/", {})):
        got, head = clerk.get(path, query), clerk.request("HEAD", path, params=query)

        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["content-type"] == TAXII


# ----------------------------------------------------------------------------------------- before anything is answered


@pytest.mark.taxii("T-19", "T-20", "T-21", "T-24", "A-2", "L-3")
def test_t19_t24_accept_in_every_spelling_is_served_by_every_endpoint(clerk: Asking, paths: list[str]) -> None:
    for accept in (
        TAXII,
        "application/taxii+json; version=2.1",
        'application/taxii+json;version="2.1"',
        "APPLICATION/TAXII+JSON;VERSION=2.1",
        "application/taxii+json;q=0.3, text/html",
        "application/taxii+json;version=2.1, application/stix+json;version=2.1",
        "application/json, text/plain, */*",
        "*/*",
    ):
        for path in paths:
            answer = clerk.get(path, accept=accept)
            assert (path, accept, answer.status_code) == (path, accept, 200)
            assert answer.headers["content-type"] == TAXII


@pytest.mark.taxii("T-19", "T-24")
def test_t19_an_accept_in_several_lines_is_one_list(clerk: Asking) -> None:
    lines = [("Accept", VERSION_2_0), ("Accept", TAXII)]

    assert clerk.http.get("/taxii2/", headers=lines).status_code == 200


@pytest.mark.taxii("T-23", "A-2")
def test_t23_q_0_turns_our_type_down(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        for accept in (f"{TAXII};q=0", "application/taxii+json;q=0, */*", "*/*;q=0.0"):
            assert is_error(clerk.get(path, accept=accept), 406)


@pytest.mark.taxii("T-12", "A-1", "L-4")
def test_a1_without_the_slash_filters_posts_and_deletes_do_the_same(clerk: Asking) -> None:
    one = tool("one")

    assert clerk.post(one, to="objects").json()["success_count"] == 1
    assert clerk.names(f"objects?match[id]={one['id']}&limit=1") == ["one"]
    assert clerk.request("DELETE", f"objects/{one['id']}?match[version]=last").status_code == 200
    assert clerk.objects() == []


@pytest.mark.taxii("T-3", "T-4", "A-23")
def test_t4_a_wrong_key_is_401_whatever_else_is_wrong(clerk: Asking) -> None:
    for method, path, more in (
        ("GET", "objects/?limit=0", {}),
        ("GET", "objects/", {"headers": {"Accept": VERSION_2_0}}),
        ("POST", "objects/", {"content": b"{", "headers": {"Content-Type": "text/plain"}}),
        ("GET", f"/elections/collections/{uuid.uuid4()}/objects/", {}),
        ("DELETE", "objects/no-id/?match[version]=x", {}),
        ("PATCH", "/nowhere", {}),
    ):
        answer = clerk.request(method, path, auth=("x", "wrong"), **more)

        assert is_error(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert "location" not in answer.headers


@pytest.mark.taxii("L-18")
def test_l18_a_connection_stays_open_after_answers_and_refusals(server: Running, people: dict[str, Person]) -> None:
    address = urlsplit(server.base)
    with socket.create_connection((address.hostname, address.port)) as connection, connection.makefile("rb") as answers:
        for path, status in (("/elections/", b"200"), ("/nowhere/", b"404"), ("/elections/", b"200")):
            request = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {people['franklin'].secret}\r\n\r\n"
            connection.sendall(request.encode())
            assert answers.readline().split()[1] == status
            while answers.readline() != b"\r\n":
                pass


@pytest.mark.taxii("T-17", "T-69", "A-6", "L-18")
def test_l18_gzip_and_etags_change_neither_type_nor_content(clerk: Asking) -> None:
    clerk.add_many(*(f"{n}" for n in range(50)))
    for path in ("objects/", "manifest/"):
        plain, packed = (clerk.get(path, None, **{"Accept-Encoding": coding}) for coding in ("identity", "gzip"))

        assert (packed.headers["content-encoding"], packed.content) == ("gzip", plain.content)
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-type"] == TAXII
        assert packed.headers["x-taxii-date-added-last"] == plain.headers["x-taxii-date-added-last"]
    tag = {"If-None-Match": clerk.get("objects/").headers["etag"]}
    again = clerk.get("objects/", None, **tag)
    assert (again.status_code, again.content, again.headers["content-type"]) == (304, b"", TAXII)
    clerk.add(tool())
    assert len(clerk.get("objects/", None, **tag).json()["objects"]) == 51


# ---------------------------------------------------------------------------------------------------------- collections


@pytest.mark.taxii("T-5", "T-43", "L-12")
def test_t5_l12_each_key_lists_its_own_few_in_the_same_order(ask: Ask) -> None:
    listed = {
        name: [each["alias"] for each in ask(name).get("/elections/collections/").json()["collections"]]
        for name in ("franklin", "franklin_admin", "oak", "cook", "ohio", "stranger")
    }

    assert listed["franklin"] == listed["franklin_admin"]
    assert [each[0] for each in listed.values()] == ["us-oh-39901"] * 2 + [
        "us-oh-39902",
        "us-il-17901",
        "us-oh",
        "public",
    ]
    assert {len(each) for each in listed.values()} == {2}
    for name, aliases in listed.items():
        again = [each["alias"] for each in ask(name).get("/elections/collections/").json()["collections"]]
        assert again == aliases


@pytest.mark.taxii("T-46")
def test_t46_the_alias_takes_posts_and_deletes_and_is_nobody_elses(ask: Ask) -> None:
    clerk, one = ask("franklin_submitter"), tool("one")
    alias = clerk.get(clerk.shelf).json()["alias"]
    path = f"/elections/collections/{alias.upper()}/objects/"

    assert clerk.post(one, to=path).json()["success_count"] == 1
    assert clerk.names() == ["one"]
    assert clerk.request("DELETE", f"{path}{one['id']}/").status_code == 200
    shelves = {
        each["alias"]: each["id"]
        for name in ("franklin", "oak", "cook", "ohio", "isac_analyst", "stranger")
        for each in ask(name).get("/elections/collections/").json()["collections"]
    }
    assert len(set(shelves.values())) == len(shelves)


@pytest.mark.taxii("L-13")
def test_l13_the_definitions_of_tlp_are_first_in_every_jurisdictions_collection(ask: Ask) -> None:
    analyst = ask("isac_analyst")
    analyst.add(tool("for all"), to=analyst.home + "objects/")

    for name in ("franklin", "ohio", "cook", "isac_analyst"):
        member = ask(name)
        kinds = [each["type"] for each in member.objects(member.home + "objects/")]
        assert kinds == ["marking-definition"] * 9 + ["tool"]


@pytest.mark.taxii("T-79")
def test_t79_delete_in_one_collection_leaves_the_object_in_another(clerk: Asking) -> None:
    one, other = tools("one", "other")
    clerk.add(one, other, to=clerk.home + "objects/")
    clerk.add(one)

    assert clerk.request("DELETE", f"objects/{one['id']}/").status_code == 200
    assert clerk.names() == []
    assert clerk.names(f"{clerk.home}objects/{one['id']}/") == ["one"]


@pytest.mark.taxii("A-6", "L-18")
def test_a6_who_has_an_answer_gets_304_on_every_endpoint_until_it_changes(clerk: Asking, paths: list[str]) -> None:
    tags = {}
    for path in paths:
        answer = clerk.get(path)
        tags[path] = answer.headers["etag"]
        for method in ("GET", "HEAD"):
            same = clerk.request(method, path, headers={"If-None-Match": tags[path]})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tags[path]), path
    clerk.add(tool("another"))
    changed = {path for path in paths if clerk.get(path).headers["etag"] != tags[path]}
    assert changed == {f"{clerk.shelf}manifest/", f"{clerk.shelf}objects/"}
    (own,) = [path for path in paths if path.endswith("/versions/")]
    one = own.split("/")[-3]
    clerk.add(tool("anew", "2026-06-01T00:00:00.000Z", id=one))
    answer = clerk.request("GET", own, headers={"If-None-Match": tags[own]})
    assert (answer.status_code, len(answer.json()["versions"])) == (200, 2)


@pytest.mark.taxii("A-7")
def test_a7_what_is_ignored_is_logged_once_for_each_key_and_name(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "isac.serve.queries")
    clerk, other = ask("franklin_submitter"), ask("cook")
    clerk.add(tool())
    caplog.clear()
    for _ in range(3):
        clerk.get("objects/", {"match[name]": "x", "limit": 5})
        clerk.get("manifest/", {"match[name]": "x", "page": "2"})
        other.get(f"{other.home}objects/", {"match[name]": "y"})
    for number in range(50):
        other.get(f"{other.home}objects/", {f"p{number}" + "x" * 500: "y"})
    told = [vars(record) for record in caplog.records if record.name == "isac.serve.queries"]

    assert [each["parameter"] for each in told if each["actor"] == clerk.person.key_id] == ["match[name]", "page"]
    others = [each["parameter"] for each in told if each["actor"] == other.person.key_id]
    assert others[0] == "match[name]"
    assert len(others) == len(set(others)) == 20
    assert max(map(len, others)) <= 60
