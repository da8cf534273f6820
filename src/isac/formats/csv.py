"""Reads tables: CSV as feeds publish it (RFC 4180 and what they make of it), by the names in the header.

Never by position: a column that a publisher inserts (ThreatFox did) changes nothing. The delimiter is the one that
makes the header's names appear: comma, semicolon, tab or bar. Where there is no header, the definition says its names.
"""

import csv
import difflib
import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from isac.errors import Invalid
from isac.formats.found import Found, Unreadable, read_fields, unreadable
from isac.formats.texts import Text, check_lines, decode, holds

# The library's default of 131,072 characters loses rows with a long cell. As large as an object may be at all.
csv.field_size_limit(1 << 20)
# A quotation mark that is never closed must not swallow the rest of the file: so far is looked for its end, …
_MAX_LINES_OF_ROW = 20_000
_MAX_SIZE_OF_ROW = 8 * 1024 * 1024
# … and in a whole file not more than so many lines in vain.
_MAX_LINES_IN_VAIN = 1_000_000
_DELIMITERS = (",", ";", "\t", "|")
#: of a table without a header, to see its delimiter
_ROWS_TRIED = 20


def read(
    data: Text,
    columns: Mapping[str, str | Sequence[str]],
    kind: str | None = None,
    *,
    header: Sequence[str] = (),
    us_dates: bool = False,
) -> Iterator[Found | Unreadable]:
    """Every row that is neither blank nor a comment (#) gives Found or Unreadable.

    `columns` maps our fields (`found.FIELDS`) to names in the header, which may stand in a comment line. `header` is
    that of a table without one, whose last column takes all that follows. Raises Invalid at once if the header or one
    of its columns is missing.
    """
    # Between quotation marks a cell may have many lines.
    if not holds(data, b'"'):
        check_lines(data)
    wanted = {field: [names] if isinstance(names, str) else list(names) for field, names in columns.items()}
    named = [name for names in wanted.values() for name in names]
    at, delimiter, found = (-1, _delimiter(data, header), [*map(_plain, header)]) if header else _header(data, named)
    places = {field: [found.index(_plain(name)) for name in names] for field, names in wanted.items()}
    table = _Table(delimiter, len(found), places, kind, open_ended=bool(header), us_dates=us_dates)
    return _rows(table, _Ahead(decode(data), at + 1))


@dataclass(frozen=True, slots=True)
class _Table:
    delimiter: str
    width: int
    #: our field → its columns
    places: Mapping[str, list[int]]
    kind: str | None
    #: the last column has all that follows
    open_ended: bool
    us_dates: bool


class _Ahead:
    """The lines of a table from one on, and those behind it as far as anybody looked."""

    def __init__(self, lines: Iterator[str], skipped: int = 0) -> None:
        self._rest = itertools.islice(lines, skipped, None)
        self._lines: deque[str] = deque()
        #: of the first line, from 1
        self.number = skipped + 1

    def first(self) -> str | None:
        return next(self.upto(1), None)

    def upto(self, count: int) -> Iterator[str]:
        for at in range(count):
            if at == len(self._lines):
                line = next(self._rest, None)
                if line is None:
                    return
                self._lines.append(line)
            yield self._lines[at]

    def skip(self, count: int) -> None:
        for _ in range(count):
            self._lines.popleft()
        self.number += count


def _rows(table: _Table, ahead: _Ahead) -> Iterator[Found | Unreadable]:
    delimiter, width = table.delimiter, table.width
    patience = _MAX_LINES_IN_VAIN
    while (line := ahead.first()) is not None:
        number = ahead.number
        if _is_comment(line):
            ahead.skip(1)
            continue
        row, height = _row(line, ahead, delimiter, min(_MAX_LINES_OF_ROW, patience))
        if row is not None and table.open_ended and len(row) > width:
            row[width - 1 :] = [delimiter.join(row[width - 1 :])]
        if row is not None and len(row) >= width and not any(row[width:]):
            texts = {field: [row[place] for place in found] for field, found in table.places.items()}
            yield from read_fields(number, texts, table.kind, line, us_dates=table.us_dates)
            ahead.skip(height)
            continue
        # The next line may be a good row: of this one only its first line is lost.
        ahead.skip(1)
        patience = max(1, patience - height)
        if row is None:
            yield unreadable(number, line, "a quotation mark is not closed, or a cell is too long")
        else:
            yield unreadable(number, line, f"the row has {len(row)} cells, and the header {width}")


def _row(line: str, ahead: _Ahead | None, delimiter: str, reach: int) -> tuple[list[str] | None, int]:
    """The cells of the row that begins with a line, and how many lines it took; None if it ends beyond reach."""
    marks = line.count('"')
    if not marks:
        return line.split(delimiter), 1
    window = _within(ahead.upto(reach) if ahead and marks % 2 else iter((line,)))
    strict = csv.reader(window, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        return next(strict), strict.line_num
    except csv.Error:
        pass
    # Sloppy marks, such as a blank after the closing one, are taken as long as they stay within the line.
    try:
        row = next(csv.reader([f"{line}\n"], delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return None, strict.line_num
    return (None, strict.line_num) if row[-1].endswith("\n") else (row, 1)


def _within(lines: Iterator[str]) -> Iterator[str]:
    size = 0
    for line in lines:
        size += len(line)
        if len(line) < size > _MAX_SIZE_OF_ROW:
            return
        yield f"{line}\n"


def _delimiter(data: Text, header: Sequence[str]) -> str:
    """The one that cuts most of the first rows into as many cells as the header names. Raises Invalid if none does."""
    rows = [*itertools.islice((line for line in decode(data) if not _is_comment(line)), _ROWS_TRIED)]
    cells = {mark: [len(_row(line, None, mark, reach=1)[0] or ()) for line in rows] for mark in _DELIMITERS}
    width = len(header)
    best = max(_DELIMITERS, key=lambda mark: (cells[mark].count(width), sum(count > width for count in cells[mark])))
    if width > 1 and rows and max(cells[best]) < width:
        raise Invalid(
            f"`header` names {width} columns, and the first rows have at most {max(map(max, cells.values()))}; correct "
            "`header`, or ask the publisher what changed."
        )
    return best


def _header(data: Text, wanted: list[str]) -> tuple[int, str, list[str]]:
    """Line index, delimiter and names: the line that has most of the wanted ones, of the comments and the first row."""
    best: tuple[int, str, list[str]] = (-1, ",", [])
    missing, first_row = wanted, "nowhere"
    for at, line in enumerate(decode(data)):
        for delimiter in _DELIMITERS:
            names = [_plain(name) for name in _row(line.lstrip("# "), None, delimiter, reach=1)[0] or ()]
            lacking = [name for name in wanted if _plain(name) not in names]
            if len(lacking) < len(missing):
                best, missing = (at, delimiter, names), lacking
        if not missing or not _is_comment(line):
            first_row = line
            break
    if missing:
        header = ", ".join(best[2]) or first_row
        raise Invalid(
            f"The table has no column {', '.join(dict.fromkeys(missing))} (its header is {header[:300]}); "
            f"{_way_out(header, best[2], missing)}correct `columns`, or ask the publisher what changed."
        )
    return best


def _way_out(header: str, names: list[str], missing: list[str]) -> str:
    """What probably is wrong with a header that lacks names."""
    cells = names or max((header.lower().split(mark) for mark in _DELIMITERS), key=len)
    if len(cells) == 1:
        return "it holds no comma, semicolon, tab or bar, which part columns: save the table with one of these, or "
    found = difflib.get_close_matches(_plain(missing[0]), [_plain(cell) for cell in cells], 1)
    return f"perhaps «{found[0]}» is meant: " if found else ""


def _plain(name: str) -> str:
    return name.strip().strip('"').strip().lower()


def _is_comment(line: str) -> bool:
    return line.lstrip()[:1] in ("", "#")
