"""What submissions over the API bring with them, and the answers that are kept for whoever asks again."""

from alembic import op

revision = "2026_11_24_api"
down_revision = "2026_11_23_sources"


def upgrade() -> None:
    # The driver's own: op.execute would read the colons in the SQL as parameters.
    op.get_bind().exec_driver_sql(API)


API = """
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE submissions
  ADD context text NOT NULL DEFAULT '',
  ADD definition text,
  ADD unreadable integer NOT NULL DEFAULT 0,
  ADD left_out integer NOT NULL DEFAULT 0,
  ADD details bytea;
CREATE INDEX submissions_organization ON submissions (organization, pk);

CREATE TABLE answers (
  organization integer NOT NULL REFERENCES organizations,
  key text COLLATE "C" NOT NULL,
  digest bytea NOT NULL,
  at timestamptz NOT NULL,
  status smallint NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (organization, key)
);
CREATE INDEX answers_at ON answers (at);

GRANT SELECT, INSERT, UPDATE, DELETE ON answers TO isac_app;
"""
