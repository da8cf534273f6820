"""STIX objects that we write ourselves: from feeds that are not STIX, and our own notices.

Equal arguments give equal bytes, and the id of what comes from a feed follows from source and value: reading a feed
twice changes nothing. One observable makes one pattern; everything has a spec_version, milliseconds, a producer and TLP
marks that every client knows.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import orjson

from isac import times
from isac.stix import markings, objects, observables, patterns
from isac.stix.markings import TLP
from isac.stix.observables import Observable

# Ours: the standard keeps its own namespace for observables (§2.9). Another one here would give every object a new id.
_NAMESPACE = UUID("3c208431-5efa-43be-8e33-b6b367f0f4ff")

#: A link, or an external-reference as STIX writes it.
Reference = str | Mapping[str, str]

#: what a course of action is called, before its value
_ABOUT = "What to do about "

#: All that a notice says: no reason, which may be what was withdrawn.
NOTICE = "This object has been withdrawn from this audience; please stop using it."


def indicator_id(source: str, value: str, generation: int = 0) -> str:
    """The id of our indicator for a value of a source. What returns after a revocation is the next generation."""
    return _minted("indicator", source, value, generation)


def vulnerability_id(source: str, cve: str, generation: int = 0) -> str:
    """The same for a CVE."""
    return _minted("vulnerability", source, cve, generation)


def party_id(source: str, number: str, generation: int = 0) -> str:
    """The same for a person or organization that a source lists under a number."""
    return _minted("identity", source, number, generation)


def action_id(source: str, value: str, generation: int = 0) -> str:
    """The same for what is to be done about a value."""
    return _minted("course-of-action", source, value, generation)


def mitigation_id(source: str, value: str, generation: int = 0) -> str:
    """The same for the relationship that says so."""
    return _minted("relationship", source, value, generation)


def derived_id(source: str, original: str) -> str:
    """The id of our object that is made from an object of a source, which has an id of its own."""
    return _minted(original.partition("--")[0], source, original.lower(), 0)


def _minted(kind: str, source: str, value: str, generation: int) -> str:
    return f"{kind}--{uuid5(_NAMESPACE, orjson.dumps([kind, source, value, generation]).decode())}"


def values(body: Mapping[str, Any]) -> list[str]:
    """The observables, or the number, that a list's line named of which we made this; nothing for a relationship.

    Raises ValueError for a pattern that is not ours.
    """
    match body["type"]:
        case "indicator":
            return [each.value for each in patterns.check(body["pattern"]).observables]
        case "course-of-action":
            return [body["name"].removeprefix(_ABOUT)]
        case "vulnerability" | "identity":
            return [each["external_id"] for each in body.get("external_references", [])[:1] if "external_id" in each]
    return []


def identity(
    stix_id: str,
    name: str,
    identity_class: str,
    created: datetime,
    *,
    modified: datetime | None = None,
    sectors: Sequence[str] = (),
    description: str | None = None,
    contact_information: str | None = None,
) -> bytes:
    """An organization or a group. Unmarked and its own producer: identities travel with what names them."""
    return _written(
        _head("identity", stix_id, None, created, modified or created),
        name=name,
        description=description,
        identity_class=identity_class,
        sectors=list(sectors),
        contact_information=contact_information,
    )


def indicator(
    *,
    producer: str,
    source: str,
    observable: Observable,
    tlp: TLP,
    valid_from: datetime,
    created: datetime,
    modified: datetime,
    valid_until: datetime | None,
    name: str | None = None,
    description: str | None = None,
    labels: Sequence[str] = (),
    confidence: int | None = None,
    references: Sequence[Reference] = (),
    indicator_types: Sequence[str] = ("malicious-activity",),
    generation: int = 0,
) -> bytes:
    """One observable, one pattern. Raises ValueError if nothing can detect it, or if it would end before it begins."""
    begins, ends = times.stix(valid_from), times.stix(valid_until) if valid_until else None
    if ends is not None and ends <= begins:
        raise ValueError(f"valid_until {ends} is not later than valid_from {begins}")
    return _written(
        _head("indicator", indicator_id(source, observable.value, generation), producer, created, modified),
        name=name or observable.value,
        description=description,
        indicator_types=list(indicator_types),
        pattern=observables.pattern(observable),
        pattern_type="stix",
        pattern_version="2.1",
        valid_from=begins,
        valid_until=ends,
        labels=list(labels),
        confidence=confidence,
        external_references=_references(source, references),
        object_marking_refs=markings.refs(tlp),
    )


def vulnerability(
    *,
    producer: str,
    source: str,
    cve: str,
    tlp: TLP,
    created: datetime,
    modified: datetime,
    name: str | None = None,
    description: str | None = None,
    references: Sequence[Reference] = (),
    labels: Sequence[str] = (),
    generation: int = 0,
) -> bytes:
    """A vulnerability that a source speaks of. Raises ValueError if `cve` is no CVE number."""
    number = observables.recognize(cve, "cve").value
    return _written(
        _head("vulnerability", vulnerability_id(source, number, generation), producer, created, modified),
        name=name or number,
        description=description,
        labels=list(labels),
        external_references=_references(source, [{"source_name": "cve", "external_id": number}, *references]),
        object_marking_refs=markings.refs(tlp),
    )


def party(
    *,
    producer: str,
    source: str,
    number: str,
    identity_class: str,
    name: str,
    tlp: TLP,
    created: datetime,
    modified: datetime,
    description: str | None = None,
    labels: Sequence[str] = (),
    references: Sequence[Reference] = (),
    generation: int = 0,
) -> bytes:
    """A person or organization that a source lists, with the listing as a reference."""
    listing = {"source_name": source, "external_id": number}
    return _written(
        _head("identity", party_id(source, number, generation), producer, created, modified),
        name=name or number,
        description=description,
        identity_class=identity_class,
        labels=list(labels),
        external_references=_references(source, [listing, *references]),
        object_marking_refs=markings.refs(tlp),
    )


def course_of_action(
    *,
    producer: str,
    source: str,
    value: str,
    action: str,
    due: datetime | None,
    tlp: TLP,
    created: datetime,
    modified: datetime,
    generation: int = 0,
) -> bytes:
    """What a source says is to be done about a value."""
    return _written(
        _head("course-of-action", action_id(source, value, generation), producer, created, modified),
        name=_ABOUT + value,
        description=f"{action}\n\nDue by {due:%Y-%m-%d}." if due else action,
        object_marking_refs=markings.refs(tlp),
    )


def mitigation(
    *,
    producer: str,
    source: str,
    value: str,
    action: str,
    target: str,
    tlp: TLP,
    created: datetime,
    modified: datetime,
    generation: int = 0,
) -> bytes:
    """That a course of action mitigates `target`; both are ids."""
    return _written(
        _head("relationship", mitigation_id(source, value, generation), producer, created, modified),
        relationship_type="mitigates",
        source_ref=action,
        target_ref=target,
        object_marking_refs=markings.refs(tlp),
    )


def notice(*, producer: str, note_id: str, subject: str, tlp: TLP, created: datetime) -> bytes:
    """The note that `subject`, an id, was withdrawn: of somebody else's object we make no versions (S-20)."""
    return _written(
        _head("note", note_id, producer, created, created),
        content=NOTICE,
        object_refs=[subject],
        labels=["withdrawn"],
        object_marking_refs=markings.refs(tlp),
    )


def revoked(raw: bytes, modified: datetime) -> bytes:
    """The last version of an object of ours. Raises ValueError if it is revoked already.

    It is always later than the one before: by one millisecond, where `modified` is not later by itself.
    """
    body = orjson.loads(raw)
    if body.get("revoked") is True:
        raise ValueError(f"{body['id']} is revoked already, and for ever")
    stamp = times.stix(modified)
    before = objects.instant(body["modified"])
    if objects.instant(stamp) <= before:
        stamp = times.stix(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=before // 1_000_000 + 1))
    return orjson.dumps({**body, "modified": stamp, "revoked": True})


def ended(body: Mapping[str, Any], now: datetime) -> bytes:
    """The next version of an indicator of ours, which holds until now."""
    begins = objects.instant(body["valid_from"]) // 1_000_000
    until = max(now, times.from_nanoseconds((begins + 1) * 1_000_000))
    return orjson.dumps({**body, "modified": times.stix(now), "valid_until": times.stix(until)})


def _head(kind: str, stix_id: str, producer: str | None, created: datetime, modified: datetime) -> dict[str, Any]:
    return {
        "type": kind,
        "spec_version": "2.1",
        "id": stix_id,
        "created_by_ref": producer,
        "created": times.stix(created),
        "modified": times.stix(modified),
    }


def _references(source: str, references: Sequence[Reference]) -> list[dict[str, str]]:
    return [{"source_name": source, "url": ref} if isinstance(ref, str) else dict(ref) for ref in references]


def _written(head: dict[str, Any], **properties: Any) -> bytes:
    """Compact JSON in the given order, without what is not there: STIX knows no null and no empty list."""
    body = {key: value for key, value in (head | properties).items() if value is not None and value != []}
    return orjson.dumps(body)
