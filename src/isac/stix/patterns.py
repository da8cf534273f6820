"""STIX patterns (STIX 2.1 §9): do they parse, which observables do they name, and which are the same?

Two roads to one answer. Almost every pattern of the wild is one comparison, or a few with `=`: a regular expression
over a whitelist of names reads those 100 times as fast as the ANTLR grammar of stix2-patterns, which reads the rest. A
wider expression accepted what the grammar refuses (keywords as path steps, `007`), hence the whitelist.
"""

import re
from contextlib import suppress
from typing import NamedTuple

from isac.stix import expressions, observables
from isac.stix.observables import Observable

#: Beyond any of these a pattern is taken unread: the grammar needs 50 ms at the caps and recurses.
MAX_BYTES = 4096
MAX_COMPARISONS = 100
MAX_DEPTH = 50
# The same bound for what the other caps miss: sets of a thousand numbers, thousands of brackets.
_MAX_TOKENS = 1000
#: `canonical` distributes no further
_MAX_ALTERNATIVES = 100


class Checked(NamedTuple):
    """What a pattern that may pass says."""

    # Values compared by `=`, `IN` or `ISSUBSET`, each once. Never the negated ones.
    observables: tuple[Observable, ...]
    # Beyond the caps, or the grammar's program gave up: accepted unread, and never good enough to block by.
    opaque: bool = False
    # Each observable alone makes the pattern true: one comparison, or nothing but OR. Else they are parts of a whole.
    alternatives: bool = False


class Unparsable(ValueError):
    """The grammar refuses the pattern."""


def check(text: str) -> Checked:
    """Read a pattern. Raises ValueError, with the reason in plain words, if it does not parse.

    Also if a pattern of one comparison has a value that is plainly wrong, which can never match.
    Object types and properties that STIX does not know pass.
    """
    if len(text) > MAX_BYTES:
        return _by_grammar(text)
    simple = _ONE.fullmatch(text)
    if simple:
        path = simple[1]
        kind = _KINDS.get(path)
        if kind:
            found = _read(kind, expressions.unescaped(simple[2]))
            return Checked((found,), alternatives=True) if found else Checked(())
        if kind == "":
            return Checked(())
    else:
        several = _several(text)
        if several:
            return several
    return _by_grammar(text)


def canonical(text: str) -> str | None:
    """The text in which all patterns meet that are surely the same (`expressions` says by which laws).

    Values are written as `observables` writes them, names of hashes as the standard does. None if the pattern is
    opaque, or its canonical text would be. Raises ValueError as `check` does.
    """
    if check(text).opaque:
        return None
    tree = expressions.read(text, _spelled_path, _spelled_text)
    # What grows too long by distributing is left undistributed.
    for most in (_MAX_ALTERNATIVES, 1):
        found = expressions.write(expressions.normalize(tree, most))
        if not _too_large(found):
            return found
    return None


def _spelled_path(path: str) -> str:
    kind = _KINDS.get(path)
    return observables.PATHS[kind] if kind and ":hashes." in path else path


def _spelled_text(path: str, operator: str, text: str) -> str:
    kind = _KINDS.get(path)
    if not kind or operator not in ("=", "!=", "IN", "ISSUBSET", "ISSUPERSET"):
        return text
    try:
        found = _read(kind, text)
    except ValueError:
        return text
    if not found or (kind == "url" and "://" not in text):
        return text  # a URL is given a scheme only to be known
    # An address in the place of a name is no name, and IPv4 in the form of IPv6 another object than the address.
    other = found.kind == "ipv4-addr" and ":" in text if kind == "host" else found.kind != kind
    return text if other else found.value


# --- the fast road -------------------------------------------------------------------------------

# Paths that the fast road may read, as the grammar would, and the kind of their value; "" has no observable. The hashes
# with other spellings stand in real feeds: STIX does not define them, and they must meet their proper twins here.
_KINDS = {
    **{path: kind for kind, path in observables.PATHS.items()},
    **{f"file:hashes.{name}": "md5" for name in ("'MD5'", "md5", "'md5'")},
    **{f"file:hashes.{name}": "sha-1" for name in ("SHA1", "'SHA1'", "sha1", "'sha1'", "'sha-1'")},
    **{f"file:hashes.{name}": "sha-256" for name in ("SHA256", "'SHA256'", "sha256", "'sha256'", "'sha-256'")},
    **{f"file:hashes.{name}": "sha-512" for name in ("SHA512", "'SHA512'", "sha512", "'sha512'", "'sha-512'")},
    **{f"x509-certificate:hashes.{name}": "x509-sha-1" for name in ("SHA1", "'SHA1'", "sha1", "'sha1'", "'sha-1'")},
    **{f"x509-certificate:hashes.{name}": "x509-sha-256" for name in ("SHA256", "'SHA256'", "sha256", "'sha256'")},
    **{f"email-message:{name}.value": "email-addr" for name in ("from_ref", "sender_ref")},
    **{f"network-traffic:{name}.value": "host" for name in ("src_ref", "dst_ref")},
    "domain-name:resolves_to_refs[*].value": "host",
    **dict.fromkeys(
        (
            *("file:mime_type", "file:parent_directory_ref.path", "directory:path", "mutex:name"),
            *("process:name", "process:command_line", "user-account:user_id"),
            *("user-account:account_login", "email-message:subject", "software:name", "x509-certificate:issuer"),
            *("x509-certificate:serial_number", "network-traffic:src_ref.type", "network-traffic:dst_ref.type"),
            *("app:id", "configuration-profile:id", "file:path"),
        ),
        "",
    ),
}
# Nothing is tried twice without possessive groups either: each sign has one place only.
_LITERAL = r"'([^'\\]*(?:\\['\\][^'\\]*)*)'"
_ONE = re.compile(rf"\[ ?([a-z0-9-]+:[A-Za-z0-9_.'\[\]*-]+) ?= ?{_LITERAL} ?\]")
_EACH = re.compile(rf"(\[?) ?({'|'.join(map(re.escape, _KINDS))}) ?= ?{_LITERAL} ?(\]?)( AND | OR | FOLLOWEDBY |\Z)")
# A hash of the wrong length is no pattern to stix2-patterns; other wrong values are its author's business there.
_HASHES = {"md5", "sha-1", "sha-256", "sha-512", "x509-md5", "x509-sha-1", "x509-sha-256"}


def _several(text: str) -> Checked | None:
    """Comparisons with `=` joined by AND, OR and FOLLOWEDBY; None if the grammar has to look."""
    found: dict[Observable, None] = {}
    at, inside, only_or, count = 0, False, True, 0
    while at < len(text):
        one = _EACH.match(text, at)
        count += 1
        if not one or (one[1] == "[") is inside or count > MAX_COMPARISONS:
            return None
        kind, joint = _KINDS[one[2]], one[5]
        inside = not one[4]
        if inside and joint in ("", " FOLLOWEDBY "):
            return None
        only_or = only_or and joint in ("", " OR ")
        if kind:
            try:
                observable = _read(kind, expressions.unescaped(one[3]))
            except ValueError:
                if kind in _HASHES:
                    return None
                observable = None
            if observable:
                found[observable] = None
        at = one.end()
    if not count or inside or len(text.encode()) > MAX_BYTES or text.endswith((" AND ", " OR ", " FOLLOWEDBY ")):
        return None
    return Checked(tuple(found), alternatives=only_or and bool(found))


def _read(kind: str, value: str) -> Observable | None:
    if kind != "host":
        return observables.read(kind, value)
    # An address, a domain or a MAC address: nothing is plainly wrong there.
    for one in ("ipv6-addr", "mac-addr") if ":" in value else ("ipv4-addr", "domain-name"):
        with suppress(ValueError):
            return observables.read(one, value)
    return None


# --- the grammar ---------------------------------------------------------------------------------

# The closing quote is optional, so that one that is missing is seen in linear time: the grammar's lexer tries again
# from each quote, 5 seconds for 4 KiB.
_QUOTED = re.compile(r"'[^'\\]*(?:\\['\\][^'\\]*)*('?)")
_TOKEN = re.compile(r"[\w-]+|[^\s\w]")


def _by_grammar(text: str) -> Checked:
    # Here, because ANTLR takes longer to load than most submissions take to read, and few patterns need it.
    from stix2patterns.exceptions import ParseException
    from stix2patterns.v21.object_validator import verify_object
    from stix2patterns.v21.pattern import Pattern
    from stix2patterns.v21.validator import DuplicateQualifierTypeError, ValidationListener

    if not text.lstrip("( \t\r\n").startswith("["):
        raise ValueError("a pattern begins with a square bracket, as in [domain-name:value = 'example.com']")
    if _too_large(text):
        return Checked((), opaque=True)
    if not all(quoted[1] for quoted in _QUOTED.finditer(text)):
        if "//" in text or "/*" in text:
            return Checked((), opaque=True)  # the odd quote may stand in a comment
        raise ValueError("it does not parse: a quote is not closed, or a backslash is not doubled")
    try:
        pattern = Pattern(text)
        pattern.walk(ValidationListener())
        seen = pattern.inspect()
        wrong = verify_object(seen)
    except ParseException as error:
        raise Unparsable(f"it does not parse at {_place(str(error))}") from error
    except DuplicateQualifierTypeError as error:
        raise ValueError("a qualifier stands twice at one observation") from error
    except Exception:  # noqa: BLE001 - AttributeError, RecursionError …: the library's program breaks, not the pattern
        return Checked((), opaque=True)
    if wrong:
        raise ValueError(str(wrong[0]).removeprefix("FAIL: "))
    comparisons = [
        (_KINDS_BY_STEPS.get(_name(type_name, path)), operator, literal)
        for type_name, each in seen.comparisons.items()
        for path, operator, literal in each
    ]
    alone = len(comparisons) == 1
    found = dict.fromkeys(value for each in comparisons for value in _compared(*each, strict=alone))
    return Checked(tuple(found), alternatives=alone and bool(found) and not seen.qualifiers)


# In STIX 2.0 these times were text; 2.1 asks for a t before them.
_OLD_TIME = re.compile(r"\b(START|STOP)\s*(?=')")


def version(text: str) -> str:
    """In which version of STIX a pattern parses: 2.1, unless only 2.0 takes it."""
    try:
        check(text)
    except Unparsable:
        with suppress(ValueError):
            check(_OLD_TIME.sub(r"\1 t", text))
            return "2.0"
    except ValueError:
        pass  # it parses, and something else is wrong
    return "2.1"


def _too_large(text: str) -> bool:
    if len(text.encode(errors="replace")) > MAX_BYTES:
        return True
    bare = _QUOTED.sub("''", text)
    # Comments are as slow as open quotes, and nobody writes them.
    if bare.count(":") > MAX_COMPARISONS or bare.count("/*") > 5:
        return True
    depth = deepest = 0
    for char in bare:
        if char == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif char == ")":
            depth -= 1
    return deepest > MAX_DEPTH or sum(1 for _ in _TOKEN.finditer(bare)) > _MAX_TOKENS


def _place(message: str) -> str:
    """From `1:13: mismatched input …` of the grammar, which counts characters from 0."""
    line, column, words = message.split(":", 2)
    return f"line {line}, character {int(column) + 1}:{words.replace('<EOF>', 'the end')[:120]}"


# The inspector gives path steps without quotes.
_KINDS_BY_STEPS = {path.replace("'", ""): kind for path, kind in _KINDS.items()} | {
    "autonomous-system:number": "autonomous-system"
}
_VALUE = re.compile(rf"{_LITERAL}|([0-9]+)")


def _name(type_name: str, path: list[object]) -> str:
    """`type:a.b[*].c` from the inspector's list of names, numbers and a star object."""
    return f"{type_name}:{'.'.join(step if isinstance(step, str) else '[*]' for step in path)}".replace(".[*]", "[*]")


def _compared(kind: str | None, operator: str, literal: str, *, strict: bool) -> list[Observable]:
    """The observables of one comparison; a plainly wrong value raises ValueError if `strict`, else it is left out."""
    if not kind or operator not in ("=", "==", "IN", "ISSUBSET"):
        return []
    found = []
    for text, number in _VALUE.findall(literal):
        try:
            observable = _read(kind, number or expressions.unescaped(text))
        except ValueError:
            if strict:
                raise
            continue
        if observable:
            found.append(observable)
    return found
