"""Every table, as data. Alembic's migrations make them; a test compares both.

An API root has these tables in a PostgreSQL schema of its own. Keys are surrogates and never shown. `audiences.above`
holds the nodes from `public` down to the parent; groups and organizations have none. Instants of STIX objects
(`modified`, `created`) are nanoseconds since 1970: microseconds do not tell all versions apart (STIX 2.1 §2.16).
"""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.types import TypeEngine

metadata = MetaData()

_WHEN = DateTime(timezone=True)


def _pk(kind: TypeEngine[int] | None = None, always: bool = False) -> Column[int]:
    return Column("pk", kind or Integer(), Identity(always=always), primary_key=True)


def _must(name: str, kind: Any, *rest: Any, **more: Any) -> Column[Any]:
    return Column(name, kind, *rest, nullable=False, **more)


audiences = Table(
    "audiences",
    metadata,
    _pk(),
    _must("kind", Text),
    _must("code", Text, unique=True),
    _must("above", ARRAY(Integer)),
    # a group whose members are fixed by name: AMBER+STRICT may go there
    _must("frozen", Boolean),
)

jurisdictions = Table(
    "jurisdictions",
    metadata,
    Column("audience", ForeignKey("audiences.pk"), primary_key=True),
    _must("code", Text, unique=True),
    _must("name", Text),
    _must("kind", Text),
    Column("parent", ForeignKey("jurisdictions.audience")),
    _must("fips", Text),
    Column("registered_voters", Integer),
)

organizations = Table(
    "organizations",
    metadata,
    _pk(),
    Column("audience", ForeignKey("audiences.pk"), nullable=False, unique=True),
    # STIX id of the identity under which it produces objects
    _must("identity", Text, unique=True),
    _must("name", Text),
    _must("kind", Text),
    Column("jurisdiction", ForeignKey("jurisdictions.audience")),
    _must("contact_email", Text),
    Index("organizations_name", text("lower(name)"), unique=True),
    Index("organizations_isac", "kind", unique=True, postgresql_where=text("kind = 'isac'")),
)

group_members = Table(
    "group_members",
    metadata,
    Column("audience", ForeignKey("audiences.pk"), primary_key=True),
    Column("organization", ForeignKey("organizations.pk"), primary_key=True),
)

collections = Table(
    "collections",
    metadata,
    _pk(),
    # UUIDv4, drawn once (TAXII 2.1 §2)
    _must("id", Uuid, unique=True),
    _must("alias", Text, unique=True),
    _must("title", Text, unique=True),
    _must("description", Text),
    # fixed for the collection's life; another list is another collection
    _must("audiences", ARRAY(Integer)),
    # the last of them, on which POST and DELETE act
    Column("own", ForeignKey("audiences.pk"), nullable=False, unique=True),
)

keys = Table(
    "keys",
    metadata,
    _pk(),
    _must("key_id", Text, unique=True),
    # SHA-256 of the whole secret
    _must("secret_hash", LargeBinary),
    Column("organization", ForeignKey("organizations.pk"), nullable=False),
    _must("role", Text),
    _must("created_at", _WHEN),
    Column("revoked_at", _WHEN),
    # SHA-256 of a client certificate's DER: another way to prove that one is this key
    Column("certificate", LargeBinary),
    # its product wants an empty list of objects where there is nothing
    _must("empty_objects", Boolean, server_default=text("false")),
    Index("keys_certificate", "certificate", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

audit = Table(
    "audit",
    metadata,
    _pk(BigInteger(), always=True),
    _must("at", _WHEN),
    _must("actor", Text),
    _must("action", Text),
    _must("subject", Text),
    _must("reason", Text),
)

root = Table(
    "root",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    # hides positions in `next`; the same for all workers, for ever
    _must("token_key", LargeBinary),
)

producers = Table("producers", metadata, _pk(), _must("identity", Text, unique=True))

submissions = Table(
    "submissions",
    metadata,
    _pk(BigInteger()),
    # the TAXII status id, UUIDv4
    _must("id", Uuid, unique=True),
    Column("organization", ForeignKey("organizations.pk"), nullable=False),
    _must("actor", Text),
    Column("audience", ForeignKey("audiences.pk"), nullable=False),
    _must("source", Text),
    _must("received_at", _WHEN),
    # None while it is being taken in
    Column("completed_at", _WHEN),
    _must("accepted", Integer, server_default=text("0")),
    _must("held", Integer, server_default=text("0")),
    _must("refused", Integer, server_default=text("0")),
    _must("repeated", Integer, server_default=text("0")),
    # JSON of the lines of the status resource
    Column("report", LargeBinary),
    # what it was read from; None for what came over TAXII, whose objects are kept as they came
    Column("payload", ForeignKey("payloads.pk", ondelete="SET NULL")),
    # of a member of an archive: which
    Column("name", Text),
    # how it was read: the feed's name, the marking and the leave that it was handed in with
    Column("feed", Text),
    Column("tlp", SmallInteger),
    _must("sample", Boolean, server_default=text("false")),
    # words for analysts, of whoever handed it in
    _must("context", Text, server_default=text("''")),
    # JSON of how it was read, as a feed's definition says it, where it says so itself
    Column("definition", Text),
    # how many of its lines or rows gave no object, and in how many nothing was meant as one
    _must("unreadable", Integer, server_default=text("0")),
    _must("left_out", Integer, server_default=text("0")),
    # JSON of those lines, and of the names of objects that were held or refused
    Column("details", LargeBinary),
    # when its writer was last heard of: one that is silent was killed
    Column("alive_at", _WHEN),
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
    _must("digest", LargeBinary),
    _must("at", _WHEN),
    _must("status", SmallInteger),
    _must("body", LargeBinary),
    PrimaryKeyConstraint("organization", "key"),
    Index("answers_at", "at"),
)

payloads = Table(
    "payloads",
    metadata,
    _pk(BigInteger()),
    # of the whole, unpacked or not, as it came
    _must("sha256", LargeBinary, unique=True),
    _must("size", BigInteger),
    _must("media_type", Text),
    # when it came for the first and for the last time
    _must("first_at", _WHEN),
    _must("last_at", _WHEN),
    Index("payloads_last_at", "last_at"),
)

payload_pieces = Table(
    "payload_pieces",
    metadata,
    # 1 MiB of it each, but for the last
    Column("payload", ForeignKey("payloads.pk", ondelete="CASCADE")),
    Column("nth", Integer),
    _must("gzip", LargeBinary),
    PrimaryKeyConstraint("payload", "nth"),
)

feed_runs = Table(
    "feed_runs",
    metadata,
    _pk(BigInteger()),
    _must("feed", Text),
    _must("started_at", _WHEN),
    Column("ended_at", _WHEN),
    # what became of it; of one that is `running` though nobody holds its lock, its worker was killed
    _must("outcome", Text),
    # in words for an operator; empty where there is none
    _must("problem", Text),
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
    _must("feed", Text),
    _must("name", Text(collation="C")),
    # JSON: what tells whether it changed
    _must("mark", LargeBinary),
    # how often in a row it could not be taken in, and when it is asked for again
    _must("failures", SmallInteger),
    Column("again_at", _WHEN),
    # when the source last had it, give or take a day
    _must("met_at", _WHEN, server_default=text("now()")),
    PrimaryKeyConstraint("feed", "name"),
)

listed = Table(
    "listed",
    metadata,
    # what a list that shows what holds now names, by the ids of our objects; `gone_since` it does not any more
    _must("feed", Text),
    _must("stix_id", Text(collation="C")),
    Column("gone_since", _WHEN),
    PrimaryKeyConstraint("feed", "stix_id"),
    Index("listed_gone", "feed", "gone_since", postgresql_where=text("gone_since IS NOT NULL")),
)

warninglists = Table(
    "warninglists",
    metadata,
    _pk(),
    # of its folder; what it means stands in policy/warninglists.py
    _must("name", Text(collation="C"), unique=True),
    _must("title", Text),
    _must("version", Text),
    # how its source says that it is compared: cidr, hostname, string, substring, regex
    _must("kind", Text),
    # SHA-256 of its file: the same is not read again
    _must("digest", LargeBinary),
    _must("entries", Integer),
    # how many of them name nothing that an indicator could
    _must("left_out", Integer),
    _must("loaded_at", _WHEN),
)

warning_names = Table(
    "warning_names",
    metadata,
    # a domain from its top down (`com,example,www`), so that what lies below it follows it; others as they are
    Column("name", Text(collation="C")),
    Column("list", Integer),
    # it stands for all below it as well
    _must("below", Boolean),
    PrimaryKeyConstraint("name", "list"),
)

warning_networks = Table(
    "warning_networks",
    metadata,
    Column("network", INET),
    Column("list", Integer),
    # all networks of any list that contain it
    _must("above", ARRAY(INET), server_default=text("'{}'")),
    PrimaryKeyConstraint("network", "list"),
)

objects = Table("objects", metadata, _pk(BigInteger()), _must("stix_id", Text(collation="C"), unique=True))

versions = Table(
    "versions",
    metadata,
    _pk(BigInteger()),
    _must("object", BigInteger),
    _must("producer", Integer),
    # 0 for what has neither modified nor created
    _must("modified", BigInteger),
    Column("created", BigInteger),
    # the instant's own text
    Column("version", Text),
    _must("type", Text),
    _must("tlp", SmallInteger),
    _must("revoked", Boolean),
    # set by `expire`
    _must("expired", Boolean),
    # wherever it stood: as if it had never come
    _must("deleted", Boolean),
    Column("valid_until", _WHEN),
    # of an unversioned object: its version in every collection
    Column("first_added", _WHEN),
    # the organization that handed it in; of a relayed object not its producer
    _must("publisher", Integer),
    Column("submission", BigInteger),
    # empty: it was erased, and is no fact any more
    _must("raw", LargeBinary),
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
    _must("ordinal", BigInteger, Identity()),
    _must("object", BigInteger),
    _must("producer", Integer),
    _must("audience", Integer),
    # versions that were deleted here
    _must("without", ARRAY(BigInteger)),
    _must("granted_at", _WHEN),
    _must("granted_by", Text),
    PrimaryKeyConstraint("object", "audience", "producer"),
)

erased = Table(
    "erased",
    metadata,
    # what was erased, and does not come in again
    _pk(BigInteger(), always=True),
    _must("object", BigInteger),
    # None: everybody's
    Column("producer", Integer),
    # None: every version
    Column("modified", BigInteger),
    # SHA-256 of each object's bytes
    _must("digests", ARRAY(LargeBinary)),
    _must("at", _WHEN),
    Index("erased_object", "object"),
)

waiting = Table(
    "waiting",
    metadata,
    # newer versions that are held, but whose marking rules already
    _must("object", BigInteger),
    _must("producer", Integer),
    _must("modified", BigInteger),
    _must("tlp", SmallInteger),
    PrimaryKeyConstraint("object", "producer", "modified"),
)

notices = Table(
    "notices",
    metadata,
    # the note's
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    # the object that was withdrawn
    _must("object", BigInteger),
    _must("audience", Integer),
    _must("ends_at", _WHEN),
    Index("notices_object", "object"),
    Index("notices_ends_at", "ends_at"),
)

held = Table(
    "held",
    metadata,
    _pk(BigInteger()),
    # SHA-256 of raw: the same bytes for the same audience wait once
    _must("digest", LargeBinary),
    Column("submission", ForeignKey("submissions.pk"), nullable=False),
    Column("audience", ForeignKey("audiences.pk"), nullable=False),
    _must("stix_id", Text),
    _must("version", Text),
    _must("type", Text),
    _must("rule", Text),
    _must("reason", Text),
    _must("held_at", _WHEN),
    _must("raw", LargeBinary),
    # of what is held for nothing but its time: when that has come, and its TLP, on which its company had a say
    Column("until", _WHEN),
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
    _must("count", Integer),
    # as this submission may know it, which another organization's may not
    _must("reason", Text),
    PrimaryKeyConstraint("submission", "held"),
    Index("pendings_held", "held"),
)

log = Table(
    "log",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _must("date_added", _WHEN),
    _must("object", BigInteger),
    _must("version", BigInteger),
    _must("modified", BigInteger),
    # in the default view until here, in every view until there
    Column("ended_seq", BigInteger),
    Column("shut_seq", BigInteger),
    _must("audience", Integer),
    _must("tlp", SmallInteger),
    _must("type", Text),
    _must("version_text", Text),
    # the version's bytes once more: a page needs no join
    _must("raw", LargeBinary),
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
    _must("seq", BigInteger),
    _must("date_added", _WHEN),
    # PostgreSQL's timeline when it was written: another one means failover or restore
    _must("timeline", BigInteger),
)

roster = Table(
    "roster",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    # counts the changes of audiences, organizations, groups, collections and keys
    _must("version", BigInteger),
)

poll_workers = Table(
    "poll_workers",
    metadata,
    _pk(BigInteger(), always=True),
    _must("started_at", _WHEN),
    # all that it gave out before stands in `polls`
    _must("marked_at", _WHEN),
    # None while it works, or for ever where it was cut off
    Column("ended_at", _WHEN),
)

polls = Table(
    "polls",
    metadata,
    _must("at", _WHEN),
    _must("worker", BigInteger),
    # 0 for who brought none
    _must("key", Integer),
    _must("collection", Integer),
    # JSON of the filters but for the cursor
    Column("filters", Text),
    # of the rows that it was given
    _must("first_added", _WHEN),
    _must("last_added", _WHEN),
    _must("count", Integer),
    Index("polls_last_added", "collection", "last_added"),
    Index("polls_at", "at"),
)

assets = Table(
    "assets",
    metadata,
    _pk(BigInteger()),
    # UUIDv4, as the API names it
    _must("id", Uuid, unique=True),
    Column("organization", ForeignKey("organizations.pk"), nullable=False),
    # domain, network, vendor or product; its value in the canonical form of policy.assets
    _must("kind", Text),
    _must("value", Text(collation="C")),
    Column("network", INET),
    _must("added_at", _WHEN),
    _must("added_by", Text),
    # when all that was there before was looked through for it
    Column("looked_at", _WHEN),
    UniqueConstraint("organization", "kind", "value"),
    CheckConstraint("kind IN ('domain', 'network', 'vendor', 'product')"),
    CheckConstraint("(network IS NULL) = (kind <> 'network')"),
    Index(
        "assets_network",
        "network",
        postgresql_using="gist",
        postgresql_ops={"network": "inet_ops"},
        postgresql_where=text("network IS NOT NULL"),
    ),
    Index("assets_unlooked", "added_at", postgresql_where=text("looked_at IS NULL")),
)

asset_keys = Table(
    "asset_keys",
    metadata,
    # CRC-32 of what policy.assets.asset_keys says: what shares a key is compared once more
    _must("key", Integer),
    _must("asset", BigInteger),
    PrimaryKeyConstraint("key", "asset"),
)

alerts = Table(
    "alerts",
    metadata,
    _pk(BigInteger()),
    # UUIDv4, as the API names it
    _must("id", Uuid, unique=True),
    # whose alone it is
    Column("organization", ForeignKey("organizations.pk"), nullable=False),
    # the asset as it was registered then: an alert outlives it
    _must("about_kind", Text),
    _must("about", Text),
    # a word of policy.alerts.HOW
    _must("how", Text),
    # what names it; no value where that is not for the organization to know
    _must("kind", Text),
    Column("value", Text),
    # the first 16 bytes of the SHA-256 of kind, a zero byte and value
    _must("digest", LargeBinary),
    _must("stix_id", Text(collation="C")),
    _must("type", Text),
    # where it was released; None: it was held, or released where the organization does not read
    Column("audience", ForeignKey("audiences.pk")),
    _must("source", Text),
    _must("at", _WHEN),
    Column("acknowledged_at", _WHEN),
    Column("acknowledged_by", Text),
    Column("note", Text),
    UniqueConstraint("organization", "about_kind", "about", "digest", "stix_id"),
    Index("alerts_organization", "organization", "pk"),
    Index("alerts_open", "organization", "pk", postgresql_where=text("acknowledged_at IS NULL")),
)
