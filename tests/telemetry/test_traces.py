"""What an operator sees of sagas: each is one tree, whatever happened on the way, and nothing personal is in it."""

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local.rule import Behaviour
from tests.collector import Collector, Seen
from tests.service import told
from tests.system.conftest import order_body
from tests.telemetry.conftest import HOURS, World, somebodys, told_to
from tests.telemetry.shapes import HAPPY, answered, saga, shaped, step, unanswered
from tests.telemetry.trees import Tree
from tests.telemetry.words import strange_words

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "Quetzalcoatl"
"""What clients, participants and operators say in these tests, wherever they may say something."""
MUTE, NORMAL = Behaviour(mode="mute"), Behaviour()


@pytest.fixture(scope="module")
def environment(collector: Collector) -> dict[str, str]:
    return {**HOURS, **told_to(collector), "SAGA_RETRY_ATTEMPTS": "1", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}


def body(**more: Any) -> dict[str, Any]:
    """An order of something with an unmistakable name."""
    order = order_body(**more)
    order["items"][0]["productName"] = CANARY
    return order


def said(span: Seen) -> list[tuple[str, int | None]]:
    """What a step went through: events with their attempts."""
    return [(event.name, event.attributes.get("saga.attempt")) for event in span.events]


def instant(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000) * 1000


async def test_the_happy_path(world: World) -> None:
    order_id = await world.order(body())
    shown = await world.ended(order_id)
    tree = await world.tree(order_id, shaped(HAPPY))

    assert {span.trace_id for span in tree.spans} == {shown["traceId"]}
    assert (tree.root.start, tree.root.end) == (instant(shown["createdAt"]), instant(shown["completedAt"]))
    steps = [tree.named(name) for name in ("ValidateInventory", "ReserveInventory", "ProcessPayment")]
    # each takes over where the one before it ended, and the history says when that was
    ends = [instant(entry["timestamp"]) for entry in shown["history"]]
    assert [span.start for span in steps] == [tree.root.start, *ends[:-1]]
    assert [span.end for span in steps] == ends
    assert [said(span) for span in steps] == [[("Sent", None), ("Completed", 1)]] * 3
    assert not [span.error for span in tree.spans if span.error]


async def test_kinds_names_and_attributes_are_those_of_the_conventions(world: World) -> None:
    order_id = await world.order(body())
    shown = await world.ended(order_id)
    tree = await world.tree(order_id, shaped(HAPPY))
    kinds = {"publish": "producer", "process": "consumer", "POST": "server"}
    assert all(span.kind == kinds.get(span.name.split()[0], "internal") for span in tree.spans)

    sent = tree.named("publish domain.order.ReserveInventory").attributes
    size = sent.pop("messaging.message.body.size")
    assert 200 < size < 2000
    assert sent == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "domain:domain.order.ReserveInventory",
        "messaging.rabbitmq.destination.routing_key": "domain.order.ReserveInventory",
        "messaging.message.id": world.ear.about(order_id)[3][1]["eventId"],
        "messaging.message.conversation_id": shown["id"],
    }
    ours = {"order.id": order_id, "saga.id": shown["id"]}
    assert tree.named("process domain.inventory.InventoryReserved").attributes == ours | {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": ("domain:domain.inventory.InventoryReserved:order-service.InventoryReserved"),
        "messaging.rabbitmq.destination.routing_key": "domain.inventory.InventoryReserved",
        "saga.signal": "InventoryReserved",
        "saga.outcome": "applied",
    }
    assert tree.named("POST /api/orders").attributes == ours | {
        "http.request.method": "POST",
        "http.route": "/api/orders",
        "url.path": "/api/orders",
        "url.scheme": "http",
        "saga.signal": "CreateOrder",
        "saga.outcome": "applied",
    }
    assert tree.named("ReserveInventory").attributes == ours | {
        "saga.step": "ReserveInventory",
        "saga.step.outcome": "Completed",
        "saga.step.attempts": 1,
        "saga.compensation": False,
    }
    assert tree.root.attributes == ours | {
        "saga.status": "Completed",
        "saga.compensated": False,
        "saga.cancel_requested": False,
    }


async def test_a_retry_a_kill_and_a_compensation_are_one_trace(world: World) -> None:
    world.inventory.behaviour["ReserveInventory"] = world.billing.behaviour["ProcessPayment"] = MUTE
    order_id = await world.order(body(price="10000.01"))
    await world.heard(order_id, "domain.order.ReserveInventory")
    await world.deadline(order_id)
    world.inventory.behaviour["ReserveInventory"] = NORMAL
    await world.deadline(order_id)
    trace_id = (await world.heard(order_id, "domain.order.ProcessPayment"))["traceId"]
    # what is in memory dies with a worker: the SDK's queue, for some milliseconds
    await world.collector.until(lambda: len(world.collector.trace(trace_id)) == 18)
    world.service.kill()
    world.billing.behaviour["ProcessPayment"] = NORMAL
    await world.service.restart()
    await world.deadline(order_id)
    await world.deadline(order_id)
    shown = await world.ended(order_id)

    tree = await world.tree(
        order_id,
        shaped(
            saga(
                step("ValidateInventory"),
                step(
                    "ReserveInventory",
                    unanswered("ReserveInventory"),
                    "timer timeout",
                    "timer retry due",
                    answered("ReserveInventory"),
                ),
                step(
                    "ProcessPayment",
                    unanswered("ProcessPayment"),
                    "timer timeout",
                    "timer retry due",
                    answered("ProcessPayment", "PaymentFailed"),
                ),
                step("ReleaseInventory"),
                end="OrderFailed",
            )
        ),
    )
    again = [("Sent", None), ("TimedOut", 1), ("Retrying", 2)]
    assert said(tree.named("ReserveInventory")) == [*again, ("Completed", 2)]
    assert said(tree.named("ProcessPayment")) == [*again, ("Failed", 2)]
    assert {span.resource["service.instance.id"] for span in tree.spans if span.service == "order-service"} > {
        tree.root.resource["service.instance.id"]
    }
    entries = {(entry["step"], entry["status"]): instant(entry["timestamp"]) for entry in shown["history"]}
    paying, releasing = tree.named("ProcessPayment"), tree.named("ReleaseInventory")
    assert (paying.start, paying.end) == (
        entries["ReserveInventory", "Completed"],
        entries["ProcessPayment", "Failed"],
    )
    assert (releasing.start, releasing.end) == (paying.end, tree.root.end)
    assert releasing.attributes["saga.compensation"] is True
    assert (tree.root.attributes["saga.compensated"], tree.root.attributes["saga.failed_step"]) == (
        True,
        "ProcessPayment",
    )
    assert {span.name: span.error for span in tree.spans if span.error} == {
        "order saga": "Compensated",
        "ProcessPayment": "Failed",
        "timer timeout": "timeout",
    }
    assert tree.root.attributes["error.type"] == "Compensated"


async def test_a_parked_saga_is_taken_up_by_an_operator_whose_own_trace_is_linked(world: World) -> None:
    world.billing.behaviour["ProcessPayment"] = MUTE
    order_id = await world.order(body())
    await world.heard(order_id, "domain.order.ProcessPayment")
    for _ in range(3):
        await world.deadline(order_id)
    assert (await world.saga(order_id))["incident"]["kind"] == "payment_outcome_unknown"
    asking, asking_link = somebodys()
    resolving, resolving_link = somebodys()
    headers = {"X-Operator": CANARY}
    await world.post(f"/api/sagas/{order_id}/retry", {"reason": CANARY}, headers | asking)
    await world.post(f"/api/sagas/{order_id}/resolve", {"outcome": "succeeded", "reason": CANARY}, headers | resolving)
    world.billing.behaviour["ProcessPayment"] = NORMAL

    tree = await world.tree(
        order_id,
        shaped(
            saga(
                step("ValidateInventory"),
                step("ReserveInventory"),
                step(
                    "ProcessPayment",
                    *[unanswered("ProcessPayment")] * 3,
                    *["timer timeout"] * 2,
                    "timer retry due",
                    "publish order-service.dlx:domain.order.ProcessPayment",
                    "POST /api/sagas/{order_id}/retry",
                    "POST /api/sagas/{order_id}/resolve",
                ),
            )
        ),
    )
    assert [name for name, _ in said(tree.named("ProcessPayment"))] == [
        *("Sent", "TimedOut", "Retrying", "TimedOut", "Parked", "Resumed", "Resolved"),
    ]
    assert tree.named("ProcessPayment").error is None
    assert tree.named("POST /api/sagas/{order_id}/retry").links == [asking_link]
    assert tree.named("POST /api/sagas/{order_id}/resolve").links == [resolving_link]
    assert tree.named("publish order-service.dlx:domain.order.ProcessPayment").error == "dead letter"


def lines(log: Path, **known: str) -> list[dict[str, Any]]:
    """The lines that say this."""
    return [line for line in told(log) if known.items() <= line.items()]


async def test_whoever_orders_is_linked_and_not_joined(world: World) -> None:
    over_http, http_link = somebodys()
    answer = await world.client.post("/api/orders", json=body(), headers=over_http | {"Idempotency-Key": CANARY})
    on_the_bus, bus_link = somebodys()
    request = body(eventId=str(uuid4()), orderId=str(uuid4()))
    await world.ear.publish("domain.order.CreateOrder", request, headers=dict(on_the_bus), message_id=CANARY)

    tree = await world.tree(answer.json()["id"], shaped(HAPPY))
    assert tree.named("POST /api/orders").links == [http_link]
    # the log names the caller's trace for the request, the saga's own for what became of it
    assert [line["event"] for line in lines(world.service.log, trace_id=http_link[0])] == ["request"]
    ours = lines(world.service.log, order_id=answer.json()["id"])
    assert {line["trace_id"] for line in ours if line["event"] == "saga event"} == {tree.root.trace_id}
    await world.known(request["orderId"])
    steps = [step(name) for name in ("ValidateInventory", "ReserveInventory", "ProcessPayment")]
    tree = await world.tree(request["orderId"], shaped(saga(*steps, by="process domain.order.CreateOrder")))
    assert tree.named("process domain.order.CreateOrder").links == [bus_link]
    assert sum(len(span.links) for span in tree.spans) == 1

    # sent again, it changes nothing, and says so
    again, again_link = somebodys()
    await world.ear.publish("domain.order.CreateOrder", request, headers=dict(again))
    tree = await world.tree(
        request["orderId"], lambda tree: len(tree.all_named("process domain.order.CreateOrder")) == 2
    )
    copy = tree.all_named("process domain.order.CreateOrder")[1]
    assert (copy.parent, copy.links) == (tree.root.id, [again_link])
    assert copy.attributes["saga.outcome"] == "duplicate"


async def test_a_cancellation_stands_under_the_step_that_it_interrupts(world: World) -> None:
    world.inventory.behaviour["ReserveInventory"] = MUTE
    order_id = await world.order(body())
    await world.heard(order_id, "domain.order.ReserveInventory")
    header, link = somebodys()
    cancel = {"eventId": str(uuid4()), "orderId": order_id, "reason": CANARY}
    await world.ear.publish("domain.order.CancelOrder", cancel, headers=dict(header))
    await world.entry(order_id, "Cancelled")
    world.inventory.behaviour["ReserveInventory"] = NORMAL
    await world.deadline(order_id)
    await world.ended(order_id)

    tree = await world.tree(
        order_id,
        shaped(
            saga(
                step("ValidateInventory"),
                step(
                    "ReserveInventory",
                    unanswered("ReserveInventory"),
                    "process domain.order.CancelOrder",
                    "timer timeout",
                ),
                step("ReleaseInventory"),
                end="OrderFailed",
            )
        ),
    )
    assert tree.named("process domain.order.CancelOrder").links == [link]
    assert [name for name, _ in said(tree.named("ReserveInventory"))] == ["Sent", "Cancelled", "TimedOut"]
    assert tree.root.attributes["saga.cancel_requested"] is True


async def test_what_comes_twice_out_of_place_or_against_an_earlier_word_is_marked(world: World) -> None:
    order_id = await world.order(body())
    await world.ended(order_id)
    tree = await world.tree(order_id, shaped(HAPPY))
    answering = tree.named("publish domain.billing.PaymentProcessed")
    copied = next(said for key, said in world.ear.about(order_id) if key == "domain.billing.PaymentProcessed")
    header = {"traceparent": f"00-{answering.trace_id}-{answering.id}-01"}
    await world.ear.publish("domain.billing.PaymentProcessed", copied, headers=dict(header))
    stray = {"eventId": str(uuid4()), "orderId": order_id, "message": CANARY}
    await world.ear.publish("domain.inventory.InventoryReleased", stray)
    contrary = {"eventId": str(uuid4()), "orderId": order_id, "reason": CANARY}
    await world.ear.publish("domain.billing.PaymentFailed", contrary)

    tree = await world.tree(order_id, lambda tree: len(tree.spans) == 22)
    parents = {
        (span.name, span.attributes["saga.outcome"], span.error): span.parent
        for span in tree.spans
        if span.attributes.get("saga.outcome", "applied") != "applied"
    }
    assert parents == {
        ("process domain.billing.PaymentProcessed", "duplicate", None): answering.id,
        ("process domain.inventory.InventoryReleased", "ignored", None): tree.root.id,
        ("process domain.billing.PaymentFailed", "conflict", "conflict"): tree.root.id,
    }


async def test_what_is_undone_after_the_end_is_in_the_same_trace(world: World) -> None:
    world.inventory.behaviour["ValidateInventory"] = MUTE
    order_id = await world.order(body())
    await world.heard(order_id, "domain.order.ValidateInventory")
    await world.post(f"/api/orders/{order_id}/cancel", {"reason": CANARY})
    world.inventory.behaviour["ValidateInventory"] = NORMAL
    ended = await world.ended(order_id)
    late = {"eventId": str(uuid4()), "orderId": order_id}
    await world.ear.publish("domain.billing.PaymentProcessed", late)

    tree = await world.tree(
        order_id,
        shaped(
            saga(
                step("ValidateInventory", unanswered("ValidateInventory"), "POST /api/orders/{order_id}/cancel"),
                "process domain.billing.PaymentProcessed",
                step("RefundPayment"),
                end="OrderFailed",
            )
        ),
    )
    refunding = tree.named("RefundPayment")
    assert tree.root.end == instant(ended["completedAt"]) < refunding.start < refunding.end
    assert refunding.attributes["saga.compensation"] is True
    assert tree.named("process domain.billing.PaymentProcessed").error == "conflict"
    assert (await world.saga(order_id))["traceId"] == tree.root.trace_id


async def test_nothing_was_told_but_whole_traces_without_a_personal_word(world: World) -> None:
    # with what it had not told yet
    await asyncio.to_thread(world.service.stop)
    collector = world.collector
    known = {row["traceparent"][3:35] for row in await world.rows("SELECT traceparent FROM order_sagas")}
    assert {span.trace_id for span in collector.spans} == known
    assert {trace_id: broken for trace_id in known if (broken := Tree(collector.trace(trace_id)).broken())} == {}
    assert [body for body in collector.raw if CANARY.encode() in body] == []
    stored = await world.rows("SELECT history::text, items::text FROM order_sagas JOIN orders ON orders.id = order_id")
    assert CANARY in json.dumps(stored), "nobody said it"
    assert strange_words(collector.spans) == set()
