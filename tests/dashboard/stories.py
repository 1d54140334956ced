"""What happens in the system that the browser looks at."""

import asyncio
from typing import Any

from local.rule import Behaviour
from tests.system.conftest import System, order_body
from tests.waiting import until

MUTE = Behaviour(mode="mute")
CANARY = "<img src=x onerror=\"document.title='bitten'\"> & {{ 7*7 }} “Söhne” \u202eabc"
"""Text that would be seen to run, were it not text."""
CANARY_SHOWN = CANARY.replace("\u202e", "⟨U+202E⟩")
"""As a page shows it: what would turn the line around is named."""


async def parked(shop: System, command: str, body: dict[str, Any] | None = None) -> str:
    """An order whose saga is parked, since nobody answered this command; they answer from now on."""
    return (await all_parked(shop, command, [body or order_body()]))[0]


async def all_parked(shop: System, command: str, bodies: list[dict[str, Any]]) -> list[str]:
    """The same with several."""
    participant = shop.inventory if command in shop.inventory.rules else shop.billing
    participant.behaviour[command] = MUTE
    ids = [await shop.order(body) for body in bodies]

    async def are_parked() -> bool:
        sagas = await asyncio.gather(*map(shop.saga, ids))
        return all(saga["incident"] for saga in sagas)

    await until(are_parked)
    participant.behaviour[command] = Behaviour()
    return ids


async def dead_letter(shop: System, **query: str) -> str:
    """The id of the dead letter that is like this, once it is there."""
    found: list[dict[str, Any]] = []

    async def is_there() -> bool:
        found[:] = (await shop.client.get("/api/dead-letters", params=query)).json()["items"]
        return bool(found)

    await until(is_there)
    return str(found[0]["id"])


async def webhook(shop: System, **changed: Any) -> tuple[str, str]:
    """A webhook whose receiver is not there, and its first delivery; their ids."""
    body = {"url": "http://127.0.0.1:9/hooks", "events": ["order.completed", "order.failed"]} | changed
    made = await shop.client.post("/api/webhooks", json=body)
    assert made.status_code == 201, made.text
    ping = await shop.client.post(f"/api/webhooks/{made.json()['id']}/ping")
    assert ping.status_code == 202, ping.text
    return str(made.json()["id"]), str(ping.json()["id"])


def calm(shop: System) -> None:
    """Whatever the stand-ins were told, they answer again."""
    for participant in (shop.inventory, shop.billing):
        participant.behaviour.update(dict.fromkeys(participant.rules, Behaviour()))
