"""Whatever way a saga took, its history gives its row; and a row that was tampered with does not pass (I11)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.states import OrderStatus, Position, Timer
from saga.decide import decide
from saga.domain import Decision, Event, Policy, Saga
from saga.insight.verify import differences, refold
from saga.transitions import REPLY_MODELS, Signal
from tests.table.dialogue import PATIENT, Dialogue, standing_at
from tests.table.test_walks import POLICIES, STEPS, walked

G = Signal


def _tampered(saga: Saga, index: int, **changed: Any) -> list[Any]:
    history: list[Any] = [dict(entry) for entry in saga.history]
    history[index] |= changed
    return history


@given(POLICIES, st.lists(STEPS, max_size=60))
def test_whatever_happens_to_a_saga_its_history_gives_its_row(policy: Policy, steps: list[str | Event]) -> None:
    assert refold(walked(policy, steps).saga) == []


@pytest.mark.parametrize("position", Position)
def test_a_healthy_saga_passes_at_every_position(position: Position) -> None:
    saga = standing_at(position).saga
    assert differences(saga, position.order_status) == []


def test_a_saga_that_was_parked_for_days_passes() -> None:
    saga = standing_at(Position.CHARGING).waits_until_parked()
    for _ in range(2000):
        saga.waits()
    saga.operator(G.OPERATOR_RETRY)
    assert saga.saga.sent["ProcessPayment"] == 2005
    assert refold(saga.saga) == []


def test_a_payment_that_comes_again_and_again_passes() -> None:
    saga = standing_at(Position.RELEASING)
    for _ in range(4):
        saga.hears(G.PAYMENT_PROCESSED).hears(G.PAYMENT_REFUNDED)
    assert max(entry.get("count", 1) for entry in saga.saga.history) == 4
    assert refold(saga.saga) == []


def test_a_policy_that_was_changed_since_does_not_matter() -> None:
    saga = standing_at(Position.RESERVING, Policy(retry_attempts=0)).waits()
    saga.policy = Policy(retry_attempts=9, saga_timeout=timedelta(days=9))
    saga.hears(G.INVENTORY_RESERVED).waits().waits().waits()
    assert refold(saga.saga) == []


def test_a_history_in_which_everything_was_coalesced_is_folded_at_once() -> None:
    saga = standing_at(Position.FAILED)
    replies = list(REPLY_MODELS)
    for number in range(400):
        saga.hears(replies[number * 7 % len(replies)])
        if number % 3 == 0 and saga.saga.due_at:
            saga.waits()
        if number % 11 == 0:
            saga.operator(G.OPERATOR_SUCCEEDED, f"reason {number % 5}")
    assert sum(entry.get("count", 1) > 1 for entry in saga.saga.history) > 30
    decisions = 0

    def counted(*arguments: Any) -> Decision:
        nonlocal decisions
        decisions += 1
        return decide(*arguments)

    with patch("saga.insight.verify.decide", counted):
        assert refold(saga.saga) == []
    assert decisions < 5_000


_INCIDENT: Any = {"kind": "contradiction", "since": "2024-12-05T10:00:00.000000Z", "detail": "x"}
TAMPERED: dict[str, tuple[Position, Callable[[Saga], dict[str, Any]], str]] = {
    "moved on": (Position.RESERVING, lambda _: {"position": Position.CHARGING}, "position"),
    "moved back": (Position.CHARGING, lambda _: {"position": Position.RESERVING}, "position"),
    "ended otherwise": (Position.COMPLETED, lambda _: {"position": Position.FAILED}, "position"),
    "undone unheard": (Position.RELEASING, lambda _: {"position": Position.COMPENSATED}, "position"),
    "a late undo forgotten": (Position.FAILED_REFUNDING, lambda _: {"position": Position.FAILED}, "position"),
    "ended at another time": (
        Position.COMPLETED, lambda saga: {"completed_at": saga.updated_at + timedelta(seconds=1)}, "completed_at",
    ),
    "touched": (Position.COMPLETED, lambda saga: {"updated_at": saga.updated_at + timedelta(1)}, "updated_at"),
    "cancelled by nobody": (Position.RESERVING, lambda _: {"cancel_requested": True}, "cancel_requested"),
    "an incident of nothing": (Position.CHARGING, lambda _: {"incident": _INCIDENT}, "incident"),
    "an incident forgotten": (Position.FAILED_REFUNDING, lambda _: {"incident": None}, "incident"),
    "parked by nobody": (Position.CHARGING, lambda _: {"timer": Timer.REASK}, "timer"),
    "failed elsewhere": (Position.RELEASING, lambda _: {"failed_step": "ReserveInventory"}, "failed_step"),
    "failed for another reason": (Position.RELEASING, lambda _: {"reason": "nothing of the kind"}, "reason"),
    "due before it was asked": (
        Position.CHARGING, lambda saga: {"due_at": saga.updated_at - timedelta(seconds=1)}, "due_at",
    ),
    "never due": (Position.CHARGING, lambda _: {"due_at": None}, "due_at"),
    "due in another age": (Position.CHARGING, lambda saga: {"due_at": saga.updated_at + timedelta(9999)}, "due_at"),
    "due although it has ended": (Position.COMPLETED, lambda saga: {"due_at": saga.updated_at}, "due_at"),
    "sent more often": (Position.CHARGING, lambda saga: {"sent": saga.sent | {"ProcessPayment": 2}}, "sent"),
    "never sent": (Position.CHARGING, lambda _: {"sent": {}}, "sent"),
    "history lost": (Position.COMPLETED, lambda _: {"history": []}, "position"),
    "an entry lost": (Position.COMPLETED, lambda saga: {"history": saga.history[1:]}, "entry 1"),
    "out of order": (Position.CHARGING, lambda saga: {"history": saga.history[::-1]}, "entry 1"),
    "another entry": (
        Position.COMPLETED, lambda saga: {"history": _tampered(saga, 2, event="PaymentFailed")}, "entry 3",
    ),
    "another attempt": (Position.COMPLETED, lambda saga: {"history": _tampered(saga, 2, attempt=3)}, "entry 3"),
    "a signal of another world": (
        Position.COMPLETED, lambda saga: {"history": _tampered(saga, 0, event="x")}, "cannot be read",
    ),
    "no entries": (Position.COMPLETED, lambda _: {"history": [{}]}, "cannot be read"),
    "nonsense": (Position.COMPLETED, lambda _: {"history": [1]}, "cannot be read"),
    "another table": (Position.COMPLETED, lambda _: {"table_version": 99}, "99"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_a_row_that_was_tampered_with_does_not_pass(name: str) -> None:
    position, tamper, named = TAMPERED[name]
    healthy = standing_at(position).saga
    tampered = replace(healthy, **tamper(healthy))
    assert any(named in found for found in differences(tampered, tampered.position.order_status))


def test_where_entries_were_coalesced_numbers_that_cannot_be_are_found() -> None:
    saga = standing_at(Position.CHARGING).waits_until_parked().waits().waits().saga
    for sent in (1, 7, 999):
        [found] = refold(replace(saga, sent=saga.sent | {"ProcessPayment": sent}))
        assert "sent: ProcessPayment" in found


def test_an_order_that_says_otherwise_than_its_saga_does_not_pass() -> None:
    saga = standing_at(Position.COMPLETED).saga
    [found] = differences(saga, OrderStatus.PENDING)
    assert found == "the order is Pending, its saga makes it Confirmed"


def test_the_same_saga_under_another_id_passes() -> None:
    saga = Dialogue(PATIENT, UUID(int=7)).waits().hears(G.INVENTORY_VALIDATED)
    assert refold(saga.saga) == []
