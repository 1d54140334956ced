"""The page `/sagas`: those that are wanted, newest first."""

from fastapi import APIRouter, Request, Response

from handlers.dashboard.rendering import page
from handlers.dashboard.routing import pages
from handlers.finding import SagaQuery
from handlers.paging import cursor, place
from saga.database import Sessions
from saga.listing import list_sagas
from saga.values import Policy


def saga_list_routes(sessions: Sessions, policy: Policy) -> APIRouter:
    """The route of the list."""
    router = pages()

    @router.get("/sagas")
    async def saga_list(request: Request) -> Response:
        wanted = SagaQuery.model_validate({k: v for k, v in request.query_params.items() if v})
        async with sessions() as session:
            found = await list_sagas(session, wanted.filter(), wanted.limit + 1, place(wanted.after))
        return page(request, "sagas.html", found=found[: wanted.limit], policy=policy, cursor=cursor)

    return router
