"""The webhooks' part of the HTTP API: who is told of orders, and what became of it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from handlers.access.rate_limits import spend_rows
from handlers.api.schemas import as_json
from handlers.http.joining import join
from handlers.http.json_body import StrictRoute
from handlers.http.problems import OF_BODIES, documented
from handlers.webhooks.caller import Asks
from handlers.webhooks.requests import DeliveryQuery, EndpointQuery, FailedSince, StatusWish, Subscription
from handlers.webhooks.service import Webhooks
from handlers.webhooks.views import (
    Count,
    DeliveryDetail,
    DeliveryPage,
    DeliveryView,
    EndpointPage,
    EndpointView,
    NewEndpointView,
    SecretView,
    delivery_detail,
    delivery_view,
    endpoint_view,
    new_endpoint_view,
)


def webhook_routes(webhooks: Webhooks) -> APIRouter:
    """The routes under `/api/webhooks`."""
    router = _router()

    @router.post("", status_code=201, response_model=NewEndpointView, responses=documented(409, *OF_BODIES))
    async def subscribe(body: Subscription, by: Asks) -> Response:
        """Have an endpoint told of orders. With the answer comes its secret, this once only.

        A person has five at most, a service's key fifty. While more than about 100,000 deliveries wait for an endpoint
        (5,000 of a person's), what happens is written as failed, and can be delivered again.
        """
        endpoint, secret = await webhooks.subscribe(body, by)
        location = {"Location": f"/api/webhooks/{endpoint.id}"}
        return _once(new_endpoint_view(endpoint, secret), 201, location)

    @router.get("", response_model=EndpointPage, responses=documented(422, 503))
    async def list_webhooks(request: Request, wanted: Annotated[EndpointQuery, Query()], by: Asks) -> Response:
        """Your endpoints, newest first; an operator's are everybody's."""
        spend_rows(request, wanted.limit)
        found, following = await webhooks.listed(wanted, by)
        return as_json(EndpointPage(items=[endpoint_view(*one) for one in found], next=following))

    @router.get("/{webhook_id}", response_model=EndpointView, responses=documented(404, 422, 503))
    async def get_webhook(webhook_id: UUID, by: Asks) -> Response:
        """An endpoint, and how it takes what it is sent."""
        return as_json(endpoint_view(*await webhooks.find(webhook_id, by)))

    @router.patch("/{webhook_id}", response_model=EndpointView, responses=documented(404, *OF_BODIES))
    async def switch_webhook(webhook_id: UUID, body: StatusWish, by: Asks) -> Response:
        """Enable or disable an endpoint. What waits for one that is disabled fails, and can be delivered again."""
        await webhooks.switch(webhook_id, body.status, by)
        return as_json(endpoint_view(*await webhooks.find(webhook_id, by)))

    @router.delete("/{webhook_id}", status_code=204, responses=documented(404, 422, 503))
    async def delete_webhook(webhook_id: UUID, by: Asks) -> None:
        """Take an endpoint away: nothing is sent to it any more."""
        await webhooks.delete(webhook_id, by)

    @router.post("/{webhook_id}/rotate-secret", response_model=SecretView, responses=documented(404, 422, 503))
    async def rotate_secret(webhook_id: UUID, by: Asks) -> Response:
        """A new secret, told this once only. For 24 hours deliveries are signed with the one before as well."""
        return _once(SecretView(id=webhook_id, secret=await webhooks.rotate_secret(webhook_id, by)), 200)

    @router.post(
        "/{webhook_id}/ping",
        status_code=202,
        response_model=DeliveryDetail,
        responses=documented(404, 409, 422, 503),
    )
    async def ping(webhook_id: UUID, by: Asks) -> Response:
        """Have a test sent, of the type `webhook.ping`: tried once, and its failing changes nothing."""
        return as_json(delivery_detail(await webhooks.ping(webhook_id, by)), 202)

    join(router, _delivery_routes(webhooks))
    return router


def _router() -> APIRouter:
    return APIRouter(prefix="/api/webhooks", tags=["webhooks"], route_class=StrictRoute)


def _delivery_routes(webhooks: Webhooks) -> APIRouter:
    router = _router()

    @router.get("/{webhook_id}/deliveries", response_model=DeliveryPage, responses=documented(404, 422, 503))
    async def list_deliveries(
        request: Request, webhook_id: UUID, wanted: Annotated[DeliveryQuery, Query()], by: Asks
    ) -> Response:
        """An endpoint's deliveries, newest first."""
        spend_rows(request, wanted.limit)
        found, following = await webhooks.log(webhook_id, wanted, by)
        return as_json(DeliveryPage(items=[delivery_view(one) for one in found], next=following))

    @router.get(
        "/{webhook_id}/deliveries/{delivery_id}",
        response_model=DeliveryDetail,
        responses=documented(404, 422, 503),
    )
    async def get_delivery(webhook_id: UUID, delivery_id: UUID, by: Asks) -> Response:
        """A delivery with its attempts."""
        return as_json(delivery_detail(await webhooks.delivery(webhook_id, delivery_id, by)))

    @router.post(
        "/{webhook_id}/deliveries/{delivery_id}/redeliver",
        status_code=202,
        response_model=DeliveryView,
        responses=documented(404, 409, 422, 503),
    )
    async def redeliver(webhook_id: UUID, delivery_id: UUID, by: Asks) -> Response:
        """Deliver it again, whatever became of it, with the same `webhook-id`."""
        return as_json(delivery_view(await webhooks.redeliver(webhook_id, delivery_id, by)), 202)

    @router.post(
        "/{webhook_id}/redeliver",
        status_code=202,
        response_model=Count,
        responses=documented(404, 409, *OF_BODIES),
    )
    async def redeliver_failed(webhook_id: UUID, body: FailedSince, by: Asks) -> Response:
        """Deliver again what was written since then, and has failed: the oldest first, as far as there is room.

        So much may wait for an endpoint; what is left over stays failed, and can be asked for again.
        """
        return as_json(Count(count=await webhooks.redeliver_failed(webhook_id, body.since, by)), 202)

    return router


def _once(view: BaseModel, status: int, headers: dict[str, str] | None = None) -> Response:
    """What nobody may keep on the way."""
    response = as_json(view, status)
    response.headers.update({"Cache-Control": "no-store", **(headers or {})})
    return response
