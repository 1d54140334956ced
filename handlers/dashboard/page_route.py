"""Routes of pages: whatever goes wrong is said on a page, in words, with what to do."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from handlers.dashboard.rendering import page
from handlers.http.problems import ProblemError, mistake, problem_of
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

_WORDS = {
    401: ("Not from here", "Open the dashboard on the machine that the service runs on, over the loopback address."),
    403: (
        "Not allowed",
        "Log in with a key or a token that has the scope `operate`; or ask from a page of this service.",
    ),
    404: ("Not found", "Look for it in the list of sagas, by its customer or its age."),
    422: ("This cannot be understood", "Correct the address, or begin again from the list of sagas."),
    500: ("A mistake of ours", "Try again. If it happens again, look into the service's log."),
    503: ("Not now", "Nothing was lost. This page goes on by itself as soon as it can."),
}
"""What is said of a status, and what to do."""
_OTHERWISE = "Go back, and look at it again."


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, and a page where it fails."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await answer(request)
            except HTTPException as error:
                return error_page(request, error)
            except Exception as error:  # noqa: BLE001 - told apart by problem_of
                return error_page(request, _problem(error))

        return handle


def pages() -> APIRouter:
    """A router for pages, which are no part of the API's contract."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


def error_page(request: Request, problem: HTTPException) -> Response:
    """What went wrong, in words, and what to do."""
    title, advice = _WORDS.get(problem.status_code, (HTTPStatus(problem.status_code).phrase, _OTHERWISE))
    away = problem.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    # what a form did is not told by looking again, and what was typed into it is one page behind
    transient = away and request.method == "GET"
    return page(
        request,
        "error.html",
        status=problem.status_code,
        headers=problem.headers,
        title=title,
        detail=problem.detail,
        advice=_OTHERWISE if away and not transient else advice,
        transient=transient,
    )


def _problem(error: Exception) -> ProblemError:
    try:
        return problem_of(error)
    except Exception:
        log.exception("a page failed")
        return mistake()
