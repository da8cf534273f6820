"""The dry run: the same verdicts as the real one, through random histories, and not a row is written."""

import uuid
from collections.abc import Sequence
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from tests.ingest.conftest import Body, Desk, Run

from isac.errors import Invalid
from isac.ingest.intake import Outcome, Submission, take_in
from isac.ingest.rehearsal import rehearse
from isac.stix import markings
from isac.stix.markings import TLP
from isac.store import database, log, tables
from isac.store.database import Pool

JANUARY, FEBRUARY, MARCH = (f"2026-0{month}-01T00:00:00.000Z" for month in (1, 2, 3))
#: a marking that nobody has explained
UNKNOWN = "marking-definition--00000000-0000-4000-8000-0000000000f1"
#: whoever hands in, and where
WAYS = [
    ("isac_steward", "us"),
    ("isac_analyst", "us"),
    ("ohio_analyst", "us-oh"),
    ("ohio_analyst", "us-oh-39901"),
    ("franklin_submitter", "us-oh-39901"),
    ("cook_submitter", "us-il-17901"),
]


@pytest.fixture(scope="module")
def url(shared: tuple[Pool, Run, str]) -> str:
    return shared[2]


def rows(url: str) -> dict[str, Any]:
    """Number and content of all rows of all tables."""
    content = sql.SQL("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t")
    with psycopg.connect(url) as conn:
        return {
            name: conn.execute(content.format(sql.Identifier(database.SCHEMA, name))).fetchone()
            for name in tables.metadata.tables
        }


def told(outcome: Outcome) -> dict[str, Any]:
    """What became of it, in no order: two batches are written at a time."""
    repeated = [outcome.successes[place]["id"] for place in outcome.repeated]
    lists = (outcome.successes, outcome.failures, outcome.pendings)
    return {
        "counts": outcome.counts,
        # What has no version of its own gets the hour of the hand-over.
        "lines": [sorted((line["id"], line.get("message", "")) for line in lines) for lines in lists],
        "repeated": sorted(repeated),
        "unkept": outcome.unkept,
    }


def both(desk: Desk, pieces: Sequence[bytes], by: str, to: str, *, free: bool = False) -> tuple[Any, Any]:
    """What the dry run says, and what then becomes of it."""
    submission = Submission(pieces, desk.shelf(to).own, "a test")
    dry = desk.run(rehearse(desk.pool, submission, desk.actor(by), free=free))
    real = desk.run(take_in(desk.pool, submission, desk.actor(by), free=free))
    return told(dry), told(real)


def tool(stix_id: str, **more: Any) -> Body:
    head = {"type": "tool", "spec_version": "2.1", "id": stix_id, "created": JANUARY, "modified": JANUARY}
    return {**head, "name": "a tool", **more}


# What several submissions may say of few objects: all that verdicts hang on.
ONE = st.fixed_dictionaries(
    {"nth": st.integers(0, 2), "modified": st.sampled_from([JANUARY, FEBRUARY, MARCH])},
    optional={
        "name": st.sampled_from(["a tool", "another name", 7]),
        "created": st.sampled_from([JANUARY, FEBRUARY]),
        "revoked": st.booleans(),
        "object_marking_refs": st.sampled_from([[UNKNOWN], *map(markings.refs, TLP)]),
        "created_by_ref": st.sampled_from(["isac_steward", "franklin_submitter", "elsewhere"]),
    },
)
HISTORY = st.lists(st.tuples(st.sampled_from(WAYS), st.lists(ONE, min_size=1, max_size=6)), min_size=1, max_size=4)


@given(history=HISTORY, free=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_dry_run_says_what_the_real_one_does(desk: Desk, history: list[Any], free: bool) -> None:
    ids = [f"tool--{uuid.uuid4()}" for _ in range(3)]
    creators = {name: desk.actor(name).identity for name in ("isac_steward", "franklin_submitter")}
    creators["elsewhere"] = "identity--00000000-0000-4000-8000-0000000000e1"
    for (by, to), drawn in history:
        pieces = []
        for one in drawn:
            more = {name: value for name, value in one.items() if name != "nth"}
            if "created_by_ref" in more:
                more["created_by_ref"] = creators[more["created_by_ref"]]
            pieces.append(orjson.dumps(tool(ids[one["nth"]], **more)))
        dry, real = both(desk, pieces, by, to, free=free)

        assert dry == real


def test_it_writes_nothing(desk: Desk, url: str) -> None:
    versions = [tool(f"tool--{uuid.uuid4()}", modified=modified) for modified in (JANUARY, FEBRUARY)]
    things: list[Body] = [
        *versions,
        {**versions[0], "id": f"tool--{uuid.uuid4()}"},
        tool(f"tool--{uuid.uuid4()}", created_by_ref=f"identity--{uuid.uuid4()}", object_marking_refs=["x"]),
        tool(f"tool--{uuid.uuid4()}", created_by_ref=f"identity--{uuid.uuid4()}"),
        tool(f"tool--{uuid.uuid4()}", object_marking_refs=markings.refs(TLP.RED)),
    ]
    before = rows(url)
    submission = Submission([*map(orjson.dumps, things)], desk.shelf("us-il-17901").own, "a test", None, False, "words")
    outcome = desk.run(rehearse(desk.pool, submission, desk.actor("cook_submitter")))

    assert (outcome.counts.accepted, outcome.counts.held, outcome.counts.refused) == (4, 1, 1)
    assert rows(url) == before


def test_several_batches_with_versions_and_copies_all_over(desk: Desk) -> None:
    many = [tool(f"tool--{uuid.uuid4()}") for _ in range(2400)]
    several = [tool(each["id"], modified=modified) for each in many[::300] for modified in (FEBRUARY, MARCH, FEBRUARY)]
    pieces = [orjson.dumps(each) for each in [*many, *several, *many[:100], *several[:5]]]
    dry, real = both(desk, pieces, "isac_steward", "us")

    assert dry == real
    assert dry["counts"].repeated > 100


def test_others_write_while_it_looks_at_what_comes_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's lock is left alone."""
    locked: list[bool] = []
    weigh = log.weigh

    async def weighing(conn: Any, *rest: Any) -> Any:
        found = await weigh(conn, *rest)
        async with desk.pool.connection() as other, other.transaction():
            cursor = await other.execute("SELECT pg_try_advisory_xact_lock('head'::regclass::bigint)")
            locked.append(not (await cursor.fetchone() or (False,))[0])
        return found

    monkeypatch.setattr(log, "weigh", weighing)
    pieces = [orjson.dumps(tool(f"tool--{uuid.uuid4()}")) for _ in range(3)]
    desk.run(rehearse(desk.pool, Submission(pieces, desk.shelf("us").own, "a test"), desk.actor("isac_steward")))

    assert locked == [False]


def test_an_object_in_very_many_versions_is_not_looked_at(desk: Desk) -> None:
    stix_id = f"tool--{uuid.uuid4()}"
    pieces = [orjson.dumps(tool(stix_id, modified=f"2026-01-01T00:00:{n:02}.000Z")) for n in range(51)]
    submission = Submission(pieces, desk.shelf("us").own, "a test")

    with pytest.raises(Invalid, match="51 versions"):
        desk.run(rehearse(desk.pool, submission, desk.actor("isac_steward")))
