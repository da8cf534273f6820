"""The parts of a form (multipart/form-data, RFC 7578), in memory: what is handed in lies in no temporary file."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from isac.errors import BadRequest

if TYPE_CHECKING:  # it has a name for this, but only for checkers
    from python_multipart.multipart import MultipartCallbacks

#: parts besides the file, and bytes of each
_MAX_FIELDS, _MAX_FIELD = 20, 64 * 1024
#: RFC 2046 §5.1.1
_LONGEST_BOUNDARY = 70


@dataclass(slots=True)
class Part:
    """A field of a form; a file where it has a name of its own."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    file_name: str | None = None
    content: bytearray = field(default_factory=bytearray)

    @property
    def media_type(self) -> str:
        return self.headers.get(b"content-type", b"").decode("latin-1")

    @property
    def text(self) -> str:
        """Raises BadRequest where it is not UTF-8."""
        try:
            return self.content.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"The form cannot be read: {self.name[:40]!r} is no UTF-8.") from error


async def read(content_type: str, pieces: AsyncIterator[bytes]) -> tuple[Part, list[Part]]:
    """The one file of a form, and its other fields. Raises BadRequest that says what is wrong with it."""
    boundary = parse_options_header(content_type.encode("latin-1", "replace"))[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise BadRequest("The form cannot be read: its Content-Type names no boundary.")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        async for piece in pieces:
            parser.write(piece)
        parser.finalize()
    except FormParserError as error:
        raise BadRequest("The form cannot be read: it is not put together as its boundary says.") from error
    if not parts.ended:
        raise BadRequest("The form breaks off before its end.")
    files = [part for part in parts.found if part.file_name is not None]
    if len(files) != 1:
        number = "several files; send one" if files else "no file; send the document as one"
        raise BadRequest(f"The form has {number}, with curl as -F file=@list.txt")
    return files[0], [part for part in parts.found if part.file_name is None]


class _Parts:
    """What the parser has found so far."""

    def __init__(self) -> None:
        self.found: list[Part] = []
        self.ended = False
        self._header = self._value = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self.begin,
            "on_header_field": self.header,
            "on_header_value": self.value,
            "on_header_end": self.header_end,
            "on_headers_finished": self.headers_end,
            "on_part_data": self.content,
            "on_end": self.end,
        }

    def begin(self) -> None:
        if len(self.found) > _MAX_FIELDS:
            raise BadRequest(f"The form has more than {_MAX_FIELDS} fields.")
        self.found.append(Part())

    def header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self.found[-1].headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def headers_end(self) -> None:
        part = self.found[-1]
        options = parse_options_header(part.headers.get(b"content-disposition"))[1]
        part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            part.file_name = options[b"filename"].decode("utf-8", "replace")

    def content(self, data: bytes, start: int, end: int) -> None:
        part = self.found[-1]
        if part.file_name is None and len(part.content) + end - start > _MAX_FIELD:
            raise BadRequest(f"The form's field {part.name[:40]!r} has more than {_MAX_FIELD:,} bytes.")
        part.content += memoryview(data)[start:end]

    def end(self) -> None:
        self.ended = True
