"""Who calls: credential → actor; the annotated types of the endpoints' signatures (TAXII 2.1 §1.6.9, §8.2.2).

An endpoint whose own signature carries neither `Member`, `Submitter`, `Anyone` nor `Anybody` keeps the server from
starting, whatever its router asks of all requests.
"""

import asyncio
import base64
import hashlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Request, Response
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import Scope as ASGIScope

from isac.errors import Forbidden, IsacError, NotFound, TooMany, Unauthorized
from isac.policy.actors import Actor, Audience, Fingerprint, Role, Scope, may_read
from isac.serve import certificates, wire
from isac.serve.limits import KEY, VISITOR, WRONG_KEY, Buckets
from isac.serve.pages import Pages
from isac.serve.queries import Ignored, Tokens
from isac.store import members
from isac.store.database import Connection, Pool
from isac.store.follower import Follower
from isac.store.members import Collection
from isac.store.polls import Polls

K = TypeVar("K")
V = TypeVar("V")


class _Roll(Generic[K, V]):
    """All that the database has of a kind, read once after each change of who may see what.

    One by one, a thousand members would ask for themselves within the same second.
    """

    def __init__(self, follower: Follower, read: Callable[[Connection], Awaitable[dict[K, V]]]) -> None:
        self._follower, self._read = follower, read
        self._reading = asyncio.Lock()
        #: what was read, and the roster's version before that
        self._found: dict[K, V] = {}
        self._roster = -1

    def get(self, key: K) -> V | None:
        """None as well where memory is not sure."""
        return self._found.get(key) if self.is_true() else None

    def is_true(self) -> bool:
        """Has nothing changed since it was read?"""
        return self._roster == self._follower.roster and self._follower.is_fresh()

    async def renew(self, conn: Connection) -> None:
        """Read it, once for all who wait for it now, unless that would be late at once."""
        async with self._reading:
            if self._roster != self._follower.roster and self._follower.is_fresh():
                roster = self._follower.roster
                self._found, self._roster = await self._read(conn), roster


class Keyring:
    """Actors by the SHA-256 of their secret, or by their client certificate.

    A revoked key, a changed role or group counts as soon as the follower has seen it.
    """

    def __init__(self, pool: Pool, follower: Follower) -> None:
        self._pool = pool
        self._all = _Roll(follower, members.actors)
        self.renew, self.is_true = self._all.renew, self._all.is_true

    def known(self, proof: str | Fingerprint) -> Actor | None:
        """Whose secret or certificate this is, from memory; None as well where memory is not sure."""
        return self._all.get(hashlib.sha256(proof.encode()).digest() if isinstance(proof, str) else proof)

    async def actor(self, proof: str | Fingerprint) -> Actor | None:
        """Whose secret or certificate this is; costs a connection where it is unknown, or rights have changed."""
        found = self.known(proof)
        if found is not None or not members.may_be_proof(proof):
            return found
        async with self._pool.connection() as conn:
            await self._all.renew(conn)
            # One that was made just now is not on the roll yet.
            return self.known(proof) or await members.actor(conn, proof)


class Shelves:
    """Collections by the words that name them: they never change, but who reads them does."""

    def __init__(self, follower: Follower) -> None:
        self._all = _Roll(follower, members.collections_by_name)
        self.renew, self.is_true = self._all.renew, self._all.is_true

    def known(self, reference: str, asking: Actor) -> Collection | None:
        """A collection that the actor may read, from memory."""
        found = self._all.get(reference.lower())
        return found if found is not None and may_read(asking.scope, found.own) else None

    async def readable(self, conn: Connection, reference: str, asking: Actor) -> Collection:
        """A collection by id or alias. Raises NotFound as well where the actor may not see it."""
        found = self.known(reference, asking)
        if found is None and not self._all.is_true():
            await self._all.renew(conn)
            found = self.known(reference, asking)
        return found or await members.collection(conn, reference, asking)


class Allowances:
    """How often anybody may ask: a key, an address without one, an address with wrong ones."""

    def __init__(self) -> None:
        self._keys, self._visitors, self._wrong = Buckets(KEY), Buckets(VISITOR), Buckets(WRONG_KEY)

    def take(self, asking: Actor, address: str, now: float) -> float:
        """Count a request: 0, or the seconds that it comes too early."""
        return self._keys.take(asking.key, now) if asking.key else self._visitors.take(address, now)

    def take_wrong(self, address: str, now: float) -> float:
        """Count a request with a wrong key."""
        return self._wrong.take(address, now)


@dataclass(frozen=True, slots=True)
class Site:
    """What the endpoints need to know of this server; made when it starts."""

    pool: Pool
    follower: Follower
    keyring: Keyring
    shelves: Shelves
    pages: Pages
    polls: Polls
    #: None: nobody is told to slow down
    limits: Allowances | None
    tokens: Tokens
    ignored: Ignored
    max_content_length: int
    #: who brings no key, where the operator opened the public collection; None elsewhere
    visitor: Actor | None
    #: the sandbox's: everything well-formed is released at once
    free: bool
    #: the demonstration's and the sandbox's: submissions may say that they are made up
    samples: bool
    #: where definitions of feeds lie, whose health is told; None: nobody asks
    feeds: Path | None
    #: requests that are answered once for ever hold a connection while they wait for others
    guards: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(3))
    #: one text is read at a time, which takes the whole of a processor
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


def secret_in(headers: Headers) -> str | None:
    """The secret of a request, whichever way a product can send it; None if there is none (L-1).

    HTTP Basic with any user name, `Bearer`, `Token` or `X-API-Key`. Raises Unauthorized for a Basic that is malformed.
    """
    scheme, _, rest = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() in ("bearer", "token"):
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2].decode()
        except ValueError as error:
            raise Unauthorized("This is not HTTP Basic authentication; use the key as the password.") from error
    return headers.get("x-api-key")


def proof_in(scope: ASGIScope) -> str | Fingerprint | None:
    """What tells who asks: a secret, else the certificate of the connection; None without either.

    The secret is what was said for this very request. Raises Unauthorized for a Basic that is malformed.
    """
    secret = secret_in(Headers(scope=scope))
    return certificates.of_request(scope) if secret is None else secret


def visitor(public: Audience) -> Actor:
    """Whoever reads the public collection without a key, and nothing else."""
    scope = Scope(frozenset({public.pk}), None, everything=False)
    return Actor(0, "visitor", 0, "", Role.POLLER, None, public.pk, frozenset(), scope)


#: in the scope of a request that is counted already
COUNTED = "isac.counted"

_WRONG = {
    str: "This key is unknown or revoked.",
    Fingerprint: "This client certificate has expired, or no key has it. Send a key, or tell the ISAC.",
}


async def anyone(request: Request) -> Actor:
    """The actor of a request, the visitor if it has no credential. Raises Unauthorized, always for a wrong one."""
    here, proof = site(request), proof_in(request.scope)
    address, now = request.client.host if request.client else "", asyncio.get_running_loop().time()
    actor = here.visitor if proof is None else await _holder(here, proof, address, now)
    if actor is None:
        raise no_key()
    request.state.actor = actor.key_id
    # Asked for by the router and by the endpoint, FastAPI calls this once a request.
    wait = here.limits.take(actor, address, now) if here.limits and COUNTED not in request.scope else 0
    if wait:
        raise TooMany("This key asks too often; every second is enough.", wait)
    return actor


async def _holder(here: Site, proof: str | Fingerprint, address: str, now: float) -> Actor:
    """Whose secret or certificate this is. Raises Unauthorized, and TooMany for an address that guesses.

    Where the roll is true, a guess is counted before the database is asked: it may only have what was made just now.
    """
    found = here.keyring.known(proof)
    if found is not None:
        return found
    is_guess = here.keyring.is_true()
    if is_guess:
        _count_wrong(here, address, now)
    found = await here.keyring.actor(proof)
    if found is not None:
        return found
    if not is_guess:
        _count_wrong(here, address, now)
    raise Unauthorized(_WRONG[type(proof)])


def _count_wrong(here: Site, address: str, now: float) -> None:
    wait = here.limits.take_wrong(address, now) if here.limits else 0
    if wait:
        raise TooMany("Too many requests with a wrong key come from this address.", wait)


async def member(request: Request, asking: Annotated[Actor, Depends(anyone)]) -> Actor:
    """The actor of a request, who has a key. Raises Unauthorized."""
    if asking is site(request).visitor:
        raise no_key()
    return asking


async def submitter(asking: Annotated[Actor, Depends(member)]) -> Actor:
    """The actor of a request, who may hand in. Raises Forbidden."""
    if asking.role is Role.POLLER:
        raise Forbidden("This key may read, but not hand in; ask the ISAC for a key with the role submitter.")
    return asking


def no_key() -> Unauthorized:
    return Unauthorized("Send your key: as the password of HTTP Basic, or as Authorization: Bearer.")


def site(request: Request) -> Site:
    """What `app` put together."""
    found: Site = request.app.state.site
    return found


async def _site(request: Request) -> Site:
    # FastAPI would run a plain function in a thread.
    return site(request)


async def _reading(request: Request) -> AsyncIterator[Connection]:
    async with site(request).pool.connection() as conn:
        yield conn


Member = Annotated[Actor, Depends(member)]
Submitter = Annotated[Actor, Depends(submitter)]
Anyone = Annotated[Actor, Depends(anyone)]
#: with or without a key, for there is nothing to see
Anybody = Annotated[None, Depends(lambda: None)]
Here = Annotated[Site, Depends(_site)]
#: Autocommit, for reading only. Returned before the answer leaves: a slow reader holds no connection.
ReadDb = Annotated[Connection, Depends(_reading, scope="function")]


# ----------------------------------------------------------------------------------------------------- what no route is


async def nowhere(request: Request, error: Exception) -> Response:
    """Answer what no route answers, and only to members: nobody probes for roots and methods without a key (A-23).

    404; or 405 with what is allowed; or that alone, if asked by OPTIONS (A-22).
    """
    try:
        await member(request, await anyone(request))
    except IsacError as refusal:
        return await wire.render(request, refusal)
    methods = _methods(request.app.routes, request.scope["path"])
    if not methods:
        return await wire.render(request, NotFound("There is nothing at this address."))
    allow = {"Allow": ", ".join(sorted(methods))}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=allow, media_type=wire.TAXII)
    return await wire.render(request, HTTPException(405, headers=allow))


def _methods(routes: Sequence[BaseRoute], path: str) -> set[str]:
    found = {
        method
        for route in iter_route_contexts(routes)
        if route.path_regex.match(path)
        for method in route.methods or ()
    }
    return found | {"OPTIONS"} | ({"HEAD"} if "GET" in found else set()) if found else set()


def require_access(routes: Sequence[BaseRoute]) -> None:
    """Raise RuntimeError for a route whose signature does not say who may call it."""
    for route in iter_route_contexts(routes):
        if not (route.endpoint and _says_who(route.endpoint)):
            raise RuntimeError(f"{route.path}: its signature must carry Member, Submitter, Anyone or Anybody")


def _says_who(endpoint: Callable[..., Any]) -> bool:
    carried = inspect.signature(endpoint, eval_str=True).parameters.values()
    return any(parameter.annotation in (Member, Submitter, Anyone, Anybody) for parameter in carried)
