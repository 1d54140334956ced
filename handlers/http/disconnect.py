"""Clients that leave while something is done for them: it is not done any further."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

_T = TypeVar("_T")


async def gone(receive: Receive) -> None:
    """Return when the client has left; what it says until then is not listened to."""
    while not (await receive())["type"].endswith(".disconnect"):
        pass


async def first_of(*work: Coroutine[Any, Any, _T], seconds: float | None = None) -> _T | None:
    """What the first of these to end has come to, None when the time is up before. Nothing goes on afterwards.

    Raises:
        Exception: what it raised.
    """
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return next((task.result() for task in tasks if task.done()), None)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
