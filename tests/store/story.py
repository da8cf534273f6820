"""How a case of the log is told: short deeds over a World, their answers checked, and views expected by collection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from tests.store.places import PLACES
from tests.store.words import ISAC, Line, Seen, Tlp, Verdict
from tests.store.world import World

X = "indicator--00000000-0000-4000-8000-000000000001"
Y = "indicator--00000000-0000-4000-8000-000000000002"
#: an SCO: its id names a value, so several producers have it
SCO = "ipv4-addr--28bb3599-77cd-5a82-a950-b5bc3caf07c4"
VENDOR = "vendor"
FIRST, SECOND = "vendor-a", "vendor-b"

PUBLIC = ("public",)
US = ("us",)
FRANKLIN = ("us-oh-39049",)
OHIO = ("us-oh", "us-oh-39049", "us-oh-39035")
TEXAS = ("us-tx", "us-tx-48201")
NATION = ("us", *OHIO, *TEXAS)
EVERY_NODE = ("public", *NATION)
GROUP = ("group-g",)
OPEN_GROUP = ("group-open",)
ORG_A = ("org-a",)
ORG_B = ("org-b",)
COLLECTIONS = tuple(place.name for place in PLACES)

#: collections → what they show; a later entry overrides an earlier one, an unnamed collection shows nothing
SeenBy = Mapping[tuple[str, ...], list[Seen]]
LinesBy = Mapping[tuple[str, ...], list[Line]]
IdsBy = Mapping[tuple[str, ...], list[str]]


def x(modified: int, producer: str = VENDOR, stix_id: str = X) -> Seen:
    return Seen(stix_id, producer, modified)


def put(modified: int, producer: str = VENDOR, stix_id: str = X) -> Line:
    return Line("object", stix_id, producer, modified)


def notice(stix_id: str = X) -> Line:
    return Line("notice", stix_id)


@dataclass(frozen=True)
class Story:
    """A World whose deeds have defaults and whose answers are checked at once."""

    world: World

    async def release(
        self,
        modified: int,
        audience: str,
        tlp: Tlp = "green",
        *,
        of: str = VENDOR,
        by: str = ISAC,
        stix_id: str = X,
        answer: Verdict = "accept",
    ) -> None:
        said = await self.world.release(stix_id, of, modified, tlp, audience, by)
        assert said == answer, f"release of {modified} at {audience} by {by}: {said}, not {answer}"

    async def release_revoked(
        self, modified: int, audience: str, *, of: str = VENDOR, by: str = ISAC, answer: Verdict = "accept"
    ) -> None:
        said = await self.world.release_revoked(X, of, modified, "green", audience, by)
        assert said == answer, f"release of the revoked {modified} at {audience} by {by}: {said}, not {answer}"

    async def widen(self, to: str, *, of: str = VENDOR, stix_id: str = X, answer: Verdict = "accept") -> None:
        said = await self.world.widen(stix_id, of, to)
        assert said == answer, f"widen to {to}: {said}, not {answer}"

    async def narrow(self, wide: str, narrow: str, *, of: str = VENDOR, answer: Verdict = "accept") -> None:
        said = await self.world.narrow(X, of, wide, narrow)
        assert said == answer, f"narrow {wide} to {narrow}: {said}, not {answer}"

    async def withdraw(
        self, audience: str, *, of: str = VENDOR, at: int = 99, stix_id: str = X, answer: Verdict = "accept"
    ) -> None:
        said = await self.world.withdraw(stix_id, of, audience, at)
        assert said == answer, f"withdraw at {audience}: {said}, not {answer}"

    async def revoke(
        self, modified: int, tlp: Tlp = "green", *, of: str = VENDOR, by: str = VENDOR, answer: Verdict = "accept"
    ) -> None:
        said = await self.world.revoke(X, of, modified, tlp, by)
        assert said == answer, f"revoke by {by}: {said}, not {answer}"

    async def expire(self, *, of: str = VENDOR, answer: Verdict = "accept") -> None:
        said = await self.world.expire(X, of)
        assert said == answer, f"expire: {said}, not {answer}"

    async def delete(self, audience: str, *, of: str = VENDOR, stix_id: str = X, answer: Verdict = "accept") -> None:
        said = await self.world.delete(stix_id, of, audience)
        assert said == answer, f"delete at {audience}: {said}, not {answer}"

    async def delete_version(
        self, modified: int, audience: str, *, of: str = VENDOR, answer: Verdict = "accept"
    ) -> None:
        said = await self.world.delete_version(X, of, modified, audience)
        assert said == answer, f"delete of {modified} at {audience}: {said}, not {answer}"

    async def default(self, expected: SeenBy) -> None:
        for collection in COLLECTIONS:
            found = await self.world.default_view(collection)
            assert found == named(expected, collection), f"default view of {collection}: {found}"

    async def history(self, expected: SeenBy) -> None:
        for collection in COLLECTIONS:
            found = await self.world.history_view(collection)
            assert found == named(expected, collection), f"history of {collection}: {found}"

    async def notices(self, expected: IdsBy) -> None:
        for collection in COLLECTIONS:
            found = await self.world.notices_view(collection)
            assert found == named(expected, collection), f"notices of {collection}: {found}"

    async def timeline(self, expected: LinesBy, after: int = 0) -> None:
        for collection in COLLECTIONS:
            found = await self.world.timeline(collection, after)
            assert found == named(expected, collection), f"timeline of {collection} after {after}: {found}"


T = TypeVar("T")


def named(expected: Mapping[tuple[str, ...], list[T]], collection: str) -> list[T]:
    found = [value for names, value in expected.items() if collection in names]
    return found[-1] if found else []
