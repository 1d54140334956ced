"""The pages `/sagas/{orderId}/retry`, `resolve`, `compensate` and `cancel`: what would come of it, then do it.

The form names the command that the page spoke of. Where the saga has moved on meanwhile nothing is done: the page comes
again, with what would come of it now, and with the reason that was typed, but without the answer to the old question.
"""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field, PlainValidator

from handlers.access.actor import Actor
from handlers.api.saga_actions import NOTHING, Actions, Truth
from handlers.dashboard.flash import Done
from handlers.dashboard.forms import Fields, Line, Sent, filled_in
from handlers.dashboard.page_route import pages
from handlers.dashboard.pages.consequences import consequence
from handlers.dashboard.pages.wishes import ACKNOWLEDGE, WISHES, Wish, wish_about
from handlers.dashboard.rendering import page, see
from handlers.http.problems import ProblemError, problem_of
from models.states import Command
from saga.domain import Policy
from saga.engine import Engine
from saga.insight.options import choices
from saga.runtime.database import Sessions
from saga.store import Stored


def _open_then(word: str) -> Command | Literal["nothing"]:
    if word == NOTHING:
        return NOTHING
    if word not in list(Command):
        raise ValueError("names no command")
    return Command(word)


class _Asked(Fields):
    """The form of a wish for which a reason is welcome."""

    meant: Annotated[Command | Literal["nothing"], PlainValidator(_open_then)]
    answer: Literal["yes", "succeeded", "failed"]
    reason: Line | None = None


class _AskedWithReason(_Asked):
    """The form of a wish that needs a reason."""

    reason: Line = Field()


class _Told(_AskedWithReason):
    """The form that says what really happened."""

    answer: Truth


def acting_routes(engine: Engine, sessions: Sessions, policy: Policy) -> APIRouter:
    """A page for each wish."""
    router = pages()
    actions = Actions(engine, sessions)
    for wish in WISHES.values():
        _add(router, wish, actions, policy)
    return router


def _add(router: APIRouter, wish: Wish, actions: Actions, policy: Policy) -> None:
    path = f"/sagas/{{order_id}}/{wish.path}"

    @router.get(path)
    async def confirm(request: Request, order_id: UUID) -> Response:
        return _page(request, order_id, wish, await actions.find(order_id), policy, {})

    @router.post(path)
    async def act(request: Request, order_id: UUID, sent: Sent, actor: Actor) -> Response:
        try:
            done = await _carry_out(actions, wish, order_id, sent, actor)
        except Exception as error:
            problem = problem_of(error)
            if problem.status_code == 404:  # noqa: PLR2004 - there is nothing to show
                raise
            return _page(request, order_id, wish, await _found(actions, order_id), policy, sent, problem)
        return see(request, f"sagas/{order_id}?done={done}")


async def _carry_out(actions: Actions, wish: Wish, order_id: UUID, sent: dict[str, str], actor: str) -> Done:
    match wish.path:
        case "retry":
            asked = filled_in(_Asked, sent)
            await actions.retry(order_id, actor, asked.reason, meant=asked.meant)
        case "resolve":
            told = filled_in(_Told, sent)
            await actions.resolve(order_id, actor, told.answer, told.reason, meant=told.meant)
            return ACKNOWLEDGE.done if told.meant == NOTHING else wish.done
        case "compensate":
            urged = filled_in(_AskedWithReason, sent)
            await actions.compensate(order_id, actor, urged.reason, meant=urged.meant)
        case "cancel":
            asked = filled_in(_Asked, sent)
            await actions.cancel(order_id, asked.reason, actor=actor, meant=asked.meant)
    return wish.done


async def _found(actions: Actions, order_id: UUID) -> Stored | None:
    """The saga; None while it cannot be read: what was typed is shown all the same."""
    try:
        return await actions.find(order_id)
    except Exception as error:  # noqa: BLE001 - a mistake of ours is raised on
        problem_of(error)
        return None


def _page(  # noqa: PLR0913, PLR0917 - a page says that much
    request: Request,
    order_id: UUID,
    wish: Wish,
    stored: Stored | None,
    policy: Policy,
    sent: dict[str, str],
    problem: ProblemError | None = None,
) -> Response:
    saga = stored.saga if stored else None
    if saga:
        wish = wish_about(saga, wish)
    told = choices(saga, policy) if saga else {}
    meant = (saga.position.open_command if saga else sent.get("meant")) or NOTHING
    ways = [(answer, consequence(saga, told[signal], policy)) for answer, signal in wish.signals.items() if saga]
    return page(
        request,
        "act.html",
        wish=wish,
        order_id=order_id,
        saga=saga,
        ways=ways,
        possible=any(way.possible for _, way in ways),
        meant=meant,
        reason=sent.get("reason", ""),
        # what was said of one command must not stand ready for another
        answer=sent.get("answer") if sent.get("meant") == meant else None,
        problem=problem,
    )
