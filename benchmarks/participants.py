"""Inventory and Billing at the least cost: every command is answered with success, at once, by bare aiormq.

No FastStream, no aio-pika, no confirms, no deduplication, one acknowledgement for many messages: what they take of the
machine is missing to the system that is measured. Not a participant to learn from; `local/participant.py` is.

    RABBITMQ_URL=amqp://… python -m benchmarks.participants
"""

import asyncio
import os
from typing import cast
from uuid import uuid4

import aiormq
import uvloop
from aiormq.abc import AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from saga.outbox.message import EXCHANGE

ANSWERS = {
    "ValidateInventory": ("domain.inventory.InventoryValidated", "Inventory validated"),
    "ReserveInventory": ("domain.inventory.InventoryReserved", "Inventory reserved"),
    "ProcessPayment": ("domain.billing.PaymentProcessed", "Payment processed"),
}
"""By command: the routing key of the answer, and what it says."""
READY = "answering"
"""What the process prints as soon as every command finds a queue."""
PREFETCH = 500
ACK_EVERY = 50
"""Messages per acknowledgement."""
ACK_AFTER = 0.02
"""Seconds until the rest of them is acknowledged as well."""
_NAMESPACE = "benchmark"


class Answering:
    """Answers one command, from a queue of its own."""

    def __init__(self, channel: aiormq.Channel, routing_key: str, says: str) -> None:
        self._channel = channel
        self._routing_key = routing_key
        self._says = says
        self._last_tag = 0
        self._unacked = 0

    async def on_command(self, command: DeliveredMessage) -> None:
        """Answer; the properties of a command say all that an answer needs."""
        asked = command.header.properties
        headers = asked.headers or {}
        event_id = str(uuid4())
        body = (
            f'{{"eventId":"{event_id}","orderId":"{headers["ce-subject"]!s}","sagaId":"{asked.correlation_id}",'
            f'"causationId":"{asked.message_id}","message":"{self._says}"}}'
        )
        await self._channel.basic_publish(
            body.encode(),
            exchange=EXCHANGE,
            routing_key=self._routing_key,
            properties=Basic.Properties(
                content_type="application/json",
                delivery_mode=2,
                message_id=event_id,
                correlation_id=asked.correlation_id,
                message_type=self._routing_key,
                headers={"traceparent": headers["traceparent"]},
            ),
            wait=False,
        )
        self._last_tag = command.delivery_tag or 0
        self._unacked += 1
        if self._unacked >= ACK_EVERY:
            await self.acknowledge()

    async def acknowledge(self) -> None:
        """Acknowledge whatever has been answered."""
        if self._unacked:
            self._unacked = 0
            await self._channel.basic_ack(self._last_tag, multiple=True, wait=False)


async def answer_all(rabbitmq_url: str) -> None:
    """Answer every command until cancelled."""
    connection = await aiormq.connect(rabbitmq_url)
    answering = [await _answer(connection, command) for command in ANSWERS]
    print(READY, flush=True)
    while not connection.is_closed:
        await asyncio.sleep(ACK_AFTER)
        for one in answering:
            await one.acknowledge()


async def _answer(connection: AbstractConnection, command: str) -> Answering:
    channel = await connection.channel(publisher_confirms=False)
    await channel.basic_qos(prefetch_count=PREFETCH)
    await channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    queue = f"{_NAMESPACE}.{command}"
    await channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    await channel.queue_bind(queue, EXCHANGE, f"domain.order.{command}")
    answering = Answering(cast("aiormq.Channel", channel), *ANSWERS[command])
    await channel.basic_consume(queue, answering.on_command)
    return answering


if __name__ == "__main__":
    uvloop.run(answer_all(os.environ["RABBITMQ_URL"]))
