"""Keys, and the version by which other processes see that control data changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("team", sa.Text),
        sa.Column("user_name", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("endpoints", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("expires_at_us", sa.BigInteger),
        sa.Column("revoked_at_us", sa.BigInteger),
        sa.Column("replaces", sa.Text),
        sa.Column("replaced_by", sa.Text),
        sa.Column("on_behalf", sa.Boolean, nullable=False),
        sa.UniqueConstraint("digest", name="uq_keys_digest"),
    )
    current = sa.text("revoked_at_us IS NULL AND replaced_by IS NULL")
    op.create_index(
        "uq_keys_current_name", "keys", ["name"], unique=True, sqlite_where=current, postgresql_where=current
    )
    version = op.create_table(
        "control_version",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.CheckConstraint("id = 1", name="ck_control_version_one_row"),
    )
    op.bulk_insert(version, [{"id": 1, "version": 0}])


def downgrade() -> None:
    op.drop_table("control_version")
    op.drop_table("keys")
