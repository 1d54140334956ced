"""The cookie that tells a browser again which is logged in: for requests of our own pages alone, and for no script."""

from fastapi import Response
from starlette.requests import HTTPConnection

from handlers.access.site import Site

_NAME = "order-service-login"


def cookie_of(connection: HTTPConnection, site: Site) -> str | None:
    """What a browser shows."""
    return connection.cookies.get(_name(site.over_tls(connection.scope)))


def set_cookie(response: Response, connection: HTTPConnection, site: Site, value: str, seconds: int) -> None:
    """Let the browser show this value from now on, for so long."""
    secure = site.over_tls(connection.scope)
    response.set_cookie(
        _name(secure),
        value,
        max_age=seconds,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def drop_cookie(response: Response, connection: HTTPConnection, site: Site) -> None:
    """Let the browser forget it."""
    set_cookie(response, connection, site, "", 0)


def _name(secure: bool) -> str:  # noqa: FBT001 - it is what the name says
    # what begins like this no other machine of the domain can set, nor a connection that is not encrypted
    return f"__Host-{_NAME}" if secure else _NAME
