"""The tables, as SQLModel classes. Migrations are written from here and compared with it (`alembic check`).

CHECKs make illegal rows impossible, whoever writes them. Each index names the query that it serves; all of those on
`order_sagas` are partial, so that the cost of a saga does not depend on how many have ended.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
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
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from models.states import (
    SUBSCRIBABLE,
    TERMINAL,
    DeliveryStatus,
    OrderStatus,
    Position,
    Timer,
    WebhookStatus,
    WebhookType,
)

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
_VACUUM_BY_COUNT = {
    "postgresql_with": {
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_threshold": 2000,
        "autovacuum_vacuum_insert_threshold": 10000,
    }
}
"""For tables that are filled and emptied all the time: by count, not by share."""
_NEWEST_FIRST = (text("created_at DESC"), text("order_id DESC"))
"""As `handlers.queries.sagas` goes through sagas."""


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
        _VACUUM_BY_COUNT,
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
        CheckConstraint("(whole_size IS NULL) = (whole_sha256 IS NULL)", name="whole"),
        CheckConstraint("whole_size > octet_length(body)", name="whole_size"),
        CheckConstraint("octet_length(whole_sha256) = 32", name="whole_sha256"),
        # the letters that are still open, newest first
        Index(
            "ix_dead_letters_last_at",
            text("last_at DESC"),
            text("id DESC"),
            postgresql_where=text("redriven_at IS NULL AND discarded_at IS NULL"),
        ),
        # how many letters of one sender from one queue are open
        Index(
            "ix_dead_letters_queue_sender",
            text("coalesce(queue, '')"),
            text("coalesce(properties ->> 'user_id', '')"),
            postgresql_where=text("redriven_at IS NULL AND discarded_at IS NULL"),
        ),
        # the letters that are closed, the longest first
        Index(
            "ix_dead_letters_closed_at",
            text("coalesce(redriven_at, discarded_at)"),
            postgresql_where=text("redriven_at IS NOT NULL OR discarded_at IS NOT NULL"),
        ),
    )

    id: UUID = Field(primary_key=True)
    # SHA-256 of what makes two arrivals the same letter: where it belongs, message id, body
    identity: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    reason: str = Field(max_length=100)
    error: str = Field(sa_column=Column(Text, nullable=False))
    routing_key: str = Field(max_length=255)
    exchange: str = Field(max_length=255)
    # in which of this service's queues it waited, where that is known
    queue: str | None = Field(default=None, max_length=255)
    # both as `handlers.bus.amqp_json` writes what JSON has no words for
    headers: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    properties: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    # of a body that is kept in part: how many bytes the whole one has, and its digest
    whole_size: int | None = Field(default=None, sa_column=Column(BigInteger))
    whole_sha256: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
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


_SUBSCRIBABLE = ", ".join(repr(str(word)) for word in SUBSCRIBABLE)
_BORN = (text("created_at DESC"), text("id DESC"))
"""As `saga.webhooks` goes through endpoints and their deliveries: newest first."""


class Webhook(SQLModel, table=True):
    """An endpoint of a customer's system: where it is, what it is told of, and whether it takes that.

    One that is deleted stays without its secrets until its deliveries are gone. No row refers to one of these by a
    foreign key: the engine writes deliveries, and must wait for nobody who changes an endpoint.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint(f"events <@ ARRAY[{_SUBSCRIBABLE}]::text[] AND cardinality(events) > 0", name="events"),
        CheckConstraint(_one_of("status", WebhookStatus), name="status"),
        CheckConstraint("(status = 'disabled') = (disabled_at IS NOT NULL)", name="disabled_at"),
        CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled_reason"),
        CheckConstraint("(previous_secret IS NULL) = (previous_secret_until IS NULL)", name="previous_secret"),
        CheckConstraint("(deleted_at IS NULL) = (secret <> '')", name="secret"),
        CheckConstraint("deleted_at IS NULL OR previous_secret IS NULL", name="deleted"),
        CheckConstraint("failures >= 0 AND (failures = 0) = (failing_since IS NULL)", name="failing_since"),
        # an owner's endpoints, newest first, and how many they are
        Index("ix_webhooks_owner", "owner", *_BORN, postgresql_where=text("deleted_at IS NULL")),
        # all endpoints, newest first; whether there is any
        Index("ix_webhooks_created_at", *_BORN, postgresql_where=text("deleted_at IS NULL")),
        # those that want to know of a user's orders, or of everybody's
        Index("ix_webhooks_user_id", "user_id", postgresql_where=text("deleted_at IS NULL")),
        # those that are sent nothing
        Index(
            "ix_webhooks_disabled_at",
            "disabled_at",
            postgresql_where=text("disabled_at IS NOT NULL AND deleted_at IS NULL"),
        ),
        # those that are to go for good
        Index("ix_webhooks_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    )

    id: UUID = Field(primary_key=True)
    # who subscribed, as the access layer names him: `key:shop`, `user:<sub>`
    owner: str = Field(sa_column=Column(Text, nullable=False))
    url: str = Field(sa_column=Column(Text, nullable=False))
    events: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    # whose orders; None: everybody's
    user_id: UUID | None = None
    description: str | None = Field(default=None, sa_column=Column(Text))
    status: str = Field(max_length=10)
    disabled_reason: str | None = Field(default=None, sa_column=Column(Text))
    disabled_at: datetime | None = Field(default=None, sa_column=Column(_INSTANT))
    # attempts that failed since the last one that succeeded, and when the first of them did
    failures: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    failing_since: datetime | None = Field(default=None, sa_column=Column(_INSTANT))
    # it has asked to be left alone so long (`Retry-After`)
    resting_until: datetime | None = Field(default=None, sa_column=Column(_INSTANT))
    # so much waits for it that what comes is written as failed
    overflowing: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    # as `saga.webhooks.secret_wrapping` stores it; the one before too
    secret: str = Field(sa_column=Column(Text, nullable=False))
    # signs too, for a while after a rotation
    previous_secret: str | None = Field(default=None, sa_column=Column(Text))
    previous_secret_until: datetime | None = Field(default=None, sa_column=Column(_INSTANT))
    created_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
    deleted_at: datetime | None = Field(default=None, sa_column=Column(_INSTANT))


class WebhookDelivery(SQLModel, table=True):
    """One event for one endpoint: what is sent, and how often that was tried.

    While a worker has it in hand, `next_attempt_at` is when its lease runs out.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint(_one_of("type", WebhookType), name="type"),
        CheckConstraint("(type = 'webhook.ping') = (order_id IS NULL)", name="order_id"),
        CheckConstraint(_one_of("status", DeliveryStatus), name="status"),
        CheckConstraint("(status = 'pending') = (next_attempt_at IS NOT NULL)", name="next_attempt_at"),
        CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_at"),
        CheckConstraint("lease IS NULL OR status = 'pending'", name="lease"),
        CheckConstraint("attempts >= 0", name="attempts"),
        CheckConstraint("jsonb_typeof(log) = 'array'", name="log"),
        # each endpoint's due deliveries, the longest due first, and which endpoints have any
        Index(
            "ix_webhook_deliveries_due", "webhook_id", "next_attempt_at", postgresql_where=text("status = 'pending'")
        ),
        # the oldest that is undelivered
        Index("ix_webhook_deliveries_undelivered", "created_at", postgresql_where=text("status = 'pending'")),
        # an endpoint's deliveries, newest first; backwards, what is to be forgotten
        Index("ix_webhook_deliveries_created_at", "webhook_id", *_BORN),
        # an endpoint's failed deliveries, newest first; those since a time
        Index("ix_webhook_deliveries_failed", "webhook_id", *_BORN, postgresql_where=text("status = 'failed'")),
        # when an endpoint last took something
        Index(
            "ix_webhook_deliveries_delivered_at",
            "webhook_id",
            text("delivered_at DESC"),
            postgresql_where=text("status = 'delivered'"),
        ),
        # exactly one per event and endpoint
        UniqueConstraint("webhook_id", "event_id"),
        _VACUUM_BY_COUNT,
    )

    id: UUID = Field(primary_key=True)
    webhook_id: UUID
    # the event's `eventId`, and the `webhook-id` of every attempt
    event_id: UUID
    order_id: UUID | None = None
    type: str = Field(max_length=20)
    # the exact bytes to send
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    traceparent: str | None = Field(default=None, max_length=55)
    status: str = Field(max_length=10)
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    next_attempt_at: datetime | None = Field(default=None, sa_column=Column(_INSTANT))
    # who has it in hand: a name for this one claim
    lease: UUID | None = None
    last_status_code: int | None = None
    last_error: str | None = Field(default=None, sa_column=Column(Text))
    created_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False))
    delivered_at: datetime | None = Field(default=None, sa_column=Column(_INSTANT))
    # the last attempts: `{at, statusCode, seconds, error, excerpt}`
    log: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'[]'")))


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
    # when somebody opened a page with it the last time; releases before this one do not write it
    used_at: datetime = Field(sa_column=Column(_INSTANT, nullable=False, server_default=text("now()")))


class ServerKey(SQLModel, table=True):
    """A secret that all workers share, and that the first of them makes."""

    __tablename__ = "server_keys"
    __table_args__ = (CheckConstraint("octet_length(key) = 32", name="key"),)

    name: str = Field(sa_column=Column(Text, primary_key=True))
    key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
