"""The embedded PostgreSQL among its users: it runs as long as one of them does."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.store.test_embedded import FAST, alive, ask, python, said, until

from isac.store import embedded


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home that has its data."""
    home = tmp_path_factory.mktemp("lent") / "home"
    embedded.start(home, FAST)
    yield home
    embedded.destroy(home)


@pytest.fixture
def home(furnished: Path) -> Iterator[Path]:
    """A home where nobody is."""
    embedded.stop(furnished)
    yield furnished
    embedded.stop(furnished)


@pytest.mark.parametrize("longer", ["first", "second"])
def test_whoever_leaves_last_stops_the_server(home: Path, longer: str) -> None:
    """A short command and a server that overlap, whichever came first."""
    first, second = ExitStack(), ExitStack()
    server = first.enter_context(embedded.lent(home))
    assert second.enter_context(embedded.lent(home)) == server
    shorter, last = (second, first) if longer == "first" else (first, second)
    shorter.close()
    assert ask(server, "SELECT 1") == [1]
    last.close()
    until(lambda: not alive(server.pid))


def test_a_user_that_is_killed_has_left(home: Path) -> None:
    script = "with embedded.lent(Path(sys.argv[1])) as server:\n    print(server.pid, flush=True)\n    input()"
    with python(script, home, stdin=subprocess.PIPE) as user:
        assert user.stdout
        pid = int(user.stdout.readline())
        with embedded.lent(home) as server:
            user.kill()
            user.wait()
            assert server.pid == pid
            assert ask(server, "SELECT 1") == [1]
    until(lambda: not alive(pid))


def test_a_server_that_was_left_running_by_a_killed_user_is_stopped_by_the_next(home: Path) -> None:
    left = embedded.start(home, FAST)
    with embedded.lent(home) as server:
        assert server == left
    until(lambda: not alive(left.pid))


def test_who_comes_while_the_last_one_leaves_has_a_server(home: Path) -> None:
    script = """
import psycopg
for _ in range(4):
    with embedded.lent(Path(sys.argv[1])) as server:
        psycopg.connect(server.conninfo).close()
print("served")
"""
    assert [said(process) for process in [python(script, home) for _ in range(3)]] == ["served"] * 3
