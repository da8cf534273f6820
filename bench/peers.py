"""What we are measured beside, each a process of its own on 127.0.0.1.

`python -m bench.peers bare FOLDER PORT`: an ASGI app without any work, which answers a query string with the bytes that
were recorded for it, on the same event loop and HTTP parser as ours. `python -m bench.peers medallion FILE PORT`:
medallion 3.0.0 with its memory backend on werkzeug's server.
"""

import http.client
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from bench.clients import TAXII, Recorded, Target, basic

ROOT = Path(__file__).parent.parent
#: of medallion's only collection and its only user
COLLECTION = "365fed99-08fa-4fdc-a1b3-fb247eb41d01"
USER, PASSWORD = "bench", "bench"

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Bare:
    """Answers from memory by the path and the query string, with status and headers of the recorded answer."""

    def __init__(self, answers: Mapping[str, Recorded]) -> None:
        self._answers = {
            tuple(asked.encode().split(b"?", 1)): (
                {
                    "type": "http.response.start",
                    "status": answer.status,
                    "headers": [(name.encode(), text.encode()) for name, text in answer.headers],
                },
                {"type": "http.response.body", "body": answer.body},
            )
            for asked, answer in answers.items()
        }

    async def __call__(self, scope: dict[str, Any], receive: object, send: Send) -> None:
        start, body = self._answers[scope["raw_path"], scope["query_string"]]
        await send(start)
        await send(body)


def keep(answers: Mapping[str, Recorded], folder: Path) -> None:
    """Write recorded answers, by path and query, where `bare` reads them."""
    folder.mkdir()
    for number, answer in enumerate(answers.values()):
        (folder / str(number)).write_bytes(answer.body)
    heads = [(asked, answer.status, answer.headers) for asked, answer in answers.items()]
    (folder / "heads.json").write_text(json.dumps(heads), encoding="utf-8")


@contextmanager
def bare(folder: Path, port: int) -> Iterator[Target]:
    """The bare app while the context lasts."""
    target = Target(port, "/objects/", {})
    with child([sys.executable, "-m", "bench.peers", "bare", str(folder), str(port)]) as process:
        await_answer(process, port)
        yield target


@contextmanager
def medallion(folder: Path, port: int) -> Iterator[Target]:
    """medallion with one empty collection while the context lasts."""
    settings = folder / "medallion.json"
    settings.write_text(json.dumps(_medallion_settings(folder)), encoding="utf-8")
    target = Target(port, f"/bench/collections/{COLLECTION}/objects/", basic(USER, PASSWORD))
    with child([sys.executable, "-m", "bench.peers", "medallion", str(settings), str(port)]) as process:
        await_answer(process, port)
        yield target


@contextmanager
def child(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program of ours, ended by its pid. In a session of its own: Ctrl-C is for us, and we end it in order."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program that we started, gently if it lets us."""
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def await_answer(process: subprocess.Popen[bytes], port: int, seconds: float = 20) -> None:
    """Return once anything answers there; raise RuntimeError where the program ended or took too long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            line.request("GET", "/?alive")
            line.getresponse().read()
            line.close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not answer")


def _medallion_settings(folder: Path) -> dict[str, object]:
    information = {"title": "bench", "versions": [TAXII], "max_content_length": 100 << 20}
    collection = {
        "id": COLLECTION,
        "title": "bench",
        "can_read": True,
        "can_write": True,
        "media_types": ["application/stix+json;version=2.1"],
        "manifest": [],
        "objects": [],
    }
    stock = {
        "/discovery": {"title": "bench", "default": "/bench/", "api_roots": ["/bench/"]},
        "bench": {"information": information, "status": [], "collections": [collection]},
    }
    (folder / "stock.json").write_text(json.dumps(stock), encoding="utf-8")
    backend = {
        "module": "medallion.backends.memory_backend",
        "module_class": "MemoryBackend",
        "filename": str(folder / "stock.json"),
    }
    return {"users": {USER: PASSWORD}, "taxii": {"max_page_size": 1000}, "backend": backend}


def _serve_bare(folder: Path, port: int) -> None:
    heads = json.loads((folder / "heads.json").read_text(encoding="utf-8"))
    answers = {
        asked: Recorded(status, headers, (folder / str(number)).read_bytes())
        for number, (asked, status, headers) in enumerate(heads)
    }
    app = Bare({"/?alive": Recorded(200, [("content-length", "0")], b""), **answers})
    serve(app, port)


def serve(app: Any, port: int, **more: Any) -> None:
    """An app that is measured beside ours, on the same event loop and HTTP parser."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        server_header=False,
        log_level="warning",
        **more,
    )


def _serve_medallion(settings: Path, port: int) -> None:
    from medallion import load_app  # noqa: PLC0415 - Flask and all, which the bare app must not carry

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    load_app(str(settings)).run("127.0.0.1", port, threaded=True)


if __name__ == "__main__":
    {"bare": _serve_bare, "medallion": _serve_medallion}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
