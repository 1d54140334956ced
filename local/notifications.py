"""A stand-in for whoever listens to what happens to orders: `faststream run local.notifications:app --port 5005`.

The service drops an event that no queue is bound for, so a listener needs a durable queue. This one writes a line each.
"""

import logging
import os

from faststream import AckPolicy
from faststream.asgi import AsgiFastStream, AsgiResponse, get
from faststream.asgi.types import Scope
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitMessage, RabbitQueue

from local.participant import DELIVERY_LIMIT, EXCHANGE, PREFETCH, STOP_SECONDS, raw_body

NAME = "notifications"
EVENTS = ("OrderCreated", "OrderCompleted", "OrderFailed")

logger = logging.getLogger(__name__)
broker = RabbitBroker(
    os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost:5672/"), logger=None, graceful_timeout=STOP_SECONDS
)


async def on_event(body: bytes, message: RabbitMessage) -> None:
    """Write what happened."""
    logger.info("%s %s", message.raw_message.routing_key, body.decode(errors="replace"))


for event in EVENTS:
    broker.subscriber(
        RabbitQueue(
            f"{NAME}.{event}",
            queue_type=QueueType.QUORUM,
            routing_key=f"domain.order.{event}",
            arguments={"x-delivery-limit": DELIVERY_LIMIT},
        ),
        EXCHANGE,
        channel=Channel(prefetch_count=PREFETCH),
        ack_policy=AckPolicy.REJECT_ON_ERROR,
        no_reply=True,
        decoder=raw_body,
    )(on_event)


@get
async def health(scope: Scope) -> AsgiResponse:  # noqa: ARG001 - FastStream's form
    """It listens once its queues are there."""
    listening = all(one.running for one in broker.subscribers)
    return AsgiResponse(b"listening" if listening else b"not yet", 200 if listening else 503)


logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
app = AsgiFastStream(broker, asgi_routes=[("/health", health)])
