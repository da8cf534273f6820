"""What is read in windows: nothing that is found hangs on where a window ends."""

import csv as library
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isac.errors import Invalid
from isac.formats import csv, cutting, misp, stix, text, texts
from isac.formats import json as records
from isac.formats.texts import Text
from isac.stix import markings

#: as if a text were so large
SIZES = st.integers(1, 40) | st.integers(40, 400)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a,"\\[]{}é \n', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=15,
)
#: JSON as programs write it, and what is none
#: lists as feeds are, each object like the one before
REGULAR = st.lists(
    st.fixed_dictionaries({"a": st.text(alphabet='a",]}é ', max_size=6), "b": JSON}), min_size=3, max_size=25
)
WRITTEN = st.builds(
    lambda value, indent, plain: json.dumps(value, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass"),
    REGULAR
    | st.lists(JSON, max_size=6)
    | st.dictionaries(st.sampled_from(["objects", "type", "a", "b"]), JSON, max_size=4),
    st.sampled_from([None, 0, 1]),
    st.booleans(),
) | st.text(alphabet='{}[]:,"ab \\1\n', max_size=60).map(str.encode)
LINES = st.text(alphabet='ab,;"#\r\n\t é1.\ufeff', max_size=60)


def verdict(read: Callable[[], Any]) -> Any:
    """What is read, or that it is refused."""
    try:
        return read()
    except Invalid:
        return "refused"


def in_windows(size: int, read: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "WINDOW", size)
        return verdict(read)


def as_whole(found: dict[str, Text]) -> dict[str, bytes]:
    return {name: value[:] for name, value in found.items()}


def readers(data: bytes) -> Iterator[Callable[[], Any]]:
    yield lambda: [*stix.split(data)]
    yield lambda: [*stix.read(data)]
    yield lambda: [*records.read(data, {"value": "a"}, "objects")]
    yield lambda: [*misp.read(data)]
    yield lambda: misp.is_index(data)
    if data[:1] == b"{":
        yield lambda: as_whole(cutting.members(data))
        yield lambda: as_whole(cutting.members(data, frozenset(("objects", "a"))))
    if data[:1] == b"[":
        yield lambda: [*cutting.elements(data)]
        yield lambda: [part[:] for part in cutting.parts(data)]


@settings(max_examples=300)
@given(WRITTEN, SIZES)
def test_json_is_cut_alike_in_windows_of_any_size(written: bytes, size: int) -> None:
    around = b'{"type":"bundle","objects":[%b]}' % written
    for data in (written, b"[%b]" % written, around, b'{"Event":{"Attribute":%b}}' % written):
        for read in readers(data):
            assert in_windows(size, read) == verdict(read)


@settings(max_examples=300)
@given(LINES, st.sampled_from(["utf-8", "utf-16"]), SIZES)
def test_lines_are_read_alike_in_windows_of_any_size(written: str, encoding: str, size: int) -> None:
    data = written.encode(encoding)
    plain = written.removeprefix("\ufeff") if encoding == "utf-8" else written
    expected = plain.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert in_windows(size, lambda: [*texts.decode(data)]) == (expected if expected[-1] else expected[:-1])
    reading: list[Callable[[], Any]] = [
        lambda: [*text.read(data)],
        lambda: [*text.guess(data)],
        lambda: [*csv.read(b"a,b\n" + data, {"value": "a"})],
        lambda: [*csv.read(data, {"value": "a"}, header=["a", "b"])],
        lambda: [*records.read(b'{"a":1}\n' + data, {"value": "a"})],
        lambda: texts.trimmed(data)[:],
    ]
    for read in reading:
        assert in_windows(size, read) == verdict(read)


@given(st.text(alphabet="SECRTOPNF/ ()x\né", max_size=40), SIZES)
def test_a_stretch_parts_no_banner(written: str, size: int) -> None:
    data = f"{written}SECRET//NOFORN{written}".encode()
    whole = in_windows(10_000, lambda: [*texts.stretches(data)])
    found = in_windows(size, lambda: [*texts.stretches(data)])
    assert [any(markings.banner(stretch) for stretch in each) for each in (whole, found)] == [
        markings.banner(data.decode())
    ] * 2


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=4), SIZES)
def test_a_word_is_found_across_windows(data: bytes, word: bytes, size: int) -> None:
    assert in_windows(size, lambda: texts.holds(data, word)) == (word in data)
    assert in_windows(size, lambda: texts.holds(data + word, word))


def test_rows_of_several_lines_are_read_across_windows() -> None:
    out = io.StringIO()
    rows = [[f"{n}.example", f"words\n{n}, and more"] for n in range(50)]
    library.writer(out).writerows([["value", "note"], *rows])
    data = out.getvalue().encode()
    found = in_windows(7, lambda: [each.line for each in csv.read(data, {"value": "value"})])
    assert found == [2 + 2 * n for n in range(50)]


def test_what_has_to_be_in_memory_as_a_whole_is_refused_where_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "WINDOW", 100)
    for module in (texts, cutting):
        monkeypatch.setattr(module, "LONGEST", 1000)
    large = b'"' + 5000 * b"x" + b'"'
    with pytest.raises(Invalid, match=r"Line 2 is longer than .* so this is no file of lines\."):
        [*text.read(b"a.example\n" + large)]
    with pytest.raises(Invalid, match=r"Line 2 is longer than .*; cut what it holds into several lines\."):
        [*stix.split(b'{"type":"indicator"}\n{"a":%b}\n' % large)]
    with pytest.raises(Invalid, match=r"longer than"):
        [*stix.split(b'{"objects":[{"a":1},{"a":%b}]}' % large)]
    several = b"[%b]" % b",".join([b'{"b":"%b"}' % (b"x" * 500)] * 10)
    with pytest.raises(Invalid, match=r"An element of a list in this file is larger than .*\."):
        [*stix.split(b'{"objects":[{"a":1},{"a":%b}]}' % several)]


class Read(bytes):
    """A text that counts what is read of it."""

    much = 0

    def __getitem__(self, part: Any) -> Any:
        found = super().__getitem__(part)
        self.much += len(found) if isinstance(found, bytes) else 1
        return found


@pytest.mark.parametrize("head", [b'{"Event":{"Tag":1,"x":', b'{"x":', b'{"objects":'])
def test_a_nest_that_is_never_closed_is_walked_through_once(head: bytes) -> None:
    text = Read(head + b"[" * 100 + b'{"a":"xxxxxxxxxxxxxxxxxxxx"},' * 50_000 + b"1")
    with pytest.raises(Invalid, match="ends before its brackets"):
        cutting.members(text)
    assert text.much < 12 * len(text)


def test_more_lines_than_are_taken_are_refused_before_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_MEMBERS", 1000)
    lines = b"one.example\n" * 1001
    reading: list[Callable[[], Any]] = [
        lambda: text.read(lines),
        lambda: text.guess(lines),
        lambda: csv.read(b"a\n" + lines, {"value": "a"}),
    ]
    for read in reading:
        with pytest.raises(Invalid, match="more than 1,000 elements"):
            read()
    assert len([*text.read(lines[12:])]) == 1000
    # Lines of a cell are no rows.
    table = b'a,b\none.example,"%b"\n' % lines
    assert len([*csv.read(table, {"value": "a"})]) == 1
