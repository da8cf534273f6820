"""The recipes in docs/proxies.md: each proxy before a real server, and what passes through it."""

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
import uvloop
from tests.authorities import Authority, Issued
from tests.conftest import Person, Running, serving
from tests.serve.conftest import TAXII, is_error
from tests.serve.test_certificates import rfc_9440
from tests.test_tls import made, trusting

from isac import times
from isac.server import Certificate
from isac.store import database, members

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with"),
    pytest.mark.slow,
]

PAGE = (Path(__file__).parents[1] / "docs" / "proxies.md").read_text(encoding="utf-8")
MAX_BYTES = 1_000_000


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return made(tmp_path_factory.mktemp("tls"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def recipe(name: str, clients: str | None, *ours: tuple[str, str]) -> str:
    """The page's words, with ports and files of this test; for client certificates with an authority's file."""
    (text,) = re.findall(rf"^```{name}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    if clients:
        assert "/etc/ssl/isac/clients.pem" in text
        text = re.sub(r"^(\s*)#(\S|\t)", r"\1\2", text, flags=re.MULTILINE)
        text = text.replace("/etc/ssl/isac/clients.pem", clients)
    for words, here in ours:
        assert words in text
        text = text.replace(words, here)
    return str(text)


def nginx(folder: Path, port: int, behind: str, own: Certificate, clients: str | None) -> list[str]:
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = recipe(
        "nginx",
        clients,
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("127.0.0.1:8000", behind),
        ("/etc/ssl/isac/isac.pem", own.file),
        ("/etc/ssl/isac/isac.key", own.key),
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{paths}{text}}}\n"
    )
    return ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, port: int, behind: str, own: Certificate, clients: str | None) -> list[str]:
    (folder / "both.pem").write_text(Path(own.file).read_text() + Path(own.key).read_text())
    text = recipe(
        "haproxy",
        clients,
        ("bind :443", f"bind 127.0.0.1:{port}"),
        ("127.0.0.1:8000", behind),
        ("/etc/ssl/isac/isac-and-key.pem", str(folder / "both.pem")),
    )
    if clients:  # in place of the line above it
        text = re.sub(r"^ +bind .*alpn http/1.1\n", "", text, flags=re.MULTILINE)
    (folder / "haproxy.cfg").write_text(text)
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def caddy(folder: Path, port: int, behind: str, own: Certificate, clients: str | None) -> list[str]:
    named = f"tls {own.file} {own.key}"  # which elsewhere it gets by itself
    text = recipe(
        "caddy",
        clients,
        ("{\n\tservers", f"{{\n\tadmin off\n\tauto_https off\n\tstorage file_system {folder}\n\tservers"),
        ("isac.example.org {\n", f"https://localhost:{port} {{\n" + ("" if clients else f"\t{named}\n")),
        ("127.0.0.1:8000", behind),
        *([("\ttls {", f"\t{named} {{")] if clients else []),
    )
    (folder / "Caddyfile").write_text(text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


Kind = Callable[[Path, int, str, Certificate, str | None], list[str]]


def kinds(*several: Kind) -> pytest.MarkDecorator:
    """A test with each of these proxies that is there."""
    there = [
        pytest.param(
            kind,
            marks=pytest.mark.skipif(shutil.which(kind.__name__) is None, reason=f"there is no {kind.__name__}"),
            id=kind.__name__,
        )
        for kind in several
    ]
    return pytest.mark.parametrize("kind", there)


class Proxy:
    """A proxy as a child, before the server; `http` asks it."""

    def __init__(self, kind: Kind, folder: Path, behind: str, own: Certificate, clients: str | None = None) -> None:
        self.port, self._own = free_port(), own
        command = kind(folder, self.port, behind, own, clients)
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._log = folder / "log"
        self.http = self.client()

    def client(self, shows: Issued | None = None) -> httpx2.Client:
        trust = trusting(self._own)
        return httpx2.Client(
            base_url=f"https://localhost:{self.port}",
            verify=shows.shown_to(trust) if shows else trust,
            trust_env=False,
            timeout=20,
        )

    def __enter__(self) -> "Proxy":
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                assert self._process.poll() is None, self._log.read_text()
                time.sleep(0.02)
            else:
                return self
        raise AssertionError("the proxy does not answer")

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it waits for its connections
            self._process.kill()
            self._process.wait(timeout=5)


@pytest.fixture
def behind(database_url: str) -> Iterator[Running]:
    with serving(database_url, limited=True, max_content_length=MAX_BYTES) as running:
        yield running


@kinds(nginx, haproxy, caddy)
def test_the_recipe(kind: Kind, behind: Running, people: dict[str, Person], tmp_path: Path, own: Certificate) -> None:
    clerk = people["franklin_submitter"]
    key = (clerk.key_id, clerk.secret)
    shelf = f"/elections/collections/{clerk.collection}/objects/"
    with Proxy(kind, tmp_path, behind.base.removeprefix("http://"), own) as proxy:
        http = proxy.http
        assert is_error(http.get("/taxii2/"), 401)
        assert http.get("/taxii2/", auth=key).json()["api_roots"] == ["/elections/"]
        assert http.get("/taxii2", auth=key).status_code == 200, "no slash, no redirect"
        assert http.get("/elections//collections/", auth=key).status_code == 200, "doubled slashes"
        page = http.get(shelf, auth=key)
        assert page.headers["content-type"] == TAXII
        assert len(page.json()["objects"]) == 9
        again = http.get(shelf, auth=key, headers={"If-None-Match": page.headers["etag"]})
        assert again.status_code == 304
        assert http.get(shelf, auth=key, params={"match[id]": ",".join(ids(1000))}).json() == {}

        head = {"Content-Type": TAXII}
        assert is_error(http.post(shelf, auth=key, headers=head, content=b"x" * (MAX_BYTES + 1)), 413)
        assert is_error(http.post(shelf, auth=key, headers=head, content=iter([b"x" * 100_000] * 11)), 413)
        assert is_error(http.post(shelf, auth=key, headers=head, content=b"{"), 400)
        assert is_error(http.get("/taxii2/", headers={f"X-{n}": "x" for n in range(100)}), 431)
        status, content_type, error = asked(
            proxy.port, own, b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"x" * 65_000)
        )
        assert (status, content_type, error["http_status"]) == (414, TAXII, "414")

        # Whatever they say of themselves, they come from one address.
        guesses = [
            http.get("/taxii2/", auth=("x", f"guess {n}"), headers={"X-Forwarded-For": f"192.0.2.{n}"})
            for n in range(30)
        ]
        assert is_error(guesses[-1], 429)
        assert guesses[-1].headers["retry-after"]
        assert http.get("/taxii2/", auth=key).status_code == 200


def ids(number: int) -> list[str]:
    return [f"tool--{uuid.uuid4()}" for _ in range(number)]


@pytest.mark.taxii("A-27", "L-2")
@kinds(nginx, haproxy, caddy)
def test_a_server_that_is_away_is_a_taxii_error(kind: Kind, tmp_path: Path, own: Certificate) -> None:
    with Proxy(kind, tmp_path, f"127.0.0.1:{free_port()}", own) as proxy:
        away = proxy.http.get("/taxii2/")
        assert away.status_code == 503
        assert away.headers["retry-after"] == "5"
        assert away.headers["content-type"] == TAXII
        assert away.json()["http_status"] == "503"
        assert away.json()["title"]
        assert away.json()["error_id"]


@pytest.mark.taxii("A-27", "L-2")
@kinds(nginx)
def test_what_nginx_cannot_understand_is_a_taxii_error(kind: Kind, tmp_path: Path, own: Certificate) -> None:
    with Proxy(kind, tmp_path, f"127.0.0.1:{free_port()}", own) as proxy:
        long = b"x" * 100_000
        for own_or_plain, sent, status in (
            (own, b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % long, 414),
            (own, b"GET / HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % long, 400),
            (own, b"nonsense\r\n\r\n", 400),
            (None, b"GET /taxii2/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ):
            found, content_type, error = asked(proxy.port, own_or_plain, sent)
            assert (found, content_type, error["http_status"]) == (status, TAXII, str(status))
            assert error["title"]
            assert error["error_id"]


def asked(port: int, own: Certificate | None, sent: bytes) -> tuple[int, str, dict[str, str]]:
    """Status, media type and error of the answer to these bytes, sent in TLS or without."""
    with contextlib.ExitStack() as stack:
        talk = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        if own:
            talk = stack.enter_context(trusting(own).wrap_socket(talk, server_hostname="127.0.0.1"))
        file = stack.enter_context(talk.makefile("rb"))
        with contextlib.suppress(ConnectionError):  # it may hang up before all is sent
            talk.sendall(sent)
        status = int(file.readline().split()[1])
        headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(file.readline, b"\r\n"))
        return status, headers["content-type"], json.loads(file.read(int(headers["content-length"])))


@pytest.mark.taxii("T-7", "L-1")
@kinds(nginx, haproxy, caddy)
def test_t7_the_recipe_with_client_certificates(
    kind: Kind, database_url: str, people: dict[str, Person], tmp_path: Path, own: Certificate
) -> None:
    authority, another = Authority(tmp_path, "authority"), Authority(tmp_path, "another")
    clerk, unknown, stranger = (
        each.issues(name, ends=timedelta(days=2))
        for each, name in ((authority, "clerk"), (authority, "unknown"), (another, "stranger"))
    )
    person = people["franklin"]

    async def give() -> None:
        async with database.pool(database_url, size=1) as pool, pool.connection() as conn:
            await members.change_certificate(conn, person.key_id, clerk.fingerprint, "test", times.now())

    uvloop.run(give())
    shelf = f"/elections/collections/{person.collection}/objects/"
    with (
        serving(database_url, certificate_header=b"client-cert") as running,
        Proxy(kind, tmp_path, running.base.removeprefix("http://"), own, authority.own.file) as proxy,
        proxy.client(clerk) as as_clerk,
        proxy.client(unknown) as as_unknown,
        proxy.client(stranger) as as_stranger,
    ):
        plain = proxy.http.get(shelf, auth=(person.key_id, person.secret))
        assert plain.status_code == 200
        assert as_clerk.get(shelf).content == plain.content
        none = proxy.http.get(shelf)
        assert is_error(none, 401)
        assert is_error(as_unknown.get(shelf), 401)
        assert refused(as_stranger, shelf)
        for forged in forgeries(clerk):
            answer = proxy.http.get(shelf, headers=forged)
            assert is_error(answer, 401)
            assert answer.json()["description"] == none.json()["description"], "it has not passed on anything"
            assert is_error(as_unknown.get(shelf, headers=forged), 401)


@pytest.mark.taxii("T-7", "T-10")
@kinds(nginx, haproxy, caddy)
def test_t7_the_recipe_without_client_certificates_passes_none_on(
    kind: Kind, database_url: str, people: dict[str, Person], tmp_path: Path, own: Certificate
) -> None:
    """Whoever sets the server's setting and forgets the proxy's has opened nothing."""
    clerk = Authority(tmp_path, "authority").issues("clerk", ends=timedelta(days=2))
    with (
        serving(database_url, certificate_header=b"client-cert") as running,
        Proxy(kind, tmp_path, running.base.removeprefix("http://"), own) as proxy,
    ):
        none = proxy.http.get("/taxii2/").json()["description"]
        for forged in forgeries(clerk):
            assert proxy.http.get("/taxii2/", headers=forged).json()["description"] == none


def forgeries(issued: Issued) -> list[dict[str, str] | list[tuple[str, str]]]:
    named = [rfc_9440(issued), urllib.parse.quote(Path(issued.file).read_text())]
    return [{"Client-Cert": named[0]}, {"client-cert": named[1]}, [("Client-Cert", named[0]), ("client-cert", "")]]


def refused(http: httpx2.Client, path: str) -> bool:
    """By the proxy: in TLS, or nginx with a 400 of its own."""
    try:
        return is_400(http.get(path))
    except httpx2.TransportError:
        return True


def is_400(answer: httpx2.Response) -> bool:
    return answer.status_code == 400 and answer.headers["content-type"] == TAXII
