"""Waiting for what becomes true elsewhere: in a database, in another process."""

import asyncio
from collections.abc import Awaitable, Callable

LONGEST_PAUSE = 0.1
"""Seconds between two looks."""


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 30) -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: it did not within that time.
    """
    pause = 0.01
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(pause)
            # whoever waits long must not keep the machine from what is waited for
            pause = min(pause * 1.2, LONGEST_PAUSE)
