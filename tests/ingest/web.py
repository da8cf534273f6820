"""Sources on 127.0.0.1 that say byte for byte what a test wants."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Asked:
    """One request that a source got."""

    path: str
    headers: dict[str, str]


@dataclass
class Source:
    """An HTTP server that says byte for byte what a test wants."""

    answer: Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
    asked: list[Asked] = field(default_factory=list)
    address: str = ""
    talking: set["asyncio.Task[None]"] = field(default_factory=set)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._talk(reader, writer))
        self.talking.add(task)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            # What is left unread when the connection closes may cost the client the answer.
            await reader.readexactly(int(headers.get("content-length", 0)))
            self.asked.append(Asked(first.split()[1], headers))
            await self.answer(self.asked[-1], writer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def source(
    answer: Callable[[Asked, asyncio.StreamWriter], Awaitable[None]],
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Source]:
    here = Source(answer)
    server = await asyncio.start_server(here.serve, host, 0, ssl=tls)
    here.address = f"http{'s' if tls else ''}://{host}:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield here
        await asyncio.wait(here.talking, timeout=5) if here.talking else None


def says(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = {"Content-Length": str(len(body)), "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body
