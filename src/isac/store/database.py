"""Connections: pools, transactions, roles.

Two roles: isac_owner migrates, isac_app serves. Whoever `ISAC_DATABASE_URL` names must be a member of both to migrate,
of isac_app to serve; every connection takes its role and the API root's schema at start-up, whatever the environment
says.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from isac.errors import Surroundings

#: the production API root: its tables, its sequence, its lock; also its last path part
SCHEMA = "elections"
#: the schema of the jobs that are done by themselves
JOBS = "isac_jobs"

# Every read walks an index in its order and stops at its limit. Right after a load PostgreSQL has no statistics yet
# and would rather read and sort a whole collection for each page: 14,392 buffers instead of 149.
_PLANS = "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off -c max_parallel_workers_per_gather=0"

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]
Cursor: TypeAlias = psycopg.AsyncCursor[tuple[Any, ...]]
Pool: TypeAlias = AsyncConnectionPool[Connection]

#: what is raised where the database does not answer, or not in time
Away = psycopg.OperationalError

OWNER, APP = "isac_owner", "isac_app"


def conninfo(url: str, role: str | None = APP, schema: str = SCHEMA) -> str:
    """The URL with everything said that libpq would else take from the environment, in a role and a schema."""
    given = conninfo_to_dict(url)
    options = [str(given.get("options") or ""), f"-c search_path={schema}", "-c timezone=UTC"]
    if role:
        options.append(f"-c role={role}")
    if role == APP:
        options.append(_PLANS)
    given["options"] = " ".join(option for option in options if option)
    given.setdefault("port", "5432")
    given.setdefault("application_name", "isac")
    given.setdefault("connect_timeout", "10")
    return make_conninfo("", **given)


async def connect(url: str, role: str | None = APP) -> Connection:
    """One connection outside any pool, in autocommit: transactions are opened by `transaction`."""
    try:
        return await psycopg.AsyncConnection.connect(conninfo(url, role), autocommit=True)
    except psycopg.OperationalError as error:
        raise explained(error) from error


@contextlib.asynccontextmanager
async def pool(url: str, size: int = 10, role: str = APP) -> AsyncIterator[Pool]:
    """Connections of a role, in autocommit, opened and closed with the context."""
    # Most clients give up after 10 seconds; they should be told before that.
    more: dict[str, Any] = {"kwargs": {"autocommit": True}, "timeout": 5}
    await (await connect(url, role)).close()  # says at once, and why, if nobody answers
    async with AsyncConnectionPool(conninfo(url, role), min_size=1, max_size=size, open=False, **more) as opened:
        try:
            await opened.wait(timeout=15)
        except PoolTimeout as error:
            raise Surroundings("The database does not answer.") from error
        yield opened


def create(url: str, name: str) -> str:
    """Make a database on an embedded server where it is missing; answers its URL."""
    try:
        with psycopg.connect(url, autocommit=True) as conn:
            if not conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise explained(error) from error
    return make_conninfo(url, dbname=name)


def explained(error: psycopg.Error) -> Surroundings:
    """What an operator can do about it, in one sentence."""
    words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, psycopg.errors.DiskFull) or "No space left on device" in str(error):
        return Surroundings("The disk is full. Make room where the database keeps its data, then start again.")
    if isinstance(error, psycopg.OperationalError):
        return Surroundings(f"The database does not answer: {words}")
    return Surroundings(f"The database refuses: {words}")


@contextlib.contextmanager
def explaining() -> Iterator[None]:
    """Turn the driver's errors into sentences for whoever runs a command."""
    try:
        yield
    except psycopg.Error as error:
        raise explained(error) from error
