"""Texts of any size: what is asked of a file that is larger than memory, and of bytes alike.

Whoever reads one does so in windows, and what he finds never hangs on where a window ends.
"""

import codecs
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Protocol, overload

from isac.errors import Invalid

#: what is read at once
WINDOW = 1024 * 1024
#: of one line, one element or one text in quotation marks, which has to be in memory as a whole
LONGEST = 16 * 1024 * 1024
#: objects, rows or lines of one text; what is known of each takes some bytes
MAX_MEMBERS = 5_000_000

BOM = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n"
WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# A character that stands in no classification banner, and with which a character begins in UTF-8.
_NO_BANNER = re.compile(rb"[\x00-\x08\x0a-\x1f!-'*+.0-;<-@\[-\x7f]")


class Text(Protocol):
    """Bytes, or what is cut like them."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


class Part:
    """A part of a text, which is not copied out of it."""

    def __init__(self, text: Text, begin: int, end: int) -> None:
        self._text, self._begin, self._end = text, begin, end

    def __len__(self) -> int:
        return self._end - self._begin

    def __getitem__(self, part: slice) -> bytes:
        begin, end, _ = part.indices(len(self))
        return self._text[self._begin + begin : self._begin + max(begin, end)]


class Pieces(Sequence[bytes]):
    """What a text is cut into, block by block; of the blocks only the one that was asked for last is in memory."""

    def __init__(self, load: Callable[[int], Sequence[bytes]], *, verbatim: bool = True) -> None:
        """`load` gives the pieces of a block, by its number; `verbatim`, as they stand there."""
        self._load, self.verbatim = load, verbatim
        #: of each block, how many pieces end with it
        self._ends = array("Q")
        self._number, self._first = -1, 0
        self._block: Sequence[bytes] = ()

    def add(self, count: int) -> None:
        """Note the next block, of so many pieces. Raises Invalid if that makes too many."""
        self._ends.append(len(self) + count)
        if len(self) > MAX_MEMBERS:
            raise _too_many()

    def mapped(self, change: Callable[[bytes], bytes]) -> "Pieces":
        """The same, each changed when it is asked for."""
        changed = Pieces(lambda number: [*map(change, self._load(number))], verbatim=False)
        changed._ends = self._ends
        return changed

    def spread(self, change: Callable[[bytes], Sequence[bytes]]) -> "Pieces":
        """What each of them gives."""

        def load(number: int) -> list[bytes]:
            return [*chain.from_iterable(map(change, self._load(number)))]

        changed = Pieces(load, verbatim=False)
        for number in range(len(self._ends)):
            changed.add(len(load(number)))
        return changed

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        at = place - self._first
        if not 0 <= at < len(self._block):
            place = place + len(self) if place < 0 else place
            if not 0 <= place < len(self):
                raise IndexError(place)
            self._number = bisect_right(self._ends, place)
            self._block = self._load(self._number)
            self._first = self._ends[self._number - 1] if self._number else 0
            at = place - self._first
        return self._block[at]

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(map(self._load, range(len(self._ends))))


def pieces(block: Sequence[bytes]) -> Pieces:
    """Those that are in memory anyway."""
    found = Pieces(lambda _: block)
    found.add(len(block))
    return found


def windows(text: Text, size: int = 0) -> Iterator[bytes]:
    """The text, piece by piece."""
    size = size or WINDOW
    for begin in range(0, len(text), size):
        yield text[begin : begin + size]


def inside(text: Text, begin: int, end: int) -> tuple[int, int]:
    """Begin and end of what stands there, without the blanks around it."""
    while begin < end:
        held = text[begin : min(end, begin + WINDOW)]
        if found := held.lstrip(BLANKS):
            begin += len(held) - len(found)
            break
        begin += len(held)
    while begin < end:
        held = text[max(begin, end - WINDOW) : end]
        if found := held.rstrip(BLANKS):
            end -= len(held) - len(found)
            break
        end -= len(held)
    return begin, end


def trimmed(text: Text) -> Text:
    """Without a byte order mark and the blanks around it."""
    if len(text) <= WINDOW:
        return text[:].removeprefix(BOM).strip(BLANKS)
    return Part(text, *inside(text, len(BOM) if text[: len(BOM)] == BOM else 0, len(text)))


def holds(text: Text, word: bytes) -> bool:
    """Does the word stand in it?"""
    before = b""
    for window in windows(text):
        if word in before + window[: len(word)] or word in window:
            return True
        before = (before + window)[-len(word) :]
    return False


def check_lines(text: Text) -> None:
    """Raises Invalid for more lines than are taken, which would show only when all of them were read."""
    if len(text) > MAX_MEMBERS and sum(window.count(b"\n") for window in windows(text)) > MAX_MEMBERS:
        raise _too_many()


def _too_many() -> Invalid:
    return Invalid(f"There are more than {MAX_MEMBERS:,} elements in this file; cut it into smaller files.")


def decode(text: Text) -> Iterator[str]:
    """The lines of a text file without their ends. UTF-8, or UTF-16 by its mark; what is neither becomes U+FFFD.

    Raises Invalid at a line that is too long to be one.
    """
    return (line.decode("utf-8", "replace") for line in _lines(text))


def _lines(text: Text) -> Iterator[bytes]:
    number, size = 1, 0
    rest: list[bytes] = []
    held = b""
    for window in utf_8(text):
        window = held + window
        # What follows may be the second character of one end of a line.
        held = window[-1:] if window.endswith(b"\r") else b""
        window = window.removesuffix(held)
        if b"\r" in window:
            window = window.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *lines = window.split(b"\n")
        rest.append(first)
        size += len(first)
        if lines:
            yield b"".join(rest)
            yield from lines[:-1]
            number += len(lines)
            rest, size = lines[-1:], len(lines[-1])
        if size > LONGEST:
            raise Invalid(f"Line {number:,} is longer than {LONGEST >> 20} MiB, so this is no file of lines.")
    if held or size:
        yield b"".join(rest)


def utf_8(text: Text) -> Iterator[bytes]:
    """The text in windows, without its mark, in UTF-8 if it says that it is UTF-16."""
    if text[:2] not in WIDE:
        yield from windows(Part(text, len(BOM), len(text)) if text[: len(BOM)] == BOM else text)
        return
    decoder = codecs.getincrementaldecoder("utf-16")("replace")
    for window in windows(text):
        yield decoder.decode(window).encode()
    yield decoder.decode(b"", final=True).encode()


def stretches(text: Text) -> Iterator[str]:
    """The text in stretches that part no classification banner, nor what stands right before it."""
    rest = b""
    for window in utf_8(text):
        rest += window
        cut = next((found.start() for found in _from_behind(rest)), 0)
        if cut:
            yield rest[: cut + 1].decode("utf-8", "replace")
            rest = rest[cut:]
        elif len(rest) > LONGEST:
            yield rest.decode("utf-8", "replace")
            rest = b""
    yield rest.decode("utf-8", "replace")


def _from_behind(window: bytes) -> Iterator[re.Match[bytes]]:
    """Where it may be cut, the last place first."""
    reach = 64
    while True:
        found = [*_NO_BANNER.finditer(window, max(0, len(window) - reach))]
        yield from reversed(found)
        if found or reach >= len(window):
            return
        reach *= 8
