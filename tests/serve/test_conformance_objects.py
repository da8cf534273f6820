"""What becomes of objects that are handed in, replaced, revoked and taken back, as TAXII 2.1 shows it (§4.3, §5.5)."""

import uuid

import psycopg
import pytest
from tests.serve.conftest import FEBRUARY, JANUARY, MARCH, TAXII, Ask, Asking, date_added, mutex, tool, versions_of

GREEN = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
RED = "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"


@pytest.mark.taxii("T-71", "T-83", "T-86")
def test_t71_objects_of_every_kind_come_back_in_an_envelope(clerk: Asking) -> None:
    common = {"spec_version": "2.1", "created": JANUARY, "modified": JANUARY}
    one = tool()
    kinds = [
        one,
        mutex(),
        {"type": "x-elm-thing", "id": f"x-elm-thing--{uuid.uuid4()}", **common},
        {
            "type": "extension-definition",
            "id": f"extension-definition--{uuid.uuid4()}",
            "created_by_ref": f"identity--{uuid.uuid4()}",
            "name": "x",
            "schema": "none",
            "version": "1.0.0",
            "extension_types": ["property-extension"],
            **common,
        },
        {
            "type": "language-content",
            "id": f"language-content--{uuid.uuid4()}",
            "object_ref": one["id"],
            "contents": {"de": {"name": "Werkzeug"}},
            **common,
        },
    ]
    clerk.add(*kinds)

    assert clerk.objects() == kinds
    for each in kinds:
        assert clerk.get(f"objects/{each['id']}/").json() == {"objects": [each]}


@pytest.mark.taxii("T-30", "T-83")
def test_t30_custom_properties_of_an_envelope_change_nothing(clerk: Asking) -> None:
    body = {"x_elm": None, "x_elm_list": [], "next": "abc", "more": True, "objects": [tool("one")], "id": 5}
    answer = clerk.request("POST", "objects/", json=body, headers={"Content-Type": TAXII})

    assert (answer.status_code, answer.json()["success_count"]) == (202, 1)
    assert clerk.names() == ["one"]


@pytest.mark.taxii("T-84", "T-87")
def test_t84_the_same_object_twice_in_one_envelope_is_there_once_and_counts_twice(clerk: Asking) -> None:
    one = tool("one")
    status = clerk.post(one, one).json()

    assert (status["total_count"], status["success_count"], len(status["successes"])) == (2, 2, 2)
    assert clerk.names(**{"match[version]": "all"}) == ["one"]


@pytest.mark.taxii("T-85", "A-17")
def test_a17_members_that_are_no_objects_fail_alone_and_have_a_line_each(clerk: Asking) -> None:
    body = {"objects": ["text", 5, None, [], {}, tool("one")]}
    status = clerk.request("POST", "objects/", json=body, headers={"Content-Type": TAXII}).json()

    assert (status["total_count"], status["success_count"], status["failure_count"]) == (6, 1, 5)
    assert all(each["id"] and each["version"] and each["message"] for each in status["failures"])
    assert clerk.names() == ["one"]


@pytest.mark.taxii("T-85", "A-17")
def test_a17_a_bundle_of_stix_2_0_is_422(clerk: Asking) -> None:
    old = {name: value for name, value in tool().items() if name != "spec_version"}
    bundle = {"type": "bundle", "spec_version": "2.0", "id": f"bundle--{uuid.uuid4()}", "objects": [old]}

    assert clerk.request("POST", "objects/", json=bundle, headers={"Content-Type": TAXII}).status_code == 422


@pytest.mark.taxii("T-91", "T-90")
def test_t91_a_status_of_last_year_is_there_as_it_was(clerk: Asking, database_url: str) -> None:
    status = clerk.post(tool(), {"type": "tool"}).json()
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE elections.submissions SET received_at = received_at - interval '1 year'")
    found = clerk.get(f"/elections/status/{status['id']}/").json()

    assert found.pop("request_timestamp") < status.pop("request_timestamp")
    assert found == status


@pytest.mark.taxii("L-15")
def test_l15_a_revocation_is_a_version_at_the_end(clerk: Asking) -> None:
    one, other = tool("one"), tool("other")
    clerk.add(one, other)
    before = date_added(clerk, other["id"])
    clerk.add({**one, "modified": FEBRUARY, "revoked": True})

    assert [each["id"] for each in clerk.objects()] == [other["id"], one["id"]]
    assert [each["revoked"] for each in clerk.objects(added_after=before)] == [True]


@pytest.mark.taxii("A-33")
def test_a33_a_newest_version_that_is_too_strict_takes_the_older_ones_along(ask: Ask) -> None:
    clerk, neighbor = ask("ohio_analyst"), ask("franklin")
    where = clerk.home + "objects/"
    mild, strict = versions_of(tool(object_marking_refs=[GREEN]), JANUARY, FEBRUARY)
    clerk.add(mild, to=where)
    assert neighbor.names(f"{neighbor.home}objects/{mild['id']}/") == [JANUARY]
    clerk.post({**strict, "object_marking_refs": [RED]}, to=where)

    for query in ({}, {"match[version]": "all"}):
        assert mild["id"] not in [each["id"] for each in clerk.objects(where, **query)]
        assert neighbor.get(f"{neighbor.home}objects/{mild['id']}/", query).status_code == 404


@pytest.mark.taxii("A-34", "A-15", "T-79")
def test_a34_version_by_version_the_object_goes_until_it_is_404(clerk: Asking) -> None:
    one = versions_of(tool(), JANUARY, FEBRUARY, MARCH)
    clerk.add(*one)
    path = f"objects/{one[0]['id']}/"
    seen = [date_added(clerk, one[0]["id"])]

    for left in (FEBRUARY, JANUARY):
        assert clerk.request("DELETE", f"{path}?match[version]=last").status_code == 200
        assert clerk.names(path) == clerk.names(added_after=seen[-1]) == [left]
        seen.append(date_added(clerk, one[0]["id"]))
    assert clerk.request("DELETE", f"{path}?match[version]=last").status_code == 200
    assert clerk.get(path).status_code == clerk.get(f"{path}versions/").status_code == 404
    assert clerk.get("manifest/", {"match[version]": "all"}).content == b"{}"
