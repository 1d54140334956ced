"""How much one client may have: 429, with when to come again; and whoever is on this machine notices nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from handlers.access.rate_limits import Limits
from handlers.http.json_body import MAX_ORDER_BYTES
from saga.domain import Policy
from tests.access.conftest import OTHER, OWNER, House, asking
from tests.http.conftest import HAPPY, order_body, problem, running
from tests.waiting import until

HEALTH, METRICS = "/health/live", "/metrics"


@asynccontextmanager
async def house(url: str, **few: Any) -> AsyncIterator[House]:
    """A service that allows only so much."""
    async with asking(url, limits=Limits(**few)) as service:
        yield House(service, "")


def too_many(response: Any) -> dict[str, Any]:
    assert 1 <= int(response.headers["retry-after"]) <= 60
    return problem(response, 429)


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(migrated: str) -> None:
    async with house(migrated, key_requests_per_second=0.5) as few:
        answers = [await few.ask("scraper", "GET", METRICS) for _ in range(4)]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        assert too_many(answers[-1])["type"] == "urn:order-service:too-many-requests"
        # neither another key, nor a person, nor what is open to everybody has to wait for it
        assert (await few.ask("operator", "GET", "/api/sagas")).status_code == 200
        assert (await few.ask("owner", "GET", f"/api/orders/user/{OWNER}")).status_code == 200
        assert (await few.ask("scraper", "GET", HEALTH)).status_code == 200


async def test_a_person_that_asks_too_often_is_told_so_and_nobody_else(migrated: str) -> None:
    async with house(migrated, user_requests_per_second=0.5) as few:
        answers = [await few.ask("owner", "GET", f"/api/orders/user/{OWNER}") for _ in range(4)]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        too_many(answers[-1])
        assert (await few.ask("other user", "GET", f"/api/orders/user/{OTHER}")).status_code == 200
        assert (await few.ask("service", "GET", f"/api/orders/user/{OWNER}")).status_code == 200
        # one whose id is no customer's is a person, too
        too_many([await few.ask("person without a customer's id", "GET", "/api/sagas") for _ in range(4)][-1])


async def test_large_bodies_count_by_their_size(migrated: str) -> None:
    async with house(migrated, user_requests_per_second=4) as few:
        headers = {"Content-Type": "application/json"}

        async def order(bytes_: int) -> Any:
            body = json.dumps(order_body(userId=str(OWNER))).ljust(bytes_)
            return await few.ask("owner", "POST", "/api/orders", content=body, headers=headers)

        small = await asyncio.gather(*(order(1_000) for _ in range(8)))
        assert {answer.status_code for answer in small} == {201}
        large = await asyncio.gather(*(order(MAX_ORDER_BYTES) for _ in range(8)))
        too_many(next(answer for answer in large if answer.status_code != 201))


async def test_long_lists_count_by_what_is_asked_for(migrated: str) -> None:
    async with house(migrated, user_requests_per_second=2) as few:

        async def listed(visitor: str, user_id: UUID, limit: int) -> Any:
            return await few.ask(visitor, "GET", f"/api/orders/user/{user_id}?limit={limit}")

        short = await asyncio.gather(*(listed("other user", OTHER, 20) for _ in range(8)))
        assert {answer.status_code for answer in short} == {200}
        long = await asyncio.gather(*(listed("owner", OWNER, 100) for _ in range(8)))
        too_many(next(answer for answer in long if answer.status_code != 200))


async def test_who_is_nobody_cannot_use_up_what_somebody_has(migrated: str) -> None:
    async with house(migrated, key_requests_per_second=0.5) as few:
        for _ in range(20):
            assert (await few.ask("unknown key", "GET", METRICS)).status_code == 401
        assert (await few.ask("scraper", "GET", METRICS)).status_code == 200


async def test_a_customer_has_so_many_open_orders_whoever_places_them(migrated: str) -> None:
    async with house(migrated, open_orders_per_user=2) as few:
        first = await few.place(OWNER)
        own = await few.ask("owner", "POST", "/api/orders", json=order_body(userId=str(OWNER)))
        assert own.status_code == 201
        for visitor in ("owner", "service"):
            refused = await few.ask(visitor, "POST", "/api/orders", json=order_body(userId=str(OWNER)))
            assert too_many(refused)["type"] == "urn:order-service:too-many-open-orders"
        # another customer's orders are not theirs, and what has ended makes room
        await few.place(OTHER)
        await few.service.happen(first, *HAPPY)
        await few.place(OWNER)


async def test_an_order_that_was_placed_before_is_given_again_however_many_are_open(migrated: str) -> None:
    async with house(migrated, open_orders_per_user=1) as few:
        body, key = order_body(userId=str(OWNER)), {"Idempotency-Key": "once"}
        placed = await few.ask("owner", "POST", "/api/orders", json=body, headers=key)
        again = await few.ask("owner", "POST", "/api/orders", json=body, headers=key)
        assert again.status_code == 201
        assert again.json()["id"] == placed.json()["id"]
        assert again.headers["idempotency-replayed"] == "true"
        too_many(await few.ask("owner", "POST", "/api/orders", json=body, headers={"Idempotency-Key": "twice"}))


async def test_only_the_newest_of_a_customers_orders_are_looked_at(migrated: str) -> None:
    """What that costs does not depend on how many there are."""
    async with house(migrated, open_orders_per_user=1) as few:
        await few.place(OWNER)
        async with few.service.sessions() as session, session.begin():
            # two newer ones, both ended, stand before the one that is open
            for _ in range(2):
                await _ended_order(session)
        await few.place(OWNER)


async def _ended_order(session: Any) -> None:
    await session.execute(
        text(
            "INSERT INTO orders (id, user_id, status, items, total_amount, created_at)"
            " VALUES (:id, :user, 'Confirmed', '[]', 0, clock_timestamp() + interval '1 minute')"
        ),
        {"id": uuid4(), "user": OWNER},
    )


async def test_a_client_follows_so_many_orders_at_once(migrated: str) -> None:
    async with house(migrated, streams_per_client=2) as few:
        followers, order_id = few.service.followers, await few.place(OWNER)
        path = f"/api/orders/{order_id}/events"
        streams = [asyncio.create_task(few.ask("owner", "GET", path)) for _ in range(2)]

        async def both() -> bool:
            return len(followers) == 2

        await until(both)
        assert too_many(await few.ask("owner", "GET", path))["type"] == "urn:order-service:too-many-streams"
        theirs = asyncio.create_task(few.ask("service", "GET", path))

        async def all_three() -> bool:
            return len(followers) == 3

        await until(all_three)
        await few.service.happen(order_id, *HAPPY)
        for stream in [*streams, theirs]:
            assert (await stream).status_code == 200
        # they have ended, and make room
        assert (await few.ask("owner", "GET", path)).status_code == 200
        assert len(followers) == 0


@pytest.mark.parametrize("path", ["", "/saga"])
async def test_a_client_is_kept_waiting_for_so_many_answers_at_once(migrated: str, path: str) -> None:
    async with house(migrated, streams_per_client=2) as few:
        watch, order_id = few.service.watch, await few.place(OWNER)
        path, patient = f"/api/orders/{order_id}{path}", {"Prefer": "wait=20"}
        waits = [asyncio.create_task(few.ask("owner", "GET", path, headers=patient)) for _ in range(2)]

        async def both() -> bool:
            return len(watch) == 2

        await until(both)
        refused = await few.ask("owner", "GET", path, headers=patient)
        assert too_many(refused)["type"] == "urn:order-service:too-many-waits"
        # who does not wait is answered
        assert (await few.ask("owner", "GET", path)).status_code == 200
        await few.service.happen(order_id, *HAPPY)
        for wait in waits:
            assert (await wait).status_code == 200
        assert (await few.ask("owner", "GET", path, headers=patient)).status_code == 200


async def test_on_this_machine_nobody_is_counted_where_no_access_is_configured(migrated: str) -> None:
    least = Limits(0.001, 0.001, 1, 1)
    async with running(migrated, Policy(), limits=least) as service:
        user = str(uuid4())
        for _ in range(5):
            await service.place(userId=user)
        for _ in range(20):
            assert (await service.client.get(METRICS)).status_code == 200


@pytest.mark.parametrize("path", ["/api/orders", "/api/sagas", "/metrics"])
async def test_the_contract_says_so(migrated: str, path: str) -> None:
    async with house(migrated) as some:
        document = (await some.ask("nobody", "GET", "/openapi.json")).json()
    for operation in document["paths"][path].values():
        assert "Retry-After" in operation["responses"]["429"]["headers"]
