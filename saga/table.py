"""The saga's transition table: what happens at every position upon every signal.

Rules of residence: everything that says what a saga does stands here, as data, and nothing else does. It knows no I/O
and no clock; `saga.decide` is the one function that reads it.

How to read it. A saga stands at a *position* (`models.states.Position`): its status, its step, and the command whose
reply it awaits. What can happen to it is a *signal* (`saga.transitions.Signal`): a participant's reply, a deadline, or
a person's request. For every pair of the two there is one *cell*, terminal positions included:

- `Go` moves on: one history entry, and the message of the position that is entered;
- `Retry` takes a failed attempt: back off and send again while sends are left, then park;
- `SendAgain` sends the open command once more: same `eventId`, `attempt` + 1;
- `Note` keeps a cancellation in mind until the reply that is in flight has come;
- `Ignore` and `Refuse` change nothing, and say why; `Conflict` shows a contradiction to a person.

Why nothing is concluded from silence: after a timeout the command may have been carried out. So a timeout only ever
leads to asking again. ProcessPayment is the *pivot*: it is left backwards by a definite PaymentFailed alone, or by a
person, who is made to refund first. Compensation stands beside its action: what RESERVING did, RELEASING undoes; what
CHARGING did, REFUNDING undoes, and always before the release. A participant's success that comes after the saga turned
back is undone as well, without ever changing how the order ended.
"""

from collections.abc import Iterator, Mapping

from models.states import Command, EntryStatus, IncidentKind, Position
from saga.transitions import Acknowledge, Already, Cell, Conflict, Go, Ignore, Note, Refuse, Retry, SendAgain, Signal

VERSION = 1
"""The version that new sagas start under. Rows are never removed from a table that running sagas use."""

Row = dict[tuple[Signal, ...], Cell]

P, G, S, K, C = Position, Signal, EntryStatus, IncidentKind, Command

_NOT_SENT_RESERVE = Ignore("ReserveInventory has not been sent yet")
_NOT_SENT_PAYMENT = Ignore("ProcessPayment has not been sent yet")
_NO_RELEASE = Ignore("no release was asked for")
_NO_REFUND = Ignore("no refund was asked for")
_ANSWERED = Ignore("already answered")
_NOT_OPEN = Conflict(otherwise="not open: it has succeeded since, or was never asked for", vouched=True)
_RELEASE_FOLLOWS = Ignore("the release follows the refund")
_RELEASE_SETTLES = Conflict(otherwise="the release settles it either way")
_NO_TIMER = Ignore("nothing is awaited here")
_CONTRADICTS = Conflict(otherwise="not awaited")

_RETRY_DUE = SendAgain(S.RETRYING, "sent again")
_REASK_DUE = SendAgain(S.RETRYING, "asked again while parked")
_BY_HAND = SendAgain(S.RESUMED, "asked again by an operator")
_TOO_LATE = Refuse("too late to cancel: the payment has been asked for")
_UNDOING = Refuse("the order is already being undone")
_NEVER_GIVEN_UP = Refuse("compensation is never given up: ask again, or resolve it as succeeded")

_TIMERS = (G.TIMED_OUT, G.RETRY_DUE, G.REASK_DUE)
_RESOLVE = (G.OPERATOR_SUCCEEDED, G.OPERATOR_FAILED)

_FORWARD: dict[Position, Row] = {
    P.VALIDATING: {
        (G.INVENTORY_VALIDATED,): Go(P.RESERVING, S.COMPLETED, "Inventory validated"),
        (G.INVENTORY_VALIDATION_FAILED,): Go(P.FAILED, S.FAILED, "Inventory validation failed"),
        (G.INVENTORY_RESERVED, G.INVENTORY_RESERVATION_FAILED): _NOT_SENT_RESERVE,
        (G.PAYMENT_PROCESSED, G.PAYMENT_FAILED): _NOT_SENT_PAYMENT,
        (G.PAYMENT_REFUNDED, G.PAYMENT_REFUND_FAILED): _NO_REFUND,
        (G.INVENTORY_RELEASED, G.INVENTORY_RELEASE_FAILED): _NO_RELEASE,
        (G.TRANSIENT_FAILURE, G.TIMED_OUT): Retry(park=K.VALIDATION_UNANSWERED),
        (G.RETRY_DUE,): _RETRY_DUE,
        (G.REASK_DUE,): _REASK_DUE,
        (G.CANCEL,): Go(P.FAILED, S.CANCELLED, "Cancelled by the client"),
        (G.OPERATOR_RETRY,): _BY_HAND,
        (G.OPERATOR_SUCCEEDED,): Go(P.RESERVING, S.RESOLVED, "Resolved by an operator: validated"),
        (G.OPERATOR_FAILED,): Go(P.FAILED, S.RESOLVED, "Resolved by an operator: not validated"),
        (G.OPERATOR_COMPENSATE,): Go(P.FAILED, S.CANCELLED, "Given up by an operator; nothing to undo"),
    },
    P.RESERVING: {
        (G.INVENTORY_VALIDATED,): _ANSWERED,
        (G.INVENTORY_VALIDATION_FAILED,): _CONTRADICTS,
        (G.INVENTORY_RESERVED,): Go(P.CHARGING, S.COMPLETED, "Inventory reserved", if_cancelled=P.RELEASING),
        (G.INVENTORY_RESERVATION_FAILED,): Go(P.FAILED, S.FAILED, "Inventory reservation failed"),
        (G.PAYMENT_PROCESSED, G.PAYMENT_FAILED): _NOT_SENT_PAYMENT,
        (G.PAYMENT_REFUNDED, G.PAYMENT_REFUND_FAILED): _NO_REFUND,
        (G.INVENTORY_RELEASED, G.INVENTORY_RELEASE_FAILED): _NO_RELEASE,
        (G.TRANSIENT_FAILURE, G.TIMED_OUT): Retry(park=K.RESERVATION_OUTCOME_UNKNOWN, if_cancelled=P.RELEASING),
        (G.RETRY_DUE,): _RETRY_DUE,
        (G.REASK_DUE,): _REASK_DUE,
        (G.CANCEL,): Note(P.RELEASING, "Cancelled by the client"),
        (G.OPERATOR_RETRY,): _BY_HAND,
        (G.OPERATOR_SUCCEEDED,): Go(
            P.CHARGING, S.RESOLVED, "Resolved by an operator: reserved", if_cancelled=P.RELEASING
        ),
        (G.OPERATOR_FAILED,): Go(P.FAILED, S.RESOLVED, "Resolved by an operator: not reserved"),
        (G.OPERATOR_COMPENSATE,): Go(P.RELEASING, S.CANCELLED, "Given up by an operator; it may have been reserved"),
    },
    P.CHARGING: {
        (G.INVENTORY_VALIDATED, G.INVENTORY_RESERVED): _ANSWERED,
        (G.INVENTORY_VALIDATION_FAILED, G.INVENTORY_RESERVATION_FAILED): _CONTRADICTS,
        (G.PAYMENT_PROCESSED,): Go(P.COMPLETED, S.COMPLETED, "Payment processed"),
        (G.PAYMENT_FAILED,): Go(P.RELEASING, S.FAILED, "Payment failed"),
        (G.PAYMENT_REFUNDED, G.PAYMENT_REFUND_FAILED): _NO_REFUND,
        (G.INVENTORY_RELEASED, G.INVENTORY_RELEASE_FAILED): _NO_RELEASE,
        (G.TRANSIENT_FAILURE, G.TIMED_OUT): Retry(park=K.PAYMENT_OUTCOME_UNKNOWN),
        (G.RETRY_DUE,): _RETRY_DUE,
        (G.REASK_DUE,): _REASK_DUE,
        (G.CANCEL,): _TOO_LATE,
        (G.OPERATOR_RETRY,): _BY_HAND,
        (G.OPERATOR_SUCCEEDED,): Go(P.COMPLETED, S.RESOLVED, "Resolved by an operator: charged"),
        (G.OPERATOR_FAILED,): Go(P.RELEASING, S.RESOLVED, "Resolved by an operator: not charged"),
        (G.OPERATOR_COMPENSATE,): Go(P.REFUNDING, S.CANCELLED, "Given up by an operator; it may have been charged"),
    },
}


def _refunding(here: Position, then: Position, if_owed: Position | None) -> Row:
    """The undo of ProcessPayment; `then` follows once the money is back."""
    return {
        (G.INVENTORY_VALIDATED,): _ANSWERED,
        (G.INVENTORY_VALIDATION_FAILED, G.INVENTORY_RESERVATION_FAILED): _CONTRADICTS,
        (G.INVENTORY_RESERVED, G.INVENTORY_RELEASED): _RELEASE_FOLLOWS,
        (G.INVENTORY_RELEASE_FAILED,): _NOT_OPEN,
        (G.PAYMENT_PROCESSED,): Go(here, S.CONFLICT, "Paid late; refund asked again", incident=K.LATE_PAYMENT),
        (G.PAYMENT_FAILED,): Ignore("the refund settles it either way"),
        (G.PAYMENT_REFUNDED,): Go(then, S.COMPLETED, "Payment refunded", if_owed=if_owed),
        (G.PAYMENT_REFUND_FAILED, G.TRANSIENT_FAILURE, G.TIMED_OUT): Retry(park=K.REFUND_UNANSWERED),
        (G.RETRY_DUE,): _RETRY_DUE,
        (G.REASK_DUE,): _REASK_DUE,
        (G.CANCEL,): _UNDOING,
        (G.OPERATOR_RETRY,): _BY_HAND,
        (G.OPERATOR_SUCCEEDED,): Go(then, S.RESOLVED, "Resolved by an operator: refunded", if_owed=if_owed),
        (G.OPERATOR_FAILED,): _NEVER_GIVEN_UP,
        (G.OPERATOR_COMPENSATE,): Already("the order is already being undone"),
    }


def _releasing(here: Position, refund: Position, then: Position) -> Row:
    """The undo of ReserveInventory; `refund` comes in between when a payment turns up after all."""
    return {
        (G.INVENTORY_VALIDATED,): _ANSWERED,
        (G.INVENTORY_VALIDATION_FAILED,): _CONTRADICTS,
        (G.INVENTORY_RESERVED,): Go(here, S.RETRYING, "Reserved late; release asked again", step=C.RELEASE_INVENTORY),
        (G.INVENTORY_RESERVATION_FAILED,): _RELEASE_SETTLES,
        (G.PAYMENT_PROCESSED,): Go(refund, S.CONFLICT, "Paid late; refund asked for", incident=K.LATE_PAYMENT),
        (G.PAYMENT_FAILED, G.PAYMENT_REFUNDED): _ANSWERED,
        (G.PAYMENT_REFUND_FAILED,): _NOT_OPEN,
        (G.INVENTORY_RELEASED,): Go(then, S.COMPLETED, "Inventory released"),
        (G.INVENTORY_RELEASE_FAILED, G.TRANSIENT_FAILURE, G.TIMED_OUT): Retry(park=K.RELEASE_UNANSWERED),
        (G.RETRY_DUE,): _RETRY_DUE,
        (G.REASK_DUE,): _REASK_DUE,
        (G.CANCEL,): _UNDOING,
        (G.OPERATOR_RETRY,): _BY_HAND,
        (G.OPERATOR_SUCCEEDED,): Go(then, S.RESOLVED, "Resolved by an operator: released"),
        (G.OPERATOR_FAILED,): _NEVER_GIVEN_UP,
        (G.OPERATOR_COMPENSATE,): Already("the order is already being undone"),
    }


def _gave_up(refund: Position, release: Position, incident: IncidentKind | None) -> Row:
    """An order that failed: whatever a participant did late is undone; the order stays failed.

    `incident` is opened by a late reservation: where none was ever confirmed before, it contradicts what was said.
    """
    return {
        (G.INVENTORY_VALIDATED, G.INVENTORY_VALIDATION_FAILED, G.INVENTORY_RESERVATION_FAILED): _CONTRADICTS,
        (G.INVENTORY_RESERVED,): Go(
            release, S.RETRYING, "Reserved late; release asked for", step=C.RELEASE_INVENTORY, incident=incident
        ),
        (G.PAYMENT_PROCESSED,): Go(refund, S.CONFLICT, "Paid late; refund asked for", incident=K.LATE_PAYMENT),
        (G.PAYMENT_FAILED, G.PAYMENT_REFUNDED, G.INVENTORY_RELEASED): _ANSWERED,
        (G.PAYMENT_REFUND_FAILED, G.INVENTORY_RELEASE_FAILED): _NOT_OPEN,
        (G.TRANSIENT_FAILURE, *_TIMERS): _NO_TIMER,
        (G.CANCEL,): Refuse("the order has failed"),
        (G.OPERATOR_RETRY,): Refuse("the saga has ended; there is nothing to ask"),
        _RESOLVE: Acknowledge(otherwise="the saga has ended; no command is open"),
        (G.OPERATOR_COMPENSATE,): Already("the order has failed and is undone"),
    }


_BACKWARD: dict[Position, Row] = {
    P.REFUNDING: _refunding(P.REFUNDING, then=P.RELEASING, if_owed=None),
    P.RELEASING: _releasing(P.RELEASING, refund=P.REFUNDING, then=P.COMPENSATED),
}
_ENDED: dict[Position, Row] = {
    P.COMPLETED: {
        (G.INVENTORY_VALIDATED, G.INVENTORY_RESERVED, G.PAYMENT_PROCESSED): _ANSWERED,
        (G.INVENTORY_VALIDATION_FAILED, G.INVENTORY_RESERVATION_FAILED, G.PAYMENT_FAILED): _CONTRADICTS,
        (G.PAYMENT_REFUNDED, G.PAYMENT_REFUND_FAILED): _NO_REFUND,
        (G.INVENTORY_RELEASED, G.INVENTORY_RELEASE_FAILED): _NO_RELEASE,
        (G.TRANSIENT_FAILURE, *_TIMERS): _NO_TIMER,
        (G.CANCEL,): Refuse("too late to cancel: the order is completed"),
        (G.OPERATOR_RETRY,): Refuse("the saga has ended; there is nothing to ask"),
        _RESOLVE: Acknowledge(otherwise="the saga has ended; no command is open"),
        (G.OPERATOR_COMPENSATE,): Refuse("the order is completed; a completed order is not undone here"),
    },
    P.FAILED: _gave_up(P.FAILED_REFUNDING, P.FAILED_RELEASING, K.CONTRADICTION),
    P.COMPENSATED: _gave_up(P.COMPENSATED_REFUNDING, P.COMPENSATED_RELEASING, incident=None),
}
_ENDED_AND_UNDOING: dict[Position, Row] = {
    P.FAILED_REFUNDING: _refunding(P.FAILED_REFUNDING, then=P.FAILED, if_owed=P.FAILED_RELEASING),
    P.FAILED_RELEASING: _releasing(P.FAILED_RELEASING, refund=P.FAILED_REFUNDING, then=P.FAILED),
    P.COMPENSATED_REFUNDING: _refunding(P.COMPENSATED_REFUNDING, then=P.COMPENSATED, if_owed=P.COMPENSATED_RELEASING),
    P.COMPENSATED_RELEASING: _releasing(P.COMPENSATED_RELEASING, refund=P.COMPENSATED_REFUNDING, then=P.COMPENSATED),
}


def _complete(rows: Mapping[Position, Row]) -> dict[Position, dict[Signal, Cell]]:
    """Spread the rows into one cell per position and signal.

    Raises:
        LookupError: a cell is missing or written twice. It is raised at import, not at 3 a.m.
    """
    table: dict[Position, dict[Signal, Cell]] = {}
    for position in Position:
        cells: list[tuple[Signal, Cell]] = [
            (signal, cell) for signals, cell in rows.get(position, {}).items() for signal in signals
        ]
        table[position] = dict(cells)
        if missing := set(Signal) - table[position].keys():
            raise LookupError(f"{position.name} has no cell for {sorted(missing)}")
        if len(cells) != len(Signal):
            raise LookupError(f"{position.name} has two cells for one signal")
    return table


TABLE: Mapping[Position, Mapping[Signal, Cell]] = _complete(_FORWARD | _BACKWARD | _ENDED | _ENDED_AND_UNDOING)
TABLES: Mapping[int, Mapping[Position, Mapping[Signal, Cell]]] = {VERSION: TABLE}
"""Every version that a running saga may have been started under."""

FORWARD_STEPS: tuple[Command, ...] = (C.VALIDATE_INVENTORY, C.RESERVE_INVENTORY, C.PROCESS_PAYMENT)


def cells() -> Iterator[tuple[Position, Signal, Cell]]:
    """Every cell of the current table, in the order of positions and signals."""
    for position, row in TABLE.items():
        for signal in Signal:
            yield position, signal, row[signal]
