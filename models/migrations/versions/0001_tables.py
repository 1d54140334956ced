"""All tables: each is described where it is declared, in models/tables.py."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "activity",
        sa.Column("begin", sa.DateTime(timezone=True), nullable=False),
        sa.Column("worker", sa.Uuid(), nullable=False),
        sa.Column("started", sa.Integer(), nullable=False),
        sa.Column("completed", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("compensated", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("slowest", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("begin", "worker", name=op.f("pk_activity")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(100), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.String(255), nullable=False),
        sa.Column("exchange", sa.String(255), nullable=False),
        sa.Column("queue", sa.String(255), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("whole_size", sa.BigInteger(), nullable=True),
        sa.Column("whole_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("redriven_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("redriven_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("discarded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("discard_reason", sa.Text(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "jsonb_typeof(headers) = 'object' AND jsonb_typeof(properties) = 'object'",
            name=op.f("ck_dead_letters_tables"),
        ),
        sa.CheckConstraint(
            "(closed_by IS NULL) = (redriven_at IS NULL AND discarded_at IS NULL)",
            name=op.f("ck_dead_letters_closed_by"),
        ),
        sa.CheckConstraint("(discarded_at IS NULL) = (discard_reason IS NULL)", name=op.f("ck_dead_letters_discarded")),
        sa.CheckConstraint("(whole_size IS NULL) = (whole_sha256 IS NULL)", name=op.f("ck_dead_letters_whole")),
        sa.CheckConstraint("count >= 1 AND redriven_count >= 0", name=op.f("ck_dead_letters_counts")),
        sa.CheckConstraint("first_at <= last_at", name=op.f("ck_dead_letters_times")),
        sa.CheckConstraint("octet_length(identity) = 32", name=op.f("ck_dead_letters_identity")),
        sa.CheckConstraint("octet_length(whole_sha256) = 32", name=op.f("ck_dead_letters_whole_sha256")),
        sa.CheckConstraint(
            "redriven_at IS NULL OR (discarded_at IS NULL AND redriven_count >= 1)",
            name=op.f("ck_dead_letters_redriven"),
        ),
        sa.CheckConstraint("whole_size > octet_length(body)", name=op.f("ck_dead_letters_whole_size")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint("identity", name=op.f("uq_dead_letters_identity")),
    )
    op.create_index(
        "ix_dead_letters_closed_at",
        "dead_letters",
        [sa.literal_column("coalesce(redriven_at, discarded_at)")],
        unique=False,
        postgresql_where=sa.text("redriven_at IS NOT NULL OR discarded_at IS NOT NULL"),
    )
    op.create_index(
        "ix_dead_letters_last_at",
        "dead_letters",
        [sa.literal_column("last_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("redriven_at IS NULL AND discarded_at IS NULL"),
    )
    op.create_index(
        "ix_dead_letters_queue_sender",
        "dead_letters",
        [sa.literal_column("coalesce(queue, '')"), sa.literal_column("coalesce(properties ->> 'user_id', '')")],
        unique=False,
        postgresql_where=sa.text("redriven_at IS NULL AND discarded_at IS NULL"),
    )
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
        "ix_orders_created_at",
        "orders",
        [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
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
    op.create_index(
        "ix_outbox_last_error",
        "outbox",
        ["last_error", "routing_key"],
        unique=False,
        postgresql_where=sa.text("last_error IS NOT NULL"),
    )
    op.create_index("ix_outbox_lease_until", "outbox", ["lease_until"], unique=False)
    op.create_index("ix_outbox_order_id", "outbox", ["order_id"], unique=False)
    op.create_table(
        "server_keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(key) = 32", name=op.f("ck_server_keys_key")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_server_keys")),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("credential", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("created_at < expires_at", name=op.f("ck_sessions_times")),
        sa.CheckConstraint("octet_length(digest) = 32", name=op.f("ck_sessions_digest")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], unique=False)
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
        sa.CheckConstraint(
            "(status = 'delivered') = (delivered_at IS NOT NULL)", name=op.f("ck_webhook_deliveries_delivered_at")
        ),
        sa.CheckConstraint(
            "(status = 'pending') = (next_attempt_at IS NOT NULL)", name=op.f("ck_webhook_deliveries_next_attempt_at")
        ),
        sa.CheckConstraint("(type = 'webhook.ping') = (order_id IS NULL)", name=op.f("ck_webhook_deliveries_order_id")),
        sa.CheckConstraint("jsonb_typeof(log) = 'array'", name=op.f("ck_webhook_deliveries_log")),
        sa.CheckConstraint("lease IS NULL OR status = 'pending'", name=op.f("ck_webhook_deliveries_lease")),
        sa.CheckConstraint("status IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_status")),
        sa.CheckConstraint(
            "type IN ('order.created', 'order.completed', 'order.failed', 'webhook.ping')",
            name=op.f("ck_webhook_deliveries_type"),
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_webhook_deliveries_attempts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint("webhook_id", "event_id", name=op.f("uq_webhook_deliveries_webhook_id_event_id")),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 2000,
            "autovacuum_vacuum_insert_threshold": 10000,
        },
    )
    op.create_index(
        "ix_webhook_deliveries_created_at",
        "webhook_deliveries",
        ["webhook_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_webhook_deliveries_delivered_at",
        "webhook_deliveries",
        ["webhook_id", sa.literal_column("delivered_at DESC")],
        unique=False,
        postgresql_where=sa.text("status = 'delivered'"),
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["webhook_id", "next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_webhook_deliveries_failed",
        "webhook_deliveries",
        ["webhook_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("status = 'failed'"),
    )
    op.create_index(
        "ix_webhook_deliveries_undelivered",
        "webhook_deliveries",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
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
        sa.Column("resting_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("overflowing", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        sa.Column("previous_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(deleted_at IS NULL) = (secret <> '')", name=op.f("ck_webhooks_secret")),
        sa.CheckConstraint("(status = 'disabled') = (disabled_at IS NOT NULL)", name=op.f("ck_webhooks_disabled_at")),
        sa.CheckConstraint(
            "events <@ ARRAY['order.created', 'order.completed', 'order.failed']::text[] AND cardinality(events) > 0",
            name=op.f("ck_webhooks_events"),
        ),
        sa.CheckConstraint("status IN ('enabled', 'disabled')", name=op.f("ck_webhooks_status")),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)", name=op.f("ck_webhooks_disabled_reason")
        ),
        sa.CheckConstraint(
            "(previous_secret IS NULL) = (previous_secret_until IS NULL)", name=op.f("ck_webhooks_previous_secret")
        ),
        sa.CheckConstraint("deleted_at IS NULL OR previous_secret IS NULL", name=op.f("ck_webhooks_deleted")),
        sa.CheckConstraint(
            "failures >= 0 AND (failures = 0) = (failing_since IS NULL)", name=op.f("ck_webhooks_failing_since")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(
        "ix_webhooks_created_at",
        "webhooks",
        [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_webhooks_deleted_at",
        "webhooks",
        ["deleted_at"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "ix_webhooks_disabled_at",
        "webhooks",
        ["disabled_at"],
        unique=False,
        postgresql_where=sa.text("disabled_at IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_index(
        "ix_webhooks_owner",
        "webhooks",
        ["owner", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_webhooks_user_id", "webhooks", ["user_id"], unique=False, postgresql_where=sa.text("deleted_at IS NULL")
    )
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
        sa.Column("entered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
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
    op.create_index(
        "ix_order_sagas_incident",
        "order_sagas",
        [sa.literal_column("created_at DESC"), sa.literal_column("order_id DESC")],
        unique=False,
        postgresql_where=sa.text("incident IS NOT NULL"),
    )
    op.create_index(
        "ix_order_sagas_undone",
        "order_sagas",
        [sa.literal_column("created_at DESC"), sa.literal_column("order_id DESC")],
        unique=False,
        postgresql_where=sa.text("status IN ('Compensated', 'Failed')"),
    )
    op.create_index(
        "ix_order_sagas_unfinished",
        "order_sagas",
        [sa.literal_column("created_at DESC"), sa.literal_column("order_id DESC")],
        unique=False,
        postgresql_where=sa.text("completed_at IS NULL"),
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
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_request_identities")),
    )


def downgrade() -> None:
    op.drop_table("request_identities")
    op.drop_index(
        "ix_order_sagas_unfinished", table_name="order_sagas", postgresql_where=sa.text("completed_at IS NULL")
    )
    op.drop_index(
        "ix_order_sagas_undone",
        table_name="order_sagas",
        postgresql_where=sa.text("status IN ('Compensated', 'Failed')"),
    )
    op.drop_index("ix_order_sagas_incident", table_name="order_sagas", postgresql_where=sa.text("incident IS NOT NULL"))
    op.drop_index("ix_order_sagas_due_at", table_name="order_sagas", postgresql_where=sa.text("due_at IS NOT NULL"))
    op.drop_table("order_sagas")
    op.drop_index("ix_webhooks_user_id", table_name="webhooks", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index("ix_webhooks_owner", table_name="webhooks", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index(
        "ix_webhooks_disabled_at",
        table_name="webhooks",
        postgresql_where=sa.text("disabled_at IS NOT NULL AND deleted_at IS NULL"),
    )
    op.drop_index("ix_webhooks_deleted_at", table_name="webhooks", postgresql_where=sa.text("deleted_at IS NOT NULL"))
    op.drop_index("ix_webhooks_created_at", table_name="webhooks", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_table("webhooks")
    op.drop_index(
        "ix_webhook_deliveries_undelivered",
        table_name="webhook_deliveries",
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.drop_index(
        "ix_webhook_deliveries_failed", table_name="webhook_deliveries", postgresql_where=sa.text("status = 'failed'")
    )
    op.drop_index(
        "ix_webhook_deliveries_due", table_name="webhook_deliveries", postgresql_where=sa.text("status = 'pending'")
    )
    op.drop_index(
        "ix_webhook_deliveries_delivered_at",
        table_name="webhook_deliveries",
        postgresql_where=sa.text("status = 'delivered'"),
    )
    op.drop_index("ix_webhook_deliveries_created_at", table_name="webhook_deliveries")
    op.drop_table("webhook_deliveries")
    op.drop_index("ix_sessions_expires_at", table_name="sessions")
    op.drop_table("sessions")
    op.drop_table("server_keys")
    op.drop_index("ix_outbox_order_id", table_name="outbox")
    op.drop_index("ix_outbox_lease_until", table_name="outbox")
    op.drop_index("ix_outbox_last_error", table_name="outbox", postgresql_where=sa.text("last_error IS NOT NULL"))
    op.drop_table("outbox")
    op.drop_index("ix_orders_user_id_created_at", table_name="orders")
    op.drop_index("ix_orders_created_at", table_name="orders")
    op.drop_table("orders")
    op.drop_index(
        "ix_dead_letters_queue_sender",
        table_name="dead_letters",
        postgresql_where=sa.text("redriven_at IS NULL AND discarded_at IS NULL"),
    )
    op.drop_index(
        "ix_dead_letters_last_at",
        table_name="dead_letters",
        postgresql_where=sa.text("redriven_at IS NULL AND discarded_at IS NULL"),
    )
    op.drop_index(
        "ix_dead_letters_closed_at",
        table_name="dead_letters",
        postgresql_where=sa.text("redriven_at IS NOT NULL OR discarded_at IS NOT NULL"),
    )
    op.drop_table("dead_letters")
    op.drop_table("activity")
