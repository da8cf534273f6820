"""Commands for the sources that we read: look at their definitions, run them, see how they are."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from isac import times
from isac.cli.terminal import bar, err, out, tell, with_database
from isac.config import secret, settings
from isac.errors import Invalid, NotFound, Surroundings
from isac.formats.found import one_line
from isac.ingest.report import Report
from isac.package_data import package_data
from isac.store import members
from isac.store.database import Pool

if TYPE_CHECKING:
    from isac.formats.found import Found
    from isac.ingest.feeds import Feed
    from isac.ingest.health import Health
    from isac.ingest.sources import Around

T = TypeVar("T")

feeds_app = typer.Typer(no_args_is_help=True, help="The sources that are read by themselves.")

_SHOWN = 5
_TO_IMPORT = "correct the code, or add the jurisdiction with `isac jurisdictions import`."


def folder() -> Path:
    """Where the definitions lie."""
    named = settings().feeds
    return Path(named) if named else package_data("feeds")


def around(definitions: Path) -> "Around":
    """What runs are given. Raises Invalid for a setting that cannot be."""
    from isac.ingest.fetching import Outbound, networks
    from isac.ingest.sources import Around

    wanted = settings()
    authorities = Path(wanted.outbound_ca) if wanted.outbound_ca else None
    outbound = Outbound(networks(wanted.outbound_allow), wanted.outbound_proxy or None, authorities)
    return Around(definitions, outbound, secret)


def feed_named(name: str) -> "Feed":
    """A feed by its name or its file."""
    from isac.ingest import feeds

    if name.endswith(".toml"):
        return feeds.load(Path(name))
    known = {feed.name: feed for feed in feeds.load_good(folder())[0]}
    if name not in known:
        raise NotFound(f"There is no feed {name!r} in {folder()}; there are {', '.join(known) or 'none'}.")
    return known[name]


@feeds_app.command("check")
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="Definitions; all without it.")
    ] = None,
    reading: Annotated[
        Path | None, typer.Option("--reading", help="A file of the source: show what the definition makes of it.")
    ] = None,
) -> None:
    """Look at definitions, explain each mistake, and say what a feed will do. Nothing is fetched or stored.

    Where a database is at hand, each feed's audience is looked for in it.

    Example: isac feeds check feeds/county-list.toml --reading list.csv
    """
    from isac.ingest import feeds

    wrong, checked = False, dict[str, tuple[Path, str]]()
    given = files or sorted(folder().glob("*.toml"))
    if reading is not None and len(given) != 1:
        raise Invalid("--reading goes with one definition.")
    for file in given:
        try:
            feed = feeds.load(file)
        except Invalid as error:
            err.print(error.detail)
            wrong = True
            continue
        if feed.name in checked:
            other = checked[feed.name][0]
            err.print(f"{file}: name: {other} defines a feed {feed.name} too; give one of them another name.")
            wrong = True
        checked[feed.name] = file, feed.audience
        out.print(f"{file}: {feed.name}, {_summary(feed)}")
        if feed.path is not None and not (file.parent / feed.path).exists():
            out.print(f"  There is no {feed.path} beside it, in {file.parent.resolve()}; it is looked for there alone.")
        for line in _remarks(feed):
            out.print(f"  {line}")
        if reading is not None:
            wrong = not _show(feed, reading) or wrong
    for problem in _unknown_audiences(checked.values()):
        err.print(problem)
        wrong = True
    raise typer.Exit(1 if wrong else 0)


def _unknown_audiences(feeds: Collection[tuple[Path, str]]) -> list[str]:
    """A sentence for each definition whose audience is not in the database; says so where that cannot be told."""
    wanted = settings()
    away = "" if wanted.database_url or (wanted.home / "postgres").is_dir() else "no database is at hand"
    unknown: list[str] = []

    async def work(pool: Pool) -> None:
        async with pool.connection() as conn:
            for file, code in feeds:
                try:
                    await members.shelf(conn, code)
                except NotFound:
                    unknown.append(f"{file}: audience: there is no {code} in the database; {_TO_IMPORT}")

    if feeds and not away:
        try:
            with_database(work)
        except Surroundings as error:
            away = error.detail.rstrip(".")
    if feeds and away:
        out.print(f"Whether the audiences exist was not checked: {away}.")
    return unknown


def _summary(feed: "Feed") -> str:
    from isac.ingest.health import spoken

    often = f"every {spoken(feed.every)}" if feed.every else "when somebody runs it"
    return f"{feed.format} from {feed.url or feed.path}, read {often}, for {feed.audience}, TLP:{feed.tlp.name}"


def _remarks(feed: "Feed") -> Iterator[str]:
    if not feed.redistribute:
        yield "Its terms forbid to give it on (redistribute = false): it is kept, and no member gets it."
    if feed.auth_env and not secret(feed.auth_env):
        yield f"The variable {feed.auth_env} is not set here; without the key it cannot be fetched."
    if feed.sample:
        yield "It is a sample: documentation addresses are taken."


def _show(feed: "Feed", file: Path) -> bool:
    """The first values, and what cannot be read; False if it cannot be read at all."""
    from isac.formats.found import Found, Unreadable
    from isac.ingest import disk
    from isac.ingest.files import MAX_BYTES, unpacked

    number = 0
    values, problems, odd = _First[Found](), _First[Unreadable](), _Undated()
    try:
        for entry in feed.read(unpacked(disk.opened(file), MAX_BYTES)):
            if isinstance(entry, Unreadable):
                problems.add(entry)
                continue
            number += 1
            if isinstance(entry, Found):
                values.add(entry)
                odd.look(entry)
    except OSError as error:
        raise Invalid(f"{file}: cannot be read ({error.strerror}).") from error
    except Invalid as error:
        err.print(f"{file}: {error.detail}")
        return False
    out.print(f"  {file}: {number:,} entries, and {problems.number:,} that cannot be read.")
    for value in values.shown:
        out.print(f"    {value.observable.kind} {value.observable.value}")
    if values.number > _SHOWN:
        out.print(f"    and {values.number - _SHOWN:,} more")
    for problem in problems.shown:
        out.print(f"    line {problem.line}: {problem.text}: {problem.reason}")
    for line in odd.lines(feed):
        out.print(f"    {line}")
    return True


class _First(Generic[T]):
    """The first few of very many, and how many there are."""

    def __init__(self) -> None:
        self.shown: list[T] = []
        self.number = 0

    def add(self, one: T) -> None:
        self.number += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(one)


class _Undated:
    """Dates that cannot be read."""

    def __init__(self) -> None:
        #: line, field, text
        self._odd = _First[tuple[int, str, str]]()
        self._all_us = True

    def look(self, entry: "Found") -> None:
        from isac.formats.found import us_instant

        for field, text in entry.undated:
            self._odd.add((entry.line, field, text))
            self._all_us = self._all_us and us_instant(text) is not None

    def lines(self, feed: "Feed") -> Iterator[str]:
        """Each of the first with its place, and what to do about them all."""
        for line, field, text in self._odd.shown:
            names = feed.columns[field]
            column = names if isinstance(names, str) else " or ".join(names)
            yield f"line {line}, column {column}: {one_line(text, 40)!r} is no date that is read here, and is left out"
        if self._odd.number > _SHOWN:
            yield f"and {self._odd.number - _SHOWN:,} more dates like these"
        if self._odd.number and feed.dates == "iso" and self._all_us:
            yield 'Write dates = "us" in the definition: these are month/day/year.'
        elif self._odd.number:
            yield "Dates are read as 2026-11-03 or 2026-11-03T14:00:00Z; have them written so, or take out the column."


@feeds_app.command("list")
def list_feeds() -> None:
    """List the feeds that are defined, with where they are read and for whom.

    Example: isac feeds list
    """
    from isac.ingest import feeds

    table = Table("feed", "format", "from", "every", "for", "TLP", "given on", box=None)
    defined, broken = feeds.load_good(folder())
    for feed in defined:
        every = _summary(feed).partition(", read ")[2].partition(", ")[0]
        cells = (feed.name, feed.format, feed.url or feed.path or "", every, feed.audience, feed.tlp.name)
        table.add_row(*map(Text, cells), Text("yes" if feed.redistribute else "no"))
    _print(table, defined, broken)
    raise typer.Exit(1 if broken else 0)


def _print(table: Table, defined: "Sequence[Feed]", broken: Sequence[str]) -> None:
    """The table, or that there is nothing; and what is wrong with definitions."""
    if defined:
        out.print(table)
    else:
        out.print(f"There is no feed in {folder()}. ISAC_FEEDS names the folder.")
    for problem in broken:
        err.print(problem)


@feeds_app.command("run")
def run_feed(
    name: Annotated[str, typer.Argument(help="The feed's name, or its TOML file.")],
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Take it in though it looks unusual, and ask for what failed before.")
    ] = False,
) -> None:
    """Read a feed now, whether it is due or not. Exit code 1 if something is wrong with it, or was refused or held.

    Example: isac feeds run urlhaus
    """
    from isac.ingest import sources

    feed = feed_named(name)
    beside = around(Path(name).parent if name.endswith(".toml") else folder())

    report = Report()

    async def work(pool: Pool) -> None:
        with bar(feed.name) as (_, progress):
            brought, counts = await sources.run(pool, feed, beside, anyway=anyway, progress=progress, report=report)
        words = {"taken": "taken in", "kept": "kept, and not given on", "unchanged": "nothing is new"}
        out.print(f"{feed.name}: {words.get(brought.outcome, brought.outcome)}")
        if report.submissions:
            tell(report)
        if brought.problem:
            err.print(brought.problem)
        if brought.problem or brought.outcome not in words or counts.held or counts.refused:
            raise typer.Exit(1)

    with_database(work)


@feeds_app.command("status")
def status() -> None:
    """Show how each feed is: when it was read, what came, and what is wrong. Exit code 1 if something is.

    Example: isac feeds status
    """
    from isac.ingest import feeds, health

    defined, broken = feeds.load_good(folder())

    async def work(pool: Pool) -> "list[Health]":
        async with pool.connection() as conn:
            return [await health.of(conn, feed, times.now()) for feed in defined]

    states = with_database(work)
    table = Table("feed", "read", "outcome", "something new", "entries", "alarm", box=None)
    for each in states:
        last, new = each.last, each.last_new
        table.add_row(
            Text(each.feed.name),
            Text(_when(last.started_at if last else None)),
            Text(last.outcome if last else ""),
            Text(_when(new.started_at if new else None)),
            Text(f"{new.listed:,}" if new and new.listed is not None else ""),
            Text(", ".join(alarm.kind for alarm in each.alarms)),
        )
    _print(table, defined, broken)
    for each in states:
        for alarm in each.alarms:
            out.print(f"{each.feed.name}: {alarm.words}")
    raise typer.Exit(1 if broken or any(each.alarms for each in states) else 0)


def _when(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "never"
