"""taxii2-client 2.3.0, on which most products are built, does all that it offers."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from taxii2client.common import TokenAuth
from taxii2client.v21 import ApiRoot, Collection, Server, Status, as_pages
from tests.conftest import Person, Running
from tests.serve.conftest import FEBRUARY, JANUARY, MARCH, TAXII, mutex, tool, tools, versions_of


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
