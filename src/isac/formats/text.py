"""Reads plain lists: one value a line, as block lists, hosts files, AdGuard and dnsmasq lists and score tables come."""

import ipaddress
import itertools
import re
from collections.abc import Iterator

from isac.errors import Invalid
from isac.formats.found import Found, Unreadable, observe, unreadable
from isac.formats.texts import Text, check_lines, decode
from isac.stix.fangs import refang

# Longer than any URL that a browser takes; a line beyond is a file that is no list.
MAX_LINE = 8192

_COMMENT = ("#", ";", "//", "!")
# A comment behind a value stands after a blank: `#` is a part of URLs, `;` and `!` too.
_TRAILING_COMMENT = re.compile(r"(?<=\S)\s++(?:#|;|//|!).*")
_ADGUARD = re.compile(r"\|\|([^/^$*|\s]+)\^(?:\$(?:important|all|document|doc|popup))?")
_DNSMASQ = re.compile(r"(?:server|address|local)=/([^/\s]+)/\S*")
# Where hosts files and sinkholes send a name.
_SINKS = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})  # noqa: S104
_HOST_NAME = re.compile(r"(?=.*[a-z])[\w-]+(?:\.[\w-]+)+\.?", re.IGNORECASE)
_RANGE = re.compile(r"([0-9a-f.:]{2,45})\s*-\s*([0-9a-f.:]{2,45})", re.IGNORECASE)
_NETWORKS_SHOWN = 3
# A semicolon before a comment has blanks around it, and few URLs hold a comma. Bars stand in AdGuard's rules.
_CELLS = re.compile(r"[^\s,;][,;]|[,;]\S")
_LINES_TRIED = 200


def read(data: Text, kind: str | None = None) -> Iterator[Found | Unreadable]:
    """Every line that is neither blank nor a comment gives Found or Unreadable; a hosts line one for each name.

    Raises Invalid at once for more lines than are taken.
    """
    check_lines(data)
    return _read(data, kind)


def _read(data: Text, kind: str | None) -> Iterator[Found | Unreadable]:
    for number, line in enumerate(decode(data), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith(_COMMENT):
            continue
        if len(stripped) > MAX_LINE:
            yield unreadable(number, stripped, f"the line is longer than {MAX_LINE} characters")
        else:
            yield from _read_line(number, _TRAILING_COMMENT.sub("", stripped), kind)


def guess(data: Text) -> Iterator[Found | Unreadable]:
    """The same of a file of which nobody said that it is a list.

    Raises Invalid at once if it is a table, whose lines could be read as odd URLs; at the end, if most lines hold no
    value: it is something else, and what little was found in it stands there by chance.
    """
    first = [line.strip() for line in itertools.islice(_contents(data), _LINES_TRIED)]
    if len(first) > 1 and 2 * sum(_CELLS.search(line) is not None for line in first) > len(first):
        raise Invalid(
            f"is not a feed that can be read as it is: it looks like a table, whose first line is "
            f"«{unreadable(1, first[0], '').text}»; name a feed's definition that says which column holds the values."
        )
    return _guess(read(data))


def _guess(entries: Iterator[Found | Unreadable]) -> Iterator[Found | Unreadable]:
    good = bad = 0
    example = ""
    for entry in entries:
        if isinstance(entry, Unreadable):
            example = example or f"line {entry.line} ({entry.reason})"
            bad += 1
        else:
            good += 1
        yield entry
    if bad > good:
        raise Invalid(
            f"is not a feed: {bad:,} of {bad + good:,} lines hold no value, such as {example}. Take the indicators out "
            "of what people wrote with `isac extract`; name a feed's definition for a table."
        )


def _contents(data: Text) -> Iterator[str]:
    return (line for line in decode(data) if line.strip() and not line.lstrip().startswith(_COMMENT))


def _read_line(number: int, line: str, kind: str | None) -> Iterator[Found | Unreadable]:
    rule = _ADGUARD.fullmatch(line) or _DNSMASQ.fullmatch(line)
    if rule:
        yield observe(number, rule[1], kind, line)
        return
    if line.startswith(("||", "@@", "|http")):
        yield unreadable(number, line, "this filter rule is an exception, or holds under conditions only")
        return
    networks = _networks(line)
    if networks:
        yield _of_networks(number, line, networks, kind)
        return
    value, *columns = (refang(line) if "[" in line or "(" in line else line).split() or [line]
    if columns and value in _SINKS and _HOST_NAME.fullmatch(columns[0]):
        yield from (observe(number, name, kind, line) for name in columns)
    elif columns and "://" in value and "\t" not in line:
        yield unreadable(
            number, line, "there is a blank inside the URL, or a column after it; put a tab between columns"
        )
    else:
        yield observe(number, value, kind, line)


def _networks(line: str) -> list[str]:
    """Of a range of addresses, first-last; empty if the line is none. `a.b-c.de` looks like one and is a domain."""
    between = _RANGE.fullmatch(line)
    if not between:
        return []
    try:
        first, last = ipaddress.ip_address(between[1]), ipaddress.ip_address(between[2])
        return [str(network) for network in ipaddress.summarize_address_range(first, last)]
    except (ValueError, TypeError):
        return []


def _of_networks(number: int, line: str, networks: list[str], kind: str | None) -> Found | Unreadable:
    if len(networks) == 1:
        return observe(number, networks[0], kind, line)
    shown = ", ".join(networks[:_NETWORKS_SHOWN]) + (" …" if len(networks) > _NETWORKS_SHOWN else "")
    return unreadable(number, line, f"the range is {len(networks)} networks; give each a line of its own: {shown}")
