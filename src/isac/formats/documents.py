"""Takes the running text out of a document for people: plain text, Markdown, HTML, e-mail (RFC 5322, RFC 2045).

The standard library's `html.parser` takes minutes for 100 kB of `<a <a <a`, so tags are cut here, each character once.
"""

import codecs
import email
import email.message
import email.policy
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from isac.errors import Invalid
from isac.formats.texts import WIDE, decode

#: larger ones are cut by their owner
MAX_BYTES = 32 * 1024 * 1024
#: what stands on one line is looked at together; a longer one is cut at a blank
MAX_LINE = 16_384
# Nesting that no mail program makes; the library's own parser takes its square.
_MAX_PARTS = 200
# Of a header's parameters the library takes the square too: 64 kB of `;` cost 5 s.
_MAX_HEADER = 4096
_MAX_PARAMETERS = 40
_HEAD = 8192

_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]{0,60}:[ \t]|From [^\s@]{1,64}@|[A-Za-z][A-Za-z0-9-]{0,60}:\r?\n[ \t]")
_OF_MAIL = re.compile(rb"^(?:Received|Message-ID|MIME-Version|Return-Path|Delivered-To|Content-Type):", re.I | re.M)
_OF_HTML = re.compile(rb"<(?:!doctype html|html|head|body|table|div|p|ul|ol|h[1-6])[\s>]", re.I)
_BEGINS_AS_HTML = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*+<(?:!|\?xml|[a-z][a-z0-9]{0,15}[\s/>])", re.I)
_CHARSET = re.compile(rb"charset\s*+=\s*+[\"']?([A-Za-z0-9_.:-]{1,40})", re.I)
_NO_TEXT = {
    b"%PDF": "a PDF file",
    b"PK\x03\x04": "a ZIP file or an office document",
    b"\xd0\xcf\x11\xe0": "an old office document",
}
_READABLE = (".txt", ".text", ".csv", ".md", ".htm", ".html", ".log")

_ADDRESS = re.compile(r"@([A-Za-z0-9.-]{1,253})")
_HOST = re.compile(r"https?://([A-Za-z0-9.-]{1,253})", re.I)

_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        """address article aside blockquote body br center dd div dl dt fieldset figcaption figure footer form h1 h2 h3
        h4 h5 h6 head header hr html li main nav ol option p pre section select table tbody tfoot thead title tr ul""",
    )
)
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]{0,30})([^<>]*+)>")
_HREF = re.compile(r"\bhref\s*+=\s*+(?:\"([^\"]{1,4000})\"|'([^']{1,4000})'|([^\s\"'>]{1,4000}))", re.I)
_LINK = re.compile(r"(?:https?|hxxps?|ftp|mailto):", re.I)
_OWN = re.compile(r"canonical|og:url", re.I)
# `html.unescape` cannot count as far as some write zeros and digits (`_unescaped`).
_ZEROS = re.compile(r"&#(x?)0++(?=[0-9a-f])", re.I)
_TOO_LONG = re.compile(r"&#x?[0-9a-f]{8,};?", re.I)


@dataclass(frozen=True, slots=True)
class Line:
    """What a reader sees on one line."""

    #: counted from 1, in the file or in the part of a mail
    number: int
    text: str
    #: of a mail, which of its parts
    part: str = ""
    #: where a link leads: it stands behind the text, not in it
    link: bool = False
    heading: bool = False
    #: something that is not read here, and its name
    closed: bool = False


@dataclass(slots=True)
class Document:
    lines: Iterator[Line]
    #: hosts of whoever wrote it, by its own word; complete when the lines are read
    own: set[str] = field(default_factory=set)
    mail: bool = False


def read(data: bytes) -> Document:
    """What the document is shows in its first bytes. Raises Invalid, with what to do, if it is no text."""
    if len(data) > MAX_BYTES:
        raise Invalid(f"The document is larger than {MAX_BYTES >> 20} MiB; cut it into several.")
    for magic, name in _NO_TEXT.items():
        if data.startswith(magic):
            raise Invalid(f"This is {name}; save it as plain text (UTF-8) and hand that in.")
    head = data[:_HEAD]
    wide = data[:2] in WIDE
    if not wide and _is_binary(head):
        raise Invalid("This is no text but a picture, a program or the like; save its text as UTF-8 and hand that in.")
    document = Document(iter(()))
    if _HEADER.match(head) and _OF_MAIL.search(head):
        document.lines, document.mail = _of_mail(data, document.own), True
    elif not wide and (_BEGINS_AS_HTML.match(head) or len(_OF_HTML.findall(head)) > 2):
        document.lines = _of_html(_text(data), document.own)
    else:
        document.lines = _of_text(data)
    return document


def _is_binary(head: bytes) -> bool:
    """A report that quotes a file's text has NUL characters too, but the rest of it is text."""
    zeros = head.count(b"\0")
    if zeros == 0:
        return False
    try:
        # What the end of the head cuts is no error.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return True
    return zeros * 3 > len(head)


def _of_text(data: bytes, part: str = "") -> Iterator[Line]:
    for number, line in enumerate(decode(data), start=1):
        yield from _short(line, number, part)


def _short(text: str, number: int, part: str, *, heading: bool = False) -> Iterator[Line]:
    """The line in pieces that are short enough."""
    at = 0
    while len(text) - at > MAX_LINE:
        blank = text.rfind(" ", at + MAX_LINE // 2, at + MAX_LINE)
        end = blank if blank > 0 else at + MAX_LINE
        yield Line(number, text[at:end], part)
        at = end
    yield Line(number, text[at:] if at else text, part, heading=heading)


def _text(data: bytes) -> str:
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        named = _CHARSET.search(data[:_HEAD])
        return _decoded(data, named[1].decode() if named else "cp1252")


def _decoded(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, "replace")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")


# --- HTML -----------------------------------------------------------------------------------------


def _unescaped(text: str) -> str:
    return html.unescape(_TOO_LONG.sub("\ufffd", _ZEROS.sub(r"&#\1", text)))


class _Page:
    """A page is read tag by tag; a line ends where a block does."""

    def __init__(self, part: str, own: set[str]) -> None:
        self._part, self._own = part, own
        self._pieces: list[str] = []
        self._begin = 1
        self._heading = self._pre = False

    def say(self, text: str, number: int) -> Iterator[Line]:
        if "&" in text:
            text = _unescaped(text)
        first, *rest = text.split("\n") if self._pre else [" ".join(text.split("\n"))]
        self._add(first, number)
        for offset, line in enumerate(rest, start=1):
            yield from self.end()
            self._add(line, number + offset)

    def _add(self, text: str, number: int) -> None:
        if not self._pieces:
            self._begin = number
        if text:
            self._pieces.append(text)

    def end(self) -> Iterator[Line]:
        text = "".join(self._pieces).strip(" \r\n")
        self._pieces = []
        if text:
            yield from _short(text, self._begin, self._part, heading=self._heading)

    def tag(self, closing: bool, name: str, rest: str, number: int) -> Iterator[Line]:
        if name in _BLOCKS:
            yield from self.end()
            if name in _HEADINGS:
                self._heading = not closing
            if name == "pre":
                self._pre = not closing
        elif name in ("td", "th") and self._pieces:
            self._pieces.append("\t")
        if not closing and (found := _HREF.search(rest) if "=" in rest else None):
            address = _unescaped(found[1] or found[2] or found[3] or "")
            if name == "base" or (name == "link" and _OWN.search(rest)):
                self._own.update(host.lower() for host in _HOST.findall(address))
            elif name in ("a", "area") and _LINK.match(address.strip()):
                yield Line(number, " ".join(address.removeprefix("mailto:").split()), self._part, link=True)
        elif name == "meta" and _OWN.search(rest):
            self._own.update(host.lower() for host in _HOST.findall(rest))


def _of_html(text: str, own: set[str], part: str = "") -> Iterator[Line]:
    page = _Page(part, own)
    # Line feeds are counted once, from the last place on.
    at = counted = 0
    number = 1
    while at < len(text):
        begin = text.find("<", at)
        begin = len(text) if begin < 0 else begin
        number, counted = number + text.count("\n", counted, at), at
        if begin > at:
            yield from page.say(text[at:begin], number)
        if begin == len(text):
            break
        number, counted = number + text.count("\n", counted, begin), begin
        if text.startswith("<!--", begin):
            end = text.find("-->", begin + 4)
            at = len(text) if end < 0 else end + 3
        elif tag := _TAG.match(text, begin):
            yield from page.tag(bool(tag[1]), tag[2].lower(), tag[3], number)
            at = tag.end()
            if not tag[1] and tag[2].lower() in ("script", "style"):
                end_tag = re.compile(rf"</{tag[2]}", re.I).search(text, at)
                at = end_tag.start() if end_tag else len(text)
        elif text.startswith(("<!", "<?"), begin):
            end = text.find(">", begin, begin + 2000)
            at = begin + 2 if end < 0 else end + 1
        else:
            yield from page.say("<", number)
            at = begin + 1
    yield from page.end()


# --- e-mail ---------------------------------------------------------------------------------------


class _Short(email.policy.Compat32):
    """Cuts each header, also of parts, before the library looks for parameters in it."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, ";".join(value[:_MAX_HEADER].split(";", _MAX_PARAMETERS)[:_MAX_PARAMETERS])


def _of_mail(data: bytes, own: set[str]) -> Iterator[Line]:
    """Bodies and attached texts. Headers name people, not indicators: they only tell whose mail it is."""
    if len(re.findall(rb"\bboundary\s*=|^content-type:\s*message/", data, re.I | re.M)) > _MAX_PARTS:
        raise Invalid(f"This mail has more than {_MAX_PARTS} parts inside each other; save its text and hand that in.")
    try:
        mail = email.message_from_bytes(data, policy=_Short())
        parts = list(mail.walk())
    except RecursionError as error:
        raise Invalid(
            "The parts of this mail lie too deep inside each other; save its text and hand that in."
        ) from error
    for name in ("From", "Sender", "Reply-To", "Return-Path", "List-Id", "List-Post"):
        for value in mail.get_all(name, []):
            own.update(host.lower() for host in _ADDRESS.findall(str(value)[:2000]))
    for place, part in enumerate((part for part in parts if not part.is_multipart()), start=1):
        yield from _of_part(part, place, own)


def _of_part(part: email.message.Message, place: int, own: set[str]) -> Iterator[Line]:
    kind = part.get_content_type()
    try:
        named = part.get_filename()
    except (LookupError, ValueError):
        named = None
    name = " ".join(str(named).split())[:100] if named else ""
    where = f"part {place}"
    if part.get_content_maintype() != "text" and not name.lower().endswith(_READABLE):
        yield Line(1, name or kind, where, closed=True)
        return
    try:
        content = part.get_payload(decode=True)
    except (LookupError, ValueError):
        content = None
    if not isinstance(content, bytes):
        content = str(part.get_payload()).encode("utf-8", "replace")
    try:
        charset = str(part.get_content_charset() or "utf-8")
    except (LookupError, ValueError):
        charset = "utf-8"
    text = _decoded(content, charset)
    if kind == "text/html" or name.lower().endswith((".htm", ".html")):
        yield from _of_html(text, own, where)
    else:
        yield from _of_text(text.encode("utf-8", "replace"), where)
