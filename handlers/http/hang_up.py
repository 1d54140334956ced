"""Cutting the connection under a request.

A server that closes a connection writes first what it still has to say, and so never gets rid of a client that does not
read. ASGI has no word for hanging up.
"""

from collections.abc import Callable

from starlette.types import Scope, Send

_KEY = "order-service.hang_up"


def let_hang_up(scope: Scope, send: Send) -> None:
    """Keep beside the request what can cut its connection.

    Args:
        scope: of the request.
        send: as the server has given it: uvicorn's is a method of what holds the transport, over HTTP and WebSockets.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    scope[_KEY] = transport.abort if transport else None


def hang_up_of(scope: Scope) -> Callable[[], None]:
    """What cuts the connection of this request at once, whatever has not been written yet."""
    return scope.get(_KEY) or _nothing


def _nothing() -> None:
    """There is no connection: somebody in this process asks."""
