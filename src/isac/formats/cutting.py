"""Cuts JSON lists and objects into their members' own bytes (RFC 8259), without judging the members.

msgspec does it at some 2 GB/s, but refuses the whole text for one bad escape, such as a lone surrogate, in one member.
Then our own scanner cuts by quotation marks and brackets alone, so that whoever reads the members meets the bad one by
itself. Both see one window of a large text after the other.
"""

import functools
import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TypeVar

import msgspec
import orjson

from isac.errors import Invalid
from isac.formats import texts
from isac.formats.texts import BLANKS, LONGEST, Part, Pieces, Text

#: members of one object, and elements of a list that are cut further
_MAX_PARTS = 200_000
# One object nested 100 levels deep is its reader's to refuse; thousands of levels are an attack on the whole text.
MAX_DEPTH = 10_000
#: what is read of a list to learn how its elements are parted, and of the next element, to know such a comma again
_FIRST, _BEHIND = 4096, 8
#: where elements are longer, it takes little memory to know where each stands
_LONG = 64

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


_Members = TypeVar("_Members", list[msgspec.Raw], dict[str, msgspec.Raw], _Bundle)
_BUNDLE = msgspec.json.Decoder(_Bundle)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Listed(Part):
    """A list whose elements are found already."""

    def __init__(self, text: Text, begin: int, end: int, elements: Pieces) -> None:
        super().__init__(text, begin, end)
        self.elements = elements


def objects(text: Text) -> Pieces | None:
    """The objects of the usual bundle or envelope, cut at one go; None if somebody has to look closer."""
    found = _decode(_BUNDLE, text[:]) if len(text) <= texts.WINDOW else None
    if found is None or bytes(found.type) != b'"bundle"' or found.spec_version:
        return None
    return texts.pieces([*map(bytes, found.objects)])


def elements(text: Text) -> Pieces:
    """The elements of a JSON list, verbatim.

    An element may be no JSON, even empty after a stray comma: its reader will say so.
    Raises Invalid if brackets or quotation marks do not add up, if there are too many elements or, when it is asked
    for, if one is too large.
    """
    if isinstance(text, _Listed):
        return text.elements
    if len(text) > texts.WINDOW:
        cut = _Cut(text)
        found, end = cut.listed(cut.begin)
        cut.check_end(end)
        return found
    whole = text[:]
    raws = _decode(_LIST, whole)
    return texts.pieces([*map(bytes, raws)] if raws is not None else [part[:] for part in parts(whole)])


def parts(text: Text) -> list[Text]:
    """The same, each to be cut further: those of a large text are not copied."""
    cut = _Cut(text)
    if len(text) <= texts.WINDOW:
        return [cut.value(begin, end) for begin, end in cut.parts()]
    return [Part(text, *texts.inside(text, begin, end)) for begin, end in cut.parts()]


def members(text: Text, names: frozenset[str] | None = None) -> dict[str, Text]:
    """The members of a JSON object: name to verbatim value; of two with one name the last counts.

    Given `names`, which have to be identifiers, those alone: the others take no memory.
    Raises Invalid if brackets, quotation marks or colons do not add up.
    """
    if len(text) <= texts.WINDOW:
        text = text[:]
        decoded = _decode(_OBJECT, text) if names is None else _named(text, names)
        if decoded is not None:
            return {name: bytes(raw) for name, raw in decoded.items()}
    cut = _Cut(text)
    found: dict[str, Text] = {}
    for begin, end in cut.parts(of_lists=len(text) > texts.WINDOW):
        at = cut.upto(_KEY, begin)
        if at is None or at > end:
            raise not_json(text, begin, "a name in double quotation marks and a colon are expected here")
        value = cut.value(at, end)
        first = value[:1]
        if first in _CLOSING and value[len(value) - 1 :] != _CLOSING[first]:
            raise not_json(text, end - 1, f"{_CLOSING[first].decode()!r} is expected at the end of this value")
        name = _name(text[begin : at - 1].strip(BLANKS))
        if names is None or name in names:
            found[name] = value
    return found


class Lines:
    """JSON lines that are not blank: with their numbers, and as pieces."""

    def __init__(self, text: Text) -> None:
        self._text = text
        #: where each block of them begins, and the number of its first
        self._begins, self._numbers = array("Q"), array("Q")
        self.pieces = Pieces(lambda block: [line for _, line in self._lines(block)])
        begin, number = 0, 1
        while begin < len(text):
            held = _whole_lines(text, begin, number)
            self._begins.append(begin)
            self._numbers.append(number)
            self.pieces.add(sum(1 for _ in _numbered(held, number)))
            begin, number = begin + len(held), number + held.count(b"\n")
        self._begins.append(begin)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for block in range(len(self._numbers)):
            yield from self._lines(block)

    def _lines(self, block: int) -> Iterator[tuple[int, bytes]]:
        return _numbered(self._text[self._begins[block] : self._begins[block + 1]], self._numbers[block])


def _whole_lines(text: Text, begin: int, number: int) -> bytes:
    """Those that end within a window, or the one that is longer than that."""
    size = texts.WINDOW
    while size <= max(LONGEST, texts.WINDOW):
        held = text[begin : begin + size]
        if begin + size >= len(text):
            return held
        if last := held.rfind(b"\n") + 1:
            return held[:last]
        size *= 2
    raise Invalid(f"Line {number:,} is longer than {LONGEST >> 20} MiB; cut what it holds into several lines.")


def _numbered(held: bytes, number: int) -> Iterator[tuple[int, bytes]]:
    for at, line in enumerate(held.split(b"\n"), start=number):
        if line := line.strip(BLANKS):
            yield at, line


def lines(text: Text) -> Lines | None:
    """The lines of JSON lines; None unless there are several, and the first is an object."""
    if text[:1] != b"{":
        return None
    for begin in range(0, min(len(text), LONGEST), texts.WINDOW):
        end = text[begin : begin + texts.WINDOW].find(b"\n")
        if end >= 0:
            break
    else:
        return None
    try:
        members(text[: begin + end])
    except Invalid:
        return None
    return Lines(text)


def not_json(text: Text, position: int, why: str) -> Invalid:
    """The refusal of a text that is no JSON, with the place as an editor shows it."""
    line, begin = 1, 0
    for at in range(0, position, texts.WINDOW):
        window = text[at : min(position, at + texts.WINDOW)]
        line += window.count(b"\n")
        begin = at + window.rfind(b"\n") + 1 if b"\n" in window else begin
    column = len(text[max(begin, position - LONGEST) : position].decode("utf-8", "replace")) + 1
    return Invalid(f"This is not JSON (line {line}, column {column}: {why}); correct the file or export it again.")


def _decode(decoder: msgspec.json.Decoder[_Members], text: bytes) -> _Members | None:
    """All members at one go; None if that has to be done step by step."""
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _named(text: bytes, names: frozenset[str]) -> dict[str, msgspec.Raw] | None:
    try:
        found = _decoder(names).decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return {name: raw for name, raw in msgspec.structs.asdict(found).items() if raw}


@functools.cache
def _decoder(names: frozenset[str]) -> msgspec.json.Decoder[msgspec.Struct]:
    fields = [(name, msgspec.Raw, msgspec.Raw()) for name in sorted(names)]
    return msgspec.json.Decoder(msgspec.defstruct("Named", fields))


class _Cut:
    """Looks at a text bracket by bracket, as much of it in memory as one look needs."""

    def __init__(self, text: Text) -> None:
        self._text = text
        #: what is in memory, and where it stands
        self._held, self._at = b"", 0
        #: lists that are members of the outermost object, by where they begin, and where they end
        self._lists: dict[int, tuple[Pieces, int]] = {}
        #: its brackets do not add up somewhere
        self._is_odd = False

    def upto(self, pattern: re.Pattern[bytes], at: int) -> int | None:
        """Where the pattern ends that stands there; None if nothing like it does."""
        while True:
            here = at - self._at
            if 0 <= here <= len(self._held):
                if found := pattern.match(self._held, here):
                    return self._at + found.end()
                if self._at + len(self._held) >= len(self._text):
                    return None
                size = 2 * (len(self._held) - here)
                if size > 2 * LONGEST:
                    raise not_json(self._text, at, f"something here is longer than {LONGEST >> 20} MiB")
            else:
                size = 0
            self._held, self._at = self._text[at : at + max(size, texts.WINDOW)], at

    def between(self, at: int, *, of_lists: bool = False) -> Iterator[tuple[int, int, bytes]]:
        """Begin and end of what stands between the commas from there to the bracket that closes what is open, and the
        comma or bracket.

        `of_lists`: lists in it are large, and only walked through.
        """
        begin, depth = at, 1
        while depth:
            behind = self.upto(_BRACKET_OR_COMMA if depth == 1 else _BRACKET, at)
            if behind is None:
                raise not_json(
                    self._text, len(self._text), "the text ends before its brackets and quotation marks are closed"
                )
            at = behind
            mark = self._held[at - 1 - self._at : at - self._at]
            if mark == b",":
                yield begin, at - 1, mark
                begin = at
            elif mark == b"[" and of_lists and not self._is_odd and (found := self._walked(at - 1)):
                if depth == 1:
                    self._lists[at - 1] = found
                _, at = found
            else:
                depth += 1 if mark in _CLOSING else -1
                if depth > MAX_DEPTH:
                    raise not_json(self._text, at - 1, f"brackets are nested more than {MAX_DEPTH:,} deep")
        yield begin, at - 1, mark

    def parts(self, *, of_lists: bool = False) -> Iterator[tuple[int, int]]:
        """Begin and end of what stands between the commas of the outermost brackets."""
        count = 0
        for begin, end, mark in self.between(self.begin + 1, of_lists=of_lists):
            if mark == b",":
                count += 1
                if count > _MAX_PARTS:
                    raise Invalid(f"There are more than {_MAX_PARTS:,} names or events in it; cut it into several.")
            else:
                self._check_closing(self.begin, mark, end)
                self.check_end(end + 1)
                if not count and self._is_blank(begin, end):
                    return
            yield begin, end

    def _walked(self, at: int) -> tuple[Pieces, int] | None:
        """None for what is no list; that is its reader's to refuse."""
        try:
            return self.listed(at)
        except Invalid:
            # Most of the text may have been walked through in vain: once, and not for each bracket of a nest.
            self._is_odd = True
            return None

    def listed(self, at: int) -> tuple[Pieces, int]:
        """The elements of the list that begins there, and where it ends."""
        blocks, begin, comma = _Blocks(self._text), at + 1, b""
        while True:
            held = self._text[begin : begin + texts.WINDOW] if comma else b""
            size = held.rfind(comma) + 1 if comma else 0
            # What is a list by itself ends at a comma of this list, whatever else that comma could have been.
            if size and (raws := _decode(_LIST, b"[%b]" % held[:size])):
                blocks.note(begin, begin + size, len(raws), [*map(len, raws)])
                begin += held.index(b",", size) + 1
                continue
            enough = texts.WINDOW if comma else min(_FIRST, texts.WINDOW)
            spans = []
            for first, end, mark in self.between(begin):
                spans.append((first, end))
                if mark == b"," and len(spans) > 1 and end - begin >= enough:
                    break
            if mark != b",":
                self._check_closing(at, mark, end)
                if len(blocks.pieces) or len(spans) > 1 or not self._is_blank(first, end):
                    blocks.note(begin, end, len(spans))
                return blocks.pieces, end + 1
            blocks.note(begin, end, len(spans))
            begin, comma = end + 1, self._comma(*spans[-2])

    def _comma(self, begin: int, end: int) -> bytes:
        """The comma behind an element, with what stands beside it."""
        element = self._text[max(begin, end - _FIRST) : end]
        behind = self._text[end + 1 : end + _FIRST]
        blanks, after = len(element) - len(element.rstrip(BLANKS)), len(behind) - len(behind.lstrip(BLANKS))
        return element[-blanks - 1 :] + b"," + behind[: after + _BEHIND]

    def value(self, begin: int, end: int) -> Text:
        """What stands there, without the blanks around it; copied only if it is small."""
        begin, end = texts.inside(self._text, begin, end)
        if end - begin <= texts.WINDOW:
            return self._text[begin:end]
        known, closed = self._lists.get(begin, (None, 0))
        if known is not None and closed == end:
            return _Listed(self._text, begin, end, known)
        return Part(self._text, begin, end)

    @property
    def begin(self) -> int:
        """Where the outermost bracket stands."""
        return texts.inside(self._text, 0, len(self._text))[0]

    def check_end(self, end: int) -> None:
        if not self._is_blank(end, len(self._text)):
            raise not_json(self._text, end, "something follows after the end")

    def _is_blank(self, begin: int, end: int) -> bool:
        begin, end = texts.inside(self._text, begin, end)
        return begin == end

    def _check_closing(self, at: int, mark: bytes, end: int) -> None:
        opening = self._text[at : at + 1]
        if mark != _CLOSING[opening]:
            raise not_json(self._text, end, f"{mark.decode()!r} closes what {opening.decode()!r} opened")


class _Blocks:
    """The elements of a list, about a window of them in a block."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._begins, self._ends = array("Q"), array("Q")
        #: of each block, where its elements begin; nothing, if they are short or more than commas stands between them
        self._places: list[array[int]] = []
        self.pieces = Pieces(self._load)

    def note(self, begin: int, end: int, count: int, sizes: Sequence[int] = ()) -> None:
        """So many elements stand there; `sizes` are theirs without blanks, where they are known."""
        self._begins.append(begin)
        self._ends.append(end)
        # Each comma takes a byte, so nothing else stands between them if that is all that is missing.
        bare = sum(sizes) + len(sizes) - 1 == end - begin > _LONG * len(sizes)
        self._places.append(array("I", accumulate((size + 1 for size in sizes), initial=0) if bare else ()))
        self.pieces.add(count)

    def _load(self, number: int) -> list[bytes]:
        begin, end = self._begins[number], self._ends[number]
        if end - begin > LONGEST + texts.WINDOW:
            raise Invalid(f"An element of a list in this file is larger than {LONGEST >> 20} MiB; cut it into several.")
        if places := self._places[number]:
            whole = self._text[begin:end]
            return [whole[at : behind - 1] for at, behind in pairwise(places)]
        held = b"[%b]" % self._text[begin:end]
        if raws := _decode(_LIST, held):
            return [*map(bytes, raws)]
        return [held[first:last].strip(BLANKS) for first, last, _ in _Cut(held).between(1)]


def _name(key: bytes) -> str:
    try:
        return str(orjson.loads(key))
    except orjson.JSONDecodeError:
        return key.decode("utf-8", "replace")
