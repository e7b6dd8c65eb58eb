"""The tables of the control database as they should be. Must change only together with a migration: a test compares."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

#: names are unique among the keys that are current: neither revoked nor replaced by a rotation
_CURRENT = text("revoked_at_us IS NULL AND replaced_by IS NULL")

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("team", Text),
    Column("user_name", Text),
    Column("role", Text, nullable=False),
    # a JSON array of names
    Column("endpoints", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("expires_at_us", BigInteger),
    Column("revoked_at_us", BigInteger),
    Column("replaces", Text),
    Column("replaced_by", Text),
    Column("on_behalf", Boolean, nullable=False),
    UniqueConstraint("digest", name="uq_keys_digest"),
    Index("uq_keys_current_name", "name", unique=True, sqlite_where=_CURRENT, postgresql_where=_CURRENT),
)

#: one row; its number grows in the same transaction as every change of control data
control_version = Table(
    "control_version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="ck_control_version_one_row"),
)

#: one row at most: a digest of the pepper of the keys, where several machines share the database
key_pepper = Table(
    "key_pepper",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("mark", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="ck_key_pepper_one_row"),
)

#: a budget has reached a mark; equal ids are one event, whichever worker noticed it
budget_events = Table(
    "budget_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("budget", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("percent", Integer, nullable=False),
    Column("spent_nanos", BigInteger, nullable=False),
    Column("amount_nanos", BigInteger, nullable=False),
    Column("period_start_us", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_budget_events_at", "at_us"),
)

teams = Table(
    "teams",
    metadata,
    Column("name", Text, primary_key=True),
    Column("department", Text),
)

users = Table(
    "users",
    metadata,
    Column("name", Text, primary_key=True),
    Column("team", Text),
)

budgets = Table(
    "budgets",
    metadata,
    Column("id", Text, primary_key=True),
    # a JSON object: scope name to value
    Column("scope", Text, nullable=False),
    # the team that set it for itself
    Column("of_team", Text),
    Column("amount_nanos", BigInteger, nullable=False),
    Column("period", Text, nullable=False),
    Column("on_exceed", Text, nullable=False),
    Column("degrade_to", Text),
    Column("strict", Boolean, nullable=False),
    CheckConstraint("amount_nanos >= 0", name="ck_budgets_amount"),
)

limits = Table(
    "limits",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("of_team", Text),
    Column("qpm", BigInteger),
    Column("tpm", BigInteger),
    Column("concurrency", BigInteger),
    Column("burst_s", Float, nullable=False),
    Column("wait_s", Float, nullable=False),
)

stops = Table(
    "stops",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by_name", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

#: every change of control data, written in its transaction; rows are never changed
audit = Table(
    "audit",
    metadata,
    # SQLite counts up by itself for INTEGER only
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("actor_role", Text, nullable=False),
    Column("request_id", Text),
    Column("action", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("before_json", Text),
    Column("after_json", Text),
    sqlite_autoincrement=True,
)
