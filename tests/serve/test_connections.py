"""Connections on real sockets: errors that no application sees, sizes, clocks, packed bodies. Without a database."""

import contextlib
import gzip
import json
import logging
import random
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from isac.errors import IsacError
from isac.serve import wire
from isac.serve.connections import Limits, TaxiiProtocol

MAX_BYTES = 2 * 1024 * 1024
GET = b"GET /quick/ HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /read/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/taxii+json\r\n"


class Patient(TaxiiProtocol):
    """With the clocks of a real server, and few connections."""

    limits = Limits(connections=8, tick=0.02)


class Quick(TaxiiProtocol):
    """With clocks that a test can wait for."""

    limits = Limits(
        head_seconds=0.4,
        body_rest=0.5,
        body_start=0.8,
        body_rate=100_000,
        late_seconds=0.4,
        answer_seconds=0.5,
        idle_seconds=0.4,
        parting_seconds=0.4,
        tick=0.02,
    )


async def _read(request: Request) -> Response:
    return wire.resource({"bytes": len(await wire.envelope_body(request, MAX_BYTES))})


async def _quick(request: Request) -> Response:
    return wire.resource({"path": request.scope["path"]})


async def _large(request: Request) -> Response:
    return Response(b"x" * 40_000_000, media_type=wire.TAXII)


async def _unread(request: Request) -> Response:
    """An answer that does not wait for the body."""
    return wire.resource({"read": False})


async def _fails(request: Request) -> Response:
    raise RuntimeError("secret")


async def application(scope: Any, receive: Any, send: Any) -> None:
    """An application with a fault that its own renderer does not see."""
    if scope["path"] == "/raises/":
        raise RuntimeError("secret")
    if scope["path"] != "/silent/":
        await inner(scope, receive, send)


def _inner() -> FastAPI:
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.add_route("/read/", _read, methods=["POST"])
    app.add_route("/unread/", _unread, methods=["POST"])
    app.add_route("/quick/", _quick)
    app.add_route("/large/", _large)
    app.add_route("/fails/", _fails)
    app.add_middleware(wire.Door, roots=())
    for error in (IsacError, Exception):
        app.add_exception_handler(error, wire.render)
    return app


inner = _inner()


@contextlib.contextmanager
def serving(protocol: type[TaxiiProtocol], **more: Any) -> Iterator[tuple[int, uvicorn.Server]]:
    more = {"loop": "uvloop", **more}
    config = uvicorn.Config(
        application, host="127.0.0.1", port=0, http=protocol, ws="none", log_config=None, lifespan="off", **more
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.005)
    yield server.servers[0].sockets[0].getsockname()[1], server
    server.should_exit = server.force_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def patient() -> Iterator[tuple[int, uvicorn.Server]]:
    with serving(Patient) as running:
        yield running


@pytest.fixture(scope="module")
def quick() -> Iterator[tuple[int, uvicorn.Server]]:
    with serving(Quick) as running:
        yield running


@dataclass(frozen=True)
class Answer:
    """What came back on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def error(self, status: int) -> str:
        """Its error_id; fails where it is no TAXII error of this status."""
        assert self.status == status, self
        assert self.headers["content-type"] == "application/taxii+json;version=2.1"
        error = json.loads(self.body)
        assert error["http_status"] == str(status)
        assert error["title"]
        return str(uuid.UUID(error["error_id"]))


class Line:
    """A raw connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._file = self._socket.makefile("rb")

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._socket.sendall(piece)

    def hear(self) -> Answer:
        status = int(self._file.readline().split()[1])
        headers = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return Answer(status, headers, self._file.read(int(headers["content-length"])))

    def is_closed(self) -> bool:
        """Waits until the server closes; False where something else comes."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()


Open = Callable[[], Line]


@contextlib.contextmanager
def opening(running: tuple[int, uvicorn.Server]) -> Iterator[Open]:
    port, server = running
    lines: list[Line] = []

    def another() -> Line:
        lines.append(Line(port))
        return lines[-1]

    yield another
    for each in lines:
        each.close()
    while server.server_state.connections:
        time.sleep(0.005)


@pytest.fixture
def line(patient: tuple[int, uvicorn.Server]) -> Iterator[Open]:
    """`line()` is a new connection."""
    with opening(patient) as another:
        yield another


@pytest.fixture
def hurried(quick: tuple[int, uvicorn.Server]) -> Iterator[Open]:
    """`hurried()` is a new connection to the server with the quick clocks."""
    with opening(quick) as another:
        yield another


# ------------------------------------------------------------------------------------------------- what is no request


@pytest.mark.taxii("T-17", "A-27", "L-2")
@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS on a port without
        b"GET /quick/ HTTP/9.9\r\n\r\n",
        b"GET /quick/ HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /quick/ HTTP/1.1\r\nName : value\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /qü/ HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        POST + b"Content-Length: x\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
    ],
)
def test_a27_l2_what_is_no_http_is_answered_with_a_taxii_error(
    line: Open, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    talk = line()
    with caplog.at_level(logging.INFO, logger="isac"):
        talk.say(sent)
        error_id = talk.hear().error(400)

    assert talk.is_closed()
    assert error_id in [record.__dict__.get("error_id") for record in caplog.records]


@pytest.mark.taxii("T-31", "A-27")
def test_a27_an_application_that_fails_is_a_taxii_error(line: Open, caplog: pytest.LogCaptureFixture) -> None:
    """It says that the connection ends, so that no client sends its next request into a closed one."""
    for path in (b"/fails/", b"/raises/", b"/silent/"):
        talk = line()
        answer = ask(talk, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        assert answer.error(500) in [record.__dict__.get("error_id") for record in caplog.records]
        assert b"secret" not in answer.body
        assert answer.headers["connection"] == "close"
        assert talk.is_closed()


def ask(talk: Line, sent: bytes) -> Answer:
    talk.say(sent)
    return talk.hear()


def test_errors_come_behind_the_answers_to_earlier_requests(line: Open) -> None:
    talk = line()
    talk.say(GET + b"\r\n" + GET + b"\r\n" + b"nonsense\r\n\r\n")

    assert [talk.hear().status for _ in range(3)] == [200, 200, 400]
    assert talk.is_closed()


def test_a_broken_body_behind_another_request_is_never_begun(line: Open) -> None:
    talk = line()
    talk.say(GET + b"\r\n" + POST + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n")

    assert [talk.hear().status for _ in range(2)] == [200, 400]
    assert talk.is_closed()


def test_the_rest_of_a_body_whose_answer_is_out_is_dropped(line: Open) -> None:
    talk = line()
    assert ask(talk, b"POST /unread/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").status == 200
    talk.say(b"x" * 100_000)

    assert ask(talk, GET + b"\r\n").status == 200


def test_a_body_that_breaks_after_its_answer_gets_no_second_one(line: Open) -> None:
    talk = line()
    assert ask(talk, b"POST /unread/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").status == 200
    talk.say(b"zzz\r\n")

    assert talk.is_closed()


def test_other_protocols_are_not_spoken(line: Open) -> None:
    """RFC 9110 §7.8: an upgrade may be ignored; the connection ends, since its parser may have lost its place."""
    for protocol in (b"websocket", b"h2c"):
        talk = line()
        answer = ask(talk, GET + b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert talk.is_closed()


def test_trailers_are_no_headers(line: Open) -> None:
    answer = ask(
        line(), POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Encoding: br\r\n\r\n" + GET + b"\r\n"
    )
    assert answer.body == b'{"bytes":2}'


# ------------------------------------------------------------------------------------------------------------- sizes


def test_an_address_may_be_so_long(line: Open) -> None:
    most = Patient.limits.address
    assert ask(line(), b"GET /quick/?%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * (most - 8))).status == 200
    ask(line(), b"GET /quick/?%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * most)).error(414)


def test_an_address_without_an_end_is_refused_on_the_way(line: Open) -> None:
    ask(line(), b"GET /" + b"x" * (Patient.limits.address + 1)).error(414)


def test_headers_may_be_so_long_and_so_many(line: Open) -> None:
    limits = Patient.limits
    assert ask(line(), GET + b"X: %b\r\n\r\n" % (b"x" * (limits.head - 200))).status == 200
    ask(line(), GET + b"X: %b\r\n\r\n" % (b"x" * limits.head)).error(431)
    assert ask(line(), GET + b"X: y\r\n" * (limits.headers - 1) + b"\r\n").status == 200
    ask(line(), GET + b"X: y\r\n" * limits.headers + b"\r\n").error(431)


def test_a_header_without_an_end_is_refused_on_the_way(line: Open) -> None:
    talk = line()
    with contextlib.suppress(ConnectionError):  # it may hang up before all is sent
        for _ in range(20):
            talk.say((GET if not _ else b"") + b"X-Long: " + b"x" * (Patient.limits.head // 8))
            time.sleep(0.002)
    talk.hear().error(431)


def test_a_crowd_of_requests_on_one_connection_is_refused(line: Open) -> None:
    talk = line()
    talk.say((GET + b"\r\n") * (Patient.limits.pipelined + 10))

    statuses = [talk.hear().status for _ in range(Patient.limits.pipelined + 2)]
    assert statuses == [200] * (Patient.limits.pipelined + 1) + [400]


@pytest.mark.taxii("T-42", "A-5")
def test_5_5_t42_a5_chunks_are_counted(line: Open) -> None:
    """A body of max_content_length is taken; one byte more is 413."""
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert ask(line(), head + chunked(b"x" * MAX_BYTES)).body == b'{"bytes":%d}' % MAX_BYTES
    ask(line(), head + chunked(b"x" * (MAX_BYTES + 1))).error(413)
    ask(line(), POST + b"Content-Length: %d\r\n\r\n" % (MAX_BYTES + 1)).error(413)


def chunked(body: bytes, size: int = 50_000) -> bytes:
    pieces = [body[n : n + size] for n in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def test_frames_that_are_far_larger_than_their_chunks_are_refused(line: Open) -> None:
    frames = (b"1;" + b"x" * 1000 + b"\r\ny\r\n") * 200
    talk = line()
    talk.say(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        talk.say(frames, frames)
    talk.hear().error(400)


def test_what_belongs_to_the_body_before_is_no_frame_of_this_one(line: Open) -> None:
    talk = line()
    before = POST + b"Content-Length: 250000\r\n\r\n" + b"x" * 250_000
    talk.say(before + POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    assert talk.hear().body == b'{"bytes":250000}'
    talk.say(b"0\r\n\r\n")
    assert talk.hear().body == b'{"bytes":2}'


# ------------------------------------------------------------------------------------------------------ packed bodies


def packed(body: bytes, coding: bytes = b"gzip") -> bytes:
    return POST + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b" % (coding, len(body), body)


NOISE = random.Random(1).randbytes(MAX_BYTES // 2)
ZEROS = bytes(MAX_BYTES // 2)
SMALL = gzip.compress(b"{}", mtime=0)

TAKEN = {
    "small": (SMALL, b"gzip", 2),
    "its old name": (SMALL, b"X-Gzip", 2),
    "not packed": (b"{}", b"identity", 2),
    "noise": (gzip.compress(NOISE), b"gzip", len(NOISE)),
    "as large as may be": (gzip.compress(NOISE + ZEROS), b"gzip", MAX_BYTES),
    "several members": (gzip.compress(b"{") + gzip.compress(b"}"), b"gzip", 2),
    "shrinks well": (gzip.compress(b"x" * 1_000_000), b"gzip", 1_000_000),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_body_may_be_packed(line: Open, name: str) -> None:
    body, coding, size = TAKEN[name]
    assert ask(line(), packed(body, coding)).body == b'{"bytes":%d}' % size


REFUSED = {
    "too large unpacked": (gzip.compress(NOISE + ZEROS + b"x"), b"gzip", 413),
    "a bomb": (gzip.compress(b"x" * MAX_BYTES), b"gzip", 413),
    "no gzip": (b"no gzip", b"gzip", 400),
    "nothing": (b"", b"gzip", 400),
    "breaks off": (SMALL[:-3], b"gzip", 400),
    "wrong sum": (SMALL[:-8] + b"zzzzzzzz", b"gzip", 400),
    "something behind it": (SMALL + b"zzzz", b"gzip", 400),
    "another coding": (zlib.compress(b"{}"), b"deflate", 415),
    "packed twice": (gzip.compress(SMALL), b"gzip, gzip", 415),
    "an unknown coding": (b"{}", b"br", 415),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_packed_body_that_is_refused(line: Open, name: str) -> None:
    body, coding, status = REFUSED[name]
    answer = ask(line(), packed(body, coding))
    answer.error(status)
    assert (answer.headers.get("accept-encoding") == "gzip") == (status == 415)


# ------------------------------------------------------------------------------------------------------------- clocks


def test_a_head_that_does_not_come_is_cut_off(hurried: Open) -> None:
    silent, slow = hurried(), hurried()
    slow.say(b"GET /qui")
    assert silent.is_closed()
    slow.hear().error(408)
    assert slow.is_closed()


def test_a_head_that_drips_is_cut_off(hurried: Open) -> None:
    """Each byte is news, but the whole head has its time; so have empty lines between two requests."""
    talk = hurried()
    assert ask(talk, GET + b"\r\n").status == 200
    closing = time.monotonic() + 3
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < closing and not readable(talk):
            talk.say(b"\r\n")
            time.sleep(0.02)
    assert talk.is_closed()
    assert time.monotonic() < closing


def readable(talk: Line) -> bool:
    talk._socket.setblocking(False)
    try:
        talk._socket.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        talk._socket.settimeout(5)
    return True


def test_a_body_that_rests_is_cut_off(hurried: Open) -> None:
    talk = hurried()
    talk.say(POST + b"Content-Length: 10\r\n\r\n", b"{")
    talk.hear().error(408)
    assert talk.is_closed()


def test_a_body_that_drips_is_cut_off(hurried: Open) -> None:
    talk = hurried()
    talk.say(POST + b"Content-Length: 1000\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while not readable(talk):
            talk.say(b"x")
            time.sleep(0.02)
    talk.hear().error(408)


def test_a_large_body_may_take_its_time(hurried: Open) -> None:
    """Longer than both of a body's clocks, but faster than the least rate."""
    talk = hurried()
    talk.say(POST + b"Content-Length: 800000\r\n\r\n")
    for _ in range(40):
        talk.say(b"x" * 20_000)
        time.sleep(0.02)
    assert talk.hear().status == 200


def test_a_rest_that_nobody_reads_does_not_go_on_for_ever(hurried: Open) -> None:
    talk = hurried()
    assert ask(talk, b"POST /unread/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n").status == 200
    with contextlib.suppress(ConnectionError):
        while True:  # until it is cut off
            talk.say(b"x" * 1000)
            time.sleep(0.01)


def test_an_idle_connection_is_closed(hurried: Open) -> None:
    talk, early = hurried(), hurried()
    assert ask(talk, GET + b"\r\n").status == 200
    # uvicorn's own clock does not run behind an answer that came before the body.
    assert ask(early, b"POST /unread/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n").status == 200
    early.say(b"{}")
    assert talk.is_closed()
    assert early.is_closed()


def test_a_client_that_does_not_read_is_cut_off(hurried: Open, quick: tuple[int, uvicorn.Server]) -> None:
    talk = hurried()
    talk.say(b"GET /large/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert talk._file.read(1)
    while quick[1].server_state.connections:
        time.sleep(0.01)


def test_a_client_that_reads_slowly_is_not(hurried: Open) -> None:
    talk = hurried()
    talk.say(b"GET /large/ HTTP/1.1\r\nHost: x\r\n\r\n")
    size = 0
    while size < 40_000_000:
        size += len(talk._file.read(400_000))
        time.sleep(0.01)
    assert size > 1_000_000


@pytest.mark.taxii("L-18")
def test_l18_too_many_connections_are_told_when_to_come_again(line: Open) -> None:
    many = [line() for _ in range(Patient.limits.connections)]
    for talk in many:
        talk.say(b"G")  # each is taken, and has begun
    answer = ask(line(), GET + b"\r\n")
    answer.error(503)
    assert answer.headers["retry-after"]
    assert answer.headers["connection"] == "close"
    assert ask(many[0], GET[1:] + b"\r\n").status == 200
