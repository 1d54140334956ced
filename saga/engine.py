"""The engine: gathers what arrives together into one transaction, and answers when it is committed.

One transaction a message would cost more than all the rest of the work. So whatever arrives while a transaction runs
goes into the next one; nothing waits on purpose. Order within a saga is kept: what has to wait for somebody else's
work goes first again, and what follows it waits with it. One event that PostgreSQL refuses as data does not sink its
neighbours, nor does one deadline that cannot be carried out: such a batch is done again one by one.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from saga.arrivals import Accepted, Arrival, Due, OrderRequest
from saga.batch import Batch
from saga.domain import Decision, Event, Policy
from saga.errors import DatabaseFault, OrderServiceError, RefusedByDatabaseError, classify
from saga.outbox.message import Envelope
from saga.runtime.backoff import Backoff
from saga.runtime.database import Sessions
from saga.runtime.failpoints import reach
from saga.telemetry import committed as telemetry
from saga.telemetry import metrics
from saga.telemetry.log_setup import get_logger
from saga.telemetry.redaction import tell

log = get_logger(__name__)

MAX_BATCH = 200
"""The most events in one transaction."""
_MOST_COLLISIONS = 20
"""How often an event may collide with somebody else's work before that is taken for a mistake of ours."""
PASSED_OVER_SECONDS = 30.0
"""How long a deadline is left alone that could not be carried out."""


class Engine:
    """Advances sagas. One per process; `run` must be running for anything to be answered.

    Args:
        sessions: the engine's own sessions; it uses one at a time.
        policy: how long sagas wait and how often they ask.
        hand_over: takes the committed messages to be published.
        announced: is told that deliveries were committed that go to endpoints of webhooks.
    """

    def __init__(
        self,
        sessions: Sessions,
        policy: Policy,
        hand_over: Callable[[list[Envelope]], None],
        announced: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions = sessions
        self._policy = policy
        self._hand_over = hand_over
        self._announced = announced
        self._waiting: list[Arrival] = []
        self._arrived = asyncio.Event()
        self._passed_over: dict[UUID, float] = {}
        """The orders whose deadlines cannot be carried out, and until when they are left alone."""
        self.running = False
        """Whether what arrives is committed now, and not only held."""

    async def advance(self, event: Event) -> Decision:
        """Apply an event to its saga; returns when that is committed. While the database is away this waits.

        Raises:
            UnknownOrderError: there is no such order.
            UnknownTableError: another release has to advance it.
            RefusedByDatabaseError: PostgreSQL refuses the event as data.
        """
        decision: Decision = await self._arrive(event)
        return decision

    async def create(self, request: OrderRequest) -> Accepted:
        """Accept an order: order, saga and first messages are committed together (I1) when this returns.

        Raises:
            DifferentContentError: the identity or the order id was used before for something else.
            RefusedByDatabaseError: PostgreSQL refuses the order as data.
        """
        accepted: Accepted = await self._arrive(request)
        return accepted

    async def fire_due(self, limit: int) -> int:
        """Carry out at most so many deadlines that have come; returns how many, when that is committed.

        One that cannot be carried out is told to the log, and left alone for a while.
        """
        fired: int = await self._arrive(Due(limit))
        return fired

    async def _arrive(self, work: Event | OrderRequest | Due) -> Any:
        arrival = Arrival(work, asyncio.get_running_loop().create_future())
        self._waiting.append(arrival)
        self._arrived.set()
        return await arrival.answer

    async def run(self) -> None:
        """Commit whatever arrives, until cancelled. Run again, it goes on with what is still unanswered."""
        self.running = True
        try:
            while True:
                while self._waiting:
                    await self._commit_next()
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self.running = False

    async def _commit_next(self) -> None:
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        try:
            await self._commit(batch)
        finally:
            self._waiting[:0] = [arrival for arrival in batch if not arrival.answer.done()]

    async def _commit(self, arrivals: list[Arrival]) -> None:
        """Commit these together, however often it takes while the database is away.

        Nothing is concluded from a commit that failed: the work is decided again from what is stored. What cannot be
        committed together is committed one by one; one that collides with somebody else's work is left unanswered, for
        a later turn.
        """
        backoff = Backoff(log)
        # who has stopped waiting (a lost connection, an impatient client) will come again
        while arrivals := [arrival for arrival in arrivals if not arrival.answer.done()]:
            reach("engine.gathered")
            try:
                async with self._sessions() as session, session.begin():
                    batch = Batch(session, self._policy)
                    await batch.decide(arrivals, self._left_alone())
                    reach("engine.decided")
                    envelopes = await batch.write()
            except Exception as error:  # noqa: BLE001 - classified here, and none is swallowed
                fault = classify(error)
                if fault is DatabaseFault.AWAY:
                    metrics.DATABASE_RETRIES.inc()
                    await backoff.pause("the database is away", error=error)
                    continue
                if len(arrivals) > 1:
                    await self._commit_each(arrivals)
                else:
                    await self._failed(arrivals[0], error, fault)
                return
            reach("engine.committed")
            backoff.over("the database is back")
            self._committed(batch, envelopes)
            return

    async def _commit_each(self, arrivals: list[Arrival]) -> None:
        """Commit each alone; what follows one that has to wait, of the same saga, waits with it."""
        waiting: set[UUID | None] = set()
        for arrival in arrivals:
            if arrival.order_id not in waiting:
                await self._commit([arrival])
            if not arrival.answer.done():
                waiting.add(arrival.order_id)

    async def _failed(self, arrival: Arrival, error: Exception, fault: DatabaseFault) -> None:
        arrival.collisions += 1
        if isinstance(arrival.work, Due) and arrival.work.held:
            fired = await self._fire_each(arrival.work.held, error)
            if not arrival.answer.done():
                arrival.answer.set_result(fired)
        elif fault is DatabaseFault.BUSY and arrival.collisions < _MOST_COLLISIONS:
            log.warning("something else is in the way; trying again later", error=error)
            metrics.DATABASE_RETRIES.inc()
        elif not arrival.answer.done():
            refused = RefusedByDatabaseError(f"PostgreSQL refuses it: {tell(error)}")
            arrival.answer.set_exception(refused if fault is DatabaseFault.DATA else error)

    async def _fire_each(self, held: list[UUID], error: Exception) -> int:
        """Fire as many deadlines, each alone; one that fails even so is left alone for a while."""
        if len(held) == 1:
            log.error("a deadline cannot be carried out; leaving it alone", order_id=held[0], exc_info=error)
            self._passed_over[held[0]] = asyncio.get_running_loop().time() + PASSED_OVER_SECONDS
            return 0
        fired = 0
        for _ in held:
            alone = Arrival(Due(1), asyncio.get_running_loop().create_future())
            await self._commit([alone])
            # one that found nothing to take, since somebody else was in the way, is looked at again by the timers
            if alone.answer.done() and not alone.answer.exception():
                fired += alone.answer.result()
        return fired

    def _left_alone(self) -> list[UUID]:
        """The orders whose deadlines are passed over at this time."""
        time = asyncio.get_running_loop().time()
        self._passed_over = {order_id: until for order_id, until in self._passed_over.items() if until > time}
        return list(self._passed_over)

    def _committed(self, batch: Batch, envelopes: list[Envelope]) -> None:
        if envelopes:
            self._hand_over(envelopes)
            reach("engine.handed-over")
        if batch.announced:
            self._announced()
        telemetry.committed(batch.moves, len(batch.answers))
        for arrival, answer in batch.answers.items():
            if arrival.answer.done():
                continue
            if isinstance(answer, OrderServiceError):
                arrival.answer.set_exception(answer)
            else:
                arrival.answer.set_result(answer)
