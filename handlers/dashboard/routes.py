"""The dashboard: its pages put together."""

from fastapi import APIRouter

from handlers.dashboard.pages.bulk_redrive import redriving_routes
from handlers.dashboard.pages.bulk_retry import asking_again_routes
from handlers.dashboard.pages.dead_letters import letter_routes
from handlers.dashboard.pages.overview import overview_routes
from handlers.dashboard.pages.playground import trying_routes
from handlers.dashboard.pages.saga import saga_page_routes
from handlers.dashboard.pages.saga_action import acting_routes
from handlers.dashboard.pages.sagas import saga_list_routes
from handlers.dashboard.pages.stand_ins import StandIns
from handlers.dashboard.pages.webhook import webhook_page_routes
from handlers.dashboard.pages.webhooks import webhook_list_routes
from handlers.dashboard.static_files import asset_routes
from handlers.dead_letters.service import Letters
from handlers.http.joining import join
from handlers.webhooks.service import Webhooks
from saga.domain import Policy
from saga.engine import Engine
from saga.runtime.database import Sessions


def dashboard_routes(  # noqa: PLR0913, PLR0917 - one argument for each part of the house that pages are a door to
    engine: Engine,
    sessions: Sessions,
    policy: Policy,
    letters: Letters,
    webhooks: Webhooks,
    stand_ins: StandIns,
    trace_url: str | None = None,
) -> APIRouter:
    """All pages and what they load.

    Args:
        engine: carries out what operators ask for.
        sessions: for queries, each of which is a transaction of its own.
        policy: how long sagas wait, for telling so.
        letters: the dead letters.
        webhooks: who is told of orders.
        stand_ins: those of a local system; elsewhere there are none, and no playground.
        trace_url: where a trace can be looked at, with `{traceId}` in it.
    """
    router = APIRouter()
    join(
        router,
        asset_routes(),
        overview_routes(sessions, policy),
        # what many sagas, or letters, can be asked has the address of one that is called `retry`: so it comes first
        asking_again_routes(engine, sessions, policy),
        redriving_routes(letters),
        saga_list_routes(sessions, policy),
        saga_page_routes(sessions, policy, trace_url),
        acting_routes(engine, sessions, policy),
        letter_routes(letters),
        webhook_list_routes(webhooks),
        webhook_page_routes(webhooks),
    )
    if stand_ins:
        join(router, trying_routes(engine, stand_ins))
    return router
