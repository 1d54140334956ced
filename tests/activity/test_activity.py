"""The last minutes of all workers together, on PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import text

from saga.domain import Outcome, Saga
from saga.runtime.database import Sessions, connect, statements
from saga.telemetry.activity import ACTIVITY, Activity, Recorder, last_minutes
from saga.telemetry.applied_events import Move
from saga.transitions import Signal
from tests.table.dialogue import Dialogue


@pytest.fixture(autouse=True)
def nothing_happened() -> None:
    ACTIVITY.take()


@pytest.fixture
async def sessions(migrated: str) -> AsyncIterator[Sessions]:
    engine = connect(migrated, connections=1, name="tests")
    yield statements(engine)
    await engine.dispose()


def moves(*signals: Signal, lasts: float = 0.0) -> list[Move]:
    """All that committed a saga that was told this."""
    saga = Dialogue()
    told: list[Move] = [_move("CreateOrder", None, saga.saga)]
    for signal in signals:
        before = saga.saga
        # the dialogue lets a millisecond pass by itself
        saga.now += timedelta(seconds=lasts / len(signals), milliseconds=-1)
        saga.hears(signal)
        told.append(_move(signal, before, saga.saga))
    return told


def _move(signal: str, before: Saga | None, after: Saga) -> Move:
    return Move(signal, Outcome.APPLIED, before, after, "")


HAPPY = (Signal.INVENTORY_VALIDATED, Signal.INVENTORY_RESERVED, Signal.PAYMENT_PROCESSED)
FAILED = (Signal.INVENTORY_VALIDATION_FAILED,)
UNDONE = (*HAPPY[:2], Signal.PAYMENT_FAILED, Signal.INVENTORY_RELEASED)


def test_what_began_and_what_ended_is_counted_with_how_long_it_took() -> None:
    activity = Activity()
    for signals, lasts in ((HAPPY, 2.0), (HAPPY, 4.0), (FAILED, 1.0), (UNDONE, 3.0), (HAPPY[:2], 100.0)):
        activity.add(moves(*signals, lasts=lasts))
    assert (activity.started, activity.completed, activity.failed, activity.compensated) == (5, 2, 1, 1)
    assert (activity.ended, round(activity.seconds, 3), round(activity.slowest, 3)) == (4, 10.0, 4.0)


async def test_workers_add_up_in_the_minute_in_which_they_note(sessions: Sessions) -> None:
    one, other = Recorder(sessions), Recorder(sessions)
    for recorder, lasts in ((one, 2.0), (other, 5.0), (one, 3.0)):
        ACTIVITY.add(moves(*HAPPY, lasts=lasts))
        await recorder.note()
    # nothing new: nothing is written
    await one.note()
    async with sessions() as session:
        minutes = await last_minutes(session, 30)
        rows = (await session.execute(text("SELECT count(DISTINCT worker) FROM activity"))).scalar_one()
    assert len(minutes) == 30
    assert {later[0] - sooner[0] for sooner, later in pairwise(minutes)} == {timedelta(minutes=1)}
    # the minute may have changed meanwhile
    whole = [activity for _, activity in minutes[-2:]]
    assert (sum(one.started for one in whole), sum(one.completed for one in whole)) == (3, 3)
    assert sum(one.seconds for one in whole) == pytest.approx(10)
    assert max(one.slowest for one in whole) == pytest.approx(5)
    assert rows == 2


async def test_what_cannot_be_noted_is_noted_later(sessions: Sessions) -> None:
    away = connect("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", connections=1, name="tests")
    ACTIVITY.add(moves(*HAPPY, lasts=2.0))
    await Recorder(statements(away)).note()
    ACTIVITY.add(moves(*HAPPY, lasts=1.0))
    await Recorder(sessions).note()
    await away.dispose()
    async with sessions() as session:
        [row] = (await session.execute(text("SELECT started, seconds, slowest FROM activity"))).all()
    assert (row.started, row.seconds, row.slowest) == (2, pytest.approx(3), pytest.approx(2))


async def test_what_is_old_is_forgotten(sessions: Sessions) -> None:
    recorder = Recorder(sessions)
    ACTIVITY.add(moves(*FAILED))
    await recorder.note()
    async with sessions() as session:
        await session.execute(text("UPDATE activity SET begin = begin - interval '2 hours'"))
    ACTIVITY.add(moves(*FAILED))
    await Recorder(sessions).note()
    async with sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM activity"))).scalar_one() == 1
        assert sum(activity.failed for _, activity in await last_minutes(session, 200)) == 1
