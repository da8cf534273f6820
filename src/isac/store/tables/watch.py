"""What values are compared with: warninglists, and what members own, with the alerts about it."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import INET

from isac.store.tables.columns import WHEN, metadata, must, pk

warninglists = Table(
    "warninglists",
    metadata,
    pk(),
    # of its folder; what it means stands in policy/warninglists.py
    must("name", Text(collation="C"), unique=True),
    must("title", Text),
    must("version", Text),
    # how its source says that it is compared: cidr, hostname, string, substring, regex
    must("kind", Text),
    # SHA-256 of its file: the same is not read again
    must("digest", LargeBinary),
    must("entries", Integer),
    # how many of them name nothing that an indicator could
    must("left_out", Integer),
    must("loaded_at", WHEN),
)

warning_names = Table(
    "warning_names",
    metadata,
    # a domain from its top down (`com,example,www`), so that what lies below it follows it; others as they are
    Column("name", Text(collation="C")),
    Column("list", Integer),
    # it stands for all below it as well
    must("below", Boolean),
    PrimaryKeyConstraint("name", "list"),
)

warning_networks = Table(
    "warning_networks",
    metadata,
    Column("network", INET),
    Column("list", Integer),
    # all networks of any list that contain it
    must("above", ARRAY(INET), server_default=text("'{}'")),
    PrimaryKeyConstraint("network", "list"),
)

assets = Table(
    "assets",
    metadata,
    pk(BigInteger()),
    # UUIDv4, as the API names it
    must("id", Uuid, unique=True),
    Column("organization", ForeignKey("organizations.pk"), nullable=False),
    # domain, network, vendor or product; its value in the canonical form of policy.assets
    must("kind", Text),
    must("value", Text(collation="C")),
    Column("network", INET),
    must("added_at", WHEN),
    must("added_by", Text),
    # when all that was there before was looked through for it
    Column("looked_at", WHEN),
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
    must("key", Integer),
    must("asset", BigInteger),
    PrimaryKeyConstraint("key", "asset"),
)

alerts = Table(
    "alerts",
    metadata,
    pk(BigInteger()),
    # UUIDv4, as the API names it
    must("id", Uuid, unique=True),
    # whose alone it is
    Column("organization", ForeignKey("organizations.pk"), nullable=False),
    # the asset as it was registered then: an alert outlives it
    must("about_kind", Text),
    must("about", Text),
    # a word of policy.alerts.HOW
    must("how", Text),
    # what names it; no value where that is not for the organization to know
    must("kind", Text),
    Column("value", Text),
    # the first 16 bytes of the SHA-256 of kind, a zero byte and value
    must("digest", LargeBinary),
    must("stix_id", Text(collation="C")),
    must("type", Text),
    # where it was released; None: it was held, or released where the organization does not read
    Column("audience", ForeignKey("audiences.pk")),
    must("source", Text),
    must("at", WHEN),
    Column("acknowledged_at", WHEN),
    Column("acknowledged_by", Text),
    Column("note", Text),
    UniqueConstraint("organization", "about_kind", "about", "digest", "stix_id"),
    Index("alerts_organization", "organization", "pk"),
    Index("alerts_open", "organization", "pk", postgresql_where=text("acknowledged_at IS NULL")),
)
