"""Possessive groups (`*+`, `++`, `(?>`): Python before 3.11.5 gets some of them wrong, such as one around a look ahead
(CPython gh-106052 and others). Ours have to match as their plain forms do, on each Python that is at hand.
"""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import isac

#: Python of Debian 12 is 3.11.2, which has the faults
PYTHONS = sorted(
    {sys.executable, *map(str, Path("/usr/bin").glob("python3.[0-9]*"))}
    - {*map(str, Path("/usr/bin").glob("*-config"))}
)

# Runs on another Python, with its library alone. Texts are drawn from the signs that stand in the pattern itself.
COMPARE = r"""
import json, random, re, sys
for name, possessive, plain, flags, is_bytes in json.load(sys.stdin):
    kinds = [re.compile(each.encode("latin-1") if is_bytes else each, flags) for each in (possessive, plain)]
    drawn = random.Random(7)
    signs = sorted({sign for sign in possessive if sign.isprintable()} | set(" \n,'\"\\[]{}<>a1"))
    for _ in range(6000):
        few = drawn.sample(signs, min(len(signs), drawn.randint(2, 7)))
        text = "".join(drawn.choices(few, k=drawn.randint(0, 13)))
        text = text.encode("latin-1", "replace") if is_bytes else text
        at = drawn.randint(0, 2)
        found = [[m and (m.span(), m.groups()) for m in (kind.match(text, at), kind.search(text))] for kind in kinds]
        if found[0] != found[1]:
            print(name, repr(text), at, found)
            break
"""

PATTERNS = {
    f"{module.__name__}.{name}": value
    for module in (
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(isac.__path__, "isac.")
        if found.name.split(".")[1] in {"stix", "formats", "policy", "ingest", "serve", "store", "times"}
    )
    for name, value in vars(module).items()
    if isinstance(value, re.Pattern)
}


def plain(text: str) -> str:
    """The same without possessive marks."""
    out, at, inside = [], 0, False
    while at < len(text):
        if text[at] == "\\":
            out.append(text[at : at + 2])
            at += 2
            continue
        if not inside and text.startswith("(?>", at):
            out.append("(?:")
            at += 3
            continue
        inside = text[at] == "[" or (inside and text[at] != "]")
        out.append(text[at])
        at += 1
        if not inside and text[at - 1] in "*+?}" and text[at : at + 1] == "+":
            at += 1
    return "".join(out)


@cache
def possessive() -> list[tuple[str, str, str, int, bool]]:
    found = []
    for name, pattern in PATTERNS.items():
        text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
        if plain(text) != text:
            flags = pattern.flags & (re.IGNORECASE | re.DOTALL | re.MULTILINE | re.ASCII)
            found.append((name, text, plain(text), int(flags), isinstance(pattern.pattern, bytes)))
    return found


def differences(python: str, patterns: list[tuple[str, str, str, int, bool]]) -> str:
    done = subprocess.run(
        [python, "-I", "-c", COMPARE],
        input=json.dumps(patterns),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("python", PYTHONS)
def test_possessive_patterns_match_as_their_plain_forms(python: str) -> None:
    assert len(possessive()) >= 8
    assert differences(python, possessive()) == ""


def test_a_pattern_that_differs_is_found() -> None:
    """On any Python: this one gives back nothing, so it matches less."""
    assert "greedy" in differences(sys.executable, [("greedy", "a*+a1?", plain("a*+a1?"), 0, False)])


@pytest.mark.parametrize("python", PYTHONS)
def test_the_fault_of_older_pythons_is_seen(python: str) -> None:
    """A look ahead in a possessive group: what a pattern of ours once did. Newer ones have no fault to see."""
    version = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info[:3] < (3, 11, 5))"], capture_output=True
    )
    faulty = r"(?:(?!,)(?:\[|[^ ]))++"
    assert bool(differences(python, [("faulty", faulty, plain(faulty), 0, False)])) is (version.stdout == b"True\n")


def test_marks_inside_a_class_are_no_marks() -> None:
    assert plain(r"[*+]a*+[a\]?+]++\*+(?>x)") == r"[*+]a*[a\]?+]+\*+(?:x)"
