"""From values that a source lists to indicators of ours: one observable, one pattern, one id for each source and value.

What is stored already is written again with its own dates and compared: a list that has not changed gives the very same
bytes, and so changes nothing.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson

from isac import times
from isac.formats.found import Found, Unreadable
from isac.stix import authored
from isac.stix.markings import TLP
from isac.stix.objects import same
from isac.store import facts
from isac.store.database import Connection

_BATCH = 2000


async def author(
    conn: Connection, listed: Iterable[Found | Unreadable], *, producer: str, source: str, tlp: TLP, now: datetime
) -> tuple[list[bytes], list[Unreadable]]:
    """Indicators (of a CVE id: vulnerabilities) for the values that can be read, each value once, and what cannot be.

    `producer` is the ISAC's identity, whose objects they are.
    """
    values, problems, pieces = iter(listed), list[Unreadable](), list[bytes]()
    written: set[str] = set()
    while batch := await asyncio.to_thread(_next, values, problems, source, written):
        stored = await _stored(conn, list(batch), producer)
        pieces += await asyncio.to_thread(
            lambda found, known: [_piece(i, f, known.get(i), producer, source, tlp, now) for i, f in found.items()],
            batch,
            stored,
        )
    return pieces, problems


def _next(
    values: Iterator[Found | Unreadable], problems: list[Unreadable], source: str, written: set[str]
) -> dict[str, Found]:
    """The next values by the ids of their objects; the first of several lines with one value counts."""
    batch: dict[str, Found] = {}
    for entry in values:
        if isinstance(entry, Unreadable):
            problems.append(entry)
            continue
        stix_id = _stix_id(source, entry)
        if stix_id not in written:
            written.add(stix_id)
            batch[stix_id] = entry
        if len(batch) == _BATCH:
            break
    return batch


def _stix_id(source: str, found: Found) -> str:
    if found.observable.kind == "cve":
        return authored.vulnerability_id(source, found.observable.value)
    return authored.indicator_id(source, found.observable.value)


async def _stored(conn: Connection, stix_ids: list[str], producer: str) -> dict[str, bytes]:
    """Our newest versions; ids of indicators can be guessed, so others may have put objects of theirs under them."""
    rows = await facts.fetch(
        conn,
        """SELECT DISTINCT ON (o.stix_id) o.stix_id, v.raw FROM versions v JOIN objects o ON o.pk = v.object
           JOIN producers p ON p.pk = v.producer
           WHERE o.stix_id = ANY(%s) AND p.identity = %s AND NOT v.deleted ORDER BY o.stix_id, v.modified DESC""",
        (stix_ids, producer),
    )
    return dict(rows)


def _piece(
    stix_id: str, found: Found, stored: bytes | None, producer: str, source: str, tlp: TLP, now: datetime
) -> bytes:
    """The stored bytes where nothing changed; else a new version, or the first."""
    if stored is None:
        return _write(found, producer, source, tlp, created=now, modified=now, valid_from=found.seen or now)
    body: Mapping[str, Any] = orjson.loads(stored)
    created, modified = times.read(body["created"]), times.read(body["modified"])
    valid_from = times.read(body.get("valid_from", body["created"]))
    again = _write(found, producer, source, tlp, created=created, modified=modified, valid_from=valid_from)
    if same(again, stored):
        return stored
    return _write(found, producer, source, tlp, created=created, modified=now, valid_from=valid_from)


def _write(
    found: Found,
    producer: str,
    source: str,
    tlp: TLP,
    *,
    created: datetime,
    modified: datetime,
    valid_from: datetime,
) -> bytes:
    if found.observable.kind == "cve":
        return authored.vulnerability(
            producer=producer,
            source=source,
            cve=found.observable.value,
            tlp=tlp,
            created=created,
            modified=modified,
            name=found.name,
            description=found.description,
            references=found.references,
            labels=found.labels,
        )
    until = found.until if found.until is not None and found.until > valid_from else None
    return authored.indicator(
        producer=producer,
        source=source,
        observable=found.observable,
        tlp=tlp,
        valid_from=valid_from,
        created=created,
        modified=modified,
        valid_until=until,
        name=found.name,
        description=found.description,
        labels=found.labels,
        confidence=found.confidence,
        references=found.references,
    )
