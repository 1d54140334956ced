"""A saga over a WebSocket (RFC 6455): a message for every state, and then the close."""

from uuid import UUID

from fastapi import WebSocket, WebSocketDisconnect

from handlers.http.disconnect import first_of, gone
from handlers.live.snapshots import Snapshot
from handlers.live.streams import Follower, Followers

ENDED, PUT_OUT, TALKS, COME_AGAIN = 1000, 1008, 1009, 1012
"""How it is closed: the saga has ended; the client may follow no more; it said more than is listened to; it may come
again, since the service stops or an hour is over."""
MAX_SAID = 1024
"""Characters or bytes of a message from the client, none of which is listened to."""
MAX_SAID_BYTES = 4 * MAX_SAID
"""As many are kept of it: beyond this the server itself closes, with the same code."""


async def converse(websocket: WebSocket, followers: Followers, order_id: UUID) -> None:
    """Tell the client how the saga stands, at once and after every change, until it has ended.

    Raises:
        ProblemError: 503, there are too many. Nothing has been accepted then.
        UnknownOrderError: there is no such order.
        UnknownTableError: another release has to tell.
    """
    with followers.welcome(websocket.scope) as follower:
        now = await follower.begin(order_id)
        await websocket.accept()
        try:
            code = await first_of(_tell(websocket, follower, order_id, now), _listen(websocket))
            if code:
                await first_of(follower.tell(websocket.close(code)), gone(websocket.receive))
        except WebSocketDisconnect:
            return


async def _tell(websocket: WebSocket, follower: Follower, order_id: UUID, now: Snapshot) -> int:
    await follower.tell(websocket.send_text(now.json.decode()))
    async for newer in follower.changes(order_id, now):
        # where nothing changed nothing is said: the server's own pings keep the connection alive
        if newer:
            now = newer
            await follower.tell(websocket.send_text(now.json.decode()))
    if follower.put_out:
        return PUT_OUT
    return ENDED if now.final else COME_AGAIN


async def _listen(websocket: WebSocket) -> int:
    """Hear what the client says, so that its pongs and its leaving are heard; 0 when it has left."""
    while (message := await websocket.receive())["type"] != "websocket.disconnect":
        if len(message.get("text") or message.get("bytes") or "") > MAX_SAID:
            return TALKS
    return 0
