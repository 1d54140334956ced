"""The vocabulary of the transition table: its columns (signals) and what can stand in a cell. Pure data."""

from dataclasses import dataclass
from enum import StrEnum

from models.messages import REPLIES, Reply
from models.states import Command, EntryStatus, IncidentKind, Position, Timer


class Signal(StrEnum):
    """What can happen to a saga: the columns of the table."""

    INVENTORY_VALIDATED = "InventoryValidated"
    INVENTORY_VALIDATION_FAILED = "InventoryValidationFailed"
    INVENTORY_RESERVED = "InventoryReserved"
    INVENTORY_RESERVATION_FAILED = "InventoryReservationFailed"
    PAYMENT_PROCESSED = "PaymentProcessed"
    PAYMENT_FAILED = "PaymentFailed"
    PAYMENT_REFUNDED = "PaymentRefunded"
    PAYMENT_REFUND_FAILED = "PaymentRefundFailed"
    INVENTORY_RELEASED = "InventoryReleased"
    INVENTORY_RELEASE_FAILED = "InventoryReleaseFailed"
    TRANSIENT_FAILURE = "transient failure"
    """A failure reply to the open command that says `retryable`."""
    TIMED_OUT = "timeout"
    """The open command's reply did not come in time."""
    RETRY_DUE = "retry due"
    REASK_DUE = "re-ask due"
    CANCEL = "CancelOrder"
    """A client gives the order up."""
    OPERATOR_RETRY = "operator: retry"
    OPERATOR_SUCCEEDED = "operator: resolve succeeded"
    OPERATOR_FAILED = "operator: resolve failed"
    OPERATOR_COMPENSATE = "operator: compensate"


WISHES = (
    Signal.CANCEL,
    Signal.OPERATOR_RETRY,
    Signal.OPERATOR_SUCCEEDED,
    Signal.OPERATOR_FAILED,
    Signal.OPERATOR_COMPENSATE,
)
"""What people ask for; they may name the command that they mean."""
WHEN_DUE = {Timer.REPLY: Signal.TIMED_OUT, Timer.RETRY: Signal.RETRY_DUE, Timer.REASK: Signal.REASK_DUE}
"""What happens to a saga when its timer runs out."""
REPLY_MODELS: dict[Signal, type[Reply]] = {Signal(reply.__name__): reply for reply in REPLIES}
"""What each reply signal looks like on the wire, and with it which command it answers."""


@dataclass(frozen=True, slots=True)
class Go:
    """Move to a position, with one history entry about the step that is left."""

    to: Position
    status: EntryStatus
    say: str
    if_cancelled: Position | None = None
    """Where to instead when the client has asked to cancel."""
    if_owed: Position | None = None
    """Where to instead when the history owes that position's undo as well."""
    incident: IncidentKind | None = None
    """Opened by this move; a person should look."""
    step: Command | None = None
    """The step that the entry is about, where it is not the one that the signal speaks of."""


@dataclass(frozen=True, slots=True)
class Retry:
    """An attempt failed: send again after a growing delay while sends are left, then park with this incident."""

    park: IncidentKind
    if_cancelled: Position | None = None


@dataclass(frozen=True, slots=True)
class SendAgain:
    """Send the open command again."""

    status: EntryStatus
    say: str


@dataclass(frozen=True, slots=True)
class Note:
    """Remember the cancellation; act on it when the reply in flight has come, at once when none is in flight."""

    to: Position
    say: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """A second, different answer to a command that was answered: the first wins, a person should look.

    Where the command was never answered (it was given up, say), there is no contradiction: then it is ignored.
    """

    otherwise: str
    vouched: bool = False
    """Only where the latest such answer was a person's word; a participant's own stands against its older ones."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """A message that changes nothing here."""

    why: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """A person's request that has no place here; they are told why."""

    why: str


@dataclass(frozen=True, slots=True)
class Already:
    """A person's request that is already fulfilled here: no change, and no error."""

    why: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """A person has looked at the incident of a saga that has ended: close it."""

    otherwise: str


Cell = Go | Retry | SendAgain | Note | Conflict | Ignore | Refuse | Already | Acknowledge
