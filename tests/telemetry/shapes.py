"""What the trees of sagas should look like."""

from collections.abc import Callable
from typing import Any

from tests.telemetry.trees import Tree, in_order

REPLIES = {
    "ValidateInventory": ("inventory", "InventoryValidated"),
    "ReserveInventory": ("inventory", "InventoryReserved"),
    "ReleaseInventory": ("inventory", "InventoryReleased"),
    "ProcessPayment": ("billing", "PaymentProcessed"),
    "RefundPayment": ("billing", "PaymentRefunded"),
}


def unanswered(command: str) -> Any:
    """A command's way to a participant that says nothing."""
    participant, _ = REPLIES[command]
    return (f"publish domain.order.{command}", [f"{participant}: process domain.order.{command}"])


def answered(command: str, reply: str | None = None) -> Any:
    """A command's way to its participant, and the answer's way back."""
    participant, success = REPLIES[command]
    key = f"domain.{participant}.{reply or success}"
    answering = (f"{participant}: publish {key}", [f"process {key}"])
    return (f"publish domain.order.{command}", [(f"{participant}: process domain.order.{command}", [answering])])


def step(command: str, *under: Any) -> Any:
    return (command, list(under) or [answered(command)])


def saga(*under: Any, by: str = "POST /api/orders", end: str | None = "OrderCompleted") -> Any:
    """The whole tree."""
    told = [f"publish domain.order.{event}" for event in ("OrderCreated", end)]
    return in_order([("order saga", [by, *told, *under])])


def shaped(expected: Any) -> Callable[[Tree], bool]:
    return lambda tree: tree.shape() == expected


HAPPY = saga(step("ValidateInventory"), step("ReserveInventory"), step("ProcessPayment"))
