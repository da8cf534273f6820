"""What is measured in PostgreSQL itself: a raw COPY of the same rows, and the buffers that a page reads."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString, TypeAlias

import orjson
import psycopg

from isac.store import database, objects

#: (key, STIX id, date_added, bytes)
Row = tuple[int, str, datetime, bytes]
Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_SINCE = datetime(2020, 1, 1, tzinfo=UTC)
#: rows that one INSERT … SELECT makes, and log rows that it takes as its pattern
_STRIDE, _PATTERN = 50_000, 1000
#: their `seq` is so far below the log's own
_BELOW = 1 << 40
_DATABASE = "bench_copy"
_PLAIN: LiteralString = """
    CREATE TABLE plain (
      pk bigint PRIMARY KEY, stix_id text NOT NULL, date_added timestamptz NOT NULL, raw bytea NOT NULL);
    ALTER TABLE plain ALTER raw SET STORAGE EXTERNAL;
    CREATE UNIQUE INDEX ON plain (stix_id);
    CREATE INDEX ON plain (date_added)"""


def rows(members: Sequence[bytes]) -> list[Row]:
    """The objects as rows of the plain table."""
    return [
        (number, orjson.loads(raw)["id"], _SINCE + timedelta(milliseconds=number), raw)
        for number, raw in enumerate(members)
    ]


@contextmanager
def own_database(url: str) -> Iterator[Connection]:
    """A connection to a database of our own on the same server, dropped afterwards."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {_DATABASE}")
        try:
            with psycopg.connect(url, dbname=_DATABASE, autocommit=True) as own:
                yield own
        finally:
            conn.execute(f"DROP DATABASE {_DATABASE} WITH (FORCE)")


def copy(conn: Connection, prebuilt: Sequence[Row]) -> float:
    """Seconds that one binary COPY into an empty, indexed table takes, commit included."""
    conn.execute("DROP TABLE IF EXISTS plain")
    conn.execute(_PLAIN)
    began = time.perf_counter()
    with (
        conn.transaction(),
        conn.cursor() as cursor,
        cursor.copy("COPY plain (pk, stix_id, date_added, raw) FROM STDIN (FORMAT BINARY)") as copying,
    ):
        copying.set_types(["int8", "text", "timestamptz", "bytea"])
        for row in prebuilt:
            copying.write_row(row)
    return time.perf_counter() - began


class Shelf:
    """The collection `public`, which nobody writes to in the sandbox, filled by multiplying rows of the log.

    As superuser and past release_batch(): only for counting what a page reads. Keys are negative and dates old, so that
    no row of the server's own is in the way.
    """

    def __init__(self, url: str, source: str) -> None:
        self._conn = psycopg.connect(url, autocommit=True, options="-c search_path=elections -c timezone=UTC")
        self._reader = psycopg.connect(database.conninfo(url), autocommit=True)  # as the server reads
        self._conn.execute("SET synchronous_commit = off")
        self._conn.execute("SET work_mem = '256MB'")
        # Apart from the log, for whoever reads that reads it all while it has no statistics: ever slower as it grows.
        self._pattern = self._conn.execute(
            """CREATE TEMP TABLE pattern AS
               SELECT row_number() OVER () - 1 AS k, log.* FROM log
                WHERE audience = (SELECT own FROM collections WHERE id = %s) LIMIT %s""",
            (source, _PATTERN),
        ).rowcount
        self._have = 0
        found = self._conn.execute("SELECT audiences FROM collections WHERE alias = 'public'").fetchone()
        assert found
        self._audiences: list[int] = found[0]

    def fill(self, count: int) -> None:
        """Make it hold so many objects; dates rise with the place in the table, as they do when objects come in."""
        for begin in range(self._have, count, _STRIDE):
            self._conn.execute(
                """INSERT INTO log (seq, date_added, object, version, modified, audience, tlp, type, version_text, raw)
                   SELECT n - %(below)s, %(since)s::timestamptz + n * interval '1 millisecond',
                          object, version, modified, %(audience)s, tlp, type, version_text, raw
                     FROM generate_series(%(begin)s::bigint, %(end)s::bigint) AS n JOIN pattern ON k = n %% %(pattern)s
                    ORDER BY n""",
                {
                    "below": _BELOW,
                    "since": _SINCE,
                    "begin": begin,
                    "end": min(begin + _STRIDE, count) - 1,
                    "audience": self._audiences[-1],
                    "pattern": self._pattern,
                },
            )
        self._have = count
        self._conn.execute("ANALYZE log")

    def buffers(self, limit: int) -> list[int]:
        """Buffers of a page: the first, one in the middle, the last full one."""
        places = [_SINCE + timedelta(milliseconds=start) for start in (-1, self._have // 2, self._have - limit - 2)]
        return [page_buffers(self._reader, self._audiences, place, limit) for place in places]

    @property
    def middle(self) -> datetime:
        """An instant with as many objects before as behind it."""
        return _SINCE + timedelta(milliseconds=self._have // 2)

    def close(self) -> None:
        self._conn.close()


def page_buffers(conn: Connection, audiences: Sequence[int], after: datetime, limit: int) -> int:
    """Buffers that the server's own statement reads for the page after that instant."""
    text = objects._statement(objects._SMALL, len(audiences), objects._walked(None), False, "live")
    values: dict[str, object] = {f"a{n}": audience for n, audience in enumerate(audiences)}
    values |= {"after": after, "limit": limit + 1, "small": objects.MAX_BYTES // limit}
    told = conn.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}".encode(), values).fetchone()
    assert told
    plan = told[0][0]["Plan"]
    if plan["Actual Rows"] != limit + 1:
        raise RuntimeError(f"a page of {plan['Actual Rows']} rows instead of {limit + 1}")
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def walk(url: str, collection: str, limit: int) -> tuple[int, float]:
    """Rows of a collection, and the seconds that it takes to read them by the server's own statement of a page."""
    with psycopg.connect(database.conninfo(url), autocommit=True) as conn:
        audiences = _audiences_of(conn, collection)
        text = objects._statement(objects._SMALL, len(audiences), objects._walked(None), False, "live").encode()
        values: dict[str, object] = {f"a{n}": audience for n, audience in enumerate(audiences)}
        values |= {"after": _SINCE, "limit": limit + 1, "small": objects.MAX_BYTES // limit}
        found = 0
        began = time.perf_counter()
        with conn.cursor(binary=True) as cursor:
            while (result := cursor.execute(text, values).pgresult) and result.ntuples:
                objects_read = [result.get_value(row, 1) for row in range(min(limit, result.ntuples))]
                found += len(objects_read)
                cursor.scroll(len(objects_read) - 1, mode="absolute")
                last = cursor.fetchone()
                assert last
                values["after"] = last[0]
        return found, time.perf_counter() - began


def copy_out(url: str, collection: str) -> tuple[int, float]:
    """The same rows' bytes by one binary COPY along the same index, and its seconds."""
    with psycopg.connect(database.conninfo(url), autocommit=True) as conn:
        (audience,) = _audiences_of(conn, collection)
        rows = "SELECT raw FROM log WHERE audience = %s AND ended_seq IS NULL ORDER BY date_added"
        began = time.perf_counter()
        with conn.cursor() as cursor:
            with cursor.copy(f"COPY ({rows}) TO STDOUT (FORMAT binary)".encode(), (audience,)) as copying:
                for _ in copying:
                    pass
            return cursor.rowcount, time.perf_counter() - began


def _audiences_of(conn: Connection, collection: str) -> list[int]:
    found = conn.execute("SELECT audiences FROM collections WHERE id::text = %s", (collection,)).fetchone()
    assert found
    return list(found[0])


@contextmanager
def statements(url: str) -> Iterator[Callable[[], int]]:
    """Have the server log each statement while the context lasts; answers how many SELECTs clients' requests made.

    What a worker asks by itself, the log's position, is not counted.
    """
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute("SHOW data_directory").fetchone()
        assert row
        log = Path(row[0]).parent / "postgres.log"
        conn.execute("ALTER SYSTEM SET log_statement = 'all'")
        conn.execute("SELECT pg_reload_conf()")
        time.sleep(0.5)
        begin = log.stat().st_size

        def count() -> int:
            with log.open("rb") as opened:
                opened.seek(begin)
                told = opened.read()
            found = re.findall(rb"LOG:  (?:execute [^:]*|statement): *\n?[\s(]*(\w+ [^\n]*)", told)
            return sum(line.startswith(b"SELECT") and b"log_position" not in line for line in found)

        try:
            yield count
        finally:
            conn.execute("ALTER SYSTEM RESET log_statement")
            conn.execute("SELECT pg_reload_conf()")


def first_page_buffers(url: str, collection: str, limit: int) -> int:
    """The same for the first page of a collection as it stands, be PostgreSQL's statistics of it old or new."""
    with psycopg.connect(database.conninfo(url), autocommit=True) as conn:
        found = conn.execute("SELECT audiences FROM collections WHERE id = %s", (collection,)).fetchone()
        assert found
        return page_buffers(conn, found[0], _SINCE, limit)
