"""Patterns that match the same meet in one text, and no others do."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

import antlr4
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stix2.equivalence.pattern import equivalent_patterns
from stix2patterns.v21.grammars.STIXPatternLexer import STIXPatternLexer
from tests.corpus import documents, needs_corpus
from tests.stix import fuzz
from tests.stix.meaning import READINGS, Reading, matches, parsed

from isac.stix.expressions import _Reader, quoted
from isac.stix.fangs import refang
from isac.stix.observables import KINDS, recognize
from isac.stix.patterns import canonical, check

SHA256 = "0123456789abcdef" * 4
MD5 = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # spelling
        ("[ a:b='x' ]", "[a:b = 'x']"),
        ("[\n\ta : b == 'x' ] /* seen */ // twice", "[a:b = 'x']"),
        ("([((a:b = 'x'))])", "[a:b = 'x']"),
        ("[a:'b'.'c-d'.'AND'[0][*].e = 1]", "[a:b.'c-d'.'AND'[0][*].e = 1]"),
        (r"[a:b = 'it\'s \\ that']", r"[a:b = 'it\'s \\ that']"),
        ("[a:b <> 1]", "[a:b != 1]"),
        ("[a:b = 5.0]", "[a:b = 5]"),
        ("[a:b = +5]", "[a:b = 5]"),
        ("[a:b = -0.0]", "[a:b = 0]"),
        ("[a:b > -.50]", "[a:b > -0.5]"),
        ("[a:b = 9007199254740993.0]", "[a:b = 9007199254740993.0]"),
        ("[a:b = h'FFd8']", "[a:b = h'ffd8']"),
        ("[a:b = b'AAEC']", "[a:b = b'AAEC']"),
        ("[a:b = true]", "[a:b = true]"),
        ("[a:b = t'2024-05-01T08:00:00.500Z']", "[a:b = t'2024-05-01T08:00:00.5Z']"),
        ("[a:b = t'2024-05-01T08:00:00.000Z']", "[a:b = t'2024-05-01T08:00:00Z']"),
        ("[EXISTS a:b]", "[EXISTS a:b]"),
        ("[NOT EXISTS a:b]", "[NOT EXISTS a:b]"),
        ("[a:b NOT LIKE 'x%']", "[a:b NOT LIKE 'x%']"),
        # values
        ("[domain-name:value = 'Www.Example.COM.']", "[domain-name:value = 'www.example.com']"),
        ("[domain-name:value != 'bücher.example']", "[domain-name:value != 'xn--bcher-kva.example']"),
        ("[domain-name:value LIKE 'WWW.%']", "[domain-name:value LIKE 'WWW.%']"),
        ("[domain-name:value = '192.0.2.1']", "[domain-name:value = '192.0.2.1']"),
        ("[url:value = 'HTTP://Example.com:80']", "[url:value = 'http://example.com/']"),
        ("[url:value = 'example.com']", "[url:value = 'example.com']"),
        ("[ipv4-addr:value ISSUBSET '192.0.2.7/24']", "[ipv4-addr:value ISSUBSET '192.0.2.0/24']"),
        ("[ipv4-addr:value = '192.0.2.1/32']", "[ipv4-addr:value = '192.0.2.1']"),
        ("[ipv6-addr:value = '2001:0DB8:0::1']", "[ipv6-addr:value = '2001:db8::1']"),
        ("[ipv6-addr:value = '::ffff:192.0.2.1']", "[ipv6-addr:value = '::ffff:192.0.2.1']"),
        ("[network-traffic:dst_ref.value = '2001:0DB8:0::1']", "[network-traffic:dst_ref.value = '2001:db8::1']"),
        (
            "[network-traffic:dst_ref.value = '::ffff:192.0.2.1']",
            "[network-traffic:dst_ref.value = '::ffff:192.0.2.1']",
        ),
        ("[network-traffic:src_ref.value = 'A.example']", "[network-traffic:src_ref.value = 'a.example']"),
        (f"[file:hashes.sha256 = '{SHA256.upper()}']", f"[file:hashes.'SHA-256' = '{SHA256}']"),
        (
            f"[file:hashes.md5 = '{MD5}' OR file:hashes.'MD5' = '{MD5[::-1]}']",
            f"[file:hashes.MD5 = '{MD5}' OR file:hashes.MD5 = '{MD5[::-1]}']",
        ),
        (
            f"[file:hashes.md5 != '{MD5}' AND file:hashes.MD5 != '{MD5[::-1]}']",
            f"[file:hashes.MD5 != '{MD5}' AND file:hashes.MD5 != '{MD5[::-1]}']",
        ),
        ("[a:hashes.x IN ('b', 'a')]", "[a:hashes.x = 'a' OR a:hashes.x = 'b']"),
        (f"[x509-certificate:hashes.'MD5' = '{MD5.upper()}']", f"[x509-certificate:hashes.MD5 = '{MD5}']"),
        (r"[windows-registry-key:key = 'HKCU\\Run']", r"[windows-registry-key:key = 'HKEY_CURRENT_USER\\run']"),
        ("[mac-addr:value = '02-00-5E-10-00-01']", "[mac-addr:value = '02:00:5e:10:00:01']"),
        ("[file:name = 'A.exe']", "[file:name = 'A.exe']"),
        # one observation
        ("[a:b = 1 AND a:c = 1 AND a:b = 1]", "[a:b = 1 AND a:c = 1]"),
        ("[a:c = 1 OR (a:b = 2 OR a:b = 1)]", "[a:b IN (1, 2) OR a:c = 1]"),
        ("[a:b = 1 OR a:b = 1 AND a:c = 1]", "[a:b = 1]"),
        ("[a:b = 1 AND (a:b = 1 OR a:c = 1)]", "[a:b = 1]"),
        ("[(a:b = 1 OR a:c = 1) AND (a:b = 1 OR a:d = 1)]", "[a:b = 1 OR a:c = 1 AND a:d = 1]"),
        ("[a:b IN (2, 1, 2.0)]", "[a:b IN (1, 2)]"),
        ("[a:b IN (1)]", "[a:b = 1]"),
        ("[a:b IN ()]", "[a:b IN ()]"),
        ("[a:b IN (1, 2) AND a:c = 1]", "[a:b IN (1, 2) AND a:c = 1]"),
        ("[a:b = 2 AND a:c = 1 OR a:c = 1 AND a:b = 1]", "[a:b IN (1, 2) AND a:c = 1]"),
        ("[a:b NOT = 1]", "[a:b != 1]"),
        ("[a:b NOT != 1]", "[a:b = 1]"),
        ("[a:b NOT IN (1)]", "[a:b != 1]"),
        ("[a:b != 2 AND a:b NOT = 1]", "[a:b NOT IN (1, 2)]"),
        ("[a:b[*] NOT = 1]", "[a:b[*] NOT = 1]"),
        ("[a:b[*] != 2 AND a:b[*] != 1]", "[a:b[*] != 1 AND a:b[*] != 2]"),
        ("[a:b NOT < 1]", "[a:b NOT < 1]"),
        # several
        ("[a:b = 1] OR [a:b = 2] OR [a:b = 1]", "[a:b IN (1, 2)]"),
        ("[a:c = 1] AND [a:b = 1]", "[a:b = 1] AND [a:c = 1]"),
        ("[a:b = 1] AND [a:b = 1]", "[a:b = 1] AND [a:b = 1]"),
        ("([a:b = 1] AND [a:c = 1]) OR [a:b = 1]", "[a:b = 1]"),
        ("([a:b = 1] FOLLOWEDBY [a:c = 1]) OR [a:c = 1]", "[a:c = 1]"),
        ("[a:c = 1] FOLLOWEDBY [a:b = 1]", "[a:c = 1] FOLLOWEDBY [a:b = 1]"),
        (
            "([a:b = 1] FOLLOWEDBY [a:c = 1]) FOLLOWEDBY [a:d = 1]",
            "[a:b = 1] FOLLOWEDBY [a:c = 1] FOLLOWEDBY [a:d = 1]",
        ),
        (
            "[a:b = 1] FOLLOWEDBY ([a:c = 1] FOLLOWEDBY [a:d = 1])",
            "[a:b = 1] FOLLOWEDBY ([a:c = 1] FOLLOWEDBY [a:d = 1])",
        ),
        (
            "([a:b = 1] AND [a:c = 1] OR [a:d = 1]) AND [a:e = 1]",
            "[a:b = 1] AND [a:c = 1] AND [a:e = 1] OR [a:d = 1] AND [a:e = 1]",
        ),
        # qualifiers
        ("([a:b = 1]) REPEATS 5 TIMES WITHIN 5.0 SECONDS", "[a:b = 1] REPEATS 5 TIMES WITHIN 5 SECONDS"),
        ("[a:b = 1] WITHIN 5 SECONDS REPEATS 5 TIMES", "[a:b = 1] WITHIN 5 SECONDS REPEATS 5 TIMES"),
        ("([a:b = 1] WITHIN 5 SECONDS) WITHIN 6 SECONDS", "([a:b = 1] WITHIN 5 SECONDS) WITHIN 6 SECONDS"),
        (
            "([a:c = 1] AND [a:b = 1]) START t'2024-01-01T00:00:00.0Z' STOP t'2025-01-01T00:00:00Z'",
            "([a:b = 1] AND [a:c = 1]) START t'2024-01-01T00:00:00Z' STOP t'2025-01-01T00:00:00Z'",
        ),
    ],
)
def test_a_pattern_has_one_canonical_text(text: str, expected: str) -> None:
    assert canonical(text) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[a:b = 1]", "[a:b = '1']"),
        ("[a:b = 1]", "[a:b = true]"),
        ("[a:b = '2024-01-01T00:00:00Z']", "[a:b = t'2024-01-01T00:00:00Z']"),
        ("[a:b = 9007199254740992]", "[a:b = 9007199254740993.0]"),
        ("[a:b = 'x']", "[a:b = 'X']"),
        ("[a:b = 'x']", "[a:b = ' x']"),
        ("[a:b = 'x']", "[a:b LIKE 'x']"),
        ("[a:b[*] = 1]", "[a:b[0] = 1]"),
        ("[a:b[*] != 1]", "[a:b[*] NOT = 1]"),
        ("[a:b > 1]", "[a:b NOT <= 1]"),
        ("[a:b.c = 1]", "[a:'b.c' = 1]"),
        ("[a:b = 1]", "[a:b = 1] AND [a:b = 1]"),
        ("[a:b = 1 AND a:c = 1]", "[a:b = 1] AND [a:c = 1]"),
        ("[a:b = 1] AND [a:c = 1]", "[a:b = 1] FOLLOWEDBY [a:c = 1]"),
        ("[a:b = 1] FOLLOWEDBY [a:c = 1]", "[a:c = 1] FOLLOWEDBY [a:b = 1]"),
        ("[a:b = 1] WITHIN 5 SECONDS", "[a:b = 1] WITHIN 6 SECONDS"),
        ("[a:b = 1] AND [a:c = 1] WITHIN 5 SECONDS", "([a:b = 1] AND [a:c = 1]) WITHIN 5 SECONDS"),
        ("[a:b = 1] REPEATS 2 TIMES WITHIN 5 SECONDS", "[a:b = 1] WITHIN 5 SECONDS REPEATS 2 TIMES"),
        ("[email-message:from_ref.value = 'a@b.example']", "[email-message:sender_ref.value = 'a@b.example']"),
        ("[ipv6-addr:value = '::ffff:192.0.2.1']", "[ipv4-addr:value = '192.0.2.1']"),
        ("[url:value = 'example.com/a']", "[url:value = 'http://example.com/a']"),
        ("[file:name = 'a.exe']", "[file:name = 'A.exe']"),
    ],
)
def test_what_may_match_differently_does_not_meet(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


def test_what_is_opaque_has_no_canonical_text() -> None:
    assert canonical("[a:b = '" + "x" * 4100 + "']") is None
    assert canonical("[url:value = 'http://example.com/" + "ü" * 1000 + "']") is None


def test_what_does_not_parse_is_refused() -> None:
    with pytest.raises(ValueError, match="does not parse"):
        canonical("[a:b = ]")


WIDE = {
    "100 values and 5": f"[a:b IN ({', '.join(map(str, range(100)))}) AND a:c IN (1, 2, 3, 4, 5)]",
    "10 ORs": "[" + " AND ".join(f"(a:b = {n} OR a:c = {n})" for n in range(10)) + "]",
    "10 ORs of observations": " AND ".join(f"([a:b = {n}] OR ([a:c = {n}] AND [a:d = {n}]))" for n in range(10)),
    "long texts": "[(" + " OR ".join(f"a:b = '{n}{'x' * 90}'" for n in range(30)) + ") AND (a:c = 1 OR EXISTS a:d)]",
    "depth": "[" + "(a:b = 1 OR (a:c = 2 AND " * 24 + "a:d = 1" + "))" * 24 + "]",
}


@pytest.mark.parametrize("text", WIDE.values(), ids=WIDE.keys())
def test_what_would_grow_too_large_is_left_as_it_is_built(text: str) -> None:
    found = canonical(text)
    assert found is not None
    assert canonical(found) == found


# --- the oracle -----------------------------------------------------------------------------------

atoms = st.sampled_from(
    [
        *("a:b = 1", "a:b = 2", "a:c = 1", "a:b IN (1, 2)", "a:b != 1", "a:b NOT = 2", "a:b NOT != 1", "a:b < 2"),
        *("a:b NOT IN (1, 2)", "a:d[*] = 1", "a:d[*] != 1", "a:d[*] NOT = 1", "a:d[*] IN (1, 2)", "a:b NOT < 2"),
        *("a:d[*] NOT IN (1, 2)", "a:d[*] != 2", "a:b = 'x'", "a:c != 'x'", "a:c = 2", "a:b = 1.0"),
    ]
)


def joined(operands: st.SearchStrategy[str], signs: list[str]) -> st.SearchStrategy[str]:
    return st.builds("({} {} {})".format, operands, st.sampled_from(signs), operands)


comparisons = st.recursive(atoms, lambda inner: joined(inner, ["AND", "OR"]), max_leaves=5)
one_observation = comparisons.map(lambda text: f"[{text}]")
plain = st.sampled_from(["[a:b = 1]", "[a:b = 2]", "[a:c = 1]", "[a:b IN (1, 2)]", "[a:b = 1 AND a:c = 1]"])
qualifiers = st.sampled_from(["WITHIN 2 SECONDS", "REPEATS 2 TIMES", "WITHIN 3.0 SECONDS", "REPEATS 1 TIMES"])
whole = st.recursive(
    plain | plain | one_observation,
    lambda inner: joined(inner, ["AND", "OR", "OR", "FOLLOWEDBY"]) | st.builds("({}) {}".format, inner, qualifiers),
    max_leaves=5,
)
numbers = st.sampled_from([1, 2, 3, "x"])
seen = st.fixed_dictionaries({}, optional={"b": numbers, "c": numbers, "d": st.lists(numbers, max_size=2)})
worlds = st.lists(seen, max_size=4)


@settings(max_examples=100, deadline=None)
@given(whole, st.lists(worlds, min_size=3, max_size=10), st.sampled_from(READINGS))
def test_the_canonical_text_matches_what_the_pattern_matches(text: str, some: list[Any], reading: Reading) -> None:
    found = canonical(text)
    assert found
    one, other = parsed(text), parsed(found)
    for world in some:
        assert matches(one, world, reading) == matches(other, world, reading), (found, world)


@settings(max_examples=100, deadline=None)
@given(comparisons, st.lists(seen, min_size=5, max_size=20), st.sampled_from(READINGS))
def test_in_one_observation_too(text: str, some: list[Any], reading: Reading) -> None:
    found = canonical(f"[{text}]")
    assert found
    one, other = parsed(f"[{text}]"), parsed(found)
    for each in some:
        assert matches(one, [each], reading) == matches(other, [each], reading), (found, each)


@settings(max_examples=100, deadline=None)
@given(whole)
def test_a_second_run_changes_nothing(text: str) -> None:
    found = canonical(text)
    assert found
    assert canonical(found) == found


# stix2 takes FOLLOWEDBY for associative, which the standard does not say; and it is exponential.
small = st.recursive(plain, lambda inner: joined(inner, ["AND", "OR"]), max_leaves=4)
followed = small | st.builds("{} FOLLOWEDBY {}".format, small, small)
boolean = st.recursive(
    st.sampled_from(["a:b = 1", "a:b = 2", "a:c = 1"]), lambda inner: joined(inner, ["AND", "OR"]), max_leaves=5
)


@settings(max_examples=100, deadline=None)
@given(st.lists(followed | boolean.map(lambda text: f"[{text}]"), min_size=2, max_size=8, unique=True))
def test_what_is_one_pattern_to_stix2_is_one_here(texts: list[str]) -> None:
    for text in texts[1:]:
        if equivalent_patterns(texts[0], text, stix_version="2.1"):
            assert canonical(texts[0]) == canonical(text)


# --- reading --------------------------------------------------------------------------------------


def _same(path: str, operator: str, text: str) -> str:
    return text


def tokens(text: str) -> list[str]:
    return [token.text for token in STIXPatternLexer(antlr4.InputStream(text)).getAllTokens()]


def of_corpus() -> Iterator[str]:
    """Every pattern of real producers, once."""
    found = set()
    for name, content in [*documents("stix21/*"), *documents("stix20/*"), *documents("interop/*")]:
        for part in content.splitlines() if ".jsonl" in name else [content]:
            found.update(re.findall(rb'"pattern":\s*("(?:[^"\\]|\\.)*")', part))
    ((_, lists),) = documents("patterns/validator-v21-pass-fail.json")
    ((_, examples),) = documents("patterns/spec-examples-v21.txt")
    yield from sorted(str(orjson.loads(text)) for text in found)
    yield from examples.decode().splitlines()
    yield from (text for name in ("PASS_CASES", "TIMESTAMP_PASS_CASES") for text in orjson.loads(lists)[name])


@needs_corpus
def test_real_patterns_are_read_alike_and_keep_what_they_name() -> None:
    counts = Counter[str]()
    for number, text in enumerate(of_corpus()):
        joined = " AND " in text or " OR " in text or "FOLLOWEDBY" in text
        if not joined and number % 10:
            continue
        try:
            checked = check(text)
        except ValueError:
            continue
        counts["joined" if joined else "simple"] += 1
        found = canonical(text)
        assert found, text
        assert canonical(found) == found
        assert set(check(found).observables) == set(checked.observables)
        assert [token for _, token in _Reader(text, str, _same)._tokens[:-1]] == tokens(text)
    assert counts["joined"] > 50
    assert counts["simple"] > 900


@settings(max_examples=100, deadline=None)
@given(whole)
def test_the_tokens_are_those_of_the_grammar(text: str) -> None:
    assert [token for _, token in _Reader(text, str, _same)._tokens[:-1]] == tokens(text)


# --- whatever comes -------------------------------------------------------------------------------


def test_two_thousand_odd_patterns_do_no_harm() -> None:
    fuzz.seconds("[a:b LIKE 'the grammar is loaded']")
    read = 0
    for text in islice(fuzz.patterns(seed=1), 2_000):
        # What else runs on the machine must not make a pattern slow: its best of three counts.
        tries = (fuzz.seconds(text) for _ in range(3))
        took, found = next((one for one in tries if one[0] < fuzz.MOST), (fuzz.MOST, None))
        assert took < fuzz.MOST, text
        if found is not None:
            read += 1
            if read % 10 == 0:
                assert canonical(found) == found
    assert read > 200


@needs_corpus
def test_nothing_hostile_crashes_or_stalls_a_reader() -> None:
    fuzz.seconds("[a:b LIKE 'the grammar is loaded']")
    lines = {line for _, content in documents("hostile/*") for line in content.decode("utf-8", "replace").splitlines()}
    assert len(lines) > 500
    readers: list[Callable[[str], object]] = [refang, recognize, check, canonical, inside]
    readers += [partial(recognize, kind=kind) for kind in KINDS]
    for line in lines:
        for read in readers:
            took = min(_seconds(read, line) for _ in range(2))
            # `refang` alone reads what is longer than 4,000 characters, in linear time.
            assert took < fuzz.MOST * max(1, len(line) / 100_000), (line[:100], read)


def _seconds(read: Callable[[str], object], line: str) -> float:
    begun = time.thread_time()
    with suppress(ValueError):
        read(line)
    return time.thread_time() - begun


def inside(line: str) -> None:
    check(f"[file:name = {quoted(line)} OR url:value = {quoted(line)}]")
