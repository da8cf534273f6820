"""What a request asks of a collection: its filters, and the `next` that carries them on (TAXII 2.1 §3.4, §5)."""

import functools
import hashlib
import hmac
import logging
import re
import struct
import urllib.parse
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias

import orjson

from isac import times
from isac.errors import BadRequest
from isac.store.objects import Manifest, Page, Query, Versions

log = logging.getLogger(__name__)

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100

_Names: TypeAlias = tuple[str, ...] | None

#: which filters count where (TAXII 2.1 §5); all others are ignored, since products add their own (§3.4, A-7)
OF_VERSIONS = frozenset({"added_after", "limit", "next", "match[spec_version]"})
OF_OBJECT = OF_VERSIONS | {"match[version]"}
OF_OBJECTS = OF_OBJECT | {"match[id]", "match[type]"}
OF_DELETE = frozenset({"match[version]", "match[spec_version]"})


class Asked(NamedTuple):
    """The filters of one request; None is «not given»."""

    added_after: datetime | None = None
    limit: int | None = None
    #: as it came: only `Tokens` can read it
    next: str | None = None
    ids: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    versions: Versions | None = None
    spec_versions: tuple[str, ...] | None = None
    #: names of parameters that do not count here
    ignored: tuple[str, ...] = ()


class Ignored:
    """Tells an operator who asks for what does not count: each key's names once, and few of each (A-7)."""

    def __init__(self) -> None:
        self._told: dict[str, set[str]] = {}

    def note(self, key_id: str, names: Iterable[str]) -> None:
        told = self._told.setdefault(key_id, set())
        for name in names:
            if name not in told and len(told) < _MOST_IGNORED:
                told.add(name)
                log.info("parameter ignored", extra={"actor": key_id, "parameter": name})


#: names of a key that are told, and how much of each
_MOST_IGNORED, _LONGEST_IGNORED = 20, 60

_NOTHING = Asked()
_PLAIN = {"added_after", "limit", "next"}


def read(query: bytes, known: frozenset[str]) -> Asked:
    """Read a raw query string. Raises BadRequest for a filter that is malformed or given twice."""
    if not query:
        return _NOTHING
    given: dict[str, str] = {}
    ignored: list[str] = []
    for pair in query.decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        if "%" in pair or "+" in pair:
            name, value = _unquoted(name), _unquoted(value)
        if name not in known:
            ignored.append(name[:_LONGEST_IGNORED])
            continue
        if name in given:
            raise BadRequest(f"{name} is given twice; put its values into one list with commas.")
        if not value.isprintable():
            raise BadRequest(f"{name} contains control characters.")
        given[name] = value
    asked = Asked(
        _instant(given["added_after"]) if "added_after" in given else None,
        _limit(given["limit"]) if "limit" in given else None,
        given.get("next"),
        ignored=tuple(filter(None, ignored)),
    )
    if given.keys() <= _PLAIN:  # as nearly always
        return asked
    versions = _values(given, "match[version]")
    return asked._replace(
        ids=_once(_values(given, "match[id]", str.lower)),
        types=_once(_values(given, "match[type]")),
        versions=_versions(versions) if versions else None,
        spec_versions=_once(_values(given, "match[spec_version]")),
    )


def _unquoted(text: str) -> str:
    # Of a timestamp only its colons are quoted, and unquote takes its time.
    plain = text.replace("+", " ").replace("%3A", ":")
    return urllib.parse.unquote(plain) if "%" in plain else plain


def _values(given: Mapping[str, str], name: str, form: Callable[[str], str] = str) -> tuple[str, ...] | None:
    if name not in given:
        return None
    values = tuple(form(value.strip()) for value in given[name].split(","))
    if not all(values):
        raise BadRequest(f"{name} is empty or has an empty value between two commas.")
    return values


def _once(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Without repetitions: a type named twice would give its objects twice."""
    return None if values is None else tuple(dict.fromkeys(values))


def _instant(text: str) -> datetime:
    try:
        return times.read(text)
    except ValueError as error:
        raise BadRequest("added_after is not a timestamp like 2026-11-03T06:30:00.000000Z.") from error


def _limit(text: str) -> int:
    """Clamped, so that nothing turns thousands of digits into a number."""
    found = _WHOLE.fullmatch(text)
    if not found:
        raise BadRequest("limit is not a whole number above 0.")
    digits = found[1]
    return MAX_LIMIT if len(digits) > len(str(MAX_LIMIT)) else min(int(digits), MAX_LIMIT)


_WHOLE = re.compile(r"0*([1-9][0-9]*)", re.ASCII)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_STIX_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d+))?Z", re.ASCII)
_KEYWORDS = ("first", "last", "all")


def _versions(values: Sequence[str]) -> Versions:
    named = [value for value in values if value in _KEYWORDS]
    instants = [_nanoseconds(value) for value in values if value not in _KEYWORDS]
    if len({*named, *instants}) < len(values):
        raise BadRequest("match[version] has a value twice.")
    if "all" in named and len(values) > 1:
        raise BadRequest("match[version]=all stands alone.")
    # What 64 bits do not hold is no version that is stored; the rest of the list still counts.
    storable = frozenset(instant for instant in instants if abs(instant) < 2**63)
    return Versions(last="last" in named, first="first" in named, all="all" in named, instants=storable)


def _nanoseconds(text: str) -> int:
    """A STIX timestamp as nanoseconds since 1970: two texts of one instant are one version."""
    found = _STIX_TIME.fullmatch(text)
    try:
        if not found:
            raise ValueError("not a STIX timestamp")
        microseconds = (times.read(text) - _EPOCH) // _MICROSECOND
    except ValueError as error:
        raise BadRequest("match[version] is neither first, last, all nor a timestamp of STIX.") from error
    return microseconds * 1000 + int((found[1] or "")[6:9].ljust(3, "0"))


# -------------------------------------------------------------------------------------------------------------- next

_TAG = 16
#: form, collection, position; the filters follow
_HEAD = struct.Struct(">BQq")
_FORM = 1
_ANY = Query(limit=DEFAULT_LIMIT, versions=Versions(last=False, all=True))


class Tokens:
    """The `next` of pages: stateless, so that every worker and every later release reads it, and opaque (L-6).

    Inside are the collection, the position (date_added of the last row served) and the query. Two positions would tell
    how much others add, so all of it is encrypted: tag = keyed BLAKE2b of the content (RFC 7693), then the content
    under a key stream made of the tag (as in RFC 5297, SIV). Nothing in it is random: one page is the same bytes for
    everybody who may read it.
    The tag also tells our tokens from garbage. A token gives nobody a right: it only says where to go on.
    """

    def __init__(self, key: bytes) -> None:
        """`key` is the API root's: each root counts its collections for itself."""
        self._seal = hmac.digest(key, b"next: seal", "sha256")
        self._cipher = hmac.digest(key, b"next: cipher", "sha256")

    def query(self, asked: Asked, collection: int) -> Query:
        """What a request asks of a collection, with what its `next` says. Raises BadRequest for one that is not ours.

        Filters left out are taken from `next`, given ones narrow it, and `limit` may change. The `next` of another
        collection says nothing, or clients that forget to drop it would lose rows: `added_after` alone counts (A-19).
        """
        earlier, versions = _ANY, asked.versions or Versions()
        if asked.next is not None:
            origin, resumed = self._open(asked.next)
            if origin == collection:
                earlier, versions = resumed, asked.versions or _ANY.versions
        versions = _narrower(earlier.versions, versions)
        some = versions.last or versions.first or versions.all or versions.instants
        return Query(
            limit=asked.limit or earlier.limit,
            added_after=asked.added_after,
            position=earlier.position,
            # To ask for no version at all is to ask for no object.
            ids=_narrowed(earlier.ids, asked.ids) if some else (),
            types=_narrowed(earlier.types, asked.types),
            versions=versions,
            spec_versions=_narrowed(earlier.spec_versions, asked.spec_versions),
        )

    def next(self, collection: int, query: Query, page: Page | Manifest) -> str | None:
        """What leads from this page to the one after it; None on the last page."""
        if not page.more or page.last is None:
            return None
        # Thousands of ids are not worth keeping; whatever else is asked for is asked for by many.
        pack = _packed if query.ids is None else _packed.__wrapped__
        filters = pack(query.limit, query.ids, query.types, query.versions, query.spec_versions)
        content = _HEAD.pack(_FORM, collection, (page.last - _EPOCH) // _MICROSECOND) + filters
        tag = self._tag(content)
        return urlsafe_b64encode(tag + self._hidden(tag, content)).rstrip(b"=").decode()

    def _open(self, text: str) -> tuple[int, Query]:
        try:
            sealed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except ValueError as error:
            raise _not_ours() from error
        tag, content = sealed[:_TAG], self._hidden(sealed[:_TAG], sealed[_TAG:])
        if not hmac.compare_digest(tag, self._tag(content)):
            raise _not_ours()
        form, collection, position = _HEAD.unpack_from(content)
        if form != _FORM:
            raise _not_ours()
        filters = orjson.loads(zlib.decompress(content[_HEAD.size :], wbits=-15))
        limit, ids, types, (last, first, every, instants), spec_versions = filters
        return collection, Query(
            limit=limit,
            position=_EPOCH + position * _MICROSECOND,
            ids=_tuple(ids),
            types=_tuple(types),
            versions=Versions(last, first, every, frozenset(instants)),
            spec_versions=_tuple(spec_versions),
        )

    def _tag(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, key=self._seal, digest_size=_TAG).digest()

    def _hidden(self, tag: bytes, content: bytes) -> bytes:
        """The content under the tag's key stream, SHAKE-256 with a secret prefix; the same again makes it plain."""
        stream = hashlib.shake_256(self._cipher + tag).digest(len(content))
        return (int.from_bytes(content) ^ int.from_bytes(stream)).to_bytes(len(content))


@functools.lru_cache(maxsize=256)
def _packed(limit: int, ids: _Names, types: _Names, wanted: Versions, spec_versions: _Names) -> bytes:
    versions = [wanted.last, wanted.first, wanted.all, sorted(wanted.instants)]
    return zlib.compress(orjson.dumps([limit, ids, types, versions, spec_versions]), wbits=-15)


def _not_ours() -> BadRequest:
    return BadRequest("next is not one that this server gave out; leave it out to begin again from added_after.")


def _narrowed(earlier: tuple[str, ...] | None, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if earlier is None or given is None:
        return given if earlier is None else earlier
    return tuple(value for value in given if value in earlier)


def _narrower(earlier: Versions, given: Versions) -> Versions:
    if earlier.all or given.all:
        return given if earlier.all else earlier
    return Versions(
        earlier.last and given.last, earlier.first and given.first, False, earlier.instants & given.instants
    )


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
