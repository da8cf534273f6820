"""What was seen of each document of a source that has many, a row each.

Before, all of it stood in the bookmark of the newest run, which was written anew after every document. What stands there
is not carried over: the next run asks for each document once more, and what was taken in changes nothing.
"""

from alembic import op

revision = "2026_11_26_documents"
down_revision = "2026_11_25_erased"


def upgrade() -> None:
    # The driver's own: op.execute would read the colons in the SQL as parameters.
    op.get_bind().exec_driver_sql(DOCUMENTS)


DOCUMENTS = """
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '5s';

CREATE TABLE feed_documents (
  feed text NOT NULL,
  name text COLLATE "C" NOT NULL,
  mark bytea NOT NULL,
  failures smallint NOT NULL,
  again_at timestamptz,
  PRIMARY KEY (feed, name)
);

UPDATE feed_runs SET bookmark = NULL WHERE bookmark IS NOT NULL AND octet_length(bookmark) > 1000;

GRANT SELECT, INSERT, UPDATE, DELETE ON feed_documents TO isac_app;
"""
