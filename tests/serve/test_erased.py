"""An erased object over TAXII, on two workers of which one has it in memory: as if it had never been."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson
import psycopg
import pytest
import uvloop
from tests.conftest import Person, serving
from tests.serve.conftest import FEBRUARY, MARCH, Asking, tool, versions_of
from tests.test_jobs import rows, until

from isac import times
from isac.cli.feeds import feed_named
from isac.ingest import erasing
from isac.store import database, log, recall
from isac.store.facts import By
from isac.store.recall import Recall


def is_gone(clerk: Asking, stix_id: str) -> bool:
    return stix_id not in clerk.get("objects/").text


WAYS = ["objects/", "manifest/", "objects/{id}/", "objects/{id}/versions/"]
QUERIES: list[dict[str, Any]] = [{}, {"match[version]": "all"}, {"match[version]": "first", "match[type]": "tool"}]


def erase(url: str, stix_id: str, began: datetime | None = None) -> None:
    async def work() -> None:
        by = By("op", began or times.now(), "asked for")
        async with database.pool(url, size=3, role=database.OWNER) as pool:
            await erasing.erase(pool, [erasing.thing(stix_id)], [], erasing.Carriers([], feed_named), by)

    uvloop.run(work())


def who_has(url: str, stix_id: str) -> Recall:
    async def work() -> Recall:
        async with database.pool(url, size=1) as pool, pool.connection() as conn:
            return await recall.who_has(conn, stix_id, times.now())

    return uvloop.run(work())


@pytest.mark.parametrize("second", ["memory", "whole"])
def test_nothing_of_it_is_shown_by_any_worker_whatever_it_remembers(
    database_url: str, people: dict[str, Person], second: str
) -> None:
    first, other = serving(database_url), serving(database_url)
    with first as one_server, other as other_server:
        if second == "whole":
            other.app.fast.here = None
        clerks = [Asking(server, people["franklin_submitter"]) for server in (one_server, other_server)]
        old, new = versions_of(tool(x_about="zq-roe"), FEBRUARY, MARCH)
        beside = [tool(name="before"), tool(name="after")]
        clerks[0].add(beside[0], old, new, beside[1])

        def texts(clerk: Asking) -> list[str]:
            return [
                answer.text
                for path in WAYS
                for query in QUERIES
                for _ in range(2)
                if (answer := clerk.get(path.format(id=new["id"]), query)).status_code != 404
            ]

        for clerk in clerks:
            assert any("zq-roe" in text for text in texts(clerk))
        tag = clerks[0].get("objects/").headers["etag"]
        erase(database_url, new["id"])

        for clerk in clerks:
            until(partial(is_gone, clerk, new["id"]), 5)
            assert not any("zq-roe" in text or new["id"] in text for text in texts(clerk))
            assert [clerk.get(path.format(id=new["id"])).status_code for path in WAYS] == [200, 200, 404, 404]
            assert clerk.names() == ["before", "after"]
            assert clerk.request("GET", "objects/", headers={"If-None-Match": tag}).status_code == 200
        for clerk in clerks:
            refused = clerk.post(new).json()
            assert refused["failure_count"] == 1
            assert "was erased here" in refused["failures"][0]["message"]
            assert clerk.names() == ["before", "after"]
            clerk.http.close()
    assert rows(database_url, "SELECT 1 FROM log WHERE position('zq-roe'::bytea IN raw) > 0") == []


#: at the end of the transaction that archives a file it is waited for who holds the lock 4711
WAITING = """
CREATE FUNCTION elections.wait() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER waiting AFTER UPDATE OF payload ON elections.submissions DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION elections.wait();
"""


def test_its_words_are_not_written_down_after_it_was_erased(database_url: str, people: dict[str, Person]) -> None:
    """The API took it in and archived it, and is about to note what it is called and to keep the answer."""
    waits = tool(
        name="Tool of zq-roe", object_marking_refs=["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"]
    )
    params = {"audience": "us-oh-39901", "context": "About zq-roe"}

    async def close() -> None:
        owners = database.pool(database_url, size=1, role=database.OWNER)
        async with owners as pool, pool.connection() as conn, conn.transaction():
            await log.erase(conn, waits["id"], By("op", times.now(), "asked for"))

    rows(database_url, WAITING)
    with serving(database_url) as server, ThreadPoolExecutor(1) as beside:
        clerk = Asking(server, people["franklin_submitter"])
        with psycopg.connect(database_url, autocommit=True) as guard:
            guard.execute("SELECT pg_advisory_lock(4711)")
            answer = beside.submit(
                clerk.http.post,
                "/api/v1/submissions",
                params=params,
                content=orjson.dumps(waits),
                headers={"Accept": "*/*", "Idempotency-Key": "one"},
            )
            until(lambda: bool(rows(database_url, "SELECT 1 FROM pg_locks WHERE objid = 4711 AND NOT granted")), 20)
            uvloop.run(close())
        assert answer.result().status_code == 202, answer.result().text
        clerk.http.close()
    written = "SELECT coalesce(details, ''), (SELECT count(*) FROM answers) FROM submissions WHERE context <> ''"
    assert rows(database_url, written) == [(b"", 0)]


# --------------------------------------------------------------------------------------------------- who was given it


def test_who_was_given_it_is_known_also_when_it_is_erased(database_url: str, people: dict[str, Person]) -> None:
    one, other = tool(name="one"), tool(name="other")
    with serving(database_url) as server:
        admin = Asking(server, people["franklin_admin"])
        clerk, oak = Asking(server, people["franklin"]), Asking(server, people["oak"])
        admin.add(one, other, to=f"{admin.home}objects/")
        for query in ({}, {}, {"match[type]": "indicator"}, {"match[id]": other["id"]}, {"match[id]": one["id"]}):
            clerk.get(f"{clerk.home}objects/", query)
        clerk.get(f"{clerk.home}objects/", {"limit": 1, "match[type]": "identity"})
        oak.get(f"{oak.home}objects/")
        for each in (admin, clerk, oak):
            each.http.close()
    before = who_has(database_url, one["id"])
    # The eraser began long before these polls, and looked for what carries it all the while.
    erase(database_url, one["id"], times.now() - timedelta(hours=1))
    # The only entry of the log that tells when it went is the audit's; that was two hours ago.
    rows(
        database_url,
        """UPDATE audit SET at = at - interval '2 hours'; UPDATE polls SET at = at - interval '2 hours'""",
    )
    with serving(database_url) as server:
        clerk = Asking(server, people["franklin"])
        clerk.get(f"{clerk.home}objects/")
        clerk.http.close()
    after = who_has(database_url, one["id"].upper())

    assert [(given.key_id, given.collection, given.polls) for given in before.given] == [
        (people["franklin"].key_id, "us-oh-39901", 3)
    ]
    assert before.given[0].version == one["modified"]
    assert before.given[0].first < before.given[0].last
    assert [(given.key_id, given.polls) for given in after.given] == [(people["franklin"].key_id, 3)]
    assert after.doubts == []


def test_a_poll_after_it_had_left_was_not_given_it(database_url: str, people: dict[str, Person]) -> None:
    """When it left is told by the next row; polls of history were given it until it left history, too."""
    one, newer = versions_of(tool(), FEBRUARY, MARCH)
    with serving(database_url) as server:
        clerk = Asking(server, people["franklin_submitter"])
        clerk.add(one, newer, tool(name="after"))
        clerk.http.close()
    until_shut = "(SELECT min(date_added) FROM log WHERE type = 'tool')"
    rows(
        database_url,
        f"""INSERT INTO polls (at, worker, key, collection, filters, first_added, last_added, count)
            SELECT at, 1, k.pk, c.pk, filters, '-infinity', 'infinity', 3
            FROM keys k, collections c, (VALUES ({until_shut}, NULL), (now() + interval '1 hour', NULL),
                   (now() + interval '1 hour', '{{"version":["all"]}}')) AS polled (at, filters)
            WHERE k.key_id = '{people["franklin"].key_id}'
              AND c.own = (SELECT audience FROM log WHERE type = 'tool' LIMIT 1)""",
    )
    found = who_has(database_url, one["id"])

    # The first version: the poll before, and that of history; the second still stands.
    assert [given.polls for given in found.given] == [2, 3]


def test_those_who_may_have_it_are_named_where_a_worker_was_cut_off(
    database_url: str, people: dict[str, Person]
) -> None:
    one = tool()
    with serving(database_url) as server:
        admin = Asking(server, people["franklin_admin"])
        admin.add(one, to=f"{admin.home}objects/")
        admin.http.close()
    rows(
        database_url,
        f"""UPDATE keys SET revoked_at = now() + interval '1 minute' WHERE key_id = '{people["ohio_admin"].key_id}';
            UPDATE keys SET revoked_at = now() - interval '2 hours' WHERE key_id = '{people["ohio_analyst"].key_id}';
            UPDATE log SET date_added = date_added - interval '2 hours' WHERE type = 'tool';
            INSERT INTO poll_workers (started_at, marked_at) VALUES
              (now() - interval '1 day', now() - interval '1 hour'),
              (now() - interval '1 day', now() - interval '3 hours'),
              (now() - interval '1 day', now())""",
    )
    found = who_has(database_url, one["id"])

    (doubt,) = found.doubts
    assert found.given == []
    able = ("franklin", "franklin_submitter", "franklin_admin", "ohio_admin", "isac_analyst", "isac_steward")
    assert sorted(key_id for key_id, _ in doubt.keys) == sorted(people[name].key_id for name in able)
    assert ("Elm County Clerk" in {name for _, name in doubt.keys}) is True
