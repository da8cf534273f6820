"""Before FastAPI: polls of objects that are asked properly, and what all answers of 200 have in common.

It answers from memory where nothing is new, from the newest rows, and from pages that are kept; else it reads the page.
All that is not plain goes the whole way, which alone has words for what is wrong. A test sends requests both ways and
compares the bytes. Besides: 304 for an answer that the client has, and gzip.
"""

import asyncio
import functools
import hashlib
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from isal import isal_zlib
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isac.errors import IsacError, NotFound, Unauthorized
from isac.policy.actors import Actor, Fingerprint
from isac.serve import access, certificates, queries, taxii, wire
from isac.serve.access import Allowances, Site
from isac.serve.pages import Answer, Increment, Increments, Stamp, answer, served
from isac.store.database import Away
from isac.store.members import Collection
from isac.store.objects import BEGINNING, MAX_BYTES, SPEC_VERSION, Page, Query

#: shorter bodies gain nothing by gzip, longer ones are packed in a thread
_SHORT, _LONG = 1024, 1024 * 1024
#: pages that are read out of the database here at once; the others of a crowd go the whole way, which turns some away
_READS = 100
#: seconds that such a page waits for a connection; the whole way waits once more, and clients give up after ten
_SOON = 1.0
#: requests whose meaning is remembered, and how long their query may be
_MEANINGS, _LONGEST = 10_000, 1000


@dataclass(slots=True)
class Meaning:
    """What a request comes to, as long as nobody's rights change, and what its answer was last."""

    roster: int
    asking: Actor
    shelf: Collection
    audiences: tuple[int, ...]
    query: Query
    #: rows start after this instant
    after: datetime
    #: the follower's `at` when the answer was true
    at: object = None
    #: kept by `Pages` alone, but for the short ones
    answer: Callable[[], Answer | None] | None = None


#: the roster's version, who asks, the collection and its audiences
Reader: TypeAlias = tuple[int, Actor, Collection, tuple[int, ...]]


class Fast:
    """The ASGI application in front of the whole one. Until `here` is set, all goes the whole way."""

    def __init__(self, whole: ASGIApp, root: str) -> None:
        self._whole = whole
        self._before, self._behind = f"{root}collections/", "/objects/"
        self.here: Site | None = None
        #: by who asks, path and query; by who asks and path
        self._meanings: dict[tuple[bytes, Fingerprint | None, str, bytes], Meaning] = {}
        self._readers: dict[tuple[bytes, Fingerprint | None, str], Reader] = {}
        self._accepts: dict[bytes, bool] = {}
        self._increments = Increments()
        #: the same by places in memory, true as long as the log stands where it stood
        self._placed: weakref.WeakValueDictionary[tuple[object, ...], Answer] = weakref.WeakValueDictionary()
        self._placed_at: object = None
        self._reading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._whole(scope, receive, send)
            return
        credential = accept = tags = encodings = b""
        plain = True
        for name, value in scope["headers"]:
            if name == b"authorization" or name == b"x-api-key":
                plain = plain and not credential
                credential = name + value
            elif name == b"accept":
                plain = plain and not accept
                accept = value
            elif name == b"if-none-match":
                tags = value
            elif name == b"accept-encoding":
                encodings = value
        remembered, meaning = None, None
        if plain and self.here is not None and self._is_acceptable(accept) and await self._is_fresh(self.here, scope):
            meaning = await self._meaning(self.here, scope, credential)
            # Asking who that is may have taken its time.
            if meaning is not None and self.here.follower.is_fresh() and meaning.roster == self.here.follower.roster:
                remembered = self._remembered(self.here, meaning)
                if self.here.limits and self._count(self.here.limits, meaning, scope):
                    remembered = None  # the whole way says so
                elif remembered is None:
                    remembered = await self._read(self.here, meaning)
        if remembered is None or meaning is None or self.here is None or self.here.polls.is_behind():
            await _Finish(self._whole, tags, encodings)(scope, receive, send)
            return
        if tags and _has(tags, remembered.tag):
            await _not_modified(remembered).send(scope, send)
            return
        if remembered.served is not None and scope["method"] == "GET":
            self.here.polls.add(meaning.asking, meaning.shelf, meaning.query, remembered.served)
        if encodings and len(remembered.content) >= _SHORT and _takes_gzip(encodings):
            remembered = await self._packed(self.here, remembered)
        await remembered.send(scope, send)

    async def _is_fresh(self, here: Site, scope: Scope) -> bool:
        """Is memory up to date? One look serves all polls that find it late, and costs less than one of them."""
        if here.follower.is_fresh():
            return True
        return scope["path"].startswith(self._before) and await here.follower.catch_up()

    def _is_acceptable(self, accept: bytes) -> bool:
        known = self._accepts.get(accept)
        if known is None:
            known = wire.accepts(accept.decode("latin-1"))
            if len(self._accepts) < 256:
                self._accepts[accept] = known
        return known

    def _count(self, limits: Allowances, meaning: Meaning, scope: Scope) -> float:
        """Count the request, once for both ways: 0, or the seconds that it comes too early."""
        address = scope["client"][0] if scope["client"] else ""
        wait = limits.take(meaning.asking, address, asyncio.get_running_loop().time())
        if not wait:
            scope[access.COUNTED] = True
        return wait

    # ------------------------------------------------------------------------------------------------------- meanings

    async def _meaning(self, here: Site, scope: Scope, credential: bytes) -> Meaning | None:
        """What is asked, and by whom; None where it is no poll of objects that somebody may make."""
        path = scope["path"]
        who = hashlib.sha256(credential).digest(), certificates.of_request(scope)
        key = (*who, path, scope["query_string"])
        found = self._meanings.get(key)
        if found is not None and found.roster == here.follower.roster:
            return found
        if not (path.startswith(self._before) and path.endswith(self._behind)) or "\0" in path:
            return None
        try:
            reader = self._readers.get(key[:3])
            if reader is None or reader[0] != here.follower.roster:
                reader = self._readers[key[:3]] = await self._reader(here, scope)
            roster, asking, shelf, audiences = reader
            asked = queries.read(scope["query_string"], queries.OF_OBJECTS)
            query = here.tokens.query(asked, shelf.pk)
        except (IsacError, Away):
            return None  # whoever made a mistake is told what it was by the whole way
        if asked.ignored:
            here.ignored.note(asking.key_id, asked.ignored)
        found = Meaning(roster, asking, shelf, audiences, query, query.after)
        for kept in (self._meanings, self._readers):
            if len(kept) >= _MEANINGS:
                kept.clear()
        if len(scope["query_string"]) < _LONGEST:
            self._meanings[key] = found
        return found

    async def _reader(self, here: Site, scope: Scope) -> Reader:
        """Who reads which collection, by the rolls alone. Raises NotFound, Unauthorized.

        What is wrong is asked for in the database on the whole way alone, which counts it.
        """
        if not (here.keyring.is_true() and here.shelves.is_true()):
            async with here.pool.connection() as conn:
                await here.keyring.renew(conn)
                await here.shelves.renew(conn)
        roster, proof = here.follower.roster, access.proof_in(scope)
        asking = here.visitor if proof is None else here.keyring.known(proof)
        if asking is None:
            raise Unauthorized("Nothing tells who asks, or it is wrong.")
        shelf = here.shelves.known(scope["path"][len(self._before) : -len(self._behind)], asking)
        if shelf is None:
            raise NotFound("No such collection.")
        return roster, asking, shelf, tuple(audience.pk for audience in shelf.audiences)

    # -------------------------------------------------------------------------------------------------------- answers

    def _remembered(self, here: Site, meaning: Meaning) -> Answer | None:
        """The answer, if memory proves it."""
        follower = here.follower
        if meaning.answer is not None and meaning.at is follower.at:
            found = meaning.answer()
            if found is not None:
                return found
        after, newest = meaning.after, follower.newest(meaning.audiences)
        if after > follower.horizon:
            return None
        if newest is None or newest <= after:
            if newest is None and after > follower.passed:
                return None  # the whole way names its own time then
            nothing = _nothing(meaning.asking, newest or (after if after > BEGINNING else None))
            meaning.at, meaning.answer = follower.at, lambda: nothing
            return nothing
        found = self._recent(here, meaning, after, newest) if after >= follower.floor else None
        if found is None:
            now = Stamp(follower.era, follower.put(meaning.audiences), follower.ended(meaning.audiences))
            found = here.pages.find(meaning.shelf, meaning.query, now)
        if found is not None:
            meaning.at, meaning.answer = follower.at, weakref.ref(found)
        return found

    def _recent(self, here: Site, meaning: Meaning, after: datetime, newest: datetime) -> Answer | None:
        """A page of the newest rows, if that is all it takes."""
        query = meaning.query
        if query.ids is not None or not query.versions.only_last or not _is_ours(query.spec_versions):
            return None
        if self._placed_at is not here.follower.at:
            self._placed_at = here.follower.at
            self._placed.clear()
        # Between two rows all cursors are one; the rest is what the page's `next` tells besides.
        rest = meaning.shelf.pk, query.types, query.limit, query.spec_versions
        places = here.follower.places(meaning.audiences, after)
        place = rest, places
        placed = self._placed.get(place)
        if placed is not None:
            return placed
        rows, page = here.follower.page(meaning.audiences, places, query.types, query.limit)
        if page.first is None or page.last is None:
            return _nothing(meaning.asking, min(after, newest))
        increment = Increment(here.follower.era, rows, rest if page.more else None)
        found = self._increments.find(increment)
        if found is None:
            if len(rows) * here.follower.longest > MAX_BYTES and sum(map(len, page.objects)) > MAX_BYTES:
                return None  # the page ends earlier
            token = here.tokens.next(meaning.shelf.pk, query, page)
            response = wire.envelope(page, token, (page.first, page.last))
            found = answer(response.raw_headers, bytes(response.body), served=served(page))
            if not self._increments.keep(increment, found):
                return found
        self._placed[place] = found
        return found

    async def _read(self, here: Site, meaning: Meaning) -> Answer | None:
        """The page out of the database; None where that fails or too many do so, which the whole way tells them."""
        if self._reading >= _READS or here.polls.is_behind():
            return None
        self._reading += 1
        try:
            async with here.pool.connection(timeout=_SOON) as conn:
                return await taxii.objects_answer(here, conn, meaning.asking, meaning.shelf, meaning.query)
        except Exception:  # noqa: BLE001 - whatever it is, the whole way meets it again, and has words for it
            return None
        finally:
            self._reading -= 1

    async def _packed(self, here: Site, found: Answer) -> Answer:
        if found.packed is None:
            here.pages.pack(found, await _pack(found.headers, found.content))
        return found.packed or found


def _nothing(asking: Actor, date: datetime | None) -> Answer:
    # The one answer that is not the same for all is made anew each time; nobody else can meet it (L-9).
    return _empty(date, empty_objects=True) if asking.empty_objects else _kept_empty(date)


def _empty(date: datetime | None, *, empty_objects: bool = False) -> Answer:
    dates = (date, date) if date else None
    response = wire.envelope(Page([], None, None, False), None, dates, empty_objects=empty_objects)
    return answer(response.raw_headers, bytes(response.body))


_kept_empty = functools.lru_cache(maxsize=2048)(_empty)


def _is_ours(versions: Sequence[str] | None) -> bool:
    return versions is None or SPEC_VERSION in versions


# --------------------------------------------------------------------------------------------- what all answers share

#: what a 304 repeats
_OF_304 = (b"etag", b"vary", b"cache-control", b"content-type", b"x-taxii-date-added-first", b"x-taxii-date-added-last")


class _Finish:
    """Answers of the whole way, with 304 and gzip where they are wanted."""

    def __init__(self, whole: ASGIApp, tags: bytes, encodings: bytes) -> None:
        self._whole, self._tags, self._encodings = whole, tags, encodings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started: Message | None = None

        async def finishing(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = message
            elif started is None:
                await send(message if scope["method"] == "GET" else {**message, "body": b""})
            else:
                start, started = started, None
                await self._finish(start, message, scope, send)

        scope.setdefault("state", {})
        # HEAD is a GET whose body stays here.
        await self._whole({**scope, "method": "GET"}, receive, finishing)

    async def _finish(self, start: Message, body: Message, scope: Scope, send: Send) -> None:
        content = body.get("body", b"")
        is_ready = start["status"] == 200 and not body.get("more_body")
        if is_ready and len(content) >= _SHORT and b"vary" not in dict(start["headers"]):
            start = {**start, "headers": [*start["headers"], (b"vary", b"Accept-Encoding")]}
        whole = answer([*start["headers"]], content)
        if is_ready and self._tags and _has(self._tags, whole.tag):
            await _not_modified(whole).send(scope, send)
            return
        # Objects that leave are recorded, as those from memory are: neither HEAD nor 304 gives anything out.
        if is_ready and scope["method"] == "GET" and "record" in scope["state"]:
            scope["state"]["record"]()
        if is_ready and len(whole.content) >= _SHORT and _takes_gzip(self._encodings):
            await (await _pack(whole.headers, whole.content)).send(scope, send)
        elif is_ready:
            await whole.send(scope, send)
        else:
            await send(start)
            await send(body if scope["method"] == "GET" else {**body, "body": b""})


def _not_modified(found: Answer) -> Answer:
    if found.unchanged is None:
        found.unchanged = answer([(name, value) for name, value in found.headers if name in _OF_304], b"", 304)
    return found.unchanged


def _has(tags: bytes, tag: bytes | None) -> bool:
    """Is the tag among those of If-None-Match? Compared weakly (RFC 9110 §13.1.2)."""
    if tag is None:
        return False
    plain = tag.removeprefix(b"W/")
    return tags == tag or any(each.strip().removeprefix(b"W/") in (plain, b"*") for each in tags.split(b","))


def _takes_gzip(encodings: bytes) -> bool:
    """Does Accept-Encoding name gzip, or else anything, and not with q=0 (RFC 9110 §12.5.3)?"""
    taken = {}
    for each in encodings.lower().split(b","):
        name, _, q = each.partition(b";")
        taken[name.strip()] = q.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return taken.get(b"gzip", taken.get(b"x-gzip", taken.get(b"*", False)))


async def _pack(headers: Sequence[tuple[bytes, bytes]], content: bytes) -> Answer:
    """The same with a gzip body."""
    packed = await asyncio.to_thread(_gzip, content) if len(content) > _LONG else _gzip(content)
    kept: list[tuple[bytes, bytes]] = [(name, value) for name, value in headers if name != b"content-length"]
    length = str(len(packed)).encode()
    return answer([*kept, (b"content-encoding", b"gzip"), (b"content-length", length)], packed)


def _gzip(content: bytes) -> bytes:
    # Half a millisecond for a megabyte; the next better level takes six times as long and saves a twentieth.
    return bytes(isal_zlib.compress(content, 1, wbits=31))
