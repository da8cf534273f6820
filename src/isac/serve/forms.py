"""What a request to hand in says: a document, as the body or as a file of a form, and how it is to be taken.

Parameters stand in the query or in the form, each once. One that nobody knows is refused: `dryrun=true` would publish.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import Request

from isac.errors import BadRequest, Invalid, UnsupportedMediaType
from isac.formats import cutting, misp, texts
from isac.formats.found import FIELDS, one_line
from isac.ingest import feeds, files
from isac.ingest.feeds import Feed
from isac.ingest.files import Payload
from isac.serve import multipart, wire
from isac.stix import markings
from isac.stix.markings import TLP

FORMATS = ("stix", "misp", "csv", "json", "text")
#: what `read` and `wishes` know
PARAMETERS = (
    "audience",
    "tlp",
    "source",
    "context",
    "format",
    "columns",
    "records",
    "kind",
    "sample",
    "dry_run",
)
#: characters of what is shown to people
_LONGEST = {"source": 200, "context": 10_000}
_FORM = "multipart/form-data"
_GZIP = b"\x1f\x8b"
_BLANKS = b"\xef\xbb\xbf \t\r\n"
_MAX_PARAMETERS = 20
_MAX_TEXT = 64 * 1024
_MAX_NAME = 200
# But for line feeds and tabs: what is no text for people, and what PostgreSQL does not keep.
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_DELIMITERS = re.compile(r"[,;\t|]")
#: of a document, as much as shows what it is
_HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Document:
    """What was sent: as it came, and what is in it."""

    #: of a file of a form; else empty
    name: str
    media_type: str
    original: bytes
    payload: Payload

    @property
    def content(self) -> bytes:
        """Unpacked; empty where several files are one document."""
        return self.payload.data[:]


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a document is to be taken in; what is None was not said."""

    audience: str | None
    tlp: TLP | None
    #: how to read it; None: how it begins tells
    definition: Feed | None
    source: str | None
    context: str
    sample: bool
    dry_run: bool


# -------------------------------------------------------------------------------------------------------- the document


async def read(request: Request, max_bytes: int, known: Collection[str]) -> tuple[Document, dict[str, str]]:
    """The document of a request, and its parameters. Raises BadRequest, UnsupportedMediaType, TooLarge."""
    texts = query(request, known)
    media_type = request.headers.get("content-type", "")
    kind = media_type.partition(";")[0].strip().lower()
    if kind.startswith("multipart/") and kind != _FORM:
        raise UnsupportedMediaType(f"Send the document as it is, or as the file of a form ({_FORM}).")
    pieces = wire.body_pieces(request, max_bytes)
    name = ""
    if kind == _FORM:
        file, fields = await multipart.read(media_type, pieces)
        for field in fields:
            _note(texts, field.name, field.text, known)
        original, name, media_type = bytes(file.content), file.file_name or "", file.media_type
    else:
        original = b"".join([piece async for piece in pieces])
    content = original
    if original.startswith(_GZIP):
        content = b"".join([piece async for piece in wire.counted(wire.unpacked(_at_once(original)), max_bytes)])
    if not content.strip(_BLANKS):
        raise BadRequest("There is nothing in the body; send the document in it, or as the file of a form.")
    name = one_line(name, _MAX_NAME)
    payload = replace(await asyncio.to_thread(_only, name, content, max_bytes), file=original)
    return Document(name, one_line(media_type, _MAX_NAME), original, payload), texts


def _only(name: str, content: bytes, most: int) -> Payload:
    """The document, which may stand in an archive. Raises BadRequest."""
    try:
        found = [*files.documents(name, content, most=most)]
    except Invalid as error:
        raise BadRequest(f"The document {error.detail}") from error
    if len(found) != 1:
        raise BadRequest(f"The archive holds {len(found):,} documents; send one at a time.")
    return found[0]


async def _at_once(content: bytes) -> AsyncIterator[bytes]:
    yield content


# ------------------------------------------------------------------------------------------------------- the parameters


def query(request: Request, known: Collection[str]) -> dict[str, str]:
    """The parameters of a query, each once. Raises BadRequest."""
    texts: dict[str, str] = {}
    try:
        found = parse_qsl(
            request.scope["query_string"].decode(),
            keep_blank_values=True,
            strict_parsing=bool(request.scope["query_string"]),
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError as error:
        raise BadRequest("The query cannot be read; write name=value, with & between them, in UTF-8.") from error
    for name, text in found:
        _note(texts, name, text, known)
    return texts


def _note(texts: dict[str, str], name: str, text: str, known: Collection[str]) -> None:
    shown = one_line(name, 40)
    if name not in known:
        which = f"the parameters are {', '.join(known)}" if known else "there are none here"
        raise BadRequest(f"There is no parameter {shown!r}; {which}.")
    if name in texts:
        raise BadRequest(f"{shown} is said twice; say it once, in the query or in the form.")
    if not text.strip():
        raise BadRequest(f"{shown} is empty; leave it out, or say something.")
    if _NO_TEXT.search(text):
        raise BadRequest(f"{shown} holds characters that are no text.")
    if len(text) > _LONGEST.get(name, _MAX_TEXT):
        raise BadRequest(f"{shown} has more than {_LONGEST.get(name, _MAX_TEXT):,} characters.")
    texts[name] = text


def wishes(texts: Mapping[str, str], document: Document) -> Wishes:
    """How the document is to be taken in. Raises BadRequest that names the parameter and what to write."""
    context = texts.get("context", "").strip()
    if markings.banner(context):
        raise BadRequest("context carries a classification banner; nothing classified may come here: call the ISAC.")
    tlp = None
    if "tlp" in texts:
        try:
            tlp = TLP.parse(texts["tlp"])
        except ValueError as error:
            raise BadRequest(f"tlp: write one of {', '.join(map(str, TLP))}.") from error
    return Wishes(
        audience=texts.get("audience"),
        tlp=tlp,
        definition=_definition(texts, document),
        source=" ".join(texts["source"].split()) if "source" in texts else None,
        context=context,
        sample=yes(texts, "sample"),
        dry_run=yes(texts, "dry_run"),
    )


def number(texts: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A number from 1; a larger one is as good as `most`. Raises BadRequest."""
    text = texts.get(name, str(default))
    if not re.fullmatch(r"0*[1-9][0-9]{0,17}", text, re.ASCII):
        raise BadRequest(f"{name}: write a number from 1 to {most}.")
    return min(int(text), most)


def yes(texts: Mapping[str, str], name: str) -> bool:
    """Is it said? Raises BadRequest."""
    text = texts.get(name, "false").lower()
    if text not in ("true", "false"):
        raise BadRequest(f"{name}: write true or false.")
    return text == "true"


# ----------------------------------------------------------------------------------------------------------- the format


def _definition(texts: Mapping[str, str], document: Document) -> Feed | None:
    """How to read it, as a feed's definition says it; None where that is to be told by how it begins."""
    if document.payload.pieces is not None or document.payload.events:
        return None
    columns = _columns(texts["columns"]) if "columns" in texts else {}
    form = texts.get("format") or _format(texts, document)
    if form is None:
        return None
    if form not in FORMATS:
        raise BadRequest(f"format: write one of {', '.join(FORMATS)}.")
    if form in ("csv", "json") and not columns:
        # A table must have the columns that are asked of it, a record need not.
        named = ["value", *_our_names(document.content)] if form == "csv" else FIELDS
        columns = {field: field for field in named}
    told = {name: texts[name] for name in ("records", "kind") if name in texts}
    try:
        return feeds.checked({**_SUBMISSION, "format": form, "columns": columns, **told})
    except Invalid as error:
        raise BadRequest(error.detail) from error


#: what a feed's definition says besides
_SUBMISSION = {"name": "submission", "path": "submission", "license": "as it was handed in", "redistribute": True}


def _columns(text: str) -> dict[str, Any]:
    """JSON as in a feed's definition, or field=column pairs with commas between them."""
    if text.lstrip().startswith("{"):
        try:
            found: dict[str, Any] = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"columns: this is no JSON ({error.msg}).") from error
        return found
    columns: dict[str, Any] = {}
    for pair in text.split(","):
        field, sign, column = (part.strip() for part in pair.partition("="))
        if not (field and sign and column):
            raise BadRequest("columns: write field=column pairs, such as value=ioc,description=comment, or JSON.")
        columns.setdefault(field, []).append(column)
    return columns


def _format(texts: Mapping[str, str], document: Document) -> str | None:
    """What is not named shows in the other parameters, in the media type, and in the first line."""
    head = document.content[:_HEAD].lstrip(_BLANKS)
    is_json = head[:1] in (b"{", b"[")
    if "records" in texts or ("columns" in texts and is_json):
        return "json"
    if is_json:
        return "json" if _has_our_records(document.content) else None
    media_type = document.media_type.partition(";")[0].strip().lower()
    if "columns" in texts or media_type in ("text/csv", "application/csv") or document.name.lower().endswith(".csv"):
        return "csv"
    if head[:1] == b"<":
        return None
    named = _our_names(document.content)
    if "value" in named and len(named) > 1:
        return "csv"
    return "text" if "kind" in texts else None


def _our_names(content: bytes) -> list[str]:
    """Of the names in the header of a table, those that are ours."""
    header = next(
        (line for line in texts.decode(content[:_HEAD]) if line.strip() and not line.lstrip().startswith("#")), ""
    )
    names = {name.strip().strip('"').strip().lower() for name in _DELIMITERS.split(header)}
    return [field for field in FIELDS if field in names]


def _has_our_records(content: bytes) -> bool:
    """Is it a list of records with our names? Objects of STIX have a type."""
    text = texts.trimmed(content)
    if text[:1] != b"[" or misp.events(content) is not None:
        return False
    try:
        first = next(iter(cutting.elements(text)), b"")
        record = orjson.loads(first)
    except (Invalid, orjson.JSONDecodeError):
        return False
    return isinstance(record, dict) and "value" in record and "type" not in record
