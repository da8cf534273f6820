"""Who is let in when everybody comes at once: writes wait for each other, and reads go before them (503, L-18)."""

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isac.errors import Busy
from isac.serve import wire


@dataclass(frozen=True, slots=True)
class Room:
    """How many requests one worker has under way; its pool has ten connections."""

    #: POST and DELETE that are worked on; the other connections are for those who read
    writes: int = 4
    #: POST whose bodies arrive or wait for the others; each is held in memory
    bodies: int = 32
    #: seconds that they wait
    patience: float = 5
    #: all others: what a worker answers in about two seconds
    reads: int = 1000


_ROOM = Room()


class Crowd:
    """Stands behind `wire.Door` and before all that costs. A body that arrives slowly takes no writer's place."""

    def __init__(self, app: ASGIApp, room: Room = _ROOM) -> None:
        self._app = app
        self._room = room
        self._places = asyncio.Semaphore(room.writes)
        self._writing = 0
        self._reading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] in ("POST", "DELETE"):
            await self._write(scope, receive, send)
        elif self._reading >= self._room.reads:
            await _refuse(scope, receive, send, _too_many())
        else:
            self._reading += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._reading -= 1

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_place = False

        async def take_place() -> None:
            nonlocal has_place
            try:
                async with asyncio.timeout(self._room.patience):
                    await self._places.acquire()
            except TimeoutError as error:
                raise _too_many() from error
            has_place = True

        async def then_wait() -> Message:
            """The end of a body is handed on once there is a place."""
            message = await receive()
            if not has_place and message["type"] == "http.request" and not message.get("more_body", False):
                await take_place()
            return message

        if self._writing >= self._room.bodies:
            await _refuse(scope, receive, send, _too_many())
            return
        self._writing += 1
        try:
            if scope["method"] == "DELETE":  # nobody asks for its body
                await take_place()
            await self._app(scope, then_wait, send)
        except Busy as error:
            await _refuse(scope, receive, send, error)
        finally:
            self._writing -= 1
            if has_place:
                self._places.release()


def _too_many() -> Busy:
    return Busy("Too many requests are under way. Try again in a few seconds.")


async def _refuse(scope: Scope, receive: Receive, send: Send, error: Busy) -> None:
    answer = wire.error_answer(error, scope["state"]["request_id"], scope["method"], scope["path"])
    await answer(scope, receive, send)
