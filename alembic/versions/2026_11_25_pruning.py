"""What each poll was given is kept for as long as what came."""

from alembic import op

revision = "2026_11_25_pruning"
down_revision = "2026_11_25_cut_off"


def upgrade() -> None:
    # The driver's own: op.execute would read the colons in the SQL as parameters.
    op.get_bind().exec_driver_sql(PRUNING)
    # No timeout: it may take minutes, and stops nobody, while workers would give nothing out that they cannot record.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS polls_at")  # what was left where this was cut off
        op.execute("CREATE INDEX CONCURRENTLY polls_at ON polls (at)")


PRUNING = """
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '5s';

GRANT DELETE ON polls, poll_workers TO isac_app;
"""
