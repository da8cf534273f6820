"""A definition's mistakes in words for whoever wrote it: where it is, and what to write instead.

No value is shown that may be a secret put in the wrong place.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isac.formats.found import FIELDS

#: key of a definition → what may stand there
_WRITE: Mapping[str, str] = {
    "name": 'write small letters, digits and hyphens, such as "county-list"',
    "description": "write text in double quotation marks",
    "url": 'write a whole address without blanks, such as "https://lists.example.org/blocked.csv"',
    "path": "write the name of a file or folder beside the definition, such as 'blocked.csv'",
    "format": "write one of csv, json, text, stix, misp and taxii",
    "columns": 'write a table with the names of the columns: [columns], and below it value = "address"',
    "header": 'write a list of names, such as ["address", "seen"]',
    "dates": 'write "iso" for 2026-11-03 or "us" for 11/3/2026',
    "records": 'write where the list stands, by names with dots between them, such as "data.items"',
    "kind": 'write one of url, domain, ip, ip:port, hash, email, asn and cve, such as "url"',
    "tlp": 'write it as text: "clear", "green" or "amber"',
    "audience": 'write "us", a State such as "us-oh", a county such as "us-oh-39049", or "public"',
    "license": 'write its terms, a license\'s name or a web address; "ours" for a list of your own',
    "redistribute": "write true or false, without quotation marks",
    "auth_env": 'write the name of a variable in capitals, such as "COUNTY_LIST_KEY"; the key stands in that variable',
    "auth_header": 'write the name of a header alone, such as "Auth-Key"; what is sent in it stands in the variable',
    "every": 'write a time span such as "15m", "6h" or "1d"',
    "rhythm": 'write a time span such as "6h" or "30d"',
    "current": "write true or false, without quotation marks",
    "grace": 'write a time span such as "2d"',
    "confidence": "write a whole number from 0 to 100",
    "validity": 'write a table, such as { url = "30d", ip = "14d" }',
    "sample": "write true or false, without quotation marks",
}
#: what people put there that nobody else may see
_SECRET = frozenset({"url", "auth_env", "auth_header"})
#: what others call a key
_MEANT: Mapping[str, str] = {
    **dict.fromkeys(("address", "link", "source", "uri", "location"), "url"),
    **dict.fromkeys(("file", "folder", "directory", "filename"), "path"),
    **dict.fromkeys(("interval", "frequency", "schedule", "refresh", "period"), "every"),
    **dict.fromkeys(
        ("user", "username", "password", "token", "key", "api_key", "apikey", "secret", "auth"), "auth_env"
    ),
    **dict.fromkeys(("type", "filetype"), "format"),
    **dict.fromkeys(("marking", "classification"), "tlp"),
    **dict.fromkeys(("for", "to", "jurisdiction", "members"), "audience"),
    **dict.fromkeys(("terms",), "license"),
    **dict.fromkeys(("share", "release"), "redistribute"),
    **dict.fromkeys(("title", "id"), "name"),
    **dict.fromkeys(("fields", "mapping"), "columns"),
}
_TYPOGRAPHIC = re.compile("[“”„‟«»‘’‚]")
_SPAN = re.compile(r"(?:every )?([0-9]{1,4}) ?(m|h|d)[a-z]*", re.IGNORECASE)
# Also where the password holds a sign that would end the server's name.
_USERINFO = re.compile(r"[^/?#]*//(?:[^/?#]*@|[^/?#\[\]]*:(?![0-9]*(?:[/?#]|\Z)).*@)")
_SHOWN = 60


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like it, as the end of a sentence; or nothing."""
    words = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.strip().lower(), words, 1, 0.6)
    return f"; perhaps «{words[found[0]]}» is meant" if found else ""


# ------------------------------------------------------------------------------------------------------------ one value


def span(value: object) -> str:
    """What is wrong with a time span."""
    found = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if found and int(found[1]):
        return f'{_quoted(value)} is no time span; write "{int(found[1])}{found[2].lower()}"'
    if isinstance(value, str) and value.isdigit():
        return f'{_quoted(value)} lacks its unit; write "{value}m", "{value}h" or "{value}d"'
    return f'{_quoted(value)} is no time span; write text such as "15m", "6h" or "30d"'


def column(field: str, keys: Sequence[str]) -> str:
    """What is wrong with a field below [columns] that is none."""
    if field in keys:
        return f"`{field}` stands below [columns], and is no column; put it above that line"
    return f"there is no field {field[:_SHOWN]!r}{nearest(field, FIELDS)}; the fields are {', '.join(FIELDS)}"


def address(url: str) -> str:
    """What is wrong with a URL, which is not shown where it may hold a password; empty if nothing is."""
    if _USERINFO.match(url):
        return (
            "a name or password in an address would be read by everybody who sees the definition; leave it out, put "
            "the key into a variable of the environment and name that one with `auth_env`"
        )
    scheme, sign, _ = url.partition("://")
    if url.startswith(("\\\\", "/", ".")) or scheme.lower() == "file" or re.match(r"[A-Za-z]:\\", url):
        return "that is no web address; for a file write `path` with the name of a file beside the definition"
    if sign and scheme.lower() not in ("http", "https"):
        return f"{scheme[:_SHOWN]} is not read here; write an address that begins with https:// or http://"
    if not sign:
        return 'it lacks its beginning; write "https://…"'
    if re.search(r"\s", url):
        return "there is a blank in it; write %20 for each"
    return ""


def place(path: str) -> str:
    """What is wrong with a path; empty if nothing is."""
    if any(ord(char) < 0x20 for char in path):
        return (
            "a backslash in double quotation marks begins something else; write forward slashes: lists/new.csv, "
            "beside the definition"
        )
    parts = path.replace("\\", "/").split("/")
    if path.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:", path) or ".." in parts:
        return (
            f"{path[:_SHOWN]} leads out of the definition's folder; put the file or folder beside the definition and "
            "write its name alone"
        )
    if "\\" in path:
        return f"write forward slashes: '{path.replace(chr(92), '/')[:_SHOWN]}'"
    return ""


def _quoted(value: object) -> str:
    return f'"{value[:_SHOWN]}"' if isinstance(value, str) else repr(value)[:_SHOWN]


# ------------------------------------------------------------------------------------------------------- one definition


def sentences(errors: Iterable[Mapping[str, Any]], definition: Mapping[str, Any], keys: Sequence[str]) -> str:
    """All that pydantic found, a sentence for each key."""
    said = dict.fromkeys(_sentence(error, definition, keys) for error in errors)
    return " ".join(f"{each}." for each in said)


def _sentence(error: Mapping[str, Any], definition: Mapping[str, Any], keys: Sequence[str]) -> str:
    top = str(error["loc"][0]) if error["loc"] else ""
    # A column is a name or a list of names: pydantic tells of both, and once is enough.
    key = ".".join(str(part) for part in error["loc"][:2]) if top in ("columns", "header") else top
    match error["type"]:
        case "extra_forbidden":
            return _unknown(top, keys)
        case "missing":
            return f"{key}: is missing{_elsewhere(key, definition)}; {_WRITE[key]}"
        case "value_error":
            reason = str(error["ctx"]["error"])
            return f"{key}: {reason}" if key else reason
    given = error["input"]
    shown = "" if top in _SECRET or not isinstance(given, str | int | float) else f"{_quoted(given)} does not fit; "
    if top == "columns" and len(error["loc"]) > 1:
        return f'{key}: write the column\'s name, or a list of names, such as "address"'
    return f"{key}: {shown}{_WRITE[top]}{_instead(top, given)}"


def _unknown(key: str, keys: Sequence[str]) -> str:
    plain = key.strip().lower().replace("-", "_").replace(" ", "_")
    if plain in ("delimiter", "separator"):
        return f"{key}: there is no such key; commas, semicolons, tabs and bars are recognized, so leave it out"
    if plain == "enabled":
        return f"{key}: there is no such key; a feed is read by itself where it says `every`, and else not"
    if plain in FIELDS and plain not in keys:
        return f"{key}: is a column's; put it below a line [columns]"
    meant = plain if plain in keys else _MEANT.get(plain)
    near = f"; write `{meant}`" if meant else nearest(key, keys)
    return f"{key[:_SHOWN]}: there is no such key{near}; the keys are {', '.join(keys)}"


def _elsewhere(key: str, definition: Mapping[str, Any]) -> str:
    table = next((name for name, value in definition.items() if isinstance(value, dict) and key in value), None)
    return f", for it stands below [{table}]: put it above that line" if table else ""


def _instead(key: str, given: object) -> str:
    """The very text to write, where it can be told."""
    if not isinstance(given, str):
        return ""
    if key == "name":
        slug = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")[:63]
        return f'; here perhaps "{slug}"' if slug else ""
    if key == "audience":
        plain = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")
        code = plain if plain.startswith("us-") else f"us-{plain}"
        return f'; here perhaps "{code}"' if re.fullmatch(r"us-[a-z]{2}(-[0-9]{5,10})?", code) else ""
    if key == "format":
        if given.lower() in ("xls", "xlsx", "excel", "ods"):
            return '; save a spreadsheet as «CSV UTF-8», and write "csv"'
        return nearest(given, ("csv", "json", "text", "stix", "misp", "taxii"))
    return ""


# ----------------------------------------------------------------------------------------------------------- no TOML


def no_toml(text: str, error: Exception) -> str:
    """Where a text is no TOML, and what to write there. What stands behind an equals sign is not shown."""
    at = re.search(r"at line ([0-9]+)", str(error))
    lines = text.splitlines() or [""]
    number = int(at[1]) if at else max((n for n, each in enumerate(lines, 1) if each.strip()), default=1)
    # An open quotation mark or bracket is found at the line's end, which may be the next line's beginning.
    line = lines[min(number, len(lines)) - 1].strip()
    return f"line {number}: {_slip(line, str(error))}"


def _slip(line: str, said: str) -> str:
    key, sign, value = (part.strip() for part in line.partition("="))
    if _TYPOGRAPHIC.search(line):
        return f'these quotation marks are typographic; write straight ones: {key if sign else "name"} = "…"'
    if line.startswith(("//", ";", "--", "/*", "!")):
        return "a comment begins with #"
    if "overwrite" in said or "twice" in said or "immutable" in said:
        return f"{key.strip('[]')[:_SHOWN]} stands twice; keep one of them"
    if not sign:
        return _without_sign(line)
    if re.search(r"[^\w.\"'-]", key):
        return f"a key has no blanks and no other signs; write {re.sub(r'[^A-Za-z0-9]+', '_', key)[:_SHOWN].strip('_')}"
    if "\\" in value:
        return f"a backslash stands in single quotation marks, {key} = '…', or write forward slashes instead"
    if not value or value.startswith("#"):
        return f"nothing stands behind the equals sign of {key}; write a value, or take the line out"
    if value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return f"write {key} = true or {key} = false, in small letters"
    if value[0] in "[{":
        return 'a list or table is not closed, or a comma or quotation mark is missing; write ["first", "second"]'
    if value[0] in "\"'":
        closed = value.find(value[0], 1)
        rest = value[closed + 1 :].strip() if closed > 0 else ""
        if rest:
            return f'something stands behind the closing quotation mark; write {key} = "…" and nothing more'
        return f'the closing quotation mark is missing; write {key} = "…"'
    return f'text stands in quotation marks; write {key} = "…"'


def _without_sign(line: str) -> str:
    if line.startswith("["):
        return "a table's line has both brackets and nothing more, such as [columns]"
    key, sign, _ = line.partition(":")
    if sign and re.fullmatch(r"\w+", key.strip()):
        return f'write an equals sign, not a colon: {key.strip()} = "…"'
    return 'each line says one thing, such as name = "county-list"'
