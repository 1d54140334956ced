"""What waits at the engine for an answer: events, requests for orders, deadlines that have come."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from saga.domain import Event
from saga.outbox.message import OrderFacts
from saga.telemetry.applied_events import ORIGIN, Origin


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A request for an order. The same identity gives the same order."""

    identity: str
    order_id: UUID
    chosen: bool
    """Whether the client chose the order's id, which then is an identity too."""
    user_id: UUID
    items: list[dict[str, Any]]
    total_amount: Decimal
    event_id: UUID | None = None

    @property
    def facts(self) -> OrderFacts:
        """The order that this asks for."""
        return OrderFacts(self.order_id, self.user_id, self.items, self.total_amount, causation_id=self.event_id)

    def same_content(self, order: OrderFacts) -> bool:
        """Whether this asks for just that order."""
        return (
            (not self.chosen or self.order_id == order.id)
            and self.user_id == order.user_id
            and self.items == order.items
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """The order that a request gave; `replayed` when it had been given before."""

    order_id: UUID
    saga_id: UUID
    created_at: datetime
    replayed: bool


@dataclass(slots=True)
class Due:
    """At most so many sagas whose deadline has come."""

    limit: int
    held: list[UUID] = field(default_factory=list)
    """The orders whose sagas they were, the last time that it was tried."""


@dataclass(slots=True, eq=False)
class Arrival:
    """Something that waits for its answer."""

    work: Event | OrderRequest | Due
    answer: asyncio.Future[Any]
    origin: Origin | None = field(default_factory=ORIGIN.get)
    """The message or request that brought it."""
    collisions: int = 0
    """How often something else was in the way."""

    @property
    def order_id(self) -> UUID | None:
        """The order that it is about; None where that is not known yet."""
        return None if isinstance(self.work, Due) else self.work.order_id
