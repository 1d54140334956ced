"""The order service's end of the bus, played by hand."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from local.broker import USER

SECONDS = 10.0


class Bus:
    """Sends commands and collects the answers in the order of their arrival."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, exchange: aio_pika.abc.AbstractExchange) -> None:
        self.channel = channel
        self.exchange = exchange
        self._answers: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def listen(self, *keys: str) -> None:
        """Collect what is published with these routing keys from now on."""
        queue = await self.channel.declare_queue(exclusive=True)
        for key in keys:
            await queue.bind(self.exchange, key)
        await queue.consume(self._answers.put, no_ack=True)

    async def answer(self, seconds: float = SECONDS) -> AbstractIncomingMessage:
        """The next answer."""
        async with asyncio.timeout(seconds):
            return await self._answers.get()

    async def send(self, name: str, body: bytes, headers: dict[str, Any] | None = None) -> None:
        """Publish a command as it stands."""
        message = aio_pika.Message(
            body, content_type="application/json", delivery_mode=2, headers=headers, user_id=USER
        )
        await self.exchange.publish(message, f"domain.order.{name}", timeout=SECONDS)

    async def ask(
        self, name: str, command: dict[str, Any], headers: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Publish a command and return the routing key and body of the next answer."""
        await self.send(name, json.dumps(command).encode(), headers)
        answer = await self.answer()
        return str(answer.routing_key), json.loads(answer.body)


def command(
    order_id: UUID | None = None, *, quantity: int = 2, total: str = "1299.99", **more: object
) -> dict[str, Any]:
    """A command that every participant can read."""
    items = [{"productId": str(uuid4()), "productName": "Laptop", "quantity": quantity, "price": "649.99"}]
    ids = {"eventId": str(uuid4()), "orderId": str(order_id or uuid4()), "sagaId": str(uuid4())}
    return {**ids, "attempt": 1, "userId": str(uuid4()), "items": items, "totalAmount": total, **more}
