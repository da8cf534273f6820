"""Objects, to whom they are given, what waits, the log itself, and who polled what of it."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from isac.store.tables.columns import WHEN, metadata, must, pk

objects = Table("objects", metadata, pk(BigInteger()), must("stix_id", Text(collation="C"), unique=True))

versions = Table(
    "versions",
    metadata,
    pk(BigInteger()),
    must("object", BigInteger),
    must("producer", Integer),
    # 0 for what has neither modified nor created
    must("modified", BigInteger),
    Column("created", BigInteger),
    # the instant's own text
    Column("version", Text),
    must("type", Text),
    must("tlp", SmallInteger),
    must("revoked", Boolean),
    # set by `expire`
    must("expired", Boolean),
    # wherever it stood: as if it had never come
    must("deleted", Boolean),
    Column("valid_until", WHEN),
    # of an unversioned object: its version in every collection
    Column("first_added", WHEN),
    # the organization that handed it in; of a relayed object not its producer
    must("publisher", Integer),
    Column("submission", BigInteger),
    # empty: it was erased, and is no fact any more
    must("raw", LargeBinary),
    UniqueConstraint("object", "producer", "modified"),
    Index(
        "versions_valid_until",
        "valid_until",
        postgresql_where=text("NOT (expired OR revoked) AND valid_until IS NOT NULL"),
    ),
    # Nearly always empty: so release_batch() sees at once whether one of its versions has to be dated.
    Index("versions_undated", "pk", postgresql_where=text("version IS NULL AND first_added IS NULL")),
)

grants = Table(
    "grants",
    metadata,
    # rises in the order of granting: of two producers' objects at one audience the first is shown
    must("ordinal", BigInteger, Identity()),
    must("object", BigInteger),
    must("producer", Integer),
    must("audience", Integer),
    # versions that were deleted here
    must("without", ARRAY(BigInteger)),
    must("granted_at", WHEN),
    must("granted_by", Text),
    PrimaryKeyConstraint("object", "audience", "producer"),
)

erased = Table(
    "erased",
    metadata,
    # what was erased, and does not come in again
    pk(BigInteger(), always=True),
    must("object", BigInteger),
    # None: everybody's
    Column("producer", Integer),
    # None: every version
    Column("modified", BigInteger),
    # SHA-256 of each object's bytes
    must("digests", ARRAY(LargeBinary)),
    must("at", WHEN),
    Index("erased_object", "object"),
)

waiting = Table(
    "waiting",
    metadata,
    # newer versions that are held, but whose marking rules already
    must("object", BigInteger),
    must("producer", Integer),
    must("modified", BigInteger),
    must("tlp", SmallInteger),
    PrimaryKeyConstraint("object", "producer", "modified"),
)

notices = Table(
    "notices",
    metadata,
    # the note's
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    # the object that was withdrawn
    must("object", BigInteger),
    must("audience", Integer),
    must("ends_at", WHEN),
    Index("notices_object", "object"),
    Index("notices_ends_at", "ends_at"),
)

held = Table(
    "held",
    metadata,
    pk(BigInteger()),
    # SHA-256 of raw: the same bytes for the same audience wait once
    must("digest", LargeBinary),
    Column("submission", ForeignKey("submissions.pk"), nullable=False),
    Column("audience", ForeignKey("audiences.pk"), nullable=False),
    must("stix_id", Text),
    must("version", Text),
    must("type", Text),
    must("rule", Text),
    must("reason", Text),
    must("held_at", WHEN),
    must("raw", LargeBinary),
    # of what is held for nothing but its time: when that has come, and its TLP, on which its company had a say
    Column("until", WHEN),
    Column("tlp", SmallInteger),
    UniqueConstraint("audience", "digest"),
    # a list that is handed in again asks for each of its values
    Index("held_tlp", "stix_id", postgresql_where=text("rule = 'tlp'")),
    Index("held_until", "until", postgresql_where=text("until IS NOT NULL")),
)

pendings = Table(
    "pendings",
    metadata,
    # every submission of a key's that what is held came in, the first as well; nobody asks for the status of others
    Column("submission", ForeignKey("submissions.pk")),
    Column("held", ForeignKey("held.pk")),
    # how many of the submission's objects these bytes are
    must("count", Integer),
    # as this submission may know it, which another organization's may not
    must("reason", Text),
    PrimaryKeyConstraint("submission", "held"),
    Index("pendings_held", "held"),
)

log = Table(
    "log",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    must("date_added", WHEN),
    must("object", BigInteger),
    must("version", BigInteger),
    must("modified", BigInteger),
    # in the default view until here, in every view until there
    Column("ended_seq", BigInteger),
    Column("shut_seq", BigInteger),
    must("audience", Integer),
    must("tlp", SmallInteger),
    must("type", Text),
    must("version_text", Text),
    # the version's bytes once more: a page needs no join
    must("raw", LargeBinary),
    CheckConstraint("shut_seq IS NULL OR ended_seq IS NOT NULL"),
    Index("log_live", "audience", "date_added", unique=True, postgresql_where=text("ended_seq IS NULL")),
    Index("log_live_type", "audience", "type", "date_added", postgresql_where=text("ended_seq IS NULL")),
    Index(
        "log_history",
        "audience",
        "date_added",
        postgresql_where=text("ended_seq IS NOT NULL AND shut_seq IS NULL"),
    ),
    Index("log_object", "object"),
    # what a follower has not seen yet
    Index("log_ended", "ended_seq", postgresql_where=text("ended_seq IS NOT NULL")),
    Index("log_shut", "shut_seq", postgresql_where=text("shut_seq IS NOT NULL")),
)

head = Table(
    "head",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    # the log's newest entry
    must("seq", BigInteger),
    must("date_added", WHEN),
    # PostgreSQL's timeline when it was written: another one means failover or restore
    must("timeline", BigInteger),
)

roster = Table(
    "roster",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    # counts the changes of audiences, organizations, groups, collections and keys
    must("version", BigInteger),
)

poll_workers = Table(
    "poll_workers",
    metadata,
    pk(BigInteger(), always=True),
    must("started_at", WHEN),
    # all that it gave out before stands in `polls`
    must("marked_at", WHEN),
    # None while it works, or for ever where it was cut off
    Column("ended_at", WHEN),
)

polls = Table(
    "polls",
    metadata,
    must("at", WHEN),
    must("worker", BigInteger),
    # 0 for who brought none
    must("key", Integer),
    must("collection", Integer),
    # JSON of the filters but for the cursor
    Column("filters", Text),
    # of the rows that it was given
    must("first_added", WHEN),
    must("last_added", WHEN),
    must("count", Integer),
    Index("polls_last_added", "collection", "last_added"),
    Index("polls_at", "at"),
)
