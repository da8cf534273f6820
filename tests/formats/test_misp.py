"""MISP events in every wrapping, and what their attributes become."""

import json
import time
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corpus import documents, needs_corpus

from isac.errors import Invalid
from isac.formats.found import Found, Unreadable
from isac.formats.misp import events, is_index, read, read_events
from isac.stix.markings import TLP

UUID = "5b1c2d3e-0000-4000-8000-00000000000a"
MD5, SHA1, SHA256, SHA512 = "0" * 32, "1" * 40, "2" * 64, "3" * 128


def attribute(kind: str = "domain", value: Any = "bad.example", **rest: Any) -> dict[str, Any]:
    return {"type": kind, "value": value, "to_ids": True, "category": "Network activity", **rest}


def event(*attributes: Any, **rest: Any) -> dict[str, Any]:
    return {"info": "Lantern", "uuid": UUID, "date": "2026-10-01", "Attribute": list(attributes), **rest}


def found(whole: Any) -> list[Found | Unreadable]:
    return list(read(json.dumps(whole).encode()))


def values(whole: Any) -> list[str]:
    """Values found, and `!` with the reason for what is not."""
    return [
        f"{one.observable.kind} {one.observable.value}" if isinstance(one, Found) else f"! {one.reason}"
        for one in found(whole)
    ]


def one(*attributes: Any, **rest: Any) -> Found:
    (single,) = found(event(*(attributes or (attribute(),)), **rest))
    assert isinstance(single, Found), single.reason
    return single


WRAPPINGS = [
    event(attribute()),
    {"id": "7", **event(attribute())},
    {"Event": event(attribute())},
    [{"Event": event(attribute())}],
    [event(attribute())],
    {"response": [{"Event": event(attribute())}]},
    {"response": {"Event": event(attribute())}},
    {"response": {"Attribute": [attribute(Event={"info": "Lantern"})]}},
    {"response": [{"Object": {"name": "x", "Attribute": [attribute()]}}]},
    {"Event": {"info": "Lantern"}, "Attribute": [attribute()]},
    {"Event": {"info": "Lantern", "Attribute": [], "Object": [{"name": "x", "Attribute": [attribute()]}]}},
]


@pytest.mark.parametrize("whole", WRAPPINGS, ids=range(len(WRAPPINGS)))
@pytest.mark.parametrize("indent", [None, 2])
def test_an_event_in_every_wrapping(whole: Any, indent: int | None) -> None:
    text = json.dumps(whole, indent=indent).encode()
    # A bare list of bare events could be a list of anything.
    assert (events(text) is not None) == (whole != [event(attribute())])
    (single,) = read(b"\xef\xbb\xbf" + text + b"\n")
    assert isinstance(single, Found)
    assert single.observable == ("domain-name", "bad.example")


def test_an_answer_without_events_is_none() -> None:
    assert events(b'{"response":[]}') is not None
    assert found({"response": []}) == []


def test_events_line_by_line() -> None:
    text = b"\n".join(json.dumps({"Event": event(attribute(value=f"{name}.example"))}).encode() for name in "ab")
    assert events(text) is not None
    assert [each.line for each in read(text)] == [1, 2]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("md5", MD5, [f"md5 {MD5}"]),
        ("sha1", SHA1, [f"sha-1 {SHA1}"]),
        ("sha256", SHA256.upper(), [f"sha-256 {SHA256}"]),
        ("sha512", SHA512, [f"sha-512 {SHA512}"]),
        ("filename|sha256", f"a|b.exe|{SHA256}", [f"sha-256 {SHA256}"]),
        ("filename|md5", f"bad.exe|{MD5}", [f"md5 {MD5}"]),
        ("malware-sample", f"bad.exe|{MD5}", [f"md5 {MD5}"]),
        ("ip-dst", "192.0.2.7", ["ipv4-addr 192.0.2.7"]),
        ("ip-src", "2001:db8::7", ["ipv6-addr 2001:db8::7"]),
        ("ip-dst|port", "192.0.2.7|443", ["ipv4-addr 192.0.2.7"]),
        ("ip-dst|port", "192.0.2.7:443", ["ipv4-addr 192.0.2.7"]),
        ("ip-src|port", "2001:db8::7|443", ["ipv6-addr 2001:db8::7"]),
        ("hostname|port", "bad.example|443", ["domain-name bad.example"]),
        ("domain|ip", "bad.example|192.0.2.7", ["domain-name bad.example", "ipv4-addr 192.0.2.7"]),
        ("hostname", "www.bad.example", ["domain-name www.bad.example"]),
        ("url", "hxxp://bad[.]example/a|b", ["url http://bad.example/a|b"]),
        ("email-src", "A@bad.example", ["email-addr a@bad.example"]),
        ("AS", "AS64496", ["autonomous-system AS64496"]),
        ("vulnerability", "CVE-1999-99901", ["cve CVE-1999-99901"]),
        ("filename", "Ballot [1].pdf", ["file-name Ballot [1].pdf"]),
        ("mac-address", "02-00-5E-10-00-01", ["mac-addr 02:00:5e:10:00:01"]),
        ("regkey", r"HKLM\Software\Lantern", [r"windows-registry-key HKEY_LOCAL_MACHINE\software\lantern"]),
        ("regkey|value", r"HKCU\Run|lantern.exe", [r"windows-registry-key HKEY_CURRENT_USER\run"]),
        ("x509-fingerprint-md5", MD5, [f"x509-md5 {MD5}"]),
        ("x509-fingerprint-sha1", SHA1, [f"x509-sha-1 {SHA1}"]),
        ("x509-fingerprint-sha256", SHA256, [f"x509-sha-256 {SHA256}"]),
    ],
)
def test_a_type_becomes_its_kind(kind: str, value: str, expected: list[str]) -> None:
    assert values(event(attribute(kind, value))) == expected


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (attribute("mutex", "Lantern"), "type mutex"),
        (attribute("target-email", "clerk@county.example"), "type target-email"),
        (attribute("domain", "no name"), "is not a domain name"),
        (attribute("ip-dst", "bad.example"), "is not"),
        (attribute("malware-sample", "bad.exe"), "no value is written here"),
        (attribute("domain|ip", "bad.example|nowhere"), "is not"),
        (attribute("domain", None), "no value"),
        (attribute("domain", ["bad.example"]), "no value"),
        (attribute("domain", "bad\0.example"), "NUL"),
        (attribute(None), "type (none)"),  # type: ignore[arg-type]
        (attribute(Tag=[{"name": "tlp:purple"}]), "«tlp:purple», which is no TLP"),
        (attribute(Tag=[{"name": 3}]), "tags of the attribute cannot be read"),
        (attribute(Tag="tlp"), None),
        (17, "no JSON object"),
        (None, "no JSON object"),
    ],
)
def test_a_bad_attribute_says_why_and_costs_no_other(bad: Any, words: str | None) -> None:
    first, *middle, last = values(event(attribute(value="a.example"), bad, attribute(value="c.example")))
    assert (first, last) == ("domain-name a.example", "domain-name c.example")
    if words is not None:
        assert words in middle[-1]
        assert middle[-1].startswith("!")


def test_a_bad_escape_costs_its_attribute_alone() -> None:
    text = json.dumps({"Event": event(attribute(), attribute(comment="X"), attribute(value="c.example"))})
    first, bad, last = read(text.replace('"X"', '"\\ud800"').encode())
    assert isinstance(bad, Unreadable)
    assert [each.observable.value for each in (first, last) if isinstance(each, Found)] == ["bad.example", "c.example"]


def test_a_stray_comma_costs_nothing_else() -> None:
    text = json.dumps(event(attribute())).replace("}]", "},]")
    first, stray = read(text.encode())
    assert isinstance(first, Found)
    assert isinstance(stray, Unreadable)
    (single,) = read(json.dumps(event(attribute(), Tag=TAGS["red"])).replace('red"}]', 'red"},]').encode())
    assert isinstance(single, Found)
    assert single.tlp == TLP.RED


@pytest.mark.parametrize("to_ids", [False, 0, "0", "", None, "false"])
def test_what_is_no_detection_is_left_out_and_said(to_ids: Any) -> None:
    (context,) = found(event(attribute(to_ids=to_ids)))
    assert isinstance(context, Unreadable)
    assert context.left_out
    assert "to_ids" in context.reason
    assert context.text == "domain bad.example"


@pytest.mark.parametrize("deleted", [True, 1, "1"])
def test_what_is_deleted_is_not_there(deleted: Any) -> None:
    assert found(event(attribute(deleted=deleted))) == []
    assert found(event(Object=[{"deleted": deleted, "Attribute": [attribute()]}])) == []


def test_proposals_are_no_attributes() -> None:
    assert found(event(ShadowAttribute=[attribute()])) == []
    assert len(found(event(attribute(ShadowAttribute=[attribute(value="b.example")])))) == 1


TAGS = {name: [{"name": f"tlp:{name}"}] for name in ("white", "clear", "green", "amber", "amber+strict", "red")}


@pytest.mark.parametrize(
    ("of_event", "of_object", "of_attribute", "tlp"),
    [
        ([], [], [], None),
        (TAGS["white"], [], [], TLP.CLEAR),
        ([{"name": "TLP:Amber"}], [], [], TLP.AMBER),
        ([*TAGS["green"], *TAGS["amber+strict"]], [], [], TLP.AMBER_STRICT),
        (TAGS["green"], [], TAGS["red"], TLP.RED),
        (TAGS["amber"], [], TAGS["clear"], TLP.AMBER),
        ([], TAGS["amber"], TAGS["green"], TLP.AMBER),
        ([], [], TAGS["green"], TLP.GREEN),
    ],
)
def test_the_strictest_tlp_wins(of_event: Any, of_object: Any, of_attribute: Any, tlp: TLP | None) -> None:
    whole = {"Tag": of_object, "Attribute": [attribute(Tag=of_attribute)]}
    (single,) = found(event(Tag=of_event, Object=[whole]))
    assert isinstance(single, Found)
    assert single.tlp == tlp


@pytest.mark.parametrize(
    ("of_event", "of_attribute", "tags", "tlp"),
    [
        ("0", "5", [], TLP.AMBER_STRICT),
        (4, 5, [], TLP.AMBER_STRICT),
        ("3", "0", [], TLP.AMBER_STRICT),
        ("3", "5", [], None),
        ("0", "5", TAGS["green"], TLP.GREEN),
        ("0", "0", TAGS["green"], TLP.GREEN),
        ("3", "4", TAGS["green"], TLP.AMBER_STRICT),
    ],
)
def test_what_is_for_the_sender_s_own_is_marked_so(of_event: Any, of_attribute: Any, tags: Any, tlp: TLP) -> None:
    assert one(attribute(distribution=of_attribute), distribution=of_event, Tag=tags).tlp == tlp


@pytest.mark.parametrize(
    "tag",
    [
        "tlp:red\u200b",
        "\ufefftlp:red",
        "t\u2063lp:\u00adred",
        "tlp:\x0bred",
        "\uff34\uff2c\uff30\uff1a\uff32\uff25\uff24",
        "TLP RED",
        "tlp=red",
        'tlp:"red"',
        'iep:traffic-light-protocol="RED"',
        'iep2-policy:tlp="red"',
    ],
)
def test_a_tlp_is_read_however_it_is_written(tag: str) -> None:
    single = one(Tag=[{"name": tag}])
    assert (single.tlp, single.labels) == (TLP.RED, ())


@pytest.mark.parametrize(
    "tag",
    [
        "tlp",
        "tlp:",
        "tlp:ex:chr",
        "tl\u3164p:red",
        "tlp:red\ufe0f",
        "\ue000tlp:red",
        "tlp:\0red",
        "TLP2:red",
        "tlp:\ufffd",
    ],
)
def test_what_is_nearly_a_tlp_is_not_taken_for_a_label(tag: str) -> None:
    (bad,) = found(event(attribute(), Tag=[{"name": tag}]))
    assert isinstance(bad, Unreadable)
    assert "which is no TLP known here" in bad.reason
    assert bad.reason.isprintable()


@pytest.mark.parametrize("tag", ["tlpress", "help:tlpx", "PAP:RED", "a tlp", "caf\u00e9 \U0001f600", 'estimate:a="b"'])
def test_other_tags_are_labels(tag: str) -> None:
    single = one(Tag=[{"name": tag}, {"name": "\ue000"}])
    assert (single.tlp, single.labels) == (None, (tag,))


@pytest.mark.parametrize("name", ["Tag", "EventTag", "AttributeTag"])
@pytest.mark.parametrize("tags", [[{"Tag": {"name": "tlp:red"}}], {"Tag": {"name": "tlp:red"}}, [{"name": "tlp:red"}]])
def test_the_tables_of_tags_are_tags(name: str, tags: Any) -> None:
    for whole in (
        {"Event": event(attribute(), **{name: tags})},
        {"Event": event(attribute()), name: tags},
        {"Event": event(attribute(**{name: tags}))},
        {"Event": event(Object=[{"Attribute": [attribute()], name: tags}])},
        {"Event": {"info": "Lantern", name: tags}, "Attribute": [attribute()]},
        {"response": {"Attribute": [attribute(Event={name: tags})]}},
        {"response": [{"Object": {"Attribute": [attribute()], "Event": {name: tags}}}]},
    ):
        (single,) = found(whole)
        assert isinstance(single, Found)
        assert single.tlp == TLP.RED


def test_an_answer_for_attributes_keeps_what_their_event_is_for() -> None:
    (single,) = found({"response": {"Attribute": [attribute(distribution="5", Event={"distribution": "0"})]}})
    assert isinstance(single, Found)
    assert single.tlp == TLP.AMBER_STRICT


@pytest.mark.parametrize("tags", [[{"name": "tlp:purple"}], [17], {"name": 4}, 5, [{"Tag": 5}]])
def test_an_event_whose_tlp_nobody_knows_gives_nothing(tags: Any) -> None:
    text = json.dumps([{"Event": event(attribute(), Tag=tags)}, {"Event": event(attribute())}])
    bad, good = read(text.encode())
    assert isinstance(good, Found)
    assert isinstance(bad, Unreadable)
    assert "the event cannot be read" in bad.reason


def test_tags_that_are_no_json_hide_no_tlp() -> None:
    text = json.dumps({"Event": event(attribute(), Tag=[{"name": "X"}, {"name": "tlp:red"}])})
    (bad,) = read(text.replace('"X"', '"\\ud800"').encode())
    assert isinstance(bad, Unreadable)
    assert "its TLP is unknown" in bad.reason


def test_galaxies_and_their_tags_become_references_to_attack() -> None:
    galaxy = [{"GalaxyCluster": [{"tag_name": 'misp-galaxy:mitre-intrusion-set="Example Group - G9999"'}]}]
    tags = [
        {"name": 'misp-galaxy:mitre-attack-pattern="Web Protocols - T9971.001"'},
        {"name": 'misp-galaxy:mitre-malware="Example - S9999"'},
        {"name": 'misp-galaxy:threat-actor="Example"'},
    ]
    single = one(attribute(Tag=tags[:1]), Tag=tags, Galaxy=galaxy)
    attack = [ref for ref in single.references if isinstance(ref, dict) and ref["source_name"] == "mitre-attack"]
    assert [(ref["external_id"], ref["url"]) for ref in attack] == [
        ("T9971.001", "https://attack.mitre.org/techniques/T9971/001"),
        ("S9999", "https://attack.mitre.org/software/S9999"),
        ("G9999", "https://attack.mitre.org/groups/G9999"),
    ]
    assert single.labels == ('misp-galaxy:threat-actor="Example"',)


def test_what_an_indicator_says_about_its_origin() -> None:
    link = attribute("link", "https://report.example/1", to_ids=False)
    single, context = found(event(attribute("filename|md5", f"a.exe|{MD5}", comment="Loader"), link))
    assert isinstance(single, Found)
    assert single.description == "Loader\nFile name: a.exe\nCategory: Network activity"
    assert single.references == (
        {"source_name": "misp", "description": "Lantern", "external_id": UUID},
        "https://report.example/1",
    )
    assert isinstance(context, Unreadable)


@pytest.mark.parametrize(
    ("of_attribute", "of_event", "seen"),
    [
        ({"first_seen": "2026-09-01T10:00:00.000000+00:00"}, {}, datetime(2026, 9, 1, 10, tzinfo=UTC)),
        ({"first_seen": None, "last_seen": "2026-09-02T10:00:00+0200"}, {}, datetime(2026, 9, 2, 8, tzinfo=UTC)),
        ({"timestamp": "1759000000"}, {}, datetime(2026, 10, 1, tzinfo=UTC)),
        ({"timestamp": "1759000000"}, {"date": ""}, datetime.fromtimestamp(1759000000, UTC)),
        ({"timestamp": "0"}, {"date": "soon"}, None),
        ({"timestamp": "9" * 400}, {"date": None, "timestamp": -1}, None),
    ],
)
def test_when_it_was_seen(of_attribute: Any, of_event: Any, seen: datetime | None) -> None:
    assert one(attribute(**of_attribute), **of_event).seen == seen


def test_numbers_run_through_all_events() -> None:
    deleted = attribute(deleted=True)
    whole = [{"Event": event(attribute(), deleted)}, {"Event": event(deleted, deleted)}, {"Event": event(attribute())}]
    pieces = events(json.dumps(whole).encode())
    assert pieces is not None
    assert [each.line for each in read_events(pieces)] == [1, 5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty"),
        (b"bad.example", "not JSON"),
        (b"{}", "no MISP event"),
        (b'{"x":1}', "no MISP event in this file (but `x`)"),
        (b'{"Event":', "not JSON"),
        (json.dumps({UUID: {"info": "x"}}).encode(), "index of a MISP feed"),
        (f"{MD5},{UUID}\n".encode(), "index of a MISP feed"),
        (b'{"response":' * 5000 + b"1" + b"}" * 5000, "no MISP event"),
        (b"[" * 100_000, "nested more than"),
    ],
)
def test_what_is_no_event_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read(text)
    assert words in refusal.value.detail


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"bad.example\n",
        b'{"type":"bundle","objects":[]}',
        b'{"info":"x","Attribute":[],"objects":[]}',
        b'{"objects":[],"more":false}',
        b'[{"type":"indicator"}]',
        b'{"id":"indicator--1","info":"x","Attribute":[]}',
        b'{"stix_header":{}}',
        b'{"rows":[{"v":1}]}',
        b'{"Object":[1,2],"name":"x"}',
        b'{"info":"x","Orgc":1}',
        b'{"info":"x","Attribute":1}',
        b'{"response":{"a":1}}',
        b'{"response":[{"info":"x"}]}',
        b'{"response":[1]}',
        b'{"response":[],"rows":[]}',
        b'{"Event":{"System":{}}}',
        b'[{"Event":{"System":{}}}]',
        b"{not json",
    ],
)
def test_what_is_no_misp_is_not_taken_for_it(text: bytes) -> None:
    assert events(text) is None
    assert not is_index(text)


KEYS = [
    "type",
    "value",
    "to_ids",
    "Tag",
    "EventTag",
    "name",
    "Galaxy",
    "GalaxyCluster",
    "tag_name",
    "Attribute",
    "Object",
    "Event",
]
KEYS += ["response", "info", "date", "timestamp", "first_seen", "distribution", "deleted", "comment"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner | st.sampled_from(["domain", "a.example", "1", "tlp:red", "domain|ip"]),
            max_size=6,
        )
    ),
    max_leaves=25,
)


def read_all(text: bytes) -> None:
    events(text)
    try:
        entries = list(read(text))
    except Invalid:
        return
    assert all(each.reason and len(each.text) <= 200 for each in entries if isinstance(each, Unreadable))


@given(JSON)
def test_any_json_is_read_or_refused(whole: Any) -> None:
    for wrapped in (whole, {"Event": whole}, {"Event": {"Attribute": whole}}, {"response": whole}, event(Object=whole)):
        read_all(json.dumps(wrapped).encode())


@given(st.binary(max_size=150))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    for whole in (text, b'{"Event":' + text, b'{"Attribute":[' + text + b"]}", b'{"Event":{"Tag":' + text + b"}}"):
        read_all(whole)


NAMES = st.from_regex(r"[a-z]{1,20}\.example", fullmatch=True)


@given(st.lists(st.tuples(NAMES, st.booleans(), st.booleans()), max_size=20))
def test_what_is_written_is_read(written: list[tuple[str, bool, bool]]) -> None:
    attributes = [attribute(value=value, to_ids=to_ids, deleted=deleted) for value, to_ids, deleted in written]
    entries = found({"Event": event(*attributes)})
    assert [each.observable.value for each in entries if isinstance(each, Found)] == [
        value for value, to_ids, deleted in written if to_ids and not deleted
    ]
    assert len(entries) == sum(not deleted for _, _, deleted in written)


def test_a_hostile_event_does_not_multiply() -> None:
    tags = [{"name": f"tag {n}"} for n in range(20_000)]
    single = one(attribute(comment="x" * 100_000), Tag=tags)
    assert len(single.labels) == 50
    assert len(single.description) <= 5000


def test_a_long_event_is_read_in_linear_time() -> None:
    whole = event(*(attribute("url", f"http://bad.example/{n}?{'(' * 50}") for n in range(5000)))
    begin = time.process_time()
    assert len(found(whole)) == 5000
    assert time.process_time() - begin < 5


def test_a_large_file_is_not_copied_to_tell_what_it_is() -> None:
    attributes = [attribute("url", f"http://bad.example/{n}") for n in range(100_000)]
    text = json.dumps({"Event": event(*attributes)}).encode()
    tracemalloc.start()
    try:
        pieces = events(text)
        assert pieces is not None
        assert next(read_events(pieces)).line == 1
        # Of some ten windows a few are in memory.
        assert tracemalloc.get_traced_memory()[1] < len(text)
    finally:
        tracemalloc.stop()


@needs_corpus
def test_corpus_every_attribute_of_every_event_is_found_or_says_why() -> None:
    counts: Counter[str] = Counter()
    for name, data in documents("misp/*"):
        if is_index(data):
            counts["index"] += 1
            continue
        if events(data) is None:
            assert name.endswith((".json", ".gz")), name
            counts["other"] += 1
            continue
        for each in read(data):
            if isinstance(each, Found):
                counts[each.observable.kind] += 1
            else:
                assert each.reason, name
                counts["left out" if each.left_out else "refused"] += 1
    assert (counts["index"], counts["other"]) == (2, 19)
    assert counts["domain-name"] == 43_683
    assert counts["url"] == 53_795
    assert counts["ipv4-addr"] == 9917
    assert counts["left out"] == 4976
    assert counts["file-name"] == 47
    assert counts["windows-registry-key"] == 14
    assert counts["refused"] == 92
