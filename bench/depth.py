"""Does the size of a collection matter? The same requests, in turns, at one of 10,000 objects and one of a million."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import members, postgres, stix
from bench.clients import Client, Target, load
from bench.table import Figure, Tables

#: of each request at each collection; a key may ask 500 times at once and 50 times a second
ROUNDS = 60
COUNTED = 20


@dataclass(frozen=True)
class Sides:
    """The two collections on the same server, and an instant in the middle of each."""

    few: Target
    many: Target
    middle_of_few: datetime
    middle_of_many: datetime


def measure(
    tables: Tables,
    say: Callable[[str], None],
    folder: Path,
    url: str,
    headers: dict[str, str],
    few: Target,
    middle_of_many: datetime,
) -> None:
    """Times and statements; `few` is an empty collection of the sandbox, and `public` has a million objects already.

    By a server of its own, since the sandbox's has not seen rows that were put past it.
    """
    load(few, list(stix.objects(10_000, 91)))
    with members.server(folder / "depth", 1, url) as running:
        root = few.path.partition("collections/")[0]
        here = Target(running.port, few.path, headers)
        sides = Sides(
            here,
            Target(running.port, f"{root}collections/public/objects/", headers),
            _middle(here),
            middle_of_many,
        )
        time.sleep(3)  # new rows are dated two seconds ahead: until then no poll is quiet
        _times(tables, say, sides)
        time.sleep(2)
        with postgres.statements(url) as count:
            _statements(tables, say, sides, count)


def _middle(few: Target) -> datetime:
    client = Client(few)
    answer = dict(client.record(few.get(limit=1000)).headers)
    client.close()
    return datetime.fromisoformat(answer["x-taxii-date-added-last"])


def _requests(target: Target, middle: datetime, number: int) -> list[tuple[str, str]]:
    """Requests that nobody made before, so that no page is kept."""
    now = datetime.now(UTC) + timedelta(microseconds=number)
    return [
        ("quiet poll", target.get(limit=1000, added_after=_text(now))),
        ("first page", target.get(limit=100 + number)),
        ("deep page", target.get(limit=100, added_after=_text(middle + timedelta(microseconds=number)))),
    ]


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S.%f}Z"


def _times(tables: Tables, say: Callable[[str], None], sides: Sides) -> None:
    taken: dict[str, tuple[list[float], list[float]]] = {}
    clients = Client(sides.few), Client(sides.many)
    for number in range(ROUNDS):
        few = _requests(sides.few, sides.middle_of_few, number)
        many = _requests(sides.many, sides.middle_of_many, number)
        for (name, at_few), (_, at_many) in zip(few, many, strict=True):
            times = taken.setdefault(name, ([], []))
            for side, path in enumerate((at_few, at_many)):
                began = time.perf_counter()
                clients[side].ask(path)
                times[side].append((time.perf_counter() - began) * 1000)
    for client in clients:
        client.close()
    for name, (few_times, many_times) in taken.items():
        large, small = statistics.median(many_times), statistics.median(few_times)
        say(f"{name}: {large:.2f} ms at 1,000,000 objects, {small:.2f} ms at 10,000")
        measure = f"{name}, asked for the first time, one client, ms"
        tables.add(Figure(measure, 1_000_000, large, "the same at 10,000, in turns", small, 1.2, "at most"))


def _statements(tables: Tables, say: Callable[[str], None], sides: Sides, count: Callable[[], int]) -> None:
    counted: list[dict[str, float]] = []
    for target, middle in ((sides.many, sides.middle_of_many), (sides.few, sides.middle_of_few)):
        each: dict[str, float] = {}
        client = Client(target)
        asked = [_requests(target, middle, ROUNDS + number) for number in range(COUNTED)]
        for which, (name, _) in enumerate(asked[0]):
            before = count()
            for requests in asked:
                client.ask(requests[which][1])
            time.sleep(0.2)
            each[name] = (count() - before) / COUNTED
        client.close()
        counted.append(each)
    large, small = counted
    say(f"statements a request: {large}; at 10,000: {small}")
    for name, number in large.items():
        measure = f"{name}, asked for the first time, statements in PostgreSQL"
        note = "" if number == small[name] else "not the same"
        at_most = max(small[name], 0.0)
        tables.add(Figure(f"{measure}; at 10,000 {at_most:g}", 1_000_000, number, "", None, at_most, "at most", note))
