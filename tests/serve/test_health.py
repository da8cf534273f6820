"""Does it live, can it serve, how does it stand: for load balancers without a key, and for Prometheus with one."""

from pathlib import Path

import httpx2
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import Person, Running, serving

from isac.store import database


def test_a_balancer_needs_no_key(server: Running) -> None:
    for path, words in (("/healthz", "ok\n"), ("/readyz", "ready\n")):
        got = httpx2.get(server.base + path)
        assert (got.status_code, got.text) == (200, words)


def test_it_is_not_ready_without_its_database(database_url: str) -> None:
    with serving(database_url) as server:
        name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
        with psycopg.connect(database_url, dbname="postgres", autocommit=True) as conn:
            conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            try:
                got = httpx2.get(server.base + "/readyz", timeout=20)
                assert (got.status_code, got.text) == (503, "The database does not answer.\n")
                assert httpx2.get(server.base + "/healthz").status_code == 200
            finally:
                conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


def numbers(server: Running, who: Person) -> dict[tuple[str, tuple[str, ...]], float]:
    got = httpx2.get(server.base + "/metrics", headers={"Authorization": f"Bearer {who.secret}"})
    assert got.status_code == 200
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(got.text)
        for sample in family.samples
    }


@pytest.mark.parametrize("person", ["franklin", "ohio_admin", "isac_analyst", None])
def test_numbers_are_for_the_isac_alone(server: Running, people: dict[str, Person], person: str | None) -> None:
    headers = {"Authorization": f"Bearer {people[person].secret}"} if person else {}
    got = httpx2.get(server.base + "/metrics", headers=headers)
    assert got.status_code == (404 if person else 401)
    assert b"isac_" not in got.content


def test_numbers_tell_of_the_log_and_the_feeds(database_url: str, people: dict[str, Person], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        'name = "a-list"\npath = "x"\nformat = "text"\nevery = "1h"\nlicense = "CC0"\n', encoding="utf-8"
    )
    (tmp_path / "b.toml").write_text('nmae = "b-list"\n', encoding="utf-8")
    with psycopg.connect(database_url, autocommit=True, options=f"-c search_path={database.SCHEMA}") as conn:
        conn.execute(
            """INSERT INTO feed_runs (feed, started_at, ended_at, outcome, problem, listed)
               VALUES ('a-list', now(), now(), 'taken', '', 7), ('a-list', now(), now(), 'failed', 'It broke.', NULL)"""
        )
        entries = conn.execute("SELECT seq FROM head").fetchone()
    with serving(database_url, feeds=tmp_path) as server:
        found = numbers(server, people["isac_steward"])
    assert entries
    assert found["isac_log_entries", ()] == entries[0]
    assert found["isac_feed_alarm", ("a-list", "failing")] == 1
    assert found["isac_feed_entries", ("a-list",)] == 7
    assert found["isac_feed_last_good_timestamp_seconds", ("a-list",)] > 1_700_000_000
    assert found["isac_feed_definitions_broken", ()] == 1
    assert found["process_resident_memory_bytes", ()] > 1_000_000
