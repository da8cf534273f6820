"""Files that an operator hands over: opened, unpacked, told apart, and sent down the road."""

import asyncio
import gzip
import re
import tarfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from isac import times
from isac.errors import Classified, Invalid
from isac.formats import misp, stix, stix20, text, texts
from isac.formats.found import Found, Problems, Unreadable, one_line
from isac.formats.texts import WIDE, Part, Pieces, Text, trimmed
from isac.ingest import disk
from isac.ingest.authoring import author, for_ever
from isac.ingest.intake import Outcome, Submission, erased_since, take_in
from isac.ingest.rehearsal import rehearse
from isac.policy.actors import Actor, Role
from isac.policy.screen import default_tlp
from isac.stix import markings
from isac.stix.markings import TLP
from isac.store import archive, members, submissions
from isac.store.database import Pool
from isac.store.members import Collection
from isac.store.submissions import Counts, Kept

if TYPE_CHECKING:  # pydantic takes longer to load than most lists to read
    from isac.ingest.feeds import Feed

T = TypeVar("T")

#: what a packed file may unpack to: a bomb must not fill the disk
MAX_BYTES = 4 * 1024 * 1024 * 1024
#: files in an archive: the largest feeds of events have some ten thousand
_MAX_FILES = 100_000
_LONGEST_NAME = 1000
#: objects from which on a second process pays for its start
LARGE = 5_000
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_TAR, _TAR_AT = b"ustar", 257
# STIX patterns and addresses with ports begin with a bracket, too.
_BEGINS_AS_JSON = re.compile(rb"[{<]|\[(?![0-9a-z-]+:)")
# Without one of these `markings.banner` finds none.
_HINTS = ("SECRET", "CONFIDENTIAL", "(TS//", "(S//", "(C//")
#: where a zero byte shows that a file is no text
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class Payload:
    """One document: a file, a member of an archive, or all STIX or all MISP of an archive.

    The objects of STIX name each other, and of a value that several events of MISP name the first counts.
    """

    name: str
    data: Text
    #: STIX, cut already
    pieces: Sequence[bytes] | None = None
    #: documents of MISP
    events: Sequence[Text] = ()
    #: the file that it came in, packed or not; is it only a part of that?
    file: Text | None = None
    part: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of one document; `problems` are the lines of a list that hold no value."""

    name: str
    outcome: Outcome
    problems: Problems


def payloads(path: Path, feed: "Feed | None" = None) -> Iterator[Payload]:
    """The documents in a file: itself, or what its archive holds. Raises Invalid if it cannot be read or is damaged.

    All MISP of an archive is one document and, without a feed, which has a reader of its own, all STIX, too.
    """
    try:
        yield from documents(str(path), disk.opened(path), feed)
    except Invalid as error:
        raise Invalid(f"{path}: {error.detail}") from error
    except OSError as error:
        raise Invalid(f"{path}: cannot be read ({error.strerror or error}).") from error


def documents(name: str, file: Text, feed: "Feed | None" = None, most: int = 0) -> Iterator[Payload]:
    """The same of a file's bytes, which may unpack to so many. Raises Invalid if it is damaged or too large."""
    most = most or MAX_BYTES
    data = unpacked(file, most)
    with _damaged():
        members = _members(data, most)
        if members is None:
            yield Payload(name, data, file=file)
            return
        for member in _together(name, members, feed):
            yield replace(member, file=file, part=True)


def contents(file: Text) -> Iterator[Text]:
    """All that a file holds, unpacked; where it is damaged, up to there."""
    try:
        data = unpacked(file, MAX_BYTES)
        yield data
        # In a tar all stands as it is.
        if data[:4] in _ZIP:
            with _damaged():
                yield from (content for _, content in _in_zip(data, MAX_BYTES))
    except Invalid:
        yield file


def _members(data: Text, most: int) -> Iterator[tuple[str, Text]] | None:
    """The files of an archive, by name; None for what is none."""
    if data[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        return _in_tar(data, most)
    return _in_zip(data, most) if data[:4] in _ZIP else None


@contextmanager
def _damaged() -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, NotImplementedError) as error:
        raise Invalid(f"is damaged ({error}); get it again.") from error


def unpacked(content: Text, most: int) -> Text:
    """What is in gzip, of which a server's may be inside a file's. Raises Invalid if it is damaged or too large.

    Whether it is packed is told by its first bytes, since names lie.
    """
    for _ in range(2):
        if content[:2] != _GZIP:
            break
        try:
            with gzip.GzipFile(fileobj=disk.as_file(content)) as packed:
                content = disk.written(_within(most, packed.read))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise Invalid(f"is damaged ({error}); get it again.") from error
    if len(content) > most:
        raise _too_large(most)
    return content


def _within(most: int, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """What is read, part by part."""
    size = 0
    while part := read(texts.WINDOW):
        size += len(part)
        if size > most:
            raise _too_large(most)
        yield part


def _too_large(most: int) -> Invalid:
    return Invalid(f"holds more than {most >> 20:,} MiB; cut it into several files.")


def _in_tar(data: Text, most: int) -> Iterator[tuple[str, Text]]:
    with tarfile.open(fileobj=disk.as_file(data), mode="r:") as archive:
        # Before anything is read: files with holes take no room in the archive, and empty ones hardly any.
        _refuse_large((member.size for member in archive), most)
        for member in archive:
            # Links stand for others, and of a file with holes the archive has parts.
            if member.isreg() and member.sparse is None:
                yield member.name, Part(data, member.offset_data, member.offset_data + member.size)
            elif member.isfile() and (opened := archive.extractfile(member)) is not None:
                yield member.name, disk.written(_within(most, opened.read))


def _in_zip(data: Text, most: int) -> Iterator[tuple[str, Text]]:
    with zipfile.ZipFile(disk.as_file(data)) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if any(member.filename == "[Content_Types].xml" for member in members):
            raise Invalid("is an office document; save it as plain text (UTF-8) and hand that in.")
        if any(member.flag_bits & 1 for member in members):
            raise Invalid("is locked with a password; unpack it first.")
        _refuse_large((member.file_size for member in members), most)
        ends = [0]

        def parts() -> Iterator[bytes]:
            for member in members:
                ends.append(ends[-1])
                with archive.open(member) as opened:
                    for part in _within(member.file_size, opened.read):
                        ends[-1] += len(part)
                        yield part

        whole = disk.written(parts())
    for member, begin, end in zip(members, ends, ends[1:], strict=False):
        yield member.filename, Part(whole, begin, end)


def _refuse_large(sizes: Iterator[int], most: int) -> None:
    total = 0
    for number, size in enumerate(sizes, start=1):
        total += size
        if total > most:
            raise _too_large(most)
        if number > _MAX_FILES:
            raise Invalid(f"holds more than {_MAX_FILES:,} files; cut it into several archives.")


def _together(archive: str, members: Iterator[tuple[str, Text]], feed: "Feed | None") -> Iterator[Payload]:
    """The documents in an archive's files."""
    spool = disk.Spool()
    events: list[Text] = []
    for name, content in members:
        of_misp = feed is None or feed.format == "misp"
        if of_misp and misp.is_index(content):
            continue
        if of_misp and misp.events(content) is not None:
            events.append(content)
            continue
        cut = None if feed else _cut(content)
        if cut:
            spool.extend(cut)
            spool.pieces.verbatim &= cut.verbatim
        else:
            # A list, or what its reader will refuse with the reason.
            yield Payload(f"{archive}:{one_line(name, _LONGEST_NAME)}", content)
    if spool.pieces:
        yield Payload(archive, b"", spool.pieces)
    if events:
        yield Payload(archive, b"", events=events)


def _cut(data: Text) -> Pieces | None:
    """The objects of a STIX document; None for a list, and for what is no STIX."""
    if not _is_json(data):
        return None
    try:
        return stix.read(data)
    except Invalid:
        return None


def _is_json(data: Text) -> bool:
    """JSON, or XML, of which the reader of STIX says what to do with it."""
    return _BEGINS_AS_JSON.match(trimmed(data)[:_HEAD]) is not None


def is_classified(data: Text) -> bool:
    """Does a classification banner stand in a file's text, be it in a comment?"""
    # Plain searches first, which take a tenth of the time.
    return any(
        any(word in stretch for word in _HINTS) and markings.banner(stretch) for stretch in texts.stretches(data)
    )


def any_classified(payload: Payload) -> bool:
    """The same of all that a document was read from."""
    return any(map(is_classified, (payload.data, *payload.events)))


def is_machine_readable(data: Text) -> bool:
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
    looked: Callable[[Sequence[bytes], Problems], None] = lambda _, __: None,
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
    async with _beside(partial(archive.packed, came, disk.spooled)) as packed:
        read = await asyncio.to_thread(entries, payload, feed or definition)
        # Objects of STIX are looked at one by one.
        if isinstance(read, Iterator) and await asyncio.to_thread(any_classified, payload):
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
                kept = await archive.keep(conn, await packed, media_type, times.now())
                read_as = definition.model_dump_json(exclude_defaults=True) if definition else None
                how = Kept(kept, payload.name, feed.name if feed else None, tlp, sample, read_as)
                await submissions.attach(conn, outcome.id, how)
                outcome.unkept = await erased_since(conn, outcome.id, pieces)
                if outcome.unkept:
                    await archive.drop(conn, came, times.now() if payload.part else None)
        return Reading(payload.name, outcome, problems)


@asynccontextmanager
async def _beside(work: Callable[[], T]) -> AsyncIterator[asyncio.Task[T]]:
    """What is worked out in a thread meanwhile."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        yield task
    finally:
        task.cancel()


async def _objects(
    pool: Pool,
    read: Sequence[bytes] | Iterator[Found | Unreadable],
    asking: Actor,
    feed: "Feed | None",
    tlp: TLP | None,
    default: TLP,
) -> tuple[Sequence[bytes], Problems, int]:
    """What was read as objects of STIX 2.1; what nobody could read; how often a value came again."""
    # Only what was changed when it was cut can be STIX 2.0.
    if isinstance(read, Pieces) and (read.verbatim or not any(map(stix20.recognized, read))):
        return read, Problems(), 0
    async with pool.connection() as conn:
        # What the ISAC reads becomes its own, and what a member hands in the member's.
        ours = (await members.steward(conn) if asking.role is Role.STEWARD else asking).identity
        # As it was first written: the ids of our objects hang on it, and «Vendor» is «vendor».
        name = await members.name(conn, asking.organization)
        if not isinstance(read, Iterator):
            return await asyncio.to_thread(disk.spooled, stix20.upgraded(read, ours, name)), Problems(), 0
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


def entries(payload: Payload, feed: "Feed | None") -> Sequence[bytes] | Iterator[Found | Unreadable]:
    """Objects' own bytes, or the values that it lists. Raises Invalid where it cannot be read as a whole."""
    if payload.events:
        return misp.read_events(event for document in payload.events for event in misp.events(document) or ())
    return payload.pieces if payload.pieces is not None else _read(payload.data, feed)


def _read(data: Text, feed: "Feed | None") -> Sequence[bytes] | Iterator[Found | Unreadable]:
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
    if not len(trimmed(data)):
        raise Invalid("is empty.")
    if b"\0" in data[:_HEAD] and data[:2] not in WIDE:
        raise Invalid("is no text. Unpack it first if it is packed, and save a document as plain text (UTF-8).")
    return text.guess(data)
