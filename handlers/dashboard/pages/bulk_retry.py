"""The page `/sagas/retry`: the sagas of the list's filters are asked again, one after the other, at a rate."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from handlers.access.actor import Actor
from handlers.api.bulk_retry import BulkAnswer, BulkItem, ask_all_again
from handlers.api.filters import MAX_FOUND, AfterThat, BulkRetry, Wanted
from handlers.dashboard.forms import Line, Sent, filled_in
from handlers.dashboard.page_route import pages
from handlers.dashboard.pages.bulk import COUNTS, Progress, Row, Step, Words, looked, many_page, stepped, unchanged
from handlers.http.problems import ProblemError, problem_of
from models.messages import Closed
from saga.domain import Outcome, Policy
from saga.engine import Engine
from saga.runtime.database import Sessions

_STEP_SECONDS = 2.5
"""How long a step takes: whoever looks on sees something happen."""
_WORDS = Words(
    section="sagas",
    title="Ask many again",
    explains="The open command of each of these sagas is sent once more, under the same eventId. A participant that has"
    " carried it out already does nothing, and only answers again.",
    each="Order",
    begin="Ask them again",
    nothing="There is nothing to ask again: none of the sagas that are meant has an open command.",
    back="sagas",
    asks=("reason", "ratePerSecond"),
)
_OUTCOMES = {
    "would-retry": "would be asked again",
    Outcome.APPLIED: "asked again",
    "unknown": "not known",
}
_LEFT_ALONE = "left alone"


class _Looked(Wanted, Closed):
    """The address: which sagas are meant, and where to go on looking."""

    after: AfterThat | None = None


class _Step(_Looked, Step):
    """The form of a step."""

    reason: Line | None = None
    rate_per_second: float = Field(default=10, ge=0.1, le=1000)


def asking_again_routes(engine: Engine, sessions: Sessions, policy: Policy) -> APIRouter:
    """The route of the page, to be found before those of a single saga."""
    router = pages()

    async def ask(wanted: _Looked, actor: str, **how: Any) -> BulkAnswer:
        meant = wanted.model_dump(by_alias=True, exclude=COUNTS) | how
        return await ask_all_again(engine, sessions, policy, BulkRetry.model_validate(meant), actor)

    async def looking(
        request: Request, wanted: _Looked, typed: Mapping[str, str], actor: str, problem: ProblemError | None = None
    ) -> Response:
        answer = await ask(wanted, actor, dryRun=True)
        progress = looked([_row(item) for item in answer.items], answer.next, wanted.after)
        return many_page(request, _WORDS, progress, _filters(wanted), typed, problem)

    @router.get("/sagas/retry")
    async def look(request: Request, actor: Actor) -> Response:
        return await looking(request, filled_in(_Looked, request.query_params), {}, actor)

    @router.post("/sagas/retry")
    async def step(request: Request, sent: Sent, actor: Actor) -> Response:
        try:
            wanted = filled_in(_Step, sent)
        except ProblemError as problem:
            # what is meant must be right; what was typed beside it comes again
            meant = filled_in(_Looked, {name: sent[name] for name in sent.keys() & _FILTERS})
            return await looking(request, meant, sent, actor, problem)
        progress, problem_ = unchanged(wanted), None
        try:
            most = min(max(int(wanted.rate_per_second * _STEP_SECONDS), 1), MAX_FOUND)
            progress = _progress(await ask(wanted, actor, dryRun=False, limit=most), wanted)
        except Exception as error:  # noqa: BLE001 - a mistake of ours is raised on
            problem_ = problem_of(error)
        return many_page(request, _WORDS, progress, _filters(wanted), sent, problem_)

    return router


_FILTERS = {field.alias or name for name, field in Wanted.model_fields.items()}


def _filters(wanted: Wanted) -> dict[str, str]:
    """Which sagas are meant, as the fields of a form."""
    named = wanted.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(Wanted.model_fields))
    return {name: _typed(value) for name, value in named.items()}


def _typed(value: object) -> str:
    """As it stands in the address of the list."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.15g}"
        case _:
            return str(value)


def _progress(answer: BulkAnswer, before: _Step) -> Progress:
    asked = sum(item.outcome == Outcome.APPLIED for item in answer.items)
    return stepped(
        before,
        [_row(item) for item in answer.items],
        answer.next,
        done=asked,
        left_alone=len(answer.items) - asked,
        stuck=any(item.outcome == "unknown" for item in answer.items),
        # within a step the rate is kept; so it is between the last one and the first of the next
        pause=1 / before.rate_per_second,
    )


def _row(item: BulkItem) -> Row:
    return Row(
        path=f"sagas/{item.order_id}",
        name=str(item.order_id),
        outcome=_OUTCOMES.get(item.outcome, _LEFT_ALONE),
        good=item.outcome in (Outcome.APPLIED, "would-retry"),
        why=item.why,
    )
