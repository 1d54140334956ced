"""Since when a saga stands where it stands."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # with a default no row is written again, and workers of the release before go on
    op.add_column(
        "order_sagas",
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    # nothing tells when these took their position, only when they last changed; of those that stand for good nobody asks
    op.execute("UPDATE order_sagas SET entered_at = updated_at WHERE due_at IS NOT NULL OR incident IS NOT NULL")


def downgrade() -> None:
    op.drop_column("order_sagas", "entered_at")
