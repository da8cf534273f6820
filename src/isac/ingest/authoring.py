"""From values that a source lists to indicators of ours: one observable, one pattern, one id for each source and value.

What is stored already is written again with its own dates and compared: a list that has not changed gives the very same
bytes, and so changes nothing. What was revoked and is listed again gets the id of its next generation, for nothing can
follow a revocation.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from isac import times
from isac.formats.found import Found, Unreadable
from isac.stix import authored, markings
from isac.stix.markings import TLP
from isac.stix.objects import same
from isac.store import facts, members
from isac.store.database import Connection

_BATCH = 2000


@dataclass(frozen=True, slots=True)
class _Listed:
    """A value, and the object that stands for it: of the first generation that is not revoked."""

    found: Found
    generation: int = 0
    #: its newest version's bytes; None where there is none yet
    stored: bytes | None = None


async def author(
    conn: Connection,
    listed: Iterable[Found | Unreadable],
    *,
    producer: str,
    source: str,
    tlp: TLP | None,
    default: TLP,
    now: datetime,
) -> tuple[list[bytes], list[Unreadable]]:
    """Indicators (of a CVE id: vulnerabilities) for the values that can be read, each value once, and what cannot be.

    `producer` is the ISAC's identity, whose objects they are. Where `tlp` is None, what is stored keeps its marking and
    what is new gets the default: a list handed in for one organization as well must not be taken from the nation.
    """
    values, problems, pieces = iter(listed), list[Unreadable](), list[bytes]()
    written: set[str] = set()
    while batch := await asyncio.to_thread(_next, values, problems, source, written):
        standing = await _standing(conn, batch, producer, source)
        pieces += await asyncio.to_thread(
            lambda entries: [_piece(entry, producer, source, tlp, default, now) for entry in entries], standing
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
        stix_id = _stix_id(source, entry, 0)
        if stix_id not in written:
            written.add(stix_id)
            batch[stix_id] = entry
        if len(batch) == _BATCH:
            break
    return batch


def _stix_id(source: str, found: Found, generation: int) -> str:
    if found.observable.kind == "cve":
        return authored.vulnerability_id(source, found.observable.value, generation)
    return authored.indicator_id(source, found.observable.value, generation)


async def _standing(conn: Connection, batch: dict[str, Found], producer: str, source: str) -> list[_Listed]:
    """The values with what stands for each, in order: one question for all, and one more for each generation."""
    standing = {stix_id: _Listed(found) for stix_id, found in batch.items()}
    #: id of the generation asked for → id of the first
    asked = {stix_id: stix_id for stix_id in batch}
    while asked:
        stored = await _stored(conn, list(asked), producer, source)
        revoked: dict[str, str] = {}
        for stix_id, (raw, is_revoked) in stored.items():
            first = asked[stix_id]
            if not is_revoked:
                standing[first] = replace(standing[first], stored=raw)
                continue
            standing[first] = replace(standing[first], generation=standing[first].generation + 1)
            revoked[_stix_id(source, standing[first].found, standing[first].generation)] = first
        asked = revoked
    return list(standing.values())


async def _stored(conn: Connection, stix_ids: list[str], producer: str, source: str) -> dict[str, tuple[bytes, bool]]:
    """Our newest versions, and whether each is a revocation; of what is not stored, the version that waits in triage.

    Ids of indicators can be guessed, so others may have put objects of theirs under them; and a submission may name
    any source, so its organization tells.
    """
    waiting = await facts.fetch(
        conn,
        """SELECT DISTINCT ON (h.stix_id) h.stix_id, h.raw FROM held h JOIN submissions s ON s.pk = h.submission
           JOIN organizations o ON o.pk = s.organization
           WHERE h.stix_id = ANY(%s) AND h.rule = 'tlp' AND lower(o.name) = lower(%s)
           ORDER BY h.stix_id, h.held_at DESC""",
        (stix_ids, source),
    )
    rows = await facts.fetch(
        conn,
        # Right after a load, without statistics, PostgreSQL would begin with all versions of the producer.
        """SELECT o.stix_id, v.raw, v.revoked FROM objects o, LATERAL (
             SELECT raw, revoked FROM versions
             WHERE object = o.pk AND producer = (SELECT pk FROM producers WHERE identity = %s) AND NOT deleted
             ORDER BY modified DESC LIMIT 1) v
           WHERE o.stix_id = ANY(%s)""",
        (producer, stix_ids),
    )
    return {stix_id: (raw, False) for stix_id, raw in waiting} | {
        stix_id: (raw, revoked) for stix_id, raw, revoked in rows
    }


def _piece(listed: _Listed, producer: str, source: str, tlp: TLP | None, default: TLP, now: datetime) -> bytes:
    """The stored bytes where nothing changed; else a new version, or the first. What the list itself marks counts."""
    tlp = listed.found.tlp if listed.found.tlp is not None else tlp
    if listed.stored is None:
        tlp = default if tlp is None else tlp
        return _write(listed, producer, source, tlp, created=now, modified=now, valid_from=listed.found.seen or now)
    body: dict[str, Any] = orjson.loads(listed.stored)
    if tlp is None:
        marked = markings.in_force(body).tlp
        tlp = default if marked is None else marked
    created, modified = times.read(body["created"]), times.read(body["modified"])
    valid_from = times.read(body.get("valid_from", body["created"]))
    again = _write(listed, producer, source, tlp, created=created, modified=modified, valid_from=valid_from)
    if same(again, listed.stored):
        return listed.stored
    return _write(listed, producer, source, tlp, created=created, modified=now, valid_from=valid_from)


def _write(
    listed: _Listed,
    producer: str,
    source: str,
    tlp: TLP,
    *,
    created: datetime,
    modified: datetime,
    valid_from: datetime,
) -> bytes:
    found = listed.found
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
            generation=listed.generation,
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
        generation=listed.generation,
    )


async def ended(conn: Connection, stix_ids: Sequence[str], source: str, now: datetime) -> list[bytes]:
    """Versions of our indicators that end now; nothing for what has ended already, or is no indicator of ours."""
    isac = await members.steward(conn)
    stored = await _stored(conn, list(stix_ids), isac.identity, source)
    bodies = (orjson.loads(raw) for raw, revoked in stored.values() if not revoked)
    return [
        authored.ended(body, now)
        for body in bodies
        if body["type"] == "indicator" and ("valid_until" not in body or times.read(body["valid_until"]) > now)
    ]
