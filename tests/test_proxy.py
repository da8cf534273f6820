"""The recipe for nginx in docs/proxies.md: nginx before a real server, and what passes through it."""

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.conftest import Person, Running, serving
from tests.serve.conftest import TAXII, is_error
from tests.test_tls import made, trusting

from isac.server import Certificate

pytestmark = [
    pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx"),
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


def recipe(port: int, behind: str, own: Certificate) -> str:
    """The page's words, with ports and files of this test."""
    (text,) = re.findall(r"^```nginx\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for words, ours in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("127.0.0.1:8000", behind),
        ("/etc/ssl/isac/isac.pem", own.file),
        ("/etc/ssl/isac/isac.key", own.key),
    ):
        assert words in text
        text = text.replace(words, ours)
    return str(text)


class Nginx:
    """nginx as a child, before the server; `http` asks it."""

    def __init__(self, folder: Path, behind: str, own: Certificate) -> None:
        self.port = free_port()
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{}}\nhttp {{ access_log off;\n{paths}{recipe(self.port, behind, own)}}}\n"
        )
        command = ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE)
        self.http = httpx2.Client(
            base_url=f"https://127.0.0.1:{self.port}", verify=trusting(own), trust_env=False, timeout=20
        )

    def __enter__(self) -> "Nginx":
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                assert self._process.poll() is None, self._process.communicate()
                time.sleep(0.02)
            else:
                return self
        raise AssertionError("nginx does not answer")

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=10)


@pytest.fixture
def behind(database_url: str) -> Iterator[Running]:
    with serving(database_url, limited=True, max_content_length=MAX_BYTES) as running:
        yield running


def test_the_recipe(behind: Running, people: dict[str, Person], tmp_path: Path, own: Certificate) -> None:
    clerk = people["franklin_submitter"]
    key = (clerk.key_id, clerk.secret)
    shelf = f"/elections/collections/{clerk.collection}/objects/"
    with Nginx(tmp_path, behind.base.removeprefix("http://"), own) as nginx:
        http = nginx.http
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
        status, content_type, error = asked(nginx.port, own, b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 65_000))
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
def test_what_nginx_says_itself_is_a_taxii_error(tmp_path: Path, own: Certificate) -> None:
    with Nginx(tmp_path, f"127.0.0.1:{free_port()}", own) as nginx:
        away = nginx.http.get("/taxii2/")
        assert away.status_code == 503
        assert away.headers["retry-after"] == "5"
        assert away.headers["content-type"] == TAXII
        assert away.json()["http_status"] == "503"

        long = b"x" * 100_000
        for own_or_plain, sent, status in (
            (own, b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % long, 414),
            (own, b"GET / HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % long, 400),
            (own, b"nonsense\r\n\r\n", 400),
            (None, b"GET /taxii2/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ):
            found, content_type, error = asked(nginx.port, own_or_plain, sent)
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
