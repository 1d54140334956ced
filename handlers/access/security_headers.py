"""Headers of every answer that does not bring its own: nothing is sniffed, nothing runs, nobody frames or keeps it."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.access.principal import Caller
from handlers.access.site import Site
from handlers.http.problems import NOSNIFF

ALWAYS = (
    NOSNIFF,
    ("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_HTTPS_ONLY = ("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
_NOT_KEPT = ("Cache-Control", "no-store")
STARTS = ("http.response.start", "websocket.http.response.start")
"""The messages with which answers begin."""


class Careful:
    """An ASGI application whose answers have these headers.

    Args:
        app: whose answers they are.
        site: whether it is reached over TLS, and is to stay so; None: that is seen from the connection.
    """

    def __init__(self, app: ASGIApp, site: Site | None = None) -> None:
        self._app = app
        self._site = site or Site()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it."""

        async def careful(message: Message) -> None:
            if message["type"] in STARTS:
                headers = MutableHeaders(scope=message)
                for name, value in self._headers(scope):
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, careful)

    def _headers(self, scope: Scope) -> list[tuple[str, str]]:
        headers = list(ALWAYS)
        if self._site.over_tls(scope):
            headers.append(_HTTPS_ONLY)
        if isinstance(scope.get("caller"), Caller):
            headers.append(_NOT_KEPT)
        return headers
