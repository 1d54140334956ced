"""Everything that anybody publishes on the exchange, kept by the broker until it is asked for: P of the invariants."""

import asyncio
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from handlers.bus.pamqp_patch import read_whatever_comes
from saga.outbox.message import EXCHANGE

_QUEUE = "firehose"
_SECONDS = 120.0


@dataclass(frozen=True)
class Heard:
    """A message as it was on the wire."""

    routing_key: str
    message_id: str
    raw: bytes

    @cached_property
    def body(self) -> dict[str, Any]:
        """Its body; empty where that is no JSON object."""
        try:
            body = json.loads(self.raw)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}


class Firehose:
    """A durable queue that hears everything.

    Args:
        url: the virtual host, as the broker itself has it and not through a proxy.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._kept: list[Heard] = []
        """What was taken from the queue by a draining that came to no end."""

    async def open(self) -> None:
        """Begin to hear: what was published before is not."""
        async with await aio_pika.connect(self._url) as connection:
            channel = await connection.channel()
            domain = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(_QUEUE, durable=True)
            await queue.bind(domain, "#")

    async def drain(self, seconds: float = _SECONDS) -> list[Heard]:
        """All that was heard and not drained yet, in the broker's order; some of it twice where the broker broke."""
        read_whatever_comes()
        async with await aio_pika.connect(self._url) as connection, asyncio.timeout(seconds):
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1000)
            queue = await channel.get_queue(_QUEUE)
            if waiting := queue.declaration_result.message_count or 0:
                await self._take(queue, waiting)
        heard, self._kept = self._kept, []
        return heard

    async def _take(self, queue: AbstractQueue, waiting: int) -> None:
        done = asyncio.Event()
        taken = 0

        async def hear(message: AbstractIncomingMessage) -> None:
            nonlocal taken
            taken += 1
            self._kept.append(Heard(message.routing_key or "", message.message_id or "", message.body))
            if taken % 500 == 0 or taken >= waiting:
                await message.channel.basic_ack(message.delivery_tag or 0, multiple=True)
            if taken >= waiting:
                done.set()

        tag = await queue.consume(hear)
        await done.wait()
        await queue.cancel(tag)
