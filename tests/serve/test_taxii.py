"""The TAXII 2.1 server as a client meets it: who asks, what there is, who sees what (T-…, A-… of the target)."""

import re
import socket
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient
from tests.conftest import Person, Running
from tests.serve.conftest import (
    TAXII,
    UNKNOWN,
    Ask,
    Asking,
    is_error,
    tool,
)

from isac import times
from isac.app import create_app

#: TLP:CLEAR, so that it may be given to the public
CLEAR = "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487"

# -------------------------------------------------------------------------------------------------- who asks, and where


@pytest.mark.taxii("T-14")
def test_t14_every_endpoint_is_there(clerk: Asking, paths: list[str]) -> None:
    assert [clerk.get(path).status_code for path in paths] == [200] * 9


@pytest.mark.taxii("T-16", "T-17", "L-2")
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


@pytest.mark.taxii("T-3", "A-23")
def test_t3_a23_without_a_key_every_method_is_401_with_a_challenge(clerk: Asking, paths: list[str]) -> None:
    """1.6.9: 401 and WWW-Authenticate. For what is not there, too: nobody probes without a key."""
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
    for path in [*paths, "/elections/nothing/", "/another-root/collections/", "/another-root/"]:
        for method in methods:
            answer = clerk.http.request(method, path, auth=httpx2.Auth())

            assert (method, path, answer.status_code) == (method, path, 401)
            assert answer.headers["www-authenticate"].startswith('Basic realm="')
            assert method == "HEAD" or is_error(answer, 401)


@pytest.mark.taxii("T-4")
def test_t4_a_request_without_a_key_is_401_before_anything_else_is_judged(clerk: Asking) -> None:
    answer = clerk.http.get(
        clerk.shelf + "objects/?limit=0",
        headers={"Accept": "application/taxii+json;version=2.0"},
        auth=httpx2.Auth(),
    )

    assert is_error(answer, 401)


@pytest.mark.taxii("T-2", "L-1")
def test_l1_the_same_key_in_every_way_and_under_any_user_name(clerk: Asking) -> None:
    secret = clerk.person.secret
    for headers in (
        {"Authorization": f"Bearer {secret}"},
        {"Authorization": f"bearer {secret}"},
        {"Authorization": f"Token {secret}"},
        {"X-API-Key": secret},
    ):
        assert clerk.http.get("/elections/", headers=headers, auth=httpx2.Auth()).status_code == 200
    assert clerk.http.get("/elections/", auth=("whoever", secret)).status_code == 200


@pytest.mark.taxii("T-8")
def test_t8_a_request_without_user_agent_is_served(server: Running, people: dict[str, Person]) -> None:
    address = urlsplit(server.base)
    request = (
        f"GET /elections/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {people['franklin'].secret}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(request.encode())
        with connection.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.taxii("T-12", "A-1", "L-4")
def test_t12_a1_l4_slashes_do_not_matter_and_nothing_redirects(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        wanted = clerk.get(path).json()
        for form in (path.rstrip("/"), path + "/", "/" + path, path.replace("/", "//")):
            url = clerk.http.base_url.copy_with(raw_path=form.encode())
            assert (form, clerk.http.get(url).json()) == (form, wanted)


@pytest.mark.taxii("A-1")
def test_a1_a_post_without_the_slash_is_taken(clerk: Asking) -> None:
    assert clerk.post(tool(), to="objects").status_code == 202


@pytest.mark.taxii("A-22")
def test_a22_head_is_get_without_its_body(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        got, head = clerk.get(path), clerk.request("HEAD", path)

        assert (head.status_code, head.content) == (200, b"")
        dropped = {"date"}
        assert {k: v for k, v in head.headers.items() if k not in dropped} == {
            k: v for k, v in got.headers.items() if k not in dropped
        }


@pytest.mark.taxii("A-22")
def test_a22_options_names_the_methods(clerk: Asking, paths: list[str]) -> None:
    allowed = {path: clerk.request("OPTIONS", path) for path in paths}

    assert {answer.status_code for answer in allowed.values()} == {204}
    assert [answer.headers["allow"] for answer in allowed.values()] == [
        *["GET, HEAD, OPTIONS"] * 6,
        "GET, HEAD, OPTIONS, POST",
        "DELETE, GET, HEAD, OPTIONS",
        "GET, HEAD, OPTIONS",
    ]


@pytest.mark.taxii("A-22")
def test_a22_other_methods_are_405_and_say_which_are_allowed(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        answer = clerk.request("PUT", path)

        assert is_error(answer, 405)
        assert answer.headers["allow"] == clerk.request("OPTIONS", path).headers["allow"]


@pytest.mark.taxii("A-23")
def test_a23_a_member_finds_nothing_in_an_unknown_root(clerk: Asking) -> None:
    assert is_error(clerk.get("/another-root/collections/"), 404)


@pytest.mark.taxii("T-19", "T-20")
def test_t19_t20_a_taxii_range_without_version_gets_2_1(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        assert clerk.get(path, accept="application/taxii+json").status_code == 200


@pytest.mark.taxii("T-34", "A-2", "L-3")
def test_a2_c_xsoar_2_other_versions_are_406(clerk: Asking, paths: list[str]) -> None:
    for path in paths:
        assert is_error(clerk.get(path, accept="application/vnd.oasis.taxii+json; version=2.0"), 406)


@pytest.mark.taxii("T-21", "A-2")
def test_a2_no_accept_at_all_is_served(clerk: Asking, paths: list[str]) -> None:
    del clerk.http.headers["accept"]

    assert {clerk.get(path).status_code for path in paths} == {200}


# ------------------------------------------------------------------------------------------------------ discovery, root


@pytest.mark.taxii("T-11", "T-37", "T-38")
def test_t11_t37_t38_discovery(clerk: Asking) -> None:
    found = clerk.get("/taxii2/").json()

    assert found["title"]
    assert found["api_roots"] == [found["default"]] == ["/elections/"]


@pytest.fixture
def open_house(database_url: str, people: dict[str, Person]) -> Iterator[TestClient]:
    """A server whose operator opened the public collection, with one object in it and one in Elm County's."""
    with TestClient(create_app(database_url=database_url, public=True)) as client:
        for person, code in (("isac_steward", "public"), ("franklin_submitter", "us-oh-39901")):
            key = {"X-API-Key": people[person].secret, "Content-Type": TAXII}
            body = {"objects": [tool(code, object_marking_refs=[CLEAR])]}
            posted = client.post(f"/elections/collections/{code}/objects/", json=body, headers=key)
            assert posted.json()["success_count"] == 1, posted.text
        yield client


def test_decision_23_without_a_key_there_is_nothing_unless_the_operator_opens_it(clerk: Asking) -> None:
    with httpx2.Client(base_url=clerk.http.base_url, trust_env=False) as nobody:
        for path in ("/taxii2/", "/elections/", "/elections/collections/", "/elections/collections/public/objects/"):
            assert is_error(nobody.get(path), 401)


@pytest.mark.taxii("T-2")
def test_decision_23_an_open_public_collection_is_read_without_a_key(open_house: TestClient) -> None:
    root = open_house.get("/taxii2/").json()["default"]
    assert open_house.get(root).json()["max_content_length"]
    (shelf,) = open_house.get(f"{root}collections/").json()["collections"]
    assert (shelf["alias"], shelf["can_read"], shelf["can_write"]) == ("public", True, False)
    here = f"{root}collections/{shelf['id']}/"
    shown = [each for each in open_house.get(f"{here}objects/").json()["objects"] if each["type"] == "tool"]
    assert [each["name"] for each in shown] == ["public"]
    for path in ("", "manifest/", f"objects/{shown[0]['id']}/", f"objects/{shown[0]['id']}/versions/"):
        assert open_house.get(here + path).status_code == 200
    assert open_house.get(f"{here}objects/{UNKNOWN}/").status_code == 404


def test_decision_23_everything_else_needs_a_key_there_too(open_house: TestClient, people: dict[str, Person]) -> None:
    root = "/elections/"
    others = [people["franklin"].collection, "us-oh-39901", "us", str(uuid.uuid4())]
    asked = [("GET", f"{root}collections/{other}/{path}") for other in others for path in ("", "manifest/", "objects/")]
    asked += [("GET", f"{root}status/{uuid.uuid4()}/"), ("GET", "/nowhere/"), ("PUT", root)]
    asked += [
        ("POST", f"{root}collections/public/objects/"),
        ("DELETE", f"{root}collections/public/objects/{UNKNOWN}/"),
    ]
    for method, path in asked:
        answer = open_house.request(method, path)
        assert (method, path, answer.status_code) == (method, path, 401)
        assert answer.headers["www-authenticate"].startswith("Basic ")
    for wrong in ("wrong", ""):
        assert open_house.get("/taxii2/", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
    county = open_house.get(f"{root}collections/us-oh-39901/objects/", headers={"X-API-Key": people["franklin"].secret})
    assert {each["name"] for each in county.json()["objects"] if each["type"] == "tool"} == {"public", "us-oh-39901"}


@pytest.mark.taxii("T-13", "T-39", "L-11")
def test_t13_t39_a_root_is_relative_and_answers(clerk: Asking) -> None:
    (root,) = clerk.get("/taxii2/").json()["api_roots"]

    assert re.fullmatch(r"/[a-z]+/", root)
    assert clerk.get(root).status_code == 200


@pytest.mark.taxii("T-40", "T-41")
def test_t40_t41_the_root_names_its_versions(clerk: Asking) -> None:
    found = clerk.get("/elections/").json()

    assert found["title"]
    assert "application/taxii+json;version=2.1" in found["versions"]
    assert found["max_content_length"] == 100 * 1024 * 1024


# ---------------------------------------------------------------------------------------------------------- collections


@pytest.mark.taxii("T-27", "T-43", "T-44", "T-45", "T-47", "A-32")
def test_t27_t43_t44_t45_t47_collections(clerk: Asking) -> None:
    found = clerk.get("/elections/collections/").json()["collections"]

    for each in found:
        assert uuid.UUID(each["id"]).version == 4
        assert each["title"]
        assert (each["can_read"], each["can_write"]) == (True, True)
        assert each["media_types"] == ["application/stix+json;version=2.1"]
    assert found == clerk.get("/elections/collections/").json()["collections"]


@pytest.mark.taxii("T-45")
def test_t45_a_poller_may_read_and_not_write(ask: Ask) -> None:
    found = ask("franklin").get("/elections/collections/").json()["collections"]

    assert {(each["can_read"], each["can_write"]) for each in found} == {(True, False)}


@pytest.mark.taxii("L-11")
def test_l11_titles_are_unique_and_clients_may_split_them(ask: Ask) -> None:
    shelves = [
        each
        for name in ("franklin", "cook", "isac_analyst", "stranger")
        for each in ask(name).get("/elections/collections/").json()["collections"]
    ]

    titles = {each["id"]: each["title"] for each in shelves}
    assert len(set(titles.values())) == len(titles)
    assert not [title for title in titles.values() if re.search("[.,]", title)]


@pytest.mark.taxii("T-46")
def test_t46_the_alias_stands_for_the_id_everywhere(clerk: Asking) -> None:
    one = tool()
    clerk.add(one)
    alias = clerk.get(clerk.shelf).json()["alias"]

    for rest in ("", "manifest/", "objects/", f"objects/{one['id']}/", f"objects/{one['id']}/versions/"):
        assert clerk.get(f"/elections/collections/{alias}/{rest}").json() == clerk.get(rest or clerk.shelf).json()


@pytest.mark.taxii("T-10", "T-48")
def test_t48_t10_a_collection_of_others_is_like_one_that_does_not_exist(ask: Ask) -> None:
    franklin, cook = ask("franklin"), ask("cook")

    def told(shelf: object, rest: str) -> tuple[int, dict[str, str]]:
        answer = franklin.get(f"/elections/collections/{shelf}/{rest}")
        return answer.status_code, {name: value for name, value in answer.json().items() if name != "error_id"}

    for rest in ("", "manifest/", "objects/", f"objects/{UNKNOWN}/", f"objects/{UNKNOWN}/versions/"):
        unknown = told(uuid.uuid4(), rest)
        assert unknown[0] == 404
        for shelf in (cook.person.collection, "us-il-17901", "no-such-alias", "%00"):
            assert told(shelf, rest) == unknown


# -------------------------------------------------------------------------------------------------------- who sees what


@pytest.mark.taxii("T-5", "T-10")
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


@pytest.mark.taxii("L-12")
def test_rule_7_what_the_nation_gets_every_county_gets_in_its_own_collection(ask: Ask) -> None:
    analyst = ask("isac_analyst")
    one = tool("for all")
    analyst.add(one, to=analyst.home + "objects/")

    for name in ("franklin", "oak", "cook", "ohio"):
        member = ask(name)
        assert member.names(f"{member.home}objects/{one['id']}/") == ["for all"]
    stranger = ask("stranger")
    assert stranger.get(f"{stranger.home}objects/{one['id']}/").status_code == 404


@pytest.mark.taxii("T-36")
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


@pytest.mark.taxii("T-4")
def test_a_revoked_key_is_refused_within_two_seconds(ask: Ask, revoke: Callable[[str], None]) -> None:
    poller = ask("franklin")
    assert poller.get("objects/").status_code == 200
    revoke(poller.person.key_id)
    begun = times.now()

    while poller.get("objects/").status_code == 200:
        assert times.now() - begun < timedelta(seconds=2)
    assert is_error(poller.get("objects/"), 401)


@pytest.mark.taxii("T-26")
def test_date_added_is_read_by_python(clerk: Asking) -> None:
    clerk.add(tool())

    assert isinstance(datetime.fromisoformat(clerk.objects("manifest/")[0]["date_added"]), datetime)
