"""What endpoints are told of an order, written where the order's own messages are: in the engine's transaction.

So a delivery is there exactly when its event is, whatever dies, and without the bus. Nothing here waits for anybody who
changes an endpoint: endpoints are read, never locked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    LargeBinary,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    column,
    func,
    literal,
    null,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from models.states import DeliveryStatus, OrderEvent, OrderStatus, WebhookStatus, WebhookType
from models.tables import Webhook, WebhookDelivery, table_of
from models.webhooks import OrderNews, WebhookMessage
from saga.domain import Saga, message_id
from saga.errors import classify
from saga.outbox.message import OrderFacts
from saga.runtime.rows import changed
from saga.telemetry.log_setup import get_logger
from saga.webhooks.disabling import DISABLED, OVERFLOWED

log = get_logger(__name__)

MAX_REASON = 2_000
"""Characters of a reason that are told: however they are written, the body stays below 20 kB."""
_TYPES = {
    OrderEvent.ORDER_CREATED: WebhookType.CREATED,
    OrderEvent.ORDER_COMPLETED: WebhookType.COMPLETED,
    OrderEvent.ORDER_FAILED: WebhookType.FAILED,
}
_WEBHOOKS, _DELIVERIES = table_of(Webhook), table_of(WebhookDelivery)


@dataclass(frozen=True, slots=True)
class Notice:
    """An event of an order, for every endpoint that wants to know."""

    event_id: UUID
    order_id: UUID
    user_id: UUID
    type: WebhookType
    body: bytes
    traceparent: str


def notice(event: OrderEvent, saga: Saga, order: OrderFacts, traceparent: str, now: datetime) -> Notice:
    """What is told of an event.

    Args:
        event: what happened.
        saga: as it stood then.
        order: what it is about.
        traceparent: the trace that the event belongs to.
        now: when it happened.
    """
    status = saga.position.order_status
    reason = saga.reason[:MAX_REASON] if saga.reason and status is OrderStatus.FAILED else None
    news = OrderNews.model_construct(
        order_id=order.id,
        saga_id=saga.id,
        user_id=order.user_id,
        status=status,
        total_amount=order.total_amount,
        reason=reason,
    )
    return Notice(
        event_id=message_id(saga.id, event),
        order_id=order.id,
        user_id=order.user_id,
        type=_TYPES[event],
        body=body(_TYPES[event], now, news),
        traceparent=traceparent,
    )


def body(type_: WebhookType, now: datetime, data: Any) -> bytes:
    """The bytes that are sent."""
    message = WebhookMessage.model_construct(type=type_, timestamp=now, data=data)
    return message.model_dump_json(by_alias=True).encode()


_COLUMNS: dict[str, TypeEngine[Any]] = {
    "event_id": Uuid(),
    "order_id": Uuid(),
    "user_id": Uuid(),
    "type": Text(),
    "body": LargeBinary(),
    "traceparent": Text(),
}
_NEWS = (
    func.unnest(*(bindparam(name, type_=ARRAY(type_)) for name, type_ in _COLUMNS.items()))
    .table_valued(*(column(name, type_) for name, type_ in _COLUMNS.items()))
    .render_derived(name="news")
)
_ENABLED = _WEBHOOKS.c.status == literal(WebhookStatus.ENABLED.value)
_TAKES = _ENABLED & ~_WEBHOOKS.c.overflowing
_INTERESTED = (
    select(
        func.gen_random_uuid(),
        _WEBHOOKS.c.id,
        _NEWS.c.event_id,
        _NEWS.c.order_id,
        _NEWS.c.type,
        _NEWS.c.body,
        _NEWS.c.traceparent,
        case((_TAKES, DeliveryStatus.PENDING.value), else_=DeliveryStatus.FAILED.value),
        case((_TAKES, func.clock_timestamp()), else_=null()),
        case((_TAKES, null()), (_ENABLED, OVERFLOWED), else_=DISABLED),
        func.clock_timestamp(),
    )
    .select_from(_NEWS)
    .join(
        _WEBHOOKS,
        _WEBHOOKS.c.deleted_at.is_(None)
        & (_NEWS.c.type == any_(_WEBHOOKS.c.events))
        & or_(_WEBHOOKS.c.user_id.is_(None), _WEBHOOKS.c.user_id == _NEWS.c.user_id),
    )
)
_WRITE = (
    insert(_DELIVERIES)
    .from_select(
        [
            "id", "webhook_id", "event_id", "order_id", "type", "body", "traceparent", "status", "next_attempt_at",
            "last_error", "created_at",
        ],
        _INTERESTED,
    )
    .on_conflict_do_nothing()
)  # fmt: skip


async def write(session: AsyncSession, notices: Sequence[Notice]) -> int:
    """Write a delivery for each of these and each endpoint that wants it; returns how many.

    What is wrong with them is no matter of the sagas': they are committed without, and the log tells of it. What keeps
    the whole transaction from succeeding for now is the caller's to try again.
    """
    values = {name: [getattr(one, name) for one in notices] for name in _COLUMNS}
    try:
        async with session.begin_nested():
            return await changed(session, _WRITE, values)
    except Exception as error:
        if classify(error).transient:
            raise
        log.exception("webhooks cannot be written; the sagas go on without", count=len(notices))
        return 0
