"""Erasing: afterwards no table holds a byte of it, nobody is shown anything, and it does not come in again.

What is erased bears a mark of its own, which every text and byte of every table is searched for.
"""

import asyncio
import gzip
import io
import tarfile
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from tests.conftest import Person, zipped
from tests.ingest.erasing_desk import (
    ACTIONS,
    EVERYTHING,
    FEBRUARY,
    JANUARY,
    LIST,
    MARCH,
    MARK,
    Desk,
    Run,
    bundle,
    feed_named,
    tool,
)
from tests.stix.examples import make
from tests.test_jobs import rows

from isac import times
from isac.errors import Invalid, NotFound
from isac.ingest import erasing
from isac.ingest.feeds import Feed
from isac.ingest.intake import Submission, take_in
from isac.ingest.replay import replay
from isac.policy.actors import Actor
from isac.store import answers, database, erasure, members, submissions
from isac.store.answers import Kept
from isac.store.database import Pool
from isac.store.erasure import Thing
from isac.store.facts import By
from isac.store.members import Collection
from isac.store.submissions import Counts, Unread


@pytest.fixture
def desk(pool: Pool, run: Run, database_url: str, people: dict[str, Person], tmp_path: Path) -> Desk:
    return Desk(pool, run, database_url, people, tmp_path)


# -------------------------------------------------------------------------------------------------- nothing of it stays


def test_nothing_of_an_object_stays_in_any_table(desk: Desk) -> None:
    """Handed in often: two versions, two producers, held, repeated, packed, in an archive, over the API."""
    one = tool()
    held = {**one, "modified": MARCH, "object_marking_refs": [f"marking-definition--{uuid.uuid4()}"]}
    other, beside = tool(created_by_ref=f"identity--{uuid.uuid4()}", id=one["id"]), tool(name="another tool")
    desk.take(bundle(one, beside))
    desk.take(gzip.compress(bundle({**one, "modified": FEBRUARY})))
    desk.take(bundle(one, other), "us-oh")
    assert desk.counts(held).held == 1
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (("x.json", bundle(one)), ("list.txt", b"list.example\n")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    desk.take(buffer.getvalue())
    (mine,) = desk.take(bundle(held, one), "us-oh-39901", "Elm", by="franklin_submitter", context=f"About {MARK}")
    desk.run(keep_words(desk.pool, mine.outcome.id, one["id"]))
    rows(
        desk.url,
        f"""INSERT INTO feed_runs (feed, started_at, outcome, problem, payload)
            SELECT 'x', now(), 'kept', 'Line of {MARK}', max(payload) FROM submissions""",
    )
    rows(
        desk.url,
        f"""INSERT INTO alerts (id, organization, about_kind, about, how, kind, value, digest, stix_id, type, source,
                                at)
            SELECT gen_random_uuid(), min(pk), 'domain', 'elmcounty.example', 'url', 'url', 'x', '', '{one["id"]}',
                   'tool', 'Source of {MARK}', now() FROM organizations""",
    )
    assert desk.marked().keys() == {
        *("versions", "log", "held", "submissions", "payload_pieces", "answers", "feed_runs", "alerts"),
    }

    before = desk.marked()
    plan = desk.erase(one["id"], dry=True)
    assert desk.marked() == before
    done = desk.erase(one["id"])

    assert desk.marked() == {}
    assert done == plan
    assert [len(gone) for _, gone in done.versions] == [3]
    assert (done.rest.held, len(done.rest.payloads)) == (2, 6)
    assert [body["name"] for body in desk.shown("us-oh-39901", EVERYTHING)] == ["another tool", "list.example"]


async def keep_words(pool: Pool, submission: str, stix_id: str) -> None:
    """As the API does: the names of what is held, the lines that could not be read, the answer for who asks again."""
    async with pool.connection() as conn:
        lines = [{"line": 1, "text": f"line of {MARK}", "reason": "", "left_out": False}]
        await submissions.note(conn, submission, Unread(1, 0, lines), {stix_id: f"Tool of {MARK}"})
        body = orjson.dumps({"id": submission, "failures": [{"id": stix_id, "name": MARK}]})
        organization = (await members.steward(conn)).organization
        await answers.keep(conn, organization, "key", b"", Kept(200, body), times.now())
        await answers.keep(conn, organization, "another", b"", Kept(200, b'{"id":""}'), times.now())


def test_a_value_of_a_list_goes_with_each_list_of_its_source_that_names_it(desk: Desk) -> None:
    desk.take(f"{MARK}.example\ntwo.example\n".encode(), feed=LIST)
    desk.take(f"three.example\n{MARK.upper()}[.]example\n".encode("utf-16"), feed=LIST)
    desk.take(b"four.example\n", feed=LIST)
    (indicator,) = [body["id"] for body in desk.shown() if MARK in body["pattern"]]
    done = desk.erase(indicator)

    assert desk.marked() == {}
    assert len(done.rest.payloads) == 2
    assert rows(desk.url, "SELECT count(*) FROM payload_pieces") == [(1,)]
    # The list's next run names it once more.
    (again,) = desk.take(f"{MARK}.example\nfive.example\n".encode(), feed=LIST)
    assert again.outcome.counts == Counts(accepted=1, refused=1)
    assert desk.marked() == {}


def test_a_zip_archive_goes_that_carried_a_value(desk: Desk) -> None:
    desk.take(zipped(b"one.example\n" * 1000, f"{MARK}.example\n".encode()))
    (indicator,) = {body["id"] for body in desk.shown() if MARK in body["pattern"]}
    assert rows(desk.url, "SELECT count(*) FROM payload_pieces") == [(1,)]
    desk.erase(indicator)
    assert rows(desk.url, "SELECT count(*) FROM payload_pieces") == [(0,)]


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("bücher.example", "BÜCHER.example"),
        ("zq.example", "zq{.}example"),
        ("zq.example", "zq [.] example"),
        ("zq.example", "zq[.example"),
        ("https://zq.example/a", "https[:]//zq.example/a"),
        ("https://zq.example/a", "https://zq.example:443/a"),
        ("https://zq.example/", "https://zq.example"),
        ("a@zq.example", "a(at)zq.example"),
        ("2001:db8::a", "2001:0db8:0:0:0:0:0:a"),
        ("AS64496", "as64496"),
    ],
)
@pytest.mark.parametrize("feed", [LIST, None], ids=["of a feed", "handed in"])
def test_a_list_goes_that_writes_the_value_otherwise(desk: Desk, feed: Feed | None, first: str, again: str) -> None:
    """Its reader takes both for the same."""
    desk.take(f"{first}\n".encode(), feed=feed)
    (indicator,) = desk.shown()
    desk.take(f"four.example\n{again}\nfive.example\n".encode(), feed=feed)
    desk.take(b"six.example\nseven.example\n", feed=feed)
    rows(desk.url, "UPDATE submissions SET report = NULL")  # as where there are very many
    desk.erase(indicator["id"])
    assert rows(desk.url, "SELECT count(*) FROM payload_pieces") == [(1,)]


def test_an_indicator_of_others_whose_id_looks_like_ours_goes(desk: Desk) -> None:
    rule = {"pattern": f'alert tcp any any -> any any (msg:"{MARK}";)', "pattern_type": "snort"}
    one = tool(type="indicator", id=f"indicator--{uuid.uuid5(uuid.NAMESPACE_DNS, MARK)}", valid_from=JANUARY, **rule)
    desk.take(bundle(one))
    assert [body["id"] for body in desk.shown()] == [one["id"]]
    desk.erase(one["id"])
    assert desk.marked() == {}


def test_a_table_goes_that_said_what_is_to_be_done(desk: Desk) -> None:
    desk.take(f"cve,do\nCVE-2024-0001,call {MARK} now\n".encode(), feed=ACTIONS)
    desk.take(f"cve,do\nCVE-2024-0002,x\nCVE-2024-0001,call {MARK} today\n".encode(), feed=ACTIONS)
    (action,) = [body["id"] for body in desk.shown() if MARK in body.get("description", "")]
    rows(desk.url, "UPDATE submissions SET report = NULL")  # as where there are very many
    desk.erase(action)
    assert desk.marked() == {}


def test_a_misp_event_goes_that_carried_a_value(desk: Desk) -> None:
    attribute = {"uuid": str(uuid.uuid4()), "type": "url", "category": "Network activity", "to_ids": True}
    written = f"https://{MARK}.example/a"
    event = {"uuid": str(uuid.uuid4()), "info": "An invented event", "date": "2026-01-01"}
    content = orjson.dumps(
        {"Event": {**event, "Tag": [{"name": "tlp:green"}], "Attribute": [{**attribute, "value": written}]}}
    )
    desk.take(content.replace(b"/", b"\\/"))
    (indicator,) = desk.shown()
    rows(desk.url, "UPDATE submissions SET report = NULL")  # as where there are very many

    desk.erase(indicator["id"])
    assert desk.marked() == {}


def test_a_bundle_of_stix_2_0_goes_that_carried_an_object_under_its_first_id(desk: Desk) -> None:
    old = {"type": "tool", "id": f"tool--{uuid.uuid4()}", "created": JANUARY, "modified": JANUARY, "labels": ["x"]}
    whole = {"type": "bundle", "id": f"bundle--{uuid.uuid4()}", "spec_version": "2.0"}
    desk.take(orjson.dumps({**whole, "objects": [{**old, "name": f"Tool of {MARK}"}]}))
    desk.take(orjson.dumps({**whole, "objects": [{**old, "id": f"tool--{uuid.uuid4()}", "name": "another"}]}))
    rows(desk.url, "UPDATE submissions SET report = NULL, payload = NULL")  # only what is kept tells
    (ours,) = [body["id"] for body in desk.shown() if MARK in body["name"]]
    done = desk.erase(ours)

    assert ours != old["id"]
    assert desk.marked() == {}
    assert len(done.rest.payloads) == 1


@pytest.mark.parametrize("packed", [lambda x: zipped(b"#", x), lambda x: gzip.compress(zipped(x))])
def test_what_is_packed_is_looked_into_where_no_report_tells(desk: Desk, packed: Callable[[bytes], bytes]) -> None:
    one = tool()
    desk.take(f"{MARK}.example\n".encode())
    desk.take(packed(f"{MARK}.example\nfour.example\n".encode()))
    desk.take(bundle(one))
    desk.take(packed(bundle(one, tool(name="beside"))))
    rows(desk.url, "UPDATE submissions SET report = NULL")  # as where there are very many
    (indicator,) = [body["id"] for body in desk.shown() if MARK in body.get("pattern", "")]

    desk.erase(one["id"], indicator)
    assert desk.marked() == {}


def test_what_names_an_object_stays(desk: Desk) -> None:
    """An object that names the erased one says nothing of it but its id."""
    one, other = tool(), tool(name="another")
    link = {"type": "relationship", "spec_version": "2.1", "id": f"relationship--{uuid.uuid4()}", "created": JANUARY}
    link |= {"modified": JANUARY, "relationship_type": "uses", "source_ref": other["id"], "target_ref": one["id"]}
    desk.take(bundle(one))
    desk.take(bundle(other, link))
    done = desk.erase(one["id"])

    assert len(done.rest.payloads) == 1
    assert {body["id"] for body in desk.shown()} == {other["id"], link["id"]}


def test_what_a_submission_was_read_from_goes_and_what_it_brought_stays(desk: Desk) -> None:
    (reading,) = desk.take(f"# {MARK}\nlist.example\n".encode(), context=f"About {MARK}")
    (same,) = desk.take(f"# {MARK}\nlist.example\n".encode(), "us-oh")
    done = desk.erase(reading.outcome.id)

    assert desk.marked() == {}
    assert done.rest.submissions == sorted([reading.outcome.id, same.outcome.id])
    assert [body["name"] for body in desk.shown()] == ["list.example"]
    desk.take(f"# {MARK}\nlist.example\n".encode())
    assert desk.marked() == {}, "it came again"
    with pytest.raises(NotFound, match="no longer kept"):
        desk.run(replay(desk.pool, reading.outcome.id, lambda _: LIST))


def test_whoever_brings_it_meanwhile_leaves_nothing_of_it_in_the_log(desk: Desk) -> None:
    """Erased in the middle of six hand-overs, each with the object in each of its batches: held, new, and repeated."""
    one = tool()
    held = {**one, "modified": MARCH, "object_marking_refs": [f"marking-definition--{uuid.uuid4()}"]}
    desk.take(bundle(one))

    async def hand_in(shelf: Collection, asking: Actor) -> None:
        pieces = [
            orjson.dumps(each)
            for day in range(10, 20)
            for each in (one, held, {**one, "modified": f"2026-02-{day}T00:00:00.000Z"}, *(tool(name="b"),) * 300)
        ]
        await take_in(desk.pool, Submission(pieces, shelf.own, "a test"), asking)

    async def work() -> None:
        async with desk.pool.connection() as conn, conn.transaction():
            shelf, asking = await members.shelf(conn, "us"), await members.source(conn, "a source")
        handing = [asyncio.create_task(hand_in(shelf, asking)) for _ in range(6)]
        by, thing = By("op", times.now(), "asked for"), erasing.thing(one["id"])
        async with database.pool(desk.url, size=3, role=database.OWNER) as pool:
            await asyncio.wait(handing, return_when=asyncio.FIRST_COMPLETED, timeout=0.1)
            await erasing.erase(pool, [thing], [], await erasing.carriers(pool, [thing], feed_named), by)
            assert not all(task.done() for task in handing), "it came too late to meet anybody"
            await asyncio.gather(*handing)
            # What they had brought before it was erased is gone; what they brought later never came in.
            assert desk.marked() == {}

    desk.run(work())


@pytest.mark.parametrize("how", ["taken", "held", "refused"])
def test_what_is_erased_while_its_file_is_taken_in_is_not_archived(desk: Desk, how: str) -> None:
    """The objects are written, the file is archived next; in between it is erased, and once it had been handed in.

    The eraser began long before.
    """
    one = again = tool()
    if how == "held":
        again = {**one, "object_marking_refs": [f"marking-definition--{uuid.uuid4()}"]}
    else:
        desk.take(bundle(one), "us-oh")
    if how == "refused":
        again = {**one, "spec_version": "2.2"}
    an_hour_ago = times.now() - timedelta(hours=1)

    desk.take(bundle(again, tool(name="b")), progress=lambda _: desk.erase_meanwhile(one["id"], began=an_hour_ago))
    assert desk.marked() == {}
    assert rows(desk.url, "SELECT count(*) FROM payload_pieces") == [(0,)]
    desk.take(bundle(tool(name="another")))
    assert rows(desk.url, "SELECT count(*) FROM payload_pieces") == [(1,)]


def test_what_is_not_committed_when_it_looks_is_looked_through_later(desk: Desk) -> None:
    one = tool()
    with psycopg.connect(desk.url, options="-c search_path=elections") as slow:
        # A large file, whose database key is the smaller one.
        slow.execute(
            """INSERT INTO payloads (sha256, size, media_type, first_at, last_at) VALUES ('x', 1, '', now(), now())"""
        )
        slow.execute("INSERT INTO payload_pieces SELECT max(pk), 0, %s FROM payloads", (gzip.compress(bundle(one)),))
        desk.take(bundle(one))
        desk.run(look_then(desk, one["id"], slow.commit))
    assert desk.marked() == {}


async def look_then(desk: Desk, stix_id: str, then: Callable[[], None]) -> None:
    things = [erasing.thing(stix_id)]
    async with database.pool(desk.url, size=2, role=database.OWNER) as pool, asyncio.timeout(20):
        carriers = await erasing.carriers(pool, things, feed_named)
        then()
        await erasing.erase(pool, things, [], carriers, By("op", times.now(), "asked for"))


def test_who_asked_before_it_was_erased_is_waited_for(desk: Desk) -> None:
    """He found nothing, and writes words of it down when it is gone already."""
    one = tool()
    (reading,) = desk.take(bundle(one))

    looked = """SELECT query_start FROM pg_stat_activity
                WHERE datname = current_database() AND position('virtualtransaction' IN query) BETWEEN 1 AND 20"""

    async def work() -> None:
        async with desk.pool.connection() as conn:
            async with conn.transaction():
                assert await erasure.since(conn, reading.outcome.id) == set()
                eraser = asyncio.create_task(asyncio.to_thread(desk.erase_meanwhile, one["id"]))
                # He looks again and again whether this transaction has ended.
                looks: set[Any] = set()
                while not eraser.done() and len(looks) < 3:
                    looks.update(rows(desk.url, looked))
                    await asyncio.sleep(0.01)
                words = f"{one['id']}: {MARK}"
                await conn.execute("UPDATE submissions SET details = %s", (words.encode(),))
            await eraser

    rows(desk.url, "UPDATE versions SET submission = NULL; UPDATE submissions SET report = NULL, payload = NULL")
    rows(desk.url, "DELETE FROM payloads")
    desk.run(work())
    assert desk.marked() == {}


def test_what_came_after_the_look_is_erased_too(desk: Desk) -> None:
    """Between what would go and the word of whoever is asked, the object is handed in once more."""
    one = tool()
    desk.take(bundle(one))

    async def look() -> erasing.Carriers:
        async with database.pool(desk.url, size=2, role=database.OWNER) as pool:
            return await erasing.carriers(pool, [erasing.thing(one["id"])], feed_named)

    found = desk.run(look())
    desk.take(bundle(one, tool(name="beside")))
    rows(desk.url, "UPDATE submissions SET report = NULL")

    async def go_on() -> None:
        async with database.pool(desk.url, size=2, role=database.OWNER) as pool:
            by = By("op", times.now(), "asked for")
            await erasing.erase(pool, [erasing.thing(one["id"])], [], found, by)

    desk.run(go_on())
    assert desk.marked() == {}


# -------------------------------------------------------------------------------------------- it does not come in again


def test_it_is_refused_with_a_reason_whoever_brings_it_and_nothing_of_it_is_kept(desk: Desk) -> None:
    one = tool()
    desk.take(bundle(one))
    desk.erase(one["id"])
    marking = f"marking-definition--{uuid.uuid4()}"
    for again, how in (
        (one, {}),
        ({**one, "modified": FEBRUARY}, {}),
        ({**one, "modified": FEBRUARY, "object_marking_refs": [marking]}, {}),
        (one, {"source": "another source"}),
        (one, {"by": "franklin_submitter", "to": "us-oh-39901"}),
        (one, {"by": "isac_steward"}),
        (one, {"free": True}),
        # For another reason it would be refused as well.
        ({**one, "modified": "yesterday"}, {}),
        ({**one, "object_marking_refs": "none"}, {}),
        ({**one, "id": one["id"].upper().replace("TOOL", "tool"), "spec_version": "2.2"}, {}),
    ):
        (reading,) = desk.take(bundle(again, tool(name="beside")), **how)
        assert reading.outcome.counts == Counts(accepted=1, refused=1), how
        assert [line["message"] for line in reading.outcome.failures] == [
            "This object was erased here and does not come back. What may be shared of it needs a new id."
        ]
        (dry,) = desk.take(bundle(again), dry=True, **how)
        assert dry.outcome.counts == Counts(refused=1)
        assert desk.marked() == {}
    assert one["id"] not in {body["id"] for body in desk.shown("us-oh-39901", EVERYTHING)}


def test_one_version_is_kept_out_and_its_object_goes_on(desk: Desk) -> None:
    one = tool(name="harmless")
    wrong = tool(id=one["id"], modified=FEBRUARY)
    assert desk.counts(one).accepted == 1
    assert desk.counts(wrong).accepted == 1
    done = desk.erase(one["id"], modified=1_769_904_000_000_000_000)

    assert [len(gone) for _, gone in done.versions] == [1]
    assert desk.marked() == {}
    assert desk.shown(versions=EVERYTHING) == [one]
    assert desk.counts(wrong).refused == 1
    assert desk.counts({**one, "modified": MARCH}).accepted == 1
    assert [body["modified"] for body in desk.shown(versions=EVERYTHING)] == [JANUARY, MARCH]


def test_one_producers_object_goes_and_anothers_is_shown(desk: Desk) -> None:
    value = {"type": "domain-name", "spec_version": "2.1", "value": "one.example"}
    value["id"] = "domain-name--0acab1f4-2a2b-5a3a-9d0e-5f3c1d2a7b64"
    first, second = ({**value, "x_said_by": who} for who in (MARK, "nobody"))
    desk.take(bundle(first), source="first source")
    desk.take(bundle(second), source="second source")
    ((producer,),) = rows(desk.url, "SELECT identity FROM organizations WHERE name = 'first source'")
    assert desk.shown() == [first]
    desk.erase(value["id"], producer=producer)

    assert desk.marked() == {}
    assert desk.shown() == [second]
    (again,) = desk.take(bundle(first), source="first source")
    assert again.outcome.counts == Counts(refused=1)
    (again,) = desk.take(bundle(second), source="second source")
    assert again.outcome.counts == Counts(repeated=1)
    (again,) = desk.take(bundle(first), source="third source")
    assert again.outcome.counts == Counts(refused=1), "the same bytes"


# ---------------------------------------------------------------------------------------------------- what stays of it


def test_the_audit_keeps_who_when_why_the_hash_and_where_it_stood(desk: Desk) -> None:
    one = tool()
    desk.take(bundle(one))
    desk.take(bundle(one), "us-oh")
    ((digest, seq, date),) = rows(
        desk.url, "SELECT encode(sha256(raw), 'hex'), seq, date_added FROM log WHERE type = 'tool'"
    )
    desk.erase(one["id"], reason="a voter's name")
    lines = dict(rows(desk.url, "SELECT subject, reason FROM audit WHERE action = 'erase' AND actor = 'op'"))
    said = lines[f"{one['id']} {JANUARY}"]

    assert said.startswith("a voter's name (producer identity--")
    assert f"SHA-256 {digest}, seq {seq} for us, dated {times.taxii(date)})" in said
    assert len([subject for subject in lines if subject.startswith("payload ")]) == 2
    row = "SELECT date_added = %s, raw, ended_seq = shut_seq FROM log WHERE seq = %s"
    with psycopg.connect(desk.url, options="-c search_path=elections") as conn:
        assert conn.execute(row.encode(), (date, seq)).fetchall() == [(True, b"", True)]


def test_what_waited_counts_as_refused(desk: Desk) -> None:
    red = tool(object_marking_refs=["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"])
    (mine,) = desk.take(bundle(red, tool(name="b")), "us-oh-39901", "Elm", by="franklin_submitter")
    assert mine.outcome.counts == Counts(accepted=1, held=1)
    desk.erase(red["id"])

    async def work() -> submissions.Status:
        async with desk.pool.connection() as conn:
            asking = await members.keyholder(conn, desk._people["franklin_submitter"].key_id)
            return await submissions.status(conn, mine.outcome.id, asking)

    status = desk.run(work())
    assert (status.complete, status.success, status.failure, status.pending) == (True, 1, 1, 0)


def test_once_more_changes_nothing(desk: Desk) -> None:
    one = tool()
    desk.take(bundle(one))
    desk.erase(one["id"])
    facts = "SELECT (SELECT count(*) FROM erased), (SELECT seq FROM head), (SELECT count(*) FROM audit)"
    before = rows(desk.url, facts)
    assert [gone for _, gone in desk.erase(one["id"]).versions] == [[]]
    assert rows(desk.url, facts) == before


def test_what_is_unknown_or_needed_is_said(desk: Desk) -> None:
    assert desk.erase(f"tool--{uuid.uuid4()}", dry=True).is_nothing
    with pytest.raises(NotFound, match="no submission"):
        desk.erase(str(uuid.uuid4()))
    for wrong in ("tool--x", "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"):
        with pytest.raises(Invalid):
            desk.erase(wrong)


def test_the_application_itself_may_not_erase(desk: Desk) -> None:
    one = make("tool")
    desk.take(bundle(one))
    by = By("op", times.now(), "x")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        desk.run(erasing.erase(desk.pool, [Thing(one["id"])], [], erasing.Carriers([], feed_named), by))
