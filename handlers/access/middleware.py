"""The guard at the door: asks the table of rules before anything else happens to a request, and lets in who may."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from re import Pattern
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import RouteContext, iter_route_contexts
from starlette._utils import get_route_path
from starlette.requests import HTTPConnection
from starlette.routing import Route, WebSocketRoute, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.access.audit import Audit
from handlers.access.authenticator import SAFE, Access
from handlers.access.errors import forbidden
from handlers.access.policy import RULES, Rule, operation
from handlers.access.rate_limits import Limits, Rates
from handlers.access.security_headers import STARTS, Careful
from handlers.http.problems import ProblemError, answer, methods_at, mistake, nothing_there, problem_of, wrong_method
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

WEBSOCKET = "WS"
"""Stands for the method of an operation that is a WebSocket."""
_STILL_IN = "order-service.still_in"
"""Beside a request: asks whether who was let in would be let in now."""
RefusePage = Callable[[Request, ProblemError], Response]
"""How a page is refused: on a page, or by a way to the login."""


@dataclass(frozen=True, slots=True)
class _Operation:
    methods: frozenset[str]
    path: str
    pattern: Pattern[str]
    endpoint: Callable[..., Any] | None


def guarded(api: FastAPI, access: Access, limits: Limits, refuse_page: RefusePage) -> ASGIApp:
    """This application, with nothing let in but what the table of rules allows, and careful headers on every answer.

    Args:
        api: with all its routes.
        access: tells who somebody is.
        limits: how much one may ask for.
        refuse_page: answers a browser.

    Raises:
        TypeError: there is a route that the table has no word for.
    """
    return Careful(_Guard(api, access, Rates(limits), refuse_page), access.site)


def operations(api: FastAPI) -> list[str]:
    """All operations of an application, as the table of rules names them."""
    return [operation(method, one.path) for one in _operations(api) for method in sorted(one.methods)]


async def still_in(scope: Scope) -> bool:
    """Whether whoever made a request that goes on would be let in now; where that cannot be told, they stay."""
    asked: Callable[[], Awaitable[bool]] = scope[_STILL_IN]
    return await asked()


class _Guard:
    def __init__(self, api: FastAPI, access: Access, rates: Rates, refuse_page: RefusePage) -> None:
        self._api = api
        self._access = access
        self._audit = Audit(access.server_key)
        self._rates = rates
        self._refuse_page = refuse_page
        self._operations = _operations(api)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # a page that is refused has links, too
        scope["app"] = self._api
        asked = self._asked(scope)
        if asked is None:
            await answer(self._nothing_there(scope))(scope, receive, send)
            return
        rule = RULES.get(operation(scope.get("method", WEBSOCKET), asked.path))
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] in STARTS:
                status = message["status"]
            await send(message)

        try:
            await self._serve(asked, rule, scope, receive, sending)
        finally:
            if status:
                await self._audit.tell(scope, asked.path, rule, status)

    async def _serve(self, asked: _Operation, rule: Rule | None, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._let_in(scope, rule)
        except Exception as error:  # noqa: BLE001 - told apart by problem_of
            # for the log, as the router would have left it
            scope["endpoint"] = asked.endpoint
            await self._refusal(scope, rule, _problem(error))(scope, receive, send)
            return
        await self._api(scope, receive, send)

    def _asked(self, scope: Scope) -> _Operation | None:
        """The operation that a request is for; the first that fits, as for the router."""
        path, method = get_route_path(scope), scope.get("method", WEBSOCKET)
        for one in self._operations:
            if method in one.methods and one.pattern.match(path):
                return one
        return None

    def _nothing_there(self, scope: Scope) -> ProblemError:
        """What has no operation is answered here: nothing that is not in the table gets as far as the router."""
        methods = methods_at(self._api, get_route_path(scope))
        return wrong_method(methods) if methods and scope["type"] == "http" else nothing_there()

    async def _let_in(self, scope: Scope, rule: Rule | None) -> None:
        if rule is None:
            raise forbidden("Nobody may do this: it has no rule.")
        connection = HTTPConnection(scope)
        if rule.scope is not None:
            self._access.site.require_tls(connection.headers)
            await self._identify(connection, rule)
        if rule.page:
            self._require_own_page(connection)
        if scope["type"] == "websocket":
            # a browser lets any page open one
            self._access.site.require_no_other_page(connection.headers)

    async def _identify(self, connection: HTTPConnection, rule: Rule) -> None:
        scope = connection.scope
        caller = scope["caller"] = await self._access.caller(connection)
        self._rates.admit(caller)
        if why := rule.refuses(caller):
            challenge = f'Bearer error="insufficient_scope", scope="{rule.scope}"'
            raise ProblemError(403, "forbidden", why, {"WWW-Authenticate": challenge})
        scope["rates"] = self._rates
        scope[_STILL_IN] = partial(self._still_in, connection, rule)

    def _require_own_page(self, connection: HTTPConnection) -> None:
        site = self._access.site
        site.require_name(connection.headers)
        if connection.scope["method"] not in SAFE and not site.sent(connection.headers):
            raise forbidden(
                "This form does not come from a page of this dashboard. Open the page, and send it from there; programs"
                " have the same under /api."
            )

    async def _still_in(self, connection: HTTPConnection, rule: Rule) -> bool:
        """Whether who was let in would be let in now; where that cannot be told, they stay."""
        try:
            return not rule.refuses(await self._access.caller(connection, asked_anew=False))
        except Exception as error:  # noqa: BLE001 - told apart by problem_of
            return _problem(error).status_code >= HTTPStatus.INTERNAL_SERVER_ERROR

    def _refusal(self, scope: Scope, rule: Rule | None, problem: ProblemError) -> Response:
        return self._refuse_page(Request(scope), problem) if rule and rule.page else answer(problem)


def _problem(error: Exception) -> ProblemError:
    try:
        return problem_of(error)
    except Exception:
        log.exception("who asks cannot be told")
        return mistake()


def _operations(api: FastAPI) -> list[_Operation]:
    """What the table of rules is asked about.

    Raises:
        TypeError: there is a route that it has no word for, and that nobody could be kept from.
    """
    return [_operation_of(one) for one in iter_route_contexts(api.routes)]


def _operation_of(one: RouteContext) -> _Operation:
    match one.original_route:
        case Route() if one.path and one.methods:
            methods = frozenset(one.methods)
        case WebSocketRoute() if one.path:
            methods = frozenset({WEBSOCKET})
        case other:
            raise TypeError(f"{other!r} is no operation: beside the table of rules it would be open to everybody")
    return _Operation(methods, one.path, compile_path(one.path)[0], one.endpoint)
