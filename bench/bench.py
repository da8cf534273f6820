"""Measure the server beside what bounds it and beside its neighbor, in one run, and write the table.

A sandbox of its own is started, loaded, polled and asked; medians and ratios go between the markers of
docs/performance.md. A program, not a test: it never fails for being slow. Everything is on 127.0.0.1.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

# For `python bench/bench.py`: our modules are `bench.…`.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import orjson
import psutil  # type: ignore[import-untyped]

from bench import clients, depth, members, merged, opentaxii, peers, postgres, reading, stix
from bench.clients import Rate, Recorded, Target
from bench.table import Figure, Single, Tables

#: a step that takes less is run three times
SHORT, RUNS = 10.0, 3
#: seconds of one run of a rate
SPAN = 2.0
#: medallion compares every object with every other; more would take the whole day
NEIGHBORS = 500
#: seconds after which no more is asked of medallion
NEIGHBOR_BUDGET = 60.0
#: connections at once
POLLERS, READERS = 64, 16


@dataclass
class Sandbox:
    """A running `isac sandbox`: its variables, and the pid of the server."""

    variables: dict[str, str]
    port: int
    pid: int

    def target(self, collection: str) -> Target:
        """The objects of a collection, by variable or alias."""
        name = self.variables.get(collection, collection)
        headers = {"Authorization": f"Bearer {self.variables['TOKEN']}"}
        return Target(self.port, f"{self.variables['API_ROOT']}collections/{name}/objects/", headers)

    def memory(self) -> float:
        """RSS of the server and its children without PostgreSQL, in MB (10⁶ bytes)."""
        server = psutil.Process(self.pid)
        members = [server, *server.children(recursive=True)]
        return float(sum(m.memory_info().rss for m in members if m.name() != "postgres")) / 1e6


@dataclass
class Question:
    """A request that is repeated: a name for the table, its queries, and how many ask at once."""

    name: str
    queries: list[dict[str, object]]
    connections: int
    #: of the bare app's rate, at least
    target: float | None = None
    #: what is sent besides; the bare app knows the answer under this path
    headers: dict[str, str] = field(default_factory=dict)
    shelf: str = "/objects/"


@dataclass
class Run:
    """What one run knows so far."""

    sandbox: Sandbox
    size: int
    folder: Path
    span: float
    tables: Tables = field(default_factory=Tables)
    #: seconds of every COPY of the same rows, taken between the loads
    copies: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    #: of the first load and the full poll, objects per second
    loaded: float = 0.0
    polled: float = 0.0
    #: buffers of the first page when the load was just done
    fresh: int = 0


def main() -> None:
    """Measure and write."""
    signal.signal(signal.SIGTERM, _stop)
    arguments = _arguments()
    size = 10_000 if arguments.quick else arguments.objects
    with tempfile.TemporaryDirectory(prefix="isac-bench-") as made:
        folder = Path(made)
        with sandbox(folder / "own.env") as running:
            run = Run(running, size, folder, 1.0 if arguments.quick else SPAN)
            loads(run)
            reads(run)
            run.memory.append(running.memory())
            if arguments.quick:
                say("pages of 1,000,000 objects: left out (--quick)")
            else:
                pages(run)
        run.tables.write(arguments.out)  # what is measured is kept, whatever becomes of the rest
        try:
            members.measure(run.tables, folder, say, quick=arguments.quick)
        except (RuntimeError, ExceptionGroup) as error:
            say(f"members: {error!r}")
        try:
            merged.measure(run.tables, say, folder, run.span)
        except RuntimeError as error:
            say(f"increments of three audiences: {error}")
        if arguments.quick:
            say(f"OpenTAXII {opentaxii.VERSION}: left out (--quick)")
        else:
            with sandbox(folder / "beside.env") as running:
                try:
                    opentaxii.measure(run.tables, say, folder, running.target("COLLECTION"), run.span)
                except (RuntimeError, OSError) as error:
                    say(f"OpenTAXII gave up: {error}")
        run.tables.add(Figure("memory of the server's processes, MB", size, max(run.memory), "", None, 350, "below"))
        if arguments.quick:
            say("common harness: left out (--quick)")
        elif arguments.harness.is_file():
            run.tables.write(arguments.out)  # what is measured is kept, whatever becomes of the rest
            try:
                common(run, arguments.harness)
            except RuntimeError as error:
                say(f"common harness: {error}")
        else:
            say("the common harness is not here: left out")
    run.tables.write(arguments.out)
    sys.stdout.write(run.tables.text())


def _arguments() -> argparse.Namespace:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000, help="how many to load (2,000 or more)")
    parser.add_argument("--quick", action="store_true", help="10,000 objects, no million, no OpenTAXII")
    parser.add_argument("--out", type=Path, default=root / "docs/performance.md", help="page whose table is rewritten")
    parser.add_argument("--harness", type=Path, default=root.parent / "shared/bench/taxii_bench.py")
    arguments = parser.parse_args()
    if not 2000 <= arguments.objects <= 1_000_000:
        parser.error("--objects: from 2,000 to 1,000,000")
    if not arguments.out.is_file():
        parser.error(f"{arguments.out} is not there; it needs the markers of docs/performance.md")
    return arguments


def say(words: str) -> None:
    """Progress, on stderr."""
    print(f"{datetime.now(UTC):%H:%M:%S} {words}", file=sys.stderr, flush=True)


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


# ------------------------------------------------------------------------------------------------------------ programs


@contextmanager
def sandbox(env: Path) -> Iterator[Sandbox]:
    """An `isac sandbox` of our own while the context lasts."""
    say("sandbox: starting")
    with peers.child([_isac(), "sandbox", "--env", str(env)]) as process:
        until = time.monotonic() + 60
        while not env.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the sandbox does not come up")
            time.sleep(0.05)
        lines = env.read_text(encoding="utf-8").splitlines()
        variables = {name: text.strip("'") for name, _, text in (line.partition("=") for line in lines)}
        yield Sandbox(variables, int(variables["BASE"].rpartition(":")[2]), process.pid)


def _isac() -> str:
    return str(Path(sys.executable).with_name("isac"))


# --------------------------------------------------------------------------------------------------------------- loads


def loads(run: Run) -> None:
    """Load by POST and by `isac ingest`, with a COPY of the same rows before and after each."""
    writable = iter(("COLLECTION", "FID_COLLECTION", "CONF_COLLECTION"))
    with postgres.own_database(run.sandbox.variables["DATABASE_URL"]) as conn:
        run.tables.postgres = f"PostgreSQL {conn.info.parameter_status('server_version')}"

        def copy(prebuilt: Sequence[postgres.Row]) -> None:
            run.copies.append(postgres.copy(conn, prebuilt))
            say(f"COPY of {run.size:,} rows: {run.copies[-1]:.2f} s")

        def post(members: Sequence[bytes]) -> float:
            return clients.load(run.sandbox.target(next(writable)), members)

        def ingest(members: Sequence[bytes]) -> float:
            return _ingest(run, members)

        posted = _each("load by POST", run.size, 1, post, copy)
        variables = run.sandbox.variables
        run.fresh = postgres.first_page_buffers(variables["DATABASE_URL"], variables["COLLECTION"], 1000)
        say(f"buffers of the first page right after the load: {run.fresh:,}")
        run.memory.append(run.sandbox.memory())
        ingested = _each("load by isac ingest", run.size, 11, ingest, copy)
        while len(run.copies) < RUNS:
            copy(postgres.rows(list(stix.objects(run.size, 31))))
    plain = run.size / statistics.median(run.copies)
    run.loaded = run.size / statistics.median(posted)
    beside = "raw COPY"
    envelopes = f"load by POST, {clients.WRITERS} writers, {clients.ENVELOPE:,} objects an envelope, objects/s"
    run.tables.add(Figure(envelopes, run.size, run.loaded, beside, plain, 0.1))
    run.tables.add(Figure("the same, the higher target", run.size, run.loaded, beside, plain, 0.15))
    by_file = run.size / statistics.median(ingested)
    run.tables.add(Figure("load by `isac ingest`, objects/s", run.size, by_file, beside, plain, 0.2))


def _each(
    name: str,
    size: int,
    seed: int,
    step: Callable[[Sequence[bytes]], float],
    copy: Callable[[Sequence[postgres.Row]], None],
) -> list[float]:
    """Seconds of each run, every run with objects of its own; once where it is not short."""
    times: list[float] = []
    while len(times) < RUNS and (not times or times[0] < SHORT):
        members = list(stix.objects(size, seed + len(times)))
        copy(postgres.rows(members))
        times.append(step(members))
        say(f"{name}: {size:,} objects in {times[-1]:.2f} s")
    return times


def _ingest(run: Run, members: Sequence[bytes]) -> float:
    file = run.folder / "bundle.json"
    file.write_bytes(stix.bundle(members))
    # --sample: it takes documentation addresses for what they are, and ours are nothing else.
    command = [_isac(), "ingest", str(file), "--to", "us", "--source", "Example source", "--sample"]
    environment = os.environ | {"ISAC_DATABASE_URL": run.sandbox.variables["DATABASE_URL"]}
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    seconds = time.perf_counter() - began
    if done.returncode or f"accepted {len(members)}," not in done.stdout:
        raise RuntimeError(f"isac ingest: {done.stdout[-500:]}{done.stderr[-500:]}")
    return seconds


# --------------------------------------------------------------------------------------------------------------- reads


def reads(run: Run) -> None:
    """Full poll and rates, each beside the bare app with the same bytes; then what medallion needs for the same."""
    own, variables = run.sandbox.target("COLLECTION"), run.sandbox.variables
    questions = _questions(run.size)
    kept = [*questions, *_kept(own)]
    recorded = clients.poll(own, 1000, keep=True)
    if recorded.objects != run.size:
        raise RuntimeError(f"{recorded.objects} objects came back of {run.size}")
    answers = {f"/objects/?{query}": answer for query, answer in recorded.answers.items()} | _record(own, kept)
    peers.keep(answers, run.folder / "answers")
    with peers.bare(run.folder / "answers", peers.free_port()) as app:
        bare = app.sending(own.headers)  # both get the same requests
        _full_poll(run, own, bare)
        run.memory.append(run.sandbox.memory())
        for question in kept:
            _rate(run, question, own, bare)
        singles = _singles(own, questions)
        shelf = reading.Shelf(own, bare, variables["DATABASE_URL"], variables["COLLECTION"], run.size)
        reading.measure(run.tables, say, shelf, run.span)
    _basic(run, own)
    with_medallion(run, singles)


def _questions(size: int) -> list[Question]:
    asked = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    ids = [orjson.loads(raw)["id"] for raw in stix.objects(min(size, 20_000), 1)][:: max(1, min(size, 20_000) // 200)]
    return [
        Question("quiet poll (nothing new)", [{"added_after": asked, "limit": 1000}], POLLERS, 0.85),
        Question("first page, limit=100", [{"limit": 100}], READERS, 0.85),
        Question("match[type]=malware, limit=100", [{"match[type]": "malware", "limit": 100}], READERS),
        Question("match[id]=one id", [{"match[id]": stix_id, "limit": 100} for stix_id in ids], READERS),
        Question("match[version]=all, limit=100", [{"match[version]": "all", "limit": 100}], READERS),
    ]


def _kept(own: Target) -> list[Question]:
    """Of pages that the server keeps: a large one, and one that the client has already."""
    client = clients.Client(own)
    tag = dict(client.record(own.get(limit=1000)).headers)["etag"]
    client.close()
    page: list[dict[str, object]] = [{"limit": 1000}]
    return [
        Question("first page, limit=1000", page, READERS, 0.85),
        Question("the same with If-None-Match: 304", page, READERS, 0.85, {"If-None-Match": tag}, "/tagged/"),
    ]


def _record(own: Target, questions: Sequence[Question]) -> dict[str, Recorded]:
    answers = {}
    for question in questions:
        client = clients.Client(own.sending(question.headers))
        for query in question.queries:
            path = own.get(**query)
            answers[f"{question.shelf}?{path.partition('?')[2]}"] = client.record(path)
        client.close()
    return answers


def _full_poll(run: Run, own: Target, bare: Target) -> None:
    mine: list[float] = []
    theirs: list[float] = []
    while len(mine) < RUNS:
        mine.append(clients.poll(own, 1000).seconds)
        theirs.append(clients.poll(bare, 1000).seconds)
        say(f"full poll: {mine[-1]:.2f} s; bare app: {theirs[-1]:.2f} s")
    run.polled = run.size / statistics.median(mine)
    fastest = run.size / statistics.median(theirs)
    name = "full poll, limit=1000, parsed by our own client, objects/s"
    run.tables.add(Figure(name, run.size, run.polled, "bare app", fastest, 0.4))


def _rate(run: Run, question: Question, own: Target, bare: Target) -> None:
    mine: list[Rate] = []
    theirs: list[Rate] = []
    for _ in range(RUNS):
        for side, rates in ((own, mine), (Target(bare.port, question.shelf, own.headers), theirs)):
            target = side.sending(question.headers)
            paths = [target.get(**query) for query in question.queries]
            rates.append(clients.rate(target, paths, question.connections, run.span))
    ours, fastest = (statistics.median(rate.per_second for rate in rates) for rates in (mine, theirs))
    slow = statistics.median(rate.p99 for rate in mine)
    say(f"{question.name}: {ours:,.0f}/s, p99 {slow:.1f} ms; bare app: {fastest:,.0f}/s")
    name = f"{question.name}, {question.connections} connections, requests/s"
    run.tables.add(Figure(name, run.size, ours, "bare app", fastest, question.target, note=f"p99 {slow:.0f} ms"))


def _basic(run: Run, own: Target) -> None:
    """The quiet poll with HTTP Basic beside the one with a token."""
    variables = run.sandbox.variables
    by_name = Target(own.port, own.path, clients.basic(variables["BUSER"], variables["BPASS"]))
    path = own.get(added_after=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z", limit=1000)
    rates: tuple[list[float], list[float]] = [], []
    for _ in range(RUNS):
        for target, those in zip((by_name, own), rates, strict=True):
            those.append(clients.rate(target, [path], POLLERS, run.span).per_second)
    ours, beside = map(statistics.median, rates)
    say(f"quiet poll with Basic: {ours:,.0f}/s; with Bearer: {beside:,.0f}/s")
    run.tables.add(Figure("quiet poll with HTTP Basic, requests/s", run.size, ours, "Bearer", beside, 0.97))


def _singles(own: Target, questions: Sequence[Question]) -> dict[str, float]:
    """One client at our server, for the comparison with one that answers one at a time: median milliseconds."""
    return {
        question.name: clients.one_by_one(own, [own.get(**query) for query in question.queries], 100, 2).p50
        for question in questions
    }


def with_medallion(run: Run, singles: dict[str, float]) -> None:
    """The same questions to medallion, at a size it can bear; what it does not finish in time is left out."""
    members = list(stix.objects(NEIGHBORS, 21))
    until = time.monotonic() + NEIGHBOR_BUDGET
    with peers.medallion(run.folder, peers.free_port()) as neighbor:
        try:
            loaded = NEIGHBORS / clients.load(neighbor, members, writers=1)
            run.tables.add(Single("load, objects/s", run.loaded, NEIGHBORS, loaded, faster_is_more=True))
            polled = NEIGHBORS / clients.poll(neighbor, 1000).seconds
            run.tables.add(Single("full poll, limit=1000, objects/s", run.polled, NEIGHBORS, polled, True))
            ids = [orjson.loads(raw)["id"] for raw in members[::100]]
            for question in _questions(NEIGHBORS):
                if time.monotonic() > until:
                    say(f"medallion: {NEIGHBOR_BUDGET:.0f} s are over, the rest is left out")
                    break
                queries = [{"match[id]": one} for one in ids] if len(question.queries) > 1 else question.queries
                paths = [neighbor.get(**query) for query in queries]
                theirs = clients.one_by_one(neighbor, paths, RUNS, 5).p50
                say(f"medallion, {question.name}: {theirs:,.1f} ms; ours: {singles[question.name]:.1f} ms")
                name = f"{question.name}, one client, ms a request"
                run.tables.add(Single(name, singles[question.name], NEIGHBORS, theirs, faster_is_more=False))
        except (RuntimeError, OSError) as error:
            say(f"medallion gave up: {error}")


# --------------------------------------------------------------------------------------------------------------- pages


def pages(run: Run) -> None:
    """Buffers of a page of 1,000 in a collection of 10,000 objects and in one of a million."""
    shelf = postgres.Shelf(run.sandbox.variables["DATABASE_URL"], run.sandbox.variables["COLLECTION"])
    try:
        few, many = 10_000, 1_000_000
        shelf.fill(few)
        small = shelf.buffers(1000)
        say(f"buffers of a page at {few:,} objects: {small}; making {many:,}")
        shelf.fill(many)
        large = shelf.buffers(1000)
        say(f"buffers of a page at {many:,} objects: {large}")
        variables = run.sandbox.variables
        headers = {"Authorization": f"Bearer {variables['TOKEN']}"}
        few_of_them = run.sandbox.target("FOLLOW_COLLECTION")
        depth.measure(run.tables, say, run.folder, variables["DATABASE_URL"], headers, few_of_them, shelf.middle)
    finally:
        shelf.close()
    usual, beside = statistics.median(small), f"the same at {few:,}, analyzed"
    fresh = "page of 1,000, buffers read, right after the load by POST"
    run.tables.add(Figure(fresh, run.size, run.fresh, beside, usual, 1.1, "at most"))
    run.tables.add(
        Figure(
            "page of 1,000, buffers read, after ANALYZE",
            many,
            statistics.median(large),
            beside,
            usual,
            1.1,
            "at most",
            note="first, middle, last page: " + ", ".join(f"{b}/{a}" for a, b in zip(small, large, strict=True)),
        )
    )


# ------------------------------------------------------------------------------------------------------------- harness


def common(run: Run, harness: Path) -> None:
    """The common harness through a sandbox of its own; its figures come after ours, as it gives them."""
    with sandbox(run.folder / "common.env") as running:
        variables = running.variables
        given = ["--base", variables["BASE"], "--api-root", variables["API_ROOT"], "--token", variables["TOKEN"]]
        given += ["--data", str(run.folder / "common"), "--secs", str(run.span), "--pid", str(running.pid)]
        for step, collection, more in (
            ("run", "COLLECTION", ["--sizes", str(run.size)]),
            ("follow", "FOLLOW_COLLECTION", ["--sizes", "10000"]),
        ):
            say(f"common harness: {step}")
            told = run.folder / f"{step}.jsonl"
            command = [sys.executable, str(harness), step, "--label", "isac", "--collection", variables[collection]]
            with open(os.devnull, "w") as silent:
                try:
                    done = subprocess.run([*command, *more, *given, "--out", str(told)], stdout=silent, timeout=180)
                except subprocess.TimeoutExpired:
                    say(f"common harness: {step} took more than 180 s and was stopped")
                else:
                    if done.returncode:
                        say(f"common harness: {step} ended with {done.returncode}")
            if told.is_file():
                run.tables.common += [orjson.loads(line) for line in told.read_bytes().splitlines()]
    shutil.rmtree(run.folder / "common", ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
