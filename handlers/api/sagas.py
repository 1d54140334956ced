"""What people do to a saga over HTTP: a client cancels; an operator looks, asks again, resolves, gives up.

All of it goes through the engine as an event like any other, and what the table refuses is a 409 with its reason.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import Field

from handlers.access.actor import Actor
from handlers.access.principal import AnyCaller, Scope
from handlers.access.rate_limits import spend_rows
from handlers.api.bulk_retry import BulkAnswer, ask_all_again
from handlers.api.filters import AlsoWanted, BulkRetry, Reason, SagaPage, SagaQuery
from handlers.api.saga_actions import Actions, Truth
from handlers.api.schemas import CancelView, SagaView, as_json, cancel_view, saga_view
from handlers.http.conditional import Shown, respond
from handlers.http.joining import join
from handlers.http.json_body import StrictRoute
from handlers.http.pagination import cut, place
from handlers.http.problems import OF_BODIES, documented
from handlers.queries.sagas import list_sagas, place_of
from models.messages import Incoming
from models.states import Command
from saga.domain import Policy
from saga.engine import Engine
from saga.runtime.database import Sessions
from saga.store import Stored

_SAYS_WHY = "Shown in the saga's history, to the customer too."
_ACTION: dict[str, Any] = {
    "response_model": SagaView,
    "responses": documented(404, 409, *OF_BODIES),
}


class Wish(Incoming):
    """Why, where somebody says so."""

    reason: Reason | None = Field(default=None, description=_SAYS_WHY)


class Verdict(Incoming):
    """What really happened to the open command, as a person found out."""

    outcome: Truth
    reason: Reason = Field(description=_SAYS_WHY)
    step: Command | None = Field(
        default=None, description="The command that is meant: with it, no other that is open by then is resolved."
    )


class GiveUp(Incoming):
    """Why an order is given up."""

    reason: Reason = Field(description=_SAYS_WHY)


class _OptionalBody(StrictRoute):
    """A route whose body may be left out: then it needs no content type either."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The strict handler where there is a body, FastAPI's own where there is none."""
        strict, plain = super().get_route_handler(), APIRoute.get_route_handler(self)

        async def handle(request: Request) -> Response:
            headers = request.headers
            empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
            return await (plain if empty else strict)(request)

        return handle


def operating_routes(engine: Engine, sessions: Sessions, policy: Policy) -> APIRouter:
    """The routes under `/api/sagas`, and the client's cancel."""
    router = APIRouter(prefix="/api", tags=["operators"], route_class=StrictRoute)
    brief = APIRouter(prefix="/api", tags=["operators"], route_class=_OptionalBody)
    actions = Actions(engine, sessions)

    @brief.post(
        "/orders/{order_id}/cancel",
        status_code=202,
        tags=["orders"],
        response_model=SagaView | CancelView,
        responses=documented(404, 409, *OF_BODIES),
    )
    async def cancel_order(caller: AnyCaller, order_id: UUID, body: Wish | None = None) -> Response:
        """Give an order up, as long as its payment was not asked for. Twice is once; the saga tells how it goes on.

        Who may not read the order is told of its saga's state alone.
        """
        if caller.user_id:
            # an order stays its customer's: what is found now is theirs when it is cancelled
            await actions.find(order_id, caller.user_id)
        # a customer cancels as a customer; who does it for one is on record
        actor = None if caller.local or caller.user_id else caller.name
        cancelled = await actions.cancel(order_id, body.reason if body else None, actor=actor)
        if not caller.reads:
            return as_json(cancel_view(cancelled), 202)
        return _shown(cancelled, policy, 202, to_operators=caller.may(Scope.OPERATE))

    @router.get("/sagas", response_model=SagaPage, responses=documented(422, 503))
    async def list_(request: Request, wanted: Annotated[SagaQuery, Query()]) -> Response:
        """Sagas, newest first."""
        spend_rows(request, wanted.limit)
        async with sessions() as session:
            found = await list_sagas(session, wanted.filter(), wanted.limit + 1, place(wanted.after))
        sagas, following = cut(found, wanted.limit, place_of)
        return as_json(
            SagaPage(items=[saga_view(stored, policy, to_operators=True) for stored in sagas], next=following)
        )

    @router.post("/sagas/retry", responses=documented(*OF_BODIES))
    async def retry_many(
        request: Request, body: BulkRetry, also: Annotated[AlsoWanted, Query()], actor: Actor
    ) -> BulkAnswer:
        """Ask the open commands of many sagas again, with an answer for each; by itself only tell what would be done.

        The filters may be in the body or, as the list has them, in the query.

        One request takes 100 sagas and 25 seconds at most; give its `next` as `after` to go on.
        """
        spend_rows(request, body.limit)
        return await ask_all_again(engine, sessions, policy, body.and_also(also), actor)

    @brief.post("/sagas/{order_id}/retry", **_ACTION)
    async def retry(order_id: UUID, actor: Actor, body: Wish | None = None) -> Response:
        """Ask the open command again, now: same `eventId`, the next `attempt`."""
        return _shown(await actions.retry(order_id, actor, body.reason if body else None), policy)

    @router.post("/sagas/{order_id}/resolve", **_ACTION)
    async def resolve(order_id: UUID, body: Verdict, actor: Actor) -> Response:
        """Say what really happened to the open command; the saga goes on as if its participant had said so.

        Where the saga has ended, this closes its incident. The same verdict again changes nothing; where something else
        is open since, it is refused until it names the `step`.
        """
        done = await actions.resolve(order_id, actor, body.outcome, body.reason, meant=body.step)
        return _shown(done, policy)

    @router.post("/sagas/{order_id}/compensate", **_ACTION)
    async def compensate(order_id: UUID, body: GiveUp, actor: Actor) -> Response:
        """Give the order up and undo what was, or may have been, done for it."""
        return _shown(await actions.compensate(order_id, actor, body.reason), policy)

    join(router, brief)
    return router


def _shown(stored: Stored, policy: Policy, status: int = 200, *, to_operators: bool = True) -> Response:
    ended = stored.saga.completed_at is not None
    return respond(
        Shown(saga_view(stored, policy, to_operators=to_operators), stored.saga.updated_at, final=ended), status
    )
