"""Cuts what arrives as STIX into its objects' own bytes: bundle (STIX 2.1 §8), envelope (TAXII 2.1 §3.7), list, object.

It recognizes what is taken for STIX 2.1 and is not, and says what to do. The objects are judged by `stix.objects`.
"""

import re
from collections.abc import Sequence

from isac.errors import Invalid
from isac.formats import stix20
from isac.formats.cutting import BLANKS, BOM, elements, lines, members, not_json, objects

# Where the name of an XML root stands: after a prolog, comments and a license text.
_HEAD = 64 * 1024
_MISP = re.compile(rb'\{\s*"Event"\s*:')
_ELEVATOR = "convert it with stix2-elevator (OASIS) and send the result"
_OF_MISP = 'This is MISP and not STIX; say format = "misp" in a feed, and over TAXII send it as STIX 2.1.'
_SHAPES = "send a bundle, a TAXII envelope or a list of objects"


def split(data: bytes) -> Sequence[bytes]:
    """The objects of a STIX 2.1 file, verbatim and in order. JSON lines of bundles or objects are taken too.

    A piece may be anything, even no JSON: one bad object never costs its batch, whoever reads the pieces says what is
    wrong with it. Raises Invalid, in one sentence with what to do, if the text as a whole is no STIX 2.1.
    """
    return _split(data, old=False)


def read(data: bytes) -> Sequence[bytes]:
    """The same of a file that may be STIX 2.0 as well, whose objects `stix20.upgraded` then makes ours."""
    pieces = _split(data, old=True)
    if b'"spec_version"' not in data and stix20.is_plain(pieces):
        return [stix20.marked(piece) for piece in pieces]
    return pieces


def _split(data: bytes, *, old: bool) -> Sequence[bytes]:
    text = data.removeprefix(BOM).strip(BLANKS)
    if text[:1] == b"{":
        several = lines(text)
        return _of_lines(several, old=old) if several else _of_object(text, old=old)
    if text[:1] == b"[":
        return _of_list(text)
    raise _no_json(text)


def _of_object(text: bytes, *, old: bool) -> Sequence[bytes]:
    usual = objects(text)
    if usual is not None:
        return usual
    found = members(text)
    listed = found.pop("objects", None)
    rest = {name: bytes(value) for name, value in found.items()}
    if "id" in rest and rest.get("type") not in (None, b'"bundle"'):
        # An object by itself. Observed data of STIX 2.0 has `objects` too: no list, and none of our business here.
        return [text]
    if listed is None or rest.get("type") not in (None, b'"bundle"'):
        return _without_objects(rest)
    if bytes(listed[:1]) != b"[":
        raise Invalid("`objects` is not a list; put the objects between [ and ].")
    # Each object of STIX 2.1 names its version, and those of 2.0 do not.
    if rest.get("spec_version") == b'"2.0"' and b'"spec_version"' not in bytes(listed):
        if old:
            return [stix20.marked(piece) for piece in elements(listed)]
        raise Invalid("This is a STIX 2.0 bundle, and this server reads STIX 2.1; ask the sender for the 2.1 version.")
    return elements(listed)


def _of_lines(several: list[tuple[int, bytes]], *, old: bool) -> list[bytes]:
    """Line by line; the first shows what the file is, and a later one that is no STIX is a piece, refused by itself."""
    pieces: list[bytes] = []
    for number, line in several:
        try:
            pieces += _of_object(line, old=old) if line[:1] == b"{" else [line]
        except Invalid:
            if number == 1:
                raise
            pieces.append(line)
    return pieces


def _without_objects(rest: dict[str, bytes]) -> Sequence[bytes]:
    if rest.keys() <= {"more", "next"}:
        return []  # the empty envelope, whose `objects` must be left out (TAXII 2.1 §3.7)
    if "stix_header" in rest or (b"STIXPackage-" in rest.get("id", b"") and b"1." in rest.get("version", b"")):
        raise Invalid(f"This is STIX 1.x written as JSON, and this server reads STIX 2.1; {_ELEVATOR}.")
    if "Event" in rest or "Attribute" in rest or _MISP.search(rest.get("response", b"")[:_HEAD]):
        raise Invalid(_OF_MISP)
    names = ", ".join(f"`{name[:40]}`" for name in list(rest)[:5])
    raise Invalid(f"There is no `objects` in this file (but {names}), so it is not a feed of STIX; {_SHAPES}.")


def _of_list(text: bytes) -> Sequence[bytes]:
    pieces = elements(text)
    if any(_MISP.match(piece) for piece in pieces[:1]):
        raise Invalid(_OF_MISP)
    if pieces and not any(piece[:1] == b"{" for piece in pieces):
        raise Invalid(f"There is no object in this list; {_SHAPES}.")
    return pieces


def _no_json(text: bytes) -> Invalid:
    if not text:
        return Invalid(f"The file is empty; {_SHAPES}.")
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Invalid("This file is in UTF-16; save it as UTF-8.")
    if text[:1] == b"<":
        head = text[:_HEAD]
        if b"STIX_Package" in head or b"stix.mitre.org" in head:
            return Invalid(f"This is STIX 1.x in XML, and this server reads STIX 2.1; {_ELEVATOR}.")
        return Invalid("This is XML or a web page, and not STIX 2.1 (JSON); check where it was downloaded from.")
    return not_json(text, 0, "a STIX file begins with { or [")
