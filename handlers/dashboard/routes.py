"""The dashboard: its pages put together."""

from fastapi import APIRouter

from handlers.dashboard.assets import asset_routes
from handlers.dashboard.saga_list import saga_list_routes
from saga.database import Sessions
from saga.values import Policy


def dashboard_routes(sessions: Sessions, policy: Policy) -> APIRouter:
    """All pages and what they load.

    Args:
        sessions: for queries, each of which is a transaction of its own.
        policy: how long sagas wait, for telling so.
    """
    router = APIRouter()
    router.include_router(asset_routes())
    router.include_router(saga_list_routes(sessions, policy))
    return router
