"""From a decision to the message that leaves: the envelope, written in the saga's transaction, published as it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from models.messages import COMMANDS, EVENTS, Item, Outgoing
from models.states import Command, OrderEvent, Position
from saga.domain import Saga, Send, message_id

EXCHANGE = "domain"
DEAD_LETTER_EXCHANGE = "order-service.dlx"
EVENT_KEYS = frozenset(f"domain.order.{event}" for event in OrderEvent)
"""Routing keys of what is told to everybody."""
LEASE = timedelta(seconds=15)
"""How long the worker that wrote or claimed a message has it for itself to publish."""


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """What never changes about an order (I14), as messages need it."""

    id: UUID
    user_id: UUID
    items: list[dict[str, Any]]
    """The items as the wire has them."""
    total_amount: Decimal
    causation_id: UUID | None = None
    """The CreateOrder's `eventId`; known, and told, only when the order is created."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message to be published, and the outbox row that stands for it."""

    id: UUID
    message_id: UUID
    exchange: str
    routing_key: str
    order_id: UUID
    saga_id: UUID
    body: bytes
    traceparent: str
    created_at: datetime
    lease_until: datetime
    last_error: str | None = None
    """Why it could not be published so far."""

    @property
    def is_event(self) -> bool:
        """Whether it is told to everybody, and done with where nobody listens."""
        return self.exchange == EXCHANGE and self.routing_key in EVENT_KEYS


def enclose(send: Send, saga: Saga, order: OrderFacts, traceparent: str, now: datetime) -> Envelope:
    """Build the message that a decision asks for."""
    event_id = message_id(saga.id, send.kind)
    return Envelope(
        id=uuid4(),
        message_id=event_id,
        exchange=DEAD_LETTER_EXCHANGE if send.dead_letter else EXCHANGE,
        routing_key=f"domain.order.{send.kind}",
        order_id=order.id,
        saga_id=saga.id,
        body=_body(send, event_id, saga, order, now),
        traceparent=traceparent,
        created_at=now,
        lease_until=now + LEASE,
    )


def _body(send: Send, event_id: UUID, saga: Saga, order: OrderFacts, now: datetime) -> bytes:
    fields: dict[str, Any] = {"event_id": event_id, "order_id": order.id, "saga_id": saga.id, "occurred_at": now}
    model: type[Outgoing]
    if isinstance(send.kind, Command):
        model = COMMANDS[send.kind]
        fields["attempt"] = send.attempt
    else:
        model = EVENTS[send.kind]
    known = model.model_fields
    if "items" in known:
        fields["items"] = [Item.model_validate(item) for item in order.items]
    if "user_id" in known:
        fields["user_id"] = order.user_id
    if "total_amount" in known:
        fields["total_amount"] = order.total_amount
    if send.kind is OrderEvent.ORDER_CREATED:
        fields["causation_id"] = order.causation_id
    if send.kind is OrderEvent.ORDER_FAILED:
        fields |= {
            "reason": saga.reason,
            "failed_step": saga.failed_step,
            "compensated": saga.position.status is Position.COMPENSATED.status,
        }
    return model.model_construct(**fields).model_dump_json(by_alias=True, exclude_none=True).encode()
