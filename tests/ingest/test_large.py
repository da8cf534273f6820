"""Files that are larger than the memory that they may take, and what is in archives."""

import functools
import gzip
import json
import os
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ingest.conftest import Desk
from tests.test_jobs import rows

from isac.errors import Invalid, Surroundings
from isac.ingest import disk, files
from isac.ingest.disk import Spool
from isac.store.submissions import LINES

#: the commands in a process that says in the end how much memory it and the one beside it had at most, in kB
_MEASURED = """
import re, resource
from isac.cli import app
try:
    app()
finally:
    own = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
    print("memory", own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
#: half as much again as the programs take with these files; with one of them as a whole in memory they take more
_MOST = 170_000


def notes() -> Iterator[str]:
    """A bundle of 60 MB in few objects."""
    yield '{"type":"bundle","objects":['
    for number in range(120):
        note = {
            "type": "note",
            "spec_version": "2.1",
            "id": f"note--{uuid.UUID(int=number, version=4)}",
            "created": "2026-01-02T03:04:05.000Z",
            "modified": "2026-01-02T03:04:05.000Z",
            "content": f"{number:07} " * 62_500,
            "object_refs": [f"indicator--{uuid.UUID(int=1, version=4)}"],
        }
        yield ("," if number else "") + json.dumps(note)
    yield "]}"


def values() -> Iterator[str]:
    """A list of 17 MB with few values."""
    for number in range(4_500):
        yield f"https://host-{number}.example/{number:06}{'/a-long-path' * 310}\n"


@pytest.mark.parametrize(("text", "count", "packed"), [(notes, 120, True), (values, 4_500, False)])
def test_a_large_file_takes_little_memory(
    text: object, count: int, packed: bool, tmp_path: Path, database_url: str
) -> None:
    file = tmp_path / "large"
    with gzip.open(file, "wt", compresslevel=1) if packed else file.open("w") as out:
        out.writelines(text())  # type: ignore[operator]
    command = [sys.executable, "-c", _MEASURED, "ingest", str(file), "--to", "us", "--source", "large", "--sample"]
    done = subprocess.run(
        command, env={"ISAC_DATABASE_URL": database_url}, capture_output=True, text=True, timeout=300, check=False
    )
    assert f"accepted {count}, held 0, refused 0, repeated 0" in done.stdout, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) < _MOST


def test_a_look_at_a_long_list_keeps_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text(
        'name = "a-list"\npath = "list.csv"\nformat = "csv"\nlicense = "CC0"\nredistribute = true\n'
        '[columns]\nvalue = "value"\nfirst_seen = "seen"\n'
    )
    taken = []
    for count in (100, 40_000):
        with (tmp_path / "list.csv").open("w") as out:
            out.write("value,seen\n")
            out.writelines(f"host-{number}.example,yesterday\n" for number in range(count))
        command = [sys.executable, "-c", _MEASURED, "feeds", "check", "list.toml", "--reading", "list.csv"]
        done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=300, check=False)
        assert f"{count:,} entries, and 0 that cannot be read" in done.stdout, done.stdout + done.stderr
        assert f"and {count - 5:,} more dates like these" in done.stdout
        taken.append(int(done.stdout.split()[-1]))
    few, many = taken
    assert many - few < 10_000


def names(path: Path) -> list[tuple[str, bytes]]:
    return [(payload.name.removeprefix(str(path)), payload.data[:]) for payload in files.payloads(path)]


def test_the_files_of_a_zip_archive_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "a.example\n")
        archive.writestr("folder/", "")
        archive.writestr("folder/b.txt", "b.example\n")
        for nth in range(2):
            tool = {"type": "tool", "id": f"tool--{uuid.UUID(int=nth, version=4)}", "spec_version": "2.1", "name": "x"}
            archive.writestr(f"{nth}.json", json.dumps({"type": "bundle", "objects": [tool]}))
    assert names(path) == [(":a.txt", b"a.example\n"), (":folder/b.txt", b"b.example\n"), ("", b"")]
    *_, together = files.payloads(path)
    assert [json.loads(piece)["id"][-1] for piece in together.pieces or ()] == ["0", "1"]
    assert together.part


def test_a_zip_archive_that_cannot_be_read_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"a.example\n" * 10_000)
    whole = path.read_bytes()
    # The archive says that a member is locked, and with the last bytes its index is gone.
    locked = whole.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")
    for content, words in ((locked, "is locked with a password"), (whole[:-30], "is damaged")):
        path.write_bytes(content)
        with pytest.raises(Invalid, match=words):
            names(path)
    with pytest.raises(Invalid, match="holds more than 0 MiB"):
        [*files.documents("archive.zip", whole, most=99_999)]
    monkeypatch.setattr(files, "MAX_BYTES", 99_999)
    path.write_bytes(whole)
    with pytest.raises(Invalid, match="holds more than 0 MiB; cut it into several files"):
        names(path)


def test_a_zip_archive_whose_members_are_larger_than_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"a.example\n" * 10_000)
    size = (100_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(Invalid, match=r"is damaged|holds more than"):
        names(path)


def test_an_office_document_is_no_archive_of_lists(tmp_path: Path) -> None:
    path = tmp_path / "report.docx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    with pytest.raises(Invalid, match="is an office document; save it as plain text"):
        names(path)


def test_a_packed_file_may_unpack_to_so_much_and_no_more() -> None:
    packed = gzip.compress(bytes(3_000_000))
    assert len(files.unpacked(packed, 3_000_000)) == 3_000_000
    with pytest.raises(Invalid, match="holds more than 2 MiB"):
        files.unpacked(packed, 2_999_999)
    with pytest.raises(Invalid, match="is damaged"):
        files.unpacked(packed[:-9], 3_000_000)


def test_a_full_disk_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full stands for a disk without room."""
    monkeypatch.setattr(tempfile, "TemporaryFile", functools.partial(open, "/dev/full", "r+b", buffering=0))
    with pytest.raises(Surroundings, match=r"takes no more \(No space left on device\): make room, or name another"):
        disk.written(iter((b"x", b"y")))


@pytest.mark.parametrize("written", [b"", bytes(2_000_000), b"x" * 2_000_001], ids=["shorter", "the same", "longer"])
def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(bytes(2_000_000))
    text = disk.opened(tmp_path / "list.txt")
    assert len(text[:]) == 2_000_000
    before = os.stat(tmp_path / "list.txt").st_mtime_ns
    while os.stat(tmp_path / "list.txt").st_mtime_ns == before:  # the clock of files goes in steps
        (tmp_path / "list.txt").write_bytes(written)
    with pytest.raises(Invalid, match="was changed while it was read"):
        text[:]


def test_a_file_that_is_written_anew_while_it_is_taken_in_is_not_archived(desk: Desk, tmp_path: Path) -> None:
    """What would be kept is not what was taken in."""
    first, second = (bundle(16_000, word) for word in ("first", "other"))
    (tmp_path / "bundle.json").write_text(first)
    (payload,) = files.payloads(tmp_path / "bundle.json")
    us, steward = desk.shelf("us"), desk.actor("isac_steward")

    def write(_: int) -> None:
        (tmp_path / "bundle.json").write_text(second)

    with pytest.raises(Invalid, match="was changed while it was read"):
        desk.run(files.ingest(desk.pool, payload, us, steward, "x", progress=write))
    assert rows(desk.url, f"SELECT count(*) FROM payloads WHERE size = {len(first)}") == [(0,)]


def bundle(number: int, word: str) -> str:
    """More than is judged before the first of it is written."""
    when = "2026-01-02T03:04:05.000Z"
    head = {"type": "note", "spec_version": "2.1", "created": when, "modified": when, "content": word * 10}
    ids = (f"note--{uuid.uuid4()}" for _ in range(number))
    objects = [{**head, "id": each, "object_refs": [each]} for each in ids]
    return json.dumps({"type": "bundle", "id": f"bundle--{uuid.uuid4()}", "objects": objects})


def test_what_is_written_piece_by_piece_is_read_like_a_list() -> None:
    written = [b"%d" % n * (n % 3000) for n in range(12_000)]
    spool = Spool(written[:7000])
    spool.extend(written[7000:])
    assert [*spool.pieces] == written
    assert [spool.pieces[place] for place in (11_999, 0, 7001, -1)] == [written[p] for p in (11_999, 0, 7001, -1)]
    assert spool.pieces[3:6] == written[3:6]
    with pytest.raises(IndexError):
        spool.pieces[12_000]


def test_of_very_many_lines_that_cannot_be_read_the_first_are_told_and_all_are_counted(desk: Desk) -> None:
    lines = b"".join(b"good-%d.example\nnone %d\n" % (n, n) for n in range(LINES + 200))
    reading = desk.run(
        files.ingest(
            desk.pool, files.Payload("x", lines), desk.shelf("us"), desk.actor("isac_steward"), "x", sample=True
        )
    )
    assert (reading.problems.refused, len(reading.problems)) == (LINES + 200, LINES + 1)
    assert reading.outcome.counts.accepted == LINES + 200
