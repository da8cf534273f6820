"""Each answer with objects is recorded: who was given which rows."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from tests.conftest import Person, serving
from tests.serve.conftest import Asking, is_error, tool
from tests.test_jobs import until

from isac import times
from isac.store import polls


def recorded(url: str, person: Person) -> list[tuple[Any, ...]]:
    """(collection, filters, first, last, count) of a person's polls, once all that is before now is written."""
    asked = datetime.now(UTC)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("SET timezone = 'UTC'")
        for _ in range(200):
            ((marked,),) = conn.execute("SELECT max(marked_at) FROM elections.poll_workers").fetchall()
            if marked > asked:
                break
            time.sleep(0.1)
        return conn.execute(
            """SELECT c.alias, p.filters, p.first_added, p.last_added, p.count FROM elections.polls p
               JOIN elections.keys k ON k.pk = p.key JOIN elections.collections c ON c.pk = p.collection
               WHERE k.key_id = %s ORDER BY p.at""",
            (person.key_id,),
        ).fetchall()


def test_each_poll_that_gave_something_is_recorded(clerk: Asking, database_url: str) -> None:
    clerk.add(tool("1"), tool("2"), tool("3"))
    assert [len(page) for page in clerk.pages("objects/", limit=2)] == [2, 1]
    second = clerk.get("objects/", {"match[type]": "tool", "limit": 1})
    last = second.headers["x-taxii-date-added-last"]
    clerk.get("objects/", {"added_after": "2100-01-01T00:00:00Z"})
    clerk.get("objects/", {"match[version]": "all", "match[id]": "tool--00000000-0000-4000-8000-000000000000"})
    clerk.request("GET", "objects/", params={"limit": 2}, headers={"If-None-Match": "*"})
    found = recorded(database_url, clerk.person)

    assert [row[1] for row in found] == [None, None, '{"type":["tool"]}']
    assert [row[4] for row in found] == [2, 1, 1]
    assert times.taxii(found[2][3]) == last
    assert found[0][2] < found[0][3] < found[1][2] == found[1][3]
    assert all(row[0].startswith("org-") for row in found)


def test_polls_from_memory_are_recorded_like_others(clerk: Asking, database_url: str) -> None:
    clerk.add(tool())
    for _ in range(5):
        clerk.get("objects/")
    one = clerk.objects()[0]
    clerk.get(f"objects/{one['id']}/")

    assert [row[4] for row in recorded(database_url, clerk.person)] == [1] * 7


@pytest.mark.parametrize("way", ["memory", "whole"])
def test_only_what_leaves_is_recorded_whichever_way_it_goes(
    database_url: str, people: dict[str, Person], way: str
) -> None:
    server = serving(database_url)
    with server as running:
        clerk = Asking(running, people["franklin_submitter"])
        clerk.add(tool())
        if way == "whole":
            server.app.fast.here = None
        one = clerk.get("manifest/").json()["objects"][0]["id"]
        for path in ("objects/", f"objects/{one}/"):
            for _ in range(2):
                answer = clerk.get(path)
                assert clerk.request("HEAD", path).headers["etag"] == answer.headers["etag"]
                same = {"If-None-Match": answer.headers["etag"]}
                assert [clerk.request(method, path, headers=same).status_code for method in ("GET", "HEAD")] == [
                    304
                ] * 2
        found = recorded(database_url, clerk.person)
        clerk.http.close()

    assert [row[4] for row in found] == [1] * 4


def test_a_worker_marks_its_start_and_its_end(database_url: str, people: dict[str, Person]) -> None:
    with serving(database_url) as server:
        clerk = Asking(server, people["franklin_submitter"])
        clerk.add(tool())
        clerk.objects()
        clerk.http.close()
    with psycopg.connect(database_url) as conn:
        workers = conn.execute("SELECT started_at, marked_at, ended_at FROM elections.poll_workers").fetchall()
        polls = conn.execute("SELECT count FROM elections.polls").fetchall()

    ((started, marked, ended),) = workers
    assert started < marked == ended
    assert polls == [(1,)]


def test_a_recorder_that_cannot_write_goes_on_and_loses_nothing(
    database_url: str, people: dict[str, Person], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(database_url) as server:
        clerk = Asking(server, people["franklin_submitter"])
        clerk.add(tool())
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("REVOKE INSERT ON elections.polls FROM isac_app")
            assert len(clerk.objects()) == 1
            for _ in range(50):
                if "polls cannot be recorded yet" in caplog.text:
                    break
                time.sleep(0.1)
            owner.execute("GRANT INSERT ON elections.polls TO isac_app")
        assert [row[4] for row in recorded(database_url, clerk.person)] == [1]
        monkeypatch.setattr(polls, "_MOST", -1)
        assert is_error(clerk.get("objects/", {"limit": 5}), 503)
        clerk.http.close()


def test_a_worker_that_cannot_mark_any_more_gives_nothing_out(
    database_url: str, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed then, what it gave out would stand nowhere, and be in doubt of nobody: reads may go on without writes."""
    monkeypatch.setattr(polls, "SILENCE", polls._LEAVING + timedelta(seconds=1))
    monkeypatch.setattr(polls, "_PACE", 0.05)
    monkeypatch.setattr(polls, "_REST", timedelta(0))
    with serving(database_url) as server:
        clerk = Asking(server, people["franklin_submitter"])
        clerk.add(tool())
        assert len(clerk.objects()) == 1
        with psycopg.connect(database_url) as owner:
            owner.execute("LOCK elections.poll_workers")
            until(lambda: clerk.get("objects/").status_code == 503)
            owner.rollback()
        until(lambda: clerk.get("objects/").status_code == 200)
        clerk.http.close()
