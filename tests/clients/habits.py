"""How clients go on from page to page with our cursors: each habit asks, is answered, and asks on."""

import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass

COUNTY, NEIGHBOR = "us-oh-39049", "us-oh-39035"
INDICATORS = ("indicator",)


@dataclass(frozen=True)
class Token:
    """A `next`, and what is true of it: where it came from, and what was asked there."""

    text: str
    shelf: str
    position: str
    limit: int
    types: tuple[str, ...] | None
    history: bool


@dataclass(frozen=True)
class Ask:
    """One request. None is «not given»."""

    shelf: str
    after: str | None = None
    next: Token | None = None
    limit: int | None = None
    types: tuple[str, ...] | None = None
    history: bool = False
    path: str = "objects/"


@dataclass(frozen=True)
class Got:
    """Its answer: X-TAXII-Date-Added-Last and `next`."""

    last: str | None
    next: Token | None


Asking = Generator[Ask, Got, None]


@dataclass(frozen=True)
class Habit:
    """What a client does, beginning at a date, and what it must therefore get."""

    name: str
    begin: Callable[[str], Asking]
    shelves: tuple[str, ...] = (COUNTY,)
    types: tuple[str, ...] | None = None
    history: bool = False


def next_alone(start: str, shelf: str = COUNTY, history: bool = False, path: str = "objects/") -> Asking:
    """`next` and limit; added_after from the header after the last page."""
    while True:
        got = yield Ask(shelf, start, None, 2, history=history, path=path)
        while got.next:
            got = yield Ask(shelf, None, got.next, 2, path=path)
        start = got.last or start


def header_alone(start: str) -> Asking:
    """Never `next`."""
    while True:
        got = yield Ask(COUNTY, start, None, 2)
        start = got.last or start


def both(start: str) -> Asking:
    """`next` together with the added_after of the first page."""
    while True:
        got = yield Ask(COUNTY, start, None, 3)
        while got.next:
            got = yield Ask(COUNTY, start, got.next, 3)
        start = got.last or start


def both_from_headers(start: str) -> Asking:
    """`next` together with the newest header."""
    while True:
        got = yield Ask(COUNTY, start, None, 2)
        while got.next:
            start = got.last or start
            got = yield Ask(COUNTY, start, got.next, 2)
        start = got.last or start


def changing_limits(start: str) -> Asking:
    """A new limit with each request, at times none: that of the page before."""
    limits = itertools.cycle((1, None, 4, 2, 3))
    while True:
        got = yield Ask(COUNTY, start, None, next(limits) or 1)
        while got.next:
            got = yield Ask(COUNTY, None, got.next, next(limits))
        start = got.last or start


def dropping_filters(start: str) -> Asking:
    while True:
        got = yield Ask(COUNTY, start, None, 1, INDICATORS)
        while got.next:
            got = yield Ask(COUNTY, None, got.next)
        start = got.last or start


def narrowing_filters(start: str) -> Asking:
    """All, then indicators, then that filter is dropped again."""
    while True:
        got = yield Ask(COUNTY, start, None, 2)
        if got.next:
            got = yield Ask(COUNTY, start, got.next, 1, INDICATORS)
        while got.next:
            got = yield Ask(COUNTY, None, got.next)
        start = got.last or start


def stale_next(start: str) -> Asking:
    """Two collections, one `next` that is never dropped: it goes to the other collection, and into the next run."""
    starts = {COUNTY: start, NEIGHBOR: start}
    stale: Token | None = None
    while True:
        for shelf in starts:
            got = yield Ask(shelf, starts[shelf], stale, 2)
            while got.next:
                stale = got.next
                got = yield Ask(shelf, None, stale, 2)
            starts[shelf] = got.last or starts[shelf]


def in_turn(start: str) -> Asking:
    """Two collections, page and page about."""
    asking = [next_alone(start, shelf) for shelf in (COUNTY, NEIGHBOR)]
    asks = [next(each) for each in asking]
    while True:
        for n, each in enumerate(asking):
            asks[n] = each.send((yield asks[n]))


HABITS = (
    Habit("next alone", next_alone),
    Habit("header alone", header_alone),
    Habit("both", both),
    Habit("both, from headers", both_from_headers),
    Habit("changing limits", changing_limits),
    Habit("dropping filters", dropping_filters, types=INDICATORS),
    Habit("narrowing filters", narrowing_filters, types=INDICATORS),
    Habit("stale next", stale_next, shelves=(COUNTY, NEIGHBOR)),
    Habit("in turn", in_turn, shelves=(COUNTY, NEIGHBOR)),
    Habit("manifest", lambda start: next_alone(start, path="manifest/")),
    Habit("history", lambda start: next_alone(start, history=True), history=True),
    Habit("wider", lambda start: next_alone(start, "us"), shelves=("us",)),
)
