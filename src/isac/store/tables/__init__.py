"""Every table, as data. Alembic's migrations make them; a test compares both.

An API root has these tables in a PostgreSQL schema of its own. Keys are surrogates and never shown. `audiences.above`
holds the nodes from `public` down to the parent; groups and organizations have none. Instants of STIX objects
(`modified`, `created`) are nanoseconds since 1970: microseconds do not tell all versions apart (STIX 2.1 §2.16).
"""

from isac.store.tables import intake, log, members, watch
from isac.store.tables.columns import metadata

__all__ = ["intake", "log", "members", "metadata", "watch"]
