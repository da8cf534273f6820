"""Products that hand in, as they do: Splunk CTIS, OpenCTI's taxii-post, MISP; and what others ask before they read."""

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from taxii2client.v21 import ApiRoot, Collection
from tests.conftest import Person, Running, copied, serving
from tests.serve.conftest import TAXII, Ask, Asking, is_error, tool

#: what MISP's pusher may send at once, small enough for a few envelopes
MAX_CONTENT_LENGTH = 16_384
ENVELOPE = '{"objects": []}'
BETWEEN = ", "


def bundle(*objects: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "bundle", "id": f"bundle--{uuid.uuid4()}", **more, "objects": list(objects)}


def own(root: ApiRoot) -> Collection:
    (found,) = [each for each in root.collections if each.alias.startswith("org-")]
    return found


# ------------------------------------------------------------------------------------------------------------- Splunk


@pytest.fixture
def splunk(server: Running, people: dict[str, Person]) -> Iterator[ApiRoot]:
    """C-SPL-2: the API root's URL, user and password, tried by listing the collections."""
    person = people["franklin_submitter"]
    with ApiRoot(f"{server.base}/elections/", user=person.key_id, password=person.secret) as root:
        assert root.collections
        yield root


@pytest.mark.taxii("A-18", "L-3")
def test_splunk_sends_a_bundle_as_taxii_and_waits(splunk: ApiRoot) -> None:
    """C-SPL-2: it picks the collection by id, and shows the status as it comes."""
    (picked,) = [each for each in splunk.collections if each.id == own(splunk).id]
    one, other = tool("one"), tool("other")
    status = picked.add_objects(json.dumps(bundle(one, other)), wait_for_completion=True)

    assert (status.status, status.success_count, status.failure_count, status.pending_count) == ("complete", 2, 0, 0)
    assert sorted(each["name"] for each in picked.get_objects()["objects"]) == ["one", "other"]


def test_splunk_shows_its_analyst_why_not(splunk: ApiRoot) -> None:
    """C-SPL-2: failures carry plain words."""
    wrong = tool("wrong", modified="2026-01-01")
    status = own(splunk).add_objects(json.dumps(bundle(tool(), wrong)), wait_for_completion=True)

    assert (status.success_count, status.failure_count) == (1, 1)
    (failure,) = status.failures
    assert failure["id"] == wrong["id"]
    assert "modified" in failure["message"]


# ----------------------------------------------------------------------------------------------------------- OpenCTI


@pytest.mark.taxii("T-19", "A-3", "L-3")
@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_taxii_post_sends_an_object_a_request_as_stix(clerk: Asking, scheme: str) -> None:
    """C-OCTC-6: a blank in both media types, spec_version on the bundle, one POST for each event."""
    person = clerk.person
    pair = base64.b64encode(f"{person.key_id}:{person.secret}".encode()).decode()
    headers = {
        "Content-Type": "application/stix+json; version=2.1",
        "Accept": "application/taxii+json; version=2.1",
        "Authorization": f"Bearer {person.secret}" if scheme == "Bearer" else f"Basic {pair}",
    }
    events = [tool(str(n)) for n in range(25)]
    with httpx2.Client(base_url=str(clerk.http.base_url), trust_env=False, headers=headers) as http:
        for event in events:
            answer = http.post(clerk.shelf + "objects/", json=bundle(event, spec_version="2.1"))
            assert (answer.status_code, answer.json()["success_count"]) == (202, 1), answer.text

    assert clerk.objects() == events


# --------------------------------------------------------------------------------------------------------------- MISP


@pytest.fixture
def narrow_server(postgres: str, template: dict[str, Person]) -> Iterator[Running]:
    """A server that takes little at once."""
    with copied(postgres) as url, serving(url, max_content_length=MAX_CONTENT_LENGTH) as running:
        yield running


@pytest.fixture
def misp(narrow_server: Running, people: dict[str, Person]) -> Iterator[ApiRoot]:
    """C-MISP-1: key = base64(user:password), split at each «:»; URL = base URL, «/», API root."""
    person = people["franklin_submitter"]
    key = base64.b64encode(f"{person.key_id}:{person.secret}".encode())
    user, password = base64.b64decode(key).decode().split(":")
    with ApiRoot(f"{narrow_server.base}//elections/", user=user, password=password) as root:
        yield root


def cut(texts: list[str], max_bytes: int) -> Iterator[str]:
    """Envelopes of as many objects as fit, each filled up to the last byte with a longer name in its last object."""
    chosen: list[str] = []
    for text in [*texts, ""]:
        size = len(ENVELOPE) + sum(map(len, chosen)) + len(BETWEEN) * len(chosen) + len(text)
        if chosen and (size > max_bytes or not text):
            spare = max_bytes - len(ENVELOPE) - len(BETWEEN.join(chosen)) if text else 0
            chosen[-1] = chosen[-1].replace('"name": "', f'"name": "{"x" * spare}')
            yield ENVELOPE.replace("[]", f"[{BETWEEN.join(chosen)}]")
            chosen = []
        chosen.append(text)


@pytest.mark.taxii("L-1", "L-4")
def test_misp_fills_envelopes_to_the_last_byte(misp: ApiRoot) -> None:
    """C-MISP-2: cut exactly to max_content_length, and not waited for."""
    assert misp.max_content_length == MAX_CONTENT_LENGTH
    objects = [tool(str(n)) for n in range(250)]
    envelopes = list(cut([json.dumps(each) for each in objects], misp.max_content_length))
    assert len(envelopes) > 2
    assert {len(each) for each in envelopes[:-1]} == {MAX_CONTENT_LENGTH}
    shelf = own(misp)
    for envelope in envelopes:
        assert shelf.add_objects(envelope, wait_for_completion=False).failure_count == 0

    assert {each["id"] for each in shelf.get_objects(limit=1000)["objects"]} == {each["id"] for each in objects}


def test_misp_is_told_when_an_envelope_is_a_byte_too_long(narrow_server: Running, people: dict[str, Person]) -> None:
    person = people["franklin_submitter"]
    (envelope, *_) = cut([json.dumps(tool(str(n))) for n in range(150)], MAX_CONTENT_LENGTH + 1)
    with httpx2.Client(auth=(person.key_id, person.secret), trust_env=False) as http:
        answer = http.post(
            f"{narrow_server.base}//elections/collections/{person.collection}/objects/",
            content=envelope,
            headers={"Content-Type": TAXII},
        )

    assert len(envelope) == MAX_CONTENT_LENGTH + 1
    assert is_error(answer, 413)


def test_misp_sends_marking_definitions_without_modified(misp: ApiRoot) -> None:
    """C-MISP-2: written again by stix2, so with milliseconds, and what it marks beside it."""
    marking = {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9",
        "created": "2017-01-20T00:00:00.000Z",
        "definition_type": "tlp",
        "name": "TLP:WHITE",
        "definition": {"tlp": "white"},
    }
    marked = tool(object_marking_refs=[marking["id"]])
    status = own(misp).add_objects(json.dumps({"objects": [marking, marked]}), wait_for_completion=False)

    assert (status.success_count, status.failure_count, status.pending_count) == (2, 0, 0)


# ------------------------------------------------------------------------------------------------- before they read


@pytest.mark.taxii("A-2", "L-11")
def test_xsoar_falls_back_to_2_0_only_on_406(ask: Ask) -> None:
    """C-XSOAR-2, C-XSOAR-3: and it chooses a root by the last part of its path."""
    member = ask("franklin")

    assert member.get("/taxii2/", accept="application/vnd.oasis.taxii+json; version=2.0").status_code == 406
    (root,) = member.get("/taxii2/").json()["api_roots"]
    assert root.rstrip("/").split("/")[-1] == "elections"


@pytest.mark.taxii("L-11", "L-12")
def test_titles_are_what_products_can_choose_by(ask: Ask) -> None:
    """C-XSOAR-4, C-OCTC-1: no two alike, no «.» and no «,» in them; few, since some read all that they see."""
    for name in ("franklin", "ohio_analyst", "isac_steward", "stranger"):
        titles = [each["title"] for each in ask(name).get("/elections/collections/").json()["collections"]]

        assert len(set(titles)) == len(titles) <= 3
        assert not any("." in title or "," in title for title in titles)


def test_an_early_opencti_names_no_taxii_type(ask: Ask) -> None:
    """C-OCTI-1: before 5.10, with what its HTTP library sends by itself."""
    answer = ask("franklin").get("/taxii2/", accept="application/json, text/plain, */*")

    assert (answer.status_code, answer.headers["content-type"]) == (200, TAXII)
