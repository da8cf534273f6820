"""What travels: media types, TAXII resources, errors, and the form of a request (TAXII 2.1 §1.6.8, §3.1 to §3.8).

Everything is made as bytes here and handed over as a plain response: FastAPI's own rendering would cost a page more
than its SQL does.
"""

import asyncio
import functools
import hashlib
import http
import logging
import math
import re
import uuid
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from isac import times
from isac.errors import (
    BadRequest,
    Busy,
    IsacError,
    NotAcceptable,
    Surroundings,
    TooLarge,
    TooMany,
    UnsupportedMediaType,
)
from isac.policy.actors import Actor, may_release
from isac.serve import certificates, problems
from isac.store.database import Away
from isac.store.members import Collection
from isac.store.objects import Manifest, Page
from isac.store.submissions import Status

log = logging.getLogger(__name__)

TAXII = "application/taxii+json;version=2.1"
STIX = "application/stix+json;version=2.1"

# ------------------------------------------------------------------------------------------------------- media types

_LISTED = re.compile(r'(?:[^,"]|"[^"]*")+')


@functools.lru_cache(maxsize=256)
def accepts(header: str) -> bool:
    """May the answer be TAXII 2.1 under this Accept header? The most specific range decides (RFC 9110 §12.5.1).

    Ranges of other types let it pass, since products send whatever their HTTP library made up: only ranges of other
    TAXII versions and q=0 turn it down (A-2), which is what makes clients of both versions fall back.
    """
    if not header.strip():
        return True
    found = [_range(*_media_type(text)) for text in _LISTED.findall(header)]
    most, q = max(found, default=(-1, 0.0))
    return most >= 0 and q > 0


def _range(kind: str, parameters: Mapping[str, str]) -> tuple[int, float]:
    """How specifically a range names our type (-1: it names another TAXII), and its q."""
    version = parameters.get("version")
    try:
        q = float(parameters.get("q", "1"))
    except ValueError:
        q = 1.0
    if kind == "application/taxii+json":
        return (2 if version is None else 3 if version == "2.1" else -1), q
    if kind == "application/vnd.oasis.taxii+json":
        return -1, q
    return int(kind == "application/*"), q


@functools.lru_cache(maxsize=256)
def is_stix_content(header: str) -> bool:
    """May a body of this Content-Type be read as objects? Bundles come as STIX, and often as plain JSON (A-3)."""
    kind, parameters = _media_type(header)
    if kind == "application/json":
        return True
    return kind in ("application/taxii+json", "application/stix+json") and parameters.get("version", "2.1") == "2.1"


def _media_type(text: str) -> tuple[str, dict[str, str]]:
    kind, *rest = text.split(";")
    parameters = (parameter.partition("=") for parameter in rest)
    return kind.strip().lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in parameters}


async def acceptable(request: Request) -> None:
    """Raise NotAcceptable unless the answer may be TAXII 2.1. (Not a plain function: FastAPI would start a thread.)"""
    if not accepts(",".join(request.headers.getlist("accept"))):
        raise NotAcceptable(f"This server speaks {TAXII}.")


async def envelope_body(request: Request, max_bytes: int) -> bytes:
    """The body of a POST. Raises UnsupportedMediaType, TooLarge, and BadRequest for one that breaks off."""
    if not is_stix_content(request.headers.get("content-type", "")):
        raise UnsupportedMediaType(f"Send the objects as {TAXII}.")
    return b"".join([piece async for piece in body_pieces(request, max_bytes)])


async def body_pieces(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """A body, unpacked and counted while it arrives, for it may be chunked.

    Raises UnsupportedMediaType, TooLarge, and BadRequest for one that breaks off.
    """
    coding = ",".join(request.headers.getlist("content-encoding")).strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise UnsupportedMediaType("Send the body as it is, or packed with gzip.")
    if int(request.headers.get("content-length", "0")) > max_bytes:
        raise _too_large(max_bytes)
    arriving = request.stream()
    try:
        async for piece in counted(unpacked(arriving) if coding.endswith("gzip") else arriving, max_bytes):
            yield piece
    except ClientDisconnect as error:
        raise BadRequest("The connection ended before the body did.") from error


async def counted(arriving: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    """The pieces, as long as they are not more than that. Raises TooLarge."""
    size = 0
    async for piece in arriving:
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        yield piece


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"A request may have {max_bytes:,} bytes at most; cut what you send into several.")


#: what comes out of gzip at one go: the other requests get their turn between two
_PIECE = 1024 * 1024
#: STIX shrinks to a tenth or a fiftieth; what shrinks far more was made to fill our memory
_MAX_RATIO = 250


async def unpacked(arriving: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What was packed with gzip, in pieces. Raises BadRequest for what is no gzip, TooLarge for a bomb."""
    packed = unpacked = 0
    stream = zlib.decompressobj(wbits=31)
    try:
        async for chunk in arriving:
            packed += len(chunk)
            more = True
            while more:
                if stream.eof and chunk:  # a file of several members is one text (RFC 1952 §2.2)
                    stream = zlib.decompressobj(wbits=31)
                piece = stream.decompress(chunk, _PIECE)
                unpacked += len(piece)
                if unpacked > _PIECE + _MAX_RATIO * packed:
                    raise TooLarge(f"The body unpacks to more than {_MAX_RATIO} times its size.")
                yield piece
                chunk = stream.unconsumed_tail or stream.unused_data
                # A full piece may have left something behind, though nothing is left to read.
                more = bool(chunk) or (len(piece) == _PIECE and not stream.eof)
                await asyncio.sleep(0)
    except zlib.error as error:
        raise BadRequest("The body is not gzip, though its Content-Encoding says so.") from error
    if not stream.eof:
        raise BadRequest("The packed body breaks off before its end.")


# --------------------------------------------------------------------------------------------------------- resources

#: date_added of the first and the last member of an answer; of an empty one, a safe place to go on from (A-11)
Dates = tuple[datetime, datetime] | None
#: the newest rows' dates are told to all who poll
_date = functools.lru_cache(maxsize=4096)(times.taxii)


# What one key may read is not for the next one behind the same cache, whatever header it comes in.
_PRIVATE = {"Cache-Control": "private, no-cache"}
_PRIVATELY, _IN_TAXII = (b"cache-control", _PRIVATE["Cache-Control"].encode()), (b"content-type", TAXII.encode())


def resource(content: Mapping[str, Any], status: int = 200) -> Response:
    """A TAXII resource. Properties that are None or an empty list are left out (TAXII 2.1 §2)."""
    filled = {name: value for name, value in content.items() if value is not None and value != []}
    body = orjson.dumps(filled)
    headers = {**_PRIVATE, "ETag": _tag(body).decode()} if status == 200 else _PRIVATE
    return Response(body, status, headers, TAXII)


def _tag(content: bytes) -> bytes:
    """The ETag of what has no date of its own: weak, for it may come packed or not (A-6)."""
    return b'W/"%b"' % hashlib.blake2b(content, digest_size=12).hexdigest().encode()


def nothing() -> Response:
    """200 without a body, which carries its Content-Type all the same (§3.1, §5.7)."""
    return Response(b"", media_type=TAXII)


def envelope(
    page: Page, next: str | None, dates: Dates, *, tagged: bool = True, empty_objects: bool = False
) -> Response:
    """Objects as their bytes came: joined, never read and written again (§3.7; empty: `{}`).

    `empty_objects`, for products that read nothing else: an empty one is `{"objects":[]}` (L-9).

    `tagged`, where rows can leave the page's view but none can enter it below its last date: then that date and the
    number of rows tell whether anything changed, and are the ETag.
    """
    if not page.objects:
        return _paged(b'{"objects":[]}' if empty_objects else b"{}", dates)
    more = b'"more":true,"next":"%b",' % next.encode() if next else b""
    members = page.objects[:]
    # One join, since a page of a megabyte is copied by each.
    members[0] = b'{%b"objects":[%b' % (more, members[0])
    members[-1] += b"]}"
    headers = [(b"vary", b"Accept-Encoding")]
    if tagged and page.last:
        tag = f'W/"{_date(page.last)}-{len(page.objects)}-{int(page.more)}"'
        headers.append((b"etag", tag.encode()))
    return _paged(b",".join(members), dates, headers)


def manifest(found: Manifest, next: str | None, dates: Dates) -> Response:
    """The manifest resource (§5.3), with the `next` that the standard forgot (A-12)."""
    records = [
        {"id": record.id, "date_added": times.taxii(record.date_added), "version": record.version, "media_type": STIX}
        for record in found.records
    ]
    return _listed("objects", records, next, dates)


def versions(found: Manifest, next: str | None, dates: Dates) -> Response:
    """The versions resource (§5.8)."""
    return _listed("versions", [record.version for record in found.records], next, dates)


def _listed(name: str, members: Sequence[object], next: str | None, dates: Dates) -> Response:
    more = {"more": True, "next": next} if next else {}
    content = orjson.dumps(more | {name: members} if members else more)
    return _paged(content, dates, [(b"etag", _tag(content))] if members else [])


class _Ready(Response):
    """200 with these headers: Starlette would make each of them anew, and a poll has hardly any other work."""

    def __init__(self, headers: list[tuple[bytes, bytes]], content: bytes) -> None:
        self.status_code, self.background = 200, None
        self.raw_headers, self.body = headers, content


def _paged(content: bytes, dates: Dates, more: Sequence[tuple[bytes, bytes]] = ()) -> Response:
    headers = [_PRIVATELY, *more]
    if dates:
        first, last = map(_date, dates)
        headers += (b"x-taxii-date-added-first", first.encode()), (b"x-taxii-date-added-last", last.encode())
    headers += (b"content-length", str(len(content)).encode()), _IN_TAXII
    return _Ready(headers, content)


def collection(shelf: Collection, member: Actor) -> dict[str, Any]:
    """The collection resource (§5.2). Whoever sees a collection reads it."""
    described = {"description": shelf.description} if shelf.description else {}
    return {
        "id": shelf.id,
        "title": shelf.title,
        **described,
        "alias": shelf.alias,
        "can_read": True,
        "can_write": may_release(member, shelf.own),
        "media_types": [STIX],
    }


def status(found: Status, status: int = 200) -> Response:
    """The status resource (§4.3)."""
    return resource(
        {
            "id": found.id,
            "status": "complete" if found.complete else "pending",
            "request_timestamp": times.taxii(found.received_at),
            "total_count": found.total,
            "success_count": found.success,
            "successes": found.successes,
            "failure_count": found.failure,
            "failures": found.failures,
            "pending_count": found.pending,
            "pendings": found.pendings,
        },
        status,
    )


# ------------------------------------------------------------------------------------------------------------ errors


STOPPING = Busy("The server is being stopped. Send it once more in a minute; what is there already changes nothing.")


def is_stopping() -> bool:
    """Is this request cut off, since the server's time to stop is over?"""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def render(request: Request, error: Exception) -> Response:
    """Any error of the application, in the form that its path has."""
    error = STOPPING if is_stopping() else error
    actor = getattr(request.state, "actor", None)
    brought = ("authorization", "x-api-key")
    keyless = not any(name in request.headers for name in brought) and certificates.of_request(request.scope) is None
    return error_answer(error, request.state.request_id, request.method, request.scope["path"], actor, keyless)


def error_answer(
    error: Exception, error_id: str, method: str, path: str, actor: str | None = None, keyless: bool = False
) -> Response:
    """Any error as the TAXII error resource (§3.6); below `problems.ROOT` as problem details (RFC 9457).

    What is not ours to tell is in the log, under its error_id.

    `method` and `path` are empty where the request broke off before them.
    """
    status, title, description, headers = _told(error)
    noted = {
        "error_id": error_id,
        "status": status,
        "method": method,
        "path": path,
        "actor": actor,
        "reason": f"{type(error).__name__}: {description or title}",
    }
    if isinstance(error, Busy):
        log.warning("request refused", extra=noted)
    elif status >= 500:
        log.error("request failed", extra=noted, exc_info=error)
    elif not (status == 401 and keyless):  # who brings no key is asked for one, no more
        log.info("request refused", extra=noted)
    if path.startswith(problems.ROOT):
        answer = Response(problems.told(status, title, description, error_id), status, _PRIVATE, problems.MEDIA_TYPE)
    else:
        content = {"title": title, "description": description, "error_id": error_id, "http_status": str(status)}
        answer = resource(content, status)
    answer.headers.update(headers)
    return answer


def _told(error: Exception) -> tuple[int, str, str | None, dict[str, str]]:
    """Status, title, description and headers of an error."""
    if isinstance(error, TooMany):
        return error.status, error.title, error.detail, {"Retry-After": str(math.ceil(error.wait))}
    if isinstance(error, IsacError):
        return error.status, error.title, error.detail, _HEADERS.get(error.status, {})
    if isinstance(error, HTTPException):
        return error.status_code, http.HTTPStatus(error.status_code).phrase, None, dict(error.headers or {})
    if isinstance(error, RequestValidationError):
        return 400, BadRequest("").title, None, {}
    if isinstance(error, Away):
        return _told(Surroundings("The database does not answer. Try again in a few seconds."))
    # What nobody foresaw goes on to uvicorn, which ends the connection.
    return 500, "Internal error", None, {"Connection": "close"}


_HEADERS = {
    401: {"WWW-Authenticate": 'Basic realm="isac", charset="UTF-8"'},
    415: {"Accept-Encoding": "gzip"},
    503: {"Retry-After": "5"},
}


# -------------------------------------------------------------------------------------------------------------- door


class Door:
    """Before all else: gives each request an id, and makes one form of those that mean the same.

    Doubled slashes are folded, and below `roots` a missing last one is added (no redirect: clients lose their
    credentials on it, A-1). Below `problems.ROOT` paths have none.
    """

    def __init__(self, app: ASGIApp, roots: Iterable[str]) -> None:
        self._app = app
        self._roots = tuple(roots)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["request_id"] = str(uuid.uuid4())
        await self._app({**scope, "path": self._path(scope["path"])}, receive, send)

    def _path(self, path: str) -> str:
        # PostgreSQL has no NUL in its texts; a path with one leads nowhere instead.
        folded = re.sub(r"/{2,}", "/", path).replace("\0", "\ufffd")
        if folded.startswith(problems.ROOT):
            return folded.rstrip("/")
        return f"{folded}/" if not folded.endswith("/") and f"{folded}/".startswith(self._roots) else folded
