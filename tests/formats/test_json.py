"""Lists of JSON records, wherever they stand in a file."""

import gzip
import json
import os
import pathlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isac.errors import Invalid
from isac.formats.found import Found, Unreadable
from isac.formats.json import read

CORPUS = pathlib.Path(os.environ.get("ISAC_CORPUS", pathlib.Path(__file__).parents[3] / "shared" / "corpus"))
corpus = pytest.mark.skipif(
    not (CORPUS / "feeds").is_dir(), reason=f"no corpus in {CORPUS}: set ISAC_CORPUS to its folder"
)

VALUE = {"value": "v"}


def values(data: bytes, columns: dict[str, str] = VALUE, records: str | None = None) -> list[str]:
    return [
        f"{found.line} {found.observable.value}" if isinstance(found, Found) else f"! {found.reason}"
        for found in read(data, columns, records)
    ]


@pytest.mark.parametrize(
    ("data", "records"),
    [
        (b'[{"v":"a.example"},{"v":"b.example"}]', None),
        (b'\xef\xbb\xbf{"v":"a.example"}\n{"v":"b.example"}\n', None),
        (b'{"rows":[{"v":"a.example"},{"v":"b.example"}]}', "rows"),
        (b'{"x":1,"result":{"rows":[{"v":"a.example"},{"v":"b.example"}]}}', "result.rows"),
    ],
)
def test_a_list_of_records_wherever_it_stands(data: bytes, records: str | None) -> None:
    assert values(data, records=records) == ["1 a.example", "2 b.example"]


def test_members_are_named_with_dots_and_by_whole_names_first() -> None:
    assert values(b'[{"a":{"b":"x.example"}},{"a.b":"y.example"}]', {"value": "a.b"}) == ["1 x.example", "2 y.example"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b'{"v":"\\ud800"}', "no JSON"),
        (b'{"v":1', "no JSON"),
        (b"17", "no JSON object"),
        (b'{"w":"b.example"}', "no value"),
        (b'{"v":null}', "no value"),
        (b'{"v":{"v":"b.example"}}', "no value"),
        (b'{"v":"nothing of the kind"}', "is not"),
        (b'{"type":"metadata","records":2}', "no value"),
    ],
)
def test_a_bad_record_says_why_and_costs_no_other(bad: bytes, words: str) -> None:
    first, found, last = values(b'{"v":"a.example"}\n%b\n{"v":"c.example"}' % bad)
    assert (first, last) == ("1 a.example", "3 c.example")
    assert found.startswith("!")
    assert words in found


def test_a_bad_escape_in_a_list_costs_its_record_alone() -> None:
    found = values(b'{"rows":[{"v":"a.example"},{"v":"\\ud800"},{"v":"c.example"}]}', records="rows")
    assert (found[0], found[2]) == ("1 a.example", "3 c.example")


@pytest.mark.parametrize(
    ("data", "records", "words"),
    [
        (b"", None, "empty"),
        (b"v\na.example", None, "not JSON"),
        (b'{"rows":[],"x":1}', None, "it may be one of rows"),
        (b'{"x":1}', None, "none in it"),
        (b'{"x":1}', "rows", "no list `rows`"),
        (b'{"rows":{"a":1}}', "rows", "no list `rows`"),
        (b"[]", "rows", "no `rows`"),
        (b'{"rows":[', "rows", "not JSON"),
        (b"[" * 100_000, None, "nested more than"),
    ],
)
def test_a_file_without_records_is_refused(data: bytes, records: str | None, words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read(data, VALUE, records)
    assert words in refusal.value.detail


def test_scalars_and_lists_of_scalars_are_texts() -> None:
    record = {"v": ["192.0.2.1", "a.example"], "c": 75, "t": ["x", "y", None, {"z": 1}], "d": True}
    columns = {"value": "v", "confidence": "c", "labels": "t", "compromised": "d"}
    found = list(read(json.dumps([record]).encode(), columns))
    assert [(one.confidence, one.labels) for one in found if isinstance(one, Found)] == [
        (75, ("x", "y", "compromised")),
        (75, ("x", "y", "compromised")),
    ]


KEV = {
    "value": "cveID",
    "name": "vulnerabilityName",
    "description": "shortDescription",
    "first_seen": "dateAdded",
    "labels": "cwes",
    "references": "notes",
}


def test_a_kev_record() -> None:
    record = {
        "cveID": "CVE-1999-99901",
        "vulnerabilityName": "Example Vulnerability",
        "shortDescription": "A flaw.",
        "dateAdded": "2026-10-01",
        "notes": "For more see: https://a.example/x?y=1 ; https://b.example/",
        "cwes": ["CWE-79", "CWE-20"],
    }
    [found] = read(json.dumps({"vulnerabilities": [record]}).encode(), KEV, "vulnerabilities", "cve")
    assert isinstance(found, Found)
    assert (found.observable.kind, found.observable.value) == ("cve", "CVE-1999-99901")
    assert found.seen == datetime(2026, 10, 1, tzinfo=UTC)
    assert found.references == ("https://a.example/x?y=1", "https://b.example/")
    assert found.labels == ("CWE-79", "CWE-20")


@given(st.binary(max_size=150))
def test_random_bytes_raise_nothing_but_invalid(data: bytes) -> None:
    for text in (data, b"[" + data + b"]", b'{"v":1}\n' + data, b'{"v":[' + data + b"]}"):
        for records in (None, "v", "v.v"):
            try:
                found = list(read(text, VALUE, records))
            except Invalid:
                continue
            assert all(one.reason and len(one.text) <= 200 for one in found if isinstance(one, Unreadable))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["v", "w"]), inner, max_size=2),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=6))
def test_every_record_is_accounted_for(records: list[Any]) -> None:
    found = list(read(json.dumps(records).encode(), VALUE))
    assert {one.line for one in found} == set(range(1, len(records) + 1))


@corpus
def test_corpus_kev_and_drop() -> None:
    catalog = gzip.decompress((CORPUS / "feeds" / "kev-catalog.json.gz").read_bytes())
    found = list(read(catalog, KEV, "vulnerabilities", "cve"))
    assert len(found) == 1404
    assert all(isinstance(one, Found) and one.seen and one.name and one.description for one in found)

    drop = gzip.decompress((CORPUS / "feeds" / "spamhaus-drop-json-lines.json.gz").read_bytes())
    *networks, metadata = read(drop, {"value": "cidr", "labels": "sblid"})
    assert len(networks) == 1406
    assert all(isinstance(one, Found) and "/" in one.observable.value for one in networks)
    assert isinstance(metadata, Unreadable)
