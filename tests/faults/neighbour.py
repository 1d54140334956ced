"""A stand-in participant in a process of its own, so that it can be killed."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from local import billing, inventory
from local.__main__ import Program
from local.child import Child
from local.host import free_port
from tests.faults.place import Place
from tests.waiting import until

_READY_SECONDS, _STOP_SECONDS = 40.0, 5.0
_START_SECONDS = 12.0
"""One that is started while the broker falls silent waits for it for ever."""


class Neighbour:
    """A participant of the place: `inventory` or `billing`. Use it with `neighbours`."""

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self._folder = place.folder
        self._program = Program(name, f"local.{name}:app", free_port(), "/behaviour")
        self._env = os.environ | {
            "RABBITMQ_URL": place.rabbitmq.url(place.vhost),
            "LEDGER_DIR": str(place.folder),
        }
        self.child = self._launch()

    async def ready(self) -> None:
        """Return when it answers. While the broker is away it cannot start, and is started again."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _START_SECONDS

        async def answers() -> bool:
            nonlocal give_up_at
            if self.child.returncode is not None or loop.time() > give_up_at:
                self.child.kill()
                self.child = self._launch()
                give_up_at = loop.time() + _START_SECONDS
            await asyncio.sleep(0.1)
            return await asyncio.to_thread(self._program.answers)

        await until(answers, _READY_SECONDS)

    async def restart(self) -> None:
        """Start again what was killed."""
        self.child = self._launch()
        await self.ready()

    def _launch(self) -> Child:
        return self._program.start(self._folder, self._env)


@asynccontextmanager
async def neighbours(place: Place) -> AsyncIterator[list[Neighbour]]:
    """All participants of a place, ready, as long as the block lasts."""
    both = [Neighbour(stand_in.NAME, place) for stand_in in (inventory, billing)]
    try:
        for one in both:
            await one.ready()
        yield both
    finally:
        for one in both:
            await asyncio.to_thread(one.child.stop, seconds=_STOP_SECONDS)
