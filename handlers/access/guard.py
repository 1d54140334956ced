"""The guard at the door: asks the table of rules before anything else happens to a request, and lets in who may."""

from collections.abc import Callable
from dataclasses import dataclass
from re import Pattern
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import iter_route_contexts
from starlette._utils import get_route_path
from starlette.requests import HTTPConnection
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from handlers.access.careful import Careful
from handlers.access.credentials import Access
from handlers.access.limits import Limits, Rates
from handlers.access.refusals import forbidden
from handlers.access.rules import RULES, Rule, operation
from handlers.problems import ProblemError, answer, mistake, nothing_there, problem_of
from saga.logs import get_logger

log = get_logger(__name__)

WEBSOCKET = "WS"
"""Stands for the method of an operation that is a WebSocket."""
RefusePage = Callable[[Request, ProblemError], Response]
"""How a page is refused: on a page, or by a way to the login."""


@dataclass(frozen=True, slots=True)
class _Operation:
    methods: frozenset[str]
    path: str
    pattern: Pattern[str]
    endpoint: Callable[..., Any] | None


def guard(app: FastAPI, access: Access, limits: Limits, refuse_page: RefusePage) -> None:
    """Let nothing into this application but what the table of rules allows; every answer has careful headers.

    Args:
        app: with all its routes, or with some to come before it is asked first.
        access: tells who somebody is.
        limits: how much one may ask for.
        refuse_page: answers a browser.
    """
    build, rates = app.build_middleware_stack, Rates(limits)
    # outermost: before what answers errors, too
    app.build_middleware_stack = lambda: Careful(_Guard(app, build(), access, rates, refuse_page))  # type: ignore[method-assign]


def operations(app: FastAPI) -> list[str]:
    """All operations of an application, as the table of rules names them."""
    return [operation(method, one.path) for one in _operations(app) for method in sorted(one.methods)]


class _Guard:
    def __init__(self, app: FastAPI, inner: ASGIApp, access: Access, rates: Rates, refuse_page: RefusePage) -> None:
        self._inner = inner
        self._access = access
        self._rates = rates
        self._refuse_page = refuse_page
        self._operations = _operations(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if asked := self._asked(scope):
            rule = RULES.get(operation(scope.get("method", WEBSOCKET), asked.path))
            try:
                await self._let_in(scope, rule)
            except Exception as error:  # noqa: BLE001 - told apart by problem_of
                # for the log, as the router would have left it
                scope["endpoint"] = asked.endpoint
                await self._refusal(scope, rule, _problem(error))(scope, receive, send)
                return
        elif scope["type"] == "websocket":
            # the router would only hang up
            await answer(nothing_there())(scope, receive, send)
            return
        # what else has no route is answered by the router: there is nothing to guard
        await self._inner(scope, receive, send)

    def _asked(self, scope: Scope) -> _Operation | None:
        """The operation that a request is for; the first that fits, as for the router."""
        path, method = get_route_path(scope), scope.get("method", WEBSOCKET)
        for one in self._operations:
            if method in one.methods and one.pattern.match(path):
                return one
        return None

    async def _let_in(self, scope: Scope, rule: Rule | None) -> None:
        if rule is None:
            raise forbidden("Nobody may do this: it has no rule.")
        if rule.scope is None:
            return
        caller = await self._access.caller(HTTPConnection(scope))
        self._rates.admit(caller)
        if why := rule.refuses(caller):
            challenge = f'Bearer error="insufficient_scope", scope="{rule.scope}"'
            raise ProblemError(403, "forbidden", why, {"WWW-Authenticate": challenge})
        scope["caller"], scope["rates"] = caller, self._rates

    def _refusal(self, scope: Scope, rule: Rule | None, problem: ProblemError) -> Response:
        return self._refuse_page(Request(scope), problem) if rule and rule.page else answer(problem)


def _problem(error: Exception) -> ProblemError:
    try:
        return problem_of(error)
    except Exception:
        log.exception("who asks cannot be told")
        return mistake()


def _operations(app: FastAPI) -> list[_Operation]:
    return [
        _Operation(frozenset(one.methods or {WEBSOCKET}), one.path, compile_path(one.path)[0], one.endpoint)
        for one in iter_route_contexts(app.routes)
        if one.path
    ]
