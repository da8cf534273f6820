"""The audit: a line for every deed that changes what somebody can see, in the deed's own transaction."""

from datetime import datetime

from isac.store.database import Connection


async def record(conn: Connection, actor: str, action: str, subject: str, reason: str, at: datetime) -> None:
    """Note that `actor` did `action` to `subject`, and why."""
    await conn.execute(
        "INSERT INTO audit (at, actor, action, subject, reason) VALUES (%s, %s, %s, %s, %s)",
        (at, actor, action, subject, reason),
    )
