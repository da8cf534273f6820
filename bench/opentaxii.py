"""OpenTAXII 0.10.0b1, installed from PyPI into a throw-away environment: gunicorn with two workers, SQLite.

As its documentation runs it; of its two databases the one that answers faster.
"""

import asyncio
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bench import clients, peers, reading, stix
from bench.clients import PATIENCE, TAXII, Rate, Target
from bench.table import Figure, Tables

VERSION = "0.10.0b1"
SIZE = 10_000
RUNS = 3
#: seconds of one full read at least: it takes OpenTAXII that long to come to its last pages
FULL = 6.0
#: connections at once
POLLERS, READERS = 64, 16
BESIDE = f"OpenTAXII {VERSION}, SQLite"

_SETTINGS = """
domain: "127.0.0.1:{port}"
support_basic_auth: yes
return_server_error_details: no
taxii1:
taxii2:
  persistence_api:
    class: opentaxii.persistence.sqldb.Taxii2SQLDatabaseAPI
    parameters: {{db_connection: "sqlite:///{folder}/objects.db", create_tables: yes}}
  title: "bench"
  public_discovery: true
  max_content_length: 209715200
auth_api:
  class: opentaxii.auth.sqldb.SQLDatabaseAPI
  parameters: {{db_connection: "sqlite:///{folder}/accounts.db", create_tables: yes, secret: "{secret}"}}
logging: {{opentaxii: warning, root: warning}}
"""
#: makes an API root with a collection and an account; prints the collection's path and a token
_FURNISH = """
from opentaxii.cli import app
from opentaxii.entities import Account
with app.app_context():
    api = app.taxii_server.servers.taxii2.persistence.api
    root = api.add_api_root(title="bench", default=True)
    collection = api.add_collection(api_root_id=root.id, title="bench")
    accounts = app.taxii_server.auth.api
    accounts.create_account("bench", "bench")
    accounts.update_account(Account(id=None, username="bench", permissions={}, is_admin=True))
    token = accounts.authenticate("bench", "bench")
    print(f"/taxii2/{root.id}/collections/{collection.id}/objects/")
    print(token.decode() if isinstance(token, bytes) else token)
"""


class NotToBeHad(Exception):
    """It cannot be installed or does not start; the text says why."""


def measure(tables: Tables, say: Callable[[str], None], folder: Path, own: Target, span: float) -> None:
    """The same at both; `own` is an empty collection of ours."""
    say(f"OpenTAXII {VERSION}: installing")
    members = list(stix.objects(SIZE, 41))
    ours = SIZE / clients.load(own, members)
    try:
        with running(folder) as peer:
            say(f"OpenTAXII: loading {SIZE:,} objects")
            theirs = SIZE / clients.load(peer, members)
            tables.add(_beside("load by POST, 2 writers, objects/s", ours, theirs, 10))
            _reads(tables, say, own, peer, span)
    except NotToBeHad as error:
        say(f"OpenTAXII: {error}")
        tables.add(
            Figure("load by POST, 2 writers, objects/s", SIZE, ours, BESIDE, None, note=f"not to be had: {error}")
        )


def _reads(tables: Tables, say: Callable[[str], None], own: Target, peer: Target, span: float) -> None:
    _full(tables, say, own, peer, max(span, FULL))
    asked = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    questions: list[tuple[str, dict[str, object], int]] = [
        ("quiet poll (nothing new)", {"added_after": asked, "limit": 1000}, POLLERS),
        ("first page, limit=100", {"limit": 100}, READERS),
    ]
    for name, query, connections in questions:
        rates: tuple[list[float], list[float]] = [], []
        for _ in range(RUNS):
            rates[0].append(clients.rate(own, [own.get(**query)], connections, span).per_second)
            rates[1].append(_rate(peer, [peer.get(**query)], connections, span).per_second)
        asks, beside = map(statistics.median, rates)
        say(f"OpenTAXII: {name} {beside:,.0f}/s; ours {asks:,.0f}")
        tables.add(_beside(f"{name}, {connections} connections, requests/s", asks, beside, 50))


def _full(tables: Tables, say: Callable[[str], None], own: Target, peer: Target, seconds: float) -> None:
    """Full reads by the same client of both: pages that ours has to read anew each time, and pages that it keeps."""
    for target in (own, peer):
        objects = clients.poll(target, 1000).objects
        if objects != SIZE:
            raise RuntimeError(f"{objects} objects came back of {SIZE}")
    mine, kept = reading.anew(own), clients.poll(own, 1000).pages
    theirs = reading.anew(peer)
    taken: tuple[list[float], list[float], list[float]] = [], [], []
    for _ in range(RUNS):
        taken[0].append(clients.read(own, mine, 1, seconds))
        taken[1].append(clients.read(own, kept, 1, seconds))
        taken[2].append(clients.objects_in(_rate(peer, [page.path for page in theirs], 1, seconds), theirs, 1))
    fresh, again, beside = map(statistics.median, taken)
    say(f"OpenTAXII: full read {beside:,.0f} objects/s; ours {fresh:,.0f}, of kept pages {again:,.0f}")
    note = reading.by_whom()
    tables.add(_beside("full read, no page kept, one connection, objects/s", fresh, beside, 10, note))
    tables.add(_beside("full read, all pages kept, one connection, objects/s", again, beside, None, note))


def _beside(name: str, ours: float, theirs: float, target: float | None, note: str = "") -> Figure:
    return Figure(name, SIZE, ours, BESIDE, theirs, target, note=note)


def _rate(target: Target, paths: Sequence[str], connections: int, seconds: float) -> Rate:
    """Answers of a server that closes the connection after each: wrk opens another one by itself."""
    if clients.has_wrk():
        return clients.rate(target, paths, connections, seconds)
    return uvloop.run(_one_by_one(target, paths, connections, seconds))


async def _one_by_one(target: Target, paths: Sequence[str], connections: int, seconds: float) -> Rate:
    said = {"Host": f"127.0.0.1:{target.port}", "Accept": TAXII, "Connection": "close", **target.headers}
    requests = itertools.cycle([clients.request(path, said) for path in paths])
    times: list[float] = []
    received = 0
    began = time.perf_counter()

    async def ask() -> None:
        nonlocal received
        while (asked := time.perf_counter()) < began + seconds:
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
            writer.write(next(requests))
            answer = await reader.read()
            writer.close()
            if answer[9:12] != b"200":
                raise RuntimeError(f"OpenTAXII: {answer[:200]!r}")
            times.append((time.perf_counter() - asked) * 1000)
            received += len(answer)

    async with asyncio.timeout(seconds + PATIENCE):
        await asyncio.gather(*(ask() for _ in range(connections)))
    took = time.perf_counter() - began
    return Rate(len(times) / took, statistics.median(times), max(times), len(times), received)


# ---------------------------------------------------------------------------------------------------------- to have it


@contextmanager
def running(folder: Path) -> Iterator[Target]:
    """OpenTAXII with one empty collection while the context lasts. Raises NotToBeHad."""
    home = folder / "opentaxii"
    binaries = home / "environment/bin"
    home.mkdir()
    _do([sys.executable, "-m", "venv", str(home / "environment")])
    wanted = [f"opentaxii=={VERSION}", "sqlalchemy>=1.4,<2", "gunicorn"]
    _do([str(binaries / "pip"), "install", "--quiet", "--disable-pip-version-check", *wanted])
    port = peers.free_port()
    settings = home / "opentaxii.yml"
    settings.write_text(_SETTINGS.format(port=port, folder=home, secret="bench-" * 8), encoding="utf-8")
    told = _do(["env", f"OPENTAXII_CONFIG={settings}", str(binaries / "python"), "-W", "ignore", "-c", _FURNISH])
    path, token = told.split()[-2:]
    command = ["env", f"OPENTAXII_CONFIG={settings}", "PYTHONWARNINGS=ignore", str(binaries / "gunicorn")]
    command += ["opentaxii.http:app", "--chdir", str(home), "--workers", "2", "--timeout", "300"]
    with peers.child([*command, "--bind", f"127.0.0.1:{port}", "--log-level", "error"]) as process:
        try:
            peers.await_answer(process, port)
        except RuntimeError as error:
            raise NotToBeHad("it does not answer") from error
        yield Target(port, path, {"Authorization": f"Bearer {token}"})


def _do(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise NotToBeHad(f"{Path(command[0]).name} takes longer than 90 s") from error
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise NotToBeHad(f"{Path(command[0]).name}: {words[:120]}")
    return done.stdout
