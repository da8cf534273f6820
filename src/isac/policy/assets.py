"""What a member owns, and when something names it: domains, networks, and the vendors and products that it uses.

A file has the columns `kind` and `value`, an operator's also `organization`. Values are kept in canonical form:
domains and networks as `stix.observables` writes them, names of vendors and products as their words in lower case.
"""

import itertools
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from isac.policy import lookalikes, places
from isac.policy.actors import Role
from isac.policy.jurisdictions import Problem, shown, table
from isac.stix import observables
from isac.stix.objects import Object
from isac.stix.observables import Observable

#: who manages an organization's assets and reads its alerts, of its own keys
MANAGERS = frozenset({Role.ANALYST, Role.ADMIN, Role.STEWARD})
#: of `meets`: what is registered twice if somebody else's asset is met so
OVERLAPS = frozenset({"same", "below", "above", "inside", "around"})

KINDS = ("domain", "network", "vendor", "product")
COLUMNS = ("kind", "value")
#: of one organization
MOST = 2000

_FORMS_OF_COMPANY = frozenset(["inc", "llc", "ltd", "corp", "corporation", "co", "company", "gmbh", "plc", "lp"])


@dataclass(frozen=True, slots=True)
class Asset:
    """Something that an organization registered, in canonical form."""

    #: one of KINDS
    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is looked at of one object that came."""

    observables: Sequence[Observable] = ()
    #: of a vulnerability, which names vendors and products in words
    name: str = ""
    description: str = ""


#: of an object in which nothing can name an asset
NOTHING = Seen()


# --------------------------------------------------------------------------------------------------------- registering


def read(text: str, codes: Collection[str] | None = None) -> tuple[list[tuple[str, Asset]], tuple[Problem, ...]]:
    """Read CSV: (code of the organization or "", asset), each once, and the problems by line.

    With `codes`, those of all organizations, there is a column `organization`.
    """
    rows, problems = table(text, COLUMNS if codes is None else ("organization", *COLUMNS))
    return _read(rows, problems, codes)


def read_records(records: Any) -> tuple[list[tuple[str, Asset]], tuple[Problem, ...]]:
    """The same from a JSON list of {"kind": …, "value": …}; a problem's line counts its records."""
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        return [], (Problem(1, 'write a list of records such as {"kind": "domain", "value": "county.example"}'),)
    rows, problems = [], []
    for line, record in enumerate(records, 1):
        strange = sorted(set(record) - set(COLUMNS))
        if strange or not all(isinstance(record.get(column), str) for column in COLUMNS):
            what = f"has {shown(str(strange[0]))}" if strange else "lacks one of them as a text"
            problems.append(Problem(line, f"{what}: a record has {' and '.join(COLUMNS)}"))
        else:
            rows.append((line, {column: record[column].strip() for column in COLUMNS}))
    return _read(rows, problems, None)


def _read(
    rows: Sequence[tuple[int, Mapping[str, str]]], problems: Sequence[Problem], codes: Collection[str] | None
) -> tuple[list[tuple[str, Asset]], tuple[Problem, ...]]:
    found: dict[tuple[str, Asset], None] = {}
    wrong = list(problems)
    for line, cells in rows:
        code = cells.get("organization", "").lower()
        if codes is not None and code not in codes:
            wrong.append(Problem(line, f"organization {shown(code)} is unknown: write a code of isac members list"))
            continue
        try:
            found[code, asset(cells["kind"], cells["value"])] = None
        except ValueError as error:
            wrong.append(Problem(line, str(error)))
    return list(found), tuple(sorted(wrong, key=lambda problem: problem.line))


def asset(kind: str, value: str) -> Asset:
    """An asset in canonical form. Raises ValueError, with words for whoever wrote it."""
    reader = {"domain": _domain, "network": _network, "vendor": _vendor, "product": _product}.get(kind.lower())
    if reader is None:
        raise ValueError(f"kind {shown(kind)} is unknown: write one of {', '.join(KINDS)}")
    return Asset(kind.lower(), reader(value))


def _domain(text: str) -> str:
    name = observables.recognize(text, "domain").value
    if places.registrable(name) is None:
        raise ValueError(
            f"{shown(name)} is a public suffix, below which anybody registers: write your own name below it"
        )
    return name


def _network(text: str) -> str:
    found = observables.recognize(text, "ip")
    if found.kind not in ("ipv4-addr", "ipv6-addr"):
        raise ValueError(f"{shown(text)} is no address or network: write it like 192.0.2.0/24")
    network = ip_network(found.value)
    if what := places.reserved(network):
        raise ValueError(f"{shown(found.value)} is {what}, others have it too: write your public addresses")
    widest = places.WIDEST[found.kind]
    if network.prefixlen < widest:
        raise ValueError(f"{shown(found.value)} is wider than /{widest}: write the networks in it that are yours")
    return found.value


def _vendor(text: str) -> str:
    found = words(text)
    while len(found) > 1 and found[-1] in _FORMS_OF_COMPANY:
        found.pop()
    if len("".join(found)) < 3 or len(text) > 200:
        raise ValueError(f"vendor {shown(text)} is no name to look for: write the vendor's name, 3 to 200 letters")
    return " ".join(found)


def _product(text: str) -> str:
    found = words(text)
    if len(found) < 2 or len(text) > 200:
        raise ValueError(
            f"product {shown(text)} is one word, which means too many things: "
            "write the vendor before it, such as Example Systems Poll Book"
        )
    return " ".join(found)


def words(text: str) -> list[str]:
    """The words of a name or a sentence in lower case, without signs."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


# ------------------------------------------------------------------------------------------------------------ matching

# Longer descriptions name more than they are about.
_MOST_WORDS = 80
_CVE = re.compile(r"\bCVE-\d{4}-\d{4,}\b", re.I)


def seen(found: Object) -> Seen:
    """What is looked at of an object."""
    if found.type != "vulnerability":
        return Seen(found.observables)
    return Seen(found.observables, str(found.body.get("name", "")), str(found.body.get("description", "")))


def observable(owned: Asset) -> Observable:
    """A domain or a network as a value."""
    if owned.kind == "domain":
        return Observable("domain-name", owned.value)
    return Observable("ipv6-addr" if ":" in owned.value else "ipv4-addr", owned.value)


def place_of(observable: Observable) -> Observable | None:
    """The domain, address or network that a value lies on; None for what lies nowhere, such as a hash."""
    if observable.kind in ("domain-name", "ipv4-addr", "ipv6-addr"):
        return observable
    return observables.host(observable)


def name_keys(name: str) -> list[str]:
    """What a domain is looked up under to find itself, what it lies below, and what lies below it."""
    own = lookalikes.parts(name)
    if own is None:
        return []
    found, rest, shortest = [f"^{name}", f"@{name}"], name, len(own.label) + 1 + len(own.suffix)
    while len(rest) > shortest:
        rest = rest.partition(".")[2]
        found.append(f"@{rest}")
    return found


def word_keys(looked: Seen) -> set[str]:
    """What a vulnerability is looked up under: neighboring words, and the first of its name."""
    name, description = _texts(looked)
    found = {f"w{one} {other}" for text in (name, description) for one, other in itertools.pairwise(text)}
    return found | {f"v{name[0]}"} if name else found


def _texts(looked: Seen) -> tuple[list[str], list[str]]:
    # A number is no name, and where it stands first the vendor stands second.
    return words(_CVE.sub(" ", looked.name[:1000])), words(_CVE.sub(" ", looked.description[:2000]))[:_MOST_WORDS]


def asset_keys(owned: Asset) -> set[str]:
    """What an asset is kept under; a network is found by itself."""
    if owned.kind == "network":
        return set()
    if owned.kind == "domain":
        own = places.registrable(owned.value) or owned.value
        found, rest = {f"@{owned.value}"} | lookalikes.member_keys(owned.value), owned.value
        while len(rest) > len(own):
            rest = rest.partition(".")[2]
            found.add(f"^{rest}")
        return found
    first, *more = owned.value.split()
    return {f"w{first} {more[0]}"} if more else {f"v{first}"}


def meets(observable: Observable, owned: Asset) -> str | None:
    """How a value concerns a domain or a network: a word of policy.alerts.HOW; None if it does not."""
    place = place_of(observable)
    if place is None:
        return None
    if owned.kind == "network":
        return None if place.kind == "domain-name" else _meets_network(observable, place, owned)
    name = place.value
    if place.kind != "domain-name" or owned.kind != "domain":
        return None
    if name == owned.value or name.endswith(f".{owned.value}"):
        on = {"url": "url", "email-addr": "mail"}.get(observable.kind)
        return on or ("same" if name == owned.value else "below")
    if owned.value.endswith(f".{name}") and observable.kind == "domain-name":
        return "above" if places.registrable(name) else None
    return lookalikes.resembles(name, owned.value)


def _meets_network(observable: Observable, place: Observable, owned: Asset) -> str | None:
    one, other = ip_network(place.value), ip_network(owned.value)
    if not places.overlap(one, other):
        return None
    if observable.kind == "url":
        return "url"
    if one == other:
        return "same"
    return "inside" if one.prefixlen > other.prefixlen else "around"


def names(looked: Seen, owned: Asset) -> bool:
    """Does a vulnerability name this vendor or product?

    By all its words in their order; a vendor of one word only where the name begins with it, as in CISA's catalog.
    """
    name, description = _texts(looked)
    if owned.kind == "vendor" and " " not in owned.value:
        return name[:1] == [owned.value]
    return any(f" {owned.value} " in f" {' '.join(text)} " for text in (name, description))


def weakness(looked: Seen) -> Observable:
    """A vulnerability by its number, which is no secret as its words may be; without one by no value."""
    number = _CVE.search(looked.name)
    return next(iter(looked.observables), Observable("cve", number[0].upper()) if number else Observable("cve", ""))


def reaches(value: str) -> bool:
    """Is a network narrow enough to say something of one member?"""
    length = value.partition("/")[2]
    return not length or int(length) >= places.WIDEST["ipv6-addr" if ":" in value else "ipv4-addr"]


def described(owned: Sequence[Asset]) -> Iterator[str]:
    """For the audit: how many of which kind."""
    for kind in KINDS:
        count = sum(each.kind == kind for each in owned)
        if count:
            yield f"{count} {kind}{'s' * (count > 1)}"
