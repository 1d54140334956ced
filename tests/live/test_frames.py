"""`WS /api/orders/{id}/ws` under the real server: what of it is the server's part."""

import asyncio
import json
from uuid import uuid4

import pytest

from handlers.live.websocket import COME_AGAIN, ENDED, MAX_SAID, TALKS
from saga.transitions import Signal
from tests.http.conftest import HAPPY
from tests.live.conftest import Live
from tests.live.frames import Opcode, asking, framed


async def test_it_tells_pings_and_ends(live: Live) -> None:
    order_id = await live.place()
    async with framed(live.url, order_id) as frames:
        assert (await frames.saga())["currentStep"] == "ValidateInventory"
        for number in range(50):
            frames.say(Opcode.TEXT, b"%d" % number)
        frames.say(Opcode.PING, b"there?")
        assert await frames.heard() == (Opcode.PONG, b"there?")
        for signal, step in zip(HAPPY, ("ReserveInventory", "ProcessPayment", "Completed"), strict=True):
            await live.happen(order_id, signal)
            assert (await frames.saga())["currentStep"] == step
        assert await frames.closed() == ENDED
    await live.nobody_follows()


@pytest.mark.parametrize(("path", "header", "status"), [
    (f"/api/orders/{uuid4()}/ws", "X-Nothing: 0", 404),
    ("/api/orders/nonsense/ws", "X-Nothing: 0", 422),
    (f"/api/orders/{uuid4()}/ws", "Origin: http://evil.example", 403),
], ids=["unknown", "bad", "from elsewhere"])  # fmt: skip
async def test_it_is_denied_before_it_is_opened(live: Live, path: str, header: str, status: int) -> None:
    async with asking(live.url, path, header) as stream:
        assert stream.status == status
        assert stream.headers["content-type"] == "application/problem+json"
        assert json.loads(await stream.body())["status"] == status


async def test_who_says_much_and_who_leaves_are_gone(live: Live) -> None:
    order_id = await live.place()
    async with framed(live.url, order_id) as frames:
        await frames.saga()
        frames.say(Opcode.TEXT, b"x" * (MAX_SAID + 1))
        assert await frames.closed() == TALKS
    async with framed(live.url, order_id) as frames:
        await frames.saga()
        assert len(live.here.followers) == 1
    await live.nobody_follows()


async def test_it_is_closed_with_a_word_when_the_service_stops(live: Live) -> None:
    async with framed(live.url, await live.place()) as frames:
        await frames.saga()
        live.here.stop()
        assert await frames.closed() == COME_AGAIN


async def test_whoever_does_not_read_is_hung_up_on(live: Live) -> None:
    order_id = await live.place()
    live.here.followers.patience = 0.3
    async with framed(live.url, order_id, receive_buffer=4096), framed(live.url, order_id) as quick:
        await quick.saga()
        for number in range(1, 100):
            await live.grow(order_id, number, 1_000_000)
            assert (await quick.saga())["history"][0]["attempt"] == number
            if len(live.here.followers) == 1:
                break
        assert len(live.here.followers) == 1
        await live.happen(order_id, Signal.CANCEL)
        assert (await quick.saga())["status"] == "Failed"
        async with asyncio.timeout(30):
            assert await quick.closed() == ENDED
