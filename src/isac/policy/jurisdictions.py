"""The nation, the States and local election jurisdictions: reads a roster of them and says what an import would change.

A roster is CSV: `code,name,kind,parent,fips,registered_voters`, columns in any order, lines empty or beginning with
`#` anywhere. Nothing is guessed: whatever is not right is a problem with its line, all of them at once. Codes are `us`,
`us-oh`, and below a State `us-oh-` with a FIPS code: county (5 digits), place or subdivision of the State (7),
subdivision of a county (10).
"""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

COLUMNS = ("code", "name", "kind", "parent", "fips", "registered_voters")

#: FIPS codes of the 50 States, then of the District of Columbia and the territories
_POSTAL = (
    "al ak az ar ca co ct de fl ga hi id il in ia ks ky la me md ma mi mn ms mo mt ne nv nh nj nm ny nc nd oh ok or \
pa ri sc sd tn tx ut vt va wa wv wi wy dc as gu mp pr vi"
)
_FIPS = (
    "01 02 04 05 06 08 09 10 12 13 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 \
42 44 45 46 47 48 49 50 51 53 54 55 56 11 60 66 69 72 78"
)
STATE_FIPS = MappingProxyType(dict(zip(_POSTAL.split(), _FIPS.split(), strict=True)))
NOT_STATES = frozenset({"dc", "as", "gu", "mp", "pr", "vi"})

#: kind → kinds that its parent may have. District: the District of Columbia and the territories, in a State's place
PARENTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "nation": frozenset(),
        "state": frozenset({"nation"}),
        "district": frozenset({"nation"}),
        "county": frozenset({"state", "district"}),
        "city": frozenset({"state", "district", "county"}),
        "township": frozenset({"state", "district", "county"}),
    }
)
#: digits that a local kind's FIPS code may have; a city with 5 is part of no county
_DIGITS = {"county": (5,), "city": (5, 7, 10), "township": (7, 10)}
_CODE = re.compile(r"us(?:-([a-z]{2})(?:-([0-9]{10}|[0-9]{7}|[0-9]{5}))?)?", re.ASCII)
_FORMS = (
    "us, us-oh, us-oh- and 5 digits (county), 7 (place or subdivision) or 10 (subdivision of a county), in lower case"
)
MAX_NAME = 120
#: characters of one line: one forgotten quote would swallow the file
LONGEST = 100_000


@dataclass(frozen=True, slots=True)
class Jurisdiction:
    """A State or local election authority, or the nation."""

    code: str
    #: plain, as the Census spells it; `title` makes it unique
    name: str
    #: a key of PARENTS
    kind: str
    #: code of the jurisdiction above; None for the nation alone
    parent: str | None
    #: digits with their leading zeros; empty for the nation
    fips: str
    registered_voters: int | None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line of a file and what to do about it."""

    #: counted from 1, comments and empty lines included
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Roster:
    """A file's jurisdictions, parents before children, and the problems of the rest, by line."""

    jurisdictions: tuple[Jurisdiction, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Differences:
    """What an import would do. There is nothing to remove: a code once there is never deleted by an import."""

    added: tuple[Jurisdiction, ...]
    #: as it is and as it would be
    changed: tuple[tuple[Jurisdiction, Jurisdiction], ...]
    #: the same in both, or not in the file
    left: tuple[Jurisdiction, ...]


def read(text: str, known: Mapping[str, Jurisdiction] = MappingProxyType({})) -> Roster:
    """Read a roster; `known`, by code, is what the server has already: parents may stand there.

    A line is taken whole or becomes a problem, and no line is taken without its parent.
    """
    rows, problems = table(text, COLUMNS)
    taken = dict(known)
    first: dict[str, int] = {}
    checked: list[tuple[int, Jurisdiction]] = []
    for line, cells in rows:
        found = list(_row_problems(cells)) or list(_moves(cells, known))
        if cells["code"] and (before := first.setdefault(cells["code"], line)) != line:
            found.append(f"code {shown(cells['code'])} stands in line {before} already: keep one of the two lines")
        problems += [Problem(line, each) for each in found]
        if not found:
            checked.append((line, _jurisdiction(cells)))
    accepted: list[Jurisdiction] = []
    for rank in sorted({_rank(each) for _, each in checked}):
        level = [(line, each) for line, each in checked if _rank(each) == rank]
        level, orphans = _with_parents(level, taken, first)
        level, namesakes = _with_own_titles(level, taken)
        problems += [*orphans, *namesakes]
        taken.update((each.code, each) for _, each in level)
        accepted += [each for _, each in level]
    return Roster(tuple(accepted), tuple(sorted(problems, key=lambda problem: problem.line)))


def differences(new: Iterable[Jurisdiction], old: Mapping[str, Jurisdiction]) -> Differences:
    """What importing `new` would do to `old`: names and voters change, nothing else, and an empty figure erases none.

    Another parent or kind is no import's business: the collections that members poll hang on it.
    """
    added = []
    changed = []
    left = dict(old)
    for each in new:
        if (before := old.get(each.code)) is None:
            added.append(each)
            continue
        voters = before.registered_voters if each.registered_voters is None else each.registered_voters
        after = replace(before, name=each.name, registered_voters=voters)
        if after != before:
            changed.append((before, after))
            left.pop(each.code, None)
    return Differences(tuple(added), tuple(changed), tuple(left.values()))


def title(jurisdiction: Jurisdiction, parent: Jurisdiction | None) -> str:
    """The name that its collection bears: «St Louis County - Missouri», below a county «Elm Town - Oak County - OH».

    Clients choose collections by title and split their settings at `.` and `,`, so a title holds neither, and `read`
    takes no two jurisdictions with one title, upper and lower case being the same.
    """
    parts = [_plain(jurisdiction.name)]
    if parent is not None and parent.kind != "nation":
        parts.append(_plain(parent.name))
        if parent.kind not in ("state", "district"):
            parts.append(parent.code.split("-")[1].upper())
    return " - ".join(parts)


def table(text: str, columns: Sequence[str]) -> tuple[list[tuple[int, dict[str, str]]], list[Problem]]:
    """Read CSV with these columns in any order: (line, column → cell without blanks around it), and problems by line.

    Without a right header there are no rows. A cell never holds a line break, so that one forgotten quote does not
    swallow the rest of the file.
    """
    rows: list[tuple[int, dict[str, str]]] = []
    problems: list[Problem] = []
    header: list[str] | None = None
    for line, content in enumerate(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")), start=1):
        # A spreadsheet puts a comment that holds a comma in quotes.
        if content.lstrip(' \t"').startswith("#") or not content.strip(' \t,"'):
            continue
        try:
            cells = [unicodedata.normalize("NFC", cell.strip()) for cell in _cells(content)]
            if header is None:
                header = _header(cells, columns)
            elif len(cells) > len(header):
                count = f"{len(cells)} cells below a header of {len(header)}"
                raise ValueError(f"has {count}: put a cell that holds a comma in double quotes")
            else:
                rows.append((line, dict.fromkeys(columns, "") | dict(zip(header, cells, strict=False))))
        except ValueError as error:
            problems.append(Problem(line, str(error)))
            if header is None:
                return [], problems
    if header is None:
        problems.append(Problem(1, f"the file has no header: begin it with the line {','.join(columns)}"))
    return rows, problems


def shown(cell: str) -> str:
    """A cell as a message quotes it: short, and nothing in it that a terminal would obey."""
    cut = cell if len(cell) <= 60 else cell[:59] + "…"
    return f"«{''.join(letter if letter.isprintable() else f'<U+{ord(letter):04X}>' for letter in cut)}»"


def _cells(content: str) -> list[str]:
    for letter in content:
        if not letter.isprintable() and letter != "\t":
            hint = "save the file as CSV in UTF-8" if letter in "\0\ufffd" else "delete it or write a plain blank"
            raise ValueError(f"holds an invisible character (U+{ord(letter):04X}): {hint}")
    if len(content) > LONGEST:
        raise ValueError(f"has more than {LONGEST} characters: a double quote that is not closed, perhaps?")
    try:
        cells = next(csv.reader([content], strict=True))
    except csv.Error as error:
        hint = "close every double quote, write one inside a cell twice, and break no line in a cell"
        raise ValueError(f"is no CSV ({error}): {hint}") from error
    while cells and not cells[-1].strip():
        cells.pop()
    return cells


def _header(cells: list[str], columns: Sequence[str]) -> list[str]:
    header = [cell.lower() for cell in cells]
    wrong = [f"lacks the column {column}" for column in columns if column not in header]
    wrong += [f"has the unknown column {shown(cell)}" for cell in dict.fromkeys(header) if cell not in columns]
    wrong += [f"has the column {column} twice" for column in columns if header.count(column) > 1]
    if wrong:
        raise ValueError(f"the header {', '.join(wrong)}: it must name {','.join(columns)}, in any order")
    return header


def _moves(cells: Mapping[str, str], known: Mapping[str, Jurisdiction]) -> Iterator[str]:
    before = known.get(cells["code"])
    if before is not None and (cells["kind"], cells["parent"]) != (before.kind, before.parent or ""):
        yield (
            f"{before.code} is here already, as {before.kind} below {before.parent or 'nothing'}: "
            "keep both, since members' collections hang on them"
        )


def _row_problems(cells: Mapping[str, str]) -> Iterator[str]:
    """Everything that is wrong with a line by itself; its parent and namesakes are looked at later."""
    code, kind, parent = cells["code"], cells["kind"], cells["parent"]
    form = _CODE.fullmatch(code)
    state, digits = form.groups() if form else (None, None)
    if form is None:
        yield f"code {shown(code)} is not of the form {_FORMS}"
    elif state is not None and state not in STATE_FIPS:
        yield f"code {shown(code)} begins with no State: write its two postal letters after us-"
    elif kind in PARENTS and not _fits(kind, state, digits):
        yield f"code {shown(code)} is no {kind}'s: {_code_rule(kind)}"
    else:
        yield from _fips_problems(cells["fips"], state, digits)
        if kind != "nation" and parent and not _is_parent_code(parent, code):
            yield f"code {shown(code)} does not begin with its parent's {shown(parent)}: correct the one or the other"
    if kind not in PARENTS:
        yield f"kind {shown(kind)} is unknown: write one of {', '.join(PARENTS)}"
    elif kind == "nation" and parent:
        yield f"the nation has no parent: leave {shown(parent)} out"
    elif kind != "nation" and not parent:
        yield f"parent is empty: write the code of the {' or '.join(sorted(PARENTS[kind]))} that this {kind} is part of"
    if not _plain(cells["name"]):
        yield "name is empty: write the name that its voters know"
    elif len(cells["name"]) > MAX_NAME:
        yield f"name {shown(cells['name'])} has {len(cells['name'])} characters: shorten it to {MAX_NAME}"
    if not re.fullmatch(r"[0-9]{0,9}", cells["registered_voters"], re.ASCII):
        yield (
            f"registered_voters {shown(cells['registered_voters'])} is no whole number below 1 billion: "
            "write digits only, or leave it empty"
        )


def _fits(kind: str, state: str | None, digits: str | None) -> bool:
    if kind == "nation":
        return state is None
    if kind in ("state", "district"):
        return state is not None and digits is None and (state in NOT_STATES) == (kind == "district")
    return digits is not None and len(digits) in _DIGITS[kind]


def _code_rule(kind: str) -> str:
    if kind == "nation":
        return "the nation's is us"
    if kind == "state":
        return "a State's is us- and its two postal letters"
    if kind == "district":
        return f"a district's is us- and one of {', '.join(sorted(NOT_STATES))}"
    return f"it has us-, the State's letters, - and {' or '.join(map(str, _DIGITS[kind]))} digits"


def _fips_problems(fips: str, state: str | None, digits: str | None) -> Iterator[str]:
    """An empty FIPS code is taken from the code; any other must agree with it, and both with the State."""
    if state is not None and digits is not None and not digits.startswith(STATE_FIPS[state]):
        yield f"digits {digits} are of another State: those of us-{state} begin with {STATE_FIPS[state]}"
    expected = _fips(state, digits)
    if fips and fips != expected:
        zeros = " (spreadsheets drop leading zeros)" if fips == expected.lstrip("0") else ""
        yield f"fips {shown(fips)} and code disagree{zeros}: write {expected or 'nothing'}, or correct the code"


def _fips(state: str | None, digits: str | None) -> str:
    return digits or (STATE_FIPS[state] if state else "")


def _is_parent_code(parent: str, code: str) -> bool:
    if code.startswith(f"{parent}-"):
        return True
    form = _CODE.fullmatch(parent)
    digits = form.group(2) if form else None
    # A county's own subdivisions: 10 digits, of which the first 5 are the county's.
    return digits is not None and len(digits) == 5 and code.startswith(parent) and len(code) == len(parent) + 5


def _jurisdiction(cells: Mapping[str, str]) -> Jurisdiction:
    form = _CODE.fullmatch(cells["code"])
    return Jurisdiction(
        code=cells["code"],
        name=" ".join(cells["name"].split()),
        kind=cells["kind"],
        parent=cells["parent"] or None,
        fips=_fips(*form.groups()) if form else "",
        registered_voters=int(cells["registered_voters"]) if cells["registered_voters"] else None,
    )


def _rank(jurisdiction: Jurisdiction) -> int:
    """How long its code is: a parent's is always shorter, so in this order no child comes before its parent."""
    return len(jurisdiction.code)


def _with_parents(
    level: list[tuple[int, Jurisdiction]], taken: Mapping[str, Jurisdiction], first: Mapping[str, int]
) -> tuple[list[tuple[int, Jurisdiction]], list[Problem]]:
    """Those whose parent is taken and of a right kind, and a problem for each of the others."""
    kept: list[tuple[int, Jurisdiction]] = []
    problems: list[Problem] = []
    for line, each in level:
        parent = taken.get(each.parent or "")
        if each.parent is None or (parent is not None and parent.kind in PARENTS[each.kind]):
            kept.append((line, each))
        elif parent is not None:
            kinds = " or ".join(sorted(PARENTS[each.kind]))
            wrong = f"parent {parent.code} is a {parent.kind}, but a {each.kind}'s is a {kinds}: correct the parent"
            problems.append(Problem(line, wrong))
        elif each.parent in first:
            problems.append(
                Problem(line, f"its parent {each.parent} is refused: correct line {first[each.parent]} first")
            )
        else:
            problems.append(Problem(line, f"parent {each.parent} is unknown: add a line for it, or correct the code"))
    return kept, problems


def _with_own_titles(
    level: list[tuple[int, Jurisdiction]], taken: Mapping[str, Jurisdiction]
) -> tuple[list[tuple[int, Jurisdiction]], list[Problem]]:
    """Those whose title nobody else would have once all of them are taken, and a problem for each of the others.

    Two may swap names in one file. Whoever is refused keeps its old name, which may be another's new one: so the loop.
    """
    problems: list[Problem] = []
    while True:
        owners: dict[str, str] = {}
        coming = {each.code for _, each in level}
        for each in taken.values():
            if each.code not in coming:
                owners.setdefault(_title_key(each, taken), each.code)
        kept: list[tuple[int, Jurisdiction]] = []
        for line, each in level:
            owner = owners.setdefault(_title_key(each, taken), each.code)
            if owner == each.code:
                kept.append((line, each))
            else:
                problems.append(Problem(line, f"name {shown(each.name)} is that of {owner}, too: make them differ"))
        if len(kept) == len(level):
            return kept, problems
        level = kept


def _title_key(jurisdiction: Jurisdiction, taken: Mapping[str, Jurisdiction]) -> str:
    return unicodedata.normalize("NFKC", title(jurisdiction, taken.get(jurisdiction.parent or ""))).casefold()


def _plain(name: str) -> str:
    # « - » joins the parts of a title, so within one part it becomes a hyphen.
    return re.sub(r"\s+-\s+", "-", " ".join(name.replace(".", "").replace(",", "").split())).strip(" -")
