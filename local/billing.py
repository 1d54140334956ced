"""The stand-in Billing. Every card is good for 10000.00: a total above that fails."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from local.ledger import Effect
from local.rule import Command, Rule
from local.stand_in import app as app_of
from local.stand_in import participant_of

NAME = "billing"
LIMIT = Decimal("10000.00")


def total(command: Command) -> Decimal:
    """The money that the order is about."""
    return command.total_amount


def card_declined(command: Command) -> str | None:
    """The order is too expensive."""
    return "card declined" if command.total_amount > LIMIT else None


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "ProcessPayment": Rule(
            success="domain.billing.PaymentProcessed",
            failure="domain.billing.PaymentFailed",
            message="Payment processed",
            amount=total,
            does=Effect.CHARGE,
            objection=card_declined,
        ),
        "RefundPayment": Rule(
            success="domain.billing.PaymentRefunded",
            failure="domain.billing.PaymentRefundFailed",
            message="Payment refunded",
            amount=total,
            does=Effect.REFUND,
            undoes=Effect.CHARGE,
        ),
    }
)

app = app_of(participant_of(NAME, RULES))
