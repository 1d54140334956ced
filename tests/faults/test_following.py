"""Clients that follow an order at one instance while another moves its saga, and the first is told to stop."""

from random import Random

from local.rule import Behaviour
from tests.faults.clients import Kind, wish
from tests.faults.place import Place
from tests.faults.test_stopping import stopped
from tests.live.following import connected, following, long_history

WITHIN = 4.0
"""Seconds in which a service stops whose only work is to tell somebody; a client that does not read has one of them."""
GROW = "UPDATE order_sagas SET history = $2::jsonb, updated_at = clock_timestamp() WHERE order_id = $1"
SIZE = 4_000_000
RANDOM = Random(11)


async def test_they_are_told_what_another_instance_does_and_come_again_there(here: Place) -> None:
    here.participants["billing"].behaviour["ProcessPayment"] = Behaviour(mode="mute")
    watched, other = await here.start_service(), await here.start_service()
    order_id = await here.clients.over_http(wish(Kind.HAPPY, RANDOM))
    async with following(watched.url, str(order_id)) as stream:
        while (last := await stream.event()).data["currentStep"] != "ProcessPayment":
            pass
        assert await stopped(watched) < WITHIN
        assert await stream.rest() == []
    here.participants["billing"].behaviour["ProcessPayment"] = Behaviour()
    async with following(other.url, str(order_id), last=last.id) as stream:
        *_, completed, end = await stream.rest()
    assert (completed.data["status"], end.event) == ("Completed", "end")


async def test_one_that_does_not_read_does_not_keep_it(here: Place) -> None:
    here.participants["inventory"].behaviour["ValidateInventory"] = Behaviour(mode="mute")
    service = await here.start_service()
    order_id = await here.clients.over_http(wish(Kind.HAPPY, RANDOM))
    async with (
        connected(service.url, f"GET /api/orders/{order_id}/events", 4096),
        following(service.url, str(order_id)) as reading,
    ):
        # no attempts have such numbers
        for number in range(101, 106):
            await here.rows(GROW, order_id, long_history(number, SIZE))
            while number not in [entry["attempt"] for entry in (await reading.event()).data["history"]]:
                pass
        assert await stopped(service) < WITHIN
