"""Finds indicators in what people write: reports, advisories, mails. A preview for an analyst, who decides.

Taken is what was defanged on purpose (`hxxp`, `[.]`, `(dot)`, `[at]`), and hashes and CVE numbers, which nobody writes
by chance. What could be clicked is taken only from a text that defangs nothing, and only where it is an item of its own
(a line, a list item, a cell of a table): elsewhere it is a reference, as the links of a page are everywhere.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from types import MappingProxyType

from isac.errors import Invalid
from isac.formats import documents
from isac.formats.documents import Line
from isac.formats.found import observable_of, one_line
from isac.stix.fangs import AT, DOT, ZERO_WIDTH, refang
from isac.stix.observables import Observable, documentation, host

#: values of one document; more is a list, which `isac ingest` reads
MAX_MENTIONS = 100_000
_CONTEXT = 60
_MAX_WORD = 4000
_MAX_JOINED = 20
_HABIT = 10

# As `observables.refang` undoes it, for cutting words: each of these is one letter of a value.
_COLON = r"[\[({][ \t]?(?:://|:/|:|//|/)[ \t]?[\])}]"
_MASK = rf"(?:{DOT.pattern}|{AT.pattern}|{_COLON})"
_NAME = r"(?:h(?:tt|xx|tx|xt|\*\*|__)p|f[tx*]p)s?"
_SCHEME = rf"(?:[\[({{]{_NAME}[\])}}]|{_NAME})(?:://|:\\\\|{_COLON}/{{0,2}})"
# Not possessive: Python before 3.11.5 goes on past what a look ahead forbids there. Nothing follows, so nothing is
# tried twice.
_TOKEN = re.compile(
    rf"(?P<url>{_SCHEME}(?:(?![,;]{_SCHEME})(?:{_MASK}|[^\s<>\"“”«»`|]))+)"
    rf"|(?P<word>(?:(?!{_SCHEME})(?:{_MASK}|[^\s<>\"“”«»`|,;()\[\]{{}}='’]))+)",
    re.IGNORECASE,
)
_MASKED = re.compile(_MASK, re.IGNORECASE)
_PLAIN_SCHEME = re.compile(r"(?:https?|ftps?)://", re.IGNORECASE)
_AUTHORITY = re.compile(rf"(?:{_SCHEME})?((?:{_MASK}|[^/\\?#])*)", re.IGNORECASE)

_HEX = re.compile(r"[0-9a-fA-F]+")
_HASH_LENGTHS = (32, 40, 64, 128)
_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,19}", re.IGNORECASE)
_AUTONOMOUS = re.compile(r"ASN?[0-9]{2,10}")
_IPV4 = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?:/[0-9]{1,2})?(?::[0-9]{1,5})?")
_IPV6 = re.compile(r"(?=[^:]*:[^:]*:)[0-9a-fA-F:]{6,39}(?:/[0-9]{1,3})?")
_DOTTED = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){1,20}(?::[0-9]{1,5})?(?:/\S*)?")
_HOST_LIKE = re.compile(r"\w-?\.-?\w|:[0-9a-fA-F]{0,4}:")
# Endings of names of files that are top-level domains as well: only a defanged one is a domain.
_ALSO_FILES = re.compile(r"[^.]+\.(?:app|cab|java|md|mov|pl|ps|py|rs|sh|so|ts|vb|zip)(?::[0-9]{1,5})?", re.IGNORECASE)
_FILE_WORDS = re.compile(
    r"\b(?:file ?names?|file|path|dll|saved as|named|attachments?|archive)[\s:=]*\Z", re.IGNORECASE
)
# What has the length of a hash and is none of a file's contents.
_OTHER_DIGESTS = re.compile(
    r"\b(?:imp ?hash|ja3s?|ja4\w?|jarm|authentihash|pe ?hash|rich ?(?:pe )?(?:header)?|telfhash|tlsh|vhash|dhash|"
    r"icon ?hash|serial|thumbprint|fingerprint|commit|revision|uuid|guid|bot ?id|hwid|id|key|token|password|mutex|salt|"
    r"iv)(?: ?(?:hash|id|value|number|md5|sha-?1))?\s{0,3}[:=#-]{0,2}\s{0,5}\Z",
    re.IGNORECASE,
)
_BULLET = re.compile(r"[\s>*+•·▪◦–—#-]*(?:[0-9]{1,3}[.)]\s)?[\s'\"“‘(\[*_]*")
_LABEL = re.compile(r"([A-Za-z][\w /()#.+-]{0,40}?)\s*[:=]\s*['\"“‘(\[*_]*")
_AFTER = re.compile(r"['\"”’)\]*_.,;:]{0,4}(?:\s*\Z|\s+[-–—(#<,;|/→]|\s+port\b|\s*\()", re.IGNORECASE)
_REFERENCE_LABELS = re.compile(
    r"(?:references?|sources?|links?|more info(?:rmation)?|see(?: also)?|reports?|analysis|details|contact|authors?|"
    r"from|to|cc|bcc|reply-to|sent|date|subject|virustotal|vt|any\.run|tria\.ge|twitter|blog(?: post)?|web ?site|web|"
    r"e-?mail|mail|phone|tel|unsubscribe|privacy|read more|more|copyright|via|credits?)",
    re.IGNORECASE,
)
_CLEARLY_REFERENCES = r"(?:\S{1,40} ){0,3}references?|supporting evidence|further reading|see also|bibliography"
_REFERENCES = re.compile(
    rf"{_CLEARLY_REFERENCES}|sources?|links?|(?:useful|external|related) links?|related (?:posts?|articles?|reading)|"
    r"acknowledge?ments?|credits?|authors?|about(?: us| the authors?)?|contacts?(?: us)?|resources|"
    r"additional (?:information|resources|reading)",
    re.IGNORECASE,
)
_MARKDOWN_TARGET = re.compile(r"\]\($|^\s{0,3}\[[^\]]{1,80}\]:\s{0,3}$")


class _Rank(IntEnum):
    """How sure it is that an indicator is meant; of several places of a value the surest counts."""

    REFUSED = 0
    REFERENCE = 1
    ITEM = 2
    SURE = 3
    DEFANGED = 4


@dataclass(frozen=True, slots=True)
class Mention:
    """A value in the text, at its surest place."""

    line: int
    #: of a mail, which of its parts
    part: str
    #: as it stands there
    written: str
    #: the words around it
    context: str
    observable: Observable | None
    #: why it is left out; empty if it is taken
    reason: str
    #: how often the document names it
    times: int = 1


@dataclass(slots=True)
class _Reading:
    """What has been read of a document."""

    #: by the value, or by how it is written where that cannot be read
    mentions: dict[tuple[str, str], tuple[_Rank, Mention]]
    #: below a heading such as «References», or a mail's signature
    aside: bool = False


def read(data: bytes) -> list[Mention]:
    """Each value once, in the order of the document. Raises Invalid if it is no text, or a list of very many values."""
    document = documents.read(data)
    reading = _Reading({})
    for line in _joined(document.lines):
        _read_line(line, reading)
        if len(reading.mentions) > MAX_MENTIONS:
            raise Invalid(f"There are more than {MAX_MENTIONS:,} values here; `isac ingest` reads it as a list.")
    ranks = Counter(rank for rank, _ in reading.mentions.values())
    # One defanged value among dozens that are not is no habit.
    defangs = ranks[_Rank.DEFANGED] * _HABIT >= max(1, ranks[_Rank.ITEM])
    # Who sends phishing is in its headers, and what he links is what it is about.
    own = document.own if defangs or not document.mail else set[str]()
    return [_judged(rank, mention, defangs, own) for rank, mention in reading.mentions.values()]


def values(mentions: Sequence[Mention]) -> Iterator[str]:
    """What is taken, as a list that can be read again."""
    return (each.observable.value for each in mentions if each.observable and not each.reason)


def preview(
    name: str, mentions: Sequence[Mention], notes: Mapping[Observable, Sequence[str]] = MappingProxyType({})
) -> Iterator[str]:
    """Lines for whoever decides: what is taken, with notes on it, and what is left out with the reason."""
    found, left_out = [each for each in mentions if not each.reason], [each for each in mentions if each.reason]
    yield f"{name}: {len(found)} found, {len(left_out)} left out; nothing is stored."
    for title, listed in (("found", found), ("left out", left_out)):
        if listed:
            yield title
        for each in listed:
            place = f"line {each.line}" + (f" of {each.part}" if each.part else "")
            what = f"{each.observable.kind} {each.observable.value}" if each.observable else "-"
            times = f", {each.times} times" if each.times > 1 else ""
            yield f"  {what}  ({place}{times}, written {each.written})"
            if each.reason:
                yield f"      because {each.reason}"
            elif each.observable:
                yield from (f"      look first: {note}" for note in notes.get(each.observable, ()))
            if each.context != each.written:
                yield f"      in: {each.context}"


def _judged(rank: _Rank, mention: Mention, defangs: bool, own: set[str]) -> Mention:
    """The mention, left out if it only could be clicked."""
    if rank != _Rank.ITEM or mention.observable is None:
        return mention
    where = mention.observable if mention.observable.kind == "domain-name" else host(mention.observable)
    if where is not None and any(where.value == name or where.value.endswith(f".{name}") for name in own):
        return replace(mention, reason="it is the author's own")
    if defangs:
        return replace(mention, reason="it is not defanged, and what this text means as an indicator is")
    return mention


def _joined(lines: Iterator[Line]) -> Iterator[Line]:
    """The lines, and with those that end inside a URL what follows."""
    waiting: Line | None = None
    count = 0
    for line in lines:
        if not line.text.isascii():
            line = replace(line, text=line.text.translate(ZERO_WIDTH).replace("\u00a0", " "))
        if waiting is not None:
            more = line.text.strip()
            fits = line.part == waiting.part and not line.link and count < _MAX_JOINED and len(waiting.text) < _MAX_WORD
            if fits and re.match(r"[\w%/?&=.~]", more) and not _TOKEN.match(more[:12] if "://" in more[:12] else ""):
                waiting, count = replace(waiting, text=waiting.text.rstrip() + more), count + 1
            else:
                yield waiting
                waiting, count = line, 0
        else:
            waiting, count = line, 0
        if not _open(waiting.text):
            yield waiting
            waiting = None
    if waiting is not None:
        yield waiting


def _open(text: str) -> bool:
    """Does it end inside a URL: `<http://…` without its end, or `&`, `?` or `=` as the last character of one?"""
    end = text[-_MAX_WORD:].rstrip()
    if not end:
        return False
    last = end.rsplit(None, 1)[-1]
    scheme = "://" in last or "[:]" in last or "/" in last
    return (
        (scheme and last[-1] in "&?=") or last.rfind("<http") > last.rfind(">") or last.rfind("<hxxp") > last.rfind(">")
    )


# --- one line -------------------------------------------------------------------------------------


def _read_line(line: Line, reading: _Reading) -> None:
    if line.closed:
        _note(reading, line, 0, 0, None, _Rank.REFUSED, "this attachment is no text; save it and hand it in by itself")
        return
    before = len(reading.mentions)
    any_value = False
    for token in _TOKEN.finditer(line.text):
        begin, end = token.span()
        if token["url"]:
            begin, end = _trimmed(line.text, begin, end)
            any_value |= _read_url(line, begin, end, reading)
        else:
            any_value |= _read_word(line, begin, end, reading)
    if not any_value and before == len(reading.mentions):
        _heading(line, reading)


def _heading(line: Line, reading: _Reading) -> None:
    text = line.text.strip()
    if text in ("--", "—"):
        # RFC 3676 §4.3: below it stands the signature.
        reading.aside = True
    elif (title := text.strip("#*_: \t=-")) and len(text) <= 80:
        if line.heading or text[0] == "#" or text[-1] == ":" or text == text.upper():
            reading.aside = _REFERENCES.fullmatch(title) is not None
        elif re.fullmatch(_CLEARLY_REFERENCES, title, re.IGNORECASE):
            reading.aside = True


def _trimmed(text: str, begin: int, end: int) -> tuple[int, int]:
    """Without the punctuation and the brackets around a URL that belong to the sentence."""
    unopened = {
        closing: text.count(closing, begin, end) - text.count(opening, begin, end)
        for opening, closing in ("()", "[]", "{}")
    }
    while end > begin:
        last = text[end - 1]
        if last in unopened and unopened[last] > 0:
            unopened[last] -= 1
        elif last not in ".,;:!?'*’" or text.endswith("...", begin, end):
            break
        end -= 1
    return begin, end


def _read_url(line: Line, begin: int, end: int, reading: _Reading) -> bool:
    written = line.text[begin:end]
    authority = _AUTHORITY.match(written)
    defanged = not _PLAIN_SCHEME.match(written) or (authority is not None and _MASKED.search(authority[1]) is not None)
    if len(written) > _MAX_WORD:
        _note(reading, line, begin, begin + 200, None, _Rank.REFUSED, f"it is longer than {_MAX_WORD} characters")
        return True
    if defanged:
        _take(line, begin, end, "url", _Rank.DEFANGED, reading)
        return True
    target = line.link or _MARKDOWN_TARGET.search(line.text[max(0, begin - 90) : begin]) is not None
    _take_plain(line, begin, end, "url", reading, "it is where a link leads" if target else "")
    return True


def _read_word(line: Line, begin: int, end: int, reading: _Reading) -> bool:
    """Whether there was something that could be a value."""
    if end - begin > _MAX_WORD:
        return False
    while end > begin and line.text[end - 1] in ".:-~*%+/\\!?#&$^_":
        end -= 1
    while begin < end and line.text[begin] in ".:-~*%+/!?#&$^@ ":
        begin += 1
    word = line.text[begin:end]
    if word.isalpha() and len(word) not in _HASH_LENGTHS:
        return False  # the usual case at once: all that follows has a digit or a sign in it, or such a length
    if len(word) in _HASH_LENGTHS and _HEX.fullmatch(word):
        other = _OTHER_DIGESTS.search(line.text[max(0, begin - 40) : begin])
        reason = f"the text calls it something else («{' '.join(other[0].split())}»)" if other else ""
        _take(line, begin, end, "hash", _Rank.REFUSED if other else _Rank.SURE, reading, reason)
        return True
    if _CVE.fullmatch(word):
        _take(line, begin, end, "cve", _Rank.SURE, reading)
        return True
    if _AUTONOMOUS.fullmatch(word):
        reason = "a whole network is hardly what the text means"
        _take(line, begin, end, "asn", _Rank.REFUSED, reading, reason)
        return True
    if "\\" in word:
        return False
    mask = _MASKED.search(word)
    if mask is not None:
        plain = refang(word)
        if not _HOST_LIKE.search(plain.lstrip("/").partition("/")[0] if "//" not in plain else plain):
            return False  # «he met (at) noon»
        begin, end = _hosted(line.text, begin, end)
        _take(line, begin, end, None, _Rank.DEFANGED, reading)
        return True
    return _read_plain_word(line, begin, end, word, reading)


def _hosted(text: str, begin: int, end: int) -> tuple[int, int]:
    """Of a place that is no web address, such as `file://192.0.2.7@8080/share`, the host."""
    slashes = text.find("//", begin, min(end, begin + 24))
    if slashes < 0:
        return begin, end
    stop = re.compile(r"[/@?#]").search(text, slashes + 2, end)
    return slashes + 2, stop.start() if stop else end


def _read_plain_word(line: Line, begin: int, end: int, word: str, reading: _Reading) -> bool:
    if "@" in word:
        kind: str | None = "email"
    elif _IPV4.fullmatch(word) or _IPV6.fullmatch(word):
        kind = "ip"
    elif _DOTTED.fullmatch(word):
        kind = None
    else:
        return False
    try:
        observable_of(word, kind)
    except ValueError:
        return False  # `report.pdf`, `e.g`, `1.2.3.400`: words that look like values are no values
    reason = "the text says that it is a file" if _FILE_WORDS.search(line.text[max(0, begin - 30) : begin]) else ""
    if not reason and _ALSO_FILES.fullmatch(word.partition("/")[0]):
        reason = "it may be the name of a file as well; if it is none, hand it in by itself"
    _take_plain(line, begin, end, kind, reading, reason)
    return True


def _take_plain(line: Line, begin: int, end: int, kind: str | None, reading: _Reading, reason: str) -> None:
    """A value that could be clicked: an item of its own, or a reference."""
    reason = reason or ("it is where a link leads" if line.link else _no_item(line.text, begin, end, reading.aside))
    _take(line, begin, end, kind, _Rank.REFERENCE if reason else _Rank.ITEM, reading, reason)


def _no_item(text: str, begin: int, end: int, aside: bool) -> str:
    """Why it is no item of its own; empty if it is one."""
    if aside:
        return "it stands among references, contacts or in a signature"
    cell = max(text.rfind("|", 0, begin), text.rfind("\t", 0, begin)) + 1
    before = text[cell:begin]
    if len(before) > 80:
        return "it stands in a sentence and is not defanged"
    bullet = _BULLET.match(before)
    rest = before[bullet.end() :] if bullet else before
    if rest.strip(" <"):
        label = _LABEL.fullmatch(rest)
        if label is None:
            return "it stands in a sentence and is not defanged"
        if _REFERENCE_LABELS.fullmatch(label[1].strip()):
            return f"«{label[1].strip()}» makes it a reference or a contact"
    after = text[end : end + 40]
    # In `<https://…>` at the end of a line nothing follows.
    if after.strip("> ") and not _AFTER.match(after):
        return "it stands in a sentence and is not defanged"
    return ""


def _take(line: Line, begin: int, end: int, kind: str | None, rank: _Rank, reading: _Reading, reason: str = "") -> None:
    try:
        observable = observable_of(line.text[begin:end], kind)
    except ValueError as error:
        _note(reading, line, begin, end, None, _Rank.REFUSED, str(error))
        return
    local = _local(observable)
    _note(reading, line, begin, end, observable, _Rank.REFUSED if local else rank, local or reason)


def _local(observable: Observable) -> str:
    """Why an address means something in one network only; empty if it does not."""
    where = observable if observable.kind in ("ipv4-addr", "ipv6-addr") else host(observable)
    if where is None or where.kind not in ("ipv4-addr", "ipv6-addr") or documentation(where):
        return ""
    public = ipaddress.ip_network(where.value, strict=False).is_global
    return "" if public else f"{where.value} is not an address of the Internet: it means something in one network only"


def _note(
    reading: _Reading, line: Line, begin: int, end: int, observable: Observable | None, rank: _Rank, reason: str
) -> None:
    text = line.text
    written = _shown(text[begin:end] if end else text)
    key = (observable.kind, observable.value) if observable else ("", written)
    known = reading.mentions.get(key)
    if known is not None and known[0] >= rank:
        reading.mentions[key] = (known[0], replace(known[1], times=known[1].times + 1))
        return
    around = _shown(text[max(0, begin - _CONTEXT) : end + _CONTEXT])
    mention = Mention(line.number, line.part, written, around, observable, reason, known[1].times + 1 if known else 1)
    reading.mentions[key] = (rank, mention)


def _shown(text: str) -> str:
    cut = " ".join(text[:500].split())
    return one_line(cut, len(cut))
