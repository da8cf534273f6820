"""Files that an operator hands over: opened, unpacked, told apart, and sent down the road."""

import asyncio
import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from isac import times
from isac.errors import Classified, Invalid
from isac.formats import misp, stix, stix20, text
from isac.formats.cutting import Pieces
from isac.formats.found import Found, Unreadable
from isac.ingest.authoring import author, for_ever
from isac.ingest.intake import Outcome, Submission, take_in
from isac.ingest.rehearsal import rehearse
from isac.policy.actors import Actor, Role
from isac.policy.screen import default_tlp
from isac.stix import markings
from isac.stix.markings import TLP
from isac.store import archive, erasure, members, submissions
from isac.store.database import Pool
from isac.store.members import Collection
from isac.store.submissions import Counts, Kept

if TYPE_CHECKING:  # pydantic takes longer to load than most lists to read
    from isac.ingest.feeds import Feed

#: what a packed file may unpack to; larger ones are cut by their owner
MAX_BYTES = 1024 * 1024 * 1024
#: files in an archive: the largest feeds of events have some ten thousand
_MAX_FILES = 100_000
#: objects from which on a second process pays for its start
LARGE = 5_000
_GZIP = b"\x1f\x8b"
_TAR, _TAR_AT = b"ustar", 257
# STIX patterns and addresses with ports begin with a bracket, too.
_BEGINS_AS_JSON = re.compile(rb"[\xef\xbb\xbf \t\r\n]*+(?:[{<]|\[(?![0-9a-z-]+:))")
# Without one of these `markings.banner` finds none.
_HINTS = (b"SECRET", b"CONFIDENTIAL", b"(TS//", b"(S//", b"(C//")
#: where a zero byte shows that a file is no text
_HEAD = 4096
#: but for UTF-16, which says so
_WIDE = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Payload:
    """One document: a file, a member of an archive, or all STIX or all MISP of an archive.

    The objects of STIX name each other, and of a value that several events of MISP name the first counts.
    """

    name: str
    data: bytes
    #: STIX, cut already
    pieces: Sequence[bytes] | None = None
    #: events of MISP
    events: Sequence[bytes] = ()
    #: the file that it came in, packed or not; is it only a part of that?
    file: bytes | None = None
    part: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of one document; `problems` are the lines of a list that hold no value."""

    name: str
    outcome: Outcome
    problems: list[Unreadable]


def payloads(path: Path, feed: "Feed | None" = None) -> Iterator[Payload]:
    """The documents in a file: itself, or what its archive holds. Raises Invalid if it cannot be read or is damaged.

    All MISP of an archive is one document and, without a feed, which has a reader of its own, all STIX, too.
    """
    try:
        yield from documents(str(path), path.read_bytes(), feed)
    except OSError as error:
        raise Invalid(f"{path}: cannot be read ({error.strerror or error}).") from error


def documents(path: str, file: bytes, feed: "Feed | None" = None) -> Iterator[Payload]:
    """The same of a file's bytes. Raises Invalid if it is damaged."""
    try:
        data = unpacked(file, MAX_BYTES)
    except Invalid as error:
        raise Invalid(f"{path}: {error.detail}") from error
    try:
        if data.startswith(_TAR, _TAR_AT):
            for member in _members(path, data, feed):
                yield replace(member, file=file, part=True)
        else:
            yield Payload(path, data, file=file)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise Invalid(f"{path}: is damaged ({error}); get it again.") from error


def unpacked(content: bytes, most: int) -> bytes:
    """What is in gzip, of which a server's may be inside a file's. Raises Invalid if it is damaged or too large.

    Whether it is packed is told by its first bytes, since names lie.
    """
    for _ in range(2):
        if not content.startswith(_GZIP):
            break
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(most + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise Invalid(f"is damaged ({error}); get it again.") from error
    if len(content) > most:
        raise Invalid(f"holds more than {most >> 20} MiB; cut it into several files.")
    return content


def _members(path: str, data: bytes, feed: "Feed | None") -> Iterator[Payload]:
    pieces: list[bytes] = []
    events: list[bytes] = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        _refuse_large(path, archive)
        for member in archive:
            opened = archive.extractfile(member) if member.isfile() else None
            if opened is None:
                continue
            content = opened.read()
            of_misp = feed is None or feed.format == "misp"
            if of_misp and misp.is_index(content):
                continue
            found = misp.events(content) if of_misp else None
            if found is not None:
                events += found
                continue
            cut = None if feed else _cut(content)
            if cut:
                pieces += cut
            else:
                # A list, or what its reader will refuse with the reason.
                yield Payload(f"{path}:{member.name}", content)
    if pieces:
        yield Payload(path, b"", pieces)
    if events:
        yield Payload(path, b"", events=events)


def _refuse_large(path: str, archive: tarfile.TarFile) -> None:
    """Before anything is read: files with holes take no room in the archive, and empty ones hardly any."""
    size = 0
    for number, member in enumerate(archive, start=1):
        size += member.size
        if size > MAX_BYTES:
            raise Invalid(f"{path}: holds more than {MAX_BYTES >> 20} MiB; cut it into several files.")
        if number > _MAX_FILES:
            raise Invalid(f"{path}: holds more than {_MAX_FILES:,} files; cut it into several archives.")


def _cut(data: bytes) -> Sequence[bytes] | None:
    """The objects of a STIX document; None for a list, and for what is no STIX."""
    if not _is_json(data):
        return None
    try:
        return stix.read(data)
    except Invalid:
        return None


def _is_json(data: bytes) -> bool:
    """JSON, or XML, of which the reader of STIX says what to do with it."""
    return _BEGINS_AS_JSON.match(data) is not None


def is_classified(data: bytes) -> bool:
    """Does a classification banner stand in a file's text, be it in a comment?"""
    plain = data.decode("utf-16", "replace").encode() if data[:2] in _WIDE else data
    # Plain searches first, which take a tenth of the time.
    return any(word in plain for word in _HINTS) and markings.banner(plain.decode("utf-8", "replace"))


def is_machine_readable(data: bytes) -> bool:
    """Is it STIX or MISP, and not something for people?"""
    return misp.is_index(data) or misp.events(data) is not None or bool(_cut(data))


async def ingest(
    pool: Pool,
    payload: Payload,
    collection: Collection,
    asking: Actor,
    source: str,
    *,
    feed: "Feed | None" = None,
    tlp: TLP | None = None,
    sample: bool = False,
    beside: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    looked: Callable[[Sequence[bytes], Sequence[Unreadable]], None] = lambda _, __: None,
    media_type: str = "application/octet-stream",
    definition: "Feed | None" = None,
    context: str = "",
    free: bool = False,
    dry: bool = False,
) -> Reading:
    """Take one document in: STIX 2.1 as it is, all else as objects of ours. What it was read from is archived.

    `looked` is shown the objects and what nobody could read, and may raise before anything is taken in. `beside`: judge
    a large document's objects in a second process. `definition`: how to read it, where no feed says so. `dry`: only say
    what would become of it. Raises Invalid where it cannot be read as a whole.
    """
    if feed is not None and not feed.redistribute:
        raise Invalid(f"Feed {feed.name}: its terms forbid redistribution (redistribute = false); it is not released.")
    if tlp is None and feed is not None:
        tlp = feed.tlp
    came = payload.data if payload.file is None else payload.file
    read: Sequence[bytes] | Iterator[Found | Unreadable] | None = payload.pieces
    if payload.events:
        read = misp.read_events(payload.events)
    elif read is None:
        read = await asyncio.to_thread(_read, payload.data, feed or definition)
        # Objects of STIX are looked at one by one.
        if isinstance(read, Iterator) and await asyncio.to_thread(is_classified, payload.data):
            async with pool.connection() as conn, conn.transaction():
                await archive.drop(conn, came, times.now() if payload.part else None)
            raise Classified("carries a classification banner; nothing classified may come here: call the ISAC.")
    pieces, problems, again = await _objects(pool, read, asking, feed, tlp, default_tlp(collection.own))
    looked(pieces, problems)
    submission = Submission(pieces, collection.own, source, tlp, sample, context)
    if dry:
        return Reading(payload.name, await rehearse(pool, submission, asking, free=free), problems)
    beside = beside and len(pieces) > LARGE
    outcome = await take_in(pool, submission, asking, free=free, beside=beside, progress=progress)
    outcome.counts += Counts(repeated=again)
    async with pool.connection() as conn, conn.transaction():
        if outcome.unkept:
            await archive.drop(conn, came, times.now() if payload.part else None)
        else:
            kept = await archive.keep(conn, came, media_type, times.now())
            read_as = definition.model_dump_json(exclude_defaults=True) if definition else None
            how = Kept(kept, payload.name, feed.name if feed else None, tlp, sample, read_as)
            await submissions.attach(conn, outcome.id, how)
            outcome.unkept = await erasure.met(conn, outcome.id, outcome.ids)
            if outcome.unkept:
                await archive.drop(conn, came, times.now() if payload.part else None)
    return Reading(payload.name, outcome, problems)


async def _objects(
    pool: Pool,
    read: Sequence[bytes] | Iterator[Found | Unreadable],
    asking: Actor,
    feed: "Feed | None",
    tlp: TLP | None,
    default: TLP,
) -> tuple[Sequence[bytes], list[Unreadable], int]:
    """What was read as objects of STIX 2.1; what nobody could read; how often a value came again."""
    # What was cut at one go is STIX 2.1 or no STIX, and copying each piece out of it takes long.
    if isinstance(read, Pieces) or not (isinstance(read, Iterator) or any(map(stix20.recognized, read))):
        return read, [], 0
    async with pool.connection() as conn:
        # What the ISAC reads becomes its own, and what a member hands in the member's.
        ours = (await members.steward(conn) if asking.role is Role.STEWARD else asking).identity
        # As it was first written: the ids of our objects hang on it, and «Vendor» is «vendor».
        name = await members.name(conn, asking.organization)
        if not isinstance(read, Iterator):
            return await asyncio.to_thread(list, stix20.upgraded(read, ours, name)), [], 0
        return await author(
            conn,
            read,
            producer=ours,
            source=name,
            tlp=tlp,
            default=default,
            now=times.now(),
            confidence=feed.confidence if feed else None,
            valid_for=feed.valid_for if feed else for_ever,
        )


def _read(data: bytes, feed: "Feed | None") -> Sequence[bytes] | Iterator[Found | Unreadable]:
    """As the feed's definition says; without one MISP and STIX are told by how they begin, all else is a list."""
    if feed is not None:
        return feed.read(data)
    if misp.is_index(data):
        return misp.read(data)
    events = misp.events(data)
    if events is not None:
        return misp.read_events(events)
    if _is_json(data):
        return stix.read(data)
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise Invalid("is empty.")
    if b"\0" in data[:_HEAD] and data[:2] not in _WIDE:
        raise Invalid("is no text. Unpack a ZIP file first, and save a document as plain text (UTF-8).")
    return text.guess(data)
