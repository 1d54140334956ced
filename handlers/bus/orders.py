"""Order requests from the bus."""

from uuid import uuid4

from faststream.rabbit import RabbitBroker

from handlers.bus.subscribe import subscribe
from handlers.bus.trusted_senders import EVERYBODY, Senders
from models.messages import CancelOrder, CreateOrder, total_of
from saga.arrivals import OrderRequest
from saga.domain import Event
from saga.engine import Engine
from saga.transitions import Signal


def order_requests(broker: RabbitBroker, engine: Engine, senders: Senders = EVERYBODY) -> None:
    """Subscribe to what clients ask for, where these senders may ask."""

    async def create_order(request: CreateOrder) -> None:
        await engine.create(
            OrderRequest(
                identity=f"event:{request.event_id}",
                order_id=request.order_id or uuid4(),
                chosen=request.order_id is not None,
                user_id=request.user_id,
                items=[item.model_dump(mode="json", by_alias=True) for item in request.items],
                total_amount=total_of(request.items),
                event_id=request.event_id,
            )
        )

    async def cancel_order(request: CancelOrder) -> None:
        await engine.advance(cancellation(request))

    subscribe(broker, "domain.order.CreateOrder", CreateOrder, create_order, senders)
    subscribe(broker, "domain.order.CancelOrder", CancelOrder, cancel_order, senders)


def cancellation(request: CancelOrder) -> Event:
    """What a request to cancel means to the saga."""
    return Event(Signal.CANCEL, request.order_id, event_id=request.event_id, words=request.reason)
