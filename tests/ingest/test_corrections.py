"""What is said to whoever makes a mistake in the ten lines of a definition: one sentence that says what to write."""

import io
import re
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import typer

from isac.cli import feeds as commands
from isac.errors import Invalid
from isac.ingest import feeds
from isac.ingest.feeds import load
from isac.stix.markings import TLP

#: as somebody writes it who has read docs/feeds.md
RIGHT = """name = "county-list"
description = "Addresses that attacked our mail gateway."
path = "blocked.csv"
format = "csv"
every = "1h"
tlp = "green"
audience = "us-oh"
license = "ours"
redistribute = true

[columns]
value = "address"
first_seen = "seen"
"""
SECRET = "hunter2"

#: mistake → the line that it replaces, what stands there instead, and what is said
MISTAKES = {
    # keys
    "a key is misspelled": ("format", 'formatt = "csv"', "formatt: there is no such key; perhaps «format» is meant;"),
    "another word for a key": ("every", 'interval = "1h"', "interval: there is no such key; write `every`;"),
    "a British license": ("license", 'licence = "ours"', "licence: there is no such key; perhaps «license» is meant"),
    "a key in capitals": ("format", 'Format = "csv"', "Format: there is no such key; write `format`;"),
    "a password": ("every", f'password = "{SECRET}"', "password: there is no such key; write `auth_env`;"),
    "a delimiter": ("every", 'delimiter = ";"', "delimiter: there is no such key; commas, semicolons, tabs and bars"),
    "a switch": ("every", "enabled = true", "enabled: there is no such key; a feed is read by itself where it says"),
    "a column above": ("every", 'first_seen = "seen"', "first_seen: is a column's; put it below a line [columns]."),
    "a key below": (
        "value",
        'value = "address"\nrecords = "x"',
        "columns: `records` stands below [columns], and is no",
    ),
    "the name below": ("name", "", "name: is missing, for it stands below [columns]: put it above that line;"),
    "another table": ("[columns]", "[column]", "column: there is no such key; perhaps «columns» is meant"),
    "a field is misspelled": (
        "first_seen",
        'first_sen = "seen"',
        "there is no field 'first_sen'; perhaps «first_seen»",
    ),
    "no name": ("name", None, "name: is missing; write small letters, digits and hyphens"),
    "no license": ("license", None, 'license: is missing; write its terms, a license\'s name or a web address; "ours"'),
    "no format": ("format", None, "format: is missing; write one of csv, json,"),
    "no place": ("path", None, "say either `url` or `path`"),
    "no value": ("value", None, "`columns.value` is missing: which column holds the values?"),
    # values
    "a name in capitals": ("name", 'name = "County List"', 'here perhaps "county-list".'),
    "a number as a name": ("name", "name = 7", "name: 7 does not fit; write small letters"),
    "a spreadsheet": ("format", 'format = "xlsx"', 'save a spreadsheet as «CSV UTF-8», and write "csv".'),
    "a format in capitals": ("format", 'format = "CSV"', "perhaps «csv» is meant."),
    "no unit": ("every", 'every = "5"', 'every: "5" lacks its unit; write "5m", "5h" or "5d".'),
    "a number as a span": ("every", "every = 5", "every: 5 is no time span; write text such as"),
    "a span in words": ("every", 'every = "15 minutes"', 'every: "15 minutes" is no time span; write "15m".'),
    "a span in other words": ("every", 'every = "hourly"', 'every: "hourly" is no time span; write text such as'),
    "a TLP that is none": (
        "tlp",
        'tlp = "gren"',
        "clear, green, amber, amber+strict or red; perhaps «green» is meant.",
    ),
    "another color": ("tlp", 'tlp = "purple"', "tlp: «purple» is no TLP: clear, green, amber, amber+strict or red."),
    "a TLP that is a number": ("tlp", "tlp = 2", 'tlp: write it as text, such as "green".'),
    "a TLP for named people": (
        "tlp",
        'tlp = "TLP:RED"',
        "`tlp` is stricter than amber, which needs recipients by name",
    ),
    "an audience in capitals": ("audience", 'audience = "US-OH"', 'here perhaps "us-oh".'),
    "an audience of letters": ("audience", 'audience = "OH"', 'here perhaps "us-oh".'),
    "an audience in words": (
        "audience",
        'audience = "Ohio"',
        'audience: "Ohio" does not fit; write "us", a State such',
    ),
    "a yes": ("redistribute", 'redistribute = "true"', "write true or false, without quotation marks."),
    "a list of audiences": ("audience", 'audience = ["us-oh"]', 'audience: write "us", a State such as "us-oh"'),
    "a word for a number": (
        "every",
        'confidence = "high"',
        'confidence: "high" does not fit; write a whole number from',
    ),
    "a fraction": ("every", "confidence = 0.8", "confidence: 0.8 does not fit; write a whole number from 0 to 100."),
    "a kind that is none": ("every", 'kind = "domian"', "; perhaps «domain» is meant."),
    "a column by number": ("value", "value = 1", "columns.value: write the column's name, or a list of names"),
    "columns without a table": (
        "[columns]",
        'columns = "address"',
        "does not fit; write a table with the names of the columns",
    ),
    "a header as text": ("every", 'header = "address,seen"', 'header: "address,seen" does not fit; write a list of'),
    "other dates": ("every", 'dates = "eu"', 'dates: "eu" does not fit; write "iso" for 2026-11-03'),
    "the key itself": (
        "every",
        f'auth_env = "{SECRET}"',
        "auth_env: write the name of a variable in capitals, such as",
    ),
    "what is sent": ("every", f'auth_header = "Bearer {SECRET}"', "auth_header: write the name of a header alone"),
    # addresses
    "a password in a URL": ("path", f'url = "https://me:{SECRET}@lists.example/a"', "url: a name or password in an"),
    "a name in a URL": ("path", 'url = "https://me@lists.example/a"', "name that one with `auth_env`."),
    "a slash in it": ("path", f'url = "https://me:{SECRET}/x@lists.example/a"', "name that one with `auth_env`."),
    "a question mark in it": (
        "path",
        f'url = "https://me:{SECRET}?x@lists.example/"',
        "name that one with `auth_env`.",
    ),
    "no scheme": ("path", 'url = "lists.example/a"', 'url: it lacks its beginning; write "https://…".'),
    "another scheme": (
        "path",
        'url = "ftp://lists.example/a"',
        "url: ftp is not read here; write an address that begins",
    ),
    "a file as a URL": ("path", 'url = "file:///srv/a.csv"', "url: that is no web address; for a file write `path`"),
    "a share": ("path", r"url = '\\server\share\a.csv'", "url: that is no web address; for a file write `path`"),
    "a blank in a URL": (
        "path",
        'url = "https://lists.example/a b"',
        "url: there is a blank in it; write %20 for each.",
    ),
    "a folder elsewhere": (
        "path",
        'path = "/srv/blocked.csv"',
        "/srv/blocked.csv leads out of the definition's folder;",
    ),
    "a folder above": ("path", 'path = "../blocked.csv"', "../blocked.csv leads out of the definition's folder;"),
    "a drive": ("path", r"path = 'C:\lists\blocked.csv'", r"path: C:\lists\blocked.csv leads out of the definition's"),
    "backslashes": ("path", r"path = 'lists\blocked.csv'", "path: write forward slashes: 'lists/blocked.csv'."),
    "a backslash that means something": (
        "path",
        r'path = "lists\new.csv"',
        "path: a backslash in double quotation marks",
    ),
    # no TOML
    "backslashes in double quotes": (
        "path",
        r'path = "C:\lists\x.csv"',
        "line 3: a backslash stands in single quotation",
    ),
    "a colon": ("name", "name: county-list", 'line 1: write an equals sign, not a colon: name = "…".'),
    "no quotes": ("name", "name = county-list", 'line 1: text stands in quotation marks; write name = "…".'),
    "no quotes around a secret": (
        "path",
        f"url = https://me:{SECRET}@lists.example/",
        "line 3: text stands in quotation",
    ),
    "an open quote": (
        "name",
        'name = "county-list',
        'line 1: the closing quotation mark is missing; write name = "…".',
    ),
    "typographic quotes": ("name", "name = “county-list”", "line 1: these quotation marks are typographic; write"),
    "True": ("redistribute", "redistribute = True", "line 9: write redistribute = true or redistribute = false, in"),
    "yes": ("redistribute", "redistribute = yes", "line 9: write redistribute = true or redistribute = false, in"),
    "nothing": (
        "tlp",
        "tlp =",
        "line 6: nothing stands behind the equals sign of tlp; write a value, or take the line out.",
    ),
    "twice": ("tlp", 'name = "b"', "line 6: name stands twice; keep one of them."),
    "a comma at the end": (
        "name",
        'name = "county-list",',
        "line 1: something stands behind the closing quotation mark",
    ),
    "another comment": ("name", "// our list", "line 1: a comment begins with #."),
    "an open bracket": ("[columns]", "[columns", "line 11: a table's line has both brackets and nothing more, such as"),
    "an open list": ("every", 'header = ["address" "seen"]', "line 5: a list or table is not closed, or a comma"),
    "a key with a blank": ("value", 'first seen = "seen"', "line 12: a key has no blanks and no other signs; write"),
    "words": ("name", "our list", 'line 1: each line says one thing, such as name = "county-list".'),
}


def changed(line: str, instead: str | None) -> str:
    """RIGHT with the line that begins so replaced."""
    if instead == "":
        instead, rest = None, 'name = "county-list"\n'
    else:
        rest = ""
    lines = [each for each in RIGHT.splitlines() if not each.startswith(line) or instead is not None]
    return "\n".join(str(instead) if each.startswith(line) else each for each in lines) + "\n" + rest


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_what_to_write_instead(mistake: str, tmp_path: Path) -> None:
    line, instead, words = MISTAKES[mistake]
    file = tmp_path / "county-list.toml"
    file.write_text(changed(line, instead), encoding="utf-8")
    with pytest.raises(Invalid) as refusal:
        load(file)

    said = refusal.value.detail.removeprefix(f"{file}: ")
    assert words in said
    assert said.endswith(".")
    assert "\n" not in said
    assert not re.search(r"\^\[|\\S|\(\?|string_|Input should", said), "the program's own language"
    shown = "".join(traceback.format_exception(refusal.value))
    assert SECRET not in shown


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(" = ", "\t=\t"),
        lambda text: "\n\n" + text + "\n\n",
        lambda text: text.replace('"blocked.csv"', "'blocked.csv'"),
    ],
    ids=["byte order mark", "CRLF", "tabs", "blank lines", "single quotes"],
)
def test_what_editors_do_to_a_definition_is_no_mistake(change: object, tmp_path: Path) -> None:
    file = tmp_path / "county-list.toml"
    file.write_bytes(change(RIGHT).encode())  # type: ignore[operator]

    assert load(file).columns == {"value": "address", "first_seen": "seen"}


@pytest.mark.parametrize(
    "url", ["https://lists.example:8443/a@b", "https://[2001:db8::1]:8443/a@b", "https://lists.example/?to=a:b@c"]
)
def test_a_sign_of_passwords_further_on_is_none(url: str, tmp_path: Path) -> None:
    file = tmp_path / "county-list.toml"
    file.write_text(RIGHT.replace('path = "blocked.csv"', f'url = "{url}"'))

    assert load(file).url == url


def test_a_definition_in_another_encoding_says_how_to_save_it(tmp_path: Path) -> None:
    file = tmp_path / "county-list.toml"
    file.write_bytes(RIGHT.encode("utf-16"))

    with pytest.raises(Invalid, match="is not UTF-8; save it as «UTF-8» in your editor"):
        load(file)


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "county-list.toml"
    file.write_text(RIGHT.replace('"1h"', '"5"').replace('"us-oh"', '"OH"').replace('"green"', '"gren"'))
    with pytest.raises(Invalid) as refusal:
        load(file)

    assert [key for key in ("every: ", "audience: ", "tlp: ") if key in refusal.value.detail] == [
        "every: ",
        "audience: ",
        "tlp: ",
    ]


def test_every_key_has_words_for_what_may_stand_there(tmp_path: Path) -> None:
    """A key that is added is told as the others are."""
    for key in feeds.Feed.model_fields:
        file = tmp_path / "x.toml"
        file.write_text(f"{key} = 2026-11-03\n")
        with pytest.raises(Invalid, match=rf"{key}: .*(?:write|such as)"):
            load(file)


# ---------------------------------------------------------------------------------------------------- isac feeds check


def checked(*files: Path, reading: Path | None = None) -> tuple[int, str]:
    """The exit code of `isac feeds check`, and all that it says."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(typer.Exit) as end:
        commands.check(list(files), reading)
    return end.value.exit_code, said.getvalue()


@pytest.fixture
def county(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The definition of RIGHT, where no database is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISAC_DATABASE_URL", raising=False)
    file = tmp_path / "county-list.toml"
    file.write_text(RIGHT)
    return file


#: what a list looks like → what is said of it
LISTS = {
    "a right one": ("address,seen\na.example,2026-11-03\n", 0, "1 entries, and 0 that cannot be read"),
    "a column that is not there": ("host,seen\na.example,x\n", 1, "has no column address (its header is host, seen)"),
    "a column of another name": ("adress,seen\na.example,x\n", 1, "perhaps «adress» is meant: correct `columns`"),
    "another delimiter": ("address:seen\na.example:x\n", 1, "it holds no comma, semicolon, tab or bar, which part"),
    "dates as spreadsheets write them": (
        "address,seen\na.example,3/4/2026\nb.example,12/31/2025\n",
        0,
        "line 2, column seen: '3/4/2026' is no date that is read here, and is left out",
    ),
    "what to write for such dates": ("address,seen\na.example,3/4/2026\n", 0, 'Write dates = "us" in the definition'),
    "other dates": ("address,seen\na.example,31.12.2025\n", 0, "Dates are read as 2026-11-03 or 2026-11-03T14:00:00Z;"),
    "many dates": ("address,seen\n" + "a.example,soon\n" * 9, 0, "and 4 more dates like these"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_shows_what_its_definition_makes_of_it(name: str, county: Path) -> None:
    text, code, words = LISTS[name]
    (county.parent / "blocked.csv").write_text(text)

    ended, said = checked(county, reading=county.parent / "blocked.csv")
    assert (ended, words in said) == (code, True), said


def test_a_date_that_is_read_is_not_told(county: Path) -> None:
    (county.parent / "blocked.csv").write_text("address,seen\na.example,2026-11-03 10:00\nb.example,\nc.example,-\n")

    assert "is no date" not in checked(county, reading=county.parent / "blocked.csv")[1]


def test_two_files_with_one_name_name_each_other(county: Path) -> None:
    other = county.with_name("other.toml")
    other.write_text(RIGHT)

    code, said = checked(county, other)
    assert (code, f"{other}: name: {county} defines a feed county-list too" in said) == (1, True)


def test_a_file_that_is_not_there_is_told_with_its_folder(county: Path) -> None:
    assert f"There is no blocked.csv beside it, in {county.parent}" in checked(county)[1]


def test_without_a_database_it_is_said_that_the_audience_was_not_looked_for(county: Path) -> None:
    code, said = checked(county)
    assert (code, "Whether the audiences exist was not checked: no database is at hand." in said) == (0, True)


def test_a_database_that_is_away_fails_no_definition(county: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISAC_DATABASE_URL", "postgresql://isac@127.0.0.1:1/isac")
    code, said = checked(county)
    assert (code, "was not checked: The database does not answer" in said) == (0, True)


@pytest.mark.parametrize(("audience", "code"), [("us-oh", 0), ("us-oh-39901", 0), ("us-oh-39049", 1), ("us-zz", 1)])
def test_an_audience_that_is_not_in_the_database_is_told(
    county: Path, database_url: str, audience: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISAC_DATABASE_URL", database_url)
    county.write_text(RIGHT.replace('"us-oh"', f'"{audience}"'))

    ended, said = checked(county)
    assert ended == code
    assert (f"{county}: audience: there is no {audience} in the database; correct the code" in said) is bool(code)
    assert "not checked" not in said


def test_a_tlp_is_read_as_people_write_it(county: Path) -> None:
    county.write_text(RIGHT.replace('"green"', '"TLP:AMBER"'))
    assert load(county).tlp is TLP.AMBER
