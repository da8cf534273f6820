"""The real store behind the face of a World: the cases and the state machine run against it as against the model.

Plain values become real ones: a `modified` is a number of seconds after 2020, a producer's name an identity, a poster's
name an actor who may release at the audience of that name and below.
"""

import dataclasses
import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg
from tests.store.places import PLACES
from tests.store.words import CLERK, FEED, ISAC, Line, Seen, Tlp, Verdict
from tests.store.world import NoSuchCollection

from isac import times
from isac.errors import Forbidden, Invalid, NotFound
from isac.policy.actors import Actor, Audience, Role, Scope, may_read
from isac.policy.admit import Arrival, Move, Poster
from isac.policy.release import Facts
from isac.stix import markings, objects
from isac.store import database, facts, log, members
from isac.store.database import Connection
from isac.store.facts import By, Subject
from isac.store.objects import Query, Versions, page

_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_KINDS = {"public": "public", "us": "nation", "us-oh": "state", "us-tx": "state"}
_numbers = itertools.count()


def _instant(modified: int) -> datetime:
    return _EPOCH + timedelta(seconds=modified)


def _identity(name: str) -> str:
    return f"identity--{uuid.uuid5(uuid.NAMESPACE_URL, name)}"


_NAMES = {_identity(name): name for name in (ISAC, "vendor", "vendor-a", "vendor-b", "va", "vb")}


def _seconds(nanoseconds: int) -> int:
    return round((times.from_nanoseconds(nanoseconds) - _EPOCH).total_seconds())


async def furnish(url: str) -> None:
    """The places of the model and an ISAC, in an empty migrated database."""
    async with database.pool(url, size=1) as pool, pool.connection() as conn:
        pks: dict[str, int] = {}
        for place in PLACES:
            kind = _KINDS.get(place.name, "local") if place.kind == "node" else place.kind
            pks[place.name] = await _add_place(conn, place.name, kind, place.parent, frozen=place.frozen)
        await conn.execute(
            """INSERT INTO organizations (audience, identity, name, kind, contact_email)
               VALUES (%s, %s, 'ISAC', 'isac', '')""",
            (pks["org-b"], _identity(ISAC)),
        )


async def _add_place(conn: Connection, name: str, kind: str, parent: str | None, *, frozen: bool = False) -> int:
    above: list[int] = []
    if parent is not None:
        ((above,),) = await facts.fetch(conn, "SELECT above || pk FROM audiences WHERE code = %s", (parent,))
    ((pk,),) = await facts.fetch(
        conn,
        "INSERT INTO audiences (kind, code, above, frozen) VALUES (%s, %s, %s, %s) RETURNING pk",
        (kind, name, above, frozen),
    )
    await conn.execute(
        """INSERT INTO collections (id, alias, title, description, audiences, own)
           VALUES (%s, %s, %s, '', %s, %s)""",
        (uuid.uuid4(), name, name, [*above, pk], pk),
    )
    return int(pk)


class StoreWorld:
    """Deeds of `store.log`, views of `store.objects`, each deed a transaction of its own."""

    def __init__(self, conn: Connection, owner: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        self.conn, self.owner = conn, owner
        self.clock = datetime(2021, 1, 1, tzinfo=UTC)
        self.gone: set[str] = set()

    # ---- deeds

    async def release(
        self, stix_id: str, producer: str, modified: int, tlp: Tlp, audience: str, poster: str
    ) -> Verdict:
        return await self._put(stix_id, producer, modified, tlp, audience, poster, revoked=False)

    async def release_revoked(
        self, stix_id: str, producer: str, modified: int, tlp: Tlp, audience: str, poster: str
    ) -> Verdict:
        subject = await self._subject(stix_id, producer)
        locked = await facts.lock(self.conn, [stix_id], make=False)
        if stix_id in locked and locked[stix_id].facts.newest(subject.producer):
            return "refuse"
        return await self._put(stix_id, producer, modified, tlp, audience, poster, revoked=True)

    async def revoke(self, stix_id: str, producer: str, modified: int, tlp: Tlp, poster: str) -> Verdict:
        """Handed over where the object stands: a revocation goes to its grants and asks for none."""
        rows = await facts.fetch(
            self.conn,
            """SELECT a.code FROM grants g JOIN objects o ON o.pk = g.object JOIN producers p ON p.pk = g.producer
               JOIN audiences a ON a.pk = g.audience WHERE o.stix_id = %s AND p.identity = %s ORDER BY g.ordinal""",
            (stix_id, _identity(producer)),
        )
        if not rows:
            return "refuse"
        return await self._put(stix_id, producer, modified, tlp, rows[0][0], poster, revoked=True)

    async def _put(
        self, stix_id: str, producer: str, modified: int, tlp: Tlp, audience: str, poster: str, *, revoked: bool
    ) -> Verdict:
        at = times.stix(_instant(modified))
        body = {
            "type": stix_id.partition("--")[0],
            "spec_version": "2.1",
            "id": stix_id,
            "created": times.stix(_EPOCH),
            "modified": at,
            "pattern": "[ipv4-addr:value = '192.0.2.1']",
            "pattern_type": "stix",
            "valid_from": times.stix(_EPOCH),
            "revoked": revoked,
            "x_tlp": tlp,
        }
        arrival = Arrival(
            stix_id=stix_id,
            type=stix_id.partition("--")[0],
            producer=_identity(producer),
            anonymous=False,
            modified=objects.instant(at),
            created=objects.instant(times.stix(_EPOCH)),
            version=at,
            tlp=markings.TLP.parse(tlp),
            revoked=revoked,
            valid_until=None,
            raw=orjson.dumps(body),
        )
        place = await self._audience(audience)
        async with self.conn.transaction():
            speaks = await self._poster(poster)
            weighed = await log.weigh(self.conn, [arrival], place, speaks)
            await log.put(self.conn, weighed, place, speaks, self._by())
        (admission,) = weighed.admissions
        if admission.rule == "tlp":
            # The store holds it until somebody names its recipients. The model knows no triage: it refuses a first
            # version, and takes a newer one for the sake of its marking.
            return "accept" if admission.move is Move.UPDATE else "refuse"
        if admission.move is Move.HOLD:
            return "hold"
        return "refuse" if admission.move is Move.REFUSE else "accept"

    async def _poster(self, name: str) -> Poster:
        own = (await facts.producers(self.conn, [_identity(name)]))[_identity(name)]
        nobody = Scope(frozenset(), None, everything=False)
        organization = -own
        actor = Actor(0, name, organization, _identity(name), Role.POLLER, None, -1, frozenset(), nobody)
        if name in (ISAC, FEED):
            scope = Scope(frozenset(), None, everything=True)
            actor = dataclasses.replace(actor, role=Role.STEWARD, scope=scope)
        elif any(place.name == name for place in PLACES):
            place = await self._audience(name)
            scope = Scope(frozenset(place.path), place.pk, everything=False)
            actor = dataclasses.replace(actor, role=Role.ANALYST, home=place.pk, own=place.pk, scope=scope)
        elif name.startswith(CLERK):
            place = await self._audience(name.removeprefix(CLERK))
            scope = Scope(frozenset(place.path), None, everything=False)
            actor = dataclasses.replace(actor, role=Role.SUBMITTER, home=place.pk, own=place.pk, scope=scope)
        # Everybody speaks for the ISAC here: that one may not speak for other members is no matter of the log.
        _, _, isac = await facts.isac(self.conn)
        organizations = frozenset({organization, isac})
        return Poster(actor, frozenset({own}), organizations, source=name == FEED)

    async def widen(self, stix_id: str, producer: str, to: str) -> Verdict:
        """The case means a node on the object's path; the store's deed is for any audience."""
        place = await self._audience(to)
        async with self.conn.transaction():
            subject = await self._subject(stix_id, producer)
            locked = await facts.lock(self.conn, [stix_id], make=False)
            grants = locked[stix_id].facts.of(subject.producer) if stix_id in locked else ()
        if not any(place.pk in g.audience.path or g.audience.pk in place.path for g in grants):
            return "refuse"
        return await self._deed(log.widen(self.conn, subject, place, self._by()))

    async def narrow(self, stix_id: str, producer: str, wide: str, narrow: str) -> Verdict:
        wide_place, narrow_place = await self._audience(wide), await self._audience(narrow)
        subject = await self._subject(stix_id, producer)
        return await self._deed(log.narrow(self.conn, subject, wide_place, narrow_place, self._by()))

    async def withdraw(self, stix_id: str, producer: str, audience: str, at: int) -> Verdict:
        """`at` is the case's word for when a revoked version of ours is made; notices go by the world's clock."""
        subject, place = await self._subject(stix_id, producer), await self._audience(audience)
        locked = await facts.lock(self.conn, [stix_id], make=False)
        grants = locked[stix_id].facts.of(subject.producer) if stix_id in locked else ()
        by = self._by(_instant(at)) if producer == ISAC and len(grants) == 1 else self._by()
        return await self._deed(log.withdraw(self.conn, subject, place, by))

    async def expire(self, stix_id: str, producer: str) -> Verdict:
        """Let the validity of what stands end now, and expire."""
        subject = await self._subject(stix_id, producer)
        locked = await facts.lock(self.conn, [stix_id], make=False)
        known = locked[stix_id].facts if stix_id in locked else Facts()
        versions = [v for v in known.versions if v.producer == subject.producer]
        if not versions or any(v.revoked for v in versions):
            return "refuse"
        standing = {v.pk for grant in known.of(subject.producer) if (v := known.newest_at(grant))}
        if not standing and (newest := known.newest(subject.producer)):
            standing = {newest.pk}
        await self.owner.execute(
            "UPDATE versions SET valid_until = %s WHERE pk = ANY(%s)", (self.clock, list(standing))
        )
        async with self.conn.transaction():
            await log.expire(self.conn, self._by())
        return "accept"

    async def delete(self, stix_id: str, producer: str, audience: str) -> Verdict:
        subject, place = await self._subject(stix_id, producer), await self._audience(audience)
        return await self._deed(log.delete(self.conn, subject, place, self._by()))

    async def delete_version(self, stix_id: str, producer: str, modified: int, audience: str) -> Verdict:
        subject, place = await self._subject(stix_id, producer), await self._audience(audience)
        instants = [objects.instant(times.stix(_instant(modified)))]
        return await self._deed(log.delete(self.conn, subject, place, self._by(), instants))

    async def erase(self, stix_id: str) -> Verdict:
        """As the owner, who alone may."""
        return await self._deed(log.erase(self.owner, stix_id, self._by()), self.owner)

    async def expire_notices(self) -> Verdict:
        self.clock += log.NOTICE_TERM + timedelta(days=1)
        async with self.conn.transaction():
            await log.expire(self.conn, self._by())
        return "accept"

    async def move_node(self, old: str, new: str, parent: str) -> Verdict:
        if not await facts.fetch(self.conn, "SELECT FROM audiences WHERE code = %s", (new,)):
            await _add_place(self.conn, new, "local", parent)
        old_place, new_place = await self._audience(old), await self._audience(new)
        async with self.conn.transaction():
            await log.move(self.conn, old_place, new_place, self._by())
        self.gone.add(old)
        return "accept"

    async def _deed(self, deed: Any, conn: Connection | None = None) -> Verdict:
        try:
            async with (conn or self.conn).transaction():
                await deed
        except (NotFound, Forbidden, Invalid):
            return "refuse"
        return "accept"

    def _by(self, at: datetime | None = None) -> By:
        return By("test", at or self.clock)

    # ---- views

    async def position(self) -> int:
        ((seq,),) = await facts.fetch(self.conn, "SELECT seq FROM head")
        return int(seq)

    async def default_view(self, collection: str) -> list[Seen]:
        return await self._view(collection, Versions())

    async def history_view(self, collection: str) -> list[Seen]:
        return await self._view(collection, Versions(last=False, all=True))

    async def _view(self, collection: str, versions: Versions) -> list[Seen]:
        """Through the page, two rows at a time, as a poller reads it."""
        shelf, seen, position = await self._shelf(collection), list[Seen](), None
        while True:
            found = await page(self.conn, shelf, Query(limit=2, position=position, versions=versions))
            bodies = [orjson.loads(raw) for raw in found.objects]
            seen += [self._seen(body) for body in bodies if body.get("type") != "note"]
            if not found.more:
                return await self._with_producers(collection, seen)
            position = found.last

    def _seen(self, body: dict[str, Any]) -> Seen:
        """A body tells its version; a revoked one that the store wrote has the tests' clock as `modified`."""
        seconds = round((times.read(body["modified"]) - _EPOCH).total_seconds())
        return Seen(body["id"], body.get("producer", ""), seconds)

    async def _with_producers(self, collection: str, seen: list[Seen]) -> list[Seen]:
        rows = await self._rows(collection)
        by_version: dict[tuple[str, int], set[str]] = {}
        for row in rows:
            by_version.setdefault((row["stix_id"], row["modified"]), set()).add(row["producer"])
        found = []
        for entry in seen:
            (producer,) = by_version[entry.stix_id, entry.modified]
            found.append(entry._replace(producer=producer))
        return found

    async def _rows(self, collection: str, *, shut: bool = False) -> list[dict[str, Any]]:
        shelf = await self._shelf(collection)
        rows = await facts.fetch(
            self.conn,
            """SELECT l.seq, o.stix_id, p.identity, l.modified, l.ended_seq, l.shut_seq, n.stix_id
               FROM log l JOIN objects o ON o.pk = l.object JOIN versions v ON v.pk = l.version
               JOIN producers p ON p.pk = v.producer
               LEFT JOIN notices t ON t.version = l.version LEFT JOIN objects n ON n.pk = t.object
               WHERE l.audience = ANY(%s) AND (%s OR l.shut_seq IS NULL) ORDER BY l.seq""",
            ([audience.pk for audience in shelf.audiences], shut),
        )
        keys = ("seq", "stix_id", "producer", "modified", "ended", "shut", "withdrawn")
        found = [dict(zip(keys, row, strict=True)) for row in rows]
        for row in found:
            row["producer"] = _NAMES.get(row["producer"], row["producer"])
            row["modified"] = _seconds(row["modified"])
        return found

    async def notices_view(self, collection: str) -> list[str]:
        return [line.stix_id for line in await self.timeline(collection, 0) if line.kind == "notice"]

    async def timeline(self, collection: str, after: int) -> list[Line]:
        rows = [row for row in await self._rows(collection) if row["ended"] is None and row["seq"] > after]
        return [
            Line("notice", row["withdrawn"])
            if row["withdrawn"]
            else Line("object", row["stix_id"], row["producer"], row["modified"])
            for row in rows
        ]

    async def default_at(self, position: int, collection: str) -> list[Seen]:
        return await self._at(position, collection, "ended")

    async def history_at(self, position: int, collection: str) -> list[Seen]:
        return await self._at(position, collection, "shut")

    async def _at(self, position: int, collection: str, left: str) -> list[Seen]:
        return [
            Seen(row["stix_id"], row["producer"], row["modified"])
            for row in await self._rows(collection, shut=True)
            if row["seq"] <= position
            and (row[left] is None or row[left] > position)
            and not row["stix_id"].startswith("note--")
        ]

    async def may_read(self, collection: str, stix_id: str, producer: str, modified: int) -> bool:
        """The pure rule, asked of each row: may somebody with this collection's path read the row's audience?"""
        shelf = await self._shelf(collection)
        scope = Scope(frozenset(audience.pk for audience in shelf.audiences), None, everything=False)
        at = objects.instant(times.stix(_instant(modified)))
        rows = await facts.fetch(
            self.conn,
            """SELECT a.pk, a.kind, a.above || a.pk, a.code, a.frozen
               FROM log l JOIN objects o ON o.pk = l.object JOIN versions v ON v.pk = l.version
               JOIN producers p ON p.pk = v.producer JOIN audiences a ON a.pk = l.audience
               WHERE o.stix_id = %s AND p.identity = %s AND l.modified = %s AND l.shut_seq IS NULL""",
            (stix_id, _identity(producer), at),
        )
        return any(may_read(scope, facts.audience_of(row)) for row in rows)

    async def standing(self, audience: str) -> int:
        query = """SELECT count(*) FROM log l JOIN audiences a ON a.pk = l.audience
                   WHERE a.code = %s AND l.shut_seq IS NULL"""
        ((count,),) = await facts.fetch(self.conn, query, (audience,))
        return int(count)

    async def waiting(self) -> set[Seen]:
        rows = await facts.fetch(
            self.conn,
            """SELECT o.stix_id, p.identity, w.modified FROM waiting w
               JOIN objects o ON o.pk = w.object JOIN producers p ON p.pk = w.producer""",
        )
        return {Seen(stix_id, _NAMES[identity], _seconds(modified)) for stix_id, identity, modified in rows}

    async def close(self) -> None:
        await self.conn.close()
        await self.owner.close()

    # ---- names

    async def _subject(self, stix_id: str, producer: str) -> Subject:
        identity = _identity(producer)
        return Subject(stix_id, (await facts.producers(self.conn, [identity]))[identity])

    async def _audience(self, name: str) -> Audience:
        return (await self._shelf(name)).own

    async def _shelf(self, name: str) -> members.Collection:
        if name in self.gone:
            raise NoSuchCollection(name)
        return await members.shelf(self.conn, name)


async def store_world(postgres: str, template: str) -> StoreWorld:
    """A fresh copy of the furnished template."""
    name = f"world_{next(_numbers)}"
    admin = await psycopg.AsyncConnection.connect(postgres, autocommit=True)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await admin.close()
    url = database.create(postgres, name)
    owner = await psycopg.AsyncConnection.connect(database.conninfo(url, None), autocommit=True)
    return StoreWorld(await database.connect(url), owner)
