"""What operators do, with a real browser at a real system: by clicks, by the keyboard alone, and without a script."""

import json
from uuid import uuid4

import aio_pika
import pytest
from playwright.async_api import Browser

from local.rule import Behaviour
from saga.outbox.message import DEAD_LETTER_EXCHANGE
from tests.dashboard.stories import CANARY, CANARY_SHOWN, MUTE, all_parked, dead_letter, parked
from tests.dashboard.visitor import Visitor
from tests.system.conftest import System, order_body
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

_ROUND_TRIP = "fetch('/sagas').then((answer) => answer.ok)"


# ------------------------------------------------------------------------------------------------- one saga, by clicks


async def test_a_parked_saga_is_resumed_by_a_click(visitor: Visitor, shop: System) -> None:
    order_id = await parked(shop, "ValidateInventory")
    await visitor.open(f"/sagas/{order_id}")
    await visitor.link("Ask again…").click()
    await visitor.sees("to Inventory, attempt 2")
    await visitor.sees("ReserveInventory, then ProcessPayment would follow")
    await visitor.page.get_by_label("Reason").fill(CANARY)
    await visitor.button("Ask again now").click()
    await visitor.sees("The open command was sent again.")
    # it moves on by itself: nothing is loaded anew
    await visitor.sees("Nothing: it has ended.")
    await visitor.sees(f"asked again by an operator: {CANARY_SHOWN}")
    assert (await shop.ended(order_id))["status"] == "Completed"
    assert "bitten" not in await visitor.page.title()


async def test_what_really_happened_can_be_said(visitor: Visitor, shop: System) -> None:
    order_id = await parked(shop, "ProcessPayment")
    await visitor.open(f"/sagas/{order_id}")
    await visitor.link("Say what really happened…").click()
    await visitor.sees("payment outcome unknown")
    await visitor.page.get_by_label("It was not carried out").check()
    await visitor.page.get_by_label("Reason").fill("Billing has no such charge")
    await visitor.button("That is what happened").click()
    await visitor.sees("Your verdict stands in the history")
    assert (await shop.ended(order_id))["status"] == "Compensated"


async def test_an_order_is_given_up_and_undone(visitor: Visitor, shop: System) -> None:
    order_id = await parked(shop, "ProcessPayment")
    await visitor.open(f"/sagas/{order_id}")
    await visitor.link("Give up and undo…").click()
    await visitor.sees("RefundPayment")
    await visitor.button("Give this order up").click()
    # the browser itself asks for the reason
    assert await visitor.page.evaluate("document.activeElement.id") == "reason"
    await visitor.page.get_by_label("Reason").fill("the customer is gone")
    await visitor.button("Give this order up").click()
    await visitor.sees("The order is given up.")
    assert (await shop.ended(order_id))["status"] == "Compensated"


async def test_an_order_is_cancelled(visitor: Visitor, shop: System) -> None:
    order_id = await parked(shop, "ReserveInventory")
    await visitor.open(f"/sagas/{order_id}")
    await visitor.link("Cancel for the client…").click()
    await visitor.button("Cancel this order").click()
    await visitor.sees("The order is cancelled")
    assert (await shop.ended(order_id))["status"] == "Compensated"


async def test_the_incident_of_an_order_that_has_ended_is_closed(visitor: Visitor, shop: System) -> None:
    order_id = await shop.order(order_body())
    await shop.ended(order_id)
    late = {"eventId": str(uuid4()), "orderId": order_id, "reason": "it was declined after all"}
    await shop.ear.publish("domain.billing.PaymentFailed", late)
    await visitor.open(f"/sagas/{order_id}")
    await visitor.link("Close the incident…").click()
    await visitor.page.get_by_label("Reason").fill("spoken with them")
    await visitor.button("Close it").click()
    await visitor.sees("The incident is closed.")
    assert (await shop.saga(order_id))["incident"] is None


async def test_a_saga_that_moved_meanwhile_says_so_and_nothing_else_is_done(visitor: Visitor, shop: System) -> None:
    order_id = await parked(shop, "ValidateInventory")
    shop.inventory.behaviour["ReserveInventory"] = MUTE
    await visitor.open(f"/sagas/{order_id}/compensate")
    body = {"outcome": "succeeded", "reason": "somebody else"}
    assert (await shop.client.post(f"/api/sagas/{order_id}/resolve", json=body)).status_code == 200
    visitor.expected.append("status of 409")
    await visitor.page.get_by_label("Reason").fill(CANARY)
    await visitor.button("Give this order up").click()
    await visitor.sees("Nothing was changed: another command is open by now")
    assert await visitor.page.get_by_label("Reason").input_value() == CANARY
    # what would come of it now is another thing
    await visitor.sees("ReleaseInventory")
    assert (await shop.saga(order_id))["currentStep"] == "ReserveInventory"
    await visitor.button("Give this order up").click()
    assert (await shop.ended(order_id))["status"] == "Compensated"


# ------------------------------------------------------------------------------------------- one saga, by the keyboard


async def test_everything_is_done_by_the_keyboard_alone(visitor: Visitor, shop: System) -> None:
    retried, given_up = await parked(shop, "ValidateInventory"), await parked(shop, "ProcessPayment")
    resolved, cancelled = await all_parked(shop, "ReserveInventory", [order_body(), order_body()])
    await visitor.open(f"/sagas/{retried}")
    await visitor.presses(visitor.link("Ask again…"))
    await visitor.presses(visitor.button("Ask again now"))
    await visitor.sees("The open command was sent again.")

    await visitor.open(f"/sagas/{resolved}")
    await visitor.presses(visitor.link("Say what really happened…"))
    await visitor.presses(visitor.page.get_by_label("It was carried out"), "Space")
    await visitor.types(visitor.page.get_by_label("Reason"), "seen in the warehouse")
    await visitor.presses(visitor.button("That is what happened"))
    await visitor.sees("Your verdict stands in the history")

    await visitor.open(f"/sagas/{given_up}")
    await visitor.presses(visitor.link("Give up and undo…"))
    await visitor.types(visitor.page.get_by_label("Reason"), "the customer is gone")
    await visitor.page.keyboard.press("Enter")
    await visitor.sees("The order is given up.")

    await visitor.open(f"/sagas/{cancelled}")
    await visitor.presses(visitor.link("Cancel for the client…"))
    await visitor.presses(visitor.button("Cancel this order"))
    await visitor.sees("The order is cancelled")
    ended = [(await shop.ended(order_id))["status"] for order_id in (retried, resolved, given_up, cancelled)]
    assert ended == ["Completed", "Completed", "Compensated", "Compensated"]


# --------------------------------------------------------------------------------------------------------- many sagas


@pytest.mark.parametrize("script", [True, False])
async def test_many_are_asked_again_step_by_step(browser: Browser, shop: System, script: bool) -> None:
    """With a script it goes on by itself; without one there is a button."""
    user = str(uuid4())
    bodies = [order_body() | {"userId": user} for _ in range(4)]
    await shop.ended(await shop.order(bodies[0]))
    waiting = await all_parked(shop, "ValidateInventory", bodies[1:])
    async with Visitor(browser, shop.service.url, script=script) as visitor:
        await visitor.open(f"/sagas?userId={user}")
        await visitor.link("Ask these again…").click()
        await visitor.sees("3 of the 4 that are meant would be done.")
        await visitor.sees("send ValidateInventory again, attempt 2")
        assert [(await shop.saga(order_id))["waiting"]["attempt"] for order_id in waiting] == [1, 1, 1]
        await visitor.page.get_by_label("Reason").fill("Inventory is back")
        # two or three a step
        await visitor.page.get_by_label("How many a second").fill("1")
        await visitor.button("Ask them again").click()
        if not script:
            await visitor.sees("2 done, 0 left alone so far.")
            await visitor.button("Go on").click()
        await visitor.sees("3 done, 1 left alone so far. That was all.")
        assert visitor.unexpected() == []
    for order_id in waiting:
        saga = await shop.ended(order_id)
        assert saga["status"] == "Completed"
        assert any(entry["message"].endswith(": Inventory is back") for entry in saga["history"])


async def test_whoever_goes_elsewhere_is_not_overtaken_by_the_next_step(visitor: Visitor, shop: System) -> None:
    """A click on the way out counts, however long the next page takes to come."""
    user = str(uuid4())
    shop.inventory.behaviour["ValidateInventory"] = MUTE
    for _ in range(3):
        await shop.order(order_body() | {"userId": user})
    await visitor.page.clock.install()
    await visitor.open(f"/sagas/retry?userId={user}")
    await visitor.page.get_by_label("How many a second").fill("0.1")
    await visitor.button("Ask them again").click()
    await visitor.sees("1 done, 0 left alone so far.")
    await visitor.page.clock.run_for(5_000)
    # no step is on its way: that would take the page away
    assert await visitor.page.evaluate(_ROUND_TRIP)
    assert "1 done" in await visitor.page.inner_text("main")
    async with visitor.page.expect_request(lambda request: request.method == "POST"):
        await visitor.page.clock.run_for(5_000)
    await visitor.sees("2 done, 0 left alone so far.")
    await visitor.page.evaluate("addEventListener('click', (event) => event.preventDefault())")
    await visitor.link("Stop here").click()
    await visitor.page.clock.run_for(20_000)
    assert await visitor.page.evaluate(_ROUND_TRIP)
    await visitor.sees("2 done, 0 left alone so far.")


async def test_where_there_is_nothing_to_ask_again_the_page_says_so(visitor: Visitor) -> None:
    await visitor.open(f"/sagas/retry?userId={uuid4()}")
    await visitor.sees("There is nothing to ask again")
    assert await visitor.faults() == []


# -------------------------------------------------------------------------------------------------------- dead letters


async def _letter(shop: System, body: bytes, routing_key: str, **headers: str) -> str:
    """A dead letter of somebody's; its id."""
    exchange = await shop.ear._channel.get_exchange(DEAD_LETTER_EXCHANGE, ensure=False)
    await exchange.publish(aio_pika.Message(body, headers=dict(headers)), routing_key)
    return await dead_letter(shop, routingKey=routing_key)


async def test_a_dead_letter_is_looked_at_and_given_up(visitor: Visitor, shop: System) -> None:
    order_id, key = str(uuid4()), f"domain.strange.{uuid4().hex}<b>"
    body = json.dumps({"orderId": order_id, "note": CANARY}, ensure_ascii=False).encode()
    id_ = await _letter(shop, body, key, trick=CANARY)
    await visitor.open("/dead-letters")
    await visitor.page.get_by_label("Order", exact=True).fill(order_id)
    await visitor.button("Filter").click()
    await visitor.link(key).click()
    await visitor.sees("no queue of this service is bound")
    assert (
        json.dumps({"note": CANARY_SHOWN}, ensure_ascii=False)[1:-1] in await visitor.page.locator("pre").inner_text()
    )
    await visitor.sees(CANARY_SHOWN)
    assert await visitor.faults() == []
    # no queue of ours has had it
    assert await visitor.page.get_by_role("button", name="Redrive").count() == 0
    await visitor.page.get_by_text("Give it up instead").click()
    await visitor.page.get_by_label("Reason").fill("nobody's")
    await visitor.button("Discard it").click()
    await visitor.sees("The letter was given up.")
    assert (await shop.client.get(f"/api/dead-letters/{id_}")).json()["state"] == "discarded"


async def test_a_dead_letter_that_is_of_use_is_redriven_and_discarded_by_the_keyboard(
    visitor: Visitor, shop: System
) -> None:
    order_id = str(uuid4())
    body = json.dumps({"eventId": str(uuid4()), "orderId": order_id}).encode()
    await shop.ear.publish("domain.order.CancelOrder", body)
    await dead_letter(shop, orderId=order_id)
    await visitor.open(f"/dead-letters?orderId={order_id}")
    await visitor.presses(visitor.link("domain.order.CancelOrder"))
    await visitor.presses(visitor.button("Redrive it"))
    await visitor.sees("The letter was published again, as it was.")

    async def came_back() -> bool:
        answer = await shop.client.get("/api/dead-letters", params={"orderId": order_id})
        return bool(answer.json()["items"] and answer.json()["items"][0]["count"] == 2)

    await until(came_back)
    await visitor.page.reload()
    await visitor.presses(visitor.page.get_by_text("Give it up instead"))
    await visitor.types(visitor.page.get_by_label("Reason"), CANARY)
    await visitor.presses(visitor.button("Discard it"))
    await visitor.sees("The letter was given up.")
    await visitor.sees(CANARY_SHOWN)
    assert await visitor.page.get_by_role("button", name="Redrive").count() == 0


async def test_bytes_are_shown_as_bytes(visitor: Visitor, shop: System) -> None:
    id_ = await _letter(shop, bytes(range(256)) * 200, f"bytes.{uuid4().hex}")
    await visitor.open(f"/dead-letters/{id_}")
    text = await visitor.page.locator("pre").inner_text()
    assert text.startswith("000000  00 01 02 03")
    assert text.splitlines()[4].endswith("@ABCDEFGHIJKLMNO")
    await visitor.sees("34816 bytes more are not shown.")
    assert await visitor.faults() == []


async def test_many_letters_are_redriven(visitor: Visitor, shop: System) -> None:
    key = "domain.inventory.InventoryValidationFailed"
    for _ in range(3):
        order_id = str(uuid4())
        await shop.ear.publish(key, {"eventId": str(uuid4()), "orderId": order_id})
        await dead_letter(shop, orderId=order_id)
    await visitor.open(f"/dead-letters?routingKey={key}")
    await visitor.link("Redrive these…").click()
    await visitor.sees("would be redriven")
    await visitor.button("Redrive them").click()
    await visitor.sees("3 done, 0 left alone so far. That was all.")
    assert [message.routing_key for message in shop.ear.heard].count(key) == 6


# -------------------------------------------------------------------------------------------------------------- try it


async def test_a_newcomer_sees_every_scenario(visitor: Visitor, shop: System) -> None:
    for button, words in (
        ("Order a laptop", "Payment processed"),
        ("Order too many", "out of stock"),
        ("Order too dear", "Inventory released"),
    ):
        await visitor.open("/try")
        await visitor.button(button).click()
        await visitor.page.wait_for_url("**/sagas/*")
        await visitor.sees(words)
        await visitor.sees("Nothing: it has ended.")


async def test_inventory_that_is_down_comes_back_by_the_keyboard(visitor: Visitor, shop: System) -> None:
    await visitor.open("/try")
    await visitor.presses(visitor.button("Order while it is down"))
    await visitor.page.wait_for_url("**/sagas/*")
    order_id = visitor.page.url.rpartition("/")[2]
    await visitor.sees("It is parked")
    await visitor.open("/try")
    assert await visitor.field("ValidateInventory").input_value() == "mute"
    await visitor.presses(visitor.button("All answer again"))
    await visitor.sees("The stand-ins were told.")
    assert await visitor.field("ValidateInventory").input_value() == "normal"
    await visitor.open(f"/sagas/{order_id}/retry")
    await visitor.presses(visitor.button("Ask again now"))
    assert (await shop.ended(order_id))["status"] == "Completed"


async def test_a_stand_in_is_told_how_to_behave(visitor: Visitor, shop: System) -> None:
    await visitor.open("/try")
    await visitor.field("ProcessPayment").select_option("refuses")
    await visitor.field("ReleaseInventory").select_option("answers 3 s late")
    await visitor.button("Tell them").click()
    await visitor.sees("The stand-ins were told.")
    assert shop.billing.behaviour["ProcessPayment"].mode == "fail"
    assert shop.inventory.behaviour["ReleaseInventory"] == Behaviour(mode="slow", seconds=3)


async def test_what_was_typed_wrong_stays_and_is_said_beside_its_field(visitor: Visitor, shop: System) -> None:
    await visitor.open("/try")
    await visitor.types(visitor.field("Product"), CANARY)
    await visitor.types(visitor.field("Pieces"), "two")
    visitor.expected.append("status of 422")
    await visitor.page.keyboard.press("Enter")
    await visitor.sees("valid integer")
    assert await visitor.field("Product").input_value() == CANARY
    assert await visitor.faults() == []
    await visitor.types(visitor.field("Pieces"), "2")
    await visitor.presses(visitor.button("Place this order"))
    await visitor.page.wait_for_url("**/sagas/*")
    await visitor.sees(CANARY_SHOWN)
    assert await visitor.faults() == []


# ----------------------------------------------------------------------------------------------------------- webhooks


async def test_a_webhook_is_added_tried_and_taken_away_without_a_script(browser: Browser, shop: System) -> None:
    async with Visitor(browser, shop.service.url, script=False) as visitor:
        await visitor.open("/webhooks")
        await visitor.types(visitor.field("URL"), "http://127.0.0.1:9/hooks")
        await visitor.types(visitor.field("Description (if you like)"), CANARY)
        await visitor.presses(visitor.button("Add it"))
        await visitor.sees("the only time that it is shown")
        await visitor.sees("whsec_")
        await visitor.presses(visitor.link("I have it"))
        await visitor.sees(CANARY_SHOWN)
        assert "whsec_" not in await visitor.page.content()
        await visitor.presses(visitor.button("Send a ping"))
        await visitor.sees("A ping is on its way")
        await visitor.presses(visitor.link("webhook.ping"))
        await visitor.sees('"type":"webhook.ping"')
        await visitor.presses(visitor.link("Its webhook"))
        await visitor.page.get_by_text("Take it away").first.click()
        await visitor.presses(visitor.page.get_by_label("Nothing is sent to it any more"), "Space")
        await visitor.presses(visitor.button("Take it away"))
        await visitor.sees("The webhook is taken away")
        assert visitor.unexpected() == []
