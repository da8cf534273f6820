"""When a source last had each of its documents: what it has no more is forgotten in time."""

from alembic import op

revision = "2026_11_28_documents_met"
down_revision = "2026_11_28_assets"


def upgrade() -> None:
    op.execute(
        """
        SET LOCAL lock_timeout = '4s';
        SET LOCAL statement_timeout = '5s';

        ALTER TABLE feed_documents ADD met_at timestamptz NOT NULL DEFAULT now();
        """
    )
