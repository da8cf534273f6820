"""The register of assets of one database, as tests use it."""

from collections.abc import Callable, Coroutine
from typing import Any

from isac import times
from isac.policy import assets as policy
from isac.policy.assets import Seen
from isac.stix.observables import recognize
from isac.store import assets
from isac.store.database import Pool

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Register:
    """The register of one database, as a test uses it."""

    def __init__(self, pool: Pool, run: Run) -> None:
        self.pool, self.run = pool, run
        self.owners = {owner.name: owner for owner in self.do(assets.by_code).values()}

    def do(self, work: Callable[..., Coroutine[Any, Any, Any]], *words: Any, **more: Any) -> Any:
        async def inside() -> Any:
            async with self.pool.connection() as conn, conn.transaction():
                return await work(conn, *words, **more)

        return self.run(inside())

    def add(self, name: str, *owned: str, trusted: bool = True) -> int:
        wanted = [policy.asset(*each.split(" ", 1)) for each in owned]
        return int(self.do(assets.register, self.owners[name], wanted, "test", times.now(), trusted=trusted))

    def listed(self, name: str) -> list[assets.Registered]:
        found: list[assets.Registered] = self.do(assets.listed, self.owners[name])
        return found

    def remove(self, name: str, *ids: str) -> None:
        self.do(assets.remove, self.owners[name], ids, "test", times.now())

    def matches(self, *looked: Seen) -> set[tuple[int, str, int, str, str]]:
        found = self.do(assets.matching, looked)
        told = [(each.place, each.observable.value, each.organization, each.asset.value, each.how) for each in found]
        assert len(told) == len(set(told))
        return set(told)

    def values(self, *values: str) -> set[tuple[int, str, int, str, str]]:
        return self.matches(*(Seen((recognize(value),)) for value in values))
