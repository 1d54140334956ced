"""Errors over HTTP: every one is `application/problem+json` (RFC 9457), and none of them tells how we are built."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette._utils import get_route_path
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import compile_path

from saga.errors import (
    DATABASE_ERRORS,
    DatabaseFault,
    RefusedByDatabaseError,
    RefusedError,
    UnknownTableError,
    classify,
)
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
"""How an OpenAPI document says that an answer is a problem."""
NOSNIFF = ("X-Content-Type-Options", "nosniff")
OF_BODIES = (400, 413, 415, 422, 503)
"""The problems that every operation with a body may answer with."""
RETRY_AFTER_SECONDS = 2
"""What a client is asked to wait while the database is away."""
_MAX_ERRORS = 100
"""As many fields are named; whoever has more of them wrong learns of the rest the next time."""
_STATUS = {
    "unreadable": 400,
    "unknown_order": 404,
    "unknown_webhook": 404,
    "unknown_delivery": 404,
    "webhook_disabled": 409,
    "too_large": 413,
    "unknown_table": 503,
}
"""By the reason of a refused input; all others are 422."""


class FieldError(BaseModel):
    """One thing that is wrong with the request."""

    field: str = Field(description="Its path, dotted; `body` for the body as a whole.", examples=["items.0.price"])
    location: str = Field(description="body, path, query or header.", examples=["body"])
    detail: str = Field(description="What is wrong with it.", examples=["must have at most 2 decimals"])


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    type: str = Field(description="Names the kind of problem.", examples=["urn:order-service:invalid"])
    title: str = Field(description="The status in words.", examples=["Unprocessable Entity"])
    status: int = Field(ge=400, le=599, examples=[422])
    detail: str = Field(description="What happened and what to do.", examples=["items.0.price: must not be negative"])
    errors: list[FieldError] | None = Field(default=None, description="Where the request is invalid: each field.")


class ProblemError(HTTPException):
    """A problem to answer with.

    Args:
        status: the HTTP status.
        reason: one word that names the kind of problem.
        detail: what happened and what to do, for the client.
        headers: to be sent with it.
        **more: further members of the problem.
    """

    def __init__(
        self, status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(status, detail, headers)
        self.reason = reason
        self.more = more


class InvalidError(ProblemError):
    """The request can be read, but is not what the contract asks for."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        named = [error.model_dump() for error in errors[:_MAX_ERRORS]]
        detail = "; ".join(f"{error.field}: {error.detail}" for error in errors[:3])
        more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""  # noqa: PLR2004 - as many as are in the detail
        super().__init__(422, "invalid", detail + more, errors=named)


def refused(error: RefusedError | UnknownTableError) -> ProblemError:
    """How an input that cannot be handled is answered, or not by this release."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if isinstance(error, UnknownTableError) else None
    return ProblemError(_STATUS.get(error.reason, 422), error.reason, str(error), headers)


def away(detail: str) -> ProblemError:
    """How a client is told to come again, since the database is away or too slow."""
    return ProblemError(503, "database_away", detail, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def answer(problem: ProblemError) -> Response:
    """The response that says it."""
    body = {
        "type": f"urn:order-service:{problem.reason.replace('_', '-')}",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": problem.detail,
    } | problem.more
    headers = dict([("Cache-Control", "no-store"), NOSNIFF]) | dict(problem.headers or {})
    # ASCII: a detail may quote what the client sent, and that need not be encodable
    return Response(json.dumps(body).encode(), problem.status_code, headers, MEDIA_TYPE)


def problem_of(error: Exception) -> ProblemError:
    """How an error is answered.

    Raises:
        Exception: the error itself, where it is a mistake of ours.
    """
    match error:
        case ProblemError():
            return error
        case RequestValidationError() | WebSocketRequestValidationError():
            return InvalidError([_field_error(one) for one in error.errors()])
        case RefusedError() | UnknownTableError():
            return refused(error)
    match classify(error):
        case DatabaseFault.AWAY | DatabaseFault.BUSY:
            log.warning("a request found the database away", error=error)
            return away("The database cannot be reached at the moment. Try again.")
        case DatabaseFault.DATA:
            return refused(RefusedByDatabaseError("PostgreSQL refuses this request as data."))
        case DatabaseFault.BUG:
            raise error


def mistake() -> ProblemError:
    """How a mistake of ours is answered."""
    return ProblemError(500, "internal", "A mistake of ours; it has been logged.")


def nothing_there() -> ProblemError:
    """How a path is answered that leads nowhere."""
    return ProblemError(404, "not_found", _PLAIN[404])


def wrong_method(methods: Sequence[str]) -> ProblemError:
    """How a path is answered that knows these methods, and was asked another."""
    return ProblemError(405, "method_not_allowed", _PLAIN[405], {"Allow": ", ".join(methods)})


_KNOWN = (
    ProblemError,
    RequestValidationError,
    WebSocketRequestValidationError,
    RefusedError,
    UnknownTableError,
    *DATABASE_ERRORS,
)


def answer_problems(app: FastAPI) -> None:
    """Make every error of this application a problem."""

    async def known(_: Request, error: Exception) -> Response:
        return answer(problem_of(error))

    async def plain(request: Request, error: StarletteHTTPException) -> Response:
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return answer(wrong_method(methods_at(app, get_route_path(request.scope))))
        reason = HTTPStatus(error.status_code).name.lower()
        detail = _PLAIN.get(error.status_code, error.detail)
        return answer(ProblemError(error.status_code, reason, detail, dict(error.headers or {})))

    async def unknown(_: Request, __: Exception) -> Response:
        return answer(mistake())

    handlers: dict[Any, Any] = {
        StarletteHTTPException: plain,
        **dict.fromkeys(_KNOWN, known),
        Exception: unknown,
    }
    app.exception_handlers |= handlers


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How an operation says in `/openapi.json` which problems it answers with."""
    return {status: {"description": _DESCRIPTIONS[status], "content": CONTENT} for status in statuses}


def with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Write into an OpenAPI document what a problem is.

    FastAPI would do so by itself for a `model` of each answer, and for each make a validator that validates nothing.
    """
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs")
    document.setdefault("components", {}).setdefault("schemas", {}).update(parts, Problem=schema)
    return document


def methods_at(app: FastAPI, path: str) -> list[str]:
    """What a path can be asked, by all of its routes: the router itself names the methods of the first one only."""
    routes = iter_route_contexts(app.routes)
    return sorted(
        {m for one in routes if one.path and compile_path(one.path)[0].match(path) for m in one.methods or ()}
    )


_PLAIN = {404: "There is nothing at this path.", 405: "This path does not know this method; see Allow."}
_DESCRIPTIONS = {
    400: "The body cannot be read: not UTF-8, not JSON, a repeated key, NaN.",
    404: "There is no such thing.",
    409: "Not as it stands; `detail` says why.",
    413: "The body is too large: over 256 KiB for an order, over 64 KiB for anything else.",
    415: "The body must be `application/json`.",
    422: "The request is not what this contract asks for; `errors` names each field.",
    503: "The database is away, or another release has to do it. Try again after `Retry-After` seconds.",
}


def _field_error(error: Mapping[str, Any]) -> FieldError:
    """One of pydantic's errors, without the value, which may be personal."""
    location, *path = (str(part) for part in error["loc"])
    return FieldError(field=".".join(path) or location, location=location, detail=in_words(error))


def in_words(error: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says."""
    said: str = error["msg"].removeprefix("Value error, ")
    # it takes whatever has a length for a list
    return said.replace(" items", " characters") if isinstance(error.get("input"), str) else said
