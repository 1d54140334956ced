"""What holds for every answer: outages, mistakes of ours, health, metrics, and the contracts."""

import json
import re
from typing import Any
from uuid import uuid4

import pytest

from handlers.api import orders as ordering
from handlers.http.problems import MEDIA_TYPE
from handlers.queries import orders
from tests.http.conftest import ASYNCAPI, Service, order_body, problem

PAGES = pytest.mark.parametrize(
    ("page", "parts"), [("/docs", ["swagger-ui", "openapi.json"]), ("/asyncapi", ["asyncapi-viewer", "asyncapi.json"])]
)

_OPERATED = {"200", "400", "401", "403", "404", "409", "413", "415", "422", "429", "503"}

NOBODY = "8f14e45f-ceea-4672-9b5a-3c1d6b0a7e21"
"""The name of a test must be the same wherever it runs."""


@pytest.mark.parametrize("path", [f"/api/orders/{NOBODY}", f"/api/orders/{NOBODY}/saga", f"/api/orders/user/{NOBODY}"])
async def test_while_the_database_is_away_a_reader_is_told_when_to_come_again(homeless: Service, path: str) -> None:
    response = await homeless.client.get(path)
    assert problem(response, 503)["type"] == "urn:order-service:database-away"
    assert int(response.headers["retry-after"]) > 0


async def test_an_order_that_is_not_committed_in_time_is_to_be_sent_again(
    homeless: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "ACCEPT_SECONDS", 0.01)
    response = await homeless.client.post("/api/orders", json=order_body())
    assert "Idempotency-Key" in problem(response, 503)["detail"]
    assert int(response.headers["retry-after"]) > 0


async def test_a_bad_order_is_refused_although_the_database_is_away(homeless: Service) -> None:
    problem(await homeless.client.post("/api/orders", json={}), 422)


async def test_a_mistake_of_ours_is_a_problem_that_tells_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        secret = "the password is"
        raise RuntimeError(secret)

    monkeypatch.setattr(orders, "find_order", broken)
    response = await service.client.get(f"/api/orders/{uuid4()}")
    problem(response, 500)
    assert "password" not in response.text
    assert "Traceback" not in response.text


async def test_no_answer_can_be_sniffed_or_framed_or_tells_what_it_runs_on(service: Service) -> None:
    order = await service.place()
    for path in ("/health/live", f"/api/orders/{order['id']}", "/docs", "/assets/docs.js", "/openapi.json", "/none"):
        headers = (await service.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert not {"server", "x-powered-by"} & set(headers)


async def test_a_live_process_says_so_whatever_is_missing(homeless: Service) -> None:
    homeless.missing.append("database: gone")
    assert (await homeless.client.get("/health/live")).status_code == 200


async def test_readiness_names_what_is_missing(service: Service) -> None:
    assert (await service.client.get("/health/ready")).status_code == 200
    service.missing += ["database: OSError", "bus: not connected for publishing"]
    response = await service.client.get("/health/ready")
    body = problem(response, 503)
    assert body["notReady"] == service.missing
    assert all(one in body["detail"] for one in service.missing)
    service.missing.clear()
    assert (await service.client.get("/health/ready")).status_code == 200


async def test_metrics_are_what_prometheus_reads(service: Service) -> None:
    await service.place()
    response = await service.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert 'order_service_saga_events_total{outcome="applied",signal="CreateOrder"}' in response.text


@PAGES
async def test_a_contract_is_read_without_the_internet_and_without_inline_scripts(
    service: Service, page: str, parts: list[str]
) -> None:
    response = await service.client.get(page)
    html = response.text
    assert response.headers["content-type"].startswith("text/html")
    assert not re.search(r"https?://|//[a-z]", html)
    assert not re.search(r"<script[^>]*>[^<]", html)
    assert "script-src 'self';" in response.headers["content-security-policy"]
    addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
    loaded = html
    for address in addresses:
        asset = await service.client.get(f"/{address}")
        assert asset.status_code == 200, address
        loaded += asset.text if address.endswith("docs.js") else ""
    assert all(part in loaded for part in parts)


async def test_every_asset_has_its_media_type(service: Service) -> None:
    kinds = {"swagger-ui.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.svg": "image/svg+xml"}
    for name, kind in kinds.items():
        assert (await service.client.get(f"/assets/{name}")).headers["content-type"].startswith(kind)


async def test_the_contract_of_the_bus_is_given_as_it_is(service: Service) -> None:
    assert (await service.client.get("/asyncapi.json")).json() == ASYNCAPI


async def test_openapi_documents_every_operation_with_its_problems(service: Service) -> None:
    document = (await service.client.get("/openapi.json")).json()
    statuses = {
        f"{method} {path}": set(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    refused = {"401", "403", "429"}
    assert statuses == {
        "post /api/orders": {"201", "400", "413", "415", "422", "503"} | refused,
        "get /api/orders/user/{user_id}": {"200", "404", "422", "503"} | refused,
        "get /api/orders/{order_id}": {"200", "304", "404", "422", "503"} | refused,
        "get /api/orders/{order_id}/saga": {"200", "304", "404", "422", "503"} | refused,
        "get /api/orders/{order_id}/events": {"200", "204", "404", "422", "503"} | refused,
        "get /api/sagas": {"200", "422", "503"} | refused,
        "post /api/sagas/retry": {"200", "400", "413", "415", "422", "503"} | refused,
        "post /api/sagas/{order_id}/retry": _OPERATED,
        "post /api/sagas/{order_id}/resolve": _OPERATED,
        "post /api/sagas/{order_id}/compensate": _OPERATED,
        "post /api/orders/{order_id}/cancel": {"202", "400", "404", "409", "413", "415", "422", "503"} | refused,
        "get /api/dead-letters": {"200", "422", "503"} | refused,
        "post /api/dead-letters/redrive": {"200", "400", "413", "415", "422", "503"} | refused,
        "get /api/dead-letters/{id}": {"200", "404", "422", "503"} | refused,
        "delete /api/dead-letters/{id}": {"200", "404", "409", "422", "503"} | refused,
        "post /api/dead-letters/{id}/redrive": {"200", "404", "409", "422", "503"} | refused,
        "post /api/webhooks": {"201", "400", "409", "413", "415", "422", "503"} | refused,
        "get /api/webhooks": {"200", "422", "503"} | refused,
        "get /api/webhooks/{webhook_id}": {"200", "404", "422", "503"} | refused,
        "patch /api/webhooks/{webhook_id}": {"200", "400", "404", "413", "415", "422", "503"} | refused,
        "delete /api/webhooks/{webhook_id}": {"204", "404", "422", "503"} | refused,
        "post /api/webhooks/{webhook_id}/rotate-secret": {"200", "404", "422", "503"} | refused,
        "post /api/webhooks/{webhook_id}/ping": {"202", "404", "409", "422", "503"} | refused,
        "post /api/webhooks/{webhook_id}/redeliver": _OPERATED - {"200"} | {"202"},
        "get /api/webhooks/{webhook_id}/deliveries": {"200", "404", "422", "503"} | refused,
        "get /api/webhooks/{webhook_id}/deliveries/{delivery_id}": {"200", "404", "422", "503"} | refused,
        "post /api/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver": {"202", "404", "409", "422", "503"}
        | refused,
        "get /health/live": {"200"},
        "get /health/ready": {"200", "503"},
        "get /metrics": {"200"} | refused,
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["description"]
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert list(response["content"]) == [MEDIA_TYPE]


async def test_openapi_is_the_same_however_often_it_is_asked_for(service: Service) -> None:
    first = await service.client.get("/openapi.json")
    assert (await service.client.get("/openapi.json")).json() == first.json()


async def test_openapi_describes_every_field_of_the_views(service: Service) -> None:
    schemas = (await service.client.get("/openapi.json")).json()["components"]["schemas"]
    order = await service.place()
    saga = await service.saga(order["id"])
    for name, shown in (("OrderView", order), ("SagaView", saga), ("WaitingView", saga["waiting"])):
        assert schemas[name]["description"]
        assert set(schemas[name]["properties"]) == set(shown)
        assert set(schemas[name]["required"]) == set(shown)
    assert set(schemas["EntryView"]["properties"]) >= {"actor", "count", "eventId"}
    assert "HTTPValidationError" not in schemas
    assert "float" not in json.dumps(schemas["OrderView"])
