"""Who asks too often, and who tries keys: what they are told, and what they cost."""

import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import uvloop
from tests.conftest import Person, serving
from tests.serve.conftest import is_error

from isac import times
from isac.policy.actors import Role
from isac.serve import fast
from isac.serve.access import Site
from isac.store import database, members
from isac.store.members import NewKey


class Limited:
    """A server that counts requests, and a connection to it that brings no key by itself."""

    def __init__(self, server: serving, base: str) -> None:
        self.server = server
        self.http = httpx2.Client(base_url=base, trust_env=False)

    @property
    def here(self) -> Site:
        found = self.server.app.fast.here
        assert found is not None
        return found

    def connections(self) -> int:
        """How often a connection was taken from the pool."""
        return int(self.here.pool.get_stats()["requests_num"])


@pytest.fixture
def limited(database_url: str) -> Iterator[Limited]:
    server = serving(database_url, limited=True)
    with server as running:
        found = Limited(server, running.base)
        yield found
        found.http.close()


def shelf(person: Person) -> str:
    return f"/elections/collections/{person.collection}/objects/"


@pytest.mark.taxii("L-18")
def test_who_asks_too_often_is_told_when_to_come_back(limited: Limited, people: dict[str, Person]) -> None:
    franklin, oak = ((people[name].key_id, people[name].secret) for name in ("franklin", "oak"))
    answer, taken = limited.http.get(shelf(people["franklin"]), params={"limit": 1}, auth=franklin), 0
    while answer.status_code == 200 and taken < 10_000:  # a slow machine gets tokens meanwhile
        answer = limited.http.get(shelf(people["franklin"]), params={"limit": 1}, auth=franklin)
        taken += 1

    assert taken >= 500
    assert is_error(answer, 429)
    assert int(answer.headers["Retry-After"]) >= 1
    assert limited.http.get("/elections/", auth=oak).status_code == 200


def test_a_wrong_key_is_slowed_down_and_a_good_one_beside_it_is_not(
    limited: Limited, people: dict[str, Person]
) -> None:
    http, person = limited.http, people["franklin"]
    wrong = [http.get("/elections/", auth=("", f"{person.secret}x")).status_code for _ in range(30)]
    without = [http.get("/elections/").status_code for _ in range(30)]
    good = http.get("/elections/", auth=("", person.secret)).status_code

    assert wrong[:20] == [401] * 20
    assert wrong[-1] == 429
    assert without == [401] * 30
    assert good == 200


@pytest.mark.parametrize("path", ["/elections/", "objects"])
def test_guesses_cost_the_database_no_more_than_they_may(
    limited: Limited, people: dict[str, Person], path: str
) -> None:
    person, told = people["franklin"], Counter[int]()
    place = shelf(person) if path == "objects" else path
    before = limited.connections()
    for number in range(60):
        secret = f"{person.secret[:-4]}{number:04}"
        told[limited.http.get(place, headers={"Authorization": f"Bearer {secret}"}).status_code] += 1
    costs = limited.connections() - before

    assert told.keys() == {401, 429}
    assert costs <= told[401] + 2, "one each, and none for the others"


def test_what_has_no_form_of_a_secret_costs_the_database_nothing(limited: Limited, people: dict[str, Person]) -> None:
    before = limited.connections()
    for secret in ("x", people["franklin"].secret[:-1], "isac_", "", "\u00fc" * 57) * 2:
        assert is_error(limited.http.get(shelf(people["franklin"]), auth=("", secret)), 401)

    assert limited.connections() - before <= 1


def test_a_key_that_was_made_just_now_works_at_once(
    limited: Limited, database_url: str, people: dict[str, Person]
) -> None:
    async def made() -> NewKey:
        async with database.pool(database_url, size=1) as pool, pool.connection() as conn:
            organization = (await members.keyholder(conn, people["franklin"].key_id)).organization
            (key,) = await members.create_keys(conn, {organization: Role.POLLER}, "test", times.now())
            return key

    for _ in range(10):
        limited.http.get("/elections/", auth=("", f"isac_{'x' * 8}_{'x' * 43}"))
    for _ in range(5):
        key = uvloop.run(made())
        assert limited.http.get(shelf(people["franklin"]), auth=("", key.secret)).status_code == 200


def test_a_request_is_counted_once_whichever_way_it_goes(
    limited: Limited, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, person = limited.here.limits, people["franklin_submitter"]
    assert limits is not None
    counted, take = list[Any](), limits.take

    def counting(*asked: Any) -> float:
        counted.append(asked)
        return take(*asked)

    monkeypatch.setattr(limits, "take", counting)
    auth = person.key_id, person.secret
    (own,) = [
        each["id"]
        for each in limited.http.get("/elections/collections/", auth=auth).json()["collections"]
        if each["alias"].startswith("org-")
    ]
    place = f"/elections/collections/{own}/objects/"
    body = {"objects": [{"type": "mutex", "spec_version": "2.1", "id": f"mutex--{uuid.uuid4()}", "name": "m"}]}
    headers = {"Content-Type": "application/taxii+json;version=2.1"}
    assert limited.http.post(place, json=body, headers=headers, auth=auth).status_code == 202
    for reads in (0, 100):
        monkeypatch.setattr(fast, "_READS", reads)
        for path, query in (
            (place, {}),
            (place, {"match[version]": "all", "limit": "7"}),
            (place, {"limit": "x"}),
            (place.replace("objects/", "manifest/"), {}),
            ("/elections/nothing/", {}),
        ):
            counted.clear()
            limited.http.get(path, params=query, auth=auth)
            assert len(counted) == 1, path
