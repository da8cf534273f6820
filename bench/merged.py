"""An increment of 100 objects that a member's collection merges from the nation, its State and its locality.

Beside it the bare app with one of these answers. Once the members of one locality all poll from where they were last,
so that the answer is kept; once each poll begins at another row, so that it is merged and put together anew.
"""

import csv
import io
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import orjson

from bench import clients, members, peers, stix
from bench.clients import Client, Recorded, Target
from bench.members import Server
from bench.table import Figure, Tables

STATE, LOCAL = "us-ca", "us-ca-06001"
#: of each audience by turns, each in an envelope of its own
PARTS = (("us", 4), (STATE, 3), (LOCAL, 3))
#: objects of an increment, and rows at which one begins: a worker keeps what is asked for again before 100 others
OBJECTS, STARTS = 100, 1000
#: members of that locality: a key may ask 500 times at once and 50 times a second
MEMBERS = 500
#: a server remembers what 10,000 requests mean
REQUESTS = 20_000
CONNECTIONS = 16
RUNS = 3


def measure(tables: Tables, say: Callable[[str], None], folder: Path, span: float) -> None:
    """Both rows."""
    with members.server(folder / "merged", 1) as running:
        keys, steward = _furnish(running)
        own = Target(running.port, f"/elections/collections/{LOCAL}/objects/", {"Authorization": keys[0]})
        dates = _publish(own, steward)
        same = own.get(limit=1000, added_after=dates[-OBJECTS - 1])
        every = [own.get(limit=OBJECTS, added_after=date) for date in dates[:STARTS]]
        last, *answers = _recorded(own, [same, *every], keys)
        counted = {len(orjson.loads(answer.body)["objects"]) for answer in (last, *answers)}
        if counted != {OBJECTS} or len({answer.body for answer in answers}) < STARTS:
            raise RuntimeError(f"{counted} objects came instead of {OBJECTS}, or the same ones twice")
        clients.rate(own, [same] * MEMBERS, CONNECTIONS, 1.0, keys)  # keys that were not met before
        peers.keep({"/objects/?merged": last}, folder / "merged-answer")
        with peers.bare(folder / "merged-answer", peers.free_port()) as bare:
            its = [bare.get() + "?merged"] * MEMBERS
            for name, turn, bodies in (
                ("the same cursor, page kept", [same] * MEMBERS, [last.body]),
                ("from another row each time, merged anew", every, [answer.body for answer in answers]),
            ):
                # In each turn with other keys, so that no two requests are the same; but for those that should be.
                turns = REQUESTS // STARTS if turn is every else 1
                paths, held = turn * turns, [keys[(n + n // STARTS) % MEMBERS] for n in range(len(turn) * turns)]
                mine, theirs = [], []
                for _ in range(RUNS):
                    mine.append(clients.rate(own, paths, CONNECTIONS, span, held))
                    clients.check(mine[-1], [len(body) for body in bodies], CONNECTIONS)
                    theirs.append(clients.rate(bare, its, CONNECTIONS, span, keys))
                    clients.check(theirs[-1], [len(last.body)], CONNECTIONS)
                ours, fastest = (statistics.median(each.per_second for each in rates) for rates in (mine, theirs))
                say(f"increment of {OBJECTS} from three audiences, {name}: {ours:,.0f}/s; bare app: {fastest:,.0f}/s")
                measure = f"increment of {OBJECTS} objects from three audiences, {name}, requests/s"
                size = f"{statistics.mean(map(len, bodies)) / 1e3:,.0f} kB"
                note = f"{CONNECTIONS} connections, {MEMBERS} keys, {len(bodies):,} answers of {size}"
                tables.add(Figure(measure, OBJECTS, ours, "bare app", fastest, 0.4, note=note))


def _furnish(running: Server) -> tuple[list[str], str]:
    """Members of one locality, and a steward: what each says under Authorization."""
    file = running.home / "members.csv"
    lines = [f"{LOCAL},Sample member {number},member,m{number}@example.org" for number in range(MEMBERS)]
    file.write_text("\n".join(["jurisdiction,name,kind,contact_email", *lines, ""]), encoding="utf-8")
    keys = csv.DictReader(io.StringIO(running.isac("members", "import", str(file))))
    steward = csv.DictReader(io.StringIO(running.isac("keys", "create", "Election ISAC", "--role", "steward")))
    return [f"Bearer {key['secret']}" for key in keys], f"Bearer {next(steward)['secret']}"


def _recorded(own: Target, paths: Sequence[str], keys: Sequence[str]) -> Iterator[Recorded]:
    """The answers one by one, and a few by each key, which may not ask for all of them."""
    for begin in range(0, len(paths), MEMBERS // 2):
        client = Client(own.sending({"Authorization": keys[begin * 2 // MEMBERS]}))
        yield from (client.record(path) for path in paths[begin : begin + MEMBERS // 2])
        client.close()


def _publish(own: Target, steward: str) -> list[str]:
    """Post objects, so slowly that none is taken for an import, until there is an increment after each start.

    Answers the dates of all of them, as the locality sees them.
    """
    made = stix.objects(STARTS + OBJECTS, 51, kinds=1)
    for posted in range(0, STARTS + OBJECTS, sum(part for _, part in PARTS)):
        for code, part in PARTS:
            target = Target(own.port, f"/elections/collections/{code}/objects/", {"Authorization": steward})
            clients.load(target, list(itertools.islice(made, part)), writers=1)
        if posted % OBJECTS == 0:
            time.sleep(0.3)
    time.sleep(3)  # new rows are dated two seconds ahead
    client, dates, more = Client(own), list[str](), True
    while more:
        path = own.path.replace("/objects/", f"/manifest/?limit=1000&added_after={dates[-1] if dates else ''}")
        page = orjson.loads(client.ask(path.removesuffix("&added_after=")))
        dates += [record["date_added"] for record in page["objects"]]
        more = page.get("more", False)
    client.close()
    return dates[-STARTS - OBJECTS :]
