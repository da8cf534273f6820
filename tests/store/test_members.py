"""Members: organizations and keys by the thousand, what a key is worth, and who lists and reaches which collection."""

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.conftest import PEOPLE, Person
from tests.corpus import needs_corpus
from tests.policy.test_jurisdictions import eavs_2016

from isac import times
from isac.errors import NotFound
from isac.package_data import package_data
from isac.policy import jurisdictions
from isac.policy.actors import Fingerprint, Role, may_read
from isac.policy.organizations import Organization
from isac.store import database, facts, members
from isac.store.database import Connection, Pool
from isac.store.members import NewKey

Run = Callable[[Coroutine[Any, Any, Any]], Any]

LOCALS = ("us-oh-39901", "us-oh-39902", "us-il-17901")


# ------------------------------------------------------------------------------------------------- many at once, keys


def crowd(count: int) -> list[Organization]:
    return [
        Organization(LOCALS[n % 3], f"Clerk number {n}", "member", f"clerk{n}@county.example") for n in range(count)
    ]


async def enroll(pool: Pool, count: int, role: Role = Role.POLLER) -> list[NewKey]:
    async with pool.connection() as conn, conn.transaction():
        pks = await members.add_organizations(conn, crowd(count))
        return await members.create_keys(conn, dict.fromkeys(pks.values(), role), "test", times.now())


def test_1150_organizations_with_keys_come_in_one_transaction_in_seconds(pool: Pool, run: Run) -> None:
    began = time.perf_counter()
    keys = run(enroll(pool, 1150))
    seconds = time.perf_counter() - began

    assert len({key.key_id for key in keys}) == len({key.secret for key in keys}) == 1150
    assert {key.organization for key in keys} == {organization.name for organization in crowd(1150)}
    assert seconds < 5

    async def everybody() -> None:
        async with pool.connection() as conn:
            for key in keys:
                actor = await members.actor(conn, key.secret)
                assert actor is not None
                assert actor.key_id == key.key_id
            shelves = await facts.fetch(
                conn, "SELECT count(*), count(DISTINCT title) FROM collections WHERE alias ^@ 'org-'"
            )
            assert shelves[0][0] == shelves[0][1] >= 1150

    run(everybody())


def test_an_import_that_fails_leaves_nothing(pool: Pool, run: Run) -> None:
    async def twice() -> list[tuple[Any, ...]]:
        counted = (
            "SELECT (SELECT count(*) FROM organizations), (SELECT count(*) FROM audiences), count(*) FROM collections"
        )
        async with pool.connection() as conn:
            before = await facts.fetch(conn, counted)
            with pytest.raises(psycopg.errors.UniqueViolation):
                async with conn.transaction():
                    await members.add_organizations(
                        conn, [*crowd(3), Organization(None, "CLERK NUMBER 2", "vendor", "")]
                    )
            assert await facts.fetch(conn, counted) == before
            return before

    run(twice())


@pytest.mark.parametrize("role", list(Role))
def test_a_key_stands_for_its_organization_in_its_role(role: Role, pool: Pool, run: Run) -> None:
    async def ask() -> None:
        (key,) = await enroll(pool, 1, role)
        async with pool.connection() as conn:
            actor = await members.actor(conn, key.secret)
            assert actor is not None
            assert actor == await members.keyholder(conn, key.key_id)
            assert (actor.role, actor.key_id) == (role, key.key_id)
            known = await facts.fetch(
                conn,
                "SELECT pk, identity, audience, jurisdiction FROM organizations WHERE name = %s",
                (key.organization,),
            )
            assert known == [(actor.organization, actor.identity, actor.own, actor.home)]

    run(ask())


def test_a_revoked_key_is_nobodys(pool: Pool, run: Run) -> None:
    async def revoke() -> None:
        gone, stays = await enroll(pool, 2)
        async with pool.connection() as conn:
            await members.revoke_key(conn, gone.key_id, "test", times.now())
            assert await members.actor(conn, gone.secret) is None
            assert await members.actor(conn, stays.secret) is not None
            with pytest.raises(NotFound):
                await members.keyholder(conn, gone.key_id)
            with pytest.raises(NotFound):
                await members.revoke_key(conn, gone.key_id, "test", times.now())
            revoked = {key.key_id: key.revoked_at for key in await members.keys(conn)}
            assert revoked[gone.key_id] is not None
            assert revoked[stays.key_id] is None

    run(revoke())


def test_a_wrong_or_malformed_secret_is_nobodys(pool: Pool, run: Run) -> None:
    async def ask() -> None:
        one, other = await enroll(pool, 2)
        tail = one.secret.rpartition(one.key_id + "_")[2]
        wrong = [
            one.secret[:-1] + ("A" if one.secret[-1] != "A" else "B"),
            f"isac_{other.key_id}_{tail}",
            f"isac_{'z' * 8}_{tail}",
            one.secret + "A",
            one.secret + "\n",
            one.secret[:-1],
            " " + one.secret,
            one.secret.upper(),
            one.secret.replace("isac_", "ISAC_"),
            one.key_id,
            f"isac_{one.key_id}_" + "é" * 43,
            f"isac_{one.key_id}_' OR true --" + "A" * 30,
            "",
            "\x00",
            "isac_" * 10_000,
        ]
        async with pool.connection() as conn:
            for secret in wrong:
                assert await members.actor(conn, secret) is None, secret[:80]
            assert await members.actor(conn, one.secret) is not None

    run(ask())


def test_no_secret_is_stored(pool: Pool, database_url: str, run: Run) -> None:
    """Neither it nor its random half, as text, as bytes or inside a report, in any column of any table."""
    keys = run(enroll(pool, 3))
    texts = {key.secret for key in keys} | {key.secret[-43:] for key in keys}
    needles = [key.secret[-40:] for key in keys]
    assert all(re.fullmatch(r"isac_[a-z2-9]{8}_[A-Za-z0-9_-]{43}", key.secret) for key in keys)
    with psycopg.connect(database.conninfo(database_url, None), autocommit=True) as conn:
        tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'elections'").fetchall()
        assert len(tables) > 15
        for (table,) in tables:
            whole = sql.SQL("SELECT row_to_json(t)::text, t::text FROM {} t").format(sql.Identifier(table))
            for row in conn.execute(whole):
                for needle in [*texts, *needles]:
                    assert not any(needle in cell or needle.encode().hex() in cell for cell in row), table


# ---------------------------------------------------------------------------------------------- who lists and reaches


OWN = "its own"
GROUP = "its group"

#: person → aliases of what is listed for it, but for organizations' numbers
LISTED = {
    "franklin": {"us-oh-39901", OWN, GROUP},
    "franklin_submitter": {"us-oh-39901", OWN, GROUP},
    "franklin_admin": {"us-oh-39901", OWN, GROUP},
    "oak": {"us-oh-39902", OWN},
    "ohio": {"us-oh", OWN},
    "ohio_analyst": {"us-oh", OWN},
    "ohio_admin": {"us-oh", OWN},
    "cook": {"us-il-17901", OWN},
    "cook_submitter": {"us-il-17901", OWN},
    "isac_analyst": {"us", OWN},
    "isac_steward": {"us", OWN},
    "stranger": {"public", OWN, GROUP},
}
OHIO = {"us-oh-39901", "us-oh-39902"}
PLACES = {"public", "us", "us-oh", "us-il", "us-tx", *LOCALS}
#: person → nodes whose collections it reaches
REACHED = {
    "franklin": {"public", "us", "us-oh", "us-oh-39901"},
    "franklin_submitter": {"public", "us", "us-oh", "us-oh-39901"},
    "franklin_admin": {"public", "us", "us-oh", "us-oh-39901"},
    "oak": {"public", "us", "us-oh", "us-oh-39902"},
    "ohio": {"public", "us", "us-oh"},
    "ohio_analyst": {"public", "us", "us-oh", *OHIO},
    "ohio_admin": {"public", "us", "us-oh", *OHIO},
    "cook": {"public", "us", "us-il", "us-il-17901"},
    "cook_submitter": {"public", "us", "us-il", "us-il-17901"},
    "isac_analyst": PLACES,
    "isac_steward": PLACES,
    "stranger": {"public"},
}
GROUPED = {"franklin", "franklin_submitter", "franklin_admin", "stranger"}


async def group(conn: Connection) -> str:
    """A frozen group of Elm County and the vendor; answers its collection's alias."""
    names = await members.organizations(conn)
    pk = await members.add_group(
        conn, "Incident 7.a, Ohio", [names["elm county clerk"], names["example vendor"]], frozen=True
    )
    return f"group-{pk}"


def test_the_lists_are_for_everybody() -> None:
    assert LISTED.keys() == REACHED.keys() == PEOPLE.keys()


@pytest.mark.taxii("T-5", "A-6", "L-12")
@pytest.mark.parametrize("person", list(PEOPLE))
def test_who_lists_and_reaches_which_collection(person: str, people: dict[str, Person], pool: Pool, run: Run) -> None:
    async def ask() -> None:
        async with pool.connection() as conn:
            grouped = await group(conn)
            actor = await members.actor(conn, people[person].secret)
            assert actor is not None
            ((own,),) = await facts.fetch(conn, "SELECT code FROM audiences WHERE pk = %s", (actor.own,))
            names = {own: OWN, grouped: GROUP}
            listed = await members.collections(conn, actor)
            assert {names.get(each.alias, each.alias) for each in listed} == LISTED[person]
            assert [each.pk for each in listed] == sorted(each.pk for each in listed)
            everything = await facts.fetch(conn, "SELECT alias, id::text FROM collections")
            reached = {alias for alias, _ in everything if await reaches(conn, actor, alias)}
            assert reached == {alias for alias, public_id in everything if await reaches(conn, actor, public_id)}
            outside = {own} | ({grouped} if person in GROUPED else set())
            if person == "isac_steward":
                outside = {alias for alias, _ in everything} - PLACES
            assert reached == REACHED[person] | outside

    run(ask())


async def reaches(conn: Connection, actor: Any, reference: str) -> bool:
    try:
        found = await members.collection(conn, reference, actor)
    except NotFound:
        return False
    assert reference in (found.alias, found.id)
    # Whoever reaches a collection may read all that it shows.
    assert all(may_read(actor.scope, audience) for audience in found.audiences)
    return True


def test_a_collection_is_found_by_id_in_any_case_and_an_unknown_one_by_nobody(
    people: dict[str, Person], pool: Pool, run: Run
) -> None:
    async def ask() -> None:
        async with pool.connection() as conn:
            actor = await members.actor(conn, people["isac_steward"].secret)
            assert actor is not None
            shelf = await members.shelf(conn, "us-oh")
            assert await members.collection(conn, shelf.id.upper(), actor) == shelf
            for unknown in ("", "us-oh'", "00000000-0000-4000-8000-000000000000", "x" * 36, "us-oh-", "%"):
                with pytest.raises(NotFound):
                    await members.collection(conn, unknown, actor)

    run(ask())


@pytest.mark.taxii("L-11")
def test_a_title_holds_nothing_that_clients_split_at(pool: Pool, run: Run) -> None:
    async def ask() -> list[tuple[Any, ...]]:
        async with pool.connection() as conn:
            await group(conn)
            return await facts.fetch(conn, "SELECT title FROM collections WHERE title ~ '[.,]'")

    assert run(ask()) == []


def test_a_collection_shows_its_path_from_the_public_down(pool: Pool, run: Run) -> None:
    async def ask() -> list[str]:
        async with pool.connection() as conn:
            return [audience.code for audience in (await members.shelf(conn, "us-oh-39901")).audiences]

    assert run(ask()) == ["public", "us", "us-oh", "us-oh-39901"]


# -------------------------------------------------------------------------------------------------------- the rosters


@needs_corpus
def test_a_roster_of_6467_rows_is_imported_in_seconds_and_twice_changes_nothing(pool: Pool, run: Run) -> None:
    text = eavs_2016()
    shipped = jurisdictions.read((package_data("feeds") / "jurisdictions.csv").read_text("utf-8")).jurisdictions
    tables = ("audiences", "jurisdictions", "collections", "audit")
    state = " UNION ALL ".join(
        f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {name} t" for name in tables
    )

    async def load(roster: Any) -> jurisdictions.Differences:
        async with pool.connection() as conn, conn.transaction():
            return await members.import_jurisdictions(conn, roster, "test", times.now())

    async def look() -> tuple[dict[str, jurisdictions.Jurisdiction], list[tuple[Any, ...]]]:
        async with pool.connection() as conn:
            return await members.jurisdictions(conn), await facts.fetch(conn, state)

    run(load(shipped))
    known, _ = run(look())
    roster = jurisdictions.read(text, known)
    assert roster.problems == ()
    began = time.perf_counter()
    first = run(load(roster.jurisdictions))
    seconds = time.perf_counter() - began
    now, before = run(look())
    again = run(load(jurisdictions.read(text, now).jurisdictions))

    assert seconds < 10
    assert len(roster.jurisdictions) == 6467
    assert len(first.added) > 5000
    assert (again.added, again.changed) == ((), ())
    assert run(look()) == (now, before)
    assert all(each.code in now for each in roster.jurisdictions)
    assert all(now[code].parent == each.parent for code, each in known.items())


@needs_corpus
def test_every_imported_jurisdiction_has_an_audience_and_one_collection_of_its_path(pool: Pool, run: Run) -> None:
    async def ask() -> list[tuple[Any, ...]]:
        async with pool.connection() as conn:
            async with conn.transaction():
                shipped = jurisdictions.read((package_data("feeds") / "jurisdictions.csv").read_text("utf-8"))
                await members.import_jurisdictions(conn, shipped.jurisdictions, "test", times.now())
                roster = jurisdictions.read(eavs_2016(), await members.jurisdictions(conn)).jurisdictions
                await members.import_jurisdictions(conn, roster, "test", times.now())
            return await facts.fetch(
                conn,
                """SELECT j.code FROM jurisdictions j JOIN audiences a ON a.pk = j.audience
                   LEFT JOIN audiences p ON p.pk = coalesce(j.parent, (SELECT pk FROM audiences WHERE kind = 'public'))
                   LEFT JOIN collections c ON c.own = a.pk
                   WHERE c.pk IS NULL OR c.audiences <> a.above || a.pk OR c.alias <> j.code OR a.code <> j.code
                      OR a.above <> p.above || p.pk""",
            )

    assert run(ask()) == []


ELM = jurisdictions.Jurisdiction("us-tx-48901", "Elm County", "county", "us-tx", "48901", 1000)


async def bring(pool: Pool, *roster: jurisdictions.Jurisdiction) -> dict[str, jurisdictions.Jurisdiction]:
    async with pool.connection() as conn:
        async with conn.transaction():
            await members.import_jurisdictions(conn, roster, "test", times.now())
        return await members.jurisdictions(conn)


def test_an_import_changes_names_and_voters(pool: Pool, run: Run) -> None:
    run(bring(pool, ELM))
    renamed = dataclasses.replace(ELM, name="Oak County", registered_voters=2000)

    assert run(bring(pool, renamed))["us-tx-48901"] == renamed


def test_a_newcomer_may_bear_the_name_that_another_gave_up(pool: Pool, run: Run) -> None:
    run(bring(pool, ELM))
    newcomer = dataclasses.replace(ELM, code="us-tx-48902", fips="48902")

    assert run(bring(pool, dataclasses.replace(ELM, name="Oak County"), newcomer))["us-tx-48902"] == newcomer


def test_a_jurisdiction_may_be_called_as_an_organization_is(pool: Pool, run: Run) -> None:
    async def add() -> None:
        async with pool.connection() as conn, conn.transaction():
            await members.add_organizations(conn, [Organization(None, "Elm County - Texas", "vendor", "")])

    run(add())

    assert run(bring(pool, ELM))["us-tx-48901"] == ELM


def test_what_changes_of_a_key_is_in_the_audit_and_nothing_of_it_where_it_does_not_stand(
    pool: Pool, run: Run, people: dict[str, Person]
) -> None:
    key_id, gone = people["oak"].key_id, people["cook"].key_id
    certificates = {key_id: Fingerprint(b"\1" * 32), gone: Fingerprint(b"\2" * 32)}

    async def work() -> list[tuple[Any, ...]]:
        now = times.now()
        async with pool.connection() as conn:
            await members.revoke_key(conn, gone, "test", now)
            for key in (key_id, gone):
                with contextlib.suppress(NotFound):
                    await members.change_certificate(conn, key, certificates[key], "somebody", now)
                with contextlib.suppress(NotFound):
                    await members.change_empty_objects(conn, key, True, "somebody", now)
            await members.change_certificate(conn, key_id, None, "somebody", now)
            assert await members.actor(conn, certificates[key_id]) is None
            return await facts.fetch(
                conn, "SELECT action, subject, reason FROM audit WHERE actor = 'somebody' ORDER BY pk"
            )

    assert run(work()) == [
        ("change certificate", key_id, f"SHA-256 {'01' * 32}"),
        ("change empty objects", key_id, "on"),
        ("change certificate", key_id, "SHA-256 none"),
    ]
