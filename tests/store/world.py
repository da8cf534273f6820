"""The log as a test meets it: the deeds and the views of `World`, in plain values, and the model behind that face.

The cases (log_cases.py) and the state machine (test_log_properties.py) know nothing else, so they run against the model
and against the real store alike. Conventions of the plain values:

- audiences and collections are names out of `model.PLACES`; a collection bears the name of the last of its audiences;
- producer `isac` is ours; poster `isac` may release everywhere, a poster named as an audience there and below, any
  other name (a producer's own) nowhere; a poster named as the producer is the producer;
- poster `feed` may release everywhere, `clerk of` an audience there; neither of them decides anything;
- `modified` is a small whole number: a store maps it to an instant and back;
- a position is opaque: only the world that gave it can read it, and later ones are greater.
"""

from typing import Protocol

from tests.store.model import Model
from tests.store.words import Key, Line, Seen, Tlp, Verdict, Version


class NoSuchCollection(LookupError):
    """404: the collection's node is gone."""


class World(Protocol):
    """Deeds say accept, hold or refuse (403 and 404 are «refuse»); refuse leaves everything as it was."""

    async def release(
        self, stix_id: str, producer: str, modified: int, tlp: Tlp, audience: str, poster: str
    ) -> Verdict:
        """A version handed over for an audience: first, newer, late older, or known and asking for a further grant."""
        ...

    async def release_revoked(
        self, stix_id: str, producer: str, modified: int, tlp: Tlp, audience: str, poster: str
    ) -> Verdict:
        """A first version that is revoked already; «refuse» where it would not be the first."""
        ...

    async def widen(self, stix_id: str, producer: str, to: str) -> Verdict: ...

    async def narrow(self, stix_id: str, producer: str, wide: str, narrow: str) -> Verdict: ...

    async def withdraw(self, stix_id: str, producer: str, audience: str, at: int) -> Verdict:
        """`at`: the `modified` of the revoked version that goes out instead of the last grant of an object of ours."""
        ...

    async def revoke(self, stix_id: str, producer: str, modified: int, tlp: Tlp, poster: str) -> Verdict: ...

    async def expire(self, stix_id: str, producer: str) -> Verdict: ...

    async def delete(self, stix_id: str, producer: str, audience: str) -> Verdict: ...

    async def delete_version(self, stix_id: str, producer: str, modified: int, audience: str) -> Verdict: ...

    async def erase(self, stix_id: str) -> Verdict:
        """All of everybody's."""
        ...

    async def expire_notices(self) -> Verdict:
        """90 days have passed over every notice that stands."""
        ...

    async def move_node(self, old: str, new: str, parent: str) -> Verdict:
        """The leaf `old` becomes `new` below `parent`, or is merged into `new` where that exists."""
        ...

    async def position(self) -> int: ...

    async def default_view(self, collection: str) -> list[Seen]:
        """Objects only, in log order. This and every other view raises NoSuchCollection where the node is gone."""
        ...

    async def history_view(self, collection: str) -> list[Seen]:
        """match[version]=all: objects only, in log order."""
        ...

    async def notices_view(self, collection: str) -> list[str]:
        """The withdrawn ids, one for each notice that stands, in log order."""
        ...

    async def timeline(self, collection: str, after: int) -> list[Line]:
        """What a poller gets who has read up to the position `after` (0: from the start): objects and notices."""
        ...

    async def default_at(self, position: int, collection: str) -> list[Seen]: ...

    async def history_at(self, position: int, collection: str) -> list[Seen]: ...

    async def may_read(self, collection: str, stix_id: str, producer: str, modified: int) -> bool: ...

    async def standing(self, audience: str) -> int:
        """How many rows and notices are in any view there; of a node that is gone, too."""
        ...

    async def waiting(self) -> set[Seen]:
        """The held versions whose marking rules."""
        ...

    async def close(self) -> None: ...


class ModelWorld:
    """The model behind the face of a World."""

    def __init__(self) -> None:
        self.model = Model()

    async def release(
        self, stix_id: str, producer: str, modified: int, tlp: Tlp, audience: str, poster: str
    ) -> Verdict:
        return self.model.release(Key(stix_id, producer), Version(modified, tlp), audience, poster)

    async def release_revoked(
        self, stix_id: str, producer: str, modified: int, tlp: Tlp, audience: str, poster: str
    ) -> Verdict:
        if Key(stix_id, producer) in self.model.versions:
            return "refuse"
        return self.model.release(Key(stix_id, producer), Version(modified, tlp, revoked=True), audience, poster)

    async def widen(self, stix_id: str, producer: str, to: str) -> Verdict:
        return self.model.widen(Key(stix_id, producer), to)

    async def narrow(self, stix_id: str, producer: str, wide: str, narrow: str) -> Verdict:
        return self.model.narrow(Key(stix_id, producer), wide, narrow)

    async def withdraw(self, stix_id: str, producer: str, audience: str, at: int) -> Verdict:
        return self.model.withdraw(Key(stix_id, producer), audience, at)

    async def revoke(self, stix_id: str, producer: str, modified: int, tlp: Tlp, poster: str) -> Verdict:
        return self.model.revoke(Key(stix_id, producer), Version(modified, tlp, revoked=True), poster)

    async def expire(self, stix_id: str, producer: str) -> Verdict:
        return self.model.expire(Key(stix_id, producer))

    async def delete(self, stix_id: str, producer: str, audience: str) -> Verdict:
        return self.model.delete(Key(stix_id, producer), audience)

    async def delete_version(self, stix_id: str, producer: str, modified: int, audience: str) -> Verdict:
        return self.model.delete_version(Key(stix_id, producer), modified, audience)

    async def erase(self, stix_id: str) -> Verdict:
        return self.model.erase(stix_id)

    async def expire_notices(self) -> Verdict:
        return self.model.expire_notices()

    async def move_node(self, old: str, new: str, parent: str) -> Verdict:
        return self.model.move_node(old, new, parent)

    async def position(self) -> int:
        return self.model.seq

    async def default_view(self, collection: str) -> list[Seen]:
        return self.known(collection).default_view(collection)

    async def history_view(self, collection: str) -> list[Seen]:
        return self.known(collection).history_view(collection)

    async def notices_view(self, collection: str) -> list[str]:
        return self.known(collection).notices_view(collection)

    async def timeline(self, collection: str, after: int) -> list[Line]:
        return self.known(collection).timeline(collection, after)

    async def default_at(self, position: int, collection: str) -> list[Seen]:
        return self.known(collection).default_at(position, collection)

    async def history_at(self, position: int, collection: str) -> list[Seen]:
        return self.known(collection).history_at(position, collection)

    async def may_read(self, collection: str, stix_id: str, producer: str, modified: int) -> bool:
        return self.known(collection).may_read(collection, Key(stix_id, producer), modified)

    async def standing(self, audience: str) -> int:
        rows = [row for row in self.model.rows if (row.audience, row.shut_seq) == (audience, None)]
        notices = [notice for notice in self.model.notices if (notice.audience, notice.ended_seq) == (audience, None)]
        return len(rows) + len(notices)

    async def waiting(self) -> set[Seen]:
        return {Seen(*key, modified) for key, versions in self.model.waiting.items() for modified in versions}

    async def close(self) -> None:
        self.model.check()

    def known(self, collection: str) -> Model:
        if collection not in self.model.places:
            raise NoSuchCollection(collection)
        return self.model
