"""What may enter at all: accept, hold or refuse, each with its reason (markings, time, sample addresses).

Facts come in as values; nothing here depends on who may see what (that is `admit`).
"""

from array import array
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
class Numbers:
    """Numbers texts, from 0 on: of millions of ids the texts themselves would not fit into memory.

    Kept of each are 64 bits, by a key that every program draws anew. Of five million texts two are taken for one once
    in a million times, and then not the next time.
    """

    _marks: "array[int]" = field(default_factory=lambda: array("Q"))
    #: a table of numbers, each counted from 1, where their marks point to or next to it
    _slots: "array[int]" = field(default_factory=lambda: array("I", bytes(4 * 4096)))

    def __len__(self) -> int:
        return len(self._marks)

    def of(self, text: str) -> int:
        """Its number: a new one, if it has none yet."""
        mark = hash(text) & 0xFFFF_FFFF_FFFF_FFFF
        at = self._find(mark)
        if number := self._slots[at]:
            return number - 1
        self._marks.append(mark)
        self._slots[at] = len(self._marks)
        if 3 * len(self._marks) > 2 * len(self._slots):
            self._slots = array("I", bytes(8 * len(self._slots)))
            for known, mark in enumerate(self._marks, start=1):
                self._slots[self._find(mark)] = known
        return len(self._marks) - 1

    def known(self, text: str) -> int | None:
        """Its number, if it has one."""
        number = self._slots[self._find(hash(text) & 0xFFFF_FFFF_FFFF_FFFF)]
        return number - 1 if number else None

    def _find(self, mark: int) -> int:
        last = len(self._slots) - 1
        at = mark & last
        while (number := self._slots[at]) and self._marks[number - 1] != mark:
            at = at + 1 & last
        return at


@dataclass(frozen=True, slots=True)
class Traced:
    """The TLP of objects, by their ids."""

    ids: Numbers = field(default_factory=Numbers)
    #: 0: nothing is known
    levels: bytearray = field(default_factory=bytearray)

    def get(self, stix_id: str, default: TLP) -> TLP:
        number = self.ids.known(stix_id)
        return default if number is None or not self.levels[number] else TLP(self.levels[number] - 1)


@dataclass(slots=True)
class Survey:
    """What a submission's objects say of others."""

    #: of each object that decides, or is decided by, another's TLP
    tlp: Traced = field(default_factory=Traced)
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
    ids, levels, unmarked, named_by = Numbers(), bytearray(), bytearray(), array("I")

    def number(stix_id: str) -> int:
        here = ids.of(stix_id)
        if here == len(levels):
            levels.append(0)
            unmarked.append(0)
        return here

    for body in bodies:
        if body.get("type") in COMPANIONS:
            continue
        here, marked = number(str(body.get("id", "")).lower()), markings.in_force(body).tlp
        if marked is None and _keeps_company(body):
            unmarked[here] = 1
        else:
            levels[here] = 1 + (default if marked is None else marked)
        for name in named(body):
            named_by.extend((number(name), here))
    found.tlp = Traced(ids, _spread(levels, unmarked, named_by))


def _spread(levels: bytearray, unmarked: bytearray, named_by: "array[int]") -> bytearray:
    """The levels, now of the unmarked ones too. What hangs together through them has one."""
    first = array("I", range(len(levels)))

    def of(number: int) -> int:
        while first[number] != number:
            first[number] = first[first[number]]
            number = first[number]
        return number

    for at in range(0, len(named_by), 2):
        if unmarked[named_by[at]] and unmarked[named_by[at + 1]]:
            first[of(named_by[at])] = of(named_by[at + 1])
    strictest = bytearray(len(levels))
    for at in range(len(named_by)):
        one, other = named_by[at], named_by[at ^ 1]
        if unmarked[other]:
            together = of(other)
            strictest[together] = max(strictest[together], levels[one])
    for number in range(len(levels)):
        if unmarked[number]:
            levels[number] = strictest[of(number)]
    return levels


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
