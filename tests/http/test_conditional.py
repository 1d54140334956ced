"""ETag, If-None-Match and `Prefer: wait=N`."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.live.watcher import Watch
from handlers.queries import orders
from saga.transitions import Signal
from tests.http.conftest import HAPPY, Service

PATHS = pytest.mark.parametrize("path", ["/api/orders/{}", "/api/orders/{}/saga"])
LONG = {"Prefer": "wait=30"}


async def _held(service: Service, path: str, **headers: str) -> asyncio.Task[httpx2.Response]:
    """A GET whose answer is being held."""
    task = asyncio.create_task(service.client.get(path, headers=LONG | headers))
    async with asyncio.timeout(30):
        await service.watch.arrived.acquire()
    return task


@PATHS
async def test_what_the_client_has_is_not_sent_again(service: Service, path: str) -> None:
    path = path.replace("{}", (await service.place())["id"])
    first = await service.client.get(path)
    etag = first.headers["etag"]
    again = await service.client.get(path, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert "content-type" not in again.headers


@pytest.mark.parametrize("header", ["{}", "W/{}", '"other", {}', '"a,b" , W/{}', "*", " * "])
async def test_if_none_match_is_a_list_weak_or_a_star(service: Service, header: str) -> None:
    path = f"/api/orders/{(await service.place())['id']}"
    etag = (await service.client.get(path)).headers["etag"]
    response = await service.client.get(path, headers={"If-None-Match": header.replace("{}", etag)})
    assert response.status_code == 304


@pytest.mark.parametrize("header", ['"other"', "{bare}", "", "W/", '"a"{bare}"b"'])
async def test_what_does_not_match_is_sent(service: Service, header: str) -> None:
    path = f"/api/orders/{(await service.place())['id']}"
    bare = (await service.client.get(path)).headers["etag"].strip('"')
    response = await service.client.get(path, headers={"If-None-Match": header.replace("{bare}", bare[1:])})
    assert response.status_code == 200


async def test_several_if_none_match_headers_are_one_list(service: Service) -> None:
    path = f"/api/orders/{(await service.place())['id']}"
    etag = (await service.client.get(path)).headers["etag"]
    response = await service.client.get(path, headers=[("If-None-Match", '"a"'), ("If-None-Match", etag)])
    assert response.status_code == 304


async def test_the_etag_of_a_saga_changes_with_every_move_and_that_of_the_order_only_at_the_end(
    service: Service,
) -> None:
    order_path = f"/api/orders/{(order_id := (await service.place())['id'])}"
    sagas, orders = [], []
    for signal in (None, *HAPPY):
        if signal:
            await service.happen(order_id, signal)
        sagas.append((await service.client.get(f"{order_path}/saga")).headers["etag"])
        orders.append((await service.client.get(order_path)).headers["etag"])
    assert len(set(sagas)) == 4
    assert (len(set(orders)), len(set(orders[:3]))) == (2, 1)


async def test_the_saga_is_held_until_it_changes(service: Service) -> None:
    order_id = (await service.place())["id"]
    held = await _held(service, f"/api/orders/{order_id}/saga")
    await service.happen(order_id, Signal.INVENTORY_VALIDATED)
    response = await held
    assert (response.status_code, response.json()["currentStep"]) == (200, "ReserveInventory")
    assert response.headers["preference-applied"] == "wait=30"
    assert len(service.watch) == 0


async def test_the_order_is_held_through_the_moves_of_its_saga_until_it_ends(service: Service) -> None:
    order_id = (await service.place())["id"]
    held = await _held(service, f"/api/orders/{order_id}")
    saga = await _held(service, f"/api/orders/{order_id}/saga")
    await service.happen(order_id, *HAPPY[:2])
    await saga
    assert not held.done()
    await service.happen(order_id, HAPPY[2])
    assert (await held).json()["status"] == "Confirmed"


@PATHS
async def test_a_wait_that_is_over_gives_what_there_is(service: Service, path: str) -> None:
    path = path.replace("{}", (await service.place())["id"])
    first = await service.client.get(path)
    wait = {"Prefer": "wait=1"}
    response, same = await asyncio.gather(
        service.client.get(path, headers=wait),
        service.client.get(path, headers=wait | {"If-None-Match": first.headers["etag"]}),
    )
    assert (response.status_code, response.json()) == (200, first.json())
    assert response.headers["preference-applied"] == "wait=1"
    assert (same.status_code, same.headers["preference-applied"]) == (304, "wait=1")
    assert len(service.watch) == 0


async def test_who_has_an_older_state_is_answered_at_once(service: Service) -> None:
    path = f"/api/orders/{(order_id := (await service.place())['id'])}/saga"
    old = (await service.client.get(path)).headers["etag"]
    await service.happen(order_id, Signal.INVENTORY_VALIDATED)
    response = await service.client.get(path, headers=LONG | {"If-None-Match": old})
    assert (response.status_code, service.watch.looks) == (200, 0)


async def test_who_has_the_present_state_is_answered_when_it_changes(service: Service) -> None:
    path = f"/api/orders/{(order_id := (await service.place())['id'])}/saga"
    etag = (await service.client.get(path)).headers["etag"]
    held = await _held(service, path, **{"If-None-Match": etag})
    await service.happen(order_id, Signal.INVENTORY_VALIDATED)
    response = await held
    assert response.status_code == 200
    assert response.headers["etag"] != etag


@PATHS
@pytest.mark.parametrize("ended", [HAPPY, (Signal.INVENTORY_VALIDATION_FAILED,)])
async def test_what_has_ended_is_answered_at_once(service: Service, path: str, ended: tuple[Signal, ...]) -> None:
    order_id = (await service.place())["id"]
    await service.happen(order_id, *ended)
    response = await service.client.get(path.replace("{}", order_id), headers=LONG)
    assert (response.status_code, service.watch.looks) == (200, 0)


@pytest.mark.parametrize(
    ("headers", "granted"),
    [
        (["wait=30"], "wait=30"),
        (["wait=31"], "wait=30"),
        (["wait=999999999"], "wait=30"),
        (["Wait = 7"], "wait=7"),
        (['wait="7"'], "wait=7"),
        (["respond-async, wait=7"], "wait=7"),
        (["respond-async", "wait=7;x=1"], "wait=7"),
        (["wait=7, wait=8"], "wait=7"),
        (["wait=0"], None),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=" + "9" * 5000], None),
        (["wait=\u00b2"], None),
        (["waiting=5"], None),
        ([""], None),
    ],
)
async def test_a_wait_is_granted_as_rfc_7240_has_it(service: Service, headers: list[str], granted: str | None) -> None:
    order_id = (await service.place())["id"]
    await service.happen(order_id, Signal.CANCEL)
    sent = [(b"prefer", header.encode()) for header in headers]
    response = await service.client.get(f"/api/orders/{order_id}", headers=sent)
    assert response.status_code == 200
    assert response.headers.get("preference-applied") == granted


async def test_all_who_wait_share_one_look(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[set[str]] = []
    look = orders.updated_at

    async def witnessed(session: AsyncSession, order_ids: Iterable[UUID]) -> Any:
        looks.append({str(one) for one in order_ids})
        return await look(session, order_ids)

    monkeypatch.setattr(orders, "updated_at", witnessed)
    order_ids = [(await service.place())["id"] for _ in range(3)]
    held = [await _held(service, f"/api/orders/{one}/saga") for one in order_ids for _ in range(20)]
    assert len(service.watch) == 60
    for one in order_ids:
        await service.happen(one, Signal.INVENTORY_VALIDATED)
    assert {response.json()["currentStep"] for response in await asyncio.gather(*held)} == {"ReserveInventory"}
    assert set(order_ids) in looks


async def test_nothing_is_looked_at_when_nobody_waits(service: Service) -> None:
    order_id = (await service.place())["id"]
    held = await _held(service, f"/api/orders/{order_id}/saga")
    await service.happen(order_id, Signal.CANCEL)
    await held
    looking = service.watch._looking
    assert looking
    async with asyncio.timeout(30):
        await looking
    assert len(service.watch) == 0


async def test_a_closed_watch_has_let_go_of_its_connection() -> None:
    looking, let_go = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def sessions() -> AsyncIterator[None]:
        looking.set()
        try:
            await asyncio.Event().wait()
            yield
        finally:
            # as SQLAlchemy does, which rolls back
            await asyncio.sleep(0.01)
            let_go.set()

    watch = Watch(sessions, tick=0)  # type: ignore[arg-type]
    waiting = asyncio.create_task(watch.changed(uuid4(), "order", None))
    await looking.wait()
    await watch.aclose()
    assert let_go.is_set()
    await waiting


async def test_a_client_that_goes_away_leaves_no_waiter_behind(service: Service) -> None:
    order_id = (await service.place())["id"]
    gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    sent: list[Any] = []

    async def receive() -> Any:
        return await gone

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"/api/orders/{order_id}/saga"
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"prefer", b"wait=30"), (b"host", b"localhost")], "root_path": "", "http_version": "1.1",
        "scheme": "http", "server": ("orders", 80), "client": ("127.0.0.1", 1), "asgi": {"version": "3.0"},
    }  # fmt: skip
    held: asyncio.Future[None] = asyncio.ensure_future(service.app(scope, receive, send))
    async with asyncio.timeout(30):
        await service.watch.arrived.acquire()
        assert len(service.watch) == 1
        gone.set_result({"type": "http.disconnect"})
        await held
    assert len(service.watch) == 0


async def test_a_request_that_is_cancelled_leaves_no_waiter_behind(service: Service) -> None:
    held = await _held(service, f"/api/orders/{(await service.place())['id']}/saga")
    held.cancel()
    await asyncio.wait([held])
    assert len(service.watch) == 0


async def test_all_waits_end_when_the_service_stops_and_no_new_one_begins(service: Service) -> None:
    path = f"/api/orders/{(await service.place())['id']}/saga"
    held = [await _held(service, path) for _ in range(3)]
    service.watch.close()
    assert [response.status_code for response in await asyncio.gather(*held)] == [200] * 3
    assert (await service.client.get(path, headers=LONG)).status_code == 200
    assert len(service.watch) == 0
