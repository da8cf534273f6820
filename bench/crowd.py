"""Many clients in one loop: each polls its collection once a second, keeps what it got, and goes on where it was."""

import asyncio
import gc
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlencode

import orjson

#: what is posted a second: envelopes, and objects in each
ENVELOPES, OBJECTS = 10, 10
#: seconds at the beginning of a run whose polls are not measured: connections open, keys are met for the first time
WARM = 2.0
#: seconds that a client waits for an answer
PATIENCE = 15.0

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST = re.compile(rb"\r\nx-taxii-date-added-last: *([^\r]+)", re.IGNORECASE)
_NEXT = re.compile(rb'"next": ?"([^"]+)"')


@dataclass(slots=True)
class Member:
    """One client: where it polls, how far it is, and what it got."""

    code: str
    path: str
    #: the end of each request: the headers
    head: bytes
    cursor: str | None = None
    got: list[bytes] = field(default_factory=list)
    #: of each answer the bytes of its body, in the order of the polls
    sizes: list[int] = field(default_factory=list)
    #: what the bare app is asked for, instead of the cursor
    replay: Iterator[int] | None = None

    def request(self) -> bytes:
        if self.replay is not None:
            query: dict[str, object] = {"limit": 1000, "added_after": "2026-01-01T00:00:00.000000Z"}
            query["bytes"] = next(self.replay)
        else:
            query = {"limit": 1000, **({"added_after": self.cursor} if self.cursor else {})}
        return b"GET %b?%b HTTP/1.1\r\n%b\r\n" % (self.path.encode(), urlencode(query).encode(), self.head)


@dataclass
class Told:
    """What came of a run of all clients."""

    #: milliseconds of each measured poll
    times: list[float] = field(default_factory=list)
    #: the same of those in the beginning, which are not measured
    first: list[float] = field(default_factory=list)
    #: connections that broke, and answers other than 200
    broken: int = 0
    refused: int = 0
    posted: int = 0

    def part(self, share: float) -> float:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Broken(Exception):
    """The connection ended before the answer did."""


class Line(asyncio.Protocol):
    """One connection: a request, its whole answer."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._missing = -1
        self._head = b""
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by name

    def ask(self, request: bytes) -> asyncio.Future[tuple[bytes, bytes]]:
        """The head and the body of the answer. Raises Broken."""
        self._answer = asyncio.get_running_loop().create_future()
        self._head, self._missing, self._parts = b"", -1, []
        if self.is_open:
            self.transport.write(request)
        else:
            self._answer.set_exception(Broken)
        return self._answer

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._head, 0, end + 2)
            data = self._head[end + 4 :]
            self._head = self._head[: end + 2]
            self._missing = int(length[1]) if length else 0
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing == 0 and self._answer and not self._answer.done():
            self._answer.set_result((self._head, b"".join(self._parts)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(Broken)


class Asking:
    """Something that asks over one connection, which is made anew where it broke."""

    def __init__(self, port: int, told: Told) -> None:
        self._port, self._told = port, told
        self._line: Line | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes] | None:
        """Status, head and body; None where the connection broke, which was counted."""
        try:
            async with asyncio.timeout(PATIENCE):
                if self._line is None or not self._line.is_open:
                    loop = asyncio.get_running_loop()
                    _, self._line = await loop.create_connection(Line, "127.0.0.1", self._port)
                head, body = await self._line.ask(request)
        except (Broken, OSError):  # a timeout is one, too
            self._told.broken += 1
            self.close()
            return None
        return int(head[9:12]), head, body

    def close(self) -> None:
        if self._line is not None:
            self._line.transport.close()
        self._line = None


async def _poll(member: Member, port: int, begin: float, until: float, kept: dict[bytes, bytes], told: Told) -> None:
    """Poll every second from `begin` on. Who waits longer than that for an answer leaves out what fell due meanwhile.

    A poll that began late, because the answer before it was, is measured from when it was due.
    """
    clock = time.perf_counter  # uvloop's own counts whole milliseconds
    line = Asking(port, told)
    due, late = begin, False
    while due < until:
        await asyncio.sleep(max(0.0, due - clock()))
        began = due if late else clock()
        answer = await line.ask(member.request())
        taken = clock() - began
        if answer is None:
            due, late = clock() + 0.1, False  # whoever was cut off asks again soon
            continue
        if answer[0] == 200:
            (told.times if due >= begin + WARM else told.first).append(taken * 1000)
            _take(member, answer[1], answer[2], kept)
        else:
            told.refused += 1
        while due + 2 < clock():
            due += 1
        due += 1
        late = due < clock()
    line.close()


def _take(member: Member, head: bytes, body: bytes, kept: dict[bytes, bytes]) -> None:
    if member.replay is not None:
        return
    last = _LAST.search(head)
    if last:
        member.cursor = last[1].decode()
    member.sizes.append(len(body))
    if len(body) > 2:
        member.got.append(kept.setdefault(body, body))  # what many get is held once


async def _write(port: int, posts: Iterator[bytes], until: float, told: Told) -> None:
    """Post envelope after envelope, so many a second."""
    clock = time.perf_counter  # uvloop's own counts whole milliseconds
    line = Asking(port, told)
    due = clock()
    while due < until:
        await asyncio.sleep(max(0.0, due - clock()))
        request = next(posts)
        answer = await line.ask(request)
        if answer is None:  # it was taken or not; handed in once more it changes nothing
            answer = await line.ask(request)
        if answer is None or answer[0] != 202:
            raise RuntimeError(f"a POST was not taken: {answer!r}")
        if b'"success_count":%d,' % OBJECTS not in answer[2] and b'"bare"' not in answer[2]:
            raise RuntimeError(f"not all was taken: {answer[2][:600]!r}")
        told.posted += OBJECTS
        due = max(due + 1 / ENVELOPES, clock() - 1)
    line.close()


async def crowd(
    members: Sequence[Member],
    port: int,
    posts: Iterator[bytes] | None,
    seconds: float,
    kept: dict[bytes, bytes],
    besides: Sequence[Callable[[float], Awaitable[None]]] = (),
) -> Told:
    told = Told()
    begin = time.perf_counter() + 0.2
    until = begin + WARM + seconds
    gc.collect()
    gc.freeze()
    gc.disable()  # a pause of ours would look like one of the server
    try:
        async with asyncio.TaskGroup() as group:
            for number, member in enumerate(members):
                group.create_task(_poll(member, port, begin + number / len(members), until, kept, told))
            if posts is not None:
                # Before the last polls it stops, so that they get everything.
                group.create_task(_write(port, posts, until - 0.5, told))
            for beside in besides:
                group.create_task(_run(beside, until))
    finally:
        gc.enable()
        gc.unfreeze()
    return told


async def _run(beside: Callable[[float], Awaitable[None]], until: float) -> None:
    await beside(until)


def reader(
    port: int, member: Member, pages: list[int], replay: tuple[Iterator[int], float] | None
) -> Callable[[float], Awaitable[None]]:
    """Read the collection from end to end, again and again; the bare app is asked for as many pages at their pace."""

    async def reading(until: float) -> None:
        clock = time.perf_counter  # uvloop's own counts whole milliseconds
        line = Asking(port, Told())
        query: dict[str, object] = {"limit": 1000}
        due = clock()
        while clock() < until:
            if replay is not None:
                query = {"limit": 1000, "bytes": next(replay[0])}
                due += replay[1]
                await asyncio.sleep(max(0.0, due - clock()))
            path = f"{member.path}?{urlencode(query)}".encode()
            answer = await line.ask(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, member.head))
            if answer is None:
                continue
            if answer[0] == 429:  # a key may ask 50 times a second: what a client does that is told so
                await asyncio.sleep(1)
                continue
            pages.append(len(answer[2]))
            if replay is None:
                tail = _NEXT.search(answer[2][:200] + answer[2][-200:])
                query = {"limit": 1000, **({"next": tail[1].decode()} if tail else {})}
        line.close()

    return reading


async def compared(members: Sequence[Member], port: int) -> tuple[int, int, int]:
    """Lost and repeated objects of all members, and how many their collections hold."""
    lost = repeated = held = 0
    parsed: dict[bytes, list[str]] = {}  # what many get is read once
    read: dict[bytes, dict[str, Any]] = {}
    waiting = iter(members)

    async def work() -> None:
        nonlocal lost, repeated, held
        line = Asking(port, Told())
        for member in waiting:
            got: Counter[str] = Counter()
            for body in member.got:
                if body not in parsed:
                    parsed[body] = [each["id"] for each in orjson.loads(body)["objects"]]
                got.update(parsed[body])
            there = await _manifest(member, line, read)
            lost += sum((there - got).values())
            repeated += sum((got - there).values())
            held += there.total()
        line.close()

    await asyncio.gather(*(work() for _ in range(8)))
    return lost, repeated, held


async def _manifest(member: Member, line: Asking, read: dict[bytes, dict[str, Any]]) -> Counter[str]:
    found: Counter[str] = Counter()
    query: dict[str, object] = {"limit": 1000}
    while True:
        path = f"{member.path.removesuffix('objects/')}manifest/?{urlencode(query)}".encode()
        answer = await line.ask(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, member.head))
        if answer is None or answer[0] != 200:
            raise RuntimeError(f"no manifest of {member.code}: {answer!r}")
        if answer[2] not in read:
            page = orjson.loads(answer[2])
            read[answer[2]] = {**page, "objects": [record["id"] for record in page.get("objects", ())]}
        page = read[answer[2]]
        found.update(page["objects"])
        if not page.get("more"):
            return found
        query["next"] = page["next"]
