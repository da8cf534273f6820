"""The release log of the real store: every directed case, and random histories against the model."""

import asyncio
import os
from collections.abc import Iterator

import psycopg
import pytest
import uvloop
from tests.store import log_events
from tests.store.log_cases import CASES, CHOICES
from tests.store.store_world import furnish, store_world
from tests.store.story import Story, X, Y
from tests.store.test_log_properties import check_log
from tests.store.words import ISAC

from isac.policy.release import Notice
from isac.store import database, facts, log, migrations
from isac.store.facts import By, Subject

#: a step compares all collections' views, so a few hundred take half a minute; set both higher for a long night
EXAMPLES = int(os.environ.get("ISAC_TEST_EXAMPLES", "8"))
STEPS = int(os.environ.get("ISAC_TEST_STEPS", "20"))


@pytest.fixture(scope="module")
def places(postgres: str) -> str:
    """A template database with the places of the model."""
    url = database.create(postgres, "template_places")
    migrations.migrate(url)
    uvloop.run(furnish(url))
    return "template_places"


@pytest.mark.taxii("A-33", "L-15")
@pytest.mark.parametrize("name", [*log_events.CASES, *CHOICES])
def test_the_store_tells_the_case(name: str, postgres: str, places: str) -> None:
    async def tell() -> None:
        world = await store_world(postgres, places)
        try:
            await {**CASES, **CHOICES}[name](Story(world))
        finally:
            await world.close()

    uvloop.run(tell())


def test_what_changes_nothing_leaves_no_line_in_the_audit(postgres: str, places: str) -> None:
    async def tell() -> None:
        world = await store_world(postgres, places)
        story, (producer, _, _) = Story(world), await facts.isac(world.conn)

        async def revoke() -> None:
            async with world.conn.transaction():
                await log.revoke(world.conn, Subject(X, producer), By("test", world.clock))

        async def lines() -> list[str]:
            return [action for (action,) in await facts.fetch(world.conn, "SELECT action FROM audit ORDER BY pk")]

        await story.release(1, "us-oh", of=ISAC)
        for _ in range(2):
            await story.widen("us", of=ISAC)
        assert await lines() == ["release"]
        await story.withdraw("us", of=ISAC)
        for at in (8, 9):
            await story.withdraw("us-oh", of=ISAC, at=at)
        await revoke()
        assert await lines() == ["release", "withdraw", "withdraw"]
        await story.release(1, "us-oh", of=ISAC, stix_id=Y)
        assert await world.move_node("us-oh-39049", "us-oh-39035", "us-oh") == "accept"
        assert await lines() == ["release", "withdraw", "withdraw"]
        await world.close()

    uvloop.run(tell())


def test_a_node_that_moves_ends_its_notices_without_comparing_them(
    postgres: str, places: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of them, compared with each other, would keep the log locked for seconds."""

    def compared(one: Notice, other: object) -> bool:
        raise AssertionError(f"{one} is compared with {other}")

    async def tell() -> None:
        world = await store_world(postgres, places)
        story = Story(world)
        for stix_id in (X, Y):
            await story.release(1, "us-oh-39049", stix_id=stix_id)
            await story.withdraw("us-oh-39049", stix_id=stix_id)
        monkeypatch.setattr(Notice, "__eq__", compared)
        assert await world.move_node("us-oh-39049", "us-oh-39035", "us-oh") == "accept"
        assert await world.standing("us-oh-39049") == 0
        await world.close()

    uvloop.run(tell())


@pytest.mark.slow
def test_the_store_shows_what_the_model_shows(postgres: str, places: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        check_log(
            lambda: store_world(postgres, places),
            runner.run,
            examples=EXAMPLES,
            steps=STEPS,
            verdicts=False,
            shrink=False,
        )


@pytest.fixture(autouse=True, scope="module")
def _worlds_go(postgres: str) -> Iterator[None]:
    yield
    with psycopg.connect(postgres, autocommit=True) as conn:
        for (name,) in conn.execute("SELECT datname FROM pg_database WHERE datname LIKE 'world_%'").fetchall():
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
