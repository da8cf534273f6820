"""Random histories of deeds, done to the model and to a World alike: rules 1–7.

`check_log(make_world, run)` is the test: `make_world` gives a fresh, empty World for each history, `run` drives its
coroutines (`asyncio.Runner().run`). ISAC_TEST_EXAMPLES and ISAC_TEST_STEPS, or arguments, set how much is tried.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from tests.store.places import PLACES
from tests.store.words import CLERK, FEED, ISAC, Grant, Key, Line, Seen, Tlp
from tests.store.world import ModelWorld, NoSuchCollection, World

T = TypeVar("T")


class Run(Protocol):
    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


MakeWorld = Callable[[], Coroutine[Any, Any, World]]

KEYS = [Key(f"indicator--00000000-0000-4000-8000-00000000000{n}", who) for n in (1, 2) for who in (ISAC, "va", "vb")]
AUDIENCES = [place.name for place in PLACES]
#: a leaf that moves → where to; the second exists already, so the first is merged into it
MOVES = [("us-oh-39049", "us-tx-48999", "us-tx"), ("us-oh-39049", "us-oh-39035", "us-oh")]

#: few of them in each history, so that its deeds meet
keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True)
audiences = st.lists(st.sampled_from(AUDIENCES), min_size=3, max_size=6, unique=True)
tlps: st.SearchStrategy[Tlp] = st.sampled_from(
    ["clear", "clear", "clear", "green", "green", "green", "amber", "amber+strict", "red"]
)
#: releases have odd numbers and revocations even ones, so that no two contents meet under one `modified`
modified = st.sampled_from([1, 3, 5, 7, 9])
revoked_modified = st.sampled_from([4, 8, 10])


@dataclass(frozen=True)
class Past:
    """What a position of the log showed when it was the newest, or was passed on the way there."""

    position: int
    collection: str
    default: list[Seen]
    history: list[Seen]


class LogMachine(RuleBasedStateMachine):
    def __init__(self, make_world: MakeWorld, run: Run, *, verdicts: bool, moves: bool) -> None:
        super().__init__()
        self.run, self.verdicts, self.moves = run, verdicts, moves
        self.oracle = ModelWorld()
        self.world = run(make_world())
        self.model = self.oracle.model
        self.tlps: dict[tuple[Key, int], Tlp] = {}
        self.keys, self.audiences = KEYS, AUDIENCES
        self.clock = 100
        self.position = run(self.world.position())
        self.shown: dict[str, list[Seen]] = {name: [] for name in AUDIENCES}
        self.past: list[list[Past]] = []

    @initialize(keys=keys, audiences=audiences)
    def choose(self, keys: list[Key], audiences: list[str]) -> None:
        self.keys, self.audiences = keys, audiences

    # ---- giving

    @rule(number=modified, tlp=tlps, data=st.data())
    def release(self, number: int, tlp: Tlp, data: st.DataObject) -> None:
        self.post(self.some_key(data), number, tlp, self.some_audience(data), data)

    @precondition(lambda self: self.model.grants)
    @rule(number=modified, tlp=tlps, data=st.data())
    def release_where_it_stands(self, number: int, tlp: Tlp, data: st.DataObject) -> None:
        grant = self.some_grant(data)
        self.post(grant.key, number, tlp, grant.audience, data)

    def post(self, key: Key, number: int, tlp: Tlp, audience: str, data: st.DataObject) -> None:
        posters = [ISAC, ISAC, ISAC, FEED, FEED, CLERK + audience, *self.model.path(audience)]
        poster = data.draw(st.sampled_from(posters), label="poster")
        self.do("release", *key, number, self.tlps.setdefault((key, number), tlp), audience, poster)

    @rule(number=revoked_modified, tlp=tlps, data=st.data())
    def release_revoked(self, number: int, tlp: Tlp, data: st.DataObject) -> None:
        key, audience = self.some_key(data), self.some_audience(data)
        poster = data.draw(st.sampled_from([ISAC, FEED, CLERK + audience]), label="poster")
        self.do("release_revoked", *key, number, self.tlps.setdefault((key, number), tlp), audience, poster)

    @precondition(lambda self: self.model.grants)
    @rule(data=st.data())
    def widen(self, data: st.DataObject) -> None:
        grant = self.some_grant(data)
        to = data.draw(st.sampled_from(self.model.path(grant.audience)), label="to")
        self.do("widen", *grant.key, to)

    # ---- taking away

    @precondition(lambda self: self.model.grants)
    @rule(data=st.data())
    def narrow(self, data: st.DataObject) -> None:
        grant = self.some_grant(data)
        below = [name for name in self.model.places if self.model.is_narrower(name, grant.audience)]
        to = data.draw(st.sampled_from(below or list(self.model.places)), label="to")
        self.do("narrow", *grant.key, grant.audience, to)

    @precondition(lambda self: self.model.grants)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        grant = self.some_grant(data)
        self.clock += 1
        self.do("withdraw", *grant.key, grant.audience, self.clock)

    @precondition(lambda self: self.model.grants)
    @rule(number=revoked_modified, tlp=tlps, data=st.data())
    def revoke(self, number: int, tlp: Tlp, data: st.DataObject) -> None:
        grant = self.some_grant(data)
        poster = data.draw(st.sampled_from([grant.key.producer, ISAC, "us", "us-oh"]), label="poster")
        marked = self.tlps.setdefault((grant.key, number), tlp)
        self.do("revoke", *grant.key, number, marked, poster)

    @precondition(lambda self: self.model.versions)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.versions)), label="key")
        self.do("expire", *key)

    @precondition(lambda self: self.model.grants)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        grant = self.some_grant(data)
        self.do("delete", *grant.key, grant.audience)

    @precondition(lambda self: self.model.grants)
    @rule(data=st.data())
    def delete_version(self, data: st.DataObject) -> None:
        grant = self.some_grant(data)
        number = data.draw(st.sampled_from(sorted(self.model.versions[grant.key])), label="version")
        self.do("delete_version", *grant.key, number, grant.audience)

    @rule()
    def expire_notices(self) -> None:
        self.do("expire_notices")

    @precondition(lambda self: self.model.versions)
    @rule(data=st.data(), wanted=st.sampled_from([True, False, False, False, False, False]))
    def erase(self, data: st.DataObject, wanted: bool) -> None:
        if wanted:
            self.do("erase", data.draw(st.sampled_from(sorted(self.model.versions)), label="key").stix_id)

    @precondition(lambda self: self.moves and MOVES[0][0] in self.model.places)
    @rule(move=st.sampled_from([None, None, None, None, None, *MOVES]))
    def move_node(self, move: tuple[str, str, str] | None) -> None:
        if move is not None:
            self.do("move_node", *move)

    # ---- deeds in the dark: mostly refused, and then nothing may have changed

    @rule(number=modified, data=st.data())
    def anything(self, number: int, data: st.DataObject) -> None:
        audience, other = self.some_audience(data), self.some_audience(data)
        self.clock += 1
        deeds: dict[str, tuple[str | int, ...]] = {
            "widen": (audience,),
            "narrow": (audience, other),
            "withdraw": (audience, self.clock),
            "delete": (audience,),
            "delete_version": (number, audience),
        }
        deed = data.draw(st.sampled_from(sorted(deeds)), label="deed")
        self.do(deed, *self.some_key(data), *deeds[deed])

    # ---- looking

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        deed = data.draw(st.integers(0, len(self.past) - 1), label="deed")
        self.run(self.compare_past(self.past[deed]))

    def teardown(self) -> None:
        try:
            self.run(self.compare_everything())
            for past in self.past[:: max(1, len(self.past) // 3)]:
                self.run(self.compare_past(past))
        finally:
            self.run(self.world.close())

    def some_grant(self, data: st.DataObject) -> Grant:
        return data.draw(st.sampled_from(self.model.grants), label="grant")

    def some_key(self, data: st.DataObject) -> Key:
        return data.draw(st.sampled_from(self.keys), label="key")

    def some_audience(self, data: st.DataObject) -> str:
        still = [name for name in self.audiences if name in self.model.places]
        return data.draw(st.sampled_from(still), label="audience")

    def do(self, deed: str, *values: str | int) -> None:
        self.run(self.do_to_both(deed, *values))

    async def do_to_both(self, deed: str, *values: str | int) -> None:
        expected = await getattr(self.oracle, deed)(*values)
        note(f"    {deed}{values}: {expected}")
        found = await getattr(self.world, deed)(*values)
        if self.verdicts:
            assert found == expected, f"the world says {found}, the model {expected}"
        self.model.check()
        await self.compare()

    async def compare(self) -> None:
        before, self.position = self.position, await self.world.position()
        past = []
        for collection in self.model.places:
            default = await self.world.default_view(collection)
            history = await self.world.history_view(collection)
            assert default == self.model.default_view(collection), f"default view of {collection}"
            assert history == self.model.history_view(collection), f"history of {collection}"
            # R1, R2: what a poller reads after his cursor is the end of the view; before it things only leave.
            news = await self.world.timeline(collection, before)
            new = [Seen(line.stix_id, line.producer, line.modified) for line in news if line.kind == "object"]
            if collection in self.shown:  # not yet where a node moved: that one is read from its start (F15)
                stayed = [seen for seen in self.shown[collection] if seen in default and seen not in new]
                assert default == stayed + new, f"a poller of {collection} misses something, or gets it out of order"
            self.shown[collection] = default
            past.append(Past(self.position, collection, default, history))
        # A prefix inside the deed is a view too; one collection in turn is enough.
        inside, turn = (before + self.position) // 2, list(self.model.places)[len(self.past) % len(self.model.places)]
        default = await self.world.default_at(inside, turn)
        past.append(Past(inside, turn, default, await self.world.history_at(inside, turn)))
        self.past.append(past)

    async def compare_past(self, past: list[Past]) -> None:
        for then in past:
            if then.collection in self.model.places:
                default = await self.world.default_at(then.position, then.collection)
                history = await self.world.history_at(then.position, then.collection)
                assert default == then.default, f"R2: the view of {then.collection} at {then.position} has changed"
                assert history == then.history, f"R2: the history of {then.collection} at {then.position} has changed"

    async def compare_everything(self) -> None:
        for collection in self.model.places:
            found: list[Line] = await self.world.timeline(collection, 0)
            assert found == self.model.timeline(collection), f"timeline of {collection}"
            notices = await self.world.notices_view(collection)
            assert notices == self.model.notices_view(collection), f"notices of {collection}"
            for key, versions in self.model.versions.items():
                for number in versions:
                    may = await self.world.may_read(collection, *key, number)
                    assert may == self.model.may_read(collection, key, number), f"R7: {collection}, {key}, {number}"
        assert await self.world.waiting() == await self.oracle.waiting(), "whose marking rules while it is held"
        for gone in set(AUDIENCES) - set(self.model.places):
            assert await self.world.standing(gone) == await self.oracle.standing(gone) == 0, f"nothing stands at {gone}"
            with pytest.raises(NoSuchCollection):
                await self.world.default_view(gone)


def check_log(
    make_world: MakeWorld,
    run: Run,
    *,
    examples: int | None = None,
    steps: int | None = None,
    verdicts: bool = True,
    moves: bool = True,
    shrink: bool = True,
) -> None:
    """Raise AssertionError with the shortest history in which the world and the model part.

    `verdicts=False` compares what is seen but not what is answered; `moves=False` leaves out nodes that move.
    """

    class Machine(LogMachine):
        def __init__(self) -> None:
            super().__init__(make_world, run, verdicts=verdicts, moves=moves)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples or int(os.environ.get("ISAC_TEST_EXAMPLES", "25")),
            stateful_step_count=steps or int(os.environ.get("ISAC_TEST_STEPS", "30")),
            deadline=None,
            # Shrinking a history on a real database takes longer than reading it.
            phases=list(Phase) if shrink else [Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


async def model_world() -> World:
    return ModelWorld()


WORLDS: dict[str, MakeWorld] = {"model": model_world}


@pytest.mark.parametrize("name", WORLDS)
def test_the_world_shows_what_the_model_shows(name: str) -> None:
    with asyncio.Runner() as runner:
        check_log(WORLDS[name], runner.run)
