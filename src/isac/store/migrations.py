"""Migrations: the roles, the API root's schema, and its tables at this program's version (Alembic).

A module of its own, since Alembic and SQLAlchemy take longer to load than most commands take to run.
"""

import contextlib
from typing import Any

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql

from isac.errors import Surroundings
from isac.package_data import package_data
from isac.store import tables
from isac.store.database import APP, OWNER, SCHEMA, conninfo, explained


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
    schema = sql.Identifier(SCHEMA)
    if not conn.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,)).fetchone():
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
