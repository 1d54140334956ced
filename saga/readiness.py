"""Whether this worker can do its work, and if not, why not."""

import asyncio
from typing import Any

from faststream.rabbit import RabbitBroker
from faststream.rabbit.subscriber import RabbitSubscriber
from sqlalchemy.ext.asyncio import AsyncEngine

from saga.bus import Bus
from saga.database import schema_is_current


async def unready(database: AsyncEngine, bus: Bus, broker: RabbitBroker) -> list[str]:
    """What is not ready, in words; empty when all is."""
    problems: list[str] = []
    try:
        async with asyncio.timeout(3):
            if not await schema_is_current(database):
                problems.append("database: the schema is not up to date")
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker is not ready, and says so
        problems.append(f"database: {type(error).__name__}")
    if not bus.connected:
        problems.append("bus: not connected for publishing")
    if missing := [name for name, running in _consumers(broker) if not running]:
        problems.append(f"bus: not consuming {', '.join(missing)}")
    return problems


def _consumers(broker: RabbitBroker) -> list[tuple[str, bool]]:
    connection: Any = broker._connection  # noqa: SLF001 - FastStream's ping sees no more than this, and takes longer
    alive = connection is not None and connection.connected.is_set()
    return [
        (subscriber.queue.name, alive and subscriber.running)
        for subscriber in broker.subscribers
        if isinstance(subscriber, RabbitSubscriber)
    ]
