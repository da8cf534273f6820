"""What a collection shows: pages of objects, manifests, versions (TAXII 2.1 §5.3 to §5.8).

A page is one statement, so one snapshot: a branch for each audience, each walking its own partial index from the
position, merged by date_added. The default view is the rows that have not ended; history (`match[version]`) those that
are not shut. psycopg itself, binary: SQLAlchemy would cost a millisecond a page.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from isac.errors import Forbidden, NotFound
from isac.policy.actors import Actor, administers
from isac.policy.release import winner
from isac.store import facts, log
from isac.store.database import Connection, Cursor
from isac.store.facts import By, Subject, fetch
from isac.store.members import Collection

#: what every object here is (STIX 2.1); match[spec_version] knows no other
SPEC_VERSION = "2.1"
#: up to here each type has a walk of its own; a statement of thousands would cost the database more than any page
MANY_TYPES = 50
#: before all that was ever added
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
#: of the objects of one page, of which there is always one: 1,000 of the largest would be a gigabyte
MAX_BYTES = 16 * 1024 * 1024


class Versions(NamedTuple):
    """match[version] (TAXII 2.1 §3.4.1): a union of what is named."""

    last: bool = True
    first: bool = False
    all: bool = False
    #: exact versions, as nanoseconds since 1970
    instants: frozenset[int] = frozenset()

    @property
    def only_last(self) -> bool:
        return self.last and not (self.first or self.all or self.instants)


class Query(NamedTuple):
    """The filters of one request. None is «any»."""

    limit: int
    added_after: datetime | None = None
    #: of `next`: strictly after this row
    position: datetime | None = None
    #: in lower case
    ids: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    versions: Versions = Versions()
    spec_versions: tuple[str, ...] | None = None

    @property
    def after(self) -> datetime:
        """Rows start strictly after this instant."""
        return max(self.added_after or BEGINNING, self.position or BEGINNING)


@dataclass(frozen=True, slots=True)
class Page:
    """Objects as their bytes came, ascending by date_added; `first` and `last` are the dates of its ends."""

    objects: list[bytes]
    first: datetime | None
    last: datetime | None
    more: bool


@dataclass(frozen=True, slots=True)
class Record:
    """A manifest record: one version."""

    id: str
    date_added: datetime
    version: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Records, ascending by date_added in a manifest, by version in the versions of one object."""

    records: list[Record]
    first: datetime | None
    last: datetime | None
    more: bool


async def page(conn: Connection, collection: Collection, query: Query) -> Page:
    """One page of objects, at most `query.limit` and MAX_BYTES, full in one way or the other unless it is the last."""
    async with conn.cursor(binary=True) as cursor:
        raws = await _raws(cursor, collection, query, _SMALL)
        shown = query.limit
        if None in raws:
            raws = await _raws(cursor, collection, query, "raw")
            sizes = itertools.accumulate(len(raw or b"") for raw in raws)
            shown = min(shown, max(1, sum(size <= MAX_BYTES for size in sizes)))
        more = len(raws) > shown
        objects = [raw for raw in raws[:shown] if raw is not None]
        if not objects:
            return Page([], None, None, more)
        return Page(objects, await _date(cursor, 0), await _date(cursor, len(objects) - 1), more)


async def manifest(conn: Connection, collection: Collection, query: Query) -> Manifest:
    """One page of the manifest: a record for each version that `page` would give."""
    rows = await _rows(conn, collection, query, "(SELECT stix_id FROM objects WHERE pk = object), version_text")
    more = len(rows) > query.limit
    del rows[query.limit :]
    return Manifest([Record(row[1], row[0], row[2]) for row in rows], _first(rows), _last(rows), more)


async def versions(conn: Connection, collection: Collection, stix_id: str, query: Query) -> Manifest:
    """One page of the versions of one object: the next by date_added, ascending by version within the page.

    So a client that goes on from X-TAXII-Date-Added-Last misses none, whatever order they came in. Raises NotFound
    where the collection has no such object.
    """
    rows = await fetch(
        conn,
        """SELECT date_added, version_text, modified FROM log
           WHERE object = (SELECT pk FROM objects WHERE stix_id = %s) AND audience = ANY(%s) AND shut_seq IS NULL
           ORDER BY date_added""",
        (stix_id, _audiences(collection)),
    )
    if not rows:
        raise NotFound("No such object.")
    found = [row for row in rows if row[0] > query.after] if _of_this_spec(query) else []
    shown = found[: query.limit]
    records = [Record(stix_id, date_added, text) for date_added, text, _ in sorted(shown, key=lambda row: row[2])]
    return Manifest(records, _first(shown), _last(shown), len(found) > query.limit)


async def exists(conn: Connection, collection: Collection, stix_id: str) -> bool:
    """Is any version of this object in the collection, be it history?"""
    rows = await fetch(
        conn,
        """SELECT FROM log WHERE object = (SELECT pk FROM objects WHERE stix_id = %s)
                             AND audience = ANY(%s) AND shut_seq IS NULL LIMIT 1""",
        (stix_id, _audiences(collection)),
    )
    return bool(rows)


async def newest(conn: Connection, collection: Collection) -> datetime | None:
    """date_added of the collection's newest row, history included: no cursor that was given out lies after it."""
    rows = await fetch(
        conn,
        """SELECT max(newest) FROM unnest(%s::int[]) AS of (audience), LATERAL (
             (SELECT date_added FROM log WHERE log.audience = of.audience AND ended_seq IS NULL
               ORDER BY date_added DESC LIMIT 1)
             UNION ALL
             (SELECT date_added FROM log WHERE log.audience = of.audience AND ended_seq IS NOT NULL
                 AND shut_seq IS NULL ORDER BY date_added DESC LIMIT 1)) AS latest (newest)""",
        (_audiences(collection),),
    )
    latest: datetime | None = rows[0][0]
    return latest


async def delete(
    conn: Connection, collection: Collection, stix_id: str, wanted: Versions | None, asking: Actor, at: datetime
) -> None:
    """Delete an object, or the wanted versions of it, from the collection's own audience (TAXII 2.1 §5.7).

    For its owner and for who administers that audience. Raises NotFound, Forbidden. Runs in the caller's transaction.
    """
    own = (await facts.producers(conn, [asking.identity]))[asking.identity]  # before the lock, as `log.weigh` does
    change = (await facts.lock(conn, [stix_id], make=False)).get(stix_id)
    shown = winner(change.facts.grants, collection.own) if change else None
    if change is None or shown is None:
        raise NotFound("No such object.")
    versions = [v for v in change.facts.versions if v.producer == shown.producer]
    # Who handed in the first one; a later relay of another version makes nobody the owner.
    published = min(versions, key=lambda v: v.pk).publisher == asking.organization
    if not (shown.producer == own or published or administers(asking, collection.own)):
        raise Forbidden("Only the object's owner or an administrator of this collection deletes it.")
    instants = None if wanted is None else await _instants(conn, collection, change.pk, wanted)
    await log.delete(conn, Subject(stix_id, shown.producer), collection.own, By(asking.key_id, at), instants)


async def _instants(conn: Connection, collection: Collection, pk: int, wanted: Versions) -> frozenset[int] | None:
    """The stored `modified` of the versions that match[version] names; None for all of them."""
    if wanted.all:
        return None
    rows = await fetch(
        conn,
        """SELECT l.modified, v.modified FROM log l JOIN versions v ON v.pk = l.version
           WHERE l.object = %s AND l.audience = ANY(%s) AND l.shut_seq IS NULL ORDER BY l.modified""",
        (pk, _audiences(collection)),
    )
    chosen = {stored for shown, stored in rows if shown in wanted.instants}
    if rows and wanted.first:
        chosen.add(rows[0][1])
    if rows and wanted.last:
        chosen.add(rows[-1][1])
    return frozenset(chosen)


# ------------------------------------------------------------------------------------------------------ the statement


async def _raws(cursor: Cursor, collection: Collection, query: Query, columns: str) -> list[bytes | None]:
    """The objects of a page, out of the answer as it lies there: a thousand dates would take longer to read."""
    if not await _execute(cursor, collection, query, columns) or cursor.pgresult is None:
        return []
    return [cursor.pgresult.get_value(row, 1) for row in range(cursor.pgresult.ntuples)]


async def _date(cursor: Cursor, row: int) -> datetime:
    await cursor.scroll(row, mode="absolute")
    found = await cursor.fetchone()
    if found is None:
        raise IndexError(row)
    date: datetime = found[0]
    return date


async def _rows(conn: Connection, collection: Collection, query: Query, columns: str) -> list[tuple[Any, ...]]:
    async with conn.cursor(binary=True) as cursor:
        return await cursor.fetchall() if await _execute(cursor, collection, query, columns) else []


async def _execute(cursor: Cursor, collection: Collection, query: Query, columns: str) -> bool:
    """`limit + 1` rows of (date_added, *columns); of `raw` fewer, where one is beyond MAX_BYTES.

    The one too many tells whether there is more.
    """
    if not _of_this_spec(query) or query.types == ():
        return False
    audiences = _audiences(collection)
    objects = None
    if query.ids is not None:
        found = await fetch(cursor.connection, "SELECT pk FROM objects WHERE stix_id = ANY(%s)", (list(query.ids),))
        objects = [pk for (pk,) in found]
        if not objects:
            return False
    text = _statement(
        columns,
        len(audiences),
        _walked(query.types),
        objects is not None,
        _view(query.versions),
    )
    values: dict[str, Any] = {f"a{n}": audience for n, audience in enumerate(audiences)}
    values |= {f"t{n}": name for n, name in enumerate(query.types or ())}
    values |= {
        "after": query.after,
        "limit": query.limit + 1,
        "max_bytes": MAX_BYTES,
        "small": MAX_BYTES // query.limit,
        "objects": objects,
        "instants": list(query.versions.instants),
        "everywhere": audiences,
        "types": list(query.types or ()),
    }
    await cursor.execute(text, values)
    return True


def _walked(types: Sequence[str] | None) -> tuple[str, ...]:
    """The conditions on the type, each with a walk of its own: the index has a place for every type's rows."""
    if types is None:
        return ("TRUE",)
    if len(types) > MANY_TYPES:
        return ("type = ANY(%(types)s)",)
    return tuple(f"type = %(t{n})s" for n in range(len(types)))


def _view(wanted: Versions) -> str:
    """What match[version] asks of a row: `live`, `all`, or names of conditions with + between them."""
    if wanted.only_last:
        return "live"
    if wanted.all:
        return "all"
    parts = ["last"] * wanted.last + ["first"] * wanted.first + ["instants"] * bool(wanted.instants)
    return "+".join(parts)


_CONDITION = {
    "live": "ended_seq IS NULL",
    "last": "ended_seq IS NULL",
    "first": """NOT EXISTS (SELECT FROM log older WHERE older.object = log.object AND older.modified < log.modified
                             AND older.audience = ANY(%(everywhere)s) AND older.shut_seq IS NULL)""",
    "instants": "modified = ANY(%(instants)s)",
}


@functools.lru_cache(maxsize=512)
def _statement(columns: str, audiences: int, kinds: tuple[str, ...], by_object: bool, view: str) -> str:
    """The page's SQL. Nothing of the request enters the text: values travel apart, and `columns` is one of ours."""
    chosen = " OR ".join(f"({_CONDITION[part]})" for part in view.split("+") if part in _CONDITION) or "TRUE"
    if by_object:
        # OFFSET 0 keeps the planner at the object's few rows; it would else walk the audience's index in its order.
        of_object = "(SELECT * FROM log WHERE object = ANY(%(objects)s) AND shut_seq IS NULL OFFSET 0) AS log"
        conditions = ["audience = ANY(%(everywhere)s)", f"({' OR '.join(kinds)})", f"({chosen})", _AFTER]
        return _cut(columns, _branch(columns, of_object, conditions))
    halves = [_LIVE] if view == "live" else [_LIVE, _ENDED]
    walks = [
        [f"audience = %(a{n})s", half, kind, _AFTER] for n in range(audiences) for half in halves for kind in kinds
    ]
    if view not in ("live", "all"):
        # One walk in the order of all, and the choice after it: a branch that chose for itself would look for its first
        # row to the end of the collection, if need be. OFFSET 0 keeps the choice out of the branches.
        rows = " UNION ALL ".join(f"({_SELECT} {' AND '.join(walk)} ORDER BY date_added)" for walk in walks)
        merged = f"({rows} ORDER BY date_added OFFSET 0) AS log"
        return _cut(columns, _branch(columns, merged, [f"({chosen})"]))
    branches = [f"({_branch(columns, 'log', walk)})" for walk in walks]
    if len(branches) == 1:
        return _cut(columns, branches[0])
    return _cut(columns, " UNION ALL ".join(branches) + " ORDER BY date_added LIMIT %(limit)s")


# Objects that fit into any page: usual pages have no others, so nothing has to be added up while the page is read.
_SMALL = "CASE WHEN octet_length(raw) <= %(small)s THEN raw END"


def _cut(columns: str, rows: str) -> str:
    """Of objects those up to the first one beyond MAX_BYTES. A large one's length stands in its row: it is not read."""
    if columns != "raw":
        return rows
    return f"""SELECT date_added, raw FROM (
                 SELECT date_added, raw, sum(octet_length(raw)) OVER (ORDER BY date_added ROWS UNBOUNDED PRECEDING)
                                         - octet_length(raw) AS before FROM ({rows}) AS page) AS summed
               WHERE before <= %(max_bytes)s ORDER BY date_added"""  # noqa: S608


_SELECT = "SELECT * FROM log WHERE"
_AFTER = "date_added > %(after)s"
# the predicates of the log's two partial indexes
_LIVE = "ended_seq IS NULL"
_ENDED = "ended_seq IS NOT NULL AND shut_seq IS NULL"


def _branch(columns: str, rows: str, conditions: Sequence[str]) -> str:
    where = " AND ".join(conditions)
    return f"SELECT date_added, {columns} FROM {rows} WHERE {where} ORDER BY date_added LIMIT %(limit)s"  # noqa: S608


def _audiences(collection: Collection) -> list[int]:
    return [audience.pk for audience in collection.audiences]


def _of_this_spec(query: Query) -> bool:
    return query.spec_versions is None or SPEC_VERSION in query.spec_versions


def _first(rows: Sequence[tuple[Any, ...]]) -> datetime | None:
    return rows[0][0] if rows else None


def _last(rows: Sequence[tuple[Any, ...]]) -> datetime | None:
    return rows[-1][0] if rows else None
