"""The dead letters' part of the HTTP API, for operators: look at them, publish them again, give them up."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from handlers.access.actor import Actor
from handlers.access.rate_limits import spend_rows
from handlers.api.schemas import as_json
from handlers.dead_letters.filters import NO_CONTROL, BulkRedrive, LetterQuery, NoQuery
from handlers.dead_letters.schemas import (
    DeadLetterDetail,
    DeadLetterPage,
    RedrivePage,
    RedriveView,
    letter_detail,
    letter_view,
    redrive_view,
)
from handlers.dead_letters.service import Letters
from handlers.http.json_body import StrictRoute
from handlers.http.problems import OF_BODIES, documented

Why = Annotated[
    str, Query(alias="reason", min_length=1, max_length=1_000, pattern=NO_CONTROL, description="Why it is given up.")
]


def dead_letter_routes(letters: Letters) -> APIRouter:
    """The routes under `/api/dead-letters`."""
    router = APIRouter(prefix="/api/dead-letters", tags=["dead letters"], route_class=StrictRoute)

    @router.get("", response_model=DeadLetterPage, responses=documented(422, 503))
    async def list_dead_letters(request: Request, wanted: Annotated[LetterQuery, Query()]) -> Response:
        """Dead letters, the newest arrival first."""
        spend_rows(request, wanted.limit)
        known, following = await letters.list(wanted)
        return as_json(DeadLetterPage(items=[letter_view(*one) for one in known], next=following))

    @router.get("/{id}", response_model=DeadLetterDetail, responses=documented(404, 422, 503))
    async def get_dead_letter(id: UUID) -> Response:  # noqa: A002 - its name in the path
        """A dead letter with its headers and body, whatever bytes it has."""
        return as_json(letter_detail(*await letters.find(id)))

    @router.post("/redrive", response_model=RedrivePage, responses=documented(*OF_BODIES))
    async def redrive_many(request: Request, body: BulkRedrive, _: Annotated[NoQuery, Query()], by: Actor) -> Response:
        """Publish many open letters again, each by itself; by itself only tell what would become of them.

        One request takes 100 letters and 25 seconds at most, and ends early where RabbitMQ is away; give its `next` as
        `after` to go on.
        """
        spend_rows(request, body.limit)
        return as_json(await letters.redrive_many(body, by))

    @router.post("/{id}/redrive", response_model=RedriveView, responses=documented(404, 409, 422, 503))
    async def redrive_one(id: UUID, by: Actor) -> Response:  # noqa: A002 - its name in the path
        """Publish a letter again unchanged. One that was redriven and has not come back stays as it is."""
        return as_json(redrive_view(await letters.redrive(id, by)))

    @router.delete("/{id}", response_model=DeadLetterDetail, responses=documented(404, 409, 422, 503))
    async def discard_dead_letter(id: UUID, by: Actor, reason: Why = "no reason was given") -> Response:  # noqa: A002 - its name in the path
        """Give a letter up. It is kept; should it arrive again, it is open again."""
        return as_json(letter_detail(*await letters.discard(id, by, reason)))

    return router
