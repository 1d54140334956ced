"""Every cell of the table, by what stands in it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from models.states import Command, EntryStatus, IncidentKind, OrderEvent, Position, Timer
from saga.domain import Deadline, Event, Incident, Outcome
from saga.table import _complete, cells
from saga.transitions import (
    REPLY_MODELS,
    WHEN_DUE,
    Acknowledge,
    Already,
    Cell,
    Conflict,
    Go,
    Ignore,
    Note,
    Refuse,
    Retry,
    SendAgain,
    Signal,
)
from tests.table.dialogue import ORDER_ID, PATIENT, Dialogue, standing_at

P, G = Position, Signal


def of(*kinds: type[Any]) -> pytest.MarkDecorator:
    """The cells of these kinds, as parameters."""
    chosen = [one for one in cells() if isinstance(one[2], kinds)]
    return pytest.mark.parametrize(
        ("here", "signal", "cell"), chosen, ids=[f"{here.name}-{signal}" for here, signal, _ in chosen]
    )


def happens(saga: Dialogue, signal: Signal) -> Dialogue:
    """Let a signal happen in the way in which it usually comes."""
    if signal is G.TRANSIENT_FAILURE:
        open_command = saga.saga.position.open_command
        return saga.hears_transient_failure() if open_command else saga.hears(G.PAYMENT_FAILED, retryable=True)
    if signal in REPLY_MODELS:
        return saga.hears(signal)
    if signal in WHEN_DUE.values():
        if saga.saga.position.open_command:
            timer = next(timer for timer, due in WHEN_DUE.items() if due is signal)
            incident = saga.saga.incident or Incident(kind="release_unanswered", since="", detail="")
            parked = incident if timer is Timer.REASK else saga.saga.incident
            waiting = replace(saga.saga, timer=timer, due_at=saga.now, incident=parked)
            saga.decision = replace(saga.decision, saga=waiting)
        return saga.told(Event(signal, ORDER_ID, deadline=Deadline.of(saga.saga)))
    return saga.cancelled_over_http() if signal is G.CANCEL else saga.operator(signal)


def test_there_is_a_cell_for_every_position_and_signal() -> None:
    assert len(list(cells())) == len(Position) * len(Signal)


def test_a_missing_cell_is_found_when_the_table_is_made() -> None:
    with pytest.raises(LookupError, match="VALIDATING has no cell for"):
        _complete({})


def test_a_cell_that_is_written_twice_is_found_when_the_table_is_made() -> None:
    row: dict[tuple[Signal, ...], Cell] = {tuple(Signal): Ignore("once"), (G.CANCEL,): Ignore("twice")}
    with pytest.raises(LookupError, match="two cells"):
        _complete(dict.fromkeys(Position, row))


@of(Go)
def test_a_move_writes_one_entry_and_sends_what_the_position_entered_sends(
    here: Position, signal: Signal, cell: Go
) -> None:
    saga = standing_at(here)
    before = saga.saga
    happens(saga, signal)
    conflict = cell.status is EntryStatus.CONFLICT
    assert saga.decision.outcome is (Outcome.CONFLICT if conflict else Outcome.APPLIED)
    assert saga.saga.position is cell.to
    assert sum(entry.get("count", 1) for entry in saga.saga.history) == len(before.history) + 1
    assert saga.last["status"] == cell.status
    assert saga.last["message"].startswith(cell.say)
    assert [send.kind for send in saga.decision.sends] == list(_sent_on_entering(before.position, cell.to))
    if command := cell.to.open_command:
        assert saga.decision.sends[-1].attempt == before.sent.get(command, 0) + 1
        assert saga.saga.timer is Timer.REPLY
        assert saga.saga.due_at == saga.now + PATIENT.step_timeout
    if cell.incident:
        saga.expect_incident(cell.incident)


def _sent_on_entering(here: Position, to: Position) -> Iterator[str]:
    if to.ended and not here.ended:
        yield OrderEvent.ORDER_COMPLETED if to is P.COMPLETED else OrderEvent.ORDER_FAILED
    if to.open_command:
        yield to.open_command


@pytest.mark.parametrize(
    "signal", [signal for here, signal, cell in cells() if here is P.RESERVING and getattr(cell, "if_cancelled", None)]
)
def test_where_the_client_cancelled_a_move_leads_to_the_undo(signal: Signal) -> None:
    saga = standing_at(P.RESERVING).cancelled_over_http()
    happens(saga, signal).expect(P.RELEASING, sends=("ReleaseInventory",))


@pytest.mark.parametrize("signal", [G.PAYMENT_REFUNDED, G.OPERATOR_SUCCEEDED])
@pytest.mark.parametrize("ended", [P.FAILED, P.COMPENSATED])
def test_a_refund_of_an_ended_saga_is_followed_by_the_release_that_is_owed(ended: Position, signal: Signal) -> None:
    saga = standing_at(ended).hears("InventoryReserved").hears("PaymentProcessed")
    releasing = P.FAILED_RELEASING if ended is P.FAILED else P.COMPENSATED_RELEASING
    happens(saga, signal).expect(releasing, sends=("ReleaseInventory",))
    saga.hears("InventoryReleased").expect(ended)


@of(Retry)
def test_a_failed_attempt_is_sent_again_later_and_parked_when_no_sends_are_left(
    here: Position, signal: Signal, cell: Retry
) -> None:
    saga = standing_at(here)
    attempt = saga.saga.attempt
    happens(saga, signal).expect(here)
    assert saga.last["status"] == (EntryStatus.TIMED_OUT if signal is G.TIMED_OUT else EntryStatus.FAILED)
    if attempt <= PATIENT.retry_attempts:
        assert saga.saga.timer is Timer.RETRY
    command = here.open_command
    while not saga.saga.parked:
        saga.waits()
    saga.expect(here, sends=(f"{command} to the dead letters",))
    late = here in (P.FAILED_REFUNDING, P.COMPENSATED_REFUNDING)
    saga.expect_incident(IncidentKind.LATE_PAYMENT if late else cell.park)


@of(SendAgain)
def test_asking_again_sends_the_open_command_with_the_next_attempt(
    here: Position, signal: Signal, cell: SendAgain
) -> None:
    saga = standing_at(here)
    attempt = saga.saga.attempt
    happens(saga, signal).expect(here, sends=(str(here.open_command),))
    assert saga.decision.sends[0].attempt == attempt + 1 == saga.saga.attempt
    assert saga.last["status"] == cell.status
    assert saga.last["message"].startswith(cell.say)
    wait = PATIENT.reask if signal is G.REASK_DUE else PATIENT.step_timeout
    assert wait is not None
    assert saga.saga.due_at == saga.now + wait


@of(Note)
def test_a_cancellation_is_kept_in_mind_while_the_reply_is_in_flight(
    here: Position, signal: Signal, cell: Note
) -> None:
    saga = standing_at(here)
    timer = saga.saga.timer, saga.saga.due_at
    happens(saga, signal).expect(here)
    assert saga.saga.cancel_requested
    assert (saga.saga.timer, saga.saga.due_at) == timer
    assert saga.last["status"] == EntryStatus.CANCELLED


@of(Conflict)
def test_a_second_and_different_answer_is_shown_to_a_person_and_any_other_is_ignored(
    here: Position, signal: Signal, cell: Conflict
) -> None:
    saga = standing_at(here)
    heard = {entry["event"] for entry in saga.saga.history}
    reply = REPLY_MODELS[signal]
    opposite = next(s for s, one in REPLY_MODELS.items() if one.answers == reply.answers and one is not reply)
    before = saga.saga.incident
    happens(saga, signal)
    if opposite in heard and not cell.vouched:
        saga.expect(here, outcome=Outcome.CONFLICT)
        saga.expect_incident(before["kind"] if before else IncidentKind.CONTRADICTION)
        assert saga.last["status"] == EntryStatus.CONFLICT
    else:
        saga.expect(here, outcome=Outcome.IGNORED)
        assert cell.otherwise in saga.last["message"]


@of(Ignore)
def test_what_is_ignored_leaves_a_trace_when_it_was_a_message_and_changes_nothing_else(
    here: Position, signal: Signal, cell: Ignore
) -> None:
    saga = standing_at(here)
    before = len(saga.saga.history)
    happens(saga, signal).expect(here, outcome=Outcome.IGNORED)
    message = signal in REPLY_MODELS or signal is G.TRANSIENT_FAILURE
    assert len(saga.saga.history) == before + message
    if signal in REPLY_MODELS:
        assert saga.last["status"] == EntryStatus.IGNORED
        assert saga.last["message"] == f"{signal}: {cell.why}"


@of(Refuse)
def test_what_is_refused_is_told_why_and_changes_nothing(here: Position, signal: Signal, cell: Refuse) -> None:
    saga = standing_at(here)
    happens(saga, signal).expect(here, outcome=Outcome.REFUSED)
    assert saga.decision.why == cell.why


@of(Already)
def test_what_is_already_so_is_no_error_and_changes_nothing(here: Position, signal: Signal, cell: Already) -> None:
    saga = standing_at(here)
    happens(saga, signal).expect(here, outcome=Outcome.DUPLICATE)
    assert saga.decision.why == cell.why


@of(Acknowledge)
def test_a_person_closes_the_incident_of_a_saga_that_has_ended(
    here: Position, signal: Signal, cell: Acknowledge
) -> None:
    saga = standing_at(here)
    happens(saga, signal).expect(here, outcome=Outcome.REFUSED)
    assert saga.decision.why == cell.otherwise
    saga.hears("InventoryValidationFailed").expect_incident(IncidentKind.CONTRADICTION)
    happens(saga, signal).expect(here).expect_incident(None)
    assert saga.last["status"] == EntryStatus.RESOLVED
    assert saga.last["actor"] == "ann"


def test_every_kind_of_cell_is_tested_here() -> None:
    kinds = {Go, Retry, SendAgain, Note, Conflict, Ignore, Refuse, Already, Acknowledge}
    assert {type(cell) for _, _, cell in cells()} == kinds


@pytest.mark.parametrize("command", Command)
def test_every_command_has_one_position_of_the_main_road(command: Command) -> None:
    assert [p for p in Position if p.open_command is command and not p.ended]
