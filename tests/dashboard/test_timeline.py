"""How long a saga stood where, and what it sent there."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from handlers.dashboard.timeline import SCALE, bars, lines, stays
from models.states import Command, Position
from saga.domain import Event, Policy
from saga.insight.replay import way_taken
from tests.table.dialogue import standing_at
from tests.table.test_walks import POLICIES, STEPS, walked

P, C = Position, Command


def test_a_stay_lasts_from_a_command_to_the_answer_and_has_every_send() -> None:
    saga = standing_at(P.RESERVING, Policy(retry_attempts=1))
    begun = saga.saga.entered_at
    saga.waits_until_parked()
    again = saga.saga.history[-3]["timestamp"]
    saga.hears("InventoryReserved")
    validating, reserving, charging = stays(saga.saga, way_taken(saga.saga), saga.now + timedelta(seconds=7))
    assert [stay.command for stay in (validating, reserving, charging)] == list(C)[:3]
    assert reserving.sends[0] == validating.until == begun
    assert [time.isoformat() for time in reserving.sends[1:]] == [again.replace("Z", "+00:00")]
    assert (reserving.open, charging.open, charging.length) == (False, True, timedelta(seconds=7))


def test_a_refund_that_is_asked_again_since_it_was_paid_late_is_one_more_send() -> None:
    saga = standing_at(P.REFUNDING).hears("PaymentProcessed")
    refunding = stays(saga.saga, way_taken(saga.saga), saga.now)[-1]
    assert (refunding.command, len(refunding.sends)) == (C.REFUND_PAYMENT, 2)


def test_what_is_undone_after_the_end_is_a_stay_of_its_own() -> None:
    saga = standing_at(P.COMPENSATED)
    saga.now += timedelta(days=3)
    saga.hears("PaymentProcessed").hears("PaymentRefunded")
    stayed = stays(saga.saga, way_taken(saga.saga), saga.now + timedelta(days=1))
    assert [stay.command for stay in stayed][-2:] == [C.RELEASE_INVENTORY, C.REFUND_PAYMENT]
    assert stayed[-1].sends[0] - stayed[-2].until > timedelta(days=2)
    # the time line ends with it, and not today
    assert bars(saga.saga, stayed)[-1].x + bars(saga.saga, stayed)[-1].width >= SCALE


@given(POLICIES, st.lists(STEPS, max_size=30))
def test_whatever_happened_everything_is_within_the_time_line(policy: Policy, steps: list[str | Event]) -> None:
    dialogue = walked(policy, steps)
    saga = dialogue.saga
    stayed = stays(saga, way_taken(saga), dialogue.now)
    assert [stay.open for stay in stayed[:-1]] == [False] * (len(stayed) - 1)
    assert all(before.until <= after.sends[0] for before, after in pairwise(stayed))
    for bar in bars(saga, stayed):
        assert 0 <= bar.x <= bar.x + bar.width <= SCALE
        assert all(bar.x <= tick <= bar.x + bar.width for tick in bar.ticks)
    assert sum((line.gap for line in lines(saga)), timedelta()) == saga.updated_at - saga.created_at
