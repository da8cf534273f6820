"""Feeds: the sources that we read, each defined by one TOML file in feeds/, and their runs.

A definition says where, in which format, under which marking, license and audience; there is no code in it. `path` is
read here; fetching a `url` is for the feed runs.
"""

import asyncio
import gzip
import io
import tomllib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from isac.errors import Invalid
from isac.formats import csv, json, misp, stix, text
from isac.formats.found import FIELDS, Found, Unreadable, kind_of
from isac.ingest.files import Payload, Reading, ingest
from isac.stix.markings import TLP
from isac.store import members
from isac.store.database import Pool

# The same as a submission's largest body; also what a packed file may unpack to.
MAX_BYTES = 100 * 1024 * 1024
_GZIP = b"\x1f\x8b"


def _tlp(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('write it as text, such as "green"')
    return TLP.parse(value)


def _kind(value: object) -> object:
    found = kind_of(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is no kind of observable; write url, domain, ip, ip:port, hash, email, asn or cve")
    return found


def _columns(value: object) -> object:
    unknown = sorted(value.keys() - FIELDS.keys()) if isinstance(value, dict) else []
    if unknown:
        raise ValueError(f"there is no field {', '.join(map(repr, unknown))}; the fields are {', '.join(FIELDS)}")
    return value


class Feed(BaseModel):
    """A source that we read, as one file in feeds/ defines it."""

    # The texts below the fields also go into schemas/feed.json, for those who write definitions.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"oneOf": [{"required": ["url"]}, {"required": ["path"]}]},
    )

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """Its short name for ever: small letters, digits and hyphens. The ids of its indicators are made from it."""

    description: str = ""
    """What it lists, and who keeps it. For analysts."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/\S*)?$")] | None = None
    """Where it is fetched, without name or password. Either this or `path`."""

    path: Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$")] | None = None
    """A file beside the definition, packed with gzip or not. Either this or `url`."""

    format: Literal["stix", "csv", "json", "misp", "text"]
    """How it is written: STIX, a table with a header, a JSON list of records, MISP events, or one value a line."""

    columns: Annotated[
        dict[str, str | list[str]],
        BeforeValidator(_columns),
        WithJsonSchema(
            {
                "type": "object",
                "properties": {
                    field: {
                        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
                        "description": meaning,
                    }
                    for field, meaning in FIELDS.items()
                },
                "required": ["value"],
                "additionalProperties": False,
            }
        ),
    ] = Field(default_factory=dict)
    """For csv and json: our field = its column, or a list of columns. By name, since publishers insert columns."""

    records: str | None = None
    """For json: where the list of records is, by dotted names; without it the file is the list, or JSON lines."""

    kind: Annotated[str, BeforeValidator(_kind), WithJsonSchema({"type": "string"})] | None = None
    """What all its values are, such as url or ip:port; without it they are recognized by their form."""

    tlp: Annotated[
        TLP,
        BeforeValidator(_tlp),
        WithJsonSchema({"enum": ["clear", "green", "amber"], "type": "string"}),
        PlainSerializer(str),
        Field(json_schema_extra={"default": "green"}),
    ] = TLP.GREEN
    """The marking of what it does not mark itself. The stricter ones need recipients by name, which a feed has not."""

    audience: Annotated[str, Field(pattern=r"^(public|us(-[a-z]{2}(-([0-9]{5}|[0-9]{7}|[0-9]{10}))?)?)$")] = "us"
    """The jurisdiction's code whose members get it: us, us-oh, us-oh-39049; public is everybody and needs TLP clear."""

    license: Annotated[str, Field(min_length=1)]
    """Its terms of use: a license's name, or a web address. Whoever sets `redistribute` has read them."""

    redistribute: bool = False
    """May its indicators go to members? Most terms forbid it: then it serves screening and correlation only."""

    auth_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """The environment variable that holds its key, so that no secret stands in a file."""

    sample: bool = False
    """Made up, for trying: documentation addresses (192.0.2.0/24, .example) are taken from it alone."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.url is None) == (self.path is None):
            raise ValueError("say either `url` or `path`, where it is to be had")
        table = self.format in ("csv", "json")
        if table and not self.columns.get("value"):
            raise ValueError("`columns.value` is missing: which column holds the values?")
        if self.columns and not table:
            raise ValueError(f"`columns` is for csv and json, and `format` is {self.format}")
        if self.records is not None and self.format != "json":
            raise ValueError(f"`records` is for json, and `format` is {self.format}")
        if self.kind is not None and self.format in ("stix", "misp"):
            raise ValueError(
                f"`kind` says what plain values are, and {self.format.upper()} says that itself; leave it out"
            )
        if self.tlp > TLP.AMBER:
            raise ValueError("`tlp` is stricter than amber, which needs recipients by name; a feed has an `audience`")
        if self.audience == "public" and self.tlp > TLP.CLEAR:
            raise ValueError("`audience` public needs `tlp` clear")
        return self

    def read(self, data: bytes) -> Sequence[bytes] | Iterator[Found | Unreadable]:
        """What its bytes hold: objects' own bytes if STIX, else values. Raises Invalid if they are no such format."""
        match self.format:
            case "stix":
                return stix.read(data)
            case "csv":
                return csv.read(data, self.columns, self.kind)
            case "json":
                return json.read(data, self.columns, self.records, self.kind)
            case "misp":
                return misp.read(data)
            case "text":
                return text.read(data, self.kind)


def schema() -> str:
    """The text of schemas/feed.json, by which editors check a definition while it is written."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Feed.model_json_schema()}
    return orjson.dumps(described, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def load(path: Path) -> Feed:
    """Raises Invalid that names the file, each key that is wrong and what to do."""
    try:
        definition = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Invalid(f"{path}: cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"{path}: this is not TOML: {error}.") from error
    try:
        return Feed.model_validate(definition)
    except ValidationError as error:
        raise Invalid(f"{path}: {'; '.join(_problem(dict(found)) for found in error.errors())}.") from error


def load_all(folder: Path) -> list[Feed]:
    """The feeds that the *.toml files of a folder define, by name. Raises Invalid if two have one name."""
    feeds: dict[str, Feed] = {}
    for path in sorted(folder.glob("*.toml")):
        feed = load(path)
        if feed.name in feeds:
            raise Invalid(f"{path}: name: another file defines a feed {feed.name} too; give one of them another name.")
        feeds[feed.name] = feed
    return [feeds[name] for name in sorted(feeds)]


def payload(feed: Feed, folder: Path) -> bytes:
    """The bytes of a feed's `path`, unpacked. Raises Invalid if missing, outside the folder, damaged or too large."""
    if feed.path is None:
        raise Invalid(f"Feed {feed.name}: path: is missing; it is fetched by its url.")
    file = (folder / feed.path).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise Invalid(f"Feed {feed.name}: path: {feed.path} leads out of {folder}; put the file beside the definition.")
    try:
        with file.open("rb") as opened:
            packed = opened.read(MAX_BYTES + 1)
        plain = _unpack(packed)
    except OSError as error:
        raise Invalid(f"Feed {feed.name}: path: {feed.path} cannot be read ({error.strerror or error}).") from error
    except (EOFError, zlib.error) as error:
        raise Invalid(f"Feed {feed.name}: path: {feed.path} is damaged ({error}); get it again.") from error
    if max(len(packed), len(plain)) > MAX_BYTES:
        raise Invalid(
            f"Feed {feed.name}: path: {feed.path} holds more than {MAX_BYTES >> 20} MiB; cut it into several."
        )
    return plain


async def run(pool: Pool, feed: Feed, folder: Path, *, progress: Callable[[int], None] = lambda _: None) -> Reading:
    """Read a feed's file and take it in for its audience. Raises Invalid, and NotFound for an audience that is not."""
    data = await asyncio.to_thread(payload, feed, folder)
    async with pool.connection() as conn, conn.transaction():
        asking = await members.source(conn, feed.name)
        collection = await members.shelf(conn, feed.audience)
    document = Payload(feed.name, data)
    return await ingest(pool, document, collection, asking, feed.name, feed=feed, sample=feed.sample, progress=progress)


def _unpack(packed: bytes) -> bytes:
    """Whether gzip or not is told by its first bytes, since names lie. One byte beyond the limit is enough to know."""
    if not packed.startswith(_GZIP):
        return packed
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as unpacked:
        return unpacked.read(MAX_BYTES + 1)


def _problem(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in words that name the key and what to do."""
    key = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return f"{key}: there is no such key; the keys are {', '.join(Feed.model_fields)}"
        case "missing":
            return f"{key}: is missing"
        case "value_error":
            reason = str(error["ctx"]["error"])
            return f"{key}: {reason}" if key else reason
        case "string_pattern_mismatch":
            return f"{key}: {error['input']!r} does not look as it should ({error['ctx']['pattern']})"
        case _:
            return f"{key}: {error['msg'][:1].lower()}{error['msg'][1:]}"
