"""Judging before anything is written: by bytes alone or in full, beside or not, the verdicts are the same."""

import asyncio
import gc
import multiprocessing
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isac import times
from isac.errors import Surroundings
from isac.ingest import judging
from isac.ingest.judging import Batch, Judge, Second, judged, second_process
from isac.policy.screen import Survey, survey, trace
from isac.stix import markings
from isac.stix.markings import TLP
from isac.stix.objects import Object

IDS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(4)]
STATEMENT = f"marking-definition--{IDS[0]}"
MARKS = [*(ref for tlp in TLP for ref in markings.refs(tlp)), STATEMENT, markings.refs(TLP.RED)[0].upper()]

KINDS = st.sampled_from(
    ["indicator", "malware", "relationship", "sighting", "ipv4-addr", "identity", "x-own", "marking-definition"]
)
REFS = st.sampled_from([f"{kind}--{uuid}" for kind in ("indicator", "ipv4-addr", "relationship") for uuid in IDS])


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(KINDS)
    body: dict[str, Any] = {"type": kind, "id": f"{kind}--{draw(st.sampled_from(IDS))}"}
    if kind != "ipv4-addr":
        body["created"] = "2026-01-01T00:00:00.000Z"
    if kind == "relationship":
        body |= {"source_ref": draw(REFS), "target_ref": draw(REFS)}
    if kind == "sighting":
        body["sighting_of_ref"] = draw(REFS)
    if kind == "marking-definition":
        body |= {"definition_type": "statement", "definition": {"statement": "For members"}}
    if draw(st.booleans()):
        body["object_marking_refs"] = draw(st.lists(st.sampled_from(MARKS), min_size=1, max_size=2))
    if draw(st.integers(0, 3)) == 0:
        body["granular_markings"] = [{"marking_ref": draw(st.sampled_from(MARKS)), "selectors": ["type"]}]
    if draw(st.integers(0, 3)) == 0:
        body["description"] = draw(st.sampled_from([f'"{STATEMENT}"', '"relationship"', "C:\\dir", '{"type":"x"}']))
    return body


@st.composite
def pieces(draw: st.DrawFn) -> bytes:
    body = draw(bodies())
    if draw(st.integers(0, 3)) == 0:
        body = dict(reversed(body.items()))
    raw = orjson.dumps(body, option=draw(st.sampled_from([0, orjson.OPT_INDENT_2])))
    # Written with escapes, it says the same.
    for plain, escaped in ((b"marking-definition", b"marking\\u002ddefinition"), (b'"type"', b'"t\\u0079pe"')):
        if draw(st.integers(0, 3)) == 0:
            raw = raw.replace(plain, escaped)
    return raw


def in_full(given: list[bytes], default: TLP) -> Survey:
    everything = [orjson.loads(piece) for piece in given]
    found = survey(everything)
    if found.company:
        trace(found, everything, default)
    return found


HIDDEN = b'{"type":"tool","object_marking_refs":["%s"]}' % STATEMENT.replace("-", "\\u002d").encode()


@example([HIDDEN], TLP.GREEN)
@given(st.lists(pieces(), max_size=6), st.sampled_from(TLP))
def test_what_is_left_out_by_its_bytes_says_nothing(given: list[bytes], default: TLP) -> None:
    known, _, _ = judging.look_over(given, default)
    assert known == in_full(given, default)


@given(st.lists(pieces(), max_size=6))
def test_companions_come_first_and_nothing_else_changes_its_place(given: list[bytes]) -> None:
    kinds = ("identity", "marking-definition", "extension-definition")
    _, companions, others = judging.look_over(given, TLP.GREEN)
    expected = sorted(given, key=lambda piece: orjson.loads(piece)["type"] not in kinds)
    assert [given[place] for place in companions + others] == expected


def submission() -> list[bytes]:
    """More than two chunks: good, wrong and held objects, versions of one, no JSON, companions at the end."""
    head = {"spec_version": "2.1", "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z"}
    tools = [{"type": "tool", "id": f"tool--{uuid.uuid4()}", "name": f"n {n}", **head} for n in range(4500)]
    tools[7]["name"] = 7  # type: ignore[assignment]
    tools[9] |= {"object_marking_refs": [STATEMENT]}  # type: ignore[dict-item]
    for n, more in ((20, {}), (21, {"object_marking_refs": [STATEMENT]})):
        weak = {"type": "vulnerability", "id": f"vulnerability--{uuid.uuid4()}", "name": "CVE-2026-10000"}
        tools[n] |= weak | more  # type: ignore[arg-type]
    tools[11] |= {"id": tools[10]["id"], "modified": "2026-01-02T00:00:00.000Z"}
    identity = {"type": "identity", "id": f"identity--{uuid.uuid4()}", "name": "a name", **head}
    return [*map(orjson.dumps, tools), b"{", b"", orjson.dumps(identity)]


def judge(pieces: list[bytes]) -> Judge:
    known, now = judging.look_over(pieces, TLP.GREEN)[0], times.now()
    identity = f"identity--{IDS[1]}"
    nanoseconds = times.nanoseconds(now)
    return Judge(known, TLP.GREEN, now, nanoseconds, identity, "us", free=False, sample=False, watched=True)


def order(pieces: list[bytes]) -> Sequence[int]:
    _, companions, others = judging.look_over(pieces, TLP.GREEN)
    return companions + others


def all_of(batches: list[Batch], part: str) -> list[object]:
    return [each for batch in batches for each in getattr(batch, part)]


def test_beside_in_a_second_process_the_verdicts_are_the_same() -> None:
    pieces = submission()
    asked = judge(pieces)

    async def batches(second: Second | None) -> list[Batch]:
        return [batch async for batch in judged(asked, pieces, order(pieces), second)]

    here = asyncio.run(batches(None))
    with second_process(pieces) as second:
        there = asyncio.run(batches(second))
    assert [batch.count for batch in here] == [1999, 1, 2000, 503]
    # Shorter ones at both ends, so a second version waits for less.
    assert [batch.count for batch in there] == [499, 1, 500, 875, 657, 500, 500, 500, 471]
    for part in ("arrivals", "again", "refusals", "holdings"):
        assert sorted(all_of(there, part), key=repr) == sorted(all_of(here, part), key=repr)
    named = [{raw: each for batch in batches for raw, each in batch.named.items()} for batches in (here, there)]
    assert (named[0], len(named[0])) == (named[1], 2)
    assert there[0].arrivals == here[0].arrivals[:496]
    assert [len(batch.refusals) for batch in here] == [1, 0, 0, 2]
    assert [len(batch.holdings) for batch in here] == [2, 0, 0, 0]
    assert orjson.loads(here[0].arrivals[0].raw)["type"] == "identity"
    assert multiprocessing.active_children() == []


def test_in_a_thread_the_verdicts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = submission()
    asked = judge(pieces)

    async def batches() -> list[Batch]:
        return [batch async for batch in judged(asked, pieces, order(pieces))]

    usual = asyncio.run(batches())
    monkeypatch.setattr(judging, "_SLOW", -1.0)
    assert asyncio.run(batches()) == usual


def test_versions_and_copies_make_few_batches() -> None:
    head = {"type": "identity", "spec_version": "2.1", "created": "2026-01-01T00:00:00.000Z", "name": "a name"}
    versions = [
        orjson.dumps(head | {"id": f"identity--{IDS[place]}", "modified": f"2026-01-0{day}T00:00:00.000Z"})
        for place in range(4)
        for day in (1, 2, 3)
    ]
    pieces = versions * 100

    async def batches() -> list[Batch]:
        return [batch async for batch in judged(judge(pieces), pieces, order(pieces))]

    found = asyncio.run(batches())
    assert [[arrival.raw for arrival in batch.arrivals] for batch in found] == [
        versions[number::3] for number in range(3)
    ]
    assert [(batch.count, len(batch.again)) for batch in found] == [(400, 396)] * 3


def test_what_breaks_in_the_second_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: bytes) -> Object:
        raise KeyError("a bug of ours")

    monkeypatch.setattr(judging, "accept", broken)
    pieces = submission()

    async def first() -> None:
        with second_process(pieces) as second:
            async with aclosing(judged(judge(pieces), pieces, order(pieces), second)) as batches:
                await anext(batches)

    with pytest.raises(RuntimeError, match="a bug of ours"):
        asyncio.run(first())


def test_a_second_process_that_is_killed_is_one_sentence(caplog: pytest.LogCaptureFixture) -> None:
    pieces = submission() * 4

    async def killed() -> None:
        with second_process(pieces) as second:
            async with aclosing(judged(judge(pieces), pieces, order(pieces), second)) as batches:
                async for _ in batches:
                    for process in multiprocessing.active_children():
                        process.kill()

    with pytest.raises(Surroundings, match="was stopped"):
        asyncio.run(killed())
    gc.collect()
    assert multiprocessing.active_children() == []
    assert caplog.records == []


def test_whoever_stops_listening_stops_the_second_process(caplog: pytest.LogCaptureFixture) -> None:
    pieces = submission() * 4

    async def first() -> None:
        with second_process(pieces) as second:
            async with aclosing(judged(judge(pieces), pieces, order(pieces), second)) as batches:
                await anext(batches)

    asyncio.run(first())
    gc.collect()
    assert multiprocessing.active_children() == []
    assert caplog.records == []
