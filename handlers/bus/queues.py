"""The queues that this service consumes from, and under which routing key each is bound to the exchange."""

from collections.abc import Mapping

from models.messages import REPLIES

KEYS = (
    "domain.order.CreateOrder",
    "domain.order.CancelOrder",
    *(f"domain.{reply.service}.{reply.__name__}" for reply in REPLIES),
)
"""The routing keys under which messages are taken in, a queue for each."""


def queue_of(routing_key: str) -> str:
    """The queue that is bound under this routing key."""
    return f"order-service.{routing_key.rsplit('.', 1)[-1]}"


KEY_OF_QUEUE: Mapping[str, str] = {queue_of(key): key for key in KEYS}
"""By a queue's name the routing key that belongs in it, whichever a message came by: that one its sender chose."""
