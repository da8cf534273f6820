"""How strict is what is unmarked: as strict as its company."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from isac.policy.screen import Numbers, Survey, survey, trace
from isac.stix import markings
from isac.stix.markings import TLP

IDS = [f"url--00000000-0000-4000-8000-{n:012}" for n in range(7)]


def observable(place: int, tlp: TLP | None, names: list[int]) -> dict[str, Any]:
    body = {"type": "url", "id": IDS[place], "value": "x", "names_refs": [IDS[name] for name in names]}
    return body | ({"object_marking_refs": markings.refs(tlp)[:1]} if tlp is not None else {})


def obvious(bodies: list[dict[str, Any]]) -> dict[str, TLP]:
    """Each unmarked object takes over from its neighbors until nothing changes."""
    found = {body["id"]: markings.in_force(body).tlp for body in bodies}
    unmarked = {stix_id for stix_id, tlp in found.items() if tlp is None}
    pairs = [(body["id"], name) for body in bodies for name in body["names_refs"] if name in found]
    for _ in bodies:
        for left, right in pairs + [pair[::-1] for pair in pairs]:
            tlp, other = found[left], found[right]
            if right in unmarked and tlp is not None:
                found[right] = tlp if other is None else max(tlp, other)
    return {stix_id: tlp for stix_id, tlp in found.items() if tlp is not None}


@given(st.lists(st.tuples(st.none() | st.sampled_from(TLP), st.lists(st.integers(0, 6), max_size=3)), max_size=6))
def test_what_is_unmarked_is_as_strict_as_its_company(given: list[tuple[TLP | None, list[int]]]) -> None:
    bodies = [observable(place, *each) for place, each in enumerate(given)]
    found: Survey = survey(bodies)
    trace(found, bodies, TLP.GREEN)
    expected = obvious(bodies)
    for stix_id in IDS:
        assert found.tlp.get(stix_id, TLP.RED) == expected.get(stix_id, TLP.RED)


@given(st.lists(st.text(max_size=2)))
def test_the_same_text_has_the_same_number(given: list[str]) -> None:
    numbers = Numbers()
    found = {text: numbers.of(text) for text in given}
    assert sorted(found.values()) == [*range(len(numbers))]
    assert [numbers.of(text) for text in given] == [numbers.known(text) for text in given] == [found[t] for t in given]
    assert numbers.known("none of them") is None


def test_many_texts_have_a_number_each() -> None:
    numbers = Numbers()
    assert [numbers.of(str(n)) for n in range(50_000)] == [*range(50_000)]
    assert [numbers.known(str(n)) for n in range(50_000)] == [*range(50_000)]
