"""Cuts JSON lists and objects into their members' own bytes (RFC 8259), without judging the members.

msgspec does it at some 2 GB/s, but refuses the whole text for one bad escape, such as a lone surrogate, in one member.
Then our own scanner cuts by quotation marks and brackets alone, so that whoever reads the members meets the bad one by
itself.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

import msgspec
import orjson

from isac.errors import Invalid

# 100 MiB of the smallest objects that anybody sends (about 100 bytes) are as many as this.
MAX_MEMBERS = 1_000_000
# A member of a list takes 75 bytes of memory while it is cut, one of an object 180 and its name: a text of 100 MiB that
# consists of `1,` would take 3.7 GB. Cut at one go is therefore what has at most one comma in so many bytes (STIX has
# one in 30 to 45, MISP one in 22), which is at most five times the text's own size, and 1.8 GB at most.
_BYTES_TO_A_COMMA = 16
_MAX_COMMAS = 24 * MAX_MEMBERS
_MAX_COMMAS_OF_AN_OBJECT = 4 * MAX_MEMBERS
# One object nested 100 levels deep is its reader's to refuse; thousands of levels are an attack on the whole text.
MAX_DEPTH = 10_000

_SLICE = 1024 * 1024

BOM = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n"

# All that may stand between two brackets: anything but quotation marks, and whole strings. Possessive, so that nothing
# is tried twice.
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{}])', re.DOTALL)
_BRACKET_OR_COMMA = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{},])', re.DOTALL)
_KEY = re.compile(rb'[ \t\r\n]*+("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:', re.DOTALL)
_CLOSING = {b"[": b"]", b"{": b"}"}


class _Bundle(msgspec.Struct):
    """A STIX bundle or a TAXII envelope, what else stands there passed over."""

    objects: list[msgspec.Raw]
    type: msgspec.Raw = msgspec.Raw(b'"bundle"')
    spec_version: msgspec.Raw = msgspec.Raw()

    def __len__(self) -> int:
        return len(self.objects)


_Members = TypeVar("_Members", list[msgspec.Raw], dict[str, msgspec.Raw], _Bundle)
_BUNDLE = msgspec.json.Decoder(_Bundle)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Pieces(Sequence[bytes]):
    """Members' own bytes, each copied out of the text when it is asked for: a large text is not held twice."""

    def __init__(self, raws: list[msgspec.Raw]) -> None:
        self._raws = raws

    def __len__(self) -> int:
        return len(self._raws)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> "Pieces": ...
    def __getitem__(self, place: int | slice) -> "bytes | Pieces":
        return Pieces(self._raws[place]) if isinstance(place, slice) else bytes(self._raws[place])

    def __iter__(self) -> Iterator[bytes]:
        return map(bytes, self._raws)


def objects(text: bytes) -> Sequence[bytes] | None:
    """The objects of the usual bundle or envelope, cut at one go; None if somebody has to look closer."""
    found = _decode(_BUNDLE, text)
    if found is None or bytes(found.type) != b'"bundle"' or found.spec_version:
        return None
    return Pieces(found.objects)


def elements(text: bytes | memoryview) -> Sequence[bytes]:
    """The elements of a JSON list, verbatim.

    An element may be no JSON, even empty after a stray comma: its reader will say so.
    Raises Invalid if brackets or quotation marks do not add up, or if there are more than MAX_MEMBERS elements.
    """
    found = _decode(_LIST, text)
    if found is not None:
        return Pieces(found)
    text = bytes(text)
    return [text[begin:end].strip(BLANKS) for begin, end in _parts(text)]


def members(text: bytes | memoryview, names: frozenset[str] | None = None) -> dict[str, memoryview]:
    """The members of a JSON object: name to verbatim value, not yet copied. Of two with one name the last counts.

    Given `names`, which have to be identifiers, those alone: the others take neither time nor memory.
    Raises Invalid if brackets, quotation marks or colons do not add up.
    """
    decoded = _decode(_OBJECT, text, _MAX_COMMAS_OF_AN_OBJECT) if names is None else _named(text, names)
    if decoded is not None:
        return {name: memoryview(raw) for name, raw in decoded.items()}
    text = bytes(text)
    found: dict[str, memoryview] = {}
    for begin, end in _parts(text):
        key = _KEY.match(text, begin, end)
        if not key:
            raise not_json(text, begin, "a name in double quotation marks and a colon are expected here")
        value = text[key.end() : end].strip(BLANKS)
        if value[:1] in _CLOSING and value[-1:] != _CLOSING[value[:1]]:
            raise not_json(text, end - 1, f"{_CLOSING[value[:1]].decode()!r} is expected at the end of this value")
        name = _name(key[1])
        if names is None or name in names:
            found[name] = memoryview(value)
    return found


def lines(text: bytes) -> list[tuple[int, bytes]]:
    """The lines of JSON lines that are not blank, with their numbers; none unless several, the first an object."""
    end = text.find(b"\n")
    if end < 0 or text[:1] != b"{":
        return []
    try:
        members(text[:end])
    except Invalid:
        return []
    if text.count(b"\n") > MAX_MEMBERS:
        raise _too_many()
    return [
        (number, line.strip(BLANKS)) for number, line in enumerate(text.split(b"\n"), start=1) if line.strip(BLANKS)
    ]


def not_json(text: bytes, position: int, why: str) -> Invalid:
    """The refusal of a text that is no JSON, with the place as an editor shows it."""
    before = text[:position]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    return Invalid(f"This is not JSON (line {line}, column {column}: {why}); correct the file or export it again.")


def _decode(
    decoder: msgspec.json.Decoder[_Members], text: bytes | memoryview, most: int = _MAX_COMMAS
) -> _Members | None:
    """All members at one go; None if that has to be done step by step."""
    # Each member needs a comma: few commas are few members.
    if len(text) > MAX_MEMBERS and _commas(text) > max(MAX_MEMBERS, min(len(text) // _BYTES_TO_A_COMMA, most)):
        return None
    try:
        found = decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(found) > MAX_MEMBERS:
        raise _too_many()
    return found


def _named(text: bytes | memoryview, names: frozenset[str]) -> dict[str, msgspec.Raw] | None:
    try:
        found = _decoder(names).decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return {name: raw for name, raw in msgspec.structs.asdict(found).items() if raw}


@functools.cache
def _decoder(names: frozenset[str]) -> msgspec.json.Decoder[msgspec.Struct]:
    fields = [(name, msgspec.Raw, msgspec.Raw()) for name in sorted(names)]
    return msgspec.json.Decoder(msgspec.defstruct("Named", fields))


def _commas(text: bytes | memoryview) -> int:
    if isinstance(text, bytes):
        return text.count(b",")
    # A view cannot count, and a copy of the whole is not worth it.
    return sum(bytes(text[at : at + _SLICE]).count(b",") for at in range(0, len(text), _SLICE))


def _parts(text: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of what stands between the commas of the outermost brackets."""
    at = begin = len(text) - len(text.lstrip(BLANKS)) + 1
    opening = text[begin - 1 : begin]
    depth, count = 1, 0
    while depth:
        found = (_BRACKET_OR_COMMA if depth == 1 else _BRACKET).match(text, at)
        if not found:
            raise not_json(text, len(text), "the text ends before its brackets and quotation marks are closed")
        at = found.end()
        mark = text[at - 1 : at]
        if mark == b",":
            yield begin, at - 1
            begin, count = at, count + 1
            if count > MAX_MEMBERS:
                raise _too_many()
        else:
            depth += 1 if mark in _CLOSING else -1
            if depth > MAX_DEPTH:
                raise not_json(text, at - 1, f"brackets are nested more than {MAX_DEPTH:,} deep")
    if mark != _CLOSING[opening]:
        raise not_json(text, at - 1, f"{mark.decode()!r} closes what {opening.decode()!r} opened")
    if text[at:].strip(BLANKS):
        raise not_json(text, at, "something follows after the end")
    if count or text[begin : at - 1].strip(BLANKS):
        yield begin, at - 1


def _name(key: bytes) -> str:
    try:
        return str(orjson.loads(key))
    except orjson.JSONDecodeError:
        return key.decode("utf-8", "replace")


def _too_many() -> Invalid:
    return Invalid(f"There are more than {MAX_MEMBERS:,} elements in this file; cut it into smaller files.")
