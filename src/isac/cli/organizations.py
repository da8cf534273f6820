"""Who takes part: jurisdictions, organizations and the keys of their machines."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from isac import times
from isac.cli.terminal import OPERATOR, err, out, text_of, with_database
from isac.errors import Invalid, NotFound
from isac.policy import jurisdictions as rosters
from isac.policy import organizations as memberships
from isac.policy.actors import Fingerprint, Role
from isac.serve import certificates
from isac.store import members
from isac.store.database import Connection, Pool

jurisdictions_app = typer.Typer(no_args_is_help=True, help="The nation, States and local jurisdictions.")
members_app = typer.Typer(no_args_is_help=True, help="Organizations and their first keys.")
keys_app = typer.Typer(no_args_is_help=True, help="Credentials of machines.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")]
KeyId = Annotated[str, typer.Argument(help="The key's id, the part after isac_.")]
CertificateFile = Annotated[
    Path | None, typer.Option("--certificate", help="PEM file: a client certificate that proves this key, too.")
]
_EMPTY_OBJECTS = 'Answer its quiet polls with {"objects":[]} instead of {}, for Elastic.'


@jurisdictions_app.command("import")
def import_jurisdictions(file: Path, dry_run: DryRun = False) -> None:
    """Add jurisdictions from CSV (code,name,kind,parent,fips,registered_voters): all of them or, with an error, none.

    Example: isac jurisdictions import townships.csv --dry-run
    """
    text = text_of(file)

    async def work(pool: Pool) -> rosters.Differences:
        async with pool.connection() as conn, conn.transaction():
            known = await members.jurisdictions(conn)
            roster = rosters.read(text, known)
            refuse(file, roster.problems)
            if dry_run:
                return rosters.differences(roster.jurisdictions, known)
            return await members.import_jurisdictions(conn, roster.jurisdictions, OPERATOR, times.now())

    done = with_database(work)
    verb = "would be " if dry_run else ""
    out.print(f"{len(done.added)} {verb}added, {len(done.changed)} {verb}changed, {len(done.left)} left as they are.")


@members_app.command("import")
def import_members(file: Path, dry_run: DryRun = False) -> None:
    """Add organizations from CSV (jurisdiction,name,kind,contact_email), each with a key: all of them or none.

    The keys' secrets are printed once, as CSV; organizations that stand already are left alone.

    Example: isac members import members.csv > keys.csv
    """
    text = text_of(file)

    async def work(pool: Pool) -> tuple[list[members.NewKey], int, int]:
        async with pool.connection() as conn, conn.transaction():
            read, problems = memberships.read(text, await members.jurisdictions(conn))
            refuse(file, problems)
            if any(organization.kind == "isac" for organization in read):
                raise Invalid(f"{file}: there is one ISAC, and this is it; leave its line out.")
            known = await members.organizations(conn)
            new = [organization for organization in read if organization.name.lower() not in known]
            if dry_run:
                return [], len(new), len(read) - len(new)
            pks = await members.add_organizations(conn, new)
            keys = await members.create_keys(conn, dict.fromkeys(pks.values(), Role.POLLER), OPERATOR, times.now())
            return keys, len(new), len(read) - len(new)

    keys, count, known = with_database(work)
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
    for row in with_database(work):
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

    _print_keys(with_database(work))


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

    with_database(work)
    out.print(f"{key_id} is changed.")


@keys_app.command("revoke")
def revoke_key(key_id: KeyId) -> None:
    """End a key and its certificate; servers refuse it within two seconds.

    Example: isac keys revoke 4kq7xw2m
    """

    async def work(pool: Pool) -> None:
        async with pool.connection() as conn, conn.transaction():
            await members.revoke_key(conn, key_id, OPERATOR, times.now())

    with_database(work)
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
    for key in with_database(work):
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
    return certificates.of_file(str(file), text_of(file)) if file else None


def refuse(file: Path, problems: Sequence[rosters.Problem]) -> None:
    """All or nothing: with one problem nothing is imported, and all of them are shown."""
    for problem in problems:
        err.print(f"{file}:{problem.line}: {problem.text}")
    if problems:
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        raise Invalid(f"{file}: {count}, nothing was imported. Mend what is named above and try again.")


def _print_keys(keys: Sequence[members.NewKey]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["jurisdiction", "organization", "key_id", "secret"])
    writer.writerows([key.jurisdiction or "", key.organization, key.key_id, key.secret] for key in keys)
