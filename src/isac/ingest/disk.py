"""What is too large for memory, on disk: files, what was unpacked or fetched, and pieces that were written here."""

import os
import stat
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO, cast

from isac.errors import Invalid, Surroundings
from isac.formats.texts import WINDOW, Pieces, Text

#: pieces of one block, and the bytes that make one full
_BLOCK, _FULL = 2000, WINDOW
#: blocks that stay in memory: most lists need no file
_HELD = 4


class File:
    """A file as a text: its bytes are read when they are asked for, also by a process that was forked.

    It is closed when nobody has it any more. Somebody's may be written by others meanwhile, which is refused: all who
    read it must find the same.
    """

    def __init__(self, descriptor: int, *, ours: bool) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._as_it_was = None if ours else self._stamp()

    def _stamp(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_mtime_ns, found.st_size

    def __del__(self) -> None:
        os.close(self._descriptor)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        begin, end, _ = part.indices(self._size)
        found = os.pread(self._descriptor, max(0, end - begin), begin)
        while len(found) < end - begin:
            more = os.pread(self._descriptor, end - begin - len(found), begin + len(found))
            if not more:
                break
            found += more
        if self._as_it_was is not None and self._stamp() != self._as_it_was:
            raise Invalid("was changed while it was read; hand it in again when nobody writes it.")
        return found

    def append(self, part: bytes) -> None:
        with told():
            while part:
                count = os.write(self._descriptor, part)
                part = part[count:]
                self._size += count


def opened(path: Path) -> Text:
    """A file of somebody's; of what is no file, such as a pipe, a copy. Raises OSError."""
    with path.open("rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return small(File(os.dup(file.fileno()), ours=False))
        return written(iter(lambda: file.read(WINDOW), b""))


def written(parts: Iterable[bytes]) -> Text:
    """What comes part by part, as one text."""
    file = temporary()
    for part in parts:
        file.append(part)
    return small(file)


def temporary() -> File:
    """A file that nobody else sees."""
    with told(), tempfile.TemporaryFile() as file:
        return File(os.dup(file.fileno()), ours=True)


def small(text: Text) -> Text:
    """In memory, if it is small: files that are open are few."""
    return text if len(text) > WINDOW else text[:]


@contextmanager
def told() -> Iterator[None]:
    """Raises Surroundings where there is no room on the disk, or no folder."""
    try:
        yield
    except OSError as error:
        raise Surroundings(
            f"The folder for large files, {_folder()}, takes no more ({error.strerror or error}): make room, or name "
            "another one by TMPDIR."
        ) from error


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "TMPDIR"


class _Reader:
    """A text as those libraries ask for a file that unpack it."""

    def __init__(self, text: Text) -> None:
        self._text, self._at = text, 0

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._text) if size is None or size < 0 else self._at + size
        found = self._text[self._at : end]
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._text)}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True


def as_file(text: Text) -> IO[bytes]:
    """For reading only."""
    return cast("IO[bytes]", _Reader(text))


class Spool:
    """Pieces that are written one after the other, to be read like those of a text."""

    def __init__(self, some: Iterable[bytes] = ()) -> None:
        self.pieces = Pieces(self._load)
        #: of each block, where its pieces begin in it, and then itself or where it begins in the file
        self._blocks: list[tuple[array[int], bytes | int]] = []
        self._file: File | None = None
        self.extend(some)

    def extend(self, some: Iterable[bytes]) -> None:
        block: list[bytes] = []
        size = 0
        for piece in some:
            block.append(piece)
            size += len(piece)
            if len(block) == _BLOCK or size >= _FULL:
                self._add(block)
                block, size = [], 0
        if block:
            self._add(block)

    def _add(self, block: Sequence[bytes]) -> None:
        self.pieces.add(len(block))
        begins = array("I", accumulate(map(len, block), initial=0))
        whole = b"".join(block)
        if len(self._blocks) < _HELD:
            self._blocks.append((begins, whole))
            return
        self._file = self._file or temporary()
        self._blocks.append((begins, len(self._file)))
        self._file.append(whole)

    def _load(self, number: int) -> list[bytes]:
        begins, whole = self._blocks[number]
        if isinstance(whole, int):
            assert self._file
            whole = self._file[whole : whole + begins[-1]]
        return [whole[begin:end] for begin, end in pairwise(begins)]


def spooled(some: Iterable[bytes]) -> Pieces:
    """Pieces that may be many, to be read when all are there."""
    return Spool(some).pieces
