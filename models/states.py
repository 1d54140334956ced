"""The words of the saga: what the outside sees, and the names that are stored.

Every member's value is the word on the wire and in the database. Names are stored, never positions or
indices, so that a row can be read without this code.
"""

from enum import Enum, StrEnum


class OrderStatus(StrEnum):
    """What a client sees of an order."""

    PENDING = "Pending"
    CONFIRMED = "Confirmed"
    FAILED = "Failed"


class SagaStatus(StrEnum):
    """The six states of the saga."""

    STARTED = "Started"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    COMPENSATING = "Compensating"
    COMPENSATED = "Compensated"


TERMINAL = frozenset({SagaStatus.COMPLETED, SagaStatus.FAILED, SagaStatus.COMPENSATED})
"""The statuses that absorb: no message leads out of them."""


class CurrentStep(StrEnum):
    """Where the saga stands, in the words of the HTTP API."""

    VALIDATE_INVENTORY = "ValidateInventory"
    RESERVE_INVENTORY = "ReserveInventory"
    PROCESS_PAYMENT = "ProcessPayment"
    COMPENSATING = "Compensating"
    COMPLETED = "Completed"
    FAILED = "Failed"
    COMPENSATED = "Compensated"


class Command(StrEnum):
    """What the saga asks a participant to do. Also the step that a history entry is about."""

    VALIDATE_INVENTORY = "ValidateInventory"
    RESERVE_INVENTORY = "ReserveInventory"
    PROCESS_PAYMENT = "ProcessPayment"
    REFUND_PAYMENT = "RefundPayment"
    RELEASE_INVENTORY = "ReleaseInventory"


class OrderEvent(StrEnum):
    """What the service tells everybody about an order."""

    ORDER_CREATED = "OrderCreated"
    ORDER_COMPLETED = "OrderCompleted"
    ORDER_FAILED = "OrderFailed"


class EntryStatus(StrEnum):
    """What became of a step, as one entry of the saga's history says it."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    RETRYING = "Retrying"
    PARKED = "Parked"
    RESUMED = "Resumed"
    IGNORED = "Ignored"
    CONFLICT = "Conflict"
    CANCELLED = "Cancelled"
    RESOLVED = "Resolved"


class Timer(StrEnum):
    """What a saga's deadline is for."""

    REPLY = "reply"
    """The open command was sent; its reply is awaited until then."""
    RETRY = "retry"
    """The last attempt failed; the open command is sent again then."""
    REASK = "reask"
    """The saga is parked; the open command is asked again then, without end."""


class IncidentKind(StrEnum):
    """Why a person should look at a saga."""

    VALIDATION_UNANSWERED = "validation_unanswered"
    RESERVATION_OUTCOME_UNKNOWN = "reservation_outcome_unknown"
    PAYMENT_OUTCOME_UNKNOWN = "payment_outcome_unknown"
    REFUND_UNANSWERED = "refund_unanswered"
    RELEASE_UNANSWERED = "release_unanswered"
    LATE_PAYMENT = "late_payment"
    CONTRADICTION = "contradiction"


class WebhookType(StrEnum):
    """What endpoints are told of: an order's events, by the names that customers know them by."""

    CREATED = "order.created"
    COMPLETED = "order.completed"
    FAILED = "order.failed"
    PING = "webhook.ping"
    """A test; nobody subscribes to it."""


SUBSCRIBABLE = (WebhookType.CREATED, WebhookType.COMPLETED, WebhookType.FAILED)
"""What an endpoint can ask for."""


class WebhookStatus(StrEnum):
    """Whether an endpoint is sent anything."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryStatus(StrEnum):
    """What became of a delivery so far."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


DEAD_LETTER_REASONS = frozenset({
    # as this service's own errors name them
    "unreadable", "too_large", "invalid", "refused", "unknown_order", "different_content", "refused_by_database",
    "untrusted_sender",
    # as RabbitMQ does
    "rejected", "expired", "maxlen", "delivery_limit",
    # a command that was parked; and all others
    "unanswered", "unknown",
})  # fmt: skip
"""Why messages become dead letters."""
SENDERS_FAULTS = frozenset({
    "unreadable", "too_large", "invalid", "refused", "unknown_order", "different_content", "untrusted_sender",
    "unknown",
})  # fmt: skip
"""Those of them that say something about who sent it. All others may be this service's own, or its servers', fault."""


class Position(Enum):
    """Where a saga can stand: status, current step, and the command whose reply is awaited.

    The last four are sagas that have ended and yet must undo something that a participant did late. They keep
    their terminal status; only the open command tells them apart.
    """

    _value_: tuple[SagaStatus, CurrentStep, Command | None]

    VALIDATING = (SagaStatus.STARTED, CurrentStep.VALIDATE_INVENTORY, Command.VALIDATE_INVENTORY)
    RESERVING = (SagaStatus.IN_PROGRESS, CurrentStep.RESERVE_INVENTORY, Command.RESERVE_INVENTORY)
    CHARGING = (SagaStatus.IN_PROGRESS, CurrentStep.PROCESS_PAYMENT, Command.PROCESS_PAYMENT)
    REFUNDING = (SagaStatus.COMPENSATING, CurrentStep.COMPENSATING, Command.REFUND_PAYMENT)
    RELEASING = (SagaStatus.COMPENSATING, CurrentStep.COMPENSATING, Command.RELEASE_INVENTORY)
    COMPLETED = (SagaStatus.COMPLETED, CurrentStep.COMPLETED, None)
    FAILED = (SagaStatus.FAILED, CurrentStep.FAILED, None)
    COMPENSATED = (SagaStatus.COMPENSATED, CurrentStep.COMPENSATED, None)
    FAILED_REFUNDING = (SagaStatus.FAILED, CurrentStep.FAILED, Command.REFUND_PAYMENT)
    FAILED_RELEASING = (SagaStatus.FAILED, CurrentStep.FAILED, Command.RELEASE_INVENTORY)
    COMPENSATED_REFUNDING = (SagaStatus.COMPENSATED, CurrentStep.COMPENSATED, Command.REFUND_PAYMENT)
    COMPENSATED_RELEASING = (SagaStatus.COMPENSATED, CurrentStep.COMPENSATED, Command.RELEASE_INVENTORY)

    @property
    def status(self) -> SagaStatus:
        """The saga's status here."""
        return self._value_[0]

    @property
    def current_step(self) -> CurrentStep:
        """The saga's current step here."""
        return self._value_[1]

    @property
    def open_command(self) -> Command | None:
        """The command whose reply is awaited here, if any."""
        return self._value_[2]

    @property
    def order_status(self) -> OrderStatus:
        """What a client sees of the order while its saga stands here."""
        if self.status is SagaStatus.COMPLETED:
            return OrderStatus.CONFIRMED
        return OrderStatus.FAILED if self.ended else OrderStatus.PENDING

    @property
    def ended(self) -> bool:
        """Whether the order's fate is sealed here."""
        return self.status in TERMINAL

    @classmethod
    def of(cls, status: str, current_step: str, open_command: str | None) -> "Position":
        """The position that a stored row stands at.

        Raises:
            KeyError: no such position; the database's CHECK does not let such a row in.
        """
        return _BY_WORDS[status, current_step, open_command]


_BY_WORDS: dict[tuple[str, str, str | None], Position] = {position.value: position for position in Position}
