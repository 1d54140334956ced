"""Several instances, fifty copies of every answer at once, deadlines that fall together with answers, and people.

Each answer, deadline and wish moves its saga once at most, and everybody gets by: no deadlock, no error.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random
from uuid import UUID

import httpx2
import pytest

from local.broker import RabbitMQ
from local.postgres import PrivatePostgres
from local.rule import Behaviour
from tests.faults import laws
from tests.faults.clients import MIX, Kind, wish
from tests.faults.laws import Promise
from tests.faults.metrics import metrics
from tests.faults.middle import Habits, Middle, in_the_middle
from tests.faults.moves import moved_twice
from tests.faults.place import Place, place
from tests.service import complaints, told
from tests.waiting import until

INSTANCES = 2
pytestmark = pytest.mark.long

COPIES = Habits(copies=(50, 50), only_answers=True, spread=0, late=0, lies=0)
TOGETHER = {"SAGA_STEP_TIMEOUT_SECONDS": "0.5", "SAGA_RETRY_DELAY_SECONDS": "0.1", "SAGA_REASK_SECONDS": "0.5"}
"""Deadlines as long as the participants take."""
_DEADLOCK = "40P01"
"""PostgreSQL's code for one."""
_LONG = 300.0
"""Seconds. Nobody measures here: a machine that is busy may take its time."""
WISHES: tuple[tuple[str, dict[str, str]], ...] = (
    ("/api/orders/{}/cancel", {}),
    ("/api/sagas/{}/retry", {}),
    ("/api/sagas/{}/compensate", {"reason": "changed our mind"}),
    ("/api/sagas/{}/resolve", {"outcome": "succeeded", "reason": "it will be so"}),
)
"""All of them true in the end: the participants do what they are asked to, only later."""


@pytest.fixture
async def crowd(postgres: PrivatePostgres, rabbitmq: RabbitMQ, template: str, tmp_path: Path) -> AsyncIterator[Place]:
    """Several instances on one database and one virtual host; whoever answers them takes as long as they wait."""
    async with place(postgres, rabbitmq, tmp_path, template=template, apart=True) as here:
        for participant in here.participants.values():
            for number, command in enumerate(participant.rules):
                participant.behaviour[command] = Behaviour(mode="slow", seconds=0.35 + 0.1 * number)
        await asyncio.gather(*(here.start_service(**TOGETHER) for _ in range(INSTANCES)))
        yield here


async def test_fifty_copies_of_each_answer_and_its_deadline_make_one_move(crowd: Place, seed: int) -> None:
    async with _copied(crowd, seed) as middle:
        await crowd.order(MIX * 2, Random(seed))
        await _carried(crowd, middle)
    # what is out of stock has one answer, all else three and more
    assert middle.carried >= len(MIX * 2) * 2 * 50
    expired = await crowd.rows('SELECT 1 FROM order_sagas WHERE history @> \'[{"status": "TimedOut"}]\'')
    # the race was one: answers have come, and deadlines too
    assert expired
    await _all_is_well(crowd)


async def test_people_who_want_different_things_at_once_get_one_of_them(crowd: Place, seed: int) -> None:
    random = Random(seed)
    async with _copied(crowd, seed) as middle, httpx2.AsyncClient(timeout=30) as client:
        # over HTTP: an order that was confirmed by the bus need not be there yet
        wanted = [wish(Kind.HAPPY, random) for _ in range(16)]
        orders = await asyncio.gather(*(crowd.clients.over_http(one) for one in wanted))
        statuses = Counter[int]()
        for _ in range(3):
            statuses += await _wish_all_at_once(client, crowd, orders, random)
        await _carried(crowd, middle)
    assert set(statuses) <= {200, 202, 409}
    assert min(statuses[status] for status in (200, 202, 409)) > 0
    for order_id in orders:
        promise = crowd.clients.promised[order_id]
        crowd.clients.promised[order_id] = Promise(promise.user_id, promise.items, promise.total)
    await _all_is_well(crowd)


def _copied(here: Place, seed: int) -> AbstractAsyncContextManager[Middle]:
    near, far = (here.rabbitmq.url(vhost) for vhost in (here.vhost, here.outside))
    return in_the_middle(near, far, COPIES, Random(seed))


async def _carried(here: Place, middle: Middle) -> None:
    async def rests() -> bool:
        await here.quiet(_LONG)
        return middle.idle

    await until(rests, _LONG)
    await here.quiet(_LONG)


async def _wish_all_at_once(
    client: httpx2.AsyncClient, here: Place, orders: Sequence[UUID], random: Random
) -> Counter[int]:
    """Everybody wants everything of every order, from every instance."""

    async def ask(order_id: UUID, path: str, body: dict[str, str], url: str) -> int:
        answer = await client.post(f"{url}{path.format(order_id)}", json=body)
        return answer.status_code

    wishes = [(order_id, *one, url) for order_id in orders for one in WISHES for url in here.clients.urls]
    random.shuffle(wishes)
    return Counter(await asyncio.gather(*(ask(*one) for one in wishes)))


async def _all_is_well(here: Place) -> None:
    found = await here.world()
    assert [*laws.broken(found), *moved_twice(found)] == []
    (statistics,) = await here.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert statistics["deadlocks"] == 0
    async with httpx2.AsyncClient(timeout=30) as client:
        for service in here.services:
            assert complaints(service.log) == []
            assert [line for line in told(service.log) if _DEADLOCK in line.get("error", "")] == []
            counted = metrics((await client.get(f"{service.url}/metrics")).text)
            assert sum(counted["order_service_task_restarts_total"].values()) == 0
            # each of them had its share of the work
            assert sum(counted["order_service_saga_events_total"].values()) > 0
