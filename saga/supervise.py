"""Background tasks that do not die silently, and what is done first when the process is told to stop."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
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


@contextmanager
def upon_stop_signal(call: Callable[[], None]) -> Iterator[None]:
    """Call this first when the process is told to stop; then whoever handled the signal before goes on as ever.

    The server waits for open requests before it tells anybody else that it stops; whoever holds one has to know
    earlier.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(call)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
