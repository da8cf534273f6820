"""What we write ourselves: valid for everybody, and the same on every run."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import stix2
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stix.examples import COUNTY, an_id

from isac.stix import authored, objects
from isac.stix.markings import MARKINGS, TLP
from isac.stix.observables import Observable, recognize

NOW = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


def indicator(text: str = "192.0.2.1", **changed: Any) -> bytes:
    arguments: dict[str, Any] = {
        "producer": COUNTY,
        "source": "example-list",
        "observable": recognize(text),
        "tlp": TLP.GREEN,
        "valid_from": NOW,
        "created": NOW,
        "modified": NOW,
        "valid_until": NOW + timedelta(days=30),
    }
    return authored.indicator(**(arguments | changed))


@pytest.mark.taxii("L-14")
@pytest.mark.parametrize(
    "text",
    ["192.0.2.1", "2001:db8::/32", "example.com", "https://example.com/'a'", "a" * 64, "clerk@example.com", "AS64500"],
)
@pytest.mark.parametrize("tlp", TLP)
def test_l_14_an_indicator_has_one_observable_and_everything_a_client_needs(text: str, tlp: TLP) -> None:
    written = indicator(text, tlp=tlp, labels=["phishing"], confidence=70, references=["https://example.com/report"])
    found = objects.accept(written)
    assert found.observables == (recognize(text),)
    assert found.alternatives
    assert found.marking.tlp is tlp
    assert all(found.body[name].endswith(".123Z") for name in ("created", "modified", "valid_from", "valid_until"))
    assert (found.body["spec_version"], found.created_by) == ("2.1", COUNTY)
    assert found.body["external_references"] == [{"source_name": "example-list", "url": "https://example.com/report"}]
    assert stix2.parse(written).id == found.id


def test_equal_arguments_give_equal_bytes_and_what_is_not_there_is_left_out() -> None:
    assert indicator() == indicator()
    body = orjson.loads(indicator(valid_until=None))
    assert {"valid_until", "description", "labels", "confidence", "external_references"}.isdisjoint(body)
    assert body["name"] == "192.0.2.1"
    assert orjson.loads(indicator(confidence=0))["confidence"] == 0


def test_the_id_follows_from_source_value_and_generation_alone() -> None:
    ours = authored.indicator_id("example-list", "192.0.2.1")
    assert orjson.loads(indicator(modified=NOW + timedelta(days=1), name="other"))["id"] == ours
    assert authored.indicator_id("other-list", "192.0.2.1") != ours
    assert authored.indicator_id("example-list", "192.0.2.2") != ours
    assert authored.indicator_id("example-list", "192.0.2.1", 1) != ours
    # Published once, it may never change: every object of ours would be another one.
    assert authored.indicator_id("example-list", "192.0.2.1") == PINNED


PINNED = "indicator--d7929f8c-e869-5c10-96ca-82595be2c7cc"


@settings(deadline=None)
@given(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9), st.text(max_size=9))
def test_no_two_pairs_of_source_and_value_share_an_id(a: str, b: str, c: str, d: str) -> None:
    assert (authored.indicator_id(a, b) == authored.indicator_id(c, d)) is ((a, b) == (c, d))


def test_an_indicator_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="not later than"):
        indicator(valid_until=NOW)


def test_a_vulnerability_carries_its_cve() -> None:
    written = authored.vulnerability(
        producer=COUNTY,
        source="example-catalog",
        cve="cve-2024-0001",
        tlp=TLP.CLEAR,
        created=NOW,
        modified=NOW,
        description="Used against scanners",
        references=["https://example.com/advisory"],
        labels=["exploited"],
    )
    found = objects.accept(written)
    assert found.observables == (Observable("cve", "CVE-2024-0001"),)
    assert found.id == authored.vulnerability_id("example-catalog", "CVE-2024-0001")
    assert found.body["name"] == "CVE-2024-0001"
    assert stix2.parse(written).external_references[0].external_id == "CVE-2024-0001"


def test_an_identity_is_its_own_producer_and_unmarked() -> None:
    written = authored.identity(COUNTY, "Example County", "organization", NOW, sectors=["government"])
    found = objects.accept(written)
    assert (found.created_by, found.marking.tlp, found.warnings) == (None, None, ())
    assert stix2.parse(written).sectors == ["government"]


@pytest.mark.taxii("L-15")
def test_f1_a_notice_names_the_object_and_says_nothing_else() -> None:
    subject = an_id("indicator")
    written = authored.notice(producer=COUNTY, note_id=an_id("note"), subject=subject, tlp=TLP.AMBER, created=NOW)
    found = objects.accept(written)
    assert found.body["object_refs"] == [subject]
    assert found.body["labels"] == ["withdrawn"]
    assert found.body["content"] == authored.NOTICE
    assert {MARKINGS[ref] for ref in found.body["object_marking_refs"]} == {TLP.AMBER}
    assert found.warnings == ()
    assert stix2.parse(written).type == "note"


@pytest.mark.parametrize("later", [timedelta(hours=1), timedelta(0), timedelta(microseconds=1), timedelta(days=-1)])
def test_a_revocation_is_the_next_version_and_changes_nothing_else(later: timedelta) -> None:
    before = objects.accept(indicator())
    after = objects.accept(authored.revoked(before.raw, NOW + later))
    assert after.revoked
    assert after.modified > before.modified
    kept = after.body.keys() - {"modified", "revoked"}
    assert {key: after.body[key] for key in kept} == {key: before.body[key] for key in kept}
    assert before.body.keys() - {"modified"} == kept


def test_a_revoked_object_is_revoked_for_ever() -> None:
    with pytest.raises(ValueError, match="revoked already"):
        authored.revoked(authored.revoked(indicator(), NOW), NOW)
