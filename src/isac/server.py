"""Run the application: uvicorn with one worker in this process, or its supervisor with several."""

import contextlib
import errno
import functools
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from isac.app import create_app
from isac.errors import Surroundings
from isac.serve.connections import TaxiiProtocol

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


def run(
    listening: socket.socket,
    database_url: str,
    *,
    workers: int = 1,
    max_content_length: int,
    public: bool = False,
    free: bool = False,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called once the server answers.

    `public` opens the public collection to whoever has no key, `free` is the sandbox's road.
    """
    application = functools.partial(
        create_app,
        database_url=database_url,
        max_content_length=max_content_length,
        public=public,
        free=free,
    )
    config = uvicorn.Config(
        application,
        factory=True,
        workers=workers,
        # The plain event loop leaves Nagle's delay on sockets made by hand: 44 ms a request.
        loop="uvloop",
        http=TaxiiProtocol,
        ws="none",
        timeout_keep_alive=int(TaxiiProtocol.limits.idle_seconds),
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE,
        backlog=BACKLOG,
    )
    # uvicorn raises a signal that ended it once more when it is done: SIGTERM, too, must let the caller clean up.
    stop_cleanly()
    threading.Thread(target=_announce, args=(listening.getsockname()[:2], ready), daemon=True).start()
    if workers > 1:
        Multiprocess(config, sockets=[listening]).run()
    else:
        uvicorn.Server(config).run(sockets=[listening])


def stop_cleanly() -> None:
    """Let SIGTERM and a closed terminal end the program as SIGINT does: whoever has something to remove removes it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _announce(address: tuple[str, int], ready: Callable[[], None]) -> None:
    """Ask once: the kernel keeps the question until a worker answers, be it with 401."""
    host, port = address
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(f"http://{f'[{host}]' if ':' in host else host}:{port}/taxii2/", timeout=60)
    except urllib.error.HTTPError:
        pass
    except OSError:
        return
    ready()
