"""What the screen says of values: by themselves, by lists, by what members own, and by earlier decisions."""

import orjson
import pytest

from isac.policy import places
from isac.policy.screen import Hold, Refusal
from isac.policy.values import Facts, Finding, Judgement, Owned, judge, of_value, verdict
from isac.policy.warninglists import How, Listed, Reach, reach
from isac.stix.objects import Object, accept
from isac.stix.observables import Observable, recognize

NOTHING = Facts()


def said(text: str, facts: Facts = NOTHING) -> set[str]:
    """The rules that hold a value back; a refusal with an exclamation mark."""
    return {
        each.rule + ("!" if each.verdict == "refuse" else "")
        for each in of_value(recognize(text), facts)
        if each.verdict != "note"
    }


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("0.0.0.0/0", {"too wide!"}),
        ("::/0", {"too wide!"}),
        ("11.0.0.0/7", {"too wide!"}),
        ("2001::/15", {"too wide!"}),
        ("11.0.0.0/8", {"too wide"}),
        ("11.0.0.0/15", {"too wide"}),
        ("11.0.0.0/16", set()),
        ("2a00::/31", {"too wide"}),
        ("2a00:1450::/32", set()),
        ("10.0.0.1", {"reserved"}),
        ("::ffff:10.0.0.1", {"reserved"}),
        ("10.1.0.0/16", {"reserved"}),
        ("172.16.0.1", {"reserved"}),
        ("172.32.0.1", set()),
        ("192.168.7.0/24", {"reserved"}),
        ("192.169.0.1", set()),
        ("100.64.0.1", {"reserved"}),
        ("100.63.255.255", set()),
        ("169.254.1.1", {"reserved"}),
        ("127.0.0.1", {"reserved"}),
        ("0.0.0.0", {"reserved"}),
        ("224.0.0.1", {"reserved"}),
        ("239.255.255.250", {"reserved"}),
        ("240.0.0.1", {"reserved"}),
        ("255.255.255.255", {"reserved"}),
        ("198.18.0.1", {"reserved"}),
        ("::", {"reserved"}),
        ("::1", {"reserved"}),
        ("fe80::1", {"reserved"}),
        ("fd00::1", {"reserved"}),
        ("ff02::1", {"reserved"}),
        ("2001::1", {"reserved"}),
        ("2002:a00:1::1", {"reserved"}),
        ("64:ff9b::a00:1", {"reserved"}),
        ("4000::1", {"reserved"}),
        ("2600:1f18::1", set()),
        # samples' own, which another rule judges
        ("192.0.2.7", set()),
        ("198.51.100.0/24", set()),
        ("2001:db8::1", set()),
        ("co.uk", {"public suffix"}),
        ("CO.UK.", {"public suffix"}),
        ("city.oh.us", set()),
        ("netlify.app", {"shared host"}),
        ("a-page.netlify.app", set()),
        ("https://netlify.app/", set()),
        ("xn--55qx5d.cn", {"public suffix"}),
        ("公司.cn", {"public suffix"}),
        ("elm-county.gov", {"portal"}),
        ("army.mil", {"portal"}),
        ("sos.state.oh.us", {"portal"}),
        ("state.oh.us", {"portal"}),
        ("co.elm.oh.us", {"portal"}),
        ("https://vote.elm-county.gov/login", {"portal"}),
        ("clerk@elm-county.gov", {"portal"}),
        ("elm-county.gov.evil.test", set()),
        ("elm-county-gov.test", set()),
        ("http://10.0.0.1/a", {"reserved"}),
        ("http://[::1]:8080/a", {"reserved"}),
        ("http://0x7f.1/", {"reserved"}),
        ("http://localhost/a", {"reserved"}),
        ("http://192.0.2.1/a", set()),
        ("abuse@evil.test", {"warninglist"}),
        ("mallory@evil.test", set()),
        ("d41d8cd98f00b204e9800998ecf8427e", set()),
        ("AS64496", set()),
    ],
)
def test_a_value_by_itself(text: str, rules: set[str]) -> None:
    assert said(text) == rules


def on(name: str, how: How = "same", entry: str = "x.test", by_host: bool = False) -> Listed:
    return Listed(name, f"The list {name}", how, entry, by_host)


@pytest.mark.parametrize(
    ("text", "listed", "rules"),
    [
        ("9.9.9.9", on("isac-resolvers", entry="9.9.9.9"), {"warninglist"}),
        ("http://9.9.9.9/dns", on("isac-resolvers", entry="9.9.9.9", by_host=True), {"warninglist"}),
        ("9.9.9.0/24", on("isac-resolvers", "around", "9.9.9.9"), {"warninglist"}),
        ("github.com", on("isac-shared-hosts", entry="github.com"), {"shared host"}),
        ("https://github.com/a/b", on("isac-shared-hosts", entry="github.com", by_host=True), set()),
        ("www.github.com", on("isac-shared-hosts", "inside", "github.com"), {"shared host"}),
        ("a.github.com", on("isac-shared-hosts", "inside", "github.com"), set()),
        ("x.test", on("tranco"), {"warninglist"}),
        ("a.x.test", on("tranco", "inside"), set()),
        ("https://x.test/a", on("tranco", by_host=True), set()),
        ("test.test", on("tranco", "around", "a.test.test"), {"warninglist"}),
        ("x.test", on("a-list-of-somebody"), {"warninglist"}),
        ("a.x.test", on("a-list-of-somebody", "inside"), {"warninglist"}),
        ("https://x.test/a", on("a-list-of-somebody", by_host=True), set()),
        ("https://x.test/a", on("a-list-of-somebody", entry="https://x.test/a"), {"warninglist"}),
        ("https://x.test/a", on("isac-portals", by_host=True), {"portal"}),
        ("52.95.0.1", on("amazon-aws", "inside", "52.95.0.0/16"), set()),
        ("52.95.0.0/24", on("amazon-aws", "inside", "52.95.0.0/16"), {"warninglist"}),
        ("52.95.0.1", on("shodan-nt-scanning"), set()),
        ("192.0.2.1", on("rfc5735", "inside", "192.0.2.0/24"), set()),
    ],
)
def test_a_value_on_a_list(text: str, listed: Listed, rules: set[str]) -> None:
    assert said(text, Facts(listed={recognize(text): [listed]})) == rules


def test_what_holds_nothing_is_a_note() -> None:
    value = recognize("52.95.0.1")
    (note,) = of_value(value, Facts(listed={value: [on("amazon-aws", "inside", "52.95.0.0/16")]}))

    assert note.verdict == "note"
    assert note.reason == "52.95.0.1 belongs to 52.95.0.0/16, which stands on the warninglist «The list amazon-aws»."


def test_many_lists_are_one_sentence() -> None:
    value = recognize("x.test")
    (found,) = of_value(value, Facts(listed={value: [on(name) for name in ("a", "b", "c", "d")]}))

    assert found.reason == "x.test stands on the warninglist «The list a», on «The list b» and on 2 more."


@pytest.mark.parametrize(
    ("text", "owned"),
    [
        ("elm-county.test", Owned("same", "elm-county.test")),
        ("vote.elm-county.test", Owned("inside", "elm-county.test")),
        ("elm.test", Owned("around", "vote.elm.test")),
        ("https://elm-county.test/login", Owned("same", "elm-county.test", by_host=True)),
        ("clerk@elm-county.test", Owned("same", "elm-county.test", by_host=True)),
        ("51.10.1.7", Owned("inside", "51.10.1.0/24")),
        ("51.10.0.0/20", Owned("around", "51.10.1.0/24")),
    ],
)
def test_what_is_a_member_s_own_is_held_and_not_told_to_others(text: str, owned: Owned) -> None:
    value = recognize(text)
    findings = of_value(value, Facts(owned={value: [owned]}))

    assert [(each.verdict, each.rule, each.private) for each in findings] == [("hold", "own goal", True)]
    assert owned.entry in findings[0].reason
    held = verdict(findings, told=False)
    assert isinstance(held, Hold)
    assert held.rule == "own goal"
    told = verdict(findings, told=True)
    assert told == Hold("review", "An analyst has to look at this object before it can be released.")


def test_a_decision_to_let_a_value_pass_lifts_what_holds_it() -> None:
    value = recognize("x.test")
    facts = Facts(listed={value: [on("tranco")]}, judged={value: Judgement("pass", "it was taken over")})

    assert [each.verdict for each in of_value(value, facts)] == ["note"]


def test_a_decision_does_not_let_the_whole_internet_pass() -> None:
    value = recognize("0.0.0.0/0")

    assert [each.verdict for each in of_value(value, Facts(judged={value: Judgement("pass", "")}))] == ["refuse"]


@pytest.mark.parametrize(("decided", "kind"), [("hold", Hold), ("refuse", Refusal)])
def test_a_decision_against_a_value_holds_at_its_next_arrival(decided: str, kind: type) -> None:
    value = recognize("x.test")
    judged = Judgement("hold" if decided == "hold" else "refuse", "we know its owner")
    found = of_value(value, Facts(judged={value: judged}))

    assert [(each.verdict, each.rule) for each in found] == [(decided, "decided")]
    for told in (False, True):
        outcome = verdict(found, told=told)
        assert outcome is not None
        assert isinstance(outcome, kind)
        assert ("we know its owner" in outcome.reason) is not told


# --------------------------------------------------------------------------------------------------- whole objects


def indicator(pattern: str) -> Object:
    body = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": "indicator--00000000-0000-4000-8000-000000000001",
        "created": "2026-01-01T00:00:00.000Z",
        "modified": "2026-01-01T00:00:00.000Z",
        "valid_from": "2026-01-01T00:00:00Z",
        "pattern_type": "stix",
        "pattern": pattern,
    }
    return accept(orjson.dumps(body))


@pytest.mark.parametrize("joint", ["AND", "OR"])
def test_one_poisoned_value_holds_a_longer_pattern(joint: str) -> None:
    seen = indicator(f"[domain-name:value = 'evil.test' {joint} ipv4-addr:value = '10.0.0.1']")
    found = judge(seen, NOTHING)

    assert [(each.verdict, each.rule, each.field, each.value) for each in found] == [
        ("hold", "reserved", "pattern", "10.0.0.1")
    ]


def test_the_whole_internet_is_refused_alone_and_held_in_company() -> None:
    alone = indicator("[ipv4-addr:value = '0.0.0.0/0']")
    company = indicator("[ipv4-addr:value = '0.0.0.0/0' AND domain-name:value = 'evil.test']")

    assert isinstance(verdict(judge(alone, NOTHING), told=True), Refusal)
    assert isinstance(verdict(judge(company, NOTHING), told=True), Hold)


@pytest.mark.parametrize("word", ["com", ".", "com.", "localhost", "gov"])
def test_a_domain_of_one_word_is_held(word: str) -> None:
    seen = indicator(f"[domain-name:value = '{word}']")

    assert [(each.verdict, each.rule) for each in judge(seen, NOTHING)] == [("hold", "public suffix")]


def test_an_observable_says_the_property_that_names_it() -> None:
    raw = {"type": "domain-name", "spec_version": "2.1", "id": "domain-name--3c10e93f-798e-5a26-a0c1-08156efab7f5"}
    found = judge(accept(orjson.dumps({**raw, "value": "co.uk"})), NOTHING)

    assert [(each.field, each.rule) for each in found] == [("value", "public suffix")]


def test_all_findings_are_kept_and_the_strictest_decides() -> None:
    seen = indicator("[ipv4-addr:value = '10.0.0.1' OR ipv4-addr:value = '0.0.0.0/0' OR domain-name:value = 'co.uk']")
    found = judge(seen, NOTHING)

    assert [each.rule for each in found] == ["too wide", "reserved", "public suffix"]
    outcome = verdict(found, told=False)
    assert isinstance(outcome, Refusal)
    assert "2 more" in outcome.reason


def test_nothing_found_is_accepted() -> None:
    assert verdict(judge(indicator("[domain-name:value = 'evil.test']"), NOTHING), told=True) is None
    assert verdict([Finding("note", "warninglist", "value", "x", "")], told=True) is None


def test_the_registrable_part_of_a_domain() -> None:
    assert places.registrable("www.elm-county.co.uk") == "elm-county.co.uk"
    assert places.registrable("a.page.netlify.app") == "page.netlify.app"
    assert places.registrable("co.uk") is None


def test_lists_that_nobody_described_hold_hosts() -> None:
    assert reach("a-list-of-somebody") is Reach.HOST
    assert reach("public-dns-v4") is Reach.ALL
    assert reach("tranco10k") is Reach.NAME


def test_hostile_values_are_judged_in_no_time() -> None:
    """Long values of the kinds that expressions look at: nothing here goes back and forth."""
    for text in ("co." * 80 + "us", "a." * 120 + "test", "x" * 60 + ".gov." * 30 + "test"):
        of_value(Observable("domain-name", text), NOTHING)
    for pattern in (
        "[domain-name:value = '" + "." * 3000 + "']",
        "[domain-name:value = 'a'" + " OR a:b = 'c'" * 90 + "]",
    ):
        judge(indicator(pattern), NOTHING)
