"""A person at the server, two servers that should say the same, and objects that name nobody and nothing real."""

import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psycopg
import pytest
import uvloop
from starlette.types import Receive, Scope, Send
from tests.conftest import Person, Running, copied, serving
from tests.serve.api_world import World

from isac import times
from isac.serve.access import Site
from isac.serve.fast import Meaning
from isac.serve.pages import Answer
from isac.store import database, members

TAXII = "application/taxii+json;version=2.1"
JANUARY, FEBRUARY, MARCH = (f"2026-0{month}-01T00:00:00.000Z" for month in (1, 2, 3))
#: what a timestamp of TAXII looks like
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
#: an id that nothing has
UNKNOWN = "tool--00000000-0000-4000-8000-000000000000"


class Asking:
    """A person who asks; paths without a leading slash are below `shelf`, which is empty when the test begins."""

    def __init__(self, server: Running, person: Person) -> None:
        self.person = person
        self.http = httpx2.Client(
            base_url=server.base,
            auth=(person.key_id, person.secret),
            headers={"Accept": TAXII},
            # A proxy of whoever runs the tests is none of theirs.
            trust_env=False,
        )
        self.root = server.root
        self.home = f"{server.root}collections/{person.collection}/"
        shelves = self.get(f"{server.root}collections/").json()["collections"]
        (own,) = [each["id"] for each in shelves if each["alias"].startswith("org-")]
        self.shelf = f"{server.root}collections/{own}/"

    def get(self, path: str, query: dict[str, Any] | None = None, **headers: str) -> httpx2.Response:
        return self.http.get(self._at(path), params=query or None, headers=headers)

    def request(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return self.http.request(method, self._at(path), **more)

    def post(self, *objects: dict[str, Any], to: str = "objects/", content_type: str = TAXII) -> httpx2.Response:
        return self.http.post(self._at(to), json={"objects": objects}, headers={"Content-Type": content_type})

    def add(self, *objects: dict[str, Any], to: str = "objects/") -> None:
        """Post objects one after the other, so that they have this order; each must be taken."""
        for each in objects:
            answer = self.post(each, to=to)
            assert answer.json().get("success_count") == 1, answer.text

    def add_many(self, *names: str) -> None:
        """Post objects at one go, in no order."""
        answer = self.post(*(mutex(name) for name in names))
        assert answer.json().get("success_count") == len(names), answer.text

    def objects(self, path: str = "objects/", **query: Any) -> list[dict[str, Any]]:
        answer = self.get(path, query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json().get("objects", [])
        return found

    def names(self, path: str = "objects/", **query: Any) -> list[str]:
        return [found["name"] for found in self.objects(path, **query)]

    def pages(self, path: str, member: str = "objects", **query: Any) -> Iterator[list[Any]]:
        """All pages, by `next` alone and the same other parameters."""
        while True:
            answer = self.get(path, query).json()
            yield answer.get(member, [])
            if not answer.get("more"):
                return
            assert answer["next"] != query.get("next"), "next leads in a circle"
            query["next"] = answer["next"]

    def _at(self, path: str) -> str:
        return path if path.startswith("/") else self.shelf + path


@pytest.fixture
def ask(server: Running, people: dict[str, Person]) -> Iterator[Callable[[str], Asking]]:
    """`ask("franklin")` is that person at the server."""
    everybody: list[Asking] = []

    def somebody(name: str) -> Asking:
        everybody.append(Asking(server, people[name]))
        return everybody[-1]

    yield somebody
    for each in everybody:
        each.http.close()


Ask = Callable[[str], Asking]


#: headers that say when, not what
_OF_THE_MOMENT = {"date"}


@dataclass
class Both:
    """Two servers on one database: one answers from memory what it can, one never does."""

    url: str
    fast: serving
    base: str
    whole_base: str
    #: requests of the fast one that memory did not answer, and all
    whole: int = 0
    asked: int = 0
    dates: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    http: httpx2.Client = field(default_factory=lambda: httpx2.Client(trust_env=False))
    clerks: list[Asking] = field(default_factory=list)

    @property
    def here(self) -> Site:
        """What the fast one knows."""
        found = self.fast.app.fast.here
        assert found is not None, "it is not up"
        return found

    def clerk(self, person: Person, base: str = "") -> Asking:
        self.clerks.append(Asking(Running(base or self.base), person))
        return self.clerks[-1]

    def settled(self) -> None:
        """Wait until the fast one has seen all that is in the log."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            ((head,),) = conn.execute("SELECT seq FROM elections.head").fetchall()
        until = time.monotonic() + 10
        while self.here.follower.seq < head:
            assert time.monotonic() < until, "the follower does not follow"
            time.sleep(0.002)

    def ask(
        self, base: str, person: Person, path: str, query: dict[str, Any], method: str = "GET", **headers: str
    ) -> tuple[Any, ...]:
        asked = {"Accept-Encoding": "identity", **headers}
        auth = (person.key_id, person.secret)
        found = self.http.request(method, base + path, params=query, headers=asked, auth=auth)
        told = {name: value for name, value in found.headers.items() if name not in _OF_THE_MOMENT}
        return found.status_code, told, found.content

    def agree(self, person: Person, path: str, query: dict[str, Any], **headers: str) -> tuple[Any, ...]:
        """The same answer from both, from the fast one also when it is asked again; HEAD says what GET says."""
        expected = self.ask(self.whole_base, person, path, query, **headers)
        for _ in range(2):
            self.asked += 1
            assert self.ask(self.base, person, path, query, **headers) == expected
        head = self.ask(self.base, person, path, query, "HEAD", **headers)
        assert head == self.ask(self.whole_base, person, path, query, "HEAD", **headers)
        assert head == (*expected[:2], b"")
        return expected


@pytest.fixture
def both(postgres: str, template: dict[str, Person]) -> Iterator[Both]:
    assert template
    with copied(postgres) as url:
        fast, whole = serving(url), serving(url)
        with fast as running, whole as other:
            whole.app.fast.here = None
            made = Both(url, fast, running.base, other.base)
            way = fast.app.fast._whole

            async def counting(scope: Scope, receive: Receive, send: Send) -> None:
                made.whole += scope["type"] == "http" and scope["method"] == "GET"
                await way(scope, receive, send)

            async def reading(here: Site, meaning: Meaning) -> Answer | None:
                made.whole += 1
                return await read(here, meaning)

            fast.app.fast._whole, read = counting, fast.app.fast._read
            fast.app.fast._read = reading  # type: ignore[method-assign]
            yield made
            for each in (made.http, *(clerk.http for clerk in made.clerks)):
                each.close()


@pytest.fixture
def clerk(ask: Ask) -> Asking:
    """Somebody who may read and write; the shelf is its organization's."""
    return ask("franklin_submitter")


@pytest.fixture
def three(clerk: Asking) -> dict[str, Any]:
    """One object in three versions, which came in order; its name is its `modified`."""
    versions = versions_of(tool(), JANUARY, FEBRUARY, MARCH)
    clerk.add(*versions)
    return versions[0]


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


def tool(name: str = "a tool", modified: str = JANUARY, **more: Any) -> dict[str, Any]:
    """An object with versions; two with one `id` and different `modified` are versions of one."""
    return {
        "type": "tool",
        "spec_version": "2.1",
        "id": f"tool--{uuid.uuid4()}",
        "created": JANUARY,
        "modified": modified,
        "name": name,
        **more,
    }


def tools(*names: str) -> Sequence[dict[str, Any]]:
    return [tool(name) for name in names]


def versions_of(one: dict[str, Any], *modified: str) -> list[dict[str, Any]]:
    """Versions of one object, named by their `modified`."""
    return [{**one, "modified": each, "name": each} for each in modified]


def mutex(name: str = "a mutex") -> dict[str, Any]:
    """An object without versions."""
    return {"type": "mutex", "spec_version": "2.1", "id": f"mutex--{uuid.uuid4()}", "name": name}


def is_error(answer: httpx2.Response, status: int) -> bool:
    """TAXII's error resource, of this status, in our media type?"""
    error = answer.json()
    named = error["http_status"] == str(status) and bool(error["title"]) and bool(uuid.UUID(error["error_id"]))
    return answer.status_code == status and answer.headers["content-type"] == TAXII and named


def date_added(clerk: Asking, stix_id: str) -> str:
    (record,) = clerk.objects("manifest/", **{"match[id]": stix_id})
    return str(record["date_added"])


@pytest.fixture
def revoke(database_url: str) -> Callable[[str], None]:
    """Revoke a key, as an operator on its own machine does."""

    async def at_once(key_id: str) -> None:
        async with database.pool(database_url, size=1) as pool, pool.connection() as conn:
            await members.revoke_key(conn, key_id, "test", times.now())

    return lambda key_id: uvloop.run(at_once(key_id))


@pytest.fixture(scope="module")
def world(postgres: str, template: dict[str, Person]) -> Iterator[World]:
    """The tests of a file share a server, so each names what nobody has named."""
    with copied(postgres) as url, serving(url, samples=True) as server:
        found = World(url, server, template)
        yield found
        found.close()
