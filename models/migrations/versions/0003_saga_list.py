"""Indexes for the operators' list of sagas."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_order_sagas_unfinished": "completed_at IS NULL",
    "ix_order_sagas_incident": "incident IS NOT NULL",
    "ix_order_sagas_undone": "status IN ('Compensated', 'Failed')",
}


def upgrade() -> None:
    op.create_index(
        "ix_orders_created_at", "orders", [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")]
    )
    for name, condition in INDEXES.items():
        op.create_index(
            name,
            "order_sagas",
            [sa.literal_column("created_at DESC"), sa.literal_column("order_id DESC")],
            postgresql_where=sa.text(condition),
        )


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, table_name="order_sagas")
    op.drop_index("ix_orders_created_at", table_name="orders")
