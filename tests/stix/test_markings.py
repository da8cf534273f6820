"""TLP as a scale, the nine fixed definitions, and what must not come in."""

from typing import Any

import orjson
import pytest
import stix2
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stix.examples import an_id, make

from isac.stix import markings
from isac.stix.markings import ACS_EXTENSION, MARKINGS, TLP, TLP_2_EXTENSION, Marking

IEP = "extension-definition--762e2e97-ee51-43e5-a9ea-165fbb862c4a"
CUI = "extension-definition--dff17fb3-edcb-4f99-ad1b-4b751c95738a"
OTHER = an_id("extension-definition")


def marking(extensions: dict[str, Any], **own: Any) -> dict[str, Any]:
    return make("marking-definition", "definition", "definition_type", extensions=extensions, **own)


def test_the_scale_is_ordered_from_clear_to_red() -> None:
    assert TLP.CLEAR < TLP.GREEN < TLP.AMBER < TLP.AMBER_STRICT < TLP.RED
    assert [str(tlp) for tlp in TLP] == ["clear", "green", "amber", "amber+strict", "red"]


@pytest.mark.parametrize(
    ("text", "tlp"),
    [
        ("amber+strict", TLP.AMBER_STRICT),
        ("TLP:AMBER+STRICT", TLP.AMBER_STRICT),
        ("TLP:AMBER", TLP.AMBER),
        ("amber-strict", TLP.AMBER_STRICT),
        ("amber_strict", TLP.AMBER_STRICT),
        ("Amber Strict", TLP.AMBER_STRICT),
        (" tlp: white ", TLP.CLEAR),
        ("Clear", TLP.CLEAR),
        ("RED", TLP.RED),
    ],
)
def test_parse_reads_what_people_write(text: str, tlp: TLP) -> None:
    assert TLP.parse(text) is tlp


@pytest.mark.parametrize("text", ["", "purple", "TLP", "tlp:", "amber+", "3"])
def test_parse_refuses_the_rest(text: str) -> None:
    with pytest.raises(ValueError, match="is no TLP"):
        TLP.parse(text)


@pytest.mark.parametrize(
    ("ours", "library"),
    [
        (TLP.CLEAR, stix2.TLP_WHITE),
        (TLP.GREEN, stix2.TLP_GREEN),
        (TLP.AMBER, stix2.TLP_AMBER),
        (TLP.RED, stix2.TLP_RED),
    ],
)
def test_s_52_our_tlp_1_definitions_are_those_of_stix2(ours: TLP, library: Any) -> None:
    assert markings.definition(ours, 1) == orjson.loads(library.serialize())


def test_s_53_tlp_2_definitions_carry_the_extension_and_no_definition() -> None:
    for tlp in TLP:
        body = markings.definition(tlp)
        assert body["extensions"] == {TLP_2_EXTENSION: {"extension_type": "property-extension", "tlp_2_0": str(tlp)}}
        assert body["name"] == f"TLP:{str(tlp).upper()}"
        assert body["created"] == "2022-10-01T00:00:00.000Z"
        assert "definition" not in body
        assert stix2.parse(body, allow_custom=True).id == body["id"]


def test_tlp_1_has_no_amber_strict() -> None:
    with pytest.raises(ValueError, match="no amber"):
        markings.definition(TLP.AMBER_STRICT, 1)


def test_the_seeds_are_the_nine() -> None:
    bodies = [orjson.loads(seed) for seed in markings.SEEDS]
    assert {body["id"] for body in bodies} == set(MARKINGS)
    assert len(bodies) == 9
    assert all(markings.genuine(body) for body in bodies)


@pytest.mark.parametrize("tlp", TLP)
def test_s_55_our_own_objects_carry_both_marks_where_both_exist(tlp: TLP) -> None:
    ids = markings.refs(tlp)
    assert len(ids) == (1 if tlp is TLP.AMBER_STRICT else 2)
    assert {MARKINGS[stix_id] for stix_id in ids} == {tlp}


whole = st.lists(st.sampled_from(sorted(MARKINGS)), max_size=4)


@settings(deadline=None)
@given(whole, whole)
def test_s_50_the_strictest_marking_of_the_whole_and_its_parts_rules(ids: list[str], parts: list[str]) -> None:
    body: dict[str, Any] = {"object_marking_refs": ids} if ids else {}
    if parts:
        body["granular_markings"] = [{"selectors": ["name"], "marking_ref": stix_id} for stix_id in parts]
    expected = max((MARKINGS[stix_id] for stix_id in ids + parts), default=None)
    assert markings.in_force(body) == Marking(expected)


def test_markings_that_are_no_tlp_are_named_once_and_in_lower_case() -> None:
    one, two = an_id("marking-definition", 0xA), an_id("marking-definition", 0xB)
    body = {
        "object_marking_refs": [one.upper().replace("MARKING-DEFINITION", "marking-definition"), two],
        "granular_markings": [{"selectors": ["name"], "lang": "en"}, {"selectors": ["name"], "marking_ref": one}],
    }
    assert markings.in_force(body) == Marking(None, (one, two))
    upper = "marking-definition--5E57C739-391A-4EB3-B6BE-7D15CA92D5ED"
    assert markings.in_force({"object_marking_refs": [upper]}) == Marking(TLP.RED)


AMBER_1, GREEN_2 = markings.definition(TLP.AMBER, 1), markings.definition(TLP.GREEN)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (AMBER_1, True),
        ({key: value for key, value in AMBER_1.items() if key != "name"}, True),
        (AMBER_1 | {"created": "2017-01-20T00:00:00Z"}, True),
        (AMBER_1 | {"created": "2017-01-20T00:00:00.000000Z"}, True),
        (AMBER_1 | {"created": "2017-01-21T00:00:00.000Z"}, False),
        (AMBER_1 | {"definition": {"tlp": "white"}}, False),
        (AMBER_1 | {"definition_type": "statement", "definition": {"statement": "x"}}, False),
        (AMBER_1 | {"x_more": 1}, False),
        (AMBER_1 | {"name": "TLP:RED"}, False),
        (AMBER_1 | {"id": an_id("marking-definition")}, False),
        (GREEN_2, True),
        (GREEN_2 | {"id": an_id("marking-definition")}, False),
        (
            GREEN_2 | {"extensions": {TLP_2_EXTENSION: {"extension_type": "property-extension", "tlp_2_0": "red"}}},
            False,
        ),
        (make("marking-definition"), None),
        (make("marking-definition", name="TLP:GREEN"), False),
        (make("marking-definition", definition={"statement": "TLP: RED"}), False),
        (make("marking-definition", definition={"statement": "Copyright; see TLP rules"}), None),
        (marking({OTHER: {"extension_type": "property-extension"}}), None),
    ],
)
def test_s_51_genuine_tells_the_nine_from_forgeries(body: dict[str, Any], verdict: bool | None) -> None:
    assert markings.genuine(body) is verdict


@pytest.mark.parametrize(
    ("body", "tlp"),
    [
        (AMBER_1, TLP.AMBER),
        (marking({IEP: {"extension_type": "property-extension", "tlp": "red"}}), TLP.RED),
        (marking({IEP: {"extension_type": "property-extension", "tlp": "mauve"}}), TLP.RED),
        (marking({IEP: {"extension_type": "property-extension"}}), None),
        (make("marking-definition", definition_type="ais", definition={"consent": "NONE", "tlp": "GREEN"}), TLP.GREEN),
        (make("marking-definition"), None),
    ],
)
def test_a_policy_may_imply_a_tlp(body: dict[str, Any], tlp: TLP | None) -> None:
    assert markings.implied(body) is tlp


@pytest.mark.parametrize(
    ("body", "understood"),
    [
        (make("marking-definition"), True),
        (AMBER_1, True),
        (GREEN_2, True),
        (marking({IEP: {"tlp": "green"}}), True),
        (marking({CUI: {"designator": "x"}}), True),
        (marking({OTHER: {"extension_type": "property-extension", "pap": "amber"}}), True),
        (marking({OTHER: {"extension_type": "property-extension", "pap": "amber", "more": 1}}), False),
        (marking({OTHER: {"rule": "x"}}), False),
        (marking({ACS_EXTENSION: {"control_set": {"classification": "U"}}}), False),
        (make("marking-definition", definition_type="x-own", definition={"a": 1}), False),
    ],
)
def test_s_60_what_is_not_understood_waits_for_a_steward(body: dict[str, Any], understood: bool) -> None:
    assert markings.understood(body) is understood


@pytest.mark.parametrize(
    ("controls", "classified"),
    [
        ({"classification": "U"}, False),
        ({"classification": "S"}, True),
        ({"classification": "TS"}, True),
        ({"classification": ["U", "S"]}, True),
        ({"classification": None}, True),
        ({"entity": ["GOV"]}, False),
        ("S", False),
    ],
)
def test_s_59_anything_but_u_is_classified(controls: Any, classified: bool) -> None:
    assert markings.classified(marking({ACS_EXTENSION: {"control_set": controls}})) is classified
    assert not markings.classified(marking({OTHER: {"control_set": controls}}))


@pytest.mark.parametrize(
    "text",
    [
        "TOP SECRET//SI//NOFORN",
        "a line\nSECRET//NOFORN\nanother",
        "SECRET // REL TO USA, FVEY",
        "CONFIDENTIAL//NOFORN",
        "(S//NF) the portion",
        "(TS//SI//NF)",
    ],
)
def test_banners_are_seen(text: str) -> None:
    assert markings.banner(text)


@pytest.mark.parametrize(
    "text",
    [
        "the secret is out",
        "SECRET",
        "TOP SECRET",
        "UNCLASSIFIED//FOUO",
        "https://example.com/SECRET//AB",
        "Confidential//Internal",
        "CONFIDENTIAL//internal",
        "client_secret//comment",
        "(S) is a letter",
    ],
)
def test_other_words_are_no_banners(text: str) -> None:
    assert not markings.banner(text)
