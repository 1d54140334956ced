"""A saga as Server-Sent Events, as https://html.spec.whatwg.org/multipage/server-sent-events.html has them."""

from random import randint
from typing import Any
from uuid import UUID

from fastapi import Response
from starlette.types import Receive, Scope, Send

from handlers.http.disconnect import first_of, gone
from handlers.live.snapshots import Snapshot
from handlers.live.streams import Follower, Followers

MEDIA_TYPE = "text/event-stream"
RETRY_MILLISECONDS = (1000, 3000)
"""When a client whose stream broke comes again, from and to: not all of them at once."""

_HEADERS = [
    (b"content-type", MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    # nginx would keep events back until it has a page of them
    (b"x-accel-buffering", b"no"),
]
_KEEP_ALIVE = b":\n\n"


class EventStream(Response):
    """An answer that goes on until a saga has ended.

    Args:
        followers: whom it is one of.
        order_id: whose saga.
        last_event_id: of the last event that the client has.
    """

    def __init__(self, followers: Followers, order_id: UUID, last_event_id: str | None) -> None:
        super().__init__()
        self._followers = followers
        self._order_id = order_id
        self._last_event_id = last_event_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. What is wrong is raised before anything is said."""
        with self._followers.welcome(scope) as follower:
            now = await follower.begin(self._order_id)
            if now.final and now.version == self._last_event_id:
                # the one answer after which a browser does not come again
                await Response(status_code=204)(scope, receive, send)
                return
            await first_of(self._tell(follower, now, send), gone(receive))

    async def _tell(self, follower: Follower, now: Snapshot, send: Send) -> None:
        await follower.tell(send({"type": "http.response.start", "status": 200, "headers": _HEADERS}))
        news = b"" if now.version == self._last_event_id else _event(now)
        await follower.tell(send(_chunk(b"retry: %d\n\n" % randint(*RETRY_MILLISECONDS) + news)))  # noqa: S311
        async for newer in follower.changes(self._order_id, now):
            await follower.tell(send(_chunk(_event(newer) if newer else _KEEP_ALIVE)))
        await follower.tell(send({"type": "http.response.body", "body": b"", "more_body": False}))


def _event(saga: Snapshot) -> bytes:
    event = b"id: %b\nevent: saga\ndata: %b\n\n" % (saga.version.encode(), saga.json)
    if saga.final:
        event += b'event: end\ndata: {"status":"%b"}\n\n' % saga.status.encode()
    return event


def _chunk(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}
