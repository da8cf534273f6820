"""Taking back for good: erase what must not be kept, and say who was given it."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from isac import times
from isac.cli.feeds import feed_named
from isac.cli.terminal import OPERATOR, bar, out, with_database
from isac.errors import Invalid, NotFound
from isac.stix import objects
from isac.store import database, recall
from isac.store.database import Pool
from isac.store.erasure import Thing
from isac.store.facts import By
from isac.store.recall import Recall

if TYPE_CHECKING:
    from isac.ingest.erasing import Carriers, Erased

polls_app = typer.Typer(no_args_is_help=True, help="What members' polls were given.")


def erase(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="STIX ids of objects, or ids of submissions.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit; it stays, so no personal data here.")],
    producer: Annotated[str | None, typer.Option(help="Of an object only that of this producer (a STIX id).")] = None,
    version: Annotated[str | None, typer.Option(help="Of an object only this version (its `modified`).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Overwrite objects, or what submissions were read from, everywhere in the database, and keep them out.

    Needs a login that may migrate. What outlives it in backups and replicas: docs/operators.md.

    Example: isac erase indicator--0b8c5e0e-6c1b-4a57-9d0e-5f3c1d2a7b64 --reason "personal data" --dry-run
    """
    from isac.ingest import erasing

    if not reason.strip():
        raise Invalid("--reason: say why; it stands in the audit.")
    things = [erasing.thing(each, producer, _instant(version)) for each in ids if "--" in each]
    public_ids = [each for each in ids if "--" not in each]
    if not things and (producer or version):
        raise Invalid("--producer and --version are for objects; a submission is erased as a whole.")

    async def look(pool: Pool) -> "tuple[Carriers, Erased, list[tuple[Thing, Recall]]]":
        with bar("what was handed in") as (expected, progress):

            def told(number: int, total: int) -> None:
                expected(total)
                progress(1)

            carriers = await erasing.carriers(pool, things, feed_named, told)
        plan = await erasing.erase(pool, things, public_ids, carriers, _by(reason), dry=True)
        if plan.is_nothing:
            raise NotFound(f"Nothing is kept under {', '.join(ids)}.")
        async with pool.connection() as conn:
            given = [
                (each, await recall.who_has(conn, each.stix_id, times.now())) for each, gone in plan.versions if gone
            ]
        return carriers, plan, given

    carriers, plan, given = with_database(look, database.OWNER)
    for line in (*_plan(plan), *(line for each, found in given for line in _who(each.stix_id, found))):
        out.print(line)
    if dry_run:
        out.print("Nothing was changed.")
        return
    if not yes and typer.prompt("This cannot be undone. Type the (first) id to go on", err=True) != ids[0]:
        raise Invalid("That is another id; nothing was changed.")
    done = with_database(lambda pool: erasing.erase(pool, things, public_ids, carriers, _by(reason)), database.OWNER)
    versions = sum(len(gone) for _, gone in done.versions)
    out.print(f"Erased: {versions} versions, {done.rest.held} held objects, {len(done.rest.payloads)} payloads.")
    out.print("Backups, replicas and the database's own files keep it for a while: see docs/operators.md.")


@polls_app.command("who-has")
def who_has(stix_id: Annotated[str, typer.Argument(metavar="ID", help="STIX id of an object, be it erased.")]) -> None:
    """Say which keys were given an object, and which may have been, by the recorded polls.

    Example: isac polls who-has indicator--0b8c5e0e-6c1b-4a57-9d0e-5f3c1d2a7b64
    """

    async def work(pool: Pool) -> Recall:
        async with pool.connection() as conn:
            return await recall.who_has(conn, stix_id, times.now())

    for line in _who(stix_id, with_database(work)):
        out.print(line)


def _by(reason: str) -> By:
    return By(OPERATOR, times.now(), reason.strip())


def _instant(version: str | None) -> int | None:
    try:
        return None if version is None else objects.instant(version)
    except ValueError as error:
        raise Invalid(f"--version: {error}") from error


def _plan(plan: "Erased") -> Sequence[str]:
    lines = []
    for thing, gone in plan.versions:
        rows = [row for each in gone for row in each.rows]
        places = ", ".join(sorted({code for code, _, _ in rows})) or "nowhere"
        lines.append(f"{thing.stix_id}: {len(gone)} versions; {len(rows)} rows of the log, for {places}")
        lines += [f"  {each.version or 'unversioned'} of {each.producer}, SHA-256 {each.sha256}" for each in gone]
    rest = plan.rest
    lines.append(f"{rest.held} held objects")
    lines.append(f"{len(rest.payloads)} payloads, as a whole; what else was in them stays, but cannot be replayed")
    lines += [f"  SHA-256 {digest}, {size:,} bytes" for digest, size in rest.payloads]
    lines.append(f"{len(rest.submissions)} submissions lose their reports and words; their counts stay")
    lines += [f"  {public_id}" for public_id in rest.submissions]
    return lines


def _who(stix_id: str, found: Recall) -> Sequence[str]:
    lines = [f"{stix_id} was given to:"]
    lines += [
        f"  {each.key_id or '(no key)'}  {each.organization}  from {each.collection}: {each.version} (seq {each.seq})"
        f" in {each.polls} polls, {_minute(each.first)} to {_minute(each.last)}"
        for each in found.given
    ]
    if not found.given:
        lines.append("  nobody, by the polls that are recorded")
    for doubt in found.doubts:
        lines.append(f"A worker was cut off after {_minute(doubt.marked_at)}. Who asked it then may have it, too:")
        lines += [f"  {key_id}  {organization}" for key_id, organization in doubt.keys]
    return lines


def _minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
