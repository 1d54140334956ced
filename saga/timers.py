"""Timers: deadlines that have come, to the engine. Any worker, at any time, takes over whatever is due (I16).

A deadline is a row's `due_at`, in the database's clock. The engine claims what is due in the very transaction that
carries it out, passing over what another worker holds; so nothing is fired twice, and nothing is lost with a worker.
Between looks a worker sleeps until the next deadline that the database knows, and never long: another worker may set an
earlier one meanwhile.
"""

import asyncio
import logging
from datetime import timedelta

from saga import store
from saga.database import Sessions
from saga.engine import Engine
from saga.errors import classify
from saga.failpoints import reach

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=0.4)
"""The longest sleep, and so how late a deadline may be seen at an idle worker."""
BATCH = 50
"""Deadlines fired at once."""
BREATH = timedelta(seconds=0.1)
"""Sleep after a full batch: what has gathered during a long stop comes as a stream, not as a storm."""


class Timers:
    """Fires what is due. `run` must be running.

    Args:
        sessions: for looking, in which every statement is a transaction; one is used at a time.
        engine: carries out what is due.
    """

    def __init__(self, sessions: Sessions, engine: Engine) -> None:
        self._sessions = sessions
        self._engine = engine

    async def run(self) -> None:
        """Look, fire and sleep, until cancelled."""
        while True:
            wait = await self._until_next()
            if wait is not None and wait <= timedelta(0):
                reach("timer.due")
                fired = await self._engine.fire_due(BATCH)
                if fired:
                    reach("timer.fired")
                wait = BREATH if fired else LOOK_EVERY
            await asyncio.sleep(min(wait or LOOK_EVERY, LOOK_EVERY).total_seconds())

    async def _until_next(self) -> timedelta | None:
        try:
            async with self._sessions() as session:
                return await store.until_next_deadline(session)
        except Exception as error:
            if not classify(error).transient:
                raise
            log.debug("the deadlines cannot be read for now: %s", error)
            return None
