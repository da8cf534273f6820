"""`accept` against the two other programs that judge STIX 2.1: stix2 and stix2-validator 3.2.0.

Each property of each example is taken out or replaced by something odd. What we take, stix2 takes; what both take, we
take. Where we differ on purpose stands in a table with the reason.
"""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import stix2
from stix2.exceptions import STIXError
from stix2validator import ValidationOptions, validate_instance
from tests.stix.examples import EXAMPLES, SHA256, Body, an_id, make

from isac.errors import Invalid
from isac.stix.conformance import _CONTRIBUTING
from isac.stix.objects import accept

OPTIONS = ValidationOptions(version="2.1")
ODD: list[Any] = [
    None,
    [],
    "",
    5,
    -1,
    1.5,
    "x",
    {},
    True,
    ["x"],
    "2024-02-30T00:00:00Z",
    an_id("tool"),
    an_id("sighting"),
]

# We take it, stix2 does not.
LOOSER = {
    ("indicator", "name", ""): "stix2 drops empty texts, so that a selector points nowhere",
    ("indicator", "labels", ""): "the same",
    ("marking-definition", "definition_type", "*"): "other definition types are legal, and old ones are in use (S-62)",
    ("artifact", "payload_bin", "x"): "OASIS's own examples are not proper base64 either: a warning",
}
# Both others take it, we do not.
STRICTER = {
    ("autonomous-system", "number", -1): "no such number",
}


def variants(body: Body) -> Iterator[tuple[str, Any, Body]]:
    for name in body:
        yield name, "gone", {key: value for key, value in body.items() if key != name}
        for odd in ODD:
            if type(odd) is type(body[name]) and odd == body[name]:
                continue
            yield name, odd, body | {name: odd}
            if isinstance(body[name], list):
                yield name, odd, body | {name: [odd]}


def takes(body: Body) -> bool:
    try:
        accept(orjson.dumps(body))
    except Invalid:
        return False
    return True


def stix2_takes(body: Body) -> bool:
    try:
        stix2.parse(copy.deepcopy(body), allow_custom=True)
    except (STIXError, ValueError, TypeError, KeyError, AttributeError, NameError):
        return False
    return True


def validator_takes(body: Body) -> bool:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        try:
            return bool(validate_instance(copy.deepcopy(body), OPTIONS).is_valid)
        except Exception:  # noqa: BLE001 - it breaks in many ways on what it should refuse
            return False


def listed(table: dict[Any, str], kind: str, name: str, odd: Any) -> bool:
    return (kind, name, "*") in table or (isinstance(odd, str | int) and (kind, name, odd) in table)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_example_is_good_for_all_three(kind: str) -> None:
    body = make(kind)
    assert (takes(body), stix2_takes(body), validator_takes(body)) == (True, True, True)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_odd_properties_are_judged_as_by_the_others_or_for_a_reason(kind: str) -> None:
    for name, odd, body in variants(make(kind)):
        ours, theirs = takes(body), stix2_takes(body)
        if ours and not theirs:
            assert listed(LOOSER, kind, name, odd), (name, odd)
        if theirs and not ours and validator_takes(body):
            assert listed(STRICTER, kind, name, odd), (name, odd)


@pytest.mark.parametrize("kind", _CONTRIBUTING)
def test_s_9_the_deterministic_ids_are_those_of_stix2(kind: str) -> None:
    found = accept(orjson.dumps(make(kind, id=stix2.parse(make(kind, "id"), allow_custom=True).id)))
    assert found.warnings == ()
    assert found.id[-22] == "5"


def test_s_10_the_check_vector_of_the_specification() -> None:
    right = "ipv4-addr--28bb3599-77cd-5a82-a950-b5bc3caf07c4"
    assert accept(orjson.dumps(make("ipv4-addr", value="198.51.100.3", id=right))).warnings == ()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (make(modified="2024-05-02T08:00:00.123456789Z"), "stix2 reads six decimals at most"),
        (make(created="2016-12-31T23:59:60.000Z"), "the others know no leap second, RFC 3339 does"),
        (
            make(external_references=[{"source_name": "a", "url": "https://a.example", "hashes": {"x-own": SHA256}}]),
            "custom hash names are legal (S-36)",
        ),
    ],
)
def test_we_take_what_stix2_does_not_for_a_reason(body: Body, reason: str) -> None:
    assert takes(body), reason
    assert not stix2_takes(body), reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (make(modified="2024-04-30T08:00:00.000Z"), "no version is older than its object"),
        (make(confidence=101), "0 to 100"),
        (make(revoked="true"), "a boolean"),
        (make("indicator", "granular_markings", labels=[]), "no empty lists"),
        (make("indicator", "valid_from", "valid_until"), "stix2 fills it in with the present"),
        (make("ipv4-addr", value="not an ip"), "plainly wrong"),
        (make(pattern="[ipv4-addr:value = 'not an ip']"), "plainly wrong"),
    ],
)
def test_we_refuse_what_stix2_takes_for_a_reason(body: Body, reason: str) -> None:
    assert not takes(body), reason
    assert stix2_takes(body), reason
