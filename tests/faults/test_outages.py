"""One thing is away, silent or gone. Meanwhile nothing is lost, and all goes on soon after it is back.

One service lives through all of it. What each test leaves behind is asked for in the last.
"""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from local.broker import RabbitMQ, accepts
from local.rule import Behaviour
from models.states import Position
from tests.faults.clients import MIX, Kind, wish
from tests.faults.place import Place
from tests.service import complaints
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = 20.0
"""Seconds after which all has to go on again, however busy the machine; `benchmarks/recovery.py` measures how soon it
does."""
NOTICED = 20.0
"""Seconds after which a consumer that is gone has to be known to be; an idle machine takes 8."""
RANDOM = Random(4)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def quiet(doomed: Place) -> AsyncIterator[None]:
    """Each test begins with all at rest, and leaves it so."""
    yield
    await doomed.quiet(60)


async def ended(here: Place, order_id: object, seconds: float = SOON) -> None:
    """Return when the order's saga has ended."""

    async def has_ended() -> bool:
        return bool(
            await here.rows("SELECT 1 FROM order_sagas WHERE order_id = $1 AND completed_at IS NOT NULL", order_id)
        )

    await until(has_ended, seconds)


async def ready(here: Place) -> list[str]:
    """What is not ready."""
    async with httpx2.AsyncClient(base_url=here.service.url) as client:
        answer = await client.get("/health/ready")
    return [] if answer.status_code == 200 else list(answer.json()["notReady"])


async def until_ready(here: Place, seconds: float = SOON) -> None:
    async def is_ready() -> bool:
        return not await ready(here)

    await until(is_ready, seconds)


async def until_not_ready(here: Place, what: str, seconds: float = SOON) -> None:
    """Return when the instance says that this is not ready; its answer may be a second old."""

    async def says_so() -> bool:
        return any(what in one for one in await ready(here))

    await until(says_so, seconds)


async def metric(here: Place, name: str) -> float:
    """The sum over all labels of a metric."""
    async with httpx2.AsyncClient(base_url=here.service.url) as client:
        text = (await client.get("/metrics")).text
    families = text_string_to_metric_families(text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


async def count(here: Place, query: str) -> int:
    [row] = await here.rows(f"SELECT count(*) FROM {query}")
    return int(row["count"])


async def refused(here: Place) -> httpx2.Response:
    """The answer to an order, and to a look at one, while the database is away."""
    request = wish(Kind.HAPPY, RANDOM)
    body = {"userId": str(request.user_id), "items": request.items}
    async with httpx2.AsyncClient(base_url=here.service.url, timeout=20) as client:
        answers = await asyncio.gather(client.post("/api/orders", json=body), client.get(f"/api/orders/{uuid4()}"))
    for answer in answers:
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json"), answer.text
        assert int(answer.headers["Retry-After"]) > 0
    return answers[0]


async def test_without_a_fault_every_law_holds(doomed: Place) -> None:
    await doomed.order([*MIX, *MIX], RANDOM)
    await doomed.quiet(60)
    assert await doomed.broken() == []


async def test_the_database_is_away_and_messages_are_held_and_clients_told_to_come_again(doomed: Place) -> None:
    doomed.database_proxy.drop_new()
    waiting = await doomed.clients.over_bus(wish(Kind.HAPPY, RANDOM))
    before, clock = doomed.database_proxy.attempts, asyncio.get_running_loop().time()
    await refused(doomed)
    took = asyncio.get_running_loop().time() - clock
    # the two requests are the client's own doing
    assert doomed.database_proxy.attempts - before - 2 <= 10 * took
    await until_not_ready(doomed, "database")
    await doomed.database_proxy.listen()
    await ended(doomed, waiting)
    await until_ready(doomed)
    assert await count(doomed, "dead_letters") == 0


async def test_the_database_becomes_a_standby_and_a_primary_again(doomed: Place) -> None:
    name = doomed.dsn.rpartition("/")[2]
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    before = await metric(doomed, "order_service_database_retries_total")
    doomed.postgres.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    doomed.postgres.sql(cut)
    waiting = await doomed.clients.over_bus(wish(Kind.HAPPY, RANDOM))

    async def retried() -> bool:
        return await metric(doomed, "order_service_database_retries_total") > before + 1

    await until(retried, SOON)
    doomed.postgres.sql(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    doomed.postgres.sql(cut)
    await ended(doomed, waiting)


async def test_a_connection_cut_between_commit_and_answer_concludes_nothing(doomed: Place) -> None:
    unheard = doomed.database_proxy.unheard
    doomed.database_proxy.cut_after(b"COMMIT;")
    order_id = await doomed.clients.over_http(wish(Kind.HAPPY, RANDOM))
    await ended(doomed, order_id)
    assert doomed.database_proxy.unheard == unheard + 1


async def test_connections_are_cut_in_the_middle_of_everything(doomed: Place) -> None:
    async with doomed.load(RANDOM):
        for proxy in (doomed.database_proxy, doomed.bus_proxy, doomed.database_proxy, doomed.bus_proxy):
            enough = await count(doomed, "orders") + 5

            async def more_orders(enough: int = enough) -> bool:
                return await count(doomed, "orders") >= enough

            await until(more_orders)
            assert proxy.connections > 0
            proxy.cut()
    await doomed.quiet(60)
    await until_ready(doomed)


async def test_a_saga_that_somebody_has_locked_waits_and_the_others_go_on(doomed: Place) -> None:
    inventory = doomed.participants["inventory"]
    inventory.behaviour["ValidateInventory"] = Behaviour(mode="mute")
    locked = await doomed.clients.over_http(wish(Kind.HAPPY, RANDOM))
    await doomed.lock(locked)
    inventory.behaviour["ValidateInventory"] = Behaviour()
    before = await metric(doomed, "order_service_database_retries_total")
    reply = {"eventId": str(uuid4()), "orderId": str(locked)}
    await doomed.clients.say("domain.inventory.InventoryValidated", reply)

    async def collided() -> bool:
        return await metric(doomed, "order_service_database_retries_total") > before

    await until(collided, SOON)
    await ended(doomed, await doomed.clients.over_bus(wish(Kind.HAPPY, RANDOM)), 40)
    await doomed.unlock()
    await ended(doomed, locked)
    assert await count(doomed, "dead_letters") == 0


async def test_a_database_that_says_nothing_is_given_up_and_found_again(doomed: Place) -> None:
    doomed.database_proxy.stall()
    waiting = await doomed.clients.over_bus(wish(Kind.HAPPY, RANDOM))
    await refused(doomed)
    doomed.database_proxy.cut()
    doomed.database_proxy.resume()
    await ended(doomed, waiting)
    await until_ready(doomed)


async def test_rabbitmq_is_away_and_orders_are_taken_all_the_same(doomed: Place) -> None:
    doomed.bus_proxy.drop_new()
    order_id = await doomed.clients.over_http(wish(Kind.HAPPY, RANDOM))
    assert await count(doomed, "outbox") > 0
    await until_not_ready(doomed, "bus")
    await doomed.bus_proxy.listen()
    await ended(doomed, order_id)
    await until_ready(doomed)


async def test_rabbitmq_says_nothing_and_is_noticed_and_found_again(doomed: Place) -> None:
    doomed.bus_proxy.stall()
    order_id = await doomed.clients.over_http(wish(Kind.HAPPY, RANDOM))
    await until_not_ready(doomed, "not consuming", NOTICED)
    doomed.bus_proxy.resume()
    await ended(doomed, order_id, 30)
    await until_ready(doomed)


async def test_a_connection_that_stays_silent_is_replaced_by_one_that_works(doomed: Place) -> None:
    """What was open never answers again; whoever connects anew is served."""
    doomed.bus_proxy.mute_open()
    order_id = await doomed.clients.over_http(wish(Kind.HAPPY, RANDOM))
    await ended(doomed, order_id, NOTICED + SOON)
    await until_ready(doomed)


async def test_a_deleted_queue_is_declared_and_consumed_from_again(doomed: Place) -> None:
    path = f"queues/{doomed.vhost}/order-service.InventoryValidated"
    await asyncio.to_thread(doomed.rabbitmq.management.call, "DELETE", path)
    order_id = await doomed.clients.over_http(wish(Kind.HAPPY, RANDOM))
    await ended(doomed, order_id, NOTICED + SOON)
    await until_ready(doomed)


async def test_a_lost_binding_is_made_again(doomed: Place) -> None:
    key = "domain.inventory.InventoryValidated"
    path = f"bindings/{doomed.vhost}/e/domain/q/order-service.InventoryValidated/{key}"
    await asyncio.to_thread(doomed.rabbitmq.management.call, "DELETE", path)

    async def bound() -> bool:
        found = await asyncio.to_thread(
            doomed.rabbitmq.management.call, "GET", f"queues/{doomed.vhost}/order-service.InventoryValidated/bindings"
        )
        return any(one["routing_key"] == key for one in found)

    await until(bound, NOTICED)
    await ended(doomed, await doomed.clients.over_bus(wish(Kind.HAPPY, RANDOM)))


async def test_in_a_memory_alarm_nothing_is_published_again_and_again(doomed: Place) -> None:
    await asyncio.to_thread(doomed.rabbitmq.raise_memory_alarm)
    try:
        order_id = await doomed.clients.over_http(wish(Kind.HAPPY, RANDOM))

        async def blocked() -> bool:
            return bool(await doomed.rows("SELECT 1 FROM outbox WHERE last_error LIKE 'blocked%' AND attempts > 1"))

        await until(blocked, 30)
    finally:
        await asyncio.to_thread(doomed.rabbitmq.clear_memory_alarm)
    await ended(doomed, order_id)
    await doomed.quiet(60)
    await doomed.broken()
    copies = [one for one in doomed.heard if one.body.get("orderId") == str(order_id)]
    created = [one for one in copies if one.routing_key == "domain.order.OrderCreated"]
    assert len(created) <= 3


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_rabbitmq_goes_and_comes_back_with_its_messages(doomed: Place, rabbitmq: RabbitMQ, how: str) -> None:
    pid = doomed.rabbitmq.child.pid if doomed.rabbitmq.child else 0
    await doomed.mixed(10, RANDOM)
    await asyncio.to_thread(getattr(doomed.rabbitmq, how))
    assert not accepts(doomed.rabbitmq.url())
    assert accepts(rabbitmq.url())
    order_id = await doomed.clients.over_http(wish(Kind.HAPPY, RANDOM))
    await asyncio.to_thread(doomed.rabbitmq.start)
    assert doomed.rabbitmq.child
    assert doomed.rabbitmq.child.pid != pid
    # the stand-ins come back at their own pace
    await ended(doomed, order_id, 30)
    await until_ready(doomed)


async def test_the_database_is_killed_and_comes_back(doomed: Place) -> None:
    waiting = await doomed.mixed(10, RANDOM)
    await asyncio.to_thread(doomed.postgres.kill)
    placing = asyncio.create_task(doomed.clients.over_http(wish(Kind.HAPPY, RANDOM)))
    await refused(doomed)
    await asyncio.to_thread(doomed.postgres.start)
    for order_id in [*waiting, await placing]:
        await ended(doomed, order_id)


async def test_after_all_of_it_every_law_holds_and_the_process_is_still_the_same(doomed: Place) -> None:
    assert await doomed.broken() == []
    assert doomed.service.child.returncode is None
    assert await metric(doomed, "order_service_task_restarts_total") == 0
    assert complaints(doomed.service.log) == []
    assert await count(doomed, f"order_sagas WHERE status = '{Position.COMPLETED.status}'") > 20
