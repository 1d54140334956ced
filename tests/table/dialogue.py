"""A saga as a dialogue: given where it stands, when something happens, expect what it says and becomes.

Every step is also checked for the invariants of docs/state-machine.md, so that every dialogue tests that too.
"""

import pickle
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID, uuid5

from models.states import TERMINAL, Command, CurrentStep, EntryStatus, OrderEvent, Position
from saga.decide import begin, decide
from saga.domain import Event, Outcome, Policy, Saga, Send, message_id, when_due
from saga.table import VERSION
from saga.transitions import REPLY_MODELS, Signal

P, G = Position, Signal
START = datetime(2024, 12, 5, 10, 0, tzinfo=UTC)
SAGA_ID = UUID("0f8b6a52-4f0c-4d57-9a53-6c1f3f2b7d10")
ORDER_ID = UUID("c3f2a9d4-6f0b-4f0e-8a55-1c2d3e4f5a6b")
PATIENT = Policy(saga_timeout=timedelta(days=1))
"""Times out by the number of sends alone."""

_SENDS_PAYMENT = {
    (P.RESERVING, G.INVENTORY_RESERVED),
    (P.RESERVING, G.OPERATOR_SUCCEEDED),
    (P.CHARGING, G.RETRY_DUE),
    (P.CHARGING, G.REASK_DUE),
    (P.CHARGING, G.OPERATOR_RETRY),
}
"""I5: the move that took InventoryReserved, a person who says that it was, or the same command again."""
_NOT_CHARGED = {
    (P.CHARGING, G.PAYMENT_FAILED),
    (P.CHARGING, G.OPERATOR_FAILED),
    *((here, G.PAYMENT_REFUNDED) for here in P if here.open_command is Command.REFUND_PAYMENT),
    *((here, G.OPERATOR_SUCCEEDED) for here in P if here.open_command is Command.REFUND_PAYMENT),
}
"""What makes sure that no money of this order is, or will be, with Billing."""


class Dialogue:
    """A saga from its birth on; every method tells it something and gives the dialogue back."""

    def __init__(self, policy: Policy = PATIENT, saga_id: UUID = SAGA_ID) -> None:
        self.policy = policy
        self.now = START
        self.decision = begin(saga_id, ORDER_ID, START, policy, VERSION)
        self.published: list[Send] = list(self.decision.sends)
        self._minted = 0
        self._charge_possible = False

    @property
    def saga(self) -> Saga:
        return self.decision.saga

    @property
    def last(self) -> Any:
        """The newest entry of the history."""
        return self.saga.history[-1]

    def new_id(self) -> UUID:
        self._minted += 1
        return uuid5(SAGA_ID, f"message {self._minted}")

    # ------------------------------------------------------------------------------------------------ when

    def hears(self, reply: str, event_id: UUID | None = None, **more: Any) -> Self:
        """A participant's reply arrives."""
        return self.told(Event(Signal(reply), ORDER_ID, event_id=event_id or self.new_id(), **more))

    def hears_transient_failure(self, **more: Any) -> Self:
        """A failure of the open command, marked as retryable, arrives."""
        command = self.saga.position.open_command
        failure = next(s for s, reply in REPLY_MODELS.items() if reply.answers == command and not reply.success)
        return self.hears(failure, retryable=True, **more)

    def waits(self) -> Self:
        """Nothing comes, and the timer runs out."""
        assert self.saga.due_at is not None, "nothing is awaited"
        self.now = max(self.now, self.saga.due_at)
        return self.told(self.timer())

    def timer(self) -> Event:
        """The event of the timer that is set."""
        expiry = when_due(self.saga)
        assert expiry is not None
        return expiry

    def waits_until_parked(self) -> Self:
        while not self.saga.parked:
            self.waits()
        return self

    def cancelled_over_http(self, reason: str | None = None) -> Self:
        return self.told(Event(G.CANCEL, ORDER_ID, words=reason))

    def cancelled_on_the_bus(self, event_id: UUID | None = None) -> Self:
        return self.told(Event(G.CANCEL, ORDER_ID, event_id=event_id or self.new_id()))

    def operator(self, signal: Signal, reason: str = "looked into it") -> Self:
        return self.told(Event(signal, ORDER_ID, actor="ann", words=reason))

    def told(self, event: Event) -> Self:
        """Anything at all happens; what must always hold is checked."""
        self.now += timedelta(milliseconds=1)
        before, untouched = self.saga, pickle.dumps(self.saga)
        self.decision = decide(before, event, self.now, self.policy)
        assert pickle.dumps(before) == untouched, "decide changed its input"
        assert decide(before, event, self.now, self.policy) == self.decision, "decided differently the second time"
        self.published += self.decision.sends
        self._check(before, event)
        return self

    # ---------------------------------------------------------------------------------------------- expect

    def expect(
        self,
        position: Position | None = None,
        *,
        sends: tuple[str, ...] = (),
        outcome: Outcome = Outcome.APPLIED,
        entry: tuple[str, str, str] | None = None,
    ) -> Self:
        """What became of the last thing that it was told."""
        assert self.decision.outcome is outcome, self.decision
        assert tuple(_word(send) for send in self.decision.sends) == sends
        if position is not None:
            assert self.saga.position is position
        if entry is not None:
            assert (self.last["step"], self.last["status"], self.last["message"]) == entry
        return self

    def expect_incident(self, kind: str | None) -> Self:
        assert (self.saga.incident["kind"] if self.saga.incident else None) == kind
        return self

    def story(self) -> list[tuple[str, str, str]]:
        """The history as step, status and message."""
        return [(entry["step"], entry["status"], entry["message"]) for entry in self.saga.history]

    def sent(self, kind: str) -> list[Send]:
        """What was published of a kind, copies for the dead letters left out."""
        return [send for send in self.published if send.kind == kind and not send.dead_letter]

    # -------------------------------------------------------------------------------------- what always holds

    def _check(self, before: Saga, event: Event) -> None:
        self._check_row()
        self._check_end(before)
        self._check_messages(before, event)
        if self.decision.outcome in (Outcome.DUPLICATE, Outcome.REFUSED):
            assert self.saga is before
        elif self.decision.outcome is Outcome.IGNORED:
            unchanged = replace(self.saga, history=before.history, updated_at=before.updated_at)
            assert unchanged == before
            assert (self.saga is before) == (event.event_id is None or self.decision.why == "stale timer")
        for entry in self.saga.history:
            assert EntryStatus(entry["status"])
            assert 0 < len(entry["message"]) <= 1000
            assert entry["step"] in {*Command, *CurrentStep}

    def _check_row(self) -> None:
        """I15, and the CHECKs of the database."""
        saga = self.saga
        assert (saga.timer is None) == (saga.position.open_command is None)
        if not saga.position.ended:
            assert saga.timer is not None
        if saga.parked:
            assert saga.incident is not None
            assert (saga.due_at is not None) == (self.policy.reask is not None)
        else:
            assert (saga.due_at is None) == (saga.timer is None)

    def _check_end(self, before: Saga) -> None:
        """I7, I8."""
        if before.position.ended:
            assert self.saga.position.status is before.position.status
            assert self.saga.completed_at == before.completed_at
        told = Counter(send.kind for send in self.published if isinstance(send.kind, OrderEvent))
        ends = told[OrderEvent.ORDER_COMPLETED] + told[OrderEvent.ORDER_FAILED]
        assert told[OrderEvent.ORDER_CREATED] == 1
        assert ends == (self.saga.position.status in TERMINAL) == (self.saga.completed_at is not None)
        assert told[OrderEvent.ORDER_COMPLETED] == (self.saga.position is P.COMPLETED)
        if told[OrderEvent.ORDER_FAILED]:
            assert self.saga.reason
            assert self.saga.failed_step in ("ValidateInventory", "ReserveInventory", "ProcessPayment")

    def _check_messages(self, before: Saga, event: Event) -> None:
        """I5, I6."""
        if self.decision.outcome in (Outcome.APPLIED, Outcome.CONFLICT):
            if (before.position, event.signal) in _NOT_CHARGED and not event.retryable:
                self._charge_possible = False
            elif event.signal is G.PAYMENT_PROCESSED:
                self._charge_possible = True
        for send in self.decision.sends:
            assert message_id(self.saga.id, send.kind) == uuid5(self.saga.id, str(send.kind))
            if send.dead_letter or not isinstance(send.kind, Command):
                continue
            assert send.kind is self.saga.position.open_command
            assert send.attempt == before.sent.get(send.kind, 0) + 1 == self.saga.sent[send.kind]
            if send.kind is Command.PROCESS_PAYMENT:
                assert (before.position, event.signal) in _SENDS_PAYMENT
                self._charge_possible = True
            if send.kind is Command.RELEASE_INVENTORY:
                assert not self._charge_possible, "released while a charge is possible"


def _word(send: Send) -> str:
    return f"{send.kind} to the dead letters" if send.dead_letter else str(send.kind)


def standing_at(position: Position, policy: Policy = PATIENT) -> Dialogue:
    """A saga that has come to this position by the usual way."""
    saga = Dialogue(policy)
    for step in ROADS[position]:
        if step is G.OPERATOR_COMPENSATE:
            saga.operator(step)
        else:
            saga.hears(step)
    assert saga.saga.position is position
    return saga


_TO_CHARGING = (G.INVENTORY_VALIDATED, G.INVENTORY_RESERVED)
_TO_COMPENSATED = (*_TO_CHARGING, G.PAYMENT_FAILED, G.INVENTORY_RELEASED)
ROADS: dict[Position, tuple[Signal, ...]] = {
    P.VALIDATING: (),
    P.RESERVING: (G.INVENTORY_VALIDATED,),
    P.CHARGING: _TO_CHARGING,
    P.COMPLETED: (*_TO_CHARGING, G.PAYMENT_PROCESSED),
    P.REFUNDING: (*_TO_CHARGING, G.OPERATOR_COMPENSATE),
    P.RELEASING: (*_TO_CHARGING, G.PAYMENT_FAILED),
    P.FAILED: (G.INVENTORY_VALIDATED, G.INVENTORY_RESERVATION_FAILED),
    P.COMPENSATED: _TO_COMPENSATED,
    P.FAILED_REFUNDING: (G.INVENTORY_VALIDATION_FAILED, G.PAYMENT_PROCESSED),
    P.FAILED_RELEASING: (G.INVENTORY_VALIDATION_FAILED, G.INVENTORY_RESERVED),
    P.COMPENSATED_REFUNDING: (*_TO_COMPENSATED, G.PAYMENT_PROCESSED),
    P.COMPENSATED_RELEASING: (*_TO_COMPENSATED, G.INVENTORY_RESERVED),
}
