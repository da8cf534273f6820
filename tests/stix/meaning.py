"""What a STIX pattern matches (STIX 2.1 §9), slowly and by the letter: the oracle for its canonical text.

It walks the parse tree of stix2-patterns, and tries every set of observations of a small world.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

from stix2patterns.v21.pattern import Pattern

#: of one observation: the properties of its one object, which is of type `a`
Seen = dict[str, Any]
#: places of observations in a world; they are in order of time, one a second
Match = frozenset[int]


class Reading(NamedTuple):
    """Where the standard may be read in two ways."""

    #: NOT of a path with a star: no element is so; else: one is not so
    whole: bool
    #: a group is seen at its end; else: all of it follows
    at_end: bool


READINGS = [Reading(whole, at_end) for whole in (False, True) for at_end in (False, True)]


class _Itself:
    """A visitor that gives the parse tree."""

    def visit(self, tree: Any) -> Any:
        return tree.children[0]


def parsed(pattern: str) -> Any:
    return Pattern(pattern).visit(_Itself())


def matches(tree: Any, world: Sequence[Seen], reading: Reading) -> bool:
    return bool(_matches(tree, world, reading))


def _matches(node: Any, world: Sequence[Seen], reading: Reading) -> set[Match]:
    """All sets of observations that make it true."""
    children = node.children
    if len(children) == 1:
        return _matches(children[0], world, reading)
    if children[0].getText() == "[":
        return {Match([place]) for place, seen in enumerate(world) if _holds(children[1], seen, reading)}
    found = _matches(children[1 if children[0].getText() == "(" else 0], world, reading)
    if children[0].getText() == "(":
        return found
    if len(children) == 2:
        return _qualified(children[1], found)
    more = _matches(children[2], world, reading)
    if children[1].getText() == "OR":
        return found | more
    pairs = [(left, right) for left, right in product(found, more) if not left & right]
    if children[1].getText() == "FOLLOWEDBY":
        pairs = [(left, right) for left, right in pairs if _follows(left, right, reading)]
    return {left | right for left, right in pairs}


def _follows(left: Match, right: Match, reading: Reading) -> bool:
    return max(left) < (max(right) if reading.at_end else min(right))


def _qualified(node: Any, found: set[Match]) -> set[Match]:
    name, number = (child.getText() for child in node.children[:2])
    if name == "WITHIN":
        return {one for one in found if max(one) - min(one) < float(number)}
    assert name == "REPEATS"
    chosen = (group for group in combinations(sorted(found, key=sorted), int(number)))
    return {Match().union(*group) for group in chosen if sum(map(len, group)) == len(Match().union(*group))}


def _holds(node: Any, seen: Seen, reading: Reading) -> bool:
    children = node.children
    if len(children) == 1:
        return _holds(children[0], seen, reading)
    texts = [child.getText() for child in children]
    if texts[0] == "(":
        return _holds(children[1], seen, reading)
    if texts[1] in ("AND", "OR"):
        return {"AND": all, "OR": any}[texts[1]](_holds(child, seen, reading) for child in children[::2])
    negated = texts[1] == "NOT"
    if negated:
        del texts[1]
    path, operator, constant = texts
    values = list(_values(path, seen))
    if not values:
        return False  # §9.6: whatever the operator
    true, against = _TRUE[operator], [_constant(each) for each in constant.strip("()").split(",")]
    if negated and reading.whole:
        return not any(true(value, against) for value in values)
    return any(true(value, against) is not negated for value in values)


def _values(path: str, seen: Seen) -> Iterator[Any]:
    """`path` is `a:` with one name, and a star perhaps."""
    value = seen.get(path.removeprefix("a:").removesuffix("[*]"))
    if path.endswith("[*]"):
        yield from value if isinstance(value, list) else ()
    elif value is not None:
        yield value


def _constant(text: str) -> Any:
    return text[1:-1] if text.startswith("'") else float(text)


_TRUE: dict[str, Callable[[Any, list[Any]], bool]] = {
    "=": lambda value, against: value == against[0],
    "!=": lambda value, against: value != against[0],
    "<": lambda value, against: isinstance(value, int) and bool(value < against[0]),
    "IN": lambda value, against: value in against,
}
