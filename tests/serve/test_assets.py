"""Assets and alerts over real HTTP: who registers what, and that an alert is its member's alone."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import psycopg
import pytest
import uvloop
from tests.conftest import PEOPLE, Person
from tests.serve.api_world import World, bundle, indicator, is_problem

from isac import times
from isac.policy.actors import Role
from isac.policy.assets import Seen
from isac.stix.markings import TLP
from isac.stix.observables import recognize
from isac.store import alerts, assets, database, members
from isac.store.alerts import Cause

TAXII = "application/taxii+json;version=2.1"
GREEN = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
ASSETS, ALERTS = "/api/v1/assets", "/api/v1/alerts"
#: who may manage Elm County's assets, and who may read its alerts, of all who have a key
MANAGERS = {"franklin_admin", "ohio_admin", "isac_steward"}
READERS = {"franklin_admin", "isac_steward"}


def code(world: World, name: str) -> str:
    ((found,),) = world.fetch(
        "SELECT a.code FROM organizations o JOIN audiences a ON a.pk = o.audience WHERE o.name = %s", PEOPLE[name][0]
    )
    return str(found)


def other_admin(world: World, name: str) -> httpx2.Client:
    """An admin of the same organization as that person."""
    if f"{name}_boss" not in world.people:

        async def make() -> Person:
            async with database.pool(world.url, size=1) as pool, pool.connection() as conn:
                pk = (await members.organizations(conn))[PEOPLE[name][0].lower()]
                (key,) = await members.create_keys(conn, {pk: Role.ADMIN}, "test", times.now())
                return Person(key.key_id, key.secret, "")

        world.people[f"{name}_boss"] = uvloop.run(make())
    return world.ask(f"{name}_boss")


def domain() -> str:
    """A name that nobody registered before, and that looks like no other."""
    return f"{uuid.uuid4().hex}.example"


def names(world: World, value: str, audience: str | None, tlp: TLP = TLP.GREEN, stix_id: str = "") -> int:
    """Let an object name a value, as the road does: how many alerts are new."""
    cause_id = stix_id or f"indicator--{uuid.uuid4()}"
    ((oak,),) = world.fetch("SELECT identity FROM organizations WHERE name = 'Oak County Clerk'")

    async def write() -> int:
        async with database.pool(world.url, size=1) as pool, pool.connection() as conn, conn.transaction():
            matches = await assets.matching(conn, [Seen(), Seen((recognize(value),))])
            own = [(await members.shelf(conn, audience)).own.pk] if audience else []
            cause = Cause(cause_id, "indicator", tlp, oak, own)
            return await alerts.write(conn, matches, {1: cause}, times.now())

    return uvloop.run(write())


@pytest.fixture
def elm(world: World) -> Iterator[str]:
    """A domain that Elm County registered; it is gone afterwards."""
    name = domain()
    answer = world.ask("franklin_admin").post(ASSETS, content=f"kind,value\ndomain,{name}\n")
    assert answer.json()["counts"] == {"total": 1, "added": 1, "known": 0}, answer.text
    yield name
    listed = world.ask("franklin_admin").get(ASSETS, params={"limit": 1000}).json()["assets"]
    for each in listed:
        assert world.ask("franklin_admin").delete(f"{ASSETS}/{each['id']}").status_code == 204


def values(world: World, **params: Any) -> list[str]:
    page = world.ask("franklin_admin").get(ASSETS, params=params).json()
    return [each["value"] for each in page["assets"]]


# -------------------------------------------------------------------------------------------------------------- assets


def test_they_are_registered_listed_page_by_page_and_removed(world: World, elm: str) -> None:
    http, more = world.ask("franklin_admin"), [domain(), domain()]
    records = [{"kind": "domain", "value": name.upper()} for name in more] + [{"kind": "domain", "value": elm}]
    assert http.post(ASSETS, json=records).json()["counts"] == {"total": 3, "added": 2, "known": 1}
    assert http.post(ASSETS, json=records).json()["counts"] == {"total": 3, "added": 0, "known": 3}

    page = http.get(ASSETS, params={"limit": 2}).json()
    rest = http.get(page["next"]).json()
    assert [each["value"] for each in page["assets"] + rest["assets"]] == [elm, *more]
    assert "next" not in rest
    assert page["assets"][0]["added_by"] == world.people["franklin_admin"].key_id
    assert http.delete(f"{ASSETS}/{page['assets'][0]['id']}").status_code == 204
    assert values(world) == more
    assert is_problem(http.delete(f"{ASSETS}/{page['assets'][0]['id']}"), 404)


def test_a_dry_run_registers_nothing(world: World, elm: str) -> None:
    before = world.rows()
    name = domain()
    told = world.ask("franklin_admin").post(
        ASSETS, params={"dry_run": "true"}, json=[{"kind": "domain", "value": name}]
    )

    assert (told.json()["dry_run"], told.json()["counts"]["added"]) == (True, 1)
    assert world.rows() == before


@pytest.mark.parametrize(
    ("content", "status", "detail"),
    [
        ("kind,value\ndomain,{new}\nnetwork,10.0.0.0/8\ndomain,github.io\n", 422, "line 3: «10.0.0.0/8» is a private"),
        (
            '[{{"kind": "domain", "value": "{new}"}}, {{"kind": "product", "value": "Word"}}]',
            422,
            "line 2: product «Word»",
        ),
        ('[{{"kind": "domain", "value": "{new}"}}, 7]', 422, "line 1: write a list"),
        ("value,kind,owner\n", 422, "line 1"),
        ("kind,value\ndomain,{new}\ndomain,github.com\n", 400, "github.com belongs to a service"),
        ('[{{"kind"', 400, "no JSON"),
        ("", 400, "nothing in the body"),
    ],
)
def test_all_or_nothing_is_registered(world: World, elm: str, content: str, status: int, detail: str) -> None:
    answer = world.ask("franklin_admin").post(ASSETS, content=content.format(new=domain()))

    assert is_problem(answer, status)
    assert detail in answer.json()["detail"]
    assert values(world) == [elm]


def test_another_county_s_domain_is_not_registered(world: World, elm: str) -> None:
    answer = other_admin(world, "oak").post(ASSETS, json=[{"kind": "domain", "value": f"vote.{elm}"}])

    assert is_problem(answer, 409)
    assert "Elm" not in answer.text
    assert world.ask("ohio_admin").post(ASSETS, json=[{"kind": "domain", "value": elm}]).status_code == 200


@pytest.mark.parametrize("name", [*PEOPLE, "oak_boss", "cook_boss", "stranger_boss"])
def test_only_who_manages_them_sees_and_changes_assets(world: World, elm: str, name: str) -> None:
    http = other_admin(world, name.removesuffix("_boss")) if name.endswith("_boss") else world.ask(name)
    params = {"organization": code(world, "franklin")}
    (mine,) = world.ask("franklin_admin").get(ASSETS).json()["assets"]
    new = domain()
    seen, made = (
        http.get(ASSETS, params=params),
        http.post(ASSETS, params=params, json=[{"kind": "domain", "value": new}]),
    )

    if name in MANAGERS:
        assert [each["value"] for each in seen.json()["assets"]] == [elm]
        assert made.json()["counts"]["added"] == 1
        assert values(world) == [elm, new]
        return
    status = 403 if name.startswith("franklin") else 404
    removed = [http.delete(f"{ASSETS}/{mine['id']}", params=params), http.delete(f"{ASSETS}/{mine['id']}")]
    assert [is_problem(answer, status) for answer in (seen, made, removed[0])] == [True] * 3
    assert removed[1].status_code in (403, 404)
    assert not any(elm in answer.text for answer in (seen, made, *removed))
    assert values(world) == [elm]


# -------------------------------------------------------------------------------------------------------------- alerts


def told(world: World, by: str = "franklin_admin", **params: Any) -> list[dict[str, Any]]:
    answer = world.ask(by).get(ALERTS, params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["alerts"]
    return found


def test_what_was_released_where_it_reads_is_told_with_its_id_source_and_audience(world: World, elm: str) -> None:
    stix_id = f"indicator--{uuid.uuid4()}"
    assert names(world, f"http://vote.{elm}/a", "us-oh", stix_id=stix_id) == 1

    alert = told(world)[0]
    assert alert["object"] == {"id": stix_id, "type": "indicator", "audience": "us-oh", "source": "Oak County Clerk"}
    assert (alert["asset"], alert["how"], alert["kind"]) == ({"kind": "domain", "value": elm}, "url", "url")
    assert alert["value"] == f"http://vote.{elm}/a"
    assert alert["what_happened"] == (
        f"http://vote.{elm}/a is the address of a page on your domain {elm}. It is named by an indicator of "
        f"Oak County Clerk that was released to us-oh: {stix_id}."
    )
    assert all(alert[text] for text in ("what_it_may_mean", "what_to_do_first"))
    assert world.ask("franklin_admin").get(f"{ALERTS}/{alert['id']}").json() == alert


def test_what_is_posted_is_told_at_once_to_its_owner_alone(world: World, elm: str) -> None:
    """Over the API and over TAXII; what is held as well, without its id."""
    other, vendor = other_admin(world, "oak"), f"Lantern {uuid.uuid4().hex}"
    assert other.post(ASSETS, json=[{"kind": "domain", "value": domain()}]).status_code == 200
    before = other.get(ALERTS).json()["alerts"]
    world.ask("franklin_admin").post(ASSETS, json=[{"kind": "vendor", "value": vendor}])
    released, held = (indicator(f"{name}.{elm}", object_marking_refs=[GREEN]) for name in ("released", "held"))
    held["object_marking_refs"] = [f"marking-definition--{uuid.uuid4()}"]
    weak = {
        **indicator(f"CVE-2026-10000 {vendor} Reader"),
        "type": "vulnerability",
        "id": f"vulnerability--{uuid.uuid4()}",
    }
    for odd in ("pattern", "pattern_type", "valid_from"):
        del weak[odd]

    assert world.post(bundle(released, held), "isac_steward", audience="us", sample="true").status_code == 202
    assert {(each["value"], each.get("object", {}).get("id")) for each in told(world)[:2]} == {
        (f"released.{elm}", released["id"]),
        (f"held.{elm}", None),
    }
    posted = world.ask("ohio_analyst").post(
        "/elections/collections/us-oh/objects/",
        content=json.dumps({"objects": [weak]}),
        headers={"Content-Type": TAXII, "Accept": TAXII},
    )
    assert posted.json()["success_count"] == 1, posted.text
    assert (told(world)[0]["value"], told(world)[0]["object"]["audience"]) == ("CVE-2026-10000", "us-oh")
    assert other.get(ALERTS).json()["alerts"] == before


@pytest.mark.parametrize("audience", [None, "us-oh-39902", "us-il", "org-of-oak"])
@pytest.mark.parametrize("tlp", list(TLP))
def test_of_what_it_may_not_read_it_learns_the_value_alone_and_of_strict_ones_not_even_that(
    world: World, elm: str, audience: str | None, tlp: TLP
) -> None:
    stix_id = f"indicator--{uuid.uuid4()}"
    assert names(world, f"clerk@{elm}", code(world, "oak") if audience == "org-of-oak" else audience, tlp, stix_id) == 1

    answer = world.ask("franklin_admin").get(ALERTS, params={"limit": 1})
    (alert,) = answer.json()["alerts"]
    assert alert["asset"]["value"] == elm
    assert "object" not in alert
    assert alert.get("value") == (f"clerk@{elm}" if tlp <= TLP.AMBER else None)
    hidden = [stix_id, "Oak", "us-il", "us-oh-39902", *([f"clerk@{elm}"] if tlp > TLP.AMBER else [])]
    assert not any(word in answer.text for word in hidden)


def test_a_second_run_of_the_same_repeats_nothing(world: World, elm: str) -> None:
    one, other = f"indicator--{uuid.uuid4()}", f"indicator--{uuid.uuid4()}"
    counts = [names(world, elm, "us", stix_id=stix_id) for stix_id in (one, one, other)]

    assert counts == [1, 0, 1]
    assert [alert["object"]["id"] for alert in told(world)[:2]] == [other, one]


def test_what_was_held_gains_its_id_when_it_is_released(world: World, elm: str) -> None:
    stix_id = f"indicator--{uuid.uuid4()}"
    assert names(world, elm, None, TLP.RED, stix_id) == 1
    before = told(world)[0]
    assert names(world, elm, code(world, "franklin"), TLP.RED, stix_id) == 0

    after = told(world)[0]
    assert ("value" in before, "object" in before) == (False, False)
    assert (after["id"], after["value"], after["object"]["id"]) == (before["id"], elm, stix_id)
    assert names(world, elm, None, TLP.RED, stix_id) == 0
    assert told(world)[0] == after, "what it read once it knows"


def test_an_alert_is_acknowledged_once_and_leaves_the_open_ones(world: World, elm: str) -> None:
    names(world, elm, "us")
    names(world, f"vote.{elm}", "us")
    http, (newest, older) = world.ask("franklin_admin"), told(world)[:2]
    done = http.post(f"{ALERTS}/{newest['id']}/acknowledgement", json={"note": "taken\n down"}).json()
    again = world.ask("isac_steward").post(
        f"{ALERTS}/{newest['id']}/acknowledgement", params={"organization": code(world, "franklin")}
    )

    assert done["acknowledged"]["note"] == "taken down"
    assert done["acknowledged"]["by"] == world.people["franklin_admin"].key_id
    assert again.json() == done
    assert told(world, open="true")[0] == older
    assert told(world)[:2] == [done, older]
    page = http.get(ALERTS, params={"limit": 1}).json()
    assert http.get(page["next"]).json()["alerts"] == [older]
    ((count,),) = world.fetch(
        "SELECT count(*) FROM audit WHERE action = 'acknowledge alert' AND subject = %s", done["id"]
    )
    assert count == 1


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"note": 1}', b'{"note": "a", "x": 1}', b"{", b'{"note": "' + b"a" * 2001 + b'"}']
)
def test_a_note_that_is_none_is_refused(world: World, elm: str, body: bytes) -> None:
    names(world, elm, "us")
    alert = told(world)[0]

    assert is_problem(world.ask("franklin_admin").post(f"{ALERTS}/{alert['id']}/acknowledgement", content=body), 400)
    assert told(world)[0] == alert


@pytest.mark.parametrize("name", [*PEOPLE, "oak_boss", "cook_boss", "ohio_boss", "stranger_boss"])
def test_nobody_else_ever_sees_an_alert(world: World, elm: str, name: str) -> None:
    http = other_admin(world, name.removesuffix("_boss")) if name.endswith("_boss") else world.ask(name)
    names(world, elm, "us")
    alert = told(world)[0]
    ways: list[Callable[..., httpx2.Response]] = [
        lambda **more: http.get(ALERTS, **more),
        lambda **more: http.get(f"{ALERTS}/{alert['id']}", **more),
        lambda **more: http.get(ALERTS, params={"before": alert["id"], **more.get("params", {})}),
        lambda **more: http.post(f"{ALERTS}/{alert['id']}/acknowledgement", **more),
    ]
    answers = [way(params={"organization": code(world, "franklin")}) for way in ways]

    if name in READERS:
        assert [answer.status_code for answer in answers] == [200] * 4
        return
    status = 403 if name.startswith("franklin") else 404
    assert [is_problem(answer, status) for answer in answers] == [True] * 4
    answers += [way() for way in ways]
    assert not any(text in answer.text for answer in answers for text in (elm, alert["id"], "Elm County"))
    assert told(world)[0] == alert


def test_a_steward_s_look_leaves_a_line_in_the_audit(world: World, elm: str) -> None:
    looks = "SELECT count(*) FROM audit WHERE action = %s AND subject = %s AND actor = %s"
    who = (code(world, "franklin"), world.people["isac_steward"].key_id)
    before = [world.fetch(looks, action, *who)[0][0] for action in ("look at alerts", "look at assets")]
    told(world, "isac_steward", organization=who[0])
    world.ask("isac_steward").get(ASSETS, params={"organization": who[0]})
    told(world)

    after = [world.fetch(looks, action, *who)[0][0] for action in ("look at alerts", "look at assets")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]


def test_an_alert_outlives_its_asset_and_a_rollback_leaves_none(world: World, elm: str) -> None:
    names(world, elm, "us")
    alert = told(world)[0]
    (mine,) = world.ask("franklin_admin").get(ASSETS).json()["assets"]
    world.ask("franklin_admin").delete(f"{ASSETS}/{mine['id']}")

    assert told(world)[0] == alert
    assert names(world, elm, "us") == 0
    with psycopg.connect(database.conninfo(world.url)) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("DELETE FROM alerts")
