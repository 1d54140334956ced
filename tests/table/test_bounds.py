"""What participants and people send without end leaves a history that a person can read."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from models.states import Position
from saga.transitions import Signal
from tests.table.dialogue import Dialogue, standing_at

P, G = Position, Signal
FLOOD = 2_000
FEW = 60
"""Entries: what a person reads at one look."""


def stray_replies(saga: Dialogue, number: int) -> None:
    saga.hears(list(Signal)[number % 10], words=f"word {number}")


def late_successes(saga: Dialogue, number: int) -> None:
    late = ("InventoryReserved", "PaymentProcessed", "PaymentRefunded", "InventoryReleased")
    saga.hears(late[number % 4], words=f"word {number}")


def late_payments(saga: Dialogue, number: int) -> None:
    saga.hears(("PaymentProcessed", "PaymentRefunded")[number % 2], words=f"word {number}")


def transient_failures(saga: Dialogue, number: int) -> None:
    if saga.saga.position.open_command:
        saga.hears_transient_failure(words=f"word {number}")


def silence(saga: Dialogue, number: int) -> None:
    if saga.saga.due_at:
        saga.waits()


def silence_and_late_reservations(saga: Dialogue, number: int) -> None:
    if number % 3 == 0:
        saga.hears("InventoryReserved")
    silence(saga, number)


def silence_and_transient_failures(saga: Dialogue, number: int) -> None:
    (silence if number % 2 else transient_failures)(saga, number)


def impatient_operators(saga: Dialogue, number: int) -> None:
    saga.operator(G.OPERATOR_RETRY, f"try {number}")


def cancels(saga: Dialogue, number: int) -> None:
    saga.cancelled_on_the_bus()


FLOODS = [
    stray_replies,
    late_successes,
    late_payments,
    transient_failures,
    silence,
    silence_and_late_reservations,
    silence_and_transient_failures,
    impatient_operators,
    cancels,
]


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
@pytest.mark.parametrize("here", [P.VALIDATING, P.CHARGING, P.RELEASING, P.FAILED, P.COMPENSATED_RELEASING])
def test_the_history_stays_short(here: Position, flood: Callable[[Dialogue, int], None]) -> None:
    saga = standing_at(here)
    for number in range(150):
        flood(saga, number)
        assert len(saga.saga.history) < FEW, saga.story()[-8:]


def test_thousands_of_slow_retries_and_stray_replies_leave_a_short_history() -> None:
    saga = standing_at(P.RELEASING).waits_until_parked()
    for number in range(FLOOD // 4):
        saga.waits()
        saga.hears("InventoryReleaseFailed", words=f"busy since {number}")
        saga.hears("PaymentFailed")
        saga.hears("InventoryReserved")
    assert len(saga.saga.history) < FEW
    assert sum(entry.get("count", 1) for entry in saga.saga.history) > FLOOD // 2


def test_a_participants_endless_words_are_cut() -> None:
    saga = Dialogue().hears("InventoryValidationFailed", words="no " * 400_000)
    assert len(saga.last["message"]) <= 1000
    assert saga.saga.reason is not None
    assert len(saga.saga.reason) <= 1000


def test_a_clients_endless_words_are_cut() -> None:
    saga = standing_at(P.RESERVING).cancelled_over_http("no " * 400_000)
    assert saga.saga.reason is not None
    assert len(saga.saga.reason) <= 1000


def test_an_old_saga_waits_no_longer_than_its_policy_says() -> None:
    saga = standing_at(P.RELEASING)
    for _ in range(200):
        saga.waits()
        assert saga.saga.due_at is not None
        assert saga.saga.due_at - saga.now <= timedelta(seconds=300)
