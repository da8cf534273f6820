"""What comes in as one STIX 2.1 object, and what we know about it: `accept` takes it or refuses it with a reason.

The bytes stay as they came; everything else in `Object` is an index of them. The road: JSON → envelope → what the
standard asks of the type (`conformance`) → what no schema can say → pattern and values.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import orjson

from isac.errors import Classified, Invalid
from isac.stix import conformance, markings, observables, patterns
from isac.stix.conformance import VALUES, shown
from isac.stix.markings import Marking
from isac.stix.observables import Observable
from isac.stix.patterns import Checked

#: Ours, not the standard's (S-30): a page of a thousand objects must stay bearable.
MAX_BYTES = 1_048_576
MAX_DEPTH = 64
MAX_ITEMS = 10_000
# Nobody reads more, and a list of odd words could ask for ten thousand.
_MAX_WARNINGS = 20


class Object(NamedTuple):
    """One object that may be stored. Times are nanoseconds since 1970; versions' are held within 64 bits."""

    # As received, to be served verbatim.
    raw: bytes
    # The same, parsed. Nobody changes it.
    body: dict[str, Any]
    # In lower case, as a key; as the producer wrote it, it stands in `body`.
    id: str
    type: str
    # `modified` as written, else `created`; None for observables, which have one version.
    version: str | None
    # The instant of `version`, 0 without one: versions are ordered by it, never as text.
    modified: int
    created: int | None
    created_by: str | None
    revoked: bool
    valid_until: int | None
    marking: Marking
    # Of the pattern, of the observable itself, or the CVE of a vulnerability.
    observables: tuple[Observable, ...]
    # The pattern was not read (patterns.Checked).
    opaque: bool
    # Each of `observables` alone makes the pattern true (patterns.Checked).
    alternatives: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """For the submitter: what is allowed but unusual or unwise. Found anew each time, since few ask."""
        found = [*islice(conformance.advice(self.body, conformance.rules(self.type)), _MAX_WARNINGS)]
        _content(self.body, self.type, found)
        return tuple(found)


def accept(raw: bytes) -> Object:
    """The object in `raw`. Raises Invalid for the first problem found: one sentence that names property and value."""
    body = parse(raw)
    type_name = _envelope(body)
    rules = conformance.rules(type_name)
    conformance.check(body, rules)
    _secrets(raw, body, type_name)
    created, modified = _when(body, "created"), _when(body, "modified")
    if created is not None and modified is not None and modified < created:
        raise Invalid(
            f"modified is {body['modified']}, before created {body['created']}: no version is older than that"
        )
    if rules.span:
        _in_order(body, *rules.span)
    for part in body.get("granular_markings", ()):
        _selects(body, part["selectors"])
    content = _content(body, type_name, [])
    version = body.get("modified", body.get("created"))
    creator = body.get("created_by_ref")
    until = _when(body, "valid_until") if type_name == "indicator" else None
    # By place, which takes half the time; in the order of Object.
    return Object(
        raw,
        body,
        body["id"].lower(),
        type_name,
        version,
        _within_64_bits(modified if modified is not None else created or 0),
        None if created is None else _within_64_bits(created),
        creator.lower() if isinstance(creator, str) else None,
        body.get("revoked") is True,
        until,
        markings.in_force(body),
        *content,
    )


# --- JSON and envelope ---------------------------------------------------------------------------


def parse(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. Raises Invalid if it is none, or has what STIX allows nowhere."""
    if len(raw) > MAX_BYTES:
        raise Invalid(f"the object has {len(raw):,} bytes: at most {MAX_BYTES:,} are taken")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"this is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Invalid(f"{shown(body)} is no STIX object: an object stands in braces")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        _check_shape(body)
    try:
        compact = orjson.dumps(body, option=orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:
        _check_numbers(raw)
        raise
    if _NULL.search(compact) or _EMPTY.search(compact) or (len(raw) > 2 * MAX_ITEMS and raw.count(b",") >= MAX_ITEMS):
        _check_shape(body)
    # A key that stands twice is lost in `body`, so `compact` is shorter. Without escapes each text has two quotes, and
    # their number says the same of text that is merely spaced out.
    if compact != raw and (b"\\" in raw or raw.count(b'"') != compact.count(b'"')):
        _check_keys(raw)
    if compact != raw and _LONG.search(raw):  # what 64 bits do not hold was read as a fraction
        _check_numbers(raw)
    return body


# Twice as fast as `in`.
_NULL, _EMPTY = re.compile(rb"null"), re.compile(rb"\[\]")
_LONG = re.compile(rb"[0-9]{20}")


def _check_numbers(raw: bytes) -> None:
    """Refuse whole numbers that not every reader of JSON has exactly (RFC 7493 §2.2, TAXII 2.1 §1.6.7)."""

    def read(text: str) -> int:
        if len(text) > 17 or abs(int(text)) >= 2**53:
            raise Invalid(f"{text[:40]} is no whole number between -(2^53 - 1) and 2^53 - 1: write it as a text")
        return int(text)

    json.loads(raw, parse_int=read)


def _check_shape(body: dict[str, Any]) -> None:
    """Refuse nulls, empty lists, long lists and deep nesting, wherever they stand (S-28, S-30)."""
    # A trail is (trail of what is around it, key): written out as text, long keys would fill the memory.
    heap: list[tuple[Any, int, Any]] = [((None, key), 2, value) for key, value in body.items()]
    while heap:
        trail, depth, value = heap.pop()
        if value is None:
            raise Invalid(f"{_path(trail)} is null: leave the property out")
        if not isinstance(value, dict | list):
            continue
        if depth > MAX_DEPTH:
            raise Invalid(f"{_path(trail)} is nested more than {MAX_DEPTH} levels deep")
        if isinstance(value, list) and not 0 < len(value) <= MAX_ITEMS and (value or not _deep_custom(trail)):
            raise Invalid(f"{_path(trail)} has {len(value):,} entries: a list has 1 to {MAX_ITEMS:,}, or is left out")
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        heap.extend(((trail, key), depth + 1, inner) for key, inner in inside)


def _path(trail: Any) -> str:
    steps: list[str] = []
    while trail:
        trail, step = trail
        steps.append(str(step)[:100])
    return ".".join(reversed(steps))[:200]


def _deep_custom(trail: Any) -> bool:
    """Deep inside its own `x_mitre_…` properties MITRE writes empty lists: those are not STIX's business."""
    around, key = trail
    while around:
        around, key = around
    return str(key).startswith("x_") and trail[0] is not None


def _check_keys(raw: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise Invalid(f"{twice[:100]} stands twice in one object: say which value holds")

    try:
        json.loads(raw, object_pairs_hook=unique)
    except ValueError as error:
        raise Invalid("a number in the object has too many digits") from error


_TYPE = re.compile(r"(?!.*--)[a-z0-9-]{3,250}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def _envelope(body: dict[str, Any]) -> str:
    """The type, after a look at `type` and `id` (S-6): nothing else can be said of an object without them."""
    type_name, stix_id = body.get("type"), body.get("id")
    if not isinstance(type_name, str):
        raise Invalid("type is missing: every STIX object has one")
    if type_name == "bundle":
        raise Invalid("a bundle is no object to share: send the objects in it")
    known = type_name in conformance.types()
    if not known and not _TYPE.fullmatch(type_name):
        raise Invalid(f"type is {shown(type_name)}: it must be 3 to 250 of a-z, 0-9 and single hyphens")
    if not isinstance(stix_id, str):
        raise Invalid(f"id is missing: it must be {type_name}-- and a UUID")
    prefix, _, uuid = stix_id.partition("--")
    if prefix != type_name:
        raise Invalid(f"id is {shown(stix_id)}, but type is {shown(type_name)}: an id begins with the type")
    if not known and not _UUID.fullmatch(uuid):
        raise Invalid(f"id is {shown(stix_id)}: it must be {type_name}-- and a UUID")
    return type_name


# --- what schemas cannot say ---------------------------------------------------------------------


def _secrets(raw: bytes, body: dict[str, Any], type_name: str) -> None:
    """Refuse forged TLP (S-51) and classified data (S-60)."""
    if type_name == "marking-definition":
        if markings.genuine(body) is False:
            raise Invalid(f"{body['id']} is not the TLP definition that OASIS published: refer to that by its own id")
        if markings.classified(body):
            raise Classified("the marking is for classified data, which may not come here: call the ISAC")
    # Plain searches first: few objects are read further. An escape may spell any letter of a banner.
    hinted = (
        _SECRET.search(raw)
        or _CONFIDENTIAL.search(raw)
        or (b"\\" in raw and b"\\u" in raw)
        or (b"(" in raw and _PORTION.search(raw))
    )
    if hinted and any(markings.banner(text) for text in markings.strings(body)):
        raise Classified("the text carries a classification banner; nothing classified may come here: call the ISAC")


_SECRET, _CONFIDENTIAL = re.compile(rb"SECRET"), re.compile(rb"CONFIDENTIAL")
_PORTION = re.compile(rb"\((?:S|TS|C)(?://|\\/)")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(4096)
def instant(text: str) -> int:
    """Nanoseconds since 1970 of a STIX timestamp with any number of decimals; those beyond nine are cut off (S-18).

    A leap second is the last nanosecond of its minute. Raises ValueError for what is no real date in UTC.
    """
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError(f"not a timestamp in UTC: {text[:40]!r}")
    if text[17:19] == "60":
        text = f"{text[:17]}59.999999999Z"
    since = datetime.fromisoformat(text) - _EPOCH
    beyond_micro = int(text[26:29].rstrip("Z").ljust(3, "0")) if len(text) > 27 else 0
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000 + beyond_micro


def _when(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    try:
        return instant(str(value))
    except ValueError as error:
        raise Invalid(f"{name} is {shown(value)}: it must be a real date and time in UTC") from error


_LATEST = 2**63 - 1


def _within_64_bits(nanoseconds: int) -> int:
    if -_LATEST <= nanoseconds <= _LATEST:
        return nanoseconds
    return _LATEST if nanoseconds > 0 else -_LATEST - 1


def _in_order(body: dict[str, Any], earlier: str, later: str, strictly: bool) -> None:
    first, last = _when(body, earlier), _when(body, later)
    if first is not None and last is not None and (last < first or (strictly and last == first)):
        must = "be later than" if strictly else "not be before"
        raise Invalid(f"{later} is {body[later]}: it must {must} {earlier} {body[earlier]}")


def _selects(body: dict[str, Any], selectors: list[str]) -> None:
    """Each selector of a granular marking points at something that is there (S-49)."""
    for selector in selectors:
        here: Any = body
        for step in selector.split("."):
            if isinstance(here, list) and step.startswith("["):
                position = int(step[1:-1])
                here = here[position] if position < len(here) else None
            else:
                here = here.get(step) if isinstance(here, dict) else None
        if here is None:
            raise Invalid(f"granular_markings has the selector {shown(selector)}, which selects nothing")


# --- pattern and values --------------------------------------------------------------------------

_HASHES = {"MD5": "md5", "SHA1": "sha-1", "SHA256": "sha-256", "SHA512": "sha-512"}
_NOTHING = Checked(())


def _content(body: dict[str, Any], type_name: str, warnings: list[str]) -> Checked:
    """The observables of the object; adds to `warnings`. Raises Invalid for a bad pattern or a plainly wrong value."""
    if type_name == "indicator":
        return _pattern(body, warnings)
    if type_name in VALUES:
        found = _value(type_name, body["value"], body.get("defanged") is True)
        return Checked((found,)) if found else _NOTHING
    if type_name == "autonomous-system":
        return Checked((Observable("autonomous-system", f"AS{int(body['number'])}"),))
    if type_name == "vulnerability":
        names = [body["name"], *(ref.get("external_id", "") for ref in body.get("external_references", ()))]
        return Checked(tuple(dict.fromkeys(_silently("cve", names))))
    if type_name == "x509-certificate":
        return Checked(tuple(_hashes(body, "x509-")))
    if type_name == "windows-registry-key":
        return Checked(tuple(_silently(type_name, [body.get("key", "")])))
    if type_name in ("file", "artifact"):
        return Checked((*_hashes(body), *_silently("file-name", [body.get("name", "")])))
    return _NOTHING


def _hashes(body: dict[str, Any], prefix: str = "") -> Iterator[Observable]:
    for name, text in body.get("hashes", {}).items():
        kind = _HASHES.get(name.upper().replace("-", ""))
        if kind:
            yield from _silently(prefix + kind, [text])


def _pattern(body: dict[str, Any], warnings: list[str]) -> Checked:
    language = body["pattern_type"]
    if not language.lower().startswith("stix"):
        warnings.append(f"pattern_type is {language}: the pattern is passed on unread")
        return _NOTHING
    try:
        checked = patterns.check(body["pattern"])
    except ValueError as error:
        if language == "stix" and body.get("pattern_version", "2.1") == "2.1":
            raise Invalid(f"pattern is {shown(body['pattern'])}: {error}") from error
        warnings.append(f"pattern does not parse as STIX 2.1 and is passed on unread: {error}")
        return Checked((), opaque=True)
    if language != "stix":
        warnings.append(f'pattern_type is {language}: the standard\'s word is "stix"')
    if checked.opaque:
        warnings.append("pattern is too large or too deep to be read: it is passed on, but nothing is blocked by it")
    return checked


def _value(type_name: str, value: str, defanged: bool) -> Observable | None:
    """The observable of an SCO. A defanged value is left as it is, but found by what it stands for (S-46)."""
    if defanged:
        return next(iter(_silently(type_name, [value])), None)
    try:
        return observables.read(type_name, value)
    except ValueError as error:
        raise Invalid(f"value is {shown(value)}: {error}") from error


def _silently(kind: str, values: list[str]) -> Iterator[Observable]:
    for value in values:
        try:
            yield observables.recognize(value, kind)
        except ValueError:
            continue


# --- questions about objects ---------------------------------------------------------------------


def named(body: dict[str, Any]) -> set[str]:
    """Ids, in lower case, of all objects that this one names in `*_ref` and `*_refs`, however deep."""
    found: set[str] = set()
    heap: list[Any] = [body]
    while heap:
        here = heap.pop()
        if isinstance(here, list):
            heap.extend(here)
        elif isinstance(here, dict):
            for key, value in here.items():
                if key.endswith("_ref") and isinstance(value, str):
                    found.add(value)
                elif key.endswith("_refs") and isinstance(value, list):
                    found.update(ref for ref in value if isinstance(ref, str))
                elif isinstance(value, dict | list):
                    heap.append(value)
    # What has no two hyphens is a local number inside the old observed-data.
    return {ref.lower() for ref in found if "--" in ref}


_DEFAULTS = {"revoked": False, "defanged": False, "lang": "en"}


def same(a: bytes, b: bytes) -> bool:
    """Do two texts of one version say the same (taxii21 A-16, S-2)?

    Order of keys, blanks, the spelling of numbers and of `created` and `modified` make no difference, nor does a
    property that is written out with its default value.
    """
    return a == b or _canonical(a) == _canonical(b)


def _canonical(raw: bytes) -> bytes:
    body = _plain_numbers(orjson.loads(raw))
    defaults = dict(_DEFAULTS)
    if body.get("type") == "sighting":
        defaults["summary"] = False
    rules = conformance.rules(body["type"])
    if rules.known and not rules.versioned:
        defaults["spec_version"] = "2.1"
    for name, default in defaults.items():
        if name in body and body[name] == default and type(body[name]) is type(default):
            del body[name]
    for name in ("created", "modified"):
        if name in body:
            body[name] = str(_when(body, name))
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def _plain_numbers(value: Any) -> Any:
    """`2.0` as `2`: JSON knows one kind of number."""
    if isinstance(value, dict):
        return {key: _plain_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
