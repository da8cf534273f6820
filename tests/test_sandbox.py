"""`isac sandbox`: four empty collections for whoever tests a TAXII client, and nothing left of it afterwards."""

import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.conftest import living_in

pytestmark = pytest.mark.slow

ISAC = Path(sys.executable).with_name("isac")
TAXII = "application/taxii+json;version=2.1"
COLLECTIONS = ("COLLECTION", "CONF_COLLECTION", "FID_COLLECTION", "FOLLOW_COLLECTION")
SECRETS = ("BPASS", "TOKEN", "READER_PASS", "STRANGER_PASS")
NAMES = {
    *COLLECTIONS,
    *SECRETS,
    *("BASE", "API_ROOT", "PIDS", "DATABASE_URL", "BUSER", "READER_USER", "STRANGER_USER"),
}
#: seconds; nothing of this takes as long on a busy machine
PATIENCE = 60


def tool() -> dict[str, Any]:
    when = "2026-01-01T00:00:00.000Z"
    head = {"type": "tool", "spec_version": "2.1", "id": f"tool--{uuid.uuid4()}"}
    return {**head, "created": when, "modified": when, "name": "Lantern"}


def wait_for(fact: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Until it is so; the process has to live meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < deadline, "it took too long"
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"it ended: {process.stderr and process.stderr.read()}")


@dataclass
class Sandbox:
    """One that answers; `tmp` is its machine's folder for temporary files, which other sandboxes share with it."""

    process: subprocess.Popen[str]
    variables: dict[str, str]
    tmp: Path

    def http(self, user: str, secret: str) -> httpx2.Client:
        auth = (self.variables[user], self.variables[secret])
        return httpx2.Client(
            base_url=self.variables["BASE"], auth=auth, headers={"Accept": TAXII}, trust_env=False, timeout=30
        )

    def objects(self, collection: str) -> str:
        return f"{self.variables['API_ROOT']}collections/{self.variables[collection]}/objects/"

    def homes(self) -> list[str]:
        return [path.name for path in self.tmp.iterdir()]

    def socket(self) -> Path:
        return Path(self.variables["DATABASE_URL"].split("host=")[1].split("&")[0])

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def start(folder: Path, tmp: Path, *words: str) -> Sandbox:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ISAC_", "PG"))}
    tmp.mkdir(exist_ok=True)
    file = folder / f"{uuid.uuid4()}.env"
    process = subprocess.Popen(
        [ISAC, "sandbox", "--env", file, *words],
        cwd=folder,
        env=env | {"TMPDIR": str(tmp)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(file.exists, process)
    except BaseException:
        process.kill()
        raise
    assert file.stat().st_mode & 0o777 == 0o600
    assignments = shlex.split(file.read_text())
    return Sandbox(process, dict(each.split("=", 1) for each in assignments), tmp)


def post(http: httpx2.Client, path: str, one: dict[str, Any]) -> httpx2.Response:
    return http.post(path, json={"objects": [one]}, headers={"Content-Type": TAXII})


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    running = start(folder, folder / "tmp")
    yield running
    running.end(signal.SIGTERM)
    assert running.process.stderr is not None
    running.process.stderr.close()


def test_the_file_has_all_variables(sandbox: Sandbox) -> None:
    assert sandbox.variables.keys() == NAMES
    assert len({sandbox.variables[name] for name in COLLECTIONS}) == len(COLLECTIONS)
    assert all(uuid.UUID(sandbox.variables[name]).version == 4 for name in COLLECTIONS)
    assert sandbox.variables["PIDS"].split()[0] == str(sandbox.process.pid)


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_the_user_reads_writes_and_deletes(sandbox: Sandbox, collection: str) -> None:
    one, path = tool(), sandbox.objects(collection)
    with sandbox.http("BUSER", "BPASS") as http:
        described = http.get(path.removesuffix("objects/")).json()
        posted = post(http, path, one)
        read = http.get(f"{path}{one['id']}/").json()
        deleted = http.delete(f"{path}{one['id']}/")
        again = http.get(f"{path}{one['id']}/")

    assert (described["can_read"], described["can_write"]) == (True, True)
    assert (posted.status_code, posted.json()["success_count"]) == (202, 1)
    assert read["objects"] == [one]
    assert deleted.status_code == 200
    assert again.status_code == 404


def test_the_token_opens_what_user_and_password_open(sandbox: Sandbox) -> None:
    headers = {"Accept": TAXII, "Authorization": f"Bearer {sandbox.variables['TOKEN']}"}
    url = sandbox.variables["BASE"] + sandbox.objects("COLLECTION")

    assert httpx2.get(url, headers=headers, trust_env=False).status_code == 200


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_the_reader_only_reads(sandbox: Sandbox, collection: str) -> None:
    one, path = tool(), sandbox.objects(collection)
    with sandbox.http("BUSER", "BPASS") as http:
        post(http, path, one)
    with sandbox.http("READER_USER", "READER_PASS") as http:
        described = http.get(path.removesuffix("objects/")).json()
        read = http.get(f"{path}{one['id']}/")
        refused = [post(http, path, tool()).status_code, http.delete(f"{path}{one['id']}/").status_code]

    assert (described["can_read"], described["can_write"]) == (True, False)
    assert read.json()["objects"] == [one]
    assert refused == [403, 403]


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_for_a_stranger_there_is_nothing(sandbox: Sandbox, collection: str) -> None:
    path = sandbox.objects(collection)
    with sandbox.http("STRANGER_USER", "STRANGER_PASS") as http:
        found = [http.get(path), http.get(path.removesuffix("objects/")), post(http, path, tool())]

    assert [answer.status_code for answer in found] == [404, 404, 404]


def test_nothing_is_left_of_a_stopped_one_nor_of_a_killed_one(tmp_path: Path) -> None:
    tmp = tmp_path / "tmp"
    killed = start(tmp_path, tmp)
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    left = killed.homes()
    assert len(left) == 1
    assert living_in(tmp)

    second = start(tmp_path, tmp, "--workers", "2")
    try:
        assert set(second.homes()).isdisjoint(left)
        assert len(second.homes()) == 1
        assert not killed.socket().exists()
        path = second.objects("COLLECTION")
        with second.http("BUSER", "BPASS") as http:
            for _ in range(20):
                one = tool()
                assert post(http, path, one).json()["success_count"] == 1
                read = httpx2.get(
                    f"{second.variables['BASE']}{path}{one['id']}/", auth=http.auth, headers={"Accept": TAXII}
                )
                assert read.json()["objects"] == [one]
    finally:
        second.end(signal.SIGTERM)
    assert second.homes() == []
    assert living_in(tmp) == []
    assert not second.socket().exists()
    for each in (killed, second):
        assert each.process.stderr is not None
        assert "Traceback" not in each.process.stderr.read()
        each.process.stderr.close()
