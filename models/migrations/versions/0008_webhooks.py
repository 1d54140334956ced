"""Endpoints of customers' systems, and what is delivered to them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BORN: list[str | sa.ColumnElement[str]] = [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")]
_TYPES = "'order.created', 'order.completed', 'order.failed'"


def upgrade() -> None:
    _webhooks()
    _deliveries()


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        sa.Column("previous_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            f"events <@ ARRAY[{_TYPES}]::text[] AND cardinality(events) > 0", name=op.f("ck_webhooks_events")
        ),
        sa.CheckConstraint("status IN ('enabled', 'disabled')", name=op.f("ck_webhooks_status")),
        sa.CheckConstraint("(status = 'disabled') = (disabled_at IS NOT NULL)", name=op.f("ck_webhooks_disabled_at")),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)", name=op.f("ck_webhooks_disabled_reason")
        ),
        sa.CheckConstraint(
            "(previous_secret IS NULL) = (previous_secret_until IS NULL)", name=op.f("ck_webhooks_previous_secret")
        ),
        sa.CheckConstraint("(deleted_at IS NULL) = (secret <> '')", name=op.f("ck_webhooks_secret")),
        sa.CheckConstraint("deleted_at IS NULL OR previous_secret IS NULL", name=op.f("ck_webhooks_deleted")),
        sa.CheckConstraint(
            "failures >= 0 AND (failures = 0) = (failing_since IS NULL)", name=op.f("ck_webhooks_failing_since")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    alive = sa.text("deleted_at IS NULL")
    op.create_index("ix_webhooks_owner", "webhooks", ["owner", *_BORN], postgresql_where=alive)
    op.create_index("ix_webhooks_created_at", "webhooks", _BORN, postgresql_where=alive)
    op.create_index("ix_webhooks_user_id", "webhooks", ["user_id"], postgresql_where=alive)
    op.create_index(
        "ix_webhooks_disabled_at",
        "webhooks",
        ["disabled_at"],
        postgresql_where=sa.text("disabled_at IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_index(
        "ix_webhooks_deleted_at", "webhooks", ["deleted_at"], postgresql_where=sa.text("deleted_at IS NOT NULL")
    )


def _deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("type", sa.String(20), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("traceparent", sa.String(55), nullable=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("last_status_code", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("log", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.CheckConstraint(f"type IN ({_TYPES}, 'webhook.ping')", name=op.f("ck_webhook_deliveries_type")),
        sa.CheckConstraint("(type = 'webhook.ping') = (order_id IS NULL)", name=op.f("ck_webhook_deliveries_order_id")),
        sa.CheckConstraint("status IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_status")),
        sa.CheckConstraint(
            "(status = 'pending') = (next_attempt_at IS NOT NULL)",
            name=op.f("ck_webhook_deliveries_next_attempt_at"),
        ),
        sa.CheckConstraint(
            "(status = 'delivered') = (delivered_at IS NOT NULL)", name=op.f("ck_webhook_deliveries_delivered_at")
        ),
        sa.CheckConstraint("lease IS NULL OR status = 'pending'", name=op.f("ck_webhook_deliveries_lease")),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_webhook_deliveries_attempts")),
        sa.CheckConstraint("jsonb_typeof(log) = 'array'", name=op.f("ck_webhook_deliveries_log")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint("webhook_id", "event_id", name=op.f("uq_webhook_deliveries_webhook_id_event_id")),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 2000,
            "autovacuum_vacuum_insert_threshold": 10000,
        },
    )
    pending = sa.text("status = 'pending'")
    table = "webhook_deliveries"
    op.create_index("ix_webhook_deliveries_due", table, ["webhook_id", "next_attempt_at"], postgresql_where=pending)
    op.create_index("ix_webhook_deliveries_undelivered", table, ["created_at"], postgresql_where=pending)
    op.create_index("ix_webhook_deliveries_created_at", table, ["webhook_id", *_BORN])
    op.create_index(
        "ix_webhook_deliveries_failed",
        table,
        ["webhook_id", *_BORN],
        postgresql_where=sa.text("status = 'failed'"),
    )
    op.create_index(
        "ix_webhook_deliveries_delivered_at",
        table,
        ["webhook_id", sa.literal_column("delivered_at DESC")],
        postgresql_where=sa.text("status = 'delivered'"),
    )


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
