"""The engine: gathers what arrives together into one transaction, and answers when it is committed.

One transaction a message would cost more than all the rest of the work. So whatever arrives while a transaction runs
goes into the next one; nothing waits on purpose. Order within a saga is kept: what has to wait for somebody else's
work goes first again, and what follows it waits with it. One event that PostgreSQL refuses as data does not sink its
neighbours, nor does one deadline that cannot be carried out: such a batch is done again one by one.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from saga import store, table, telemetry
from saga.backoff import Backoff
from saga.cells import Signal
from saga.database import Sessions
from saga.decide import begin, decide
from saga.errors import (
    DatabaseFault,
    DifferentContentError,
    OrderServiceError,
    RefusedByDatabaseError,
    UnknownOrderError,
    UnknownTableError,
    classify,
)
from saga.failpoints import reach
from saga.logs import get_logger
from saga.outbox import Envelope, OrderFacts, enclose
from saga.store import Stored
from saga.telling import tell
from saga.values import Decision, Event, Outcome, Policy, Saga, Send, when_due

log = get_logger(__name__)

MAX_BATCH = 200
"""The most events in one transaction."""
_MOST_COLLISIONS = 20
"""How often an event may collide with somebody else's work before that is taken for a mistake of ours."""
PASSED_OVER_SECONDS = 30.0
"""How long a deadline is left alone that could not be carried out."""


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A request for an order. The same identity gives the same order."""

    identity: str
    order_id: UUID
    chosen: bool
    """Whether the client chose the order's id, which then is an identity too."""
    user_id: UUID
    items: list[dict[str, Any]]
    total_amount: Decimal
    event_id: UUID | None = None

    @property
    def facts(self) -> OrderFacts:
        """The order that this asks for."""
        return OrderFacts(self.order_id, self.user_id, self.items, self.total_amount, causation_id=self.event_id)

    def same_content(self, order: OrderFacts) -> bool:
        """Whether this asks for just that order."""
        return (
            (not self.chosen or self.order_id == order.id)
            and self.user_id == order.user_id
            and self.items == order.items
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """The order that a request gave; `replayed` when it had been given before."""

    order_id: UUID
    saga_id: UUID
    created_at: datetime
    replayed: bool


@dataclass(slots=True)
class _Due:
    """At most so many sagas whose deadline has come."""

    limit: int
    held: list[UUID] = field(default_factory=list)
    """The orders whose sagas they were, the last time that it was tried."""


@dataclass(slots=True, eq=False)
class _Arrival:
    work: Event | OrderRequest | _Due
    answer: asyncio.Future[Any]
    collisions: int = 0
    """How often something else was in the way."""

    @property
    def order_id(self) -> UUID | None:
        """The order that it is about; None where that is not known yet."""
        return None if isinstance(self.work, _Due) else self.work.order_id


@dataclass(slots=True)
class _Batch:
    """What one transaction knows and will write."""

    sagas: dict[UUID, Stored] = field(default_factory=dict)
    """By order id: as they stand after the events so far."""
    now: datetime | None = None
    born: set[UUID] = field(default_factory=set)
    changed: set[UUID] = field(default_factory=set)
    ended: set[UUID] = field(default_factory=set)
    fired: list[tuple[Signal, Outcome]] = field(default_factory=list)
    """What became of the deadlines that had come."""
    sends: list[tuple[Send, Stored]] = field(default_factory=list)
    answers: dict[_Arrival, Accepted | Decision | OrderServiceError | int] = field(default_factory=dict)


class Engine:
    """Advances sagas. One per process; `run` must be running for anything to be answered.

    Args:
        sessions: the engine's own sessions; it uses one at a time.
        policy: how long sagas wait and how often they ask.
        hand_over: takes the committed messages to be published.
    """

    def __init__(self, sessions: Sessions, policy: Policy, hand_over: Callable[[list[Envelope]], None]) -> None:
        self._sessions = sessions
        self._policy = policy
        self._hand_over = hand_over
        self._waiting: list[_Arrival] = []
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
        telemetry.EVENTS.labels(event.signal, decision.outcome).inc()
        return decision

    async def create(self, request: OrderRequest) -> Accepted:
        """Accept an order: order, saga and first messages are committed together (I1) when this returns.

        Raises:
            DifferentContentError: the identity or the order id was used before for something else.
            RefusedByDatabaseError: PostgreSQL refuses the order as data.
        """
        accepted: Accepted = await self._arrive(request)
        outcome = Outcome.DUPLICATE if accepted.replayed else Outcome.APPLIED
        telemetry.EVENTS.labels("CreateOrder", outcome).inc()
        return accepted

    async def fire_due(self, limit: int) -> int:
        """Carry out at most so many deadlines that have come; returns how many, when that is committed.

        One that cannot be carried out is told to the log, and left alone for a while.
        """
        fired: int = await self._arrive(_Due(limit))
        return fired

    async def _arrive(self, work: Event | OrderRequest | _Due) -> Any:
        arrival = _Arrival(work, asyncio.get_running_loop().create_future())
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

    async def _commit(self, arrivals: list[_Arrival]) -> None:
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
                    batch = await self._decide(session, arrivals)
                    reach("engine.decided")
                    envelopes = await _write(session, batch)
            except Exception as error:  # noqa: BLE001 - classified here, and none is swallowed
                fault = classify(error)
                if fault is DatabaseFault.AWAY:
                    telemetry.DATABASE_RETRIES.inc()
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

    async def _commit_each(self, arrivals: list[_Arrival]) -> None:
        """Commit each alone; what follows one that has to wait, of the same saga, waits with it."""
        waiting: set[UUID | None] = set()
        for arrival in arrivals:
            if arrival.order_id not in waiting:
                await self._commit([arrival])
            if not arrival.answer.done():
                waiting.add(arrival.order_id)

    async def _failed(self, arrival: _Arrival, error: Exception, fault: DatabaseFault) -> None:
        arrival.collisions += 1
        if isinstance(arrival.work, _Due) and arrival.work.held:
            fired = await self._fire_each(arrival.work.held, error)
            if not arrival.answer.done():
                arrival.answer.set_result(fired)
        elif fault is DatabaseFault.BUSY and arrival.collisions < _MOST_COLLISIONS:
            log.warning("something else is in the way; trying again later", error=error)
            telemetry.DATABASE_RETRIES.inc()
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
            alone = _Arrival(_Due(1), asyncio.get_running_loop().create_future())
            await self._commit([alone])
            # one that found nothing to take, since somebody else was in the way, is looked at again by the timers
            if alone.answer.done() and not alone.answer.exception():
                fired += alone.answer.result()
        return fired

    def _committed(self, batch: _Batch, envelopes: list[Envelope]) -> None:
        if envelopes:
            self._hand_over(envelopes)
            reach("engine.handed-over")
        telemetry.BATCH.observe(len(batch.answers))
        for signal, outcome in batch.fired:
            telemetry.EVENTS.labels(signal, outcome).inc()
        for arrival, answer in batch.answers.items():
            if arrival.answer.done():
                continue
            if isinstance(answer, OrderServiceError):
                arrival.answer.set_exception(answer)
            else:
                arrival.answer.set_result(answer)

    async def _decide(self, session: AsyncSession, arrivals: list[_Arrival]) -> _Batch:
        batch = _Batch()
        requests = [(one, one.work) for one in arrivals if isinstance(one.work, OrderRequest)]
        events = [(one, one.work) for one in arrivals if isinstance(one.work, Event)]
        if events:
            batch.sagas, batch.now = await store.lock_sagas(session, {event.order_id for _, event in events})
            reach("engine.locked")
        if requests:
            await self._accept(session, batch, requests)
        for arrival, event in events:
            batch.answers[arrival] = self._apply(batch, event)
        for arrival in arrivals:
            if isinstance(arrival.work, _Due):
                batch.answers[arrival] = await self._fire(session, batch, arrival.work)
        return batch

    async def _fire(self, session: AsyncSession, batch: _Batch, work: _Due) -> int:
        time = asyncio.get_running_loop().time()
        self._passed_over = {order_id: until for order_id, until in self._passed_over.items() if until > time}
        work.held = []
        due, now = await store.lock_due(session, work.limit, table.TABLES, self._passed_over)
        work.held = list(due)
        if due:
            reach("timer.locked")
        batch.now = now or batch.now
        # a saga that has something else in this batch has moved on: its timer is looked at again afterwards
        mine = {order_id: stored for order_id, stored in due.items() if order_id not in batch.sagas}
        batch.sagas |= mine
        for stored in mine.values():
            if event := when_due(stored.saga):
                decision = self._apply(batch, event)
                assert isinstance(decision, Decision), "a saga that is locked is known"
                batch.fired.append((event.signal, decision.outcome))
        return len(mine)

    async def _accept(
        self, session: AsyncSession, batch: _Batch, requests: list[tuple[_Arrival, OrderRequest]]
    ) -> None:
        chosen = {request.order_id for _, request in requests if request.chosen}
        known = await store.find_orders(session, chosen) if chosen else {}
        plan = _plan(batch, requests, {order_id: stored.order for order_id, stored in known.items()})
        if not plan:
            return
        taken, now = await store.claim_identities(session, {key: order.id for key, order in plan.items()})
        batch.now = now or batch.now
        if taken:
            known |= await store.find_orders(session, set(taken.values()) - known.keys())
        for arrival, request in requests:
            if arrival in batch.answers:
                continue
            order_id = taken.get(request.identity, plan[request.identity].id)
            before = known.get(order_id) or (batch.sagas[order_id] if order_id in batch.born else None)
            if before is None:
                batch.answers[arrival] = self._give_birth(batch, request)
            elif request.same_content(before.order):
                batch.answers[arrival] = Accepted(order_id, before.saga.id, before.saga.created_at, replayed=True)
            else:
                batch.answers[arrival] = DifferentContentError(request.identity)

    def _give_birth(self, batch: _Batch, request: OrderRequest) -> Accepted:
        assert batch.now is not None, "whoever claims an identity reads the clock"
        decision = begin(uuid4(), request.order_id, batch.now, self._policy, table.VERSION)
        stored = Stored(decision.saga, request.facts, telemetry.new_traceparent())
        batch.sagas[request.order_id] = stored
        batch.born.add(request.order_id)
        batch.sends += [(send, stored) for send in decision.sends]
        return Accepted(request.order_id, decision.saga.id, batch.now, replayed=False)

    def _apply(self, batch: _Batch, event: Event) -> Decision | OrderServiceError:
        stored = batch.sagas.get(event.order_id)
        if stored is None:
            return UnknownOrderError(event.order_id)
        if stored.saga.table_version not in table.TABLES:
            return UnknownTableError(event.order_id, stored.saga.table_version)
        assert batch.now is not None, "whoever locks a saga reads the clock"
        decision = decide(stored.saga, event, batch.now, self._policy)
        if decision.saga is not stored.saga:
            after = Stored(decision.saga, stored.order, stored.traceparent)
            batch.sagas[event.order_id] = after
            batch.changed.add(event.order_id)
            batch.sends += [(send, after) for send in decision.sends]
            if decision.saga.completed_at and not stored.saga.completed_at:
                batch.ended.add(event.order_id)
        return decision


async def _write(session: AsyncSession, batch: _Batch) -> list[Envelope]:
    """One write per table."""
    if batch.born:
        await store.insert_sagas(session, [batch.sagas[order_id] for order_id in sorted(batch.born)])
    if changed := _sagas(batch, batch.changed - batch.born):
        await store.update_sagas(session, changed)
    if ended := _sagas(batch, batch.ended - batch.born):
        await store.end_orders(session, ended)
    reach("engine.saved")
    if not batch.sends:
        return []
    assert batch.now is not None, "what sends has been decided, and that takes a clock"
    envelopes = [
        enclose(send, stored.saga, stored.order, stored.traceparent, batch.now) for send, stored in batch.sends
    ]
    await store.enqueue(session, envelopes)
    reach("engine.enqueued")
    return envelopes


def _sagas(batch: _Batch, order_ids: Iterable[UUID]) -> list[Saga]:
    return [batch.sagas[order_id].saga for order_id in order_ids]


def _plan(
    batch: _Batch, requests: list[tuple[_Arrival, OrderRequest]], known: dict[UUID, OrderFacts]
) -> dict[str, OrderFacts]:
    """Which order each request identity would give; requests that contradict one before them are answered here.

    Only what is not refused may claim an identity: a request that changes nothing must leave nothing behind.
    """
    plan: dict[str, OrderFacts] = {}
    orders = dict(known)
    for arrival, request in requests:
        if request.order_id in orders and not request.same_content(orders[request.order_id]):
            batch.answers[arrival] = DifferentContentError(f"order id {request.order_id}")
        elif request.identity in plan and not request.same_content(plan[request.identity]):
            batch.answers[arrival] = DifferentContentError(request.identity)
        elif request.identity not in plan:
            plan[request.identity] = orders.setdefault(request.order_id, request.facts)
    return plan
