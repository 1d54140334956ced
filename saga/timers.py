"""Timers: deadlines that have come, to the engine. Any worker, at any time, takes over whatever is due (I16).

A deadline is a row's `due_at`, in the database's clock. The engine claims what is due in the very transaction that
carries it out, passing over what another worker holds; so nothing is fired twice, and nothing is lost with a worker.
Between looks a worker sleeps until the next deadline that the database knows, and never long: another worker may set an
earlier one meanwhile.
"""

import asyncio
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from saga import store
from saga.engine import Engine
from saga.errors import classify
from saga.runtime.database import Sessions
from saga.runtime.failpoints import reach
from saga.table import TABLES
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

LOOK_EVERY = timedelta(seconds=0.4)
"""The longest sleep, and so how late a deadline may be seen at an idle worker."""
BATCH = 50
"""Deadlines fired at once."""
BREATH = timedelta(seconds=0.1)
"""Sleep after a full batch: what has gathered during a long stop comes as a stream, not as a storm."""
LOOK_FOR_PARKED_EVERY = 60.0
"""Seconds between two looks for sagas that were parked while asking again was switched off."""


class Timers:
    """Fires what is due. `run` must be running.

    Args:
        sessions: for looking, in which every statement is a transaction; one is used at a time.
        engine: carries out what is due.
        reask: how often what is parked is asked again; None: never.
    """

    def __init__(self, sessions: Sessions, engine: Engine, reask: timedelta | None) -> None:
        self._sessions = sessions
        self._engine = engine
        self._reask = reask
        self._next_look_for_parked = 0.0

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
                await self._look_for_parked(session)
                return await store.until_next_deadline(session, TABLES)
        except Exception as error:
            if not classify(error).transient:
                raise
            log.debug("the deadlines cannot be read for now", error=error)
            return None

    async def _look_for_parked(self, session: AsyncSession) -> None:
        """Sagas that nobody was to ask again get a deadline once somebody is."""
        now = asyncio.get_running_loop().time()
        if self._reask is None or now < self._next_look_for_parked:
            return
        if found := await store.ask_parked_again(session, self._reask):
            log.info("sagas were parked while asking again was switched off; they are asked again", count=found)
        self._next_look_for_parked = now + LOOK_FOR_PARKED_EVERY
