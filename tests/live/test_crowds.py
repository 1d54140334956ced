"""Many clients, slow ones, ones that leave, and servers that do: what it costs, and what is left behind."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from handlers.api.schemas import saga_view
from handlers.http.open_files import room_for
from handlers.live import snapshots
from handlers.live import streams as followers
from saga import store
from saga.transitions import Signal
from tests.http.conftest import HAPPY
from tests.live.conftest import Live, left_behind
from tests.live.following import Stream, connected, following
from tests.waiting import until

MEGABYTE = 1_000_000
SMALL = 4096
"""Bytes that the kernel keeps for a client that does not read, or twice as many."""


async def crowd(live: Live, order_ids: list[str], each: int, stack: AsyncExitStack) -> list[Stream]:
    """So many clients for each of these orders; they have been told how it stands."""
    streams: list[Stream] = []
    for _ in range(each):
        opening = [stack.enter_async_context(following(live.url, order_id)) for order_id in order_ids]
        streams += await asyncio.gather(*opening)
    for stream in streams:
        await stream.event()
    return streams


async def test_a_thousand_cost_one_query_a_tick_and_one_more_a_change(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []

    def counted(*told: Any, **more: Any) -> Any:
        rendered.append(told)
        return saga_view(*told, **more)

    monkeypatch.setattr(snapshots, "saga_view", counted)
    assert room_for(3000) == 3000, "the hard limit of open files is too low for this test"
    order_ids = [await live.place() for _ in range(20)]
    async with AsyncExitStack() as stack:
        streams = await crowd(live, order_ids, 50, stack)
        await _all_wait(live, 1000)
        await _looked(live, 1)
        before, looks = len(live.statements), live.here.watch.looks
        await _looked(live, 10)
        # a look may have been counted that has not asked yet
        assert len(live.statements) - before <= live.here.watch.looks - looks + 1
        before, looks = len(live.statements), live.here.watch.looks
        rendered.clear()
        await asyncio.gather(*(live.happen(order_id, Signal.CANCEL) for order_id in order_ids))
        for stream in streams:
            assert [one.event for one in await stream.rest()] == ["saga", "end"]
        asked, looks = live.statements[before:], live.here.watch.looks - looks + 1
        reads = [one for one in asked if "history" in one]
        assert 1 <= len(reads) <= looks
        assert len(asked) - len(reads) <= looks
        assert len(rendered) == 20
    await live.nobody_follows()


async def test_whoever_does_not_read_is_hung_up_on_and_nobody_else_waits(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    order_id = await live.place()
    live.here.followers.patience = 0.3
    head = f"GET /api/orders/{order_id}/events"
    async with connected(live.url, head, SMALL) as slow, following(live.url, order_id) as quick:
        await quick.event()
        for number in range(1, 100):
            await live.grow(order_id, number, MEGABYTE)
            assert (await quick.event()).data["history"][0]["attempt"] == number
            if len(live.here.followers) == 1:
                break
        assert len(live.here.followers) == 1
        await slow.open()
        with pytest.raises(asyncio.IncompleteReadError) as cut:
            await slow.rest()
        # in the middle of an event: a connection that is closed would have been written to the end
        assert cut.value.expected
        await live.happen(order_id, Signal.CANCEL)
        assert (await quick.event()).data["status"] == "Failed"
    assert "does not read" in caplog.text


async def test_whoever_reads_late_misses_steps_and_not_the_last(live: Live) -> None:
    order_id = await live.place()
    async with connected(live.url, f"GET /api/orders/{order_id}/events", SMALL) as late:
        await _all_wait(live, 1)
        for number in range(1, 31):
            await live.grow(order_id, number, MEGABYTE)
            async with following(live.url, order_id) as another:
                await another.event()
        await live.happen(order_id, Signal.CANCEL)
        await late.open()
        told = await late.rest()
    assert len(told) < 25
    assert [one.event for one in told[-2:]] == ["saga", "end"]
    assert told[-2].data["status"] == "Failed"


async def test_nothing_is_left_of_clients_who_left(live: Live) -> None:
    order_id = await live.place()
    for _ in range(20):
        async with AsyncExitStack() as stack:
            await crowd(live, [order_id], 3, stack)
            assert len(live.here.followers) >= 3
    await live.nobody_follows()
    assert left_behind(order_id) == []


@pytest.mark.parametrize("fault", ["refuse", "cut", "drop_new"])
async def test_a_stream_outlives_an_outage_of_the_database(live: Live, fault: str) -> None:
    order_id = await live.place()
    live.here.followers.keep_alive = 0.05
    async with following(live.url, order_id) as stream:
        await stream.event()
        await _watched(live)
        outage = getattr(live.proxy, fault)()
        if outage:
            await outage
        await live.happen(order_id, Signal.INVENTORY_VALIDATED)
        for _ in range(3):
            said = await stream.said()
            assert said
            assert said.comment or fault == "cut"
        await live.proxy.listen()
        if fault != "cut":
            assert (await stream.event()).data["currentStep"] == "ReserveInventory"
        await live.happen(order_id, Signal.INVENTORY_VALIDATED, *HAPPY[1:])
        assert (await stream.rest())[-1].event == "end"


async def test_a_read_that_fails_is_tried_again(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    order_id = await live.place()
    failures = [OSError("the connection was lost"), TimeoutError()]

    async def failing(*told: Any) -> Any:
        if failures:
            raise failures.pop()
        return await find_orders(*told)

    find_orders = store.find_orders
    async with following(live.url, order_id) as stream:
        await stream.event()
        monkeypatch.setattr(store, "find_orders", failing)
        monkeypatch.setattr(followers, "_PAUSE", 0.01)
        await live.happen(order_id, Signal.CANCEL)
        assert [one.event for one in await stream.rest()] == ["saga", "end"]
    assert failures == []


async def test_a_stream_ends_properly_when_the_service_stops(live: Live) -> None:
    order_id = await live.place()
    async with following(live.url, order_id) as stream:
        first = await stream.event()
        await _all_wait(live, 1)
        live.here.stop()
        assert await stream.rest() == []
        async with following(live.url, order_id, last=first.id) as another:
            assert another.status == 503
            assert json.loads(await another.body())["status"] == 503


async def test_whoever_does_not_read_is_cut_when_the_service_stops(live: Live) -> None:
    order_id = await live.place()
    live.here.followers.keep_alive, live.here.followers.patience = 0.05, 600
    async with connected(live.url, f"GET /api/orders/{order_id}/events", SMALL):
        await _all_wait(live, 1)
        for number in range(1, 31):
            await live.grow(order_id, number, MEGABYTE)
            async with following(live.url, order_id) as another:
                await another.event()
        await _followed_by(live, 1)
        live.here.stop()
        # it would have ten minutes to read
        async with asyncio.timeout(60):
            await live.nobody_follows()


async def _all_wait(live: Live, count: int) -> None:
    async def waiting() -> bool:
        return len(live.here.watch) >= count

    await until(waiting)


async def _looked(live: Live, times: int) -> None:
    looks = live.here.watch.looks + times

    async def looked() -> bool:
        return live.here.watch.looks >= looks

    await until(looked)


async def _followed_by(live: Live, count: int) -> None:
    async def so_many() -> bool:
        return len(live.here.followers) == count

    await until(so_many)


async def _watched(live: Live) -> None:
    async with asyncio.timeout(30):
        await live.here.watch.arrived.acquire()
