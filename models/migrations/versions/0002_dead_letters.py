"""What could not be handled, and what was done about it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_OPEN = "redriven_at IS NULL AND discarded_at IS NULL"


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(100), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.String(255), nullable=False),
        sa.Column("exchange", sa.String(255), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("redriven_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("redriven_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("discarded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("discard_reason", sa.Text(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.CheckConstraint("octet_length(identity) = 32", name=op.f("ck_dead_letters_identity")),
        sa.CheckConstraint("count >= 1 AND redriven_count >= 0", name=op.f("ck_dead_letters_counts")),
        sa.CheckConstraint("first_at <= last_at", name=op.f("ck_dead_letters_times")),
        sa.CheckConstraint(
            "jsonb_typeof(headers) = 'object' AND jsonb_typeof(properties) = 'object'",
            name=op.f("ck_dead_letters_tables"),
        ),
        sa.CheckConstraint(
            "redriven_at IS NULL OR (discarded_at IS NULL AND redriven_count >= 1)",
            name=op.f("ck_dead_letters_redriven"),
        ),
        sa.CheckConstraint("(discarded_at IS NULL) = (discard_reason IS NULL)", name=op.f("ck_dead_letters_discarded")),
        sa.CheckConstraint(f"(closed_by IS NULL) = ({_OPEN})", name=op.f("ck_dead_letters_closed_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint("identity", name=op.f("uq_dead_letters_identity")),
    )
    op.create_index(
        "ix_dead_letters_last_at",
        "dead_letters",
        [sa.literal_column("last_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text(_OPEN),
    )


def downgrade() -> None:
    op.drop_index("ix_dead_letters_last_at", table_name="dead_letters", postgresql_where=sa.text(_OPEN))
    op.drop_table("dead_letters")
