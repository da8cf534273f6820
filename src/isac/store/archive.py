"""The raw archive: what was handed in or fetched, byte for byte, so that a mended parser can read it once more.

A payload is kept once, in gzip pieces of 1 MiB; whoever brings the same again only makes it younger.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from isal import igzip

from isac.errors import NotFound
from isac.formats.texts import Text, windows
from isac.store.database import Connection
from isac.store.facts import fetch

_PIECE = 1024 * 1024
#: ISA-L's fastest: 90 MB of STIX in 0.05 s, to an eighth of their size
_LEVEL = 0
#: payloads that go in one transaction; most are small, some have hundreds of pieces
_AT_ONCE = 20


def digest_of(content: Text) -> bytes:
    """Its SHA-256."""
    digest = hashlib.sha256()
    for window in windows(content):
        digest.update(window)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Packed:
    """A payload as it is kept."""

    digest: bytes
    #: of what came
    size: int
    pieces: Iterable[bytes]


def packed(content: Text, hold: Callable[[Iterable[bytes]], Iterable[bytes]] = list) -> Packed:
    """What came, packed piece by piece; `hold` puts the pieces where there is room for them."""
    digest = hashlib.sha256()

    def parts() -> Iterator[bytes]:
        for window in windows(content, _PIECE):
            digest.update(window)
            yield igzip.compress(window, _LEVEL)

    held = hold(parts())
    return Packed(digest.digest(), len(content), held)


async def keep(conn: Connection, payload: Packed, media_type: str, at: datetime) -> int:
    """Keep a payload; answers its database key. Call it in a transaction."""
    ((pk, new),) = await fetch(
        conn,
        """INSERT INTO payloads (sha256, size, media_type, first_at, last_at) VALUES (%s, %s, %s, %s, %s)
           ON CONFLICT (sha256) DO UPDATE SET last_at = greatest(payloads.last_at, excluded.last_at)
           RETURNING pk, xmax = 0""",
        (payload.digest, payload.size, media_type, at, at),
    )
    if new:
        async with (
            conn.cursor() as cursor,
            cursor.copy("COPY payload_pieces (payload, nth, gzip) FROM STDIN (FORMAT binary)") as copy,
        ):
            copy.set_types(["int8", "int4", "bytea"])
            for nth, piece in enumerate(payload.pieces):
                await copy.write_row((pk, nth, piece))
    return int(pk)


async def pieces(conn: Connection, payload: int) -> AsyncIterator[bytes]:
    """Its bytes, 1 MiB at a time; nothing for one that is no longer kept."""
    nth = 0
    while rows := await fetch(conn, "SELECT gzip FROM payload_pieces WHERE payload = %s AND nth = %s", (payload, nth)):
        yield await asyncio.to_thread(igzip.decompress, rows[0][0])
        nth += 1


async def read(conn: Connection, payload: int, write: Callable[[bytes], object]) -> None:
    """Write the whole of it. Raises NotFound for one that was erased or whose time is over."""
    rows = await fetch(conn, "SELECT sha256 FROM payloads WHERE pk = %s", (payload,))
    digest = hashlib.sha256()
    async for piece in pieces(conn, payload):
        digest.update(piece)
        await asyncio.to_thread(write, piece)
    if not rows or digest.digest() != rows[0][0]:
        raise NotFound("What was handed in is no longer kept as it came.")


async def prune(conn: Connection, before: datetime) -> int:
    """Forget some of what came for the last time before that instant; answers how many went. Call it until 0.

    What must never be kept stays known by its hash.
    """
    deleted = await conn.execute(
        """DELETE FROM payloads WHERE pk = ANY(ARRAY(
             SELECT pk FROM payloads p WHERE last_at < %s AND EXISTS (SELECT FROM payload_pieces WHERE payload = p.pk)
             ORDER BY last_at LIMIT %s))""",
        (before, _AT_ONCE),
    )
    return deleted.rowcount


async def drop(conn: Connection, content: Text, at: datetime | None) -> None:
    """Keep nothing of these very bytes; with `at` neither what other parts of them bring from now on."""
    digest = await asyncio.to_thread(digest_of, content)
    await conn.execute("DELETE FROM payloads WHERE sha256 = %s", (digest,))
    if at is not None:
        # A payload without pieces is never filled.
        await conn.execute(
            "INSERT INTO payloads (sha256, size, media_type, first_at, last_at) VALUES (%s, %s, '', %s, %s)",
            (digest, len(content), at, at),
        )
