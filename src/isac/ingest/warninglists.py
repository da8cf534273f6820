"""Warninglists from where they lie: a folder, an archive of one, the packaged data, or a CSV of authorities' sites."""

import importlib.util
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isac import times
from isac.errors import Invalid, NotFound
from isac.formats import warninglists as lists
from isac.formats.warninglists import Warninglist
from isac.package_data import package_data
from isac.policy.warninglists import PORTALS
from isac.store import audit
from isac.store import warninglists as store
from isac.store.database import Pool

#: the largest list of misp-warninglists has 30 MB
_MAX_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Loaded:
    """What became of a load."""

    #: names of lists that were read, and of those that are as they were
    read: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    #: what is wrong, a sentence for each list that stays as it was
    broken: list[str] = field(default_factory=list)
    #: how many entries came, went or changed
    changed: int = 0


def ours() -> Path:
    """The few lists that come with the program, for what must not be blocked even where there are no others."""
    return package_data("feeds") / "warninglists"


def packaged() -> Path:
    """The data of the package pymispwarninglists. Raises NotFound where it is not installed."""
    found = importlib.util.find_spec("pymispwarninglists")
    if found is None or found.origin is None:
        raise NotFound(
            "Name a folder or an archive of misp-warninglists; or install the lists: pip install 'isac[warninglists]'"
        )
    return Path(found.origin).parent / "data" / "misp-warninglists"


async def load(
    pool: Pool,
    path: Path,
    actor: str,
    expected: Callable[[int], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Loaded:
    """Load the lists that lie there, all in one transaction; those whose file is the same are passed over.

    `expected` and `progress` hear of bytes. One that is broken, or empty all at once, stays as it was. Raises Invalid
    where there are no lists at all.
    """
    found = Loaded()
    async with pool.connection() as conn, conn.transaction():
        known = {each.name: each for each in await store.known(conn)}

        def changed() -> Iterator[Warninglist]:
            for name, raw in _files(path, expected):
                if name in known and known[name].digest == lists.digest(raw):
                    found.unchanged.append(name)
                else:
                    try:
                        read = lists.portals(name, raw) if path.suffix == ".csv" else lists.read(name, raw)
                        if not read.entries and name in known and known[name].entries:
                            raise Invalid(f"{name}: it is suddenly empty; what it held before is kept.")
                    except Invalid as error:
                        found.broken.append(error.detail)
                    else:
                        found.read.append(name)
                        yield read
                progress(len(raw))

        found.changed = await store.load(conn, changed(), times.now())
        if found.changed:
            await audit.record(
                conn, actor, "warninglists", ", ".join(found.read)[:1000], f"{found.changed} entries", times.now()
            )
    if not (found.read or found.unchanged or found.broken):
        raise Invalid(f"{path}: there are no warninglists; they lie in NAME/list.json or lists/NAME/list.json.")
    return found


def _files(path: Path, expected: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
    """Each list's name and file."""
    try:
        if path.is_dir():
            files = sorted({*path.glob("*/list.json"), *path.glob("lists/*/list.json")})
            expected(sum(file.stat().st_size for file in files))
            for file in files:
                yield file.parent.name, file.read_bytes()
        elif path.suffix == ".csv":
            yield PORTALS, path.read_bytes()
        else:
            with tarfile.open(path) as archive:
                members = [member for member in archive if member.isfile() and member.name.endswith("/list.json")]
                if sum(member.size for member in members) > _MAX_BYTES:
                    raise Invalid(f"{path}: unpacked it is larger than {_MAX_BYTES:,} bytes.")
                expected(sum(member.size for member in members))
                for member in members:
                    content = archive.extractfile(member)
                    yield Path(member.name).parent.name, content.read() if content else b""
    except (OSError, tarfile.TarError, zlib.error, EOFError) as error:
        raise Invalid(f"{path}: cannot be read: {error}") from error
