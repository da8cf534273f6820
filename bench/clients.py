"""The clients: one that loads, one that polls and reads what it gets, one that only counts answers."""

import asyncio
import base64
import http.client
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

import orjson
import uvloop

from bench import stix

TAXII = "application/taxii+json;version=2.1"
#: objects in one POST, and who posts at once
ENVELOPE, WRITERS = 1000, 2
#: seconds that one request may take
PATIENCE = 60


@dataclass(frozen=True)
class Target:
    """An objects endpoint on 127.0.0.1; `headers` are the credentials."""

    port: int
    path: str
    headers: Mapping[str, str]

    def sending(self, headers: Mapping[str, str]) -> "Target":
        """The same with more headers."""
        return Target(self.port, self.path, {**self.headers, **headers})

    def get(self, **query: object) -> str:
        return f"{self.path}?{urlencode(query)}" if query else self.path


@dataclass(frozen=True)
class Rate:
    """Answers per second; of each request's time the median and the 99th percentile, in milliseconds."""

    per_second: float
    p50: float
    p99: float
    #: how many answers, and the bytes that came, be they of an answer that was not complete when time was over
    answers: int = 0
    received: int = 0


@dataclass(frozen=True)
class Recorded:
    """An answer as it came, but for its date."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Page:
    """A page of a collection: how it is asked for, its objects, and the bytes of the answer's body as it comes."""

    path: str
    objects: int
    size: int


@dataclass
class Poll:
    """A collection read from its first page to its last."""

    seconds: float
    pages: list[Page]
    #: what was answered to which query string
    answers: dict[str, Recorded] = field(default_factory=dict)

    @property
    def objects(self) -> int:
        return sum(page.objects for page in self.pages)


def basic(user: str, password: str) -> dict[str, str]:
    """The header that shows a name and a password."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


# ---------------------------------------------------------------------------------------------------------- one by one


class Client:
    """One connection, which is made anew where the server closes it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._line = http.client.HTTPConnection("127.0.0.1", target.port, timeout=PATIENCE)

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """The answer's body, unpacked. Raises RuntimeError for any status but 200, 202 and 304."""
        answer = self.record(path, body)
        if ("content-encoding", "gzip") in answer.headers:
            return zlib.decompress(answer.body, wbits=31)
        return answer.body

    def record(self, path: str, body: bytes | None = None) -> Recorded:
        """The answer as it came. Raises RuntimeError for any status but 200, 202 and 304."""
        headers = {"Accept": TAXII, **self._target.headers}
        if body is not None:
            headers["Content-Type"] = TAXII
        self._line.request("GET" if body is None else "POST", path, body, headers)
        answer = self._line.getresponse()
        content = answer.read()
        if answer.status not in (200, 202, 304):
            raise RuntimeError(f"{answer.status} to {path}: {content[:300]!r}")
        told = [(name.lower(), text) for name, text in answer.getheaders() if name.lower() != "date"]
        return Recorded(answer.status, told, content)

    def close(self) -> None:
        self._line.close()


def load(target: Target, members: Sequence[bytes], writers: int = WRITERS) -> float:
    """Post everything and see that it was taken; answers the seconds that this took."""
    bodies = [(n := members[i : i + ENVELOPE], stix.envelope(n)) for i in range(0, len(members), ENVELOPE)]
    waiting = iter(bodies)
    lock, trouble = threading.Lock(), list[Exception]()

    def write() -> None:
        client = Client(target)
        try:
            while not trouble:
                with lock:
                    sent = next(waiting, None)
                if sent is None:
                    return
                status = orjson.loads(client.ask(target.path, sent[1]))
                if status["status"] != "complete" or status["success_count"] != len(sent[0]):
                    raise RuntimeError(f"not all was taken: {str(status)[:300]}")
        except Exception as error:  # noqa: BLE001 - told to the one who waits
            trouble.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=write, daemon=True) for _ in range(writers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if trouble:
        raise trouble[0]
    return time.perf_counter() - began


def poll(target: Target, limit: int, keep: bool = False) -> Poll:
    """Read the collection page by page, every page parsed; with `keep` the answers are kept for the bare app."""
    client = Client(target)
    query: dict[str, object] = {"limit": limit}
    answers: dict[str, Recorded] = {}
    pages: list[Page] = []
    more = True
    began = time.perf_counter()
    while more:
        path = target.get(**query)
        answer = client.record(path)
        packed = ("content-encoding", "gzip") in answer.headers
        page = orjson.loads(zlib.decompress(answer.body, wbits=31) if packed else answer.body)
        pages.append(Page(path, len(page.get("objects", ())), len(answer.body)))
        more = page.get("more", False)
        query["next"] = page.get("next")
        if keep:
            answers[path.partition("?")[2]] = answer
    seconds = time.perf_counter() - began
    client.close()
    return Poll(seconds, pages, answers)


def one_by_one(target: Target, paths: Sequence[str], runs: int, seconds: float) -> Rate:
    """The rate of one client at a slow server: at most `runs` requests, none begun after so many seconds."""
    client = Client(target)
    times: list[float] = []
    until = time.perf_counter() + seconds
    for run in range(runs):
        began = time.perf_counter()
        if times and began > until:
            break
        client.ask(paths[run % len(paths)])
        times.append(time.perf_counter() - began)
    client.close()
    middle = statistics.median(times)
    return Rate(1 / middle, middle * 1000, max(times) * 1000)


# -------------------------------------------------------------------------------------------------------- many at once


def rate(
    target: Target, paths: Sequence[str], connections: int, seconds: float, keys: Sequence[str] | None = None
) -> Rate:
    """How many answers a second so many connections get; each asks anew as soon as it has its answer.

    The paths are asked for in their order, again and again; with `keys` each under an Authorization of its own.
    """
    asked = list(zip(paths, keys, strict=True)) if keys else [(path, "") for path in paths]
    if has_wrk():
        return _wrk(target, asked, connections, seconds)
    return uvloop.run(_rate(target, asked, connections, seconds))


def has_wrk() -> bool:
    """Is wrk installed? Our own client takes more processor time for an answer."""
    return shutil.which("wrk") is not None


def read(target: Target, pages: Sequence[Page], connections: int, seconds: float) -> float:
    """Objects a second of whole pages, which are asked for in their order, again and again, and not parsed."""
    return objects_in(rate(target, [page.path for page in pages], connections, seconds), pages, connections)


def objects_in(told: Rate, pages: Sequence[Page], connections: int) -> float:
    """Objects a second in the answers. Raises RuntimeError where they do not have as many bytes as the pages."""
    check(told, [page.size for page in pages], connections)
    rounds, rest = divmod(told.answers, len(pages))
    objects = rounds * sum(page.objects for page in pages) + sum(page.objects for page in pages[:rest])
    return objects * told.per_second / told.answers


def check(told: Rate, sizes: Sequence[int], connections: int) -> None:
    """Raise RuntimeError where the bytes that came are not those of the bodies, asked for in turns, and their heads."""
    rounds, rest = divmod(told.answers, len(sizes))
    bodies = rounds * sum(sizes) + sum(sizes[:rest])
    under_way = connections * (max(sizes) + _HEAD)
    if not bodies - under_way <= told.received <= bodies + told.answers * _HEAD + under_way:
        raise RuntimeError(f"{told.received:,} bytes came in {told.answers:,} answers instead of {bodies:,}")


#: bytes that the head of an answer has at most
_HEAD = 1000
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class _Line(asyncio.Protocol):
    """One connection: a request, its whole answer, the next request."""

    def __init__(
        self, requests: Sequence[bytes], first: int, step: int, until: float, done: asyncio.Future[None]
    ) -> None:
        self._requests, self._next, self._step = requests, first, step
        self._until, self._done = until, done
        self._head = b""
        self._missing = 0
        self._began = 0.0
        self.times: list[float] = []
        self.received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        self._ask()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._head, 0, end + 2)
            if self._head[9:12] == b"304":
                self._missing = 0
            elif self._head[9:12] != b"200" or length is None:
                self._fail(RuntimeError(f"not an answer of 200 and a length, or of 304: {self._head[:200]!r}"))
                return
            else:
                self._missing = int(length[1]) - (len(self._head) - end - 4)
        if self._missing == 0:
            self.times.append(time.perf_counter() - self._began)
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or RuntimeError("the server closed the connection"))

    def _ask(self) -> None:
        self._head = b""
        self._began = time.perf_counter()
        if self._began < self._until:
            self._transport.write(self._requests[self._next % len(self._requests)])
            self._next += self._step
        elif not self._done.done():
            self._done.set_result(None)
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)
            self._transport.close()


async def _rate(target: Target, asked: Sequence[tuple[str, str]], connections: int, seconds: float) -> Rate:
    loop = asyncio.get_running_loop()
    said = {"Host": f"127.0.0.1:{target.port}", "Accept": TAXII, **target.headers}
    requests = [request(path, said | ({"Authorization": key} if key else {})) for path, key in asked]
    began = time.perf_counter()
    ends: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    lines = [_Line(requests, number, connections, began + seconds, end) for number, end in enumerate(ends)]
    for line in lines:
        await loop.create_connection(lambda line=line: line, "127.0.0.1", target.port)  # type: ignore[misc]
    async with asyncio.timeout(seconds + PATIENCE):
        await asyncio.gather(*ends)
    took = time.perf_counter() - began
    times = sorted(spent for line in lines for spent in line.times)
    received = sum(line.received for line in lines)
    return Rate(len(times) / took, _part(times, 0.5), _part(times, 0.99), len(times), received)


def request(path: str, headers: Mapping[str, str]) -> bytes:
    """A GET as it travels."""
    head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()


def _part(times: Sequence[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))] * 1000


# wrk asks once for itself, before it begins: so the first request that is sent is the first of the list.
_SCRIPT = """
local requests, at = {}, -1
function init(arguments)
  for line in io.lines(arguments[1]) do
    local path, key = line:match("^(%S+) ?(.*)$")
    local headers = {}
    for name, text in pairs(wrk.headers) do headers[name] = text end
    if key ~= "" then headers["Authorization"] = key end
    requests[#requests + 1] = wrk.format("GET", path, headers)
  end
end
function request() at = at % #requests + 1; return requests[at] end
function done(summary, latency)
  local bad = summary.errors
  print(string.format("counted %d %d %d %d %d %.0f", summary.requests, summary.duration,
    bad.connect + bad.read + bad.write + bad.status + bad.timeout, latency:percentile(50), latency:percentile(99),
    summary.bytes))
end
"""


def _wrk(target: Target, asked: Sequence[tuple[str, str]], connections: int, seconds: float) -> Rate:
    with tempfile.TemporaryDirectory() as folder:
        script, lines = Path(folder, "ask.lua"), Path(folder, "asked")
        script.write_text(_SCRIPT, encoding="utf-8")
        lines.write_text("".join(f"{path} {key}\n" for path, key in asked), encoding="utf-8")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={PATIENCE}s"]
        for name, text in {"Accept": TAXII, **target.headers}.items():
            command += ["-H", f"{name}: {text}"]
        command += ["-s", str(script), f"http://127.0.0.1:{target.port}/", "--", str(lines)]
        told = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE, check=True).stdout
    counted = re.search(r"^counted (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", told, re.MULTILINE)
    if counted is None or int(counted[3]) or not int(counted[1]):
        raise RuntimeError(f"wrk: {told[-500:]}")
    answers, micros, _, p50, p99, received = map(int, counted.groups())
    return Rate(answers / (micros / 1e6), p50 / 1000, p99 / 1000, answers, received)
