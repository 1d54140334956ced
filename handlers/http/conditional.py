"""Conditional and patient GETs: ETag and If-None-Match (RFC 9110), `Prefer: wait=N` (RFC 7240)."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Header, Request, Response
from pydantic import BaseModel

from handlers.http.disconnect import first_of, gone

MAX_WAIT_SECONDS = 30
"""The longest that an answer is held; who asks for more gets this much."""

IfNoneMatch = Annotated[
    list[str] | None,
    Header(
        alias="If-None-Match",
        description="ETags that the client has; if the answer's is among them, it is 304.",
        examples=[['"0123456789abcdef01234567"']],
    ),
]
Prefer = Annotated[
    list[str] | None,
    Header(
        alias="Prefer",
        description=f"`wait=N`: hold the answer until it changes, N seconds at most (up to {MAX_WAIT_SECONDS}).",
        examples=[["wait=10"]],
    ),
]

_ETAG = {"description": "Identifies this very content.", "schema": {"type": "string"}}
_APPLIED = {"description": "The wait that was granted, where one was asked for.", "schema": {"type": "string"}}
CONDITIONAL_HEADERS: dict[str, Any] = {"ETag": _ETAG, "Preference-Applied": _APPLIED}
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {"headers": CONDITIONAL_HEADERS},
    304: {"description": "The client has it already.", "headers": CONDITIONAL_HEADERS},
}
"""What these answers look like in `/openapi.json`."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Something as it is at the moment."""

    view: BaseModel
    updated_at: datetime | None
    final: bool
    """Whether it has come to its end; waiting for it to change would be in vain."""


async def show(
    request: Request,
    read: Callable[[], Awaitable[Shown]],
    changed: Callable[[datetime | None], Coroutine[Any, Any, None]],
    if_none_match: IfNoneMatch,
    prefer: Prefer,
) -> Response:
    """Answer with what `read` gives, held until it changes where the client prefers that, 304 where it has it.

    Args:
        request: of the client, whose going away ends the wait.
        read: reads it as it is now.
        changed: returns when it is no longer as it was at that time.
        if_none_match: the header.
        prefer: the header.
    """
    response = respond(shown := await read())
    wait = _wait_seconds(prefer)
    if wait and not shown.final and (not if_none_match or _matches(response.headers["ETag"], if_none_match)):
        await first_of(changed(shown.updated_at), gone(request.receive), seconds=wait)
        response = respond(await read())
    if wait:
        response.headers["Preference-Applied"] = f"wait={wait}"
    if if_none_match and _matches(response.headers["ETag"], if_none_match):
        response = Response(status_code=304, headers=_without_content(response.headers))
    return response


def respond(shown: Shown, status: int = 200) -> Response:
    """The answer with its ETag."""
    body = shown.view.model_dump_json(by_alias=True).encode()
    headers = {"ETag": f'"{digest(body)}"', "Cache-Control": "private, no-cache"}
    return Response(body, status, headers, "application/json")


def digest(body: bytes) -> str:
    """Identifies this very content."""
    return hashlib.blake2b(body, digest_size=12).hexdigest()


def _without_content(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not name.startswith("content-")}


def _matches(etag: str, if_none_match: list[str]) -> bool:
    """Weak comparison, as RFC 9110 section 13.1.2 asks for here."""
    listed = ",".join(if_none_match)
    return listed.strip() == "*" or etag in re.findall(r'"[^"]*"', listed)


def _wait_seconds(prefer: list[str] | None) -> int:
    """The wait that is granted, in seconds; what is malformed is ignored, the first of several counts (RFC 7240)."""
    for preference in ",".join(prefer or ()).split(","):
        name, _, value = preference.split(";")[0].partition("=")
        if name.strip().lower() == "wait":
            digits = value.strip().strip('"')
            if not re.fullmatch("[0-9]{1,9}", digits):
                return 0
            return min(int(digits), MAX_WAIT_SECONDS)
    return 0
