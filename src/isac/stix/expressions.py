"""A STIX pattern as a tree (STIX 2.1 §9), and the one text in which all patterns meet that this module can prove equal.

Never are two united that may match differently; not all that match the same are. The laws used:

- In one observation everything is asked of one object (§9.5), so AND and OR there are Boolean: order, brackets and
  repetition mean nothing, they absorb (`a OR (a AND b)` is `a`) and distribute. Each is written as an OR of ANDs.
- `IN` is an OR of `=` (§9.6.1). NOT negates the comparison, so `NOT =` is `!=`, `NOT !=` is `=`, and `NOT IN` an AND of
  `!=`; but not on a path with `[*]`, where the standard may be read in two ways. Other NOTs stay as they are.
- Between observations OR is Boolean too, and `[a] OR [b]` is `[a OR b]`: one observation makes either true. AND and
  FOLLOWEDBY need different observations (§9.5.2), so neither forgets a repetition: `[a] AND [a]` is not `[a]`. AND has
  no order. Both distribute over OR, and `[a] OR ([a] AND [b])` is `[a]`: what matches the second has a match of the
  first within.
- FOLLOWEDBY keeps its brackets: the standard does not say when a group was seen. Qualifiers keep their order.
- 5 is 5.0, the digits of h'…' have no case, and an instant may end in zeros.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product


@dataclass(frozen=True, slots=True)
class Comparison:
    """A path and an operator with one constant, or with several as alternatives (`=`) or all of them (`!=`)."""

    path: str
    #: `=`, `!=`, `LIKE` …; with NOT before it where that stays
    operator: str
    #: sorted; as they are written. None of EXISTS.
    constants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """What is between square brackets."""

    expression: "Expression"


@dataclass(frozen=True, slots=True)
class Qualified:
    """`qualifier` is one of WITHIN, REPEATS, START."""

    expression: "Expression"
    qualifier: str


@dataclass(frozen=True, slots=True)
class Joined:
    """`operator` is AND or OR, of comparisons or of observations, or FOLLOWEDBY, which joins two."""

    operator: str
    operands: "tuple[Expression, ...]"


Expression = Comparison | Observation | Qualified | Joined
#: (path, operator, text of a constant) → its one spelling
Spell = Callable[[str, str, str], str]


def read(text: str, spelled_path: Callable[[str], str], spelled_text: Spell) -> Expression:
    """The tree of a pattern that parses and is within the caps.

    `spelled_path` gives the one spelling of a path, `spelled_text` that of a text which such a path is compared with.
    """
    return _Reader(text, spelled_path, spelled_text).pattern()


# --- text to tree --------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"(?P<skipped>(?:[\s\u0085\u00a0]|/\*.*?\*/|//[^\r\n]*)+)|(?P<text>'(?:[^'\\]|\\['\\])*')|(?P<other>[htb]'[^']*')"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_-]*)|(?P<number>[+-]?[0-9]*\.?[0-9]+)|(?P<sign>==|!=|<>|<=|>=|[\[\]().,:*=<>])",
    re.S,
)
_ESCAPE = re.compile(r"\\(['\\])")
_PLAIN_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Words of the grammar, which need quotes as steps of a path.
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """AND OR NOT FOLLOWEDBY LIKE MATCHES ISSUPERSET ISSUBSET EXISTS LAST IN START STOP SECONDS true false WITHIN
        REPEATS TIMES""",
    )
)
_SAME = {"==": "=", "<>": "!="}
_OPPOSITE = {"=": "!=", "!=": "="}


class _Reader:
    """Reads what the grammar of stix2-patterns has taken: here nothing is checked once more."""

    def __init__(self, text: str, spelled_path: Callable[[str], str], spelled_text: Spell) -> None:
        found = [(token.lastgroup, token[0]) for token in _TOKEN.finditer(text) if token.lastgroup != "skipped"]
        self._tokens = [*found, ("end", "")]
        self._at = 0
        self._spelled_path = spelled_path
        self._spelled_text = spelled_text

    def pattern(self) -> Expression:
        left = self._joined("OR", lambda: self._joined("AND", self._observation))
        while self._take("FOLLOWEDBY"):
            left = Joined("FOLLOWEDBY", (left, self._joined("OR", lambda: self._joined("AND", self._observation))))
        return left

    def _take(self, *words: str) -> str:
        kind, text = self._tokens[self._at]
        if text not in words or kind not in ("word", "sign"):
            return ""
        self._at += 1
        return text

    def _next(self) -> tuple[str | None, str]:
        self._at += 1
        return self._tokens[self._at - 1]

    def _joined(self, operator: str, operand: Callable[[], Expression]) -> Expression:
        operands = [operand()]
        while self._take(operator):
            operands.append(operand())
        return operands[0] if len(operands) == 1 else Joined(operator, tuple(operands))

    def _observation(self) -> Expression:
        found: Expression
        if self._take("("):
            found = self.pattern()
        else:
            self._take("[")
            found = Observation(self._comparisons())
        self._next()
        while word := self._take("WITHIN", "REPEATS", "START"):
            first = self._constant()
            last = self._next()[1]
            found = Qualified(found, f"{word} {first} {last}" + (f" {self._constant()}" if word == "START" else ""))
        return found

    def _comparisons(self) -> Expression:
        return self._joined("OR", lambda: self._joined("AND", self._comparison))

    def _comparison(self) -> Expression:
        if self._take("("):
            found = self._comparisons()
            self._next()
            return found
        negated = bool(self._take("NOT"))
        if self._take("EXISTS"):
            return Comparison(self._path(), "NOT EXISTS" if negated else "EXISTS", ())
        path = self._path()
        negated = bool(self._take("NOT"))
        operator = self._next()[1]
        operator = _SAME.get(operator, operator)
        constants = self._set(path) if operator == "IN" else (self._constant(path, operator),)
        if constants and operator in ("=", "!=", "IN") and not (negated and "[*]" in path):
            operator = "=" if operator == "IN" else operator
            return Comparison(path, _OPPOSITE[operator] if negated else operator, constants)
        return Comparison(path, f"NOT {operator}" if negated else operator, constants)

    def _set(self, path: str) -> tuple[str, ...]:
        found = set()
        self._take("(")
        while not self._take(")"):
            found.add(self._constant(path, "IN"))
            self._take(",")
        return tuple(sorted(found))

    def _path(self) -> str:
        path = self._next()[1]
        self._take(":")
        path += f":{self._step()}"
        while sign := self._take(".", "["):
            if sign == ".":
                path += f".{self._step()}"
            else:
                index = self._next()[1]
                path += f"[{index if index == '*' else _number(index)}]"
                self._take("]")
        return self._spelled_path(path)

    def _step(self) -> str:
        kind, text = self._next()
        bare = unescaped(text[1:-1]) if kind == "text" else text
        return bare if _PLAIN_STEP.fullmatch(bare) and bare not in _KEYWORDS else quoted(bare)

    def _constant(self, path: str = "", operator: str = "") -> str:
        kind, text = self._next()
        if kind == "number":
            return _number(text)
        if kind == "text":
            return quoted(self._spelled_text(path, operator, unescaped(text[1:-1])))
        if text.startswith("h'"):
            return text.lower()
        if text.startswith("t'") and "." in text:
            return text.removesuffix("Z'").rstrip("0").rstrip(".") + "Z'"
        return text


def quoted(text: str) -> str:
    """As a constant of a pattern."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def unescaped(text: str) -> str:
    """The meaning of what stands between the quotes of a constant."""
    return _ESCAPE.sub(r"\1", text) if "\\" in text else text


def _number(text: str) -> str:
    sign = "-" if text.startswith("-") else ""
    whole, point, fraction = text.lstrip("+-").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    if whole == "0" and not fraction:
        return "0"
    # Floats tell whole numbers apart up to 2⁵³, which has 16 digits.
    if point and not fraction and len(whole) > 15:
        fraction = "0"
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


# --- the laws ------------------------------------------------------------------------------------


class _TooManyError(Exception):
    """A law would multiply beyond the bound."""


def normalize(tree: Expression, most: int) -> Expression:
    """The tree of the canonical text; a second run changes nothing.

    A part that would have more than `most` alternatives is not distributed; with 1 nothing is, and nothing grows.
    """
    tree = _tidy(tree, most)
    try:
        return _join("OR", _terms(tree, most), most)
    except _TooManyError:
        return tree


def _tidy(tree: Expression, most: int) -> Expression:
    """Without needless brackets and operands, in order; every observation for itself as its OR of ANDs."""
    match tree:
        case Observation(expression):
            return Observation(_comparisons_normal(_tidy(expression, most), most))
        case Qualified(expression, qualifier):
            return Qualified(normalize(expression, most), qualifier)
        case Joined("FOLLOWEDBY", operands):
            return Joined("FOLLOWEDBY", tuple(_tidy(operand, most) for operand in operands))
        case Joined(operator, operands):
            return _join(operator, (_tidy(operand, most) for operand in operands), most)
    return tree


def _join(operator: str, operands: Iterable[Expression], most: int) -> Expression:
    """Tidy operands joined by AND or OR, tidy again."""
    flat = [part for operand in operands for part in _parts(operator, operand)]
    boolean = operator == "OR" or _of_comparisons(flat[0])
    if _of_comparisons(flat[0]):
        flat = _united("=" if operator == "OR" else "!=", flat)
    elif operator == "OR":
        inner = [part.expression for part in flat if isinstance(part, Observation)]
        flat = [part for part in flat if not isinstance(part, Observation)]
        flat += [Observation(_comparisons_normal(_join("OR", inner, most), most))] if inner else []
    if boolean:
        flat = _absorbed("AND" if operator == "OR" else "OR", list(dict.fromkeys(flat)))
    flat.sort(key=write)
    return flat[0] if len(flat) == 1 else Joined(operator, tuple(flat))


def _parts(operator: str, tree: Expression) -> tuple[Expression, ...]:
    return tree.operands if isinstance(tree, Joined) and tree.operator == operator else (tree,)


def _of_comparisons(tree: Expression) -> bool:
    while isinstance(tree, Joined):
        tree = tree.operands[0]
    return isinstance(tree, Comparison)


def _absorbed(other: str, flat: list[Expression]) -> list[Expression]:
    """Without the parts, joined by `other`, that are nothing new beside another, all of which is among their own.

    Operands are counted: it matters of observations, which have to be different ones.
    """
    if not any(isinstance(part, Joined) for part in flat):
        return flat
    asked = [(frozenset(parts), Counter(parts)) for parts in (_parts(other, part) for part in flat)]
    kept = []
    for place, part in enumerate(flat):
        own = [(frozenset(parts), Counter(parts)) for parts in _included(other, part)]
        rest = asked[:place] + asked[place + 1 :]
        if not any(few <= many and count <= counts for few, count in rest for many, counts in own):
            kept.append(part)
    return kept


def _included(other: str, tree: Expression) -> Iterator[tuple[Expression, ...]]:
    """The operands of `tree`, joined by `other`, and of each side of the FOLLOWEDBYs in it."""
    parts = _parts(other, tree)
    yield parts
    for part in parts:
        if isinstance(part, Joined) and part.operator == "FOLLOWEDBY":
            for side in part.operands:
                yield from _included(other, side)


def _united(operator: str, flat: list[Expression]) -> list[Expression]:
    """Comparisons of one path by `operator` as one with all their constants."""
    found: dict[str, set[str]] = {}
    rest: list[Expression] = []
    for part in flat:
        if isinstance(part, Comparison) and part.operator == operator and _in_sets(part):
            found.setdefault(part.path, set()).update(part.constants)
        else:
            rest.append(part)
    return [*rest, *(Comparison(path, operator, tuple(sorted(each))) for path, each in found.items())]


def _in_sets(one: Comparison) -> bool:
    """May IN or NOT IN say it together with others? stix2-patterns takes a set of hashes for a malformed hash."""
    # Each `!=` of a path with a star may be true of another element.
    return (
        one.operator in _OPPOSITE
        and ".hashes." not in one.path.replace(":", ".")
        and (one.operator == "=" or "[*]" not in one.path)
    )


#: longer ones cost a comparison each with each
_MAX_CLAUSES = 100
#: comparisons of one constant that all have to be true
_Clause = frozenset[Comparison]


def _comparisons_normal(tree: Expression, most: int) -> Expression:
    """The shortest OR of ANDs, which is one for all that are equal by Boole's laws without NOT."""
    try:
        clauses = _least(_clauses(tree, most))
    except _TooManyError:
        return tree
    found = sorted((_join("AND", clause, most) for clause in _grouped(clauses)), key=write)
    return found[0] if len(found) == 1 else Joined("OR", tuple(found))


def _clauses(tree: Expression, most: int) -> set[_Clause]:
    if isinstance(tree, Comparison):
        each = [replace(tree, constants=(constant,)) for constant in tree.constants]
        if tree.operator == "=":
            return {frozenset([one]) for one in each}
        return {frozenset(each)} if tree.operator == "!=" else {frozenset([tree])}
    assert isinstance(tree, Joined)
    if tree.operator == "OR":
        found = {clause for operand in tree.operands for clause in _clauses(operand, most)}
    else:
        found = {_Clause()}
        for operand in tree.operands:
            more = _clauses(operand, most)
            if len(found) * len(more) > most:
                raise _TooManyError
            found = _least({one | other for one in found for other in more})
    # Of single comparisons there may be many.
    if sum(1 for clause in found if len(clause) > 1) > _MAX_CLAUSES:
        raise _TooManyError
    return found


def _least(clauses: set[_Clause]) -> set[_Clause]:
    """Without the clauses that ask for more than another one."""
    single = {one for clause in clauses if len(clause) == 1 for one in clause}
    longer = [clause for clause in clauses if len(clause) > 1 and clause.isdisjoint(single)]
    least = [clause for clause in longer if not any(other < clause for other in longer)]
    return {frozenset([one]) for one in single}.union(least)


def _grouped(clauses: set[_Clause]) -> Iterator[_Clause]:
    """Clauses that differ in one constant of one `=` as one clause with both; path after path."""
    found = list(clauses)
    for path in sorted({one.path for clause in clauses for one in clause if one.operator == "=" and _in_sets(one)}):
        groups: dict[_Clause, set[str]] = {}
        rest = []
        for clause in found:
            here = [one for one in clause if one.operator == "=" and one.path == path]
            if len(here) == 1:
                groups.setdefault(clause - {here[0]}, set()).update(here[0].constants)
            else:
                rest.append(clause)
        found = rest + [
            clause | {Comparison(path, "=", tuple(sorted(constants)))} for clause, constants in groups.items()
        ]
    yield from found


def _terms(tree: Expression, most: int) -> list[Expression]:
    """AND and FOLLOWEDBY distributed over the ORs of observations in them: alternatives without such an OR."""
    if not isinstance(tree, Joined):
        return [tree]
    each = [_terms(operand, most) for operand in tree.operands]
    if tree.operator == "OR":
        return [term for terms in each for term in terms]
    if math.prod(map(len, each)) > most:
        raise _TooManyError
    if tree.operator == "AND":
        return [_join("AND", chosen, most) for chosen in product(*each)]
    return [Joined("FOLLOWEDBY", chosen) for chosen in product(*each)]


# --- tree to text --------------------------------------------------------------------------------

_BINDING = {"FOLLOWEDBY": 0, "OR": 1, "AND": 2}


def write(tree: Expression) -> str:
    """The pattern that reads as this tree."""
    match tree:
        case Comparison(path, operator, constants):
            if operator.endswith("EXISTS"):
                return f"{operator} {path}"
            if len(constants) > 1:
                operator = {"=": "IN", "!=": "NOT IN"}.get(operator, operator)
            if operator in ("IN", "NOT IN"):
                return f"{path} {operator} ({', '.join(constants)})"
            return f"{path} {operator} {constants[0]}"
        case Observation(expression):
            return f"[{write(expression)}]"
        case Qualified(expression, qualifier):
            inner = write(expression)
            return f"{inner if _bears(expression, qualifier) else f'({inner})'} {qualifier}"
        case Joined(operator, operands):
            texts = []
            for place, operand in enumerate(operands):
                loose = isinstance(operand, Joined) and _BINDING[operand.operator] <= _BINDING[operator]
                if operator == "FOLLOWEDBY" and place == 0:
                    loose = False
                texts.append(f"({write(operand)})" if loose else write(operand))
            return f" {operator} ".join(texts)


def _bears(tree: Expression, qualifier: str) -> bool:
    """May the qualifier stand after it without brackets? Of each name one may, after an observation."""
    name = qualifier.partition(" ")[0]
    while isinstance(tree, Qualified) and tree.qualifier.partition(" ")[0] != name:
        tree = tree.expression
    return isinstance(tree, Observation)
