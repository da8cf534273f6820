"""Handing in over the API from elsewhere: what is told, what is retried, and that nothing is taken in twice."""

import asyncio
import io
import json
import ssl
import traceback
import uuid
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import typer
from tests.authorities import Authority
from tests.conftest import Person, Running
from tests.ingest.web import Asked, says, source

from isac import client
from isac.cli.submit import submit
from isac.client import Client
from isac.errors import Invalid, IsacError, Unprocessable, Unreachable
from isac.store import database

KEY = "isac_abcdefgh_hunter2"
TABLE = "text/csv"
ID = str(uuid.uuid4())
TAKEN = {
    "id": ID,
    "state": "complete",
    "audience": "us-oh",
    "counts": {"total": 1, "accepted": 1, "held": 0, "refused": 0, "repeated": 0, "left_out": 0},
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSE", 0.01)
    monkeypatch.setattr(client, "_LOOK", 0.01)


def taken(**more: Any) -> bytes:
    return says("200 OK", json.dumps({**TAKEN, **more}).encode(), Content_Type="application/json")


def problem(status: str, detail: str, **headers: str) -> bytes:
    body = json.dumps({"title": "x", "detail": detail}).encode()
    return says(status, body, Content_Type="application/problem+json", **headers)


def handed(
    answer: Callable[[Asked, int], bytes], tls: ssl.SSLContext | None = None, authorities: Path | None = None
) -> tuple[dict[str, Any] | IsacError, list[Asked]]:
    """What becomes of a document at a server that answers so, and what that was asked."""
    asked: list[Asked] = []

    async def both() -> dict[str, Any]:
        async def respond(one: Asked, out: asyncio.StreamWriter) -> None:
            asked.append(one)
            out.write(answer(one, len(asked)))

        async with (
            source(respond, tls=tls) as server,
            # What is on this machine goes by no proxy.
            Client(server.address, KEY, authorities=authorities, proxy="http://127.0.0.1:9") as ours,
        ):
            return await ours.submit(b"value\na.example\n", TABLE, {"audience": "us-oh"})

    try:
        return asyncio.run(both()), asked
    except IsacError as error:
        return error, asked


# ----------------------------------------------------------------------------------------- what a server may answer


REFUSED: dict[str, tuple[bytes, type[IsacError], str]] = {
    "no key": (problem("401 Unauthorized", "x"), Invalid, "does not know this key: it is mistyped or revoked"),
    "another's audience": (problem("404 Not Found", "No such one."), Invalid, "No such one. Look at the code behind"),
    "may not": (problem("403 Forbidden", "This key may read us."), Invalid, "This key may read us."),
    "no ISAC": (says("404 Not Found", b"<html>"), Invalid, "and not as an ISAC's server; look at --url."),
    "something else": (says("200 OK", b"<html>"), Invalid, "does not answer as an ISAC's server does; look at --url."),
    "elsewhere": (says("301 Moved", Location="https://x.example/"), Invalid, "leads elsewhere; ask the ISAC for"),
    "too large": (problem("413 Too Large", "x"), Unprocessable, "is larger than the server takes, packed or not; cut"),
    "too large for a proxy": (
        says("413 Too Large", b"<html>"),
        Unprocessable,
        "is larger than the server takes, packed or not;",
    ),
    "no list": (problem("422 Unprocessable", "It is a table."), Unprocessable, "It is a table."),
    "broken": (says("500 Oops", b"<html>"), Unreachable, "answers 500 Oops: try again later."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_goes_wrong_is_one_sentence(name: str) -> None:
    answer, kind, words = REFUSED[name]
    error, asked = handed(lambda *_: answer)

    assert isinstance(error, kind)
    assert words in error.detail
    assert "hunter2" not in "".join(traceback.format_exception(error))
    assert len(asked) == 1


@pytest.mark.parametrize(
    "first",
    [
        problem("429 Too Many Requests", "x", Retry_After="0"),
        problem("503 Busy", "x", Retry_After="0"),
        problem("409 Conflict", "x", Retry_After="0"),
        says("502 Bad Gateway", b"<html>", Retry_After="0"),
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
    ],
    ids=["429", "503", "409", "502", "cut off", "cut off in the answer"],
)
def test_what_passes_is_asked_again_as_the_same_request(first: bytes) -> None:
    told, asked = handed(lambda _, number: first if number < 3 else taken())

    assert told == TAKEN
    posts = [one for one in asked if one.path.startswith("/api/v1/submissions?")]
    assert len({one.headers["idempotency-key"] for one in posts}) == 1
    assert [one.path for one in asked] == ["/api/v1/submissions?audience=us-oh"] * 3 + [f"/api/v1/submissions/{ID}"]
    assert {one.headers["authorization"] for one in asked} == {f"Bearer {KEY}"}


def test_a_server_that_puts_us_off_for_ever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PATIENCE", 100.0)
    error, asked = handed(lambda *_: problem("429 Too Many Requests", "Wait.", Retry_After="3600"))

    assert isinstance(error, Unreachable)
    assert "is busy (429): Wait. Try again later." in error.detail
    assert len(asked) == 1


def test_a_server_that_breaks_off_each_time_is_left() -> None:
    error, asked = handed(lambda *_: b"")

    assert isinstance(error, Unreachable)
    assert "broke off 5 times" in error.detail
    assert "is not taken in twice" in error.detail
    assert len(asked) == 5


def test_what_is_still_worked_on_is_waited_for() -> None:
    told, asked = handed(lambda _, number: taken(state="working") if number < 4 else taken())

    assert told == TAKEN
    assert len(asked) == 4


def test_each_run_is_a_request_of_its_own() -> None:
    """The first answer is no answer of today: rights, clocks and what is known may have changed."""
    _, (first, *_) = handed(lambda *_: taken())
    _, (second, *_) = handed(lambda *_: taken())
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


# ------------------------------------------------------------------------------------------- addresses, certificates


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://isac.example", "everybody on the way could read the key; write https://"),
        ("https://me:hunter2@isac.example", "holds a name or password"),
        ("isac.example", "begins with https://"),
        ("ftp://isac.example", "begins with https://"),
    ],
)
def test_a_key_is_not_sent_to_every_address(url: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as error:
        Client(url, KEY)
    assert "hunter2" not in error.value.detail


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:8000/", "https://x.example/"]
)
def test_this_machine_needs_no_https(url: str) -> None:
    Client(url, KEY)


def test_a_key_with_blanks_is_none() -> None:
    with pytest.raises(Invalid, match="copy it once more"):
        Client("https://isac.example", "isac_x y")


@pytest.mark.parametrize("known", [False, True], ids=["of nobody", "of another name"])
def test_a_certificate_that_is_not_to_be_trusted_says_what_to_do(known: bool, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "an authority")
    issued = authority.issues("another", usage="serverAuth", ends=timedelta(days=1))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.file, issued.key)
    error, asked = handed(lambda *_: taken(), context, Path(authority.own.file) if known else None)

    assert isinstance(error, Unreachable)
    assert "is not to be trusted: " in error.detail
    assert ("ismatch" in error.detail or "not valid for" in error.detail) is known
    assert "ISAC_OUTBOUND_CA" in error.detail
    assert asked == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1", "no server answers there. Is the address right"),
        ("https://isac.invalid", "no machine of this name is known. Is the address right"),
    ],
)
def test_a_server_that_is_away_is_one_sentence(url: str, why: str) -> None:
    async def ask() -> None:
        async with Client(url, KEY) as ours:
            await ours.submit(b"x", TABLE, {})

    with pytest.raises(Unreachable) as error:
        asyncio.run(ask())
    assert error.value.detail == f"{url} cannot be reached: {why}, is there a network?"


def test_a_server_without_https_is_one_sentence() -> None:
    async def both() -> None:
        async def refuse(reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
            await reader.read(16)
            out.write(says("400 Bad Request"))
            out.close()
            await out.wait_closed()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Client(f"https://127.0.0.1:{port}", KEY) as ours:
            await ours.submit(b"x", TABLE, {})

    with pytest.raises(Unreachable, match="does not speak HTTPS as it should: are the address and its port right"):
        asyncio.run(both())


# ------------------------------------------------------------------------------------------------------- isac submit


@dataclass
class Shell:
    """Somebody who types `isac submit` in a folder, with a key in the environment."""

    folder: Path
    url: str
    said: list[str] = field(default_factory=list)

    def submit(self, *names: str, **options: Any) -> int:
        """Its exit code; what was printed stands in `said`."""
        output, code = io.StringIO(), 0
        with redirect_stdout(output), redirect_stderr(output):
            try:
                submit([self.folder / name for name in names], self.url, **options)
            except typer.Exit as end:
                code = end.exit_code
            except IsacError as error:
                code, _ = error.exit_code, print(error.detail)
        self.said = output.getvalue().replace(f"{self.folder}/", "").splitlines()
        return code


@pytest.fixture
def shell(server: Running, people: dict[str, Person], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("ISAC_KEY", people["ohio_analyst"].secret)
    return Shell(tmp_path, server.base)


def tool(name: str, **more: Any) -> dict[str, Any]:
    at = "2026-01-01T00:00:00.000Z"
    head = {"type": "tool", "spec_version": "2.1", "id": f"tool--{uuid.uuid4()}", "created": at, "modified": at}
    return {**head, "name": name, **more}


def submissions(url: str) -> int:
    with psycopg.connect(database.conninfo(url)) as conn:
        ((count,),) = conn.execute(
            "SELECT count(*) FROM submissions JOIN organizations o ON o.pk = organization WHERE o.name = 'Ohio Board'"
        ).fetchall()
    return int(count)


def test_a_file_that_is_taken_ends_with_zero_and_twice_is_once(shell: Shell, database_url: str) -> None:
    (shell.folder / "report.json").write_text(json.dumps([tool("Lantern"), tool("Candle")]))
    for numbers in ("accepted 2, held 0, refused 0, repeated 0", "accepted 0, held 0, refused 0, repeated 2"):
        assert shell.submit("report.json", to="us-oh", tlp="TLP:GREEN") == 0
        assert shell.said[0] == f"report.json: {numbers}"
        assert shell.said[1].startswith("  for us-oh, submission ")
        assert len(shell.said) == 2
    assert submissions(database_url) == 2


def test_each_object_that_is_held_or_refused_has_its_reason(shell: Shell) -> None:
    red = "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"
    held, wrong = tool("Lantern", object_marking_refs=[red]), tool("Candle", created=7)
    (shell.folder / "report.json").write_text(json.dumps([held, wrong, tool("Torch")]))
    (shell.folder / "list.csv").write_text("value,description\nCVE-2026-10001,x\nnothing,y\n")

    assert shell.submit("report.json", "list.csv") == 1
    text = "\n".join(shell.said)
    assert f"  held: Lantern ({held['id']}): TLP:RED may not go to this collection" in text
    assert f"  refused: Candle ({wrong['id']}): " in text
    assert "list.csv: accepted 1, held 0, refused 1, repeated 0" in text
    assert "  refused: line 3: nothing: «nothing» is not" in text


def test_a_dry_run_writes_nothing(shell: Shell, database_url: str) -> None:
    (shell.folder / "report.json").write_text(json.dumps([tool("Lantern")]))

    assert shell.submit("report.json", dry_run=True) == 0
    assert shell.said == [
        "report.json: accepted 1, held 0, refused 0, repeated 0, and nothing is written",
        "  for us-oh",
    ]
    assert submissions(database_url) == 0


def test_a_file_that_cannot_be_read_costs_no_other(shell: Shell) -> None:
    (shell.folder / "table.txt").write_text("a,b,c\n" * 9)
    (shell.folder / "list.txt").write_text("CVE-2026-10001\n")

    (shell.folder / "empty.txt").write_text("")

    assert shell.submit("absent", "table.txt", "empty.txt", "list.txt") == 1
    assert shell.said[0].startswith("not read: absent: cannot be read (No such file")
    assert shell.said[1].startswith("not taken: table.txt: The document is not a feed that can be read as it is")
    assert shell.said[2] == "not taken: empty.txt: It is empty."
    assert shell.said[3] == "list.txt: accepted 1, held 0, refused 0, repeated 0"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "us-zz"}, "Look at the code behind --to"),
        ({"to": "us"}, "This key may read us, but not hand in for it; leave --to out"),
        ({"tlp": "gren"}, "--tlp: «gren» is no TLP"),
    ],
)
def test_a_wrong_word_is_usage(shell: Shell, options: dict[str, str], words: str, database_url: str) -> None:
    (shell.folder / "list.txt").write_text("CVE-2026-10001\n")

    assert shell.submit("list.txt", **options) == 2
    assert words in shell.said[-1]
    assert submissions(database_url) == 0


def test_the_key_comes_from_the_environment_or_a_file(
    shell: Shell, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    (shell.folder / "list.txt").write_text("CVE-2026-10001\n")
    (shell.folder / "key").write_text(people["ohio_analyst"].secret + "\n")
    monkeypatch.setenv("ISAC_KEY", "isac_absentxx_wrong")
    assert (shell.submit("list.txt"), "does not know this key" in shell.said[-1]) == (2, True)
    monkeypatch.setenv("ISAC_KEY_FILE", str(shell.folder / "key"))
    assert shell.submit("list.txt") == 0
    monkeypatch.setenv("ISAC_KEY_FILE", str(shell.folder / "absent"))
    assert (shell.submit("list.txt"), "ISAC_KEY_FILE: " in shell.said[-1]) == (2, True)
    monkeypatch.delenv("ISAC_KEY_FILE")
    monkeypatch.delenv("ISAC_KEY")
    assert (shell.submit("list.txt"), "Put your key into the variable ISAC_KEY" in shell.said[-1]) == (2, True)


async def _relay(url: str, work: Callable[[str], Awaitable[None]]) -> int:
    """A line to the server that breaks once, when the server has answered; how often it was used."""
    there = urlsplit(url)
    used = 0
    serving = set[asyncio.Task[None] | None]()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal used
        used += 1
        serving.add(asyncio.current_task())
        breaks = used == 1
        from_server, to_server = await asyncio.open_connection(there.hostname, there.port)
        sending = asyncio.create_task(carry(reader, to_server))
        if breaks:
            await from_server.readuntil(b"\r\n\r\n")  # so it is taken in, and nobody hears of it
        else:
            await carry(from_server, writer)
        sending.cancel()
        for each in (writer, to_server):
            each.close()
            await each.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        await work(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await asyncio.gather(*filter(None, serving))
    return used


def test_an_answer_that_is_lost_on_the_way_takes_nothing_in_twice(
    server: Running, people: dict[str, Person], database_url: str
) -> None:
    content = json.dumps([tool("Lantern")]).encode()
    told: dict[str, Any] = {}

    async def work(url: str) -> None:
        async with Client(url, people["ohio_analyst"].secret) as ours:
            told.update(await ours.submit(content, "application/json", {}))

    used = asyncio.run(_relay(server.base, work))

    assert used >= 2
    assert (told["counts"]["accepted"], told["counts"]["repeated"]) == (1, 0)
    assert submissions(database_url) == 1


def test_what_is_sent_moves_the_bar_to_its_end() -> None:
    steps: list[int] = []

    async def both() -> None:
        async def respond(one: Asked, out: asyncio.StreamWriter) -> None:
            out.write(taken() if here.asked[1:] else b"")

        async with source(respond) as here, Client(here.address, KEY) as ours:
            await ours.submit(b"x" * 100_000, TABLE, {}, steps.append)

    asyncio.run(both())
    assert sum(steps) == 100_000
