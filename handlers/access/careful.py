"""Headers of every answer that does not bring its own: nothing is sniffed, nothing runs, nobody frames or keeps it."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.access.callers import Caller
from handlers.problems import NOSNIFF

ALWAYS = (
    NOSNIFF,
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_HTTPS_ONLY = ("Strict-Transport-Security", "max-age=31536000")
_NOT_KEPT = ("Cache-Control", "no-store")
_STARTS = ("http.response.start", "websocket.http.response.start")


class Careful:
    """An ASGI application whose answers have these headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it."""

        async def careful(message: Message) -> None:
            if message["type"] in _STARTS:
                headers = MutableHeaders(scope=message)
                for name, value in _of(scope):
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, careful)


def _of(scope: Scope) -> list[tuple[str, str]]:
    headers = list(ALWAYS)
    if scope["scheme"] in ("https", "wss"):
        headers.append(_HTTPS_ONLY)
    if isinstance(scope.get("caller"), Caller):
        headers.append(_NOT_KEPT)
    return headers
