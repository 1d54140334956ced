"""The HTTP API: its parts put together, how well the service is, and what holds for every answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from handlers.access.authenticator import Access
from handlers.access.openapi import with_access
from handlers.access.rate_limits import Limits
from handlers.api.orders import order_routes
from handlers.dashboard.pages.login import login_routes
from handlers.http.docs import contract_routes
from handlers.http.joining import join
from handlers.http.problems import RETRY_AFTER_SECONDS, ProblemError, answer_problems, documented, with_problems
from handlers.http.trace_context import Requests
from handlers.live.watcher import Watch
from saga.domain import Policy
from saga.engine import Engine
from saga.runtime.database import Sessions

READY_SECONDS = 5.0
"""How long the checks of readiness may take."""


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """The service can do its work."""

    status: Literal["ready"] = "ready"


def http_api(  # noqa: PLR0913 - one argument for each part of the house that HTTP is a door to
    engine: Engine,
    sessions: Sessions,
    policy: Policy,
    *,
    unready: Callable[[], Awaitable[list[str]]],
    asyncapi: Callable[[], dict[str, Any]],
    watch: Watch,
    metrics: Callable[[], Awaitable[bytes]],
    access: Access,
    limits: Limits,
    more: Sequence[APIRouter] = (),
) -> FastAPI:
    """The HTTP API, with nobody at its door yet. It opens and starts nothing, and has no lifespan of its own.

    Args:
        engine: takes orders.
        sessions: for queries.
        policy: how long sagas wait, for telling so.
        unready: names what is not ready.
        asyncapi: the contract of the bus.
        metrics: in Prometheus' text format.
        access: tells who somebody is.
        limits: how much one may ask for.
        watch: whom clients wait with; close it first when the service stops.
        more: the operators' part, which needs other things than these.
    """
    app = FastAPI(
        title="Order service",
        version="1.0.0",
        description="Orders, and the sagas that carry them through Inventory and Billing. "
        "Every error is `application/problem+json` (RFC 9457).",
        docs_url=None,
        # served by the contracts' routes
        openapi_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    write_openapi = app.openapi
    app.openapi = cache(lambda: with_access(with_problems(write_openapi())))  # type: ignore[method-assign]
    answer_problems(app)
    app.add_middleware(Requests)
    join(
        app.router,
        order_routes(engine, sessions, policy, watch, limits),
        *more,
        _health_routes(unready, metrics),
        contract_routes(app.openapi, asyncapi),
        login_routes(access),
    )
    return app


def _health_routes(
    unready: Callable[[], Awaitable[list[str]]], exposition: Callable[[], Awaitable[bytes]]
) -> APIRouter:
    router = APIRouter(tags=["operation"])

    @router.get("/health/live")
    async def live() -> Live:
        """Whether the process answers; if not, restart it."""
        return Live()

    @router.get("/health/ready", responses=documented(503))
    async def ready() -> Ready:
        """Whether the service can do its work; a 503 names in `notReady` what is missing."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                missing = await unready()
        except TimeoutError:
            missing = ["the checks did not answer in time"]
        if missing:
            detail = f"Not ready: {', '.join(missing)}."
            raise ProblemError(503, "not_ready", detail, {"Retry-After": str(RETRY_AFTER_SECONDS)}, notReady=missing)
        return Ready()

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Prometheus metrics: of this service with all its workers, and of what all its instances have in common."""
        return Response(await exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router
