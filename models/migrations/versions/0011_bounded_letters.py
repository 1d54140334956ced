"""What dead letters take is bounded: which queue each comes from, and what is kept of a large one."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_OPEN = "redriven_at IS NULL AND discarded_at IS NULL"
_CLOSED = "redriven_at IS NOT NULL OR discarded_at IS NOT NULL"


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("queue", sa.String(255), nullable=True))
    op.add_column("dead_letters", sa.Column("whole_size", sa.BigInteger(), nullable=True))
    op.add_column("dead_letters", sa.Column("whole_sha256", sa.LargeBinary(), nullable=True))
    op.create_check_constraint(
        op.f("ck_dead_letters_whole"), "dead_letters", "(whole_size IS NULL) = (whole_sha256 IS NULL)"
    )
    op.create_check_constraint(op.f("ck_dead_letters_whole_size"), "dead_letters", "whole_size > octet_length(body)")
    op.create_check_constraint(op.f("ck_dead_letters_whole_sha256"), "dead_letters", "octet_length(whole_sha256) = 32")
    op.create_index(
        "ix_dead_letters_queue_sender",
        "dead_letters",
        [sa.literal_column("coalesce(queue, '')"), sa.literal_column("coalesce(properties ->> 'user_id', '')")],
        unique=False,
        postgresql_where=sa.text(_OPEN),
    )
    op.create_index(
        "ix_dead_letters_closed_at",
        "dead_letters",
        [sa.literal_column("coalesce(redriven_at, discarded_at)")],
        unique=False,
        postgresql_where=sa.text(_CLOSED),
    )


def downgrade() -> None:
    op.drop_index("ix_dead_letters_closed_at", table_name="dead_letters", postgresql_where=sa.text(_CLOSED))
    op.drop_index("ix_dead_letters_queue_sender", table_name="dead_letters", postgresql_where=sa.text(_OPEN))
    for name in ("whole_sha256", "whole_size", "whole"):
        op.drop_constraint(op.f(f"ck_dead_letters_{name}"), "dead_letters", type_="check")
    for name in ("whole_sha256", "whole_size", "queue"):
        op.drop_column("dead_letters", name)
