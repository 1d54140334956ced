"""The way that is found in a history is the way that was gone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.states import Position
from saga.domain import Event, Policy, Saga
from saga.insight.diagram import edges
from saga.insight.replay import way_taken
from saga.table import FORWARD_STEPS
from saga.transitions import REPLY_MODELS, Signal
from tests.table.dialogue import ROADS, Dialogue, standing_at
from tests.table.test_walks import POLICIES, STEPS, take

P, G = Position, Signal
Way = list[tuple[Position, Position]]
LATE = st.sampled_from([*REPLY_MODELS]).map(lambda signal: signal.value)
"""Replies whenever it may be, so that what is undone is undone again."""


def walk(policy: Policy, road: Position, steps: list[str | Event]) -> tuple[Saga, Way, list[int]]:
    """A saga that came to a position and was told all this, its moves to other positions, and the entries of these."""
    saga = Dialogue(policy)
    gone: Way = []
    told: list[int] = []
    for step in [*ROADS[road], *steps]:
        here = saga.saga.position
        if step is G.OPERATOR_COMPENSATE:
            saga.operator(step)
        elif step in REPLY_MODELS:
            saga.hears(str(step))
        else:
            take(saga, step)
        if saga.saga.position is not here:
            gone.append((here, saga.saga.position))
            told.append(len(saga.saga.history) - 1)
    return saga.saga, gone, told


def found(saga: Saga) -> Way:
    return [(move.here, move.to) for move in way_taken(saga) if move.here is not move.to]


def forward(way: Way) -> Way:
    return [(here, to) for here, to in way if here.open_command in FORWARD_STEPS]


@given(POLICIES, st.sampled_from(Position), st.lists(STEPS | LATE, max_size=30))
def test_the_way_found_is_the_way_gone(policy: Policy, road: Position, steps: list[str | Event]) -> None:
    saga, gone, told = walk(policy, road, steps)
    if all(entry.get("count", 1) == 1 for entry in saga.history):
        assert found(saga) == gone
        assert [move.entry for move in way_taken(saga) if move.here is not move.to] == told
        return
    # what happened more than once is told once: some way that may have been gone, and no other end
    way = found(saga)
    assert forward(way) == forward(gone)
    assert set(way) <= edges().keys()
    assert [here for here, _ in way[1:]] == [to for _, to in way[:-1]]
    assert (way[-1][1] if way else P.VALIDATING) is saga.position


REPEATED = {
    "paid twice on the way back": (
        standing_at(P.RELEASING).hears("PaymentProcessed").hears("PaymentRefunded").hears("PaymentProcessed")
        .hears("PaymentRefunded").hears("InventoryReleased"),
        # the first time is not told apart from the second
        "refunding releasing compensated",
    ),
    "paid twice, and refunded once so far": (
        standing_at(P.RELEASING).hears("PaymentProcessed").hears("PaymentRefunded").hears("PaymentProcessed"),
        "refunding releasing refunding",
    ),
    "released twice, the first time as it ended": (
        standing_at(P.COMPENSATED).hears("PaymentProcessed").hears("PaymentRefunded").hears("InventoryReserved")
        .hears("InventoryReleased"),
        "compensated compensated_refunding compensated compensated_releasing compensated",
    ),
    "reserved late twice, and owed at the first refund": (
        standing_at(P.FAILED).hears("PaymentProcessed").hears("InventoryReserved").hears("PaymentRefunded")
        .hears("InventoryReleased").hears("PaymentProcessed").hears("InventoryReserved"),
        "failed_refunding failed_releasing failed failed_refunding",
    ),
    "refunded on the way back and after the end": (
        standing_at(P.RELEASING).hears("PaymentProcessed").hears("PaymentRefunded").hears("InventoryReleased")
        .hears("PaymentProcessed").hears("PaymentRefunded"),
        "compensated compensated_refunding compensated",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("dialogue", "ways"), REPEATED.values(), ids=REPEATED)
def test_what_happened_twice_is_found_as_far_as_it_is_told(dialogue: Dialogue, ways: str) -> None:
    saga = dialogue.saga
    assert max(entry.get("count", 1) for entry in saga.history) == 2
    assert " ".join(to.name for here, to in found(saga) if here not in (P.VALIDATING, P.RESERVING, P.CHARGING)) == (
        ways.upper()
    )


@pytest.mark.parametrize("reply", ["InventoryReserved", "timeout"])
def test_a_cancellation_that_waits_for_the_reply_turns_the_saga_when_it_comes(reply: str) -> None:
    saga = standing_at(P.RESERVING).cancelled_over_http()
    assert found(saga.saga)[1:] == []
    saga = saga.waits() if reply == "timeout" else saga.hears(reply)
    assert found(saga.saga)[1:] == [(P.RESERVING, P.RELEASING)]
    answer = len(saga.saga.history) - 1
    assert [move.entry for move in way_taken(saga.waits().saga) if move.to is P.RELEASING] == [answer, answer + 1]


def test_a_release_that_is_owed_follows_the_late_refund() -> None:
    saga = standing_at(P.COMPENSATED).hears("PaymentProcessed").hears("InventoryReserved").hears("PaymentRefunded")
    assert [to for _, to in found(saga.saga)[-2:]] == [P.COMPENSATED_REFUNDING, P.COMPENSATED_RELEASING]


def test_what_was_asked_for_again_is_a_way_back_to_itself() -> None:
    saga = standing_at(P.RESERVING, Policy(retry_attempts=1)).waits_until_parked().hears("InventoryReserved").saga
    own = [move for move in way_taken(saga) if move.here is move.to]
    # parking is no way to anywhere
    assert [(move.here, saga.history[move.entry]["status"]) for move in own if move.entry is not None] == [
        (P.RESERVING, "TimedOut"),
        (P.RESERVING, "Retrying"),
        (P.RESERVING, "TimedOut"),
    ]


@pytest.mark.parametrize(("timer_runs", "position"), [(False, P.RESERVING), (True, P.RELEASING)])
def test_a_cancellation_is_told_by_where_it_led(timer_runs: bool, position: Position) -> None:
    saga = standing_at(P.RESERVING)
    if timer_runs:
        # no reply is in flight any more: it need not be waited for
        saga.waits()
    saga.cancelled_over_http()
    assert saga.saga.position is position
    assert found(saga.saga)[1:] == ([(P.RESERVING, P.RELEASING)] if timer_runs else [])


def test_of_another_releases_saga_and_of_a_broken_history_nothing_is_made_up() -> None:
    saga = standing_at(P.CHARGING).saga
    assert way_taken(replace(saga, table_version=99)) == []
    assert way_taken(replace(saga, history=saga.history[1:])) == []
