"""The commands as an operator types them: what they print, what they change, and their exit codes."""

import csv
import gzip
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import typer
from tests.authorities import Authority
from tests.conftest import Person

from isac import cli
from isac.stix import markings
from isac.stix.markings import TLP
from isac.store import database

pytestmark = pytest.mark.slow

ISAC = Path(sys.executable).with_name("isac")
TOOL = {
    "type": "tool",
    "spec_version": "2.1",
    "id": "tool--00000000-0000-4000-8000-000000000001",
    "created": "2026-01-01T00:00:00.000Z",
    "modified": "2026-01-01T00:00:00.000Z",
    "name": "Lantern",
}
HEADER = "code,name,kind,parent,fips,registered_voters\n"
MEMBERS = "jurisdiction,name,kind,contact_email\n"


class Terminal:
    """Types commands into a shell whose environment names the database, in a folder of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self._url = folder, url

    def __call__(
        self, *words: str, url: str | None = None, settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ISAC_", "PG"))}
        given = {"ISAC_DATABASE_URL": self._url if url is None else url, "COLUMNS": "300"}
        env = {**kept, **given, **(settings or {})}
        done = subprocess.run(
            [ISAC, *words], cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def file(self, name: str, content: str | bytes) -> str:
        (self.folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def count(self, table: str) -> int:
        with psycopg.connect(self._url) as conn:
            ((found,),) = conn.execute(f"SELECT count(*) FROM elections.{table}").fetchall()
        return int(found)


@pytest.fixture
def isac(tmp_path: Path, database_url: str) -> Terminal:
    return Terminal(tmp_path, database_url)


@pytest.fixture
def nowhere(tmp_path: Path) -> Terminal:
    """The address of a database that is away: nobody listens there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Terminal(tmp_path, f"postgresql://isac@127.0.0.1:{port}/isac")


def is_one_sentence(text: str) -> bool:
    return text.startswith("error: ") and len(text.strip().splitlines()) == 1


# ----------------------------------------------------------------------------------------------------------------- help


def _commands(command: Any, *path: str) -> Iterator[tuple[str, str]]:
    """The words of each command and its help. `Any`: Typer's commands are of a Click of its own."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command.help or ""
    else:
        for name, each in inner.items():
            yield from _commands(each, *path, name)


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_of_it(name: str) -> None:
    words = COMMANDS[name]

    assert "Example: " in words
    assert f"isac {name}" in words.split("Example: ")[1]


def test_help_is_shown(isac: Terminal) -> None:
    shown = isac("keys", "create", "--help")

    assert shown.returncode == 0
    assert 'Example: isac keys create "Example County Clerk" --role submitter' in shown.stdout


def test_a_wrong_word_is_usage(isac: Terminal) -> None:
    assert isac("nonsense").returncode == 2


# -------------------------------------------------------------------------------------------- migrate, jurisdictions


def test_migrate_lays_the_foundation_once(postgres: str, tmp_path: Path) -> None:
    fresh = database.create(postgres, f"fresh_{os.getpid()}")
    isac = Terminal(tmp_path, fresh)

    assert isac("migrate").returncode == 0
    before = {table: isac.count(table) for table in ("jurisdictions", "organizations", "objects", "audit")}
    assert isac("migrate").returncode == 0
    assert {table: isac.count(table) for table in before} == before
    assert before["jurisdictions"] == 1151


def test_jurisdictions_are_imported_once(isac: Terminal) -> None:
    file = isac.file("towns.csv", f"{HEADER}us-oh-39903,Ash County,county,us-oh,39903,7\n")
    before = isac.count("jurisdictions")
    dry = isac("jurisdictions", "import", file, "--dry-run")

    assert (dry.returncode, dry.stdout) == (0, "1 would be added, 0 would be changed, 7 left as they are.\n")
    assert isac.count("jurisdictions") == before
    first, second = isac("jurisdictions", "import", file), isac("jurisdictions", "import", file)
    assert (first.returncode, first.stdout) == (0, "1 added, 0 changed, 7 left as they are.\n")
    assert (second.returncode, second.stdout) == (0, "0 added, 0 changed, 8 left as they are.\n")
    assert isac.count("jurisdictions") == before + 1


def test_one_bad_line_stops_the_whole_import(isac: Terminal) -> None:
    bad = "us-zz,Nowhere,state,us,99,\nus-oh-39904,Fir County,castle,us-oh,39904,7\n"
    file = isac.file("towns.csv", f"{HEADER}us-oh-39903,Ash County,county,us-oh,39903,7\n{bad}")
    before = isac.count("jurisdictions")
    done = isac("jurisdictions", "import", file)

    assert done.returncode == 2
    assert {line.split(":")[1] for line in done.stderr.splitlines() if line.startswith("towns.csv:")} >= {"3", "4"}
    assert "nothing was imported" in done.stderr
    assert isac.count("jurisdictions") == before


def test_an_unreadable_file_is_one_sentence(isac: Terminal) -> None:
    missing = isac("jurisdictions", "import", "absent.csv")
    latin = isac("members", "import", isac.file("latin.csv", MEMBERS.encode() + b"us-oh,Caf\xe9,member,a@b.example\n"))

    for done in (missing, latin):
        assert done.returncode == 2
        assert is_one_sentence(done.stderr), done.stderr


# ------------------------------------------------------------------------------------------------------- members, keys


def test_members_get_keys_whose_secrets_are_shown_once(isac: Terminal) -> None:
    file = isac.file(
        "members.csv", f"{MEMBERS}us-oh-39901,Ash Clerk,member,a@b.example\n,Fir Vendor,vendor,c@d.example\n"
    )
    dry = isac("members", "import", file, "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "2 would be added, each with a key; 0 are there already.\n")

    first = isac("members", "import", file)
    keys = list(csv.DictReader(io.StringIO(first.stdout)))
    assert (first.returncode, len(keys)) == (0, 2)
    assert {key["organization"]: key["jurisdiction"] for key in keys} == {"Ash Clerk": "us-oh-39901", "Fir Vendor": ""}
    assert all(key["secret"].startswith(f"isac_{key['key_id']}_") for key in keys)
    before = isac.count("organizations"), isac.count("keys")

    second = isac("members", "import", file)
    assert second.returncode == 0
    assert list(csv.DictReader(io.StringIO(second.stdout))) == []
    assert (isac.count("organizations"), isac.count("keys")) == before


def test_a_key_is_made_listed_and_revoked(isac: Terminal) -> None:
    made = isac("keys", "create", "elm county clerk", "--role", "submitter")
    (row,) = csv.DictReader(io.StringIO(made.stdout))
    listed = isac("keys", "list")

    assert row["organization"] == "Elm County Clerk"
    assert row["secret"] not in listed.stdout
    (line,) = [line for line in listed.stdout.splitlines() if row["key_id"] in line]
    assert "submitter" in line
    assert "us-oh-39901" in line
    assert isac("keys", "revoke", row["key_id"]).returncode == 0
    again = isac("keys", "revoke", row["key_id"])
    assert again.returncode == 2
    assert is_one_sentence(again.stderr)


def test_names_are_listed_as_they_are_written(isac: Terminal) -> None:
    name = "Ash [/b] Clerk :bomb: [red]"
    isac("members", "import", isac.file("members.csv", f"{MEMBERS}us-oh-39901,{name},member,a@b.example\n"))

    for listed in (isac("members", "list"), isac("keys", "list")):
        assert listed.returncode == 0
        assert name in listed.stdout


def test_a_key_for_an_unknown_organization_is_not_made(isac: Terminal) -> None:
    before = isac.count("keys")
    done = isac("keys", "create", "Nobody")

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert isac.count("keys") == before


# ------------------------------------------------------------------------------------------------------ intake, triage


def test_a_stix_file_is_taken_in(isac: Terminal) -> None:
    file = isac.file("bundle.json", orjson.dumps({"type": "bundle", "id": TOOL["id"], "objects": [TOOL]}))
    first = isac("ingest", file, "--to", "us-oh", "--source", "a vendor")
    second = isac("ingest", file, "--to", "us-oh", "--source", "a vendor")

    assert (first.returncode, first.stdout.splitlines()[0]) == (0, "accepted 1, held 0, refused 0, repeated 0")
    assert (second.returncode, second.stdout.splitlines()[0]) == (0, "accepted 0, held 0, refused 0, repeated 1")
    assert first.stdout.splitlines()[1] == "  for us-oh, Ohio"


def test_what_is_held_or_refused_is_reported_and_listed(isac: Terminal, people: dict[str, Person]) -> None:
    red = TOOL | {"object_marking_refs": markings.refs(TLP.RED)}
    wrong = TOOL | {"id": "tool--00000000-0000-4000-8000-000000000002", "name": 7}
    isac.file("objects.json", orjson.dumps([red, wrong]))
    done = isac("ingest", "objects.json", "--to", "us", "--source", "a vendor")
    listed = isac("triage", "list")

    assert done.returncode == 1
    assert done.stdout.startswith("accepted 0, held 1, refused 1, repeated 0\n")
    assert "1 held: TLP:RED may not go to this collection" in done.stdout
    assert f"such as {wrong['id']}" in done.stdout
    assert str(TOOL["id"]) in listed.stdout
    assert "for us, from a vendor; rule tlp: TLP:RED may not go" in listed.stdout
    assert "1 held: 1 tlp.\n" in listed.stdout


def test_a_list_and_files_that_cannot_be_read(isac: Terminal) -> None:
    isac.file("list.txt.gz", gzip.compress(b"# hosts\nresults.example\nno value here\n"))
    isac.file("damaged.gz", gzip.compress(b"x" * 1000)[:-9])
    done = isac("ingest", "list.txt.gz", "damaged.gz", "absent", "--to", "us", "--source", "a list", "--sample")

    assert done.returncode == 1
    assert done.stdout.startswith("accepted 1, held 0, refused 1, repeated 0\n")
    assert "list.txt.gz, line 3: no value here" in done.stdout
    assert "not read: damaged.gz: is damaged" in done.stdout
    assert "not read: absent: cannot be read" in done.stdout


def test_what_an_event_means_as_context_is_no_failure(isac: Terminal) -> None:
    attributes = [{"type": "domain", "value": "a.example", "to_ids": to_ids} for to_ids in (True, False)]
    isac.file("event.json", orjson.dumps({"Event": {"info": "Lantern", "Attribute": attributes}}))
    done = isac("ingest", "event.json", "--to", "us", "--source", "a sharer", "--sample")

    assert done.returncode == 0
    assert done.stdout.startswith("accepted 1, held 0, refused 0, repeated 0\n")
    assert "  1 left out: the event means it as context: its to_ids is not set\n" in done.stdout


def test_what_stands_in_a_report_is_shown_and_nothing_stored(isac: Terminal) -> None:
    isac.file(
        "report.md", "The loader calls hxxp://bad[.]example/a often.\n\nReferences\n- https://vendor.example/[b]\n"
    )
    isac.file("bundle.json", orjson.dumps({"type": "bundle", "objects": [TOOL]}))
    # No database is needed.
    done = isac("extract", "report.md", url="postgresql://nowhere.invalid/x")
    values = isac("extract", "report.md", "--values")
    unread = isac("extract", "bundle.json", "absent")

    assert done.returncode == values.returncode == 0
    assert done.stdout.splitlines() == [
        "report.md: 1 found, 1 left out; nothing is stored.",
        "found",
        "  url http://bad.example/a  (line 1, written hxxp://bad[.]example/a)",
        "      in: The loader calls hxxp://bad[.]example/a often.",
        "left out",
        "  url https://vendor.example/[b]  (line 4, written https://vendor.example/[b])",
        "      because it stands among references, contacts or in a signature",
        "      in: - https://vendor.example/[b]",
    ]
    assert done.stderr.startswith("Warninglists are not asked: The database does not answer")
    assert values.stdout == "http://bad.example/a\n"
    assert (unread.returncode, unread.stdout) == (1, "")
    assert "not read: bundle.json: is no text for people" in unread.stderr
    assert "not read: absent: cannot be read" in unread.stderr


def test_what_to_look_at_first_and_personal_data_are_told(isac: Terminal) -> None:
    text = "C2 hxxp://bad[.]example/a\n8.8.8[.]8\ngithub[.]io\nHer SSN is 987-65-4323.\n"
    isac.file("mail.txt", text)
    done = isac("extract", "mail.txt")
    values = isac("extract", "mail.txt", "--values")

    assert "      look first: 8.8.8.8 stands on the warninglist «Public resolvers and time servers»." in done.stdout
    assert "      look first: Below github.io strangers have pages of their own." in done.stdout
    assert done.stdout.count("look first") == 2
    assert done.stdout.splitlines()[-1] == "  a Social Security number  (9**-**-**23)"
    assert values.stdout.split() == ["http://bad.example/a", "8.8.8.8", "github.io"]
    assert values.stderr.startswith("mail.txt seems to hold personal data")
    assert "4323" not in done.stdout + values.stderr
    assert (done.returncode, values.returncode) == (0, 0)


def packed(*members: tuple[str, bytes]) -> bytes:
    """A tar archive."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()


def test_what_cannot_be_read_in_an_archive_costs_no_other_report(isac: Terminal) -> None:
    members = {
        "1.json": orjson.dumps({"Event": {"info": "Lantern", "Attribute": []}}),
        "2.txt": b"%PDF-1.4",
        "3.txt": b"C2 hxxp://bad[.]example/x\n",
        "4.json": orjson.dumps([TOOL]),
        "5.txt": b"C2 hxxp://worse[.]example/x\n",
    }
    isac.file("reports.tar.gz", packed(*members.items()))
    done = isac("extract", "reports.tar.gz", "--values")

    assert done.stdout == "http://bad.example/x\nhttp://worse.example/x\n"
    assert done.stderr.splitlines() == [
        "not read: reports.tar.gz:2.txt: This is a PDF file; save it as plain text (UTF-8) and hand that in.",
        "not read: reports.tar.gz: is no text for people; `isac ingest` takes it in.",
        "not read: reports.tar.gz: is no text for people; `isac ingest` takes it in.",
    ]
    assert done.returncode == 1


def test_the_objects_of_an_archive_are_taken_in_together(isac: Terminal) -> None:
    marking: dict[str, Any] = TOOL | {
        "type": "marking-definition",
        "id": "marking-definition--00000000-0000-4000-8000-000000000003",
    }
    del marking["modified"], marking["name"]
    marking |= {"definition_type": "statement", "definition": {"statement": "For members"}}
    marked = TOOL | {"id": "tool--00000000-0000-4000-8000-000000000004", "object_marking_refs": [marking["id"]]}
    members = {
        "a.json": orjson.dumps(marked),
        "b.json": orjson.dumps([marking]),
        "c.txt": b"results.example\n",
        "d.json": b"{",
    }
    isac.file("archive.tar.gz", packed(*members.items()))
    done = isac("ingest", "archive.tar.gz", "--to", "us", "--source", "an archive", "--sample", "--tlp", "clear")

    assert done.stdout.startswith("accepted 3, held 0, refused 0, repeated 0\n")
    assert "not read: archive.tar.gz:d.json: This is not JSON" in done.stdout
    assert done.returncode == 1


def test_a_list_that_is_taken_whole_ends_with_zero(isac: Terminal) -> None:
    isac.file("list.txt", "results.example\n192.0.2.7\n")
    done = isac("ingest", "list.txt", "--to", "us", "--source", "a list", "--sample", "--tlp", "clear")

    said = "accepted 2, held 0, refused 0, repeated 0\n  for us, United States\n  submission "
    assert (done.returncode, done.stdout.startswith(said)) == (0, True)
    assert done.stdout.endswith(": list.txt\n")


def test_a_stricter_marking_says_from_whom_it_takes(isac: Terminal) -> None:
    isac.file("list.txt", "polls.example\n192.0.2.8\n")
    isac("ingest", "list.txt", "--to", "us-oh", "--source", "Src A", "--sample")
    codes = {line.split()[0] for line in isac("members", "list").stdout.splitlines()[1:]}
    code = min(code for code in codes if code.startswith("org-"))
    done = isac("ingest", "list.txt", "--to", code, "--source", "src a", "--sample", "--tlp", "amber+strict")

    assert "  2 taken away from us-oh, where the new marking does not let them be\n" in done.stdout


def test_what_is_no_text_is_not_read_as_a_list(isac: Terminal) -> None:
    isac.file("cut.zip", b"PK\3\4\0\0\0\0")
    isac.file("list.7z", b"7z\xbc\xaf\x27\x1c\0\4")
    isac.file("empty.txt", " \n")
    done = isac("ingest", "cut.zip", "list.7z", "empty.txt", "--to", "us", "--source", "a list")

    assert "not read: cut.zip: is damaged (File is not a zip file); get it again." in done.stdout
    assert "not read: list.7z: is no text. Unpack it first if it is packed" in done.stdout
    assert "not read: empty.txt: is empty." in done.stdout
    assert done.returncode == 1


def test_documentation_addresses_name_the_way_to_try_them(isac: Terminal) -> None:
    isac.file("list.txt", "192.0.2.9\n")
    assert "--sample" in isac("ingest", "list.txt", "--to", "us", "--source", "a list").stdout


def test_the_version(isac: Terminal) -> None:
    assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+\n", isac("--version").stdout)


@pytest.mark.parametrize(
    "words",
    [["--to", "us-zz", "--source", "x"], ["--to", "us"], ["--to", "us", "--feed", "absent"]],
    ids=["unknown audience", "no source", "unknown feed"],
)
def test_what_ingest_is_told_wrongly_is_usage(isac: Terminal, words: list[str]) -> None:
    """Exit code 1 is for what was refused or held, so that a script can tell a wrong command from it."""
    isac.file("list.txt", "results.example\n")
    before = isac.count("submissions")
    done = isac("ingest", "list.txt", *words)

    assert is_one_sentence(done.stderr), done.stderr
    assert isac.count("submissions") == before
    assert done.returncode == 2


# -------------------------------------------------------------------------------------------------------- surroundings


@pytest.mark.parametrize(("name", "value"), [("ISAC_PORT", "eighty"), ("ISAC_WORKERS", "100")])
def test_a_setting_that_cannot_be_is_one_sentence(isac: Terminal, name: str, value: str) -> None:
    done = isac("serve", settings={name: value})

    assert done.returncode == 2
    assert is_one_sentence(done.stderr), done.stderr
    assert name in done.stderr
    assert "docs/settings.md" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["migrate"],
        ["keys", "list"],
        ["serve", "--port", "0"],
    ],
    ids=" ".join,
)
def test_a_database_that_is_away_is_one_sentence(nowhere: Terminal, words: list[str]) -> None:
    done = nowhere(*words)

    assert done.returncode == 3
    assert is_one_sentence(done.stderr), done.stderr


def test_serving_tables_of_another_version_is_refused(isac: Terminal, postgres: str) -> None:
    empty = database.create(postgres, f"empty_{os.getpid()}")
    done = isac("serve", "--port", "0", url=empty)

    assert done.returncode == 3
    assert is_one_sentence(done.stderr)
    assert "isac migrate" in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
def test_a_key_gets_a_certificate_and_another_way_of_saying_nothing(isac: Terminal, people: dict[str, Person]) -> None:
    issued = Authority(isac.folder, "authority").issues("clerk", ends=timedelta(days=2))
    made = isac("keys", "create", "elm county clerk", "--certificate", issued.file, "--empty-objects")
    (row,) = csv.DictReader(io.StringIO(made.stdout))

    def line(key_id: str) -> str:
        (found,) = [line for line in isac("keys", "list").stdout.splitlines() if key_id in line]
        return found

    shown = issued.fingerprint.sha256.hex()
    assert shown in line(row["key_id"])
    assert "empty objects" in line(row["key_id"])

    other = people["oak"].key_id
    taken = isac("keys", "change", other, "--certificate", issued.file)
    assert (taken.returncode, taken.stderr) == (
        2,
        f"error: Key {row['key_id']} has this certificate. Take it away there: isac keys change {row['key_id']} "
        "--no-certificate\n",
    )
    assert isac("keys", "change", row["key_id"], "--no-certificate", "--no-empty-objects").returncode == 0
    assert shown not in line(row["key_id"])
    assert "empty objects" not in line(row["key_id"])
    assert isac("keys", "change", other, "--certificate", issued.file).stdout == f"{other} is changed.\n"
    assert shown in line(other)


def test_a_change_of_a_key_that_cannot_be_made(isac: Terminal, people: dict[str, Person]) -> None:
    nothing = isac("keys", "change", people["oak"].key_id)
    assert (nothing.returncode, nothing.stderr[:25]) == (2, "error: Say what to change")
    assert isac("keys", "change", "nobodysx", "--empty-objects").stderr.startswith("error: There is no key nobodysx")
    file = isac.file("key.pem", "nothing")
    wrong = isac("keys", "create", "elm county clerk", "--certificate", file)
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "error: key.pem holds no certificates in PEM. Leave the client's own in it, and no other.\n",
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"ISAC_TLS_CLIENT_CA": "ca.pem"},
        {"ISAC_CLIENT_CERTIFICATE_HEADER": "Client Cert"},
        {"ISAC_CLIENT_CERTIFICATE_HEADER": "Client-Cert", "ISAC_TRUSTED_PROXIES": "*"},
    ],
)
def test_settings_that_would_let_everybody_or_nobody_in_end_isac_serve(
    isac: Terminal, settings: dict[str, str]
) -> None:
    done = isac("serve", "--port", "0", settings=settings)
    assert (done.returncode, done.stderr.partition(" is ")[0]) == (2, f"error: {list(settings)[-1]}")


def test_one_wrong_definition_is_named_beside_the_others(isac: Terminal, tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text('name = "good"\npath = "x"\nformat = "text"\nlicense = "CC0"\n')
    (tmp_path / "broken.toml").write_text("broken = ")
    for command in ("list", "status"):
        done = isac("feeds", command, settings={"ISAC_FEEDS": str(tmp_path)})
        assert done.returncode == 1
        assert "good" in done.stdout
        assert "broken.toml: this is not TOML" in done.stderr
    empty = isac("feeds", "list", settings={"ISAC_FEEDS": str(tmp_path / "none")})
    assert "There is no feed in" in empty.stdout


# ------------------------------------------------------------------------------------------------------------ erasing


def test_erase_says_what_would_go_asks_and_erases(isac: Terminal) -> None:
    name = isac.file("one.json", orjson.dumps({"type": "bundle", "id": "bundle--x", "objects": [TOOL]}))
    assert isac("ingest", name, "--to", "us", "--source", "A source").returncode == 0
    erasing = ("erase", TOOL["id"], "--reason", "a name")

    plan = isac(*erasing, "--dry-run")
    assert plan.returncode == 0
    assert f"{TOOL['id']}: 1 versions; 1 rows of the log, for us" in plan.stdout
    assert "1 payloads, as a whole" in plan.stdout
    assert f"{TOOL['id']} was given to:\n  nobody" in plan.stdout
    asked = isac(*erasing)  # standard input ends at once
    assert asked.returncode != 0
    assert (isac.count("payload_pieces"), isac.count("erased")) == (1, 0)

    done = isac(*erasing, "--yes")
    assert done.returncode == 0, done.stderr
    assert "Erased: 1 versions, 0 held objects, 1 payloads." in done.stdout
    assert (isac.count("payload_pieces"), isac.count("erased")) == (0, 1)
    again = isac("ingest", name, "--to", "us", "--source", "A source")
    assert again.returncode == 1
    assert "was erased here" in again.stdout
    assert isac("polls", "who-has", TOOL["id"]).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tool--00000000-0000-4000-8000-000000000009"], "Nothing is kept under"),
        (["00000000-0000-4000-8000-000000000009"], "There is no submission"),
        (["tool--9"], "no STIX id"),
        (["00000000-0000-4000-8000-000000000009", "--version", "2026-01-01T00:00:00Z"], "erased as a whole"),
        (["tool--00000000-0000-4000-8000-000000000009", "--version", "yesterday"], "--version: "),
    ],
)
def test_erase_says_what_is_wrong(isac: Terminal, words: list[str], said: str) -> None:
    done = isac("erase", *words, "--reason", "a name", "--yes")
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert isac.count("erased") == 0


def test_erase_needs_the_owners_role(isac: Terminal, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS only_serves")
        conn.execute("CREATE ROLE only_serves LOGIN IN ROLE isac_app")
        try:
            url = psycopg.conninfo.make_conninfo(database_url, user="only_serves")
            done = isac("erase", TOOL["id"], "--reason", "x", "--yes", url=url)
        finally:
            conn.execute("DROP ROLE only_serves")
    assert done.returncode == 3
    assert "isac_owner" in done.stderr
