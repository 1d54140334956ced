"""The dead letters' part of the HTTP API, for operators: look at them, publish them again, give them up."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from handlers.dead_letter_views import (
    DeadLetterDetail,
    DeadLetterPage,
    RedriveBody,
    RedrivePage,
    RedriveView,
    letter_detail,
    letter_view,
    redrive_view,
)
from handlers.operators import FORBIDDEN, Actor
from handlers.paging import After, Limit, cursor, place
from handlers.problems import RETRY_AFTER_SECONDS, Problem, ProblemError, documented
from handlers.strict_body import StrictRoute
from saga import dead_letters, store
from saga.bus import Bus
from saga.database import Sessions
from saga.dead_letters import Filter, Letter, LetterState
from saga.redrive import Redrive, RedriveOutcome, Safety, discard, foresee, redrive, safety
from saga.values import Policy

_NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"
Word = Annotated[str | None, Query(min_length=1, max_length=100, pattern=_NO_CONTROL, description="Only this reason.")]
RoutingKey = Annotated[
    str | None,
    Query(alias="routingKey", min_length=1, max_length=255, pattern=_NO_CONTROL, description="Only this routing key."),
]
OrderId = Annotated[UUID | None, Query(alias="orderId", description="Only this order's.")]
State = Annotated[LetterState, Query(description="What was done about them since they last arrived.")]
Why = Annotated[
    str, Query(alias="reason", min_length=1, max_length=1_000, pattern=_NO_CONTROL, description="Why it is given up.")
]
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "Not as it stands; `detail` says why."}
}


def dead_letter_routes(  # noqa: C901 - five operations
    sessions: Sessions, bus: Bus, policy: Policy
) -> APIRouter:
    """The routes under `/api/dead-letters`.

    Args:
        sessions: each of which is one transaction.
        bus: publishes what is redriven.
        policy: how long sagas wait, for telling what they wait for.
    """
    router = APIRouter(prefix="/api/dead-letters", tags=["dead letters"], route_class=StrictRoute)

    async def page(wanted: Filter, limit: int, after: str | None) -> tuple[list[tuple[Letter, Safety]], str | None]:
        """Letters with what is known about each, and the cursor to the next page."""
        behind = place(after)
        async with sessions() as session:
            # one more than asked for tells whether there is a next page
            letters = await dead_letters.list_letters(session, wanted, limit + 1, behind)
            known = await _known(session, letters[:limit], policy)
        more = len(letters) > limit
        return known, cursor(letters[limit - 1].last_at, letters[limit - 1].id) if more else None

    @router.get("", response_model=DeadLetterPage, responses=FORBIDDEN | documented(422, 503))
    async def list_dead_letters(  # noqa: PLR0913, PLR0917 - a parameter for each filter
        _: Actor,
        state: State = LetterState.OPEN,
        reason: Word = None,
        routing_key: RoutingKey = None,
        order_id: OrderId = None,
        limit: Limit = 20,
        after: After = None,
    ) -> Response:
        """Dead letters, the newest arrival first."""
        known, following = await page(Filter(state, reason, routing_key, order_id), limit, after)
        return _json(DeadLetterPage(items=[letter_view(*one) for one in known], next=following))

    @router.get("/{id}", response_model=DeadLetterDetail, responses=FORBIDDEN | documented(404, 422, 503))
    async def get_dead_letter(id: UUID, _: Actor) -> Response:  # noqa: A002 - its name in the path
        """A dead letter with its headers and body, whatever bytes it has."""
        async with sessions() as session:
            letter = await dead_letters.find(session, id)
            if letter is None:
                raise _gone()
            return _json(letter_detail(*(await _known(session, [letter], policy))[0]))

    @router.post("/redrive", response_model=RedrivePage, responses=FORBIDDEN | documented(400, 413, 415, 422, 503))
    async def redrive_many(  # noqa: PLR0913, PLR0917 - a parameter for each filter
        body: RedriveBody,
        by: Actor,
        reason: Word = None,
        routing_key: RoutingKey = None,
        order_id: OrderId = None,
        limit: Limit = 100,
        after: After = None,
    ) -> Response:
        """Publish many open letters again, each by itself; it ends early where RabbitMQ is away."""
        known, following = await page(Filter(LetterState.OPEN, reason, routing_key, order_id), limit, after)
        done: list[Redrive] = []
        for letter, safe in known:
            done.append(foresee(letter, safe) if body.dry_run else await redrive(sessions, bus, letter.id, by, policy))
            if done[-1].outcome is RedriveOutcome.BUS_AWAY:
                following = after
                break
        return _json(RedrivePage(items=[redrive_view(one) for one in done], next=following))

    @router.post(
        "/{id}/redrive", response_model=RedriveView, responses=FORBIDDEN | _CONFLICT | documented(404, 422, 503)
    )
    async def redrive_one(id: UUID, by: Actor) -> Response:  # noqa: A002 - its name in the path
        """Publish a letter again unchanged. One that was redriven and has not come back stays as it is."""
        done = await redrive(sessions, bus, id, by, policy)
        match done.outcome:
            case RedriveOutcome.GONE:
                raise _gone()
            case RedriveOutcome.REFUSED | RedriveOutcome.UNROUTABLE:
                raise ProblemError(409, f"redrive_{done.outcome}", done.words)
            case RedriveOutcome.BUS_AWAY:
                detail = f"RabbitMQ did not confirm it ({done.words}). Try again."
                raise ProblemError(503, done.outcome, detail, {"Retry-After": str(RETRY_AFTER_SECONDS)})
        return _json(redrive_view(done))

    @router.delete(
        "/{id}", response_model=DeadLetterDetail, responses=FORBIDDEN | _CONFLICT | documented(404, 422, 503)
    )
    async def discard_dead_letter(id: UUID, reason: Why, by: Actor) -> Response:  # noqa: A002 - its name in the path
        """Give a letter up, with a reason. It is kept; should it arrive again, it is open again."""
        letter = await discard(sessions, id, by, reason)
        if letter is None:
            raise _gone()
        if letter.state is LetterState.REDRIVEN:
            raise ProblemError(409, "redriven", "It was redriven and has not come back: there is nothing to discard.")
        async with sessions() as session:
            return _json(letter_detail(*(await _known(session, [letter], policy))[0]))

    return router


async def _known(session: Any, letters: Sequence[Letter], policy: Policy) -> list[tuple[Letter, Safety]]:
    """What the table knows about each of these."""
    order_ids = {letter.order_id for letter in letters if letter.order_id}
    sagas = await store.find_orders(session, order_ids) if order_ids else {}
    return [
        (letter, safety(letter, sagas.get(letter.order_id) if letter.order_id else None, policy)) for letter in letters
    ]


def _gone() -> ProblemError:
    return ProblemError(404, "unknown_dead_letter", "There is no such dead letter.")


def _json(view: BaseModel) -> Response:
    return Response(view.model_dump_json(by_alias=True), media_type="application/json")
