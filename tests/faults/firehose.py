"""Everything that anybody publishes on the exchange, kept by the broker until it is asked for: P of the invariants."""

import asyncio
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from saga.amqp_reading import read_whatever_comes
from saga.outbox import EXCHANGE

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

    async def open(self) -> None:
        """Begin to hear: what was published before is not."""
        async with await aio_pika.connect(self._url) as connection:
            channel = await connection.channel()
            domain = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(_QUEUE, durable=True)
            await queue.bind(domain, "#")

    async def drain(self) -> list[Heard]:
        """All that was heard and not drained yet, in the broker's order."""
        heard: list[Heard] = []
        read_whatever_comes()
        async with await aio_pika.connect(self._url) as connection, asyncio.timeout(_SECONDS):
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1000)
            queue = await channel.get_queue(_QUEUE)
            waiting = queue.declaration_result.message_count or 0
            if not waiting:
                return heard
            done = asyncio.Event()

            async def hear(message: AbstractIncomingMessage) -> None:
                heard.append(Heard(message.routing_key or "", message.message_id or "", message.body))
                if len(heard) % 500 == 0 or len(heard) >= waiting:
                    await message.channel.basic_ack(message.delivery_tag or 0, multiple=True)
                if len(heard) >= waiting:
                    done.set()

            tag = await queue.consume(hear)
            await done.wait()
            await queue.cancel(tag)
        return heard
