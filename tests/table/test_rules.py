"""The hard cases, as dialogues. Each test bears the number of its rule in docs/state-machine.md."""

import json
import pickle
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from models.states import Command, IncidentKind, Position, Timer
from saga.decide import decide
from saga.domain import Deadline, Event, Outcome, Policy, message_id
from saga.history import MOST_IDS, MOST_REASONS
from saga.insight.forecast import foretold
from saga.outbox.message import OrderFacts, enclose
from saga.table import TABLE, TABLES, VERSION
from saga.transitions import WISHES, Signal
from tests.table.dialogue import ORDER_ID, PATIENT, SAGA_ID, START, Dialogue, standing_at

P, G = Position, Signal
ONE, OTHER = UUID(int=1), UUID(int=2)


def seconds_until_due(saga: Dialogue) -> float:
    assert saga.saga.due_at is not None
    return (saga.saga.due_at - saga.now).total_seconds()


# ------------------------------------------------------------------------------------------------- the usual ways


def test_the_happy_path_is_the_example_word_for_word() -> None:
    saga = Dialogue()
    saga.expect(P.VALIDATING, sends=("OrderCreated", "ValidateInventory"))
    saga.hears("InventoryValidated").expect(P.RESERVING, sends=("ReserveInventory",))
    saga.hears("InventoryReserved").expect(P.CHARGING, sends=("ProcessPayment",))
    saga.hears("PaymentProcessed").expect(P.COMPLETED, sends=("OrderCompleted",))
    assert saga.story() == [
        ("ValidateInventory", "Completed", "Inventory validated"),
        ("ReserveInventory", "Completed", "Inventory reserved"),
        ("ProcessPayment", "Completed", "Payment processed"),
    ]
    assert (saga.saga.position.status, saga.saga.position.current_step) == ("Completed", "Completed")
    assert saga.saga.completed_at == saga.now


def test_scenario_1_insufficient_inventory_fails_the_order_and_undoes_nothing() -> None:
    saga = Dialogue().hears("InventoryValidationFailed", words="Out of stock").expect(P.FAILED, sends=("OrderFailed",))
    assert saga.story() == [("ValidateInventory", "Failed", "Out of stock")]
    assert (saga.saga.failed_step, saga.saga.reason) == ("ValidateInventory", "Out of stock")


def test_scenario_2_a_failed_payment_is_compensated() -> None:
    saga = standing_at(P.CHARGING).hears("PaymentFailed", words="Card declined")
    saga.expect(P.RELEASING, sends=("ReleaseInventory",))
    saga.hears("InventoryReleased").expect(P.COMPENSATED, sends=("OrderFailed",))
    assert saga.story()[2:] == [
        ("ProcessPayment", "Failed", "Card declined"),
        ("ReleaseInventory", "Completed", "Inventory released"),
    ]
    assert (saga.saga.failed_step, saga.saga.reason) == ("ProcessPayment", "Card declined")


def test_scenario_3_silence_is_answered_by_three_retries_then_the_dead_letters_then_slowly_again() -> None:
    saga = Dialogue()
    for delay in (5, 10, 20):
        saga.waits().expect(P.VALIDATING)
        assert saga.saga.timer is Timer.RETRY
        assert delay <= seconds_until_due(saga) <= delay * 1.1
        saga.waits().expect(P.VALIDATING, sends=("ValidateInventory",))
    saga.waits().expect(P.VALIDATING, sends=("ValidateInventory to the dead letters",))
    saga.expect_incident(IncidentKind.VALIDATION_UNANSWERED)
    assert [send.attempt for send in saga.sent("ValidateInventory")] == [1, 2, 3, 4]
    assert seconds_until_due(saga) == 300
    saga.waits().expect(P.VALIDATING, sends=("ValidateInventory",))
    saga.hears("InventoryValidated").expect(P.RESERVING, sends=("ReserveInventory",)).expect_incident(None)


# ------------------------------------------------------------------------------------------------------ the rules


def test_rule_1_a_late_reply_to_an_earlier_attempt_is_a_reply() -> None:
    saga = standing_at(P.RESERVING).waits()
    saga.hears("InventoryReserved").expect(P.CHARGING, sends=("ProcessPayment",))
    saga = standing_at(P.RESERVING).waits().waits()
    saga.hears("InventoryReserved").expect(P.CHARGING, sends=("ProcessPayment",))


def test_rule_1_a_retry_keeps_the_identity_and_raises_the_attempt() -> None:
    saga = standing_at(P.CHARGING).waits().waits()
    attempts = saga.sent("ProcessPayment")
    assert [send.attempt for send in attempts] == [1, 2]
    order = OrderFacts(ORDER_ID, UUID(int=5), [], Decimal("10.00"))
    first, second = (enclose(send, saga.saga, order, "", saga.now) for send in attempts)
    assert first.message_id == second.message_id == message_id(SAGA_ID, Command.PROCESS_PAYMENT)
    assert [json.loads(one.body)["eventId"] for one in (first, second)] == [str(first.message_id)] * 2


def test_rule_1_jitter_adds_at_most_a_tenth_and_differs_from_saga_to_saga() -> None:
    waits = set()
    for number in range(500):
        saga = Dialogue(saga_id=UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)).waits()
        waits.add(seconds_until_due(saga))
    assert all(5 <= wait <= 5.5 for wait in waits)
    assert len(waits) > 100


def test_rule_1_a_failure_that_comes_while_a_retry_is_planned_does_not_put_the_retry_off() -> None:
    saga = standing_at(P.VALIDATING).hears_transient_failure()
    due_at = saga.saga.due_at
    for _ in range(3):
        saga.hears_transient_failure().expect(P.VALIDATING)
    assert saga.saga.due_at == due_at
    assert saga.saga.timer is Timer.RETRY


def test_rule_2_parking_keeps_the_state_and_copies_the_command_to_the_dead_letters_once() -> None:
    saga = standing_at(P.RESERVING).waits_until_parked()
    for _ in range(5):
        saga.waits().expect(P.RESERVING, sends=("ReserveInventory",))
        saga.hears_transient_failure().expect(P.RESERVING)
        saga.operator(G.OPERATOR_RETRY).expect(P.RESERVING, sends=("ReserveInventory",))
    assert len([send for send in saga.published if send.dead_letter]) == 1
    assert saga.saga.incident is not None
    saga.hears("InventoryReserved").expect(P.CHARGING, sends=("ProcessPayment",)).expect_incident(None)


def test_rule_2_a_saga_older_than_its_timeout_parks_without_further_retries() -> None:
    saga = Dialogue(Policy(saga_timeout=timedelta(seconds=20)))
    saga.waits().expect(P.VALIDATING, sends=("ValidateInventory to the dead letters",))
    assert saga.saga.parked


def test_rule_2_a_retry_that_would_come_after_the_timeout_is_not_planned() -> None:
    saga = Dialogue(Policy(saga_timeout=timedelta(seconds=34)))
    saga.waits().expect(P.VALIDATING, sends=("ValidateInventory to the dead letters",))
    saga = Dialogue(Policy(saga_timeout=timedelta(seconds=36))).waits()
    assert saga.saga.timer is Timer.RETRY


def test_rule_2_slow_retries_are_one_entry_with_a_count() -> None:
    saga = Dialogue().waits_until_parked()
    for _ in range(50):
        saga.waits()
    assert saga.last["count"] == 50
    assert len(saga.saga.history) < 12


def test_rule_2_where_asking_again_is_switched_off_only_a_reply_or_a_person_moves_it_on() -> None:
    saga = Dialogue(Policy(reask=None)).waits_until_parked()
    assert saga.saga.due_at is None
    saga.expect_incident(IncidentKind.VALIDATION_UNANSWERED)
    saga.operator(G.OPERATOR_RETRY).expect(P.VALIDATING, sends=("ValidateInventory",))


def test_rule_3_a_validation_is_given_up_at_once_with_nothing_to_undo() -> None:
    saga = Dialogue().operator(G.OPERATOR_COMPENSATE, "no such product").expect(P.FAILED, sends=("OrderFailed",))
    assert (saga.last["actor"], saga.saga.reason) == ("ann", "no such product")


@pytest.mark.parametrize("parked", [False, True])
def test_rule_4_a_reservation_given_up_is_released_although_none_was_seen(parked: bool) -> None:
    saga = standing_at(P.RESERVING)
    if parked:
        saga.waits_until_parked()
    saga.operator(G.OPERATOR_COMPENSATE).expect(P.RELEASING, sends=("ReleaseInventory",)).expect_incident(None)
    saga.hears("InventoryReleased").expect(P.COMPENSATED, sends=("OrderFailed",))


def test_rule_5_a_payment_that_times_out_is_never_answered_by_a_release() -> None:
    saga = standing_at(P.CHARGING).waits_until_parked().expect_incident(IncidentKind.PAYMENT_OUTCOME_UNKNOWN)
    for _ in range(20):
        saga.waits().expect(P.CHARGING, sends=("ProcessPayment",))
    assert not saga.sent("ReleaseInventory")
    saga.hears("PaymentProcessed").expect(P.COMPLETED, sends=("OrderCompleted",)).expect_incident(None)


def test_rule_5_an_operator_says_that_it_was_charged() -> None:
    saga = standing_at(P.CHARGING).waits_until_parked().operator(G.OPERATOR_SUCCEEDED, "seen in the bank's list")
    saga.expect(P.COMPLETED, sends=("OrderCompleted",))


def test_rule_5_an_operator_says_that_it_was_not_charged() -> None:
    saga = standing_at(P.CHARGING).waits_until_parked().operator(G.OPERATOR_FAILED)
    saga.expect(P.RELEASING, sends=("ReleaseInventory",))


def test_rule_5_giving_a_payment_up_refunds_first_and_releases_only_then() -> None:
    saga = standing_at(P.CHARGING).operator(G.OPERATOR_COMPENSATE).expect(P.REFUNDING, sends=("RefundPayment",))
    saga.hears("PaymentRefunded").expect(P.RELEASING, sends=("ReleaseInventory",))
    saga.hears("InventoryReleased").expect(P.COMPENSATED, sends=("OrderFailed",))


@pytest.mark.parametrize("failure", ["InventoryReleaseFailed", None])
def test_rule_6_a_release_is_never_given_up(failure: str | None) -> None:
    saga = standing_at(P.RELEASING)
    while not saga.saga.parked:
        if failure:
            saga.hears(failure).expect(P.RELEASING, sends=saga_parks(saga))
        saga.waits()
    saga.expect_incident(IncidentKind.RELEASE_UNANSWERED)
    for _ in range(5):
        saga.waits().expect(P.RELEASING, sends=("ReleaseInventory",))
        saga.hears("InventoryReleaseFailed").expect(P.RELEASING)
    assert saga.saga.position.status == "Compensating"
    saga.operator(G.OPERATOR_FAILED).expect(P.RELEASING, outcome=Outcome.REFUSED)
    saga.hears("InventoryReleased").expect(P.COMPENSATED, sends=("OrderFailed",)).expect_incident(None)


def saga_parks(saga: Dialogue) -> tuple[str, ...]:
    return ("ReleaseInventory to the dead letters",) if saga.saga.parked else ()


@pytest.mark.parametrize("here", [P.RELEASING, P.COMPENSATED, P.FAILED])
def test_rule_7_a_late_reservation_is_released_again(here: Position) -> None:
    saga = standing_at(here)
    status = here.status
    saga.hears("InventoryReserved").expect(sends=("ReleaseInventory",))
    assert saga.saga.position.status is status
    assert saga.last["step"] == "ReleaseInventory"


@pytest.mark.parametrize("here", [P.RELEASING, P.COMPENSATED, P.FAILED])
def test_rule_7_a_late_payment_is_refunded_under_an_incident_that_the_refund_closes(here: Position) -> None:
    saga = standing_at(here)
    saga.hears("PaymentProcessed").expect(sends=("RefundPayment",), outcome=Outcome.CONFLICT)
    saga.expect_incident(IncidentKind.LATE_PAYMENT)
    assert saga.saga.position.order_status == ("Pending" if here is P.RELEASING else "Failed")
    saga.hears("PaymentRefunded").expect_incident(None)
    if here is P.RELEASING:
        saga.expect(P.RELEASING, sends=("ReleaseInventory",))
    else:
        saga.expect(here)


def test_rule_7_a_late_payment_stays_an_incident_while_its_refund_is_parked() -> None:
    saga = standing_at(P.FAILED).hears("PaymentProcessed").waits_until_parked()
    saga.expect_incident(IncidentKind.LATE_PAYMENT)
    saga.hears("PaymentRefunded").expect(P.FAILED).expect_incident(None)


def test_rule_8_a_duplicate_changes_nothing() -> None:
    saga = Dialogue().hears("InventoryValidated", ONE)
    saga.hears("InventoryValidated", ONE).expect(P.RESERVING, outcome=Outcome.DUPLICATE)
    saga.hears("InventoryReserved", OTHER)
    saga.hears("InventoryValidated", ONE).expect(P.CHARGING, outcome=Outcome.DUPLICATE)
    saga.hears("InventoryReserved", OTHER).expect(P.CHARGING, outcome=Outcome.DUPLICATE)
    assert len(saga.saga.history) == 2


def test_rule_8_a_failure_is_a_duplicate_too() -> None:
    saga = Dialogue().hears_transient_failure(event_id=ONE)
    saga.hears_transient_failure(event_id=ONE).expect(outcome=Outcome.DUPLICATE)
    saga.waits()
    saga.hears_transient_failure(event_id=ONE).expect(outcome=Outcome.DUPLICATE)


def test_rule_8_a_participants_repeated_success_answers_a_command_that_is_open_again() -> None:
    saga = standing_at(P.FAILED).hears("PaymentProcessed", ONE).hears("PaymentRefunded", OTHER).expect(P.FAILED)
    saga.hears("PaymentProcessed").expect(P.FAILED_REFUNDING, sends=("RefundPayment",), outcome=Outcome.CONFLICT)
    saga.hears("PaymentRefunded", OTHER).expect(P.FAILED).expect_incident(None)


def test_rule_8_what_was_ignored_once_counts_when_it_is_awaited() -> None:
    saga = Dialogue().hears("InventoryReserved", ONE).expect(P.VALIDATING, outcome=Outcome.IGNORED)
    saga.hears("InventoryValidated").hears("InventoryReserved", ONE)
    saga.expect(P.CHARGING, sends=("ProcessPayment",))


def test_rule_8_a_message_is_remembered_although_its_entry_was_coalesced() -> None:
    saga = standing_at(P.FAILED)
    saga.hears("PaymentProcessed", ONE).hears("PaymentRefunded").hears("PaymentProcessed", OTHER).hears(
        "PaymentRefunded"
    )
    assert saga.saga.history[-2]["count"] == 2
    for event_id in (ONE, OTHER):
        saga.hears("PaymentProcessed", event_id).expect(P.FAILED, outcome=Outcome.DUPLICATE)


def test_rule_8_as_many_messages_are_remembered_as_a_history_can_bear() -> None:
    saga = standing_at(P.FAILED)
    for _ in range(MOST_IDS * 2):
        saga.hears("PaymentProcessed").hears("PaymentRefunded")
    assert [len(entry.get("earlierIds", [])) for entry in saga.saga.history[-2:]] == [MOST_IDS, MOST_IDS]


def test_rule_8_a_reply_that_names_another_saga_is_ignored_with_the_reason() -> None:
    saga = standing_at(P.RESERVING).hears("InventoryReserved", saga_id=OTHER)
    saga.expect(P.RESERVING, outcome=Outcome.IGNORED)
    assert saga.last["message"] == "InventoryReserved: it names another saga"
    saga.hears("InventoryReserved", saga_id=SAGA_ID).expect(P.CHARGING, sends=("ProcessPayment",))


def test_rule_8_a_reply_that_names_another_command_is_ignored_with_the_reason() -> None:
    saga = standing_at(P.RESERVING)
    saga.hears("InventoryReserved", causation_id=message_id(SAGA_ID, Command.VALIDATE_INVENTORY))
    saga.expect(P.RESERVING, outcome=Outcome.IGNORED)
    assert saga.last["message"] == "InventoryReserved: it answers another command"
    saga.hears("InventoryReserved", causation_id=message_id(SAGA_ID, Command.RESERVE_INVENTORY)).expect(
        P.CHARGING, sends=("ProcessPayment",)
    )


def test_rule_9_the_first_of_two_different_answers_wins_and_a_person_is_told() -> None:
    saga = standing_at(P.CHARGING).hears("InventoryReservationFailed").expect(P.CHARGING, outcome=Outcome.CONFLICT)
    saga.expect_incident(IncidentKind.CONTRADICTION)
    assert saga.last["status"] == "Conflict"
    saga.hears("PaymentProcessed").expect(P.COMPLETED, sends=("OrderCompleted",))
    saga.expect_incident(IncidentKind.CONTRADICTION)
    saga.operator(G.OPERATOR_FAILED, "spoken with the warehouse").expect(P.COMPLETED).expect_incident(None)


def test_rule_9_a_payment_that_failed_and_then_took_money_is_refunded() -> None:
    saga = standing_at(P.CHARGING).hears("PaymentFailed").hears("PaymentProcessed")
    saga.expect(P.REFUNDING, sends=("RefundPayment",), outcome=Outcome.CONFLICT)
    saga.expect_incident(IncidentKind.LATE_PAYMENT)


def test_rule_9_an_answer_that_contradicts_a_persons_word_is_a_conflict_too() -> None:
    saga = standing_at(P.CHARGING).operator(G.OPERATOR_SUCCEEDED).hears("PaymentFailed")
    saga.expect(P.COMPLETED, outcome=Outcome.CONFLICT).expect_incident(IncidentKind.CONTRADICTION)


def test_rule_9_a_late_reservation_that_is_then_denied_is_a_conflict() -> None:
    saga = standing_at(P.FAILED_RELEASING).hears("InventoryReservationFailed")
    saga.expect(P.FAILED_RELEASING, outcome=Outcome.CONFLICT).expect_incident(IncidentKind.CONTRADICTION)


def test_rule_9_a_contradiction_is_not_lost_when_a_parked_payment_is_answered() -> None:
    saga = standing_at(P.CHARGING).waits_until_parked().hears("InventoryReservationFailed")
    saga.expect_incident(IncidentKind.PAYMENT_OUTCOME_UNKNOWN)
    saga.hears("PaymentProcessed").expect(P.COMPLETED, sends=("OrderCompleted",))
    saga.expect_incident(IncidentKind.CONTRADICTION)


def test_rule_9_a_contradiction_is_not_lost_when_the_payment_parks() -> None:
    saga = standing_at(P.CHARGING).hears("InventoryReservationFailed").waits_until_parked()
    saga.expect_incident(IncidentKind.PAYMENT_OUTCOME_UNKNOWN)
    saga.hears("PaymentProcessed").expect_incident(IncidentKind.CONTRADICTION)
    assert saga.saga.incident is not None
    assert "InventoryReservationFailed contradicts" in saga.saga.incident["detail"]


def test_rule_9_a_reservation_that_contradicts_is_not_lost_when_its_release_parks() -> None:
    saga = standing_at(P.FAILED).hears("InventoryReserved").waits_until_parked()
    saga.expect_incident(IncidentKind.RELEASE_UNANSWERED)
    saga.hears("InventoryReleased").expect(P.FAILED).expect_incident(IncidentKind.CONTRADICTION)


def test_rule_9_a_contradiction_is_not_lost_when_a_late_payment_is_refunded() -> None:
    saga = standing_at(P.FAILED).hears("InventoryValidationFailed").expect_incident(IncidentKind.CONTRADICTION)
    saga.hears("PaymentProcessed").expect_incident(IncidentKind.LATE_PAYMENT)
    saga.hears("PaymentRefunded").expect(P.FAILED).expect_incident(IncidentKind.CONTRADICTION)


def test_rule_9_a_contradiction_that_a_person_has_acknowledged_does_not_come_back() -> None:
    saga = standing_at(P.FAILED).hears("InventoryValidationFailed").operator(G.OPERATOR_FAILED).expect_incident(None)
    saga.hears("PaymentProcessed").hears("PaymentRefunded").expect(P.FAILED).expect_incident(None)
    saga.hears("InventoryValidationFailed").expect_incident(IncidentKind.CONTRADICTION)


@pytest.mark.parametrize(
    ("here", "failure"),
    [
        (P.REFUNDING, "PaymentRefundFailed"),
        (P.FAILED_REFUNDING, "PaymentRefundFailed"),
        (P.RELEASING, "InventoryReleaseFailed"),
        (P.COMPENSATED_RELEASING, "InventoryReleaseFailed"),
    ],
)
def test_rule_9_an_undo_that_failed_although_a_person_vouched_for_it_is_a_conflict(
    here: Position, failure: str
) -> None:
    saga = standing_at(here).waits_until_parked().operator(G.OPERATOR_SUCCEEDED, "seen in the bank's list")
    after = saga.saga.position
    saga.hears(failure).expect(after, outcome=Outcome.CONFLICT).expect_incident(IncidentKind.CONTRADICTION)


def test_rule_10_before_the_reservation_was_asked_for_a_cancel_fails_the_order_at_once() -> None:
    saga = Dialogue().cancelled_over_http("changed my mind").expect(P.FAILED, sends=("OrderFailed",))
    assert saga.saga.reason == "changed my mind"
    assert saga.last["status"] == "Cancelled"


@pytest.mark.parametrize("answer", ["InventoryReserved", "nothing", "transient failure"])
def test_rule_10_a_reservation_in_flight_is_waited_for_and_then_released(answer: str) -> None:
    saga = standing_at(P.RESERVING).cancelled_over_http().expect(P.RESERVING)
    if answer == "nothing":
        saga.waits()
    elif answer == "transient failure":
        saga.hears_transient_failure()
    else:
        saga.hears(answer)
    saga.expect(P.RELEASING, sends=("ReleaseInventory",))
    assert "again" not in saga.last["message"]
    saga.hears("InventoryReleased").expect(P.COMPENSATED, sends=("OrderFailed",))
    assert saga.saga.failed_step == "ReserveInventory"


def test_rule_10_a_reservation_in_flight_that_is_refused_leaves_nothing_to_release() -> None:
    saga = standing_at(P.RESERVING).cancelled_over_http("too slow").hears("InventoryReservationFailed")
    saga.expect(P.FAILED, sends=("OrderFailed",))
    assert saga.saga.reason == "too slow"


@pytest.mark.parametrize("parked", [False, True])
def test_rule_10_where_no_reply_is_in_flight_a_cancel_releases_at_once(parked: bool) -> None:
    saga = standing_at(P.RESERVING).waits()
    if parked:
        saga.waits_until_parked()
    saga.cancelled_over_http().expect(P.RELEASING, sends=("ReleaseInventory",))


@pytest.mark.parametrize("here", [P.CHARGING, P.COMPLETED, P.RELEASING, P.REFUNDING, P.COMPENSATED, P.FAILED])
def test_rule_10_afterwards_a_cancel_is_refused_over_http_and_ignored_on_the_bus(here: Position) -> None:
    standing_at(here).cancelled_over_http().expect(here, outcome=Outcome.REFUSED)
    saga = standing_at(here).cancelled_on_the_bus(ONE).expect(here, outcome=Outcome.IGNORED)
    assert saga.last["status"] == "Ignored"
    saga.cancelled_on_the_bus(ONE).expect(here, outcome=Outcome.DUPLICATE)


@pytest.mark.parametrize("here", [P.VALIDATING, P.RESERVING])
def test_rule_10_twice_is_once(here: Position) -> None:
    saga = standing_at(here).cancelled_over_http()
    saga.cancelled_over_http().expect(outcome=Outcome.DUPLICATE)
    saga.cancelled_on_the_bus().expect(outcome=Outcome.DUPLICATE)


def test_rule_11_a_command_has_one_identity_for_ever_and_every_saga_its_own() -> None:
    ids = {message_id(saga, command) for saga in (SAGA_ID, ONE) for command in Command}
    assert len(ids) == 2 * len(Command)


@pytest.mark.parametrize("signal", [G.OPERATOR_RETRY, G.OPERATOR_SUCCEEDED, G.OPERATOR_FAILED, G.OPERATOR_COMPENSATE])
def test_rule_13_operators_carry_their_name_and_reason_into_the_history(signal: Signal) -> None:
    saga = standing_at(P.CHARGING).operator(signal, "called the bank")
    assert saga.last["actor"] == "ann"
    assert saga.last["message"].endswith(": called the bank")


def test_rule_13_every_reason_that_a_person_gave_is_kept() -> None:
    saga = standing_at(P.CHARGING).operator(G.OPERATOR_RETRY, "ONE").operator(G.OPERATOR_RETRY, "TWO")
    saga.operator(G.OPERATOR_RETRY, "TWO")
    assert [(entry["words"], entry.get("count", 1)) for entry in saga.saga.history[-2:]] == [("ONE", 1), ("TWO", 2)]


def test_rule_13_of_very_many_reasons_the_newest_are_kept_and_all_are_counted() -> None:
    saga = standing_at(P.CHARGING)
    for number in range(100):
        saga.operator(G.OPERATOR_RETRY, f"reason {number}")
    told = saga.saga.history[-MOST_REASONS:]
    assert [entry["words"] for entry in told] == [f"reason {n}" for n in range(100 - MOST_REASONS, 100)]
    assert sum(entry.get("count", 1) for entry in told) == 100


def test_rule_13_an_acknowledgement_does_not_count_for_a_command_that_is_open_by_then() -> None:
    saga = standing_at(P.FAILED).hears("InventoryValidationFailed")
    acknowledgement = Event(G.OPERATOR_SUCCEEDED, ORDER_ID, causation_id=SAGA_ID, actor="ann", words="spoken with them")
    late = pickle.loads(pickle.dumps(saga)).hears("PaymentProcessed")
    late.told(acknowledgement).expect(P.FAILED_REFUNDING, outcome=Outcome.REFUSED)
    saga.told(acknowledgement).expect(P.FAILED).expect_incident(None)


def test_rule_13_giving_up_twice_is_giving_up_once() -> None:
    saga = standing_at(P.CHARGING).operator(G.OPERATOR_COMPENSATE)
    saga.operator(G.OPERATOR_COMPENSATE).expect(P.REFUNDING, outcome=Outcome.DUPLICATE)


def test_rule_14_a_saga_keeps_the_version_that_it_was_started_under() -> None:
    assert TABLES[VERSION] is TABLE
    saga = standing_at(P.RELEASING).hears("InventoryReleased").saga
    assert saga.table_version == VERSION


# --------------------------------------------------------------------------------------------------------- timers


@pytest.mark.parametrize(
    "deadline",
    [
        Deadline(Command.RESERVE_INVENTORY, Timer.REPLY, 1),
        Deadline(Command.RESERVE_INVENTORY, Timer.RETRY, 2),
        Deadline(Command.RESERVE_INVENTORY, Timer.REPLY, 3),
        Deadline(Command.VALIDATE_INVENTORY, Timer.REPLY, 2),
    ],
)
def test_a_timer_of_another_command_kind_or_attempt_is_stale(deadline: Deadline) -> None:
    saga = standing_at(P.RESERVING).waits().waits()
    assert saga.saga.attempt == 2
    saga.now += timedelta(hours=1)
    saga.told(Event(G.TIMED_OUT, ORDER_ID, deadline=deadline)).expect(P.RESERVING, outcome=Outcome.IGNORED)
    assert saga.decision.why == "stale timer"


def test_a_timer_that_is_not_due_yet_does_nothing() -> None:
    saga = standing_at(P.RESERVING)
    decision = decide(saga.saga, saga.timer(), START + timedelta(seconds=29), PATIENT)
    assert (decision.outcome, decision.saga is saga.saga) == (Outcome.IGNORED, True)


def test_a_timer_of_a_saga_that_has_moved_on_does_nothing() -> None:
    saga = standing_at(P.RESERVING)
    timer = saga.timer()
    saga.hears("InventoryReserved")
    saga.now += timedelta(hours=1)
    saga.told(timer).expect(P.CHARGING, outcome=Outcome.IGNORED)


def test_rule_7_a_late_success_does_not_unpark_a_compensation_that_stays_unanswered() -> None:
    saga = standing_at(P.RELEASING).waits_until_parked()
    incident = saga.saga.incident
    saga.hears(G.INVENTORY_RESERVED).expect(P.RELEASING, sends=("ReleaseInventory",))
    assert (saga.saga.parked, saga.saga.incident) == (True, incident)
    saga.hears(G.INVENTORY_RELEASED).expect(P.COMPENSATED, sends=("OrderFailed",))


def test_rule_9_a_reservation_after_a_definite_refusal_is_released_and_shown_to_a_person() -> None:
    saga = standing_at(P.FAILED)
    saga.hears(G.INVENTORY_RESERVED).expect(P.FAILED_RELEASING, sends=("ReleaseInventory",))
    saga.hears(G.INVENTORY_RELEASED).expect(P.FAILED)
    assert saga.saga.incident is not None
    assert saga.saga.incident["kind"] == "contradiction"
    saga.operator(G.OPERATOR_SUCCEEDED)
    assert saga.saga.incident is None


def test_rule_6_a_failure_that_comes_after_the_undo_has_succeeded_is_no_contradiction() -> None:
    saga = standing_at(P.COMPENSATED)
    saga.hears(G.INVENTORY_RELEASE_FAILED).expect(P.COMPENSATED, outcome=Outcome.IGNORED)
    assert saga.saga.incident is None


def test_rule_14_what_would_come_of_a_message_is_for_the_release_that_knows_the_table() -> None:
    saga = replace(standing_at(P.CHARGING).saga, table_version=99)
    told = foretold(saga, Event(Signal.PAYMENT_PROCESSED, ORDER_ID), PATIENT)
    assert told.startswith("Another release knows")


@pytest.mark.parametrize("wish", WISHES)
def test_a_wish_that_names_what_it_means_is_never_about_another_command(wish: Signal) -> None:
    saga = standing_at(P.RESERVING)
    was_open = message_id(SAGA_ID, Command.VALIDATE_INVENTORY)
    is_open = message_id(SAGA_ID, Command.RESERVE_INVENTORY)
    for cause in (was_open, SAGA_ID):
        saga.told(Event(wish, ORDER_ID, causation_id=cause, actor="ann", words="so I say"))
        saga.expect(P.RESERVING, outcome=Outcome.REFUSED)
        assert saga.decision.why == "another command is open by now: look again"
    assert saga.told(Event(wish, ORDER_ID, causation_id=is_open, actor="ann")).decision.outcome is Outcome.APPLIED


def test_a_wish_that_is_fulfilled_or_has_no_place_is_told_so_whatever_it_means() -> None:
    meant = message_id(SAGA_ID, Command.PROCESS_PAYMENT)
    saga = standing_at(P.REFUNDING)
    saga.told(Event(G.OPERATOR_COMPENSATE, ORDER_ID, causation_id=meant)).expect(outcome=Outcome.DUPLICATE)
    saga.told(Event(G.CANCEL, ORDER_ID, causation_id=meant)).expect(outcome=Outcome.REFUSED)
    assert saga.decision.why == "the order is already being undone"
