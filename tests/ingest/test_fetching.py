"""Fetching from servers that are slow, broken, boundless or hostile. All of them stand on 127.0.0.1."""

import asyncio
import gzip
import ssl
import traceback
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.authorities import openssl
from tests.ingest.web import Asked, says, source

from isac.errors import Invalid, Unreachable
from isac.ingest import fetching
from isac.ingest.fetching import Fetcher, Outbound, Validators, networks

pytestmark = pytest.mark.anyio
HERE = Outbound(allow=networks("127.0.0.1/32"), patience=timedelta(seconds=20))
LIST = b"".join(b"host-%d.example\n" % number for number in range(20_000))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSE", 0.01)


async def test_a_body_comes_as_it_is_and_once() -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        if asked.headers.get("if-none-match") == '"7"':
            out.write(says("304 Not Modified", ETag='"7"'))
        else:
            out.write(says("200 OK", LIST, ETag='"7"', Content_Type="text/plain; charset=utf-8"))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        first = await fetcher.get(server.address + "/list.txt")
        assert first is not None
        assert (first.content, first.media_type) == (LIST, "text/plain")
        assert await fetcher.get(server.address + "/list.txt", known=first.validators) is None


async def test_a_date_serves_where_there_is_no_tag() -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"x\n", Last_Modified="Sun, 22 Nov 2026 10:00:00 GMT"))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        first = await fetcher.get(server.address)
        assert first is not None
        await fetcher.get(server.address, known=first.validators)
    assert server.asked[1].headers["if-modified-since"] == "Sun, 22 Nov 2026 10:00:00 GMT"


async def test_a_packed_body_is_kept_packed() -> None:
    packed = gzip.compress(LIST)

    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", packed, Content_Encoding="gzip"))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        got = await fetcher.get(server.address)
    assert got is not None
    assert got.content == packed


async def test_what_broke_off_is_resumed() -> None:
    """The connection breaks twice; each time only the rest is asked for."""

    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        begin = int(asked.headers.get("range", "bytes=0-")[6:-1])
        end = min(begin + 100_000, len(LIST))
        status = "206 Partial Content" if begin else "200 OK"
        out.write(
            says(
                status,
                LIST[begin:end],
                Content_Length=str(len(LIST) - begin),
                Content_Range=f"bytes {begin}-{len(LIST) - 1}/{len(LIST)}",
                ETag='"a"',
            )
        )

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        got = await fetcher.get(server.address)
    assert got is not None
    assert got.content == LIST
    assert len(server.asked) > 2
    assert all(asked.headers["if-range"] == '"a"' for asked in server.asked[1:])


@pytest.mark.parametrize("tag", ['"b"', 'W/"a"', None])
async def test_halves_of_two_bodies_are_never_joined(tag: str | None) -> None:
    """It changed meanwhile, or nobody can say whether it did: it is got anew."""
    other = b"changed.example\n" * 10_000

    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        tags = {"ETag": tag} if tag else {}
        if len(server.asked) == 1:
            out.write(says("200 OK", LIST[:50_000], Content_Length=str(len(LIST)), **(tags and {"ETag": '"a"'})))
        else:
            out.write(says("200 OK", other, **tags))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        got = await fetcher.get(server.address)
    assert got is not None
    assert got.content == other


async def test_a_range_that_begins_elsewhere_is_no_rest() -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        if len(server.asked) == 1:
            out.write(says("200 OK", LIST[:50_000], Content_Length=str(len(LIST)), ETag='"a"'))
        else:
            out.write(says("206 Partial Content", LIST[100:], Content_Range=f"bytes 100-{len(LIST)}/*", ETag='"a"'))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        with pytest.raises(Unreachable, match="206"):
            await fetcher.get(server.address)


@pytest.mark.parametrize("step", [100_000, 5_000])
async def test_a_server_that_gives_less_than_asked_is_asked_on(step: int) -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        if "range" not in asked.headers:
            out.write(says("200 OK", LIST[:step], Content_Length=str(len(LIST)), ETag='"a"'))
            return
        begin = int(asked.headers["range"][6:-1])
        part = LIST[begin : begin + step]
        told = f"bytes {begin}-{begin + len(part) - 1}/{len(LIST)}"
        out.write(says("206 Partial Content", part, Content_Range=told, ETag='"a"'))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        got = await fetcher.get(server.address)
    assert got is not None
    assert got.content == LIST


async def test_a_server_that_gives_next_to_nothing_is_given_up() -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        begin = int(asked.headers.get("range", "bytes=0-")[6:-1])
        if begin:
            out.write(says("206 Partial Content", b"x", Content_Range=f"bytes {begin}-{begin}/9999", ETag='"a"'))
        else:
            out.write(says("200 OK", b"x", Content_Length="9999", ETag='"a"'))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        with pytest.raises(Unreachable, match="more than 200 parts"):
            await fetcher.get(server.address)


@pytest.mark.parametrize(
    ("status", "told", "tag"),
    [
        ("416 Range Not Satisfiable", "bytes */7", '"a"'),
        ("206 Partial Content", "bytes 100-200/{whole}", '"a"'),
        ("206 Partial Content", "bytes {here}-{last}/*", '"a"'),
        ("206 Partial Content", "bytes {here}-{last}/77", '"a"'),
        ("206 Partial Content", "bytes {here}-{last}/{whole}", '"b"'),
        ("206 Partial Content", "", '"a"'),
    ],
)
async def test_a_part_of_something_else_is_no_rest(status: str, told: str, tag: str) -> None:
    here = 50_000
    told = told.format(here=here, last=len(LIST) - 1, whole=len(LIST))

    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        if len(server.asked) == 1:
            out.write(says("200 OK", LIST[:here], Content_Length=str(len(LIST)), ETag='"a"'))
        elif "range" in asked.headers:
            out.write(says(status, LIST[here:].swapcase(), Content_Range=told, ETag=tag))
        else:
            out.write(says("200 OK", LIST, ETag=tag))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        got = await fetcher.get(server.address)
    assert got is not None
    assert got.content == LIST
    assert len(server.asked) == 3


async def test_a_server_that_is_down_is_asked_twice() -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        raise AssertionError

    async with source(answer) as server:
        pass
    async with Fetcher(HERE) as fetcher:
        with pytest.raises(Unreachable, match=r"cannot be reached \(.*\): is the address right, is the server up"):
            await fetcher.get(server.address)


@pytest.mark.parametrize(
    "location", ["http://[::1", "http://h:99999999/", "http://h:0/", "http://\xff\u2028/", "http:///"]
)
async def test_a_redirect_to_what_is_no_address_is_said(location: str) -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("302 Found", Location=location))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.get(server.address)


@pytest.mark.parametrize("key", ["S3CRET\nX: y", "S3CR\u00c9T", "S3CRET\x00", "S3CRET\x7f", " "])
async def test_a_key_that_no_header_may_carry_is_not_shown(key: str) -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"x"))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        with pytest.raises(Unreachable, match="no header may carry") as told:
            await fetcher.get(server.address, headers={"Auth-Key": key})
        assert "S3CR" not in told.value.detail
        await fetcher.get(server.address, headers={"Auth-Key": " a key\n"})
    assert [asked.headers["auth-key"] for asked in server.asked] == ["a key"]


async def test_a_header_that_is_none_shows_no_key() -> None:
    async with Fetcher(HERE) as fetcher:
        for name in ("Auth Key", "Auth\nKey", "Schl\u00fcssel", ""):
            with pytest.raises(Unreachable) as told:
                await fetcher.get("http://127.0.0.1:1/", headers={name: "S3CRET"})
            assert "S3CRET" not in "".join(traceback.format_exception(told.value, limit=0))


async def test_an_address_that_is_none_is_said() -> None:
    async with Fetcher(HERE) as fetcher:
        for url in (
            "http://[::1",
            "ftp://feed.example/",
            "list.txt",
            "http://" + "x" * 70 + ".example/",
            "http://127.0.0.1:99999/",
        ):
            with pytest.raises(Unreachable):
                await fetcher.get(url)


async def test_a_tag_that_cannot_be_sent_back_is_none() -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"x", ETag='"\u00e9"'))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        first = await fetcher.get(server.address)
        assert first is not None
        assert await fetcher.get(server.address, known=first.validators) is not None


async def test_a_server_that_always_breaks_off_is_given_up() -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"half", Content_Length="1000"))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        with pytest.raises(Unreachable, match="broke off 4 times"):
            await fetcher.get(server.address)


@pytest.mark.parametrize("told", [True, False])
async def test_a_body_without_end_is_cut_off(told: bool) -> None:
    """10 GB, told beforehand or not: never more than the limit is read."""
    sent = 0

    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        nonlocal sent
        length = "Content-Length: 10737418240\r\n" if told else ""
        out.write(f"HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n".encode())
        for _ in range(10_000):
            out.write(LIST)
            await out.drain()
            sent += len(LIST)

    async with source(answer) as server, Fetcher(replace(HERE, max_bytes=2 << 20)) as fetcher:
        with pytest.raises(Unreachable, match="more than 2 MiB"):
            await fetcher.get(server.address)
    assert sent < 20 << 20


async def test_a_body_that_trickles_in_is_given_up() -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            out.write(b"x")
            await out.drain()
            await asyncio.sleep(0.05)

    async with source(answer) as server, Fetcher(replace(HERE, patience=timedelta(seconds=1))) as fetcher:
        with pytest.raises(Unreachable, match="took longer than 0:00:01"):
            await fetcher.get(server.address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_private_addresses_are_refused(host: str) -> None:
    """By name, by number and behind a redirect: the server never hears of us."""

    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"secret"))

    async with source(answer) as server, Fetcher(Outbound()) as fetcher:
        with pytest.raises(Unreachable, match="ISAC_OUTBOUND_ALLOW"):
            await fetcher.get(server.address.replace("127.0.0.1", host))
    assert server.asked == []


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("8.8.8.8", True),
        ("[::1]", False),
        ("[::]", False),
        ("[fe80::1]", False),
        ("[fe80::1%25eth0]", False),
        ("[fc00::1]", False),
        ("[fec0::1]", False),
        ("[ff02::1]", False),
        ("[::127.0.0.1]", False),
        ("[::8.8.8.8]", False),
        ("[::ffff:127.0.0.1]", False),
        ("[::ffff:8.8.8.8]", True),
        ("[64:ff9b::127.0.0.1]", False),
        ("[64:ff9b::a00:1]", False),
        ("[64:ff9b::8.8.8.8]", True),
        ("[64:ff9b:1::8.8.8.8]", False),
        ("[2002:7f00:1::1]", False),
        ("[2002:808:808::1]", True),
        ("[2001:0:808:808::1]", False),
        ("[2001:db8::1]", False),
        ("[2606:4700::1111]", True),
        ("localhost", False),
        ("LOCALHOST.", False),
        ("a.localhost", False),
        ("localhost.example", True),
        ("127.1", False),
        ("2130706433", False),
        ("0x7f000001", False),
        ("0X7F.1", False),
        ("017700000001", False),
        ("127.0.0.1.", False),
        ("1.2.3.4.example", True),
        ("0xfeed.example", True),
    ],
)
async def test_a_proxy_is_never_asked_for_our_own_network(host: str, reached: bool) -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"x"))

    async with source(answer) as proxy, Fetcher(Outbound(proxy=proxy.address)) as fetcher:
        if reached:
            assert await fetcher.get(f"http://{host}/") is not None
        else:
            with pytest.raises(Unreachable, match=r"private networks|not everybody reads"):
                await fetcher.get(f"http://{host}/")
    assert bool(proxy.asked) is reached


@pytest.mark.parametrize("host", ["10.1.2.3", "[::ffff:10.1.2.3]", "[64:ff9b::10.1.2.3]", "localhost"])
async def test_networks_that_are_allowed_are_so_in_each_form(host: str) -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"x"))

    allow = networks("10.0.0.0/8, ::1/128")
    async with source(answer) as proxy, Fetcher(Outbound(allow=allow, proxy=proxy.address)) as fetcher:
        assert await fetcher.get(f"http://{host}/") is not None


async def test_a_redirect_into_a_private_network_is_refused() -> None:
    async def inner(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"secret"))

    async with source(inner, host="127.0.0.2") as hidden:

        async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
            out.write(says("302 Found", Location=hidden.address + "/admin"))

        async with source(answer) as server, Fetcher(HERE) as fetcher:
            with pytest.raises(Unreachable, match=r"127\.0\.0\.2"):
                await fetcher.get(server.address)
    assert hidden.asked == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/"])
async def test_a_redirect_leads_nowhere_but_to_http(target: str) -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("302 Found", Location=target))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        with pytest.raises(Unreachable, match="not safe to follow"):
            await fetcher.get(server.address)


@pytest.mark.parametrize("status", ["302 Found", "308 Permanent Redirect"])
async def test_a_password_in_a_redirect_is_neither_sent_nor_shown(status: str) -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        there = server.address.replace("//", "//somebody:hunter2@") + "/there?key=hunter2"
        out.write(says(status, Location=there) if asked.path == "/" else says("200 OK", b"x\n"))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        with pytest.raises(Unreachable, match="with somebody's name or password, which is not sent") as error:
            await fetcher.get(server.address)
    assert [asked.path for asked in server.asked] == ["/"]
    assert "hunter2" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://lists.example/a?key=x", "https://lists.example/a"),
        ("https://me:x@lists.example/a#x", "https://lists.example/a"),
        ("https://me@lists.example", "https://lists.example"),
        ("https://lists.example/a@b", "https://lists.example/a@b"),
    ],
)
def test_an_address_is_shown_without_what_lets_in(url: str, words: str) -> None:
    assert fetching.shown(url) == words


async def test_a_circle_of_redirects_ends() -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("301 Moved", Location="/again"))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        with pytest.raises(Unreachable, match="one address to the next"):
            await fetcher.get(server.address)
    assert len(server.asked) == 6


async def test_a_key_goes_to_its_own_server_alone() -> None:
    async def other(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"x"))

    async with source(other) as stranger:

        async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
            out.write(says("302 Found", Location="/here" if asked.path == "/" else stranger.address))

        async with source(answer) as server, Fetcher(HERE) as fetcher:
            await fetcher.get(server.address + "/", headers={"Auth-Key": "secret", "Accept": "text/csv"})
    assert [asked.headers.get("auth-key") for asked in server.asked] == ["secret", "secret"]
    assert [asked.headers.get("auth-key") for asked in stranger.asked] == [None]
    assert stranger.asked[0].headers["accept"] == "text/csv"


@pytest.mark.parametrize(
    ("status", "words"),
    [("404 Not Found", "look where it went"), ("401 Unauthorized", "auth_env"), ("500 Oh", "later")],
)
async def test_an_error_says_what_to_do(status: str, words: str) -> None:
    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says(status, b"<html>oh</html>"))

    async with source(answer) as server, Fetcher(HERE) as fetcher:
        with pytest.raises(Unreachable, match=words) as told:
            await fetcher.get(server.address + "/list?key=secret")
    assert "secret" not in told.value.detail


async def test_an_authority_of_ones_own_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    file, key = tmp_path / "own.pem", tmp_path / "own.key"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"),
        *("-subj", "/CN=inside", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(file)),
    )
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file, key)

    async def answer(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"inside\n"))

    async with source(answer, tls=tls) as server:
        async with Fetcher(replace(HERE, ca=file)) as fetcher:
            got = await fetcher.get(server.address)
            assert got is not None
            assert got.content == b"inside\n"
        async with Fetcher(HERE) as fetcher:
            with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
                await fetcher.get(server.address)


async def test_a_proxy_comes_from_the_settings_and_never_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def through(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"by proxy\n"))

    async def direct(asked: Asked, out: asyncio.StreamWriter) -> None:
        out.write(says("200 OK", b"direct\n"))

    async with source(through) as proxy, source(direct) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        monkeypatch.setenv("ALL_PROXY", proxy.address)
        async with Fetcher(HERE) as fetcher:
            got = await fetcher.get(server.address)
            assert got is not None
            assert got.content == b"direct\n"
        async with Fetcher(Outbound(proxy=proxy.address)) as fetcher:
            got = await fetcher.get("http://feed.example/list")
            assert got is not None
            assert got.content == b"by proxy\n"
            with pytest.raises(Unreachable, match="private networks"):
                await fetcher.get(server.address)
    assert proxy.asked[0].path == "http://feed.example/list"


def test_a_network_that_is_none_is_explained() -> None:
    with pytest.raises(Invalid, match="separated by commas"):
        networks("10.0.0.0/8, intranet")


def test_conditions_are_what_the_server_said() -> None:
    assert Validators().conditions == {}
    assert Validators('"a"', "x").conditions == {"If-None-Match": '"a"', "If-Modified-Since": "x"}
