"""Whether a value may be published unseen: by what it is itself, and by what is known of it.

Known are warninglists, what members registered as their own, and earlier decisions of analysts. Every finding is kept,
for whoever judges the object; the strictest decides.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Literal, NamedTuple

from isac.policy import places
from isac.policy.screen import Hold, Refusal
from isac.policy.warninglists import PORTALS, SHARED, How, Listed, holds
from isac.stix.objects import Object
from isac.stix.observables import Observable, documentation, host


class Owned(NamedTuple):
    """A member registered something of its own that this value names."""

    how: How
    #: the domain or network that it registered
    entry: str
    #: it is the host of a URL or an e-mail address
    by_host: bool = False


class Judgement(NamedTuple):
    """What an analyst decided of this value the last time."""

    verdict: Literal["pass", "hold", "refuse"]
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the values of a batch."""

    listed: Mapping[Observable, Sequence[Listed]] = field(default_factory=dict)
    owned: Mapping[Observable, Sequence[Owned]] = field(default_factory=dict)
    judged: Mapping[Observable, Judgement] = field(default_factory=dict)


class Finding(NamedTuple):
    """One thing that is to be said of a value."""

    #: `note` holds nothing back
    verdict: Literal["note", "hold", "refuse"]
    #: short and fixed
    rule: str
    #: the property that names the value
    field: str
    value: str
    #: for people who are no technicians
    reason: str
    #: it tells of another member: the ISAC's analysts may read it, whoever handed the object in may not
    private: bool = False


def _strictness(finding: Finding) -> int:
    return ("refuse", "hold", "note").index(finding.verdict)


_REVIEW = Hold("review", "An analyst has to look at this object before it can be released.")
_FIELDS = {
    "indicator": "pattern",
    "vulnerability": "name",
    "file": "hashes",
    "artifact": "hashes",
    "x509-certificate": "hashes",
    "autonomous-system": "number",
}


def judge(seen: Object, facts: Facts) -> list[Finding]:
    """All that is to be said of an object's values, the strictest first.

    A part of a longer pattern counts like a whole one, but is never a reason to refuse it.
    """
    where = _FIELDS.get(seen.type, "value")
    alone = seen.alternatives or seen.type != "indicator"
    found = [each for value in seen.observables for each in of_value(value, facts, where, alone=alone)]
    found += _single_labels(seen, where)
    return sorted(found, key=_strictness)


def verdict(findings: Sequence[Finding], *, told: bool) -> Hold | Refusal | None:
    """What becomes of the object, by all that was found; None is «accept».

    `told`: in words that whoever handed it in may read.
    """
    grave = [each for each in findings if each.verdict != "note"]
    if not grave:
        return None
    first = min(grave, key=_strictness)
    if first.private and told:
        first = next((each for each in grave if each.verdict == first.verdict and not each.private), first)
        if first.private:
            return (
                _REVIEW if first.verdict == "hold" else Refusal("An analyst of this ISAC decided that it is not taken.")
            )
    others = len({each.value for each in grave} - {first.value})
    reason = first.reason + (f" {others} more of its values have to be looked at." if others and not told else "")
    return Refusal(reason) if first.verdict == "refuse" else Hold(first.rule, reason)


def of_value(value: Observable, facts: Facts, where: str = "value", *, alone: bool = True) -> list[Finding]:
    """All that is to be said of one value; a decision to let it pass leaves notes only."""
    found = [
        Finding(weight, rule, where, value.value, reason, private)
        for weight, rule, reason, private in (*_itself(value, alone), *_known(value, facts))
    ]
    judged = facts.judged.get(value)
    if judged is None:
        return sorted(found, key=_strictness)
    if judged.verdict == "pass":
        return [each if each.verdict == "refuse" else each._replace(verdict="note") for each in found]
    reason = f"An analyst decided before that {value.value} is to be {_DECIDED[judged.verdict]}: {judged.reason}"
    return sorted(
        [Finding(judged.verdict, "decided", where, value.value, reason, private=True), *found], key=_strictness
    )


_DECIDED = {"hold": "looked at each time", "refuse": "refused"}
_Said = tuple[Literal["note", "hold", "refuse"], str, str, bool]


def _known(value: Observable, facts: Facts) -> Iterable[_Said]:
    """What others know of the value."""
    by_rule: dict[tuple[bool, str], list[Listed]] = {}
    for each in facts.listed.get(value, ()):
        by_rule.setdefault((holds(each, value), _rule(each)), []).append(each)
    for (held, rule), lists in by_rule.items():
        yield "hold" if held else "note", rule, _on_lists(value, lists), False
    for owned in facts.owned.get(value, ())[:1]:
        what = _PLACE[owned.how].format(value=_named(value, by_host=owned.by_host), entry=owned.entry)
        yield "hold", "own goal", f"{what}, which a member of this ISAC registered as its own.", True


#: how an entry names a value, in words
_PLACE = {
    "same": "{value} is {entry}",
    "inside": "{value} belongs to {entry}",
    "around": "{value} contains {entry}",
}


def _named(value: Observable, *, by_host: bool) -> str:
    where = host(value) if by_host else None
    return f"{where.value}, the host of {value.value}," if where else value.value


def _rule(listed: Listed) -> str:
    if SHARED.fullmatch(listed.name):
        return "shared host"
    return "portal" if listed.name == PORTALS else "warninglist"


def _on_lists(value: Observable, lists: Sequence[Listed]) -> str:
    first = lists[0]
    what = _named(value, by_host=first.by_host)
    if first.how != "same":
        what = f"{_PLACE[first.how].format(value=what, entry=first.entry)}, which"
    titles = list(dict.fromkeys(each.title for each in lists))
    more = f" and on {len(titles) - 2} more" if len(titles) > 2 else ""
    return f"{what} stands on the warninglist {', on '.join(f'«{title}»' for title in titles[:2])}{more}."


# ------------------------------------------------------------------------------------------------- a value by itself

#: networks shorter than this are no indicator at all
_ABSURD = {"ipv4-addr": 8, "ipv6-addr": 16}


def _itself(value: Observable, alone: bool) -> Iterable[_Said]:
    """What a value is by itself, whoever sends it."""
    kind, text = value
    if kind in places.WIDEST:
        yield from _address(kind, text, alone)
    elif kind == "domain-name":
        yield from _domain(text)
    elif kind in ("url", "email-addr"):
        where = host(value)
        if where is None:
            yield "hold", "reserved", f"{text} leads to no host on the Internet.", False
        elif where.kind in places.WIDEST:
            yield from _address(where.kind, where.value, alone)
        elif _PORTAL.search(where.value):
            yield "hold", "portal", f"{where.value}, the host of {text}, is a public authority's.", False
        if kind == "email-addr" and text.partition("@")[0] in _ROLES:
            yield "hold", "warninglist", f"{text} is a mailbox to which abuse is reported.", False


def _address(kind: str, text: str, alone: bool) -> Iterable[_Said]:
    if places.single(text) or documentation(Observable(kind, text)):
        return
    network = ip_network(text)
    found = places.reserved(network)
    if network.prefixlen < places.WIDEST[kind]:
        absurd = network.prefixlen < _ABSURD[kind]
        refused = alone and absurd
        many = "a large part of the Internet" if absurd else f"{network.num_addresses:,} addresses"
        yield (
            "refuse" if refused else "hold",
            "too wide",
            f"{text} is {many}: whoever blocks it blocks strangers.",
            False,
        )
    elif found:
        yield "hold", "reserved", f"{text} is {found}. It means another machine in each network.", False


#: of the nation, a State, a county, a town (RFC 1480)
_PORTAL = re.compile(
    r"(?:\A|\.)(?:gov|mil|fed\.us|state\.[a-z]{2}\.us|(?:co|parish|borough|ci|town|vil|twp)\.[a-z0-9-]+\.[a-z]{2}\.us)\Z"
)
_ROLES = frozenset({"abuse", "security", "noc", "soc", "cert", "csirt", "postmaster", "hostmaster"})
# The value of a domain of one word: it is no observable, since nobody can register it.
_ONE_WORD = re.compile(r"domain-name:value\s*(?:=|==|IN\s*\()\s*'\.?([^.'\\]*)\.?'")


def _domain(text: str) -> Iterable[_Said]:
    if _PORTAL.search(text):
        yield "hold", "portal", f"{text} is a public authority's.", False
    match places.suffix(text):
        case "registry":
            yield "hold", "public suffix", f"Below {text} everybody may register a name of his own.", False
        case "host":
            yield "hold", "shared host", f"Below {text} strangers have pages of their own.", False


def _single_labels(seen: Object, where: str) -> list[Finding]:
    """Domains of one word or none: `com`, `localhost`, the root."""
    if seen.type == "domain-name":
        words = [] if seen.observables else [str(seen.body["value"]).strip(".")]
    else:
        pattern = seen.body.get("pattern") if seen.type == "indicator" else None
        words = _ONE_WORD.findall(pattern) if isinstance(pattern, str) and "domain-name:value" in pattern else []
    return [
        Finding("hold", "public suffix", where, word, f"«{word}» is a domain of {'one word' if word else 'no name'}.")
        for word in words
        if re.fullmatch(r"[\w-]*", word)
    ]
