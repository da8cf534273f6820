"""Erase what came in: an object with all that carried it, or what a submission was read from.

What is kept as it came is packed, so it is looked through here: a payload carries an object if one in it has its id,
or, where we wrote the object from a list or a MISP event, if its value stands in what its source handed in, as it is
written there or as its reader understands it.
"""

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

from isac.errors import Invalid, NotFound
from isac.formats import texts
from isac.formats.found import Found
from isac.formats.texts import Text
from isac.ingest import disk, files
from isac.ingest.feeds import Feed
from isac.stix import authored
from isac.stix.fangs import AT, DOT
from isac.stix.markings import MARKINGS
from isac.store import archive, erasure, facts, log
from isac.store.database import Pool
from isac.store.erasure import Gone, Handed, Rest, Thing
from isac.store.facts import By

_ID = re.compile(r"[a-z0-9-]+--[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: what we wrote from a list: its id is made from its value (UUIDv5)
_OURS = re.compile(r"(?:indicator|vulnerability|identity|course-of-action)--[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f-]{21}")
#: shorter values stand everywhere
_SHORTEST = 4
#: seconds between two looks whether others are done
_PAUSE = 0.05
# Longer than an id with its name, or a value, however it is written.
_REACH = 64 * 1024


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: of each object its versions, and what else."""

    versions: list[tuple[Thing, list[Gone]]]
    rest: Rest

    @property
    def is_nothing(self) -> bool:
        return not (any(gone for _, gone in self.versions) or self.rest.held or self.rest.submissions)


def thing(stix_id: str, producer: str | None = None, modified: int | None = None) -> Thing:
    """An object to erase. Raises Invalid for what is no id, and for the TLP definitions, which all others need."""
    if not _ID.fullmatch(stix_id.lower()):
        raise Invalid(f"{stix_id!r} is no STIX id, such as indicator--0b8c5e0e-6c1b-4a57-9d0e-5f3c1d2a7b64.")
    if stix_id.lower() in MARKINGS:
        raise Invalid(f"{stix_id} is one of the TLP definitions, which hold nothing of anybody.")
    return Thing(stix_id.lower(), producer, modified)


@dataclass(slots=True)
class Carriers:
    """The payloads that carry one of some objects. What they are looked for is known before it is erased."""

    sought: Sequence["_Sought"]
    #: how a feed's payloads are read today. Raises NotFound or Invalid
    feed_named: Callable[[str], Feed]
    #: database keys
    payloads: set[int] = field(default_factory=set)
    #: all that were looked through
    looked: set[int] = field(default_factory=set)

    async def look(self, pool: Pool, progress: Callable[[int, int], None] = lambda _, __: None) -> None:
        """Look through what came since; `progress` hears how many payloads were looked through, of how many."""
        if not self.sought:
            return
        async with pool.connection() as conn:
            kept = await erasure.payloads(conn, self.looked)
            for number, (payload, handed) in enumerate(kept, 1):
                file = disk.temporary()
                # Be it damaged: whatever is kept of it is looked through.
                async for piece in archive.pieces(conn, payload):
                    await asyncio.to_thread(file.append, piece)
                if await asyncio.to_thread(_carries, file, handed, self.sought, self.feed_named):
                    self.payloads.add(payload)
                self.looked.add(payload)
                progress(number, len(kept))


async def carriers(
    pool: Pool,
    things: Sequence[Thing],
    feed_named: Callable[[str], Feed],
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Carriers:
    """Everything that carries one of these; `feed_named`: see Carriers."""
    async with pool.connection() as conn:
        found = Carriers([_Sought.of(each, *await erasure.stored(conn, each)) for each in things], feed_named)
    await found.look(pool, progress)
    return found


@dataclass(frozen=True, slots=True)
class _Sought:
    """What a payload that carries an object has in it."""

    #: STIX ids as whoever wrote the payload knows the object, and an object that has one of them
    ids: tuple[bytes, ...]
    as_object: re.Pattern[bytes]
    #: the values that an object was made from, looked for in what these organizations handed in: what a reader makes of
    #: it, and as they are written, for what stands in comments, or in words
    values: frozenset[str]
    written: re.Pattern[str] | None
    organizations: frozenset[int]

    @classmethod
    def of(cls, sought: Thing, raws: Sequence[bytes], organizations: Sequence[int]) -> "_Sought":
        ids, values = {sought.stix_id}, set[str]()
        for raw in raws:
            body = orjson.loads(raw)
            # What was STIX 2.0 names its original last.
            originals = (each.get("external_id", "").lower() for each in body.get("external_references", [])[-1:])
            ids |= {original for original in originals if _ID.fullmatch(original)}
            if _OURS.fullmatch(sought.stix_id):
                # Others have such ids, too, and patterns in other languages.
                with suppress(ValueError):
                    values.update(authored.values(body))
        written = sorted(re.escape(value.lower()) for value in values if len(value) >= _SHORTEST)
        return cls(
            tuple(each.encode() for each in sorted(ids)),
            re.compile(rb'"id"\s*:\s*"(?:%s)"' % b"|".join(each.encode() for each in sorted(ids))),
            frozenset(values),
            re.compile(rf"(?<![0-9a-z])(?:{'|'.join(written)})(?![0-9a-z])") if written else None,
            frozenset(organizations),
        )


def _carries(
    file: Text, handed: Sequence[Handed], sought: Sequence[_Sought], feed_named: Callable[[str], Feed]
) -> bool:
    organizations = {each.organization for each in handed}
    by_value = [one.written for one in sought if one.written and one.organizations & organizations]
    if any(_stands_in(content, sought, by_value) for content in files.contents(file)):
        return True
    for each in handed:
        values = frozenset[str]().union(*(one.values for one in sought if each.organization in one.organizations))
        if values and any(value in values for value in _values(file, each, feed_named)):
            return True
    return False


def _stands_in(content: Text, sought: Sequence[_Sought], by_value: Sequence[re.Pattern[str]]) -> bool:
    # What ends or begins at an edge may go on there; it lies within another window, or at an end of the text.
    window = b"\n"
    for part in itertools.chain(texts.utf_8(content), [b"\n"]):
        window += part.lower()
        if any(each in window and one.as_object.search(window) for one in sought for each in one.ids):
            return True
        if by_value:
            meant = AT.sub("@", DOT.sub(".", window.decode("utf-8", "replace")))
            meant = meant.replace("\\/", "/").replace("hxxp", "http")
            found = (each.span() for written in by_value for each in written.finditer(meant))
            if any(begin > 0 and end < len(meant) for begin, end in found):
                return True
        window = window[-_REACH:]
    return False


def _values(file: Text, handed: Handed, feed_named: Callable[[str], Feed]) -> Iterator[str]:
    """The values that its reader finds in it, whose definition may have changed since."""
    feed = Feed.model_validate_json(handed.definition) if handed.definition else None
    with suppress(NotFound, Invalid):
        feed = feed_named(handed.feed) if handed.feed else feed
    with suppress(Invalid):
        for document in files.documents("", file, feed if handed.feed else None):
            with suppress(Invalid):
                read = files.entries(document, feed)
                if isinstance(read, Iterator):
                    yield from (each.observable.value for each in read if isinstance(each, Found))


async def erase(
    pool: Pool, things: Sequence[Thing], public_ids: Sequence[str], carriers: Carriers, by: By, *, dry: bool = False
) -> Erased:
    """Erase objects, and what submissions were read from. `dry`: only say what would go.

    First all that carries the objects, while it is known what to look for; then the objects, after which nothing new
    of them comes in; then what came meanwhile. Each is a transaction of its own, for none may wait for anything with
    the log's lock in its hands, and what was cut off is finished by the same once more. Raises NotFound for a
    submission that is unknown.
    """
    versions = []
    async with pool.connection() as conn:
        async with conn.transaction(force_rollback=dry):
            rest = await erasure.erase_rest(conn, things, public_ids, carriers.payloads, by)
        for each in things:
            async with conn.transaction(force_rollback=dry):
                producer = (await facts.producers(conn, [each.producer]))[each.producer] if each.producer else None
                versions.append((each, await log.erase(conn, each.stix_id, by, producer, each.modified)))
        if not dry:
            # Who writes it down just now may not have found yet that it was erased.
            others = await erasure.asking(conn)
            while others := others & await erasure.asking(conn):  # noqa: ASYNC110 -- nobody tells of the end of one
                await asyncio.sleep(_PAUSE)
            await carriers.look(pool)
            async with conn.transaction():
                rest += await erasure.erase_rest(conn, things, [], carriers.payloads, by)
    return Erased(versions, rest)
