"""Documents that members hand in: what is authored from them is theirs, and nobody writes in another's name."""

import uuid
from typing import Any

import orjson
import pytest
from tests.ingest.conftest import Desk

from isac.ingest import files
from isac.ingest.files import Payload, Reading
from isac.stix import authored, markings
from isac.stix.markings import TLP
from isac.store import members

JANUARY = "2026-01-01T00:00:00.000Z"


def hand_in(desk: Desk, content: bytes, by: str, to: str, source: str, **how: Any) -> Reading:
    payload = Payload("a list", content)
    found: Reading = desk.run(
        files.ingest(desk.pool, payload, desk.shelf(to), desk.actor(by), source, sample=True, **how)
    )
    return found


def test_a_member_s_list_is_the_member_s_whatever_source_it_names(desk: Desk) -> None:
    seen: list[bytes] = []
    read = hand_in(
        desk,
        b"host-71.example\n",
        "franklin_submitter",
        "us-oh-39901",
        "Somebody else",
        looked=lambda pieces, _: seen.extend(pieces),
    )
    body = orjson.loads(seen[0])

    assert read.outcome.counts.accepted == 1
    assert body["created_by_ref"] == desk.actor("franklin_submitter").identity
    assert body["id"] == authored.indicator_id("Elm County Clerk", "host-71.example")


@pytest.mark.parametrize("source", ["A feed", "a FEED"])
def test_what_waits_from_others_under_a_guessed_id_never_becomes_the_feed_s(desk: Desk, source: str) -> None:
    value = f"host-{uuid.uuid4().hex[:12]}.example"
    guessed = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": authored.indicator_id("A feed", value),
        **dict.fromkeys(("created", "modified", "valid_from"), JANUARY),
        "name": "a lie",
        "pattern": "[domain-name:value = 'innocent.example']",
        "pattern_type": "stix",
        "object_marking_refs": markings.refs(TLP.RED),
    }
    waiting = hand_in(desk, orjson.dumps([guessed]), "cook_submitter", "us-il-17901", source)
    seen: list[bytes] = []
    nation = desk.shelf("us")

    async def feed() -> Reading:
        async with desk.pool.connection() as conn, conn.transaction():
            asking = await members.source(conn, "A feed")
        return await files.ingest(
            desk.pool,
            Payload("a list", value.encode()),
            nation,
            asking,
            source,
            sample=True,
            looked=lambda pieces, _: seen.extend(pieces),
        )

    read: Reading = desk.run(feed())
    assert waiting.outcome.counts.held == 1
    assert read.outcome.counts.accepted == 1
    assert orjson.loads(seen[0])["name"] == value
