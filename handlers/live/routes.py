"""Orders that are followed: the saga at once and after every change until it ends, as events or over a WebSocket."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Response, WebSocket

from handlers.access.principal import AnyCaller, Caller
from handlers.http.problems import documented
from handlers.live.sse import MEDIA_TYPE, EventStream
from handlers.live.streams import Followers
from handlers.live.websocket import converse
from handlers.queries.orders import is_order_of
from models.states import TERMINAL
from saga.errors import UnknownOrderError
from saga.runtime.database import Sessions

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The `id` of the last event that the client has; browsers send it by themselves.",
        examples=["9b1c6f0e2d4a8b3c5d7e9f01"],
    ),
]
_EXAMPLE = """\
retry: 1832

id: 5d41402abc4b2a76b9719d91
event: saga
data: {"id":"a3b1d0c2-…","orderId":"6f1c2a34-…","status":"InProgress","currentStep":"ProcessPayment", …}

:

id: 9b1c6f0e2d4a8b3c5d7e9f01
event: saga
data: {"id":"a3b1d0c2-…","orderId":"6f1c2a34-…","status":"Completed","currentStep":"Completed", …}

event: end
data: {"status":"Completed"}

"""


def _event(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """The schema of an event of one type, in the words of OpenAPI 3.2; FastAPI describes events like this too."""
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "id": {"type": "string", "description": "What to give as `Last-Event-ID`: the ETag of the saga, unquoted."},
            "event": {"const": name},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
        },
    }


_END = {"type": "object", "required": ["status"], "properties": {"status": {"enum": sorted(TERMINAL)}}}
_ITEM = {"oneOf": [_event("saga", {"$ref": "#/components/schemas/SagaView"}), _event("end", _END)]}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events of the type `saga`, whose data is what `GET /api/orders/{order_id}/saga` answers with, "
        "and one of the type `end` after the last. Lines that begin with `:` only keep the connection alive.",
        "content": {MEDIA_TYPE: {"itemSchema": _ITEM, "example": _EXAMPLE}},
    },
    204: {"description": "The saga has ended, and the client has its last event: there is no need to come again."},
}


def live_routes(followers: Followers, sessions: Sessions) -> APIRouter:
    """The routes that go on: under `/api/orders/{order_id}`, and the dashboard's own.

    Args:
        followers: all who follow a saga.
        sessions: for asking whose an order is.
    """
    router = APIRouter(tags=["orders"])

    async def require_own(caller: Caller, order_id: UUID) -> None:
        if caller.orders_of is None:
            return
        async with sessions() as session:
            if not await is_order_of(session, order_id, caller.orders_of):
                raise UnknownOrderError(order_id)

    @router.get("/api/orders/{order_id}/events", response_class=Response, responses=_EVENTS | documented(404, 422, 503))
    async def follow_saga(caller: AnyCaller, order_id: UUID, last_event_id: LastEventId = None) -> Response:
        """An order's saga as Server-Sent Events: at once, and after every change until it has ended.

        Several changes in quick succession may be one event; its `history` has them all. A saga has ended when nothing
        of it is open: one that must still undo what a participant did late goes on after its terminal status.
        `/api/orders/{order_id}/ws` tells the same over a WebSocket, a JSON document a message.
        """
        await require_own(caller, order_id)
        return EventStream(followers, order_id, last_event_id)

    # an operator looks at anybody's saga, and need not be able to read orders for that
    @router.get("/sagas/{order_id}/events", include_in_schema=False)
    async def follow_saga_of_page(order_id: UUID, last_event_id: LastEventId = None) -> Response:
        return EventStream(followers, order_id, last_event_id)

    @router.websocket("/api/orders/{order_id}/ws")
    async def follow_saga_over_websocket(caller: AnyCaller, websocket: WebSocket, order_id: UUID) -> None:
        """An order's saga, a JSON document a message."""
        await require_own(caller, order_id)
        await converse(websocket, followers, order_id)

    return router
