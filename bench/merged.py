"""An increment of 100 objects that a member's collection merges from the nation, its State and its locality.

Beside it the bare app with one of these answers. Once the members of one locality all poll from where they were last,
so that the answer is kept; once each poll comes from an instant of its own, so that it is put together anew.
"""

import csv
import io
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import orjson

from bench import clients, members, peers, stix
from bench.clients import Rate, Target
from bench.members import Server
from bench.table import Figure, Tables

STATE, LOCAL = "us-ca", "us-ca-06001"
#: of each audience by turns: 100 objects in thirty envelopes
PARTS, TURNS = (("us", 4), (STATE, 3), (LOCAL, 3)), 10
OBJECTS = sum(part for _, part in PARTS) * TURNS
#: members of that locality: a key may ask 500 times at once and 50 times a second
MEMBERS = 500
#: instants from which the same 100 objects are new; a server remembers what 10,000 requests mean
INSTANTS = 20_000
CONNECTIONS = 16
RUNS = 3


def measure(tables: Tables, say: Callable[[str], None], folder: Path, span: float) -> None:
    """Both rows."""
    with members.server(folder / "merged", 1) as running:
        keys, steward = _furnish(running)
        own = Target(running.port, f"/elections/collections/{LOCAL}/objects/", {"Authorization": keys[0]})
        before, first = _publish(running.port, own, steward)
        instants = (before + (first - before) * number / INSTANTS for number in range(INSTANTS))
        every = [own.get(limit=1000, added_after=_text(instant)) for instant in instants]
        client = clients.Client(own)
        answer = client.record(every[0])
        counted = {len(orjson.loads(client.ask(path))["objects"]) for path in (every[0], every[-1])}
        client.close()
        if counted != {OBJECTS}:
            raise RuntimeError(f"{counted} objects came instead of {OBJECTS}")
        clients.rate(own, [every[0]] * MEMBERS, CONNECTIONS, 1.0, keys)  # keys that were not met before
        peers.keep({"/objects/?merged": answer}, folder / "merged-answer")
        with peers.bare(folder / "merged-answer", peers.free_port()) as bare:
            for name, paths in (("the same cursor, page kept", every[:1] * MEMBERS), ("a cursor each", every)):
                mine: list[Rate] = []
                theirs: list[Rate] = []
                held = list(itertools.islice(itertools.cycle(keys), len(paths)))
                for _ in range(RUNS):
                    mine.append(clients.rate(own, paths, CONNECTIONS, span, held))
                    theirs.append(clients.rate(bare, [bare.get() + "?merged"] * MEMBERS, CONNECTIONS, span, keys))
                    for each in (mine[-1], theirs[-1]):
                        clients.check(each, [len(answer.body)], CONNECTIONS)
                ours, fastest = (statistics.median(each.per_second for each in rates) for rates in (mine, theirs))
                say(f"increment of {OBJECTS} from three audiences, {name}: {ours:,.0f}/s; bare app: {fastest:,.0f}/s")
                measure = f"increment of {OBJECTS} objects from three audiences, {name}, requests/s"
                note = f"{CONNECTIONS} connections, {MEMBERS} keys, {len(answer.body) / 1e3:,.0f} kB"
                tables.add(Figure(measure, OBJECTS, ours, "bare app", fastest, 0.4, note=note))


def _furnish(running: Server) -> tuple[list[str], str]:
    """Members of one locality, and a steward: what each says under Authorization."""
    file = running.home / "members.csv"
    lines = [f"{LOCAL},Sample member {number},member,m{number}@example.org" for number in range(MEMBERS)]
    file.write_text("\n".join(["jurisdiction,name,kind,contact_email", *lines, ""]), encoding="utf-8")
    keys = csv.DictReader(io.StringIO(running.isac("members", "import", str(file))))
    steward = csv.DictReader(io.StringIO(running.isac("keys", "create", "Election ISAC", "--role", "steward")))
    return [f"Bearer {key['secret']}" for key in keys], f"Bearer {next(steward)['secret']}"


def _publish(port: int, own: Target, steward: str) -> tuple[datetime, datetime]:
    """Post one object, and after a while the 100; answers the dates of that one and of the first of these."""
    made = stix.objects(OBJECTS + 1, 51, kinds=1)
    _post(port, steward, "us", [next(made)])
    time.sleep(0.5)
    for code, part in PARTS * TURNS:
        _post(port, steward, code, list(itertools.islice(made, part)))
    time.sleep(3)  # new rows are dated two seconds ahead
    client = clients.Client(own)
    older = len(orjson.loads(client.ask(own.get(limit=1000)))["objects"]) - OBJECTS
    before = dict(client.record(own.get(limit=older)).headers)["x-taxii-date-added-last"]
    first = dict(client.record(own.get(limit=1000, added_after=before)).headers)["x-taxii-date-added-first"]
    client.close()
    return datetime.fromisoformat(before), datetime.fromisoformat(first)


def _post(port: int, steward: str, code: str, objects: Sequence[bytes]) -> None:
    target = Target(port, f"/elections/collections/{code}/objects/", {"Authorization": steward})
    clients.load(target, objects, writers=1)


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S.%f}Z"
