"""Cuts JSON lists and objects into their members' own bytes (RFC 8259), without judging the members.

msgspec does it at some 2 GB/s, but refuses the whole text for one bad escape, such as a lone surrogate, in one member.
Then our own scanner cuts by quotation marks and brackets alone, so that whoever reads the members meets the bad one by
itself.
"""

import re
from collections.abc import Iterator

import msgspec
import orjson

from isac.errors import Invalid

# A text of 100 MiB that consists of commas would take 5 GB of memory as a list of members. 100 MiB of the smallest
# objects that anybody sends (about 100 bytes) are as many as this.
MAX_MEMBERS = 1_000_000
# One object nested 100 levels deep is its reader's to refuse; thousands of levels are an attack on the whole text.
MAX_DEPTH = 10_000

BOM = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n"

# All that may stand between two brackets: anything but quotation marks, and whole strings. Possessive, so that nothing
# is tried twice.
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{}])', re.DOTALL)
_BRACKET_OR_COMMA = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{},])', re.DOTALL)
_KEY = re.compile(rb'[ \t\r\n]*+("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:', re.DOTALL)
_CLOSING = {ord("["): ord("]"), ord("{"): ord("}")}

_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def elements(text: bytes) -> list[bytes]:
    """The elements of a JSON list, verbatim.

    An element may be no JSON, even empty after a stray comma: its reader will say so.
    Raises Invalid if brackets or quotation marks do not add up, or if there are more than MAX_MEMBERS elements.
    """
    # Each element needs a comma, so a text with fewer commas is safe to cut at one go.
    if len(text) < MAX_MEMBERS or text.count(b",") < 4 * MAX_MEMBERS:
        try:
            found = _LIST.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            if len(found) > MAX_MEMBERS:
                raise _too_many()
            return [bytes(raw) for raw in found]
    return [text[begin:end].strip(BLANKS) for begin, end in _parts(text)]


def members(text: bytes) -> dict[str, bytes]:
    """The members of a JSON object: name to verbatim value. Of two with one name the last counts.

    Raises Invalid if brackets, quotation marks or colons do not add up.
    """
    try:
        return {name: bytes(raw) for name, raw in _OBJECT.decode(text).items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    found = {}
    for begin, end in _parts(text):
        key = _KEY.match(text, begin, end)
        if not key:
            raise not_json(text, begin, "a name in double quotation marks and a colon are expected here")
        found[_name(key[1])] = text[key.end() : end].strip(BLANKS)
    return found


def lines(text: bytes) -> list[tuple[int, bytes]]:
    """The lines of JSON lines that are not blank, with their numbers; none unless several, and the first is an object."""
    end = text.find(b"\n")
    if end < 0 or text[:1] != b"{":
        return []
    try:
        members(text[:end])
    except Invalid:
        return []
    return [
        (number, line.strip(BLANKS)) for number, line in enumerate(text.split(b"\n"), start=1) if line.strip(BLANKS)
    ]


def not_json(text: bytes, position: int, why: str) -> Invalid:
    """The refusal of a text that is no JSON, with the place as an editor shows it."""
    before = text[:position]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    return Invalid(f"This is not JSON (line {line}, column {column}: {why}); correct the file or export it again.")


def _parts(text: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of what stands between the commas of the outermost brackets."""
    at = begin = len(text) - len(text.lstrip(BLANKS)) + 1
    opening = text[begin - 1]
    depth, count = 1, 0
    while depth:
        found = (_BRACKET_OR_COMMA if depth == 1 else _BRACKET).match(text, at)
        if not found:
            raise not_json(text, len(text), "the text ends before its brackets and quotation marks are closed")
        at = found.end()
        mark = text[at - 1]
        if mark == ord(","):
            yield begin, at - 1
            begin, count = at, count + 1
            if count > MAX_MEMBERS:
                raise _too_many()
        else:
            depth += 1 if mark in _CLOSING else -1
            if depth > MAX_DEPTH:
                raise not_json(text, at - 1, f"brackets are nested more than {MAX_DEPTH:,} deep")
    if mark != _CLOSING[opening]:
        raise not_json(text, at - 1, f"{chr(mark)!r} closes what {chr(opening)!r} opened")
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
