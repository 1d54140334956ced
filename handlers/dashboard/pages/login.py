"""The page `/login`, and the way out. Where no access is configured nobody needs them.

What somebody logs in with is looked at once, and kept nowhere: their browser gets a random value instead, which no
script can read and no other site can send.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from handlers.access.authenticator import LOGIN_SECONDS, Access
from handlers.access.cookies import cookie_of, drop_cookie, set_cookie
from handlers.access.middleware import RefusePage
from handlers.dashboard.forms import Sent
from handlers.dashboard.page_route import error_page, pages
from handlers.dashboard.rendering import page, path_of, see
from handlers.http.problems import ProblemError, answer, problem_of

_OWN_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,2000}")
"""A page of ours: no address begins with two slashes, of either kind, that leads to another host."""


def login_routes(access: Access) -> APIRouter:
    """The page, what its form does, and the button of all other pages."""
    router = pages()

    @router.get("/login")
    async def look(request: Request) -> Response:
        return see(request, "") if access.local else _page(request, request.query_params)

    @router.post("/login")
    async def log_in(request: Request, sent: Sent) -> Response:
        if access.local:
            return see(request, "")
        try:
            before = cookie_of(request, access.site)
            request.scope["caller"], value = await access.log_in(sent.get("credential", "").strip(), before)
        except Exception as error:  # noqa: BLE001 - a mistake of ours is raised on
            return _page(request, sent, problem_of(error))
        response = see(request, _wanted(sent).removeprefix("/"))
        set_cookie(response, request, access.site, value, LOGIN_SECONDS)
        return response

    @router.post("/logout")
    async def log_out(request: Request, _: Sent) -> Response:
        if value := cookie_of(request, access.site):
            await access.log_out(value)
        response = see(request, "login")
        # not "cookies": those are everything that the whole domain has in this browser
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        drop_cookie(response, request, access.site)
        return response

    return router


def refusing_pages(access: Access) -> RefusePage:
    """How a page is refused: whoever is nobody is led to the login, and comes back from there."""

    def refuse(request: Request, problem: ProblemError) -> Response:
        if "authorization" in request.headers:
            # a program
            return answer(problem)
        if problem.status_code == 401 and not access.local:  # noqa: PLR2004 - nobody
            query = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
            return see(request, f"login?to={quote(path_of(request) + query, safe='/')}")
        return error_page(request, problem)

    return refuse


def _page(request: Request, given: Mapping[str, str], problem: ProblemError | None = None) -> Response:
    return page(request, "login.html", to=_wanted(given), problem=problem)


def _wanted(given: Mapping[str, str]) -> str:
    """Where somebody wanted to go, if that is here."""
    to = given.get("to", "/")
    return to if _OWN_PATH.fullmatch(to) else "/"
