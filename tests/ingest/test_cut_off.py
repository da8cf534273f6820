"""A submission whose server is killed is ended by whoever works next: what was taken is counted, the rest is told."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from tests.conftest import Person, Running, serving
from tests.serve.api_world import SUBMISSIONS, bundle, indicator
from tests.test_jobs import rows, until, worker

from isac import times
from isac.ingest.intake import Submission, take_in
from isac.store import members, submissions
from isac.store.database import Pool

Run = Callable[[Coroutine[Any, Any, Any]], Any]

NUMBER = 20_000


@contextlib.contextmanager
def ended_while_it_takes_in(url: str, person: Person, folder: Path, number: int, answers: list[Any]) -> Any:
    """A real server that gets a signal when it has written something of a submission over the API."""
    environment = os.environ | {"ISAC_DATABASE_URL": url, "ISAC_JOBS": "0"}
    # With so little grace that what is under way is not done when that ends.
    program = "from isac import server; server.GRACE = 0; from isac.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", "--port", "0"]
    content = bundle(*(indicator(f"File {number}", pattern=hashed(number)) for number in range(NUMBER)))
    with (folder / "said").open("w+") as said, subprocess.Popen(command, env=environment, stderr=said) as running:
        try:
            base = until(lambda: address(folder / "said"))
            with httpx2.Client(base_url=base, auth=(person.key_id, person.secret), trust_env=False) as client:

                def hand_in() -> None:
                    with contextlib.suppress(httpx2.HTTPError):
                        answers.append(client.post(SUBMISSIONS, content=content, timeout=60))

                sending = threading.Thread(target=hand_in)
                sending.start()
                until(lambda: rows(url, "SELECT 1 FROM log WHERE type = 'indicator' LIMIT 1"))
                os.kill(running.pid, number)
                running.wait()
                sending.join()
        finally:
            running.kill()
    yield


def hashed(number: int) -> str:
    return f"[file:hashes.'SHA-256' = '{hashlib.sha256(b'%d' % number).hexdigest()}']"


def address(said: Path) -> str:
    lines = [line for line in said.read_text(encoding="utf-8").splitlines() if line.startswith("Serving on ")]
    return f"http://{lines[0].removeprefix('Serving on ')}" if lines else ""


def test_what_a_killed_server_took_is_counted_and_the_rest_is_told(
    database_url: str, people: dict[str, Person], tmp_path: Path
) -> None:
    clerk = people["franklin_submitter"]
    with ended_while_it_takes_in(database_url, clerk, tmp_path, signal.SIGKILL, []):
        ((public_id, accepted, completed),) = rows(
            database_url, f"SELECT id::text, accepted, completed_at FROM submissions WHERE actor = '{clerk.key_id}'"
        )
    assert completed is None
    assert 0 < accepted < NUMBER
    with worker(database_url, tmp_path):
        # Its writer was heard of just now, so it might only be slow.
        rows(database_url, "UPDATE submissions SET alive_at = alive_at - interval '1 hour'")
        until(
            lambda: rows(
                database_url, f"SELECT 1 FROM submissions WHERE id = '{public_id}' AND completed_at > '-infinity'"
            )
        )
    with serving(database_url) as server:
        taxii, told = asked(server, clerk, public_id)

    assert (taxii["status"], taxii["success_count"], taxii["failure_count"]) == ("complete", accepted, 1)
    assert taxii["total_count"] == accepted + 1
    assert "Send all of it again" in taxii["failures"][0]["message"]
    assert (told["state"], told["counts"]["accepted"]) == ("complete", accepted)
    assert ["Send all of it again" in line["reason"] for line in told["failures"]] == [True]
    assert told["unlisted"] == ["successes"]


def test_a_server_that_is_stopped_meanwhile_says_so_in_one_line(
    database_url: str, people: dict[str, Person], tmp_path: Path
) -> None:
    answers: list[httpx2.Response] = []
    with ended_while_it_takes_in(database_url, people["franklin_submitter"], tmp_path, signal.SIGINT, answers):
        said = (tmp_path / "said").read_text(encoding="utf-8")
    ((status, detail),) = ((answer.status_code, answer.json()["detail"]) for answer in answers)
    assert status == 503
    assert detail.startswith("The server is being stopped. Send it once more")
    assert "raceback" not in said, said
    assert said.count("is being stopped") == 1


def asked(server: Running, person: Person, public_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The status over TAXII, and the submission over the API."""
    with httpx2.Client(base_url=server.base, auth=(person.key_id, person.secret), trust_env=False) as client:
        taxii = client.get(
            f"{server.root}status/{public_id}/", headers={"Accept": "application/taxii+json;version=2.1"}
        )
        told = client.get(f"{SUBMISSIONS}/{public_id}")
        assert (taxii.status_code, told.status_code) == (200, 200)
        return dict(taxii.json()), dict(told.json())


@pytest.mark.parametrize("refused", [0, 2])
def test_the_list_of_failures_is_whole_though_reasons_are_lost(
    pool: Pool, run: Run, people: dict[str, Person], refused: int
) -> None:
    async def go() -> submissions.Status:
        async with pool.connection() as conn:
            asking = await members.keyholder(conn, people["franklin_submitter"].key_id)
            now = times.now()
            pk, public_id = await submissions.begin(conn, asking, asking.own, "a test", now)
            await submissions.count(conn, pk, submissions.Counts(accepted=3, refused=refused))
            assert await submissions.end_cut_off(conn, now) == []
            assert await submissions.end_cut_off(conn, now + submissions._SILENCE * 2) == [public_id]
            assert await submissions.end_cut_off(conn, now + submissions._SILENCE * 4) == []
            return await submissions.status(conn, public_id, asking)

    status = run(go())
    assert (status.complete, status.total, status.success, status.failure) == (True, 4 + refused, 3, refused + 1)
    assert len(status.failures) == refused + 1
    assert "Send all of it again" in status.failures[-1]["message"]


def test_whoever_takes_in_says_so_and_what_was_thought_dead_ends_as_it_is(
    pool: Pool, run: Run, database_url: str, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine stood still for hours: the submission was ended, and then it went on."""
    monkeypatch.setattr(submissions, "_BEAT", 0.001)
    pieces = [piece(number) for number in range(10_000)]
    ended: list[str] = []

    async def go() -> submissions.Status:
        async with pool.connection() as conn:
            asking = await members.keyholder(conn, people["franklin_submitter"].key_id)
            shelf = await members.shelf(conn, "us-oh-39901")
            later = times.now() + submissions._SILENCE * 60

            def progress(_: int) -> None:
                with psycopg.connect(database_url, options="-c search_path=elections") as other:
                    rows_ = other.execute("SELECT alive_at FROM submissions WHERE completed_at IS NULL")
                    seen.extend(at for (at,) in rows_.fetchall())

            seen: list[datetime] = []
            outcome = await take_in(
                pool, Submission(pieces, shelf.own, "a test", sample=True), asking, progress=progress
            )
            assert seen[-1] > seen[0], "nothing was heard of it"
            await conn.execute("UPDATE submissions SET completed_at = NULL WHERE id = %s", (outcome.id,))
            ended.extend(await submissions.end_cut_off(conn, later))
            ((pk,),) = await (await conn.execute("SELECT pk FROM submissions WHERE id = %s", (outcome.id,))).fetchall()
            assert (await submissions.status(conn, outcome.id, asking)).failure == 1
            await submissions.complete(conn, pk, {}, times.now())
            return await submissions.status(conn, outcome.id, asking)

    status = run(go())
    assert (status.success, status.failure, status.complete) == (10_000, 0, True)
    assert ended == [status.id]


def test_what_was_looked_over_for_minutes_is_not_born_silent(pool: Pool, run: Run, people: dict[str, Person]) -> None:
    async def go() -> list[str]:
        async with pool.connection() as conn:
            asking = await members.keyholder(conn, people["franklin_submitter"].key_id)
            came = times.now() - submissions._SILENCE * 3
            await submissions.begin(conn, asking, asking.own, "a test", came)
            return await submissions.end_cut_off(conn, times.now())

    assert run(go()) == []


def test_whoever_cannot_say_that_it_lives_tells_the_log_and_tries_again(
    pool: Pool, run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(submissions, "_BEAT", 0.001)
    rows(database_url, "REVOKE UPDATE ON submissions FROM isac_app")

    async def go() -> None:
        async with submissions.alive(pool, 1), asyncio.timeout(20):
            while len(caplog.records) < 2:
                await asyncio.sleep(0)

    run(go())
    assert {record.message for record in caplog.records} == {"a submission under way cannot say so"}


def piece(number: int) -> bytes:
    return json.dumps(indicator(f"host-{number}.example")).encode()
