"""From values that a source lists to indicators of ours: one observable, one pattern, one id for each source and value.

What is stored already is written again with its own dates and compared: a list that has not changed gives the very same
bytes, and so changes nothing. What was revoked and is listed again gets the id of its next generation, for nothing can
follow a revocation.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson

from isac import times
from isac.formats.found import PARTIES, Found, Problems, Unreadable
from isac.formats.texts import Pieces
from isac.ingest.disk import Spool
from isac.policy.screen import Numbers
from isac.stix import authored, markings
from isac.stix.markings import TLP
from isac.stix.objects import same
from isac.store import facts, members, triage
from isac.store.database import Connection

#: values that are looked up together, and characters of them: each is in memory several times
_BATCH, _LONG = 2000, 1_000_000
#: the objects of one value: itself; what is to be done about it, where the source says so; that the one mitigates the
#: other
Part = Literal["value", "action", "mitigation"]
_PARTS: tuple[Part, ...] = ("value", "action", "mitigation")

#: how long an observable of a kind holds; None: for ever
ValidFor = Callable[[str], timedelta | None]


def for_ever(_: str) -> timedelta | None:
    """What lists without a definition say."""
    return None


@dataclass(frozen=True, slots=True)
class _Listed:
    """A value, and an object that stands for it: of the first generation that is not revoked."""

    found: Found
    part: Part = "value"
    generation: int = 0
    #: its newest version's bytes; None where there is none yet
    stored: bytes | None = None
    #: of a mitigation: the ids of what is to be done and of what it is done about
    ends: tuple[str, str] = ("", "")
    #: that version is not stored, but waits in triage: nobody has it
    waits: bool = False


async def author(
    conn: Connection,
    listed: Iterable[Found | Unreadable],
    *,
    producer: str,
    source: str,
    tlp: TLP | None,
    default: TLP,
    now: datetime,
    confidence: int | None = None,
    valid_for: ValidFor = for_ever,
) -> tuple[Pieces, Problems, int]:
    """Indicators for the values that can be read, each value once, with what is to be done about them; what cannot be
    read; and how often a value came again.

    Of CVE numbers vulnerabilities are made, of the numbers of listed persons and organizations identities.
    `producer` is the ISAC's identity, whose objects they are. Where `tlp` is None, what is stored keeps its marking and
    what is new gets the default: a list handed in for one organization as well must not be taken from the nation.
    `confidence` is of what says nothing of it; `valid_for` answers how long an observable of a kind holds from now on,
    where its list does not say until when.
    """
    values, read, spool = iter(listed), _Read(), Spool()
    writer = _Writer(producer, source, tlp, default, now, valid_for)
    if confidence is not None:
        values = (
            replace(each, confidence=confidence) if isinstance(each, Found) and each.confidence is None else each
            for each in values
        )
    while batch := await asyncio.to_thread(_next, values, read, source):
        standing = await _standing(conn, batch, producer, source)
        pieces = await asyncio.to_thread(writer.pieces, standing)
        await asyncio.to_thread(spool.extend, pieces)
    return spool.pieces, read.problems, read.values - len(read.ids)


@dataclass(slots=True)
class _Read:
    """What has been read of a list."""

    ids: Numbers = field(default_factory=Numbers)
    problems: Problems = field(default_factory=Problems)
    #: how many, those too that came again
    values: int = 0


def _next(values: Iterator[Found | Unreadable], read: _Read, source: str) -> dict[str, _Listed]:
    """The next values by the ids of their objects; the first of several lines with one value counts."""
    batch: dict[str, _Listed] = {}
    room = _LONG
    for entry in values:
        if isinstance(entry, Unreadable):
            read.problems.note(entry)
            continue
        stix_id = _stix_id(source, entry, "value", 0)
        read.values += 1
        new = len(read.ids)
        if read.ids.of(stix_id) == new:
            batch[stix_id] = _Listed(entry)
            if entry.action:
                batch |= {_stix_id(source, entry, part, 0): _Listed(entry, part) for part in _PARTS[1:]}
        room -= len(entry.observable.value) + len(entry.description)
        if len(batch) >= _BATCH or room < 0:
            break
    return batch


def _stix_id(source: str, found: Found, part: Part, generation: int) -> str:
    value = found.observable.value
    if part == "action":
        return authored.action_id(source, value, generation)
    if part == "mitigation":
        return authored.mitigation_id(source, value, generation)
    if found.observable.kind in PARTIES:
        return authored.party_id(source, value, generation)
    if found.observable.kind == "cve":
        return authored.vulnerability_id(source, value, generation)
    return authored.indicator_id(source, value, generation)


async def _standing(conn: Connection, batch: dict[str, _Listed], producer: str, source: str) -> list[_Listed]:
    """The values with what stands for each, in order: one question for all, and one more for each generation."""
    standing = dict(batch)
    #: id of the generation asked for → id of the first
    asked = {stix_id: stix_id for stix_id in batch}
    while asked:
        # Ids of indicators can be guessed, so others may have put objects of theirs under them.
        stored = await facts.newest(conn, asked, producer)
        revoked: dict[str, str] = {}
        waiting = await triage.held_by_tlp(conn, asked.keys() - stored.keys(), source)
        for stix_id, raw in waiting.items():
            first = asked[stix_id]
            standing[first] = replace(standing[first], stored=raw, waits=True)
        for stix_id, (raw, is_revoked) in stored.items():
            first = asked[stix_id]
            if not is_revoked:
                standing[first] = replace(standing[first], stored=raw)
                continue
            standing[first] = replace(standing[first], generation=standing[first].generation + 1)
            again = standing[first]
            revoked[_stix_id(source, again.found, again.part, again.generation)] = first
        asked = revoked
    return list(standing.values())


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the objects of one list; see `author`."""

    producer: str
    source: str
    tlp: TLP | None
    default: TLP
    now: datetime
    valid_for: ValidFor

    def pieces(self, standing: list[_Listed]) -> list[bytes]:
        pieces = []
        value = action = ""
        for listed in standing:
            stix_id = _stix_id(self.source, listed.found, listed.part, listed.generation)
            if listed.part == "value":
                value = stix_id
            elif listed.part == "action":
                action = stix_id
            else:
                # The two stand right before it.
                listed = replace(listed, ends=(action, value))
            pieces.append(self._piece(listed))
        return pieces

    def _piece(self, listed: _Listed) -> bytes:
        """The stored bytes where nothing changed; else a new version, or the first."""
        now = self.now
        listed = replace(listed, found=replace(listed.found, until=self._until(listed)))
        if listed.stored is None:
            tlp = self._marking(listed, {})
            return self._write(listed, tlp, created=now, modified=now, valid_from=listed.found.seen or now)
        body: dict[str, Any] = orjson.loads(listed.stored)
        tlp = self._marking(listed, body)
        created, modified = times.read(body["created"]), times.read(body["modified"])
        valid_from = times.read(body.get("valid_from", body["created"]))
        again = self._write(listed, tlp, created=created, modified=modified, valid_from=valid_from)
        if same(again, listed.stored):
            return listed.stored
        return self._write(listed, tlp, created=created, modified=now, valid_from=valid_from)

    def _until(self, listed: _Listed) -> datetime | None:
        """As the list says; else so long from now, but no further while what is stored holds for half as long.

        The same list, read each hour, would be news each hour.
        """
        found = listed.found
        span = None if found.until is not None else self.valid_for(found.observable.kind)
        if span is None:
            return found.until
        stored = orjson.loads(listed.stored).get("valid_until") if listed.stored else None
        if stored is not None and times.read(stored) > self.now + span / 2:
            return times.read(stored)
        return self.now + span

    def _marking(self, listed: _Listed, body: dict[str, Any]) -> TLP:
        """What the list itself marks counts, then what it is handed in with, then the marking under which it is stored.

        What waits is not stored, so that what was too strict for its audience once can be handed in again.
        """
        given = listed.found.tlp if listed.found.tlp is not None else self.tlp
        if given is not None:
            return given
        stored = markings.in_force(body).tlp if not listed.waits else None
        # So it was marked while its sender gave it to few; its sender's own word is the newer one.
        widened = listed.found.wide and stored is TLP.AMBER_STRICT
        return self.default if stored is None or widened else stored

    def _write(
        self, listed: _Listed, tlp: TLP, *, created: datetime, modified: datetime, valid_from: datetime
    ) -> bytes:
        found, value = listed.found, listed.found.observable.value
        common: dict[str, Any] = {
            "producer": self.producer,
            "source": self.source,
            "tlp": tlp,
            "created": created,
            "modified": modified,
            "generation": listed.generation,
        }
        if listed.part == "action":
            return authored.course_of_action(value=value, action=found.action, due=found.due, **common)
        if listed.part == "mitigation":
            action, target = listed.ends
            return authored.mitigation(value=value, action=action, target=target, **common)
        common |= {
            "name": found.name,
            "description": found.description,
            "labels": found.labels,
            "references": found.references,
        }
        if found.observable.kind in PARTIES:
            return authored.party(number=value, identity_class=found.observable.kind, **common)
        if found.observable.kind == "cve":
            return authored.vulnerability(cve=value, **common)
        until = found.until if found.until is not None and found.until > valid_from else None
        return authored.indicator(
            observable=found.observable,
            valid_from=valid_from,
            valid_until=until,
            confidence=found.confidence,
            **common,
        )


async def ended(conn: Connection, stix_ids: Sequence[str], now: datetime) -> list[bytes]:
    """Versions of our indicators that end now; nothing for what has ended already, or is no indicator of ours."""
    isac = await members.steward(conn)
    stored = await facts.newest(conn, stix_ids, isac.identity)
    bodies = (orjson.loads(raw) for raw, revoked in stored.values() if not revoked)
    return [
        authored.ended(body, now)
        for body in bodies
        if body["type"] == "indicator" and ("valid_until" not in body or times.read(body["valid_until"]) > now)
    ]
