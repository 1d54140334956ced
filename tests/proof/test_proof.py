"""The proof in short; `python -m tests.proof` has the whole table."""

from itertools import count
from random import Random
from uuid import uuid5

import pytest

from saga import decide as deciding
from saga.domain import Event, Saga, when_due
from saga.table import VERSION
from saga.transitions import REPLY_MODELS, Signal
from tests.proof.mistakes import MISTAKES, Mistake
from tests.proof.participants import ACTS, FAILURE, SUCCESS
from tests.proof.search import (
    DUE,
    IDS,
    LOSSY,
    ORDER_ID,
    SAGA_ID,
    SHORT,
    START,
    Search,
    World,
    essence,
    facts_of,
    key_of,
)
from tests.proof.simulation import simulate

PEOPLE = [
    Event(signal, ORDER_ID, actor="ann", words="so I say")
    for signal in (Signal.CANCEL, Signal.OPERATOR_RETRY, Signal.OPERATOR_COMPENSATE)
]
SOME, ENOUGH = 5_000, 30_000
"""States of a world: in the gate, and at length."""
RUNS, MANY_RUNS = 5, 200


@pytest.mark.parametrize("world", SHORT, ids=lambda world: world.name)
def test_nothing_is_broken(world: World, at_length: bool) -> None:
    states = ENOUGH if at_length else SOME
    # there every step has many more that may follow
    found = Search(world).run(states // 10 if world.contradicts else states)
    assert not found.broken, found


def test_runs_of_the_real_engine_end_well(seed: int, at_length: bool) -> None:
    seeds = range(seed, seed + (MANY_RUNS if at_length else RUNS))
    assert {one: broken for one in seeds if (broken := simulate(one).broken)} == {}


def test_the_same_seed_gives_the_same_run() -> None:
    assert simulate(7).story == simulate(7).story


@pytest.mark.long
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_planted_mistake_is_found(mistake: Mistake, seed: int) -> None:
    with mistake.plant():
        if mistake.found_by:
            found = Search(mistake.found_by).run(ENOUGH)
            assert found.broken, f"not found: {found}"
            assert found.broken.startswith(mistake.law), found
            assert found.trace
        else:
            broken = next(run.broken for one in count(seed) if (run := simulate(one)).broken or one == seed + RUNS)
            assert any(mistake.law in law for law in broken), broken


def test_sagas_that_are_the_same_to_the_search_decide_alike() -> None:
    """Walk at random, with the saga as it is and with whatever saga the search would take for the same."""
    random, policy = Random(1), LOSSY.policy
    same: dict[tuple[object, ...], Saga] = {}
    for _ in range(200):
        hiccup = _reply(random.choice(list(FAILURE.values())), retryable=random.random() < 0.5, name="hiccup")
        replies = [*map(_reply, (*SUCCESS.values(), *(FAILURE[command] for command in ACTS))), hiccup]
        saga, now = deciding.begin(SAGA_ID, ORDER_ID, START, policy, VERSION).saga, START
        for _ in range(25):
            alike = same.setdefault(key_of(essence(saga, policy), facts_of(saga.history)), essence(saga, policy))
            assert key_of(essence(saga, policy), facts_of(saga.history)) == key_of(alike, facts_of(alike.history))
            event = when_due(saga)
            if event is None or random.random() < 0.7:
                event, alike_event, then = (one := random.choice(replies + PEOPLE)), one, START
            else:
                expiry = when_due(alike)
                assert expiry is not None
                assert saga.due_at is not None
                alike_event, now, then = expiry, max(now, saga.due_at), DUE
            first, second = (
                deciding.decide(saga, event, now, policy),
                deciding.decide(alike, alike_event, then, policy),
            )
            assert [(one.kind, one.dead_letter) for one in first.sends] == [
                (one.kind, one.dead_letter) for one in second.sends
            ]
            saga, alike = first.saga, essence(second.saga, policy)
            assert key_of(essence(saga, policy), facts_of(saga.history)) == key_of(alike, facts_of(second.saga.history))
    assert len(same) > 250


def _reply(signal: Signal, *, retryable: bool = False, name: str = "") -> Event:
    command = REPLY_MODELS[signal].answers
    return Event(signal, ORDER_ID, uuid5(SAGA_ID, signal + name), IDS[command], retryable)
