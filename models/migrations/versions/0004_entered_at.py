"""Since when a saga stands where it stands."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("order_sagas", sa.Column("entered_at", sa.DateTime(timezone=True)))
    # nothing tells of earlier ones when they took their position, only when they last changed
    op.execute("UPDATE order_sagas SET entered_at = coalesce(completed_at, updated_at)")
    op.alter_column("order_sagas", "entered_at", nullable=False)


def downgrade() -> None:
    op.drop_column("order_sagas", "entered_at")
