"""The floor: the nine messages of a saga through FastStream and aio-pika, with handlers that keep nothing.

Same queues, same prefetch, same exchange, same properties and headers, bodies of the same size, two connections, every
message acknowledged after its messages have been confirmed; but no database, no validation, no state machine. What the
service costs beyond this is ours to justify.

    RABBITMQ_URL=amqp://… faststream run benchmarks.floor:app --port 5005
"""

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from faststream import AckPolicy
from faststream.asgi import AsgiFastStream, AsgiResponse, get
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitMessage, RabbitQueue

from handlers.bus.publisher import APP_ID, QUEUE_ARGUMENTS, SOURCE
from handlers.bus.subscribe import DOMAIN, PREFETCH
from models.messages import instant_text

if TYPE_CHECKING:
    from faststream.rabbit.schemas.queue import QuorumQueueArgs

_ITEMS = (
    '"items":[{"productId":"5b1f7f0e-9a3e-4c40-8d1f-0f6f2a6e0c11","productName":"Laptop","quantity":1,'
    '"price":"1299.99"}]'
)
_PAYMENT = '"userId":"0d9f3c52-4c0e-4e43-9f53-3f0a4f9c3b70","totalAmount":"1299.99"'

_url = os.environ.get("RABBITMQ_URL", "amqp://nowhere.invalid/")
consumers = RabbitBroker(_url, apply_types=False, logger=None)
publisher = RabbitBroker(_url, logger=None, app_id=APP_ID, default_channel=Channel(on_return_raises=True))


async def publish(name: str, order_id: str, saga_id: str, traceparent: str, rest: str) -> None:
    """Publish what the service would publish; returns when it is confirmed and routed."""
    event_id, now = str(uuid4()), datetime.now(UTC)
    routing_key, time = f"domain.order.{name}", instant_text(now)
    body = f'{{"eventId":"{event_id}","orderId":"{order_id}","sagaId":"{saga_id}","occurredAt":"{time}",{rest}}}'
    await publisher.publish(
        body.encode(),
        exchange=DOMAIN,
        routing_key=routing_key,
        mandatory=True,
        persist=True,
        content_type="application/json",
        message_id=event_id,
        correlation_id=saga_id,
        message_type=routing_key,
        timestamp=now,
        headers={
            "traceparent": traceparent,
            "ce-specversion": "1.0",
            "ce-id": event_id,
            "ce-type": routing_key,
            "ce-source": SOURCE,
            "ce-subject": order_id,
            "ce-time": time,
        },
    )


def subscribe(routing_key: str, handle: Callable[[RabbitMessage, dict[str, Any]], Awaitable[object]]) -> None:
    """Hand every message of this routing key to `handle`, and acknowledge it afterwards."""

    async def whole(message: RabbitMessage) -> RabbitMessage:
        return message

    async def handler(message: RabbitMessage) -> None:
        await handle(message, json.loads(message.body))
        await message.ack()

    consumers.subscriber(
        RabbitQueue(
            f"order-service.{routing_key.rsplit('.', 1)[-1]}",
            queue_type=QueueType.QUORUM,
            durable=True,
            arguments=cast("QuorumQueueArgs", dict(QUEUE_ARGUMENTS)),
            routing_key=routing_key,
        ),
        DOMAIN,
        channel=Channel(prefetch_count=PREFETCH),
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
        decoder=whole,
    )(handler)


async def _create_order(_: RabbitMessage, request: dict[str, Any]) -> None:
    order_id, saga_id = str(uuid4()), str(uuid4())
    traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    created = f'{_ITEMS},{_PAYMENT},"causationId":"{request["eventId"]}"'
    await asyncio.gather(
        publish("OrderCreated", order_id, saga_id, traceparent, created),
        publish("ValidateInventory", order_id, saga_id, traceparent, f'{_ITEMS},"attempt":1'),
    )


def _then(name: str, rest: str) -> Callable[[RabbitMessage, dict[str, Any]], Awaitable[None]]:
    async def go_on(message: RabbitMessage, reply: dict[str, Any]) -> None:
        await publish(name, reply["orderId"], reply["sagaId"], str(message.headers["traceparent"]), rest)

    return go_on


subscribe("domain.order.CreateOrder", _create_order)
subscribe("domain.inventory.InventoryValidated", _then("ReserveInventory", f'{_ITEMS},"attempt":1'))
subscribe("domain.inventory.InventoryReserved", _then("ProcessPayment", f'{_PAYMENT},"attempt":1'))
subscribe("domain.billing.PaymentProcessed", _then("OrderCompleted", _PAYMENT))


@get
async def ready(_: Any) -> AsgiResponse:
    """Whether every consumer runs."""
    running = all(subscriber.running for subscriber in consumers.subscribers)
    return AsgiResponse(b"", 200 if running else 503)


app = AsgiFastStream(publisher, consumers, asgi_routes=[("/health/ready", ready)])
