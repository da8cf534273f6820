"""What is held for nothing but its time says when that has come, and is taken then."""

from alembic import op

revision = "2026_11_25_held_until"
down_revision = "2026_11_24_api"


def upgrade() -> None:
    # The driver's own: op.execute would read the colons in the SQL as parameters.
    op.get_bind().exec_driver_sql(HELD_UNTIL)


HELD_UNTIL = """
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE held ADD until timestamptz, ADD tlp smallint;
CREATE INDEX held_until ON held (until) WHERE until IS NOT NULL;

GRANT DELETE, UPDATE (rule, reason, until) ON held TO isac_app;
GRANT DELETE, UPDATE (reason) ON pendings TO isac_app;
"""
