"""Puts the server together: the pool, the routes, and what stands before and behind all of them."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from isac import logs
from isac.errors import IsacError
from isac.serve import access, api, assets, crowd, health, taxii, wire
from isac.serve.fast import Fast
from isac.serve.pages import Pages
from isac.serve.queries import Ignored, Tokens
from isac.store import database, members
from isac.store.follower import Follower, Written
from isac.store.polls import Polls

#: what TAXII clients cut their envelopes to
MAX_CONTENT_LENGTH = 100 * 1024 * 1024


class Application(FastAPI):
    """FastAPI, and before it what is answered from memory."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.fast = Fast(super().__call__, taxii.ROOT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.fast(scope, receive, send)
        except BaseException:
            # Whatever it is: what broke since the server is told to stop is no fault of the program's.
            if scope["type"] != "http" or not wire.is_stopping():
                raise
            answer = wire.error_answer(wire.STOPPING, str(uuid.uuid4()), scope["method"], scope["path"])
            with contextlib.suppress(RuntimeError):  # an answer had begun, and nothing can be said any more
                await answer(scope, receive, send)


def create_app(
    *,
    database_url: str,
    max_content_length: int = MAX_CONTENT_LENGTH,
    public: bool = False,
    free: bool = False,
    samples: bool = False,
    limited: bool = True,
    written: Written | None = None,
    feeds: Path | None = None,
) -> Application:
    """The server as an ASGI application.

    It refuses to start while a route does not say who may call it, or the database does not answer. `public` opens
    the public collection to whoever has no key; `free` is the sandbox's: everything well-formed is released at once.
    `samples`: submissions may say that they are made up, so that documentation addresses are taken.
    `limited`: whoever asks too often is told so. `written` is what the workers of one server share. Of the
    feeds that are defined in `feeds` /metrics tells how they are.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Application) -> AsyncIterator[None]:
        # Here and not below, so that routes which somebody adds to the application are looked at as well.
        access.require_access(app.routes)
        logs.configure()  # a worker is a process that has set up nothing yet
        async with database.pool(database_url) as pool:
            async with pool.connection() as conn:
                tokens = Tokens(await members.token_key(conn))
                visitor = access.visitor((await members.shelf(conn, "public")).own) if public else None
            follower, polls = Follower(database_url, written or Written()), Polls(pool)
            site = access.Site(
                pool=pool,
                follower=follower,
                keyring=access.Keyring(pool, follower),
                shelves=access.Shelves(follower),
                pages=Pages(follower),
                polls=polls,
                limits=access.Allowances() if limited and not free else None,
                tokens=tokens,
                ignored=Ignored(),
                max_content_length=max_content_length,
                visitor=visitor,
                free=free,
                samples=samples,
                feeds=feeds,
            )
            async with follower.following(), polls.recording():
                async with pool.connection() as conn:  # before the first members come, all at once
                    await site.keyring.renew(conn)
                    await site.shelves.renew(conn)
                app.state.site = app.fast.here = site
                yield

    # No page of FastAPI's own: it would be a route that anybody may call, and its browser loads scripts from elsewhere.
    app = Application(title=taxii.TITLE, openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    app.include_router(taxii.discovery)
    app.include_router(taxii.root)
    app.include_router(health.routes)
    app.include_router(api.router)
    app.include_router(assets.router)
    app.add_middleware(crowd.Crowd)
    app.add_middleware(wire.Door, roots=(taxii.DISCOVERY, taxii.ROOT))
    for error in (IsacError, RequestValidationError, HTTPException, database.Away, Exception):
        app.add_exception_handler(error, wire.render)
    for status in (404, 405):  # of the router; ours are IsacErrors
        app.add_exception_handler(status, access.nowhere)
    return app
