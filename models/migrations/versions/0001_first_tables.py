"""The first tables: orders, sagas, request identities, outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(50), nullable=False),
        sa.Column("items", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("total_amount", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("jsonb_typeof(items) = 'array'", name=op.f("ck_orders_items")),
        sa.CheckConstraint("status IN ('Pending', 'Confirmed', 'Failed')", name=op.f("ck_orders_status")),
        sa.CheckConstraint("total_amount >= 0 AND total_amount <> 'NaN'", name=op.f("ck_orders_total_amount")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
    )
    op.create_index(
        "ix_orders_user_id_created_at",
        "orders",
        ["user_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("exchange", sa.String(255), nullable=False),
        sa.Column("routing_key", sa.String(255), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("saga_id", sa.Uuid(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("traceparent", sa.String(55), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 2000,
            "autovacuum_vacuum_insert_threshold": 10000,
        },
    )
    op.create_index("ix_outbox_lease_until", "outbox", ["lease_until"], unique=False)
    op.create_table(
        "order_sagas",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(50), nullable=False),
        sa.Column("current_step", sa.String(50), nullable=False),
        sa.Column("history", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("table_version", sa.Integer(), nullable=False),
        sa.Column("open_command", sa.String(50), nullable=True),
        sa.Column("sent", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("timer", sa.String(10), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("incident", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("failed_step", sa.String(50), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.String(55), nullable=False),
        sa.CheckConstraint(
            "(status = 'Started' AND current_step = 'ValidateInventory' AND coalesce(open_command, '') = 'ValidateInventory') OR (status = 'InProgress' AND current_step = 'ReserveInventory' AND coalesce(open_command, '') = 'ReserveInventory') OR (status = 'InProgress' AND current_step = 'ProcessPayment' AND coalesce(open_command, '') = 'ProcessPayment') OR (status = 'Compensating' AND current_step = 'Compensating' AND coalesce(open_command, '') = 'RefundPayment') OR (status = 'Compensating' AND current_step = 'Compensating' AND coalesce(open_command, '') = 'ReleaseInventory') OR (status = 'Completed' AND current_step = 'Completed' AND coalesce(open_command, '') = '') OR (status = 'Failed' AND current_step = 'Failed' AND coalesce(open_command, '') = '') OR (status = 'Compensated' AND current_step = 'Compensated' AND coalesce(open_command, '') = '') OR (status = 'Failed' AND current_step = 'Failed' AND coalesce(open_command, '') = 'RefundPayment') OR (status = 'Failed' AND current_step = 'Failed' AND coalesce(open_command, '') = 'ReleaseInventory') OR (status = 'Compensated' AND current_step = 'Compensated' AND coalesce(open_command, '') = 'RefundPayment') OR (status = 'Compensated' AND current_step = 'Compensated' AND coalesce(open_command, '') = 'ReleaseInventory')",
            name=op.f("ck_order_sagas_position"),
        ),
        sa.CheckConstraint(
            "(status IN ('Compensated', 'Completed', 'Failed')) = (completed_at IS NOT NULL)",
            name=op.f("ck_order_sagas_completed_at"),
        ),
        sa.CheckConstraint(
            "CASE WHEN timer IS NULL THEN due_at IS NULL WHEN timer = 'reask' THEN incident IS NOT NULL ELSE due_at IS NOT NULL END",
            name=op.f("ck_order_sagas_due_at"),
        ),
        sa.CheckConstraint("jsonb_typeof(history) = 'array'", name=op.f("ck_order_sagas_history")),
        sa.CheckConstraint("timer IN ('reply', 'retry', 'reask')", name=op.f("ck_order_sagas_timer_word")),
        sa.CheckConstraint("(open_command IS NULL) = (timer IS NULL)", name=op.f("ck_order_sagas_timer")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_order_sagas_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_sagas")),
        sa.UniqueConstraint("order_id", name=op.f("uq_order_sagas_order_id")),
    )
    op.create_index(
        "ix_order_sagas_due_at", "order_sagas", ["due_at"], unique=False, postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.create_table(
        "request_identities",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["orders.id"],
            name=op.f("fk_request_identities_order_id"),
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_request_identities")),
    )


def downgrade() -> None:
    op.drop_table("request_identities")
    op.drop_index("ix_order_sagas_due_at", table_name="order_sagas", postgresql_where=sa.text("due_at IS NOT NULL"))
    op.drop_table("order_sagas")
    op.drop_index("ix_outbox_lease_until", table_name="outbox")
    op.drop_table("outbox")
    op.drop_index("ix_orders_user_id_created_at", table_name="orders")
    op.drop_table("orders")
