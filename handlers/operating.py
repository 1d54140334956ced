"""What people do to a saga over HTTP: a client cancels; an operator looks, asks again, resolves, gives up.

All of it goes through the engine as an event like any other, and what the table refuses is a 409 with its reason.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import Field, StringConstraints

from handlers.asking_again import BulkAnswer, ask_all_again, retry_of
from handlers.conditional import Shown, respond
from handlers.finding import BulkRetry, SagaPage, SagaQuery
from handlers.operators import FORBIDDEN, Actor
from handlers.ordering import ACCEPT_SECONDS
from handlers.paging import cursor, place
from handlers.problems import Problem, ProblemError, away, documented
from handlers.strict_body import StrictRoute
from handlers.views import SagaView, saga_view
from models.messages import Incoming, Text
from models.states import Command, EntryStatus
from saga import store
from saga.cells import Signal
from saga.database import Sessions
from saga.engine import Engine
from saga.errors import UnknownOrderError
from saga.listing import list_sagas
from saga.outlook import require_known
from saga.values import Event, Outcome, Policy, Saga, message_id

_Reason = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"\S")]
_SAYS_WHY = "Shown in the saga's history."
_REFUSED: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The saga has no such move where it stands; `detail` says why."}
}
_SAID_BEFORE = (
    "Nothing was changed: you said just this before, of {}, and now {} is open. If that is meant: name the `step`, or"
    " give another reason."
)
_BODY = (400, 413, 415, 422, 503)
_ACTION: dict[str, Any] = {
    "response_model": SagaView,
    "responses": FORBIDDEN | _REFUSED | documented(404, *_BODY),
}


class Wish(Incoming):
    """Why, where somebody says so."""

    reason: _Reason | None = Field(default=None, description=_SAYS_WHY)


class Verdict(Incoming):
    """What really happened to the open command, as a person found out."""

    outcome: Literal["succeeded", "failed"]
    reason: _Reason = Field(description=_SAYS_WHY)
    step: Command | None = Field(
        default=None, description="The command that is meant: with it, no other that is open by then is resolved."
    )


class GiveUp(Incoming):
    """Why an order is given up."""

    reason: _Reason = Field(description=_SAYS_WHY)


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
    brief = APIRouter(route_class=_OptionalBody)

    async def act(event: Event, status: int = 200) -> Response:
        """Do it, and show the saga as it is then."""
        try:
            async with asyncio.timeout(ACCEPT_SECONDS):
                decision = await engine.advance(event)
        except TimeoutError as error:
            raise away("It could not be committed in time. Look at the saga, and ask again if need be.") from error
        if decision.outcome in (Outcome.REFUSED, Outcome.IGNORED):
            raise ProblemError(409, "refused", f"Nothing was changed: {decision.why}.")
        return _shown(await _find(sessions, event.order_id), policy, status)

    @brief.post(
        "/orders/{order_id}/cancel",
        status_code=202,
        tags=["orders"],
        response_model=SagaView,
        responses=_REFUSED | documented(404, *_BODY),
    )
    async def cancel_order(order_id: UUID, body: Wish | None = None) -> Response:
        """Give an order up, as long as its payment was not asked for. Twice is once; the saga tells how it goes on."""
        return await act(Event(Signal.CANCEL, order_id, words=body.reason if body else None), 202)

    @router.get("/sagas", response_model=SagaPage, responses=FORBIDDEN | documented(422, 503))
    async def list_(wanted: Annotated[SagaQuery, Query()], _: Actor) -> Response:
        """Sagas, newest first."""
        async with sessions() as session:
            # one more than asked for tells whether there is a next page
            found = await list_sagas(session, wanted.filter(), wanted.limit + 1, place(wanted.after))
        last = found[wanted.limit - 1].saga if len(found) > wanted.limit else None
        page = SagaPage(
            items=[saga_view(stored, policy) for stored in found[: wanted.limit]],
            next=cursor(last.created_at, last.order_id) if last else None,
        )
        return Response(page.model_dump_json(by_alias=True), media_type="application/json")

    @router.post("/sagas/retry", responses=FORBIDDEN | documented(*_BODY))
    async def retry_many(body: BulkRetry, actor: Actor) -> BulkAnswer:
        """Ask the open commands of many sagas again, with an answer for each; by itself only tell what would be done.

        One request takes 100 sagas and 25 seconds at most; give its `next` as `after` to go on.
        """
        return await ask_all_again(engine, sessions, policy, body, actor)

    @brief.post("/sagas/{order_id}/retry", **_ACTION)
    async def retry(order_id: UUID, actor: Actor, body: Wish | None = None) -> Response:
        """Ask the open command again, now: same `eventId`, the next `attempt`."""
        return await act(retry_of(order_id, actor, body.reason if body else None))

    @router.post("/sagas/{order_id}/resolve", **_ACTION)
    async def resolve(order_id: UUID, body: Verdict, actor: Actor) -> Response:
        """Say what really happened to the open command; the saga goes on as if its participant had said so.

        Where the saga has ended, this closes its incident. The same verdict again changes nothing; where something else
        is open since, it is refused until it names the `step`.
        """
        stored = await _find(sessions, order_id)
        event = _verdict(stored.saga, body, actor)
        return await act(event) if event else _shown(stored, policy)

    @router.post("/sagas/{order_id}/compensate", **_ACTION)
    async def compensate(order_id: UUID, body: GiveUp, actor: Actor) -> Response:
        """Give the order up and undo what was, or may have been, done for it."""
        return await act(Event(Signal.OPERATOR_COMPENSATE, order_id, words=body.reason, actor=actor))

    router.include_router(brief)
    return router


async def _find(sessions: Sessions, order_id: UUID) -> store.Stored:
    async with sessions() as session:
        stored = await store.find_saga(session, order_id)
    if stored is None:
        raise UnknownOrderError(order_id)
    require_known(stored.saga)
    return stored


def _shown(stored: store.Stored, policy: Policy, status: int = 200) -> Response:
    ended = stored.saga.completed_at is not None
    return respond(Shown(saga_view(stored, policy), stored.saga.updated_at, final=ended), status)


def _verdict(saga: Saga, body: Verdict, actor: str) -> Event | None:
    """What a verdict tells the saga; None where it was given before, and must not count for the next command.

    Raises:
        ProblemError: another command is open than the one that is meant, or it is not sure which one is.
    """
    signal = Signal.OPERATOR_SUCCEEDED if body.outcome == "succeeded" else Signal.OPERATOR_FAILED
    open_, given = saga.position.open_command, [e for e in saga.history if e["status"] == EntryStatus.RESOLVED]
    if body.step not in (None, open_):
        if any((entry["step"], entry["event"]) == (body.step, signal) for entry in given):
            return None
        raise ProblemError(409, "refused", f"Nothing was changed: {body.step} is not open, {open_ or 'no command'} is.")
    told = (signal, actor, body.reason)
    same = [entry for entry in given if (entry["event"], entry.get("actor"), entry.get("words")) == told]
    if not body.step and same:
        if same[-1] is saga.history[-1] or not (open_ or saga.incident):
            return None
        raise ProblemError(409, "refused", _SAID_BEFORE.format(same[-1]["step"], open_ or "an incident"))
    # what is open may be another command by the time that this is committed
    cause = message_id(saga.id, open_) if open_ else saga.id
    return Event(signal, saga.order_id, causation_id=cause, words=body.reason, actor=actor)
