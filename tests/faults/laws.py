"""The invariants of `docs/state-machine.md`, asked of what is left when everything is quiet again.

Three witnesses that know nothing of each other are compared: the rows, the participants' ledgers (what was really
done), and the firehose (what was really published). A broken law is a line that begins with its name.

Where each is asked. I1, I2, I14: the orders that clients were promised against the rows. I3, I4, I6: ledgers. I5, I8,
I9, I10: firehose. I7, I11, I13: the history, folded over the table by `saga.insight.verify`. I12: every reply that was
on the bus is in its saga's history, and the dead letters are those that were expected. I15, I16: nothing is unfinished.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from handlers.dead_letters.store import Filter, list_letters
from handlers.queries.sagas import next_sagas
from local import ledger
from local.ledger import Record, Tally
from local.stand_in import ledger_path
from models.messages import REPLIES
from models.states import Command, OrderEvent, OrderStatus, Position
from saga.domain import message_id
from saga.insight.verify import differences
from saga.runtime.database import connect, sessions, statements
from saga.store import Stored
from tests.faults.firehose import Heard

_PAGE = 500
_REPLIES = {f"domain.{reply.service}.{reply.__name__}" for reply in REPLIES}
_OURS = {f"domain.order.{kind}": kind for kind in (*Command, *OrderEvent)}
_ENDS = (OrderEvent.ORDER_COMPLETED, OrderEvent.ORDER_FAILED)


@dataclass(frozen=True)
class Promise:
    """What a client knows about an order that was accepted."""

    user_id: UUID
    items: list[dict[str, Any]]
    """As the wire has them: prices as texts."""
    total: Decimal
    ends: OrderStatus | None = None
    """How it must end, where that is known beforehand."""


@dataclass
class World:
    """All that is left of a run."""

    stored: dict[UUID, tuple[Stored, OrderStatus]]
    """By order id."""
    done: dict[UUID, Record]
    heard: Sequence[Heard]
    promised: dict[UUID, Promise]
    letters: list[str]
    """The reasons of the dead letters."""
    outbox: int
    expected_letters: Counter[str] = field(default_factory=Counter)

    @property
    def owed_letters(self) -> Counter[str]:
        """What was expected, and a copy of the command for each parking, however often it was asked again (rule 2)."""
        entries = (one for stored, _ in self.stored.values() for one in stored.saga.history)
        parked = sum(one.get("count", 1) for one in entries if one["status"] == "Parked")
        return self.expected_letters + Counter(unanswered=parked)


async def world(
    dsn: str,
    ledgers: Path,
    heard: Sequence[Heard],
    promised: dict[UUID, Promise],
    expected_letters: Iterable[str] = (),
) -> World:
    """Read what there is.

    Args:
        dsn: the database.
        ledgers: the folder with the participants' books.
        heard: what the firehose gave.
        promised: what clients were told, by order id.
        expected_letters: the reasons of the dead letters that there must be, beside the copies of parked commands.
    """
    engine = connect(dsn, connections=1, name="laws")
    try:
        stored: dict[UUID, tuple[Stored, OrderStatus]] = {}
        behind: UUID | None = None
        async with sessions(engine)() as session:
            while page := await next_sagas(session, _PAGE, behind):
                stored |= {one.saga.order_id: (one, status) for one, status in page}
                behind = page[-1][0].saga.order_id
        async with statements(engine)() as session:
            letters = [letter.reason for letter in await list_letters(session, Filter(), 10_000, None)]
            connection = await session.connection()
            outbox = (await connection.exec_driver_sql("SELECT count(*) FROM outbox")).scalar_one()
    finally:
        await engine.dispose()
    done = ledger.read(*(ledger_path(ledgers, name) for name in ("inventory", "billing")))
    return World(stored, done, heard, promised, letters, outbox, Counter(expected_letters))


def broken(world: World) -> list[str]:
    """Every law that does not hold, in words."""
    return [
        *_kept_promises(world),
        *(line for stored, status in world.stored.values() for line in _of_saga(world, stored, status)),
        *_of_wire(world),
        *_of_rest(world),
    ]


def _kept_promises(world: World) -> Iterator[str]:
    for order_id, promise in world.promised.items():
        found = world.stored.get(order_id)
        if found is None:
            yield f"I1: order {order_id} was accepted, and is not there"
            continue
        order = found[0].order
        if (order.user_id, order.items, order.total_amount) != (promise.user_id, promise.items, promise.total):
            yield f"I14: order {order_id} is not what was asked for"
        if promise.ends and found[1] is not promise.ends:
            yield f"liveness: order {order_id} is {found[1]}, and should be {promise.ends}"
    for order_id in world.stored.keys() - world.promised.keys():
        yield f"I2: nobody was promised order {order_id}"


def _of_saga(world: World, stored: Stored, status: OrderStatus) -> Iterator[str]:
    saga, order = stored.saga, stored.order
    done = world.done.get(order.id, Record())
    if saga.position is Position.COMPLETED:
        units = Decimal(sum(item["quantity"] for item in order.items))
        if done != Record(reserved=Tally(1, units), charged=Tally(1, order.total_amount)):
            yield f"I3: order {order.id} is completed, and {done} was done"
    elif saga.position in (Position.FAILED, Position.COMPENSATED):
        if done.reserved != done.released or done.charged != done.refunded:
            yield f"I4: order {order.id} is {saga.position.name}, and {done} was done"
    else:
        yield f"I16: order {order.id} rests at {saga.position.name}, {saga.incident or 'without an incident'}"
    if done.charged.times > 1 or done.refunded.times > 1 or done.reserved.times > 1:
        yield f"I6: order {order.id}: {done} was done"
    total = sum((Decimal(item["quantity"]) * Decimal(item["price"]) for item in order.items), Decimal(0))
    if order.total_amount != total:
        yield f"I14: order {order.id} costs {order.total_amount}, its items {total}"
    for difference in differences(saga, status):
        yield f"I11: order {order.id}: {difference}"
    expired = Counter((one["step"], one["attempt"]) for one in saga.history if one["status"] == "TimedOut")
    if any(count > 1 for count in expired.values()):
        yield f"I13: order {order.id}: a deadline has fired twice: {expired}"


def _of_wire(world: World) -> Iterator[str]:
    sent: dict[UUID, dict[str, list[Heard]]] = defaultdict(lambda: defaultdict(list))
    replies: dict[UUID, set[str]] = defaultdict(set)
    for one in world.heard:
        try:
            order_id = UUID(str(one.body.get("orderId")))
        except ValueError:
            continue
        if one.routing_key in _OURS:
            sent[order_id][_OURS[one.routing_key]].append(one)
        elif one.routing_key in _REPLIES and order_id in world.stored:
            replies[order_id].add(str(one.body.get("eventId")))
    for order_id in sent.keys() - world.stored.keys():
        yield f"I9: {', '.join(sent[order_id])} was published for order {order_id}, which is not there"
    for order_id, (stored, _) in world.stored.items():
        yield from _of_sent(stored, sent[order_id])
        yield from _of_replies(stored, replies[order_id])


def _of_sent(stored: Stored, heard: dict[str, list[Heard]]) -> Iterator[str]:
    """I5, I6, I8, I9, I10: what was published is what was decided, all of it, and each copy alike."""
    saga = stored.saga
    end = OrderEvent.ORDER_COMPLETED if saga.position is Position.COMPLETED else OrderEvent.ORDER_FAILED
    due: dict[str, set[int | None]] = {OrderEvent.ORDER_CREATED: {None}}
    if saga.position.ended:
        due[end] = {None}
    due |= {command: set(range(1, times + 1)) for command, times in saga.sent.items()}
    for kind in due.keys() | heard.keys():
        copies, wanted = heard.get(kind, []), due.get(kind, set())
        attempts = {one.body.get("attempt") for one in copies}
        if missing := wanted - attempts:
            yield f"I9: order {saga.order_id}: {kind} was committed, and never published (attempts {missing})"
        if extra := attempts - wanted:
            yield f"I9: order {saga.order_id}: {kind} was published, and never committed (attempts {extra})"
        ids = {one.message_id for one in copies} | {str(one.body.get("eventId")) for one in copies}
        if ids - {str(message_id(saga.id, _kind(kind)))}:
            yield f"{'I8' if kind in _ENDS else 'I6'}: order {saga.order_id}: {kind} was published under {ids}"
        if len({one.raw for one in copies}) > len(wanted):
            yield f"I8: order {saga.order_id}: the copies of {kind} differ"
    reserved = any(one["event"] in ("InventoryReserved", "operator: resolve succeeded") for one in saga.history)
    if Command.PROCESS_PAYMENT in saga.sent and not reserved:
        yield f"I5: order {saga.order_id} was charged for without a reservation"
    settled = {"PaymentFailed", "PaymentRefunded", "operator: resolve failed", "operator: resolve succeeded"}
    if {Command.PROCESS_PAYMENT, Command.RELEASE_INVENTORY} <= saga.sent.keys() and not any(
        one["event"] in settled for one in saga.history
    ):
        yield f"I5: order {saga.order_id} was released while a charge was possible"


def _kind(word: str) -> Command | OrderEvent:
    return Command(word) if word in tuple(Command) else OrderEvent(word)


def _of_replies(stored: Stored, event_ids: set[str]) -> Iterator[str]:
    known = {one.get("eventId") for one in stored.saga.history}
    if lost := event_ids - known:
        yield f"I12: order {stored.saga.order_id}: {len(lost)} replies were on the bus and left no trace"


def _of_rest(world: World) -> Iterator[str]:
    if world.outbox:
        yield f"I10: {world.outbox} messages are left in the outbox"
    letters, expected = Counter(world.letters), world.owed_letters
    if letters != expected:
        yield f"I12: dead letters {dict(letters)}, expected {dict(expected)}"
    for order_id in world.done.keys() - world.stored.keys():
        yield f"I9: something was done for order {order_id}, which is not there: {world.done[order_id]}"
