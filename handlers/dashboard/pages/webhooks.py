"""The page `/webhooks`: who is told of orders, and how that goes; and a form to add one."""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from handlers.dashboard.flash import notice
from handlers.dashboard.forms import Sent, field_errors, filled_in
from handlers.dashboard.page_route import pages
from handlers.dashboard.pages.webhook import webhook_page
from handlers.dashboard.rendering import page
from handlers.http.problems import InvalidError, ProblemError, problem_of
from handlers.webhooks.caller import Asking, Asks
from handlers.webhooks.requests import EndpointQuery, Subscription
from handlers.webhooks.service import Webhooks
from models.states import SUBSCRIBABLE


def webhook_list_routes(webhooks: Webhooks) -> APIRouter:
    """The routes of the page."""
    router = pages()

    @router.get("/webhooks")
    async def look(request: Request, by: Asks) -> Response:
        wanted = filled_in(EndpointQuery, {name: request.query_params.get(name, "") for name in ("limit", "after")})
        return await _list(webhooks, request, by, wanted)

    @router.post("/webhooks")
    async def add(request: Request, sent: Sent, by: Asks) -> Response:
        try:
            endpoint, secret = await webhooks.subscribe(_subscription(sent), by)
        except Exception as error:  # noqa: BLE001 - a mistake of ours is raised on
            return await _list(webhooks, request, by, EndpointQuery(), sent, problem_of(error))
        # here and now only: no other page, and no address, has the secret
        return await webhook_page(webhooks, request, endpoint.id, by, secret=secret)

    return router


async def _list(  # noqa: PLR0913, PLR0917 - a page says that much
    webhooks: Webhooks,
    request: Request,
    by: Asking,
    wanted: EndpointQuery,
    typed: Mapping[str, str] | None = None,
    problem: ProblemError | None = None,
) -> Response:
    try:
        found, following = await webhooks.listed(wanted, by)
    except Exception as error:
        if problem is None:
            raise
        # what was typed is shown all the same
        problem_of(error)
        found, following = None, None
    return page(
        request,
        "webhooks.html",
        found=found,
        following=following,
        first=wanted.after is None,
        events=list(SUBSCRIBABLE),
        typed_in=typed or dict.fromkeys(SUBSCRIBABLE, "yes"),
        problem=problem,
        notice=notice(request.query_params.get("done")),
    )


def _subscription(sent: Mapping[str, str]) -> Subscription:
    """What the form asks for, as the API would read it.

    Raises:
        InvalidError: what is wrong with each field.
    """
    events = [event for event in SUBSCRIBABLE if event in sent]
    typed = {name: value.strip() for name, value in sent.items() if name not in events and value.strip()}
    try:
        return Subscription.model_validate({**typed, "events": events})
    except ValidationError as error:
        errors = field_errors(error.errors())
        for one in errors:
            if one.field == "events":
                one.detail = "choose one at least"
        raise InvalidError(errors) from error
