"""The clients: they publish CreateOrder, and take every OrderCompleted as the end of a saga. Bare aiormq: it is cheap.

Closed loop: so many sagas are under way at any time, and each that ends starts the next. Open loop: so many are started
per second, whatever becomes of them; there a saga's latency counts from when it was *due*, so that a system that cannot
keep up cannot hide it.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast
from uuid import uuid4

import aiormq
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from saga.outbox.message import EXCHANGE

EVENTS = ("OrderCreated", "OrderCompleted", "OrderFailed")
STALLED_AFTER = 20.0
"""Seconds without a saga's end after which the run is given up."""


class StalledError(Exception):
    """Sagas do not end any more; the message says how many are missing."""


class OrderFailedError(Exception):
    """An order failed although every command is answered with success; the message is the event."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What the clients saw."""

    seconds: float
    """From the first CreateOrder published to the last OrderCompleted received."""
    latencies: list[float]
    """Seconds from CreateOrder to OrderCompleted, per saga."""


class Load:
    """All clients together, on one channel. Use it with `connected`."""

    def __init__(self, channel: aiormq.Channel) -> None:
        self._channel = channel
        self._asked: dict[str, float] = {}
        """By the request's `eventId`: when it was published."""
        self._under_way: dict[str, float] = {}
        """The same by order id, from OrderCreated on."""
        self._to_start = 0
        self._latencies: list[float] = []
        self._tell: Callable[[], object] = lambda: None
        self._progress = asyncio.Event()
        self._failed: str | None = None

    async def drive(self, sagas: int, *, in_flight: int, rate: float | None, tell: Callable[[], object]) -> Driven:
        """Run that many sagas to their end.

        Args:
            sagas: how many.
            in_flight: how many at once (closed loop).
            rate: sagas started per second (open loop), or None.
            tell: called at the end of every saga.

        Raises:
            StalledError: there was no end of a saga for a long time.
            OrderFailedError: an order failed.
        """
        self._latencies, self._tell = [], tell
        self._to_start = 0 if rate else max(sagas - in_flight, 0)
        began = time.perf_counter()
        if rate:
            starting = asyncio.create_task(self._start_at(rate, sagas, began))
        else:
            starting = asyncio.create_task(self._start_now(min(in_flight, sagas)))
        try:
            while len(self._latencies) < sagas:
                await self._wait_for_an_end(sagas)
        finally:
            starting.cancel()
        return Driven(time.perf_counter() - began, self._latencies)

    async def _wait_for_an_end(self, sagas: int) -> None:
        self._progress.clear()
        try:
            async with asyncio.timeout(STALLED_AFTER):
                await self._progress.wait()
        except TimeoutError:
            missing = sagas - len(self._latencies)
            raise StalledError(
                f"{missing} of {sagas} sagas have not ended, and none has for {STALLED_AFTER:g} s."
            ) from None
        if self._failed:
            raise OrderFailedError(self._failed)

    async def _start_now(self, sagas: int) -> None:
        for _ in range(sagas):
            await self._create_order(time.perf_counter())

    async def _start_at(self, rate: float, sagas: int, began: float) -> None:
        for number in range(sagas):
            due = began + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            await self._create_order(due)

    async def _create_order(self, now: float) -> None:
        event_id = str(uuid4())
        body = (
            f'{{"eventId":"{event_id}","userId":"{uuid4()}","items":[{{"productId":"{uuid4()}",'
            '"productName":"Laptop","quantity":1,"price":1299.99}]}'
        )
        self._asked[event_id] = now
        await self._channel.basic_publish(
            body.encode(),
            exchange=EXCHANGE,
            routing_key="domain.order.CreateOrder",
            properties=Basic.Properties(content_type="application/json", delivery_mode=2, message_id=event_id),
            wait=False,
        )

    async def on_event(self, event: DeliveredMessage) -> None:
        """Take an order event. Copies are allowed, and change nothing."""
        body = json.loads(event.body)
        match event.header.properties.message_type:
            case "domain.order.OrderCreated":
                if (asked := self._asked.pop(body["causationId"], None)) is not None:
                    self._under_way[body["orderId"]] = asked
            case "domain.order.OrderCompleted":
                if (asked := self._under_way.pop(body["orderId"], None)) is not None:
                    await self._ended(time.perf_counter() - asked)
            case _:
                self._failed = event.body.decode()
                self._progress.set()

    async def _ended(self, latency: float) -> None:
        self._latencies.append(latency)
        self._progress.set()
        self._tell()
        if self._to_start:
            self._to_start -= 1
            await self._create_order(time.perf_counter())


@asynccontextmanager
async def connected(rabbitmq_url: str) -> AsyncIterator[Load]:
    """The clients, connected and listening. Their queue goes with them."""
    connection = await aiormq.connect(rabbitmq_url)
    try:
        channel = await connection.channel(publisher_confirms=False)
        await channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
        queue = (await channel.queue_declare(exclusive=True)).queue or ""
        for event in EVENTS:
            await channel.queue_bind(queue, EXCHANGE, f"domain.order.{event}")
        load = Load(cast("aiormq.Channel", channel))
        await channel.basic_consume(queue, load.on_event, no_ack=True)
        yield load
    finally:
        await connection.close()
