"""Numbers for those who watch the service. None of them costs more as the log grows."""

from dataclasses import dataclass

from isac.store.database import JOBS, Connection
from isac.store.facts import fetch
from isac.store.triage import held_reasons


@dataclass(frozen=True, slots=True)
class Statistics:
    """How it stands at this moment."""

    #: entries of the log, ends among them
    entries: int
    #: seconds since 1970 of the newest entry
    newest: float
    #: objects that wait for an analyst, by the rule that holds them
    held: dict[str, int]
    #: jobs by their state: todo, doing, failed
    jobs: dict[str, int]


async def now(conn: Connection) -> Statistics:
    """Raises database.Away where the database does not answer."""
    ((entries, newest),) = await fetch(conn, "SELECT seq, extract(epoch FROM date_added)::float8 FROM head")
    held = dict(await held_reasons(conn))
    rows = await fetch(
        conn,
        f"SELECT status::text, count(*) FROM {JOBS}.procrastinate_jobs GROUP BY status",  # noqa: S608 - our own name
    )
    return Statistics(entries, newest, held, dict(rows))


async def answers(conn: Connection) -> None:
    """Raises database.Away where the database does not answer."""
    await conn.execute("SELECT 1")
