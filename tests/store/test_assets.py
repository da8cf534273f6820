"""The register of assets, and which of it a batch names: SQL against the slow and obvious way."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.store.register import Register, Run

from isac import times
from isac.errors import Conflict, Invalid, NotFound
from isac.policy import assets as policy
from isac.policy.assets import Asset, Seen
from isac.policy.organizations import Organization as NewOrganization
from isac.stix.observables import Observable, recognize
from isac.store import assets, members
from isac.store.assets import Organization
from isac.store.database import Pool


@pytest.fixture
def register(pool: Pool, run: Run) -> Register:
    return Register(pool, run)


ELM, OAK, OHIO, BIRCH, VENDOR = (
    "Elm County Clerk",
    "Oak County Clerk",
    "Ohio Board",
    "Birch County Clerk",
    "Example Vendor",
)


def test_registering_twice_changes_nothing(register: Register) -> None:
    assert register.add(ELM, "domain elmcounty.example", "network 192.0.2.0/24", "vendor Example Systems") == 3
    before = register.listed(ELM)

    assert register.add(ELM, "domain ELMcounty.example.", "network 192.0.2.9/24", "vendor Example Systems Inc") == 0
    assert register.listed(ELM) == before
    assert register.listed(OAK) == []


def test_what_was_removed_is_named_no_more_and_may_come_again(register: Register) -> None:
    register.add(ELM, "domain elmcounty.example", "network 192.0.2.0/24")
    register.remove(ELM, *[each.id for each in register.listed(ELM)])

    assert register.values("elmcounty.example", "elmc0unty.example", "192.0.2.1") == set()
    assert register.add(ELM, "domain elmcounty.example") == 1
    assert {match[4] for match in register.values("elmcounty.example", "elmc0unty.example")} == {"same", "letters"}


def test_only_its_owner_s_asset_is_removed_and_all_or_none(register: Register) -> None:
    register.add(ELM, "domain elmcounty.example")
    (mine,) = register.listed(ELM)
    for owner, ids in (
        (OAK, [mine.id]),
        (ELM, [mine.id, "x"]),
        (ELM, [mine.id, mine.id.replace(mine.id[:8], "0" * 8)]),
        (ELM, []),
    ):
        with pytest.raises(NotFound):
            register.remove(owner, *ids)

    assert register.listed(ELM) == [mine]


@pytest.mark.parametrize(
    "value",
    [
        "domain oakcounty.example",
        "domain vote.oakcounty.example",
        "network 198.51.100.128/25",
        "network 198.51.96.0/20",
        "network 2001:db8:1::/48",
    ],
)
def test_nobody_registers_what_another_organization_elsewhere_has(register: Register, value: str) -> None:
    register.add(OAK, "domain oakcounty.example", "network 198.51.100.0/24", "network 2001:db8::/32")

    for other in (ELM, BIRCH, VENDOR):
        with pytest.raises(Conflict, match="another organization"):
            register.add(other, "vendor Lantern Systems", value, trusted=False)
        assert register.listed(other) == []
    assert register.add(OHIO, value, trusted=False) == 1, "the State above it may"
    assert register.add(OAK, "domain a.vote.oakcounty.example", "network 198.51.100.130", trusted=False) == 2, (
        "and it below the State"
    )
    assert register.add(ELM, value) == 1, "and who the ISAC trusts"
    assert register.add(ELM, "domain oak-county.example", "vendor Lantern Systems", trusted=False) == 2, (
        "a look-alike is another"
    )


def test_there_is_an_end_to_it(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MOST", 2)
    register.add(ELM, "domain elmcounty.example", "network 192.0.2.0/24")

    with pytest.raises(Invalid, match="at most 2"):
        register.add(ELM, "vendor Example Systems")
    assert len(register.listed(ELM)) == 2


def test_each_is_found_by_whoever_owns_it_and_in_every_way(register: Register) -> None:
    register.add(
        ELM,
        "domain elmcounty.example",
        "network 192.0.2.0/24",
        "vendor Example Systems",
        "product Example Systems Poll Book",
    )
    register.add(OHIO, "domain vote.elmcounty.example", "network 192.0.2.0/25")
    elm, ohio = register.owners[ELM].pk, register.owners[OHIO].pk

    assert register.values("elmcounty.example") == {
        (0, "elmcounty.example", elm, "elmcounty.example", "same"),
        (0, "elmcounty.example", ohio, "vote.elmcounty.example", "above"),
    }
    assert {match[2:] for match in register.values("http://a.vote.elmcounty.example/x")} == {
        (elm, "elmcounty.example", "url"),
        (ohio, "vote.elmcounty.example", "url"),
    }
    assert {match[2:] for match in register.values("192.0.2.200")} == {(elm, "192.0.2.0/24", "inside")}
    assert {match[2:] for match in register.values("192.0.0.0/18")} == {
        (elm, "192.0.2.0/24", "around"),
        (ohio, "192.0.2.0/25", "around"),
    }
    assert register.values("192.0.0.0/12") == set(), "so wide a network says nothing of one member"
    assert {match[2:] for match in register.values("elmcountty.example")} == {(elm, "elmcounty.example", "typo")}
    looked = Seen((Observable("cve", "CVE-2026-10000"),), "Example Systems Poll Book Overflow")
    assert {match[2:] for match in register.matches(Seen(), looked)} == {
        (elm, "example systems", "named"),
        (elm, "example systems poll book", "named"),
    }
    twice = Seen((recognize("elmcounty.example"), recognize("http://elmcounty.example/"), recognize("192.0.2.1")))
    assert len(register.matches(twice, twice)) == 10


LABELS = st.sampled_from(
    ["elmcounty", "elmc0unty", "elmcountty", "elm-county", "oakcounty", "voteoakcounty", "oakcountylogin", "a", "www"]
)
DOMAINS = st.builds(
    lambda labels, end: ".".join([*labels, end]),
    st.lists(LABELS, min_size=1, max_size=4),
    st.sampled_from(["example", "org", "oh.us"]),
)
NETWORKS = st.builds(
    lambda a, b, length: f"198.51.{a}.{b}/{length}",
    st.integers(100, 103),
    st.sampled_from([0, 1, 77, 128, 255]),
    st.integers(16, 32),
)
NETWORKS |= st.builds(lambda a, length: f"2001:db8:{a:x}::1/{length}", st.integers(0, 3), st.integers(32, 128))
PLACES = st.one_of(
    DOMAINS.map(lambda name: recognize(name, "domain")),
    NETWORKS.map(lambda network: recognize(network, "ip")),
    DOMAINS.map(lambda name: recognize(f"http://{name}/a", "url")),
    DOMAINS.map(lambda name: recognize(f"clerk@{name}", "email")),
    st.just(Observable("url", "http://198.51.101.77/a")),
)
ASSETS = st.one_of(
    DOMAINS.map(lambda name: Asset("domain", name)), NETWORKS.map(lambda text: policy.asset("network", text))
)


def test_the_register_finds_what_a_look_at_each_pair_finds(register: Register) -> None:
    names = [ELM, OAK, OHIO]

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.tuples(st.sampled_from(names), ASSETS), max_size=12),
        st.lists(st.lists(PLACES, max_size=3), max_size=6),
    )
    def check(owned: list[tuple[str, Asset]], objects: list[list[Observable]]) -> None:
        for name in names:
            ids = [each.id for each in register.listed(name)]
            if ids:
                register.remove(name, *ids)
        for name, asset in owned:
            register.add(name, f"{asset.kind} {asset.value}")
        slow = {
            (place, value.value, register.owners[name].pk, asset.value, how)
            for place, values in enumerate(objects)
            for value in values
            for name, asset in owned
            if (how := policy.meets(value, asset))
        }

        assert register.matches(*(Seen(tuple(dict.fromkeys(values))) for values in objects)) == slow

    check()


def test_two_thousand_values_among_thousands_of_assets_cost_little(register: Register) -> None:
    async def fill() -> None:
        async with register.pool.connection() as conn, conn.transaction():
            new = [NewOrganization("us-oh-39901", f"Office {n}", "member", "") for n in range(300)]
            for name, pk in (await members.add_organizations(conn, new)).items():
                n = int(name.split()[1])
                own = [Asset("domain", f"{word}office{n:03}.example") for word in ("", "vote", "clerk", "my")]
                own += [Asset("network", f"198.51.{n % 250}.{n // 250 * 128}/25"), Asset("vendor", f"vendor {n}")]
                await assets.register(
                    conn, Organization(pk, name, name, None, ()), own, "test", times.now(), trusted=True
                )

    register.run(fill())
    looked = [Seen((Observable("domain-name", f"host{n}.site{n}.example"),)) for n in range(1990)]
    looked += [Seen((Observable("domain-name", f"off1ce{n:03}.example"),)) for n in range(10)]

    async def match() -> tuple[int, float]:
        async with register.pool.connection() as conn:
            began = time.thread_time()
            found = await assets.matching(conn, looked)
            spent = time.thread_time() - began
            plan = await (await conn.execute("EXPLAIN " + assets._MATCHING, ("{1}", "{1}", "{192.0.2.1}"))).fetchall()
        assert not any("Seq Scan" in line for (line,) in plan), plan
        return len({each.place for each in found}), spent

    found, seconds = register.run(match())
    assert found == 10
    assert seconds < 0.4, "ours alone: 0.05 s where nobody else is at work"
