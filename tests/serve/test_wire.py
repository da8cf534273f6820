"""Media types, resources, errors and the door, without a database."""

import json
import logging
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.testclient import TestClient
from starlette.datastructures import Headers

from isac.app import create_app
from isac.errors import Forbidden, IsacError, NotFound, Surroundings, TooLarge, Unauthorized
from isac.policy.actors import Actor, Audience, Role, scope_of
from isac.serve import access, taxii, wire
from isac.serve.access import Anyone, Member
from isac.store.members import Collection
from isac.store.objects import Manifest, Page, Record
from isac.store.submissions import Status

ELECTION_DAY = datetime(2026, 11, 3, 6, 30, tzinfo=UTC)
NEXT_DAY = ELECTION_DAY + timedelta(days=1)


def body(answer: Response) -> object:
    return json.loads(bytes(answer.body))


# ------------------------------------------------------------------------------------------------------- media types


@pytest.mark.taxii("T-19", "T-24")
@pytest.mark.parametrize(
    "accept",
    [
        "application/taxii+json;version=2.1",
        "application/taxii+json; version=2.1",
        "application/taxii+json ; version = 2.1",
        'application/taxii+json;version="2.1"',
        "Application/TAXII+JSON;Version=2.1",
        "application/taxii+json",
        "application/taxii+json;q=0.5",
        "application/taxii+json;version=2.1;q=0.001",
        "application/taxii+json;version=2.1, application/stix+json;version=2.1",
        "text/html, application/taxii+json;version=2.1;q=0.1",
        "application/taxii+json;version=2.0, application/taxii+json;version=2.1",
        'text/x;a="1,2", application/taxii+json',
    ],
)
def test_3_1_t19_t24_no_406_for_a_taxii_range(accept: str) -> None:
    assert wire.accepts(accept)


@pytest.mark.taxii("T-21", "A-2")
@pytest.mark.parametrize(
    "accept",
    [
        "",
        " ",
        "*/*",
        "application/*",
        "application/json",
        "application/json, text/plain, */*",
        "text/html",
        "application/stix+json;version=2.1",
        "application/taxii+json;version=2.0, */*;q=0.1",
        "zzz",
        ",,;;",
    ],
)
def test_t21_a2_what_products_send_without_thinking_is_served(accept: str) -> None:
    assert wire.accepts(accept)


@pytest.mark.taxii("T-23", "A-2")
@pytest.mark.parametrize(
    "accept",
    [
        "application/taxii+json;version=2.0",
        "application/vnd.oasis.taxii+json",
        "application/vnd.oasis.taxii+json; version=2.0",
        "application/taxii+json;version=3.0, application/vnd.oasis.taxii+json;version=2.0",
        "application/taxii+json;q=0",
        "application/taxii+json;version=2.1;q=0.0",
        "application/taxii+json;version=2.1;q=0, */*",
        "*/*;q=0",
    ],
)
def test_a2_t23_other_versions_of_taxii_and_q_0_are_not_acceptable(accept: str) -> None:
    assert not wire.accepts(accept)


@pytest.mark.taxii("T-22", "A-3")
@pytest.mark.parametrize(
    "content_type",
    [
        "application/taxii+json;version=2.1",
        "application/taxii+json; version=2.1",
        'Application/Taxii+Json; version="2.1"; charset=utf-8',
        "application/taxii+json",
        "application/stix+json;version=2.1",
        "application/stix+json",
        "application/json",
        "application/json; charset=utf-8",
    ],
)
def test_t22_a3_bodies_that_are_read(content_type: str) -> None:
    assert wire.is_stix_content(content_type)


@pytest.mark.taxii("A-3")
@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/taxii+json;version=2.0",
        "application/vnd.oasis.stix+json; version=2.0",
        "application/xml",
        "application/x-www-form-urlencoded",
    ],
)
def test_a3_bodies_that_are_not(content_type: str) -> None:
    assert not wire.is_stix_content(content_type)


# --------------------------------------------------------------------------------------------------------- resources


@pytest.mark.taxii("T-71")
def test_3_7_an_envelope_holds_the_objects_own_bytes() -> None:
    pieces = [b'{"type" : "tool","name":"caf\\u00e9"}', b'{ "n":1.0 }']

    answer = wire.envelope(Page(pieces, ELECTION_DAY, NEXT_DAY, False), None, None)

    assert answer.body == b'{"objects":[{"type" : "tool","name":"caf\\u00e9"},{ "n":1.0 }]}'


@pytest.mark.taxii("T-66")
def test_3_7_more_and_next_come_together() -> None:
    answer = wire.envelope(Page([b"{}"], ELECTION_DAY, NEXT_DAY, True), "abc", None)

    assert answer.body == b'{"more":true,"next":"abc","objects":[{}]}'


@pytest.mark.taxii("T-28", "T-70")
def test_t28_t70_an_empty_envelope_is_an_empty_object() -> None:
    assert wire.envelope(Page([], None, None, False), None, None).body == b"{}"


@pytest.mark.taxii("T-72", "T-75")
def test_t72_t75_empty_manifests_and_versions_are_empty_objects() -> None:
    nothing = Manifest([], None, None, False)

    assert wire.manifest(nothing, None, None).body == b"{}"
    assert wire.versions(nothing, None, None).body == b"{}"


@pytest.mark.taxii("T-73")
def test_5_3_1_a_manifest_record() -> None:
    record = Record("tool--1", ELECTION_DAY, "2026-11-03T06:30:00.1Z")

    answer = wire.manifest(Manifest([record], ELECTION_DAY, ELECTION_DAY, True), "abc", None)

    assert body(answer) == {
        "more": True,
        "next": "abc",
        "objects": [
            {
                "id": "tool--1",
                "date_added": "2026-11-03T06:30:00.000000Z",
                "version": "2026-11-03T06:30:00.1Z",
                "media_type": "application/stix+json;version=2.1",
            }
        ],
    }


@pytest.mark.taxii("T-75")
def test_5_8_1_a_versions_resource() -> None:
    records = [
        Record("tool--1", NEXT_DAY, "2026-01-01T00:00:00Z"),
        Record("tool--1", ELECTION_DAY, "2026-01-02T00:00:00Z"),
    ]

    answer = wire.versions(Manifest(records, ELECTION_DAY, NEXT_DAY, False), None, None)

    assert body(answer) == {"versions": ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]}


@pytest.mark.taxii("T-26", "T-69")
def test_t26_t69_dates_have_six_digits() -> None:
    answer = wire.envelope(Page([b"{}"], ELECTION_DAY, NEXT_DAY, False), None, (ELECTION_DAY, NEXT_DAY))

    assert answer.headers["x-taxii-date-added-first"] == "2026-11-03T06:30:00.000000Z"
    assert answer.headers["x-taxii-date-added-last"] == "2026-11-04T06:30:00.000000Z"


@pytest.mark.taxii("T-17")
def test_t17_every_answer_names_type_and_version() -> None:
    for answer in (wire.nothing(), wire.resource({}), wire.envelope(Page([], None, None, False), None, None)):
        assert answer.headers["content-type"] == "application/taxii+json;version=2.1"


@pytest.mark.taxii("T-89")
def test_4_3_a_status_leaves_out_lists_that_are_not_whole() -> None:
    found = Status("1", False, ELECTION_DAY, 3, 1, 1, 1, [{"id": "tool--1", "version": "x"}], None, [])

    assert body(wire.status(found)) == {
        "id": "1",
        "status": "pending",
        "request_timestamp": "2026-11-03T06:30:00.000000Z",
        "total_count": 3,
        "success_count": 1,
        "successes": [{"id": "tool--1", "version": "x"}],
        "failure_count": 1,
        "pending_count": 1,
    }


@pytest.mark.taxii("T-45")
@pytest.mark.parametrize(("role", "can_write"), [(Role.POLLER, False), (Role.SUBMITTER, True), (Role.ANALYST, True)])
def test_t45_a_collection_says_what_this_client_may_do(role: Role, can_write: bool) -> None:
    county = Audience(3, "local", (1, 2, 3), "us-oh-39901")
    home = scope_of(role, county, frozenset(), 9)
    member = Actor(1, "abcdefgh", 1, "identity--1", role, county.pk, 9, frozenset(), home)

    found = wire.collection(Collection(5, "id", "us-oh-39901", "Elm County", "", (county,)), member)

    assert found == {
        "id": "id",
        "title": "Elm County",
        "alias": "us-oh-39901",
        "can_read": True,
        "can_write": can_write,
        "media_types": ["application/stix+json;version=2.1"],
    }


# ------------------------------------------------------------------------------------------------------------ errors


async def _fail(request: Request) -> Response:
    error: Exception = request.app.state.error
    raise error


async def _seen(request: Request) -> Response:
    return wire.resource({"path": request.scope["path"], "method": request.method})


def failing(error: Exception) -> TestClient:
    app = FastAPI(openapi_url=None)
    app.state.error = error
    app.add_route("/fail/", _fail)
    app.add_route("/{rest:path}", _seen)
    app.add_middleware(wire.Door, roots=("/taxii2/",))
    for kind in (IsacError, Exception):
        app.add_exception_handler(kind, wire.render)
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.taxii("T-32")
def test_3_6_an_error_is_the_error_resource() -> None:
    answer = failing(NotFound("No such collection.")).get("/fail/")

    error = answer.json()
    assert answer.status_code == 404
    assert uuid.UUID(error.pop("error_id"))
    assert error == {"title": "No such resource", "description": "No such collection.", "http_status": "404"}


@pytest.mark.taxii("T-17", "T-31", "T-32", "A-27")
@pytest.mark.parametrize(
    ("error", "status"), [(Forbidden("x"), 403), (TooLarge("x"), 413), (Surroundings("x"), 503), (ValueError("x"), 500)]
)
def test_t17_t31_t32_a27_every_error_has_our_type_and_shape(error: Exception, status: int) -> None:
    answer = failing(error).get("/fail/")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/taxii+json;version=2.1"
    assert answer.json()["http_status"] == str(status)
    assert answer.json()["title"]


@pytest.mark.taxii("L-18")
def test_l18_what_passes_says_when_to_come_back() -> None:
    assert failing(Surroundings("The database does not answer.")).get("/fail/").headers["retry-after"]


@pytest.mark.taxii("T-10")
def test_t10_an_unforeseen_error_shows_its_id_and_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="isac"):
        answer = failing(RuntimeError("SELECT secret FROM somewhere")).get("/fail/")

    error = answer.json()
    assert error.keys() == {"title", "error_id", "http_status"}
    assert error["title"] == "Internal error"
    (line,) = [record for record in caplog.records if record.name == "isac.serve.wire"]
    assert line.__dict__["error_id"] == error["error_id"]
    assert line.exc_info


def test_a_refusal_is_logged_with_its_id_and_its_fields_are_json(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="isac"):
        answer = failing(Forbidden("Not here.")).get("/fail/")

    (line,) = [record for record in caplog.records if record.name == "isac.serve.wire"]
    fields = {name: line.__dict__[name] for name in ("error_id", "status", "method", "path", "actor", "reason")}
    assert json.loads(json.dumps(fields)) == {
        "error_id": answer.json()["error_id"],
        "status": 403,
        "method": "GET",
        "path": "/fail/",
        "actor": None,
        "reason": "Forbidden: Not here.",
    }


# -------------------------------------------------------------------------------------------------------------- door


@pytest.mark.taxii("A-1", "L-4")
@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/taxii2/", "/taxii2/"),
        ("/taxii2", "/taxii2/"),
        ("/taxii2//x///y", "/taxii2/x/y/"),
        ("//taxii2/", "/taxii2/"),
        ("/taxii2/x%00y/", "/taxii2/x\ufffdy/"),
        ("/elsewhere", "/elsewhere"),
        ("/taxii22", "/taxii22"),
    ],
)
def test_a1_l4_one_form_of_each_path(path: str, seen: str) -> None:
    client = failing(NotFound(""))

    assert client.get(client.base_url.copy_with(raw_path=path.encode())).json()["path"] == seen


# ------------------------------------------------------------------------------------------------------------ access


@pytest.mark.taxii("L-1")
@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({}, None),
        ({"authorization": "Basic YW55Ym9keTppc2FjX2s="}, "isac_k"),
        ({"authorization": "basic OmlzYWNfaw=="}, "isac_k"),
        ({"authorization": "Basic YW55Ym9keTppc2FjOms="}, "isac:k"),
        ({"authorization": "Basic YW55Ym9keQ=="}, ""),
        ({"authorization": "Bearer isac_k"}, "isac_k"),
        ({"authorization": "bearer  isac_k"}, "isac_k"),
        ({"authorization": "Token isac_k"}, "isac_k"),
        ({"x-api-key": "isac_k"}, "isac_k"),
        ({"authorization": "Bearer isac_k", "x-api-key": "other"}, "isac_k"),
        ({"authorization": "Negotiate YII=", "x-api-key": "isac_k"}, "isac_k"),
        ({"authorization": "Negotiate YII="}, None),
    ],
)
def test_l1_one_secret_in_whichever_way_a_product_can_send_it(headers: dict[str, str], secret: str | None) -> None:
    assert access.secret_in(Headers(headers)) == secret


@pytest.mark.taxii("T-3")
@pytest.mark.parametrize("rest", ["%%%", "YQ", "YTr/"])
def test_t3_a_malformed_basic_is_no_credential(rest: str) -> None:
    with pytest.raises(Unauthorized):
        access.secret_in(Headers({"authorization": f"Basic {rest}"}))


def application() -> FastAPI:
    return create_app(database_url="postgresql://nobody@nowhere.example/isac")


def test_every_route_says_who_may_call_it() -> None:
    access.require_access(application().routes)


async def _open() -> None: ...


async def _for_members(member: Member) -> None: ...


async def _for_anyone(anyone: Anyone) -> None: ...


def test_a_route_without_access_keeps_the_server_from_starting() -> None:
    app = application()
    app.add_api_route("/open/", _open)

    with pytest.raises(RuntimeError, match="/open/"), TestClient(app):
        pass


def test_a_route_without_access_is_found_in_an_included_router_and_in_a_mount() -> None:
    router = APIRouter(prefix="/inner")
    router.add_api_route("/open/", _open)
    including, mounting = application(), application()
    including.include_router(router)
    mounting.mount("/mounted", FastAPI())

    for app, path in ((including, "/inner/open/"), (mounting, "/mounted")):
        with pytest.raises(RuntimeError, match=path):
            access.require_access(app.routes)


def test_what_a_router_asks_of_all_requests_does_not_say_who_may_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taxii.root, "routes", [*taxii.root.routes])
    taxii.root.add_api_route("/open/", _open)

    with pytest.raises(RuntimeError, match="/elections/open/"), TestClient(application()):
        pass


def test_a_route_with_access_may_stand() -> None:
    app = application()
    app.add_api_route("/members/", _for_members)
    app.add_api_route("/anyone/", _for_anyone)

    access.require_access(app.routes)
