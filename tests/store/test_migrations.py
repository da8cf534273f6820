"""The migrations: one head, the tables of `tables.py`, rights that leave the log to release_batch; on 18 and on 16."""

import itertools
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import sqlalchemy
import uvloop
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from tests.conftest import ROSTER, Person, copied
from tests.test_jobs import until

from isac.ingest.foundation import found
from isac.ingest.intake import Submission, take_in
from isac.package_data import package_data
from isac.stix.markings import TLP
from isac.store import database, embedded, members, migrations, tables
from isac.store.objects import Query, page

_numbers = itertools.count()


@pytest.fixture
def empty(postgres: str) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"empty_{next(_numbers)}"
    yield database.create(postgres, name)
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def guarded(postgres: str, template: dict[str, Person]) -> Iterator[str]:
    """One copy of the template for all that is refused."""
    assert template
    with copied(postgres) as url:
        yield url


def engine(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database.conninfo(url, database.OWNER)),
        poolclass=sqlalchemy.NullPool,
    )


def rows(url: str, query: str, role: str | None = database.OWNER) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.conninfo(url, role), autocommit=True) as conn:
        return conn.execute(query.encode()).fetchall()


COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
       pg_get_expr(d.adbin, d.adrelid), k.collname
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_collation k ON k.oid = a.attcollation
  LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
 WHERE c.relnamespace = 'elections'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
   AND c.relname <> 'alembic_version' ORDER BY 1, 2
"""
INDEXES = """
SELECT tablename, indexdef FROM pg_indexes
 WHERE schemaname = 'elections' AND tablename <> 'alembic_version' ORDER BY 1, 2
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, contype, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE connamespace = 'elections'::regnamespace AND contype IN ('p', 'u', 'f') AND conrelid <> 0
   AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2, 3
"""


# ---------------------------------------------------------------------------------------------------------- migrating


def test_there_is_one_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(package_data("alembic")))
    scripts = ScriptDirectory.from_config(config)

    assert len(scripts.get_heads()) == 1
    assert len(scripts.get_bases()) == 1


def test_an_empty_database_is_brought_to_the_head(empty: str) -> None:
    migrations.migrate(empty)

    migrations.require_migrated(empty)
    there = {name for (name,) in rows(empty, "SELECT tablename FROM pg_tables WHERE schemaname = 'elections'")}
    assert there == {*tables.metadata.tables, "alembic_version"}
    assert rows(empty, "SELECT seq FROM head") == [(0,)]
    assert [len(key) for (key,) in rows(empty, "SELECT token_key FROM root")] == [32]


def test_migrating_twice_changes_nothing(empty: str) -> None:
    catalog = (
        "SELECT relname, oid, relfilenode, relacl::text FROM pg_class WHERE relnamespace = 'elections'::regnamespace"
    )
    facts = "SELECT h.*, r.*, v.* FROM head h, root r, alembic_version v"
    migrations.migrate(empty)
    before = rows(empty, catalog), rows(empty, facts)
    migrations.migrate(empty)

    assert (rows(empty, catalog), rows(empty, facts)) == before


def test_alembic_finds_no_difference_between_the_tables_as_data_and_the_migrated_ones(empty: str) -> None:
    migrations.migrate(empty)
    made = engine(empty)
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _: not (kind == "table" and name == "alembic_version"),
    }
    with made.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, tables.metadata)
    made.dispose()

    assert differences == []


@pytest.mark.parametrize("question", [COLUMNS, INDEXES, CONSTRAINTS], ids=["columns", "indexes", "constraints"])
def test_tables_made_from_the_data_are_the_migrated_ones(question: str, empty: str, postgres: str) -> None:
    """The catalog tells what alembic does not compare: predicates of indexes, collations, identities."""
    migrations.migrate(empty)
    name = f"made_{next(_numbers)}"
    url = database.create(postgres, name)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE SCHEMA elections AUTHORIZATION isac_owner")
    made = engine(url)
    tables.metadata.create_all(made)
    made.dispose()
    migrated, data = rows(empty, question), rows(url, question)
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    assert len(data) > 10
    assert migrated == data


# ------------------------------------------------------------------------------------------------------------- rights


FORBIDDEN = [
    "INSERT INTO log SELECT * FROM log",
    "INSERT INTO log (seq, date_added, object, version, modified, audience, tlp, type, version_text, raw) "
    "VALUES (9, now(), 1, 1, 1, 1, 0, 'note', '', '')",
    "UPDATE log SET ended_seq = 1",
    "UPDATE log SET raw = ''",
    "DELETE FROM log",
    "TRUNCATE log",
    "INSERT INTO head (single, seq, date_added, timeline) VALUES (false, 0, now(), 1)",
    "UPDATE head SET seq = 0",
    "DELETE FROM head",
    "TRUNCATE head",
    "UPDATE versions SET raw = ''",
    "UPDATE versions SET modified = 0",
    "UPDATE versions SET tlp = 0",
    "UPDATE versions SET first_added = now()",
    "DELETE FROM versions",
    "DELETE FROM objects",
    "INSERT INTO erased (object, digests, at) VALUES (1, '{}', now())",
    "UPDATE erased SET object = 0",
    "DELETE FROM erased",
    "UPDATE held SET raw = ''",
    "DELETE FROM audit",
    "UPDATE audit SET actor = 'somebody else'",
    "UPDATE audiences SET above = '{}'",
    "UPDATE collections SET audiences = '{1}'",
    "UPDATE keys SET role = 'steward'",
    "UPDATE keys SET secret_hash = ''",
    "UPDATE root SET token_key = ''",
    "INSERT INTO root (single, token_key) VALUES (false, '')",
    "ALTER TABLE log DISABLE TRIGGER ALL",
    "DROP TABLE log",
    "CREATE TABLE another (a int)",
    "CREATE OR REPLACE FUNCTION release_batch() RETURNS void LANGUAGE sql AS 'SELECT'",
    "UPDATE alembic_version SET version_num = 'x'",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_application_may_not(statement: str, guarded: str) -> None:
    with (
        psycopg.connect(database.conninfo(guarded), autocommit=True) as conn,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        conn.execute(statement.encode())


def test_the_application_has_no_right_to_write_the_log_not_even_in_a_column(database_url: str) -> None:
    rights = rows(
        database_url,
        """SELECT t, right_, has_any_column_privilege('isac_app', t, right_) FROM unnest(ARRAY['log', 'head']) AS t,
                  unnest(ARRAY['INSERT', 'UPDATE', 'REFERENCES']) AS right_
           UNION ALL
           SELECT t, right_, has_table_privilege('isac_app', t, right_) FROM unnest(ARRAY['log', 'head']) AS t,
                  unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) AS right_""",
    )

    assert len(rights) == 12
    assert [row for row in rights if row[2]] == []


def test_two_functions_run_with_the_owners_rights_and_only_one_can_be_called(database_url: str) -> None:
    found_there = rows(
        database_url,
        """SELECT proname, has_function_privilege('isac_app', oid, 'EXECUTE'),
                  coalesce((SELECT bool_or(grantee = 0) FROM aclexplode(proacl)), true), proconfig
           FROM pg_proc WHERE prosecdef AND pronamespace NOT IN ('pg_catalog'::regnamespace) ORDER BY proname""",
    )

    assert [row[:3] for row in found_there] == [("release_batch", True, False), ("roster_changed", False, False)]
    assert all(any(setting.startswith("search_path=") for setting in row[3]) for row in found_there)


def test_the_application_writes_the_log_through_release_batch(database_url: str) -> None:
    with psycopg.connect(database.conninfo(database_url), autocommit=True) as conn:
        (before,) = conn.execute("SELECT seq FROM head").fetchone() or (None,)
        conn.execute(
            """SELECT release_batch('{}', '{}', ARRAY[(SELECT min(pk) FROM versions)],
                                    ARRAY[(SELECT pk FROM audiences WHERE code = 'us')], '{false}')"""
        )
        written = conn.execute("SELECT count(*) FROM log WHERE seq > %s", (before,)).fetchone()

    assert written == (1,)


def test_another_schema_that_the_application_puts_first_does_not_lead_release_batch_astray(database_url: str) -> None:
    """SECURITY DEFINER: a table `head` of somebody else's, even a temporary one, must not be the one that it reads."""
    with psycopg.connect(database.conninfo(database_url), autocommit=True) as conn:
        conn.execute("CREATE TEMPORARY TABLE head (LIKE elections.head)")
        conn.execute("CREATE TEMPORARY TABLE log (LIKE elections.log)")
        conn.execute("INSERT INTO pg_temp.head SELECT * FROM elections.head")
        conn.execute("GRANT ALL ON pg_temp.head, pg_temp.log TO PUBLIC")
        (before,) = conn.execute("SELECT seq FROM elections.head").fetchone() or (None,)
        conn.execute(
            """SELECT elections.release_batch('{}', '{}', ARRAY[(SELECT min(pk) FROM versions)],
                                              ARRAY[(SELECT pk FROM audiences WHERE code = 'us')], '{false}')"""
        )
        after = conn.execute("SELECT seq FROM elections.head").fetchone()
        astray = conn.execute("SELECT count(*) FROM pg_temp.log").fetchone()

    assert astray == (0,)
    assert after == (before + 1,)


# ---------------------------------------------------------------------------------------------------- beside the work


@pytest.mark.parametrize(
    "file", sorted((package_data("alembic") / "versions").glob("*.py")), ids=lambda file: file.stem
)
def test_no_migration_keeps_others_waiting_for_long(file: Path) -> None:
    for limit in ("SET LOCAL lock_timeout = '4s';", "SET LOCAL statement_timeout = '5s';"):
        assert limit in file.read_text(encoding="utf-8")


def test_polls_are_recorded_while_their_index_is_built(empty: str) -> None:
    """What cannot be recorded is not given out, so nobody would be served meanwhile."""
    with psycopg.connect(database.conninfo(empty, role=None), autocommit=True) as conn:
        migrations._prepare(conn)
    with engine(empty).begin() as connection:
        command.upgrade(migrations._alembic(connection), "2026_11_25_cut_off")
    insert = "INSERT INTO polls VALUES (now(), 1, 0, 1, NULL, now(), now(), 1)"
    owner = database.conninfo(empty, database.OWNER)
    with ThreadPoolExecutor(1) as beside, psycopg.connect(owner, autocommit=True) as watching:
        with psycopg.connect(owner) as writing:
            writing.execute(insert)
            migrating = beside.submit(migrations.migrate, empty)
            until(
                lambda: watching.execute(
                    "SELECT 1 FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
                ).fetchone()
            )
            watching.execute("SET lock_timeout = '2s'")
            watching.execute(insert)
        migrating.result(60)
        assert watching.execute("SELECT count(*) FROM polls").fetchone() == (2,)
    migrations.require_migrated(empty)


# ------------------------------------------------------------------------------------------------------- both versions


@pytest.mark.parametrize("major", [16, 18])
def test_it_migrates_and_takes_in_on_postgresql(major: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("major") / "home"
    try:
        server = embedded.start(home, {"fsync": "off", "shared_buffers": "16MB"}, major)
        url = database.create(server.conninfo, "isac")
        migrations.migrate(url)
        version, shown = uvloop.run(take_one_in(url))
    finally:
        embedded.destroy(home)

    assert version // 10000 == major
    assert shown == 1


async def take_one_in(url: str) -> tuple[int, int]:
    """The server's version, and how often one released indicator stands in a county's collection."""
    body = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{uuid.uuid4()}",
        "created": "2024-01-01T00:00:00.000Z",
        "modified": "2024-01-01T00:00:00.000Z",
        "pattern": "[ipv4-addr:value = '192.0.2.1']",
        "pattern_type": "stix",
        "valid_from": "2024-01-01T00:00:00Z",
    }
    raw = orjson.dumps(body)
    async with database.pool(url, size=2) as pool:
        await found(pool, ROSTER)
        async with pool.connection() as conn:
            asking = await members.steward(conn)
            nation, local = await members.shelf(conn, "us"), await members.shelf(conn, "us-oh-39901")
        outcome = await take_in(pool, Submission([raw], nation.own, "test", TLP.GREEN, sample=True), asking)
        assert outcome.counts.accepted == 1, outcome
        async with pool.connection() as conn:
            shown = await page(conn, local, Query(limit=100))
            return conn.info.server_version, shown.objects.count(raw)
