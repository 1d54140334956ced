"""`GET /api/orders/{id}/events`: what a client is told, when, and when it ends."""

import asyncio
import json
from uuid import uuid4

import httpx2
import pytest

from handlers.live.sse import RETRY_MILLISECONDS
from saga.transitions import Signal
from tests.http.conftest import HAPPY, Service, listening, problem
from tests.live.conftest import Live
from tests.live.following import connected, following

LATE = (Signal.INVENTORY_VALIDATION_FAILED, Signal.INVENTORY_RESERVED)
"""What was refused is reserved all the same."""


async def test_the_first_state_comes_at_once_and_is_what_a_get_has(live: Live) -> None:
    order_id = await live.place()
    async with httpx2.AsyncClient() as client:
        got = await client.get(f"{live.url}/api/orders/{order_id}/saga")
    async with following(live.url, order_id) as stream:
        first = await stream.event()
    assert stream.status == 200
    assert stream.headers["content-type"] == "text/event-stream"
    assert stream.headers["cache-control"] == "no-store"
    assert stream.headers["x-accel-buffering"] == "no"
    assert stream.headers["x-content-type-options"] == "nosniff"
    assert stream.retry in range(RETRY_MILLISECONDS[0], RETRY_MILLISECONDS[1] + 1)
    assert (first.event, first.data, f'"{first.id}"') == ("saga", got.json(), got.headers["etag"])


async def test_every_change_comes_whoever_made_it_and_then_the_end(live: Live) -> None:
    order_id = await live.place()
    async with following(live.url, order_id) as stream:
        seen = [await stream.event()]
        for signal in HAPPY:
            await live.happen(order_id, signal)
            seen.append(await stream.event())
        rest = await stream.rest()
    assert [one.data["currentStep"] for one in seen] == [
        "ValidateInventory",
        "ReserveInventory",
        "ProcessPayment",
        "Completed",
    ]
    assert len({one.id for one in seen}) == 4
    assert [(one.event, one.id, one.data) for one in rest] == [("end", None, {"status": "Completed"})]
    await live.nobody_follows()


async def test_whoever_comes_too_late_is_told_the_end(live: Live) -> None:
    order_id = await live.place()
    await live.happen(order_id, *HAPPY)
    async with following(live.url, order_id) as stream:
        assert [one.event for one in await stream.rest()] == ["saga", "end"]


async def test_whoever_comes_again_is_told_only_what_is_new(live: Live) -> None:
    order_id = await live.place()
    async with following(live.url, order_id) as stream:
        first = await stream.event()
    async with following(live.url, order_id, last=first.id) as stream:
        await _watched(live)
        await live.happen(order_id, Signal.INVENTORY_VALIDATED)
        second = await stream.event()
    assert second.data["currentStep"] == "ReserveInventory"
    # nothing was followed meanwhile
    await live.happen(order_id, Signal.INVENTORY_RESERVED)
    async with following(live.url, order_id, last=second.id) as stream:
        third = await stream.event()
    assert third.data["currentStep"] == "ProcessPayment"


@pytest.mark.parametrize("last", ["", "of another kind", "0" * 4000])
async def test_an_unknown_last_event_id_is_one_of_long_ago(live: Live, last: str) -> None:
    order_id = await live.place()
    async with following(live.url, order_id, last=last) as stream:
        assert (await stream.event()).event == "saga"


async def test_who_has_the_last_event_is_told_not_to_come_again(live: Live) -> None:
    order_id = await live.place()
    await live.happen(order_id, *HAPPY)
    async with following(live.url, order_id) as stream:
        last, _ = await stream.rest()
    async with following(live.url, order_id, last=last.id) as stream:
        assert stream.status == 204
        assert "content-length" not in stream.headers
    # it is no end for somebody who has not seen it
    async with following(live.url, order_id, last="before") as stream:
        assert [one.id for one in await stream.rest()] == [last.id, None]


async def test_a_saga_that_must_still_undo_something_has_not_ended(live: Live) -> None:
    order_id = await live.place()
    await live.happen(order_id, *LATE)
    async with following(live.url, order_id) as stream:
        undoing = await stream.event()
        assert (undoing.data["status"], undoing.data["waiting"]["for"][0]) == ("Failed", "InventoryReleased")
        await live.happen(order_id, Signal.INVENTORY_RELEASED)
        undone, end = await stream.rest()
    assert (undone.data["waiting"], end.data) == (None, {"status": "Failed"})


async def test_who_has_the_end_and_comes_again_is_told_what_happened_after_it(live: Live) -> None:
    order_id = await live.place()
    await live.happen(order_id, LATE[0])
    async with following(live.url, order_id) as stream:
        ended, _ = await stream.rest()
    await live.happen(order_id, LATE[1])
    async with following(live.url, order_id, last=ended.id) as stream:
        assert (await stream.event()).data["waiting"]["for"][0] == "InventoryReleased"


async def test_something_is_said_although_nothing_happens(live: Live) -> None:
    order_id = await live.place()
    live.here.followers.keep_alive = 0.05
    async with following(live.url, order_id) as stream:
        await stream.event()
        async with asyncio.timeout(30):
            for _ in range(3):
                said = await stream.said()
                assert said is not None
                assert said.comment
        await live.happen(order_id, Signal.CANCEL)
        assert [one.event for one in await stream.rest()] == ["saga", "end"]


async def test_what_cannot_be_followed_is_a_problem_before_anything_is_said(live: Live) -> None:
    async with httpx2.AsyncClient(base_url=live.url) as client:
        problem(await client.get(f"/api/orders/{uuid4()}/events"), 404)
        problem(await client.get("/api/orders/nonsense/events"), 422)
        wrong = await client.post(f"/api/orders/{uuid4()}/events")
        assert (problem(wrong, 405)["status"], wrong.headers["allow"]) == (405, "GET")
        assert (await client.head(f"/api/orders/{uuid4()}/events")).status_code == 405
        order_id = await live.place()
        await live.change(order_id, table_version=99)
        answer = await client.get(f"/api/orders/{order_id}/events")
        assert problem(answer, 503)["type"] == "urn:order-service:unknown-table"
        assert answer.headers["retry-after"]
    await live.nobody_follows()


async def test_while_the_database_is_away_a_stream_does_not_begin(homeless: Service) -> None:
    async with listening(homeless.app) as url, httpx2.AsyncClient(base_url=url) as client:
        answer = await client.get(f"/api/orders/{uuid4()}/events")
    assert problem(answer, 503)["type"] == "urn:order-service:database-away"
    assert answer.headers["retry-after"]


async def test_a_stream_ends_that_another_release_has_to_go_on_with(live: Live) -> None:
    order_id = await live.place()
    async with following(live.url, order_id) as stream:
        await stream.event()
        await live.change(order_id, table_version=99)
        assert await stream.rest() == []


async def test_there_are_only_so_many_at_once(live: Live) -> None:
    order_id = await live.place()
    live.here.followers.limit = 2
    async with following(live.url, order_id), following(live.url, order_id) as second:
        async with following(live.url, order_id) as third:
            assert third.status == 503
            assert json.loads(await third.body())["type"] == "urn:order-service:too-many-followers"
            assert third.headers["retry-after"]
        await live.happen(order_id, *HAPPY)
        await second.rest()
        async with following(live.url, order_id, last="another") as third:
            assert third.status == 200


async def test_the_document_shows_an_event(live: Live) -> None:
    operation = (await live.here.client.get("/openapi.json")).json()["paths"]["/api/orders/{order_id}/events"]["get"]
    content = operation["responses"]["200"]["content"]
    assert list(content) == ["text/event-stream"]
    assert "event: saga\ndata: {" in content["text/event-stream"]["example"]
    assert "Last-Event-ID" in [parameter["name"] for parameter in operation["parameters"]]


async def test_a_client_that_says_more_is_not_listened_to(live: Live) -> None:
    order_id = await live.place()
    head = f"GET /api/orders/{order_id}/events\nContent-Length: 200000"
    async with connected(live.url, head) as stream:
        stream.writer.write(b"x" * 200_000)
        await stream.open()
        await stream.event()
        await stream.writer.drain()
        await live.happen(order_id, Signal.CANCEL)
        assert [one.event for one in await stream.rest()] == ["saga", "end"]


async def _watched(live: Live) -> None:
    async with asyncio.timeout(30):
        await live.here.watch.arrived.acquire()
