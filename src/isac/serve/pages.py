"""Answers that are kept: an envelope's bytes, valid as long as the log shows that nothing in it changed.

A page that was full never gets another row: the log grows at its end. So only ends in its audiences void it; one that
was not full is void with the next row, too. What was kept is the same for all who may read the collection.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.types import Scope, Send

from isac.serve.connections import WHOLE_ANSWER
from isac.store.follower import Follower
from isac.store.members import Collection
from isac.store.objects import Page, Query
from isac.store.polls import Served

#: of kept answers, per worker; increments have a quarter of it besides
MAX_BYTES = 32 * 1024 * 1024
#: what an answer needs beside its body, and how many ids, types and versions a query may name that is kept with it
_AROUND, _NAMES = 2048, 20


#: increments that were asked for once are remembered so long, but not their answers
_ASKED = 100


class Stamp(NamedTuple):
    """How far the log was for a collection: what was read later is void as soon as one of these changes."""

    era: int
    put: int
    ended: int


@dataclass(slots=True, weakref_slot=True)
class Answer:
    """An answer that stands ready. Nobody changes it, but for its two other forms, made once."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes
    #: its ETag
    tag: bytes | None
    #: all of it as one message, where the server takes that (connections.WHOLE_ANSWER)
    message: dict[str, Any]
    #: the rows that it holds
    served: Served | None = None
    #: the same with a gzip body
    packed: "Answer | None" = None
    #: what a client that has it is told
    unchanged: "Answer | None" = None
    #: does `Pages` count it among what it keeps?
    counted: bool = False

    @property
    def size(self) -> int:
        return _AROUND + len(self.content) + (len(self.packed.content) if self.packed else 0)

    async def send(self, scope: Scope, send: Send) -> None:
        """To a client that asked by GET, or by HEAD, who gets no body."""
        if WHOLE_ANSWER in scope.get("extensions", ()):
            await send(self.message)
            return
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.content if scope["method"] == "GET" else b""})


def answer(
    headers: list[tuple[bytes, bytes]], content: bytes, status: int = 200, served: Served | None = None
) -> Answer:
    """An answer with these headers."""
    head = b"".join(b"%b: %b\r\n" % line for line in headers)
    tag = next((value for name, value in headers if name == b"etag"), None)
    message = {"type": WHOLE_ANSWER, "status": status, "head": head, "body": content}
    return Answer(status, headers, content, tag, message, served)


def served(page: Page) -> Served | None:
    """What a page gives out."""
    return Served(page.first, page.last, len(page.objects)) if page.first and page.last else None


class Pages:
    """The answers asked for last, as many as fit into MAX_BYTES."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._kept: OrderedDict[tuple[int, Query], tuple[Stamp, bool, Answer]] = OrderedDict()
        self._bytes = 0

    def stamp(self, shelf: Collection) -> Stamp | None:
        """To be taken before a page is read; None where the follower lags and nothing can be kept."""
        if not self._follower.is_fresh():
            return None
        audiences = [audience.pk for audience in shelf.audiences]
        return Stamp(self._follower.era, self._follower.put(audiences), self._follower.ended(audiences))

    def keep(self, shelf: Collection, query: Query, stamp: Stamp | None, full: bool, kept: Answer) -> None:
        """Keep a page that was read after the stamp; `full`: more rows followed."""
        if stamp is None or kept.size > MAX_BYTES // 8 or _is_long(query):
            return
        self._drop((shelf.pk, query))
        self._kept[shelf.pk, query] = stamp, full, kept
        kept.counted = True
        self._grow(kept.size)

    def find(self, shelf: Collection, query: Query, now: Stamp) -> Answer | None:
        """The answer to a query, if it is still true."""
        found = self._kept.get((shelf.pk, query))
        if found is None:
            return None
        stamp, full, kept = found
        if stamp == now or (full and (stamp.era, stamp.ended) == (now.era, now.ended)):
            self._kept.move_to_end((shelf.pk, query))
            return kept
        self._drop((shelf.pk, query))
        return None

    def pack(self, kept: Answer, packed: Answer) -> None:
        """Keep the gzip form with the answer, whatever query led to it; several may have made it at once."""
        if kept.packed is not None:
            return
        kept.packed = packed
        if kept.counted:
            self._grow(len(packed.content))

    def _grow(self, size: int) -> None:
        self._bytes += size
        while self._kept and self._bytes > MAX_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[int, Query]) -> None:
        found = self._kept.pop(key, None)
        if found:
            self._bytes -= found[2].size
            found[2].counted = False


class Increment(NamedTuple):
    """The newest rows, by the era and their numbers in the log."""

    era: int
    rows: tuple[int, ...]
    #: all that the token of its `next` tells besides; None without one
    next: object


class Increments:
    """Answers by the newest rows that they hold: the same bytes for all members who have seen what came before.

    They have a place of their own: where each reader begins at another row, they would drive out pages that are dear.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Increment, Answer] = OrderedDict()
        self._bytes = 0
        #: hashes of those that were asked for last, and not kept
        self._asked: OrderedDict[int, None] = OrderedDict()

    def find(self, increment: Increment) -> Answer | None:
        """The answer that holds exactly these rows."""
        return self._kept.get(increment)

    def keep(self, increment: Increment, made: Answer) -> bool:
        """Keep an answer that was asked for before; the oldest go, for nobody asks for what was new a second ago.

        Of readers who each begin at another row nobody meets the other's answer, and to keep it would only cost.
        """
        number = hash(increment)
        if number not in self._asked:
            self._asked[number] = None
            if len(self._asked) > _ASKED:
                self._asked.popitem(last=False)
            return False
        del self._asked[number]
        self._kept[increment] = made
        self._bytes += _bound(made)
        while self._bytes > MAX_BYTES // 4:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= _bound(gone)
        return True


def _bound(made: Answer) -> int:
    """What it may need with its gzip form."""
    return _AROUND + 2 * len(made.content)


def _is_long(query: Query) -> bool:
    return len(query.ids or ()) + len(query.types or ()) + len(query.versions.instants) > _NAMES
