"""What must hold, said once: of every decision, of every saga, and of every state of the saga's world.

The search and the simulation ask these. A law that is broken comes back as a line that begins with its name in
`docs/state-machine.md`. Not here, since it takes a database or a broker: I1, I2, I9 to I12, I14, I16 (the simulation
looks at I8, I9 and I16 on its stand-ins).
"""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid5

from models.states import Command, EntryStatus, OrderEvent, Position, Timer
from saga import decide as deciding
from saga.domain import Deadline, Decision, Event, Outcome, Policy, Saga, message_id
from saga.history import answer_of, open_contradiction, seen_as
from saga.outbox.message import OrderFacts, enclose
from saga.transitions import REPLY_MODELS, WHEN_DUE, Signal
from tests.proof.participants import Books

P, G, C = Position, Signal, Command
_MAY_CHARGE = {
    (P.RESERVING, G.INVENTORY_RESERVED),
    (P.RESERVING, G.OPERATOR_SUCCEEDED),
    (P.CHARGING, G.RETRY_DUE),
    (P.CHARGING, G.REASK_DUE),
    (P.CHARGING, G.OPERATOR_RETRY),
}
"""The move that took InventoryReserved, a person's word that it was, or the same command again."""
_ORDER = OrderFacts(UUID(int=8), UUID(int=1), [], Decimal(1))
_SAID_ONCE = (G.CANCEL, G.OPERATOR_SUCCEEDED, G.OPERATOR_FAILED, G.OPERATOR_COMPENSATE)
_MAY_CANCEL = (P.VALIDATING, P.RESERVING)
_REFUNDING = (P.REFUNDING, P.FAILED_REFUNDING, P.COMPENSATED_REFUNDING)
_GAVE_UP = (*_REFUNDING, P.RELEASING, P.FAILED, P.COMPENSATED, P.FAILED_RELEASING, P.COMPENSATED_RELEASING)


def of_decision(before: Saga, event: Event, decision: Decision, policy: Policy) -> Iterator[str]:
    """What a decision breaks: I5, I6, I7, I8, I15 and the rules 2, 7, 8, 9, 10."""
    after = decision.saga
    commands = [send.kind for send in decision.sends if isinstance(send.kind, Command) and not send.dead_letter]
    moved = after.position is not before.position or bool(commands)
    yield from _end(before, decision)
    yield from _row(after, policy)
    yield from _identity(decision)
    if C.PROCESS_PAYMENT in commands and (before.position, event.signal) not in _MAY_CHARGE:
        yield f"I5: ProcessPayment is sent upon {event.signal} at {before.position.name}"
    copies = [send for send in decision.sends if send.dead_letter]
    if len(copies) != (after.parked and not before.parked):
        yield f"rule 2: {len(copies)} copies to the dead letters"
    if event.signal is G.CANCEL and moved and before.position not in _MAY_CANCEL:
        yield f"rule 10: cancelled at {before.position.name}"
    yield from _inbox(before, event, moved=moved)
    if not after.incident and open_contradiction(after.history):
        yield "rule 9: a contradiction that nobody has acknowledged is shown to nobody"
    if before.position in _GAVE_UP and _counts(before, event, decision):
        # Inventory's is released when the money is back
        release = G.INVENTORY_RESERVED if before.position not in _REFUNDING else None
        undo = {G.PAYMENT_PROCESSED: C.REFUND_PAYMENT, release: C.RELEASE_INVENTORY}.get(event.signal)
        if undo and undo not in commands:
            yield f"rule 7: {event.signal} comes late at {before.position.name}, and no {undo} follows"


def _counts(before: Saga, event: Event, decision: Decision) -> bool:
    """Whether this is an answer to this saga that was not heard before."""
    reply = REPLY_MODELS.get(event.signal)
    named = reply and event.causation_id in (None, message_id(before.id, reply.answers))
    return bool(named) and decision.outcome is not Outcome.DUPLICATE


def _end(before: Saga, decision: Decision) -> Iterator[str]:
    after = decision.saga
    was, ends = before.completed_at, after.completed_at is not None and before.completed_at is None
    if before.position.ended and (after.position.status, after.completed_at) != (before.position.status, was):
        yield f"I7: an order that is {before.position.status} becomes {after.position.status}"
    told = [s.kind for s in decision.sends if s.kind in (OrderEvent.ORDER_COMPLETED, OrderEvent.ORDER_FAILED)]
    right = OrderEvent.ORDER_COMPLETED if after.position is P.COMPLETED else OrderEvent.ORDER_FAILED
    if told != [right] * ends or after.position.ended != (after.completed_at is not None):
        yield f"I8: {' and '.join(told) or 'nothing'} is told upon {before.position.name} -> {after.position.name}"
    if right is OrderEvent.ORDER_FAILED and ends and not (after.failed_step and after.reason):
        yield "I8: OrderFailed says neither step nor reason"


def _row(saga: Saga, policy: Policy) -> Iterator[str]:
    """I15, as the database's CHECK has it."""
    awaits = saga.position.open_command is not None
    if awaits != (saga.timer is not None) or not (awaits or saga.position.ended):
        yield f"I15: {saga.position.name} with timer {saga.timer}"
    if saga.parked and not saga.incident:
        yield f"I15: parked at {saga.position.name} and nobody is told"
    never = saga.parked and policy.reask is None
    if (saga.due_at is None) != (never or not awaits):
        yield f"I15: {saga.position.name} is due at {saga.due_at}"


def _identity(decision: Decision) -> Iterator[str]:
    saga = decision.saga
    for send in decision.sends:
        if enclose(send, saga, _ORDER, "", saga.updated_at).message_id != uuid5(saga.id, send.kind):
            yield f"I6: {send.kind} is sent under another eventId"


def _inbox(before: Saga, event: Event, *, moved: bool) -> Iterator[str]:
    reply = REPLY_MODELS.get(event.signal)
    if not moved or not reply or reply.answers is before.position.open_command:
        # a success that answers the open command counts however often it comes; a failure only asks again
        return
    if any(status != EntryStatus.IGNORED for status in seen_as(before.history, event)):
        yield f"rule 8: {event.signal} is applied twice"
    if not reply.success and any(answer_of(entry) == (reply.answers, True) for entry in before.history):
        yield f"rule 9: {event.signal} overwrites the success before it"


def of_repetition(after: Saga, event: Event, policy: Policy) -> Iterator[str]:
    """Rules 10 and 13: what a person has said once, said again, moves nothing (asking again asks again)."""
    if event.signal in _SAID_ONCE:
        again = deciding.decide(after, event, after.updated_at, policy)
        if again.saga.position is not after.position or again.sends:
            yield f"rule 13: {event.signal}, said twice, leads on to {again.saga.position.name}"


def of_saga(saga: Saga, policy: Policy) -> Iterator[str]:
    """I13: no timer but the saga's own does anything, and that not before its time."""
    mine = Deadline.of(saga)
    late = saga.updated_at + timedelta(days=1000)
    strangers = [Deadline(c, t, n) for c in Command for t in Timer for n in range(policy.retry_attempts + 5)]
    times = [(one, late) for one in strangers if one != mine]
    if mine and saga.due_at:
        times.append((mine, saga.due_at - timedelta(microseconds=1)))
    for deadline, now in times:
        decision = deciding.decide(saga, Event(WHEN_DUE[deadline.timer], saga.order_id, deadline=deadline), now, policy)
        if decision.saga is not saga or decision.sends:
            yield f"I13: the stale timer {deadline.timer}/{deadline.command}/{deadline.attempt} is obeyed"
            return


def of_state(saga: Saga, books: Books, *, quiet: bool, paying: bool, releasing: bool) -> Iterator[str]:
    """I3, I4, I5, I6: the saga beside the truth.

    Args:
        saga: as it is stored.
        books: what the participants really did.
        quiet: nothing is on its way, or what is can be lost.
        paying: a ProcessPayment may still reach Billing.
        releasing: a ReleaseInventory may still reach Inventory, and no person has vouched that nothing was charged.
    """
    reserved, released = books.times(C.RESERVE_INVENTORY), books.times(C.RELEASE_INVENTORY)
    charged, refunded = books.times(C.PROCESS_PAYMENT), books.times(C.REFUND_PAYMENT)
    counts = f"reserved {reserved}, released {released}, charged {charged}, refunded {refunded}"
    if saga.position is P.COMPLETED and (reserved, released, charged, refunded) != (1, 0, 1, 0):
        yield f"I3: completed, but {counts}"
    at_rest = quiet and saga.position in (P.FAILED, P.COMPENSATED)
    if at_rest and (reserved != released or charged != refunded):
        yield f"I4: {saga.position.name}, nothing follows, but {counts}"
    chargeable = paying and C.PROCESS_PAYMENT not in books.closed and not books.said(G.PAYMENT_FAILED)
    if releasing and (chargeable or charged != refunded):
        yield f"I5: released while a charge is possible; {counts}"
    if charged > 1 or refunded > charged:
        yield f"I6: {counts}"
