"""What a list that is not STIX says: values with their context, and lines that cannot be read, each with its reason.

This is the one place that names the fields which a feed's `columns` may map (FIELDS) and says how their texts are read.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from isac import times
from isac.stix.authored import Reference
from isac.stix.markings import TLP
from isac.stix.observables import KINDS, Observable, recognize

#: our field → what its column holds. One column or a list of them: `value`, `labels` and `references` take all, the
#: others the first that is filled in.
FIELDS: Mapping[str, str] = {
    "value": "the observable, several hashes of one file, or the number of a listed person or organization; the only "
    "field that must be mapped",
    "kind": "what the value is, such as `ip:port`, `domain`, `md5_hash`; without it the form of the value tells",
    "first_seen": "when the source saw it first; ISO 8601, UTC unless it says otherwise, or as `dates` says",
    "last_seen": "stands in where `first_seen` is empty",
    "valid_until": "when the source stops vouching for it",
    "name": "a short title, such as the malware family",
    "description": "words for analysts",
    "labels": "tags, split at commas and semicolons",
    "compromised": "yes, true or 1: somebody's hacked host, labelled `compromised`; not to be blocked blindly",
    "confidence": "0 to 100, or low, medium, high",
    "references": "web addresses anywhere in the text",
    "action": "what to do about it: becomes a course-of-action that mitigates it",
    "due": "the day by which that is to be done",
    "tlp": "the marking of this row; one that cannot be read costs the row",
}
_ALL = frozenset({"value", "labels", "references"})
_DATES = ("first_seen", "last_seen", "valid_until", "due")

# None is what abuse.ch writes for nothing, and -0- what OFAC does.
_EMPTY = frozenset({"", "-", "-0-", "none", "null", "n/a", "na", "nan"})
_YES = frozenset({"true", "yes", "y", "1"})
# The middle of each range in STIX 2.1 appendix A.
_CONFIDENCE = {"low": 15, "medium": 50, "med": 50, "high": 85}
#: who is named by a number of the source's: no observables, but listed like them
PARTIES = ("individual", "organization")
# What sources call a kind → our name for it. A kind that is not here is refused, not guessed: `evil.zip` as a
# `filename` would read as a domain.
_KINDS = {
    **{kind: kind for kind in (*KINDS, "ip", "ip:port", "domain", "domain:port", "hash", "email", "asn", *PARTIES)},
    "ipaddress": "ip",
    "ip address": "ip",
    "ipv4": "ipv4-addr",
    "ipv6": "ipv6-addr",
    "ip-dst": "ip",
    "ip-src": "ip",
    "domainname": "domain",
    "hostname": "domain",
    "host": "domain",
    "fqdn": "domain",
    "uri": "url",
    "file": "hash",
    "filehash": "hash",
    "md5_hash": "md5",
    "sha1": "sha-1",
    "sha1_hash": "sha-1",
    "sha256": "sha-256",
    "sha256_hash": "sha-256",
    "sha512": "sha-512",
    "sha512_hash": "sha-512",
    "certificate": "x509-sha-1",
    "filehash-md5": "md5",
    "filehash-sha1": "sha-1",
    "filehash-sha256": "sha-256",
}
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d+)?)? ?(Z|UTC|[+-]\d\d:?\d\d)?", re.ASCII | re.IGNORECASE
)
_US_INSTANT = re.compile(
    r"(\d{1,2})/(\d{1,2})/(\d{4})(?:,? (\d{1,2}):(\d\d)(?::(\d\d))?(?: ?([AP])M)?)?", re.ASCII | re.IGNORECASE
)
_WEB_ADDRESS = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_HASHES = re.compile(r"[0-9a-f]{32,128}(?:[\s,;|]+[0-9a-f]{32,128})+", re.ASCII | re.IGNORECASE)
# OFAC writes `A] [B`.
_BETWEEN_LABELS = re.compile(r"[,;]|\] \[")
_BETWEEN_HASHES = re.compile(r"[\s,;|]+")
# Control characters but for tab and line feed; PostgreSQL takes no NUL.
_CONTROLS = dict.fromkeys([*range(9), *range(11, 32), 127])
_TEXT_SHOWN = 200
_LONGEST_NUMBER = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A value that a source lists, with all that it says about it."""

    #: where it stands, counted from 1: line of the file, or place in a JSON list
    line: int
    observable: Observable
    seen: datetime | None = None
    name: str = ""
    description: str = ""
    labels: tuple[str, ...] = ()
    #: 0 to 100
    confidence: int | None = None
    references: tuple[Reference, ...] = ()
    #: when the source stops vouching for it
    until: datetime | None = None
    #: what the source itself marks it with
    tlp: TLP | None = None
    #: what to do about it, and by when
    action: str = ""
    due: datetime | None = None
    #: the source says that it is not for few, without a marking
    wide: bool = False
    #: our fields whose text is no date that is read here, and that text
    undated: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line, row or record that gives no value, and why."""

    line: int
    #: at most 200 characters of it, printable
    text: str
    #: one sentence in plain words
    reason: str
    #: nothing is wrong: its source does not mean it as an indicator
    left_out: bool = False


class Problems(list[Unreadable]):
    """What nobody could read: the first lines, which are told, and how many there are in all."""

    #: more than are told of one hand-over
    KEPT = 10_001

    def __init__(self) -> None:
        super().__init__()
        self.refused = self.left_out = 0

    def note(self, line: Unreadable) -> None:
        self.left_out += line.left_out
        self.refused += not line.left_out
        if len(self) < self.KEPT:
            self.append(line)


def one_line(text: str, most: int) -> str:
    """Text from elsewhere as it may stand in a line of ours: printable, and no longer than that.

    What is not printable also moves a terminal's cursor and turns the direction of writing; PostgreSQL takes no NUL.
    """
    cut = text[:most]
    # The usual case at once: texts have a hundred thousand lines.
    return cut if cut.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in cut)


def unreadable(line: int, text: str, reason: str, *, left_out: bool = False) -> Unreadable:
    """Cuts the text down to what can be shown."""
    cut = " ".join(text[: 5 * _TEXT_SHOWN].split())
    if len(cut) > _TEXT_SHOWN or len(text) > 5 * _TEXT_SHOWN:
        cut = cut[: _TEXT_SHOWN - 1] + "…"
    return Unreadable(line, one_line(cut, _TEXT_SHOWN), reason, left_out)


def observe(line: int, value: str, kind: str | None, whole: str) -> Found | Unreadable:
    """A bare value; `whole` is shown if it is none."""
    try:
        return Found(line, observable_of(value, kind))
    except ValueError as error:
        return unreadable(line, whole, str(error))


def observable_of(text: str, kind: str | None) -> Observable:
    """As `recognize`, for texts out of a file: raises ValueError also for characters that only damage explains."""
    if "\ufffd" in text or "\0" in text:
        raise ValueError("it holds bytes that are no UTF-8 text, or NUL characters")
    if kind in PARTIES:
        if not text.strip().isprintable() or len(text) > _LONGEST_NUMBER:
            raise ValueError("it is no number of a list of persons and organizations")
        return Observable(kind, text.strip())
    return recognize(text, kind)


def kind_of(text: str) -> str | None:
    """What `recognize` calls the kind that a source or a feed definition names; None if it is not read here."""
    return _KINDS.get(text.strip().lower())


def read_fields(
    line: int, texts: Mapping[str, Sequence[str]], kind: str | None, whole: str, *, us_dates: bool = False
) -> Iterator[Found | Unreadable]:
    """What a row or record gives, by our fields' names.

    `kind` is that of all values unless the row names one; `whole` is shown where the row cannot be read.
    """
    filled = {field: _filled(field, found) for field, found in texts.items()}
    values = [part for text in filled.get("value", ()) for part in _values(text)]
    if not values:
        yield unreadable(line, whole, "there is no value in this row")
        return
    if filled.get("kind"):
        own = filled["kind"][0]
        kind = kind_of(own) or own
    try:
        tlp = TLP.parse(filled["tlp"][0]) if filled.get("tlp") else None
    except ValueError as error:
        yield unreadable(line, whole, str(error))
        return
    for value in values:
        try:
            observable = observable_of(value, kind)
        except ValueError as error:
            yield unreadable(line, value, str(error))
        else:
            yield _found(line, observable, filled, tlp, us_instant if us_dates else instant)


def instant(text: str) -> datetime | None:
    """ISO 8601 date or time, UTC unless it says otherwise. Anything else, such as 3/4/2023, is not guessed: None."""
    found = _INSTANT.fullmatch(text)
    if not found:
        return None
    day, minute, second, fraction, zone = found.groups()
    zone = "Z" if zone is None or zone.upper() in ("Z", "UTC") else zone
    try:
        return times.read(f"{day}T{minute or '00:00'}{second or ':00'}{fraction or ''}{zone}")
    except ValueError:
        return None


def us_instant(text: str) -> datetime | None:
    """Month/day/year as spreadsheets of the United States write it, with a time or without, UTC; and ISO 8601."""
    found = _US_INSTANT.fullmatch(text)
    if not found:
        return instant(text)
    month, day, year, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    if found[7]:
        hour = hour % 12 + (12 if found[7].upper() == "P" else 0)
    return instant(f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")


def _filled(field: str, texts: Sequence[str]) -> list[str]:
    # A control character inside the value is damage, which its reader must see.
    cleaned = (text if text.isprintable() or field == "value" else text.translate(_CONTROLS) for text in texts)
    filled = [text for text in map(str.strip, cleaned) if text.lower() not in _EMPTY]
    return filled if field in _ALL else filled[:1]


def _values(text: str) -> list[str]:
    """Usually itself; the hashes where a cell holds several of one file."""
    return _BETWEEN_HASHES.split(text) if _HASHES.fullmatch(text) else [text]


def _found(
    line: int,
    observable: Observable,
    filled: Mapping[str, list[str]],
    tlp: TLP | None,
    when: Callable[[str], datetime | None],
) -> Found:
    def one(field: str) -> str:
        return "".join(filled.get(field, ()))

    dates = {field: when(one(field)) for field in _DATES if field in filled}
    # Some write a list of Python into a cell.
    labels = [label.strip(" []'\"") for text in filled.get("labels", ()) for label in _BETWEEN_LABELS.split(text)]
    if one("compromised").lower() in _YES:
        labels.append("compromised")
    return Found(
        line,
        observable,
        seen=dates.get("first_seen") or dates.get("last_seen"),
        name=" ".join(one("name").split()),
        description=one("description"),
        labels=tuple(dict.fromkeys(label for label in labels if label.lower() not in _EMPTY)),
        confidence=_confidence(one("confidence")),
        references=tuple(dict.fromkeys(_web_addresses(filled.get("references", ())))),
        until=dates.get("valid_until"),
        tlp=tlp,
        action=one("action"),
        due=dates.get("due"),
        undated=tuple((field, one(field)[:_TEXT_SHOWN]) for field, at in dates.items() if at is None and one(field)),
    )


def _confidence(text: str) -> int | None:
    digits = text.removesuffix("%").strip()
    if digits.isascii() and digits.isdigit() and len(digits) <= 3 and int(digits) <= 100:
        return int(digits)
    return _CONFIDENCE.get(text.lower())


def _web_addresses(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        # A comma or semicolon at the end parts one address from the next.
        yield from (address.rstrip(".,;)") for address in _WEB_ADDRESS.findall(text))
