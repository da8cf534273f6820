"""What was erased, so that it does not come in again. Only the owner erases: isac_app reads."""

from alembic import op

revision = "2026_11_25_erased"
down_revision = "2026_11_25_pruning"


def upgrade() -> None:
    # The driver's own: op.execute would read the colons in the SQL as parameters.
    op.get_bind().exec_driver_sql(ERASED)


ERASED = """
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '5s';

CREATE TABLE erased (
  pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  object bigint NOT NULL,
  producer integer,
  modified bigint,
  digests bytea[] NOT NULL,
  at timestamptz NOT NULL
);
CREATE INDEX erased_object ON erased (object);
GRANT SELECT ON erased TO isac_app;
"""
