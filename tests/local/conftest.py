"""Fixtures of the tests of one machine."""

from collections.abc import AsyncIterator

import aio_pika
import pytest

from tests.local.bus import Bus


@pytest.fixture
async def bus(vhost: str) -> AsyncIterator[Bus]:
    """The bus, listening to the answers of both participants."""
    async with await aio_pika.connect(vhost) as connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.declare_exchange("domain", aio_pika.ExchangeType.TOPIC, durable=True)
        bus = Bus(channel, exchange)
        await bus.listen("domain.inventory.#", "domain.billing.#")
        yield bus
