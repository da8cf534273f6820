"""What is answered from memory is what the whole way answers, byte for byte, whatever happens to the log."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2
import psycopg
import pytest
import uvloop
from tests.clients.writers import Journal, Member, Stewards
from tests.conftest import Person
from tests.serve.conftest import TAXII, Asking, Both, mutex, tool, versions_of

from isac import times
from isac.store import database, facts, members
from isac.store import follower as follower_module


class Baton:
    """Writers take turns, one deed each; before each of them, with nobody at work, somebody may look."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look, self._lock = look, threading.Lock()

    def run(self, writer: Member | Stewards) -> None:
        self._lock.acquire()
        try:
            writer.work(self._turn)
        finally:
            self._lock.release()

    def _turn(self, _: int) -> None:
        self._lock.release()
        time.sleep(0.001)
        self._lock.acquire()
        self._look()


@pytest.mark.taxii("T-52", "T-65", "T-66", "T-69")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_memory_says_what_the_whole_way_says(both: Both, people: dict[str, Person], seed: int) -> None:
    dice = random.Random(seed)
    journal = Journal()
    ohio, county, cook = (people[name].collection for name in ("ohio", "franklin", "cook"))
    readers = [
        (people["franklin"], county),
        (people["franklin_submitter"], county),
        (people["ohio"], ohio),
        (people["cook"], cook),
        (people["isac_steward"], ohio),
    ]

    def look() -> None:
        if dice.random() < 0.3:
            return
        both.settled()
        for _ in range(3):
            person, shelf = dice.choice(readers)
            path = f"/elections/collections/{shelf}/objects/"
            status, headers, content = both.agree(person, path, _question(dice, both))
            if "etag" in headers:
                again = both.agree(person, path, {}, **{"If-None-Match": headers["etag"]})
                assert again[0] in (200, 304)
            both.dates += [headers[name] for name in headers if name.startswith("x-taxii") and status == 200]
            if b'"next":"' in content:
                both.tokens.append(content.split(b'"next":"')[1].split(b'"')[0].decode())

    baton = Baton(look)
    writers: list[Member | Stewards] = [
        Member(both.base, people["franklin_submitter"], [county], seed, journal),
        Member(both.whole_base, people["ohio_analyst"], [ohio, county], seed + 10, journal),
        Member(both.base, people["cook_submitter"], [cook], seed + 20, journal),
        Stewards(both.url, seed + 30, journal),
    ]
    with ThreadPoolExecutor(len(writers)) as threads:
        for each in [threads.submit(baton.run, writer) for writer in writers]:
            each.result()

    assert both.asked > 150
    assert both.asked - both.whole > both.asked // 4, "hardly anything was answered from memory"
    assert journal.done.keys() >= {"add", "renew", "delete", "widen", "withdraw"}


def _question(dice: random.Random, both: Both) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if dice.random() < 0.7:
        asked["limit"] = dice.choice((1, 2, 5, 20, 1000))
    if both.dates and dice.random() < 0.6:
        asked["added_after"] = dice.choice(both.dates[-12:])
    elif dice.random() < 0.2:
        asked["added_after"] = times.taxii(times.now())
    if both.tokens and dice.random() < 0.3:
        asked["next"] = dice.choice(both.tokens[-6:])
    if dice.random() < 0.2:
        asked["match[type]"] = dice.choice(("indicator", "note", "indicator,note", "malware"))
    if dice.random() < 0.15:
        asked["match[version]"] = dice.choice(("all", "last", "first", "first,last"))
    if dice.random() < 0.1:
        asked["match[spec_version]"] = dice.choice(("2.1", "2.0", "2.0,2.1"))
    return asked


def test_a_full_page_stays_until_a_row_of_it_ends(both: Both, people: dict[str, Person]) -> None:
    clerk = both.clerk(people["franklin_submitter"])
    one, *others = [tool(f"{number}") for number in range(4)]
    clerk.add(one, *others)
    path = f"{clerk.shelf}objects/"

    def page() -> bytes:
        return bytes(both.agree(clerk.person, path, {"limit": 2})[2])

    first, before = page(), both.whole
    clerk.add(mutex())
    assert (page(), both.whole) == (first, before)
    clerk.request("DELETE", f"objects/{one['id']}/")
    assert page() != first


@pytest.mark.taxii("T-56", "T-63")
def test_queries_that_differ_in_any_filter_have_each_their_own_next(both: Both, people: dict[str, Person]) -> None:
    clerk = both.clerk(people["franklin_submitter"])
    clerk.add(*(tool(f"{number}") for number in range(4)))
    both.settled()
    path, first = f"{clerk.shelf}objects/", clerk.objects("manifest/")[0]["date_added"]
    before, answers = both.whole, set()
    for more in ({}, {"match[spec_version]": "2.1"}, {"match[spec_version]": "2.0,2.1"}, {"match[type]": "tool"}):
        for limit in (1, 2):
            query = {"added_after": first, "limit": limit, **more}
            answers.add(both.agree(clerk.person, path, query)[2])

    assert len(answers) == 8
    assert both.whole == before, "all this is answered from memory"


@pytest.mark.taxii("L-9")
def test_l9_c_ela_5_a_quiet_poll_of_one_key_lists_no_objects_and_nobody_else_s_does(
    both: Both, people: dict[str, Person]
) -> None:
    """Elastic reads `body.objects` without looking whether it is there; the standard leaves an empty list out (§2)."""
    elastic, other = people["franklin"], people["franklin_submitter"]
    clerk = both.clerk(other)
    own = f"{clerk.shelf}objects/"
    remote: dict[str, Any] = {"match[type]": "malware"}

    def switch(wanted: bool) -> None:
        async def at_once() -> None:
            async with database.pool(both.url, size=1) as pool, pool.connection() as conn:
                await members.change_empty_objects(conn, elastic.key_id, wanted, "test", times.now())

        uvloop.run(at_once())
        until = time.monotonic() + 2
        for base in (both.base, both.whole_base):
            while (both.ask(base, elastic, own, remote)[2] == b"{}") == wanted:
                assert time.monotonic() < until

    def say(person: Person, path: str, query: dict[str, Any]) -> bytes:
        status, headers, content = both.agree(person, path, query)
        assert status == 200
        assert len(content) > 20 or "etag" not in headers
        return bytes(content)

    assert say(elastic, own, {}) == say(other, own, {}) == b"{}"
    switch(True)
    assert (say(elastic, own, {}), say(other, own, {})) == (b'{"objects":[]}', b"{}")
    clerk.add(tool())
    clerk.add(tool())
    both.settled()
    first, last = (record["date_added"] for record in clerk.objects("manifest/"))
    quiet: list[dict[str, Any]] = [{"added_after": last}, {"added_after": first, "match[type]": "malware"}]
    before = both.whole
    for query in (*quiet, *quiet):  # in turns, so that each could meet what the other was given
        assert say(elastic, own, query) == b'{"objects":[]}'
        assert say(other, own, query) == b"{}"
    assert both.whole == before, "all this is answered from memory"
    assert (say(elastic, own, remote), say(other, own, remote)) == (b'{"objects":[]}', b"{}")
    assert say(elastic, own, {}) == say(other, own, {})
    one = clerk.objects()[0]["id"]
    for rest in ("manifest/", f"objects/{one}/", f"objects/{one}/versions/"):
        nothing = {"match[spec_version]": "2.0"}
        assert say(elastic, clerk.shelf + rest, nothing) == say(other, clerk.shelf + rest, nothing) == b"{}"
    switch(False)
    for query in (*quiet, remote):
        assert say(elastic, own, query) == b"{}"


@pytest.mark.taxii("L-18")
def test_the_client_that_has_it_is_told_so(clerk: Asking) -> None:
    clerk.add(tool())
    answer = clerk.get("objects/")
    same = clerk.request("GET", "objects/", headers={"If-None-Match": f'"other", {answer.headers["etag"]}'})
    clerk.add(tool("another"))
    newer = clerk.request("GET", "objects/", headers={"If-None-Match": answer.headers["etag"]})

    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["content-type"] == TAXII
    assert (newer.status_code, len(newer.json()["objects"])) == (200, 2)


def test_an_object_that_becomes_the_first_version_changes_the_answer(clerk: Asking) -> None:
    versions = versions_of(tool(), "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z")
    clerk.add(*versions)
    answer = clerk.get("objects/", {"match[version]": "first"})

    assert "etag" not in answer.headers


@pytest.mark.taxii("L-18")
@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", True),
        ("GZIP;q=0.5, br", True),
        ("*", True),
        ("*;q=0, gzip", True),
        ("*, gzip;q=0", False),
        ("gzip;q=0", False),
        ("br", False),
        ("identity", False),
    ],
)
def test_gzip_is_for_those_who_take_it(both: Both, people: dict[str, Person], encoding: str, packed: bool) -> None:
    clerk = both.clerk(people["franklin_submitter"])
    clerk.add(*[tool("x" * 400) for _ in range(4)])
    path = f"{clerk.shelf}objects/"
    plain = both.agree(clerk.person, path, {})
    status, headers, content = both.agree(clerk.person, path, {}, **{"Accept-Encoding": encoding})

    assert (status, content) == (200, plain[2])
    assert headers.get("content-encoding") == ("gzip" if packed else None)
    assert headers["vary"] == "Accept-Encoding"


def test_long_answers_that_are_not_kept_are_packed_too(both: Both, people: dict[str, Person]) -> None:
    clerk = both.clerk(people["franklin_submitter"])
    clerk.add_many(*[f"{number}" for number in range(20)])
    for encoding in ("gzip", "identity"):
        status, headers, _ = both.agree(clerk.person, f"{clerk.shelf}manifest/", {}, **{"Accept-Encoding": encoding})

        assert (status, headers["vary"]) == (200, "Accept-Encoding")
        assert headers.get("content-encoding", "identity") == encoding


def test_head_is_answered_without_a_body(both: Both, people: dict[str, Person]) -> None:
    clerk = both.clerk(people["franklin_submitter"])
    clerk.add(tool())
    expected = clerk.get("objects/")
    for _ in range(3):
        head = clerk.request("HEAD", "objects/")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == expected.headers["etag"]


def test_a_revoked_key_is_nobody_at_once(both: Both, people: dict[str, Person]) -> None:
    clerk = both.clerk(people["franklin"])
    assert [clerk.get(f"{clerk.home}objects/").status_code for _ in range(3)] == [200] * 3
    with psycopg.connect(both.url, autocommit=True) as conn:
        conn.execute("UPDATE elections.keys SET revoked_at = now() WHERE key_id = %s", (clerk.person.key_id,))
    until = time.monotonic() + 2
    while clerk.get(f"{clerk.home}objects/").status_code != 401:
        assert time.monotonic() < until


def test_an_empty_collection_is_answered_from_memory(both: Both, people: dict[str, Person]) -> None:
    clerk = both.clerk(people["franklin_submitter"])
    path, past = f"{clerk.shelf}objects/", times.taxii(times.now() - timedelta(minutes=1))
    for query in ({}, {"added_after": past}, {"added_after": past, "match[type]": "tool"}):
        both.agree(clerk.person, path, query)
    before = both.whole
    for query in ({}, {"added_after": past}):
        assert both.agree(clerk.person, path, query)[2] == b"{}"
    assert both.whole == before

    # Of what lies ahead the whole way says how far it has come.
    clerk.get(path, {"added_after": "2999-01-01T00:00:00Z"})
    assert both.whole == before + 1
    clerk.add(tool())
    assert both.agree(clerk.person, path, {"added_after": past})[2] != b"{}"


def test_all_keys_are_read_at_one_go(both: Both, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    here = both.here
    asked: list[str] = []
    for roll, single in ((here.keyring._all, "actor"), (here.shelves._all, "collection")):
        monkeypatch.setattr(roll, "_read", _counted(asked, roll._read))
        monkeypatch.setattr(members, single, _counted(asked, getattr(members, single)))
    roster, until = here.follower.roster, time.monotonic() + 2
    with psycopg.connect(both.url, autocommit=True) as conn:
        conn.execute("UPDATE elections.keys SET role = 'poller' WHERE key_id = %s", (people["cook"].key_id,))
    while here.follower.roster == roster:
        assert time.monotonic() < until
        time.sleep(0.01)

    def polls(person: Person) -> int:
        with httpx2.Client(base_url=both.base, auth=("", person.secret), trust_env=False) as http:
            return http.get(f"/elections/collections/{person.collection}/objects/").status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(polls, people.values())) == {200}
    assert sorted(asked) == ["actors", "collections_by_name"]


def _counted(asked: list[str], read: Callable[..., Any]) -> Callable[..., Any]:
    async def counting(*values: Any) -> Any:
        asked.append(read.__name__)
        return await read(*values)

    return counting


def test_an_import_is_passed_over(both: Both, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "_IMPORT", 5)
    clerk = both.clerk(people["franklin_submitter"])
    path = f"{clerk.shelf}objects/"
    clerk.add(tool("before"))
    cursor = both.agree(clerk.person, path, {})[1]["x-taxii-date-added-last"]
    clerk.add_many(*[f"{number}" for number in range(8)])
    both.agree(clerk.person, path, {"added_after": cursor})
    clerk.add(tool("after"))
    status, headers, content = both.agree(clerk.person, path, {"added_after": cursor})

    assert (status, content.count(b'"id"')) == (200, 9)
    both.agree(clerk.person, path, {"added_after": headers["x-taxii-date-added-last"]})


def test_nobody_meets_a_view_that_is_half_an_import(
    both: Both, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the follower waits for an answer, requests are answered; afterwards nothing of that may be left."""
    monkeypatch.setattr(follower_module, "_IMPORT", 5)
    clerk, other = (both.clerk(people["franklin_submitter"], base) for base in (both.base, both.whole_base))
    path = f"{clerk.shelf}objects/"
    clerk.add(tool("before"))
    cursor = both.agree(clerk.person, path, {})[1]["x-taxii-date-added-first"]
    query = {"added_after": times.taxii(times.read(cursor) - timedelta(microseconds=1)), "limit": 50}
    fetched, done = facts.fetch, threading.Event()

    async def slow(*asked: Any) -> Any:
        found = await fetched(*asked)
        await asyncio.sleep(0.05)
        return found

    def ask() -> None:
        while not done.is_set():
            both.ask(both.base, clerk.person, path, query)

    monkeypatch.setattr(follower_module, "fetch", slow)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(ask)
        for _ in range(3):
            other.add_many(*[f"{number}" for number in range(8)])
        both.settled()
        done.set()
        running.result()
    monkeypatch.setattr(follower_module, "fetch", fetched)
    both.settled()

    assert both.agree(clerk.person, path, query)[2].count(b'"id"') == 25
