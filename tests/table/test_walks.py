"""Random walks: in whatever order things happen, what must always hold does; `Dialogue` checks it at every step."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from models.states import Command, Position, Timer
from saga.domain import Deadline, Event, Policy, message_id
from saga.transitions import REPLY_MODELS, WHEN_DUE, Signal
from tests.table.dialogue import ORDER_ID, SAGA_ID, Dialogue

G = Signal
POLICIES = st.builds(
    Policy,
    retry_attempts=st.integers(0, 3),
    reask=st.sampled_from([None, timedelta(seconds=300)]),
    saga_timeout=st.sampled_from([timedelta(seconds=60), timedelta(days=1)]),
)
IDS = st.integers(1, 6).map(lambda number: UUID(int=number))
WORDS = st.sampled_from([None, "because", "x" * 2000])
CAUSES = st.sampled_from([None, None, *(message_id(SAGA_ID, command) for command in Command)])
FAILURES = [signal for signal, reply in REPLY_MODELS.items() if not reply.success]

REPLIES = st.builds(
    Event, st.sampled_from(list(REPLY_MODELS)), st.just(ORDER_ID), event_id=IDS, causation_id=CAUSES, words=WORDS
)
TRANSIENT = st.builds(
    Event, st.sampled_from(FAILURES), st.just(ORDER_ID), event_id=IDS, words=WORDS, retryable=st.just(True)
)
PEOPLE = st.builds(
    Event,
    st.sampled_from([G.OPERATOR_RETRY, G.OPERATOR_SUCCEEDED, G.OPERATOR_FAILED, G.OPERATOR_COMPENSATE]),
    st.just(ORDER_ID),
    actor=st.just("ann"),
    words=WORDS,
)
CANCELS = st.builds(Event, st.just(G.CANCEL), st.just(ORDER_ID), event_id=st.none() | IDS, words=WORDS)
STALE = st.builds(
    lambda command, timer, attempt: Event(WHEN_DUE[timer], ORDER_ID, deadline=Deadline(command, timer, attempt)),
    st.sampled_from(Command),
    st.sampled_from(Timer),
    st.integers(1, 3),
)
ANSWERS, SILENCE = "the open command succeeds", "nothing comes"
"""What moves a saga on, made likely enough that walks come far."""
STEPS = st.sampled_from([ANSWERS, SILENCE, SILENCE]) | REPLIES | TRANSIENT | PEOPLE | CANCELS | STALE


def take(saga: Dialogue, step: str | Event) -> None:
    command = saga.saga.position.open_command
    if isinstance(step, Event):
        saga.told(step)
    elif step == SILENCE:
        if saga.saga.due_at:
            saga.waits()
    elif command:
        saga.hears(next(s for s, reply in REPLY_MODELS.items() if reply.answers is command and reply.success))


def walked(policy: Policy, steps: list[str | Event]) -> Dialogue:
    """A saga to which all this has happened."""
    saga = Dialogue(policy)
    for step in steps:
        take(saga, step)
    return saga


@given(POLICIES, st.lists(STEPS, max_size=60))
def test_nothing_that_must_hold_is_broken_by_any_walk(policy: Policy, steps: list[str | Event]) -> None:
    walked(policy, steps)


@given(POLICIES, st.lists(STEPS, max_size=40))
def test_once_participants_answer_every_walk_ends(policy: Policy, steps: list[str | Event]) -> None:
    saga = walked(policy, steps)
    for _ in range(6):
        take(saga, ANSWERS)
    assert saga.saga.position in (Position.COMPLETED, Position.FAILED, Position.COMPENSATED)


@given(POLICIES, st.lists(STEPS, max_size=40))
def test_every_message_may_come_twice(policy: Policy, steps: list[str | Event]) -> None:
    """The second copy moves nothing but the repeated success of a command that is open again."""
    saga = Dialogue(policy)
    for step in steps:
        take(saga, step)
        if not isinstance(step, Event) or step.event_id is None:
            continue
        after = saga.saga
        saga.told(step)
        reply = REPLY_MODELS.get(step.signal)
        if reply and reply.success and reply.answers is after.position.open_command:
            continue
        assert replace(saga.saga, history=[], updated_at=after.updated_at) == replace(after, history=[])
        assert not saga.decision.sends
