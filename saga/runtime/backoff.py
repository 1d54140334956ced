"""Trying again what something transient keeps from succeeding: in growing pauses, and with a line when it matters."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from structlog.typing import FilteringBoundLogger

from saga.telemetry.redaction import allowed

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds. Never a hot loop, and never long: once the database or RabbitMQ is back, the work goes on soon."""
SAY_AGAIN_AFTER = 30.0
"""Seconds after which what is still in the way is told once more."""


class Trouble:
    """Something that is in the way for a while, told when it begins, when it changes, now and then, and when it ends.

    Args:
        log: where it is told.
        then: what is done about it.
    """

    def __init__(self, log: FilteringBoundLogger, then: str = "trying again") -> None:
        self._log = log
        self._then = then
        self._said: tuple[str, Mapping[str, object]] | None = None
        self._said_at = 0.0

    def say(self, why: str, **known: object) -> None:
        """It is still there, and looks like this."""
        now = time.monotonic()
        looks = (why, allowed(known))
        if looks != self._said or now - self._said_at >= SAY_AGAIN_AFTER:
            self._log.warning(f"{why}; {self._then}", **known)
            self._said, self._said_at = looks, now

    def over(self, what: str, **known: object) -> None:
        """It is not there, any more or at all."""
        if self._said:
            self._log.info(what, **known)
            self._said = None


class Backoff(Trouble):
    """The pauses between the attempts at one piece of work. Make a new one for each.

    Args:
        log: where to say what is in the way.
        sleep: waits that many seconds.
    """

    def __init__(self, log: FilteringBoundLogger, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        super().__init__(log)
        self._sleep = sleep
        self._seconds = FIRST_PAUSE

    async def pause(self, why: str, **known: object) -> None:
        """Wait before the next attempt: 0.1 s, then twice as long each time, up to 2 s."""
        self.say(why, **known)
        await self._sleep(self._seconds)
        self._seconds = min(self._seconds * 2, LONGEST_PAUSE)
