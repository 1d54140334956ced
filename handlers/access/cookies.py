"""The cookie that tells a browser again which is logged in: for requests of our own pages alone, and for no script."""

from fastapi import Response
from starlette.requests import HTTPConnection

_NAME = "order-service-login"


def cookie_of(connection: HTTPConnection) -> str | None:
    """What a browser shows."""
    return connection.cookies.get(_name(connection))


def set_cookie(response: Response, connection: HTTPConnection, value: str, seconds: int) -> None:
    """Let the browser show this value from now on, for so long."""
    response.set_cookie(
        _name(connection),
        value,
        max_age=seconds,
        path="/",
        secure=_is_secure(connection),
        httponly=True,
        samesite="strict",
    )


def drop_cookie(response: Response, connection: HTTPConnection) -> None:
    """Let the browser forget it."""
    set_cookie(response, connection, "", 0)


def _name(connection: HTTPConnection) -> str:
    # what begins like this no other machine of the domain can set, nor a connection that is not encrypted
    return f"__Host-{_NAME}" if _is_secure(connection) else _NAME


def _is_secure(connection: HTTPConnection) -> bool:
    return connection.scope["scheme"] in ("https", "wss")
