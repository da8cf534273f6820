"""What members own, and the alerts when something names it."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from isac import times
from isac.cli.organizations import DryRun, refuse
from isac.cli.terminal import OPERATOR, out, text_of, with_database
from isac.errors import NotFound
from isac.policy import alerts as words
from isac.policy import assets as policy
from isac.policy.alerts import Alert
from isac.policy.assets import Asset
from isac.store import alerts, assets, audit
from isac.store.assets import Organization, Registered
from isac.store.database import Connection, Pool

assets_app = typer.Typer(no_args_is_help=True, help="Domains, networks, vendors and products of members.")
alerts_app = typer.Typer(no_args_is_help=True, help="Private alerts to members whose assets are named.")

Code = Annotated[str, typer.Argument(help="Code of the organization, see isac members list.")]


@assets_app.command("import")
def import_assets(file: Path, dry_run: DryRun = False) -> None:
    """Register assets from CSV (organization,kind,value): all of them or, with an error, none.

    Example: isac assets import assets.csv --dry-run
    """
    text = text_of(file)

    async def work(pool: Pool) -> tuple[int, int]:
        async with pool.connection() as conn, conn.transaction(force_rollback=dry_run):
            known = await assets.by_code(conn)
            wanted, problems = policy.read(text, known)
            refuse(file, problems)
            by_owner: dict[str, list[Asset]] = defaultdict(list)
            for code, asset in wanted:
                by_owner[code].append(asset)
            added = 0
            for code, theirs in by_owner.items():
                added += await assets.register(conn, known[code], theirs, OPERATOR, times.now(), trusted=True)
            return added, len(wanted) - added

    added, there = with_database(work)
    out.print(f"{added} {'would be ' * dry_run}registered, {there} {'are' if there != 1 else 'is'} there already.")


@assets_app.command("list")
def list_assets(organization: Code) -> None:
    """List what an organization registered; the audit keeps who looked.

    Example: isac assets list org-17
    """

    async def work(pool: Pool) -> list[Registered]:
        async with pool.connection() as conn, conn.transaction():
            owner = await _owner(conn, organization)
            await audit.record(conn, OPERATOR, "look at assets", owner.code, "", times.now())
            return await assets.listed(conn, owner)

    table = Table("id", "kind", "value", "added", "by", box=None)
    for each in with_database(work):
        table.add_row(each.id, each.kind, each.value, f"{each.added_at:%Y-%m-%d}", each.added_by)
    out.print(table)


@assets_app.command("remove")
def remove_assets(
    organization: Code, ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As isac assets list says.")]
) -> None:
    """Take assets out of the register: all of them or none. Alerts that named them stay.

    Example: isac assets remove org-17 5c2f9f0e-2b9b-4a57-9d0e-5f3c1d2a7b64
    """

    async def work(pool: Pool) -> int:
        async with pool.connection() as conn, conn.transaction():
            return await assets.remove(conn, await _owner(conn, organization), ids, OPERATOR, times.now())

    out.print(f"{with_database(work)} removed.")


@alerts_app.command("list")
def list_alerts(
    organization: Code,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    waiting: Annotated[bool, typer.Option("--open", help="Only those that nobody acknowledged.")] = False,
) -> None:
    """List an organization's alerts, the newest first; the audit keeps who looked.

    Example: isac alerts list org-17 --open
    """

    async def work(pool: Pool) -> list[Alert]:
        async with pool.connection() as conn, conn.transaction():
            owner = await _owner(conn, organization)
            await audit.record(conn, OPERATOR, "look at alerts", owner.code, "", times.now())
            return await alerts.page(conn, owner, limit=limit, waiting=waiting)

    found = with_database(work)
    for each in found:
        out.print(f"{each.at:%Y-%m-%d %H:%M}  {each.id}{'  acknowledged' if each.acknowledged_at else ''}")
        for sentence in words.told(each):
            out.print(f"  {sentence}")
    out.print(f"{len(found)} alert{'s' * (len(found) != 1)}.")


@alerts_app.command("acknowledge")
def acknowledge_alert(
    alert: Annotated[str, typer.Argument(metavar="ID", help="As isac alerts list says.")],
    note: Annotated[str, typer.Option(help="What was done.")] = "",
) -> None:
    """Note that somebody has seen to an alert; the first note stays.

    Example: isac alerts acknowledge 5c2f9f0e-2b9b-4a57-9d0e-5f3c1d2a7b64 --note "Page taken down"
    """

    async def work(pool: Pool) -> Alert:
        async with pool.connection() as conn, conn.transaction():
            owner = await _owner(conn, await alerts.owner_of(conn, alert))
            return await alerts.acknowledge(conn, owner, alert, note, OPERATOR, times.now())

    found = with_database(work)
    out.print(f"{found.id} was acknowledged at {found.acknowledged_at:%Y-%m-%d %H:%M} by {found.acknowledged_by}.")


async def _owner(conn: Connection, code: str) -> Organization:
    found = (await assets.by_code(conn)).get(code.lower())
    if found is None:
        raise NotFound(f"There is no organization with the code {code!r}; see isac members list.")
    return found
