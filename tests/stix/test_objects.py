"""What `accept` takes and refuses: case by case."""

import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stix.examples import AN_ADDRESS, COUNTY, EXAMPLES, GREEN, MD5, SHA256, Body, an_id, make, raw, sco_id

from isac.errors import Invalid
from isac.stix import markings, objects
from isac.stix.markings import TLP, Marking
from isac.stix.objects import accept
from isac.stix.observables import Observable

NINE = "2024-05-01T08:00:00.000Z"


def refusal(body: Any) -> str:
    with pytest.raises(Invalid) as caught:
        accept(body if isinstance(body, bytes) else orjson.dumps(body))
    return caught.value.detail


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_valid_object_of_every_type_is_accepted_without_a_warning(kind: str) -> None:
    assert accept(raw(kind)).warnings == ()


def test_an_accepted_object_keeps_its_bytes_and_says_what_it_is() -> None:
    text = orjson.dumps(
        make(id=an_id("indicator").upper().replace("INDICATOR", "indicator")), option=orjson.OPT_INDENT_2
    )
    found = accept(text)
    assert (found.raw, found.id, found.type) == (text, an_id("indicator"), "indicator")
    assert (found.version, found.created_by, found.revoked) == ("2024-05-02T08:00:00.000Z", COUNTY, False)
    assert found.created == 1_714_550_400_000_000_000
    assert found.modified == 1_714_636_800_000_000_000
    assert found.valid_until == objects.instant("2024-08-01T08:00:00Z")
    assert found.marking == Marking(TLP.GREEN)
    assert found.observables == (Observable("domain-name", "results.example.com"),)
    assert found.alternatives
    assert not found.opaque


# The 41 mutations of one valid object, and what the engine has to say.
MUTATIONS: list[tuple[str, Body, str]] = [
    ("no created", make("indicator", "created"), "created is missing"),
    ("no modified", make("indicator", "modified"), "modified is missing"),
    ("no spec_version", make("indicator", "spec_version"), "spec_version is missing"),
    ("no id", make("indicator", "id"), "id is missing"),
    ("no type", make("indicator", "type"), "type is missing"),
    ("no pattern", make("indicator", "pattern"), "pattern is missing"),
    ("no pattern_type", make("indicator", "pattern_type"), "pattern_type is missing"),
    ("no valid_from", make("indicator", "valid_from"), "valid_from is missing"),
    ("id of another type", make(id=an_id("malware")), "an id begins with the type"),
    ("id without UUID", make(id="indicator--7"), "indicator-- and a UUID"),
    ("offset", make(created="2024-05-01T08:00:00.000+00:00"), "created is"),
    ("no zone", make(created="2024-05-01T08:00:00.000"), "created is"),
    ("no T", make(created="2024-05-01 08:00:00.000Z"), "created is"),
    ("30 February", make(modified="2024-02-30T08:00:00.000Z"), "modified is"),
    ("hour 24", make(modified="2024-05-02T24:00:00.000Z"), "modified is"),
    ("date alone", make(valid_from="2024-05-02"), "valid_from is"),
    ("modified before created", make(modified="2024-04-30T08:00:00.000Z"), "before created"),
    ("valid_until before valid_from", make(valid_until="2023-05-01T08:00:00Z"), "later than valid_from"),
    ("valid_until equal to valid_from", make(valid_until="2024-05-01T08:00:00.000Z"), "later than valid_from"),
    ("confidence 101", make(confidence=101), "confidence is 101: it must be a whole number from 0 to 100"),
    ("confidence -1", make(confidence=-1), "confidence is -1"),
    ("confidence as text", make(confidence="80"), 'confidence is "80"'),
    ("confidence 80.5", make(confidence=80.5), "confidence is 80.5"),
    ("revoked as text", make(revoked="true"), "true or false, without quotes"),
    ("null", make(description=None), "description is null: leave the property out"),
    ("labels empty", make(labels=[]), "labels has 0 entries"),
    ("labels as text", make(labels="phishing"), "labels is"),
    ("a number as label", make(labels=[5]), "labels.0 is 5"),
    ("name as number", make(name=5), "name is 5"),
    ("broken pattern", make(pattern="[domain-name:value = ]"), "pattern is"),
    ("empty pattern", make(pattern=""), "pattern is"),
    ("bad address in a pattern", make(pattern="[ipv4-addr:value = 'not an ip']"), "«not an ip» is not an IP address"),
    ("created_by_ref no identity", make(created_by_ref=an_id("tool")), "created_by_ref is"),
    ("marking ref no marking", make(object_marking_refs=[COUNTY]), "object_marking_refs.0 is"),
    (
        "selector that selects nothing",
        make(granular_markings=[{"selectors": ["labels.[7]"], "marking_ref": GREEN}]),
        "selects nothing",
    ),
    (
        "granular marking with neither",
        make(granular_markings=[{"selectors": ["name"]}]),
        "either marking_ref or lang",
    ),
    (
        "granular marking with both",
        make(granular_markings=[{"selectors": ["name"], "lang": "en", "marking_ref": GREEN}]),
        "either marking_ref or lang",
    ),
    (
        "bad hash in a reference",
        make(external_references=[{"source_name": "a", "url": "https://example.com", "hashes": {"SHA-256": "ab"}}]),
        "external_references.0.hashes.SHA-256",
    ),
    ("reference with a name only", make(external_references=[{"source_name": "a"}]), "needs a description, a url"),
    ("reference without source", make(external_references=[{"url": "https://example.com"}]), "source_name is missing"),
    ("bad URL in a reference", make(external_references=[{"source_name": "a", "url": "not a url"}]), "url is"),
    ("spec_version 2.0", make(spec_version="2.0"), 'spec_version is "2.0": only 2.1 is taken'),
    ("extension without id", make(extensions={"rank": {"a": 1}}), "extensions has the key"),
    ("extension no object", make(extensions={an_id("extension-definition"): 5}), "it must be an object"),
    ("lang", make(lang="english please"), "RFC 5646"),
    ("kill chain without phase", make(kill_chain_phases=[{"kill_chain_name": "a"}]), "phase_name is missing"),
]


@pytest.mark.parametrize(("body", "words"), [case[1:] for case in MUTATIONS], ids=[case[0] for case in MUTATIONS])
def test_a_wrong_indicator_is_refused_in_words_that_name_the_property(body: Body, words: str) -> None:
    assert words in refusal(body)


PASSES: list[tuple[str, Body]] = [
    ("custom property", make(foo="bar")),
    ("NUL in a text", make(description="a\x00b")),
    ("leap second", make(created="2016-12-31T23:59:60Z")),
    ("nine decimals", make(modified="2024-05-02T08:00:00.123456789Z")),
    ("twelve decimals", make(modified="2024-05-02T08:00:00.123456789012Z")),
    ("no decimals", make(modified="2024-05-02T08:00:00Z")),
    ("UUID version 1", make(id="indicator--00000000-0000-1000-8000-000000000001")),
    ("UUID of no version", make(id="indicator--00000000-0000-f000-0000-000000000001")),
    ("unknown object type in the pattern", make(pattern="[app:id = 'com.example']")),
    ("unknown hash key in the pattern", make(pattern=f"[file:hashes.sha256='{SHA256}']")),
    ("another pattern language", make(pattern_type="sigma", pattern="title: x")),
    ("pattern beyond the caps", make(pattern="[" + " OR ".join(["a:b = 1"] * 200) + "]")),
    ("open vocabulary", make(indicator_types=["odd"])),
    ("unknown extension", make(extensions={an_id("extension-definition", 9): {"a": 1}})),
    ("no description", make("indicator", "description")),
    ("custom type", {**make("tool"), "type": "x-thing", "id": an_id("x-thing")}),
    ("custom type without dates", {"type": "x-thing", "id": an_id("x-thing"), "value": 1}),
    ("empty list deep in a custom property", make(x_example=[{"sectors": []}])),
    ("wrong deterministic id", make("ipv4-addr", id=sco_id("ipv4-addr", value="192.0.2.2"))),
    ("unknown relationship_type", make("relationship", relationship_type="waves-at")),
    ("not quite base64", make("artifact", payload_bin="abc ...")),
    ("marking definition with a modified", make("marking-definition", modified=NINE)),
    (
        "old observed-data",
        make("observed-data", "object_refs", objects={"0": {"type": "ipv4-addr", "value": "192.0.2.1"}}),
    ),
]


@pytest.mark.parametrize("body", [case[1] for case in PASSES], ids=[case[0] for case in PASSES])
def test_what_is_unusual_passes(body: Body) -> None:
    accept(orjson.dumps(body))


@pytest.mark.parametrize(
    ("body", "warning"),
    [
        (make(foo="bar"), "foo is not a property of indicator"),
        (make(modified="2024-05-02T08:00:00Z"), "milliseconds"),
        (make(id="indicator--00000000-0000-1000-8000-000000000001"), "version 4"),
        (make(pattern_type="sigma", pattern="x"), "passed on unread"),
        (make(pattern_type="stix2"), "the standard's word"),
        (make(pattern_type="stix2", pattern="x"), "does not parse"),
        (make(indicator_types=["odd"]), 'indicator_types has "odd"'),
        (make("indicator", "description"), "a name and a description"),
        (make(extensions={an_id("extension-definition"): {"a": 1}}), "is not known here"),
        ({**make("tool"), "type": "x-thing", "id": an_id("x-thing")}, "not one of STIX 2.1"),
        (make("ipv4-addr", id=sco_id("ipv4-addr", value="192.0.2.2")), AN_ADDRESS),
        (make("relationship", relationship_type="waves-at"), "none of STIX"),
        (make("artifact", payload_bin="abc ..."), "base64"),
        (make(pattern="[" + " OR ".join(["a:b = 1"] * 200) + "]"), "too large"),
    ],
)
def test_what_is_unusual_earns_one_warning(body: Body, warning: str) -> None:
    (found,) = accept(orjson.dumps(body)).warnings
    assert warning in found


def test_warnings_are_few_enough_to_be_read() -> None:
    assert len(accept(orjson.dumps(make(indicator_types=[f"odd-{number}" for number in range(99)]))).warnings) == 20


def test_properties_of_an_x_prefix_or_of_a_toplevel_extension_are_no_surprise() -> None:
    extension = {an_id("extension-definition"): {"extension_type": "toplevel-property-extension"}}
    assert accept(orjson.dumps(make(x_rank=5))).warnings == ()
    assert accept(orjson.dumps(make(rank=5, extensions=extension))).warnings == (
        f"{next(iter(extension))} is not known here",
    )


# Rules between properties, which the library keeps in code (stix_schemas.py), and the bounds of §F.
CROSSED: list[tuple[str, Body, str]] = [
    ("location", make("location", "region", "country"), "region, country, or latitude"),
    ("latitude alone", make("location", latitude=1.5), "stand together"),
    ("precision alone", make("location", precision=1.5), "precision with both"),
    ("latitude", make("location", latitude=91, longitude=0), "-90 to 90"),
    ("malware family without name", make("malware", "name"), "needs a name"),
    ("malware without is_family", make("malware", "is_family"), "is_family is missing"),
    ("malware analysis", make("malware-analysis", "result"), "result or analysis_sco_refs"),
    ("observed nothing", make("observed-data", "object_refs"), "either object_refs"),
    ("observed 0 times", make("observed-data", number_observed=0), "number_observed is 0"),
    ("observed backwards", make("observed-data", last_observed="2023-01-01T00:00:00Z"), "first_observed"),
    ("artifact with both", make("artifact", url="https://example.com"), "either payload_bin or url"),
    ("artifact without hashes", make("artifact", "payload_bin", "hashes", url="https://example.com"), "needs hashes"),
    ("artifact with a key", make("artifact", decryption_key="x"), "needs encryption_algorithm"),
    ("message with body", make("email-message", body="x"), "body_multipart if is_multipart"),
    ("message in parts", make("email-message", is_multipart=False), "body_multipart if is_multipart"),
    ("part without body", make("email-message", body_multipart=[{"content_type": "a/b"}]), "body or body_raw_ref"),
    ("file", make("file", "hashes", "name"), "hashes or a name"),
    ("file hash", make("file", hashes={"MD5": "xyz"}), "32 hexadecimal digits"),
    ("hash key", make("file", hashes={"a b": MD5}), "name of a hash algorithm"),
    ("file size", make("file", size=-1), "size is -1"),
    ("empty extension", make("file", extensions={"pdf-ext": {}}), "extensions.pdf-ext"),
    ("extension of the wrong kind", make("file", extensions={"pdf-ext": {"is_optimized": "no"}}), "is_optimized"),
    ("traffic from nowhere", make("network-traffic", "src_ref"), "src_ref or dst_ref"),
    ("traffic without protocol", make("network-traffic", "protocols"), "protocols is missing"),
    ("traffic ended and active", make("network-traffic", is_active=True), "is_active: false"),
    ("traffic backwards", make("network-traffic", end="2024-01-01T00:00:00Z"), "not be before start"),
    ("port", make("network-traffic", dst_port=70000), "dst_port is 70000"),
    ("process", make("process", "pid", "command_line", "image_ref"), "at least one property of its own"),
    ("account", make("user-account", "user_id", "account_type"), "at least one property of its own"),
    ("certificate", make("x509-certificate", "issuer", "serial_number", "validity_not_after"), "at least one"),
    ("registry key", make("windows-registry-key", "key", "values"), "at least one property of its own"),
    ("statement", make("marking-definition", definition={"text": "x"}), "definition.statement"),
    ("empty marking", make("marking-definition", "definition"), "definition_type and definition, or extensions"),
    ("relationship backwards", make("relationship", stop_time="2024-04-01T00:00:00Z"), "later than start_time"),
    ("relationship of a sighting", make("relationship", source_ref=an_id("sighting")), "source_ref is"),
    ("relationship without target", make("relationship", "target_ref"), "target_ref is missing"),
    ("sighting of an observable", make("sighting", sighting_of_ref=AN_ADDRESS), "sighting_of_ref is"),
    ("sighting at a tool", make("sighting", where_sighted_refs=[an_id("tool")]), "identity or location"),
    ("sighting count", make("sighting", count=1_000_000_000), "0 to 999999999"),
    ("sighting backwards", make("sighting", last_seen="2024-01-01T00:00:00Z"), "not be before first_seen"),
    ("opinion", make("opinion", opinion="meh"), "strongly-disagree"),
    ("opinion on nothing", make("opinion", object_refs=[]), "object_refs has 0 entries"),
    ("grouping of nothing", make("grouping", "object_refs"), "object_refs is missing"),
    ("AS number", make("autonomous-system", number=-1), "number is -1"),
    ("custom type without modified", {**make("tool", "modified"), "type": "x-a", "id": an_id("x-a")}, "needs both"),
    (
        "custom type of 2.0",
        {**make("tool", "spec_version"), "type": "x-a", "id": an_id("x-a")},
        "spec_version is missing",
    ),
]


@pytest.mark.parametrize(("body", "words"), [case[1:] for case in CROSSED], ids=[case[0] for case in CROSSED])
def test_rules_of_one_type_are_held(body: Body, words: str) -> None:
    assert words in refusal(body)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "stands in braces"),
        (b'"x"', "stands in braces"),
        (b"null", "stands in braces"),
        (b"{}", "type is missing"),
        (b'{"type": "indicator"}', "id is missing"),
        (b'{"type": 5}', "type is missing"),
        (b'{"type": "No Type", "id": "x"}', "single hyphens"),
        (b'{"type": "a--b", "id": "x"}', "single hyphens"),
        (b'{"type": "x-new", "id": "x-new--1"}', "and a UUID"),
        (b'{"type": "bundle", "objects": []}', "0 entries"),
        (b'{"type": "bundle", "id": "bundle--1"}', "send the objects in it"),
        (b'{"a": NaN}', "not JSON"),
        (b"\xff", "not JSON"),
    ],
)
def test_what_is_no_object_is_refused(text: bytes, words: str) -> None:
    assert words in refusal(text)


@pytest.mark.parametrize(
    "twice",
    [
        b'{"name":"a",' + raw()[1:],
        b'{ "name" : "a" , ' + raw()[1:],
        raw()[:-1] + b',"x_a":{"b":"\\u0041","b":2}}',
        b'{"n\\u0061me":"a",' + raw()[1:],
    ],
)
def test_a_key_that_stands_twice_is_refused(twice: bytes) -> None:
    assert "stands twice" in refusal(twice)


def test_a_key_may_stand_in_several_objects_and_text_may_look_like_json() -> None:
    accept(b" " + orjson.dumps(make(x_a={"name": 1}, description='"name":"a","name":"b" null [] \\ \u00e9')))


def test_size_nesting_and_length_are_limited() -> None:
    deep: Any = "x"
    for _ in range(64):
        deep = [deep]
    assert "levels deep" in refusal(make(x_deep=deep))
    assert "10,001 entries" in refusal(make(x_long=["a"] * 10_001))
    assert "at most 1,048,576" in refusal(make(description="a" * 1_048_576))
    assert "levels deep" in refusal(b'{"a":' * 900 + b"1" + b"}" * 900)
    accept(orjson.dumps(make(x_wide=[["a"]] * 9_999, labels=["a"] * 10_000)))


def test_nulls_and_empty_lists_are_found_wherever_they_stand() -> None:
    assert "x_a.0.b is null" in refusal(make(x_a=[{"b": None}]))
    assert "x_a has 0 entries" in refusal(make(x_a=[]))
    assert "labels has 0 entries" in refusal(raw().replace(b'["phishing"]', b"[ \n]"))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("ipv4-addr", "not an ip"),
        ("ipv4-addr", "192.0.2.256"),
        ("ipv4-addr", "2001:db8::1"),
        ("ipv4-addr", "192.0.2[.]1"),
        ("ipv6-addr", "192.0.2.1"),
        ("domain-name", "two words"),
        ("domain-name", ""),
        ("domain-name", "https://example.com/"),
        ("url", "just words"),
        ("url", "https://example.com/cut…"),
        ("email-addr", "nobody"),
        ("mac-addr", "02-00"),
    ],
)
def test_a_plainly_wrong_value_of_an_observable_is_refused(kind: str, value: str) -> None:
    assert "value is" in refusal(make(kind, value=value))


def test_a_defanged_value_stays_as_it_is_and_is_found_by_what_it_stands_for() -> None:
    found = accept(raw("ipv4-addr", value="192.0.2[.]9", defanged=True, id=an_id("ipv4-addr")))
    assert found.observables == (Observable("ipv4-addr", "192.0.2.9"),)
    assert found.body["value"] == "192.0.2[.]9"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (make("ipv4-addr", value="192.0.2.0/24"), [("ipv4-addr", "192.0.2.0/24")]),
        (make("domain-name", value="Example.COM"), [("domain-name", "example.com")]),
        (make("domain-name", value="localhost"), []),
        (make("autonomous-system"), [("autonomous-system", "AS64500")]),
        (
            make("file", hashes={"SHA-256": SHA256.upper(), "MD5": MD5}),
            [("sha-256", SHA256), ("md5", MD5), ("file-name", "ballot.pdf")],
        ),
        (make("mac-addr", value="02-00-5E-10-00-01"), [("mac-addr", "02:00:5e:10:00:01")]),
        (
            make("x509-certificate", hashes={"SHA-256": SHA256, "SHA-1": "A" * 40, "SHA-512": "a" * 128}),
            [("x509-sha-256", SHA256), ("x509-sha-1", "a" * 40)],
        ),
        (make("windows-registry-key", key="hklm\\Ab"), [("windows-registry-key", "HKEY_LOCAL_MACHINE\\ab")]),
        (make("vulnerability"), [("cve", "CVE-2024-0001")]),
        (make("tool"), []),
        (make(pattern_type="stix2"), [("domain-name", "results.example.com")]),
    ],
)
def test_observables_are_indexed(body: Body, expected: list[tuple[str, str]]) -> None:
    assert [(one.kind, one.value) for one in accept(orjson.dumps(body)).observables] == expected


def test_observables_have_one_version_and_extreme_years_stay_within_64_bits() -> None:
    found = accept(raw("url"))
    assert (found.version, found.modified, found.created, found.created_by) == (None, 0, None, None)
    assert accept(raw(modified="9999-12-31T23:59:59.999Z")).modified == 2**63 - 1
    assert accept(raw(created="0001-01-01T00:00:00.000Z")).created == -(2**63)
    assert "created is" in refusal(make(created="0000-01-01T00:00:00.000Z"))


def test_s_51_a_forged_tlp_definition_is_refused_and_the_genuine_one_is_not() -> None:
    forged = markings.definition(TLP.RED, 1) | {"definition": {"tlp": "green"}}
    assert "not the TLP definition" in refusal(forged)
    assert "not the TLP definition" in refusal(markings.definition(TLP.RED) | {"id": an_id("marking-definition")})
    for seed in markings.SEEDS:
        assert accept(seed).type == "marking-definition"


def test_s_60_classified_data_is_refused() -> None:
    acs = {markings.ACS_EXTENSION: {"extension_type": "property-extension", "control_set": {"classification": "S"}}}
    assert "classified" in refusal(make("marking-definition", "definition", "definition_type", extensions=acs))
    assert "banner" in refusal(make(description="SECRET//NOFORN\nbe careful"))
    assert "banner" in refusal(raw(description="x").replace(b'"x"', b'"TOP SECRET\\/\\/SI\\/\\/NOFORN"'))
    for escaped in (rb"\u0053ECRET//NOFORN", rb"\u0028S//NF) a line"):
        assert "banner" in refusal(raw(description="x").replace(b'"x"', b'"' + escaped + b'"'))
    accept(raw(description="the secret of example.com//x, SECRET sauce"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.1Z", 100_000_000),
        ("1970-01-01T00:00:01.000000001Z", 1_000_000_001),
        ("1970-01-01T00:00:01.12345678Z", 1_123_456_780),
        ("1970-01-01T00:00:01.1234567891Z", 1_123_456_789),
        ("1969-12-31T23:59:59.999Z", -1_000_000),
        ("1969-12-31T23:59:60Z", -1),
        ("1972-06-30T23:59:60.5Z", 78_796_799_999_999_999),
    ],
)
def test_instants_have_nanoseconds(text: str, expected: int) -> None:
    assert objects.instant(text) == expected


@pytest.mark.parametrize(
    "text", ["", "2024-02-30T00:00:00Z", "2024-05-01T00:00:00", "2024-05-01T00:00:00.Z", "٢٠٢٤-05-01T00:00:00Z"]
)
def test_what_is_no_timestamp_has_no_instant(text: str) -> None:
    with pytest.raises(ValueError):
        objects.instant(text)


def test_named_finds_references_however_deep_and_leaves_local_numbers_out() -> None:
    body = make(x_more={"deep": [{"image_ref": an_id("file", 7).upper()}]}, objects={"0": {"belongs_to_ref": "1"}})
    assert objects.named(body) == {COUNTY, GREEN, an_id("file", 7)}
    assert objects.named(make("sighting")) == {COUNTY, an_id("indicator"), an_id("observed-data")}


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        (orjson.dumps(make(), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2), True),
        (raw("indicator", "revoked"), True),
        (raw(modified="2024-05-02T08:00:00Z"), True),
        (raw(confidence=80.0), True),
        (raw("indicator", "lang"), True),
        (raw(modified="2024-05-02T08:00:00.001Z"), False),
        (raw(revoked=True), False),
        (raw(labels=["other"]), False),
        (raw(valid_from="2024-05-01T08:00:00.0Z"), False),
        (raw("indicator", "labels"), False),
    ],
)
def test_a_16_same_ignores_what_says_nothing(other: bytes, equal: bool) -> None:
    assert objects.same(raw(), other) is equal
    assert objects.same(other, raw()) is equal


def test_same_knows_the_defaults_of_observables_and_tells_true_from_one() -> None:
    assert objects.same(raw("ipv4-addr"), raw("ipv4-addr", "spec_version", "defanged"))
    assert not objects.same(raw(x_a=True), raw(x_a=1))
    assert not objects.same(raw("tool"), raw("tool", "spec_version"))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | st.just(COUNTY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
COMMON = [
    "created",
    "modified",
    "created_by_ref",
    "revoked",
    "extensions",
    "lang",
    "labels",
    "granular_markings",
    "hashes",
]


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(EXAMPLES)), st.data())
def test_whatever_a_property_holds_nothing_but_invalid_is_raised(kind: str, data: st.DataObject) -> None:
    body = make(kind)
    for name in data.draw(st.lists(st.sampled_from([*body, *COMMON, "object_marking_refs", "x_own"]), max_size=3)):
        body[name] = data.draw(anything)
    with suppress(Invalid):
        found = accept(json.dumps(body).encode())
        objects.named(found.body)
        assert objects.same(found.raw, found.raw + b" ")


def test_long_keys_over_many_values_do_not_fill_the_memory() -> None:
    many: Any = {str(number): 1 for number in range(50_000)} | {"z": None}
    assert "is null" in refusal(make() | {"a" * 400_000: many})
