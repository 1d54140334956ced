"""The stand-in Inventory. It has 1000 of everything: a quantity above that fails."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from local.ledger import Effect
from local.rule import Command, Rule
from local.stand_in import app as app_of
from local.stand_in import participant_of

NAME = "inventory"
STOCK = 1000


def units(command: Command) -> Decimal:
    """How many pieces the order is about."""
    return Decimal(sum(item.quantity for item in command.items))


def out_of_stock(command: Command) -> str | None:
    """The first item of which there is not enough."""
    return next((f"out of stock: {item.product_name}" for item in command.items if item.quantity > STOCK), None)


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "ValidateInventory": Rule(
            success="domain.inventory.InventoryValidated",
            failure="domain.inventory.InventoryValidationFailed",
            message="Inventory validated",
            amount=units,
            objection=out_of_stock,
        ),
        "ReserveInventory": Rule(
            success="domain.inventory.InventoryReserved",
            failure="domain.inventory.InventoryReservationFailed",
            message="Inventory reserved",
            amount=units,
            does=Effect.RESERVE,
            objection=out_of_stock,
        ),
        "ReleaseInventory": Rule(
            success="domain.inventory.InventoryReleased",
            failure="domain.inventory.InventoryReleaseFailed",
            message="Inventory released",
            amount=units,
            does=Effect.RELEASE,
            undoes=Effect.RESERVE,
        ),
    }
)

app = app_of(participant_of(NAME, RULES))
