"""A client gives its order up over HTTP (docs/state-machine.md, rule 10)."""

from typing import Any
from uuid import uuid4

import pytest

from handlers.api import saga_actions as actions
from saga.transitions import Signal
from tests.http.conftest import HAPPY, Service, problem


async def _cancel(service: Service, order_id: str, status: int = 202, **request: Any) -> dict[str, Any]:
    response = await service.client.post(f"/api/orders/{order_id}/cancel", **request)
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_before_the_reservation_was_asked_for_the_order_fails_at_once(service: Service) -> None:
    order = await service.place()
    saga = await _cancel(service, order["id"], json={"reason": "changed my mind"})
    assert (saga["status"], saga["cancelRequested"], saga["waiting"]) == ("Failed", True, None)
    [entry] = saga["history"]
    assert (entry["status"], entry["message"]) == ("Cancelled", "Cancelled by the client: changed my mind")
    assert (await service.client.get(f"/api/orders/{order['id']}")).json()["status"] == "Failed"


async def test_while_the_reservation_is_in_flight_its_reply_is_waited_for(service: Service) -> None:
    order = await service.place()
    await service.happen(order["id"], HAPPY[0])
    saga = await _cancel(service, order["id"])
    assert (saga["status"], saga["cancelRequested"]) == ("InProgress", True)
    await service.happen(order["id"], HAPPY[1])
    assert (await service.saga(order["id"]))["waiting"]["for"][0] == "InventoryReleased"


async def test_twice_is_once(service: Service) -> None:
    order = await service.place()
    await service.happen(order["id"], HAPPY[0])
    first = await _cancel(service, order["id"])
    assert await _cancel(service, order["id"], json={"reason": "really"}) == first


async def test_cancelling_what_was_cancelled_and_has_ended_changes_nothing(service: Service) -> None:
    order = await service.place()
    assert await _cancel(service, order["id"]) == await _cancel(service, order["id"])


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (HAPPY[:2], "the payment has been asked for"),
        (HAPPY, "the order is completed"),
        ((Signal.INVENTORY_VALIDATION_FAILED,), "the order has failed"),
        ((*HAPPY[:2], Signal.PAYMENT_FAILED), "already being undone"),
    ],
)
async def test_once_it_is_too_late_it_is_refused_with_the_reason(
    service: Service, before: tuple[Signal, ...], why: str
) -> None:
    order = await service.place()
    await service.happen(order["id"], *before)
    saga = await service.saga(order["id"])
    response = await service.client.post(f"/api/orders/{order['id']}/cancel")
    assert why in problem(response, 409)["detail"]
    assert await service.saga(order["id"]) == saga


async def test_an_order_that_is_not_there_cannot_be_cancelled(service: Service) -> None:
    problem(await service.client.post(f"/api/orders/{uuid4()}/cancel"), 404)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"json": {"reason": ""}}, 422),
        ({"json": {"reason": "x" * 501}}, 422),
        ({"json": {"reason": "\x00"}}, 422),
        ({"json": []}, 422),
        ({"content": "{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": "{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"json": {"reason": "x" * 2**20}}, 413),
    ],
)
async def test_a_body_that_is_there_has_to_be_right(service: Service, request_: dict[str, Any], status: int) -> None:
    order = await service.place()
    problem(await service.client.post(f"/api/orders/{order['id']}/cancel", **request_), status)
    assert not (await service.saga(order["id"]))["cancelRequested"]


async def test_while_the_database_is_away_a_client_is_told_to_come_again(
    homeless: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "ACCEPT_SECONDS", 0.01)
    response = await homeless.client.post(f"/api/orders/{uuid4()}/cancel")
    problem(response, 503)
    assert int(response.headers["retry-after"]) > 0
