"""Run the application: uvicorn with one worker in this process, or its supervisor with several; with TLS or without."""

import asyncio
import contextlib
import errno
import functools
import gc
import logging
import re
import resource
import signal
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NoReturn, cast

import uvicorn
import uvloop
from uvicorn.supervisors import Multiprocess

from isac.app import Application, create_app
from isac.errors import Invalid, Surroundings
from isac.serve.connections import TaxiiProtocol
from isac.store.follower import Written

log = logging.getLogger(__name__)

#: seconds that answers under way get when the server is told to stop
GRACE = 5
#: connections that the kernel keeps until a worker takes them
BACKLOG = 2048


def listen(host: str, port: int, also: str = "") -> socket.socket:
    """Take the port now, so that a taken one is known before anything else is done. Port 0 is any free one.

    `also` is another way than `--port` to choose one, but for the number: for the sentence that refuses.
    """
    taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        # Bound alone it is not taken: with SO_REUSEADDR another may bind it, too, until one of them listens.
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        raise Surroundings(refused(host, port, also, error)) from error
    taken.set_inheritable(True)
    return taken


def refused(host: str, port: int, also: str, error: OSError) -> str:
    """Why the port cannot be had, and what to do."""
    if error.errno == errno.EACCES and port < 1024:
        return f"Ports below 1024 need root, and {port} is one. {_choose(8000, also)}"
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is not free ({error.strerror}). {_choose(_next_free(host, port), also)}"
    return f"This machine cannot listen on {host}, port {port} ({error.strerror}). Choose others: --host, --port"


def _choose(port: int, also: str) -> str:
    return f"Choose another: --port {port}" + (f", or {also}{port}" if also else "")


def _next_free(host: str, port: int) -> int:
    """The first free port above it, or 0, which is any."""
    for higher in range(max(port + 1, 1024), 65536):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried, contextlib.suppress(OSError):
            tried.bind((host, higher))
            return higher
    return 0


@dataclass(frozen=True, slots=True)
class Certificate:
    """Who this server is: PEM files, the server's own certificate before those that vouch for it."""

    file: str
    #: empty: it stands in the same file
    key: str = ""
    #: those who vouch for clients; empty: no client is asked for a certificate
    client_ca: str = ""

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 and 1.3 (TAXII 2.1 §8.2.2; Python has no 0-RTT). Raises Invalid for files that will not do."""
        for path in filter(None, (self.file, self.key, self.client_ca)):
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                raise Invalid(
                    f"{path} cannot be read ({error.strerror}). It is named in the settings for TLS."
                ) from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Of Python's suites for TLS 1.2 those that RFC 7540 Appendix A does not forbid; 1.3 has no others.
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.file, self.key or None, self._no_password)
        except ssl.SSLError as error:
            raise Invalid(self._wrong(error)) from error
        if self.client_ca:
            self._ask_clients(context)
        return context

    def _ask_clients(self, context: ssl.SSLContext) -> None:
        """Who has a certificate shows it, and is refused unless it is valid (RFC 5280 §6); others have a key."""
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(self.client_ca)
        except ssl.SSLError as error:
            raise Invalid(
                f"{self.client_ca} does not hold certificates of authorities in PEM ({error.reason or error.strerror})."
            ) from error

    def _no_password(self) -> NoReturn:
        # Without this, OpenSSL asks on the terminal, and a service waits there for ever.
        raise Invalid(f"The key in {self.key or self.file} is locked with a password. Put it into a file without one.")

    def _wrong(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"The key in {self.key or self.file} does not belong to the certificate in {self.file}."
        if error.reason == "EE_KEY_TOO_SMALL":
            return f"The key of the certificate in {self.file} is too short; RSA needs 2048 bits."
        wanted = "a certificate" if self.key else "a certificate and its key"
        behind = f", or {self.key} no key," if self.key else ""
        return f"{self.file} does not hold {wanted}{behind} in PEM ({error.reason or error.strerror})."


def certificate(file: str, key: str, client_ca: str = "") -> Certificate | None:
    """What the settings name, looked at; None for nothing. Raises Invalid."""
    if not file:
        if key:
            raise Invalid("ISAC_TLS_KEY is set and ISAC_TLS_CERTIFICATE is not: TLS needs both.")
        if client_ca:
            raise Invalid("ISAC_TLS_CLIENT_CA is set and ISAC_TLS_CERTIFICATE is not: clients show theirs in TLS only.")
        return None
    found = Certificate(file, key, client_ca)
    found.context()
    return found


def certificate_header(name: str, proxies: str) -> bytes:
    """The header in which trusted proxies name client certificates, as it is compared. Raises Invalid.

    A certificate is no secret. Were everybody a trusted proxy, everybody could be anybody.
    """
    if name and not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise Invalid(f"ISAC_CLIENT_CERTIFICATE_HEADER is {name!r}, which is no header's name. Usual is: Client-Cert")
    if name and any(each.strip() == "*" or each.strip().endswith("/0") for each in proxies.split(",")):
        raise Invalid(
            "ISAC_TRUSTED_PROXIES is everybody, so ISAC_CLIENT_CERTIFICATE_HEADER would let everybody in. "
            "Name the proxies' own addresses."
        )
    return name.lower().encode()


def _tls(own: Certificate, config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    # A function of the module, since it travels to the workers; each reads the files when it starts.
    return own.context()


class Loop(uvloop.Loop):
    """uvloop, which gives a client that opens TLS less than a minute: until then it counts nowhere."""

    handshake_seconds: ClassVar[float] = 10

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        if kwargs.get("ssl"):
            kwargs["ssl_handshake_timeout"] = self.handshake_seconds
        return cast("asyncio.Server", await super().create_server(*args, **kwargs))


def run(
    listening: socket.socket,
    database_url: str,
    *,
    workers: int = 1,
    max_content_length: int,
    public: bool = False,
    free: bool = False,
    samples: bool = False,
    own: Certificate | None = None,
    proxies: str = "127.0.0.1",
    client_header: bytes = b"",
    feeds: Path | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called once the server answers.

    `public` opens the public collection to whoever has no key, `free` is the sandbox's road, `samples` lets submissions
    say that they are made up. What `proxies` say of their clients' addresses is believed, and of their certificates in
    `client_header` (lower case). `feeds` are defined in that folder.
    """
    _open_files()
    application = functools.partial(
        _application,
        database_url=database_url,
        max_content_length=max_content_length,
        public=public,
        free=free,
        samples=samples,
        written=Written(),
        feeds=feeds,
    )
    config = uvicorn.Config(
        application,
        factory=True,
        workers=workers,
        # The plain event loop leaves Nagle's delay on sockets made by hand: 44 ms a request.
        loop="isac.server:Loop",
        # Called as a class would be, and travels to the workers.
        http=cast("type[TaxiiProtocol]", functools.partial(TaxiiProtocol, certificate_header=client_header)),
        ws="none",
        ssl_context_factory=functools.partial(_tls, own) if own else None,
        forwarded_allow_ips=proxies,
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE,
        backlog=BACKLOG,
    )
    # uvicorn raises a signal that ended it once more when it is done: SIGTERM, too, must let the caller clean up.
    stop_cleanly()
    threading.Thread(target=_announce, args=(listening.getsockname()[:2], own, ready), daemon=True).start()
    if workers > 1:
        Multiprocess(config, sockets=[listening]).run()
    else:
        uvicorn.Server(config).run(sockets=[listening])


def _application(**settings: Any) -> Application:
    """In each worker, once: what is loaded stays, and what an answer needs is freed without the garbage collector.

    With its defaults it searches some times in every submission, while all others wait.
    """
    application = create_app(**settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    return application


def stop_cleanly() -> None:
    """Let SIGTERM and a closed terminal end the program as SIGINT does: whoever has something to remove removes it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _open_files() -> None:
    """Let a worker open as many connections as its limit says, where the system allows it."""
    wanted = TaxiiProtocol.limits.connections * 9 // 8 + 200  # and some for the database
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < wanted:
        log.warning(
            "few open files", extra={"allowed": possible, "wanted": wanted, "remedy": "ulimit -Hn, LimitNOFILE="}
        )


def _announce(address: tuple[str, int], own: Certificate | None, ready: Callable[[], None]) -> None:
    """Ask once: the kernel keeps the question until a worker answers, be it with 401."""
    host, port = address
    blind = ssl.create_default_context()  # we ask ourselves, by an address that stands in no certificate
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=blind))
    scheme = "https" if own else "http"
    try:
        direct.open(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/taxii2/", timeout=60)
    except urllib.error.HTTPError:
        pass
    except OSError:
        return
    ready()
