"""Waiting for an order or its saga to change: one query a tick for all who wait in this process, none for nobody."""

import asyncio
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from handlers.queries import orders
from saga.errors import classify
from saga.runtime.database import Sessions
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

TICK = 0.2
"""Seconds between two looks."""
_PAUSE = 1.0
"""Seconds before the next look after one that failed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    order_id: UUID
    what: Literal["order", "saga"]
    seen: datetime | None
    woken: asyncio.Future[None]


class Watch:
    """Wakes whoever waits for an order or a saga to change. One per process.

    Args:
        sessions: where to look.
        tick: seconds between two looks.
    """

    def __init__(self, sessions: Sessions, tick: float = TICK) -> None:
        self._sessions = sessions
        self._tick = tick
        self._waiters: set[_Waiter] = set()
        self._looking: asyncio.Task[None] | None = None
        self.closed = False
        """Whether the service is stopping: nobody waits any more."""

    def __len__(self) -> int:
        """How many are waiting."""
        return len(self._waiters)

    async def changed(self, order_id: UUID, what: Literal["order", "saga"], seen: datetime | None) -> None:
        """Return when it is no longer as it was at `seen`, its `updated_at`; or when the service stops.

        Cancel it to stop waiting; nothing stays behind.
        """
        if self.closed:
            return
        waiter = _Waiter(order_id, what, seen, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        if self._looking is None or self._looking.done():
            # it looks for all who wait, and not for the one that happens to be the first
            self._looking = asyncio.create_task(self._look(), name="watch", context=Context())
        try:
            await waiter.woken
        finally:
            self._waiters.discard(waiter)

    def close(self) -> None:
        """End all waits, and let nobody wait any more: the service is stopping."""
        self.closed = True
        for waiter in self._waiters:
            _wake(waiter)
        if self._looking:
            self._looking.cancel()

    async def aclose(self) -> None:
        """Close it, and let go of its connection: a pool that is closed before would forget that one."""
        self.close()
        if self._looking:
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        while self._waiters:
            await asyncio.sleep(self._tick)
            try:
                async with self._sessions() as session:
                    now = await orders.updated_at(session, {waiter.order_id for waiter in self._waiters})
            except Exception as error:
                # whoever waits is answered when its time is up; until then the database may be back
                if not classify(error).transient:
                    log.exception("cannot look for changes")
                await asyncio.sleep(_PAUSE)
                continue
            for waiter in self._waiters:
                # who came while the query ran is looked after by the next one
                if waiter.order_id in now and now[waiter.order_id][waiter.what] != waiter.seen:
                    _wake(waiter)


def _wake(waiter: _Waiter) -> None:
    if not waiter.woken.done():
        waiter.woken.set_result(None)
