"""How much is done at all: errors that are built, looks that are taken, documents that are written."""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.openapi.utils import get_openapi
from prometheus_client import REGISTRY
from pydantic import BaseModel, ValidationError

from handlers import strict_json
from handlers.api.filters import AlsoWanted, BulkRetry
from handlers.api.fresh import Fresh
from handlers.api.sagas import GiveUp, Verdict
from handlers.dead_letters.filters import BulkRedrive, NoQuery
from handlers.strict_json import decode_aside
from handlers.webhooks.requests import FailedSince, StatusWish, Subscription
from models.messages import MAX_ERRORS, REPLIES, CancelOrder, CreateOrder, OrderBody
from saga.domain import Policy
from saga.runtime.loop_lag import EVERY, watch_lag
from saga.runtime.tasks import supervised
from saga.transitions import Signal
from tests.connections.serving import here
from tests.http.conftest import Service, order_body, without_database
from tests.waiting import until

ITEMS: list[Any] = [0, {}, None, [], {"price": []}]
BODIES: list[Any] = [
    {f"x{number}": 0 for number in range(10_000)},
    *({"items": [item] * count} for item in ITEMS for count in (25, 100, 101, 10_000)),
    {"events": ["x"] * 10_000},
    [0] * 10_000,
]
MODELS = [
    *(OrderBody, CreateOrder, CancelOrder, *REPLIES),
    *(AlsoWanted, BulkRetry, BulkRedrive, NoQuery, GiveUp, Verdict, FailedSince, StatusWish, Subscription),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_body_has_more_errors_than_are_told(model: type[BaseModel]) -> None:
    found = []
    for body in BODIES:
        try:
            model.model_validate(body)
        except ValidationError as error:
            found.append(error.error_count())
    assert 0 < max(found) <= MAX_ERRORS


def test_the_first_items_that_are_wrong_are_named_wherever_they_are() -> None:
    good = order_body()["items"][0]
    with pytest.raises(ValidationError) as caught:
        OrderBody.model_validate({"items": [good] * 50 + [{}] * 50})
    wrong = {error["loc"][1] for error in caught.value.errors() if error["loc"][0] == "items"}
    assert {50, 51} <= wrong
    assert min(wrong) == 50


async def test_many_who_want_to_know_make_one_question() -> None:
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    fresh = Fresh(ask)
    assert set(await asyncio.gather(*(fresh() for _ in range(100)))) == {1}


async def test_a_question_that_failed_is_asked_again() -> None:
    answers: Iterator[Exception | int] = iter([ConnectionError(), 7])

    async def ask() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    fresh = Fresh(ask)
    with pytest.raises(ConnectionError):
        await fresh()
    assert await fresh() == 7


async def test_the_contract_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # an API that no test has asked for it yet
    monkeypatch.setattr("tests.http.conftest.IDLE", defaultdict(list))
    written = []

    def counted(**told: Any) -> dict[str, Any]:
        written.append(1)
        return get_openapi(**told)

    monkeypatch.setattr("fastapi.applications.get_openapi", counted)
    async with without_database(Policy()) as service:
        answers = [await service.client.get("/openapi.json") for _ in range(3)]
    assert len({answer.content for answer in answers}) == 1
    assert len(written) == 1


async def test_long_bodies_are_decoded_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    decode = strict_json.decode

    def seen(body: bytes) -> Any:
        threads.append(threading.current_thread())
        return decode(body)

    monkeypatch.setattr(strict_json, "decode", seen)
    assert await decode_aside(b"[]") == []
    assert await decode_aside(b"[]".ljust(100_000)) == []
    assert [one is threading.main_thread() for one in threads] == [True, False]


async def test_a_list_is_what_each_of_its_orders_is_by_itself(service: Service) -> None:
    """A list is written from what is stored, an order from what is validated: nobody sees a difference."""
    names = ('"quoted"', "back\\slash", "\N{GRINNING FACE}", "line\nfeed", "\u2028")
    placed = await service.place(items=[order_body()["items"][0] | {"productName": name} for name in names])
    await service.happen(placed["id"], Signal.INVENTORY_VALIDATION_FAILED)
    page = (await service.client.get(f"/api/orders/user/{placed['userId']}")).json()
    assert page["items"] == [(await service.client.get(f"/api/orders/{placed['id']}")).json()]
    assert page["items"][0]["status"] == "Failed"
    assert page["items"][0]["updatedAt"] is not None


async def test_a_loop_that_stands_still_is_seen() -> None:
    looks = _lag("count")
    async with supervised("loop lag", watch_lag):
        await until(lambda: here(_lag("count") > looks))
        before, begin = _lag("sum"), time.monotonic()
        while time.monotonic() < begin + 5 * EVERY:
            pass
        looks = _lag("count")
        await until(lambda: here(_lag("count") > looks))
    assert _lag("sum") - before > 3 * EVERY


def _lag(part: str) -> float:
    return REGISTRY.get_sample_value(f"order_service_event_loop_lag_seconds_{part}") or 0.0
