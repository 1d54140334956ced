"""The relay on a real PostgreSQL and a real RabbitMQ."""

import asyncio
import json
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.bus.publisher import DEAD_LETTER_QUEUE, Bus
from models.messages import instant_text
from saga.outbox import relay as relaying
from saga.outbox.message import DEAD_LETTER_EXCHANGE
from saga.outbox.publisher import UNROUTABLE
from saga.outbox.relay import Relay
from saga.telemetry.traceparent import of_message
from tests.relay.conftest import Listener, Outbox, envelope, lease_over, running_relay
from tests.waiting import until


async def test_a_message_leaves_with_all_that_the_contract_says(
    relay: Relay, outbox: Outbox, listener: Listener
) -> None:
    await listener.bind("domain.order.#")
    sent = envelope("domain.order.ReserveInventory")
    await outbox.write(sent)
    relay.hand_over([sent])

    got = await listener.next()
    assert (got.body, got.routing_key, got.exchange) == (sent.body, sent.routing_key, "domain")
    assert (got.message_id, got.correlation_id) == (str(sent.message_id), str(sent.saga_id))
    assert (got.type, got.app_id, got.content_type) == (sent.routing_key, "order-service", "application/json")
    assert got.delivery_mode == 2
    assert got.timestamp == sent.created_at.replace(microsecond=0)
    assert got.headers == {
        "traceparent": of_message(sent.traceparent, sent.id),
        "ce-specversion": "1.0",
        "ce-id": str(sent.message_id),
        "ce-type": sent.routing_key,
        "ce-source": "/order-service",
        "ce-subject": str(sent.order_id),
        "ce-time": instant_text(sent.created_at),
    }
    await outbox.until_empty()


async def test_many_messages_leave_in_their_order(relay: Relay, outbox: Outbox, listener: Listener) -> None:
    await listener.bind("domain.order.#")
    sent = [envelope(body=json.dumps({"number": number}).encode()) for number in range(200)]
    await outbox.write(*sent)
    relay.hand_over(sent)
    assert [(await listener.next()).body for _ in sent] == [one.body for one in sent]
    await outbox.until_empty()


async def test_an_unroutable_message_stays_is_counted_and_leaves_when_its_queue_appears(
    relay: Relay, outbox: Outbox, listener: Listener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "TRY_AGAIN_AFTER", timedelta(seconds=0.2))
    key = "domain.order.ValidateInventory"
    labels = {"key": key, "why": "unroutable"}
    before = REGISTRY.get_sample_value("order_service_unpublished_total", labels) or 0
    sent = [envelope(key) for _ in range(20)]
    await outbox.write(*sent)
    relay.hand_over(sent)

    async def all_returned() -> bool:
        return [row["last_error"] for row in await outbox.rows()] == [UNROUTABLE] * 20

    await until(all_returned)
    assert (REGISTRY.get_sample_value("order_service_unpublished_total", labels) or 0) >= before + 20
    said = [vars(record)["known"] for record in caplog.records if record.msg.startswith("cannot be published")]
    assert said == [{"routing_key": key, "error": UNROUTABLE}]

    await listener.bind(key)
    got = {(await listener.next()).message_id for _ in sent}
    assert got == {str(one.message_id) for one in sent}
    await outbox.until_empty()


async def test_an_event_that_nobody_listens_to_is_dropped_and_counted_and_a_command_beside_it_waits(
    relay: Relay, outbox: Outbox, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    key = "domain.order.OrderCompleted"
    labels = {"key": key}
    before = REGISTRY.get_sample_value("order_service_events_dropped_total", labels) or 0
    published = REGISTRY.get_sample_value("order_service_published_total", labels) or 0
    events, command = [envelope(key) for _ in range(20)], envelope("domain.order.ReserveInventory")
    await outbox.write(*events, command)
    relay.hand_over([*events, command])

    async def the_command_alone_is_left() -> bool:
        return [(row["id"], row["last_error"]) for row in await outbox.rows()] == [(command.id, UNROUTABLE)]

    await until(the_command_alone_is_left)
    assert REGISTRY.get_sample_value("order_service_events_dropped_total", labels) == before + 20
    assert (REGISTRY.get_sample_value("order_service_published_total", labels) or 0) == published
    said = [record.msg for record in caplog.records if vars(record)["known"].get("routing_key") == key]
    assert said == ["nobody listens to an event; dropping it"]
    await listener.bind(key)
    heard = envelope(key)
    await outbox.write(heard)
    relay.hand_over([heard])
    assert (await listener.next()).message_id == str(heard.message_id)


async def test_what_a_crash_left_behind_is_claimed_by_any_worker_when_its_lease_is_over(
    outbox: Outbox, listener: Listener, pool: AsyncEngine, vhost: str
) -> None:
    await listener.bind("domain.order.#")
    left, leased = envelope(lease_until=lease_over()), envelope()
    await outbox.write(left, leased)
    async with running_relay(pool, vhost), running_relay(pool, vhost):
        assert (await listener.next()).message_id == str(left.message_id)

        async def one_is_gone() -> bool:
            return len(await outbox.rows()) == 1

        await until(one_is_gone)
    assert [row["id"] for row in await outbox.rows()] == [leased.id]
    assert listener.messages.empty()


async def test_two_workers_publish_what_was_left_behind_once(
    outbox: Outbox, listener: Listener, pool: AsyncEngine, vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # on a busy machine 700 take long; a lease that has run out may be anybody's
    monkeypatch.setattr(relaying, "LEASE", timedelta(minutes=5))
    await listener.bind("domain.order.#")
    left = [envelope(lease_until=lease_over()) for _ in range(700)]
    await outbox.write(*left)
    async with running_relay(pool, vhost), running_relay(pool, vhost):
        got = [(await listener.next()).message_id for _ in left]
        await outbox.until_empty()
    assert sorted(filter(None, got)) == sorted(str(one.message_id) for one in left)
    assert listener.messages.empty()


async def test_without_a_broker_the_rows_stay_and_leave_later(
    outbox: Outbox, listener: Listener, pool: AsyncEngine, vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "TRY_AGAIN_AFTER", timedelta(seconds=0.2))
    sent = envelope()
    await outbox.write(sent)
    nowhere = Bus("amqp://guest:guest@127.0.0.1:9/")
    failures = await nowhere.publish([sent])
    assert list(failures) == [sent.id]
    async with running_relay(pool, "amqp://guest:guest@127.0.0.1:9/") as relay:
        relay.hand_over([sent])

        async def tried_in_vain() -> bool:
            return bool((await outbox.rows())[0]["last_error"])

        await until(tried_in_vain)
    await listener.bind("domain.order.#")
    async with running_relay(pool, vhost):
        assert (await listener.next()).message_id == str(sent.message_id)
        await outbox.until_empty()


async def test_a_message_that_is_published_twice_is_told_of_once(
    outbox: Outbox, listener: Listener, relay: Relay, pool: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    await listener.bind("domain.order.#")
    sent = envelope("domain.order.PublishedTwice")
    await outbox.write(sent)

    async def row_stays() -> bool:
        return "the rows stay" in caplog.text

    async with pool.begin() as connection:
        await connection.execute(text("SELECT 1 FROM outbox FOR UPDATE"))
        relay.hand_over([sent])
        first = await listener.next()
        await until(row_stays)
    await outbox.execute("UPDATE outbox SET lease_until = clock_timestamp()")
    second = await listener.next()
    # one thing after the other: what came before this is settled and told
    relay.hand_over([envelope()])
    await listener.next()

    # whoever handles either of them is told of the same publishing
    assert first.headers["traceparent"] == second.headers["traceparent"]
    labels = {"key": sent.routing_key}
    assert REGISTRY.get_sample_value("order_service_published_total", labels) == 1


async def test_one_message_is_never_in_flight_twice(outbox: Outbox, listener: Listener, relay: Relay) -> None:
    """A return is matched by the message's id: two copies at once would be taken for each other."""
    first = envelope("domain.order.ReserveInventory", body=b'{"attempt": 1}')
    again = envelope("domain.order.ReserveInventory", body=b'{"attempt": 2}', message_id=first.message_id)
    await listener.bind("domain.order.#")
    await outbox.write(first, again)
    relay.hand_over([first, again])
    assert [(await listener.next()).body for _ in range(2)] == [first.body, again.body]
    await outbox.until_empty()


async def test_a_copy_for_the_dead_letters_goes_there(outbox: Outbox, listener: Listener, relay: Relay) -> None:
    copy = envelope("domain.order.ValidateInventory", exchange=DEAD_LETTER_EXCHANGE)
    await outbox.write(copy)
    relay.hand_over([copy])
    await outbox.until_empty()
    await listener.listen_to(DEAD_LETTER_QUEUE)
    got = await listener.next()
    assert (got.exchange, got.routing_key, got.body) == (DEAD_LETTER_EXCHANGE, copy.routing_key, copy.body)


async def test_what_was_left_behind_has_its_turn_however_much_is_handed_over(
    relay: Relay, outbox: Outbox, listener: Listener
) -> None:
    await listener.bind("domain.order.OrderFailed")
    left = envelope("domain.order.OrderFailed", lease_until=lease_over())
    await outbox.write(left)

    async def hand_over_without_end() -> None:
        while True:
            relay.hand_over([envelope("domain.order.OrderCompleted")])
            await asyncio.sleep(0)

    flood = asyncio.create_task(hand_over_without_end())
    try:
        assert (await listener.next()).message_id == str(left.message_id)
    finally:
        flood.cancel()


async def test_a_bus_whose_declarations_failed_starts_again(
    vhost: str, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    await listener.bind("domain.order.#")
    bus = Bus(vhost)

    async def fail(*_: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr("handlers.bus.publisher._declare", fail)
        first = envelope()
        assert list(await bus.publish([first])) == [first.id]
        assert not bus.connected
    assert await bus.publish([first]) == {}
    await bus.close()


@pytest.mark.parametrize("told", [StopAsyncIteration, Exception, asyncio.CancelledError, RuntimeError("<it> closed")])
async def test_however_aiormq_tells_that_the_broker_hung_up_it_is_away(
    told: type[BaseException] | BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang_up(*_: object, **__: object) -> None:
        raise told

    monkeypatch.setattr("aio_pika.connect", hang_up)
    bus, first = Bus("amqp://nowhere.invalid/"), envelope()
    failures = await bus.publish([first])
    assert failures[first.id].startswith("BusAwayError: ")
    await bus.keep_open()
    assert not bus.connected
