"""Warninglists in the layout of misp-warninglists: a folder for each list, in it `list.json`.

Its `type` says how entries are compared: `cidr` networks, `hostname` a name and all below it, `string` the very value,
`substring` a part of it, `regex`. A substring is read as a hostname, which it is in every list that has them: as a mere
part of a text `a.example` would also mean `data.example`. Expressions are never run: they are their author's program,
on text that is somebody else's.
"""

import csv
import hashlib
import re
from dataclasses import dataclass, field

import orjson

from isac.errors import Invalid
from isac.stix import observables

KINDS = ("cidr", "hostname", "string", "substring", "regex")

# A name as `observables` would give it back, in a tenth of the time: lists have a million of them.
_PLAIN = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]{2,63}")
#: so many characters are a name at most, and a hash, and nearly every address of a page
_MAX_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Warninglist:
    """One list in canonical values."""

    #: its folder's
    name: str
    title: str
    version: str
    kind: str
    #: SHA-256 of the file
    digest: bytes
    #: domains, hashes, URLs, e-mail addresses; of each, does it stand for all below it as well?
    names: dict[str, bool] = field(default_factory=dict)
    #: networks and addresses
    networks: set[str] = field(default_factory=set)
    #: entries that name nothing that an indicator could
    left_out: int = 0

    @property
    def entries(self) -> int:
        return len(self.names) + len(self.networks)


def digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def read(name: str, raw: bytes) -> Warninglist:
    """The list in `list.json` of the folder `name`. Raises Invalid, in words for an operator, where it is none."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"{name}: list.json is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise Invalid(f"{name}: list.json is no warninglist: it must be an object with name, type and list.")
    kind, entries, title = body.get("type"), body.get("list"), body.get("name")
    if kind not in KINDS:
        raise Invalid(f"{name}: its type is {str(kind)[:40]!r}; the types are {', '.join(KINDS)}.")
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise Invalid(f"{name}: its list must be a list of texts.")
    if not isinstance(title, str) or "\0" in f"{title}{name}":
        raise Invalid(f"{name}: it has no name that people could read.")
    names: dict[str, bool] = {}
    networks: set[str] = set()
    left_out = 0
    whole = kind in ("hostname", "substring")
    for entry in entries:
        if _PLAIN.fullmatch(entry) and kind != "regex" and len(entry) <= 253:
            names[entry] = whole
        elif not _read(entry, str(kind), names, networks):
            left_out += 1
    version = str(body.get("version", ""))[:40].replace("\0", "")
    return Warninglist(name, title[:200], version, str(kind), digest(raw), names, networks, left_out)


def _read(entry: str, kind: str, names: dict[str, bool], networks: set[str]) -> bool:
    """Note one entry that is no plain name; False if it names nothing that an indicator could."""
    if kind == "regex" or len(entry) > _MAX_CHARACTERS:
        return False
    below, text = entry.startswith("."), entry.strip().lstrip(".")
    try:
        found = observables.recognize(text)
    except ValueError:
        # Names that look like files (`x.zip`) are meant as names here.
        try:
            found = observables.recognize(text, "domain-name")
        except ValueError:
            return False
    if found.kind in ("ipv4-addr", "ipv6-addr"):
        networks.add(found.value)
    else:
        names[found.value] = found.kind == "domain-name" and (below or kind in ("hostname", "substring"))
    return True


def portals(name: str, raw: bytes) -> Warninglist:
    """The list of public authorities' own sites, from a CSV file with a column `domain`; `#` begins a comment.

    Raises Invalid, with all that is wrong and its lines.
    """
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise Invalid("It is not UTF-8; save it as «CSV UTF-8».") from error
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not rows or "domain" not in (header := next(csv.reader([rows[0][1]]))):
        raise Invalid("Its first line must name its columns: domain,jurisdiction,source")
    names: dict[str, bool] = {}
    wrong: list[str] = []
    for number, line in rows[1:]:
        text = dict(zip(header, next(csv.reader([line])), strict=False)).get("domain", "")
        try:
            names[observables.recognize(text, "domain-name").value] = True
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        raise Invalid("; ".join(wrong))
    return Warninglist(name, "Sites of public authorities", "", "hostname", digest(raw), names)
