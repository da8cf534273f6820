"""Files that an operator hands over: opened, unpacked, told apart, and sent down the road."""

import asyncio
import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isac import times
from isac.errors import Invalid
from isac.formats import misp, stix, text
from isac.formats.found import Found, Unreadable
from isac.ingest.authoring import author
from isac.ingest.intake import Outcome, Submission, take_in
from isac.ingest.rehearsal import rehearse
from isac.policy.actors import Actor, Role
from isac.policy.screen import default_tlp
from isac.stix.markings import TLP
from isac.store import archive, members, submissions
from isac.store.database import Pool
from isac.store.members import Collection
from isac.store.submissions import Kept

if TYPE_CHECKING:  # pydantic takes longer to load than most lists to read
    from isac.ingest.feeds import Feed

#: what a packed file may unpack to; larger ones are cut by their owner
MAX_BYTES = 1024 * 1024 * 1024
#: objects from which on a second process pays for its start
LARGE = 5_000
_GZIP = b"\x1f\x8b"
_TAR, _TAR_AT = b"ustar", 257
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
        data = path.read_bytes()
        if data.startswith(_GZIP):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise Invalid(f"{path}: holds more than {MAX_BYTES >> 20} MiB; cut it into several files.")
        if data.startswith(_TAR, _TAR_AT):
            yield from _members(path, data, feed)
        else:
            yield Payload(str(path), data)
    except OSError as error:
        raise Invalid(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (EOFError, zlib.error, tarfile.TarError) as error:
        raise Invalid(f"{path}: is damaged ({error}); get it again.") from error


def _members(path: Path, data: bytes, feed: "Feed | None") -> Iterator[Payload]:
    pieces: list[bytes] = []
    events: list[bytes] = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            opened = archive.extractfile(member) if member.isfile() else None
            if opened is None:
                continue
            content = opened.read()
            if (feed is None or feed.format == "misp") and misp.recognized(content):
                if misp.is_index(content):
                    continue
                try:
                    events += misp.split(content)
                except Invalid:
                    # Its reader will say why.
                    yield Payload(f"{path}:{member.name}", content)
                continue
            cut = None if feed else _cut(content)
            if cut:
                pieces += cut
            else:
                yield Payload(f"{path}:{member.name}", content)
    if pieces:
        yield Payload(str(path), b"", pieces)
    if events:
        yield Payload(str(path), b"", events=events)


def _cut(data: bytes) -> Sequence[bytes] | None:
    """The objects of a STIX document; None for a list, and for what its reader will refuse with the reason."""
    try:
        read = _read(data, None)
    except Invalid:
        return None
    return None if isinstance(read, Iterator) else read


def is_machine_readable(data: bytes) -> bool:
    """Is it STIX or MISP, and not something for people?"""
    return misp.recognized(data) or bool(_cut(data))


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
    original: bytes | None = None,
    media_type: str = "application/octet-stream",
    definition: "Feed | None" = None,
    context: str = "",
    free: bool = False,
    dry: bool = False,
) -> Reading:
    """Take one document in: STIX as it is, lists as indicators of ours. What it was read from is archived.

    `looked` is shown the objects and what nobody could read, and may raise before anything is taken in; `original` is
    what came, where it was packed or held more. `beside`: judge a large document's objects in a second process.
    `definition`: how to read it, where no feed says so. `dry`: only say what would become of it. Raises Invalid where
    it cannot be read as a whole.
    """
    if feed is not None and not feed.redistribute:
        raise Invalid(f"Feed {feed.name}: its terms forbid redistribution (redistribute = false); it is not released.")
    if tlp is None and feed is not None:
        tlp = feed.tlp
    read: Sequence[bytes] | Iterator[Found | Unreadable] | None = payload.pieces
    if payload.events:
        read = misp.read_events(payload.events)
    elif read is None:
        read = await asyncio.to_thread(_read, payload.data, feed or definition)
    problems: list[Unreadable] = []
    if not isinstance(read, Iterator):
        pieces = read
    else:
        async with pool.connection() as conn:
            # What the ISAC reads becomes its own, and what a member hands in the member's.
            ours = await members.steward(conn) if asking.role is Role.STEWARD else asking
            # As it was first written: the ids of indicators hang on it, and «Vendor» is «vendor».
            name = await members.name(conn, asking.organization)
            pieces, problems = await author(
                conn,
                read,
                producer=ours.identity,
                source=name,
                tlp=tlp,
                default=default_tlp(collection.own),
                now=times.now(),
            )
    looked(pieces, problems)
    submission = Submission(pieces, collection.own, source, tlp, sample, context)
    if dry:
        return Reading(payload.name, await rehearse(pool, submission, asking, free=free), problems)
    beside = beside and len(pieces) > LARGE
    outcome = await take_in(pool, submission, asking, free=free, beside=beside, progress=progress)
    if not outcome.classified:
        async with pool.connection() as conn, conn.transaction():
            came = payload.data if original is None else original
            kept = await archive.keep(conn, came, media_type, times.now())
            read_as = definition.model_dump_json(exclude_defaults=True) if definition else None
            how = Kept(kept, payload.name, feed.name if feed else None, tlp, sample, read_as)
            await submissions.attach(conn, outcome.id, how)
    return Reading(payload.name, outcome, problems)


def _read(data: bytes, feed: "Feed | None") -> Sequence[bytes] | Iterator[Found | Unreadable]:
    """As the feed's definition says; without one MISP and STIX are told by how they begin, all else is a list."""
    if feed is not None:
        return feed.read(data)
    if misp.recognized(data):
        return misp.read(data)
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[", b"<"):
        return stix.split(data)
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise Invalid("is empty.")
    if b"\0" in data[:_HEAD] and data[:2] not in _WIDE:
        raise Invalid("is no text. Unpack a ZIP file first, and save a document as plain text (UTF-8).")
    return text.read(data)
