"""Background tasks that do not die silently, and how the process ends: told to, or because it cannot go on."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from types import FrameType
from typing import TypeVar

from saga.errors import BusAwayError, ConfigurationError, classify
from saga.telemetry import metrics
from saga.telemetry.log_setup import get_logger
from saga.telemetry.redaction import Words

_T = TypeVar("_T")
log = get_logger(__name__)

_PAUSE = 1.0
"""Seconds before a dead task is started again."""
STOP_WITHIN = 16
"""Seconds from the signal to the end, whatever hangs: nothing is lost with a process, so none need be waited for."""
_CANNOT_START = 3
"""The exit code by which uvicorn's supervisor knows that another start would fail like this one."""


@asynccontextmanager
async def supervised(name: str, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run `work` in the background for as long as the block lasts; start it again whenever it ends.

    What it says of the configuration ends the process, in one line: no other start would fare better.
    """
    # from nothing to one is no increase: the first death would not be seen
    metrics.TASK_RESTARTS.labels(name)
    task = asyncio.create_task(_keep_running(name, work), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def regularly(
    every: timedelta, work: Callable[[], Awaitable[None]], put_off: Callable[[Exception], None]
) -> None:
    """Do this now and then, until cancelled.

    Args:
        every: how long it rests in between.
        work: what is done.
        put_off: told of an error that will pass; the work is done the next time.
    """
    while True:
        try:
            await work()
        except Exception as error:
            if not classify(error).transient:
                raise
            put_off(error)
        await asyncio.sleep(every.total_seconds())


@contextmanager
def upon_stop_signal(call: Callable[[], None]) -> Iterator[None]:
    """Call this first when the process is told to stop; then whoever handled the signal before goes on as ever.

    The server waits for open requests before it tells anybody else that it stops; whoever holds one has to know
    earlier. From the first signal on the kernel counts the seconds: SIGALRM ends what hangs.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    told = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            signal.alarm(STOP_WITHIN)
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


@contextmanager
def upon_hangup(call: Callable[[], None]) -> Iterator[None]:
    """Call this whenever the process is told to read its files again (SIGHUP)."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def _keep_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await own_cancellation(work())
        except ConfigurationError as error:
            log.critical("the service cannot start like this", error=error)
            # a SystemExit in a task ends the loop, but neither quietly nor surely the process
            os._exit(_CANNOT_START)
        except Exception:
            log.exception("a background task died; starting it again", task=Words(name))
        metrics.TASK_RESTARTS.labels(name).inc()
        await asyncio.sleep(_PAUSE)


async def own_cancellation(work: Awaitable[_T]) -> _T:
    """Await, letting a cancellation through if, and only if, somebody asked this task for it.

    A connection that dies makes aio-pika cancel whoever waits on it; nobody asked for that, and `except Exception`
    does not see it. One that dies while it is being opened is told as the end of an iteration, one that was closed
    without a reason as an error without a name, one that is closed already as a RuntimeError; and one that is being
    opened takes a cancellation that was asked for as its own failure.

    Raises:
        BusAwayError: in place of any of these.
    """
    task = asyncio.current_task()
    try:
        return await work
    except asyncio.CancelledError as error:
        if task is None or task.cancelling():
            raise
        raise BusAwayError("the connection to RabbitMQ was lost") from error
    except Exception as error:
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from error
        if type(error) is Exception or isinstance(error, StopAsyncIteration) or _says_closed(error):
            raise BusAwayError("the connection to RabbitMQ was closed") from error
        raise


def _says_closed(error: Exception) -> bool:
    """Whether aiormq says that the connection is closed, or uvloop that its socket is: they have no better words."""
    return isinstance(error, RuntimeError) and str(error).endswith("closed")
