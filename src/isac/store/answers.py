"""Answers that are kept for a day and longer, for whoever sends the very same request again (Idempotency-Key)."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

from isac.errors import Conflict, Unprocessable
from isac.store.database import Connection
from isac.store.facts import fetch

KEPT = timedelta(hours=48)
#: seconds that the second of two waits for the first; clients wait a little longer
_PATIENCE = "SET LOCAL lock_timeout = '8s'"
#: old ones that go when a new one comes
_SWEPT = 100


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was given first."""

    status: int
    body: bytes


@contextlib.asynccontextmanager
async def alone(conn: Connection, organization: int, key: str) -> AsyncIterator[None]:
    """While the context lasts, nobody else of this organization works on a request with this key.

    Raises Conflict where somebody does for too long. The connection is taken as long; it holds no transaction open.
    """
    name = f"{organization} {key}"
    try:
        async with conn.transaction():
            await conn.execute(_PATIENCE)
            await conn.execute("SELECT pg_advisory_lock('answers'::regclass::int, hashtext(%s))", (name,))
    except psycopg.errors.LockNotAvailable as error:
        raise Conflict(
            "The first request with this Idempotency-Key is still being worked on; send it again in a few seconds."
        ) from error
    try:
        yield
    finally:
        await conn.execute("SELECT pg_advisory_unlock('answers'::regclass::int, hashtext(%s))", (name,))


async def find(conn: Connection, organization: int, key: str, digest: bytes) -> Kept | None:
    """The answer to this request, if there is one. Raises Unprocessable where the key was another request's."""
    rows = await fetch(
        conn, "SELECT digest, status, body FROM answers WHERE organization = %s AND key = %s", (organization, key)
    )
    if not rows:
        return None
    first, status, body = rows[0]
    if first != digest:
        raise Unprocessable(
            "This Idempotency-Key came with another request before (parameters count, too); use a new key for it."
        )
    return Kept(status, body)


async def keep(conn: Connection, organization: int, key: str, digest: bytes, answer: Kept, at: datetime) -> None:
    """Keep an answer, and forget some whose time is over."""
    await conn.execute(
        """INSERT INTO answers (organization, key, digest, at, status, body) VALUES (%s, %s, %s, %s, %s, %s)
           ON CONFLICT DO NOTHING""",
        (organization, key, digest, at, answer.status, answer.body),
    )
    await conn.execute(
        """DELETE FROM answers WHERE (organization, key) IN
             (SELECT organization, key FROM answers WHERE at < %s ORDER BY at LIMIT %s)""",
        (at - KEPT, _SWEPT),
    )
