"""A seeded simulation: the real engine, relay and timers, many orders at once, on simulated time.

Real: `Engine` (gathering, deciding, committing again after a commit of unknown outcome), `begin`, `decide`, `enclose`,
`Relay` (publishing, leases, sweeping what a crash left behind) and `Timers`; two workers of each over one database.
Time is the event loop's own, and it jumps to whatever comes next: a run of many minutes takes a fraction of a second.

Stand-ins, for pure logic, in memory: `Database` for the functions of `saga.store` (transactions are serial; a commit
may fail before or after it took place); the bus (loses, repeats, delays, reorders, confirms too little); and the
participants of `participants.py`, as the search has them. Stale deadlines are handed in besides. Workers are killed at
any await and started again. People cancel, retry, compensate, and resolve by the truth.

Abstracted: SQL, row locks, AMQP, HTTP. Faults stop after a while; then everything must come to rest.

Checked: `laws.py` on every decision and at the end; I8 and I9 on the wire; every row by its history (I11, as `verify`
does it); one order per request; rest within the time that is given. A run that fails says its seed:
`python -m tests.proof --seed N` prints its story.
"""

import asyncio
import selectors
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, cast
from unittest.mock import patch
from uuid import UUID, uuid5

from pydantic_core import from_json

from models.states import Command, OrderEvent, OrderStatus, Position
from saga import decide as deciding
from saga.arrivals import OrderRequest
from saga.domain import Decision, Event, Policy, Saga, message_id, when_due
from saga.engine import Engine
from saga.insight.verify import differences
from saga.outbox.message import DEAD_LETTER_EXCHANGE, Envelope
from saga.outbox.publisher import Publisher
from saga.outbox.relay import Relay
from saga.runtime.database import Sessions
from saga.store import Moment, Stored
from saga.timers import Timers
from saga.transitions import Signal
from tests.proof import laws
from tests.proof.participants import Answer, Books, carry_out, truth, turns

START = datetime(2024, 12, 5, 10, 0, tzinfo=UTC)
POLICY = Policy(
    step_timeout=timedelta(seconds=5),
    retry_attempts=2,
    retry_delay=timedelta(seconds=1),
    reask=timedelta(seconds=20),
    saga_timeout=timedelta(seconds=40),
)
ORDERS = 12
FAULTS_UNTIL = 60.0
PATIENCE = 180
"""Looks, five seconds apart, until a run must have come to rest."""
HICCUPS = 3


class SimulatedTime(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to whatever comes next."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Leap(self))

    def time(self) -> float:
        return self.now


class _Leap(selectors.SelectSelector):
    def __init__(self, loop: SimulatedTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen again"
        self._loop.now += max(timeout, 0)
        return []


def now() -> datetime:
    """The database's clock."""
    return START + timedelta(seconds=asyncio.get_running_loop().time())


@dataclass
class Database:
    """`saga.store` on dicts. What a session writes is applied when it ends well, all of it or nothing."""

    random: Random
    faulty: bool = True
    sagas: dict[UUID, Stored] = field(default_factory=dict)
    identities: dict[str, UUID] = field(default_factory=dict)
    outbox: dict[UUID, Envelope] = field(default_factory=dict)
    committed: dict[UUID, Envelope] = field(default_factory=dict)
    """Every message that ever was in the outbox."""
    ended: dict[UUID, OrderStatus] = field(default_factory=dict)
    """What the orders say that have ended."""
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Session"]:
        async with self._one_at_a_time:
            session = Session()
            yield session
            await asyncio.sleep(self.random.random() * 0.01)
            fault = self.random.random() if self.faulty else 1.0
            if fault < 0.02:
                raise ConnectionError("lost before the commit")
            for change in session.changes:
                change()
            if fault < 0.04:
                raise ConnectionError("lost after the commit")

    async def lock_sagas(self, _: "Session", ids: Iterable[UUID]) -> tuple[dict[UUID, Stored], Moment | None]:
        found = {id_: self.sagas[id_] for id_ in ids if id_ in self.sagas}
        return found, Moment(now()) if found else None

    async def lock_due(self, _: "Session", limit: int, *_more: object) -> tuple[dict[UUID, Stored], Moment | None]:
        due = [id_ for id_, one in self.sagas.items() if one.saga.due_at and one.saga.due_at <= now()]
        return {id_: self.sagas[id_] for id_ in due[:limit]}, Moment(now()) if due else None

    async def ask_parked_again(self, _: "Session", within: timedelta) -> int:
        return 0

    async def until_next_deadline(self, _: "Session", versions: object) -> timedelta | None:
        deadlines = [one.saga.due_at for one in self.sagas.values() if one.saga.due_at]
        return min(deadlines) - now() if deadlines else None

    async def find_orders(self, _: "Session", ids: Iterable[UUID]) -> dict[UUID, Stored]:
        return {id_: self.sagas[id_] for id_ in ids if id_ in self.sagas}

    async def claim_identities(
        self, session: "Session", keys: dict[str, UUID]
    ) -> tuple[dict[str, UUID], Moment | None]:
        taken = {key: self.identities[key] for key in keys if key in self.identities}
        ours = {key: order_id for key, order_id in keys.items() if key not in taken}
        session.changes.append(lambda: self.identities.update(ours))
        return taken, Moment(now()) if ours else None

    async def insert_sagas(self, session: "Session", births: Sequence[Stored]) -> None:
        session.changes.append(lambda: self.sagas.update({born.order.id: born for born in births}))

    async def update_sagas(self, session: "Session", sagas: Sequence[Saga]) -> None:
        for saga in sagas:
            after = replace(self.sagas[saga.order_id], saga=saga)
            session.changes.append(lambda after=after: self.sagas.update({after.order.id: after}))

    async def end_orders(self, session: "Session", sagas: Sequence[Saga]) -> None:
        ended = {saga.order_id: saga.position.order_status for saga in sagas}
        session.changes.append(lambda: self.ended.update(ended))

    async def enqueue(self, session: "Session", envelopes: Sequence[Envelope]) -> None:
        for book in (self.outbox, self.committed):
            session.changes.append(lambda book=book: book.update({one.id: one for one in envelopes}))

    async def remove_published(self, session: "Session", ids: Iterable[UUID]) -> None:
        session.changes.append(lambda: [self.outbox.pop(id_, None) for id_ in ids])

    async def claim_overdue(self, session: "Session", lease: timedelta, limit: int) -> list[Envelope]:
        due = [one for one in self.outbox.values() if one.lease_until <= now()][:limit]
        claimed = [replace(one, lease_until=now() + lease) for one in due]
        session.changes.append(lambda: self.outbox.update({one.id: one for one in claimed}))
        return claimed

    async def postpone(self, session: "Session", failures: Iterable[tuple[UUID, str, timedelta]]) -> None:
        for id_, error, wait in failures:
            if id_ in self.outbox:
                later = replace(self.outbox[id_], last_error=error, lease_until=now() + wait)
                session.changes.append(lambda later=later: self.outbox.update({later.id: later}))

    async def bring_forward(self, session: "Session", routing_keys: Iterable[str], error: str) -> None:
        raise AssertionError("every message here has a queue")


class Session:
    """A transaction."""

    def __init__(self) -> None:
        self.changes: list[Any] = []

    def begin(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()


class Worker:
    """A process: an engine, a relay, and what it is working on. It dies with all of it."""

    def __init__(self, run: "Run") -> None:
        sessions = cast("Sessions", run.database.session)
        self.relay = Relay(sessions, cast("Publisher", run))
        self.engine = Engine(sessions, POLICY, self.relay.hand_over)
        timers = Timers(sessions, self.engine, POLICY.reask)
        self.tasks = {asyncio.create_task(one.run()) for one in (self.engine, self.relay, timers)}

    def work(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def die(self) -> None:
        for task in list(self.tasks):
            task.cancel()


class Run:
    """One run: its world, its story, and what was broken."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.faulty = True
        self.story: list[str] = []
        self.broken: list[str] = []
        self.decisions = 0
        self.database = Database(self.random)
        self.workers: list[Worker] = []
        self.books: defaultdict[UUID, Books] = defaultdict(Books)
        self.wire: Counter[tuple[UUID, str, bytes]] = Counter()
        self.published: set[UUID] = set()
        self.requests: dict[str, UUID] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def chance(self, probability: float) -> bool:
        return self.faulty and self.random.random() < probability

    def tell(self, what: str) -> None:
        self.story.append(f"{asyncio.get_running_loop().time():8.3f}  {what}")

    def soon(self, happen: Callable[[], Coroutine[Any, Any, Any]], within: float) -> None:
        """Let something happen some time soon; sometimes much later, and never where the run has ended before."""
        delay = self.random.random() * (within * 20 if self.chance(0.05) else within)

        async def later() -> None:
            await asyncio.sleep(delay)
            await happen()

        task = asyncio.create_task(later())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------------------------------------------- the bus

    async def keep_open(self) -> None:
        """The bus is always open."""

    async def publish(self, envelopes: list[Envelope]) -> dict[UUID, str]:
        """What the relay publishes: each message may get through, be lost unconfirmed, or get through unconfirmed."""
        await asyncio.sleep(self.random.random() * 0.05)
        failures: dict[UUID, str] = {}
        for envelope in envelopes:
            fate = self.random.random() if self.faulty else 1.0
            if fate < 0.06:
                failures[envelope.id] = "not confirmed"
            if fate >= 0.03:
                self._route(envelope)
        return failures

    def _route(self, envelope: Envelope) -> None:
        kind = envelope.routing_key.rpartition(".")[2]
        self.published.add(envelope.id)
        if envelope.exchange == DEAD_LETTER_EXCHANGE:
            return
        body = from_json(envelope.body)
        if kind in list(OrderEvent):
            self.wire[envelope.order_id, kind, envelope.body] += 1
            return
        self._transmit(lambda: self._participate(Command(kind), UUID(body["eventId"]), envelope.order_id))

    def _transmit(self, deliver: Any) -> None:
        """Deliver something: not at all, once or twice, after a while."""
        if self.chance(0.12):
            return
        for _ in range(1 + self.chance(0.15)):
            self.soon(deliver, within=2.0)

    async def _participate(self, command: Command, command_id: UUID, order_id: UUID) -> None:
        before = self.books[order_id]
        possible = turns(before, command, command_id, HICCUPS)
        turn = self.random.choice(possible) if self.chance(0.3) else possible[0]
        self.books[order_id], answer = carry_out(before, command, command_id, turn)
        self.tell(f"{_short(order_id)} {command} is delivered, answered with {answer}")
        self._transmit(lambda: self.hand_in(_heard(answer, order_id)))

    async def hand_in(self, event: Event) -> None:
        """Give an event to a worker; to another where that dies, and once more where the acknowledgement is lost."""
        while True:
            await self._done_by_a_worker(lambda engine: engine.advance(event))
            if not self.chance(0.05):
                return

    async def _done_by_a_worker(self, call: Any) -> Any:
        while True:
            worker = self.random.choice(self.workers)
            task = worker.work(call(worker.engine))
            await asyncio.wait([task])
            if not task.cancelled():
                if error := task.exception():
                    self.broken.append(f"the engine raises {error!r}")
                    return None
                return task.result()
            await asyncio.sleep(0.2)

    # ----------------------------------------------------------------------------------------- clients, people, crashes

    async def order(self, number: int) -> None:
        """A client that asks until it is told, and sometimes once more."""
        order_id = UUID(int=self.random.getrandbits(128))
        request = OrderRequest(f"request {number}", order_id, False, UUID(int=5), [_ITEM], Decimal(10))
        for _ in range(1 + self.chance(0.3)):
            again = replace(request, order_id=UUID(int=self.random.getrandbits(128)))
            accepted = await self._done_by_a_worker(lambda engine, again=again: engine.create(again))
            if accepted is None:
                return
            self.tell(f"{_short(accepted.order_id)} ordered{' (known)' * accepted.replayed}")
            if self.requests.setdefault(request.identity, accepted.order_id) != accepted.order_id:
                self.broken.append("I2: one request gave two orders")

    async def meddle(self) -> None:
        """People: somebody does something to some order."""
        if not self.database.sagas:
            return
        order_id = self.random.choice(list(self.database.sagas))
        saga = self.database.sagas[order_id].saga
        command = saga.position.open_command
        signals = [Signal.CANCEL, Signal.CANCEL, Signal.OPERATOR_RETRY, Signal.OPERATOR_COMPENSATE]
        if command and (outcome := truth(self.books[order_id], command)) is not None:
            signals += [Signal.OPERATOR_SUCCEEDED if outcome else Signal.OPERATOR_FAILED] * 4
        signal = self.random.choice(signals)
        event_id = UUID(int=self.random.getrandbits(128)) if signal is Signal.CANCEL and self.chance(0.5) else None
        # a verdict names the command that it is about, as the HTTP door's does: another may be open by then
        about = message_id(saga.id, command) if command else saga.id
        cause = about if signal in _VERDICTS else None
        await self.hand_in(Event(signal, order_id, event_id, cause, words="so I say", actor="ann"))

    async def stray_timer(self) -> None:
        """A deadline that somebody claimed long ago, or that has not come yet, is handed in."""
        if self.database.sagas:
            stored = self.random.choice(list(self.database.sagas.values()))
            if event := when_due(stored.saga):
                self.soon(partial(self.hand_in, event), within=10.0)

    async def crash(self) -> None:
        """A worker is killed, and started again."""
        place = self.random.randrange(len(self.workers))
        self.tell(f"worker {place} is killed")
        self.workers[place].die()
        self.workers[place] = Worker(self)

    # --------------------------------------------------------------------------------------------------- the run

    def decide(self, saga: Saga, event: Event, at: datetime, policy: Policy) -> Decision:
        """The real decision, with the laws asked."""
        decision = deciding.decide(saga, event, at, policy)
        self.decisions += 1
        self.tell(f"{_short(saga.order_id)} {event.signal}: {decision.outcome}, {decision.saga.position.name}")
        self.broken += [f"{_short(saga.order_id)} {law}" for law in laws.of_decision(saga, event, decision, policy)]
        return decision

    async def play(self) -> None:
        """Orders, faults, then calm; until everything is at rest."""
        self.workers = [Worker(self), Worker(self)]
        for number in range(ORDERS):
            self.soon(partial(self.order, number), within=20.0)
        for _ in range(ORDERS * 2):
            self.soon(partial(self._at_some_time, self.meddle), within=1.0)
            self.soon(partial(self._at_some_time, self.stray_timer), within=1.0)
        for _ in range(8):
            self.soon(partial(self._at_some_time, self.crash), within=1.0)
        await asyncio.sleep(FAULTS_UNTIL)
        self.faulty = self.database.faulty = False
        self.tell("from here on nothing goes wrong")
        for _ in range(PATIENCE):
            if not self._at_rest():
                await asyncio.sleep(5)
        if not self._at_rest():
            self.broken.append("liveness: it does not come to rest")
        for worker in self.workers:
            worker.die()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.sleep(0)
        self._judge()

    async def _at_some_time(self, deed: Any) -> None:
        await asyncio.sleep(self.random.random() * FAULTS_UNTIL * 0.9)
        if self.faulty:
            await deed()

    def _at_rest(self) -> bool:
        over = all(stored.saga.position.open_command is None for stored in self.database.sagas.values())
        return over and len(self.requests) == ORDERS and not self.database.outbox and not self._tasks

    def _judge(self) -> None:
        for order_id, stored in self.database.sagas.items():
            saga, name = stored.saga, _short(order_id)
            found = laws.of_state(saga, self.books[order_id], quiet=True, paying=False, releasing=False)
            self.broken += [f"{name} {law}" for law in found]
            status = self.database.ended.get(order_id, OrderStatus.PENDING)
            self.broken += [f"{name} I11: {difference}" for difference in differences(saga, status)]
            ends = [(kind, body) for (id_, kind, body) in self.wire if id_ == order_id and kind != "OrderCreated"]
            right = "OrderCompleted" if saga.position is Position.COMPLETED else "OrderFailed"
            if [kind for kind, _ in ends] != [right]:
                self.broken.append(f"{name} I8: {len(ends)} different endings on the wire: {ends}")
        if unsent := self.database.committed.keys() - self.published:
            self.broken.append(f"I9: {len(unsent)} committed messages never reached the bus")
        if invented := self.published - self.database.committed.keys():
            self.broken.append(f"I9: {len(invented)} messages on the bus were never committed")


_VERDICTS = (Signal.OPERATOR_SUCCEEDED, Signal.OPERATOR_FAILED)
_ITEM = {"productId": str(UUID(int=6)), "productName": "Laptop", "quantity": 1, "price": "10.00"}


def _short(order_id: UUID) -> str:
    return order_id.hex[:4]


def _heard(answer: Answer, order_id: UUID) -> Event:
    return Event(answer.signal, order_id, answer.event_id, answer.causation_id, answer.retryable)


def simulate(seed: int) -> Run:
    """A run; the same seed gives the same run."""
    run, ids = Run(seed), Random(f"ids {seed}")

    def new_id() -> UUID:
        return uuid5(UUID(int=1), str(ids.random()))

    with ExitStack() as stack:
        for name, stand_in in {
            "saga.batch.store": run.database,
            "saga.batch.outbox_store": run.database,
            "saga.outbox.relay.outbox_store": run.database,
            "saga.timers.store": run.database,
            "saga.batch.decide": run.decide,
            "saga.batch.uuid4": new_id,
            "saga.outbox.message.uuid4": new_id,
        }.items():
            stack.enter_context(patch(name, stand_in))
        with asyncio.Runner(loop_factory=SimulatedTime) as runner:
            runner.run(run.play())
    return run
