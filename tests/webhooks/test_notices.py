"""Deliveries are written with what they tell of, in the engine's own transaction."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from models.states import OrderEvent, WebhookType
from saga.domain import message_id
from saga.engine import Engine
from saga.transitions import Signal
from saga.webhooks import endpoints
from saga.webhooks import events as notices
from saga.webhooks.disabling import DISABLED
from tests.engine.conftest import order_request, reply, running_engine
from tests.webhooks.conftest import HAPPY, Place, happy


async def test_an_order_that_goes_well_is_told_twice_to_each_endpoint_exactly_once(
    place: Place, engine: Engine
) -> None:
    first, _ = await place.subscribe()
    second, _ = await place.subscribe()
    order_id = await happy(engine, price="0.10", quantity=3)
    # what comes again changes nothing
    await engine.advance(reply(Signal.PAYMENT_PROCESSED, order_id))

    saga = (await place.rows("SELECT * FROM order_sagas"))[0]
    user_id = await place.value("SELECT user_id FROM orders")
    for endpoint in (first, second):
        created, completed = await place.deliveries(endpoint.id)
        assert [created["type"], completed["type"]] == ["order.created", "order.completed"]
        assert created["event_id"] == message_id(saga["id"], OrderEvent.ORDER_CREATED)
        assert completed["event_id"] == message_id(saga["id"], OrderEvent.ORDER_COMPLETED)
        assert {row["order_id"] for row in (created, completed)} == {order_id}
        assert created["traceparent"] == saga["traceparent"]
        body = json.loads(completed["body"])
        assert body.pop("timestamp").endswith("Z")
        assert body == {
            "type": "order.completed",
            "data": {
                "orderId": str(order_id),
                "sagaId": str(saga["id"]),
                "userId": str(user_id),
                "status": "Confirmed",
                "totalAmount": "0.30",
                "reason": None,
            },
        }
        assert json.loads(created["body"])["data"]["status"] == "Pending"


async def test_a_failed_order_tells_why_and_stays_below_20_kb(place: Place, engine: Engine) -> None:
    await place.subscribe()
    order_id = (await engine.create(order_request())).order_id
    await engine.advance(reply(Signal.INVENTORY_VALIDATION_FAILED, order_id, words="\u0007\U0001f600" * 30_000))
    failed = (await place.deliveries())[-1]
    assert failed["type"] == "order.failed"
    assert len(failed["body"]) < 20_000
    data = json.loads(failed["body"])["data"]
    assert data["status"] == "Failed"
    assert data["reason"]


async def test_an_endpoint_is_told_what_it_asked_for_and_of_whom(place: Place, engine: Engine) -> None:
    user = uuid4()
    ends, _ = await place.subscribe(events=[WebhookType.COMPLETED, WebhookType.FAILED])
    of_user, _ = await place.subscribe(user_id=user)
    gone, _ = await place.subscribe()
    await place.call(endpoints.delete, gone.id)
    await happy(engine)
    await happy(engine, user_id=user)
    assert [row["type"] for row in await place.deliveries(ends.id)] == ["order.completed"] * 2
    assert [row["type"] for row in await place.deliveries(of_user.id)] == ["order.created", "order.completed"]
    assert await place.deliveries(gone.id) == []


async def test_what_a_disabled_endpoint_would_have_got_is_kept_as_failed(place: Place, engine: Engine) -> None:
    endpoint, _ = await place.subscribe()
    await place.call(endpoints.disable, endpoint.id, "by its owner")
    await happy(engine)
    assert {(row["status"], row["last_error"], row["attempts"]) for row in await place.deliveries()} == {
        ("failed", DISABLED, 0)
    }


async def test_many_orders_at_once_are_each_told_once(place: Place, migrated: str) -> None:
    ids = {(await place.subscribe())[0].id for _ in range(3)}
    async with running_engine(migrated, []) as one, running_engine(migrated, []) as other:
        orders = [(await one.create(order_request())).order_id for _ in range(30)]
        for signal in HAPPY:
            # both workers get every message
            await asyncio.gather(*(engine.advance(reply(signal, order)) for order in orders for engine in (one, other)))
    rows = await place.deliveries()
    assert len(rows) == len({(row["webhook_id"], row["event_id"]) for row in rows}) == 2 * 30 * 3
    assert {row["webhook_id"] for row in rows} == ids


async def test_the_courier_is_told_of_what_was_written_and_of_nothing_else(place: Place, migrated: str) -> None:
    told: list[str] = []
    async with running_engine(migrated, []) as engine:
        engine._announced = lambda: told.append("told")
        await happy(engine)
        assert told == []
        await place.subscribe()
        await happy(engine)
    assert told == ["told", "told"]


async def test_without_endpoints_no_statement_is_sent_for_them(place: Place, engine: Engine) -> None:
    seen: list[str] = []

    def saw(_c: Any, _cursor: Any, sql: str, *_: Any) -> None:
        seen.append(sql)

    pool = engine._sessions.kw["bind"].sync_engine
    event.listen(pool, "before_cursor_execute", saw)
    gone, _ = await place.subscribe()
    await place.call(endpoints.delete, gone.id)
    await happy(engine)
    assert seen
    assert not any("webhook_deliveries" in sql for sql in seen)


async def test_a_mistake_in_webhooks_does_not_sink_the_sagas(
    place: Place, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await place.subscribe()
    monkeypatch.setattr(notices, "body", lambda *_: b"{}")
    await place.execute("ALTER TABLE webhook_deliveries ADD CHECK (octet_length(body) > 2)")
    order_id = await happy(engine)
    assert await place.value("SELECT status FROM orders WHERE id = :id", id=order_id) == "Confirmed"
    assert await place.deliveries() == []
    assert [record.msg for record in caplog.records if record.levelname == "ERROR"]


async def test_whoever_changes_an_endpoint_does_not_keep_the_sagas_waiting(place: Place, engine: Engine) -> None:
    await place.subscribe()
    async with place.pool.begin() as connection:
        await connection.exec_driver_sql("UPDATE webhooks SET deleted_at = now(), secret = ''")
        async with asyncio.timeout(3):
            await happy(engine)
    assert len(await place.deliveries()) == 2
