"""What people can do at every position, and that it is what comes of it when they do."""

from dataclasses import replace

import pytest

from models.states import Command, OrderEvent, Position
from saga.domain import Outcome, Policy, Send
from saga.insight.options import choices
from saga.transitions import WISHES, Signal
from tests.table.dialogue import PATIENT, Dialogue, standing_at
from tests.table.test_cells import happens

P, G = Position, Signal

CHOICES = """
                            CancelOrder retry resolve succeeded resolve failed compensate
VALIDATING                  failed      again reserving         failed         failed
RESERVING                   noted       again charging          failed         releasing
CHARGING                    .           again completed         releasing      refunding
REFUNDING                   .           again releasing         .              .
RELEASING                   .           again compensated       .              .
COMPLETED                   .           .     .                 .              .
FAILED                      .           .     .                 .              .
COMPENSATED                 .           .     .                 .              .
FAILED_REFUNDING            .           again failed            .              .
FAILED_RELEASING            .           again failed            .              .
COMPENSATED_REFUNDING       .           again compensated       .              .
COMPENSATED_RELEASING       .           again compensated       .              .
"""
"""Written by hand: where a wish leads, `again` the open command is sent once more, `.` it is not possible."""
_WHERE = {
    name: dict(zip(WISHES, words, strict=True)) for name, *words in map(str.split, CHOICES.strip().splitlines()[1:])
}


@pytest.mark.parametrize("here", Position)
@pytest.mark.parametrize("wish", WISHES)
def test_what_is_told_is_what_is_possible(here: Position, wish: Signal) -> None:
    saga = standing_at(here).saga
    choice, word = choices(saga, PATIENT)[wish], _WHERE[here.name][wish]
    assert choice.possible == (word != ".")
    assert choice.why
    if word == ".":
        assert (choice.after, choice.sends) == (saga, ())
    elif word == "again":
        command = here.open_command
        assert command
        assert choice.after.position is here
        assert choice.sends == (Send(command, saga.attempt + 1),)
    else:
        assert choice.after.position is (here if word == "noted" else P[word.upper()])


@pytest.mark.parametrize("parked", [False, True])
@pytest.mark.parametrize("here", Position)
@pytest.mark.parametrize("wish", WISHES)
def test_what_is_told_is_what_comes_of_it(here: Position, wish: Signal, parked: bool) -> None:
    saga = standing_at(here)
    if parked and here.open_command:
        saga.waits_until_parked()
    choice = choices(saga.saga, PATIENT)[wish]
    happens(saga, wish)
    assert choice.possible == (saga.decision.outcome is Outcome.APPLIED)
    assert choice.sends == saga.decision.sends
    assert (choice.after.position, choice.after.incident) == (saga.saga.position, saga.saga.incident)
    assert choice.after.sent == saga.saga.sent


def test_a_payment_that_is_given_up_is_refunded_first() -> None:
    choice = choices(standing_at(P.CHARGING).saga, PATIENT)[G.OPERATOR_COMPENSATE]
    assert choice.sends == (Send(Command.REFUND_PAYMENT, 1),)
    assert choice.why == "Given up by an operator; it may have been charged"


def test_what_ends_an_order_tells_everybody() -> None:
    choice = choices(standing_at(P.VALIDATING).saga, PATIENT)[G.CANCEL]
    assert choice.sends == (Send(OrderEvent.ORDER_FAILED),)


def test_what_was_cancelled_cannot_be_cancelled_again() -> None:
    saga = standing_at(P.RESERVING).cancelled_over_http()
    choice = choices(saga.saga, PATIENT)[G.CANCEL]
    assert (choice.possible, choice.why) == (False, "it has been asked for already")


def test_the_incident_of_what_has_ended_can_be_closed() -> None:
    saga = standing_at(P.COMPLETED).hears(G.PAYMENT_FAILED)
    assert saga.saga.incident
    choice = choices(saga.saga, PATIENT)[G.OPERATOR_SUCCEEDED]
    assert (choice.possible, choice.after.incident, choice.sends) == (True, None, ())


def test_of_another_releases_table_nothing_is_possible() -> None:
    saga = replace(Dialogue().saga, table_version=99)
    for choice in choices(saga, Policy()).values():
        assert (choice.possible, choice.why) == (False, "another release has to do it")
