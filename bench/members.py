"""1,150 members who each poll their own collection every second while others post, at `isac serve` with two workers.

Beside it a bare ASGI app with two workers, which answers the same clients with as many bytes under the same headers.
What each client got is compared with what its collection holds in the end. `python -m bench.members bare PORT` is that
app.
"""

import asyncio
import csv
import io
import itertools
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import uvloop

from bench import crowd, peers, stix
from bench.clients import TAXII
from bench.crowd import ENVELOPES, OBJECTS, WARM, Member, Told
from bench.table import Figure, Tables

WORKERS = 2
#: one envelope in so many goes to a State, the others to everybody
TO_A_STATE = 5
RUNS = 3

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


@dataclass
class Server:
    """A running `isac serve` with a database of its own."""

    port: int
    home: Path
    process: subprocess.Popen[bytes]

    def isac(self, *command: str) -> str:
        """What another command says, on the same database."""
        done = subprocess.run(
            [_isac(), *command], env=_environment(self.home), capture_output=True, text=True, timeout=240
        )
        if done.returncode:
            raise RuntimeError(f"isac {command[0]}: {done.stdout[-300:]}{done.stderr[-500:]}")
        return done.stdout

    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


# -------------------------------------------------------------------------------------------------------------- server


@contextmanager
def server(home: Path, workers: int = WORKERS, url: str = "") -> Iterator[Server]:
    """An `isac serve` while the context lasts; without a URL it has an embedded PostgreSQL of its own."""
    home.mkdir()
    words = home / "server.log"
    with words.open("wb") as log:
        command = [_isac(), "serve", "--port", "0", "--workers", str(workers)]
        process = subprocess.Popen(
            command,
            env=_environment(home) | ({"ISAC_DATABASE_URL": url} if url else {}),
            cwd=peers.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 90
        while not (found := re.search(r"Serving on [^ ]*:(\d+)", words.read_text(encoding="utf-8"))):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"isac serve does not come up: {words.read_text(encoding='utf-8')[-500:]}")
            time.sleep(0.05)
        yield Server(int(found[1]), home, process)
    finally:
        peers.end(process)


def _isac() -> str:
    return str(Path(sys.executable).with_name("isac"))


def _environment(home: Path) -> dict[str, str]:
    plain = {name: text for name, text in os.environ.items() if not name.startswith("ISAC_")}
    return plain | {"ISAC_HOME": str(home)}


def furnish(running: Server) -> tuple[list[Member], dict[str, str]]:
    """Import a member of each State and local jurisdiction; answers them, and the headers of a steward."""
    file = running.home / "members.csv"
    with (peers.ROOT / "feeds/jurisdictions.csv").open(encoding="utf-8", newline="") as opened:
        lines = [line for line in opened if line.strip() and not line.startswith("#")]
    codes = [row["code"] for row in csv.DictReader(lines) if row["kind"] != "nation"]
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["jurisdiction", "name", "kind", "contact_email"])
        writer.writerows([code, f"Sample member {code}", "member", f"{code}@example.org"] for code in codes)
    keys = list(csv.DictReader(io.StringIO(running.isac("members", "import", str(file)))))
    steward = next(csv.DictReader(io.StringIO(running.isac("keys", "create", "Election ISAC", "--role", "steward"))))
    members = [_member(running.port, key["jurisdiction"], {"Authorization": f"Bearer {key['secret']}"}) for key in keys]
    return members, {"Authorization": f"Bearer {steward['secret']}"}


def _member(port: int, code: str, headers: Mapping[str, str]) -> Member:
    return Member(code, f"/elections/collections/{code}/objects/", _head(port, headers))


def _head(port: int, headers: Mapping[str, str]) -> bytes:
    said = {"Host": f"127.0.0.1:{port}", "Accept": TAXII, **headers}
    return "".join(f"{name}: {text}\r\n" for name, text in said.items()).encode()


def _posts(port: int, headers: Mapping[str, str], states: Sequence[str], seconds: float, seed: int) -> Iterator[bytes]:
    """Requests of envelopes, some to a State, the others to everybody; made beforehand, for making them takes time."""
    count = int((seconds + WARM + 3) * ENVELOPES)
    members = stix.objects(count * OBJECTS, seed, kinds=1)
    head = _head(port, {"Content-Type": TAXII, **headers})
    made = []
    for number in range(count):
        code = states[number % len(states)] if number % TO_A_STATE == 0 else "us"
        body = stix.envelope(list(itertools.islice(members, OBJECTS)))
        line = f"POST /elections/collections/{code}/objects/ HTTP/1.1\r\nContent-Length: {len(body)}\r\n".encode()
        made.append(line + head + b"\r\n" + body)
    return iter(made)


# ------------------------------------------------------------------------------------------------------------ bare app


class Bare:
    """Answers with as many bytes as the query ends with, under headers as long as ours; it takes every POST."""

    def __init__(self) -> None:
        self._made: dict[bytes, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._taken = _answer(b'{"bare":"%b"}' % (b"x" * 260), 202)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            while (await receive()).get("more_body"):
                pass
            made = self._taken
        else:
            size = scope["query_string"].partition(b"bytes=")[2] or b"2"
            if size not in self._made:
                self._made[size] = _answer(b"x" * int(size))
            made = self._made[size]
        await send(made[0])
        await send(made[1])


def _answer(body: bytes, status: int = 200) -> tuple[dict[str, Any], dict[str, Any]]:
    instant = b"2026-01-01T00:00:00.000000Z"
    headers = [
        (b"x-taxii-date-added-first", instant),
        (b"x-taxii-date-added-last", instant),
        (b"vary", b"Accept-Encoding"),
        (b"etag", b'W/"%b-10-0"' % instant),
        (b"content-length", str(len(body)).encode()),
        (b"content-type", TAXII.encode()),
    ]
    shown = headers if len(body) > 2 else [line for line in headers if line[0] not in (b"vary", b"etag")]
    return (
        {"type": "http.response.start", "status": status, "headers": shown},
        {"type": "http.response.body", "body": body},
    )


def bare() -> Bare:
    """For uvicorn, which makes one in each worker."""
    return Bare()


@contextmanager
def bare_server(port: int) -> Iterator[None]:
    """The bare app with two workers while the context lasts."""
    with peers.child([sys.executable, "-m", "bench.members", "bare", str(port)]) as process:
        peers.await_answer(process, port)
        time.sleep(1)  # the second worker
        yield


# ------------------------------------------------------------------------------------------------------------ measures


def measure(tables: Tables, folder: Path, say: Callable[[str], None], *, quick: bool) -> None:
    """All of it; figures go to the tables."""
    seconds, runs = (2.0, 1) if quick else (7.0, RUNS)
    say(f"members: isac serve with {WORKERS} workers is starting")
    with server(folder / "members") as running:
        members, steward = furnish(running)
        say(f"members: {len(members):,} with a key each")
        scene = Scene(tables, say, running, members, steward, seconds, runs, every=10 if quick else 1)
        port = peers.free_port()
        with bare_server(port):
            _polls(scene, port)
            largest = max(worker.memory_info().rss for worker in running.workers()) / 1e6
            _killed(scene)
            _fairness(scene, port, 10_000 if quick else 100_000)
        largest = max(largest, *(worker.memory_info().rss / 1e6 for worker in running.workers()))
        name = f"memory of a worker that serves half of {len(members):,} members, MB"
        tables.add(Figure(name, len(members), largest, "", None, 350, "below"))


@dataclass
class Scene:
    """What the measures share."""

    tables: Tables
    say: Callable[[str], None]
    running: Server
    members: list[Member]
    steward: dict[str, str]
    seconds: float
    runs: int
    kept: dict[bytes, bytes] = field(default_factory=dict)
    seed: int = 1000
    #: one in so many is compared with its collection
    every: int = 1

    def posts(self, port: int, seconds: float) -> Iterator[bytes]:
        """Others for each run."""
        self.seed += 1
        states = sorted({member.code for member in self.members if len(member.code) == 5})
        return _posts(port, self.steward, states, seconds, self.seed)

    def run(
        self, members: Sequence[Member], port: int, *, seconds: float = 0, writes: bool = True, **more: Any
    ) -> Told:
        posts = self.posts(port, seconds or self.seconds) if writes else None
        return uvloop.run(crowd.crowd(members, port, posts, seconds or self.seconds, self.kept, **more))

    def replayed(self, port: int, sizes: Sequence[Sequence[int]]) -> list[Member]:
        """The same members at the bare app, which answers with as many bytes as they got from us."""
        return [
            Member(member.code, member.path, member.head, replay=itertools.chain(got, itertools.repeat(2)))
            for member, got in zip(self.members, sizes, strict=True)
        ]

    def add(self, measure: str, mine: Sequence[Told], theirs: Sequence[Told], note: str) -> None:
        """The p99, at most three times the bare app's."""
        ours, fastest = (statistics.median(told.part(0.99) for told in runs) for runs in (mine, theirs))
        p50, p50_bare = (statistics.median(told.part(0.5) for told in runs) for runs in (mine, theirs))
        self.say(f"{measure}: {ours:.1f} ms (p50 {p50:.2f}); bare app: {fastest:.1f} ms (p50 {p50_bare:.2f})")
        beside = f"bare app, {WORKERS} workers"
        note = f"p50 {p50:.2g} ms, bare app {p50_bare:.2g} ms; {note}"
        self.tables.add(Figure(measure, len(self.members), ours, beside, fastest, 3, "at most", note))

    def compare(self, words: str) -> None:
        """What each client got beside what its collection holds now."""
        self.run(self.members, self.running.port, seconds=0.1, writes=False)  # who polled before the last POST
        lost, repeated, held = uvloop.run(crowd.compared(self.members[:: self.every], self.running.port))
        self.say(f"members: {words}: {lost} lost, {repeated} repeated of {held:,}")
        for name, count in (("lost", lost), ("repeated", repeated)):
            measure = f"objects {name} by the pollers together, {words}"
            self.tables.add(Figure(measure, held, count, "", None, 0, "at most"))


def _polls(scene: Scene, port: int) -> None:
    """Polls while others post, beside the bare app with the same answers' sizes."""
    # Once without counting: 1,150 keys that no worker has met.
    cold = scene.run(scene.members, scene.running.port)
    bare_cold = scene.run(scene.replayed(port, [member.sizes[:] for member in scene.members]), port)
    slowest = [max(told.first + told.times) for told in (cold, bare_cold)]
    note = f"afterwards p99 {cold.part(0.99):.0f} ms; {cold.broken + cold.refused} polls refused or broken"
    name = "all members connect within a second and nobody was met before, slowest poll in ms"
    scene.tables.add(Figure(name, len(scene.members), slowest[0], "bare app", slowest[1], note=note))
    scene.say(f"members: cold, slowest {slowest[0]:.0f} ms; {note}")
    mine: list[Told] = []
    theirs: list[Told] = []
    for _ in range(scene.runs):
        before = [len(member.sizes) for member in scene.members]
        mine.append(scene.run(scene.members, scene.running.port))
        sizes = [member.sizes[start:] for member, start in zip(scene.members, before, strict=True)]
        theirs.append(scene.run(scene.replayed(port, sizes), port))
        scene.say(f"members: p99 {mine[-1].part(0.99):.1f} ms; bare app: {theirs[-1].part(0.99):.1f} ms")
    refused = sum(told.refused + told.broken for told in mine)
    posted = sum(told.posted for told in mine)
    bytes_got = sum(map(sum, (member.sizes for member in scene.members))) / 1e6
    note = f"{posted:,} objects posted, {bytes_got:,.0f} MB got, {refused} polls refused or broken"
    scene.add("a member's poll each second while others post, p99 in ms", mine, theirs, note)
    scene.compare("while others post")


def _killed(scene: Scene) -> None:
    """One worker is killed in the middle."""
    seconds = max(scene.seconds * 2, 5.0)
    workers = scene.running.workers()

    async def kill(until: float) -> None:
        await asyncio.sleep(seconds / 2)
        os.kill(workers[0].pid, signal.SIGKILL)

    told = scene.run(scene.members, scene.running.port, seconds=seconds, besides=[kill])
    scene.say(f"members: a worker killed: {told.broken} broken, {told.refused} refused, p99 {told.part(0.99):.0f} ms")
    alive = len(scene.running.workers())
    note = f"{told.broken} polls or connections broke, {told.refused} refused; {alive} workers afterwards"
    name = "the same while a worker is ended by SIGKILL, p99 in ms"
    scene.tables.add(Figure(name, len(scene.members), told.part(0.99), "", None, note=note))
    scene.compare("a worker killed")


def _fairness(scene: Scene, port: int, count: int) -> None:
    """Quiet polls while another member reads everything page by page, again and again."""
    file = scene.running.home / "bundle.json"
    file.write_bytes(stix.bundle(list(stix.objects(count, 77))))
    scene.running.isac("ingest", str(file), "--to", "us", "--source", "Example source", "--sample")
    time.sleep(3)  # new rows are dated two seconds ahead
    newest = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    reader = scene.members[0]
    quiet = [Member(m.code, m.path, m.head, cursor=newest) for m in scene.members]
    sizes = [[2] * 100 for _ in scene.members]
    pages: list[int] = []
    mine: list[Told] = []
    theirs: list[Told] = []
    for _ in range(scene.runs):
        pages.clear()
        reading = crowd.reader(scene.running.port, reader, pages, None)
        mine.append(scene.run(quiet, scene.running.port, writes=False, besides=[reading]))
        replayed = list(pages)
        pace = (scene.seconds + WARM) / max(1, len(replayed))
        bare_reading = crowd.reader(port, reader, [], (itertools.cycle(replayed or [2]), pace))
        theirs.append(scene.run(scene.replayed(port, sizes), port, writes=False, besides=[bare_reading]))
    note = f"{len(pages) / (scene.seconds + WARM):.0f} pages of 1,000 a second were read besides"
    scene.add(
        f"quiet polls each second while a member reads {count:,} objects in a loop, p99 in ms", mine, theirs, note
    )


if __name__ == "__main__":
    peers.serve("bench.members:bare", int(sys.argv[2]), factory=True, workers=WORKERS)
