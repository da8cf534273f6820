"""Directed cases of the release log, told over an abstract World: log-cases.md F1 … F29 and the table of design.md §3.

Each case is a function of a `Story`; expected views stand in it by hand, and every collection that an expectation does not
name must be empty. `CASES` follow from the text; `CHOICES` are readings where the text leaves room (each says which).

Not here, because a store of one quiet process cannot show them: F12 and F26 (tokens, poll log), F13 (stamps), F14 (future
`modified`), F18 and F30 (intake), F22, F23 (failover, replica), F27 (two roots), F28 (erase).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tests.store.model import ISAC, PLACES, Line, Seen, Tlp, Verdict
from tests.store.world import NoSuchCollection, World

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
type_of_seen = Mapping[tuple[str, ...], list[Seen]]
type_of_lines = Mapping[tuple[str, ...], list[Line]]
type_of_ids = Mapping[tuple[str, ...], list[str]]


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

    async def delete(
        self, audience: str, *, of: str = VENDOR, stix_id: str = X, answer: Verdict = "accept"
    ) -> None:
        said = await self.world.delete(stix_id, of, audience)
        assert said == answer, f"delete at {audience}: {said}, not {answer}"

    async def delete_version(
        self, modified: int, audience: str, *, of: str = VENDOR, answer: Verdict = "accept"
    ) -> None:
        said = await self.world.delete_version(X, of, modified, audience)
        assert said == answer, f"delete of {modified} at {audience}: {said}, not {answer}"

    async def default(self, expected: type_of_seen) -> None:
        for collection in COLLECTIONS:
            found = await self.world.default_view(collection)
            assert found == named(expected, collection), f"default view of {collection}: {found}"

    async def history(self, expected: type_of_seen) -> None:
        for collection in COLLECTIONS:
            found = await self.world.history_view(collection)
            assert found == named(expected, collection), f"history of {collection}: {found}"

    async def notices(self, expected: type_of_ids) -> None:
        for collection in COLLECTIONS:
            found = await self.world.notices_view(collection)
            assert found == named(expected, collection), f"notices of {collection}: {found}"

    async def timeline(self, expected: type_of_lines, after: int = 0) -> None:
        for collection in COLLECTIONS:
            found = await self.world.timeline(collection, after)
            assert found == named(expected, collection), f"timeline of {collection} after {after}: {found}"


def named[T](expected: Mapping[tuple[str, ...], list[T]], collection: str) -> list[T]:
    found = [value for names, value in expected.items() if collection in names]
    return found[-1] if found else []


Case = Callable[[Story], Awaitable[None]]
CASES: dict[str, Case] = {}
CHOICES: dict[str, Case] = {}


def case(told: Case) -> Case:
    CASES[getattr(told, "__name__", "")] = told
    return told


def choice(told: Case) -> Case:
    CHOICES[getattr(told, "__name__", "")] = told
    return told
