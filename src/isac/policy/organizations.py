"""Members, federal partners and vendors from a CSV file: `jurisdiction,name,kind,contact_email`.

Read like a roster of jurisdictions: columns in any order, comments, and all problems at once, each with its line.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from isac.policy.jurisdictions import Problem, shown, table

COLUMNS = ("jurisdiction", "name", "kind", "contact_email")
KINDS = ("member", "federal", "vendor", "isac")
MIN_NAME, MAX_NAME = 3, 200

# Plausible, not valid (RFC 5321): a mail that arrives is the proof. One plain address: it goes into a mail's header.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(rf"[a-z0-9!#$%&'*+/=?^_`{{|}}~.-]{{1,64}}@(?:{_LABEL}\.)+{_LABEL}", re.ASCII | re.IGNORECASE)
MAX_EMAIL = 254


@dataclass(frozen=True, slots=True)
class Organization:
    """Any body with an identity here."""

    #: code of its home; None for federal partners, vendors and the ISAC where they have none
    jurisdiction: str | None
    name: str
    #: one of KINDS
    kind: str
    contact_email: str


def read(text: str, jurisdictions: Collection[str]) -> tuple[tuple[Organization, ...], tuple[Problem, ...]]:
    """Read the file; `jurisdictions` are the codes that the server knows. A line is taken whole or is a problem."""
    rows, problems = table(text, COLUMNS)
    codes = frozenset(jurisdictions)
    organizations: list[Organization] = []
    first: dict[str, int] = {}
    for line, cells in rows:
        name = " ".join(cells["name"].split())
        found = list(_row_problems(cells, name, codes))
        before = first.setdefault(unicodedata.normalize("NFKC", name).casefold(), line)
        if name and before != line:
            found.append(f"name {shown(name)} stands in line {before} already: make the two differ, or keep one")
        problems += [Problem(line, each) for each in found]
        if not found:
            home = cells["jurisdiction"] or None
            organizations.append(Organization(home, name, cells["kind"], cells["contact_email"]))
    return tuple(organizations), tuple(sorted(problems, key=lambda problem: problem.line))


def _row_problems(cells: Mapping[str, str], name: str, codes: frozenset[str]) -> Iterator[str]:
    home, kind, email = cells["jurisdiction"], cells["kind"], cells["contact_email"]
    if kind not in KINDS:
        yield f"kind {shown(kind)} is unknown: write one of {', '.join(KINDS)}"
    if home and home not in codes:
        yield f"jurisdiction {shown(home)} is unknown: correct the code, or import the jurisdiction first"
    elif not home and kind == "member":
        yield "jurisdiction is empty: write the code of the jurisdiction that this member is of"
    if not MIN_NAME <= len(name) <= MAX_NAME:
        yield f"name {shown(name)} has {len(name)} characters: write {MIN_NAME} to {MAX_NAME}"
    if len(email) > MAX_EMAIL or not _EMAIL.fullmatch(email) or ".." in email or email.startswith("."):
        yield f"contact_email {shown(email)} is no e-mail address: write one, like clerk@county.example"
