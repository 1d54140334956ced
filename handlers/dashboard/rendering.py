"""Pages from templates: whatever is put into them is escaped, and a name that is not there is an error.

A page has no script and no style in it, only files of our own beside it; the Content-Security-Policy says so, so that
nothing that somebody typed can ever run. Addresses are relative, so that pages work behind a prefix.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from handlers.access.principal import Caller
from handlers.dashboard.filters import FILTERS
from handlers.http.problems import ProblemError

PLAYGROUND = "playground"
"""The name of the route of the page `/try`, which only a local system has."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    # with `no-referrer` a browser would send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
}
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters |= FILTERS


def page(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    problem: ProblemError | None = None,
    **values: Any,
) -> HTMLResponse:
    """A page.

    Args:
        request: that it answers; its path says what the addresses in the page are relative to.
        template: the name of its file.
        status: the HTTP status.
        headers: to be sent with it.
        problem: what went wrong with what was asked, where the page shows it beside all else: it gives the status and
            the headers, and `wrong`, by the names of the fields.
        **values: what the template speaks of.
    """
    if problem:
        status, headers = problem.status_code, problem.headers
    values = {"problem": problem, "wrong": _wrong_in(problem) if problem else {}} | values
    surroundings = {"root": root_of(request), "who": _logged_in(request), "playground": _has_playground(request)}
    html = _PAGES.get_template(template).render(**surroundings, **values)
    return HTMLResponse(html, status, {**_HEADERS, **(headers or {})})


def see(request: Request, path: str) -> Response:
    """Send a browser on to another page, once what its form asked for is done."""
    return Response(status_code=303, headers={**_HEADERS, "Location": root_of(request) + path})


def root_of(request: Request) -> str:
    """The relative address of `/`, as seen from the page that is asked for."""
    return "../" * (path_of(request).count("/") - 1) or "./"


def path_of(request: Request) -> str:
    """The page that is asked for, below the prefix that the server is told of (`--root-path`), if any."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", ""))


def _logged_in(request: Request) -> str | None:
    """Who looks at the page; None where nobody is asked who they are."""
    caller = request.scope.get("caller")
    return caller.name if isinstance(caller, Caller) and not caller.local else None


def _has_playground(request: Request) -> bool:
    return any(getattr(route, "name", None) == PLAYGROUND for route in request.app.routes)


def _wrong_in(problem: ProblemError) -> dict[str, str]:
    """What is wrong with each field, by its name; nothing where the problem is not about fields."""
    return {error["field"]: error["detail"] for error in problem.more.get("errors", [])}
