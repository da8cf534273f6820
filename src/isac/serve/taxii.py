"""The TAXII 2.1 endpoints, in the order of the specification (§4, §5); paths end in a slash here, see `wire.Door`."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import orjson
from fastapi import APIRouter, Depends, Request, Response

from isac import times
from isac.errors import Busy, Forbidden, Invalid, NotFound, Unprocessable
from isac.formats import stix
from isac.ingest import intake
from isac.policy.actors import Actor, may_release
from isac.serve import access, queries, wire
from isac.serve.access import Anyone, Here, Member, ReadDb, Site
from isac.serve.pages import Answer, answer, served
from isac.serve.queries import Asked
from isac.store import members, objects, submissions
from isac.store.database import Connection
from isac.store.members import Collection
from isac.store.objects import Manifest, Page, Query
from isac.store.polls import Served

DISCOVERY = "/taxii2/"
#: relative, so that it is right behind any proxy, and with a last part of its own (clients choose roots by it, L-11)
ROOT = "/elections/"
TITLE = "Election infrastructure threat intelligence"
DESCRIPTION = (
    "Threat indicators shared by and for those who run the elections of the States and their local jurisdictions."
)

# Before anything else a request needs a key, unless the public collection is open (401), and an answer that it can read
# (406). Who may call an endpoint is for its own signature to say.
discovery = APIRouter(dependencies=[Depends(access.anyone), Depends(wire.acceptable)])
root = APIRouter(prefix=ROOT.rstrip("/"), dependencies=[Depends(access.anyone), Depends(wire.acceptable)])


def _asked(known: frozenset[str]) -> Callable[[Request], Awaitable[Asked]]:
    async def read(request: Request) -> Asked:
        asked = queries.read(request.scope["query_string"], known)
        if asked.ignored:
            access.site(request).ignored.note(request.state.actor, asked.ignored)
        return asked

    return read


ObjectsQuery = Annotated[Asked, Depends(_asked(queries.OF_OBJECTS))]
ObjectQuery = Annotated[Asked, Depends(_asked(queries.OF_OBJECT))]
VersionsQuery = Annotated[Asked, Depends(_asked(queries.OF_VERSIONS))]
DeleteQuery = Annotated[Asked, Depends(_asked(queries.OF_DELETE))]


# ------------------------------------------------------------------------------------------- discovery, root, status


@discovery.get(DISCOVERY)
async def get_discovery(anyone: Anyone) -> Response:
    """Server Discovery (TAXII 2.1 §4.1)."""
    return wire.resource({"title": TITLE, "description": DESCRIPTION, "default": ROOT, "api_roots": [ROOT]})


@root.get("/")
async def get_api_root(anyone: Anyone, here: Here) -> Response:
    """Get API Root Information (TAXII 2.1 §4.2)."""
    return wire.resource(
        {
            "title": TITLE,
            "description": DESCRIPTION,
            "versions": [wire.TAXII],
            "max_content_length": here.max_content_length,
        }
    )


@root.get("/status/{status_id}/")
async def get_status(member: Member, status_id: str, db: ReadDb) -> Response:
    """Get Status (TAXII 2.1 §4.3). Another organization's is 404."""
    return wire.status(await submissions.status(db, status_id, member))


# -------------------------------------------------------------------------------------------------------- collections


@root.get("/collections/")
async def get_collections(anyone: Anyone, db: ReadDb) -> Response:
    """Get Collections (TAXII 2.1 §5.1): the few that this caller needs; the order never changes."""
    shelves = await members.collections(db, anyone)
    return wire.resource({"collections": [wire.collection(shelf, anyone) for shelf in shelves]})


@root.get("/collections/{collection}/")
async def get_collection(anyone: Anyone, collection: str, db: ReadDb, here: Here) -> Response:
    """Get a Collection (TAXII 2.1 §5.2), by id or alias."""
    shelf = await _readable(db, collection, anyone, here)
    return wire.resource(wire.collection(shelf, anyone))


@root.get("/collections/{collection}/manifest/")
async def get_manifest(anyone: Anyone, collection: str, asked: ObjectsQuery, db: ReadDb, here: Here) -> Response:
    """Get Object Manifests (TAXII 2.1 §5.3)."""
    shelf = await _readable(db, collection, anyone, here)
    query = here.tokens.query(asked, shelf.pk)
    found, dates = await _dated(objects.manifest, db, shelf, query)
    return wire.manifest(found, here.tokens.next(shelf.pk, query, found), dates)


@root.get("/collections/{collection}/objects/")
async def get_objects(
    anyone: Anyone, collection: str, asked: ObjectsQuery, db: ReadDb, here: Here, request: Request
) -> Response:
    """Get Objects (TAXII 2.1 §5.4). Empty envelope when nothing matches; 404 for what is not the caller's."""
    shelf = await _readable(db, collection, anyone, here)
    query = here.tokens.query(asked, shelf.pk)
    found = await objects_answer(here, db, anyone, shelf, query)
    if found.served:
        _record(request, here, anyone, shelf, query, found.served)
    response = Response(found.content)
    response.raw_headers = found.headers
    return response


async def objects_answer(here: Site, db: Connection, anyone: Actor, shelf: Collection, query: Query) -> Answer:
    """A page of objects as it is answered, and kept for whoever asks for it next."""
    stamp = here.pages.stamp(shelf)
    page, dates = await _dated(objects.page, db, shelf, query)
    # A version becomes the first one when older ones are deleted.
    tagged = not query.versions.first
    response = wire.envelope(
        page, here.tokens.next(shelf.pk, query, page), dates, tagged=tagged, empty_objects=anyone.empty_objects
    )
    found = answer(response.raw_headers, bytes(response.body), served=served(page))
    if found.served:
        here.pages.keep(shelf, query, stamp, page.more, found)
    return found


@root.post("/collections/{collection}/objects/")
async def add_objects(member: Member, collection: str, request: Request, here: Here) -> Response:
    """Add Objects (TAXII 2.1 §5.5): 202 and the status, which is complete unless an object waits for an analyst.

    No connection is held while a slow body arrives.
    """
    async with here.pool.connection() as db:
        shelf = _writable(await members.collection(db, collection, member), member)
    pieces = await asyncio.to_thread(_pieces, await wire.envelope_body(request, here.max_content_length))
    submission = intake.Submission(pieces, shelf.own, "TAXII")
    outcome = await intake.take_in(here.pool, submission, member, free=here.free)
    await here.follower.wrote()
    async with here.pool.connection() as db:
        return wire.status(await submissions.status(db, outcome.id, member), 202)


@root.get("/collections/{collection}/objects/{stix_id}/")
async def get_object(
    anyone: Anyone, collection: str, stix_id: str, asked: ObjectQuery, db: ReadDb, here: Here, request: Request
) -> Response:
    """Get an Object (TAXII 2.1 §5.6). Empty envelope when filters exclude all versions; 404 when it is not there."""
    shelf = await _readable(db, collection, anyone, here)
    query = _only(stix_id.lower(), here.tokens.query(asked, shelf.pk))
    page, dates = await _dated(objects.page, db, shelf, query)
    if not page.objects and not await objects.exists(db, shelf, stix_id.lower()):
        raise NotFound("No such object.")
    if given := served(page):
        _record(request, here, anyone, shelf, query, given)
    return wire.envelope(page, here.tokens.next(shelf.pk, query, page), dates, tagged=not query.versions.first)


@root.delete("/collections/{collection}/objects/{stix_id}/")
async def delete_object(member: Member, collection: str, stix_id: str, asked: DeleteQuery, here: Here) -> Response:
    """Delete an Object (TAXII 2.1 §5.7): all its versions, unless match[version] names some (A-15)."""
    async with here.pool.connection() as db:
        shelf = _writable(await members.collection(db, collection, member), member)
        if asked.spec_versions is not None and objects.SPEC_VERSION not in asked.spec_versions:
            raise NotFound("No such object.")
        async with db.transaction():
            await objects.delete(db, shelf, stix_id.lower(), asked.versions, member, times.now())
    await here.follower.wrote()
    return wire.nothing()


@root.get("/collections/{collection}/objects/{stix_id}/versions/")
async def get_versions(
    anyone: Anyone, collection: str, stix_id: str, asked: VersionsQuery, db: ReadDb, here: Here
) -> Response:
    """Get Object Versions (TAXII 2.1 §5.8), the oldest first."""
    shelf = await _readable(db, collection, anyone, here)
    query = here.tokens.query(asked, shelf.pk)
    read = functools.partial(_versions, stix_id.lower())
    found, dates = await _dated(read, db, shelf, query)
    return wire.versions(found, here.tokens.next(shelf.pk, query, found), dates)


# -------------------------------------------------------------------------------------------------------------- steps

Found = TypeVar("Found", Page, Manifest)


async def _dated(
    read: Callable[[Connection, Collection, Query], Awaitable[Found]], db: Connection, shelf: Collection, query: Query
) -> tuple[Found, wire.Dates]:
    """A page and the dates for its headers; an empty one's are where it is safe to go on (§3.2, A-11).

    That is what was asked for, or the collection's newest date if that is earlier. To whoever asked from the start we
    may name only what was there before the page was read: a row that came between would be lost.
    """
    asked = max(filter(None, (query.added_after, query.position)), default=None)
    before = None if asked else await objects.newest(db, shelf)
    found = await read(db, shelf, query)
    if found.first and found.last:
        return found, (found.first, found.last)
    safe = min(asked, await objects.newest(db, shelf) or times.now()) if asked else before
    return found, (safe, safe) if safe else None


async def _versions(stix_id: str, db: Connection, shelf: Collection, query: Query) -> Manifest:
    return await objects.versions(db, shelf, stix_id, query)


def _record(request: Request, here: Site, asking: Actor, shelf: Collection, query: Query, given: Served) -> None:
    """Note what is given out, once it leaves (see `fast`). Raises Busy where that cannot be noted any more."""
    if here.polls.is_behind():
        raise Busy("What is given out cannot be recorded at the moment. Try again in a few seconds.")
    request.state.record = functools.partial(here.polls.add, asking, shelf, query, given)


def _only(stix_id: str, query: Query) -> Query:
    """The query, of one object."""
    return query._replace(ids=(stix_id,) if query.ids is None or stix_id in query.ids else ())


async def _readable(db: Connection, reference: str, anyone: Actor, here: Site) -> Collection:
    """A collection. Raises NotFound where the caller may not see it; who brought no key is asked for one."""
    try:
        return await here.shelves.readable(db, reference, anyone)
    except NotFound:
        if anyone is here.visitor:
            raise access.no_key() from None
        raise


def _writable(shelf: Collection, member: Actor) -> Collection:
    """The collection, if the member may write there; that it exists he may know (§5.5, §5.7)."""
    if not may_release(member, shelf.own):
        raise Forbidden("This key may read this collection, but not write to it.")
    return shelf


def _pieces(body: bytes) -> Sequence[bytes]:
    """The objects of an envelope or bundle, as their own bytes.

    400 for what is no JSON or has no objects; 422 where the envelope is understood, and nothing in it is of use (A-17).
    """
    try:
        pieces = stix.split(body)
    except Invalid as error:
        if _has_objects(body):
            raise Unprocessable(error.detail) from error
        raise
    if not pieces:
        raise Unprocessable("There is no object in this envelope.")
    return pieces


def _has_objects(body: bytes) -> bool:
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(read, dict) and "objects" in read
