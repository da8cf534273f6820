"""Every endpoint meets the wrong person. A route that is missing from `ENDPOINTS` fails the last test."""

import dataclasses
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import uvloop
from fastapi.routing import iter_route_contexts
from tests.conftest import Person, Running

from isac import times
from isac.app import create_app
from isac.policy.assets import Asset, Seen
from isac.stix.markings import TLP
from isac.stix.observables import Observable
from isac.store import alerts, assets, database, members
from isac.store.alerts import Cause

#: method and path → what a member of elsewhere gets: what is everybody's, or nothing of this county's
ENDPOINTS = {
    ("GET", "/taxii2/"): 200,
    ("GET", "/elections/"): 200,
    ("GET", "/elections/status/{status_id}/"): 404,
    ("GET", "/elections/collections/"): 200,
    ("GET", "/elections/collections/{collection}/"): 404,
    ("GET", "/elections/collections/{collection}/manifest/"): 404,
    ("GET", "/elections/collections/{collection}/objects/"): 404,
    ("POST", "/elections/collections/{collection}/objects/"): 404,
    ("GET", "/elections/collections/{collection}/objects/{stix_id}/"): 404,
    ("DELETE", "/elections/collections/{collection}/objects/{stix_id}/"): 404,
    ("GET", "/elections/collections/{collection}/objects/{stix_id}/versions/"): 404,
    ("GET", "/api/v1/openapi.json"): 200,
    ("POST", "/api/v1/submissions"): 404,
    ("GET", "/api/v1/submissions"): 200,
    ("GET", "/api/v1/submissions/{submission_id}"): 404,
    ("POST", "/api/v1/extract"): 200,
    ("GET", "/api/v1/assets"): 404,
    ("POST", "/api/v1/assets"): 404,
    ("DELETE", "/api/v1/assets/{asset_id}"): 404,
    ("GET", "/api/v1/alerts"): 404,
    ("GET", "/api/v1/alerts/{alert_id}"): 404,
    ("POST", "/api/v1/alerts/{alert_id}/acknowledgement"): 404,
    ("GET", "/metrics"): 404,
}
#: what says of nobody anything, and needs no key
OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
#: what is for those alone who may hand in; it writes nothing of anybody else's
SUBMITTING = [("POST", "/api/v1/submissions"), ("POST", "/api/v1/extract")]
#: what is for the county's own analysts and admins, and those above them
PRIVATE, REGISTERING = ("/api/v1/assets", "/api/v1/alerts"), ("POST", "/api/v1/assets")
ELSEWHERE = ["oak", "ohio", "cook", "cook_submitter", "stranger"]
TAXII, PROBLEM = "application/taxii+json;version=2.1", "application/problem+json"


@dataclasses.dataclass(frozen=True)
class There:
    """What stands in Elm County's collection."""

    http: httpx2.Client
    collection: str
    stix_id: str
    status_id: str
    #: code of the county's organization, an asset of its and an alert to it
    organization: str
    asset_id: str
    alert_id: str

    def ask(self, method: str, path: str, secret: str | None) -> httpx2.Response:
        values = {"collection": self.collection, "stix_id": self.stix_id, "status_id": self.status_id}
        values |= {"submission_id": self.status_id, "asset_id": self.asset_id, "alert_id": self.alert_id}
        body: dict[str, Any] = {}
        if path == "/api/v1/submissions" and method == "POST":
            body = {"content": json.dumps([TOOL]), "params": {"audience": self.collection}}
        elif path == "/api/v1/extract":
            body = {"content": b"hxxp://host-1[.]example"}
        elif path.startswith(PRIVATE):
            body = {"content": b"kind,value\nvendor,Example Systems\n"} if (method, path) == REGISTERING else {}
            body["params"] = {"organization": self.organization}
        elif method == "POST":
            body = {"json": {"objects": [TOOL]}, "headers": {"Content-Type": TAXII}}
        auth = ("x", secret) if secret is not None else httpx2.Auth()
        return self.http.request(method, path.format(**values), auth=auth, **body)

    def everything(self, person: Person) -> tuple[bytes, ...]:
        """All that a member of the county reads, byte by byte."""
        paths = [path for (method, path) in ENDPOINTS if method == "GET" and path != "/metrics"]
        paths = [path for path in paths if not path.startswith(PRIVATE)]  # not for its poller
        return tuple(self.ask("GET", path, person.secret).content for path in paths)


TOOL = {
    "type": "tool",
    "spec_version": "2.1",
    "id": f"tool--{uuid.uuid4()}",
    "created": "2026-01-01T00:00:00.000Z",
    "modified": "2026-01-01T00:00:00.000Z",
    "name": "a tool of Elm County's",
}


async def watch(url: str) -> tuple[str, str, str]:
    """Let the county register a domain, and something name it: the organization's code, the asset's and alert's ids."""
    async with database.pool(url, size=1) as pool, pool.connection() as conn, conn.transaction():
        owner = next(each for each in (await assets.by_code(conn)).values() if each.name == "Elm County Clerk")
        await assets.register(conn, owner, [Asset("domain", "elmcounty.example")], "test", times.now())
        matches = await assets.matching(conn, [Seen((Observable("domain-name", "elmcounty.example"),))])
        cause = Cause(TOOL["id"], "tool", TLP.GREEN, None)
        await alerts.write(conn, matches, {0: cause}, times.now())
        return owner.code, (await assets.listed(conn, owner))[0].id, (await alerts.page(conn, owner))[0].id


@pytest.fixture
def there(server: Running, database_url: str, people: dict[str, Person]) -> Iterator[There]:
    clerk = people["franklin_submitter"]
    with httpx2.Client(base_url=server.base, trust_env=False) as http:
        empty = There(http, clerk.collection, TOOL["id"], "", *uvloop.run(watch(database_url)))
        posted = empty.ask("POST", "/elections/collections/{collection}/objects/", clerk.secret).json()
        assert posted["success_count"] == 1
        yield dataclasses.replace(empty, status_id=posted["id"])


def without_id(answer: httpx2.Response) -> dict[str, object]:
    return {name: value for name, value in answer.json().items() if name != "error_id"}


@pytest.fixture
def revoked(database_url: str, people: dict[str, Person]) -> Person:
    """A key of the very county, which was taken back before anybody asked with it."""

    async def revoke(person: Person) -> None:
        async with database.pool(database_url, size=1) as pool, pool.connection() as conn:
            await members.revoke_key(conn, person.key_id, "test", times.now())

    uvloop.run(revoke(people["franklin_admin"]))
    return people["franklin_admin"]


@pytest.mark.taxii("T-3", "T-4", "T-6", "T-10")
def test_without_a_key_that_stands_there_is_only_401(there: There, people: dict[str, Person], revoked: Person) -> None:
    member = people["franklin"]
    before = there.everything(member)
    unknown = f"isac_{revoked.key_id}_{'x' * 43}"

    for endpoint in ENDPOINTS:
        told = without_id(there.ask(*endpoint, unknown))
        for secret in (None, "", "x", unknown, member.secret[:-1], member.secret + "x", member.key_id, revoked.secret):
            answer = there.ask(*endpoint, secret)

            assert (endpoint, answer.status_code) == (endpoint, 401)
            assert answer.headers["www-authenticate"].startswith("Basic ")
            assert answer.headers["content-type"] == (PROBLEM if endpoint[1].startswith("/api/") else TAXII)
            assert secret is None or without_id(answer) == told
    assert there.everything(member) == before


@pytest.mark.taxii("T-5", "T-10")
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_member_of_elsewhere_finds_nothing_of_this_county(there: There, people: dict[str, Person], name: str) -> None:
    before = there.everything(people["franklin"])
    nothing = dataclasses.replace(
        there,
        collection=str(uuid.uuid4()),
        status_id=str(uuid.uuid4()),
        stix_id=f"tool--{uuid.uuid4()}",
        organization="org-999999",
        asset_id=str(uuid.uuid4()),
        alert_id=str(uuid.uuid4()),
    )

    for endpoint, status in ENDPOINTS.items():
        if endpoint in SUBMITTING and not name.endswith("_submitter"):
            status = 403
        answer = there.ask(*endpoint, people[name].secret)

        assert (endpoint, answer.status_code) == (endpoint, status)
        assert "elm" not in answer.text.lower()
        assert there.collection not in answer.text
        if status == 404:
            assert without_id(answer) == without_id(nothing.ask(*endpoint, people[name].secret))
    assert there.everything(people["franklin"]) == before


def test_every_route_is_in_the_list() -> None:
    app = create_app(database_url="postgresql://nobody@nowhere.example/isac")
    routes = {
        (method, route.path)
        for route in iter_route_contexts(app.routes)
        for method in route.methods or {"every method"}
    }

    assert routes == set(ENDPOINTS) | OPEN
