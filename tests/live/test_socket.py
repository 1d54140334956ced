"""`WS /api/orders/{id}/ws`: the same as the events, and how it is refused and closed."""

import asyncio
from uuid import uuid4

import httpx2
import pytest

from handlers.live.websocket import COME_AGAIN, ENDED, MAX_SAID, TALKS
from saga.transitions import Signal
from tests.http.conftest import HAPPY, Service
from tests.live.conftest import Live, left_behind
from tests.live.conversing import HOST, conversing
from tests.live.following import following


async def test_it_tells_what_the_events_tell_and_is_closed_after_the_last(live: Live) -> None:
    order_id = await live.place()
    async with conversing(live.app, order_id) as socket, following(live.url, order_id) as stream:
        await socket.accepted()
        assert await socket.saga() == (await stream.event()).data
        for signal in HAPPY:
            await live.happen(order_id, signal)
            assert await socket.saga() == (await stream.event()).data
        assert await socket.closed() == ENDED
    await live.nobody_follows()


async def test_it_is_closed_at_once_where_the_saga_has_ended(live: Live) -> None:
    order_id = await live.place()
    await live.happen(order_id, *HAPPY)
    async with conversing(live.app, order_id) as socket:
        await socket.accepted()
        assert (await socket.saga())["status"] == "Completed"
        assert await socket.closed() == ENDED


async def test_what_cannot_be_followed_is_denied_as_over_http(live: Live) -> None:
    order_id = await live.place()
    async with httpx2.AsyncClient(base_url=live.url) as client:
        await live.change(order_id, table_version=99)
        for wrong in (str(uuid4()), "nonsense", order_id):
            answer = await client.get(f"/api/orders/{wrong}/events")
            async with conversing(live.app, wrong) as socket:
                assert await socket.denied() == answer.json()
    await live.nobody_follows()


async def test_a_path_that_leads_nowhere_says_so(live: Live) -> None:
    async with httpx2.AsyncClient(base_url=live.url) as client, conversing(live.app, "no/such") as socket:
        assert await socket.denied() == (await client.get("/api/orders/no/such/ws")).json()


async def test_while_the_database_is_away_it_is_denied(homeless: Service) -> None:
    async with conversing(homeless.app, str(uuid4())) as socket:
        assert (await socket.denied())["type"] == "urn:order-service:database-away"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "https://localhost", f"http://{HOST}.evil.example", "http://["]
)
async def test_a_page_from_elsewhere_is_told_nothing(live: Live, origin: str) -> None:
    async with conversing(live.app, await live.place(), origin=origin) as socket:
        assert (await socket.denied())["status"] == 403
    assert len(live.here.followers) == 0


@pytest.mark.parametrize("headers", [{}, {"origin": f"http://{HOST}"}, {"origin": f"https://{HOST.upper()}"}])
async def test_a_page_of_the_service_and_a_program_are_told(live: Live, headers: dict[str, str]) -> None:
    async with conversing(live.app, await live.place(), **headers) as socket:
        await socket.accepted()
        await socket.saga()


async def test_sockets_and_streams_are_counted_together(live: Live) -> None:
    order_id = await live.place()
    live.here.followers.limit = 1
    async with following(live.url, order_id), conversing(live.app, order_id) as socket:
        assert (await socket.denied())["type"] == "urn:order-service:too-many-followers"


async def test_what_the_client_says_is_not_listened_to_and_no_more_than_a_little(live: Live) -> None:
    order_id = await live.place()
    async with conversing(live.app, order_id) as socket:
        await socket.accepted()
        await socket.saga()
        for said in ({"text": "hello"}, {"bytes": b"\0" * MAX_SAID}, {"text": "", "bytes": None}):
            socket.say(**said)
        await live.happen(order_id, Signal.INVENTORY_VALIDATED)
        assert (await socket.saga())["currentStep"] == "ReserveInventory"
        socket.say(text="x" * (MAX_SAID + 1))
        assert await socket.closed() == TALKS


async def test_where_nothing_changes_nothing_is_said(live: Live) -> None:
    order_id = await live.place()
    live.here.followers.keep_alive = 0.02
    async with conversing(live.app, order_id) as socket, following(live.url, order_id) as stream:
        await socket.accepted()
        await socket.saga()
        await stream.event()
        for _ in range(5):
            said = await stream.said()
            assert said
            assert said.comment
        await live.happen(order_id, Signal.CANCEL)
        assert (await socket.saga())["status"] == "Failed"


async def test_a_client_that_leaves_leaves_nothing_behind(live: Live) -> None:
    order_id = await live.place()
    for _ in range(3):
        async with conversing(live.app, order_id) as socket:
            await socket.accepted()
            await socket.saga()
            assert len(live.here.followers) == 1
    await live.nobody_follows()
    assert left_behind(order_id) == []


async def test_it_is_closed_with_a_word_when_the_service_stops(live: Live) -> None:
    async with conversing(live.app, await live.place()) as socket:
        await socket.accepted()
        await socket.saga()
        live.here.stop()
        assert await socket.closed() == COME_AGAIN
    async with conversing(live.app, str(uuid4())) as socket:
        assert (await socket.denied())["status"] == 503


async def test_it_is_closed_where_another_release_has_to_go_on(live: Live) -> None:
    order_id = await live.place()
    async with conversing(live.app, order_id) as socket:
        await socket.accepted()
        await socket.saga()
        await live.change(order_id, table_version=99)
        assert await socket.closed() == COME_AGAIN


async def test_whoever_does_not_read_is_hung_up_on(live: Live) -> None:
    order_id = await live.place()
    live.here.followers.patience = 0.05
    async with conversing(live.app, order_id) as socket:
        await socket.accepted()
        await socket.saga()
        socket.stop_reading()
        await live.happen(order_id, Signal.CANCEL)
        await live.nobody_follows()
        assert socket.aborted


async def test_whoever_does_not_read_is_cut_when_the_service_stops(live: Live) -> None:
    order_id = await live.place()
    async with conversing(live.app, order_id) as socket:
        await socket.accepted()
        await socket.saga()
        socket.stop_reading()
        live.here.stop()
        async with asyncio.timeout(3):
            await live.nobody_follows()
        assert socket.aborted
