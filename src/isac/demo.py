"""`make demo`: a server with the nation, 50 States and 1,100 local jurisdictions, invented members and sample feeds.

The second start finds everything in place and changes nothing.
"""

import contextlib
import csv
import fcntl
import io
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn

from isac import server, times
from isac.errors import NotFound, Surroundings
from isac.ingest import feeds, sources
from isac.ingest.foundation import found
from isac.ingest.sources import Around
from isac.package_data import package_data
from isac.policy import jurisdictions as rosters
from isac.policy.actors import Role
from isac.policy.jurisdictions import Jurisdiction
from isac.policy.organizations import Organization
from isac.store import database, embedded, members, migrations
from isac.store.database import Connection, Pool
from isac.store.submissions import Counts

#: the sample keys: whose, in which role, and what is said of it
_COUNTY, _STATE, _NATION = "us-oh-39049", "us-oh", "us"
_SAMPLES = {
    _COUNTY: (Role.POLLER, "a county, Franklin County in Ohio"),
    _STATE: (Role.POLLER, "its State, Ohio"),
    _NATION: (Role.ANALYST, "an analyst of the ISAC"),
}
#: the sample keys' secrets, so that every start can print them; they open a server on loopback with invented data
_KEYS = "demo-keys.csv"


def run(home: Path, port: int, max_content_length: int, out: Console, err: Console) -> None:
    """Serve the demonstration until Ctrl-C."""
    server.stop_cleanly()
    listening = server.listen("127.0.0.1", port, also="make demo PORT=")
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    home.mkdir(parents=True, exist_ok=True)
    with (home / "demo.lock").open("w") as alone:
        _alone(alone, home)
        _serve(home, listening, address, columns, max_content_length, out, err)


def _alone(lock: TextIO, home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Surroundings(
            f"A demonstration runs on {home} already. Stop it first, or use another checkout, or another ISAC_HOME."
        ) from error


def _serve(
    home: Path,
    listening: socket.socket,
    address: str,
    columns: tuple[ProgressColumn, ...],
    max_content_length: int,
    out: Console,
    err: Console,
) -> None:
    with contextlib.ExitStack() as leaving:
        with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
            boot = progress.add_task("starting PostgreSQL", total=1)
            running = leaving.enter_context(embedded.lent(home / "postgres"))
            url = database.create(running.conninfo, "isac")
            migrations.migrate(url)
            progress.advance(boot)
            counts = uvloop.run(_furnish(url, home, progress))
        keys = _saved(home / _KEYS)
        server.run(
            listening,
            url,
            max_content_length=max_content_length,
            samples=True,
            ready=lambda: _print(out, address, keys, counts),
        )


async def _furnish(url: str, home: Path, progress: Progress) -> dict[str, Counts]:
    """Jurisdictions, members, keys, feeds; answers what became of each feed."""
    roster = rosters.read((package_data("feeds") / "jurisdictions.csv").read_text(encoding="utf-8")).jurisdictions
    async with database.pool(url, size=2) as pool:
        people = progress.add_task(f"{len(roster)} jurisdictions and their members", total=1)
        await found(pool, roster)
        await _add_members(pool, roster, home)
        progress.advance(people)
        folder = package_data("feeds")
        defined = [feed for feed in feeds.load_all(folder) if feed.sample]
        reading = progress.add_task("reading feeds", total=len(defined))
        counts = {}
        for feed in defined:
            brought, count = await sources.run(pool, feed, Around(folder))
            counts[feed.name] = count + Counts(refused=brought.unreadable or 0)
            progress.advance(reading)
    return counts


async def _add_members(pool: Pool, roster: Iterable[Jurisdiction], home: Path) -> None:
    """An invented organization for each State and local jurisdiction, and the sample keys, once."""
    names = {each.code: f"Sample member {each.code}" for each in roster if each.code != _NATION}
    async with pool.connection() as conn, conn.transaction():
        known = await members.organizations(conn)
        new = [
            Organization(code, name, "member", f"{code}@example.org")
            for code, name in names.items()
            if name.lower() not in known
        ]
        await members.add_organizations(conn, new)
        if (home / _KEYS).exists() and await _stand(conn, home):
            return
        known = await members.organizations(conn)
        isac = (await members.steward(conn)).organization
        owners = {code: isac if code == _NATION else known[names[code].lower()] for code in _SAMPLES}
        keys = await members.create_keys(
            conn, {owners[code]: role for code, (role, _) in _SAMPLES.items()}, "operator", times.now()
        )
        _save(home / _KEYS, {key.jurisdiction or "": key for key in keys})


async def _stand(conn: Connection, home: Path) -> bool:
    """Do the keys that were saved belong to this database?"""
    try:
        for key_id, _ in _saved(home / _KEYS).values():
            await members.keyholder(conn, key_id)
    except NotFound:
        return False
    return True


def _save(file: Path, keys: dict[str, members.NewKey]) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerows([code, key.key_id, key.secret] for code, key in keys.items())
        opened.flush()
        os.fsync(opened.fileno())


def _saved(file: Path) -> dict[str, tuple[str, str]]:
    return {
        code: (key_id, secret) for code, key_id, secret in csv.reader(io.StringIO(file.read_text(encoding="utf-8")))
    }


def _print(out: Console, address: str, keys: dict[str, tuple[str, str]], counts: dict[str, Counts]) -> None:
    for name, count in counts.items():
        if count == Counts():
            out.print(f"feed {name}: nothing is new")
            continue
        out.print(
            f"feed {name}: {count.accepted} accepted, {count.held} held, {count.refused} refused, "
            f"{count.repeated} there already"
        )
    if any(count.held or count.refused for count in counts.values()):
        out.print("(What is held and refused is in the samples on purpose: isac triage list shows what is held.)")
    python = sys.executable
    for code, (_, words) in _SAMPLES.items():
        key_id, secret = keys[code]
        objects = f"{address}/elections/collections/{code}/objects/"
        script = (
            f"from taxii2client.v21 import Server; "
            f"s=Server('{address}/taxii2/',user='{key_id}',password='{secret}'); "
            f"[print(c.title, len(c.get_objects(limit=1000).get('objects',[])), 'objects') "
            f"for c in s.default.collections]"
        )
        out.print(f"\nAs {words}:", markup=False)
        out.print(f"curl -s -g -u {key_id}:{secret} '{objects}?limit=3&match[type]=indicator'", markup=False)
        out.print(f'NO_PROXY=* {python} -c "{script}"', markup=False)
    out.print(f"\nServing on {address}, Ctrl-C stops everything.", markup=False)
