"""What was handed in, what it was read from, and what feeds brought."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from isac.store.tables.columns import WHEN, metadata, must, pk

submissions = Table(
    "submissions",
    metadata,
    pk(BigInteger()),
    # the TAXII status id, UUIDv4
    must("id", Uuid, unique=True),
    Column("organization", ForeignKey("organizations.pk"), nullable=False),
    must("actor", Text),
    Column("audience", ForeignKey("audiences.pk"), nullable=False),
    must("source", Text),
    must("received_at", WHEN),
    # None while it is being taken in
    Column("completed_at", WHEN),
    must("accepted", Integer, server_default=text("0")),
    must("held", Integer, server_default=text("0")),
    must("refused", Integer, server_default=text("0")),
    must("repeated", Integer, server_default=text("0")),
    # JSON of the lines of the status resource
    Column("report", LargeBinary),
    # what it was read from; None for what came over TAXII, whose objects are kept as they came
    Column("payload", ForeignKey("payloads.pk", ondelete="SET NULL")),
    # of a member of an archive: which
    Column("name", Text),
    # how it was read: the feed's name, the marking and the leave that it was handed in with
    Column("feed", Text),
    Column("tlp", SmallInteger),
    must("sample", Boolean, server_default=text("false")),
    # words for analysts, of whoever handed it in
    must("context", Text, server_default=text("''")),
    # JSON of how it was read, as a feed's definition says it, where it says so itself
    Column("definition", Text),
    # how many of its lines or rows gave no object, and in how many nothing was meant as one
    must("unreadable", Integer, server_default=text("0")),
    must("left_out", Integer, server_default=text("0")),
    # JSON of those lines, and of the names of objects that were held or refused
    Column("details", LargeBinary),
    # when its writer was last heard of: one that is silent was killed
    Column("alive_at", WHEN),
    Index("submissions_open", "pk", postgresql_where=text("completed_at IS NULL")),
    Index("submissions_payload", "payload", postgresql_where=text("payload IS NOT NULL")),
    Index("submissions_organization", "organization", "pk"),
)

answers = Table(
    "answers",
    metadata,
    Column("organization", ForeignKey("organizations.pk")),
    # the Idempotency-Key of a request
    Column("key", Text(collation="C")),
    # SHA-256 of all that was asked
    must("digest", LargeBinary),
    must("at", WHEN),
    must("status", SmallInteger),
    must("body", LargeBinary),
    PrimaryKeyConstraint("organization", "key"),
    Index("answers_at", "at"),
)

payloads = Table(
    "payloads",
    metadata,
    pk(BigInteger()),
    # of the whole, unpacked or not, as it came
    must("sha256", LargeBinary, unique=True),
    must("size", BigInteger),
    must("media_type", Text),
    # when it came for the first and for the last time
    must("first_at", WHEN),
    must("last_at", WHEN),
    Index("payloads_last_at", "last_at"),
)

payload_pieces = Table(
    "payload_pieces",
    metadata,
    # 1 MiB of it each, but for the last
    Column("payload", ForeignKey("payloads.pk", ondelete="CASCADE")),
    Column("nth", Integer),
    must("gzip", LargeBinary),
    PrimaryKeyConstraint("payload", "nth"),
)

feed_runs = Table(
    "feed_runs",
    metadata,
    pk(BigInteger()),
    must("feed", Text),
    must("started_at", WHEN),
    Column("ended_at", WHEN),
    # what became of it; of one that is `running` though nobody holds its lock, its worker was killed
    must("outcome", Text),
    # in words for an operator; empty where there is none
    must("problem", Text),
    Column("submission", ForeignKey("submissions.pk")),
    Column("payload", ForeignKey("payloads.pk", ondelete="SET NULL")),
    Column("size", BigInteger),
    # objects or values that it names, and lines that nobody could read
    Column("listed", Integer),
    Column("unreadable", Integer),
    # JSON: from where the next run goes on
    Column("bookmark", LargeBinary),
    CheckConstraint("outcome IN ('running', 'taken', 'kept', 'unchanged', 'suspect', 'failed')"),
    Index("feed_runs_feed", "feed", "pk"),
    Index("feed_runs_payload", "payload", postgresql_where=text("payload IS NOT NULL")),
)

feed_documents = Table(
    "feed_documents",
    metadata,
    # of a source that has many documents, each as it was when it was taken in, or could not be
    must("feed", Text),
    must("name", Text(collation="C")),
    # JSON: what tells whether it changed
    must("mark", LargeBinary),
    # how often in a row it could not be taken in, and when it is asked for again
    must("failures", SmallInteger),
    Column("again_at", WHEN),
    # when the source last had it, give or take a day
    must("met_at", WHEN, server_default=text("now()")),
    PrimaryKeyConstraint("feed", "name"),
)

listed = Table(
    "listed",
    metadata,
    # what a list that shows what holds now names, by the ids of our objects; `gone_since` it does not any more
    must("feed", Text),
    must("stix_id", Text(collation="C")),
    Column("gone_since", WHEN),
    PrimaryKeyConstraint("feed", "stix_id"),
    Index("listed_gone", "feed", "gone_since", postgresql_where=text("gone_since IS NOT NULL")),
)
