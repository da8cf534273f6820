"""taxii2-client 2.3.0, on which most products are built, does all that it offers; habits of others are re-enacted."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import requests
from taxii2client.common import TokenAuth
from taxii2client.v21 import ApiRoot, Collection, Server, Status, as_pages
from tests.conftest import Person, Running
from tests.serve.conftest import FEBRUARY, JANUARY, MARCH, TAXII, Ask, Asking, mutex, tool, tools, versions_of


@pytest.fixture
def taxii(server: Running, people: dict[str, Person]) -> Iterator[Server]:
    """The client of a submitter, configured as its manual says: the discovery URL, user and password."""
    person = people["franklin_submitter"]
    with Server(f"{server.base}/taxii2/", user=person.key_id, password=person.secret) as opened:
        yield opened


@pytest.fixture
def shelf(taxii: Server) -> Collection:
    """The submitter's organization's collection, which is empty."""
    (found,) = [each for each in taxii.default.collections if each.alias.startswith("org-")]
    return found


def envelope(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"objects": list(objects)}


def test_it_discovers(taxii: Server) -> None:
    assert taxii.title
    assert [root.url for root in taxii.api_roots] == [taxii.default.url]
    assert taxii.default.versions == [TAXII]
    assert taxii.default.max_content_length > 0


def test_it_lists_collections(taxii: Server) -> None:
    for each in taxii.default.collections:
        alone = Collection(each.url, conn=each._conn)
        assert (alone.id, alone.title, alone.can_read, alone.can_write) == (each.id, each.title, True, True)
        assert alone.media_types == ["application/stix+json;version=2.1"]


@pytest.mark.taxii("L-1")
def test_it_begins_at_the_root_with_a_token(server: Running, people: dict[str, Person]) -> None:
    with ApiRoot(f"{server.base}/elections", auth=TokenAuth(people["franklin"].secret)) as root:
        assert people["franklin"].collection in [each.id for each in root.collections]


def test_it_adds_waits_and_reads_back(shelf: Collection) -> None:
    one = tool()
    status = shelf.add_objects(envelope(one, mutex()), wait_for_completion=True)

    assert (status.status, status.total_count, status.success_count) == ("complete", 2, 2)
    assert one["id"] in [each["id"] for each in status.successes]
    assert shelf.get_object(one["id"]) == {"objects": [one]}


def test_it_adds_bytes_and_text(shelf: Collection) -> None:
    one, other = tool("one"), tool("other")
    shelf.add_objects(json.dumps(envelope(one)))
    shelf.add_objects(json.dumps(envelope(other)).encode())

    assert shelf.get_objects() == envelope(one, other)


def test_it_understands_a_status_with_failures(taxii: Server, shelf: Collection) -> None:
    status = shelf.add_objects(envelope(tool(), {"type": "tool", "id": "tool--x"}))

    assert (status.success_count, status.failure_count, status.pending_count) == (1, 1, 0)
    again = taxii.default.get_status(status.id)
    assert isinstance(again, Status)
    again.refresh()
    again.wait_until_final()
    assert again.failures == status.failures


def test_it_filters(shelf: Collection) -> None:
    one, other = tool("one"), mutex("other")
    shelf.add_objects(envelope(one))
    shelf.add_objects(envelope(other))

    assert shelf.get_objects(type="tool") == envelope(one)
    assert shelf.get_objects(type=["mutex", "malware"]) == envelope(other)
    assert shelf.get_objects(id=[one["id"], other["id"]], spec_version="2.1") == envelope(one, other)
    assert shelf.get_objects(added_after=datetime(2026, 1, 1, tzinfo=UTC)) == envelope(one, other)
    assert shelf.get_objects(added_after=datetime(2099, 1, 1, 0, 0, 0, 120000, tzinfo=UTC)) == {}
    assert shelf.get_objects(limit=1, unheard="of")["objects"] == [one]


def test_it_asks_for_versions(shelf: Collection) -> None:
    versions = versions_of(tool(), JANUARY, FEBRUARY, MARCH)
    for each in versions:
        shelf.add_objects(envelope(each))
    stix_id = versions[0]["id"]

    assert shelf.object_versions(stix_id) == {"versions": [JANUARY, FEBRUARY, MARCH]}
    assert shelf.get_object(stix_id) == envelope(versions[2])
    assert shelf.get_object(stix_id, version="all") == envelope(*versions)
    assert shelf.get_object(stix_id, version=["first", "last"]) == envelope(versions[0], versions[2])
    assert shelf.get_object(stix_id, version=datetime(2026, 2, 1, tzinfo=UTC)) == envelope(versions[1])


@pytest.mark.taxii("L-5", "L-8")
def test_it_reads_page_by_page(shelf: Collection) -> None:
    names = list("abcdefg")
    for each in tools(*names):
        shelf.add_objects(envelope(each))

    for per_request in (1, 2, 3, 5, 7, 100):
        pages = list(as_pages(shelf.get_objects, per_request=per_request, type="tool"))
        records = list(as_pages(shelf.get_manifest, per_request=per_request))

        assert [each["name"] for page in pages for each in page["objects"]] == names
        assert all(len(page["objects"]) == per_request for page in pages[:-1])
        assert [each["id"] for page in records for each in page["objects"]] == [
            each["id"] for page in pages for each in page["objects"]
        ]


@pytest.mark.taxii("A-12")
def test_it_reads_the_versions_page_by_page(shelf: Collection) -> None:
    versions = versions_of(tool(), JANUARY, FEBRUARY, MARCH)
    for each in versions:
        shelf.add_objects(envelope(each))

    pages = as_pages(shelf.get_object, per_request=1, obj_id=versions[0]["id"], version="all")
    assert [page["objects"] for page in pages] == [[each] for each in versions]


def test_it_reads_a_manifest(shelf: Collection) -> None:
    one = tool()
    shelf.add_objects(envelope(one))

    (record,) = shelf.get_manifest(id=one["id"])["objects"]
    assert (record["id"], record["version"]) == (one["id"], JANUARY)
    assert shelf.get_manifest(added_after=record["date_added"]) == {}


def test_it_deletes(shelf: Collection) -> None:
    one = tool()
    shelf.add_objects(envelope(one))
    shelf.delete_object(one["id"])

    with pytest.raises(requests.HTTPError, match="404"):
        shelf.get_object(one["id"])


def test_it_is_told_no_in_its_own_words(server: Running, people: dict[str, Person]) -> None:
    with (
        Server(f"{server.base}/taxii2/", user="x", password="wrong") as taxii,
        pytest.raises(requests.HTTPError, match="401"),
    ):
        taxii.refresh()
    person = people["franklin"]
    with ApiRoot(f"{server.base}/elections/", user=person.key_id, password=person.secret) as root:
        assert not any(each.can_write for each in root.collections)


# ---------------------------------------------------------------------------------------------------- habits of others


@pytest.mark.taxii("L-1", "L-4")
def test_misp_splits_its_key_and_doubles_a_slash(server: Running, people: dict[str, Person]) -> None:
    """C-MISP-1: key = base64(user:password), split at each «:»; URL = base URL, «/», API root."""
    person = people["franklin_submitter"]
    user, password = base64.b64decode(base64.b64encode(f"{person.key_id}:{person.secret}".encode())).decode().split(":")
    with ApiRoot(f"{server.base}//elections/", user=user, password=password) as root:
        assert root.collections


@pytest.mark.taxii("A-18", "L-3")
def test_splunk_sends_a_bundle_as_taxii(shelf: Collection) -> None:
    """C-SPL-2."""
    bundle = {"type": "bundle", "id": "bundle--4b79b9c4-9bcd-4a8a-bd2a-7d0a6a0c4a3a", "objects": [tool("one")]}

    assert shelf.add_objects(bundle).success_count == 1


@pytest.mark.taxii("A-19", "L-6", "L-10")
def test_elastic_goes_on_with_next_and_limit_alone(clerk: Asking) -> None:
    """C-ELA-1, C-ELA-3, C-ELA-4: a Content-Type on GET, no filter after the first page, on while there is a next."""
    clerk.add(*tools(*"abcde"))
    found, query = [], {"added_after": "2026-01-01T00:00:00Z", "limit": "2"}
    while query:
        answer = clerk.get("objects/", query, content_type=TAXII).json()
        found += [each["name"] for each in answer["objects"]]
        query = {"next": answer["next"], "limit": "2"} if "next" in answer else {}

    assert found == list("abcde")


@pytest.mark.taxii("A-1", "L-6")
def test_opencti_keeps_next_for_days_and_the_last_date_after_that(clerk: Asking) -> None:
    """C-OCTI-2, C-OCTI-3: one page each tick; with more the next one by `next` and the same added_after."""
    query: dict[str, str] = {}
    found: list[str] = []

    def tick() -> None:
        answer = clerk.get("objects", query)
        found.extend(each["name"] for each in answer.json().get("objects", []))
        if answer.json().get("more"):
            query["next"] = answer.json()["next"]
        else:
            query.pop("next", None)
            query["added_after"] = answer.headers.get("x-taxii-date-added-last", query.get("added_after", JANUARY))

    for n in range(4):
        tick()
        clerk.add_many(*(f"{n}-{m}" for m in range(150)))
    for _ in range(10):
        tick()

    assert sorted(found) == sorted(f"{n}-{m}" for n in range(4) for m in range(150))


@pytest.mark.taxii("A-19", "L-6")
def test_opencti_s_connector_sends_a_stale_next_to_the_next_collection(clerk: Asking) -> None:
    """C-OCTC-2: it removes added_after on `next`, and never removes `next`."""
    clerk.add(*tools(*"abc"), to=clerk.home + "objects/")
    clerk.add(*tools(*"def"))
    found: dict[str, list[str]] = {}
    query = {"added_after": JANUARY, "limit": "2", "match[type]": "tool"}
    for path in (clerk.home + "objects/", "objects/"):
        query["added_after"] = JANUARY
        while True:
            answer = clerk.get(path, query).json()
            found.setdefault(path, []).extend(each["name"] for each in answer.get("objects", []))
            if not answer.get("more"):
                break
            query = {name: value for name, value in query.items() if name != "added_after"} | {"next": answer["next"]}

    assert list(found.values()) == [list("abc"), list("def")]


@pytest.mark.taxii("T-19", "A-3", "L-3")
def test_opencti_s_connector_posts_stix_and_accepts_with_a_blank(clerk: Asking) -> None:
    """C-OCTC-6."""
    bundle = {"type": "bundle", "spec_version": "2.1", "id": "bundle--4b79b9c4-9bcd-4a8a-bd2a-7d0a6a0c4a3a"}
    headers = {
        "Content-Type": "application/stix+json; version=2.1",
        "Accept": "application/taxii+json; version=2.1",
        "Authorization": f"Bearer {clerk.person.secret}",
    }
    answer = clerk.http.post(
        clerk.shelf + "objects/", json=bundle | {"objects": [tool()]}, headers=headers, auth=httpx2.Auth()
    )

    assert (answer.status_code, answer.json()["success_count"]) == (202, 1)


@pytest.mark.taxii("A-2", "L-11")
def test_xsoar_falls_back_to_2_0_only_on_406(ask: Ask) -> None:
    """C-XSOAR-2, C-XSOAR-3: and it chooses a root by the last part of its path."""
    member = ask("franklin")

    assert member.get("/taxii2/", accept="application/vnd.oasis.taxii+json; version=2.0").status_code == 406
    (root,) = member.get("/taxii2/").json()["api_roots"]
    assert root.rstrip("/").split("/")[-1] == "elections"
