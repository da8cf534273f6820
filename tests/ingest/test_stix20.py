"""Bundles of STIX 2.0 go down the road: as objects of ours, each once, and newer versions after older ones."""

import gzip
import io
import tarfile
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest

from isac.ingest import files
from isac.ingest.feeds import Feed
from isac.ingest.files import Payload, Reading
from isac.stix import markings
from isac.stix.markings import TLP
from isac.store import members, triage
from isac.store.database import Pool
from isac.store.objects import Query, Versions, page
from isac.store.submissions import Counts

Body = dict[str, Any]

CREATED = "2017-03-01T10:00:00.000Z"
AUTHOR = f"identity--{uuid.UUID(int=1, version=4)}"
STATEMENT = f"marking-definition--{uuid.UUID(int=2, version=4)}"
UNKNOWN = f"marking-definition--{uuid.UUID(int=3, version=4)}"
TOOL = f"tool--{uuid.UUID(int=4, version=4)}"


def make(kind: str, number: int, **properties: Any) -> Body:
    head = {"type": kind, "id": f"{kind}--{uuid.UUID(int=number, version=4)}", "created_by_ref": AUTHOR}
    return {**head, "created": CREATED, "modified": CREATED, **properties}


def bundle(*bodies: Body) -> bytes:
    whole = {"type": "bundle", "id": f"bundle--{uuid.uuid4()}", "spec_version": "2.0", "objects": bodies}
    return orjson.dumps(whole)


AUTHOR_BODY = make("identity", 1, id=AUTHOR, name="Example Partner", identity_class="organization")
MARKING = {
    "type": "marking-definition",
    "id": STATEMENT,
    "created": CREATED,
    "definition_type": "statement",
    "definition": {"statement": "Copyright Example Partner"},
}
THE_TOOL = make("tool", 4, name="Tool", labels=["remote-access"], object_marking_refs=[STATEMENT])


class Desk:
    def __init__(self, pool: Pool, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._pool, self._run = pool, run

    def take_in(self, data: bytes, feed: Feed | None = None, source: str = "A partner") -> Reading:
        return self._one(Payload("bundle.json", data), feed, source)

    def take_in_file(self, path: Path) -> list[Reading]:
        return [self._one(payload, None, "A partner") for payload in files.payloads(path)]

    def _one(self, payload: Payload, feed: Feed | None, source: str) -> Reading:
        async def work() -> Reading:
            async with self._pool.connection() as conn, conn.transaction():
                shelf, asking = await members.shelf(conn, "us"), await members.source(conn, source)
            return await files.ingest(self._pool, payload, shelf, asking, source, feed=feed, sample=True)

        reading: Reading = self._run(work())
        return reading

    def shown(self) -> list[Body]:
        async def work() -> list[bytes]:
            async with self._pool.connection() as conn:
                query = Query(limit=1000, versions=Versions())
                return (await page(conn, await members.shelf(conn, "us"), query)).objects

        bodies = [orjson.loads(raw) for raw in self._run(work())]
        return [body for body in bodies if body["id"] not in markings.MARKINGS]

    def rules(self) -> list[str]:
        async def work() -> list[str]:
            async with self._pool.connection() as conn:
                return [held.rule for _, held in await triage.held(conn, 100)]

        rules: list[str] = self._run(work())
        return rules


@pytest.fixture
def desk(pool: Pool, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> Desk:
    return Desk(pool, run)


def test_the_same_bundle_twice_changes_nothing(desk: Desk) -> None:
    text = bundle(AUTHOR_BODY, MARKING, THE_TOOL)

    assert desk.take_in(text).outcome.counts == Counts(accepted=3)
    before = desk.shown()
    assert desk.take_in(text, source="a PARTNER").outcome.counts == Counts(repeated=3)
    assert desk.shown() == before
    assert {body["type"] for body in before} == {"identity", "marking-definition", "tool"}
    assert len({body["created_by_ref"] for body in before}) == 1


def test_a_newer_version_of_the_original_replaces_ours(desk: Desk) -> None:
    desk.take_in(bundle(MARKING, THE_TOOL))
    newer = THE_TOOL | {"name": "Better", "modified": "2018-01-01T00:00:00.000000001Z"}

    assert desk.take_in(bundle(newer)).outcome.counts == Counts(accepted=1)
    (tool,) = [body for body in desk.shown() if body["type"] == "tool"]
    assert (tool["name"], tool["modified"]) == ("Better", newer["modified"])


def test_references_meet_what_another_bundle_brings(desk: Desk) -> None:
    actor = make("threat-actor", 5, name="Actor", labels=["spy"])
    uses = make("relationship", 6, relationship_type="uses", source_ref=actor["id"], target_ref=TOOL)
    desk.take_in(bundle(actor, uses))
    desk.take_in(bundle(MARKING, THE_TOOL))

    by_type = {body["type"]: body for body in desk.shown()}
    assert by_type["relationship"]["source_ref"] == by_type["threat-actor"]["id"]
    assert by_type["relationship"]["target_ref"] == by_type["tool"]["id"]
    assert by_type["tool"]["object_marking_refs"] == [by_type["marking-definition"]["id"]]


def test_an_unknown_marking_is_held_until_its_definition_is_there(desk: Desk) -> None:
    marked = make("campaign", 7, name="Campaign", object_marking_refs=[UNKNOWN])
    assert desk.take_in(bundle(marked)).outcome.counts == Counts(held=1)
    assert desk.rules() == ["marking"]

    desk.take_in(bundle(MARKING | {"id": UNKNOWN}))
    assert desk.take_in(bundle(marked)).outcome.counts == Counts(accepted=1)


def test_tlp_rules_as_in_2_1(desk: Desk) -> None:
    red, white = markings.definition(TLP.RED, 1), markings.definition(TLP.CLEAR, 1)
    definition = {key: value for key, value in red.items() if key not in ("spec_version", "name")}
    counts = desk.take_in(
        bundle(
            definition,
            make("campaign", 8, name="A", object_marking_refs=[red["id"]]),
            make("campaign", 9, name="B", object_marking_refs=[white["id"]]),
            definition | {"definition": {"tlp": "white"}},
        )
    ).outcome.counts

    assert counts == Counts(accepted=2, held=1, refused=1)
    assert [body["name"] for body in desk.shown()] == ["B"]


def test_one_that_cannot_be_upgraded_costs_no_other(desk: Desk) -> None:
    broken = make("relationship", 10, relationship_type="uses", source_ref=TOOL)
    outcome = desk.take_in(bundle(MARKING, broken, THE_TOOL)).outcome

    assert outcome.counts == Counts(accepted=2, refused=1)
    (line,) = outcome.failures
    assert (line["id"], line["message"]) == (broken["id"], "target_ref is missing: every relationship has one")


def test_a_feed_of_stix_may_be_2_0_and_so_may_a_part_of_an_archive(desk: Desk, tmp_path: Path) -> None:
    feed = Feed(name="partner", path="x", format="stix", license="made up", redistribute=True)
    assert desk.take_in(bundle(MARKING), feed).outcome.counts == Counts(accepted=1)

    new = THE_TOOL | {"spec_version": "2.1", "object_marking_refs": markings.refs(TLP.CLEAR)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in (("old.json", bundle(THE_TOOL)), ("new.json", orjson.dumps([new]))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    path = tmp_path / "both.tar.gz"
    path.write_bytes(gzip.compress(packed.getvalue()))

    (reading,) = desk.take_in_file(path)
    assert reading.outcome.counts == Counts(accepted=2)
    old, kept = sorted((body for body in desk.shown() if body["type"] == "tool"), key=lambda body: body["id"] == TOOL)
    assert kept["created_by_ref"] == AUTHOR
    assert old["external_references"][-1]["external_id"] == TOOL


def test_lines_of_bundles_are_taken(desk: Desk) -> None:
    text = b"\n".join(bundle(body) for body in (AUTHOR_BODY, MARKING, THE_TOOL))
    assert desk.take_in(text).outcome.counts == Counts(accepted=3)
