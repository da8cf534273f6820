"""What each poll was given is kept for as long as what came."""

from alembic import op

revision = "2026_11_25_pruning"
down_revision = "2026_11_25_cut_off"


def upgrade() -> None:
    # The driver's own: op.execute would read the colons in the SQL as parameters.
    op.get_bind().exec_driver_sql(PRUNING)


PRUNING = """
SET LOCAL lock_timeout = '4s';

CREATE INDEX polls_at ON polls (at);
GRANT DELETE ON polls, poll_workers TO isac_app;
"""
