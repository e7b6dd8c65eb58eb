"""By which pepper the keys are hashed, for databases that several machines share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "key_pepper",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("mark", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("id = 1", name="ck_key_pepper_one_row"),
    )


def downgrade() -> None:
    op.drop_table("key_pepper")
