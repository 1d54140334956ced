"""The rules of docs/state-machine.md on the running system, each test named after its rule."""

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from local.ledger import Record, Tally
from local.rule import Behaviour
from tests.system.conftest import System, order_body
from tests.waiting import until

ONE, PRICE = Decimal(1), Decimal("1299.99")


IMPATIENT = {
    "SAGA_STEP_TIMEOUT_SECONDS": "0.6",
    "SAGA_RETRY_ATTEMPTS": "2",
    "SAGA_RETRY_DELAY_SECONDS": "0.2",
    "SAGA_REASK_SECONDS": "0.6",
}


@pytest.fixture
def settings() -> dict[str, str]:
    """Impatient, so that the tests need not be patient."""
    return IMPATIENT


def statuses(saga: dict[str, Any], step: str) -> list[str]:
    return [entry["status"] for entry in saga["history"] if entry["step"] == step]


async def parked(system: System, order_id: str) -> dict[str, Any]:
    """The saga, once it is parked."""

    async def has_incident() -> bool:
        return (await system.saga(order_id))["incident"] is not None

    await until(has_incident)
    return await system.saga(order_id)


async def test_rule_1_a_timeout_is_retried_with_the_same_event_id_and_a_late_reply_is_a_reply(system: System) -> None:
    system.inventory.behaviour["ValidateInventory"] = Behaviour(mode="slow", seconds=1.0)
    order_id = await system.order(order_body())
    saga = await system.ended(order_id)
    assert saga["status"] == "Completed"
    assert statuses(saga, "ValidateInventory")[:1] == ["TimedOut"]
    assert statuses(saga, "ValidateInventory").count("Completed") == 1
    asked = [body for key, body in system.ear.about(order_id) if key == "domain.order.ValidateInventory"]
    assert len({body["eventId"] for body in asked}) == 1
    assert [body["attempt"] for body in asked] == list(range(1, len(asked) + 1))
    assert system.done(order_id) == Record(reserved=Tally(1, ONE), charged=Tally(1, PRICE))


async def test_rule_2_no_sends_left_parks_and_any_answer_resumes(system: System) -> None:
    system.inventory.behaviour["ReserveInventory"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())
    saga = await parked(system, order_id)
    assert (saga["status"], saga["incident"]["kind"]) == ("InProgress", "reservation_outcome_unknown")
    assert saga["waiting"]["then"] == "send ReserveInventory again"

    async def asked_while_parked() -> bool:
        return bool((await system.saga(order_id))["waiting"]["attempt"] >= 5)

    await until(asked_while_parked)
    system.inventory.behaviour["ReserveInventory"] = Behaviour()
    saga = await system.ended(order_id)
    assert (saga["status"], saga["incident"]) == ("Completed", None)
    assert statuses(saga, "ReserveInventory").count("Parked") == 1
    assert system.done(order_id) == Record(reserved=Tally(1, ONE), charged=Tally(1, PRICE))
    # one letter per parking, however often it is asked again
    [letter] = await system.dead_letters(1)
    assert (letter.shown["routingKey"], letter.reason, letter.count) == (
        "domain.order.ReserveInventory",
        "unanswered",
        1,
    )


@pytest.mark.parametrize("settings", [IMPATIENT | {"SAGA_REASK_SECONDS": "0"}], ids=["never asked again"])
async def test_rule_2_the_command_of_a_parked_saga_is_redriven_from_the_dead_letters(system: System) -> None:
    system.inventory.behaviour["ReserveInventory"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())
    await parked(system, order_id)
    [letter] = await system.dead_letters(1)
    system.inventory.behaviour["ReserveInventory"] = Behaviour()
    answer = await system.client.post(f"/api/dead-letters/{letter.shown['id']}/redrive")
    assert (answer.status_code, answer.json()["outcome"]) == (200, "redriven")
    assert (await system.ended(order_id))["status"] == "Completed"
    asked = [body for key, body in system.ear.about(order_id) if key == "domain.order.ReserveInventory"]
    assert asked[-1] == json.loads(letter.body)
    assert len({body["eventId"] for body in asked}) == 1
    assert system.done(order_id) == Record(reserved=Tally(1, ONE), charged=Tally(1, PRICE))


async def test_rule_4_a_reservation_given_up_while_unknown_is_released(system: System) -> None:
    system.inventory.behaviour["ReserveInventory"] = Behaviour(mode="mute-after")
    order_id = await system.order(order_body())
    await parked(system, order_id)
    await system.ear.publish("domain.order.CancelOrder", {"eventId": str(uuid4()), "orderId": order_id})
    saga = await system.ended(order_id)
    assert (saga["status"], saga["cancelRequested"]) == ("Compensated", True)
    assert system.done(order_id) == Record(reserved=Tally(1, ONE), released=Tally(1, ONE))


async def test_rule_5_a_payment_that_is_not_answered_is_never_answered_by_a_release(system: System) -> None:
    system.billing.behaviour["ProcessPayment"] = Behaviour(mode="mute-after")
    order_id = await system.order(order_body())
    saga = await parked(system, order_id)
    assert saga["incident"]["kind"] == "payment_outcome_unknown"
    assert "domain.order.ReleaseInventory" not in [key for key, _ in system.ear.about(order_id)]
    system.billing.behaviour["ProcessPayment"] = Behaviour()
    assert (await system.ended(order_id))["status"] == "Completed"
    assert system.done(order_id) == Record(reserved=Tally(1, ONE), charged=Tally(1, PRICE))


@pytest.mark.parametrize(
    ("mode", "outcome", "ends", "done"),
    [
        ("mute-after", "succeeded", "Completed", Record(reserved=Tally(1, ONE), charged=Tally(1, PRICE))),
        ("mute", "failed", "Compensated", Record(reserved=Tally(1, ONE), released=Tally(1, ONE))),
    ],
)
async def test_rule_5_a_person_says_whether_it_was_charged(
    system: System, mode: Any, outcome: str, ends: str, done: Record
) -> None:
    system.billing.behaviour["ProcessPayment"] = Behaviour(mode=mode)
    order_id = await system.order(order_body())
    await parked(system, order_id)
    verdict = {"outcome": outcome, "reason": "seen in the bank's list", "step": "ProcessPayment"}
    assert (await system.client.post(f"/api/sagas/{order_id}/resolve", json=verdict)).status_code == 200
    assert (await system.ended(order_id))["status"] == ends
    assert system.done(order_id) == done


async def test_rule_5_a_payment_that_is_given_up_is_refunded_before_the_release(system: System) -> None:
    system.billing.behaviour["ProcessPayment"] = Behaviour(mode="mute-after")
    order_id = await system.order(order_body())
    await parked(system, order_id)
    answer = await system.client.post(f"/api/sagas/{order_id}/compensate", json={"reason": "the customer is gone"})
    assert (answer.status_code, answer.json()["status"]) == (200, "Compensating")
    assert (await system.ended(order_id))["status"] == "Compensated"
    said = [key for key, _ in system.ear.about(order_id)]
    assert said.index("domain.billing.PaymentRefunded") < said.index("domain.order.ReleaseInventory")
    once, price = Tally(1, ONE), Tally(1, PRICE)
    assert system.done(order_id) == Record(reserved=once, released=once, charged=price, refunded=price)


async def test_rule_6_compensation_never_gives_up(system: System) -> None:
    system.inventory.behaviour["ReleaseInventory"] = Behaviour(mode="fail")
    order_id = await system.order(order_body(price="10000.01"))
    saga = await parked(system, order_id)
    assert (saga["status"], saga["incident"]["kind"]) == ("Compensating", "release_unanswered")
    system.inventory.behaviour["ReleaseInventory"] = Behaviour()
    saga = await system.ended(order_id)
    assert (saga["status"], saga["incident"]) == ("Compensated", None)
    assert system.done(order_id) == Record(reserved=Tally(1, ONE), released=Tally(1, ONE))


async def test_rule_7_a_late_success_is_undone_and_changes_no_end(system: System) -> None:
    order_id = await system.order(order_body(price="10000.01"))
    ended = await system.ended(order_id)
    late = {"eventId": str(uuid4()), "orderId": order_id}
    await system.ear.publish("domain.inventory.InventoryReserved", late)

    async def released_again() -> bool:
        keys = [key for key, _ in system.ear.about(order_id)]
        return keys.count("domain.inventory.InventoryReleased") == 2

    await until(released_again)
    await system.ear.publish("domain.billing.PaymentProcessed", late | {"eventId": str(uuid4())})

    async def refunded() -> bool:
        return "Completed" in statuses(await system.saga(order_id), "RefundPayment")

    await until(refunded)
    saga = await system.saga(order_id)
    assert (saga["status"], saga["completedAt"], saga["incident"]) == ("Compensated", ended["completedAt"], None)
    await system.quiet()
    assert [key for key, _ in system.ear.about(order_id)].count("domain.order.OrderFailed") == 1


async def test_rule_8_a_reply_that_answers_another_command_is_ignored(system: System) -> None:
    system.inventory.behaviour["ValidateInventory"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())
    stray = {"eventId": str(uuid4()), "orderId": order_id, "causationId": str(uuid4())}
    await system.ear.publish("domain.inventory.InventoryValidated", stray)

    async def ignored() -> bool:
        return "Ignored" in statuses(await system.saga(order_id), "ValidateInventory")

    await until(ignored)
    assert (await system.saga(order_id))["currentStep"] == "ValidateInventory"


async def test_rule_9_of_two_different_answers_the_first_wins_and_a_person_is_shown(system: System) -> None:
    order_id = await system.order(order_body())
    await system.ended(order_id)
    contrary = {"eventId": str(uuid4()), "orderId": order_id, "reason": "no funds after all"}
    await system.ear.publish("domain.billing.PaymentFailed", contrary)
    saga = await parked(system, order_id)
    assert (saga["status"], saga["incident"]["kind"]) == ("Completed", "contradiction")
    assert statuses(saga, "ProcessPayment") == ["Completed", "Conflict"]


@pytest.mark.parametrize("settings", [{}], ids=["patient"])
async def test_rule_10_a_cancellation_waits_for_the_reservation_in_flight_and_then_releases(system: System) -> None:
    system.inventory.behaviour["ReserveInventory"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())

    async def reserving() -> bool:
        return bool((await system.saga(order_id))["currentStep"] == "ReserveInventory")

    await until(reserving)
    for _ in range(2):
        await system.ear.publish("domain.order.CancelOrder", {"eventId": str(uuid4()), "orderId": order_id})

    async def noted() -> bool:
        return bool((await system.saga(order_id))["cancelRequested"])

    await until(noted)
    assert (await system.saga(order_id))["currentStep"] == "ReserveInventory"
    system.inventory.behaviour["ReserveInventory"] = Behaviour()
    assert (await system.client.post(f"/api/sagas/{order_id}/retry")).status_code == 200
    saga = await system.ended(order_id)
    assert (saga["status"], saga["cancelRequested"]) == ("Compensated", True)
    assert "domain.order.ProcessPayment" not in [key for key, _ in system.ear.about(order_id)]
    assert system.done(order_id) == Record(reserved=Tally(1, ONE), released=Tally(1, ONE))


async def test_rule_10_a_cancellation_that_comes_too_late_is_ignored(system: System) -> None:
    order_id = await system.order(order_body())
    await system.ended(order_id)
    await system.ear.publish("domain.order.CancelOrder", {"eventId": str(uuid4()), "orderId": order_id})

    async def ignored() -> bool:
        return bool((await system.saga(order_id))["history"][-1]["status"] == "Ignored")

    await until(ignored)
    saga = await system.saga(order_id)
    assert (saga["status"], saga["cancelRequested"]) == ("Completed", False)


async def test_rule_3_a_person_may_give_up_at_once_what_changes_nothing(system: System) -> None:
    system.inventory.behaviour["ValidateInventory"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())
    answer = await system.client.post(f"/api/sagas/{order_id}/compensate", json={"reason": "Inventory is being moved"})
    assert (answer.status_code, answer.json()["status"]) == (200, "Failed")
    await system.quiet()
    assert system.ear.about(order_id)[-1][0] == "domain.order.OrderFailed"
    assert system.done(order_id) == Record()


async def test_rule_11_one_order_however_it_is_asked_for_twice(system: System) -> None:
    body = order_body()
    key = {"Idempotency-Key": "twice"}
    answers = [await system.client.post("/api/orders", json=body, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    other = await system.client.post("/api/orders", json=body | {"items": order_body(2)["items"]}, headers=key)
    assert other.status_code == 422
    assert len(await system.rows("SELECT id FROM orders")) == 1


async def test_rule_12_a_reply_for_an_unknown_order_is_a_dead_letter(system: System) -> None:
    unknown = {"eventId": str(uuid4()), "orderId": str(uuid4())}
    await system.ear.publish("domain.inventory.InventoryValidated", unknown, message_id="unknown")

    async def stored() -> list[dict[str, Any]]:
        letters: list[dict[str, Any]] = (await system.client.get("/api/dead-letters")).json()["items"]
        return letters

    await until(stored)
    assert [letter["reason"] for letter in await stored()] == ["unknown_order"]


async def test_rule_13_what_a_person_does_is_written_with_who_and_why_and_counts_once(system: System) -> None:
    system.billing.behaviour["ProcessPayment"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())
    await parked(system, order_id)
    verdict = {"outcome": "failed", "reason": "the bank says no", "step": "ProcessPayment"}
    answers = [await system.client.post(f"/api/sagas/{order_id}/resolve", json=verdict) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    saga = await system.ended(order_id)
    [entry] = [entry for entry in saga["history"] if entry["status"] == "Resolved"]
    assert entry["actor"].startswith("operator@127.0.0.1")
    assert entry["message"].endswith("the bank says no")
    assert saga["status"] == "Compensated"
    late = await system.client.post(f"/api/sagas/{order_id}/retry")
    assert (late.status_code, late.headers["content-type"]) == (409, "application/problem+json")


async def test_rule_14_the_start_refuses_to_run_over_a_saga_of_a_table_that_it_does_not_know(system: System) -> None:
    system.inventory.behaviour["ValidateInventory"] = Behaviour(mode="mute")
    await system.order(order_body())
    system.service.kill()
    await system.rows("UPDATE order_sagas SET table_version = 99")
    with pytest.raises(AssertionError, match="version 99 of the transition table"):
        await system.service.restart()
    assert system.service.child.returncode not in (0, None)


async def test_rule_14_a_reply_for_a_saga_of_another_releases_table_is_held_until_somebody_knows_it(
    system: System,
) -> None:
    system.inventory.behaviour["ValidateInventory"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())
    await system.rows("UPDATE order_sagas SET table_version = 99")
    validated = {"eventId": str(uuid4()), "orderId": order_id}
    await system.ear.publish("domain.inventory.InventoryValidated", validated)

    async def held() -> bool:
        return "version 99 of the transition table" in system.service.log.read_text()

    await until(held)
    answer = await system.client.get(f"/api/orders/{order_id}/saga")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:order-service:unknown-table")
    assert await system.rows("SELECT 1 FROM dead_letters") == []
    await system.rows("UPDATE order_sagas SET table_version = 1")
    assert (await system.ended(order_id))["status"] == "Completed"
