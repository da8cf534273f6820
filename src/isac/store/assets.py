"""What members registered as their own, and which of it a batch of objects names."""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from isac.errors import Conflict, Forbidden, Invalid, NotFound
from isac.policy import assets, lookalikes
from isac.policy.actors import Actor, administers
from isac.policy.assets import Asset, Seen
from isac.policy.warninglists import SHARED
from isac.stix.observables import Observable
from isac.store import audit, warninglists
from isac.store.database import Connection
from isac.store.facts import as_uuid, audience_of, fetch, numbers

#: clocks of several machines may differ, and a registration takes its time
_SKEW = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Organization:
    """Whose assets are asked for."""

    pk: int
    code: str
    name: str
    #: audience of its jurisdiction
    home: int | None
    #: keys from the root to its home
    path: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Registered:
    """An asset in the register."""

    #: UUIDv4
    id: str
    #: code of its organization
    organization: str
    kind: str
    value: str
    added_at: datetime
    added_by: str


@dataclass(frozen=True, slots=True)
class Match:
    """A value of an object that names an asset."""

    #: the object's place in what was asked
    place: int
    observable: Observable
    #: database key
    organization: int
    asset: Asset
    #: a word of policy.alerts.HOW
    how: str


# ---------------------------------------------------------------------------------------------------------- whose it is


async def organization(conn: Connection, code: str | None, asking: Actor, *, its_own: bool = False) -> Organization:
    """The organization by its code, or the actor's own, whose assets the actor may manage.

    Its own analysts and admins, the admin of a jurisdiction above it, the ISAC's stewards. `its_own`, as alerts are:
    not the admin above. Raises NotFound for others, Forbidden for who belongs there but has another role.
    """
    where: LiteralString = "WHERE own.code = %s" if code else "WHERE o.pk = %s"
    rows = await fetch(conn, _ORGANIZATION + where, (code.strip().lower() if code else asking.organization,))
    if rows:
        pk, own_code, name, *home = rows[0]
        area = audience_of(home) if home[0] is not None else None
        found = Organization(pk, own_code, name, area.pk if area else None, area.path if area else ())
        if asking.organization == pk and asking.role in assets.MANAGERS:
            return found
        if not its_own and asking.organization != pk and area is not None and administers(asking, area):
            return found
        if asking.scope.everything:
            return found
        if asking.organization == pk:
            raise Forbidden(
                "This key may read what is shared, but not that; ask the ISAC for one with the role analyst."
            )
    raise NotFound("There is no such organization of yours.")


_ORGANIZATION = """
SELECT o.pk, own.code, o.name, home.pk, home.kind, home.above || home.pk, home.code, home.frozen
  FROM organizations o JOIN audiences own ON own.pk = o.audience LEFT JOIN audiences home ON home.pk = o.jurisdiction
"""


async def by_code(conn: Connection) -> dict[str, Organization]:
    """All organizations, for an operator on its own machine."""
    rows = await fetch(conn, _ORGANIZATION)
    return {row[1]: Organization(row[0], row[1], row[2], row[3], tuple(row[5] or ())) for row in rows}


# --------------------------------------------------------------------------------------------------------- registering


async def register(
    conn: Connection, owner: Organization, wanted: Sequence[Asset], by: str, at: datetime, *, trusted: bool = False
) -> int:
    """Register assets of one organization, all or none, and answer how many are new.

    Raises Conflict for a domain or network that overlaps with another organization's, unless one of the two has its
    home above the other's, and Invalid beyond MOST or for the host of everybody's pages. `trusted`: a steward says that
    they are its own.
    """
    shared = await _shared(conn, wanted)
    if shared:
        raise Invalid(f"{shared} belongs to a service that many share: write a domain that is yours alone.")
    # Of two who register the same at once the second sees the first's.
    await conn.execute("SELECT pg_advisory_xact_lock('assets'::regclass::bigint)")
    ((there,),) = await fetch(conn, "SELECT count(*) FROM assets WHERE organization = %s", (owner.pk,))
    if not trusted:
        taken = await _overlapping(conn, owner, wanted)
        if taken:
            raise Conflict(
                f"{taken} is, holds or lies in what another organization registered; ask the ISAC to add it."
            )
    kinds, values = [each.kind for each in wanted], [each.value for each in wanted]
    rows = await fetch(
        conn,
        """INSERT INTO assets (id, organization, kind, value, network, added_at, added_by)
           SELECT gen_random_uuid(), %s, kind, value, CASE kind WHEN 'network' THEN value::inet END, %s, %s
             FROM unnest(%s::text[], %s::text[]) AS wanted (kind, value)
           ON CONFLICT DO NOTHING RETURNING pk, kind, value""",
        (owner.pk, at, by, kinds, values),
    )
    if there + len(rows) > assets.MOST:
        raise Invalid(f"{owner.code} would have {there + len(rows)} assets; an organization has at most {assets.MOST}.")
    async with conn.cursor() as cursor, cursor.copy("COPY asset_keys (key, asset) FROM STDIN") as copy:
        for pk, kind, value in rows:
            for key in _hashes(assets.asset_keys(Asset(kind, value))):
                await copy.write_row((key, pk))
    if rows:
        new = ", ".join(assets.described([Asset(kind, value) for _, kind, value in rows]))
        await audit.record(conn, by, "register assets", owner.code, new, at)
    return len(rows)


async def _shared(conn: Connection, wanted: Sequence[Asset]) -> str | None:
    """One of these domains on which strangers have their pages or mail, by the warninglists."""
    domains = [assets.observable(each) for each in wanted if each.kind == "domain"]
    for domain, lists in (await warninglists.listed(conn, domains)).items():
        if any(each.how == "same" and SHARED.fullmatch(each.name) for each in lists):
            return domain.value
    return None


async def _overlapping(conn: Connection, owner: Organization, wanted: Sequence[Asset]) -> str | None:
    """One of these values that concerns what an organization elsewhere registered."""
    asked = [Seen((assets.observable(each),)) for each in wanted if each.kind in ("domain", "network")]
    found = [match for match in await matching(conn, asked) if match.how in assets.OVERLAPS]
    others = {match.organization for match in found} - {owner.pk}
    if not others:
        return None
    rows = await fetch(
        conn,
        """SELECT o.pk, home.above || home.pk FROM organizations o LEFT JOIN audiences home ON home.pk = o.jurisdiction
           WHERE o.pk = ANY(%s)""",
        (list(others),),
    )
    related = {
        pk for pk, path in rows if path and owner.home is not None and (owner.home in path or path[-1] in owner.path)
    }
    return next(
        (match.observable.value for match in found if match.organization in others - related),
        None,
    )


async def remove(conn: Connection, owner: Organization, ids: Sequence[str], by: str, at: datetime) -> int:
    """Take assets out of the register and answer how many there were. Raises NotFound, for none or an unknown id."""
    wanted = [as_uuid(each) for each in ids]
    rows = await fetch(
        conn,
        "DELETE FROM assets WHERE organization = %s AND id = ANY(%s::uuid[]) RETURNING pk, kind, value",
        (owner.pk, wanted),
    )
    if len(rows) != len(set(ids)) or not rows:
        raise NotFound("There is no such asset of yours.")
    keys = [(key, pk) for pk, kind, value in rows for key in _hashes(assets.asset_keys(Asset(kind, value)))]
    await conn.execute(
        """DELETE FROM asset_keys k USING unnest(%s::int[], %s::bigint[]) AS gone (key, asset)
           WHERE (k.key, k.asset) = (gone.key, gone.asset)""",
        (numbers(key for key, _ in keys), numbers(pk for _, pk in keys)),
    )
    gone = ", ".join(assets.described([Asset(kind, value) for _, kind, value in rows]))
    await audit.record(conn, by, "remove assets", owner.code, gone, at)
    return len(rows)


async def listed(
    conn: Connection, owner: Organization | None, after: str | None = None, limit: int | None = None
) -> list[Registered]:
    """The assets of an organization (None: of all), in the order of registering, those after that one.

    Raises NotFound where `after` is none of them.
    """
    pk = 0
    if after is not None:
        rows = await fetch(
            conn,
            "SELECT pk FROM assets WHERE id = %s::uuid AND organization = %s",
            (as_uuid(after), owner and owner.pk),
        )
        if not rows:
            raise NotFound("There is no such asset of yours to go on from.")
        ((pk,),) = rows
    rows = await fetch(
        conn,
        """SELECT s.id::text, a.code, s.kind, s.value, s.added_at, s.added_by
             FROM assets s JOIN organizations o ON o.pk = s.organization JOIN audiences a ON a.pk = o.audience
            WHERE (%(owner)s::int IS NULL OR s.organization = %(owner)s) AND s.pk > %(pk)s
            ORDER BY s.pk LIMIT %(limit)s""",
        {"owner": owner and owner.pk, "pk": pk, "limit": limit},
    )
    return [Registered(*row) for row in rows]


# ------------------------------------------------------------------------------------------------------------ matching


async def any_registered(conn: Connection) -> bool:
    """Has anybody registered something?"""
    return bool(await fetch(conn, "SELECT FROM assets LIMIT 1"))


async def unlooked(conn: Connection) -> list[int]:
    """Database keys of assets that what was there has not been looked through for.

    Those wait for which a submission is still under way that may not know of them.
    """
    rows = await fetch(
        conn,
        """SELECT pk FROM assets WHERE looked_at IS NULL AND added_at < coalesce(
             (SELECT min(received_at) FROM submissions WHERE completed_at IS NULL) - %s, 'infinity')""",
        (_SKEW,),
    )
    return [pk for (pk,) in rows]


async def looked(conn: Connection, pks: Sequence[int], at: datetime) -> None:
    """Note that all that was there was looked through for these assets."""
    await conn.execute("UPDATE assets SET looked_at = %s WHERE pk = ANY(%s::bigint[])", (at, numbers(pks)))


async def matching(conn: Connection, looked: Sequence[Seen]) -> list[Match]:
    """Which assets these objects name; call it in batches. Each match of a value and an asset once an object.

    Two statements: one by keys and networks; one more for names that may be a member's with a typo.
    """
    at_place = _places(looked)
    names = [value for kind, value in at_place if kind == "domain-name"]
    asked = [lookalikes.keys(name) for name in names]
    keys: list[tuple[int, Any]] = []
    halves: list[tuple[int, Any]] = []
    for name, found in zip(names, asked, strict=True):
        owner = ("domain-name", name)
        keys += [(key, owner) for key in _hashes([*assets.name_keys(name), *found.keys])]
        halves += [(key, found) for key in _hashes(found.halves)]
    for number, each in enumerate(looked):
        if each.name or each.description:
            keys += [(key, number) for key in _hashes(assets.word_keys(each))]
    networks = [value for kind, value in at_place if kind != "domain-name" and assets.reaches(value)]
    candidates: dict[Any, set[tuple[int, Asset]]] = defaultdict(set)
    mistyped: dict[str, None] = {}
    rows = await fetch(
        conn, _MATCHING, (numbers(key for key, _ in keys), numbers(key for key, _ in halves), _inets(networks))
    )
    for part, nth, organization, kind, value in rows:
        if part == "half":
            mistyped[halves[nth - 1][1].flat] = None
        elif part == "key":
            candidates[keys[nth - 1][1]].add((organization, Asset(kind, value)))
        else:
            place = networks[nth - 1]
            candidates["ipv6-addr" if ":" in place else "ipv4-addr", place].add((organization, Asset(kind, value)))
    if mistyped:
        await _mistyped(conn, list(mistyped), names, asked, candidates)
    return list(_matches(looked, at_place, candidates))


def _places(looked: Sequence[Seen]) -> dict[Observable, list[tuple[int, Observable]]]:
    """Domain, address or network → the values that lie on it, each with its object's place."""
    found: dict[Observable, list[tuple[int, Observable]]] = defaultdict(list)
    for number, each in enumerate(looked):
        for observable in each.observables:
            place = assets.place_of(observable)
            if place is not None:
                found[place].append((number, observable))
    return found


async def _mistyped(
    conn: Connection,
    flats: Sequence[str],
    names: Sequence[str],
    asked: Sequence[lookalikes.Keys],
    candidates: dict[Any, set[tuple[int, Asset]]],
) -> None:
    owners = defaultdict(list)
    for name, found in zip(names, asked, strict=True):
        owners[found.flat].append(name)
    keys = [(key, flat) for flat in flats for key in _hashes(lookalikes.typo_keys(flat))]
    for part, nth, organization, kind, value in await fetch(
        conn, _MATCHING, (numbers(key for key, _ in keys), "{}", "{}")
    ):
        for name in owners[keys[nth - 1][1]] if part == "key" else ():
            candidates["domain-name", name].add((organization, Asset(kind, value)))


def _matches(
    looked: Sequence[Seen],
    at_place: dict[Observable, list[tuple[int, Observable]]],
    candidates: dict[Any, set[tuple[int, Asset]]],
) -> Iterator[Match]:
    for owner, found in candidates.items():
        for organization, owned in sorted(found, key=lambda each: (each[0], each[1].kind, each[1].value)):
            if isinstance(owner, int):
                each = looked[owner]
                if owned.kind in ("vendor", "product") and assets.names(each, owned):
                    yield Match(owner, assets.weakness(each), organization, owned, "named")
                continue
            for place, observable in at_place.get(Observable(*owner), ()):
                how = assets.meets(observable, owned)
                if how:
                    yield Match(place, observable, organization, owned, how)


# LATERAL with OFFSET 0: for each key a look into the index, and never a walk through all of it.
_MATCHING: LiteralString = """
SELECT 'key', asked.nth, s.organization, s.kind, s.value
  FROM unnest(%s::int[]) WITH ORDINALITY AS asked (key, nth)
 CROSS JOIN LATERAL (SELECT k.asset FROM asset_keys k WHERE k.key = asked.key OFFSET 0) AS found
 CROSS JOIN LATERAL (SELECT * FROM assets WHERE pk = found.asset OFFSET 0) AS s
 UNION ALL
SELECT 'half', asked.nth, NULL, NULL, NULL
  FROM unnest(%s::int[]) WITH ORDINALITY AS asked (key, nth)
 CROSS JOIN LATERAL (SELECT FROM asset_keys k WHERE k.key = asked.key LIMIT 1) AS found
 UNION ALL
SELECT 'network', asked.nth, s.organization, s.kind, s.value
  FROM unnest(%s::inet[]) WITH ORDINALITY AS asked (network, nth)
 CROSS JOIN LATERAL (SELECT * FROM assets WHERE network && asked.network OFFSET 0) AS s
"""


def _hashes(keys: Iterable[str]) -> list[int]:
    """As PostgreSQL's integers, each once."""
    return list({zlib.crc32(key.encode()) - 0x80000000: None for key in keys})


def _inets(networks: Iterable[str]) -> str:
    return f"{{{','.join(networks)}}}"
