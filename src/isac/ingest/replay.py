"""Read a submission once more from what was kept of it, after a parser or a definition was mended.

The ids of what we write follow from source and value, and what is stored already is compared: what differs changes.
"""

from collections.abc import Callable
from dataclasses import replace

from isac.errors import Invalid, NotFound
from isac.formats.texts import Text
from isac.ingest import disk
from isac.ingest.feeds import Feed
from isac.ingest.files import Payload, Reading, documents, ingest
from isac.ingest.intake import handed_by
from isac.policy.actors import Actor
from isac.store import archive, members, submissions
from isac.store.database import Connection, Pool
from isac.store.submissions import Handed, Kept


async def replay(
    pool: Pool,
    public_id: str,
    feed_named: Callable[[str], Feed],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Reading:
    """Take a submission in again, by the feed's definition as it is now. Raises NotFound if nothing is kept of it."""
    async with pool.connection() as conn:
        handed = await submissions.handed(conn, public_id)
        if handed.newer:
            raise Invalid(f"This feed was read again since; what it names now is in the submission {handed.newer}.")
        kept = handed.kept
        file = await _file(conn, kept.payload)
        feed = feed_named(kept.feed) if kept.feed else None
        payload = _document(kept, file, feed)
        asking = await _actor(conn, handed)
        collection = await members.shelf(conn, handed.audience)
    return await ingest(
        pool,
        payload,
        collection,
        asking,
        handed.source,
        feed=feed,
        definition=Feed.model_validate_json(kept.definition) if kept.definition else None,
        tlp=kept.tlp if feed is None else None,
        sample=kept.sample,
        progress=progress,
    )


async def _file(conn: Connection, payload: int) -> Text:
    file = disk.temporary()
    await archive.read(conn, payload, file.append)
    return disk.small(file)


def _document(kept: Kept, file: Text, feed: Feed | None) -> Payload:
    """The file, or that part of it that was handed in under this name."""
    parts = list(documents("", file, feed))
    # As the part is named in its archive; what is all STIX or all MISP of it has the archive's own name.
    ends = [part for part in parts if part.name and kept.name.endswith(part.name)] or [p for p in parts if not p.name]
    if not ends:
        raise NotFound(f"{kept.name} is not found in what was kept.")
    return replace(max(ends, key=lambda part: len(part.name)), name=kept.name)


async def _actor(conn: Connection, handed: Handed) -> Actor:
    try:
        return await handed_by(conn, handed.actor, handed.organization, by_key=handed.by_key)
    except NotFound as error:
        raise Invalid("The key that handed it in is revoked; hand it in again with another one.") from error
