"""An answer that costs something, for many who ask: it is worked out once, and shown for a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")

FRESH_SECONDS = 1.0
"""How long an answer is shown."""


class Fresh(Generic[_T]):
    """The answer to a question that is asked at most once a second, however many want to know.

    Args:
        ask: works the answer out; what it raises is raised, and the next one asks again.
    """

    def __init__(self, ask: Callable[[], Awaitable[_T]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._answers: list[_T] = []
        self._ask_again_at = 0.0

    async def __call__(self) -> _T:
        """The answer, at most `FRESH_SECONDS` old."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if not self._answers or loop.time() >= self._ask_again_at:
                self._answers = [await self._ask()]
                self._ask_again_at = loop.time() + FRESH_SECONDS
            return self._answers[0]
