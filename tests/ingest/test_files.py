"""Files that an operator hands over: what is refused before it is unpacked."""

import io
import tarfile
from pathlib import Path

import pytest

from isac.errors import Invalid
from isac.ingest import files


def test_an_archive_of_files_with_holes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """One byte of the archive may stand for gigabytes in GNU tar's sparse files."""
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(files.MAX_BYTES // 2 + 1)}
    with tarfile.open(tmp_path / "holes.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in "ab":
            member = tarfile.TarInfo(name)
            member.pax_headers = sparse | {"GNU.sparse.name": name}
            content = b"0\n".ljust(tarfile.BLOCKSIZE, b"\0")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(Invalid, match="holds more than 4,096 MiB; cut it"):
        next(files.payloads(tmp_path / "holes.tar"))


def test_an_archive_of_very_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MAX_FILES", 3)
    with tarfile.open(tmp_path / "many.tar", "w") as archive:
        for number in range(4):
            archive.addfile(tarfile.TarInfo(f"{number}.txt"))
    with pytest.raises(Invalid, match="holds more than 3 files"):
        next(files.payloads(tmp_path / "many.tar"))
