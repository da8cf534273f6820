"""Who there is, and what each may see: audiences, jurisdictions, organizations, collections, keys, the audit."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)

from isac.store.tables.columns import WHEN, metadata, must, pk

audiences = Table(
    "audiences",
    metadata,
    pk(),
    must("kind", Text),
    must("code", Text, unique=True),
    must("above", ARRAY(Integer)),
    # a group whose members are fixed by name: AMBER+STRICT may go there
    must("frozen", Boolean),
)

jurisdictions = Table(
    "jurisdictions",
    metadata,
    Column("audience", ForeignKey("audiences.pk"), primary_key=True),
    must("code", Text, unique=True),
    must("name", Text),
    must("kind", Text),
    Column("parent", ForeignKey("jurisdictions.audience")),
    must("fips", Text),
    Column("registered_voters", Integer),
)

organizations = Table(
    "organizations",
    metadata,
    pk(),
    Column("audience", ForeignKey("audiences.pk"), nullable=False, unique=True),
    # STIX id of the identity under which it produces objects
    must("identity", Text, unique=True),
    must("name", Text),
    must("kind", Text),
    Column("jurisdiction", ForeignKey("jurisdictions.audience")),
    must("contact_email", Text),
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
    pk(),
    # UUIDv4, drawn once (TAXII 2.1 §2)
    must("id", Uuid, unique=True),
    must("alias", Text, unique=True),
    must("title", Text, unique=True),
    must("description", Text),
    # fixed for the collection's life; another list is another collection
    must("audiences", ARRAY(Integer)),
    # the last of them, on which POST and DELETE act
    Column("own", ForeignKey("audiences.pk"), nullable=False, unique=True),
)

keys = Table(
    "keys",
    metadata,
    pk(),
    must("key_id", Text, unique=True),
    # SHA-256 of the whole secret
    must("secret_hash", LargeBinary),
    Column("organization", ForeignKey("organizations.pk"), nullable=False),
    must("role", Text),
    must("created_at", WHEN),
    Column("revoked_at", WHEN),
    # SHA-256 of a client certificate's DER: another way to prove that one is this key
    Column("certificate", LargeBinary),
    # its product wants an empty list of objects where there is nothing
    must("empty_objects", Boolean, server_default=text("false")),
    Index("keys_certificate", "certificate", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

audit = Table(
    "audit",
    metadata,
    pk(BigInteger(), always=True),
    must("at", WHEN),
    must("actor", Text),
    must("action", Text),
    must("subject", Text),
    must("reason", Text),
)

root = Table(
    "root",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    # hides positions in `next`; the same for all workers, for ever
    must("token_key", LargeBinary),
)

producers = Table("producers", metadata, pk(), must("identity", Text, unique=True))
