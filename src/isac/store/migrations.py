"""Migrations: the roles, the API root's schema, and its tables at this program's version (Alembic).

A module of its own, since Alembic and SQLAlchemy take longer to load than most commands take to run.
"""

import contextlib
import importlib.metadata
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from procrastinate.schema import SchemaManager
from psycopg import sql

from isac.errors import Surroundings
from isac.package_data import package_data
from isac.store import tables
from isac.store.database import APP, JOBS, OWNER, SCHEMA, conninfo, explained


def migrate(url: str) -> None:
    """Make the two roles and the root's schema where they are missing, and bring the schema to the newest migration.

    Raises Surroundings where the login may not do that.
    """
    try:
        with psycopg.connect(conninfo(url, role=None), autocommit=True) as conn:
            _prepare(conn)
        engine = _engine(url)
        try:
            # Each migration has a transaction of its own, so one that goes on beside the work keeps no lock of others.
            with engine.connect() as connection:
                command.upgrade(_alembic(connection), "head")
        finally:
            engine.dispose()
        with psycopg.connect(conninfo(url, OWNER, JOBS)) as conn:
            _lay_jobs(conn)
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
        raise Surroundings(f"The database cannot be migrated: {str(error).strip().splitlines()[0]}") from error


def require_migrated(url: str) -> None:
    """Raise Surroundings unless the schema is at this program's newest migration, and the jobs' tables are there."""
    newest = ScriptDirectory.from_config(_alembic(None)).get_current_head()
    try:
        with psycopg.connect(conninfo(url), autocommit=True) as conn:
            there = conn.execute("SELECT version_num FROM alembic_version").fetchone()
            jobs = _laid(conn)
    except psycopg.errors.UndefinedTable:
        there = jobs = None
    except psycopg.Error as error:
        raise explained(error) from error
    if there is None or there[0] != newest or jobs is None or _numbers(jobs) < _numbers(_library()):
        raise Surroundings("The database's tables are not those of this program's version. Run: isac migrate")


def _lay_jobs(conn: psycopg.Connection[tuple[Any, ...]]) -> None:
    """The job library's own tables, which it brings along, at its version; that stands in the schema's comment."""
    conn.execute("SELECT pg_advisory_xact_lock(%s::regnamespace::oid::bigint)", (JOBS,))
    there, newest = _laid(conn), _library()
    if there is not None and _numbers(there) >= _numbers(newest):
        return  # also where a newer program was here; what it laid is there already, whatever we write
    if there is None:
        conn.execute(SchemaManager.get_schema())
    else:
        for file in sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql")):
            if _numbers(there) < _numbers(file.name.partition("_")[0]) <= _numbers(newest):
                conn.execute(file.read_bytes())
    schema, app = sql.Identifier(JOBS), sql.Identifier(APP)
    for kind in ("TABLES", "SEQUENCES"):
        conn.execute(sql.SQL("GRANT ALL ON ALL {} IN SCHEMA {} TO {}").format(sql.SQL(kind), schema, app))
    conn.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, newest))


def _laid(conn: psycopg.Connection[tuple[Any, ...]]) -> str | None:
    """The version of the job library's tables; None where there are none."""
    said = conn.execute("SELECT obj_description(to_regnamespace(%s), 'pg_namespace')", (JOBS,)).fetchone()
    return str(said[0]) if said and said[0] is not None else None


def _library() -> str:
    return importlib.metadata.version("procrastinate")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _prepare(conn: psycopg.Connection[tuple[Any, ...]]) -> None:
    for role in (OWNER, APP):
        if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
            # Two first starts on one cluster may race: the loser finds the role made.
            with contextlib.suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN NOSUPERUSER NOBYPASSRLS").format(sql.Identifier(role)))
                conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))
    for name in (SCHEMA, JOBS):
        schema = sql.Identifier(name)
        if not conn.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (name,)).fetchone():
            conn.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, sql.Identifier(OWNER)))
            conn.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, sql.Identifier(APP)))


def _engine(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo(url, OWNER)), poolclass=sqlalchemy.NullPool
    )


def _alembic(connection: sqlalchemy.Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(package_data("alembic")).replace("%", "%%"))
    config.attributes.update(connection=connection, schema=SCHEMA, metadata=tables.metadata)
    return config
