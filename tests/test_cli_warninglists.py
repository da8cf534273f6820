"""The commands for warninglists as an operator types them."""

from pathlib import Path

import pytest
from tests.test_cli import Terminal, isac, nowhere

pytestmark = pytest.mark.slow
__all__ = ["isac", "nowhere"]

#: the hash of nothing in particular
UNKNOWN = "5a" * 32
LIST = '{"name": "Names that we know", "type": "hostname", "version": 3, "list": ["x-example.test", "no name"]}'


def test_lists_are_loaded_and_listed(isac: Terminal) -> None:
    (isac.folder / "lists/ours").mkdir(parents=True)
    isac.file("lists/ours/list.json", LIST)
    loaded, again, listed = (
        isac("warninglists", "load", "."),
        isac("warninglists", "load", "."),
        isac("warninglists", "list"),
    )

    assert (loaded.returncode, loaded.stderr) == (0, "")
    assert loaded.stdout == "1 lists read, 1 entries came, went or changed; 0 lists are as they were.\n"
    assert again.stdout == "0 lists read, 0 entries came, went or changed; 1 lists are as they were.\n"
    assert "ours  1 entries, 1 not read, version 3, " in listed.stdout
    assert "  Names that we know; reach: host\n" in listed.stdout


def test_a_broken_list_is_told_and_ends_with_one(isac: Terminal) -> None:
    (isac.folder / "lists/ours").mkdir(parents=True)
    isac.file("lists/ours/list.json", LIST[:-1])
    loaded = isac("warninglists", "load", ".")

    assert loaded.returncode == 1
    assert loaded.stderr.startswith("not read: ours: list.json is no JSON")


def test_a_folder_without_lists_is_one_sentence(isac: Terminal) -> None:
    loaded = isac("warninglists", "load", "nothing")

    assert loaded.returncode == 2
    assert loaded.stderr.startswith("error: nothing: ")


def test_check_says_what_becomes_of_values(isac: Terminal) -> None:
    values = ("8.8.8.8", "https://github.com/a/b", "github.com", "0.0.0.0/0", "com", "192.0.2.7", UNKNOWN)
    checked = isac("warninglists", "check", *values)

    verdicts = [line for line in checked.stdout.splitlines() if not line.startswith(" ")]
    assert verdicts == [
        "8.8.8.8: hold",
        "https://github.com/a/b: pass",
        "github.com: hold",
        "0.0.0.0/0: refuse",
        "com: refuse",
        "192.0.2.7: refuse",
        f"{UNKNOWN}: pass",
    ]
    assert "  warninglist: 8.8.8.8 stands on the warninglist «Public resolvers and time servers».\n" in checked.stdout
    assert checked.returncode == 1


def test_check_ends_with_zero_where_nothing_is_held(isac: Terminal, tmp_path: Path) -> None:
    checked = isac("warninglists", "check", UNKNOWN)

    assert (checked.returncode, checked.stdout) == (0, f"{UNKNOWN}: pass\n")
