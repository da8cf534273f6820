"""The port: taken before anything else is done, or a sentence that names one that will do. And what settings open."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from isac import server
from isac.errors import Surroundings

RESERVED = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
NOBODY = 65534


def complaint(port: int, host: str = "127.0.0.1", also: str = "") -> str:
    with pytest.raises(Surroundings) as caught:
        server.listen(host, port, also)
    assert caught.value.exit_code == 3
    return caught.value.detail


@contextmanager
def ordinary_user() -> Iterator[None]:
    """As root takes for itself only what it needs; somebody else is one already."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_of_a_port_in_use_the_next_free_one_is_named() -> None:
    ports: list[int] = []
    with ExitStack() as stack:
        for _ in range(3):
            named = suggestion(complaint(ports[0])) if ports else 0
            taken = stack.enter_context(server.listen("127.0.0.1", named))
            ports.append(taken.getsockname()[1])
    assert ports == sorted(set(ports))


def suggestion(words: str) -> int:
    found = re.fullmatch(r"Port \d+ on .+ is not free \(.+\)\. Choose another: --port (\d+)", words)
    assert found, words
    return int(found[1])


@pytest.mark.skipif(RESERVED <= 80, reason="this machine reserves no ports")
def test_an_ordinary_user_hears_that_low_ports_need_root() -> None:
    with ordinary_user():
        assert complaint(80) == "Ports below 1024 need root, and 80 is one. Choose another: --port 8000"
        assert complaint(80, also="make demo PORT=").endswith("--port 8000, or make demo PORT=8000")


def test_a_higher_port_is_not_called_a_low_one() -> None:
    forbidden = PermissionError(errno.EACCES, "Permission denied")
    words = server.refused("127.0.0.1", 5000, "", forbidden)
    assert words == (
        "This machine cannot listen on 127.0.0.1, port 5000 (Permission denied). Choose others: --host, --port"
    )


def test_an_address_that_is_not_this_machines() -> None:
    assert complaint(0, "192.0.2.1").endswith("Choose others: --host, --port")


def test_port_0_is_any() -> None:
    with server.listen("127.0.0.1", 0) as taken:
        assert taken.getsockname()[1] > 0
        assert taken.type == socket.SOCK_STREAM


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "status"), [({}, 401), ({"ISAC_PUBLIC_COLLECTION": "1"}, 200)])
def test_the_public_collection_is_open_where_the_setting_says_so(
    setting: dict[str, str], status: int, database_url: str
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ISAC_", "PG"))}
    env = kept | {"ISAC_DATABASE_URL": database_url} | setting
    command = [str(Path(sys.executable).with_name("isac")), "serve", "--port", "0"]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            port = process.stderr.readline().rpartition(":")[2].strip()
            answer = httpx2.get(f"http://127.0.0.1:{port}/elections/collections/public/objects/", trust_env=False)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert answer.status_code == status
