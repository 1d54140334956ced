"""What crosses the bus: one model per message, in the wire's own words.

`asyncapi.yaml` is generated from here. Incoming models are strict about what they know (no number for a text, no
`true` for a quantity, no rounding of money) and ignore fields that they do not know, so that a newer service can
talk to us. Outgoing models say exactly what leaves.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from models.states import Command, CurrentStep, OrderEvent

MAX_ITEMS = 100
MAX_FIELDS = 50
"""Fields of an input that may have no others than it knows."""
MAX_ERRORS = 100
"""The most that is found wrong with one input."""
MAX_QUANTITY = 1_000_000
MAX_BODY_BYTES = 1_048_576
"""The largest message that is taken from the bus: 1 MiB."""
_MAX_TEXT = 1_000

_CENT = Decimal("0.01")
_MONEY_TEXT = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?")
_DIGITS_BEFORE_POINT = 16


def money(value: object) -> Decimal:
    """Read an amount of money exactly: a JSON number (already a `Decimal` or `int`) or a JSON string.

    Raises:
        ValueError: not a number, negative, more than 2 decimals or more than 16 digits before the point.
    """
    if isinstance(value, str) and _MONEY_TEXT.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        # pydantic reports a ValueError as invalid input; a TypeError would be a crash
        raise ValueError('must be a decimal: a number, or a string like "1299.99"')  # noqa: TRY004
    amount = Decimal(value)
    if not amount.is_finite():
        raise ValueError("must be a finite number")
    if amount.adjusted() >= _DIGITS_BEFORE_POINT and amount:
        raise ValueError("must have at most 16 digits before the point")
    if amount < 0:
        raise ValueError("must not be negative")
    # compared by value, so that 1.50 and 1.500 are the same amount and 0.005 is refused, never rounded
    exact = Decimal(0) if amount == 0 else amount
    if exact.adjusted() < _CENT.adjusted() or exact != exact.quantize(_CENT):
        raise ValueError("must have at most 2 decimals")
    return exact.quantize(_CENT)


def whole(value: object) -> object:
    """Read an integer however JSON has it: `1.0` and `1E0` are the number 1. Whatever else stays as it is."""
    if isinstance(value, Decimal) and value.adjusted() < _DIGITS_BEFORE_POINT and value == value.to_integral_value():
        # of few digits before the point: `1E1000000` would take long to write out
        return int(value)
    return value


def money_text(amount: Decimal) -> str:
    """An amount as the wire has it: two decimals, no exponent."""
    return f"{amount:.2f}"


def instant_text(instant: datetime) -> str:
    """A time as the wire has it: RFC 3339 in UTC with `Z`, microseconds."""
    return f"{instant.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the character U+0000")
    if any("\ud800" <= character <= "\udfff" for character in text):
        # JSON can say half a character; neither UTF-8 nor PostgreSQL can
        raise ValueError("must not contain a lone surrogate")
    return text


def _uuid(value: object, read: ValidatorFunctionWrapHandler) -> object:
    if isinstance(value, str | UUID):
        # pydantic's own words would quote a character of what was sent: a line feed, or what hides itself in a log
        with suppress(ValidationError):
            return read(value)
    raise ValueError("must be a UUID in a string")


Money = Annotated[
    Decimal,
    BeforeValidator(money),
    PlainSerializer(money_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,16}\.\d{2}$", "examples": ["1299.99"]}, mode="serialization"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\d{1,16}(\.\d{1,2})?$"},
                {"type": "number", "minimum": 0, "exclusiveMaximum": 10**16},
            ],
            "description": "A decimal, as a number or a string; at most 2 decimals and 16 digits before the point.",
            "examples": ["1299.99"],
        },
        mode="validation",
    ),
]
Instant = Annotated[
    datetime,
    PlainSerializer(instant_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
Id = Annotated[UUID, WrapValidator(_uuid)]
Text = Annotated[str, AfterValidator(_no_nul)]
ShortText = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Quantity = Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY), BeforeValidator(whole)]


class Wire(BaseModel):
    """camelCase outside, snake_case inside."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True, extra="ignore"
    )


class Incoming(Wire):
    """What somebody else writes: known by the wire's own names alone. Any other name is a field that we do not know."""

    model_config = ConfigDict(validate_by_name=False)


class Closed(BaseModel):
    """What may have no field that it does not know: a filter must not be lost."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few(cls, value: object) -> object:
        # each of them would be an error of its own
        if isinstance(value, Mapping) and len(value) > MAX_FIELDS:
            raise ValueError(f"must have at most {MAX_FIELDS} fields")
        return value


class Item(Incoming):
    """One line of an order."""

    product_id: Id = Field(examples=["5b1f7f0e-9a3e-4c40-8d1f-0f6f2a6e0c11"])
    product_name: ShortText = Field(examples=["Laptop"])
    quantity: Quantity = Field(examples=[1])
    price: Money = Field(description="Price of one piece.")


def total_of(items: Sequence[Item]) -> Decimal:
    """The order's total: the exact sum of quantity times price."""
    return sum((item.quantity * item.price for item in items), Decimal("0.00"))


def _payable(items: list[Item]) -> list[Item]:
    if total_of(items).adjusted() >= _DIGITS_BEFORE_POINT:
        raise ValueError("the total must have at most 16 digits before the point")
    return items


def _first_errors(value: object, read: ValidatorFunctionWrapHandler) -> object:
    """Items, or at most `MAX_ERRORS` errors: where there are more, those of the first items that have any."""
    try:
        return read(value)
    except ValidationError as error:
        if isinstance(value, list) and error.error_count() > MAX_ERRORS - _BESIDE_ITEMS:
            for end in range(_AT_ONCE, len(value), _AT_ONCE):
                read(value[:end])
        raise


_BESIDE_ITEMS = 4
"""Errors that the fields beside the items can have."""
_AT_ONCE = (MAX_ERRORS - _BESIDE_ITEMS) // len(Item.model_fields)
Items = Annotated[
    list[Item], Field(min_length=1, max_length=MAX_ITEMS), AfterValidator(_payable), WrapValidator(_first_errors)
]


# ---------------------------------------------------------------------------------------------- order requests


class CreateOrder(Incoming):
    """Asks for an order. The `eventId` is the request's identity: the same request again gives the same order."""

    event_id: Id = Field(description="Identity of this request; sent again, it gives the same order.")
    user_id: Id = Field(description="The customer.")
    items: Items
    order_id: Id | None = Field(default=None, description="The client's own choice of the order's id.")


class OrderBody(Incoming):
    """The body of POST /api/orders. Over HTTP the Idempotency-Key is the request's identity, where there is one."""

    user_id: Id = Field(description="The customer.", examples=["0d9f3c52-4c0e-4e43-9f53-3f0a4f9c3b70"])
    items: Items


class CancelOrder(Incoming):
    """Asks to give up an order. Cooperative: it is ignored once the payment has been asked for."""

    event_id: Id
    order_id: Id
    reason: Text | None = Field(default=None, description="Shown in the saga's history.")


# ----------------------------------------------------------------------------------------------------- replies


class Reply(Incoming):
    """What a participant answers to a command."""

    answers: ClassVar[Command]
    success: ClassVar[bool]
    service: ClassVar[str]

    event_id: Id = Field(description="Identity of this answer; repeated, it changes nothing.")
    order_id: Id
    saga_id: Id | None = None
    causation_id: Id | None = Field(default=None, description="The `eventId` of the command that this answers.")
    occurred_at: Any = Field(
        default=None,
        description="When it happened, RFC 3339. Only kept for people; the database's clock decides.",
        json_schema_extra={"type": "string", "format": "date-time"},
    )
    message: Text | None = Field(default=None, description="Shown in the saga's history.")
    reason: Text | None = Field(default=None, description="Why it failed, in words.")


class Success(Reply):
    """A participant did what it was asked to do."""

    success = True


class Failure(Reply):
    """A participant did not do what it was asked to do."""

    success = False
    retryable: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="True: a transient failure, answered by a retry and not by compensation."
    )


class InventoryValidated(Success):
    """Inventory has the items."""

    answers, service = Command.VALIDATE_INVENTORY, "inventory"


class InventoryValidationFailed(Failure):
    """Inventory cannot supply the items; the order fails, nothing is to be undone."""

    answers, service = Command.VALIDATE_INVENTORY, "inventory"


class InventoryReserved(Success):
    """Inventory holds the items for this order."""

    answers, service = Command.RESERVE_INVENTORY, "inventory"


class InventoryReservationFailed(Failure):
    """Inventory does not hold the items; the order fails, nothing is to be undone."""

    answers, service = Command.RESERVE_INVENTORY, "inventory"


class InventoryReleased(Success):
    """Inventory holds nothing for this order any more (or never did)."""

    answers, service = Command.RELEASE_INVENTORY, "inventory"


class InventoryReleaseFailed(Failure):
    """Inventory still holds the items; the release is asked again."""

    answers, service = Command.RELEASE_INVENTORY, "inventory"


class PaymentProcessed(Success):
    """Billing charged the customer."""

    answers, service = Command.PROCESS_PAYMENT, "billing"


class PaymentFailed(Failure):
    """Billing did not charge the customer; the reserved items are released."""

    answers, service = Command.PROCESS_PAYMENT, "billing"


class PaymentRefunded(Success):
    """Billing has nothing of this order's money any more (or never had)."""

    answers, service = Command.REFUND_PAYMENT, "billing"


class PaymentRefundFailed(Failure):
    """Billing still has the money; the refund is asked again."""

    answers, service = Command.REFUND_PAYMENT, "billing"


REPLIES: tuple[type[Reply], ...] = (
    InventoryValidated,
    InventoryValidationFailed,
    InventoryReserved,
    InventoryReservationFailed,
    InventoryReleased,
    InventoryReleaseFailed,
    PaymentProcessed,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
)

# ---------------------------------------------------------------------------------------------------- outgoing


class Outgoing(Wire):
    """The common part of every message out."""

    event_id: UUID = Field(description="Identity; a message that is sent again keeps it.")
    order_id: UUID
    saga_id: UUID
    occurred_at: Instant = Field(description="RFC 3339, UTC.")


class CommandMessage(Outgoing):
    """The common part of every command. Deduplicate on `eventId`; on a duplicate send the same answer again."""

    attempt: int = Field(ge=1, description="1 for the first send; it grows while the `eventId` stays.")


class ValidateInventory(CommandMessage):
    """Inventory: can these items be supplied? Changes nothing."""

    items: list[Item]


class ReserveInventory(CommandMessage):
    """Inventory: hold these items for this order."""

    items: list[Item]


class ReleaseInventory(CommandMessage):
    """Inventory: hold nothing for this order (compensation). Answered with success even if nothing was held."""

    items: list[Item]


class ProcessPayment(CommandMessage):
    """Billing: charge the customer, once."""

    user_id: UUID
    total_amount: Money


class RefundPayment(CommandMessage):
    """Billing: give the money back (compensation). Answered with success even if nothing was charged."""

    user_id: UUID
    total_amount: Money


class OrderCreated(Outgoing):
    """An order was accepted and its saga has begun."""

    user_id: UUID
    items: list[Item]
    total_amount: Money
    causation_id: UUID | None = Field(default=None, description="The CreateOrder's `eventId`, where there was one.")


class OrderCompleted(Outgoing):
    """An order is confirmed: reserved and paid."""

    user_id: UUID
    total_amount: Money


class OrderFailed(Outgoing):
    """An order failed; whatever had been done for it is undone."""

    user_id: UUID
    reason: str
    failed_step: Literal[CurrentStep.VALIDATE_INVENTORY, CurrentStep.RESERVE_INVENTORY, CurrentStep.PROCESS_PAYMENT] = (
        Field(description="The step at which the order failed.")
    )
    compensated: bool = Field(description="Whether something had to be undone.")


COMMANDS: dict[Command, type[CommandMessage]] = {
    Command.VALIDATE_INVENTORY: ValidateInventory,
    Command.RESERVE_INVENTORY: ReserveInventory,
    Command.RELEASE_INVENTORY: ReleaseInventory,
    Command.PROCESS_PAYMENT: ProcessPayment,
    Command.REFUND_PAYMENT: RefundPayment,
}
EVENTS: dict[OrderEvent, type[Outgoing]] = {
    OrderEvent.ORDER_CREATED: OrderCreated,
    OrderEvent.ORDER_COMPLETED: OrderCompleted,
    OrderEvent.ORDER_FAILED: OrderFailed,
}


def clip(text: str) -> str:
    """A participant's words, short enough to be kept in a history that must stay small."""
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
