"""Who has it: the polls that were given an object, for the day when it is called back (see `polls`).

A poll was given all rows of its collection's view between its first and its last row that its filters let through. When
a row left the view is known by the next row that came, and of an erased one by the audit: who may be too many is named,
never too few.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from isac.errors import NotFound
from isac.store import members
from isac.store.database import Connection
from isac.store.facts import fetch
from isac.store.polls import SILENCE

#: from what the audit says to the end of the deed
_ERASING = timedelta(minutes=1)
#: clocks of several machines may differ
_SKEW = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Given:
    """One row of the object, given to one key from one collection."""

    #: both empty where the public collection was read without a key
    key_id: str
    organization: str
    #: alias
    collection: str
    version: str
    seq: int
    polls: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Doubt:
    """A worker that was cut off: what it gave out after its last mark stands nowhere."""

    marked_at: datetime
    #: id and organization of each key that may have asked it for the object
    keys: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Recall:
    given: list[Given]
    doubts: list[Doubt]


@dataclass(frozen=True, slots=True)
class _Row:
    seq: int
    date_added: datetime
    audience: int
    version: str
    type: str
    #: before these it had left the default view, every view; None: it stands, or nothing came since
    ended: datetime | None
    shut: datetime | None
    #: it came as history, and was never in the default view
    late: bool


async def who_has(conn: Connection, stix_id: str, now: datetime) -> Recall:
    """Who was given any version of an object, be it erased, and who may have been. Raises NotFound for an id that never
    stood anywhere.
    """
    found = await fetch(
        conn,
        """SELECT seq, date_added, audience, version_text, type,
                  least(erased.at, (SELECT date_added FROM log n WHERE n.seq > l.ended_seq ORDER BY n.seq LIMIT 1)),
                  least(erased.at, (SELECT date_added FROM log n WHERE n.seq > l.shut_seq ORDER BY n.seq LIMIT 1)),
                  coalesce(ended_seq = seq, false)
           FROM log l LEFT JOIN LATERAL (
             SELECT max(at) + %(erasing)s AS at FROM audit
              WHERE octet_length(l.raw) = 0 AND action = 'erase' AND subject = %(id)s || ' ' || l.version_text
           ) AS erased ON true
           WHERE object = (SELECT pk FROM objects WHERE stix_id = %(id)s) ORDER BY seq""",
        {"id": stix_id.lower(), "erasing": _ERASING},
    )
    if not found:
        raise NotFound(f"{stix_id} never stood in any collection.")
    rows = [_Row(*row) for row in found]
    given = [each for row in rows for each in await _given(conn, row, stix_id.lower())]
    return Recall(given, await _doubts(conn, rows, now))


async def _given(conn: Connection, row: _Row, stix_id: str) -> list[Given]:
    polls = await fetch(
        conn,
        """SELECT coalesce(k.key_id, ''), coalesce(o.name, ''), c.alias, p.filters, count(*), min(p.at), max(p.at)
           FROM collections c JOIN polls p ON p.collection = c.pk
           LEFT JOIN keys k ON k.pk = p.key LEFT JOIN organizations o ON o.pk = k.organization
           WHERE %(audience)s = ANY(c.audiences) AND p.last_added >= %(date)s AND p.first_added <= %(date)s
             AND CASE WHEN p.filters LIKE '%%"version"%%' THEN p.at <= coalesce(%(shut)s::timestamptz, 'infinity')
                      ELSE NOT %(late)s AND p.at <= coalesce(%(ended)s::timestamptz, 'infinity') END
           GROUP BY 1, 2, 3, 4 ORDER BY 3, 1, 4""",
        {
            "audience": row.audience,
            "date": row.date_added,
            "shut": row.shut and row.shut + _SKEW,
            "ended": row.ended and row.ended + _SKEW,
            "late": row.late,
        },
    )
    found: dict[tuple[str, str], Given] = {}
    for key_id, organization, collection, filters, number, first, last in polls:
        if not _lets_through(filters, stix_id, row.type):
            continue
        before = found.get((key_id, collection))
        if before is not None:
            number, first, last = before.polls + number, min(before.first, first), max(before.last, last)
        found[key_id, collection] = Given(key_id, organization, collection, row.version, row.seq, number, first, last)
    return list(found.values())


def _lets_through(filters: str | None, stix_id: str, kind: str) -> bool:
    named = orjson.loads(filters) if filters else {}
    return stix_id in named.get("id", [stix_id]) and kind in named.get("type", [kind])


async def _doubts(conn: Connection, rows: list[_Row], now: datetime) -> list[Doubt]:
    doubts = []
    for (marked_at,) in await fetch(
        conn,
        "SELECT marked_at FROM poll_workers WHERE ended_at IS NULL AND marked_at < %s ORDER BY marked_at",
        (now - SILENCE,),
    ):
        stood = {
            row.audience
            for row in rows
            if row.date_added <= marked_at + SILENCE and (row.shut is None or row.shut + _SKEW >= marked_at)
        }
        keys = await members.readers(conn, stood, marked_at)
        if keys:
            doubts.append(Doubt(marked_at, keys))
    return doubts
