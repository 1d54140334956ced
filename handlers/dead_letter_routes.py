"""The dead letters' part of the HTTP API, for operators: look at them, publish them again, give them up."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from handlers.dead_letter_views import (
    DeadLetterDetail,
    DeadLetterPage,
    RedrivePage,
    RedriveView,
    letter_detail,
    letter_view,
    redrive_view,
)
from handlers.finding_letters import NO_CONTROL, BulkRedrive, LetterQuery, NoQuery
from handlers.operators import FORBIDDEN, Actor
from handlers.paging import cursor, place
from handlers.problems import Problem, ProblemError, documented
from handlers.reading_letters import event_in
from handlers.redriving import not_now, redrive_all
from handlers.strict_body import StrictRoute
from saga.bus import Bus
from saga.database import Sessions
from saga.dead_letters import LetterState, find, list_letters
from saga.redrive import RedriveOutcome, Redrives, discard
from saga.values import Policy

Why = Annotated[
    str, Query(alias="reason", min_length=1, max_length=1_000, pattern=NO_CONTROL, description="Why it is given up.")
]
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "Not as it stands; `detail` says why."}
}


def dead_letter_routes(sessions: Sessions, bus: Bus, policy: Policy) -> APIRouter:  # noqa: C901 - five operations
    """The routes under `/api/dead-letters`.

    Args:
        sessions: each of which is one transaction.
        bus: publishes what is redriven.
        policy: how long sagas wait, for telling what they wait for.
    """
    router = APIRouter(prefix="/api/dead-letters", tags=["dead letters"], route_class=StrictRoute)
    redrives = Redrives(sessions, bus, policy, event_in)

    @router.get("", response_model=DeadLetterPage, responses=FORBIDDEN | documented(422, 503))
    async def list_dead_letters(wanted: Annotated[LetterQuery, Query()], _: Actor) -> Response:
        """Dead letters, the newest arrival first."""
        async with sessions() as session:
            # one more than asked for tells whether there is a next page
            found = await list_letters(session, wanted.filter(wanted.state), wanted.limit + 1, place(wanted.after))
            known = await redrives.known(session, found[: wanted.limit])
        last = found[wanted.limit - 1] if len(found) > wanted.limit else None
        following = cursor(last.last_at, last.id) if last else None
        return _json(DeadLetterPage(items=[letter_view(*one) for one in known], next=following))

    @router.get("/{id}", response_model=DeadLetterDetail, responses=FORBIDDEN | documented(404, 422, 503))
    async def get_dead_letter(id: UUID, _: Actor) -> Response:  # noqa: A002 - its name in the path
        """A dead letter with its headers and body, whatever bytes it has."""
        async with sessions() as session:
            letter = await find(session, id)
            if letter is None:
                raise _gone()
            return _json(letter_detail(*(await redrives.known(session, [letter]))[0]))

    @router.post("/redrive", response_model=RedrivePage, responses=FORBIDDEN | documented(400, 413, 415, 422, 503))
    async def redrive_many(body: BulkRedrive, _: Annotated[NoQuery, Query()], by: Actor) -> Response:
        """Publish many open letters again, each by itself; by itself only tell what would become of them.

        One request takes 100 letters and 25 seconds at most, and ends early where RabbitMQ is away; give its `next` as
        `after` to go on.
        """
        return _json(await redrive_all(redrives, sessions, body, by))

    @router.post(
        "/{id}/redrive", response_model=RedriveView, responses=FORBIDDEN | _CONFLICT | documented(404, 422, 503)
    )
    async def redrive_one(id: UUID, by: Actor) -> Response:  # noqa: A002 - its name in the path
        """Publish a letter again unchanged. One that was redriven and has not come back stays as it is."""
        done = await redrives.redrive(id, by)
        match done.outcome:
            case RedriveOutcome.GONE:
                raise _gone()
            case RedriveOutcome.REFUSED | RedriveOutcome.UNROUTABLE:
                raise ProblemError(409, f"redrive_{done.outcome}", done.words)
            case RedriveOutcome.BUS_AWAY | RedriveOutcome.BUSY:
                raise not_now(done)
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
            return _json(letter_detail(*(await redrives.known(session, [letter]))[0]))

    return router


def _gone() -> ProblemError:
    return ProblemError(404, "unknown_dead_letter", "There is no such dead letter.")


def _json(view: BaseModel) -> Response:
    return Response(view.model_dump_json(by_alias=True), media_type="application/json")
