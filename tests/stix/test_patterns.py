"""Two roads to one answer: the fast road never accepts what the grammar of stix2-patterns refuses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stix2patterns.validator import run_validator

from isac.stix.observables import Observable
from isac.stix.patterns import _KINDS, Checked, _by_grammar, check

SHA256 = "0123456789abcdef" * 4
MD5 = "0123456789abcdef" * 2


def domain(name: str) -> Observable:
    return Observable("domain-name", name)


MAC = Observable("mac-addr", "02:00:5e:10:00:01")
ADDRESS = Observable("ipv4-addr", "192.0.2.1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[domain-name:value = 'a.example']", Checked((domain("a.example"),), alternatives=True)),
        ("[domain-name:value='a.example']", Checked((domain("a.example"),), alternatives=True)),
        ("[ domain-name:value = 'A.Example' ]", Checked((domain("a.example"),), alternatives=True)),
        (
            f"[file:hashes.'SHA-256' = '{SHA256.upper()}']",
            Checked((Observable("sha-256", SHA256),), alternatives=True),
        ),
        (f"[file:hashes.sha256 = '{SHA256}']", Checked((Observable("sha-256", SHA256),), alternatives=True)),
        (f"[file:hashes.md5='{MD5}']", Checked((Observable("md5", MD5),), alternatives=True)),
        (
            r"[url:value = 'http://example.com/\'a\'']",
            Checked((Observable("url", "http://example.com/'a'"),), alternatives=True),
        ),
        ("[domain-name:value = 'localhost']", Checked(())),
        ("[file:name = 'a.exe']", Checked((Observable("file-name", "a.exe"),), alternatives=True)),
        (r"[file:name = 'C:\\a.exe']", Checked(())),
        ("[mutex:name = 'a']", Checked(())),
        (
            r"[windows-registry-key:key = 'hklm\\Run']",
            Checked((Observable("windows-registry-key", r"HKEY_LOCAL_MACHINE\run"),), alternatives=True),
        ),
        (r"[windows-registry-key:key = '\\REGISTRY\\Machine']", Checked(())),
        (
            f"[x509-certificate:hashes.SHA256 = '{SHA256}']",
            Checked((Observable("x509-sha-256", SHA256),), alternatives=True),
        ),
        (
            "[domain-name:value = 'a.example' OR domain-name:value = 'b.example'] OR [ipv4-addr:value = '192.0.2.1']",
            Checked((domain("a.example"), domain("b.example"), ADDRESS), alternatives=True),
        ),
        (
            "[domain-name:value = 'a.example' AND file:name = 'x'] FOLLOWEDBY [ipv4-addr:value = '192.0.2.1']",
            Checked((domain("a.example"), Observable("file-name", "x"), ADDRESS)),
        ),
        (
            "[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '192.0.2.1']",
            Checked((ADDRESS,)),
        ),
        ("[mac-addr:value = '02-00-5E-10-00-01']", Checked((MAC,), alternatives=True)),
        ("[network-traffic:dst_ref.value = '02:00:5e:10:00:01']", Checked((MAC,), alternatives=True)),
        ("[network-traffic:dst_ref.value = 'a.example']", Checked((domain("a.example"),), alternatives=True)),
        (
            "[email-message:from_ref.value = 'Clerk@example.com']",
            Checked((Observable("email-addr", "clerk@example.com"),), alternatives=True),
        ),
        # by the grammar
        ("[app:id = 'com.example']", Checked(())),
        (
            "[autonomous-system:number = 64500]",
            Checked((Observable("autonomous-system", "AS64500"),), alternatives=True),
        ),
        (
            "[ipv4-addr:value IN ('192.0.2.1', '192.0.2.0/24')]",
            Checked((ADDRESS, Observable("ipv4-addr", "192.0.2.0/24")), alternatives=True),
        ),
        (
            "[ipv4-addr:value ISSUBSET '192.0.2.0/24']",
            Checked((Observable("ipv4-addr", "192.0.2.0/24"),), alternatives=True),
        ),
        ("[ipv4-addr:value != '192.0.2.1']", Checked(())),
        ("[ipv4-addr:value NOT = '192.0.2.1']", Checked(())),
        ("[ipv4-addr:value = '192.0.2.1'] REPEATS 3 TIMES", Checked((ADDRESS,))),
        ("([ipv4-addr:value = '192.0.2.1'])", Checked((ADDRESS,), alternatives=True)),
        ("[ipv4-addr:value = '192.0.2.1' AND ipv4-addr:value = 'bad']", Checked((ADDRESS,))),
        ("[file:name MATCHES '.*' AND ipv4-addr:value = 'bad']", Checked(())),
        (f"[file:hashes.'SHA-256' = '{SHA256}' AND file:size > 5]", Checked((Observable("sha-256", SHA256),))),
    ],
)
def test_a_pattern_names_its_observables(text: str, expected: Checked) -> None:
    assert check(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with a square bracket"),
        ("domain-name:value = 'a.example'", "begins with a square bracket"),
        ("[domain-name:value = ]", "does not parse at line 1, character 22"),
        ("[domain-name:value = 'a.example'", "does not parse"),
        ("[domain-name:value = 'a.example'] AND ", "does not parse"),
        ("[domain-name:value = 'a.example' FOLLOWEDBY domain-name:value = 'b.example']", "does not parse"),
        ("[[domain-name:value = 'a.example']]", "does not parse"),
        (r"[file:name = 'a\n']", "does not parse"),
        ("[a:AND = 'x']", "does not parse"),
        ("[a:b = 'x]", "a quote is not closed"),
        ("['" + "\\'" * 2000, "a quote is not closed"),
        ("[a:b = 007]", "does not parse"),
        ("[a:b = t'2024-13-01T00:00:00Z']", "does not parse"),
        ("[file:hashes.'SHA-256' = 'aa']", "64 hexadecimal digits"),
        ("[file:hashes.'SHA-256' = 'aa' OR file:name = 'x']", "not a valid SHA-256 hash"),
        ("[a:b = 1] WITHIN 5 SECONDS WITHIN 6 SECONDS", "twice"),
        ("[ipv4-addr:value = 'not an ip']", "is not an IP address"),
        ("[ipv4-addr:value  =  'not an ip']", "is not an IP address"),
        ("[url:value = 'hxxp://example[.]com/']", "is defanged"),
        ("[url:value = 'nothing']", "is not a URL"),
        ("[domain-name:value = 'two words']", "is not a domain name"),
    ],
)
def test_a_bad_pattern_is_refused_in_plain_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check(text)


OPAQUE = {
    "4 KiB": "[file:name = '" + "a" * 4096 + "']",
    "4 KiB in bytes": "[a:b = '" + "ü" * 2050 + "']",
    "101 comparisons": "[" + " OR ".join(f"a:b = {number}" for number in range(101)) + "]",
    "101 simple comparisons": "[" + " OR ".join(["file:name = 'a'"] * 101) + "]",
    "101 observations": " AND ".join(["[a:b = 1]"] * 101),
    "depth 51": "[" + "(" * 51 + "a:b = 1" + ")" * 51 + "]",
    "a thousand numbers": "[a:b IN (" + ",".join(["1"] * 1900) + ")]",
    "brackets everywhere": " OR ".join(["(" * 49 + "[a:b = 1]" + ")" * 49] * 30),
    "a quote in a comment": "[a:b = 1] // it's",
    "negative index, which kills the library": "[a:b[-1].c = 'x']",
}


@pytest.mark.parametrize("text", OPAQUE.values(), ids=OPAQUE.keys())
def test_a_pattern_beyond_the_caps_is_taken_unread(text: str) -> None:
    assert check(text) == Checked((), opaque=True)


@pytest.mark.parametrize(
    "text",
    [
        "[" + " OR ".join(f"a:b = {number}" for number in range(100)) + "]",
        "[" + " OR ".join(["file:name = 'a'"] * 100) + "]",
        "[" + "(" * 50 + "a:b = 1" + ")" * 50 + "]",
        "[a:b" + ".c" * 100 + " = 1]",
        " OR ".join(["[domain-name:value LIKE 'a.example']"] * 100),
    ],
)
def test_a_pattern_at_the_caps_is_read(text: str) -> None:
    assert not check(text).opaque


@pytest.mark.parametrize("text", ["[" * 3000, "[a:b" + ".c" * 1500 + " = 1]", "[a:b = " + "(" * 2000, "(" * 2000 + "["])
def test_nothing_crashes_it(text: str) -> None:
    try:
        check(text)
    except ValueError:
        return


# Pieces of patterns, right and nearly right, put together at random.
paths = st.sampled_from([*_KINDS, "a:b", "a:AND", "file:hashes.SHA-256", "file:size", "ipv4-addr:'value'", "OR:x"])
texts = st.sampled_from(
    [
        "a.example",
        "192.0.2.1",
        MD5,
        SHA256,
        "aa",
        "",
        r"\'",
        r"\\",
        r"\n",
        "'",
        "http://example.com/",
        "a@b.example",
        "02-00-5E-10-00-01",
        r"HKLM\\Run",
        "]",
    ]
)
literals = st.one_of(
    texts.map(lambda text: f"'{text}'"),
    st.sampled_from(["1", "007", "-1", "true", "t'2024-01-01T00:00:00Z'", "h'aa'", "('a','b')"]),
)
spaces = st.sampled_from(["", " ", " ", " ", "  ", "\n"])
operators = st.sampled_from(["=", "=", "=", "=", "==", "!=", "IN", "LIKE", "NOT ="])
comparisons = st.builds("{}{}{}{}{}".format, paths, spaces, operators, spaces, literals)
joints = st.sampled_from([" AND ", " OR ", " FOLLOWEDBY ", " AND ", " OR ", " and ", "AND", "  OR ", "] OR ["])
opening, closing = (
    st.sampled_from(["[", "[", "[", "[ ", "([", "", "[["]),
    st.sampled_from(["]", "]", "]", " ]", "])", "", "]]"]),
)
chains = st.lists(st.tuples(comparisons, joints), min_size=1, max_size=4).map(
    lambda parts: "".join(f"{comparison}{joint}" for comparison, joint in parts[:-1]) + parts[-1][0]
)
observations = st.builds("{}{}{}".format, opening, chains, closing)
fuzzed = st.lists(st.tuples(observations, joints), min_size=1, max_size=3).map(
    lambda parts: "".join(f"{observation}{joint}" for observation, joint in parts[:-1]) + parts[-1][0]
)


@settings(max_examples=200, deadline=None)
@given(fuzzed)
def test_what_passes_is_a_pattern_for_stix2_patterns_too(text: str) -> None:
    try:
        passed = not check(text).opaque
    except ValueError:
        passed = False
    if passed:
        assert run_validator(text, "2.1") == []


@settings(max_examples=200, deadline=None)
@given(fuzzed)
def test_both_roads_find_the_same(text: str) -> None:
    try:
        fast = check(text)
    except ValueError:
        return
    slow = _by_grammar(text)
    assert set(slow.observables) == set(fast.observables)
    assert slow.opaque == fast.opaque


@settings(max_examples=200, deadline=None)
@given(fuzzed)
def test_what_stix2_patterns_passes_is_refused_for_its_values_only(text: str) -> None:
    try:
        check(text)
    except ValueError as error:
        if "parse" in str(error) or "begins with" in str(error) or "twice" in str(error):
            assert run_validator(text, "2.1") != []
