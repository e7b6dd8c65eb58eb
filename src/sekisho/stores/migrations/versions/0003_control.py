"""Teams, users, budgets, limits, stops, and the audit of every change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _make_rules()
    _make_audit()
    op.create_table("teams", sa.Column("name", sa.Text, primary_key=True), sa.Column("department", sa.Text))
    op.create_table("users", sa.Column("name", sa.Text, primary_key=True), sa.Column("team", sa.Text))
    op.create_table(
        "stops",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("by_name", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )


def _make_rules() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("of_team", sa.Text),
        sa.Column("amount_nanos", sa.BigInteger, nullable=False),
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("on_exceed", sa.Text, nullable=False),
        sa.Column("degrade_to", sa.Text),
        sa.Column("strict", sa.Boolean, nullable=False),
        sa.CheckConstraint("amount_nanos >= 0", name="ck_budgets_amount"),
    )
    op.create_table(
        "limits",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("of_team", sa.Text),
        sa.Column("qpm", sa.BigInteger),
        sa.Column("tpm", sa.BigInteger),
        sa.Column("concurrency", sa.BigInteger),
        sa.Column("burst_s", sa.Float, nullable=False),
        sa.Column("wait_s", sa.Float, nullable=False),
    )


def _make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("actor_name", sa.Text, nullable=False),
        sa.Column("actor_role", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("object_id", sa.Text, nullable=False),
        sa.Column("before_json", sa.Text),
        sa.Column("after_json", sa.Text),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in ("audit", "stops", "limits", "budgets", "users", "teams"):
        op.drop_table(table)
