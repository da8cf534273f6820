"""Reads JSON that is not STIX: a list of records, a list somewhere inside an object, or JSON lines."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from isac.errors import Invalid
from isac.formats.cutting import elements, lines, members, not_json
from isac.formats.found import Found, Unreadable, read_fields, unreadable
from isac.formats.texts import LONGEST, Text, trimmed


def read(
    data: Text,
    columns: Mapping[str, str | Sequence[str]],
    records: str | None = None,
    kind: str | None = None,
    *,
    us_dates: bool = False,
) -> Iterator[Found | Unreadable]:
    """Every record gives Found or Unreadable; `line` is its place in the list, or its line in JSON lines.

    `columns` maps our fields (`found.FIELDS`) to a record's members and `records` names the list; both by dotted names,
    such as `result.items`. Raises Invalid at once if there is no list of records.
    """
    wanted = {field: [names] if isinstance(names, str) else list(names) for field, names in columns.items()}
    return _read(_records(data, records, wanted.get("value", [])), wanted, kind, us_dates=us_dates)


def _read(
    records: Iterable[tuple[int, bytes]], wanted: Mapping[str, list[str]], kind: str | None, *, us_dates: bool
) -> Iterator[Found | Unreadable]:
    for number, piece in records:
        whole = piece[:1000].decode("utf-8", "replace")
        try:
            record = orjson.loads(piece)
        except orjson.JSONDecodeError as error:
            yield unreadable(number, whole, f"the record is no JSON: {error.msg}")
            continue
        if not isinstance(record, dict):
            yield unreadable(number, whole, "the record is no JSON object")
            continue
        texts = {
            field: [text for name in names for text in _texts(_get(record, name))] for field, names in wanted.items()
        }
        yield from read_fields(number, texts, kind, whole, us_dates=us_dates)


def _records(data: Text, path: str | None, values: Sequence[str]) -> Iterable[tuple[int, bytes]]:
    text = trimmed(data)
    if not path and text[:1] == b"{":
        found = lines(text)
        if found is None and len(text) <= LONGEST and _is_record(text[:], values):
            return [(1, text[:])]
        if found is None:
            names = ", ".join(name[:40] for name, value in members(text).items() if value[:1] == b"[")
            where = f"it may be one of {names}" if names else "but there is none in it"
            raise Invalid(f"The file is one JSON object; say with `records` where its list of records is ({where}).")
        return found
    for name in path.split(".") if path else ():
        if text[:1] != b"{":
            raise Invalid(f"There is no `{path}` in this file; correct `records`, or ask the publisher what changed.")
        text = members(text).get(name, b"")
    if text[:1] != b"[":
        if path:
            raise Invalid(
                f"There is no list `{path}` in this file; correct `records`, or ask the publisher what changed."
            )
        raise not_json(text, 0, "a list of records begins with [") if len(text) else Invalid("The file is empty.")
    return enumerate(elements(text), start=1)


def _is_record(text: bytes, values: Sequence[str]) -> bool:
    """One object that holds a value: JSON lines of which there is one only today."""
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return any(_get(record, name) is not None for name in values)


def _get(record: Mapping[str, Any], name: str) -> Any:
    """By the whole name first: some publishers write names with dots."""
    if name in record:
        return record[name]
    first, dot, rest = name.partition(".")
    inner = record.get(first)
    return _get(inner, rest) if dot and isinstance(inner, dict) else None


def _texts(value: Any) -> list[str]:
    """A scalar, or the scalars of a list."""
    return [str(one) for one in (value if isinstance(value, list) else [value]) if isinstance(one, str | int | float)]
