"""Replies of Inventory and Billing."""

from faststream.rabbit import RabbitBroker

from handlers.bus.subscribe import subscribe
from handlers.bus.trusted_senders import EVERYBODY, Senders
from models.messages import REPLIES, Failure, Reply
from saga.domain import Event
from saga.engine import Engine
from saga.transitions import Signal


def participant_replies(broker: RabbitBroker, engine: Engine, senders: Senders = EVERYBODY) -> None:
    """Subscribe to every reply of the contract, `domain.<service>.<Reply>`, from these senders."""

    async def reply(message: Reply) -> None:
        await engine.advance(event_of(message))

    for model in REPLIES:
        subscribe(broker, f"domain.{model.service}.{model.__name__}", model, reply, senders)


def event_of(reply: Reply) -> Event:
    """What a reply means to the saga."""
    return Event(
        Signal(type(reply).__name__),
        reply.order_id,
        event_id=reply.event_id,
        causation_id=reply.causation_id,
        retryable=isinstance(reply, Failure) and reply.retryable,
        saga_id=reply.saga_id,
        words=": ".join(filter(None, (reply.message, reply.reason))) or None,
    )
