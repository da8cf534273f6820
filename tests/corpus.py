"""Where the corpus of real data lies, if it is at hand: in `ISAC_CORPUS`, else in `shared/corpus` beside the checkout.

Its bytes are read in place and never copied into this repository; its addresses are never contacted.
"""

import gzip
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_PLACE = Path(os.environ.get("ISAC_CORPUS") or Path(__file__).parents[2] / "shared" / "corpus")
CORPUS: Path | None = _PLACE if _PLACE.is_dir() else None

needs_corpus = pytest.mark.skipif(
    CORPUS is None, reason=f"the corpus is not at {_PLACE}; ISAC_CORPUS names another place"
)


def documents(pattern: str) -> Iterator[tuple[str, bytes]]:
    """The unpacked files of the corpus that match a glob such as `stix21/*`: (`archive/member`, content)."""
    if CORPUS is None:
        return
    for path in sorted(CORPUS.glob(pattern)):
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                for member in archive:
                    content = archive.extractfile(member)
                    if content:
                        yield f"{path.name}/{member.name}", content.read()
        elif path.suffix == ".gz":
            yield path.name, gzip.decompress(path.read_bytes())
        else:
            yield path.name, path.read_bytes()
