"""Writing to a TAXII 2.1 server: post, status, delete (T-…, A-… of the target)."""

import json
import uuid
from collections.abc import Callable, Iterator
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
    versions_of,
)

# ------------------------------------------------------------------------------------------------------ post and status


@pytest.mark.taxii("T-26", "T-27", "T-83", "T-86", "T-87", "T-89")
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


@pytest.mark.taxii("T-88")
def test_t88_what_has_no_version_is_listed_with_the_one_that_the_manifest_shows(clerk: Asking) -> None:
    one, two = mutex("1"), mutex("2")
    first = clerk.post(one).json()
    again = clerk.post(one, two, tool()).json()
    shown = {record["id"]: record["version"] for record in clerk.objects("manifest/")}

    assert [line["version"] for line in first["successes"]] == [shown[one["id"]]]
    assert {line["id"]: line["version"] for line in again["successes"]} == shown
    assert clerk.get(f"/elections/status/{again['id']}/").json() == again


@pytest.mark.taxii("T-88")
def test_t88_details_name_id_version_and_the_reason(clerk: Asking) -> None:
    one, bad = tool(), tool(name="")
    del bad["name"]
    status = clerk.post(one, bad).json()

    assert status["successes"] == [{"id": one["id"], "version": one["modified"]}]
    ((failure),) = status["failures"]
    assert (failure["id"], failure["version"]) == (bad["id"], bad["modified"])
    assert "name" in failure["message"]


@pytest.mark.taxii("T-91")
def test_t91_the_status_can_be_read_again(clerk: Asking) -> None:
    status = clerk.post(tool()).json()

    assert clerk.get(f"/elections/status/{status['id']}/").json() == status


@pytest.mark.taxii("T-10", "T-91")
def test_t91_an_unknown_status_and_that_of_others_is_404(ask: Ask) -> None:
    clerk, cook = ask("franklin_submitter"), ask("cook_submitter")
    status = clerk.post(tool()).json()["id"]

    def told(status_id: object) -> tuple[int, dict[str, str]]:
        answer = cook.get(f"/elections/status/{status_id}/")
        return answer.status_code, {name: value for name, value in answer.json().items() if name != "error_id"}

    assert told(status) == told(uuid.uuid4()) == told("x") == told("%00")
    assert told(status)[0] == 404


@pytest.mark.taxii("T-87", "T-89", "T-90", "A-20")
def test_t90_what_waits_is_pending_in_each_submission_that_has_it(ask: Ask) -> None:
    clerk, analyst = ask("franklin_submitter"), ask("ohio_analyst")
    odd = mutex() | {"object_marking_refs": [f"marking-definition--{uuid.uuid4()}"]}
    where = f"{clerk.home}objects/"
    posts = [clerk.post(odd, odd, tool(), to=where).json(), analyst.post(odd, to=where).json()]

    for status, waiting in zip(posts, (2, 1), strict=True):
        assert (status["status"], status["pending_count"]) == ("pending", waiting)
        assert [(each["id"], bool(each["message"])) for each in status["pendings"]] == [(odd["id"], True)] * waiting
        assert {each["version"] for each in status["pendings"]} == {status["request_timestamp"]}


@pytest.mark.taxii("T-84")
def test_t84_the_very_same_again_is_no_error(clerk: Asking) -> None:
    one = tool()
    clerk.add(one)
    added = date_added(clerk, one["id"])
    clerk.add(one)

    assert date_added(clerk, one["id"]) == added


@pytest.mark.taxii("A-16")
def test_a16_other_content_under_one_version_is_a_failure_and_the_first_stays(clerk: Asking) -> None:
    one = tool("first")
    clerk.add(one)
    status = clerk.post({**one, "name": "second"}).json()

    assert (status["failure_count"], bool(status["failures"][0]["message"])) == (1, True)
    assert clerk.names() == ["first"]


@pytest.mark.taxii("T-22", "A-3")
def test_t22_a3_posts_of_these_types_are_read_and_others_are_415(clerk: Asking) -> None:
    for content_type in (
        "application/taxii+json",
        "application/taxii+json; version=2.1",
        "application/stix+json;version=2.1",
        "application/json",
    ):
        assert clerk.post(tool(), content_type=content_type).status_code == 202
    for content_type in ("text/plain", "application/taxii+json;version=2.0", ""):
        assert is_error(clerk.post(tool(), content_type=content_type), 415)


@pytest.mark.taxii("A-18", "L-3")
def test_a18_a_bundle_is_unwrapped(clerk: Asking) -> None:
    bundle = {"type": "bundle", "id": f"bundle--{uuid.uuid4()}", "spec_version": "2.1", "objects": [tool("one")]}
    answer = clerk.request("POST", "objects/", json=bundle, headers={"Content-Type": "application/json"})

    assert answer.json()["success_count"] == 1
    assert clerk.names() == ["one"]


@pytest.mark.taxii("T-30")
def test_t30_i6_properties_of_the_envelope_that_are_not_ours_are_ignored(clerk: Asking) -> None:
    envelope = {"x_elm_note": {"a": [1]}, "more": False, "objects": [tool("one")]}
    answer = clerk.request("POST", "objects/", json=envelope, headers={"Content-Type": TAXII})

    assert (answer.status_code, answer.json()["success_count"]) == (202, 1)


@pytest.mark.taxii("T-85", "A-17")
def test_t85_a17_what_cannot_be_understood_is_400_and_an_envelope_with_nothing_of_use_is_422(clerk: Asking) -> None:
    def status(body: bytes) -> int:
        answer = clerk.request("POST", "objects/", content=body, headers={"Content-Type": TAXII})
        assert is_error(answer, answer.status_code)
        return answer.status_code

    for body in (b"", b"{", b"not json", b'{"x":1}', b"7", b'{"objects":[{]}', b"\xff\xfe{}"):
        assert (body, status(body)) == (body, 400)
    for body in (b'{"objects":[]}', b"{}", b'{"objects":{}}', b'{"objects":"x"}', b'{"objects":null}'):
        assert (body, status(body)) == (body, 422)


@pytest.mark.taxii("A-17")
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


@pytest.mark.taxii("T-42", "A-5")
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


@pytest.mark.taxii("T-28")
def test_t28_no_list_is_ever_empty(ask: Ask) -> None:
    clerk = ask("franklin_submitter")
    one = tool()
    answers = [clerk.post(one), clerk.post({"type": "tool"}), clerk.get("objects/", {"match[type]": "malware"})]
    answers += [clerk.get("manifest/", {"added_after": "2999-01-01T00:00:00Z"}), clerk.get("/elections/collections/")]
    answers += [clerk.get(f"objects/{one['id']}/versions/", {"match[spec_version]": "2.0"})]

    assert not [answer for answer in answers if b"[]" in answer.content]


@pytest.mark.taxii("A-20", "L-17")
def test_l17_posts_of_a_thousand_objects_are_complete_at_once(clerk: Asking) -> None:
    status = clerk.post(*(mutex(f"{n}") for n in range(1000))).json()

    assert (status["status"], status["success_count"]) == ("complete", 1000)


def test_the_sandbox_takes_whatever_is_well_formed(clerk: Asking, database_url: str, people: dict[str, Person]) -> None:
    ahead = tool(modified="2099-01-01T00:00:00.000Z")
    assert clerk.post(ahead).json()["failure_count"] == 1

    with serving(database_url, free=True) as sandbox:
        visitor = Asking(sandbox, people["franklin_submitter"])
        assert visitor.post(ahead).json()["success_count"] == 1
        visitor.http.close()


@pytest.mark.taxii("L-13")
def test_l13_markings_come_before_what_they_mark(clerk: Asking) -> None:
    statement = {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": "marking-definition--b0c7a8f1-7a3c-4a54-9d0f-7a4a35a0c2b9",
        "created": JANUARY,
        "definition_type": "statement",
        "definition": {"statement": "Invented by Elm County."},
    }
    marked = {**tool(), "type": "campaign", "id": f"campaign--{uuid.uuid4()}", "object_marking_refs": [statement["id"]]}
    assert clerk.post(marked, statement).json()["success_count"] == 2

    assert [each["type"] for each in clerk.objects()] == ["marking-definition", "campaign"]


# --------------------------------------------------------------------------------------------------------------- delete
@pytest.mark.taxii("T-79", "A-15")
def test_t79_a15_delete_takes_all_versions(clerk: Asking, three: dict[str, Any]) -> None:
    clerk.add(tool("other"))
    answer = clerk.request("DELETE", f"objects/{three['id']}/")

    assert (answer.status_code, answer.content) == (200, b"")
    assert clerk.names(**{"match[version]": "all"}) == ["other"]
    assert len(clerk.objects("manifest/", **{"match[version]": "all"})) == 1
    assert is_error(clerk.get(f"objects/{three['id']}/"), 404)
    assert is_error(clerk.get(f"objects/{three['id']}/versions/"), 404)


@pytest.mark.taxii("T-80")
def test_t80_delete_of_what_is_not_there_is_404(clerk: Asking) -> None:
    one = tool()
    clerk.add(one)

    assert is_error(clerk.request("DELETE", f"objects/{UNKNOWN}/"), 404)
    assert is_error(clerk.request("DELETE", f"objects/{one['id']}/?match[version]={MARCH}"), 404)
    assert is_error(clerk.request("DELETE", f"objects/{one['id']}/?match[spec_version]=2.0"), 404)
    assert is_error(clerk.request("DELETE", f"objects/{one['id']}/?match[version]=recent"), 400)
    assert len(clerk.objects()) == 1


@pytest.mark.taxii("A-15")
def test_a15_delete_of_some_versions(clerk: Asking) -> None:
    for wanted, left in (
        ("first", [FEBRUARY, MARCH]),
        ("last", [JANUARY, FEBRUARY]),
        ("first,last", [FEBRUARY]),
        (FEBRUARY, [JANUARY, MARCH]),
        (f"{FEBRUARY},{MARCH}", [JANUARY]),
        ("all", None),
    ):
        versions = versions_of(tool(), JANUARY, FEBRUARY, MARCH)
        clerk.add(*versions)
        path = f"objects/{versions[0]['id']}/"

        assert clerk.request("DELETE", path, params={"match[version]": wanted}).status_code == 200
        assert (wanted, clerk.get(path + "versions/").json().get("versions")) == (wanted, left)
        assert clerk.get(path).status_code == (200 if left else 404)


@pytest.mark.taxii("A-34")
def test_a34_without_its_newest_version_the_one_before_comes_anew(clerk: Asking, three: dict[str, Any]) -> None:
    before = date_added(clerk, three["id"])
    clerk.request("DELETE", f"objects/{three['id']}/", params={"match[version]": "last"})

    assert clerk.names(added_after=before) == [FEBRUARY]


@pytest.mark.taxii("A-24")
def test_a24_deleted_and_added_again_it_is_new(clerk: Asking) -> None:
    one = tool("one")
    clerk.add(one)
    before = date_added(clerk, one["id"])
    clerk.request("DELETE", f"objects/{one['id']}/")
    clerk.add(one)

    assert clerk.names(added_after=before) == ["one"]


@pytest.mark.taxii("T-35", "T-36")
def test_t35_t36_who_may_read_and_not_write_is_403(ask: Ask) -> None:
    clerk, poller = ask("franklin_submitter"), ask("franklin")
    one = tool()
    clerk.add(one)

    assert is_error(poller.post(tool()), 403)
    assert is_error(poller.request("DELETE", f"objects/{one['id']}/"), 403)
    assert clerk.names() == [one["name"]]


@pytest.mark.taxii("T-10", "T-35", "T-36")
def test_t35_t36_who_may_neither_read_nor_write_is_404(ask: Ask) -> None:
    clerk, cook = ask("franklin_submitter"), ask("cook_submitter")
    one = tool()
    clerk.add(one, to=clerk.home + "objects/")

    assert is_error(cook.post(tool(), to=clerk.home + "objects/"), 404)
    assert is_error(cook.request("DELETE", f"{clerk.home}objects/{one['id']}/"), 404)
    assert one["id"] in [each["id"] for each in clerk.objects(clerk.home + "objects/")]
