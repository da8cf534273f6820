"""Upgrades STIX 2.0 to objects of ours in STIX 2.1.

What a producer wrote in 2.0 cannot be relayed as 2.1 under its id, for a changed object is another one (STIX 2.1 §3.6).
So each object becomes one of ours that names its original. Its id follows from the source and the original's id: the
same bundle gives the same objects, a newer version gives a newer version, and references meet across bundles.

Of the original everything stays in its place, also `labels` and the `objects` of observed data, which 2.1 still allows:
so nothing is lost, and selectors of granular markings hold. It is not marked with a default, which could differ the
next time.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import Any, TypeGuard

import orjson

from isac.errors import Invalid
from isac.stix import authored, conformance, markings, objects, patterns

# No object of 2.0 says what it is. `formats.stix` sees by the bundle, and puts this in front.
_MARK = b'{"spec_version":"2.0",'

_OLD_TYPES = frozenset(
    (
        *("attack-pattern", "campaign", "course-of-action", "identity", "indicator", "intrusion-set", "malware"),
        *("marking-definition", "observed-data", "relationship", "report", "sighting", "threat-actor", "tool"),
        "vulnerability",
    )
)
# Where 2.1 wants what stood in `labels`.
_MOVED = {
    "identity": "roles",
    "indicator": "indicator_types",
    "malware": "malware_types",
    "report": "report_types",
    "threat-actor": "threat_actor_types",
    "tool": "tool_types",
}
# Properties that are new in 2.1, by which one tells; of a report `object_refs` is not.
_NEW = frozenset(
    (
        *("confidence", "extensions", "indicator_types", "is_family", "lang", "malware_types", "object_refs"),
        *("pattern_type", "report_types", "threat_actor_types", "tool_types"),
    )
)
# Words of vocabularies look like this; tags of MISP and titles, which stand among the labels too, do not.
_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
# 2.0 has no names for the fixed markings, and ours are stored with them.
_NAMES = {body["id"]: body["name"] for body in map(orjson.loads, markings.SEEDS)}
_ID = re.compile(r"[a-z0-9-]{3,250}--[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def marked(piece: bytes) -> bytes:
    """The same object, which now says that it is STIX 2.0; what is no object stays as it is."""
    inside = piece[1:].lstrip(b" \t\r\n")
    return _MARK + inside if piece[:1] == b"{" and inside[:1] == b'"' else piece


def recognized(piece: bytes) -> bool:
    """Was it marked?"""
    return piece.startswith(_MARK)


def is_plain(pieces: Iterable[bytes]) -> bool:
    """Are objects without any spec_version plainly 2.0: of its types, and with nothing that only 2.1 knows?"""
    some = False
    for piece in pieces:
        try:
            body = objects.parse(piece)
        except Invalid:
            continue
        kind = str(body.get("type"))
        old = kind in _OLD_TYPES
        new = body.keys() & _NEW - ({"object_refs"} if kind == "report" else set())
        if new or (not old and kind in conformance.types()):
            return False
        some = some or old
    return some


def upgraded(pieces: Iterable[bytes], producer: str, source: str) -> Iterator[bytes]:
    """The marked pieces as objects of `producer`, which is our identity; all others as they are.

    What does not become STIX 2.1 keeps its own id, by which its sender finds it; whoever judges it says why.
    """
    upgrade = _Upgrade(producer, source)
    for piece in pieces:
        yield upgrade(piece) if recognized(piece) else piece


class _Upgrade:
    def __init__(self, producer: str, source: str) -> None:
        self._producer, self._source = producer, source
        self._derived = lru_cache(100_000)(lambda original: authored.derived_id(source, original))

    def __call__(self, piece: bytes) -> bytes:
        try:
            body = objects.parse(piece)
        except Invalid:
            return b"{" + piece.removeprefix(_MARK)
        body["spec_version"] = "2.1"
        kind, original = body.get("type"), body.get("id")
        if not isinstance(kind, str) or not _is_id(original):
            return orjson.dumps(body)
        if original.lower() in _NAMES:
            return orjson.dumps({"name": _NAMES[original.lower()], **body})
        creator = body.get("created_by_ref")
        self._rename(body)
        known = f"; {self._derived(creator)} created it" if _is_id(creator) else ""
        reference = {
            "source_name": self._source,
            "description": f"The STIX 2.0 object of which this is an upgrade to 2.1{known}.",
            "external_id": original,
        }
        body = {
            **dict.fromkeys(("type", "spec_version", "id", "created_by_ref")),
            **body,
            "id": self._derived(original),
            "created_by_ref": self._producer,
        }
        if isinstance(body.setdefault("external_references", []), list):
            body["external_references"].append(reference)
        _complete(body)
        if not conformance.rules(kind).validator.is_valid(body):
            body["id"] = original
        return orjson.dumps(body)

    def _rename(self, body: dict[str, Any]) -> None:
        """Give what the object names, however deep, its id here. Local names inside observed data are no ids."""
        heap: list[Any] = [body]
        while heap:
            here = heap.pop()
            for key, value in here.items() if isinstance(here, dict) else enumerate(here):
                if isinstance(value, dict):
                    heap.append(value)
                elif isinstance(value, list):
                    if isinstance(key, str) and key.endswith("_refs"):
                        here[key] = [self._name(each) for each in value]
                    heap.append(value)
                elif isinstance(key, str) and key.endswith("_ref"):
                    here[key] = self._name(value)

    def _name(self, ref: Any) -> Any:
        """The fixed markings of TLP are the same in both versions."""
        return self._derived(ref) if _is_id(ref) and ref.lower() not in markings.MARKINGS else ref


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _complete(body: dict[str, Any]) -> None:
    """Add what 2.1 asks for. Whatever is of the wrong kind is left for the schema to find."""
    kind, marks = body["type"], body.get("object_marking_refs")
    if isinstance(marks, list) and all(isinstance(mark, str) for mark in marks):
        # A product that knows one version of TLP only shall find it.
        pairs = (markings.refs(markings.MARKINGS[mark]) if mark in markings.MARKINGS else [mark] for mark in marks)
        body["object_marking_refs"] = list(dict.fromkeys(mark for pair in pairs for mark in pair))
    if kind in _MOVED and isinstance(body.get("labels"), list):
        types = dict.fromkeys(_types(kind, [label for label in body["labels"] if isinstance(label, str)]))
        if types:
            body.setdefault(_MOVED[kind], list(types))
    if kind == "malware":
        # An object of 2.0 has no place for a sample: it is known by its name.
        body.setdefault("is_family", True)
    if kind == "indicator" and body.setdefault("pattern_type", "stix") == "stix":
        body.setdefault("pattern_version", patterns.version(str(body.get("pattern"))))


def _types(kind: str, labels: Iterable[str]) -> Iterator[str]:
    if kind == "identity":
        yield from (label for label in labels if ":" not in label)
        return
    known = _vocabulary(kind)
    for label in labels:
        word = label.lower()
        # «unknown» adds nothing, nor does the type: ATT&CK calls each malware «malware».
        if (word in known or _WORD.fullmatch(label)) and word not in ("unknown", kind):
            yield word


@cache
def _vocabulary(kind: str) -> frozenset[str]:
    return dict(conformance.rules(kind).vocabularies).get(_MOVED[kind], frozenset())
