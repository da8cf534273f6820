"""Look-alikes: each way to imitate a name is found, others' names are left alone, and both sides' keys meet."""

import re
import string
from collections import defaultdict

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.corpus import documents, needs_corpus

from isac.policy import lookalikes
from isac.policy.lookalikes import LOOKS_LIKE, SHORTEST_MISTYPED, WORDS, keys, member_keys, resembles, typo_keys

NAMES = st.text(string.ascii_lowercase, min_size=SHORTEST_MISTYPED, max_size=20)
LETTERS = st.sampled_from(string.ascii_lowercase)
ENDINGS = st.sampled_from(["com", "org", "us", "co.uk", "oh.us", "example", "github.io"])


def meet(domain: str, member: str) -> bool:
    """Would a database that compares keys find the pair?"""
    theirs, ours = keys(domain), member_keys(member)
    if ours.intersection(theirs.keys):
        return True
    return bool(ours.intersection(theirs.halves)) and bool(ours.intersection(typo_keys(theirs.flat)))


def found(domain: str, member: str) -> str | None:
    how = resembles(domain, member)
    assert how is None or meet(domain, member)
    return how


def idna(label: str) -> str:
    return f"xn--{label.encode('punycode').decode()}"


@pytest.mark.parametrize(
    ("domain", "member", "how"),
    [
        ("elmcounty.com", "elmcounty.gov", "ending"),
        ("elmcounty.github.io", "elmcounty.gov", "ending"),
        ("elm-county.gov", "elmcounty.gov", "hyphen"),
        ("elmcounty.org", "elm-county.gov", "hyphen"),
        ("e1mc0unty.org", "elmcounty.gov", "letters"),
        ("elrncounty.gov", "elmcounty.gov", "letters"),
        ("vvillow-county.org", "willowcounty.gov", "letters"),
        (f"{idna('еlmсоunty')}.com", "elmcounty.gov", "letters"),
        (f"{idna('élmcounty')}.com", "elmcounty.gov", "letters"),
        (f"{idna('elmcοunty')}.gov", "elmcounty.gov", "letters"),
        ("elmcoounty.gov", "elmcounty.gov", "typo"),
        ("elmconty.gov", "elmcounty.gov", "typo"),
        ("elmcpunty.gov", "elmcounty.gov", "typo"),
        ("elmcuonty.gov", "elmcounty.gov", "typo"),
        ("vote-elmcounty.com", "elmcounty.gov", "words"),
        ("elmcounty-elections.com", "elmcounty.gov", "words"),
        ("secure-elmcounty-login.com", "elmcounty.gov", "words"),
        ("elmcountylogin.com", "elmcounty.gov", "words"),
        ("elmcounty-results.org", "elmcountyvotes.gov", "words"),
        ("elmcounty.gov.evil.example", "elmcounty.gov", "host"),
        ("elmcounty.evil.example", "elmcounty.gov", "host"),
        ("www.elmcounty.gov.a.b.evil.example", "elmcounty.gov", "host"),
        ("co-elmwood-oh-us.com", "co.elmwood.oh.us", "dots"),
        ("coelmwood.com", "co.elmwood.oh.us", "ending"),
        ("elmcounty.com", "www.elmcounty.gov", "ending"),
        # its own, and others'
        ("elmcounty.gov", "elmcounty.gov", None),
        ("vote.elmcounty.gov", "elmcounty.gov", None),
        ("elmcounty.gov", "vote.elmcounty.gov", None),
        ("oakcounty.gov", "elmcounty.gov", None),
        ("countyelm.gov", "elmcounty.gov", None),
        ("county.example", "elmcounty.gov", None),
        ("elm.com", "elm.gov", None),
        ("birch.com", "birck.gov", None),
        ("com", "elmcounty.gov", None),
        ("github.io", "elmcounty.gov", None),
        ("xn--.example", "elmcounty.gov", None),
        ("county.com", "votecounty.gov", None),
        ("elections-county.com", "elmcounty.gov", None),
    ],
)
def test_what_resembles_what(domain: str, member: str, how: str | None) -> None:
    assert found(domain, member) == how


@given(NAMES, ENDINGS, st.integers(0, 20), LETTERS, st.sampled_from(["more", "less", "another", "swapped"]))
@example("henryfordcounty", "com", 2, "a", "swapped")
@example("barnbrook", "com", 2, "n", "more")
def test_every_typo_is_found(name: str, ending: str, place: int, letter: str, kind: str) -> None:
    place %= len(name)
    if kind == "swapped":
        place = min(place, len(name) - 2)
        other = name[:place] + name[place + 1] + name[place] + name[place + 2 :]
    else:
        put, skip = {"more": (letter, 0), "less": ("", 1), "another": (letter, 1)}[kind]
        other = name[:place] + put + name[place + skip :]
    assume(other != name)

    assert found(f"{other}.{ending}", f"{name}.gov")


@given(NAMES, ENDINGS, st.integers(1, 19))
def test_every_hyphen_is_found(name: str, ending: str, place: int) -> None:
    place = min(place, len(name) - 1)
    hyphened = f"{name[:place]}-{name[place:]}"

    assert found(f"{hyphened}.{ending}", f"{name}.gov")
    assert found(f"{name}.{ending}", f"{hyphened}.gov")


@given(NAMES, ENDINGS)
def test_every_other_ending_is_found(name: str, ending: str) -> None:
    assert found(f"{name}.{ending}", f"{name}.gov") == "ending"


ASCII: dict[int, str | int | None] = {ord("o"): "0", ord("l"): "1", ord("m"): "rn", ord("w"): "vv"}
ALIKE = {
    plain: [plain, *(other for other in LOOKS_LIKE if LOOKS_LIKE[other] == plain)] for plain in LOOKS_LIKE.values()
}


@given(NAMES, st.integers(0, 2**40))
def test_all_letters_that_look_alike_are_found(name: str, draw: int) -> None:
    choices = [ALIKE.get(letter, [letter]) for letter in name]
    label = "".join(choice[draw // 3**n % len(choice)] for n, choice in enumerate(choices))
    ascii_ones = name.translate(ASCII)
    assume(not label.isascii())

    assert found(f"{idna(label)}.gov", f"{name}.gov") == "letters"
    assert ascii_ones == name or found(f"{ascii_ones}.gov", f"{name}.gov")


@given(NAMES, st.sampled_from(WORDS), st.sampled_from(["", "-"]), st.booleans())
def test_every_word_around_it_is_found(name: str, word: str, hyphen: str, before: bool) -> None:
    label = f"{word}{hyphen}{name}" if before else f"{name}{hyphen}{word}"

    assert found(f"{label}.com", f"{name}.gov")


@given(NAMES, st.lists(st.sampled_from(["a", "www", "login"]), max_size=2), NAMES)
def test_its_name_as_a_host_of_another_domain_is_found(name: str, hosts: list[str], other: str) -> None:
    assume(other != name)

    assert found(".".join([f"{name}.gov", *hosts, f"{other}.example"]), f"{name}.gov") == "host"


def distance(one: str, other: str) -> int:
    """How many letters have to be put in, taken out, changed or swapped: the slow and obvious way."""
    rows = [[max(a, b) for b in range(len(other) + 1)] for a in range(len(one) + 1)]
    for a in range(1, len(one) + 1):
        for b in range(1, len(other) + 1):
            same = one[a - 1] == other[b - 1]
            rows[a][b] = min(rows[a - 1][b] + 1, rows[a][b - 1] + 1, rows[a - 1][b - 1] + (not same))
            if a > 1 and b > 1 and one[a - 2 : a] == other[b - 2 : b][::-1]:
                rows[a][b] = min(rows[a][b], rows[a - 2][b - 2] + 1)
    return rows[-1][-1]


FEW = st.text("abcde", min_size=6, max_size=10)


@given(FEW, FEW)
@example("abcabcabc", "abcbacabc")
def test_a_typo_is_one_of_the_four_and_nothing_else_is(one: str, other: str) -> None:
    how = found(f"{one}.com", f"{other}.gov")

    long_enough = len(other) >= SHORTEST_MISTYPED
    assert (how == "typo") == (long_enough and distance(one, other) == 1)
    assert (how is None) == (one != other and not (long_enough and distance(one, other) == 1))


@given(st.text(string.ascii_lowercase + "-01", min_size=1, max_size=24).filter(lambda text: text.strip("-") == text))
def test_a_domain_does_not_look_like_itself(label: str) -> None:
    assert resembles(f"{label}.gov", f"{label}.gov") is None
    assert lookalikes.keys(f"{label}.gov").keys is not None


@given(st.text(max_size=30))
def test_no_label_stops_it(label: str) -> None:
    for domain in (f"xn--{label}.example", f"{label}.example"):
        keys(domain)
        member_keys(domain)
        resembles(domain, "elmcounty.gov")


FIRST = """ash bay birch blue brook cedar clay clear copper crane deer eagle elk elm fair fern flint fox glen gold
granite green hawk hazel heron high holly iron ivy juniper lake lark laurel long maple marsh moss north oak otter pine
plum quail raven red ridge river rose sage salt silver snow south spruce stone storm sun swan thorn trout walnut white
wild willow winter wolf"""
SECOND = """brook bury creek dale field ford gate grove ham haven hill holm hurst land leigh mont mouth port shire side
stead ton"""
FORMS = "{}county.gov vote{}.org {}-county.us {}countyvotes.gov {}elections.com co.{}.oh.us {}clerk.org"


@needs_corpus
@pytest.mark.slow
def test_of_ten_thousand_domains_of_feeds_at_most_one_is_taken_for_a_look_alike() -> None:
    """Against ten thousand domains of invented counties."""
    counties = [first + second for first in FIRST.split() for second in SECOND.split()]
    members = [form.format(county) for form in FORMS.split() for county in counties][:10_000]
    kept: dict[str, list[str]] = defaultdict(list)
    for member in members:
        for key in member_keys(member):
            kept[key].append(member)
    found: set[bytes] = set()
    for _, content in documents("feeds/*"):
        found.update(re.findall(rb"\b(?:[a-z0-9-]{1,63}\.)+[a-z]{2,12}\b", content))
    names = [name.decode() for name in sorted(found)[::3]]
    alarms = []
    for name in names:
        theirs = keys(name)
        looked = [*theirs.keys, *(typo_keys(theirs.flat) if any(half in kept for half in theirs.halves) else ())]
        near = {member for key in looked for member in kept.get(key, ())}
        alarms += [name for member in near if resembles(name, member)][:1]

    assert len(members) > 9000
    assert len(names) > 20_000
    assert len(alarms) <= len(names) / 10_000, alarms
