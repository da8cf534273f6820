"""The model (model.py) against every directed case of the release log: an oracle has to be right before it judges."""

import asyncio

import pytest
from tests.store import log_events
from tests.store.log_cases import CASES, CHOICES
from tests.store.story import Story
from tests.store.world import ModelWorld


@pytest.mark.parametrize("name", [*log_events.CASES, *CHOICES])
def test_the_model_tells_the_case(name: str) -> None:
    async def tell() -> None:
        world = ModelWorld()
        await {**CASES, **CHOICES}[name](Story(world))
        await world.close()

    asyncio.run(tell())
