"""The saga as the API shows it, and what it says of what lies ahead."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from models.states import Position, Timer
from saga import table
from saga.decide import begin, decide
from saga.domain import Deadline, Event, Policy, Saga
from saga.insight.forecast import remaining_steps, waiting
from saga.transitions import Signal
from tests.http.conftest import HAPPY, Service

KEYS = [
    "id", "orderId", "status", "currentStep", "history", "createdAt", "completedAt", "updatedAt", "traceId",
    "incident", "cancelRequested", "waiting", "remainingSteps",
]  # fmt: skip


async def test_a_new_saga_tells_what_it_waits_for(service: Service) -> None:
    order = await service.place()
    saga = await service.saga(order["id"])
    assert list(saga) == KEYS
    assert (saga["id"], saga["orderId"]) == (order["sagaId"], order["id"])
    assert (saga["status"], saga["currentStep"], saga["history"]) == ("Started", "ValidateInventory", [])
    assert (saga["completedAt"], saga["incident"], saga["cancelRequested"]) == (None, None, False)
    assert len(saga["traceId"]) == 32
    until = saga["waiting"].pop("until")
    assert until > saga["createdAt"]
    assert saga["waiting"] == {
        "for": ["InventoryValidated", "InventoryValidationFailed"],
        "attempt": 1,
        "attempts": 4,
        "then": "send ValidateInventory again",
    }
    assert saga["remainingSteps"] == ["ReserveInventory", "ProcessPayment"]


async def test_the_happy_path_reads_as_the_description_has_it(service: Service) -> None:
    order = await service.place()
    await service.happen(order["id"], *HAPPY)
    saga = await service.saga(order["id"])
    assert (saga["status"], saga["currentStep"]) == ("Completed", "Completed")
    assert [(entry["step"], entry["status"], entry["message"]) for entry in saga["history"]] == [
        ("ValidateInventory", "Completed", "Inventory validated"),
        ("ReserveInventory", "Completed", "Inventory reserved"),
        ("ProcessPayment", "Completed", "Payment processed"),
    ]
    assert all(
        list(entry) == ["step", "status", "message", "timestamp", "attempt", "eventId"] for entry in saga["history"]
    )
    assert saga["completedAt"] == saga["updatedAt"]
    assert (saga["waiting"], saga["remainingSteps"]) == (None, [])


async def test_actor_and_count_are_shown_where_there_are_any(service: Service) -> None:
    order = await service.place()
    await service.happen(order["id"], Signal.OPERATOR_RETRY, event_id=None, actor="ann", words="look")
    await service.happen(order["id"], Signal.OPERATOR_RETRY, event_id=None, actor="ann", words="look")
    [entry] = (await service.saga(order["id"]))["history"]
    assert (entry["status"], entry["actor"], entry["count"], entry["eventId"]) == ("Resumed", "ann", 2, None)
    assert "event" not in entry


async def test_a_parked_saga_shows_its_incident(service: Service) -> None:
    order = await service.place()
    await service.expire(order["id"], times=6)
    last_chance = (await service.saga(order["id"]))["waiting"]
    assert (last_chance["attempt"], last_chance["then"]) == (4, "park it and tell an operator")
    await service.expire(order["id"])
    saga = await service.saga(order["id"])
    assert saga["incident"]["kind"] == "validation_unanswered"
    assert set(saga["incident"]) == {"kind", "since", "detail"}
    assert saga["waiting"]["then"] == "send ValidateInventory again"
    assert saga["history"][-1]["status"] == "Parked"


async def test_a_failed_payment_leaves_the_release_to_wait_for(service: Service) -> None:
    order = await service.place()
    await service.happen(
        order["id"], Signal.INVENTORY_VALIDATED, Signal.INVENTORY_RESERVED, Signal.PAYMENT_FAILED, words="no funds"
    )
    saga = await service.saga(order["id"])
    assert (saga["status"], saga["currentStep"], saga["remainingSteps"]) == ("Compensating", "Compensating", [])
    assert saga["waiting"]["for"] == ["InventoryReleased", "InventoryReleaseFailed"]


def _born(policy: Policy) -> Saga:
    return begin(uuid4(), uuid4(), datetime(2026, 1, 1, tzinfo=UTC), policy, table.VERSION).saga


def _after(saga: Saga, policy: Policy, *signals: Signal) -> Saga:
    for signal in signals:
        event = Event(signal, saga.order_id, deadline=Deadline.of(saga))
        saga = decide(saga, event, saga.due_at or saga.updated_at, policy).saga
    return saga


@pytest.mark.parametrize(
    ("signals", "then", "steps"),
    [
        ((), "send ValidateInventory again", ["ReserveInventory", "ProcessPayment"]),
        ((Signal.TIMED_OUT,), "send ValidateInventory again", ["ReserveInventory", "ProcessPayment"]),
        ((Signal.INVENTORY_VALIDATED,), "send ReserveInventory again", ["ProcessPayment"]),
        ((Signal.INVENTORY_VALIDATED, Signal.CANCEL), "send ReleaseInventory", ["ReleaseInventory"]),
        (HAPPY[:2], "send ProcessPayment again", []),
        ((*HAPPY[:2], Signal.OPERATOR_COMPENSATE), "send RefundPayment again", ["ReleaseInventory"]),
        ((*HAPPY[:2], Signal.PAYMENT_FAILED), "send ReleaseInventory again", []),
    ],
)
def test_what_follows_is_what_the_table_would_do(signals: tuple[Signal, ...], then: str, steps: list[str]) -> None:
    policy = Policy()
    saga = _after(_born(policy), policy, *signals)
    awaited = waiting(saga, policy)
    assert awaited
    assert (awaited["then"], remaining_steps(saga)) == (then, steps)


@pytest.mark.parametrize("ended", [HAPPY, (Signal.CANCEL,), (Signal.INVENTORY_VALIDATION_FAILED,)])
def test_an_ended_saga_waits_for_nothing(ended: tuple[Signal, ...]) -> None:
    policy = Policy()
    saga = _after(_born(policy), policy, *ended)
    assert (waiting(saga, policy), remaining_steps(saga)) == (None, [])


def test_a_late_payment_of_an_ended_saga_is_refunded_and_the_stock_that_is_owed_released() -> None:
    policy = Policy()
    late = (Signal.CANCEL, Signal.INVENTORY_RESERVED, Signal.PAYMENT_PROCESSED)
    saga = _after(_born(policy), policy, *late)
    assert saga.position is Position.FAILED_REFUNDING
    assert remaining_steps(saga) == ["ReleaseInventory"]


def test_a_parked_saga_that_is_never_asked_again_waits_without_end() -> None:
    policy = Policy(retry_attempts=0, reask=None)
    saga = _after(_born(policy), policy, Signal.TIMED_OUT)
    assert saga.timer is Timer.REASK
    awaited = waiting(saga, policy)
    assert awaited
    assert (awaited["until"], awaited["then"]) == (None, "wait for a reply or an operator")


def test_a_saga_that_is_too_old_is_parked_although_sends_are_left() -> None:
    policy = Policy(saga_timeout=timedelta(seconds=30))
    awaited = waiting(_born(policy), policy)
    assert awaited
    assert awaited["then"] == "park it and tell an operator"
