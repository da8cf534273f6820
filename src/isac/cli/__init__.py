"""The command line: `isac COMMAND --help` shows what each does, with examples.

Exit codes: 0 all done, 1 something was refused or held, 2 usage, 3 the surroundings (port, disk, database).
What serves, migrates or reads definitions is imported by the commands that do it: FastAPI, Alembic and pydantic take
a second to load.
"""

import contextlib
import importlib.metadata
import logging
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
import uvloop

from isac import child, logs
from isac.cli import erasing
from isac.cli.assets import alerts_app, assets_app
from isac.cli.feeds import around, feed_named, feeds_app, folder
from isac.cli.organizations import jurisdictions_app, keys_app, members_app
from isac.cli.submit import submit
from isac.cli.terminal import bar, database_url, err, out, prepare, tell, with_database
from isac.cli.warninglists import warninglists_app
from isac.config import environment, settings
from isac.errors import Invalid, IsacError, Surroundings
from isac.ingest import files
from isac.ingest.report import Report
from isac.policy.actors import Actor
from isac.stix.markings import TLP
from isac.store import database, members, triage
from isac.store.database import Pool

if TYPE_CHECKING:
    from isac.ingest.feeds import Feed
    from isac.policy.values import Finding
    from isac.stix.observables import Observable

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
triage_app = typer.Typer(no_args_is_help=True, help="Objects that wait for an analyst.")
schemas_app = typer.Typer(no_args_is_help=True, help="The JSON Schemas in schemas/.")
app.add_typer(jurisdictions_app, name="jurisdictions")
app.add_typer(members_app, name="members")
app.add_typer(keys_app, name="keys")
app.add_typer(assets_app, name="assets")
app.add_typer(alerts_app, name="alerts")
app.add_typer(feeds_app, name="feeds")
app.add_typer(erasing.polls_app, name="polls")
app.command()(erasing.erase)
app.add_typer(triage_app, name="triage")
app.add_typer(warninglists_app, name="warninglists")
app.add_typer(schemas_app, name="schemas")


def _version(asked: bool) -> None:
    if asked:
        out.print(importlib.metadata.version("isac"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """The sharing server of an election ISAC."""


def main() -> NoReturn:
    """Run a command; every known error is one sentence and an exit code."""
    logs.configure(logging.ERROR)  # whoever types a command reads its answer; a service tells more
    try:
        with database.explaining():
            app()
    except IsacError as error:
        err.print(f"error: {error.detail}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


# ------------------------------------------------------------------------------------------------------------- serving


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that answer.")] = None,
) -> None:
    """Serve TAXII 2.1.

    Example: ISAC_DATABASE_URL=postgresql://isac@db/isac isac serve --host 0.0.0.0 --workers 4
    """
    from isac import server
    from isac.store import migrations

    logs.configure()
    wanted = settings()
    own = server.certificate(wanted.tls_certificate, wanted.tls_key, wanted.tls_client_ca)
    client_header = server.certificate_header(wanted.client_certificate_header, wanted.trusted_proxies)
    listening = server.listen(host or wanted.host, wanted.port if port is None else port)
    with database_url(wanted) as url, contextlib.ExitStack() as beside:
        migrations.require_migrated(url)
        if wanted.jobs:
            beside.enter_context(child.beside([sys.executable, "-m", "isac", "worker", "--beside"], environment(url)))
        server.run(
            listening,
            url,
            workers=workers or wanted.workers,
            max_content_length=wanted.max_content_length,
            public=wanted.public_collection,
            own=own,
            proxies=wanted.trusted_proxies,
            client_header=client_header,
            feeds=folder(),
            ready=lambda: err.print(f"Serving on {':'.join(map(str, listening.getsockname()[:2]))}"),
        )


@app.command()
def worker(
    beside: Annotated[bool, typer.Option("--beside", hidden=True, help="End when standard input ends.")] = False,
) -> None:
    """Do what is done by itself: read feeds when they are due, end what is over or was cut off, drop what is old.

    `isac serve` starts one; a second is never needed, and does no harm.

    Example: ISAC_JOBS=0 isac serve & ISAC_DATABASE_URL=postgresql://isac@db/isac isac worker
    """
    from isac import jobs
    from isac.store import migrations

    logs.configure()
    wanted = settings()
    retention = timedelta(days=wanted.archive_days) if wanted.archive_days else None
    with database_url(wanted) as url:
        migrations.require_migrated(url)
        if beside:
            child.end_with_input()
        uvloop.run(jobs.work(url, around(folder()), retention))


@app.command()
def migrate() -> None:
    """Bring the database to this version's tables, and lay the foundation of an empty one.

    Example: ISAC_DATABASE_URL=postgresql://postgres@db/isac isac migrate
    """
    with database_url(settings()) as url:
        prepare(url)


@app.command("demo")
def run_demo(port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000) -> None:
    """Try it: a server with 1,150 invented members and sample feeds, and commands to paste.

    Example: isac demo --port 8001
    """
    from isac import demo

    wanted = settings()
    demo.run(wanted.home, port, wanted.max_content_length, out, err)


@app.command("sandbox")
def run_sandbox(
    env: Annotated[Path, typer.Option(help="File to write the shell variables to.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any free one.")] = 0,
) -> None:
    """Serve four empty collections from a throw-away database, for testing a TAXII client or server tool.

    When it answers, the file holds BASE, API_ROOT, COLLECTION, BUSER, BPASS, TOKEN and more. Stop it with Ctrl-C.

    Example: isac sandbox --env sandbox.env & sleep 5; . ./sandbox.env; curl -u $BUSER:$BPASS $BASE/taxii2/
    """
    from isac import sandbox

    sandbox.run(env, port=port, workers=workers, max_content_length=settings().max_content_length)


# ------------------------------------------------------------------------------------------------------ intake, triage


@app.command()
def ingest(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="STIX 2.1, lists, archives of them; .gz or not.")
    ],
    to: Annotated[str, typer.Option(help="Code of the audience: us, us-oh, us-oh-39049, public, org-17.")],
    source: Annotated[str | None, typer.Option(help="Who it comes from; ids of indicators hang on it.")] = None,
    feed: Annotated[str | None, typer.Option(help="Read the files as this feed defines (name or TOML file).")] = None,
    tlp: Annotated[str | None, typer.Option(help="Marking of what is unmarked: clear, green, amber …")] = None,
    sample: Annotated[bool, typer.Option(help="Made up for trying: documentation addresses are taken.")] = False,
) -> None:
    """Take files in, straight into the database, and report what was accepted, held, refused or there already.

    Example: isac ingest report.json blocklist.txt.gz --to us-oh --source "Example vendor"
    """
    definition = feed_named(feed) if feed else None
    name = source or (definition.name if definition else None)
    if name is None:
        raise Invalid("Say who it comes from: --source NAME")
    marking = _tlp(tlp) if tlp else None
    sampled = sample or bool(definition and definition.sample)
    report = Report()

    async def work(pool: Pool) -> None:
        async with pool.connection() as conn, conn.transaction():
            collection = await members.shelf(conn, to)
            asking = await members.source(conn, name)
        report.where = f"{collection.own.code}, {collection.title}"
        for payload in _payloads(paths, definition, report.unread):
            await one(pool, payload, collection, asking)

    async def one(pool: Pool, payload: files.Payload, collection: members.Collection, asking: Actor) -> None:
        with bar(payload.name) as (expected, progress):
            try:
                reading = await files.ingest(
                    pool,
                    payload,
                    collection,
                    asking,
                    name,
                    feed=definition,
                    tlp=marking,
                    sample=sampled,
                    beside=True,
                    progress=progress,
                    looked=lambda pieces, _: expected(len(pieces)),
                )
            except Invalid as error:
                report.unread.append(f"{payload.name}: {error.detail}")
            else:
                report.add(reading)

    with_database(work)
    tell(report)
    raise typer.Exit(report.exit_code)


app.command()(submit)


@app.command()
def replay(
    submission: Annotated[str, typer.Argument(help="Its id, as `isac ingest`, `isac feeds run` and the log say it.")],
) -> None:
    """Read a submission once more from what was kept of it, after a parser or a feed's definition was mended.

    Only what differs changes.

    Example: isac replay 0b8c5e0e-6c1b-4a57-9d0e-5f3c1d2a7b64
    """
    from isac.ingest import replay as replaying

    report = Report()

    async def work(pool: Pool) -> None:
        with bar(submission) as (_, progress):
            report.add(await replaying.replay(pool, submission, feed_named, progress=progress))

    with_database(work)
    tell(report)
    raise typer.Exit(report.exit_code)


@app.command()
def extract(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Reports, advisories, mails: text, Markdown, HTML, .eml.")
    ],
    values: Annotated[
        bool, typer.Option(help="Print the values alone, one a line, as `isac ingest` reads them.")
    ] = False,
) -> None:
    """Show the indicators in what people wrote, and what was left out and why. Nothing is stored.

    Which of them should be looked at first, and what personal data the text seems to hold, is told as well.

    Example: isac extract advisory.eml; isac extract advisory.eml --values > advisory.txt
    """
    from isac.formats import documents, prose
    from isac.ingest import extracting

    unread: list[str] = []
    read: dict[str, extracting.Extract] = {}
    for payload in _payloads(paths, None, unread):
        if payload.pieces is not None or payload.events or files.is_machine_readable(payload.data):
            unread.append(f"{payload.name}: is no text for people; `isac ingest` takes it in.")
            continue
        try:
            read[payload.name] = extracting.read(payload.data[: documents.MAX_BYTES + 1])
        except Invalid as error:
            unread.append(f"{payload.name}: {error.detail}")
    said = {} if values else _remarks([value for each in read.values() for value in each.taken])
    for name, extract in read.items():
        for line in prose.values(extract.mentions) if values else extracting.lines(extract, said, name):
            out.print(line)
        if values and extract.personal:
            err.print(f"{name} seems to hold personal data: see isac extract without --values.")
    for line in unread:
        err.print(f"not read: {line}")
    raise typer.Exit(1 if unread else 0)


def _remarks(taken: "Sequence[Observable]") -> "dict[Observable, list[Finding]]":
    """With what warninglists say, where there is a database to ask."""
    from isac.ingest import extracting

    async def work(pool: Pool) -> "dict[Observable, list[Finding]]":
        async with pool.connection() as conn:
            return await extracting.remarks(conn, taken)

    wanted = settings()
    if taken and (wanted.database_url or (wanted.home / "postgres").is_dir()):
        try:
            return with_database(work)
        except Surroundings as error:
            err.print(f"Warninglists are not asked: {error.detail}")
    return uvloop.run(extracting.remarks(None, taken))


@triage_app.command("list")
def list_held(limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50) -> None:
    """List what is held, the oldest first, each with its reason.

    Example: isac triage list --limit 200
    """

    async def work(pool: Pool) -> tuple[list[tuple[int, triage.Held]], list[tuple[str, int]]]:
        async with pool.connection() as conn:
            return await triage.held(conn, limit), await triage.held_reasons(conn)

    rows, reasons = with_database(work)
    for _, held in rows:
        out.print(f"{held.held_at:%Y-%m-%d %H:%M}  {held.stix_id}")
        out.print(f"  for {held.audience}, from {held.source}; rule {held.rule}: {held.reason}")
    total = sum(number for _, number in reasons)
    out.print(f"{total} held: {', '.join(f'{number} {rule}' for rule, number in reasons) or 'nothing waits'}.")
    if total:
        out.print("No command judges them yet. What an analyst hands in with a key of his own is his decision.")


@schemas_app.command("build")
def build_schemas(folder: Annotated[Path, typer.Argument(help="The folder schemas/.")] = Path("schemas")) -> None:
    """Write schemas/stix/ from stix2's property tables and schemas/feed.json from the feed model.

    Example: isac schemas build
    """
    from isac.ingest import feeds
    from isac.stix import schemas

    for name, schema in schemas.build().items():
        (folder / "stix" / f"{name}.json").write_bytes(schemas.render(schema))
    (folder / "feed.json").write_text(feeds.schema(), encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- details


def _payloads(paths: Sequence[Path], feed: "Feed | None", unread: list[str]) -> Iterator[files.Payload]:
    """The documents in all files; a file that cannot be read costs no other."""
    for path in paths:
        try:
            yield from files.payloads(path, feed)
        except Invalid as error:
            unread.append(error.detail)


def _tlp(text: str) -> TLP:
    try:
        return TLP.parse(text)
    except ValueError as error:
        raise Invalid(f"--tlp: {error}") from error
