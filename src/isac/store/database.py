"""Connections: pools, transactions, roles, migrations.

Two roles: isac_owner migrates, isac_app serves. Whoever `ISAC_DATABASE_URL` names must be a member of both to migrate,
of isac_app to serve; every connection takes its role and the API root's schema at start-up, whatever the environment
says.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from isac.errors import Surroundings
from isac.package_data import package_data
from isac.store import tables

# Every read walks an index in its order and stops at its limit. Right after a load PostgreSQL has no statistics yet
# and would rather read and sort a whole collection for each page: 14,392 buffers instead of 149.
_PLANS = "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off"

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]
Pool: TypeAlias = AsyncConnectionPool[Connection]

#: what is raised where the database does not answer, or not in time
Away = psycopg.OperationalError

OWNER, APP = "isac_owner", "isac_app"


def conninfo(url: str, role: str | None = APP) -> str:
    """The URL with everything said that libpq would else take from the environment, in a role and the root's schema."""
    given = conninfo_to_dict(url)
    options = [str(given.get("options") or ""), f"-c search_path={tables.SCHEMA}", "-c timezone=UTC"]
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
async def pool(url: str, size: int = 10) -> AsyncIterator[Pool]:
    """Connections of the role isac_app, in autocommit, opened and closed with the context."""
    kwargs = {"autocommit": True}
    await (await connect(url)).close()  # says at once, and why, if nobody answers
    async with AsyncConnectionPool(conninfo(url), min_size=1, max_size=size, kwargs=kwargs, open=False) as opened:
        try:
            await opened.wait(timeout=15)
        except PoolTimeout as error:
            raise Surroundings("The database does not answer.") from error
        yield opened


def migrate(url: str) -> None:
    """Make the two roles and the root's schema where they are missing, and bring the schema to the newest migration.

    Raises Surroundings where the login may not do that.
    """
    try:
        with psycopg.connect(conninfo(url, role=None), autocommit=True) as conn:
            _prepare(conn)
        engine = _engine(url)
        try:
            with engine.begin() as connection:
                command.upgrade(_alembic(connection), "head")
        finally:
            engine.dispose()
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
        raise Surroundings(f"The database cannot be migrated: {str(error).strip().splitlines()[0]}") from error


def require_migrated(url: str) -> None:
    """Raise Surroundings unless the schema is at the newest migration of this program."""
    newest = ScriptDirectory.from_config(_alembic(None)).get_current_head()
    try:
        with psycopg.connect(conninfo(url), autocommit=True) as conn:
            there = conn.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable:
        there = None
    except psycopg.Error as error:
        raise explained(error) from error
    if there is None or there[0] != newest:
        raise Surroundings("The database's tables are not those of this program's version. Run: isac migrate")


def _prepare(conn: psycopg.Connection[tuple[Any, ...]]) -> None:
    for role in (OWNER, APP):
        if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
            # Two first starts on one cluster may race: the loser finds the role made.
            with contextlib.suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN NOSUPERUSER NOBYPASSRLS").format(sql.Identifier(role)))
                conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))
    schema = sql.Identifier(tables.SCHEMA)
    if not conn.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (tables.SCHEMA,)).fetchone():
        conn.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, sql.Identifier(OWNER)))
        conn.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, sql.Identifier(APP)))


def _engine(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo(url, OWNER)), poolclass=sqlalchemy.NullPool
    )


def _alembic(connection: sqlalchemy.Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(package_data("alembic")).replace("%", "%%"))
    config.attributes.update(connection=connection, schema=tables.SCHEMA, metadata=tables.metadata)
    return config


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
