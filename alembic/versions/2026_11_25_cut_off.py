"""When a submission's writer was last heard of, so that one whose writer was killed is ended."""

from alembic import op

revision = "2026_11_25_cut_off"
down_revision = "2026_11_25_held_until"


def upgrade() -> None:
    # The driver's own: op.execute would read the colons in the SQL as parameters.
    op.get_bind().exec_driver_sql(CUT_OFF)


CUT_OFF = """
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE submissions ADD alive_at timestamptz;
CREATE INDEX submissions_open ON submissions (pk) WHERE completed_at IS NULL;
"""
