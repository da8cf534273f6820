"""Cutting STIX files into their objects' own bytes, and refusing what only looks like STIX 2.1."""

import gzip
import json
import os
import pathlib
import tarfile
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isac.errors import Invalid
from isac.formats import cutting, texts
from isac.formats.stix import split

CORPUS = pathlib.Path(os.environ.get("ISAC_CORPUS", pathlib.Path(__file__).parents[3] / "shared" / "corpus"))
corpus = pytest.mark.skipif(
    not (CORPUS / "stix21").is_dir(), reason=f"no corpus in {CORPUS}: set ISAC_CORPUS to its folder"
)

ONE = b'{"type":"indicator","id":"indicator--1","name":"\xc3\xa9 \\u00e9 [}"}'
TWO = b'{ "type" : "malware" , "x" : [ 1 , { "y" : [ ] } ] }'


def files(folder: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted((CORPUS / folder).iterdir()):
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                for member in archive:
                    if extracted := archive.extractfile(member):
                        yield f"{path.name}/{member.name}", extracted.read()
        else:
            yield path.name, gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"bundle","id":"bundle--1","objects":[%b,%b]}' % (ONE, TWO),
        b'{"objects":[%b,%b],"more":false}' % (ONE, TWO),
        b'{"type":"bundle","spec_version":"2.1","objects":[%b,%b]}' % (ONE, TWO),
        b'{"type":"bundle","spec_version":"2.0","objects":[%b,%b,{"spec_version":"2.1"}]}' % (ONE, TWO),
        b"[%b,%b]" % (ONE, TWO),
        b"\xef\xbb\xbf \r\n[ %b\n,\t%b ]\n" % (ONE, TWO),
        b"%b\n%b" % (ONE, TWO),
        b'{"type":"bundle","objects":[%b]}\r\n\r\n{"type":"bundle","objects":[%b]}\n' % (ONE, TWO),
        b'{"\\u006fbjects":[%b,%b]}' % (ONE, TWO),
        b'{"objects":[1],"objects":[%b,%b]}' % (ONE, TWO),
    ],
)
def test_every_shape_gives_the_objects_own_bytes(text: bytes) -> None:
    assert [*split(text)[:2]] == [ONE, TWO]


def test_an_object_by_itself_is_its_own_piece() -> None:
    assert [*split(b"\n" + ONE + b"\n")] == [ONE]


def test_observed_data_of_stix_2_0_is_an_object_although_it_has_objects() -> None:
    text = b'{"type":"observed-data","id":"observed-data--1","objects":{"0":{"type":"file"}}}'
    assert [*split(text)] == [text]


@pytest.mark.parametrize("text", [b"{}", b'{"more":false}', b'{"objects":[]}', b"[]", b"[ ]"])
def test_taxii_3_7_an_empty_envelope_leaves_objects_out(text: bytes) -> None:
    assert [*split(text)] == []


@pytest.mark.parametrize(
    "bad",
    [
        b'{"name":"\\ud800"}',
        b'{"name":"\\x41"}',
        b'{"name":"a\nb"}',
        b'{"size":NaN}',
        b'{"size":01}',
        b'{"list":[1,]}',
        b'{"a" 1}',
        b'{"name":"\xff"}',
        b"nonsense",
        b'"text, with a comma and [ a bracket"',
        b"",
        b"[" * 2000 + b"]" * 2000,
    ],
)
@pytest.mark.parametrize(
    "around", [b'{"type":"bundle","objects":[%b]}', b"[%b]", b'{"objects" : [ %b ] , "more":true}']
)
def test_one_bad_object_costs_no_other(bad: bytes, around: bytes) -> None:
    assert [*split(around % b",".join([ONE, bad, TWO]))] == [ONE, bad, TWO]


def test_a_bad_line_costs_no_other_line() -> None:
    assert [*split(b"%b\n{broken\n%b\n" % (ONE, TWO))] == [ONE, b"{broken", TWO]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"value,type\n", "not JSON (line 1, column 1"),
        (b"17", "not JSON (line 1, column 1"),
        (b'{"objects":\n  [{"a":1}', "not JSON (line 2, column 11: the text ends before"),
        (b'[{"a":1}]\n]', "not JSON (line 1, column 10: something follows"),
        (b'{"objects":[{"a":1}},"x":[1]}', "not JSON (line 1, column 20: ']' is expected"),
        ('{"é":\n"é" x]'.encode(), "not JSON (line 2, column 6: ']' closes what '{' opened"),
        (b"{'objects': []}", "not JSON (line 1, column 2: a name in double"),
        (b'{"type":"bundle"}', "no `objects` in this file (but `type`)"),
        (b'{"type":"Topology","arcs":[]}', "not a feed of STIX"),
        (b'{"objects":{"a":1}}', "not a list"),
        (b'{"objects":null}', "not a list"),
        (b'["a", 1]', "no object in this list"),
        (b'{"type":"bundle","spec_version":"2.0","objects":[{}]}', "STIX 2.0"),
        (b'{"version":"1.1.1","id":"x:STIXPackage-1","observables":{}}', "stix2-elevator (OASIS)"),
        (b'{"stix_header":{},"version":"1.2"}', "stix2-elevator (OASIS)"),
        (b'<?xml version="1.0"?>\n<stix:STIX_Package xmlns="http://stix.mitre.org/"/>', "stix2-elevator"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b'{"Event":{"info":"x"}}', "MISP"),
        (b'{"response":[{"Event":{}}]}', "MISP"),
        (b'{"uuid":"x","info":"y","Attribute":[]}', "MISP"),
        (b'[ { "Event" : {} } ]', "MISP"),
        ('{"objects":[]}'.encode("utf-16"), "UTF-16"),
        (b"[" * 100_000, "nested more than"),
        (b'{"objects":' + b"[" * 100_000, "nested more than"),
        (b'{"a":' * 100_000, "nested more than"),
        (b"[" * 100_000 + b"]" * 100_000, "nested more than"),
        (b'{"type":"bundle","spec_version":"2.0","objects":[]}\n{"type":"bundle"}', "STIX 2.0"),
    ],
)
def test_what_is_no_stix_2_1_is_refused_in_one_sentence(text: bytes, words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        split(text)
    assert words in refusal.value.detail
    assert refusal.value.detail.endswith(".")
    assert "\n" not in refusal.value.detail


@pytest.mark.parametrize("text", [b"1,", b"{},", b'"\\x",', b'{"a":1},'])
def test_a_million_members_are_enough(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_MEMBERS", 100)
    assert len(split(b"[" + text * 99 + b"{}]")) == 100
    for around in (b"[%b{}]", b'{"objects":[%b{}]}'):
        with pytest.raises(Invalid, match="cut it into smaller files"):
            split(around % (text * 500))


def test_many_usual_objects_are_cut_a_window_at_a_time() -> None:
    """Step by step a bundle of 100,000 objects, each with 20 commas, takes ten times as long."""
    labels = b",".join([b'"a label of some words"'] * 14)
    one = (
        b'{"type":"indicator","spec_version":"2.1","id":"indicator--%012d","name":"a, b, c","labels":[' + labels + b"]}"
    )
    listed = b"[%b]" % b",".join(one % n for n in range(100_000))
    began = time.process_time()
    pieces = split(b'{"type":"bundle","objects":%b}' % listed)
    windows = time.process_time() - began
    assert (len(pieces), orjson.loads(pieces[-1])["id"]) == (100_000, "indicator--000000099999")
    began = time.process_time()
    assert len(cutting.parts(listed)) == 100_000
    assert 3 * windows < time.process_time() - began


def test_a_text_of_commas_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a list of members it would take 40 MB."""
    monkeypatch.setattr(texts, "WINDOW", 64 * 1024)
    text = b'{"type":"bundle","objects":[%b{}]}' % (b"1," * 500_000)
    tracemalloc.start()
    try:
        assert sum(map(len, split(text))) == 500_002
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_invalid(data: bytes) -> None:
    for text in (data, b"[" + data + b"]", b'{"objects":[' + data + b"]}", b"{" + data + b"}"):
        try:
            pieces = split(text)
        except Invalid:
            continue
        assert all(piece in text for piece in pieces)


@given(st.text(alphabet='[]{},:"\\ \nau1', max_size=60))
def test_brackets_and_marks_in_any_order_raise_nothing_but_invalid(text: str) -> None:
    try:
        pieces = split(text.encode())
    except Invalid:
        return
    assert all(piece in text.encode() for piece in pieces)


MEMBERS = st.lists(st.sampled_from(['"a":1', '"b":"\\ud800"', '"a":[{}]', '"c":{"a":2}', '"\\u0061":3', '"a":', "1"]))


@given(st.text(alphabet='{}[]:,"ab \\1', max_size=60) | MEMBERS.map(",".join).map("{}}}".format))
def test_the_members_that_are_named_are_those_of_all(written: str) -> None:
    text = f"{{{written}".encode()
    try:
        every = cutting.members(text)
    except Invalid:
        with pytest.raises(Invalid):
            cutting.members(text, frozenset("ab"))
        return
    assert cutting.members(text, frozenset("ab")) == {name: every[name] for name in every.keys() & {"a", "b"}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.lists(st.dictionaries(st.text(), JSON, max_size=5), min_size=1, max_size=6),
    st.sampled_from([None, 0, 2, "\t"]),
    st.booleans(),
)
def test_pieces_read_as_the_objects_of_the_whole(objects: list[Any], indent: int | str | None, plain: bool) -> None:
    text = json.dumps({"type": "bundle", "objects": objects}, indent=indent, ensure_ascii=plain)
    pieces = [*split(text.encode("utf-8", "surrogatepass"))]
    assert [json.loads(piece.decode("utf-8", "surrogatepass")) for piece in pieces] == objects


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=5), max_size=6), st.sampled_from([None, 1]))
def test_the_careful_road_cuts_as_the_fast_one(objects: list[Any], indent: int | None) -> None:
    text = json.dumps(objects, indent=indent).encode()
    careful = [part[:] for part in cutting.parts(text)]
    assert careful == [*cutting.elements(text)]


@corpus
def test_corpus_stix21_pieces_are_what_json_reads() -> None:
    for name, text in files("stix21"):
        try:
            whole = json.loads(text)
        except ValueError:
            with pytest.raises(Invalid):
                split(text)
            continue
        if isinstance(whole, dict) and whole.get("spec_version") == "2.0" and b'"spec_version": "2.1"' not in text:
            with pytest.raises(Invalid, match=r"STIX 2\.0"):
                split(text)
            continue
        if isinstance(whole, dict):
            whole = whole["objects"] if whole["type"] == "bundle" else [whole]
        pieces = split(text)
        assert [orjson.loads(piece) for piece in pieces] == whole, name
        at = 0
        for piece in pieces:
            at = text.index(piece, at) + len(piece)


@corpus
def test_corpus_stix1_and_stix20_are_refused_and_say_what_to_do() -> None:
    for name, text in files("stix1"):
        with pytest.raises(Invalid, match="stix2-elevator"):
            split(text)
        assert name
    with pytest.raises(Invalid, match=r"STIX 2\.0"):
        split(gzip.decompress((CORPUS / "stix20" / "mitre-enterprise-attack-per-object.jsonl.gz").read_bytes()))


@corpus
def test_corpus_misp_and_hostile_files_raise_nothing_but_invalid() -> None:
    for folder in ("hostile", "misp", "feeds", "interop"):
        for name, text in files(folder):
            try:
                pieces = split(text)
            except Invalid:
                continue
            assert all(piece in text for piece in pieces[:50]), name


@pytest.mark.slow
def test_a_large_bundle_is_cut_at_some_hundred_megabytes_a_second() -> None:
    text = b'{"type":"bundle","objects":[' + b",".join([ONE.replace(b"1", b"1" * 600)] * 50_000) + b"]}"
    begin = time.process_time()
    assert len(split(text)) == 50_000
    # About 650 MB/s on the machine this was written on; a tenth of that is a change of road, not of weather.
    assert len(text) / (time.process_time() - begin) > 65e6
