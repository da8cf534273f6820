"""What every command needs: where it prints, the files that it is given, and its database."""

import contextlib
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from isac.config import Settings, settings
from isac.errors import Invalid
from isac.ingest.foundation import found
from isac.ingest.report import Report
from isac.package_data import package_data
from isac.policy import jurisdictions as rosters
from isac.store import database, embedded
from isac.store.database import Pool

T = TypeVar("T")

#: who did it, in the audit
OPERATOR = "operator"

# A pipe has no width that a table could be cut to. Names are printed as they are: `[/b]` and `:bomb:` are rich's own.
out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 1000)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Invalid(f"{file}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{file}: is not UTF-8; save it as «CSV UTF-8».") from error


@contextlib.contextmanager
def bar(name: str) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A progress bar on a terminal, silence elsewhere: (expected, progress)."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield (
            lambda total: progress.update(task, total=total),
            lambda count: progress.advance(task, count),
        )


def tell(report: Report) -> None:
    """What became of all that was read."""
    for line in report.lines():
        out.print(line)


def with_database(work: Callable[[Pool], Coroutine[Any, Any, T]], role: str = database.APP) -> T:
    """Run a command's work on its database, which is started and prepared where it is an embedded one."""
    with database_url(settings()) as url:
        return uvloop.run(_in_pool(url, work, role))


async def _in_pool(url: str, work: Callable[[Pool], Coroutine[Any, Any, T]], role: str = database.APP) -> T:
    async with database.pool(url, size=3, role=role) as pool:
        return await work(pool)


@contextlib.contextmanager
def database_url(wanted: Settings) -> Iterator[str]:
    """The database's URL. The embedded one is prepared, and stopped when nobody else uses it."""
    if wanted.database_url:
        yield wanted.database_url
        return
    home = wanted.home / "postgres"
    with embedded.lent(home) as running:
        url = database.create(running.conninfo, "isac")
        prepare(url)
        yield url


def prepare(url: str) -> None:
    from isac.store import migrations

    migrations.migrate(url)
    roster = rosters.read((package_data("feeds") / "jurisdictions.csv").read_text(encoding="utf-8"))
    uvloop.run(_in_pool(url, lambda pool: found(pool, roster.jurisdictions)))
