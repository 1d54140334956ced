"""Background tasks that do not die silently."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from saga import telemetry
from saga.errors import BusAwayError

_T = TypeVar("_T")
log = logging.getLogger(__name__)

_PAUSE = 1.0
"""Seconds before a dead task is started again."""


@asynccontextmanager
async def supervised(name: str, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run `work` in the background for as long as the block lasts; start it again whenever it ends."""
    task = asyncio.create_task(_keep_running(name, work), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _keep_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await own_cancellation(work())
        except Exception:
            log.exception("background task %s died; starting it again", name)
        telemetry.RESTARTS.labels(name).inc()
        await asyncio.sleep(_PAUSE)


async def own_cancellation(work: Awaitable[_T]) -> _T:
    """Await, letting only a cancellation through that somebody asked this task for.

    A connection that dies makes aio-pika cancel whoever waits on it; nobody asked for that, and `except Exception`
    does not see it.

    Raises:
        BusAwayError: in place of such a stray cancellation.
    """
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BusAwayError("the connection to RabbitMQ was lost") from error
