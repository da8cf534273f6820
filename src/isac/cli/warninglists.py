"""Commands for warninglists: what must not be blocked, or not without a look."""

from pathlib import Path
from typing import Annotated

import typer

from isac.cli.terminal import OPERATOR, bar, err, out, with_database
from isac.ingest import warninglists as loading
from isac.ingest.warninglists import Loaded
from isac.policy import values
from isac.policy.values import Facts
from isac.policy.warninglists import reach
from isac.stix.observables import Observable, documentation, recognize
from isac.store import warninglists as store
from isac.store.database import Pool

warninglists_app = typer.Typer(
    no_args_is_help=True, help="Lists of what must not be blocked, or not without a look: resolvers, shared hosts …"
)


@warninglists_app.command("load")
def load(
    path: Annotated[
        Path | None,
        typer.Argument(help="Folder or .tar.gz of misp-warninglists, or portals.csv; without it the installed lists."),
    ] = None,
) -> None:
    """Load lists, each in the place of its older version. What is broken stays as it was.

    Example: isac warninglists load misp-warninglists/
    """
    where = path or loading.packaged()

    async def work(pool: Pool) -> Loaded:
        with bar(where.name) as (expected, progress):
            return await loading.load(pool, where, OPERATOR, expected, progress)

    found = with_database(work)
    out.print(
        f"{len(found.read)} lists read, {found.changed:,} entries came, went or changed; "
        f"{len(found.unchanged)} lists are as they were."
    )
    for line in found.broken:
        err.print(f"not read: {line}")
    raise typer.Exit(1 if found.broken else 0)


@warninglists_app.command("list")
def list_known() -> None:
    """List them: how many entries, from when, and how far each reaches.

    Example: isac warninglists list
    """

    async def work(pool: Pool) -> list[store.Known]:
        async with pool.connection() as conn:
            return await store.known(conn)

    for each in with_database(work):
        left_out = f", {each.left_out:,} not read" if each.left_out else ""
        out.print(f"{each.name}  {each.entries:,} entries{left_out}, version {each.version}, {each.loaded_at:%Y-%m-%d}")
        out.print(f"  {each.title}; reach: {reach(each.name).value}")


@warninglists_app.command("check")
def check(
    written: Annotated[list[str], typer.Argument(metavar="VALUE...", help="Addresses, domains, URLs, hashes …")],
) -> None:
    """Say what the screen would say of values. Nothing is stored.

    Members' own domains and networks are not looked at. Exit code 1: one of them would be held or refused.

    Example: isac warninglists check 192.0.2.7 https://www.example.com/login
    """
    read: dict[str, Observable] = {}
    unread: dict[str, str] = {}
    for text in written:
        try:
            read[text] = recognize(text)
        except ValueError as error:
            unread[text] = str(error)

    async def work(pool: Pool) -> Facts:
        async with pool.connection() as conn:
            return Facts(listed=await store.listed(conn, read.values()))

    facts = with_database(work)
    held = False
    for text in written:
        findings = values.of_value(read[text], facts) if text in read else []
        grave = [each.verdict for each in findings if each.verdict != "note"]
        refused = "refuse" in grave or text in unread or documentation(read[text])
        held = held or refused or bool(grave)
        out.print(f"{text}: {'refuse' if refused else 'hold' if grave else 'pass'}")
        if text in unread:
            out.print(f"  {unread[text]}.")
        elif documentation(read[text]):
            out.print("  documentation: reserved for examples, it names no real host; samples alone may use it.")
        for each in findings:
            out.print(f"  {'only a note' if each.verdict == 'note' else each.rule}: {each.reason}")
    raise typer.Exit(1 if held else 0)
