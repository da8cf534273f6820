"""Feeds: the sources that we read, each defined by one TOML file in feeds/.

A definition says where, in which format, how often, under which marking, license and audience; there is no code in it.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from isac.errors import Invalid
from isac.formats import csv, json, misp, stix, text
from isac.formats.found import FIELDS, Found, Unreadable, kind_of
from isac.formats.texts import Text
from isac.ingest import corrections
from isac.stix.markings import TLP

_DURATION = re.compile(r"([1-9][0-9]{0,3})([mhd])")
# What definitions say for several kinds of observables.
_ALSO = {
    "ip": ("ipv4-addr", "ipv6-addr"),
    "domain": ("domain-name",),
    "hash": ("md5", "sha-1", "sha-256", "sha-512"),
    "email": ("email-addr",),
}
_SPOKEN_KINDS = ("url", "domain", "ip", "ip:port", "hash", "email", "asn", "cve", "certificate")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def _tlp(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('write it as text, such as "green"')
    try:
        return TLP.parse(value)
    except ValueError as error:
        raise ValueError(f"{error}{corrections.nearest(value, map(str, TLP))}") from error


def _duration(value: object) -> object:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(corrections.span(value))
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _spans(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError('write a table, such as { url = "30d", ip = "14d" }')
    return {_kind(kind): _duration(span) for kind, span in value.items()}


def _kind(value: object) -> object:
    found = kind_of(value) if isinstance(value, str) else None
    if found is None:
        near = corrections.nearest(value, _SPOKEN_KINDS) if isinstance(value, str) else ""
        raise ValueError(f"{value!r:.60} is no kind of observable; write one of {', '.join(_SPOKEN_KINDS)}{near}")
    return found


def _columns(value: object) -> object:
    unknown = sorted(value.keys() - FIELDS.keys()) if isinstance(value, dict) else []
    if unknown:
        raise ValueError(corrections.column(unknown[0], list(Feed.model_fields)))
    return value


def _url(value: object) -> object:
    if isinstance(value, str) and (wrong := corrections.address(value)):
        raise ValueError(wrong)
    return value


def _path(value: object) -> object:
    if isinstance(value, str) and (wrong := corrections.place(value)):
        raise ValueError(wrong)
    return value


Span = Annotated[
    timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"})
]


class Feed(BaseModel):
    """A source that we read, as one file in feeds/ defines it."""

    # The texts below the fields also go into schemas/feed.json, for those who write definitions.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # A traceback shows no password that somebody wrote into a definition.
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        json_schema_extra={"oneOf": [{"required": ["url"]}, {"required": ["path"]}]},
    )

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """Its short name for ever: small letters, digits and hyphens. The ids of its indicators are made from it."""

    description: str = ""
    """What it lists, and who keeps it. For analysts."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/\S*)?$"), BeforeValidator(_url)] | None = None
    """Where it is fetched, without name or password. Either this or `path`."""

    path: Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$"), BeforeValidator(_path)] | None = None
    """A file or a folder beside the definition, packed (gzip, tar, ZIP) or not. Either this or `url`."""

    format: Literal["stix", "csv", "json", "misp", "text", "taxii"]
    """How it is written: STIX, a table with a header, a JSON list of records, MISP events, one value a line; or a
    TAXII 2.1 collection, by its URL."""

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

    header: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """For csv without a header line: the names of its columns, in order; the last one takes all that follows."""

    dates: Literal["iso", "us"] = "iso"
    """For csv and json: dates are ISO 8601, or us: month/day/year, as spreadsheets write it."""

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

    redistribute: StrictBool = False
    """May its indicators go to members? Most terms forbid it: then it serves screening and correlation only."""

    auth_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """The environment variable that holds its key, so that no secret stands in a file."""

    auth_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] = "Authorization"
    """The header in which the key is sent, as it stands in the variable: `Auth-Key`, or with `Bearer ` before it."""

    every: Span | None = None
    """How often it is read: 15m, 6h, 1d. Without it only `isac feeds run` reads it."""

    rhythm: Span | None = None
    """How often something new is to be expected; longer without anything new is an alarm."""

    current: StrictBool = False
    """Does it show what holds now? Then what it no longer names ends, after `grace`. Not for stix, misp and taxii."""

    grace: Annotated[Span, Field(json_schema_extra={"default": "2d"})] = timedelta(days=2)
    """How long a value may be missing before it ends, for lists lose lines by mistake."""

    confidence: Annotated[int, Field(ge=0, le=100)] | None = None
    """0 to 100: how sure its values are, where it does not say so itself."""

    validity: Annotated[
        dict[str, timedelta],
        BeforeValidator(_spans),
        WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
    ] = Field(default_factory=dict)
    """How long values hold after they were listed last, by kind: url = "30d", ip = "14d"."""

    sample: StrictBool = False
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
        if self.header and self.format != "csv":
            raise ValueError(f"`header` is for csv, and `format` is {self.format}")
        if self.dates != "iso" and not table:
            raise ValueError(f"`dates` is for csv and json, and `format` is {self.format}")
        lacking = self._named() - set(self.header) if self.header else set()
        if lacking:
            raise ValueError(f"`header` lacks what `columns` names: {', '.join(sorted(lacking))}")
        if self.records is not None and self.format != "json":
            raise ValueError(f"`records` is for json, and `format` is {self.format}")
        if self.kind is not None and self.format in ("stix", "misp", "taxii"):
            raise ValueError(
                f"`kind` says what plain values are, and {self.format.upper()} says that itself; leave it out"
            )
        own = self.format in ("stix", "misp", "taxii")
        if own and (self.current or self.validity or self.confidence is not None):
            raise ValueError(
                f"`current`, `validity` and `confidence` are for lists, and {self.format.upper()} says that itself"
            )
        if self.format == "taxii" and self.url is None:
            raise ValueError("`format` taxii needs the `url` of a collection: https://…/collections/<id>/")
        if self.tlp > TLP.AMBER:
            raise ValueError("`tlp` is stricter than amber, which needs recipients by name; a feed has an `audience`")
        if self.audience == "public" and self.tlp > TLP.CLEAR:
            raise ValueError("`audience` public needs `tlp` clear")
        return self

    def _named(self) -> set[str]:
        return {name for names in self.columns.values() for name in ([names] if isinstance(names, str) else names)}

    def valid_for(self, kind: str) -> timedelta | None:
        """How long an observable of a kind holds after it was listed."""
        return next((span for name, span in self.validity.items() if name == kind or kind in _ALSO.get(name, ())), None)

    def read(self, data: Text) -> Sequence[bytes] | Iterator[Found | Unreadable]:
        """What its bytes hold: objects' own bytes if STIX, else values. Raises Invalid if they are no such format."""
        match self.format:
            case "stix" | "taxii":
                return stix.read(data)
            case "csv":
                return csv.read(data, self.columns, self.kind, header=self.header, us_dates=self.dates == "us")
            case "json":
                return json.read(data, self.columns, self.records, self.kind, us_dates=self.dates == "us")
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
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Invalid(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{path}: is not UTF-8; save it as «UTF-8» in your editor.") from error
    try:
        definition = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers too long to be read, and what is nested too deeply
        # Not as its cause: that may quote the line, and a password in it.
        raise Invalid(f"{path}: this is not TOML: {corrections.no_toml(text, error)}.") from None
    try:
        return checked(definition)
    except Invalid as error:
        raise Invalid(f"{path}: {error.detail}") from error


def checked(definition: Mapping[str, Any]) -> Feed:
    """Raises Invalid that names each key that is wrong and what to do."""
    try:
        return Feed.model_validate(definition)
    except ValidationError as error:
        raise Invalid(corrections.sentences(error.errors(), definition, list(Feed.model_fields))) from error


def load_all(folder: Path) -> list[Feed]:
    """What the *.toml files of a folder define, by name. Raises Invalid if one is wrong or a name is there twice."""
    good, problems = load_good(folder)
    if problems:
        raise Invalid(problems[0])
    return good


def load_good(folder: Path) -> tuple[list[Feed], list[str]]:
    """The feeds whose definitions are right, by name, and what is wrong with the others; of one name the first counts.

    For what goes on by itself: a slip of the pen in one file must not stop the other feeds.
    """
    good: dict[str, Feed] = {}
    problems = []
    for path in sorted(folder.glob("*.toml")):
        try:
            feed = load(path)
        except Invalid as error:
            problems.append(error.detail)
            continue
        if feed.name in good:
            problems.append(
                f"{path}: name: another file defines a feed {feed.name} too; give one of them another name."
            )
        else:
            good[feed.name] = feed
    return [good[name] for name in sorted(good)], problems
