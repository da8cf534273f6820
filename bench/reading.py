"""A collection read from its first page to its last, through HTTP and in PostgreSQL alone.

The pages are looked up once by our own client, then asked for in the same order by wrk, which does not parse: so the
server is measured and not the one who reads. `next` names a place, so the address of a page stays good.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench import clients, postgres
from bench.clients import Page, Target
from bench.table import Figure, Tables
from isac.serve import pages as kept

RUNS = 3
READERS = 16


@dataclass(frozen=True)
class Shelf:
    """A collection, the bare app with its pages of 1,000, and the database that it is in."""

    target: Target
    bare: Target
    url: str
    collection: str
    size: int


def anew(target: Target, limit: int = 1000) -> list[Page]:
    """Pages of so many bytes that none is kept until it is asked for again: of smaller limits, too, if need be.

    The server drops what was asked for longest ago, and that is what whoever goes round asks for next.
    """
    pages: list[Page] = []
    while sum(page.size for page in pages) < 2 * kept.MAX_BYTES:
        pages += clients.poll(target, limit).pages
        limit -= 10
    return pages


def again(pages: Sequence[Page]) -> list[Page]:
    """The first of them, as many as the server keeps at once with something to spare."""
    most = kept.MAX_BYTES // 2
    return [page for number, page in enumerate(pages) if sum(each.size for each in pages[: number + 1]) <= most]


def asked(target: Target, pages: Sequence[Page]) -> list[Page]:
    """The same with the bytes that this target has for them: with gzip they are others."""
    client = clients.Client(target)
    found = [Page(page.path, page.objects, len(client.record(page.path).body)) for page in pages]
    client.close()
    return found


def by_whom() -> str:
    """Who reads, for the note of a row."""
    return "wrk" if clients.has_wrk() else "wrk is not installed: our own client, which costs more"


def in_postgres(shelf: Shelf, pages: Sequence[Page]) -> float:
    """The part of the pages that the server reads in PostgreSQL, if they were asked for before."""
    asked(shelf.target, pages)
    with postgres.statements(shelf.url) as count:
        asked(shelf.target, pages)
        time.sleep(0.2)
        return min(1.0, count() / len(pages))


def measure(tables: Tables, say: Callable[[str], None], shelf: Shelf, span: float) -> None:
    """All of it."""
    whole = clients.poll(shelf.target, 1000).pages
    pages, few = anew(shelf.target), again(whole)
    gzip = shelf.target.sending({"Accept-Encoding": "gzip"})
    pages_packed, few_packed = asked(gzip, pages), asked(gzip, few)
    parts = [in_postgres(shelf, each) for each in (pages, few)]
    at_bare = [replace(page, path=shelf.bare.path + page.path.removeprefix(shelf.target.path)) for page in whole]
    steps: dict[str, Callable[[], float]] = {
        "COPY": lambda: _rows(shelf, postgres.copy_out(shelf.url, shelf.collection)),
        "SQL": lambda: _rows(shelf, postgres.walk(shelf.url, shelf.collection, 1000)),
        "one": lambda: clients.read(shelf.target, pages, 1, span),
        "many": lambda: clients.read(shelf.target, pages, READERS, span),
        "kept": lambda: clients.read(shelf.target, few, 1, span),
        "bare": lambda: clients.read(shelf.bare, at_bare, 1, span),
        "gzip": lambda: clients.read(gzip, pages_packed, 1, span),
        "gzip kept": lambda: clients.read(gzip, few_packed, 1, span),
    }
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(RUNS):  # in turns
        for name, step in steps.items():
            taken[name].append(step())
    of = {name: statistics.median(rates) for name, rates in taken.items()}
    say("full read, objects/s: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in of.items()))
    notes = [
        f"{len(each)} pages, {sum(page.size for page in each) / 1e6:,.0f} MB, {part:.0%} from PostgreSQL; {by_whom()}"
        for each, part in zip((pages, few), parts, strict=True)
    ]
    beside = "COPY … TO STDOUT"

    def add(measure: str, ours: str, beside: str, theirs: str, target: float | None = None, note: str = "") -> None:
        tables.add(Figure(measure, shelf.size, of[ours], beside, of[theirs], target, note=note))

    add("pages of 1,000 one after the other, SQL alone, rows/s", "SQL", beside, "COPY", 0.6)
    add("full read through HTTP, one connection, objects/s", "one", beside, "COPY", 0.4, notes[0])
    add(f"the same, {READERS} connections", "many", beside, "COPY", note=notes[0])
    add("first pages again and again, which are kept, one connection, objects/s", "kept", beside, "COPY", note=notes[1])
    add("full read through HTTP, one connection, objects/s", "one", "bare app", "bare", note=by_whom())
    add("full read with gzip, one connection, objects/s", "gzip", "without gzip", "one", 0.5, note=by_whom())
    add("first pages again and again with gzip, objects/s", "gzip kept", "without gzip", "kept", note=by_whom())


def _rows(shelf: Shelf, read: tuple[int, float]) -> float:
    """Rows a second, if it was all of them."""
    if read[0] != shelf.size:
        raise RuntimeError(f"{read[0]} rows were read of {shelf.size}")
    return shelf.size / read[1]
