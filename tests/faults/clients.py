"""Clients that mean it: each asks until its order is accepted, under one identity, whatever breaks meanwhile.

What they were promised is what the laws are asked about afterwards.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from random import Random
from typing import Any
from uuid import UUID

import aio_pika
import httpx2

from handlers.bus.publisher import BUS_ERRORS, close
from models.messages import money_text
from models.states import OrderStatus
from saga.outbox.message import EXCHANGE
from saga.runtime.tasks import own_cancellation
from tests.faults.laws import Promise

_PAUSE = 0.2
_PUBLISH_SECONDS = 5.0
_NO_LIMITS = httpx2.Limits(max_connections=None)


class Kind(Enum):
    """What becomes of an order at the stand-ins, all else being well: quantity, price, end."""

    HAPPY = (1, Decimal("19.99"), OrderStatus.CONFIRMED)
    NO_STOCK = (1001, Decimal("1.00"), OrderStatus.FAILED)
    DECLINED = (1, Decimal("10000.01"), OrderStatus.FAILED)


MIX = [Kind.HAPPY] * 8 + [Kind.NO_STOCK, Kind.DECLINED]
"""80 % happy, 10 % no stock, 10 % declined."""


@dataclass(frozen=True)
class Request:
    """An order that somebody wants."""

    user_id: UUID
    quantity: int
    price: Decimal
    ends: OrderStatus
    identity: UUID
    product_id: UUID
    order_id: UUID
    """The client's own choice, where it is asked for one: on the bus."""

    @property
    def items(self) -> list[dict[str, Any]]:
        """As the wire has them."""
        return [
            {
                "productId": str(self.product_id),
                "productName": "Laptop",
                "quantity": self.quantity,
                "price": money_text(self.price),
            }
        ]

    @property
    def promise(self) -> Promise:
        """What its client is promised when it is accepted."""
        return Promise(self.user_id, self.items, self.quantity * self.price, self.ends)


def wish(kind: Kind, random: Random) -> Request:
    """A request like no other."""
    quantity, price, ends = kind.value
    ids = [UUID(int=random.getrandbits(128), version=4) for _ in range(4)]
    return Request(ids[0], quantity, price, ends, *ids[1:])


@dataclass
class Clients:
    """Who orders, over HTTP and over the bus.

    Args:
        urls: the instances of the service; each request goes to the next one.
        amqp: the virtual host.
    """

    urls: list[str]
    amqp: str
    promised: dict[UUID, Promise] = field(default_factory=dict)
    """By order id."""
    asked: int = 0
    """Requests that were sent, repetitions included."""
    _connection: aio_pika.abc.AbstractConnection | None = None
    _exchange: aio_pika.abc.AbstractExchange | None = None
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _http: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(timeout=10, limits=_NO_LIMITS))

    async def over_http(self, request: Request) -> UUID:
        """Ask until there is a 201; the order's id."""
        body = {"userId": str(request.user_id), "items": request.items}
        headers = {"Idempotency-Key": str(request.identity)}
        while True:
            self.asked += 1
            url = self.urls[self.asked % len(self.urls)]
            try:
                answer = await self._http.post(f"{url}/api/orders", json=body, headers=headers)
            except httpx2.TransportError:
                await asyncio.sleep(_PAUSE)
                continue
            if answer.status_code == 201:
                order_id = UUID(answer.json()["id"])
                self.promised[order_id] = request.promise
                return order_id
            assert answer.status_code == 503, f"{answer.status_code}: {answer.text}"
            assert answer.headers["Retry-After"], "a 503 says when to come again"
            await asyncio.sleep(_PAUSE)

    async def over_bus(self, request: Request) -> UUID:
        """Publish until it is confirmed and routed; the order's id. Asked again it is the same order."""
        body = {
            "eventId": str(request.identity),
            "orderId": str(request.order_id),
            "userId": str(request.user_id),
            "items": request.items,
        }
        await self.say("domain.order.CreateOrder", body)
        self.promised[request.order_id] = request.promise
        return request.order_id

    async def say(self, routing_key: str, body: dict[str, Any] | bytes) -> None:
        """Publish until it is confirmed and routed."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = aio_pika.Message(raw, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self._until_it_works(lambda exchange: exchange.publish(message, routing_key))

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()
        if self._connection is not None:
            await close(self._connection)

    async def _until_it_works(self, say: Callable[[aio_pika.abc.AbstractExchange], Awaitable[object]]) -> None:
        while True:
            self.asked += 1
            try:
                async with asyncio.timeout(_PUBLISH_SECONDS):
                    await own_cancellation(self._say(say))
            except BUS_ERRORS:
                self._exchange = None
                await asyncio.sleep(_PAUSE)
            else:
                return

    async def _say(self, say: Callable[[aio_pika.abc.AbstractExchange], Awaitable[object]]) -> None:
        await say(await self._open())

    async def _open(self) -> aio_pika.abc.AbstractExchange:
        async with self._opening:
            if self._exchange is None or self._connection is None or self._connection.is_closed:
                if self._connection is not None:
                    await close(self._connection)
                self._connection = await aio_pika.connect(self.amqp, timeout=_PUBLISH_SECONDS)
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            return self._exchange
