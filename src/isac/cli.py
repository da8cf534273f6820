"""The command line: `isac COMMAND --help` shows what each does, with examples.

Exit codes: 0 all done, 1 something was refused or held, 2 usage, 3 the surroundings (port, disk, database).
What serves, migrates or reads definitions is imported by the commands that do it: FastAPI, Alembic and pydantic take
a second to load.
"""

import contextlib
import csv
import importlib.metadata
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from isac import logs, times
from isac.config import Settings, settings
from isac.errors import Invalid, IsacError, NotFound
from isac.ingest import files
from isac.ingest.foundation import found
from isac.ingest.report import Report
from isac.package_data import package_data
from isac.policy import jurisdictions as rosters
from isac.policy import organizations as memberships
from isac.policy.actors import Actor, Fingerprint, Role
from isac.serve import certificates
from isac.stix.markings import TLP
from isac.store import database, embedded, members, submissions
from isac.store.database import Connection, Pool

if TYPE_CHECKING:
    from isac.ingest.feeds import Feed

T = TypeVar("T")

OPERATOR = "operator"

# A pipe has no width that a table could be cut to.
out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 1000)
err = Console(stderr=True, soft_wrap=True, highlight=False)
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
jurisdictions_app = typer.Typer(no_args_is_help=True, help="The nation, States and local jurisdictions.")
members_app = typer.Typer(no_args_is_help=True, help="Organizations and their first keys.")
keys_app = typer.Typer(no_args_is_help=True, help="Credentials of machines.")
triage_app = typer.Typer(no_args_is_help=True, help="Objects that wait for an analyst.")
schemas_app = typer.Typer(no_args_is_help=True, help="The JSON Schemas in schemas/.")
app.add_typer(jurisdictions_app, name="jurisdictions")
app.add_typer(members_app, name="members")
app.add_typer(keys_app, name="keys")
app.add_typer(triage_app, name="triage")
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


KeyId = Annotated[str, typer.Argument(help="The key's id, the part after isac_.")]
CertificateFile = Annotated[
    Path | None, typer.Option("--certificate", help="PEM file: a client certificate that proves this key, too.")
]
_EMPTY_OBJECTS = 'Answer its quiet polls with {"objects":[]} instead of {}, for Elastic.'
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")]


def main() -> NoReturn:
    """Run a command; every known error is one sentence and an exit code."""
    logs.configure()
    try:
        with database.explaining():
            app()
    except IsacError as error:
        err.print(f"error: {error.detail}", markup=False)
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

    wanted = settings()
    own = server.certificate(wanted.tls_certificate, wanted.tls_key, wanted.tls_client_ca)
    client_header = server.certificate_header(wanted.client_certificate_header, wanted.trusted_proxies)
    listening = server.listen(host or wanted.host, wanted.port if port is None else port)
    with _database(wanted) as url:
        migrations.require_migrated(url)
        server.run(
            listening,
            url,
            workers=workers or wanted.workers,
            max_content_length=wanted.max_content_length,
            public=wanted.public_collection,
            own=own,
            proxies=wanted.trusted_proxies,
            client_header=client_header,
            ready=lambda: err.print(f"Serving on {':'.join(map(str, listening.getsockname()[:2]))}"),
        )


@app.command()
def migrate() -> None:
    """Bring the database to this version's tables, and lay the foundation of an empty one.

    Example: ISAC_DATABASE_URL=postgresql://postgres@db/isac isac migrate
    """
    with _database(settings()) as url:
        _prepare(url)


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


# ----------------------------------------------------------------------------------------------- jurisdictions, members


@jurisdictions_app.command("import")
def import_jurisdictions(file: Path, dry_run: DryRun = False) -> None:
    """Add jurisdictions from CSV (code,name,kind,parent,fips,registered_voters): all of them or, with an error, none.

    Example: isac jurisdictions import townships.csv --dry-run
    """
    text = _text(file)

    async def work(pool: Pool) -> rosters.Differences:
        async with pool.connection() as conn, conn.transaction():
            known = await members.jurisdictions(conn)
            roster = rosters.read(text, known)
            _refuse(file, roster.problems)
            if dry_run:
                return rosters.differences(roster.jurisdictions, known)
            return await members.import_jurisdictions(conn, roster.jurisdictions, OPERATOR, times.now())

    done = _with_database(work)
    verb = "would be " if dry_run else ""
    out.print(f"{len(done.added)} {verb}added, {len(done.changed)} {verb}changed, {len(done.left)} left as they are.")


@members_app.command("import")
def import_members(file: Path, dry_run: DryRun = False) -> None:
    """Add organizations from CSV (jurisdiction,name,kind,contact_email), each with a key: all of them or none.

    The keys' secrets are printed once, as CSV; organizations that stand already are left alone.

    Example: isac members import members.csv > keys.csv
    """
    text = _text(file)

    async def work(pool: Pool) -> tuple[list[members.NewKey], int, int]:
        async with pool.connection() as conn, conn.transaction():
            read, problems = memberships.read(text, await members.jurisdictions(conn))
            _refuse(file, problems)
            if any(organization.kind == "isac" for organization in read):
                raise Invalid(f"{file}: there is one ISAC, and this is it; leave its line out.")
            known = await members.organizations(conn)
            new = [organization for organization in read if organization.name.lower() not in known]
            if dry_run:
                return [], len(new), len(read) - len(new)
            pks = await members.add_organizations(conn, new)
            keys = await members.create_keys(conn, dict.fromkeys(pks.values(), Role.POLLER), OPERATOR, times.now())
            return keys, len(new), len(read) - len(new)

    keys, count, known = _with_database(work)
    if dry_run:
        out.print(f"{count} would be added, each with a key; {known} are there already.")
        return
    if keys:
        _print_keys(keys)
        err.print(f"{count} added. Their secrets stand above and nowhere else: hand them over by a safe way.")
    if known:
        err.print(f"{known} are there already and were left alone. A key for one of them: isac keys create NAME")


@members_app.command("list")
def list_members() -> None:
    """List all organizations with the codes that `isac ingest --to` takes.

    Example: isac members list
    """

    async def work(pool: Pool) -> list[tuple[str, str, str, str]]:
        async with pool.connection() as conn:
            return await members.codes(conn)

    table = Table("code", "name", "kind", "jurisdiction", box=None)
    for row in _with_database(work):
        table.add_row(*row)
    out.print(table)


@keys_app.command("create")
def create_key(
    organization: Annotated[str, typer.Argument(help="The organization's name.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.POLLER,
    certificate: CertificateFile = None,
    empty_objects: Annotated[bool | None, typer.Option("--empty-objects", help=_EMPTY_OBJECTS)] = None,
) -> None:
    """Make a key; its secret is shown once.

    Example: isac keys create "Example County Clerk" --role submitter
    """
    changes = _Changes(_fingerprint(certificate), False, empty_objects)

    async def work(pool: Pool) -> list[members.NewKey]:
        async with pool.connection() as conn, conn.transaction():
            pk = (await members.organizations(conn)).get(organization.lower())
            if pk is None:
                raise NotFound(f"There is no organization {organization!r}. Add it: isac members import FILE")
            keys = await members.create_keys(conn, {pk: role}, OPERATOR, times.now())
            await changes.make(conn, keys[0].key_id)
            return keys

    _print_keys(_with_database(work))


@keys_app.command("change")
def change_key(
    key_id: KeyId,
    certificate: CertificateFile = None,
    no_certificate: Annotated[bool, typer.Option("--no-certificate", help="Take its certificate away.")] = False,
    empty_objects: Annotated[
        bool | None, typer.Option("--empty-objects/--no-empty-objects", help=_EMPTY_OBJECTS)
    ] = None,
) -> None:
    """Give a key a client certificate or take it away, or change how its quiet polls are answered.

    Servers know it within two seconds.

    Example: isac keys change 4kq7xw2m --certificate clerk.pem
    """
    changes = _Changes(_fingerprint(certificate), no_certificate, empty_objects)
    if changes == _NO_CHANGES or (certificate and no_certificate):
        raise Invalid("Say what to change: --certificate FILE or --no-certificate, --[no-]empty-objects.")

    async def work(pool: Pool) -> None:
        async with pool.connection() as conn, conn.transaction():
            await changes.make(conn, key_id)

    _with_database(work)
    out.print(f"{key_id} is changed.")


@keys_app.command("revoke")
def revoke_key(key_id: KeyId) -> None:
    """End a key and its certificate; servers refuse it within two seconds.

    Example: isac keys revoke 4kq7xw2m
    """

    async def work(pool: Pool) -> None:
        async with pool.connection() as conn, conn.transaction():
            await members.revoke_key(conn, key_id, OPERATOR, times.now())

    _with_database(work)
    out.print(f"{key_id} is revoked.")


@keys_app.command("list")
def list_keys() -> None:
    """List all keys, without their secrets.

    Example: isac keys list
    """

    async def work(pool: Pool) -> list[members.Key]:
        async with pool.connection() as conn:
            return await members.keys(conn)

    table = Table("key id", "organization", "jurisdiction", "role", "made", "revoked", "certificate", "quiet", box=None)
    for key in _with_database(work):
        table.add_row(
            key.key_id,
            key.organization,
            key.jurisdiction or "",
            key.role,
            f"{key.created_at:%Y-%m-%d}",
            f"{key.revoked_at:%Y-%m-%d}" if key.revoked_at else "",
            key.certificate.sha256.hex() if key.certificate else "",
            "empty objects" if key.empty_objects else "",
        )
    out.print(table)


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
    definition = _feed(feed) if feed else None
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
        for payload in _payloads(paths, definition, report):
            await one(pool, payload, collection, asking)

    async def one(pool: Pool, payload: files.Payload, collection: members.Collection, asking: Actor) -> None:
        with _bar(payload.name) as (expected, progress):
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
                    expected=expected,
                )
            except Invalid as error:
                report.unread.append(f"{payload.name}: {error.detail}")
            else:
                report.add(reading)

    _with_database(work)
    for line in report.lines():
        out.print(line, markup=False)
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

    Example: isac extract advisory.eml; isac extract advisory.eml --values > advisory.txt
    """
    from isac.formats import prose

    unread = False
    for path in paths:
        try:
            for payload in files.payloads(path):
                if payload.pieces is not None or payload.events or files.is_machine_readable(payload.data):
                    raise Invalid(f"{payload.name}: is no text for people; `isac ingest` takes it in.")
                try:
                    mentions = prose.read(payload.data)
                except Invalid as error:
                    raise Invalid(f"{payload.name}: {error.detail}") from error
                for line in prose.values(mentions) if values else prose.preview(payload.name, mentions):
                    out.print(line, markup=False)
        except Invalid as error:
            err.print(f"not read: {error.detail}", markup=False)
            unread = True
    raise typer.Exit(1 if unread else 0)


@triage_app.command("list")
def list_held(limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50) -> None:
    """List what is held, the oldest first, each with its reason.

    Example: isac triage list --limit 200
    """

    async def work(pool: Pool) -> tuple[list[tuple[int, submissions.Held]], list[tuple[str, int]]]:
        async with pool.connection() as conn:
            return await submissions.held(conn, limit), await submissions.held_reasons(conn)

    rows, reasons = _with_database(work)
    for _, held in rows:
        out.print(f"{held.held_at:%Y-%m-%d %H:%M}  {held.stix_id}", markup=False)
        out.print(f"  for {held.audience}, from {held.source}; rule {held.rule}: {held.reason}", markup=False)
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


@dataclass(frozen=True, slots=True)
class _Changes:
    """What to change of a key; None leaves a thing as it is."""

    certificate: Fingerprint | None
    no_certificate: bool
    empty_objects: bool | None

    async def make(self, conn: Connection, key_id: str) -> None:
        if self.certificate or self.no_certificate:
            await members.change_certificate(conn, key_id, self.certificate, OPERATOR, times.now())
        if self.empty_objects is not None:
            await members.change_empty_objects(conn, key_id, self.empty_objects, OPERATOR, times.now())


_NO_CHANGES = _Changes(None, False, None)


def _fingerprint(file: Path | None) -> Fingerprint | None:
    return certificates.of_file(str(file), _text(file)) if file else None


def _payloads(paths: Sequence[Path], feed: "Feed | None", report: Report) -> Iterator[files.Payload]:
    for path in paths:
        try:
            yield from files.payloads(path, feed)
        except Invalid as error:
            report.unread.append(error.detail)


def _feed(name: str) -> "Feed":
    """A feed by its name or its file."""
    from isac.ingest import feeds

    path = Path(name)
    if path.suffix == ".toml":
        return feeds.load(path)
    known = {feed.name: feed for feed in feeds.load_all(package_data("feeds"))}
    if name not in known:
        raise NotFound(f"There is no feed {name!r}; there are {', '.join(known)}.")
    return known[name]


def _tlp(text: str) -> TLP:
    try:
        return TLP.parse(text)
    except ValueError as error:
        raise Invalid(f"--tlp: {error}") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Invalid(f"{file}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{file}: is not UTF-8; save it as «CSV UTF-8».") from error


def _refuse(file: Path, problems: Sequence[rosters.Problem]) -> None:
    """All or nothing: with one problem nothing is imported, and all of them are shown."""
    for problem in problems:
        err.print(f"{file}:{problem.line}: {problem.text}", markup=False)
    if problems:
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        raise Invalid(f"{file}: {count}, nothing was imported. Mend what is named above and try again.")


def _print_keys(keys: Sequence[members.NewKey]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["jurisdiction", "organization", "key_id", "secret"])
    writer.writerows([key.jurisdiction or "", key.organization, key.key_id, key.secret] for key in keys)


@contextlib.contextmanager
def _bar(name: str) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A progress bar on a terminal, silence elsewhere: (expected, progress)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield (
            lambda total: progress.update(task, total=total),
            lambda count: progress.advance(task, count),
        )


def _with_database(work: Callable[[Pool], Coroutine[Any, Any, T]]) -> T:
    """Run a command's work on its database, which is started and prepared where it is an embedded one."""
    with _database(settings()) as url:
        return uvloop.run(_in_pool(url, work))


async def _in_pool(url: str, work: Callable[[Pool], Coroutine[Any, Any, T]]) -> T:
    async with database.pool(url, size=3) as pool:
        return await work(pool)


@contextlib.contextmanager
def _database(wanted: Settings) -> Iterator[str]:
    """The database's URL. The embedded one is prepared, and stopped when nobody else uses it."""
    if wanted.database_url:
        yield wanted.database_url
        return
    home = wanted.home / "postgres"
    with embedded.lent(home) as running:
        url = database.create(running.conninfo, "isac")
        _prepare(url)
        yield url


def _prepare(url: str) -> None:
    from isac.store import migrations

    migrations.migrate(url)
    roster = rosters.read((package_data("feeds") / "jurisdictions.csv").read_text(encoding="utf-8"))
    uvloop.run(_in_pool(url, lambda pool: found(pool, roster.jurisdictions)))
