"""Warninglists in the database: what a load changes, and which lists name a value, against a slow and obvious model."""

import ipaddress
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeAlias

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isac import times
from isac.formats.warninglists import Warninglist
from isac.stix.observables import Observable, host, recognize
from isac.store import warninglists
from isac.store.database import Pool

Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]
Hit: TypeAlias = tuple[str, str, str]


def made(name: str, *networks: str, digest: bytes = b"", **names: bool) -> Warninglist:
    """A list; in its names `__` stands for a dot."""
    turned = {each.replace("__", "."): below for each, below in names.items()}
    return Warninglist(name, f"List {name}", "1", "string", digest, turned, set(networks))


@pytest.fixture
def load(run: Run, pool: Pool) -> Callable[..., int]:
    async def work(lists: Iterable[Warninglist]) -> int:
        async with pool.connection() as conn, conn.transaction():
            return await warninglists.load(conn, lists, times.now())

    return lambda *lists: run(work(lists))


@pytest.fixture
def asked(run: Run, pool: Pool) -> Callable[..., dict[str, set[Hit]]]:
    """Which of the lists made here name these values: (list, how, entry)."""

    async def work(values: list[Observable]) -> dict[str, set[Hit]]:
        async with pool.connection() as conn:
            found = await warninglists.listed(conn, values)
        hits: dict[str, set[Hit]] = {
            value.value: {(e.name, e.how, e.entry) for e in each} for value, each in found.items()
        }
        return {value: own for value, each in hits.items() if (own := {hit for hit in each if len(hit[0]) == 1})}

    return lambda *texts: run(work([each if isinstance(each, Observable) else recognize(each) for each in texts]))


def test_a_name_and_all_below_it(load: Callable[..., int], asked: Callable[..., Any]) -> None:
    load(made("a", example__com=True), made("b", example__com=False))

    assert asked("example.com", "deep.www.example.com", "another-example.com", "example.com.evil.test") == {
        "example.com": {("a", "same", "example.com"), ("b", "same", "example.com")},
        "deep.www.example.com": {("a", "inside", "example.com")},
    }


def test_a_domain_above_a_listed_host(load: Callable[..., int], asked: Callable[..., Any]) -> None:
    load(made("a", dns__example__com=False, mx__example__com=False))

    assert asked("example.com", "ample.com") == {"example.com": {("a", "around", "dns.example.com")}}


def test_a_network_around_an_address_and_an_address_in_a_network(
    load: Callable[..., int], asked: Callable[..., Any]
) -> None:
    load(made("a", "198.51.100.0/24", "203.0.113.7"), made("b", "198.51.100.64/26"))

    assert asked(
        "198.51.100.70", "198.51.100.1", "203.0.113.0/25", "203.0.113.7", "203.0.113.8", "198.51.100.0/23"
    ) == {
        "198.51.100.70": {("a", "inside", "198.51.100.0/24"), ("b", "inside", "198.51.100.64/26")},
        "198.51.100.1": {("a", "inside", "198.51.100.0/24")},
        "203.0.113.0/25": {("a", "around", "203.0.113.7")},
        "203.0.113.7": {("a", "same", "203.0.113.7")},
        "198.51.100.0/23": {("a", "around", "198.51.100.0/24"), ("b", "around", "198.51.100.64/26")},
    }


def test_urls_and_mailboxes_by_their_host_and_as_they_are(load: Callable[..., int], asked: Callable[..., Any]) -> None:
    load(made("a", "192.0.2.53", example__com=True))
    whole = Warninglist(
        "b", "B", "", "string", b"", {"http://example.com/x\\y?\\": False, "c@example.com": False}, set()
    )
    load(whole)

    url = Observable("url", "http://example.com/x\\y?\\")
    assert asked(url, "c@example.com", "http://192.0.2.53/q", "http://[2001:db8::1]/") == {
        url.value: {("a", "same", "example.com"), ("b", "same", url.value)},
        "c@example.com": {("a", "same", "example.com"), ("b", "same", "c@example.com")},
        "http://192.0.2.53/q": {("a", "same", "192.0.2.53")},
    }


def test_loading_twice_changes_nothing(load: Callable[..., int]) -> None:
    lists = made("a", "192.0.2.0/24", example__com=True), made("b", "192.0.2.1")

    assert load(*lists) == 3
    assert load(*lists) == 0


def test_what_a_list_no_longer_names_is_gone_from_it_alone(load: Callable[..., int], asked: Callable[..., Any]) -> None:
    load(made("a", "192.0.2.0/24", "192.0.2.7", x__test=True, y__test=True), made("b", "192.0.2.0/24", x__test=True))

    assert load(made("a", "192.0.2.7", y__test=False)) == 4, "x and the network went, y means another thing"
    assert asked("x.test", "y.test", "z.y.test", "192.0.2.7", "192.0.2.8") == {
        "x.test": {("b", "same", "x.test")},
        "y.test": {("a", "same", "y.test")},
        "192.0.2.7": {("a", "same", "192.0.2.7"), ("b", "inside", "192.0.2.0/24")},
        "192.0.2.8": {("b", "inside", "192.0.2.0/24")},
    }


def test_a_load_that_fails_leaves_the_older_lists(load: Callable[..., int], asked: Callable[..., Any]) -> None:
    load(made("a", x__test=True))

    with pytest.raises(psycopg.DataError):
        load(made("a", y__test=True), made("b", "no network"))

    assert asked("x.test", "y.test") == {"x.test": {("a", "same", "x.test")}}


# ---------------------------------------------------------------------------------------- against an obvious model

_LABEL = st.sampled_from(["a", "b", "a-b", "ab"])
_DOMAINS = st.builds(lambda labels: ".".join([*labels, "test"]), st.lists(_LABEL, min_size=1, max_size=3))
_V4 = st.builds(
    lambda number, length: str(ipaddress.ip_network((0xC0000200 | number, length), strict=False)),
    st.integers(0, 255),
    st.integers(16, 32),
)
_V6 = st.builds(
    lambda number, length: str(ipaddress.ip_network((0x20010DB8 << 96 | number << 90, length), strict=False)),
    st.integers(0, 63),
    st.sampled_from([32, 33, 35, 36, 37, 38, 128]),
)
_NETWORKS = st.one_of(_V4, _V6)
_VALUES = st.one_of(
    _DOMAINS, _NETWORKS, st.builds("http://{}/x".format, _DOMAINS), st.builds("c@{}".format, _DOMAINS)
).map(recognize)


def obvious(lists: list[Warninglist], value: Observable) -> set[Hit]:
    """Of each list: how each entry names the value or its host; of those below or inside it the first only."""
    found = set()
    for each in lists:
        for place in filter(None, (value, host(value))):
            named = [(_name(entry, below, place), entry) for entry, below in each.names.items()]
            named += [(_network(entry, place), entry) for entry in each.networks]
            found |= {(each.name, how, entry) for how, entry in named if how in ("same", "inside")}
            around = [entry for how, entry in named if how == "around"]
            # A domain that is listed itself needs no more.
            if around and not (place.kind == "domain-name" and ("same", place.value) in named):
                found.add((each.name, "around", _first(around)))
    return found


def _first(entries: list[str]) -> str:
    if any(":" in entry or entry[0].isdigit() for entry in entries):
        return min(entries, key=lambda entry: entry if "/" in entry else f"{entry}/{128 if ':' in entry else 32}")
    return min(entries, key=lambda entry: list(reversed(entry.split("."))))


def _name(entry: str, below: bool, value: Observable) -> str:
    if entry == value.value:
        return "same"
    if value.kind != "domain-name":
        return ""
    if below and value.value.endswith(f".{entry}"):
        return "inside"
    return "around" if entry.endswith(f".{value.value}") else ""


def _network(entry: str, value: Observable) -> str:
    if value.kind not in ("ipv4-addr", "ipv6-addr"):
        return ""
    listed, asked = ipaddress.ip_network(entry), ipaddress.ip_network(value.value)
    if listed.version != asked.version or not listed.overlaps(asked):
        return ""
    return "same" if listed == asked else "inside" if listed.prefixlen < asked.prefixlen else "around"


@given(
    first=st.lists(st.tuples(st.dictionaries(_DOMAINS, st.booleans()), st.sets(_NETWORKS)), min_size=2, max_size=2),
    second=st.tuples(st.dictionaries(_DOMAINS, st.booleans()), st.sets(_NETWORKS)),
    values=st.lists(_VALUES, max_size=20, unique=True),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_it_finds_what_an_obvious_search_finds(
    load: Callable[..., int],
    asked: Callable[..., Any],
    first: list[tuple[dict[str, bool], set[str]]],
    second: tuple[dict[str, bool], set[str]],
    values: list[Observable],
) -> None:
    def of(name: str, content: tuple[dict[str, bool], set[str]]) -> Warninglist:
        networks = {str(recognize(network).value) for network in content[1]}
        return Warninglist(name, name, "", "string", b"", content[0], networks)

    load(*(of(name, content) for name, content in zip("ab", first, strict=True)))
    load(of("a", second))
    lists = [of("a", second), of("b", first[1])]

    expected = {value.value: found for value in values if (found := obvious(lists, value))}
    assert asked(*values) == expected
