"""Timers on a real PostgreSQL: in its clock, once, on time, at any worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from saga import batch, store
from saga.decide import decide
from saga.domain import Decision, Event, Policy, Saga
from saga.engine import Engine
from saga.outbox.message import Envelope
from saga.runtime.database import connect, statements
from saga.table import TABLES
from saga.timers import BATCH, Timers
from saga.transitions import Signal
from tests.engine.conftest import Database, database, order_request, published, reply, running_engine
from tests.waiting import until

__all__ = ["database", "published"]

QUICK = Policy(
    step_timeout=timedelta(seconds=0.3),
    retry_attempts=2,
    retry_delay=timedelta(seconds=0.2),
    reask=timedelta(seconds=0.3),
)


@asynccontextmanager
async def worker(url: str, sent: list[Envelope], policy: Policy = QUICK) -> AsyncIterator[Engine]:
    """An engine with its timers."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(running_engine(url, sent, policy))
        pool = connect(url, connections=1, name="timers under test")
        stack.push_async_callback(pool.dispose)
        task = asyncio.create_task(Timers(statements(pool), engine, policy.reask).run())
        stack.push_async_callback(asyncio.wait, [task])
        stack.callback(task.cancel)
        yield engine


async def test_an_unanswered_command_is_sent_again_after_growing_delays_then_parked_and_asked_again(
    migrated: str, database: Database, published: list[Envelope]
) -> None:
    async with worker(migrated, published) as engine:
        accepted = await engine.create(order_request())

        async def asked_while_parked() -> bool:
            return bool(await database.value("SELECT 1 FROM order_sagas WHERE (sent->>'ValidateInventory')::int >= 5"))

        await until(asked_while_parked)
        await engine.advance(reply(Signal.INVENTORY_VALIDATED, accepted.order_id))
    [saga] = await database.rows("SELECT * FROM order_sagas")
    assert [entry["status"] for entry in saga["history"]] == [
        *("TimedOut", "Retrying", "TimedOut", "Retrying", "TimedOut", "Parked", "Retrying", "Completed")
    ]
    assert (saga["status"], saga["incident"]) == ("InProgress", None)

    asked = [one for one in published if one.routing_key == "domain.order.ValidateInventory"]
    copies = [one for one in asked if one.exchange == "order-service.dlx"]
    assert len({one.message_id for one in asked}) == 1
    assert len(copies) == 1, "one copy per parking, however often it is asked again"

    # 0.3 s for the reply, then 0.2 s and 0.4 s of backoff, each at most half a second late
    times = [datetime.fromisoformat(entry["timestamp"]) for entry in saga["history"][:5]]
    waits = [0.3, 0.2, 0.3, 0.4, 0.3]
    for begin, end, wait in zip([saga["created_at"], *times], times, waits, strict=False):
        assert wait <= (end - begin).total_seconds() <= wait * 1.1 + 0.75


async def test_many_overdue_sagas_are_fired_once_each_by_several_workers(
    migrated: str, database: Database, published: list[Envelope]
) -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    patient = Policy(step_timeout=hour, retry_delay=hour, saga_timeout=day)
    async with worker(migrated, published, patient) as one, worker(migrated, published, patient):
        await asyncio.gather(*(one.create(order_request()) for _ in range(300)))
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE order_sagas SET due_at = clock_timestamp() - interval '1 hour'")

        async def all_fired() -> bool:
            return bool(await database.value("SELECT count(*) = 300 FROM order_sagas WHERE timer = 'retry'"))

        await until(all_fired)
    assert await database.value("SELECT max(jsonb_array_length(history)) FROM order_sagas") == 1


async def test_what_has_gathered_comes_in_small_steps(migrated: str, published: list[Envelope]) -> None:
    soon = Policy(step_timeout=timedelta(0), retry_delay=timedelta(hours=1))
    async with running_engine(migrated, published, soon) as engine:
        await asyncio.gather(*(engine.create(order_request()) for _ in range(BATCH + 10)))
        assert [await engine.fire_due(BATCH), await engine.fire_due(BATCH), await engine.fire_due(BATCH)] == [
            BATCH,
            10,
            0,
        ]


async def test_a_reply_that_comes_first_leaves_nothing_to_fire(
    migrated: str, database: Database, published: list[Envelope]
) -> None:
    soon = Policy(step_timeout=timedelta(0))
    async with running_engine(migrated, published, soon) as engine:
        accepted = await engine.create(order_request())
        answer = engine.advance(reply(Signal.INVENTORY_VALIDATED, accepted.order_id))
        _, fired = await asyncio.gather(answer, engine.fire_due(BATCH))
        assert fired == 0
    [saga] = await database.rows("SELECT * FROM order_sagas")
    assert [entry["status"] for entry in saga["history"]] == ["Completed"]


@pytest.mark.parametrize("reask", [None, timedelta(seconds=0.1)])
async def test_a_parked_saga_is_asked_again_unless_that_is_switched_off(
    migrated: str, database: Database, published: list[Envelope], reask: timedelta | None
) -> None:
    policy = Policy(step_timeout=timedelta(0), retry_attempts=0, reask=reask)
    async with running_engine(migrated, published, policy) as engine:
        await engine.create(order_request())
        assert await engine.fire_due(1) == 1
        [saga] = await database.rows("SELECT * FROM order_sagas")
        assert (saga["timer"], saga["due_at"] is None) == ("reask", reask is None)
        assert saga["incident"]["kind"] == "validation_unanswered"


@pytest.mark.parametrize("refused_as", ["a mistake", "data"])
async def test_one_deadline_that_cannot_be_carried_out_stops_no_other(
    migrated: str, database: Database, published: list[Envelope], monkeypatch: pytest.MonkeyPatch, refused_as: str
) -> None:
    soon = Policy(step_timeout=timedelta(0), retry_delay=timedelta(seconds=100))
    async with running_engine(migrated, published, soon) as engine:
        culprit, *_ = [await engine.create(order_request()) for _ in range(5)]

        def bad(saga: Saga, event: Event, *more: Any) -> Decision:
            if saga.order_id != culprit.order_id:
                return decide(saga, event, *more)
            if refused_as == "data":
                decision = decide(saga, event, *more)
                return replace(decision, saga=replace(decision.saga, reason="a\x00b"))
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(batch, "decide", bad)
            assert await engine.fire_due(BATCH) == 4
            # it is the longest overdue, and is passed over
            assert await engine.fire_due(BATCH) == 0
        assert await database.value("SELECT count(*) FROM order_sagas WHERE timer = 'retry'") == 4
        engine._passed_over[culprit.order_id] = 0.0
        assert await engine.fire_due(BATCH) == 1


async def test_a_deadline_of_another_releases_table_is_left_to_it(
    migrated: str, database: Database, published: list[Envelope]
) -> None:
    soon = Policy(step_timeout=timedelta(0))
    async with running_engine(migrated, published, soon) as engine:
        await engine.create(order_request())
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE order_sagas SET table_version = 99")
        assert await engine.fire_due(BATCH) == 0
        async with engine._sessions() as session:
            assert await store.until_next_deadline(session, TABLES) is None
            assert await store.until_next_deadline(session, [99]) is not None


async def test_a_saga_that_was_parked_while_asking_again_was_switched_off_is_asked_again_when_it_is_on(
    migrated: str, database: Database, published: list[Envelope]
) -> None:
    never = Policy(step_timeout=timedelta(0), retry_attempts=0, reask=None)
    async with running_engine(migrated, published, never) as engine:
        await engine.create(order_request())
        assert await engine.fire_due(1) == 1
    assert await database.value("SELECT count(*) FROM order_sagas WHERE due_at IS NULL AND timer = 'reask'") == 1

    async def asked() -> bool:
        return bool(await database.value("SELECT 1 FROM order_sagas WHERE (sent->>'ValidateInventory')::int >= 2"))

    async with worker(migrated, published, replace(never, reask=timedelta(seconds=0.1))):
        await until(asked)


async def test_the_undo_of_a_saga_that_has_ended_keeps_its_table_in_use(
    migrated: str, database: Database, published: list[Envelope]
) -> None:
    never = Policy(step_timeout=timedelta(0), retry_attempts=0, reask=None)
    async with running_engine(migrated, published, never) as engine:
        undoing, ended = await engine.create(order_request()), await engine.create(order_request())
        for accepted in (undoing, ended):
            await engine.advance(reply(Signal.INVENTORY_VALIDATION_FAILED, accepted.order_id))
        await engine.advance(reply(Signal.INVENTORY_RESERVED, undoing.order_id))
        assert await engine.fire_due(BATCH) == 1
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE order_sagas SET table_version = 7 WHERE due_at IS NULL")
            await connection.exec_driver_sql("UPDATE order_sagas SET table_version = 8 WHERE open_command IS NULL")
        async with engine._sessions() as session:
            assert await store.table_versions_in_use(session) == {7}
