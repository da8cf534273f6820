"""Jurisdictions, organizations, their keys and their collections.

Every jurisdiction, organization and group is an audience and has one collection: a jurisdiction's shows what was
released on its path (public, nation, State, itself), an organization's or a group's what was released to it alone.
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from isac.errors import Invalid, NotFound
from isac.policy.actors import Actor, Audience, Fingerprint, Role, may_read, scope_of
from isac.policy.jurisdictions import Differences, Jurisdiction, differences, title
from isac.policy.organizations import Organization
from isac.store import audit
from isac.store.database import Connection
from isac.store.facts import as_uuid, audience_of, fetch

_SECRET = re.compile(r"isac_([A-Za-z0-9]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
#: rows of a long list that are read before others have their turn
_TURN = 100
_KEY_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class Collection:
    """A TAXII collection: the audiences that it shows, widest first, fixed for its life."""

    pk: int
    #: UUIDv4
    id: str
    alias: str
    title: str
    description: str
    audiences: tuple[Audience, ...]

    @property
    def own(self) -> Audience:
        """The audience that POST and DELETE act on."""
        return self.audiences[-1]


@dataclass(frozen=True, slots=True)
class Key:
    """A machine credential as its owner may see it; the secret is shown once, when it is made."""

    key_id: str
    organization: str
    jurisdiction: str | None
    role: Role
    created_at: datetime
    revoked_at: datetime | None
    certificate: Fingerprint | None
    #: see `Actor.empty_objects`
    empty_objects: bool


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the one moment when its secret is known."""

    key_id: str
    secret: str
    organization: str
    jurisdiction: str | None


# ---------------------------------------------------------------------------------------------- who asks, what he sees


def may_be_proof(proof: str | Fingerprint) -> bool:
    """Has it the form of what proves a key?"""
    return bool(proof.sha256 if isinstance(proof, Fingerprint) else _SECRET.fullmatch(proof))


async def actor(conn: Connection, proof: str | Fingerprint) -> Actor | None:
    """The actor that this secret or client certificate stands for; None for an unknown or revoked one.

    Costs one hash: a secret's 256 random bits need no slow one.
    """
    if isinstance(proof, Fingerprint):
        rows = await fetch(conn, _ACTOR + "AND k.certificate = %s", (proof.sha256,))
        return _actor(rows[0]) if rows else None
    found = _SECRET.fullmatch(proof)
    if not found:
        return None
    rows = await fetch(conn, _ACTOR + "AND k.key_id = %s", (found[1],))
    if not rows or not hmac.compare_digest(rows[0][2], hashlib.sha256(proof.encode()).digest()):
        return None
    return _actor(rows[0])


async def keyholder(conn: Connection, key_id: str) -> Actor:
    """The actor of a key that stands, by its public half. Raises NotFound."""
    rows = await fetch(conn, _ACTOR + "AND k.key_id = %s", (key_id,))
    if not rows:
        raise NotFound(f"There is no key {key_id}, or it is revoked already; see isac keys list.")
    return _actor(rows[0])


async def actors(conn: Connection) -> dict[bytes | Fingerprint, Actor]:
    """The actors of all keys that stand, by the SHA-256 of their secrets, and by their certificates."""
    found: dict[bytes | Fingerprint, Actor] = {}
    for number, row in enumerate(await fetch(conn, _ACTOR)):
        found[row[2]] = _actor(row)
        if row[3]:
            found[Fingerprint(row[3])] = found[row[2]]
        if number % _TURN == 0:
            await asyncio.sleep(0)
    return found


async def readers(conn: Connection, audiences: Iterable[int], since: datetime) -> list[tuple[str, str]]:
    """The keys that may read one of these audiences and stood after that instant: id and organization."""
    columns = "SELECT pk, kind, above || pk, code, frozen FROM audiences WHERE pk = ANY(%s)"
    places = [audience_of(row) for row in await fetch(conn, columns, (list(audiences),))]
    names = dict(await fetch(conn, "SELECT pk, name FROM organizations"))
    holders = map(_actor, await fetch(conn, _WHO + "WHERE coalesce(k.revoked_at > %s, true) ORDER BY k.pk", (since,)))
    return [
        (holder.key_id, names[holder.organization])
        for holder in holders
        if any(may_read(holder.scope, place) for place in places)
    ]


_WHO = """
SELECT k.pk, k.key_id, k.secret_hash, k.certificate, k.role, o.pk, o.identity, o.audience, home.pk, home.kind,
       home.above || home.pk, home.code, home.frozen, o.jurisdiction,
       ARRAY(SELECT m.audience FROM group_members m WHERE m.organization = o.pk), k.empty_objects
  FROM keys k JOIN organizations o ON o.pk = k.organization
  JOIN audiences home ON home.pk = coalesce(o.jurisdiction, (SELECT pk FROM audiences WHERE kind = 'public'))
"""
_ACTOR = _WHO + "WHERE k.revoked_at IS NULL "


def _actor(row: Sequence[Any]) -> Actor:
    key, key_id, _, _, role_name, organization, identity, own, *home_columns, jurisdiction, group_list, listed = row
    role, groups = Role(role_name), frozenset(group_list)
    return Actor(
        key=key,
        key_id=key_id,
        organization=organization,
        identity=identity,
        role=role,
        home=jurisdiction,
        own=own,
        groups=groups,
        scope=scope_of(role, audience_of(home_columns), groups, own),
        empty_objects=listed,
    )


async def steward(conn: Connection) -> Actor:
    """The ISAC itself, for what an operator does on its own machine."""
    return await source(conn, None)


async def source(conn: Connection, name: str | None) -> Actor:
    """Who hands in what the ISAC reads under this name: a steward that speaks for the source (None: for the ISAC).

    A source is an organization of kind `source`, made when it is first named; it owns what names no creator.
    """
    if name is None:
        rows = await fetch(
            conn, "SELECT pk, identity, audience, jurisdiction, kind FROM organizations WHERE kind = 'isac'"
        )
    else:
        named = "SELECT pk, identity, audience, jurisdiction, kind FROM organizations WHERE lower(name) = lower(%s)"
        rows = await fetch(conn, named, (name,))
    if not rows and name is not None:
        await add_organizations(conn, [Organization(None, name, "source", "")])
        rows = await fetch(conn, named, (name,))
    if not rows:
        raise Invalid("This database has no ISAC yet. Run: isac migrate")
    organization, identity, own, home, kind = rows[0]
    if kind not in ("source", "isac"):
        raise Invalid(f"{name!r} is a member of this ISAC; what it says it hands in itself. Name the source otherwise.")
    scope = scope_of(Role.STEWARD, None, frozenset(), own)
    return Actor(0, "operator", organization, identity, Role.STEWARD, home, own, frozenset(), scope)


async def name(conn: Connection, organization: int) -> str:
    """An organization's name as it was first written."""
    ((found,),) = await fetch(conn, "SELECT name FROM organizations WHERE pk = %s", (organization,))
    return str(found)


_COLLECTION = """
SELECT c.pk, c.id::text, c.alias, c.title, c.description,
       (SELECT json_agg(json_build_array(a.pk, a.kind, a.above || a.pk, a.code, a.frozen) ORDER BY nth)
          FROM unnest(c.audiences) WITH ORDINALITY AS listed (audience, nth) JOIN audiences a ON a.pk = listed.audience)
  FROM collections c
"""


def _collection(row: Sequence[Any]) -> Collection:
    pk, public_id, alias, name, description, audiences = row
    return Collection(pk, public_id, alias, name, description, tuple(audience_of(columns) for columns in audiences))


async def collections(conn: Connection, asking: Actor) -> list[Collection]:
    """The few to list for this actor, in the same order each time: its home's, its groups', its own."""
    own = [*asking.groups, asking.own, *([asking.home] if asking.home else [])]
    rows = await fetch(
        conn,
        _COLLECTION + "WHERE c.own = ANY(%s) OR (%s AND c.alias = 'public') ORDER BY c.pk",
        (own, asking.home is None),
    )
    return [_collection(row) for row in rows]


async def collection(conn: Connection, reference: str, asking: Actor) -> Collection:
    """A collection by id or alias. Raises NotFound as well where the actor may not see it."""
    by_id = as_uuid(reference)
    where = "WHERE c.id = %s::uuid" if by_id else "WHERE c.alias = %s"
    rows = await fetch(conn, _COLLECTION + where, (by_id or reference.lower(),))
    found = _collection(rows[0]) if rows else None
    if found is None or not may_read(asking.scope, found.own):
        raise NotFound("No such collection.")
    return found


async def collections_by_name(conn: Connection) -> dict[str, Collection]:
    """All collections, each by its id and by its alias."""
    found = {}
    for number, row in enumerate(await fetch(conn, _COLLECTION)):
        shown = _collection(row)
        found[shown.id] = found[shown.alias] = shown
        if number % _TURN == 0:
            await asyncio.sleep(0)
    return found


async def shelf(conn: Connection, code: str) -> Collection:
    """The collection of an audience by its code, for an operator on its own machine. Raises NotFound."""
    rows = await fetch(conn, _COLLECTION + "JOIN audiences own ON own.pk = c.own WHERE own.code = %s", (code.lower(),))
    if not rows:
        raise NotFound(f"There is no jurisdiction, group or organization with the code {code!r}.")
    return _collection(rows[0])


# ------------------------------------------------------------------------------------------------------- jurisdictions


async def jurisdictions(conn: Connection) -> dict[str, Jurisdiction]:
    """All jurisdictions by code."""
    rows = await fetch(
        conn,
        """SELECT j.code, j.name, j.kind, p.code, j.fips, j.registered_voters
           FROM jurisdictions j LEFT JOIN jurisdictions p ON p.audience = j.parent""",
    )
    return {row[0]: Jurisdiction(*row) for row in rows}


async def begin(conn: Connection) -> bool:
    """Make the root of all audiences, the public, and its collection; answers False where it stands already."""
    # Two programs may lay the foundation at once; the second waits here and then finds it laid.
    await conn.execute("SELECT pg_advisory_xact_lock('collections'::regclass::bigint)")
    if await fetch(conn, "SELECT FROM audiences WHERE kind = 'public'"):
        return False
    (pk,) = await _numbers(conn, "audiences", 1)
    await conn.execute(_ADD_AUDIENCE, (pk, "public", "public", [], False))
    await conn.execute(_ADD_COLLECTION, (uuid.uuid4(), "public", "Public", "What is shared with everybody.", [pk], pk))
    return True


async def import_jurisdictions(
    conn: Connection, roster: Iterable[Jurisdiction], actor_name: str, at: datetime
) -> Differences:
    """Add what is new with its audience and collection, and change names and voters; nothing is ever taken away.

    Parents come before their children in the roster, or stand already.
    """
    known = await jurisdictions(conn)
    found = differences(roster, known)
    paths = dict(await fetch(conn, "SELECT code, above || pk FROM audiences"))
    everybody = known | {jurisdiction.code: jurisdiction for jurisdiction in found.added}
    numbers = await _numbers(conn, "audiences", len(found.added))
    titles = {name for (name,) in await fetch(conn, "SELECT title FROM collections")}
    audiences, rows, shelves = [], [], []
    for pk, jurisdiction in zip(numbers, found.added, strict=True):
        kind = jurisdiction.kind if jurisdiction.kind in ("nation", "state") else "local"
        above = paths[jurisdiction.parent or "public"]
        paths[jurisdiction.code] = [*above, pk]
        audiences.append((pk, kind, jurisdiction.code, above, False))
        parent = paths[jurisdiction.parent][-1] if jurisdiction.parent else None
        rows.append(
            (
                pk,
                jurisdiction.code,
                jurisdiction.name,
                jurisdiction.kind,
                parent,
                jurisdiction.fips,
                jurisdiction.registered_voters,
            )
        )
        name = _title(title(jurisdiction, everybody.get(jurisdiction.parent or "")), titles)
        titles.add(name)
        shelves.append(
            (
                uuid.uuid4(),
                jurisdiction.code,
                name,
                f"What is shared with {name}, from the nation down.",
                [*above, pk],
                pk,
            )
        )
    async with conn.cursor() as cursor:
        await cursor.executemany(_ADD_AUDIENCE, audiences)
        await cursor.executemany(
            """INSERT INTO jurisdictions (audience, code, name, kind, parent, fips, registered_voters)
               VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            rows,
        )
        await cursor.executemany(_ADD_COLLECTION, shelves)
        await cursor.executemany(
            "UPDATE jurisdictions SET name = %s, registered_voters = %s WHERE code = %s",
            [(after.name, after.registered_voters, after.code) for _, after in found.changed],
        )
    if found.added or found.changed:
        what = f"{len(found.added)} added, {len(found.changed)} changed"
        await audit.record(conn, actor_name, "import jurisdictions", what, "", at)
    return found


_ADD_AUDIENCE = "INSERT INTO audiences (pk, kind, code, above, frozen) VALUES (%s, %s, %s, %s, %s)"
_ADD_COLLECTION = """INSERT INTO collections (id, alias, title, description, audiences, own)
                     VALUES (%s, %s, %s, %s, %s, %s)"""


async def _numbers(conn: Connection, table: str, count: int) -> list[int]:
    rows = await fetch(
        conn, "SELECT nextval(%s::regclass)::int FROM generate_series(1, %s)", (f"{table}_pk_seq", count)
    )
    return [number for (number,) in rows]


# ------------------------------------------------------------------------------------------------ organizations, groups


async def add_organizations(conn: Connection, organizations: Sequence[Organization]) -> dict[str, int]:
    """Make organizations, each with an identity, an audience and a collection; answers their database keys by name."""
    audiences = await _numbers(conn, "audiences", len(organizations))
    keys = await _numbers(conn, "organizations", len(organizations))
    codes = dict(await fetch(conn, "SELECT code, audience FROM jurisdictions"))
    titles = {name for (name,) in await fetch(conn, "SELECT title FROM collections")}
    rows, shelves = [], []
    for audience, pk, organization in zip(audiences, keys, organizations, strict=True):
        home = codes[organization.jurisdiction] if organization.jurisdiction else None
        identity = f"identity--{uuid.uuid4()}"
        rows.append((pk, audience, identity, organization.name, organization.kind, home, organization.contact_email))
        name = _title(organization.name, titles)
        titles.add(name)
        shelves.append((uuid.uuid4(), f"org-{pk}", name, f"What is shared with {name} alone.", [audience], audience))
    async with conn.cursor() as cursor:
        await cursor.executemany(_ADD_AUDIENCE, [(row[1], "organization", f"org-{row[0]}", [], False) for row in rows])
        await cursor.executemany(
            """INSERT INTO organizations (pk, audience, identity, name, kind, jurisdiction, contact_email)
               VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            rows,
        )
        await cursor.executemany(_ADD_COLLECTION, shelves)
    return {organization.name: pk for pk, organization in zip(keys, organizations, strict=True)}


def _title(name: str, taken: Iterable[str]) -> str:
    """Unique, and without the characters that clients split titles at."""
    plain = " ".join(re.sub(r"[.,]", " ", name).split()) or "organization"
    wanted, n = plain, 1
    while wanted in taken:
        n += 1
        wanted = f"{plain} ({n})"
    return wanted


async def organizations(conn: Connection) -> dict[str, int]:
    """Database keys of all organizations by their case-folded name."""
    return dict(await fetch(conn, "SELECT lower(name), pk FROM organizations"))


async def codes(conn: Connection) -> list[tuple[str, str, str, str]]:
    """Code, name, kind and home (or "") of all organizations, by their codes' numbers."""
    rows = await fetch(
        conn,
        """SELECT a.code, o.name, o.kind, coalesce(j.code, '')
           FROM organizations o JOIN audiences a ON a.pk = o.audience
           LEFT JOIN jurisdictions j ON j.audience = o.jurisdiction ORDER BY a.pk""",
    )
    return [(code, name, kind, home) for code, name, kind, home in rows]


async def add_group(conn: Connection, name: str, members: Iterable[int], *, frozen: bool = False) -> int:
    """Make a group of organizations with its collection; answers its audience's database key.

    A frozen group keeps its named members for ever: AMBER+STRICT may go there.
    """
    (audience,) = await _numbers(conn, "audiences", 1)
    code = f"group-{audience}"
    async with conn.cursor() as cursor:
        await cursor.execute(_ADD_AUDIENCE, (audience, "group", code, [], frozen))
        shown = _title(name, [row[0] for row in await fetch(conn, "SELECT title FROM collections")])
        await cursor.execute(
            _ADD_COLLECTION,
            (uuid.uuid4(), code, shown, f"What is shared with the group {shown}.", [audience], audience),
        )
        await cursor.executemany(
            "INSERT INTO group_members (audience, organization) VALUES (%s, %s)", [(audience, pk) for pk in members]
        )
    return audience


# ---------------------------------------------------------------------------------------------------------------- keys


async def create_keys(conn: Connection, wanted: Mapping[int, Role], actor_name: str, at: datetime) -> list[NewKey]:
    """One key for each organization (its database key) in a role. The secrets exist in the answer only."""
    made = {organization: _new_secret() for organization in wanted}
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO keys (key_id, secret_hash, organization, role, created_at) VALUES (%s, %s, %s, %s, %s)",
            [
                (key_id, hashlib.sha256(secret.encode()).digest(), organization, wanted[organization].value, at)
                for organization, (key_id, secret) in made.items()
            ],
        )
    names = await fetch(
        conn,
        """SELECT o.pk, o.name, j.code FROM organizations o LEFT JOIN jurisdictions j ON j.audience = o.jurisdiction
           WHERE o.pk = ANY(%s)""",
        (list(wanted),),
    )
    keys = [NewKey(*made[pk], organization=name, jurisdiction=code) for pk, name, code in names]
    subject = keys[0].key_id if len(keys) == 1 else f"{len(keys)} keys"
    await audit.record(conn, actor_name, "create keys", subject, "", at)
    return keys


def _new_secret() -> tuple[str, str]:
    """A key id and its secret: 256 random bits, no «:» for HTTP Basic."""
    key_id = "".join(secrets.choice(_KEY_ID_LETTERS) for _ in range(8))
    random = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return key_id, f"isac_{key_id}_{random}"


async def revoke_key(conn: Connection, key_id: str, actor_name: str, at: datetime) -> None:
    """End a key and its certificate; servers refuse it within two seconds. Raises NotFound where it does not stand."""
    await _change(conn, "UPDATE keys SET revoked_at = %s", at, key_id)
    await audit.record(conn, actor_name, "revoke key", key_id, "", at)


async def change_certificate(
    conn: Connection, key_id: str, certificate: Fingerprint | None, actor_name: str, at: datetime
) -> None:
    """Give a key this client certificate, or none; the one before counts no more within two seconds.

    Raises NotFound where the key does not stand, Invalid where another key has the certificate.
    """
    taken = await fetch(
        conn,
        "SELECT key_id FROM keys WHERE certificate = %s AND revoked_at IS NULL AND key_id <> %s",
        (certificate and certificate.sha256, key_id),
    )
    if taken:
        other = taken[0][0]
        raise Invalid(
            f"Key {other} has this certificate. Take it away there: isac keys change {other} --no-certificate"
        )
    await _change(conn, "UPDATE keys SET certificate = %s", certificate and certificate.sha256, key_id)
    what = certificate.sha256.hex() if certificate else "none"
    await audit.record(conn, actor_name, "change certificate", key_id, f"SHA-256 {what}", at)


async def change_empty_objects(conn: Connection, key_id: str, wanted: bool, actor_name: str, at: datetime) -> None:
    """Let a key's quiet polls be answered with an empty list of objects, or not (L-9). Raises NotFound."""
    await _change(conn, "UPDATE keys SET empty_objects = %s", wanted, key_id)
    await audit.record(conn, actor_name, "change empty objects", key_id, "on" if wanted else "off", at)


async def _change(conn: Connection, update: LiteralString, value: object, key_id: str) -> None:
    """Change a key that stands. Raises NotFound."""
    where: LiteralString = " WHERE key_id = %s AND revoked_at IS NULL RETURNING key_id"
    if not await fetch(conn, update + where, (value, key_id)):
        raise NotFound(f"There is no key {key_id}, or it is revoked already; see isac keys list.")


async def keys(conn: Connection) -> list[Key]:
    """All keys, in the order of their making."""
    rows = await fetch(
        conn,
        """SELECT k.key_id, o.name, j.code, k.role, k.created_at, k.revoked_at, k.certificate,
                  k.empty_objects
           FROM keys k JOIN organizations o ON o.pk = k.organization
           LEFT JOIN jurisdictions j ON j.audience = o.jurisdiction ORDER BY k.pk""",
    )
    return [
        Key(row[0], row[1], row[2], Role(row[3]), row[4], row[5], row[6] and Fingerprint(row[6]), row[7])
        for row in rows
    ]


async def token_key(conn: Connection) -> bytes:
    """The secret that hides positions in the `next` tokens of this API root: 32 bytes."""
    ((key,),) = await fetch(conn, "SELECT token_key FROM root")
    return bytes(key)
