"""Whoever names what they mean gets that or nothing: what a page showed may not be so any more."""

from uuid import UUID

import pytest

from handlers.api.saga_actions import NOTHING, Actions, Meant
from handlers.http.problems import ProblemError
from models.states import Command, Position
from saga.store import Stored
from saga.transitions import Signal
from tests.http.conftest import HAPPY, Service

C, G = Command, Signal
ANN = "operator@127.0.0.1 (ann)"


async def _do(service: Service, order_id: str, action: str, meant: Meant) -> Stored:
    actions, id_ = Actions(service.engine, service.sessions), UUID(order_id)
    match action:
        case "retry":
            return await actions.retry(id_, ANN, "r", meant=meant)
        case "compensate":
            return await actions.compensate(id_, ANN, "r", meant=meant)
        case "cancel":
            return await actions.cancel(id_, "r", actor=ANN, meant=meant)
        case _:
            return await actions.resolve(id_, ANN, "succeeded", "r", meant=meant)


@pytest.mark.parametrize("meant", [C.VALIDATE_INVENTORY, NOTHING])
@pytest.mark.parametrize("action", ["retry", "compensate", "cancel", "resolve"])
async def test_what_is_not_open_any_more_is_left_alone(service: Service, action: str, meant: Meant) -> None:
    order = await service.place()
    await service.happen(order["id"], G.INVENTORY_VALIDATED)
    before = await service.saga(order["id"])
    with pytest.raises(ProblemError, match="Nothing was changed") as refused:
        await _do(service, order["id"], action, meant)
    assert refused.value.status_code == 409
    assert await service.saga(order["id"]) == before


@pytest.mark.parametrize(
    ("action", "becomes"),
    [
        ("retry", Position.VALIDATING),
        ("compensate", Position.FAILED),
        ("cancel", Position.FAILED),
        ("resolve", Position.RESERVING),
    ],
)
async def test_what_is_open_still_is_meant(service: Service, action: str, becomes: Position) -> None:
    order = await service.place()
    done = await _do(service, order["id"], action, C.VALIDATE_INVENTORY)
    assert done.saga.position is becomes
    assert done.saga.history[-1]["actor"] == ANN


async def test_an_incident_that_is_closed_twice_is_closed_once(service: Service) -> None:
    order = await service.place()
    await service.happen(order["id"], *HAPPY, G.PAYMENT_FAILED)
    first = await _do(service, order["id"], "resolve", NOTHING)
    assert first.saga.incident is None
    assert await _do(service, order["id"], "resolve", NOTHING) == first
