"""Who waits for what is held is asked for by what is held, too."""

from alembic import op

revision = "2026_11_27_pendings_held"
down_revision = "2026_11_26_warninglists"


def upgrade() -> None:
    op.execute(
        """
        SET LOCAL lock_timeout = '4s';
        SET LOCAL statement_timeout = '5s';

        CREATE INDEX pendings_held ON pendings (held);
        """
    )
