"""Fixtures: one PostgreSQL for each test process, migrated and furnished once into a template; each test gets a clone.

`database_url` is for tests of the store, `pool` opens it; `server` is a real uvicorn on a free port over the same
database; `people` are keys of invented members. `run` drives async code from a plain test.
"""

import asyncio
import io
import itertools
import os
import threading
import zipfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import psycopg
import pytest
import uvicorn
import uvloop

from isac import server as server_module
from isac import times
from isac.app import create_app
from isac.ingest.foundation import found
from isac.policy.actors import Role
from isac.policy.jurisdictions import Jurisdiction
from isac.policy.organizations import Organization
from isac.serve.connections import TaxiiProtocol
from isac.server import Certificate
from isac.store import database, embedded, members, migrations
from isac.store.database import Pool

T = TypeVar("T")


def zipped(*files: bytes) -> bytes:
    """A ZIP archive: `0`, `1` and so on."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(files):
            archive.writestr(str(number), content)
    return out.getvalue()


# taxii2-client obeys proxies and netrc of whoever runs the tests.
os.environ.update(NO_PROXY="*", NETRC="/dev/null")

#: the nation, three States and some invented counties
ROSTER = (
    Jurisdiction("us", "United States", "nation", None, "", None),
    Jurisdiction("us-oh", "Ohio", "state", "us", "39", None),
    Jurisdiction("us-il", "Illinois", "state", "us", "17", None),
    Jurisdiction("us-tx", "Texas", "state", "us", "48", None),
    Jurisdiction("us-oh-39901", "Elm County", "county", "us-oh", "39901", 1000),
    Jurisdiction("us-oh-39902", "Oak County", "county", "us-oh", "39902", 1000),
    Jurisdiction("us-il-17901", "Birch County", "county", "us-il", "17901", 1000),
)

#: name → (organization, its jurisdiction, kind, role)
PEOPLE = {
    "franklin": ("Elm County Clerk", "us-oh-39901", "member", Role.POLLER),
    "franklin_submitter": ("Elm County Clerk", "us-oh-39901", "member", Role.SUBMITTER),
    "franklin_admin": ("Elm County Clerk", "us-oh-39901", "member", Role.ADMIN),
    "oak": ("Oak County Clerk", "us-oh-39902", "member", Role.POLLER),
    "ohio": ("Ohio Board", "us-oh", "member", Role.POLLER),
    "ohio_analyst": ("Ohio Board", "us-oh", "member", Role.ANALYST),
    "ohio_admin": ("Ohio Board", "us-oh", "member", Role.ADMIN),
    "cook": ("Birch County Clerk", "us-il-17901", "member", Role.POLLER),
    "cook_submitter": ("Birch County Clerk", "us-il-17901", "member", Role.SUBMITTER),
    "isac_analyst": ("Election ISAC", "us", "isac", Role.ANALYST),
    "isac_steward": ("Election ISAC", "us", "isac", Role.STEWARD),
    "stranger": ("Example Vendor", None, "vendor", Role.POLLER),
}


@dataclass(frozen=True)
class Person:
    """A key of a member: its secret and the id of its home's collection."""

    key_id: str
    secret: str
    collection: str


@dataclass(frozen=True)
class Running:
    """A server that answers: its address, its API root's path."""

    base: str
    root: str = "/elections/"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of our own, without fsync: nobody pulls the plug of a test."""
    home = tmp_path_factory.mktemp("postgres") / "home"
    server = embedded.start(home, {"fsync": "off", "synchronous_commit": "off", "max_connections": "200"})
    yield server.conninfo
    embedded.destroy(home)


@pytest.fixture(scope="session")
def template(postgres: str) -> dict[str, Person]:
    """The database that each test clones, and the people in it."""
    url = database.create(postgres, "template_isac")
    migrations.migrate(url)
    return uvloop.run(_furnish(url))


async def _furnish(url: str) -> dict[str, Person]:
    async with database.pool(url, size=1) as pool:
        await found(pool, ROSTER)
        async with pool.connection() as conn, conn.transaction():
            wanted = {name: Organization(home, name, kind, "") for name, home, kind, _ in PEOPLE.values()}
            wanted.pop("Election ISAC")
            pks = await members.add_organizations(conn, list(wanted.values()))
            pks["Election ISAC"] = (await members.steward(conn)).organization
            people = {}
            for person, (name, _, _, role) in PEOPLE.items():
                (key,) = await members.create_keys(conn, {pks[name]: role}, "test", times.now())
                holder = await members.keyholder(conn, key.key_id)
                shelf = (await members.collections(conn, holder))[0]
                people[person] = Person(key.key_id, key.secret, shelf.id)
    return people


_numbers = itertools.count()


@contextmanager
def copied(postgres: str) -> Iterator[str]:
    """The URL of a fresh copy of the template."""
    name = f"copy_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template_isac")
    yield database.create(postgres, name)
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres: str, template: dict[str, Person]) -> Iterator[str]:
    """A fresh copy of the template."""
    assert template
    with copied(postgres) as url:
        yield url


def living_in(folder: Path) -> list[str]:
    """The processes whose working directory is in the folder, or was before it was removed."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd").startswith(f"{folder}/"):
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.fixture
def people(template: dict[str, Person]) -> dict[str, Person]:
    """Keys by name: see PEOPLE. A dictionary of its own, for a test may add somebody."""
    return dict(template)


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine; all of one test run in one loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run


@pytest.fixture
def pool(database_url: str, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> Iterator[Pool]:
    """An open pool on the test's database, for coroutines driven by `run`."""
    context = database.pool(database_url, size=40)
    yield run(context.__aenter__())
    run(context.__aexit__(None, None, None))


@pytest.fixture
def server(database_url: str) -> Iterator[Running]:
    """The application behind a real uvicorn."""
    with serving(database_url) as running:
        yield running


class serving:
    """A context in which the application answers on a free port."""

    def __init__(
        self,
        database_url: str,
        *,
        free: bool = False,
        limited: bool = False,
        max_content_length: int = 100 * 1024 * 1024,
        own: Certificate | None = None,
        certificate_header: bytes = b"",
        proxies: str = "127.0.0.1",
        feeds: Path | None = None,
        samples: bool = False,
    ) -> None:
        self.app = create_app(
            database_url=database_url,
            free=free,
            samples=samples,
            limited=limited,
            max_content_length=max_content_length,
            feeds=feeds,
        )
        self._scheme = "https" if own else "http"
        config = uvicorn.Config(
            self.app,
            host="127.0.0.1",
            port=0,
            loop="uvloop",
            http=cast("type[TaxiiProtocol]", partial(TaxiiProtocol, certificate_header=certificate_header)),
            log_config=None,
            ssl_context_factory=partial(server_module._tls, own) if own else None,
            forwarded_allow_ips=proxies,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the server did not start")
            self._thread.join(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return Running(f"{self._scheme}://127.0.0.1:{port}")

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)


CORPUS = Path(os.environ.get("ISAC_CORPUS", Path(__file__).parents[2] / "shared" / "corpus"))
