"""What we get from elsewhere over HTTP: within limits of size and time, and never from an address that is none of ours
to ask.

A name may lead anywhere, also into our own network, so the address is looked at that a connection really reached. Names
of proxies and private authorities come from the settings and never from the environment.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import Message
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, NoReturn

import httpx2

from isac.errors import Invalid, Unreachable
from isac.formats.texts import Text
from isac.ingest import disk

#: of what is sent, packed or not; it goes to the disk, and a link of 100 Mbit/s brings as much within our patience
MAX_BYTES = 4 * 1024 * 1024 * 1024
#: a whole fetch; one that trickles in ends here
PATIENCE = timedelta(minutes=10)
#: seconds without a byte
_SILENCE = 30.0
_REDIRECTS = 5
#: tries for one body: what arrived before a connection broke is kept
_TRIES = 4
#: of a server that does not answer at all
_TRIES_TO_CONNECT = 2
#: answers for one body, of a server that gives less at a time than it is asked for
_PARTS = 200
_PAUSE = 0.5
_AGENT = "isac"
_REDIRECT = frozenset({301, 302, 303, 307, 308})

_USERINFO = re.compile(r"(?<=//)[^/]*@")
_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)")
#: what a header may hold (RFC 9110 §5.5), without what only some take
_SENDABLE = re.compile(r"[\x20-\x7e]+")
_NO_CONNECTION = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)

# C libraries read 127.1, 2130706433, 0x7f000001 and 017700000001 as addresses: a name's last part is never a number.
_NUMERIC = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Outbound:
    """What connections that we open may do, as the operator has set it."""

    #: private networks that may be reached all the same (decisions: none by default)
    allow: tuple[Network, ...] = ()
    #: http://host:port of the proxy that leads out; it has to look after addresses behind names itself
    proxy: str | None = None
    #: PEM file with authorities besides the usual ones
    ca: Path | None = None
    max_bytes: int = MAX_BYTES
    patience: timedelta = PATIENCE


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of a body, to be asked whether it changed (RFC 9110 §8.8)."""

    etag: str | None = None
    last_modified: str | None = None

    @property
    def conditions(self) -> dict[str, str]:
        given = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        # A server may say what no header may say back to it.
        return {name: value for name, value in given.items() if value and _SENDABLE.fullmatch(value)}

    @property
    def strong(self) -> str | None:
        """What goes into If-Range: half of one body and half of another would be neither."""
        return self.etag if self.etag and _SENDABLE.fullmatch(self.etag) and self.etag[:2] != "W/" else None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body as it came, packed or not."""

    content: Text
    validators: Validators
    media_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def networks(text: str) -> tuple[Network, ...]:
    """Networks from a setting, separated by commas. Raises Invalid."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise Invalid(f"{error}. Write networks such as 10.20.0.0/16, separated by commas.") from error


class Fetcher:
    """An HTTP client for one feed's fetches; a context manager."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        context = ssl.create_default_context()
        if outbound.ca is not None:
            try:
                context.load_verify_locations(cafile=outbound.ca)
            except (OSError, ssl.SSLError) as error:
                raise Invalid(f"{outbound.ca}: holds no certificates in PEM ({error}).") from error
        self._client = httpx2.AsyncClient(
            verify=context,
            proxy=outbound.proxy,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(_SILENCE),
            headers={"User-Agent": _AGENT, "Accept-Encoding": "gzip"},
        )

    async def __aenter__(self) -> "Fetcher":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, known: Validators | None = None
    ) -> Fetched | None:
        """The body at a URL; None if it is still what `known` says. Raises Unreachable in words for an operator."""
        wanted = {name: _sendable(name, value) for name, value in (headers or {}).items()}
        try:
            async with asyncio.timeout(self._outbound.patience.total_seconds()):
                return await self._tried(url, wanted, known or Validators(), _Body(disk.temporary()))
        except TimeoutError as error:
            raise Unreachable(f"{shown(url)} took longer than {self._outbound.patience} and was given up.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, UnicodeError) as error:
            # Its text may show the key, and so may its cause.
            raise Unreachable(
                f"{shown(url)} cannot be asked ({type(error).__name__}): look at the address and at `auth_header`."
            ) from None

    async def _tried(self, url: str, headers: dict[str, str], known: Validators, body: "_Body") -> Fetched | None:
        tries = 0
        for _ in range(_PARTS):
            # `known` must not travel with a range: that asks for the rest of what came, and not whether it changed.
            asked = headers | (body.rest or known.conditions)
            try:
                async with self._answer(url, asked) as answer:
                    if answer.status_code == 304 and not body.rest and known.conditions:
                        return None
                    if not body.goes_on(answer):
                        _check_status(answer)
                        body.begin(answer)
                    await self._receive(answer, body.file)
                    if body.whole is None or body.here == body.whole:
                        return body.fetched(answer)
            except (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol):
                # No try makes them better.
                raise
            except httpx2.TransportError as error:
                tries += 1
                silent = isinstance(error, _NO_CONNECTION)
                if tries >= (_TRIES_TO_CONNECT if silent and not body.here else _TRIES):
                    words = "cannot be reached ({}): is the address right, is the server up?"
                    words = words if silent else f"broke off {tries} times ({{}})."
                    raise Unreachable(f"{shown(url)} {words.format(_words(error))}") from error
                await asyncio.sleep(_PAUSE * 2**tries)
        raise Unreachable(f"{shown(url)} comes in more than {_PARTS} parts; its operator should know.")

    async def _receive(self, answer: httpx2.Response, file: disk.File) -> None:
        if int(answer.headers.get("Content-Length") or 0) > self._outbound.max_bytes:
            self._refuse(answer)
        # As it came: what is packed is unpacked where it is read, within a limit.
        async for some in answer.aiter_raw():
            file.append(some)
            if len(file) > self._outbound.max_bytes:
                self._refuse(answer)

    def _refuse(self, answer: httpx2.Response) -> NoReturn:
        raise Unreachable(f"{shown(str(answer.url))} sends more than {self._outbound.max_bytes >> 20} MiB.")

    @contextlib.asynccontextmanager
    async def _answer(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx2.Response]:
        """Follows redirects itself: each target's address is looked at, and a key goes to no other server."""
        here = httpx2.URL(url)
        for _ in range(_REDIRECTS + 1):
            self._check_host(here)
            request = self._client.build_request("GET", here, headers=headers, extensions={"trace": self._look})
            answer = await self._client.send(request, stream=True)
            try:
                if answer.status_code not in _REDIRECT or "Location" not in answer.headers:
                    yield answer
                    return
                there = _joined(here, answer.headers["Location"])
            finally:
                await answer.aclose()
            if there.scheme not in ("http", "https") or (here.scheme == "https" and there.scheme != "https"):
                raise Unreachable(f"{shown(url)} leads to {shown(str(there))}, which is not safe to follow.")
            if there.userinfo:
                raise Unreachable(
                    f"{shown(url)} leads to {shown(str(there))} with somebody's name or password, which is not sent; "
                    "its operator should know."
                )
            if (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port):
                headers = {name: value for name, value in headers.items() if name in _FOR_ALL}
            here = there
        raise Unreachable(f"{shown(url)} leads from one address to the next, more than {_REDIRECTS} times.")

    def _check_host(self, url: httpx2.URL) -> None:
        """Behind a proxy nobody else looks at an address that stands in the URL, in whatever form."""
        if url.port is not None and not 0 < url.port < 1 << 16:
            raise Unreachable(f"{shown(str(url))}: there is no port {url.port}.")
        host = url.host.rstrip(".").lower()
        try:
            addresses = [str(ip_address(host))]
        except ValueError:
            if _NUMERIC.search(host):
                raise Unreachable(
                    f"{shown(str(url))} writes an address as not everybody reads it; write it as 192.0.2.1 is written."
                ) from None
            addresses = ["127.0.0.1", "::1"] if host == "localhost" or host.endswith(".localhost") else []
        if addresses and not any(self._may_reach(address) for address in addresses):
            raise Unreachable(_FORBIDDEN.format(url=shown(str(url)), address=addresses[0]))

    async def _look(self, event: str, info: Mapping[str, Any]) -> None:
        """Called when a connection stands and before anything is sent over it."""
        if event != "connection.connect_tcp.complete" or self._outbound.proxy:
            return
        stream = info["return_value"]
        address = stream.get_extra_info("server_addr")[0]
        if not self._may_reach(address):
            await stream.aclose()
            raise Unreachable(_FORBIDDEN.format(url="The source", address=address))

    def _may_reach(self, address: str) -> bool:
        reached = _carried(ip_address(address.partition("%")[0]))
        return _is_public(reached) or any(reached in network for network in self._outbound.allow)


# What the Internet's addresses of version 6 begin with (RFC 4291 §2.4); Python calls more of them global.
_PUBLIC = IPv6Network("2000::/3")
# Translators take the IPv4 address at its end from it (RFC 6052 §2.1). Where one of a network's own prefixes puts it
# (64:ff9b:1::/48, RFC 8215) only that network knows.
_NAT64 = IPv6Network("64:ff9b::/96")


def _carried(address: Address) -> Address:
    """The IPv4 address that one of version 6 leads to; any other as it is."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address not in _PUBLIC or address.teredo is not None):
        return False
    return address.is_global and not address.is_multicast


# What goes to every server on the way; the rest may hold a key.
_FOR_ALL = frozenset({"Accept", "Range", "If-Range", "If-None-Match", "If-Modified-Since"})
_FORBIDDEN = (
    "{url} leads to {address}, an address of private networks. If that is meant, an operator lists it in "
    "ISAC_OUTBOUND_ALLOW."
)


@dataclass(slots=True)
class _Body:
    """What of a body is here, over all tries."""

    file: disk.File
    validators: Validators = field(default_factory=Validators)
    #: its length, where the server says it
    whole: int | None = None

    @property
    def here(self) -> int:
        return len(self.file)

    @property
    def rest(self) -> dict[str, str]:
        """Headers that ask for what is missing; none where all of it has to come."""
        if not self.here or self.validators.strong is None:
            return {}
        return {"Range": f"bytes={self.here}-", "If-Range": self.validators.strong}

    def goes_on(self, answer: httpx2.Response) -> bool:
        """Whether an answer is more of what is here.

        Raises RemoteProtocolError, and all has to come anew, where it is a part of something else.
        """
        if not self.rest or answer.status_code not in (206, 416):
            return False
        part = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        tag = answer.headers.get("ETag", self.validators.etag)
        # Without the length nobody can tell whether the part is the last one.
        if answer.status_code == 206 and part is not None and int(part[1]) == self.here and tag == self.validators.etag:
            total = int(part[2])
            if total > self.here and self.whole in (None, total):
                self.whole = total
                return True
        self.clear()
        raise httpx2.RemoteProtocolError("another part came than was asked for")

    def begin(self, answer: httpx2.Response) -> None:
        self.clear()
        self.validators = _validators(answer)
        length = answer.headers.get("Content-Length")
        self.whole = int(length) if length else None

    def clear(self) -> None:
        self.file = disk.temporary()
        self.validators, self.whole = Validators(), None

    def fetched(self, answer: httpx2.Response) -> Fetched:
        headers = dict(answer.headers.items())
        return Fetched(disk.small(self.file), self.validators, _media_type(answer), headers)


def _sendable(name: str, value: str) -> str:
    if not _SENDABLE.fullmatch(value.strip()):
        raise Unreachable(
            f"The key in the variable that `auth_env` names holds signs that no header may carry ({name}); set it anew."
        )
    return value.strip()


def _joined(here: httpx2.URL, location: str) -> httpx2.URL:
    try:
        return here.join(location)
    except (httpx2.InvalidURL, ValueError) as error:
        raise Unreachable(f"{shown(str(here))} leads to what is no address; its operator should know.") from error


def _check_status(answer: httpx2.Response) -> None:
    if answer.status_code == 200:
        return
    words = {
        401: "It wants a key: set the variable that `auth_env` names.",
        403: "It does not let us: is the key right, and are we allowed?",
        404: "There is nothing (any more): look where it went.",
        429: "We ask too often: make `every` longer.",
    }.get(answer.status_code, "Try later." if answer.status_code >= 500 else "Look at it with a browser.")
    raise Unreachable(f"{shown(str(answer.url))} answers {answer.status_code} {answer.reason_phrase}. {words}")


def _validators(answer: httpx2.Response) -> Validators:
    return Validators(answer.headers.get("ETag"), answer.headers.get("Last-Modified"))


def _media_type(answer: httpx2.Response) -> str:
    header = Message()
    header["Content-Type"] = answer.headers.get("Content-Type", "application/octet-stream")
    return header.get_content_type()


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def shown(url: str) -> str:
    """Without a query, a name and a password: they may let somebody in."""
    return _USERINFO.sub("", url.partition("?")[0].partition("#")[0], count=1)
