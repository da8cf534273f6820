"""Alerts: each is private to the organization whose asset was named, and written with what named it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from isac.errors import NotFound
from isac.policy import alerts as policy
from isac.policy.alerts import Alert
from isac.policy.assets import NOTHING, Seen
from isac.stix.markings import TLP
from isac.stix.observables import Observable
from isac.store import audit
from isac.store.assets import Match, Organization
from isac.store.database import Connection
from isac.store.facts import as_uuid, fetch, numbers

_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Cause:
    """An object that names assets."""

    stix_id: str
    type: str
    tlp: TLP
    #: STIX id of its creator, which everybody may know who reads the object; None where it names none
    creator: str | None = None
    #: database keys of the audiences that it is for; none: it is held
    audiences: Sequence[int] = ()
    #: what is looked at of it
    seen: Seen = NOTHING


@dataclass(frozen=True, slots=True)
class Standing:
    """An object that is there already."""

    raw: bytes
    #: None: its own marking alone says so
    tlp: TLP | None
    #: database keys of the audiences that it is live for; none: it is held
    audiences: Sequence[int]


async def write(conn: Connection, matches: Sequence[Match], causes: Mapping[int, Cause], at: datetime) -> int:
    """Write an alert for each match, in the transaction of what caused it, and answer how many are new.

    `causes` by the matches' places. The same value of the same object is told once an asset. What was told while the
    object was not to be read gains its id, source and audience when it is released to where the organization reads.
    """
    rows: dict[Any, tuple[Any, ...]] = {}
    for match in matches:
        cause, value = causes[match.place], match.observable
        key = (match.organization, match.asset.kind, match.asset.value, value, cause.stix_id)
        rows[key] = (
            match.organization,
            match.asset.kind,
            match.asset.value,
            match.how,
            value.kind,
            value.value or None,
            digest(value),
            cause.stix_id,
            cause.type,
            policy.shows_value(cause.tlp),
            numbers(cause.audiences),
            cause.creator,
        )
    if not rows:
        return 0
    # One order for all, so that nobody waits in a circle.
    columns = [list(column) for column in zip(*(rows[key] for key in sorted(rows)), strict=True)]
    written = await fetch(conn, _WRITE, [at, *columns])
    return sum(new for (new,) in written)


def digest(observable: Observable) -> bytes:
    """A value as a key of fixed length."""
    return hashlib.sha256(f"{observable.kind}\0{observable.value}".encode()).digest()[:16]


_WRITE: LiteralString = """
INSERT INTO alerts (id, at, organization, about_kind, about, how, kind, value, digest, stix_id, type, audience, source)
SELECT gen_random_uuid(), %s, c.organization, c.about_kind, c.about, c.how, c.kind,
       CASE WHEN c.shows OR readable.pk IS NOT NULL THEN c.value END, c.digest, c.stix_id, c.type,
       readable.pk, CASE WHEN readable.pk IS NOT NULL THEN coalesce(creator.name, '') ELSE '' END
  FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[],
              %s::text[], %s::bool[], %s::text[], %s::text[])
       WITH ORDINALITY AS c (organization, about_kind, about, how, kind, value, digest, stix_id, type, shows, audiences,
                             creator, nth)
  JOIN organizations o ON o.pk = c.organization
  LEFT JOIN audiences home ON home.pk = coalesce(o.jurisdiction, (SELECT pk FROM audiences WHERE kind = 'public'))
  LEFT JOIN organizations creator ON creator.identity = c.creator
  LEFT JOIN LATERAL (
       SELECT each.pk FROM unnest(c.audiences::int[]) WITH ORDINALITY AS each (pk, nth)
        WHERE each.pk = o.audience OR each.pk = ANY (home.above || home.pk)
              OR EXISTS (SELECT FROM group_members m WHERE m.organization = o.pk AND m.audience = each.pk)
        ORDER BY each.nth LIMIT 1) AS readable ON true
 ORDER BY c.nth
ON CONFLICT (organization, about_kind, about, digest, stix_id) DO UPDATE
   SET audience = excluded.audience, source = excluded.source, value = excluded.value
 WHERE alerts.audience IS NULL AND excluded.audience IS NOT NULL
RETURNING xmax = 0
"""


async def standing(conn: Connection, after: int, limit: int) -> tuple[list[Standing], int | None]:
    """What is in a default view, of so many versions after that database key; and the key to go on from."""
    rows = await fetch(
        conn,
        """SELECT v.pk, v.raw, v.tlp, live.audiences
             FROM (SELECT pk, object, raw, tlp FROM versions WHERE pk > %s ORDER BY pk LIMIT %s) v
             LEFT JOIN LATERAL (
                  -- OFFSET 0: by the object's few rows, never by all live ones
                  SELECT array_agg(audience) AS audiences
                    FROM (SELECT audience, version, ended_seq FROM log WHERE object = v.object OFFSET 0) l
                   WHERE version = v.pk AND ended_seq IS NULL) live ON true
            ORDER BY v.pk""",
        (after, limit),
    )
    return [Standing(raw, TLP(tlp), pks) for _, raw, tlp, pks in rows if pks], rows[-1][0] if rows else None


async def held(conn: Connection, after: int, limit: int) -> tuple[list[Standing], int | None]:
    """The same of what is held."""
    rows = await fetch(conn, "SELECT pk, raw, tlp FROM held WHERE pk > %s ORDER BY pk LIMIT %s", (after, limit))
    found = [Standing(raw, None if tlp is None else TLP(tlp), ()) for _, raw, tlp in rows]
    return found, rows[-1][0] if rows else None


# Whose they are is the first thing that each of them asks.
_ALERT: LiteralString = """
SELECT t.id::text, own.code, t.at, t.about_kind, t.about, t.how, t.kind, t.value,
       CASE WHEN t.audience IS NOT NULL THEN t.type END, CASE WHEN t.audience IS NOT NULL THEN t.stix_id END,
       CASE WHEN t.audience IS NOT NULL THEN t.source END, shown.code, t.acknowledged_at, t.acknowledged_by, t.note
  FROM alerts t JOIN organizations o ON o.pk = t.organization JOIN audiences own ON own.pk = o.audience
  LEFT JOIN audiences shown ON shown.pk = t.audience
"""


async def page(
    conn: Connection, owner: Organization, before: str | None = None, limit: int = 50, *, waiting: bool = False
) -> list[Alert]:
    """An organization's, the newest first, those before that one; `waiting`: that nobody acknowledged.

    Raises NotFound where `before` is none of its.
    """
    pk = _LAST
    if before is not None:
        rows = await fetch(
            conn, "SELECT pk FROM alerts WHERE organization = %s AND id = %s::uuid", (owner.pk, as_uuid(before))
        )
        if not rows:
            raise NotFound("There is no such alert of yours to go on from.")
        ((pk,),) = rows
    only: LiteralString = "AND t.acknowledged_at IS NULL " if waiting else ""
    rows = await fetch(
        conn,
        _ALERT + "WHERE t.organization = %s AND t.pk < %s " + only + "ORDER BY t.organization DESC, t.pk DESC LIMIT %s",
        (owner.pk, pk, limit),
    )
    return [Alert(*row) for row in rows]


async def one(conn: Connection, owner: Organization, public_id: str) -> Alert:
    """An alert of this organization. Raises NotFound."""
    rows = await fetch(conn, _ALERT + "WHERE t.organization = %s AND t.id = %s::uuid", (owner.pk, as_uuid(public_id)))
    if not rows:
        raise NotFound("There is no such alert of yours.")
    return Alert(*rows[0])


async def acknowledge(conn: Connection, owner: Organization, public_id: str, note: str, by: str, at: datetime) -> Alert:
    """Note that somebody has seen to it; who was first stays. Raises NotFound."""
    rows = await fetch(
        conn,
        """UPDATE alerts SET acknowledged_at = %s, acknowledged_by = %s, note = %s
           WHERE organization = %s AND id = %s::uuid AND acknowledged_at IS NULL RETURNING id""",
        (at, by, note, owner.pk, as_uuid(public_id)),
    )
    if rows:
        await audit.record(conn, by, "acknowledge alert", str(rows[0][0]), note, at)
    return await one(conn, owner, public_id)


async def owner_of(conn: Connection, public_id: str) -> str:
    """The code of the organization whose alert it is, for an operator on its own machine. Raises NotFound."""
    rows = await fetch(
        conn,
        """SELECT a.code FROM alerts t JOIN organizations o ON o.pk = t.organization
           JOIN audiences a ON a.pk = o.audience WHERE t.id = %s::uuid""",
        (as_uuid(public_id),),
    )
    if not rows:
        raise NotFound(f"There is no alert {public_id}; see isac alerts list.")
    return str(rows[0][0])
