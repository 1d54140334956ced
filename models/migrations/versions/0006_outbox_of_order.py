"""What of an order waits to leave is found however much else does."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_outbox_order_id", "outbox", ["order_id"])


def downgrade() -> None:
    op.drop_index("ix_outbox_order_id", table_name="outbox")
