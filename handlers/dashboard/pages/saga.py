"""The page `/sagas/{orderId}`: one saga, the way that it has taken, what it waits for, and all that was said."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from handlers.dashboard.diagram import picture, way
from handlers.dashboard.flash import notice
from handlers.dashboard.messages import received, sent, why_here
from handlers.dashboard.page_route import pages
from handlers.dashboard.pages.wishes import deeds
from handlers.dashboard.rendering import page
from handlers.dashboard.timeline import bars, lines, stays
from handlers.queries.unsent import find_unsent
from models.messages import money_text
from saga import store
from saga.domain import Policy
from saga.errors import UnknownOrderError
from saga.insight.forecast import remaining_steps, waiting
from saga.insight.replay import way_taken
from saga.runtime.database import Sessions
from saga.telemetry.traceparent import is_sampled, trace_id


def saga_page_routes(sessions: Sessions, policy: Policy, trace_url: str | None) -> APIRouter:
    """The route of one saga.

    Args:
        sessions: for queries.
        policy: how long sagas wait, for telling so.
        trace_url: where a trace can be looked at, with `{traceId}` in it.
    """
    router = pages()

    @router.get("/sagas/{order_id}")
    async def saga_page(request: Request, order_id: UUID) -> Response:
        """One saga."""
        async with sessions() as session:
            stored = await store.find_saga(session, order_id)
            if stored is None:
                raise UnknownOrderError(order_id)
            unsent, now = await find_unsent(session, order_id)
        saga, trace, sampled = stored.saga, trace_id(stored.traceparent), is_sampled(stored.traceparent)
        moves = way_taken(saga)
        stayed = stays(saga, moves, now)
        return page(
            request,
            "saga.html",
            saga=saga,
            order=stored.order,
            total=money_text(stored.order.total_amount),
            now=now,
            picture=picture(saga, moves),
            way=way(saga, moves),
            waiting=waiting(saga, policy),
            remaining=remaining_steps(saga),
            deeds=deeds(saga, policy),
            notice=notice(request.query_params.get("done")),
            bars=bars(saga, stayed),
            lines=lines(saga),
            sent=sent(saga, stayed, unsent),
            received=received(saga),
            why_here=why_here,
            trace=trace,
            sampled=sampled,
            trace_url=trace_url.replace("{traceId}", trace) if trace_url and sampled else None,
        )

    return router
