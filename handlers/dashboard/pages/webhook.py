"""The pages `/webhooks/{id}` and `/webhooks/{id}/deliveries/{id}`: an endpoint, what it was sent, what can be done."""

from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from handlers.dashboard.flash import Done, notice
from handlers.dashboard.forms import Fields, Sent, filled_in
from handlers.dashboard.page_route import pages
from handlers.dashboard.rendering import page, see
from handlers.http.problems import ProblemError, problem_of
from handlers.webhooks.caller import Asking, Asks
from handlers.webhooks.requests import DeliveryQuery
from handlers.webhooks.service import Webhooks
from models.states import DeliveryStatus, WebhookStatus

_HOURS = {"1": "hour", "24": "24 hours", "168": "7 days", "720": "30 days"}
"""How far back what failed can be asked for again."""


class _Simple(Fields):
    """A button."""

    do: Literal["enable", "disable", "ping", "rotate"]


class _Again(Fields):
    """The button beside a delivery."""

    do: Literal["redeliver"]
    delivery: UUID


class _AllAgain(Fields):
    """The form that has all delivered again that failed."""

    do: Literal["redeliver-failed"]
    hours: Literal["1", "24", "168", "720"]


class _Gone(Fields):
    """The form that takes an endpoint away."""

    do: Literal["delete"]
    sure: Literal["yes"] = Field()


def webhook_page_routes(webhooks: Webhooks) -> APIRouter:
    """The routes of both pages, and of what can be done there."""
    router = pages()

    @router.get("/webhooks/{webhook_id}")
    async def look(request: Request, webhook_id: UUID, by: Asks) -> Response:
        return await webhook_page(webhooks, request, webhook_id, by)

    @router.post("/webhooks/{webhook_id}")
    async def act(request: Request, webhook_id: UUID, sent: Sent, by: Asks) -> Response:
        try:
            if sent.get("do") == "rotate":
                filled_in(_Simple, sent)
                secret = await webhooks.rotate_secret(webhook_id, by)
                # here and now only: no other page, and no address, has the secret
                return await webhook_page(webhooks, request, webhook_id, by, secret=secret)
            done = await _carry_out(webhooks, webhook_id, sent, by)
        except Exception as error:
            problem = problem_of(error)
            if problem.status_code == 404:  # noqa: PLR2004 - there is nothing to show
                raise
            return await webhook_page(webhooks, request, webhook_id, by, problem=problem)
        return see(
            request, "webhooks?done=taken-away" if done == "taken-away" else f"webhooks/{webhook_id}?done={done}"
        )

    @router.get("/webhooks/{webhook_id}/deliveries/{delivery_id}")
    async def delivery(request: Request, webhook_id: UUID, delivery_id: UUID, by: Asks) -> Response:
        endpoint, _ = await webhooks.find(webhook_id, by)
        shown = await webhooks.delivery(webhook_id, delivery_id, by)
        return page(request, "delivery.html", endpoint=endpoint, delivery=shown, body=(shown.body or b"").decode())

    return router


async def webhook_page(  # noqa: PLR0913 - a page says that much
    webhooks: Webhooks,
    request: Request,
    webhook_id: UUID,
    by: Asking,
    *,
    secret: str | None = None,
    problem: ProblemError | None = None,
) -> Response:
    """The page of one endpoint; with its secret, where that was made just now."""
    asked = {name: request.query_params.get(name, "") for name in ("status", "after")}
    wanted = filled_in(DeliveryQuery, asked)
    endpoint, health = await webhooks.find(webhook_id, by)
    found, following = await webhooks.log(webhook_id, wanted, by)
    return page(
        request,
        "webhook.html",
        endpoint=endpoint,
        health=health,
        enabled=endpoint.status == WebhookStatus.ENABLED,
        secret=secret,
        found=found,
        wanted=wanted.status,
        following={name: value for name, value in {**asked, "after": following}.items() if value}
        if following
        else None,
        statuses=list(DeliveryStatus),
        hours=_HOURS,
        problem=problem,
        notice=notice(request.query_params.get("done")),
    )


async def _carry_out(webhooks: Webhooks, id_: UUID, sent: dict[str, str], by: Asking) -> Done:
    match sent.get("do"):
        case "redeliver":
            await webhooks.redeliver(id_, filled_in(_Again, sent).delivery, by)
            return "redelivered"
        case "redeliver-failed":
            back = timedelta(hours=int(filled_in(_AllAgain, sent).hours))
            return (
                "redelivered-failed"
                if await webhooks.redeliver_failed(id_, datetime.now(UTC) - back, by)
                else "none-failed"
            )
        case "delete":
            filled_in(_Gone, sent)
            await webhooks.delete(id_, by)
            return "taken-away"
    match filled_in(_Simple, sent).do:
        case "ping":
            await webhooks.ping(id_, by)
            return "pinged"
        case "enable":
            await webhooks.switch(id_, WebhookStatus.ENABLED, by)
            return "switched-on"
        case _:
            await webhooks.switch(id_, WebhookStatus.DISABLED, by)
            return "switched-off"
