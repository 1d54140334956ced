"""Thousands of messages that are nearly right, through a real broker to the running service; and then the accounts.

Whatever was consumed is applied, a duplicate, ignored, a conflict or a dead letter: exactly one of them (I12).
"""

import asyncio
import re
from collections import Counter
from random import Random
from typing import Any, cast

import aio_pika
import aiormq
import httpx2

from saga.outbox.message import EXCHANGE
from tests.faults.clients import Kind, Request, wish
from tests.faults.envelopes import envelope
from tests.faults.metrics import metrics
from tests.faults.mutants import KEYS, Mutants
from tests.faults.place import Place
from tests.service import complaints, told

TOGETHER = 100
LOOK_AT_EVERY = 10
ORDER_ID = re.compile(rb'"orderId": "([0-9a-f-]{36})"')
MESSAGES, MANY_MESSAGES = 300, 5_000
"""In the gate, and at length."""


async def test_what_was_consumed_is_accounted_for_to_the_last_message(here: Place, seed: int, at_length: bool) -> None:
    total = MANY_MESSAGES if at_length else MESSAGES
    service = await here.start_service()
    mutants, orders = Mutants(seed), [str(one) for one in await here.order([Kind.HAPPY, Kind.DECLINED], Random(seed))]
    messages = [(one.key, _about(one.body, orders, mutants.random)) for one in (mutants.next() for _ in range(total))]
    async with await aio_pika.connect(here.clients.amqp) as connection:
        channel = cast("aiormq.Channel", await (await connection.channel()).get_underlay_channel())
        for first in range(0, total, TOGETHER):
            await asyncio.gather(
                *(
                    channel.basic_publish(
                        body, exchange=EXCHANGE, routing_key=key, properties=envelope(mutants.random), wait=False
                    )
                    for key, body in messages[first : first + TOGETHER]
                )
            )
    await here.quiet(seconds=120)
    after = await here.clients.over_http(_good(seed))
    await here.quiet()

    # the service is as well as before
    states = await here.rows("SELECT status FROM orders WHERE id = $1", after)
    assert states == [{"status": "Confirmed"}]
    async with httpx2.AsyncClient(base_url=service.url, timeout=30) as client:
        assert (await client.get("/health/ready")).status_code == 200
        letters = await _all_letters(client)
        counted = metrics((await client.get("/metrics")).text)
    assert sum(counted["order_service_task_restarts_total"].values()) == 0
    assert sum(counted["order_service_consumer_restarts_total"].values()) == 0
    assert complaints(service.log) == []

    # and the accounts are right
    heard = await here.hear()
    consumed = Counter(one.routing_key for one in heard if one.routing_key in KEYS)
    events = counted["order_service_saga_events_total"]
    handled = Counter[str]()
    for labels, count in events.items():
        handled[dict(labels)["signal"]] += int(count)
    received = Counter[str]()
    for labels, count in counted["faststream_received_messages_total"].items():
        received[dict(labels)["handler"]] += int(count)
    refused = Counter[str]()
    for letter in letters:
        refused[letter["routingKey"]] += letter["count"]
    by_reason = Counter[str]()
    for letter in letters:
        by_reason[letter["reason"]] += letter["count"]
    counters = Counter(
        {dict(labels)["reason"]: int(count) for labels, count in counted["order_service_dead_letters_total"].items()}
    )
    assert counters <= by_reason
    # a letter that the broker did not confirm in time is sent once more, and the log says so
    again = by_reason.total() - counters.total()
    assert not again or any(line["event"].startswith("a dead letter cannot leave") for line in told(service.log))
    for key in KEYS:
        name = key.rsplit(".", 1)[-1]
        # an order over HTTP is an event that no message brought
        over_http = 2 if name == "CreateOrder" else 0
        # what was handed out once more, since its ack was lost, counts once more
        settled = handled[name] - over_http + refused[key]
        assert consumed[key] <= settled <= received[f"domain.{key}"] + again, name
    assert consumed.total() >= total


def _good(seed: int) -> Request:
    """An order that nothing is wrong with."""
    return wish(Kind.HAPPY, Random(seed + 1))


def _about(body: bytes, orders: list[str], random: Random) -> bytes:
    """Half of what is about an order is about one that there is: else nothing would ever be applied."""
    found = ORDER_ID.search(body)
    if found is None or random.random() < 0.5:
        return body
    return body[: found.start(1)] + random.choice(orders).encode() + body[found.end(1) :]


async def _all_letters(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    """Every dead letter, page by page; many of them are looked at whole."""
    letters: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 100}
    while True:
        page = (await client.get("/api/dead-letters", params=query)).raise_for_status().json()
        letters += page["items"]
        for letter in page["items"][::LOOK_AT_EVERY]:
            (await client.get(f"/api/dead-letters/{letter['id']}")).raise_for_status()
        if page["next"] is None:
            return letters
        query["after"] = page["next"]
