"""Every page in both themes, wide and narrow; what moves by itself; and that nothing that was typed ever runs."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.dashboard.stories import CANARY, CANARY_SHOWN, MUTE, calm, dead_letter, parked, webhook
from tests.dashboard.visitor import Visitor
from tests.system.conftest import System, order_body
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
LOOKS = [(theme, size) for theme in ("light", "dark") for size in ("wide", "narrow")]
_OURS = {
    "overview": "/",
    "sagas": "/sagas",
    "saga-completed": "/sagas/{completed}",
    "saga-compensated": "/sagas/{compensated}",
    "saga-parked": "/sagas/{parked}",
    "retry": "/sagas/{parked}/retry",
    "resolve": "/sagas/{parked}/resolve",
    "compensate": "/sagas/{parked}/compensate",
    "cancel": "/sagas/{parked}/cancel",
    "refused": "/sagas/{completed}/retry",
    "retry-many": "/sagas/retry?incident=true",
    "dead-letters": "/dead-letters",
    "dead-letter": "/dead-letters/{letter}",
    "redrive-many": "/dead-letters/redrive?orderId={stranger}",
    "webhooks": "/webhooks",
    "webhook": "/webhooks/{webhook}",
    "webhook-off": "/webhooks/{off}",
    "delivery": "/webhooks/{webhook}/deliveries/{delivery}",
    "try": "/try",
}
_EMPTY = {
    "no-sagas": "/sagas?userId={stranger}",
    "no-letters": "/dead-letters?reason=expired",
    "nothing-to-retry": "/sagas/retry?userId={stranger}",
}
_WRONG = {
    "unknown-order": ("/sagas/{stranger}", 404),
    "wrong-filter": ("/sagas?status=Lost", 422),
    "wrong-letters": ("/dead-letters?orderId=x", 422),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def story(shop: System) -> dict[str, str]:
    """Orders that stand in different places, and a dead letter; their ids by what became of them."""
    hooked, delivery = await webhook(shop, description="The shop's own books")
    off, _ = await webhook(shop, userId=str(uuid4()))
    await shop.client.patch(f"/api/webhooks/{off}", json={"status": "disabled"})
    completed = await shop.order(order_body())
    compensated = await shop.order(order_body(price="10000.01"))
    failed = await shop.order(order_body(quantity=1001, price="1.00"))
    for order_id in (completed, compensated, failed):
        await shop.ended(order_id)
    stuck = await parked(shop, "ProcessPayment")
    late = {"eventId": str(uuid4()), "orderId": str(uuid4()), "message": "Payment processed"}
    await shop.ear.publish("domain.billing.PaymentProcessed", late)
    letter = await dead_letter(shop, orderId=late["orderId"])
    return {
        "completed": completed,
        "compensated": compensated,
        "parked": stuck,
        "letter": letter,
        "webhook": hooked,
        "delivery": delivery,
        "off": off,
        "stranger": late["orderId"],
    }


_PAGES = {name: (path, 200) for name, path in (_OURS | _EMPTY).items()} | _WRONG


@pytest.mark.parametrize("name", _PAGES)
async def test_every_page_is_in_order_in_both_themes_wide_and_narrow(
    visitor: Visitor, story: dict[str, str], name: str, screenshots: Path | None
) -> None:
    path, status = _PAGES[name]
    await visitor.open(path.format_map(story), status)
    faults: dict[str, list[str]] = {}
    for theme, size in LOOKS:
        await visitor.turns_to(theme, size)
        await visitor.picture(screenshots, name)
        faults[visitor.look] = await visitor.faults()
    faults["focus"] = await visitor.hidden_focus()
    assert not any(faults.values()), faults


@pytest.mark.parametrize("path", ["/docs", "/asyncapi"])
async def test_the_contracts_are_shown_without_the_internet(visitor: Visitor, path: str) -> None:
    await visitor.open(path)
    await visitor.sees("domain.order.CreateOrder" if path == "/asyncapi" else "/api/orders")


async def test_a_visitor_complains_of_what_a_page_must_not_do(visitor: Visitor) -> None:
    """What all these tests trust in."""
    await visitor.open("/try")
    await visitor.page.evaluate("""() => {
      document.body.insertAdjacentHTML("beforeend", "<p style='color: #aaa; width: 3000px'>pale</p><input><h5>x</h5>");
      document.body.append(Object.assign(document.createElement("script"), { text: "document.title = 'ran'" }));
      document.body.append(Object.assign(new Image(), { src: "http://127.0.0.1:9/" }));
      const button = document.body.appendChild(document.createElement("button"));
      button.textContent = "dull";
      button.style.outline = "none";
      setTimeout(() => { throw new Error("on purpose"); });
    }""")
    await visitor.page.wait_for_function("document.images.length > 0")
    await visitor.complains_of("style-src", "script-src", "img-src", "on purpose")
    assert await visitor.page.title() != "ran"
    found = await visitor.faults()
    found += await visitor.hidden_focus()
    for part in ("no label: <input>", "a heading of level 5 follows", "no description: <img", '<button style="outline'):
        assert any(part in one for one in found), found
    visitor.complaints.clear()


# ------------------------------------------------------------------------------------------------- it moves by itself


async def test_a_saga_moves_through_its_diagram_without_a_reload(visitor: Visitor, shop: System) -> None:
    shop.inventory.behaviour["ReserveInventory"] = MUTE
    order_id = await shop.order(order_body())
    await visitor.open(f"/sagas/{order_id}")
    await visitor.page.evaluate("window.mark = 'the very same page'")
    present = visitor.page.locator("svg .present .saga-name")
    await visitor.page.locator("svg .present", has_text="Reserv").first.wait_for()
    calm(shop)
    body = {"reason": "it is back"}
    # it waits for the attempt that was swallowed; a person asks again
    assert (await shop.client.post(f"/api/sagas/{order_id}/retry", json=body)).status_code == 200
    await visitor.sees("Nothing: it has ended.")
    await visitor.page.locator("svg .present", has_text="Completed").first.wait_for()
    assert await present.count() == 1
    assert await visitor.page.evaluate("window.mark") == "the very same page"


async def test_a_new_order_comes_into_the_list_without_a_reload(visitor: Visitor, shop: System) -> None:
    body = order_body()
    await visitor.open(f"/sagas?userId={body['userId']}")
    await visitor.sees("No saga is like that.")
    order_id = await shop.order(body)
    await visitor.link(order_id).wait_for()


async def test_the_overview_counts_a_new_order_without_a_reload(visitor: Visitor, shop: System) -> None:
    await visitor.open("/")
    await visitor.page.evaluate("window.mark = 'the very same page'")
    completed = "Number(document.querySelector('.figure.good dd').textContent.replaceAll(',', ''))"
    before = await visitor.page.evaluate(completed)
    await shop.ended(await shop.order(order_body()))

    async def counted() -> bool:
        return bool(await visitor.page.evaluate(f"{completed} > {before}"))

    await until(counted)
    assert await visitor.page.evaluate("window.mark") == "the very same page"


# --------------------------------------------------------------------------------------------------- nothing typed runs


async def test_whatever_was_typed_stays_text_on_every_page(visitor: Visitor, shop: System) -> None:
    body = order_body()
    body["items"][0]["productName"] = CANARY
    order_id = await parked(shop, "ProcessPayment", body)
    words = {"reason": CANARY}
    named = {b"X-Operator": CANARY.encode()}
    assert (await shop.client.post(f"/api/sagas/{order_id}/retry", json=words, headers=named)).status_code == 200
    await shop.ended(order_id)
    said = {"eventId": str(uuid4()), "orderId": order_id, "reason": CANARY, "message": CANARY}
    await shop.ear.publish("domain.billing.PaymentFailed", said)
    lost = {"orderId": str(uuid4()), CANARY: CANARY}
    await shop.ear.publish("domain.billing.PaymentProcessed", lost, message_id=CANARY, headers={CANARY: CANARY})
    letter = await dead_letter(shop, orderId=lost["orderId"])
    hooked, _ = await webhook(shop, description=CANARY)
    gone = await shop.client.delete(f"/api/dead-letters/{letter}", params={"reason": CANARY}, headers=named)
    assert gone.status_code == 200
    for path, status, seen in (
        (f"/sagas/{order_id}", 200, CANARY_SHOWN),
        (f"/sagas/{order_id}/resolve", 200, None),
        (f"/dead-letters/{letter}", 200, CANARY_SHOWN),
        (f"/dead-letters?state=discarded&orderId={lost['orderId']}", 200, None),
        (f"/sagas/{order_id}?done={CANARY}", 200, None),
        (f"/sagas?userId={CANARY}", 422, None),
        (f"/dead-letters?routingKey={CANARY}", 200, None),
        (f"/dead-letters?orderId={CANARY}", 422, None),
        (f"/sagas/retry?userId={CANARY}", 422, None),
        (f"/webhooks/{hooked}", 200, CANARY_SHOWN),
        ("/webhooks", 200, CANARY_SHOWN),
        (f"/webhooks?done={CANARY}", 200, None),
        (f"/sagas/{CANARY.replace('/', '')}/retry", 422, None),
    ):
        await visitor.open(path, status)
        if seen:
            await visitor.sees(seen)
        assert await visitor.page.evaluate("document.querySelectorAll('img, main script').length") == 0
        assert "bitten" not in await visitor.page.title()
    shown = await visitor.page.content()
    assert "49 " not in json.dumps(shown)
