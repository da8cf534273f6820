"""Cuts what arrives as STIX into its objects' own bytes: bundle (STIX 2.1 §8), envelope (TAXII 2.1 §3.7), list, object.

It recognizes what is taken for STIX 2.1 and is not, and says what to do. The objects are judged by `stix.objects`.
"""

import re
from collections.abc import Sequence

from isac.errors import Invalid
from isac.formats import stix20
from isac.formats.cutting import Lines, elements, lines, members, not_json, objects
from isac.formats.texts import LONGEST, Pieces, Text, holds, pieces, trimmed

# Where the name of an XML root stands: after a prolog, comments and a license text.
_HEAD = 64 * 1024
_VERSION = b'"spec_version"'
_MISP = re.compile(rb'\{\s*"Event"\s*:')
_ELEVATOR = "convert it with stix2-elevator (OASIS) and send the result"
_OF_MISP = 'This is MISP and not STIX; say format = "misp" in a feed, and over TAXII send it as STIX 2.1.'
_SHAPES = "send a bundle, a TAXII envelope or a list of objects"


def split(data: Text) -> Pieces:
    """The objects of a STIX 2.1 file, verbatim and in order. JSON lines of bundles or objects are taken too.

    A piece may be anything, even no JSON: one bad object never costs its batch, whoever reads the pieces says what is
    wrong with it. Raises Invalid, in one sentence with what to do, if the text as a whole is no STIX 2.1.
    """
    return _split(data, old=False)


def read(data: Text) -> Pieces:
    """The same of a file that may be STIX 2.0 as well, whose objects `stix20.upgraded` then makes ours."""
    found = _split(data, old=True)
    if len(found) and not holds(data, _VERSION) and stix20.is_plain(found):
        return found.mapped(stix20.marked)
    return found


def _split(data: Text, *, old: bool) -> Pieces:
    text = trimmed(data)
    if text[:1] == b"{":
        several = lines(text)
        return _of_lines(several, old=old) if several is not None else _of_object(text, old=old)
    if text[:1] == b"[":
        return _of_list(text)
    raise _no_json(text)


def _of_object(text: Text, *, old: bool) -> Pieces:
    usual = objects(text)
    if usual is not None:
        return usual
    found = members(text)
    listed = found.pop("objects", None)
    rest = {name: value[:_HEAD] for name, value in found.items()}
    if "id" in rest and rest.get("type") not in (None, b'"bundle"'):
        # An object by itself. Observed data of STIX 2.0 has `objects` too: no list, and none of our business here.
        return pieces([text[:LONGEST]])
    if listed is None or rest.get("type") not in (None, b'"bundle"'):
        return _without_objects(rest)
    if listed[:1] != b"[":
        raise Invalid("`objects` is not a list; put the objects between [ and ].")
    # Each object of STIX 2.1 names its version, and those of 2.0 do not.
    if rest.get("spec_version") == b'"2.0"' and not holds(listed, _VERSION):
        if old:
            return elements(listed).mapped(stix20.marked)
        raise Invalid("This is a STIX 2.0 bundle, and this server reads STIX 2.1; ask the sender for the 2.1 version.")
    return elements(listed)


def _of_lines(several: Lines, *, old: bool) -> Pieces:
    """Line by line; the first shows what the file is, and a later one that is no STIX is a piece, refused by itself."""
    first = next(iter(several))[1]
    _of_object(first, old=old)
    return several.pieces.spread(lambda line: _of_line(line, old=old))


def _of_line(line: bytes, *, old: bool) -> Sequence[bytes]:
    if line[:1] != b"{":
        return [line]
    try:
        return _of_object(line, old=old)
    except Invalid:
        return [line]


def _without_objects(rest: dict[str, bytes]) -> Pieces:
    if rest.keys() <= {"more", "next"}:
        return pieces([])  # the empty envelope, whose `objects` must be left out (TAXII 2.1 §3.7)
    if "stix_header" in rest or (b"STIXPackage-" in rest.get("id", b"") and b"1." in rest.get("version", b"")):
        raise Invalid(f"This is STIX 1.x written as JSON, and this server reads STIX 2.1; {_ELEVATOR}.")
    if "Event" in rest or "Attribute" in rest or _MISP.search(rest.get("response", b"")[:_HEAD]):
        raise Invalid(_OF_MISP)
    names = ", ".join(f"`{name[:40]}`" for name in list(rest)[:5])
    raise Invalid(f"There is no `objects` in this file (but {names}), so it is not a feed of STIX; {_SHAPES}.")


def _of_list(text: Text) -> Pieces:
    found = elements(text)
    if any(_MISP.match(piece) for piece in found[:1]):
        raise Invalid(_OF_MISP)
    if len(found) and not any(piece[:1] == b"{" for piece in found):
        raise Invalid(f"There is no object in this list; {_SHAPES}.")
    return found


def _no_json(text: Text) -> Invalid:
    if not len(text):
        return Invalid(f"The file is empty; {_SHAPES}.")
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Invalid("This file is in UTF-16; save it as UTF-8.")
    if text[:1] == b"<":
        head = text[:_HEAD]
        if b"STIX_Package" in head or b"stix.mitre.org" in head:
            return Invalid(f"This is STIX 1.x in XML, and this server reads STIX 2.1; {_ELEVATOR}.")
        return Invalid("This is XML or a web page, and not STIX 2.1 (JSON); check where it was downloaded from.")
    return not_json(text, 0, "a STIX file begins with { or [")
