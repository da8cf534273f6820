"""What stands at a feed's address: documents, one after the other, each with the place from which to go on after it.

A file, a folder of files, a web page that lists files, a MISP feed, or a TAXII 2.1 collection. A place is what the next
run is handed (JSON); it is noted when its document was taken in, so nothing is missed and little is read twice. Where a
source has many documents, each has a mark of its own, so that a run writes what is new and not the whole list. Who
cannot take a document in says so (`failed`) and notes no place: it is asked for again, less and less often.
"""

import asyncio
import contextlib
import html
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin

import orjson

from isac import times
from isac.errors import Invalid, Unreachable
from isac.formats.found import one_line
from isac.formats.texts import Text
from isac.ingest import disk
from isac.ingest.fetching import Fetched, Fetcher, Validators, shown
from isac.ingest.files import unpacked
from isac.store import archive
from isac.store.runs import Seen

Place = dict[str, Any]

#: what a page of a TAXII server may hold; most allow fewer
_PAGE = 1000
#: servers may date objects a little before they show them
_OVERLAP = timedelta(seconds=2)
#: and where they do not say how far a page goes, their clocks may differ from ours
_BLIND = timedelta(minutes=10)
_TAXII = "application/taxii+json;version=2.1"
# Two steps, and no tag reaches into the next: one expression for both took hours for a page of nothing but `<a `.
_LINK = re.compile(r"<a\s[^<>]*", re.IGNORECASE)
_HREF = re.compile(r"""(?<![\w-])href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
#: a page that lists 10,000 files with long names
_LARGEST_PAGE = 2 * 1024 * 1024
#: of a TAXII page or a manifest, which are read as a whole: parsed they take six times as much
_LARGEST_ANSWER = 32 * 1024 * 1024
#: of an address; each is kept in the place
_LONGEST_LINK = 2000
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
#: of a document's name
_NAME = 200
#: events of a MISP feed; the largest public one has a few thousand
_MAX_EVENTS = 100_000
#: files of one listing; more are somebody's whole disk
_MAX_FILES = 10_000


@dataclass(slots=True)
class Document:
    """One document, and the place after it. `problem`: it could not be had, and the others come all the same."""

    #: one printable line, since it goes to terminals and tables
    name: str
    content: Text
    #: empty where nothing but its own mark is to be noted
    place: Place
    media_type: str = "application/octet-stream"
    problem: str = ""
    #: nothing else stands at this address
    only: bool = False
    #: of one among many: its name for ever, and what tells whether it changed (JSON)
    key: str = ""
    mark: Any = None
    #: the mark to note where it was not taken in; None: the same
    mark_of_failure: Any = None
    #: set by whoever was handed it, before the next one is asked for: it was not taken in
    failed: bool = False

    def __post_init__(self) -> None:
        self.name = one_line(self.name, _NAME)


async def documents(
    fetcher: Fetcher, url: str, format_name: str, headers: Mapping[str, str], place: Place, seen: Mapping[str, Seen]
) -> AsyncIterator[Document]:
    """What a URL gives since `place`, and of many documents what was not `seen`. Raises Unreachable."""
    if format_name == "taxii":
        found = _collection(fetcher, url, headers, place)
    elif format_name == "misp" and url.endswith(("/", "/manifest.json")):
        found = _misp_feed(fetcher, url.removesuffix("manifest.json"), headers, place, seen)
    elif url.endswith("/"):
        found = _listing(fetcher, url, headers, seen)
    else:
        found = _file(fetcher, url, headers, place)
    async for document in found:
        yield document


def files(path: Path, place: Place, seen: Mapping[str, Seen]) -> Iterator[Document]:
    """A file, or what is new or changed in a folder, the oldest first; each is read when it is asked for.

    Raises Invalid for what cannot be read; a file of a folder is a problem instead.
    """
    try:
        if not path.is_dir():
            content = disk.opened(path)
            mark = _mark(content)
            if place.get("sha256") != mark:
                yield Document(path.name, content, {"sha256": mark}, only=True)
            return
        there = [(_age(file), file.stat().st_size, file) for file in path.iterdir() if file.is_file()]
    except OSError as error:
        raise Invalid(f"{path}: cannot be read ({error.strerror or error}).") from error
    now = times.now()
    new = [(age, size, file) for age, size, file in sorted(there) if _is_due(seen.get(_key(file)), [size, age], now)]
    for age, size, file in new[:_MAX_FILES]:
        content, problem = b"", ""
        try:
            content = disk.opened(file)
        except OSError as error:
            problem = f"cannot be read ({error.strerror or error})."
        except Invalid as error:
            problem = error.detail
        yield Document(file.name, content, {}, problem=problem, key=_key(file), mark=[size, age])


def _is_due(seen: Seen | None, mark: object, now: datetime) -> bool:
    """Is it to be asked for: new, changed, or one that failed and has waited long enough?"""
    return seen is None or seen.mark != mark or (seen.failures > 0 and not seen.waits(now))


def _key(file: Path) -> str:
    """Its name as JSON takes it: a disk's names need not be UTF-8."""
    return file.name.encode("utf-8", "backslashreplace").decode()


def _age(file: Path) -> int:
    return file.stat().st_mtime_ns


def _mark(content: Text) -> str:
    return archive.digest_of(content).hex()


async def _file(fetcher: Fetcher, url: str, headers: Mapping[str, str], place: Place) -> AsyncIterator[Document]:
    got = await fetcher.get(url, headers=headers, known=_known(place))
    if got is not None and _mark(got.content) != place.get("sha256"):
        yield Document(shown(url), got.content, _place(got), got.media_type, only=True)


def _known(place: Mapping[str, Any]) -> Validators:
    return Validators(place.get("etag"), place.get("last_modified"))


def _place(got: Fetched) -> Place:
    said = {"etag": got.validators.etag, "last_modified": got.validators.last_modified}
    return {"sha256": _mark(got.content)} | {name: value for name, value in said.items() if value}


async def _listing(
    fetcher: Fetcher, url: str, headers: Mapping[str, str], seen: Mapping[str, Seen]
) -> AsyncIterator[Document]:
    """Files that a web page lists, as servers show a folder: those below it, the same name once."""
    page = await fetcher.get(url, headers=headers)
    if page is None:
        return
    names = await asyncio.to_thread(_linked, url, page.content)
    if len(names) > _MAX_FILES:
        raise Unreachable(f"{url} lists {len(names):,} files; at most {_MAX_FILES:,} are read.")
    now = times.now()
    for link in names:
        known = seen.get(link)
        if known and known.waits(now):
            continue
        before: Place = known.mark if known else {}
        try:
            got = await fetcher.get(link, headers=headers, known=_known(before))
        except Unreachable as error:
            yield Document(link, b"", {}, problem=error.detail, key=link, mark=before)
            continue
        if got is not None and _mark(got.content) != before.get("sha256"):
            # What cannot be taken in has to come whole again.
            mark = _place(got)
            yield Document(unquote(link), got.content, {}, got.media_type, key=link, mark=mark, mark_of_failure={})


def _linked(url: str, content: Text) -> list[str]:
    """Addresses of files below `url` that its page links to, each once. Raises Unreachable if the page is too large."""
    try:
        page = unpacked(content, _LARGEST_PAGE)[:].decode("utf-8", "replace")
    except Invalid as error:
        raise Unreachable(f"{url}: the page that lists its files {error.detail}") from error
    names: dict[str, None] = {}
    for tag in _LINK.finditer(page):
        if (href := _HREF.search(tag[0])) is None:
            continue
        # What is no address at all is no file either.
        with contextlib.suppress(ValueError):
            link = urljoin(url, html.unescape(href[1] or href[2] or href[3] or "").strip()).partition("#")[0]
            usable = len(link) <= _LONGEST_LINK and link.isprintable()
            if usable and link.startswith(url) and _is_file(link[len(url) :]):
                names[link] = None
    return list(names)


def _is_file(name: str) -> bool:
    return bool(name) and "/" not in name and not name.startswith("?") and name not in (".", "..")


async def _misp_feed(
    fetcher: Fetcher, base: str, headers: Mapping[str, str], place: Place, seen: Mapping[str, Seen]
) -> AsyncIterator[Document]:
    """A MISP feed: a manifest that dates its events, and a file for each event."""
    url = f"{base}manifest.json"
    known = _known(place.get("manifest", {}))
    got = await fetcher.get(url, headers=headers, known=known)
    if got is None:
        return
    dated = await asyncio.to_thread(_manifest, url, got.content)
    now = times.now()
    new = sorted((at, uuid) for uuid, at in dated.items() if _is_due(seen.get(uuid), at, now))
    # Those that wait after a failure are not here either.
    whole = not any(uuid in seen and seen[uuid].mark == at and seen[uuid].waits(now) for uuid, at in dated.items())
    for nth, (at, uuid) in enumerate(new, start=1):
        name = f"{base}{uuid}.json"
        try:
            event = await fetcher.get(name, headers=headers)
        except Unreachable as error:
            whole = False
            yield Document(name, b"", {}, problem=error.detail, key=uuid, mark=at)
            continue
        if event is None:
            continue
        # Not before all its events are here the manifest may be «not modified».
        manifest = {"manifest": _place(got)} if whole and nth == len(new) else {}
        document = Document(name, event.content, manifest, event.media_type, key=uuid, mark=at)
        yield document
        whole = whole and not document.failed


def _manifest(url: str, content: Text) -> dict[str, str]:
    """The events that a manifest names, and the date of each."""
    try:
        events = orjson.loads(unpacked(content, _LARGEST_ANSWER)[:])
    except orjson.JSONDecodeError as error:
        raise Unreachable(f"{url} is not JSON ({error}).") from error
    if not isinstance(events, dict):
        raise Unreachable(f"{url} is no manifest of a MISP feed.")
    if len(events) > _MAX_EVENTS:
        raise Unreachable(f"{url} names {len(events):,} events; at most {_MAX_EVENTS:,} are read.")
    # The date is kept, whatever it is.
    return {
        uuid: ascii(said.get("timestamp", ""))[:_NAME].strip("'")
        for uuid, said in events.items()
        if _UUID.fullmatch(uuid) and isinstance(said, dict)
    }


async def _collection(fetcher: Fetcher, url: str, headers: Mapping[str, str], place: Place) -> AsyncIterator[Document]:
    """A TAXII 2.1 collection from `added_after` on, by `next` where the server gives it (TAXII 2.1 §3.5, §5.4).

    Raises Unreachable where a server sends the same page again and again, and after a page that was not taken in: what
    follows would be dated after it, and it would never be asked for again.
    """
    base = f"{url.rstrip('/').removesuffix('/objects')}/objects/?limit={_PAGE}"
    after: str | None = place.get("added_after")
    began = times.taxii(times.now() - _BLIND)
    token: str | None = None
    before: str | None = place.get("page")
    asked: set[tuple[str | None, str | None]] = set()
    while True:
        if (after, token) in asked:
            raise Unreachable(f"{shown(url)} sends the same page again and again; its operator should know.")
        asked.add((after, token))
        query = f"&added_after={quote(after)}" if after else ""
        query += f"&next={quote(token, safe='')}" if token else ""
        got = await fetcher.get(base + query, headers={"Accept": _TAXII, **headers})
        if got is None:
            return
        envelope = await asyncio.to_thread(_envelope, url, got.content)
        more, token = bool(envelope.get("more")), envelope.get("next")
        last, mark = got.headers.get("x-taxii-date-added-last"), _mark(got.content)
        if mark == before and more:
            raise Unreachable(f"{shown(url)} sends the same page again and again; its operator should know.")
        if envelope.get("objects") and mark != before:
            goes_on = _before(last, more) if last else began if not more else after
            there = {"page": mark} if not more else {}
            after_it = there | ({"added_after": goes_on} if goes_on else {})
            document = Document(shown(url), got.content, after_it, got.media_type)
            yield document
            if document.failed:
                raise Unreachable(f"{shown(url)}: a page could not be taken in; the next run begins with it.")
        before = mark
        if not more:
            return
        if not isinstance(token, str) or not token:
            token, after = None, last


def _before(last: str, more: bool) -> str:
    """Where a later run begins: what has the same date may stand on the next page, or come a little late."""
    try:
        return times.taxii(times.read(last) - (timedelta(microseconds=1) if more else _OVERLAP))
    except ValueError as error:
        raise Unreachable(f"X-TAXII-Date-Added-Last is {last[:40]!r}, which is no date.") from error


def _envelope(url: str, content: Text) -> dict[str, Any]:
    try:
        envelope = orjson.loads(unpacked(content, _LARGEST_ANSWER)[:])
    except orjson.JSONDecodeError as error:
        raise Unreachable(f"{shown(url)} does not answer as a TAXII 2.1 collection: {error}.") from error
    if not isinstance(envelope, dict) or not isinstance(envelope.get("objects", []), list):
        raise Unreachable(f"{shown(url)} does not answer as a TAXII 2.1 collection: there is no list of objects.")
    return envelope
