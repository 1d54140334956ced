"""The pages `/dead-letters` and `/dead-letters/{id}`: what could not be handled, and what can be done about it."""

import json
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from handlers.access.actor import Actor
from handlers.dashboard.flash import Done, notice
from handlers.dashboard.forms import Fields, Line, Sent, filled_in
from handlers.dashboard.page_route import pages
from handlers.dashboard.pages.dead_letter_body import shown
from handlers.dashboard.rendering import page, see
from handlers.dead_letters.filters import LetterQuery
from handlers.dead_letters.redrive import RedriveOutcome, Safety
from handlers.dead_letters.service import Letters
from handlers.dead_letters.store import Letter, LetterState
from handlers.http.problems import ProblemError, problem_of
from models.states import DEAD_LETTER_REASONS


class _Redriven(Fields):
    """The form that publishes a letter again."""

    do: Literal["redrive"]


class _GivenUp(Fields):
    """The form that gives a letter up."""

    do: Literal["discard"]
    reason: Line = Field()


def letter_routes(letters: Letters) -> APIRouter:
    """The routes of both pages, and of what can be done there."""
    router = pages()

    @router.get("/dead-letters")
    async def letter_list(request: Request) -> Response:
        typed = dict(request.query_params)
        try:
            wanted, problem = filled_in(LetterQuery, typed), None
        except ProblemError as error:
            wanted, problem = LetterQuery(), error
        known, following = ([], None) if problem else await letters.list(wanted)
        filters = {name: value for name, value in typed.items() if value.strip() and name not in ("after", "limit")}
        return page(
            request,
            "letters.html",
            known=known,
            filters=filters,
            meant={name: value for name, value in filters.items() if name != "state"},
            wanted=wanted,
            following=following,
            problem=problem,
            states=list(LetterState),
            reasons=sorted(DEAD_LETTER_REASONS),
        )

    @router.get("/dead-letters/{id_}")
    async def letter(request: Request, id_: UUID) -> Response:
        return _page(request, await letters.find(id_))

    @router.post("/dead-letters/{id_}")
    async def act(request: Request, id_: UUID, sent: Sent, actor: Actor) -> Response:
        try:
            done = await _carry_out(letters, id_, sent, actor)
        except Exception as error:
            problem = problem_of(error)
            if problem.status_code == 404:  # noqa: PLR2004 - there is nothing to show
                raise
            return _page(request, await _found(letters, id_), problem, sent.get("reason", ""))
        return see(request, f"dead-letters/{id_}?done={done}")

    return router


async def _carry_out(letters: Letters, id_: UUID, sent: dict[str, str], actor: str) -> Done:
    if sent.get("do") == "discard":
        reason = filled_in(_GivenUp, sent).reason
        letter, _ = await letters.discard(id_, actor, reason)
        return "discarded" if (letter.closed_by, letter.discard_reason) == (actor, reason) else "discarded-before"
    filled_in(_Redriven, sent)
    done = await letters.redrive(id_, actor)
    return "unchanged" if done.outcome is RedriveOutcome.UNCHANGED else "redriven"


async def _found(letters: Letters, id_: UUID) -> tuple[Letter, Safety] | None:
    """The letter; None while it cannot be read: what was typed is shown all the same."""
    try:
        return await letters.find(id_)
    except Exception as error:
        if problem_of(error).status_code == 404:  # noqa: PLR2004 - there is nothing to show
            raise
        return None


def _page(
    request: Request, found: tuple[Letter, Safety] | None, problem: ProblemError | None = None, reason: str = ""
) -> Response:
    letter, known = found or (None, None)
    return page(
        request,
        "letter.html",
        letter=letter,
        known=known,
        body=shown(letter.body or b"", whole=letter.whole_sha256 is None) if letter else None,
        headers_=_table(letter.headers) if letter else [],
        properties=_table(letter.properties) if letter else [],
        reason=reason,
        problem=problem,
        notice=notice(request.query_params.get("done")),
    )


def _table(values: dict[str, object] | None) -> list[tuple[str, str]]:
    """Names and values; a value that is no text is written as JSON."""
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1))
        for name, value in (values or {}).items()
    ]
