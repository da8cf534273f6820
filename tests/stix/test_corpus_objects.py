"""Every STIX 2.1 object of the corpus goes through `accept`: real producers are read, and refusals have a reason."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import pytest
from tests.corpus import documents, needs_corpus

from isac.errors import Invalid
from isac.stix import objects, patterns

pytestmark = needs_corpus

# How many objects of a file are refused, and why. All others of these files are accepted.
REFUSED: dict[str, tuple[int, str]] = {
    "attack-flow-cisa-iranian-apt.json.gz": (2, "URLs defanged without `defanged`"),
    "datastore-v21-versions.tar.gz": (1, "one object is STIX 2.0"),
    "malware-behavior-catalog.json.gz": (13, "patterns with defanged values, which match nothing"),
    "spec-examples.tar.gz": (1, "latitude and longitude as text"),
    "validator-v21-valid-and-invalid.tar.gz": (2, "invalid_identity and invalid_timestamp"),
}
COUNTED = {
    "amnesty-2021-07-18_nso.json.gz": 3099,
    "amnesty-2021-12-16_cytrox.json.gz": 687,
    "amnesty-2023-03-29_android_campaign.json.gz": 4375,
    "amnesty-2024-05-02_wintego_helios.json.gz": 352,
    "amnesty-2024-12-16_serbia_novispy.json": 37,
    "attack-flow-cisa-iranian-apt.json.gz": 102,
    "attack-flow-conti-cisa-alert.json.gz": 76,
    "attack-flow-equifax-breach.json.gz": 60,
    "cisa-ctis-sample-grouping.json": 9,
    "disarm.json.gz": 698,
    "malware-behavior-catalog.json.gz": 1905,
    "mitre-ics-attack-18.1.json.gz": 1826,
    "oasis-sco-examples-bundle.json.gz": 82,
    "opencti-geography.json.gz": 539,
    "opencti-sectors.json.gz": 121,
}


def each(content: bytes) -> Iterator[bytes]:
    """The objects of a bundle, of a list or of a file with one object."""
    whole: Any = orjson.loads(content)
    parts = whole["objects"] if isinstance(whole, dict) and whole.get("type") == "bundle" else whole
    yield from (orjson.dumps(part) for part in (parts if isinstance(parts, list) else [parts]))


def test_the_objects_of_real_producers_are_accepted() -> None:
    taken: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for name, content in documents("stix21/*"):
        archive = name.split("/")[0]
        try:
            texts = list(each(content))
        except orjson.JSONDecodeError:
            assert "invalid_" in name
            continue
        for text in texts:
            try:
                found = objects.accept(text)
            except Invalid:
                refused[archive] += 1
            else:
                taken[archive] += 1
                assert "invalid_" not in name
                assert found.raw == text
                assert objects.same(text, orjson.dumps(found.body, option=orjson.OPT_SORT_KEYS))
    assert refused == {name: count for name, (count, _) in REFUSED.items()}
    assert {name: taken[name] + refused[name] for name in COUNTED} == COUNTED


def test_trap_15_patterns_with_names_that_stix_does_not_define_keep_their_observables() -> None:
    for name, content in documents("stix21/amnesty-*"):
        for text in each(content):
            found = objects.accept(text)
            if found.type == "indicator" and any(word in found.body["pattern"] for word in ("hashes", "domain-name")):
                assert found.observables, (name, found.id)


def test_stix_2_0_is_refused_by_its_name() -> None:
    content = next(content for name, content in documents("stix20/unit42-playbook-*"))
    for text in each(content):
        with pytest.raises(Invalid, match=r"STIX 2\.0"):
            objects.accept(text)


@pytest.mark.parametrize("pattern", ["stix20/*", "interop/*", "misp/misp-stix-*", "hostile/*"])
def test_whatever_comes_nothing_but_invalid_is_raised(pattern: str) -> None:
    for name, content in documents(pattern):
        for text in [content, *content.split(b"\n", 20)[:-1]]:
            with suppress(Invalid):
                assert objects.accept(text).raw == text, name


def test_what_the_interoperability_tests_say_must_be_accepted_is() -> None:
    refused = Counter[str]()
    for name, content in documents("interop/stix21-interop-a.tar.gz"):
        if "/producer_test/" in name:
            for text in each(content):
                try:
                    objects.accept(text)
                except Invalid as error:
                    refused[f"{name}: {error.detail}"] += 1
    assert not refused


def test_the_pass_and_fail_lists_of_patterns_are_honored() -> None:
    ((_, content),) = documents("patterns/validator-v21-pass-fail.json")
    lists = orjson.loads(content)
    for name in ("PASS_CASES", "TIMESTAMP_PASS_CASES"):
        for text in lists[name]:
            assert not patterns.check(text).opaque
    for name in ("FAIL_CASES", "TIMESTAMP_FAIL_CASES"):
        for text, _ in lists[name]:
            with pytest.raises(ValueError):
                patterns.check(text)


def test_the_patterns_of_the_specification_are_read() -> None:
    ((_, content),) = documents("patterns/spec-examples-v21.txt")
    for text in content.decode().splitlines():
        assert not patterns.check(text).opaque
