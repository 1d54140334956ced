"""One transaction of the engine: what it has locked, what it decides of all that goes into it, and what it writes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from models.states import OrderEvent
from saga import store, table
from saga.arrivals import Accepted, Arrival, Due, OrderRequest
from saga.decide import begin, decide
from saga.domain import Decision, Event, Outcome, Policy, Send, when_due
from saga.errors import DifferentContentError, OrderServiceError, UnknownOrderError, UnknownTableError
from saga.outbox import store as outbox_store
from saga.outbox.message import Envelope, OrderFacts, enclose
from saga.runtime.failpoints import reach
from saga.store import Moment, Stored
from saga.telemetry.applied_events import Move, Origin
from saga.telemetry.traceparent import of_step
from saga.telemetry.tracing import TRACER
from saga.webhooks.events import Notice, notice
from saga.webhooks.events import write as write_notices

Answer = Accepted | Decision | OrderServiceError | int
"""What an arrival gets: the accepted order, the decision, the reason why neither, or the number of deadlines fired."""


@dataclass(frozen=True, slots=True)
class _Message:
    """What is to be sent, and the saga as it stood when it was decided."""

    send: Send
    stored: Stored


class Batch:
    """What one transaction knows and will write.

    Args:
        session: the transaction.
        policy: how long sagas wait and how often they ask.
    """

    def __init__(self, session: AsyncSession, policy: Policy) -> None:
        self._session = session
        self._policy = policy
        self._sagas: dict[UUID, Stored] = {}
        """By order id: as they stand after the events so far."""
        self._moment: Moment | None = None
        self._born: set[UUID] = set()
        self._changed: set[UUID] = set()
        self._ended: set[UUID] = set()
        self._messages: list[_Message] = []
        self.moves: list[Move] = []
        self.announced = 0
        """Deliveries that were written for endpoints of webhooks."""
        self.answers: dict[Arrival, Answer] = {}

    async def decide(self, arrivals: Sequence[Arrival], passed_over: Iterable[UUID] = ()) -> None:
        """Lock what these are about, and decide on each in its turn.

        Args:
            arrivals: in the order in which they came.
            passed_over: the orders whose deadlines are left alone.
        """
        requests = [(one, one.work) for one in arrivals if isinstance(one.work, OrderRequest)]
        events = [(one, one.work) for one in arrivals if isinstance(one.work, Event)]
        if events:
            self._sagas, self._moment = await store.lock_sagas(self._session, {event.order_id for _, event in events})
            reach("engine.locked")
        if requests:
            await self._accept(requests)
        for arrival, event in events:
            self.answers[arrival] = self._apply(event, arrival.origin)
        for arrival in arrivals:
            if isinstance(arrival.work, Due):
                self.answers[arrival] = await self._fire(arrival.work, passed_over)

    async def write(self) -> list[Envelope]:
        """Write all that was decided, with one statement per table; returns the messages that were written."""
        if self._born:
            await store.insert_sagas(self._session, self._stored(sorted(self._born)))
        if changed := self._stored(self._changed - self._born):
            await store.update_sagas(self._session, [stored.saga for stored in changed])
        if ended := self._stored(self._ended - self._born):
            await store.end_orders(self._session, [stored.saga for stored in ended])
        reach("engine.saved")
        if not self._messages:
            return []
        assert self._moment is not None, "what sends has been decided, and that takes a clock"
        now = self._moment.now
        envelopes = [_enclosed(message, now) for message in self._messages]
        await outbox_store.enqueue(self._session, envelopes)
        if self._moment.subscribed and (notices := list(_notices(self._messages, now))):
            self.announced = await write_notices(self._session, notices)
        reach("engine.enqueued")
        return envelopes

    def _stored(self, order_ids: Iterable[UUID]) -> list[Stored]:
        return [self._sagas[order_id] for order_id in order_ids]

    async def _fire(self, work: Due, passed_over: Iterable[UUID]) -> int:
        work.held = []
        due, moment = await store.lock_due(self._session, work.limit, table.TABLES, passed_over)
        work.held = list(due)
        if due:
            reach("timer.locked")
        self._moment = moment or self._moment
        # a saga that has something else in this batch has moved on: its timer is looked at again afterwards
        mine = {order_id: stored for order_id, stored in due.items() if order_id not in self._sagas}
        self._sagas |= mine
        for stored in mine.values():
            if event := when_due(stored.saga):
                self._apply(event, None)
        return len(mine)

    async def _accept(self, requests: list[tuple[Arrival, OrderRequest]]) -> None:
        chosen = {request.order_id for _, request in requests if request.chosen}
        known = await store.find_orders(self._session, chosen) if chosen else {}
        plan = self._plan(requests, {order_id: stored.order for order_id, stored in known.items()})
        if not plan:
            return
        taken, moment = await store.claim_identities(self._session, {key: order.id for key, order in plan.items()})
        self._moment = moment or self._moment
        if taken:
            known |= await store.find_orders(self._session, set(taken.values()) - known.keys())
        for arrival, request in requests:
            if arrival in self.answers:
                continue
            order_id = taken.get(request.identity, plan[request.identity].id)
            before = known.get(order_id) or (self._sagas[order_id] if order_id in self._born else None)
            if before is None:
                self.answers[arrival] = self._give_birth(request, arrival.origin)
            elif request.same_content(before.order):
                self._moved(_CREATE, Outcome.DUPLICATE, before, before, origin=arrival.origin)
                self.answers[arrival] = Accepted(order_id, before.saga.id, before.saga.created_at, replayed=True)
            else:
                self.answers[arrival] = DifferentContentError(request.identity)

    def _plan(
        self, requests: list[tuple[Arrival, OrderRequest]], known: dict[UUID, OrderFacts]
    ) -> dict[str, OrderFacts]:
        """Which order each request identity would give; requests that contradict one before them are answered here.

        Only what is not refused may claim an identity: a request that changes nothing must leave nothing behind.
        """
        plan: dict[str, OrderFacts] = {}
        orders = dict(known)
        for arrival, request in requests:
            if request.order_id in orders and not request.same_content(orders[request.order_id]):
                self.answers[arrival] = DifferentContentError(f"order id {request.order_id}")
            elif request.identity in plan and not request.same_content(plan[request.identity]):
                self.answers[arrival] = DifferentContentError(request.identity)
            elif request.identity not in plan:
                plan[request.identity] = orders.setdefault(request.order_id, request.facts)
        return plan

    def _give_birth(self, request: OrderRequest, origin: Origin | None) -> Accepted:
        assert self._moment is not None, "whoever claims an identity reads the clock"
        now = self._moment.now
        decision = begin(uuid4(), request.order_id, now, self._policy, table.VERSION)
        stored = Stored(decision.saga, request.facts, TRACER.new_root())
        self._born.add(request.order_id)
        self._moved(_CREATE, Outcome.APPLIED, None, stored, decision.sends, origin)
        return Accepted(request.order_id, decision.saga.id, now, replayed=False)

    def _apply(self, event: Event, origin: Origin | None) -> Decision | OrderServiceError:
        stored = self._sagas.get(event.order_id)
        if stored is None:
            return UnknownOrderError(event.order_id)
        if stored.saga.table_version not in table.TABLES:
            return UnknownTableError(event.order_id, stored.saga.table_version)
        assert self._moment is not None, "whoever locks a saga reads the clock"
        decision = decide(stored.saga, event, self._moment.now, self._policy)
        after = stored if decision.saga is stored.saga else Stored(decision.saga, stored.order, stored.traceparent)
        if after is not stored:
            self._changed.add(event.order_id)
            if decision.saga.completed_at and not stored.saga.completed_at:
                self._ended.add(event.order_id)
        self._moved(event.signal, decision.outcome, stored, after, decision.sends, origin)
        return decision

    def _moved(  # noqa: PLR0913, PLR0917 - a move tells that much
        self,
        signal: str,
        outcome: Outcome,
        before: Stored | None,
        after: Stored,
        sends: tuple[Send, ...] = (),
        origin: Origin | None = None,
    ) -> None:
        if after is not before:
            # what a request found is not locked: nothing here may be decided on it
            self._sagas[after.order.id] = after
        self._messages += [_Message(send, after) for send in sends]
        self.moves.append(
            Move(signal, outcome, before.saga if before else None, after.saga, after.traceparent, sends, origin)
        )


_CREATE = "CreateOrder"


def _enclosed(message: _Message, now: datetime) -> Envelope:
    """The message, in the trace of its step where it is the step's command, else in the saga's."""
    stored = message.stored
    asks = message.send.kind == stored.saga.position.open_command
    traceparent = of_step(stored.traceparent, stored.saga) if asks else stored.traceparent
    return enclose(message.send, stored.saga, stored.order, traceparent, now)


def _notices(messages: Iterable[_Message], now: datetime) -> Iterator[Notice]:
    """What endpoints may want to know of these."""
    for message in messages:
        stored, kind = message.stored, message.send.kind
        if isinstance(kind, OrderEvent):
            yield notice(kind, stored.saga, stored.order, stored.traceparent, now)
