"""A connection: uvicorn's HTTP protocol, with limits and with TAXII's errors where uvicorn would answer in plain text.

What is no HTTP, or too long, or too slow, is answered with the TAXII error resource (§3.6) and the connection closed.
A tick per connection looks at its clocks; a request that arrives at one go costs two looks at the time.
"""

import asyncio
import fcntl
import functools
import logging
import math
import struct
import termios
import uuid
from dataclasses import dataclass
from typing import Any, ClassVar

import httptools
from fastapi import Response
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from isac.errors import AddressTooLong, BadRequest, Busy, HeadersTooLarge, IsacError, TooSlow
from isac.policy.actors import Fingerprint
from isac.serve import certificates, wire
from isac.serve.certificates import CERTIFICATE, NOBODYS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may cost, and how many there may be; seconds and bytes."""

    #: the 1,000 ids of a page in match[id] make an address of 50,000 bytes
    address: int = 64_000
    #: address and headers
    head: int = 96 * 1024
    headers: int = 100
    #: requests that may wait for the answer to the one before; no product sends any
    pipelined: int = 16
    #: from the first byte of a request, or from the opening of the connection, to the end of the headers
    head_seconds: float = 10
    #: a body rests no longer, …
    body_rest: float = 20
    #: … and after a minute it has come with so many bytes a second
    body_start: float = 60
    body_rate: int = 4096
    #: what is behind an answer that did not wait for it is read and dropped so long
    late_seconds: float = 10
    #: in each such time a client reads so many bytes of its answer, or the rest
    answer_seconds: float = 60
    answer_bytes: int = 64 * 1024
    #: longer than the minute between two polls, and than the time that proxies keep theirs
    idle_seconds: float = 75
    #: whoever has sent something wrong may read why so long
    parting_seconds: float = 5
    #: of each worker: 1,150 members poll, some with several products
    connections: int = 4000
    #: between two looks at the clocks
    tick: float = 2


class TaxiiProtocol(HttpToolsProtocol):
    """One connection. In the header `certificate_header` trusted proxies name their clients' certificates."""

    limits = Limits()

    def __init__(self, *args: Any, certificate_header: bytes = b"", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._certificate_header = certificate_header
        #: of the connection's own certificate, and the time of the loop at which it expires
        self._extensions, self._expires = _EXTENSIONS, math.inf
        self._heard = self.loop.time()
        #: since when the head of a request is expected, None while none is
        self._head_since: float | None = self._heard
        #: which request of this connection is being read
        self._number = 0
        self._in_head = False
        #: of pieces that are all head, and of the last one that came, of whatever
        self._head_bytes = 0
        self._piece = 0
        self._in_body = False
        self._body_since = 0.0
        self._body_bytes = 0
        self._framed_bytes = 0
        #: what to say when the answers under way are out
        self._refusal: IsacError | None = None
        #: since when nothing more is read
        self._ended: float | None = None
        #: since when so many bytes of answers wait for the client to read
        self._unread: tuple[float, int] | None = None
        self._ticking: asyncio.TimerHandle | None = None

    # --------------------------------------------------------------------------------------------------- opened, closed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._is_trusted_proxy():
            self._certificate_header = b""  # it may say what it likes
            if self.scheme == "https":
                self._read_certificate(transport)
        open_now = len(self.connections)
        if open_now > self.limits.connections:
            self.app = _crowded
        if open_now > self.limits.connections * 9 // 8:  # even to say so there is no room
            transport.abort()
        self._ticking = self.loop.call_later(self.limits.tick, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ticking:
            self._ticking.cancel()
        super().connection_lost(exc)

    # ----------------------------------------------------------------------------------------------------- certificates

    def _is_trusted_proxy(self) -> bool:
        """Is the other end itself, whatever it says of its clients, one that is believed?

        Whoever says where clients come from is believed in the one as in the other.
        """
        if not self._certificate_header or not isinstance(self.app, ProxyHeadersMiddleware):
            return False
        return self.client is not None and self.client[0] in self.app.trusted_hosts

    def _read_certificate(self, transport: asyncio.Transport) -> None:
        found = certificates.of_connection(transport)
        if found:
            self._extensions, self._expires = _with(found[0]), self._heard + found[1]

    # ---------------------------------------------------------------------------------------------------------- reading

    def data_received(self, data: bytes) -> None:
        if self._ended is not None or self._refusal is not None:
            return
        self._heard = self.loop.time()
        self._piece = len(data)
        if self._head_since is None and self._is_idle():
            self._head_since = self._heard
        number = self._number
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # we stay with HTTP, and the parser has lost its place
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, IsacError) else BadRequest("This is no valid HTTP/1.1 request."))
        else:
            if self._in_head or self._in_body:
                self._count(len(data) if number == self._number else 0)  # else some of it was another request's

    def _is_idle(self) -> bool:
        return not self._in_body and (self.cycle is None or self.cycle.response_complete)

    def _count(self, size: int) -> None:
        """Count what the parser keeps to itself: a header without an end, the frames of chunks, trailers."""
        if self._in_head:
            self._head_bytes += size
            if len(self.url) > self.limits.address:
                self._refuse(_address_too_long(self.limits))
            elif self._head_bytes > self.limits.head:
                self._refuse(_headers_too_large(self.limits))
        elif self._in_body:
            self._framed_bytes += size
            if self._framed_bytes > self.limits.head + 10 * self._body_bytes:
                self._refuse(BadRequest("The chunks of the body are too small, or their frames too large."))

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self.limits.pipelined:
            raise BadRequest("Wait for the answers to the requests before this one.")
        super().on_message_begin()
        self.scope["extensions"] = self._extensions if self._heard < self._expires else _EXPIRED
        self._number += 1
        self._in_head, self._head_bytes, self._head_since = True, 0, self._heard

    def on_headers_complete(self) -> None:
        limits = self.limits
        if len(self.url) > limits.address:
            raise _address_too_long(limits)
        if len(self.headers) > limits.headers or (
            self._head_bytes + self._piece > limits.head  # all of the last piece may be head, so count what was
            and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > limits.head
        ):
            raise _headers_too_large(limits)
        if self._certificate_header:
            named = certificates.of_header([value for name, value in self.headers if name == self._certificate_header])
            if named:
                self.scope["extensions"] = _with(named)
        super().on_headers_complete()
        self.headers = []  # trailers behind the body: nothing asks for one, and the headers are with the application
        self._in_head, self._head_since = False, None
        self._in_body, self._body_since, self._body_bytes, self._framed_bytes = True, self._heard, 0, 0

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    # -------------------------------------------------------------------------------------------------------- answering

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = _Cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on with the next request. Uvicorn's would set a timer each time; here `_tick` sees who is idle."""
        self._heard = self.loop.time()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self.flow.resume_reading()
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is None:
            self.flow.resume_reading()
        else:
            self._say(self._refusal)

    def _refuse(self, error: IsacError) -> None:
        """Answer what cannot be read on in place of the application, but after the answers that are under way."""
        own, started = self._in_body, self.cycle is not None and self.cycle.response_started
        self._in_head, self._head_since, self._in_body = False, None, False
        if own and self.pipeline:
            self.pipeline.popleft()  # the broken one itself: the application has not seen it
        elif own and started:
            self.cycle.keep_alive = False  # it has its answer, or is getting it
            if self.cycle.response_complete:
                self._end()
            return
        elif own:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._say(error)
            return
        if self.cycle is None or self.cycle.response_complete:
            self._say(error)
        else:
            self._refusal = error

    def _say(self, error: IsacError) -> None:
        scope: dict[str, Any] = dict(self.scope or {})
        answer = wire.error_answer(error, str(uuid.uuid4()), scope.get("method", ""), scope.get("path", ""))
        lines = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % line for line in lines)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[answer.status_code], head, bytes(answer.body)))
        self._end()

    def _end(self) -> None:
        """Read nothing more, but close only a little later: whoever still sends would see a reset, and no answer."""
        self._ended = self.loop.time()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    # ----------------------------------------------------------------------------------------------------------- clocks

    def _tick(self) -> None:
        now, limits = self.loop.time(), self.limits
        self._ticking = self.loop.call_later(limits.tick, self._tick)
        if self._ended is not None and now - self._ended > limits.parting_seconds:
            self.transport.abort()
        elif not self._is_read(now):
            self._cut("the client does not read its answer")
        elif self._ended is not None or self.transport.is_closing():
            return
        elif self.flow.read_paused:
            # We do not listen: the client's clocks stand still.
            self._heard = now
            self._body_since += limits.tick
        elif self._head_since is not None:
            self._look_at_head(now - self._head_since)
        elif self._in_body:
            self._look_at_body(now)
        elif self._is_idle() and now - self._heard > limits.idle_seconds:
            self.transport.close()

    def _look_at_head(self, seconds: float) -> None:
        if seconds <= self.limits.head_seconds:
            return
        if self._in_head:
            self._refuse(TooSlow(f"The headers must be here within {self.limits.head_seconds:g} seconds."))
        else:
            self.transport.close()  # opened and silent

    def _look_at_body(self, now: float) -> None:
        limits, seconds = self.limits, now - self._body_since
        if self.cycle.response_complete and seconds > limits.late_seconds:
            self._end()
        elif now - self._heard > limits.body_rest:
            self._refuse(TooSlow(f"The body rested for more than {limits.body_rest:g} seconds."))
        elif self._body_bytes < (seconds - limits.body_start) * limits.body_rate:
            self._refuse(TooSlow(f"The body comes with less than {limits.body_rate:,} bytes a second."))

    def _is_read(self, now: float) -> bool:
        """Does the client read its answers?"""
        ours = self.transport.get_write_buffer_size()
        if not ours:
            self._unread = None
        elif self._unread is None:
            self._unread = now, ours + _unacknowledged(self.transport)
        elif now - self._unread[0] > self.limits.answer_seconds:
            waiting = ours + _unacknowledged(self.transport)
            if self._unread[1] - waiting < self.limits.answer_bytes:
                return False
            self._unread = now, waiting
        return True

    def resume_writing(self) -> None:
        self._unread = None
        super().resume_writing()

    def _cut(self, reason: str) -> None:
        log.info("connection cut", extra={"reason": reason})
        self.transport.abort()


#: An answer that stands ready goes out at one go: its head was made once, and one system call takes it with the body.
WHOLE_ANSWER = "isac.answer"
_EXTENSIONS: dict[str, Any] = {WHOLE_ANSWER: {}}
_EXPIRED = {**_EXTENSIONS, CERTIFICATE: NOBODYS}


def _with(certificate: Fingerprint) -> dict[str, Any]:
    return {**_EXTENSIONS, CERTIFICATE: certificate}


class _Cycle(RequestResponseCycle):
    """One request and its answer."""

    #: headers of this second, as they came from uvicorn and as bytes
    _common: ClassVar[tuple[object, bytes]] = (None, b"")

    async def send(self, message: Any) -> None:
        """ASGI's messages, and besides {type: WHOLE_ANSWER, status, head: its lines, body} in place of the two."""
        if message["type"] != WHOLE_ANSWER:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self._common[0] is not self.default_headers:
            _Cycle._common = self.default_headers, b"".join(b"%b: %b\r\n" % line for line in self.default_headers)
        ends = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        head = b"".join((STATUS_LINE[message["status"]], self._common[1], message["head"], ends))
        self.transport.writelines((head, message["body"]) if self.scope["method"] != "HEAD" else (head,))
        self.response_started = self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    async def send_500_response(self) -> None:
        """Answer what the application failed to; uvicorn's own line in the log, before ours, holds the traceback."""
        state: dict[str, Any] = dict(self.scope).get("state") or {}  # type: ignore[assignment]
        error_id = state.get("request_id") or str(uuid.uuid4())
        error = RuntimeError("the application did not answer")
        answer = wire.error_answer(error, error_id, self.scope["method"], self.scope["path"])
        headers = [*answer.raw_headers, (b"connection", b"close")]
        await self.send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        await self.send({"type": "http.response.body", "body": bytes(answer.body), "more_body": False})


async def _crowded(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in place of the application that there are too many connections."""
    busy = Busy("Too many connections are open. Try again in a few seconds.")
    answer: Response = wire.error_answer(busy, str(uuid.uuid4()), scope["method"], scope["path"])
    answer.headers["Connection"] = "close"
    await answer(scope, receive, send)


@functools.cache
def _address_too_long(limits: Limits) -> AddressTooLong:
    return AddressTooLong(f"An address may have {limits.address:,} bytes at most.")


@functools.cache
def _headers_too_large(limits: Limits) -> HeadersTooLarge:
    return HeadersTooLarge(f"A request may have {limits.headers} headers and {limits.head:,} bytes of them at most.")


def _unacknowledged(transport: asyncio.Transport) -> int:
    """The bytes that the kernel has taken, and the client not yet (SIOCOUTQ, which is TIOCOUTQ)."""
    taken = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    found: int = struct.unpack("i", taken)[0]
    return found
