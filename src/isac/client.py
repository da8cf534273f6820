"""A client of the API for people and tools elsewhere: hands documents in, and waits for what becomes of them.

A request that was cut off is sent again under the same Idempotency-Key, so that nothing is taken in twice. Imports only
errors.
"""

import asyncio
import ipaddress
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2

from isac.errors import Invalid, Unprocessable, Unreachable

_SUBMISSIONS = "/api/v1/submissions"
_PROBLEM = "application/problem+json"
#: bytes that are sent between two steps of a progress bar
_PIECE = 256 * 1024
#: tries for one request, and seconds before the second; then twice as long each time
_TRIES, _PAUSE = 5, 1.0
#: seconds to connect and to send; a large document is answered when all of it is taken in
_SILENCE, _LONGEST = 30.0, 900.0
#: seconds that a server may put us off, at once and in all; of one behind a proxy that is away, less
_PUT_OFF, _PATIENCE = 120.0, 300.0
#: seconds between looks at a submission that is still worked on, and in all
_LOOK, _WORK = 2.0, 900.0


class Client:
    """One server, asked with one key; a context manager. `authorities` is a PEM file besides the usual ones."""

    def __init__(self, url: str, key: str, *, authorities: Path | None = None, proxy: str | None = None) -> None:
        self._url = _checked(url)
        if not key.isascii() or not key.isprintable() or " " in key:
            raise Invalid("The key holds blanks or signs that no key has; copy it once more.")
        context = ssl.create_default_context()
        if authorities is not None:
            try:
                context.load_verify_locations(cafile=authorities)
            except (OSError, ssl.SSLError) as error:
                raise Invalid(f"{authorities}: holds no certificates in PEM ({error}).") from error
        self._client = httpx2.AsyncClient(
            base_url=self._url,
            verify=context,
            # What is on this machine goes by no proxy, nor does the key, which is in the clear there.
            proxy=None if _is_here(httpx2.URL(self._url).host) else proxy,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(_SILENCE, read=_LONGEST),
            headers={"Authorization": f"Bearer {key}", "User-Agent": "isac"},
        )

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def submit(
        self,
        content: bytes,
        media_type: str,
        params: Mapping[str, str],
        progress: Callable[[int], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Hand a document in; answers its submission when all of it was worked on, as the API describes it.

        `progress` hears how many bytes were sent. Raises Unprocessable where this document cannot be taken, Invalid
        where no document can be so, Unreachable where the server cannot be asked.
        """
        if not content:
            raise Unprocessable("It is empty.")
        headers = {
            "Content-Type": media_type,
            "Content-Length": str(len(content)),
            # For tries within this call alone: by the next one rights, clocks and what is known may have changed.
            "Idempotency-Key": str(uuid.uuid4()),
        }
        sent = 0

        def body() -> AsyncIterator[bytes]:
            nonlocal sent
            progress(-sent)  # of the try before
            sent = 0
            return pieces()

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal sent
            for at in range(0, len(content), _PIECE):
                piece = content[at : at + _PIECE]
                yield piece
                sent += len(piece)
                progress(len(piece))

        told = await self._asked("POST", _SUBMISSIONS, headers=headers, params=params, body=body)
        if "id" not in told:  # a dry run, of which nothing is stored
            return told
        waited = 0.0
        while True:  # the first answer may be an older one
            told = await self._asked("GET", f"{_SUBMISSIONS}/{told['id']}")
            if told["state"] != "working" or waited > _WORK:
                return told
            await asyncio.sleep(_LOOK)
            waited += _LOOK

    async def _asked(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
    ) -> dict[str, Any]:
        """The answer, after so many tries as make sense."""
        broken, waited, pause = 0, 0.0, _PAUSE
        while True:
            content = body() if body else None
            try:
                answer = await self._client.request(method, path, headers=headers, params=params, content=content)
            except httpx2.TransportError as error:
                broken += 1
                if broken >= _TRIES or _is_hopeless(error):
                    # Its text may show the key, and so may its cause.
                    raise Unreachable(_words(self._url, error, broken)) from None
            else:
                wait = _put_off(answer)
                if wait is None:
                    return self._read(answer)
                if waited + wait > _PATIENCE:
                    raise Unreachable(f"{self._url} is busy ({answer.status_code}): {_detail(answer)} Try again later.")
                waited, pause = waited + wait, wait
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PUT_OFF)

    def _read(self, answer: httpx2.Response) -> dict[str, Any]:
        status, url = answer.status_code, self._url
        if status in (200, 202):
            try:
                told = answer.json()
            except ValueError:
                told = None
            if not isinstance(told, dict) or "counts" not in told:
                raise Invalid(f"{url} does not answer as an ISAC's server does; look at --url.")
            return told
        if 300 <= status < 400:
            raise Invalid(
                f"{url} leads elsewhere; ask the ISAC for the server's own address, and name that with --url."
            )
        if status == 401:
            raise Invalid(f"{url} does not know this key: it is mistyped or revoked, or another server's.")
        if status == 413:
            raise Unprocessable("is larger than the server takes, packed or not; cut it into several files.")
        if _PROBLEM not in answer.headers.get("content-type", ""):
            if status >= 500:
                raise Unreachable(f"{url} answers {status} {answer.reason_phrase}: try again later.")
            raise Invalid(f"{url} answers {status} {answer.reason_phrase}, and not as an ISAC's server; look at --url.")
        if status == 404:
            raise Invalid(f"{_detail(answer)} Look at the code behind --to; a key sees its own and those above it.")
        if status in (415, 422):
            raise Unprocessable(_detail(answer))
        if status >= 500:
            raise Unreachable(f"{url} answers {status}: {_detail(answer)}")
        raise Invalid(_detail(answer).replace("`audience`", "--to"))


def _checked(url: str) -> str:
    """The server's address. Raises Invalid where a key may not be sent to it."""
    try:
        read = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise Invalid("--url is no address; write https://isac.example.org.") from error
    if read.userinfo:
        raise Invalid("--url holds a name or password; leave it out, the key stands in ISAC_KEY.")
    if read.scheme not in ("https", "http") or not read.host:
        raise Invalid("--url begins with https://, such as https://isac.example.org.")
    if read.scheme == "http" and not _is_here(read.host):
        raise Invalid("--url begins with http://, so that everybody on the way could read the key; write https://.")
    return str(read.copy_with(path="/", query=None, fragment=None)).rstrip("/")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _put_off(answer: httpx2.Response) -> float | None:
    """Seconds after which the server wants to be asked again; None if it has answered."""
    status = answer.status_code
    if status not in (409, 429, 502, 503, 504):
        return None
    said = answer.headers.get("retry-after", "")
    return min(float(said), _PUT_OFF) if said.isascii() and said.isdigit() else 5.0


def _detail(answer: httpx2.Response) -> str:
    try:
        told = answer.json()
    except ValueError:
        told = {}
    detail = told.get("detail") or told.get("title") if isinstance(told, dict) else None
    error_id = told.get("error_id") if isinstance(told, dict) and answer.status_code >= 500 else None
    return str(detail or answer.reason_phrase) + (f" The error_id is {error_id}." if error_id else "")


def _is_hopeless(error: httpx2.TransportError) -> bool:
    return _certificate(error) is not None or isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol)


def _certificate(error: BaseException | None) -> ssl.SSLError | None:
    """What was wrong with TLS, if that was it."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _why(error: httpx2.TransportError) -> str:
    """Why there is no connection, without a library's own words."""
    if isinstance(error, httpx2.ProxyError):
        return "the proxy of ISAC_OUTBOUND_PROXY refuses"
    if isinstance(error, httpx2.ConnectTimeout):
        return f"nothing answers within {_SILENCE:.0f} seconds"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "no machine of this name is known"
        cause = cause.__cause__ or cause.__context__
    return "no server answers there"


def _words(url: str, error: httpx2.TransportError, tries: int) -> str:
    tls = _certificate(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {url} is not to be trusted: {tls.verify_message}. If the ISAC has an authority of its "
            "own, put that one's certificate into a file and name it in ISAC_OUTBOUND_CA; else tell the ISAC, and send "
            "nothing."
        )
    if tls is not None:
        return f"What answers at {url} does not speak HTTPS as it should: are the address and its port right?"
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return f"{url} cannot be reached: {_why(error)}. Is the address right, is there a network?"
    return (
        f"{url} broke off {tries} times ({type(error).__name__}). Run the same command again: what was taken in "
        "already is not taken in twice."
    )
