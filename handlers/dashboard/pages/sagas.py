"""The page `/sagas`: those that are wanted, newest first. What is wanted stands in its address."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from handlers.api.filters import SagaQuery
from handlers.dashboard.page_route import pages
from handlers.dashboard.rendering import page, see
from handlers.http.pagination import cut, place
from handlers.http.problems import InvalidError
from handlers.queries.sagas import list_sagas_now, place_of
from models.states import CurrentStep, SagaStatus
from saga.domain import Policy
from saga.insight.forecast import waiting
from saga.runtime.database import Sessions
from saga.runtime.rows import Place

_PER_PAGE = 25
_AGES = {"60": "1 minute", "300": "5 minutes", "3600": "1 hour", "86400": "1 day", "604800": "7 days"}
_WORDS = {
    "status": "The status must be one of those in the list.",
    "step": "The step must be one of those in the list.",
    "incident": "Incidents are true, false, or not asked for.",
    "userId": "The customer is a UUID, such as 0d9f3c52-4c0e-4e43-9f53-3f0a4f9c3b70.",
    "olderThan": "The age is a number of seconds, such as 300.",
    "limit": "A page has 1 to 100 sagas.",
    "after": "There is no page that begins there. Go back to the first one.",
}
"""What can be asked for, and how; the last two do not say which sagas."""


def saga_list_routes(sessions: Sessions, policy: Policy) -> APIRouter:
    """The route of the list.

    Args:
        sessions: for queries.
        policy: how long sagas wait, for telling so.
    """
    router = pages()

    @router.get("/sagas")
    async def saga_list(request: Request) -> Response:
        """Sagas, newest first."""
        if order_id := request.query_params.get("orderId", "").strip():
            return _straight_to(request, order_id)
        # a form sends what was left empty as well
        asked = {name: request.query_params.get(name, "").strip() for name in _WORDS}
        asked = {name: value for name, value in asked.items() if value}
        try:
            wanted, behind = _read(asked)
        except (ValidationError, InvalidError) as error:
            return page(request, "sagas.html", status=422, wrong=_wrong(error), found=[], **_around(asked))
        async with sessions() as session:
            found, now = await list_sagas_now(session, wanted.filter(), wanted.limit + 1, behind)
        sagas, following = cut(found, wanted.limit, place_of)
        rows = [(stored, waiting(stored.saga, policy)) for stored in sagas]
        return page(request, "sagas.html", wrong={}, found=rows, now=now, **_around(asked, following))

    return router


def _straight_to(request: Request, order_id: str) -> Response:
    try:
        return see(request, f"sagas/{UUID(order_id)}")
    except ValueError:
        wrong = {"orderId": "The order's id is a UUID, such as 0d9f3c52-4c0e-4e43-9f53-3f0a4f9c3b70."}
        return page(request, "sagas.html", status=422, wrong=wrong, found=[], order_id=order_id, **_around({}))


def _read(asked: dict[str, str]) -> tuple[SagaQuery, Place | None]:
    wanted = SagaQuery.model_validate({"limit": _PER_PAGE, **asked})
    return wanted, place(wanted.after)


def _wrong(error: ValidationError | InvalidError) -> dict[str, str]:
    names = ["after"] if isinstance(error, InvalidError) else [str(one["loc"][0]) for one in error.errors()]
    return {name: _WORDS[name] for name in names}


def _around(asked: dict[str, str], following: str | None = None) -> dict[str, Any]:
    """What the page has around the list: the form as it was sent, and the ways to other pages."""
    here = {name: value for name, value in asked.items() if name != "after"}
    filters = {name: value for name, value in here.items() if name != "limit"}
    age = filters.get("olderThan")
    return {
        "filters": filters,
        "statuses": list(SagaStatus),
        "steps": list(CurrentStep),
        "ages": _AGES if age is None or age in _AGES else {**_AGES, age: f"{age} s"},
        "first": urlencode(here) if "after" in asked else None,
        "next": urlencode({**here, "after": following}) if following else None,
    }
