"""The page `/dead-letters/redrive`: the open letters of the list's filters are published again, one after the other."""

from typing import Any

from fastapi import APIRouter, Request, Response

from handlers.access.actor import Actor
from handlers.api.filters import AfterThat
from handlers.dashboard.forms import Sent, filled_in
from handlers.dashboard.page_route import pages
from handlers.dashboard.pages.bulk import COUNTS, Progress, Row, Step, Words, looked, many_page, stepped, unchanged
from handlers.dead_letters.filters import BulkRedrive, WantedLetters
from handlers.dead_letters.redrive import RedriveOutcome
from handlers.dead_letters.schemas import RedrivePage, RedriveView
from handlers.dead_letters.service import Letters
from handlers.http.problems import problem_of
from models.messages import Closed

_STEP = 20
"""How many one step takes on: whoever looks on sees something happen."""
_WORDS = Words(
    section="dead-letters",
    title="Redrive many",
    explains="Each of these letters is published again as it was, to the queue that it waited in, under the same"
    " message id. What cannot be handled still comes back here.",
    each="Dead letter",
    begin="Redrive them",
    nothing="There is nothing to redrive: none of the letters that are meant is open and of use to anybody.",
    back="dead-letters",
)
_OUTCOMES = {
    RedriveOutcome.WOULD_REDRIVE: "would be redriven",
    RedriveOutcome.REDRIVEN: "redriven",
    RedriveOutcome.BUS_AWAY: "not now",
    RedriveOutcome.BUSY: "not now",
}
_GOOD = (RedriveOutcome.WOULD_REDRIVE, RedriveOutcome.REDRIVEN)
_NOT_NOW = (RedriveOutcome.BUS_AWAY, RedriveOutcome.BUSY)


class _Looked(WantedLetters, Closed):
    """The address: which letters are meant, and where to go on looking."""

    after: AfterThat | None = None


class _Step(_Looked, Step):
    """The form of a step."""


def redriving_routes(letters: Letters) -> APIRouter:
    """The route of the page, to be found before those of a single letter."""
    router = pages()

    async def redrive(wanted: _Looked, actor: str, **how: Any) -> RedrivePage:
        meant = wanted.model_dump(mode="json", by_alias=True, exclude=COUNTS) | how
        return await letters.redrive_many(BulkRedrive.model_validate(meant), actor)

    @router.get("/dead-letters/redrive")
    async def look(request: Request, actor: Actor) -> Response:
        wanted = filled_in(_Looked, request.query_params)
        answer = await redrive(wanted, actor, dryRun=True)
        progress = looked([_row(item) for item in answer.items], answer.next, wanted.after)
        return many_page(request, _WORDS, progress, _filters(wanted))

    @router.post("/dead-letters/redrive")
    async def step(request: Request, sent: Sent, actor: Actor) -> Response:
        wanted, problem = filled_in(_Step, sent), None
        progress = unchanged(wanted)
        try:
            progress = _progress(await redrive(wanted, actor, dryRun=False, limit=_STEP), wanted)
        except Exception as error:  # noqa: BLE001 - a mistake of ours is raised on
            problem = problem_of(error)
        return many_page(request, _WORDS, progress, _filters(wanted), sent, problem)

    return router


def _filters(wanted: WantedLetters) -> dict[str, str]:
    """Which letters are meant, as the fields of a form."""
    return wanted.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(WantedLetters.model_fields))


def _progress(answer: RedrivePage, before: _Step) -> Progress:
    done = sum(item.outcome is RedriveOutcome.REDRIVEN for item in answer.items)
    not_now = sum(item.outcome in _NOT_NOW for item in answer.items)
    return stepped(
        before,
        [_row(item) for item in answer.items],
        answer.next,
        done=done,
        left_alone=len(answer.items) - done - not_now,
        stuck=not_now > 0,
    )


def _row(item: RedriveView) -> Row:
    return Row(
        path=f"dead-letters/{item.id}",
        name=str(item.id),
        outcome=_OUTCOMES.get(item.outcome, "left alone"),
        good=item.outcome in _GOOD,
        why=item.detail,
    )
