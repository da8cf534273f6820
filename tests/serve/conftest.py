"""A person at the server, and objects that name nobody and nothing real."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx2
import pytest
import uvloop
from tests.conftest import Person, Running

from isac import times
from isac.store import database, members

TAXII = "application/taxii+json;version=2.1"
JANUARY = "2026-01-01T00:00:00.000Z"


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
        return self.http.get(self._at(path), params=query or {}, headers=headers)

    def request(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return self.http.request(method, self._at(path), **more)

    def post(self, *objects: dict[str, Any], to: str = "objects/", content_type: str = TAXII) -> httpx2.Response:
        return self.http.post(self._at(to), json={"objects": objects}, headers={"Content-Type": content_type})

    def add(self, *objects: dict[str, Any], to: str = "objects/") -> None:
        """Post objects, each of which must be taken."""
        answer = self.post(*objects, to=to)
        assert answer.json().get("success_count") == len(objects), answer.text

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


@pytest.fixture
def clerk(ask: Callable[[str], Asking]) -> Asking:
    """Somebody who may read and write; the shelf is its organization's."""
    return ask("franklin_submitter")


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


@pytest.fixture
def revoke(database_url: str) -> Callable[[str], None]:
    """Revoke a key, as an operator on its own machine does."""

    async def at_once(key_id: str) -> None:
        async with database.pool(database_url, size=1) as pool, pool.connection() as conn:
            await members.revoke_key(conn, key_id, "test", times.now())

    return lambda key_id: uvloop.run(at_once(key_id))
