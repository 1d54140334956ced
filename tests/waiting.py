"""Waiting for what becomes true elsewhere: in a database, in another process."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 10) -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: it did not within that time.
    """
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - no event of this process tells
            await asyncio.sleep(0.02)
