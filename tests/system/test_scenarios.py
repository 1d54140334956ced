"""The tutorial's scenarios on the running system."""

import json
from decimal import Decimal
from uuid import uuid4

import pytest

from local.ledger import Record, Tally
from local.rule import Behaviour
from tests.system.conftest import System, command_line, order_body
from tests.waiting import until

HAPPY_HISTORY = [
    ("ValidateInventory", "Completed", "Inventory validated"),
    ("ReserveInventory", "Completed", "Inventory reserved"),
    ("ProcessPayment", "Completed", "Payment processed"),
]


def told(saga: dict[str, object]) -> list[tuple[str, str, str]]:
    history = saga["history"]
    assert isinstance(history, list)
    return [(entry["step"], entry["status"], entry["message"]) for entry in history]


async def test_the_happy_path_comes_out_as_in_the_seed(system: System) -> None:
    order_id = await system.order(order_body(price=1299.99))
    saga = await system.ended(order_id)

    assert (saga["status"], saga["currentStep"], told(saga)) == ("Completed", "Completed", HAPPY_HISTORY)
    assert (saga["waiting"], saga["remainingSteps"], saga["incident"]) == (None, [], None)
    order = (await system.client.get(f"/api/orders/{order_id}")).json()
    assert (order["status"], order["totalAmount"], order["sagaId"]) == ("Confirmed", "1299.99", saga["id"])
    await system.quiet()
    assert [key for key, _ in system.ear.about(order_id)] == [
        "domain.order.OrderCreated",
        "domain.order.ValidateInventory",
        "domain.inventory.InventoryValidated",
        "domain.order.ReserveInventory",
        "domain.inventory.InventoryReserved",
        "domain.order.ProcessPayment",
        "domain.billing.PaymentProcessed",
        "domain.order.OrderCompleted",
    ]
    assert system.done(order_id) == Record(reserved=Tally(1, Decimal(1)), charged=Tally(1, Decimal("1299.99")))
    contexts = [str(message.headers["traceparent"]).split("-") for message in system.ear.heard]
    # nothing says where traces go, so there is none: whoever takes part need not tell of it either
    assert {(trace_id, flags) for _, trace_id, _, flags in contexts} == {(saga["traceId"], "00")}


async def test_scenario_1_insufficient_inventory(system: System) -> None:
    order_id = await system.order(order_body(quantity=1001, price="1.00"))
    saga = await system.ended(order_id)

    assert (saga["status"], saga["currentStep"]) == ("Failed", "Failed")
    assert told(saga) == [("ValidateInventory", "Failed", "out of stock: Laptop")]
    assert (await system.client.get(f"/api/orders/{order_id}")).json()["status"] == "Failed"
    await system.quiet()
    keys = [key for key, _ in system.ear.about(order_id)]
    assert keys == [
        "domain.order.OrderCreated",
        "domain.order.ValidateInventory",
        "domain.inventory.InventoryValidationFailed",
        "domain.order.OrderFailed",
    ]
    failed = system.ear.about(order_id)[-1][1]
    assert (failed["failedStep"], failed["compensated"]) == ("ValidateInventory", False)
    assert failed["reason"] == "out of stock: Laptop"
    assert system.done(order_id) == Record()


async def test_scenario_2_payment_failed(system: System) -> None:
    order_id = await system.order(order_body(price="10000.01"))
    saga = await system.ended(order_id)

    assert (saga["status"], saga["currentStep"]) == ("Compensated", "Compensated")
    assert told(saga) == [
        *HAPPY_HISTORY[:2],
        ("ProcessPayment", "Failed", "card declined"),
        ("ReleaseInventory", "Completed", "Inventory released"),
    ]
    assert (await system.client.get(f"/api/orders/{order_id}")).json()["status"] == "Failed"
    await system.quiet()
    assert [key for key, _ in system.ear.about(order_id)][-4:] == [
        "domain.billing.PaymentFailed",
        "domain.order.ReleaseInventory",
        "domain.inventory.InventoryReleased",
        "domain.order.OrderFailed",
    ]
    failed = system.ear.about(order_id)[-1][1]
    assert (failed["failedStep"], failed["compensated"], failed["reason"]) == (
        "ProcessPayment",
        True,
        "card declined",
    )
    assert system.done(order_id) == Record(reserved=Tally(1, Decimal(1)), released=Tally(1, Decimal(1)))


async def test_an_order_from_the_shell(system: System, environment: dict[str, str]) -> None:
    request = order_body(eventId=str(uuid4()), orderId=str(uuid4()))
    publish = ["publish", "app:app", json.dumps(request), "--exchange", "domain"]
    said = command_line([*publish, "--routing_key", "domain.order.CreateOrder"], environment)
    assert said.returncode == 0, said.stdout + said.stderr

    saga = await system.ended(request["orderId"])
    assert told(saga) == HAPPY_HISTORY
    await system.quiet()
    created = system.ear.about(request["orderId"])[1]
    assert (created[0], created[1]["causationId"]) == ("domain.order.OrderCreated", request["eventId"])


async def test_the_same_request_again_gives_the_same_order(system: System) -> None:
    request = order_body(eventId=str(uuid4()), orderId=str(uuid4()))
    for _ in range(5):
        await system.ear.publish("domain.order.CreateOrder", request)
    await system.ended(request["orderId"])
    await system.quiet()
    keys = [key for key, _ in system.ear.about(request["orderId"])]
    assert keys.count("domain.order.OrderCreated") == keys.count("domain.order.OrderCompleted") == 1
    assert system.done(request["orderId"]).charged == Tally(1, Decimal("1299.99"))


async def test_replies_that_come_twice_or_unexpectedly_change_nothing(system: System) -> None:
    order_id = await system.order(order_body())
    await system.ended(order_id)
    await system.quiet()
    replies = [(key, body) for key, body in system.ear.about(order_id) if not key.startswith("domain.order.")]
    before = await system.saga(order_id)
    for key, body in replies * 3:
        await system.ear.publish(key, body)
    stray = {"eventId": str(uuid4()), "orderId": order_id}
    await system.ear.publish("domain.inventory.InventoryReleased", stray)

    # the stray one leaves a trace, and as the last of its order it tells that all were taken
    async def taken() -> bool:
        return any(entry["status"] == "Ignored" for entry in (await system.saga(order_id))["history"])

    await until(taken)
    after = await system.saga(order_id)
    assert (after["status"], after["completedAt"]) == ("Completed", before["completedAt"])
    assert told(after)[:3] == HAPPY_HISTORY
    await system.quiet()
    assert [key for key, _ in system.ear.about(order_id)].count("domain.order.OrderCompleted") == 1


async def test_a_cancellation_before_anything_is_reserved_fails_the_order_at_once(system: System) -> None:
    system.inventory.behaviour["ValidateInventory"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())
    cancel = {"eventId": str(uuid4()), "orderId": order_id, "reason": "changed my mind"}
    await system.ear.publish("domain.order.CancelOrder", cancel)
    saga = await system.ended(order_id)
    assert (saga["status"], saga["cancelRequested"]) == ("Failed", True)
    assert told(saga) == [("ValidateInventory", "Cancelled", "Cancelled by the client: changed my mind")]


async def test_a_reply_to_of_an_incoming_message_is_ignored(system: System) -> None:
    request = order_body(eventId=str(uuid4()), orderId=str(uuid4()))
    answers = await system.ear._channel.declare_queue(exclusive=True)
    await system.ear.publish("domain.order.CreateOrder", request, reply_to=answers.name)
    await system.ended(request["orderId"])
    assert await answers.get(fail=False) is None


@pytest.mark.parametrize("workers", [2])
async def test_two_workers_share_the_work(system: System) -> None:
    orders = [await system.order(order_body()) for _ in range(10)]
    for order_id in orders:
        assert told(await system.ended(order_id)) == HAPPY_HISTORY
    await system.quiet()
    assert {system.done(order_id).charged for order_id in orders} == {Tally(1, Decimal("1299.99"))}


async def test_a_worker_that_was_killed_in_the_middle_loses_nothing(system: System) -> None:
    orders = [await system.order(order_body()) for _ in range(30)]
    system.service.kill()
    await system.let_leases_run_out()
    await system.service.restart()
    for order_id in orders:
        assert told(await system.ended(order_id, seconds=60)) == HAPPY_HISTORY
    await system.quiet()
    for order_id in orders:
        assert system.done(order_id) == Record(reserved=Tally(1, Decimal(1)), charged=Tally(1, Decimal("1299.99")))
