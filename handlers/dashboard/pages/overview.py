"""The page `/`: what needs a person, first; how the whole stands; and what happened in the last minutes."""

import asyncio

from fastapi import APIRouter, Request, Response

from handlers.dashboard.charts import HEIGHT, WIDTH, durations, ends
from handlers.dashboard.page_route import pages
from handlers.dashboard.rendering import page
from handlers.queries.overview import MOST, look
from handlers.queries.sagas import Filter, list_sagas
from saga.domain import Policy
from saga.runtime.database import Sessions
from saga.telemetry.activity import Activity, last_minutes

MINUTES = 30
"""As far as the charts look back."""
SHOWN = 8
"""Of the sagas that need a person, the newest; the list has the others."""


def overview_routes(sessions: Sessions, policy: Policy) -> APIRouter:
    """The route of the overview."""
    router = pages()

    @router.get("/")
    async def overview(request: Request) -> Response:
        async with asyncio.timeout(5), sessions() as session:
            standing = await look(session, policy.saga_timeout)
            minutes = await last_minutes(session, MINUTES)
            waiting = await list_sagas(session, Filter(incident=True), SHOWN) if standing.incidents else []
            any_ = bool(waiting or standing.unfinished or await list_sagas(session, Filter(), 1))
        whole = Activity()
        for _, activity in minutes:
            whole.put_back(activity)
        return page(
            request,
            "overview.html",
            standing=standing,
            most=MOST,
            waiting=waiting,
            any=any_,
            whole=whole,
            minutes=MINUTES,
            ends=ends(minutes),
            durations=durations(minutes),
            width=WIDTH,
            height=HEIGHT,
            timeout=policy.saga_timeout,
        )

    return router
