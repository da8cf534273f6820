"""What may enter at all: accept, hold or refuse, each with its reason (markings, time, sample addresses).

Facts come in as values; nothing here depends on who may see what (that is `admit`).
"""

import collections
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from isac.policy.actors import Audience
from isac.stix import markings
from isac.stix.markings import TLP
from isac.stix.objects import Object, named
from isac.stix.observables import documentation

#: clocks differ; what is dated further ahead (nanoseconds) would starve clients whose cursor
#: is the greatest `modified`
AHEAD = 5 * 60 * 1_000_000_000
#: travel with what names them, so they are for everybody unless marked
COMPANIONS = frozenset({"identity", "marking-definition", "extension-definition"})
#: unmarked, as strict as what they name
_SRO = frozenset({"relationship", "sighting"})


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait for an analyst; `rule` is short and fixed, `reason` is for people."""

    rule: str
    reason: str
    #: where it waits for nothing but this instant, in nanoseconds since 1970
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not taken; `reason` says what to do."""

    reason: str
    #: it must not be kept either, nor what it came in
    classified: bool = False


@dataclass(slots=True)
class Survey:
    """What a submission's objects say of others."""

    #: of each object that decides, or is decided by, another's TLP
    tlp: dict[str, TLP] = field(default_factory=dict)
    #: ids of all markings, other than TLP, that the objects carry
    marked: set[str] = field(default_factory=set)
    #: marking definitions by id: may we pass on what they mark?
    understood: dict[str, bool] = field(default_factory=dict)
    classified: set[str] = field(default_factory=set)
    #: TLP that a marking definition of another kind implies
    implied: dict[str, TLP] = field(default_factory=dict)
    #: something unmarked is as strict as its company: `trace` has to see them all
    company: bool = False

    def learn(self, definition: Mapping[str, Any]) -> None:
        """Note what a marking definition, of this submission or stored, says."""
        body = dict(definition)
        stix_id = str(body.get("id", "")).lower()
        # Several may claim one id: what one of them forbids is not allowed by another.
        self.understood[stix_id] = self.understood.get(stix_id, True) and markings.understood(body)
        if markings.classified(body):
            self.classified.add(stix_id)
        if (tlp := markings.implied(body)) is not None:
            self.implied[stix_id] = max(tlp, self.implied.get(stix_id, TLP.CLEAR))


def survey(bodies: Iterable[dict[str, Any]]) -> Survey:
    """Read what a submission's objects say of others. Domain objects that carry nothing but TLP may be left out."""
    found = Survey()
    for body in bodies:
        if body.get("type") == "marking-definition":
            found.learn(body)
        marking = markings.in_force(body)
        found.marked.update(marking.others)
        found.company = found.company or (marking.tlp is None and _keeps_company(body))
    return found


def _keeps_company(body: Mapping[str, Any]) -> bool:
    kind = body.get("type")
    return kind in _SRO or (kind not in COMPANIONS and "created" not in body)


def trace(found: Survey, bodies: Iterable[dict[str, Any]], default: TLP) -> None:
    """Note the TLP of unmarked relationships and observables of a whole submission.

    Each is as strict as the strictest object that it names or that names it, through others like it too.
    """
    unmarked: set[str] = set()
    touching: dict[str, set[str]] = collections.defaultdict(set)
    for body in bodies:
        if body.get("type") in COMPANIONS:
            continue
        stix_id, marked = str(body.get("id", "")).lower(), markings.in_force(body).tlp
        if marked is None and _keeps_company(body):
            unmarked.add(stix_id)
        else:
            found.tlp[stix_id] = default if marked is None else marked
        for name in named(body):
            touching[name].add(stix_id)
            touching[stix_id].add(name)
    for stix_id, tlp in sorted(found.tlp.items(), key=lambda item: item[1], reverse=True):
        reached = [stix_id]
        while reached:
            for other in touching[reached.pop()] & unmarked:
                unmarked.remove(other)
                found.tlp[other] = tlp
                reached.append(other)


def tlp_of(seen: Object, known: Survey, default: TLP) -> TLP:
    """The one TLP of a version, fixed at intake: its strictest marking; unmarked, its company or the default."""
    own, others = seen.marking
    if others:
        implied = [known.implied[marking] for marking in others if marking in known.implied]
        own = max(implied if own is None else [own, *implied], default=None)
    if own is not None:
        return own
    if seen.type in COMPANIONS:
        return TLP.CLEAR
    return known.tlp.get(seen.id, default)


def default_tlp(audience: Audience) -> TLP:
    """Of what comes unmarked from a source without a default of its own."""
    if audience.kind == "organization" or (audience.kind == "group" and audience.frozen):
        return TLP.AMBER_STRICT
    return TLP.AMBER if audience.kind == "group" else TLP.GREEN


def screen(seen: Object, known: Survey, now: int, *, sample: bool) -> Hold | Refusal | None:
    """The verdict on one object, `now` in nanoseconds since 1970; None is «accept».

    `sample` sources alone may use documentation addresses.
    """
    for marking in seen.marking.others:
        if marking in known.classified:
            return Refusal(
                "It is marked as classified. Classified information must never be sent here.", classified=True
            )
    latest = max(seen.modified, seen.created or 0)
    if latest > now + AHEAD:
        return Refusal("created or modified lies more than 5 minutes in the future; set the clock and send it again.")
    values = [observable for observable in seen.observables if not sample and documentation(observable)]
    if values:
        return Refusal(
            f"{values[0].value} is reserved for documentation (RFC 5737, 3849, 2606) and names no real host."
        )
    for marking in seen.marking.others:
        if not known.understood.get(marking, False):
            return Hold("marking", f"It carries the marking {marking}, whose restrictions are not known here.")
    if seen.type == "marking-definition" and not known.understood.get(seen.id, markings.understood(seen.body)):
        return Hold("marking", "Its restrictions are not understood here.")
    if latest > now:
        return Hold("future", "created or modified lies in the future; it is held until then.", latest)
    return None
