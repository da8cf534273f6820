"""Reads MISP core format (draft-dulaunoy-misp-core-format): one event, several, an answer of MISP, a feed's event.

Its attributes are values with what the event, their object and they themselves say about them. An attribute without
`to_ids` is context: MISP's word for «no detection». Whatever is wrong with an attribute costs this attribute alone.
"""

import re
import unicodedata
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import orjson

from isac.errors import Invalid
from isac.formats.cutting import elements, lines, members, not_json, parts
from isac.formats.found import Found, Unreadable, instant, observable_of, unreadable
from isac.formats.texts import Text, trimmed
from isac.stix.authored import Reference
from isac.stix.fangs import ZERO_WIDTH
from isac.stix.markings import TLP

# What MISP calls a kind → ours. Of a composite type each part is named, None for one that is no value by itself.
_TYPES: Mapping[str, Sequence[str | None]] = {
    "md5": ("md5",),
    "sha1": ("sha-1",),
    "sha256": ("sha-256",),
    "sha512": ("sha-512",),
    "filename|md5": (None, "md5"),
    "filename|sha1": (None, "sha-1"),
    "filename|sha256": (None, "sha-256"),
    "filename|sha512": (None, "sha-512"),
    "malware-sample": (None, "md5"),
    "ip-src": ("ip",),
    "ip-dst": ("ip",),
    "ip-src|port": ("ip", None),
    "ip-dst|port": ("ip", None),
    "domain": ("domain",),
    "hostname": ("domain",),
    "hostname|port": ("domain", None),
    "domain|ip": ("domain", "ip"),
    "url": ("url",),
    "uri": ("url",),
    "link": ("url",),
    "email": ("email",),
    "email-src": ("email",),
    "email-dst": ("email",),
    "email-reply-to": ("email",),
    "whois-registrant-email": ("email",),
    "dns-soa-email": ("email",),
    "AS": ("asn",),
    "vulnerability": ("cve",),
    "filename": ("file-name",),
    "mac-address": ("mac-addr",),
    "regkey": ("windows-registry-key",),
    "regkey|value": ("windows-registry-key", None),
    "x509-fingerprint-md5": ("x509-md5",),
    "x509-fingerprint-sha1": ("x509-sha-1",),
    "x509-fingerprint-sha256": ("x509-sha-256",),
}
# What the part without a value is, in words for the description.
_BESIDE = {"filename": "File name", "malware-sample": "File name", "port": "Port", "value": "Value"}

# MISP's `distribution`: 0 the sender's own organization, 4 a named group of them, 1 to 3 its community and wider. 5 is
# the event's.
_NARROW = frozenset({"0", "4"})
_WIDE = frozenset({"1", "2", "3"})
_TRUE = frozenset({"true", "1", "yes"})

# A hostile event must not multiply: each of its attributes carries what the event says.
_MAX_LABELS = 50
_MAX_REFERENCES = 50
_MAX_LINKS = 10
_MAX_WORDS = 5000
#: of a file, by which one tells what it is
_BEGINNING = 64 * 1024
#: of what an event says about itself, which is read as a whole
_MAX_HEAD = 4 * 1024 * 1024

_HASHES_LINE = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*+[0-9a-f]{32},[0-9a-f]{8}-[0-9a-f-]{27}\s")
_MANIFEST_KEY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MANIFEST = re.compile(rb'(?:\xef\xbb\xbf)?[ \t\r\n]*+\{\s*+"[0-9a-fA-F-]{36}"\s*+:\s*+\{')
# What is surely something else need not be cut. Ids of MISP are numbers.
_OTHER = re.compile(
    rb'(?:\xef\xbb\xbf)?[ \t\r\n]*+(?:[^\s{\[]|\[(?!\s*+\{\s*+"Event")|'
    rb'\{\s*+"(?:(?:type|objects|spec_version|more|next)"\s*+:|id"\s*+:\s*+"[a-z]))'
)
_TECHNIQUE = re.compile(r'misp-galaxy:mitre-[a-z-]*="[^"]{0,300}? - ((T\d{4})(?:\.(\d{3}))?|[GS]\d{4})"', re.IGNORECASE)
# `tlp:red` of MISP's own taxonomy, `iep:traffic-light-protocol="RED"` and what people write instead.
_TLP = re.compile(
    r"(?:[\w-]{1,40}:)?[ _:='\"-]*(?:tlp|traffic[ _-]?light(?:[ _-]?protocol)?)"
    r"(?=[^a-z]|red|amber|green|white|clear|\Z)[ _:='\"]*"
)
_NO_ASCII = re.compile(r"[^ -~]")
_SHAPES = "send an event, a list of events, or the event files of a feed"

_TAGS = ("Tag", "EventTag", "AttributeTag")
_LISTS = ("Attribute", "Object")
# Of an event or object: lists are read member by member, the others at once. `objects` is STIX, and no event has it.
_HEAD = frozenset(
    re.findall(r"\w+", "Galaxy comment date deleted distribution first_seen info last_seen timestamp uuid")
).union(_TAGS)
_NAMES = _HEAD | {"Event", "response", "objects", *_LISTS}


def events(data: Text) -> Sequence[Text] | None:
    """The events' own bytes, each to be read by `read_events`; None unless it surely is MISP."""
    if _OTHER.match(_beginning(data)):
        return None
    try:
        pieces, sure = _split(data)
    except Invalid:
        return None
    return pieces if sure else None


def is_index(data: Text) -> bool:
    """Is it what a feed has beside its events: the manifest, which names them, or the digests of their values?"""
    head = _beginning(data)
    if not _MANIFEST.match(head):
        return _HASHES_LINE.match(head) is not None
    try:
        return all(_MANIFEST_KEY.fullmatch(name) for name in members(trimmed(data)))
    except Invalid:
        return False


def read(data: Text) -> Iterator[Found | Unreadable]:
    """Every attribute that is not deleted gives Found or Unreadable; `line` is its number in the file, from 1.

    Of a value that several attributes name each is given. Raises Invalid at once, with what to do, if there is none.
    """
    if is_index(data):
        raise Invalid(f"This is an index of a MISP feed (manifest.json or hashes.csv) and holds no values; {_SHAPES}.")
    return read_events(_split(data)[0])


def read_events(pieces: Iterable[Text]) -> Iterator[Found | Unreadable]:
    """The same for what `events` gave; the numbers run through all of them."""
    number = 0
    for piece in pieces:
        number = yield from _read_event(piece, number)


def _beginning(data: Text) -> bytes:
    """Enough to see what it is."""
    return trimmed(data)[:_BEGINNING] + b"\n"


def _split(data: Text) -> tuple[Sequence[Text], bool]:
    """The events' own bytes, in `{"Event": …}` or not, and whether they surely are events.

    Raises Invalid if they cannot be.
    """
    text = trimmed(data)
    if text[:1] == b"[":
        pieces = parts(text)
        return pieces, _begins(pieces)
    if text[:1] != b"{":
        raise not_json(text, 0, "a MISP event begins with {") if len(text) else Invalid("The file is empty.")
    several = lines(text)
    if several is not None:
        return several.pieces, _begins(several.pieces)
    found = members(text, _NAMES)
    answer = found.get("response", b"")
    if answer[:1] == b"[":
        pieces = parts(answer)
        # Empty is MISP's answer to a search that finds nothing.
        return pieces, _begins(pieces) or _answers(pieces[0]) if pieces else len(members(text)) == 1
    if answer[:1] == b"{":
        # MISP answers one event, or a search for attributes, without a list around it.
        text, found = answer, members(answer, _NAMES)
        if _answers(text):
            return [text], True
    if "Event" in found or ("objects" not in found and (_has_list(found) or "info" in found)):
        return [text], _is_event(found)
    names = ", ".join(f"`{name[:40]}`" for name in list(members(text))[:5])
    raise Invalid(f"There is no MISP event in this file (but {names or 'nothing'}); {_SHAPES}.")


def _begins(pieces: Sequence[Text]) -> bool:
    """Is the first an event?"""
    return len(pieces) > 0 and _is_event(_members(pieces[0]))


def _is_event(found: Mapping[str, Text]) -> bool:
    if "Event" in found:
        return not _members(found["Event"]).keys().isdisjoint(("info", *_LISTS))
    return "objects" not in found and "info" in found and _has_list(found)


def _answers(piece: Text) -> bool:
    """Is it what a search for attributes or objects answers?"""
    found = _members(piece)
    return any(found[name][:1] in (b"[", b"{") for name in _LISTS if name in found)


def _members(text: Text) -> dict[str, Text]:
    """None where it is no object; its reader will say so."""
    try:
        return _object(text, "")
    except Invalid:
        return {}


def _has_list(found: Mapping[str, Text]) -> bool:
    return any(found[name][:1] == b"[" for name in _LISTS if name in found)


# --- what a level says ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Level:
    """What an event says about its attributes, or an object about its own."""

    tlp: TLP | None = None
    distribution: str = ""
    labels: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    comment: str = ""
    seen: datetime | None = None
    #: the event's day or the last change, where nothing says when something was seen
    day: datetime | None = None


class _UnknownMarking(ValueError):
    """Tags that cannot be read, or a TLP that does not exist: nobody knows who may see it."""


def _read_event(piece: Text, number: int) -> Generator[Found | Unreadable, None, int]:
    """`number` is that of the last attribute before it; gives back that of its own last."""
    shown = piece[:1000].decode("utf-8", "replace")
    try:
        # Beside `{"Event": …}` old exports write its attributes and tags.
        beside = _object(piece, "event")
        event = _object(beside["Event"], "event") if "Event" in beside else {}
        attributes, objects = ((_listed(event, name), _listed(beside, name)) for name in _LISTS)
        heads = _head(beside), _head(event)
        level = _level(heads[1], _Level(), "the event")
        level = _level(heads[0], level, "the event")
    except (Invalid, _UnknownMarking) as error:
        yield unreadable(number + 1, shown, f"the event cannot be read: {error}")
        return number + 1
    level = _named(level, heads[0] | heads[1], chain(*attributes))
    for attribute in chain(*attributes):
        number += 1
        yield from _read_attribute(number, attribute, level)
    for whole in chain(*objects):
        try:
            found = _object(whole, "object")
            own = _head(found)
            if _true(own.get("deleted")):
                continue
            around = _head(_members(found.get("Event", b"")))
            inner = _level(own, _level(around, level, "its event"), "the object")
            listed = _listed(found, "Attribute")
        except (Invalid, _UnknownMarking) as error:
            number += 1
            text = whole[:1000].decode("utf-8", "replace")
            yield unreadable(number, text, f"the object cannot be read: {error}")
            continue
        for attribute in listed:
            number += 1
            yield from _read_attribute(number, attribute, inner)
    return number


def _object(text: Text, what: str) -> dict[str, Text]:
    if text[:1] != b"{":
        raise Invalid(f"this is no {what}")
    return members(text, _NAMES)


def _listed(whole: Mapping[str, Text], name: str) -> Sequence[bytes]:
    value = whole.get(name, b"")
    match value[:1]:
        case b"[":
            return elements(value)
        case b"{":
            # A search for objects answers each by itself.
            return (value[:_MAX_HEAD],)
    return ()


def _head(whole: Mapping[str, Text]) -> dict[str, Any]:
    """What is read at once. Raises _UnknownMarking where tags are no JSON: they must not be taken for none."""
    head: dict[str, Any] = {}
    for name in whole.keys() & _HEAD:
        if len(whole[name]) > _MAX_HEAD:
            raise Invalid(f"its {name} is larger than {_MAX_HEAD >> 20} MiB")
        try:
            head[name] = orjson.loads(whole[name][:])
        except orjson.JSONDecodeError:
            if name in _TAGS:
                head[name] = _one_by_one(whole[name])
    return head


def _one_by_one(tags: Text) -> list[Any]:
    """Tags between which a comma is too many."""
    try:
        return [orjson.loads(tag) for tag in elements(tags) if tag]
    except (Invalid, orjson.JSONDecodeError):
        raise _UnknownMarking("its tags are no JSON, and with them its TLP is unknown") from None


def _level(body: Mapping[str, Any], outer: _Level, what: str) -> _Level:
    """What is said on this level, joined with what was said above; the stricter marking wins."""
    tlp, labels, references = outer.tlp, list(outer.labels), list(outer.references)
    own: TLP | None = None
    for tag in _tags(body, what):
        color = _color(tag, what)
        if color is not None:
            own = max(own or TLP.CLEAR, color)
        elif technique := _TECHNIQUE.match(tag):
            references.append(_attack(technique))
        elif tag.isprintable():
            labels.append(tag)
    distribution = _text(body.get("distribution"))
    if own is None and distribution in _NARROW and distribution != outer.distribution:
        own = TLP.AMBER_STRICT
    return _Level(
        tlp=tlp if own is None else max(own, tlp or TLP.CLEAR),
        distribution=distribution if distribution not in ("", "5") else outer.distribution,
        labels=tuple(dict.fromkeys(labels))[:_MAX_LABELS],
        references=_distinct(references),
        comment=_text(body.get("comment")) or outer.comment,
        seen=_instant(body.get("first_seen")) or _instant(body.get("last_seen")) or outer.seen,
        day=outer.day or instant(_text(body.get("date"))) or _epoch(body.get("timestamp")),
    )


def _named(level: _Level, head: Mapping[str, Any], attributes: Iterable[bytes]) -> _Level:
    """The event's level with references to the event itself and to what its author links."""
    origin = {
        "source_name": "misp",
        "description": _text(head.get("info"))[:300],
        "external_id": _text(head.get("uuid")),
    }
    origin = {name: value for name, value in origin.items() if value}
    links: list[Reference] = []
    for attribute in attributes:
        if len(links) == _MAX_LINKS:
            break
        # Most attributes are no links, and need not be read twice.
        body = _body(attribute) if b'"link"' in attribute else {}
        address = _text(body.get("value"))
        plain = re.fullmatch(r"https?://[^\s\"'<>]{1,1000}", address)
        if body.get("type") == "link" and not _true(body.get("to_ids")) and not _true(body.get("deleted")) and plain:
            links.append(address)
    first: list[Reference] = [origin] if "external_id" in origin or "description" in origin else []
    # What an event says about itself is its title, which stands in the reference.
    return replace(level, references=_distinct([*first, *links, *level.references]), comment="")


def _tags(body: Mapping[str, Any], what: str) -> Iterator[str]:
    """Names of tags, of galaxies too, without blanks and characters that nobody sees.

    Raises _UnknownMarking where they cannot be read.
    """
    tags = [tag for name in _TAGS for tag in _several(body.get(name))]
    tags += [
        {"name": cluster.get("tag_name", "")}
        for galaxy in _dicts(body.get("Galaxy"))
        for cluster in _dicts(galaxy.get("GalaxyCluster"))
    ]
    for tag in tags:
        # MISP's tables of tags hold each in a `Tag` of its own.
        inner = tag.get("Tag", tag) if isinstance(tag, dict) else tag
        name = inner.get("name") if isinstance(inner, dict) else inner
        if not isinstance(name, str):
            raise _UnknownMarking(f"the tags of {what} cannot be read, and with them its TLP")
        name = " ".join(name.translate(ZERO_WIDTH).split())[:300]
        if name:
            yield name


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _color(tag: str, what: str) -> TLP | None:
    """The TLP that a tag names, None for other tags. Raises _UnknownMarking for what is nearly one."""
    plain = unicodedata.normalize("NFKC", tag).casefold()
    # A mark or a filler that hides in the word hides it from people too.
    seen = _NO_ASCII.sub("", plain)
    begins = _TLP.match(seen)
    if begins is None:
        return None
    try:
        if seen == plain:
            return TLP.parse(seen[begins.end() :].strip("'\" "))
    except ValueError:
        pass
    shown = "".join(char if char.isprintable() else "\ufffd" for char in tag[:40])
    raise _UnknownMarking(f"{what} is marked «{shown}», which is no TLP known here")


def _attack(technique: re.Match[str]) -> Reference:
    """A technique, group or software of ATT&CK, by its number."""
    number = technique[1].upper()
    if technique[2]:
        path = f"techniques/{technique[2].upper()}{f'/{technique[3]}' if technique[3] else ''}"
    else:
        path = f"{'groups' if number[0] == 'G' else 'software'}/{number}"
    return {"source_name": "mitre-attack", "url": f"https://attack.mitre.org/{path}", "external_id": number}


# --- attributes -----------------------------------------------------------------------------------


def _read_attribute(number: int, piece: bytes, level: _Level) -> Iterator[Found | Unreadable]:
    body = _body(piece)
    if not body:
        yield unreadable(number, piece[:1000].decode("utf-8", "replace"), "the attribute is no JSON object")
        return
    if _true(body.get("deleted")):
        return
    kind, value = _text(body.get("type")), _text(body.get("value"))
    shown = f"{kind} {value[:2000]}"
    if not _true(body.get("to_ids")):
        reason = "the event means it as context: its to_ids is not set"
        yield unreadable(number, shown, reason, left_out=True)
        return
    parts = _TYPES.get(kind)
    if parts is None:
        yield unreadable(number, shown, f"no pattern is made here of a value of MISP's type {kind[:40] or '(none)'}")
        return
    try:
        # An answer to a search for attributes names with each its event and object.
        for around in (body.get("Event"), body.get("Object")):
            level = _level(around, level, "its event") if isinstance(around, dict) else level
        own = _level(body, level, "the attribute")
    except _UnknownMarking as error:
        yield unreadable(number, shown, str(error))
        return
    texts, names = _cut(kind, value, len(parts)), kind.split("|")
    beside = [
        f"{_BESIDE[name]}: {text.strip()}"
        for name, text, part in zip(names if len(names) > 1 else [kind], texts, parts, strict=False)
        if part is None and name in _BESIDE and text.strip()
    ]
    for part, text in zip(parts, texts, strict=False):
        if part is None:
            continue
        try:
            observable = observable_of(text, part)
        except ValueError as error:
            yield unreadable(number, shown, str(error))
        else:
            category = _text(body.get("category"))
            words = [own.comment, *beside, f"Category: {category}" if category else ""]
            yield Found(
                number,
                observable,
                seen=own.seen or own.day,
                description="\n".join(filter(None, words))[:_MAX_WORDS],
                labels=own.labels,
                references=own.references,
                tlp=own.tlp,
                wide=own.distribution in _WIDE,
            )


def _cut(kind: str, value: str, count: int) -> list[str]:
    """The parts of a composite value. A file name may hold the bar, an old export writes ports behind a colon."""
    if count == 1:
        return [value]
    if kind.endswith("|port") and "|" not in value:
        # `recognize` takes the port off by itself.
        return [value, ""]
    left, bar, right = value.rpartition("|")
    if not bar:
        # Half a value, such as a malware sample without its hash, is no value.
        return [value, ""]
    return [left, right]


def _body(piece: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(piece)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    """Strings and numbers, without control characters at their ends; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()


def _true(value: Any) -> bool:
    """MISP writes true, 1 and "1"."""
    return str(value).lower() in _TRUE if isinstance(value, bool | int | str) else False


def _instant(value: Any) -> datetime | None:
    return instant(_text(value))


def _epoch(value: Any) -> datetime | None:
    """Seconds since 1970; 0 is MISP's for nothing."""
    digits = _text(value)
    # Beyond eleven digits lies the year 5138.
    if not re.fullmatch(r"[1-9][0-9]{0,10}", digits, re.ASCII):
        return None
    return datetime.fromtimestamp(int(digits), UTC)


def _distinct(references: Sequence[Reference]) -> tuple[Reference, ...]:
    seen: dict[str, Reference] = {}
    for reference in references:
        seen.setdefault(str(reference), reference)
    return tuple(seen.values())[:_MAX_REFERENCES]
