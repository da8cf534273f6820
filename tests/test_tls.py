"""TLS: what is served with a certificate, a new one taken without a gap, and sentences for those that will not do."""

import base64
import functools
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.authorities import Authority, openssl
from tests.conftest import Person
from tests.serve.test_connections import GET, Quick, serving

from isac import server
from isac.errors import Invalid
from isac.server import Certificate

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make certificates with")


def made(folder: Path, name: str = "isac") -> Certificate:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    folder.mkdir(exist_ok=True)
    own = Certificate(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"),
        *(
            "-subj",
            f"/CN={name}",
            "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-keyout",
            own.key,
            "-out",
            own.file,
        ),
    )
    return own


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return made(tmp_path_factory.mktemp("tls"))


# -------------------------------------------------------------------------------------------------------- what is wrong


def complaint(file: str, key: str = "", client_ca: str = "") -> str:
    with pytest.raises(Invalid) as caught:
        server.certificate(file, key, client_ca)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_no_settings_are_no_tls() -> None:
    assert server.certificate("", "") is None


def test_a_key_alone() -> None:
    assert complaint("", "x.key").startswith("ISAC_TLS_KEY is set and ISAC_TLS_CERTIFICATE is not")


def test_authorities_of_clients_without_a_certificate_of_ours() -> None:
    assert complaint("", client_ca="ca.pem").startswith("ISAC_TLS_CLIENT_CA is set and ISAC_TLS_CERTIFICATE is not")


def test_authorities_of_clients_that_cannot_be_read_or_are_none(own: Certificate, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("no PEM")
    assert complaint(own.file, own.key, "/nowhere.pem").startswith("/nowhere.pem cannot be read (No such file")
    assert complaint(own.file, own.key, str(other)).startswith(f"{other} does not hold certificates of authorities")


@pytest.mark.parametrize("name", ["Client Cert", "Client-Cert:", "é"])
def test_what_is_no_name_of_a_header(name: str) -> None:
    with pytest.raises(Invalid, match="which is no header's name"):
        server.certificate_header(name, "127.0.0.1")


@pytest.mark.parametrize("proxies", ["*", "127.0.0.1, 0.0.0.0/0", "::/0"])
def test_not_everybody_may_name_certificates(proxies: str) -> None:
    with pytest.raises(Invalid, match="ISAC_TRUSTED_PROXIES is everybody"):
        server.certificate_header("Client-Cert", proxies)
    assert server.certificate_header("", proxies) == b""


def test_files_that_cannot_be_read(own: Certificate, tmp_path: Path) -> None:
    assert complaint("/nowhere.pem").startswith("/nowhere.pem cannot be read (No such file")
    assert complaint(own.file, "/nowhere.key").startswith("/nowhere.key cannot be read (No such file")
    assert complaint(str(tmp_path)).startswith(f"{tmp_path} cannot be read (Is a directory")


def test_files_that_hold_something_else(own: Certificate, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("no PEM")
    assert complaint(str(other), own.key).startswith(f"{other} does not hold a certificate, or ")
    assert complaint(own.file, str(other)).startswith(f"{own.file} does not hold a certificate, or {other} no key")
    assert complaint(own.file).startswith(f"{own.file} does not hold a certificate and its key")


def test_the_key_of_another_certificate(own: Certificate, tmp_path: Path) -> None:
    other = made(tmp_path, "other")
    assert complaint(own.file, other.key) == f"The key in {other.key} does not belong to the certificate in {own.file}."


def test_a_locked_key_is_not_asked_for_on_the_terminal(own: Certificate, tmp_path: Path) -> None:
    locked = str(tmp_path / "locked.key")
    openssl("ec", "-in", own.key, "-aes128", "-passout", "pass:secret", "-out", locked)
    assert complaint(own.file, locked).startswith(f"The key in {locked} is locked with a password")


def test_one_file_may_hold_both(own: Certificate, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(own.file).read_text() + Path(own.key).read_text())
    assert server.certificate(str(both), "") == Certificate(str(both))


# ------------------------------------------------------------------------------------------------------- on the wire


def trusting(own: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=own.file)


class QuickLoop(server.Loop):
    handshake_seconds = 1


@pytest.fixture(scope="module")
def port(own: Certificate) -> Iterator[int]:
    tls = functools.partial(server._tls, own)
    with serving(Quick, loop="tests.test_tls:QuickLoop", ssl_context_factory=tls) as (port, _):
        yield port


@contextmanager
def line(port: int, own: Certificate, version: ssl.TLSVersion | None = None) -> Iterator[ssl.SSLSocket]:
    context = trusting(own)
    if version:
        context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as talk,
    ):
        yield talk


@pytest.mark.taxii("T-1")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_8_2_2_t1_tls_1_2_and_1_3(port: int, own: Certificate, version: ssl.TLSVersion) -> None:
    with line(port, own, version) as talk:
        talk.sendall(GET + b"\r\n")
        assert talk.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.taxii("T-1")
def test_t1_no_suite_that_rfc_7540_forbids_and_no_older_version(own: Certificate) -> None:
    context = own.context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    suites = context.get_ciphers()
    assert suites
    assert all(suite["aead"] and suite["kea"] in ("kx-ecdhe", "kx-any") for suite in suites)


@pytest.mark.taxii("T-17", "A-27")
def test_a27_what_is_no_http_is_a_taxii_error_here_as_well(port: int, own: Certificate) -> None:
    with line(port, own) as talk:
        talk.sendall(b"nonsense\r\n\r\n")
        answer = talk.recv(1000)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/taxii+json;version=2.1" in answer


def test_plain_http_is_not_served(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        plain.sendall(GET + b"\r\n")
        assert b"HTTP" not in plain.recv(100)


def test_whoever_does_not_open_tls_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        assert plain.recv(1) == b""


def test_clocks_run_here_as_well(port: int, own: Certificate) -> None:
    with line(port, own) as silent, line(port, own) as slow, line(port, own) as unread:
        unread.sendall(b"GET /large/ HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.sendall(b"GET /qui")
        assert silent.recv(1) == b""
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
        time.sleep(0.7)  # longer than the client has for reading
        size = 0
        with pytest.raises((ssl.SSLError, ConnectionError)):
            size = read_all(unread)
        assert size < 40_000_000


def read_all(talk: ssl.SSLSocket) -> int:
    size = 0
    while piece := talk.recv(1_000_000):
        size += len(piece)
    raise ConnectionError(f"closed after {size:,} bytes")


# ---------------------------------------------------------------------------------------------------------- isac serve


def asked(port: int, trust: ssl.SSLContext) -> tuple[str, int]:
    """Whose certificate it is, and the status of an answer."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as talk,
    ):
        talk.sendall(b"GET /taxii2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        subject: Any = (talk.getpeercert() or {})["subject"]
        return str(subject[0][0][1]), int(talk.recv(100).split()[1])


@pytest.mark.slow
def test_a_new_certificate_is_taken_at_sighup_without_a_gap_and_a_wrong_one_is_not(
    database_url: str, tmp_path: Path
) -> None:
    own, new = made(tmp_path), made(tmp_path, "new")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ISAC_", "PG"))}
    env = kept | {"ISAC_DATABASE_URL": database_url, "ISAC_TLS_CERTIFICATE": own.file, "ISAC_TLS_KEY": own.key}
    command = [str(Path(sys.executable).with_name("isac")), "serve", "--port", "0", "--workers", "2"]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            port = int(process.stderr.readline().rpartition(":")[2])
            assert asked(port, trusting(own)) == ("isac", 401)
            both = trusting(own)
            both.load_verify_locations(new.file)
            os.replace(new.file, own.file)
            os.replace(new.key, own.key)
            process.send_signal(signal.SIGHUP)
            new_ones = 0
            for _ in range(600):
                name, status = asked(port, both)
                assert status == 401
                new_ones = new_ones + 1 if name == "new" else 0
                if new_ones == 10:
                    break
                time.sleep(0.05)
            assert new_ones == 10

            Path(own.file).write_text("no PEM")
            process.send_signal(signal.SIGHUP)
            assert any("keeping worker" in line for line in iter(process.stderr.readline, ""))
            assert asked(port, both) == ("new", 401)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


@pytest.mark.slow
@pytest.mark.taxii("T-7")
@pytest.mark.parametrize("way", ["in TLS", "by a proxy"])
def test_t7_isac_serve_takes_client_certificates_where_its_settings_say_so(
    database_url: str, people: dict[str, Person], tmp_path: Path, way: str
) -> None:
    own, authority = made(tmp_path / "own"), Authority(tmp_path, "authority")
    clerk = authority.issues("clerk", ends=timedelta(days=2))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ISAC_", "PG"))}
    env = kept | {"ISAC_DATABASE_URL": database_url}
    isac = str(Path(sys.executable).with_name("isac"))
    give = [isac, "keys", "change", people["oak"].key_id, "--certificate", clerk.file]
    subprocess.run(give, env=env, check=True, timeout=60, stdout=subprocess.DEVNULL)
    if way == "in TLS":
        env |= {"ISAC_TLS_CERTIFICATE": own.file, "ISAC_TLS_KEY": own.key, "ISAC_TLS_CLIENT_CA": authority.own.file}
    else:
        env |= {"ISAC_CLIENT_CERTIFICATE_HEADER": "Client-Cert"}
    with subprocess.Popen(
        [isac, "serve", "--port", "0", "--workers", "2"], env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            port = int(process.stderr.readline().rpartition(":")[2])
            base, named = f"http://127.0.0.1:{port}", {"Client-Cert": f":{base64.b64encode(clerk.der).decode()}:"}
            if way == "in TLS":
                base, named = f"https://127.0.0.1:{port}", {}
            with httpx2.Client(verify=clerk.shown_to(trusting(own)), trust_env=False, timeout=20) as http:
                assert http.get(f"{base}/taxii2/", headers=named).status_code == 200
            with httpx2.Client(verify=trusting(own), trust_env=False, timeout=20) as http:
                assert http.get(f"{base}/taxii2/").status_code == 401
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def test_a_wrong_certificate_ends_isac_serve_with_a_sentence() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ISAC_", "PG"))}
    command = [str(Path(sys.executable).with_name("isac")), "serve", "--port", "0"]
    env = kept | {"ISAC_TLS_CERTIFICATE": "/nowhere.pem", "ISAC_DATABASE_URL": "postgresql://nobody@nowhere.example/x"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "error: /nowhere.pem cannot be read (No such file or directory). It is named in the settings for TLS.\n"
    )
