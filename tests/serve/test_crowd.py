"""Overload: writes wait and are turned away, reads go on; a pool without connections is no fault of ours."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from tests.conftest import Person
from tests.serve.conftest import TAXII, is_error

from isac.app import create_app
from isac.errors import IsacError
from isac.serve import wire
from isac.serve.connections import TaxiiProtocol
from isac.serve.crowd import Crowd, Room


@dataclass
class Works:
    """An application whose writes and slow reads go on until they are told to end."""

    working: int = 0
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    end: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, request: Request) -> Response:
        await wire.envelope_body(request, 1000)
        return await self.work(request)

    async def work(self, _: Request) -> Response:
        self.working += 1
        self.arrived.release()
        await self.end.wait()
        self.working -= 1
        return wire.nothing()

    async def read(self, _: Request) -> Response:
        return wire.resource({"working": self.working})

    async def finish(self, _: Request) -> Response:
        self.end.set()
        return wire.nothing()

    def application(self, room: Room) -> FastAPI:
        app = FastAPI(openapi_url=None)
        app.add_route("/things/", self.write, methods=["POST"])
        app.add_route("/things/", self.work, methods=["DELETE"])
        app.add_route("/slow/", self.work)
        app.add_route("/end/", self.finish)
        app.add_route("/things/", self.read)
        app.add_middleware(Crowd, room=room)
        app.add_middleware(wire.Door, roots=())
        app.add_exception_handler(IsacError, wire.render)
        return app


class Serving:
    """An application behind a real uvicorn."""

    def __init__(self, app: Any) -> None:
        config = uvicorn.Config(app, host="127.0.0.1", port=0, loop="uvloop", http=TaxiiProtocol, log_config=None)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> httpx2.Client:
        self.thread.start()
        while not self.server.started:
            self.thread.join(0.005)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10)
        return self.http

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.server.should_exit = True
        self.thread.join(10)


ROOM = Room(writes=2, bodies=4, patience=0.1, reads=3)


@pytest.fixture
def works() -> Works:
    return Works()


@pytest.fixture
def http(works: Works) -> Iterator[httpx2.Client]:
    with Serving(works.application(ROOM)) as http:
        yield http


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def post(http: httpx2.Client) -> httpx2.Response:
    return http.post("/things/", content=b"{}", headers={"Content-Type": TAXII})


def is_busy(answer: httpx2.Response) -> bool:
    return is_error(answer, 503) and bool(answer.headers["retry-after"])


def test_l18_writes_beyond_the_limit_are_turned_away_and_reads_are_not(
    works: Works, http: httpx2.Client, threads: ThreadPoolExecutor
) -> None:
    under_way = [threads.submit(post, http), threads.submit(http.delete, "/things/")]
    for _ in under_way:
        works.arrived.acquire()

    assert is_busy(post(http))
    assert is_busy(http.delete("/things/"))
    assert http.get("/things/").json() == {"working": 2}
    http.get("/end/")
    assert [answer.result().status_code for answer in under_way] == [200, 200]
    assert post(http).status_code == 200, "the places are free again"


def test_a_write_that_waits_gets_its_turn(works: Works, threads: ThreadPoolExecutor) -> None:
    with Serving(works.application(Room(writes=1, patience=10))) as http:
        under_way = [threads.submit(post, http) for _ in range(5)]
        works.arrived.acquire()
        http.get("/end/")
        assert [answer.result().status_code for answer in under_way] == [200] * 5


def test_a_body_that_is_still_arriving_takes_no_place(works: Works, http: httpx2.Client) -> None:
    arriving = [slow_post(http) for _ in range(3)]
    works.end.set()
    assert post(http).status_code == 200
    for each in arriving:
        each.close()


def test_bodies_under_way_are_counted(works: Works, http: httpx2.Client) -> None:
    arriving = [slow_post(http) for _ in range(4)]
    assert is_busy(post(http))
    for each in arriving:
        each.close()


EXPECTING = {"Content-Type": TAXII, "Content-Length": "2", "Expect": "100-continue"}


def slow_post(http: httpx2.Client, path: str = "/things/", headers: dict[str, str] = EXPECTING) -> socket.socket:
    """A POST whose body does not come, seen by the application: it has asked for the body."""
    line = socket.create_connection(("127.0.0.1", http.base_url.port), timeout=10)
    lines = [f"POST {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
    line.sendall("".join(f"{each}\r\n" for each in [*lines, ""]).encode())
    assert b" 100 " in line.recv(100)
    return line


def test_reads_are_turned_away_far_later(works: Works, http: httpx2.Client, threads: ThreadPoolExecutor) -> None:
    under_way = [threads.submit(http.get, "/slow/") for _ in range(3)]
    for _ in under_way:
        works.arrived.acquire()

    assert is_busy(http.get("/things/"))
    threads.submit(post, http)
    works.arrived.acquire()
    works.end.set()
    assert [answer.result().status_code for answer in under_way] == [200] * 3


def test_bodies_that_arrive_slowly_hold_no_connection_of_the_database(
    database_url: str, people: dict[str, Person]
) -> None:
    app, clerk = create_app(database_url=database_url), people["franklin_submitter"]
    head = {"X-API-Key": clerk.secret, "Content-Type": TAXII, "Content-Length": "100", "Expect": "100-continue"}
    with Serving(app) as http:
        pool = app.state.site.pool
        arriving = [
            slow_post(http, f"/elections/collections/{clerk.collection}/objects/", head)
            for _ in range(pool.max_size + 2)
        ]
        stats = pool.get_stats()
        assert stats["pool_available"] == stats["pool_size"]
        assert http.get("/elections/collections/", headers={"X-API-Key": clerk.secret}).status_code == 200
        for each in arriving:
            each.close()


def test_a_pool_without_connections_is_503(database_url: str, people: dict[str, Person]) -> None:
    app = create_app(database_url=database_url)
    serving = Serving(app)
    with serving as http:
        key = (people["franklin"].key_id, people["franklin"].secret)
        pool, loop = app.state.site.pool, serving.server.servers[0].get_loop()

        def in_its_loop(work: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result(10)

        pool.timeout = 0.1
        taken = [in_its_loop(pool.getconn()) for _ in range(pool.max_size)]
        answers = [http.get(path, auth=key) for path in ("/elections/collections/", "/elections/status/x/")]
        for each in taken:
            in_its_loop(pool.putconn(each))

        assert any(is_busy(answer) for answer in answers)
        assert all(is_busy(answer) for answer in answers if answer.status_code >= 500)
        assert http.get("/elections/collections/", auth=key).status_code == 200
