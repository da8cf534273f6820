"""Assets: what may be registered, how files are read, and which value names what."""

import pytest

from isac.policy import assets
from isac.policy.assets import Asset, Seen
from isac.stix.observables import Observable, recognize

ELM = Asset("domain", "elmcounty.example")


@pytest.mark.parametrize(
    ("kind", "written", "kept"),
    [
        ("domain", "ElmCounty.Example.", "elmcounty.example"),
        ("domain", "vote[.]elmcounty[.]example", "vote.elmcounty.example"),
        ("domain", "bücher.example", "xn--bcher-kva.example"),
        ("domain", "elmcounty.github.io", "elmcounty.github.io"),
        ("network", "192.0.2.77/24", "192.0.2.0/24"),
        ("network", "192.0.2.7", "192.0.2.7"),
        ("network", "2001:DB8:0::/48", "2001:db8::/48"),
        ("network", "203.0.0.0/16", "203.0.0.0/16"),
        ("vendor", "Example Systems, Inc.", "example systems"),
        ("Product", "Example Systems  Poll-Book", "example systems poll book"),
    ],
)
def test_values_are_kept_in_one_spelling(kind: str, written: str, kept: str) -> None:
    assert assets.asset(kind, written) == Asset(kind.lower(), kept)


@pytest.mark.parametrize(
    ("kind", "written", "reason"),
    [
        ("domain", "example", "is not a domain name"),
        ("domain", "oh.us", "public suffix"),
        ("domain", "github.io", "public suffix"),
        ("domain", "192.0.2.1", "is not a domain name"),
        ("domain", "", "no value"),
        ("network", "10.1.0.0/16", "others have it too"),
        ("network", "100.64.0.0/20", "others have it too"),
        ("network", "127.0.0.1", "others have it too"),
        ("network", "169.254.169.254", "others have it too"),
        ("network", "0.0.0.0/0", "others have it too"),
        ("network", "224.0.0.1", "others have it too"),
        ("network", "::1", "others have it too"),
        ("network", "fd00::/48", "others have it too"),
        ("network", "fe80::1", "others have it too"),
        ("network", "203.0.0.0/15", "wider than /16"),
        ("network", "2001:d00::/24", "wider than /32"),
        ("network", "elmcounty.example", "is not"),
        ("vendor", "x", "no name to look for"),
        ("vendor", "...", "no name to look for"),
        ("product", "Windows", "one word"),
        ("host", "x", "kind «host» is unknown"),
    ],
)
def test_what_is_not_one_member_s_is_refused_with_a_sentence(kind: str, written: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        assets.asset(kind, written)


def test_a_file_is_read_whole_and_each_problem_has_its_line() -> None:
    rows = ["org-7,domain,elmcounty.example", "org-7,domain,ELMCOUNTY.example", "org-8,network,10.0.0.1"]
    text = "\n".join(["organization,kind,value", *rows, "org-9,vendor,Example Systems"])
    found, problems = assets.read(text, {"org-7", "org-8"})

    assert found == [("org-7", ELM)]
    assert [(problem.line, problem.text[:20]) for problem in problems] == [
        (4, "«10.0.0.1» is a priv"),
        (5, "organization «org-9»"),
    ]
    assert assets.read("kind,value\ndomain,elmcounty.example\n") == ([("", ELM)], ())
    assert assets.read("domain,elmcounty.example\n")[1]


@pytest.mark.parametrize(
    ("records", "line"),
    [({}, 1), ([1], 1), ([{"kind": "domain"}], 1), ([{"kind": "domain", "value": "a.example", "x": 1}], 1)],
)
def test_records_that_are_none_are_refused(records: object, line: int) -> None:
    found, problems = assets.read_records(records)

    assert (found, [problem.line for problem in problems]) == ([], [line])


@pytest.mark.parametrize(
    ("value", "owned", "how"),
    [
        ("elmcounty.example", ELM, "same"),
        ("mail.elmcounty.example", ELM, "below"),
        ("http://mail.elmcounty.example:8080/a?b", ELM, "url"),
        ("clerk@elmcounty.example", ELM, "mail"),
        ("elmcounty.example", Asset("domain", "vote.elmcounty.example"), "above"),
        ("notelmcounty.example", ELM, None),
        ("elmcounty.example.evil.example", ELM, "host"),
        ("http://elmc0unty.example/", ELM, "letters"),
        ("clerk@elmcounty-votes.example", ELM, "words"),
        ("192.0.2.7", ELM, None),
        ("http://192.0.2.7/", ELM, None),
        ("192.0.2.7", Asset("network", "192.0.2.0/24"), "inside"),
        ("http://192.0.2.7/a", Asset("network", "192.0.2.0/24"), "url"),
        ("192.0.2.0/24", Asset("network", "192.0.2.0/24"), "same"),
        ("192.0.0.0/20", Asset("network", "192.0.2.0/24"), "around"),
        ("::ffff:192.0.2.7", Asset("network", "192.0.2.7"), "same"),
        ("2001:db8::1", Asset("network", "2001:db8::/48"), "inside"),
        ("2001:db8::1", Asset("network", "192.0.2.0/24"), None),
        ("198.51.100.1", Asset("network", "192.0.2.0/24"), None),
        ("d41d8cd98f00b204e9800998ecf8427e", ELM, None),
    ],
)
def test_how_a_value_concerns_an_asset(value: str, owned: Asset, how: str | None) -> None:
    assert assets.meets(recognize(value), owned) == how


SYSTEMS, LANTERN = Asset("vendor", "example systems"), Asset("vendor", "lantern")
POLL_BOOK = Asset("product", "example systems poll book")


@pytest.mark.parametrize(
    ("name", "description", "named"),
    [
        ("Example Systems Poll Book Command Injection Vulnerability", "", {SYSTEMS, POLL_BOOK}),
        ("CVE-2026-10000", "In Example Systems' firmware, and in poll books", {SYSTEMS}),
        ("CVE-2026-10000", "The EXAMPLE SYSTEMS POLL-BOOK 3 lets anybody in.", {SYSTEMS, POLL_BOOK}),
        ("Lantern Server Path Traversal", "", {LANTERN}),
        ("CVE-2026-10000: Lantern Server", "", {LANTERN}),
        ("CVE-2026-10000", "Lantern has a magic lantern", set()),
        ("Magic Lantern Vulnerability", "", set()),
        ("Lanterns Vulnerability", "", set()),
        ("Counterexample Systems", "", set()),
        ("Example", "Systems", set()),
        ("", "", set()),
    ],
)
def test_a_vulnerability_names_vendors_and_products_by_whole_words(
    name: str, description: str, named: set[Asset]
) -> None:
    looked = Seen((Observable("cve", "CVE-2026-10000"),), name, description)
    kept = {owned: assets.asset_keys(owned) for owned in (SYSTEMS, LANTERN, POLL_BOOK)}

    assert {owned for owned in kept if assets.names(looked, owned)} == named
    assert named <= {owned for owned, keys in kept.items() if keys & assets.word_keys(looked)}
