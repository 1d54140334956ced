"""A closed loop of clients: so many sagas are under way at any time, and each that ends makes room for the next.

So the load is what the machine can bear, whatever else it does. Every other client orders over HTTP, the others over
the bus. None asks again once its order was accepted, by a 201 or by the broker's confirmation: from then on it is the
service's.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from uuid import UUID

import asyncpg

from tests.faults.clients import MIX, wish
from tests.faults.place import Place

_LOOK_EVERY = 0.25
_ANSWER_SECONDS = 3.0
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What is said of a database that was killed in the middle of a sentence."""
_ENDED = "SELECT order_id FROM order_sagas WHERE order_id = ANY($1) AND completed_at IS NOT NULL"


@dataclass
class Journey:
    """A saga, as its client sees it."""

    began: float
    ended: float | None = None


class Load:
    """All clients together. `run` must be running.

    Args:
        place: where they order.
        concurrent: how many sagas are under way at once.
        random: decides who wants what.
    """

    def __init__(self, place: Place, concurrent: int, random: Random) -> None:
        self._place = place
        self._concurrent = concurrent
        self._random = random
        self._open = True
        self.done = asyncio.Event()
        """Set when the last saga has ended."""
        self._waiting: dict[UUID, asyncio.Event] = {}
        self.journeys: dict[UUID, Journey] = {}
        """By order id."""

    @property
    def ended(self) -> int:
        """How many sagas have come to their end."""
        return sum(one.ended is not None for one in self.journeys.values())

    def close(self) -> None:
        """Start no more. `run` returns when the last has ended."""
        self._open = False

    async def run(self) -> None:
        """Order, until closed."""
        # whoever waits for an end must not wait for ever where nobody looks any more
        async with asyncio.TaskGroup() as all_of_it:
            looking = all_of_it.create_task(self._look())
            async with asyncio.TaskGroup() as clients:
                for number in range(self._concurrent):
                    clients.create_task(self._go_on_ordering(over_http=number % 2 == 0))
            self.done.set()
            looking.cancel()

    async def _go_on_ordering(self, *, over_http: bool) -> None:
        while self._open:
            request = wish(self._random.choice(MIX), self._random)
            door = self._place.clients.over_http if over_http else self._place.clients.over_bus
            journey = Journey(time.monotonic())
            order_id = await door(request)
            self.journeys[order_id] = journey
            ended = self._waiting[order_id] = asyncio.Event()
            await ended.wait()
            journey.ended = time.monotonic()

    async def _look(self) -> None:
        """See which sagas have ended. The database itself is asked: nothing breaks between it and us."""
        while True:
            try:
                connection = await asyncpg.connect(
                    self._place.dsn.replace("+asyncpg", ""), timeout=_ANSWER_SECONDS, command_timeout=_ANSWER_SECONDS
                )
            except _AWAY:
                await asyncio.sleep(_LOOK_EVERY)
                continue
            try:
                with suppress(*_AWAY):
                    await self._look_with(connection)
            finally:
                connection.terminate()

    async def _look_with(self, connection: asyncpg.Connection) -> None:
        while True:
            for row in await connection.fetch(_ENDED, list(self._waiting)):
                self._waiting.pop(row["order_id"]).set()
            await asyncio.sleep(_LOOK_EVERY)
