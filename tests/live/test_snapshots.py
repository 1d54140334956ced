"""Reading together: who asks at once is answered at once, whoever leaves, and whatever fails."""

import asyncio
import gc
from typing import Any
from uuid import UUID, uuid4

import pytest

from handlers.live.snapshots import Snapshots
from saga import store
from saga.domain import Policy
from saga.errors import UnknownOrderError
from saga.transitions import Signal
from tests.http.conftest import Service
from tests.live.conftest import Live


@pytest.fixture
def snapshots(live: Live) -> Snapshots:
    return Snapshots(live.here.sessions, Policy())


async def test_what_is_asked_for_at_once_is_one_query_and_an_order_one_rendering(
    live: Live, snapshots: Snapshots
) -> None:
    first, second = UUID(await live.place()), UUID(await live.place())
    before = len(live.statements)
    ids = [first, second, uuid4(), first]
    answers = await asyncio.gather(*(snapshots.take(order_id) for order_id in ids), return_exceptions=True)
    assert len(live.statements) - before == 1
    assert answers[0] is answers[3]
    assert answers[0] != answers[1]
    assert isinstance(answers[2], UnknownOrderError)


async def test_what_is_asked_for_during_a_query_is_read_after_it(
    live: Live, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = UUID(await live.place())
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def held(*told: Any) -> Any:
        found = await find_orders(*told)
        reading.set()
        await go_on.wait()
        return found

    find_orders = store.find_orders
    monkeypatch.setattr(store, "find_orders", held)
    early = asyncio.create_task(snapshots.take(order_id))
    await reading.wait()
    await live.happen(str(order_id), Signal.CANCEL)
    late = asyncio.create_task(snapshots.take(order_id))
    await asyncio.sleep(0)
    go_on.set()
    assert [(await one).status for one in (early, late)] == ["Started", "Failed"]


async def test_whoever_leaves_does_not_take_it_from_the_others(live: Live, snapshots: Snapshots) -> None:
    order_id = UUID(await live.place())
    leaving, staying = (asyncio.create_task(snapshots.take(order_id)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).status == "Started"


async def test_a_failure_that_nobody_waits_for_is_nobodys(homeless: Service) -> None:
    snapshots = Snapshots(homeless.sessions, Policy())
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    asking = asyncio.create_task(snapshots.take(uuid4()))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    with pytest.raises(OSError, match="Connect call failed"):
        # its turn comes after that one's
        await snapshots.take(uuid4())
    del asking
    gc.collect()
    assert complaints == []
