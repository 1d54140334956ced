"""What a client's connection may cost beside its request: seconds, bytes, and a place among the others.

uvicorn waits for a request for as long as a client cares to dribble it, for ever until an answer is taken, and has as
many connections as there are files. An application is asked only when the head of a request is there. So this is
uvicorn's own protocol, with an eye on the clock: it looks at what the client owes at the moment, and cuts who owes it
for too long. Where there are too many, those make room who have owed it the longest: whoever says at once what he
wants, and takes what he gets, is never among them.
"""

import math
import sys
from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, ClassVar

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import CLOSE_HEADER, FlowControl
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from handlers.access.security_headers import ALWAYS
from handlers.http.problems import RETRY_AFTER_SECONDS, ProblemError, answer
from saga.errors import ConfigurationError

REQUESTS = 400
"""Connections of one process beside those that stay: of requests that come and go. The rest of
`handlers.http.open_files.OTHERS` is for database, bus and files."""
BODIES = 200
"""Bodies of one process that may be arriving at once: nearly all come with their head, and each may grow to 256 KiB."""
GAP_SECONDS = 10.0
"""From one piece of a body to the next; and an answer is looked at as often, whether some of it has been taken."""
MAX_HEAD_BYTES = 16 * 1024
"""Of a request's first line and its headers."""
MAX_FRAMES_BYTES = 16 * 1024
"""That a client may send at once over a WebSocket."""
PIECE_BYTES = 4 * 1024
"""Of a body, in one turn of the event loop."""


class Owed(Enum):
    """What a client is waited for."""

    HEAD = auto()
    """The first line of a request, and its headers: from the connection on, or from the last answer."""
    BODY = auto()
    """The body, once the head is there."""
    REST = auto()
    """What is left of a body that was answered already: thrown away, so that the client gets to read the answer."""
    ANSWER = auto()
    """To take what has been written, where somebody waits for that: what says more, the next request, or the close."""
    GOODBYE = auto()
    """To take what it is told last."""


SECONDS = {Owed.HEAD: 10.0, Owed.BODY: 30.0, Owed.REST: 3.0, Owed.ANSWER: math.inf, Owed.GOODBYE: 1.0}
"""How long it is waited for."""
_PIECEMEAL = (Owed.BODY, Owed.ANSWER)
"""What may take its time as long as it moves."""


class _Flow(FlowControl):
    """uvicorn's, that tells when somebody waits for the client to take what was written.

    A stream of events whose client does not read waits for nobody between two events, and has a patience of its own.
    And nothing more is read while what has come is held: whatever uvicorn wishes meanwhile counts afterwards.
    """

    def __init__(self, transport: Any, changed: Callable[[], None], resumed: Callable[[], None]) -> None:
        super().__init__(transport)
        self.awaited = False
        self.stopped = False
        """Whether the application has enough for now."""
        self._changed = changed
        self._resumed = resumed
        self._held = False

    def pause_reading(self) -> None:
        """Read nothing more."""
        self.stopped = True
        super().pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless what has come is held."""
        if self.stopped:
            self.stopped = False
            self._resumed()
        if not self._held:
            super().resume_reading()

    def hold(self) -> None:
        """Read nothing more until `release`."""
        self._held = True
        super().pause_reading()

    def release(self) -> None:
        """Read on, if uvicorn does."""
        self._held = False
        if not self.stopped:
            super().resume_reading()

    async def drain(self) -> None:
        """Wait."""
        self.awaited = True
        self._changed()
        try:
            await super().drain()
        finally:
            self.awaited = False
            self._changed()


class Punctual(H11Protocol):
    """A connection over HTTP whose client is waited for, but not for ever. See `bounded`."""

    most: ClassVar[dict[Owed, int]]
    """Connections of the process, by what they have to owe where there are more."""
    owing: ClassVar[dict[Owed, dict["Punctual", None]]]
    """The connections that owe something, who owes it the longest first."""
    flow: _Flow

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owes: Owed | None = None
        self._since = self._moved = 0.0
        self._unwritten = 0
        self._timer: Any = None
        self._handed_over = False
        self._unread = bytearray()
        self._goes_on = False
        self._told_last = False
        self.app = self._answer

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self._look, self._wait_anew)
        self._look()
        if len(self.connections) > self.most[Owed.HEAD]:
            self._make_room(Owed.HEAD, Owed.ANSWER)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._unread += data
        if self._owes is Owed.BODY:
            self._moved = self.loop.time()
        self._read()

    def eof_received(self) -> None:
        """Know that the transport closes itself next."""
        super().eof_received()
        self.loop.call_soon(self._look)

    def pause_writing(self) -> None:
        """Have more to write than the client takes."""
        super().pause_writing()
        self._look()

    def resume_writing(self) -> None:
        """Have written enough of it."""
        super().resume_writing()
        self._look()

    def timeout_keep_alive_handler(self) -> None:
        """Close, where no other request has come."""
        super().timeout_keep_alive_handler()
        self._look()

    def shutdown(self) -> None:
        """Stop: what is written, or answered yet, is the last."""
        self._told_last = True
        super().shutdown()
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        super().on_response_complete()
        self._read()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over: who has it now watches it."""
        self._handed_over = True
        self._look()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._handed_over = True
        self._look()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's form
        """Say what h11 says of a request that it does not take: above all, that its head is too large."""
        hint = getattr(sys.exception(), "error_status_hint", HTTPStatus.BAD_REQUEST)
        self._cut(_TOO_LARGE if hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE else _MALFORMED)

    async def _answer(self, *asked: Any) -> None:
        try:
            await self.config.loaded_app(*asked)
        finally:
            # an answer that broke off closes the connection next
            self.loop.call_soon(self._look)

    def _read(self) -> None:
        """Give h11 what has come, a piece at a time.

        How long a head is it looks at only where that has not ended yet: so it never has more than a head to look at,
        whether that comes by itself, after a body, or while the request before it is being answered. And of a body it
        has one piece in each turn of the event loop: it may be in chunks of a byte, each of which is work.
        """
        while self._unread and not (self._handed_over or self.transport.is_closing()):
            room = MAX_HEAD_BYTES + 1 - len(self.conn.trailing_data[0])
            if not room:
                # the next request is kept until this one has been answered
                self.flow.pause_reading()
                break
            body = self.conn.their_state is h11.SEND_BODY
            room = min(room, PIECE_BYTES) if body else room
            piece = bytes(self._unread[:room])
            del self._unread[:room]
            super().data_received(piece)
            if body and self._unread:
                self._read_later()
                return
        if not self.transport.is_closing():
            self.flow.release()
        self._look()

    def _read_later(self) -> None:
        self.flow.hold()
        self._look()
        if not self._goes_on:
            self._goes_on = True
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._goes_on = False
        self._read()

    def _now_owed(self) -> Owed | None:
        if self._handed_over:
            return None
        if self.transport.is_closing():
            return self._owed_last()
        body = self.conn.their_state is h11.SEND_BODY
        if body and self.cycle.response_complete:
            return Owed.REST
        if self.flow.write_paused and (self.flow.awaited or self.cycle.response_complete):
            return Owed.ANSWER
        if body:
            return Owed.BODY
        return Owed.HEAD if self.conn.their_state is h11.IDLE else None

    def _owed_last(self) -> Owed | None:
        if not self.transport.get_write_buffer_size():
            return None
        return Owed.GOODBYE if self._told_last else Owed.ANSWER

    def _look(self) -> None:
        """See whether the client owes something else than before."""
        owes = self._now_owed()
        if owes is self._owes:
            return
        if self._owes:
            self.owing[self._owes].pop(self, None)
            self._timer.cancel()
        self._owes = owes
        if owes:
            self.owing[owes][self] = None
            self._since = self._moved = self.loop.time()
            self._unwritten = self.transport.get_write_buffer_size()
            self._timer = self.loop.call_later(min(SECONDS[owes], GAP_SECONDS), self._time_passes)
            if owes is Owed.BODY and len(self.owing[owes]) > self.most[owes]:
                self._make_room(owes)

    def _time_passes(self) -> None:
        now = self.loop.time()
        if self._owes is Owed.BODY and self.flow.stopped:
            # it is we who do not read
            self._wait_anew()
        if self._owes is Owed.ANSWER and self.transport.get_write_buffer_size() < self._unwritten:
            self._moved, self._unwritten = now, self.transport.get_write_buffer_size()
        assert self._owes is not None, "the timer is cancelled when nothing is owed any more"
        due = self._since + SECONDS[self._owes]
        if self._owes in _PIECEMEAL:
            due = min(due, self._moved + GAP_SECONDS)
        if now < due:
            self._timer = self.loop.call_later(due - now, self._time_passes)
        else:
            self._cut(_LATE)

    def _wait_anew(self) -> None:
        """Wait for the client as if it had not been waited for: it was the application that did not read."""
        self._since = self._moved = self.loop.time()

    def _make_room(self, *owed: Owed) -> None:
        """Cut the connection that has owed this the longest: another one, unless all others are busy."""
        longest = [next(iter(self.owing[one])) for one in owed if self.owing[one]]
        if longest:
            min(longest, key=lambda one: one._since)._cut(_TOO_MANY)  # noqa: SLF001 - one of us

    def _cut(self, problem: ProblemError) -> None:
        """Be rid of the client, and say why where it has asked for something and nothing has been answered yet."""
        silent = problem is _LATE and self._owes is Owed.HEAD and not self.conn.trailing_data[0]
        deaf = self._owes in (Owed.ANSWER, Owed.GOODBYE)
        if silent or deaf or self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
        else:
            self._refuse(problem)
        if self.cycle:
            # for the application the client has left
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._look()

    def _refuse(self, problem: ProblemError) -> None:
        response = answer(problem)
        asked = self.conn.our_state is h11.SEND_RESPONSE
        body = b"" if asked and self.scope["method"] == "HEAD" else bytes(response.body)
        for name, value in ALWAYS:
            response.headers.setdefault(name, value)
        headers = [*self.server_state.default_headers, *response.raw_headers, CLOSE_HEADER]
        status = response.status_code
        for event in (
            h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status]),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self._told_last = True
        self.transport.close()


class Terse(WebSocketsSansIOProtocol):
    """A connection over a WebSocket whose client has nothing to say but that it is there.

    Messages are small (`ws_max_size`), and may be empty: one who sends thousands of them at once is hung up on.
    """

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless it is too much."""
        if self.handshake_complete and len(data) > MAX_FRAMES_BYTES:
            self.transport.abort()
        else:
            super().data_received(data)


def bounded(connections: int) -> type[Punctual]:
    """The protocol of a process that may have so many connections, those over WebSockets included."""
    return type(
        "Bounded",
        (Punctual,),
        {"most": {Owed.HEAD: connections, Owed.BODY: BODIES}, "owing": {owed: {} for owed in Owed}},
    )


def server_config(receive: Any) -> Config:
    """The configuration of the server that starts the application, which with several workers nobody else sees.

    Args:
        receive: of the lifespan, which comes before the first connection: uvicorn's is a method of what holds it.

    Raises:
        ConfigurationError: it is not there, and so nothing would limit what a connection costs.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if not isinstance(config, Config):
        raise ConfigurationError("the server is not the one that keeps the limits of connections: use `faststream run`")
    return config


def serve_bounded(config: Config, connections: int, message_bytes: int) -> None:
    """Have the server keep these limits, which the command line does not know.

    Args:
        config: the server's.
        connections: how many a process may have.
        message_bytes: of a message over a WebSocket.
    """
    config.http_protocol_class = bounded(connections)
    config.h11_max_incomplete_event_size = MAX_HEAD_BYTES
    config.ws_max_size = message_bytes
    config.ws_protocol_class = Terse


_CLOSED = "The connection is closed."
_LATE = ProblemError(
    HTTPStatus.REQUEST_TIMEOUT,
    "request_timeout",
    f"A request has {SECONDS[Owed.HEAD]:.0f} s to arrive, its body {SECONDS[Owed.BODY]:.0f} more. {_CLOSED}",
)
_TOO_MANY = ProblemError(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_connections",
    f"There are too many connections at this moment. {_CLOSED} Come again.",
    {"Retry-After": str(RETRY_AFTER_SECONDS)},
)
_TOO_LARGE = ProblemError(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "head_too_large",
    f"The request's first line and its headers have more than 16 KiB. {_CLOSED}",
)
_MALFORMED = ProblemError(HTTPStatus.BAD_REQUEST, "unreadable", f"This is not a request of HTTP/1.1. {_CLOSED}")
