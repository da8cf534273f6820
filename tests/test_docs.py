"""The documentation says what is true: settings, commands, links, and the README's examples, which run."""

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from tests.conftest import Person, Running

from isac.cli import app
from isac.config import Settings
from isac.policy import admit, release, screen, values
from isac.policy.actors import Audience, Role
from isac.serve import problems
from isac.stix.markings import TLP

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in DOCS}
README = TEXTS["README.md"]

#: what stands in examples for a member's own
ADDRESS, COUNTY = "https://isac.example.org", "us-oh-39049"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def lines(text: str) -> Iterator[str]:
    """The commands in shell blocks, continued lines joined."""
    for block in blocks(text, "sh"):
        yield from block.replace("\\\n", " ").splitlines()


def words(line: str) -> list[str]:
    """Of a simple command: variables before it, comments and what is behind `>`, `|` and `&` left out."""
    found = shlex.shlex(line, posix=True, punctuation_chars=True)
    found.whitespace_split = True
    parts = list(found)
    end = next((n for n, part in enumerate(parts) if set(part) <= set("<>|&;")), len(parts))
    start = next((n for n, part in enumerate(parts) if not re.match(r"[A-Z_]+=", part)), end)
    return parts[start:end]


COMMANDS = [
    (name, parts) for name, text in TEXTS.items() for line in lines(text) if (parts := words(line))[:1] == ["isac"]
]


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """All sub-commands, as they are typed."""
    if not hasattr(command, "commands"):
        yield " ".join(path)
        return
    for name, inner in command.commands.items():
        yield from commands(inner, (*path, name))


ISAC: Any = typer.main.get_command(app)


def parse(parts: list[str]) -> None:
    """Find the command and let it read its arguments; nothing is run. Raises for what the command line would refuse."""
    command, context, (name, *rest) = ISAC, None, parts
    while hasattr(command, "commands"):
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
        name, *rest = rest
        assert name in command.commands, name
        command = command.commands[name]
    command.make_context(name, rest, parent=context)


# ------------------------------------------------------------------------------------------------- settings, commands


SETTINGS = [field.name for field in dataclasses.fields(Settings)]


@pytest.mark.parametrize("field", SETTINGS)
def test_every_setting_is_listed_with_its_default(field: str) -> None:
    default = getattr(Settings(), field)
    row = f"| `ISAC_{field.upper()}` | `{field}` | {'empty' if default == '' else f'`{default}`'} | "
    assert row in TEXTS["docs/settings.md"]


def test_no_setting_is_listed_that_is_not_there() -> None:
    named = {name for text in TEXTS.values() for name in re.findall(r"\bISAC_([A-Z_]+)", text)}
    assert named <= {field.upper() for field in SETTINGS}


@pytest.mark.parametrize("command", [path for path in commands(ISAC) if path])
def test_every_command_is_named(command: str) -> None:
    assert any(f"isac {command}" in text for text in TEXTS.values())


@pytest.mark.parametrize(("name", "parts"), COMMANDS, ids=[" ".join(parts[:4]) for _, parts in COMMANDS])
def test_every_example_is_understood_by_the_command_line(name: str, parts: list[str]) -> None:
    parse(parts)


@pytest.mark.parametrize("line", ["isac nothing", "isac ingest a --to us --nope", "isac ingest a", "isac keys create"])
def test_a_wrong_example_is_noticed(line: str) -> None:
    with pytest.raises(Exception, match=r"nothing|nope|to|Missing"):
        parse(words(line))


def test_every_target_of_make_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {target for text in TEXTS.values() for target in re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)}
    assert {"demo", "test", "install", "lint", "bench"} <= named
    assert {target for target in named if f"\n{target}:" not in makefile} == set()


# --------------------------------------------------------------------------------------------------------- the content


def test_the_files_that_the_road_names_are_there() -> None:
    for name in re.findall(r"`([a-z]+(?:/[a-z_]+)?\.py|[a-z]+/)`", README.partition("## Where things are")[2]):
        assert (ROOT / "src/isac" / name).exists() or (ROOT / name).exists(), name


def test_the_table_of_audiences_is_the_code_s() -> None:
    """docs/analysts.md against policy.release.possible."""
    kinds = [("public", False), ("state", False), ("group", False), ("group", True), ("organization", False)]
    for tlp in TLP:
        cells = ["yes" if release.possible(tlp, Audience(1, kind, (1,), "", frozen)) else "–" for kind, frozen in kinds]
        assert f"| {str(tlp).upper()} | {' | '.join(cells)} |" in TEXTS["docs/analysts.md"]


def test_every_rule_that_holds_an_object_is_explained() -> None:
    sources = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in (screen, admit))
    rules = set(re.findall(r'Hold\("([a-z ]+)"', sources)) | set(re.findall(r'Move\.HOLD, "([a-z ]+)"', sources))
    said = Path(str(values.__file__)).read_text(encoding="utf-8")
    rules |= set(re.findall(r'"hold", "([a-z ]+)"', said)) - {"note", "refuse"}
    assert rules > {"future", "reserved", "own goal", "portal"}
    assert {rule for rule in rules if f"| `{rule}` |" not in TEXTS["docs/analysts.md"]} == set()


@pytest.mark.parametrize("role", list(Role))
def test_every_role_is_explained(role: Role) -> None:
    assert f"| {role} |" in TEXTS["docs/operators.md"]


def anchors(text: str) -> set[str]:
    """What a link may point at within a page."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target


def test_no_secret_stands_in_the_documentation() -> None:
    key, password = r"isac_[A-Za-z0-9]{8}_[\w-]{20}", r"://[^/\s:@]+:[^/\s@]+@"
    looks_like_one = re.compile(rf"{key}|{password}|PRIVATE KEY|(?<![\w/-])(?<!\.py::)[A-Za-z0-9_-]{{32,}}(?![\w/-])")
    assert [(name, found[0]) for name, text in TEXTS.items() if (found := looks_like_one.search(text))] == []


# ------------------------------------------------------------------------------------------- the README's examples


def mine(example: str, server: Running, person: Person) -> str:
    """An example as this person would type it."""
    for placeholder, own in (
        (ADDRESS, server.base),
        ("KEY_ID", person.key_id),
        ("SECRET", person.secret),
        (COUNTY, "us-oh-39901"),
    ):
        example = example.replace(placeholder, own)
    return example


def test_the_readme_s_python_runs(server: Running, people: dict[str, Person]) -> None:
    (example,) = blocks(README, "python")
    typed = mine(example, server, people["franklin"])
    done = subprocess.run([sys.executable, "-c", typed], capture_output=True, text=True, check=True, timeout=60)
    title, *shown = done.stdout.splitlines()
    assert title == "Elm County - Ohio"
    assert len(shown) == 9, "the TLP definitions"
    assert all(line.startswith("marking-definition marking-definition--") for line in shown)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_readme_s_curl_runs(server: Running, people: dict[str, Person]) -> None:
    (example,) = [line for line in lines(README) if line.startswith("curl ")]
    typed = shlex.split(mine(example, server, people["franklin"]))
    done = subprocess.run([*typed, "--fail"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count('"type":"marking-definition"') == 9


# --------------------------------------------------------------------------------------------- the analysts' examples

TOOL = {"type": "tool", "spec_version": "2.1", "created": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z"}
#: what lies beside whoever types the examples
FILES = {
    "report.json": {"objects": [{**TOOL, "id": "tool--3c4b5a69-7887-4a9b-8cad-beacfad0e1f2", "name": "a tool"}]},
    "event.json": {
        "Event": {"info": "x", "Attribute": [{"type": "vulnerability", "to_ids": True, "value": "CVE-2026-10000"}]}
    },
    "blocklist.txt": "CVE-2026-10001\nCVE-2026-10002\n",
    "incident.csv": "ioc,comment\nCVE-2026-10003,a comment\n",
    "records.json": [{"ioc": "CVE-2026-10004"}],
    "advisory.eml": "From: a@vendor.example\nMIME-Version: 1.0\n\nhxxp://host-1[.]example/\n",
}
ANALYSTS = [line for line in lines(TEXTS["docs/analysts.md"]) if line.startswith("curl ")]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_analysts_curl_runs(server: Running, people: dict[str, Person], tmp_path: Path) -> None:
    for name, content in FILES.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
    told = []
    for example in ANALYSTS:
        typed = [*shlex.split(mine(example, server, people["franklin_submitter"])), "--fail-with-body"]
        done = subprocess.run(typed, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
        told.append(json.loads(done.stdout))

    assert len(told) == 8
    assert told[0]["success_count"] == 1, "over TAXII; over the API the same counts as repeated"
    assert [each["counts"]["accepted"] for each in told if "counts" in each] == [0, 1, 2, 1, 1]
    assert [len(each["found"]) for each in told if "found" in each] == [1]


def test_every_problem_is_explained() -> None:
    rows = re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", TEXTS["docs/analysts.md"], re.MULTILINE)
    assert {int(status): name for status, name in rows} == problems.TYPES
