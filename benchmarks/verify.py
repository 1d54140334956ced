"""Whether a run lost nothing. Figures of a system that loses messages are worth nothing."""

import asyncio
import time

import aiormq
import asyncpg
from aiormq.exceptions import ChannelNotFoundEntity

from handlers.bus.publisher import DEAD_LETTER_QUEUE

SETTLED_WITHIN = 10.0
"""Seconds from the last event until every row of the outbox is gone."""
QUEUES = ("CreateOrder", "InventoryValidated", "InventoryReserved", "PaymentProcessed")


class NotEmptyError(Exception):
    """Somebody's data are where the benchmark would write; the message says where."""


async def require_empty(database_url: str, rabbitmq_url: str) -> None:
    """See that nobody's orders would be among ours.

    Raises:
        NotEmptyError: there are orders, or queues of an order service.
    """
    has_table = await _value(database_url, "SELECT to_regclass('orders')")
    if has_table and await _value(database_url, "SELECT count(*) FROM orders"):
        raise NotEmptyError("The database has orders already. The benchmark needs an empty one, for itself alone.")
    if await _waiting(rabbitmq_url, f"order-service.{QUEUES[0]}") is not None:
        raise NotEmptyError("The virtual host has queues of an order service. The benchmark needs an empty one.")


async def settled(database_url: str) -> None:
    """Wait until the outbox is empty, or it should long have been."""
    deadline = time.monotonic() + SETTLED_WITHIN
    while await _value(database_url, "SELECT count(*) FROM outbox") and time.monotonic() < deadline:  # noqa: ASYNC110
        # another process empties it, and tells nobody
        await asyncio.sleep(0.02)


async def losses(database_url: str, rabbitmq_url: str, sagas: int) -> list[str]:
    """What is not as it must be after so many sagas, in words; empty when all is well."""
    expected = {
        "confirmed orders": ("SELECT count(*) FROM orders WHERE status = 'Confirmed'", sagas),
        "orders": ("SELECT count(*) FROM orders", sagas),
        "completed sagas with three steps": (
            "SELECT count(*) FROM order_sagas WHERE status = 'Completed' AND jsonb_array_length(history) = 3",
            sagas,
        ),
        "messages in the outbox": ("SELECT count(*) FROM outbox", 0),
    }
    if await _value(database_url, "SELECT to_regclass('dead_letters')"):
        expected["stored dead letters"] = ("SELECT count(*) FROM dead_letters", 0)
    queues = (DEAD_LETTER_QUEUE, *(f"order-service.{name}" for name in QUEUES))
    counts = [(what, await _value(database_url, query), wanted) for what, (query, wanted) in expected.items()]
    counts += [(f"messages in {queue}", await _waiting(rabbitmq_url, queue), 0) for queue in queues]
    return [f"{found} {what} instead of {wanted}" for what, found, wanted in counts if found != wanted]


async def _value(database_url: str, query: str) -> int | str | None:
    connection = await asyncpg.connect(database_url.replace("postgresql+asyncpg://", "postgresql://"))
    try:
        value: int | str | None = await connection.fetchval(query)
        return value
    finally:
        await connection.close()


async def _waiting(rabbitmq_url: str, queue: str) -> int | None:
    """The messages that wait in a queue, None where there is no such queue."""
    connection = await aiormq.connect(rabbitmq_url)
    try:
        channel = await connection.channel()
        return (await channel.queue_declare(queue, passive=True)).message_count
    except ChannelNotFoundEntity:
        return None
    finally:
        await connection.close()
