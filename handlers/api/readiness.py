"""Whether this worker can do its work, and if not, why not."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.bus.consumer import Consumers
from handlers.bus.publisher import Bus
from saga.engine import Engine
from saga.runtime.database import schema_is_current


async def unready(database: AsyncEngine, engine: Engine, bus: Bus, consumers: Consumers) -> list[str]:
    """What is not ready, in words; empty when all is."""
    problems: list[str] = []
    try:
        async with asyncio.timeout(3):
            if not await schema_is_current(database):
                problems.append("database: the schema is not up to date")
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker is not ready, and says so
        problems.append(f"database: {type(error).__name__}")
    if not engine.running:
        problems.append("engine: not running")
    if not bus.connected:
        problems.append("bus: not connected for publishing")
    if gone := consumers.gone:
        problems.append(f"bus: not consuming {', '.join(gone)}")
    return problems
