"""The engine on a real PostgreSQL: group commit, order, identity, and events that the database refuses."""

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from asyncpg.exceptions import LockNotAvailableError
from sqlalchemy.exc import DBAPIError

from models.states import Position
from saga import store
from saga.arrivals import Accepted
from saga.domain import Decision, Outcome
from saga.engine import MAX_BATCH, Engine
from saga.errors import DifferentContentError, RefusedByDatabaseError, UnknownOrderError, UnknownTableError
from saga.outbox.message import Envelope
from saga.transitions import Signal
from tests.engine.conftest import Database, order_request, reply, running_engine

HAPPY = (Signal.INVENTORY_VALIDATED, Signal.INVENTORY_RESERVED, Signal.PAYMENT_PROCESSED)


async def test_order_saga_identity_and_first_messages_are_committed_together(
    engine: Engine, database: Database, published: list[Envelope], statements: list[str]
) -> None:
    request = order_request("1299.99", 2)
    accepted = await engine.create(request)

    assert statements.count("COMMIT") == 1
    [order] = await database.rows("SELECT * FROM orders")
    assert (order["id"], order["user_id"], order["status"]) == (accepted.order_id, request.user_id, "Pending")
    assert (order["items"], order["total_amount"]) == (request.items, Decimal("2599.98"))
    [saga] = await database.rows("SELECT * FROM order_sagas")
    assert (saga["id"], saga["order_id"], saga["status"]) == (accepted.saga_id, accepted.order_id, "Started")
    assert (saga["timer"], saga["sent"]) == ("reply", {"ValidateInventory": 1})
    [identity] = await database.rows("SELECT * FROM request_identities")
    assert (identity["key"], identity["order_id"]) == (request.identity, accepted.order_id)
    rows = await database.rows("SELECT id, routing_key FROM outbox")
    assert {row["id"] for row in rows} == {envelope.id for envelope in published}
    assert sorted(row["routing_key"] for row in rows) == ["domain.order.OrderCreated", "domain.order.ValidateInventory"]


async def test_what_arrives_together_goes_into_one_transaction_with_one_write_per_table(
    engine: Engine, database: Database, statements: list[str]
) -> None:
    accepted = await asyncio.gather(*(engine.create(order_request()) for _ in range(50)))
    assert statements.count("COMMIT") == 1
    statements.clear()

    await asyncio.gather(*(engine.advance(reply(Signal.INVENTORY_VALIDATED, one.order_id)) for one in accepted))
    assert [sql.split()[0] for sql in statements] == ["SELECT", "UPDATE", "INSERT", "COMMIT"]
    assert await database.value("SELECT count(*) FROM order_sagas WHERE current_step = 'ReserveInventory'") == 50


async def test_a_batch_has_a_largest_size(engine: Engine, statements: list[str]) -> None:
    await asyncio.gather(*(engine.create(order_request()) for _ in range(MAX_BATCH + 1)))
    assert statements.count("COMMIT") == 2


async def test_events_of_one_saga_that_arrive_together_are_applied_in_their_order(
    engine: Engine, database: Database, published: list[Envelope], statements: list[str]
) -> None:
    accepted = await engine.create(order_request())
    statements.clear()
    await asyncio.gather(*(engine.advance(reply(signal, accepted.order_id)) for signal in HAPPY))

    assert statements.count("COMMIT") == 1
    [saga] = await database.rows("SELECT * FROM order_sagas")
    assert (saga["status"], saga["due_at"], saga["open_command"]) == ("Completed", None, None)
    assert [entry["message"] for entry in saga["history"]] == [
        "Inventory validated",
        "Inventory reserved",
        "Payment processed",
    ]
    assert await database.value("SELECT status FROM orders") == "Confirmed"
    assert [envelope.routing_key.removeprefix("domain.order.") for envelope in published] == [
        "OrderCreated",
        "ValidateInventory",
        "ReserveInventory",
        "ProcessPayment",
        "OrderCompleted",
    ]


async def test_an_order_and_its_first_events_may_arrive_together(engine: Engine, database: Database) -> None:
    request = order_request(chosen=True)
    await asyncio.gather(
        engine.create(request),
        engine.advance(reply(Signal.CANCEL, request.order_id, words="changed my mind")),
    )
    [row] = await database.rows(
        "SELECT o.status AS order_status, s.status, s.history FROM orders o JOIN order_sagas s ON s.order_id = o.id"
    )
    assert (row["order_status"], row["status"]) == ("Failed", "Failed")
    assert row["history"][0]["status"] == "Cancelled"


async def test_one_event_that_postgresql_refuses_does_not_sink_its_neighbours(
    engine: Engine, database: Database
) -> None:
    accepted = await asyncio.gather(*(engine.create(order_request()) for _ in range(5)))
    words = [None, None, "a\x00b", None, None]
    answers = await asyncio.gather(
        *(
            engine.advance(reply(Signal.INVENTORY_VALIDATED, one.order_id, words=said))
            for one, said in zip(accepted, words, strict=True)
        ),
        return_exceptions=True,
    )
    assert isinstance(answers[2], RefusedByDatabaseError)
    assert all(isinstance(answer, Decision) for index, answer in enumerate(answers) if index != 2)
    moved = await database.rows("SELECT order_id FROM order_sagas WHERE status = 'InProgress'")
    assert {row["order_id"] for row in moved} == {one.order_id for one in accepted} - {accepted[2].order_id}


async def test_a_reply_for_an_unknown_order_is_refused_and_its_neighbours_are_not(
    engine: Engine, database: Database
) -> None:
    accepted = await engine.create(order_request())
    known, unknown = await asyncio.gather(
        engine.advance(reply(Signal.INVENTORY_VALIDATED, accepted.order_id)),
        engine.advance(reply(Signal.INVENTORY_VALIDATED, uuid4())),
        return_exceptions=True,
    )
    assert isinstance(known, Decision)
    assert known.outcome is Outcome.APPLIED
    assert isinstance(unknown, UnknownOrderError)


async def test_a_saga_of_another_releases_table_is_left_to_it_and_its_neighbours_are_not(
    engine: Engine, database: Database
) -> None:
    known, foreign = await engine.create(order_request()), await engine.create(order_request())
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql(
            f"UPDATE order_sagas SET table_version = 99 WHERE order_id = '{foreign.order_id}'"
        )
    before = await database.rows("SELECT * FROM order_sagas WHERE table_version = 99")
    decision, error = await asyncio.gather(
        *(engine.advance(reply(Signal.INVENTORY_VALIDATED, one.order_id)) for one in (known, foreign)),
        return_exceptions=True,
    )
    assert isinstance(decision, Decision)
    assert isinstance(error, UnknownTableError)
    assert await database.rows("SELECT * FROM order_sagas WHERE table_version = 99") == before


async def test_an_event_that_has_to_wait_is_not_overtaken_by_the_next_one_of_its_saga(
    engine: Engine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, other = await engine.create(order_request()), await engine.create(order_request())
    lock, left = store.lock_sagas, 2

    async def busy(session: Any, order_ids: Any) -> Any:
        nonlocal left
        if order.order_id in order_ids and left:
            left -= 1
            raise DBAPIError("SELECT", None, LockNotAvailableError("canceling statement due to lock timeout"))
        return await lock(session, order_ids)

    monkeypatch.setattr(store, "lock_sagas", busy)
    decisions = await asyncio.gather(
        engine.advance(reply(Signal.INVENTORY_VALIDATED, order.order_id)),
        engine.advance(reply(Signal.INVENTORY_VALIDATED, other.order_id)),
        engine.advance(reply(Signal.INVENTORY_RESERVED, order.order_id)),
    )
    assert [decision.outcome for decision in decisions] == [Outcome.APPLIED] * 3
    assert decisions[-1].saga.position is Position.CHARGING


async def test_a_duplicate_changes_nothing(engine: Engine, database: Database, published: list[Envelope]) -> None:
    accepted = await engine.create(order_request())
    answer = reply(Signal.INVENTORY_VALIDATED, accepted.order_id)
    await engine.advance(answer)
    before = await database.rows("SELECT * FROM order_sagas")
    sent = len(published)
    assert (await engine.advance(answer)).outcome is Outcome.DUPLICATE
    assert await database.rows("SELECT * FROM order_sagas") == before
    assert len(published) == sent


@pytest.mark.parametrize("together", [True, False])
async def test_the_same_identity_gives_the_same_order(engine: Engine, database: Database, together: bool) -> None:
    request = order_request()
    again = order_request(
        identity=request.identity, user_id=request.user_id, items=request.items, total_amount=request.total_amount
    )
    if together:
        first, second = await asyncio.gather(engine.create(request), engine.create(again))
    else:
        first, second = await engine.create(request), await engine.create(again)
    assert (first.replayed, second) == (False, replace(first, replayed=True))
    assert await database.value("SELECT count(*) FROM orders") == 1
    assert await database.value("SELECT count(*) FROM outbox") == 2


@pytest.mark.parametrize("together", [True, False])
async def test_the_same_chosen_order_id_gives_the_same_order(
    engine: Engine, database: Database, together: bool
) -> None:
    request = order_request(chosen=True)
    again = order_request(
        order_id=request.order_id,
        chosen=True,
        user_id=request.user_id,
        items=request.items,
        total_amount=request.total_amount,
    )
    if together:
        first, second = await asyncio.gather(engine.create(request), engine.create(again))
    else:
        first, second = await engine.create(request), await engine.create(again)
    assert (first.replayed, second.replayed) == (False, True)
    assert second.order_id == first.order_id == request.order_id
    assert await database.value("SELECT count(*) FROM orders") == 1
    # both identities are remembered
    assert await database.value("SELECT count(*) FROM request_identities") == 2


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("same", ["identity", "order_id"])
async def test_different_content_under_the_same_identity_changes_nothing(
    engine: Engine, database: Database, same: str, together: bool
) -> None:
    request = order_request(chosen=same == "order_id")
    other = order_request(chosen=same == "order_id", **{same: getattr(request, same)})
    if together:
        _, refused = await asyncio.gather(engine.create(request), engine.create(other), return_exceptions=True)
        assert isinstance(refused, DifferentContentError)
    else:
        await engine.create(request)
        with pytest.raises(DifferentContentError):
            await engine.create(other)
    [order] = await database.rows("SELECT * FROM orders")
    assert order["items"] == request.items
    assert await database.value("SELECT count(*) FROM outbox") == 2


async def test_many_copies_of_a_reply_at_several_workers_move_the_saga_once(migrated: str, database: Database) -> None:
    published: list[Envelope] = []
    async with (
        running_engine(migrated, published) as one,
        running_engine(migrated, published) as two,
        running_engine(migrated, published) as three,
    ):
        accepted = await asyncio.gather(*(one.create(order_request()) for _ in range(20)))
        for signal in HAPPY:
            answers = [reply(signal, order.order_id) for order in accepted]
            decisions = await asyncio.gather(
                *(worker.advance(answer) for answer in answers for worker in (one, two, three))
            )
            applied = [decision for decision in decisions if decision.outcome is Outcome.APPLIED]
            assert len(applied) == 20
    assert await database.value("SELECT count(*) FROM order_sagas WHERE status = 'Completed'") == 20
    assert len(published) == 20 * 5
    assert await database.value("SELECT max(jsonb_array_length(history)) FROM order_sagas") == 3


async def test_the_same_request_at_several_workers_gives_one_order(migrated: str, database: Database) -> None:
    published: list[Envelope] = []
    async with running_engine(migrated, published) as one, running_engine(migrated, published) as two:
        requests = [order_request(chosen=bool(index % 2)) for index in range(20)]
        given = await asyncio.gather(
            *(one.create(request) for request in requests), *(two.create(request) for request in reversed(requests))
        )
    assert sum(not accepted.replayed for accepted in given) == 20
    assert await database.value("SELECT count(*) FROM orders") == 20
    assert len(published) == 40


async def test_the_engine_goes_on_when_its_connection_was_cut(engine: Engine, database: Database) -> None:
    accepted = await engine.create(order_request())
    cut = await database.value(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'engine under test'"
    )
    assert cut == 1
    decision = await engine.advance(reply(Signal.INVENTORY_VALIDATED, accepted.order_id))
    assert decision.saga.position is Position.RESERVING


async def test_who_has_stopped_waiting_is_not_served(engine: Engine, database: Database) -> None:
    waiting = asyncio.create_task(engine.create(order_request()))
    await asyncio.sleep(0)
    waiting.cancel()
    await engine.create(order_request())
    assert await database.value("SELECT count(*) FROM orders") == 1


async def test_what_leaves_is_what_the_contract_says(engine: Engine, published: list[Envelope]) -> None:
    request = order_request("10.50", 3, event_id=uuid4())
    accepted = await engine.create(request)
    await engine.advance(reply(Signal.INVENTORY_VALIDATED, accepted.order_id))
    await engine.advance(reply(Signal.INVENTORY_RESERVED, accepted.order_id))
    await engine.advance(reply(Signal.PAYMENT_FAILED, accepted.order_id, words="card declined"))
    await engine.advance(reply(Signal.INVENTORY_RELEASED, accepted.order_id))

    bodies = {one.routing_key.removeprefix("domain.order."): json.loads(one.body) for one in published}
    common = {"orderId": str(accepted.order_id), "sagaId": str(accepted.saga_id)}
    for envelope, body in zip(published, bodies.values(), strict=True):
        assert body.pop("eventId") == str(envelope.message_id)
        assert body.pop("occurredAt").endswith("Z")
        assert body | common == body
        del body["orderId"], body["sagaId"]
    user, items = str(request.user_id), request.items
    assert bodies == {
        "OrderCreated": {
            "userId": user,
            "items": items,
            "totalAmount": "31.50",
            "causationId": str(request.event_id),
        },
        "ValidateInventory": {"attempt": 1, "items": items},
        "ReserveInventory": {"attempt": 1, "items": items},
        "ProcessPayment": {"attempt": 1, "userId": user, "totalAmount": "31.50"},
        "ReleaseInventory": {"attempt": 1, "items": items},
        "OrderFailed": {
            "userId": user,
            "reason": "card declined",
            "failedStep": "ProcessPayment",
            "compensated": True,
        },
    }


async def test_requests_that_contradict_each_other_in_every_way_do_not_stop_the_worker(
    engine: Engine, database: Database
) -> None:
    known = order_request(chosen=True)
    await engine.create(known)
    identity = f"event:{uuid4()}"
    answers = await asyncio.gather(
        engine.create(order_request(identity=identity, chosen=True, order_id=known.order_id)),
        engine.create(order_request(identity=identity, chosen=True)),
        engine.create(order_request()),
        return_exceptions=True,
    )
    assert isinstance(answers[0], DifferentContentError)
    assert all(isinstance(answer, Accepted) for answer in answers[1:])
    assert await database.value("SELECT count(*) FROM orders") == 3


async def test_a_request_that_is_refused_leaves_nothing_behind(engine: Engine, database: Database) -> None:
    first = order_request(chosen=True)
    second = order_request(chosen=True, order_id=first.order_id)
    _, refused = await asyncio.gather(engine.create(first), engine.create(second), return_exceptions=True)
    assert isinstance(refused, DifferentContentError)
    assert [row["key"] for row in await database.rows("SELECT key FROM request_identities")] == [first.identity]


async def test_who_left_while_a_commit_failed_takes_nobody_along(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await engine.create(order_request()), await engine.create(order_request())
    leaving = asyncio.create_task(engine.advance(reply(Signal.INVENTORY_VALIDATED, first.order_id)))

    async def fail(*_: object) -> None:
        leaving.cancel()
        await asyncio.sleep(0)
        raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr("saga.batch.store.update_sagas", fail)
        with pytest.raises(asyncio.CancelledError):
            await leaving
    decision = await engine.advance(reply(Signal.INVENTORY_VALIDATED, second.order_id))
    assert decision.outcome is Outcome.APPLIED


async def test_a_saga_that_somebody_else_holds_does_not_hold_up_the_others(
    migrated: str, published: list[Envelope], database: Database
) -> None:
    # it waits for locks as ever, only not as long
    async with running_engine(migrated, published, lock_timeout="500") as engine:
        held, free = await engine.create(order_request()), await engine.create(order_request())
        async with database.engine.connect() as connection:
            row = f"SELECT 1 FROM order_sagas WHERE order_id = '{held.order_id}' FOR UPDATE"
            await connection.exec_driver_sql(row)
            waiting = asyncio.create_task(engine.advance(reply(Signal.INVENTORY_VALIDATED, held.order_id)))
            decision = await engine.advance(reply(Signal.INVENTORY_VALIDATED, free.order_id))
            assert decision.outcome is Outcome.APPLIED
            assert not waiting.done()
        assert (await waiting).outcome is Outcome.APPLIED
