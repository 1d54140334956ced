"""Headers of every answer, whatever it says and whoever gets it."""

import asyncio
from typing import Any

import httpx2
import pytest

from handlers.http.shutdown import Endable
from tests.access.conftest import VISITORS, House, header, house  # noqa: F401 - the fixture
from tests.access.operations import over_http

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALWAYS = {
    "x-content-type-options": {"nosniff"},
    "referrer-policy": {"no-referrer", "same-origin"},
    "permissions-policy": {"camera=(), geolocation=(), microphone=()"},
    "cross-origin-opener-policy": {"same-origin"},
    "cross-origin-resource-policy": {"same-origin"},
}


def careful(headers: Any) -> None:
    """It is an answer that does no harm to who gets it."""
    for name, values in ALWAYS.items():
        assert headers.get(name) in values, name
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy


@pytest.mark.parametrize("visitor", ["nobody", "operator", "scraper", "owner", "expired token"])
async def test_every_answer_is_careful(house: House, visitor: str) -> None:  # noqa: F811 - the fixture
    for one in over_http(house.service.api):
        method, path = one.split()
        answer = await house.ask(visitor, method, path.replace("{}", house.order_id))
        careful(answer.headers)
        assert "strict-transport-security" not in answer.headers, one
        if answer.status_code in {401, 403, 303}:
            assert answer.headers["cache-control"] == "no-store", one
        elif not path.startswith(("/assets", "/docs", "/asyncapi", "/openapi", "/health")):
            assert answer.headers["cache-control"] in {"no-store", "private, no-cache"}, one


async def test_what_is_not_there_is_said_carefully(house: House) -> None:  # noqa: F811 - the fixture
    for method, path in (("GET", "/nothing"), ("PUT", "/api/orders"), ("GET", "/assets/nothing.js")):
        careful((await house.ask("nobody", method, path)).headers)


async def test_over_https_it_is_to_stay_so(house: House) -> None:  # noqa: F811 - the fixture
    transport = httpx2.ASGITransport(app=house.service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="https://localhost") as client:
        for path in ("/health/live", "/api/sagas", "/login", "/nothing"):
            assert (await client.get(path)).headers["strict-transport-security"] == (
                "max-age=31536000; includeSubDomains"
            )


async def test_a_mistake_of_ours_is_told_carefully_and_without_its_trace(
    house: House,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr("handlers.api.sagas.list_sagas", broken)
    answer = await house.ask("operator", "GET", "/api/sagas")
    assert answer.status_code == 500
    careful(answer.headers)
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    monkeypatch.setattr("handlers.access.authenticator.find_key", broken)
    monkeypatch.setattr("handlers.access.authenticator.Access._is_ours", broken)
    answer = await house.ask(
        "nobody", "GET", "/api/sagas", headers={"Cookie": f"order-service-login={'x' * 43}.{'0' * 64}"}
    )
    assert answer.status_code == 500
    careful(answer.headers)
    assert "secret" not in answer.text


async def test_who_is_cut_off_by_the_end_is_told_so_carefully() -> None:
    begun = asyncio.Event()

    async def slow(_: Any, __: Any, ___: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    endable = Endable(slow)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=endable), base_url="http://localhost") as client:
        asked = asyncio.create_task(client.get("/"))
        await begun.wait()
        endable._end()
        answer = await asked
    assert answer.status_code == 503
    careful(answer.headers)
