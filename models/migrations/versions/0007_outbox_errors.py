"""What could not leave is found however much else waits to."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_outbox_last_error",
        "outbox",
        ["last_error", "routing_key"],
        postgresql_where=sa.text("last_error IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_outbox_last_error", table_name="outbox")
