"""The tables, as SQLModel classes. Migrations are written from here and compared with it (`alembic check`).

CHECKs make illegal rows impossible, whoever writes them. Each index names the query that it serves; all of those on
`order_sagas` are partial, so that the cost of a saga does not depend on how many have ended.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from models.states import TERMINAL, OrderStatus, Position, Timer

SQLModel.metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def table_of(model: type[SQLModel]) -> Table:
    """The table of such a class, as statements name it."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


def _one_of(column: str, words: Any) -> str:
    return f"{column} IN ({', '.join(repr(str(word)) for word in words)})"


def _positions() -> str:
    """Status, step and open command only in the combinations that exist."""
    return " OR ".join(
        f"(status = '{p.status}' AND current_step = '{p.current_step}'"
        # a comparison with NULL is neither true nor false, and a CHECK lets that pass
        f" AND coalesce(open_command, '') = '{p.open_command or ''}')"
        for p in Position
    )


_INSTANT = DateTime(timezone=True)
_NEWEST_FIRST = (text("created_at DESC"), text("order_id DESC"))
"""As `saga.listing` goes through sagas."""


class Order(SQLModel, table=True):
    """What a customer ordered. Items and amounts never change (I14); only the status does."""

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint(_one_of("status", OrderStatus), name="status"),
        # NUMERIC stores NaN, and NaN >= 0 is true in PostgreSQL
        CheckConstraint("total_amount >= 0 AND total_amount <> 'NaN'", name="total_amount"),
        CheckConstraint("jsonb_typeof(items) = 'array'", name="items"),
        # a user's orders, newest first
        Index("ix_orders_user_id_created_at", "user_id", text("created_at DESC"), text("id DESC")),
        # all sagas, newest first: born with their orders, whose rows are written twice and not at every move
        Index("ix_orders_created_at", text("created_at DESC"), text("id DESC")),
    )

    id: UUID = Field(primary_key=True)
    user_id: UUID
    status: str = Field(max_length=50)
    items: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))
    total_amount: Decimal = Field(sa_column=Column(Numeric(18, 2), nullable=False))
    created_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
    updated_at: datetime | None = Field(default=None, sa_column=Column(_INSTANT))


class OrderSaga(SQLModel, table=True):
    """How far an order has come, what is awaited until when, and all that happened on the way."""

    __tablename__ = "order_sagas"
    __table_args__ = (
        CheckConstraint(_positions(), name="position"),
        CheckConstraint(f"({_one_of('status', sorted(TERMINAL))}) = (completed_at IS NOT NULL)", name="completed_at"),
        # I15: what is awaited has a timer; only a parked saga that is never asked again has none, and it is an incident
        CheckConstraint("(open_command IS NULL) = (timer IS NULL)", name="timer"),
        CheckConstraint(_one_of("timer", Timer), name="timer_word"),
        CheckConstraint(
            "CASE WHEN timer IS NULL THEN due_at IS NULL"
            " WHEN timer = 'reask' THEN incident IS NOT NULL"
            " ELSE due_at IS NOT NULL END",
            name="due_at",
        ),
        CheckConstraint("jsonb_typeof(history) = 'array'", name="history"),
        # due deadlines, oldest first
        Index("ix_order_sagas_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        # sagas that have not ended, newest first
        Index("ix_order_sagas_unfinished", *_NEWEST_FIRST, postgresql_where=text("completed_at IS NULL")),
        # sagas that a person should look at, newest first
        Index("ix_order_sagas_incident", *_NEWEST_FIRST, postgresql_where=text("incident IS NOT NULL")),
        # orders that failed, newest first
        Index("ix_order_sagas_undone", *_NEWEST_FIRST, postgresql_where=text("status IN ('Compensated', 'Failed')")),
    )

    id: UUID = Field(primary_key=True)
    order_id: UUID = Field(foreign_key="orders.id", unique=True)
    status: str = Field(max_length=50)
    current_step: str = Field(max_length=50)
    history: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))
    created_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
    completed_at: datetime | None = Field(default=None, sa_column=Column(_INSTANT))
    updated_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
    # since when it stands where it stands
    entered_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False, server_default=text("now()")))
    table_version: int
    open_command: str | None = Field(default=None, max_length=50)
    sent: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))
    timer: str | None = Field(default=None, max_length=10)
    due_at: datetime | None = Field(default=None, sa_column=Column(_INSTANT))
    incident: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    cancel_requested: bool = False
    failed_step: str | None = Field(default=None, max_length=50)
    reason: str | None = Field(default=None, sa_column=Column(Text))
    traceparent: str = Field(max_length=55)


class RequestIdentity(SQLModel, table=True):
    """Which order a request gave: `event:<eventId>` from the bus, `key:<userId>:<Idempotency-Key>` from HTTP."""

    __tablename__ = "request_identities"

    key: str = Field(sa_column=Column(Text, primary_key=True))
    # checked at the commit: the identity is claimed before the order is written
    order_id: UUID = Field(
        sa_column=Column(ForeignKey("orders.id", deferrable=True, initially="DEFERRED"), nullable=False)
    )
    created_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))


class Outbox(SQLModel, table=True):
    """A message that is to be published. The row goes when the broker has confirmed it, and not before (I10)."""

    __tablename__ = "outbox"
    __table_args__ = (
        # messages whose lease has run out, oldest first
        Index("ix_outbox_lease_until", "lease_until"),
        # messages that could not leave, by why and for whom
        Index("ix_outbox_last_error", "last_error", "routing_key", postgresql_where=text("last_error IS NOT NULL")),
        # what of an order waits to leave, also while everything does
        Index("ix_outbox_order_id", "order_id"),
        # the table is filled and emptied all the time: vacuum by count, not by share
        {
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": 0,
                "autovacuum_vacuum_threshold": 2000,
                "autovacuum_vacuum_insert_threshold": 10000,
            }
        },
    )

    id: UUID = Field(primary_key=True)
    message_id: UUID
    exchange: str = Field(max_length=255)
    routing_key: str = Field(max_length=255)
    order_id: UUID
    saga_id: UUID
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    traceparent: str = Field(max_length=55)
    created_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
    lease_until: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    last_error: str | None = Field(default=None, sa_column=Column(Text))


class DeadLetter(SQLModel, table=True):
    """A message that could not be handled, as it came, and what a person did about it.

    It is open until it is redriven or discarded, and open again when it arrives again.
    """

    __tablename__ = "dead_letters"
    __table_args__ = (
        CheckConstraint("octet_length(identity) = 32", name="identity"),
        CheckConstraint("count >= 1 AND redriven_count >= 0", name="counts"),
        CheckConstraint("first_at <= last_at", name="times"),
        CheckConstraint("jsonb_typeof(headers) = 'object' AND jsonb_typeof(properties) = 'object'", name="tables"),
        CheckConstraint("redriven_at IS NULL OR (discarded_at IS NULL AND redriven_count >= 1)", name="redriven"),
        CheckConstraint("(discarded_at IS NULL) = (discard_reason IS NULL)", name="discarded"),
        # whoever closes a letter is named
        CheckConstraint("(closed_by IS NULL) = (redriven_at IS NULL AND discarded_at IS NULL)", name="closed_by"),
        # the letters that are still open, newest first
        Index(
            "ix_dead_letters_last_at",
            text("last_at DESC"),
            text("id DESC"),
            postgresql_where=text("redriven_at IS NULL AND discarded_at IS NULL"),
        ),
    )

    id: UUID = Field(primary_key=True)
    # SHA-256 of what makes two arrivals the same letter: routing key, message id, body
    identity: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    reason: str = Field(max_length=100)
    error: str = Field(sa_column=Column(Text, nullable=False))
    routing_key: str = Field(max_length=255)
    exchange: str = Field(max_length=255)
    # both as `saga.amqp_values` writes what JSON has no words for
    headers: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    properties: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    # if the body tells; there need not be such an order
    order_id: UUID | None = None
    first_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
    last_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
    count: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    redriven_at: datetime | None = Field(default=None, sa_column=Column(_INSTANT))
    redriven_count: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    discarded_at: datetime | None = Field(default=None, sa_column=Column(_INSTANT))
    discard_reason: str | None = Field(default=None, sa_column=Column(Text))
    closed_by: str | None = Field(default=None, sa_column=Column(Text))


class Activity(SQLModel, table=True):
    """What one worker committed within ten seconds: for charts, and gone after an hour."""

    __tablename__ = "activity"

    begin: datetime = Field(sa_column=Column(_INSTANT, primary_key=True))
    worker: UUID = Field(primary_key=True)
    started: int
    completed: int
    failed: int
    compensated: int
    seconds: float
    slowest: float


class Login(SQLModel, table=True):
    """A browser that is logged in: what it shows is random, and kept nowhere."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("octet_length(digest) = 32", name="digest"),
        CheckConstraint("created_at < expires_at", name="times"),
        # those whose time is over
        Index("ix_sessions_expires_at", "expires_at"),
    )

    # SHA-256 of its cookie
    digest: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    user_id: UUID | None = None
    scopes: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    # which key, or which issuer: without it the login is over
    credential: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
    expires_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
