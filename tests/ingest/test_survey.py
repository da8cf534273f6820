"""The survey of a submission: reading only what may say something of others finds what reading everything finds."""

from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from isac.ingest import intake
from isac.policy.screen import Survey, survey, trace
from isac.stix import markings
from isac.stix.markings import TLP

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
    assert intake._survey(given, default) == in_full(given, default)


@given(st.lists(pieces(), max_size=6))
def test_companions_are_told_by_their_type_alone(given: list[bytes]) -> None:
    kinds = ("identity", "marking-definition", "extension-definition")
    assert [intake._is_no_companion(piece) for piece in given] == [
        orjson.loads(piece)["type"] not in kinds for piece in given
    ]
