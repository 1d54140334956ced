"""The orders' part of the HTTP API: place one, look at it, at a customer's, and at how far its saga has come."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Header, Request, Response

from handlers.access.errors import forbidden
from handlers.access.principal import AnyCaller, Caller, Scope
from handlers.access.rate_limits import ORDERS_AGAIN_SECONDS, AtOnce, Limits, spend_rows, too_many
from handlers.api.schemas import OrderPage, OrderView, SagaView, order_page, order_view, saga_view
from handlers.http.conditional import CONDITIONAL_HEADERS, DOCUMENTED, IfNoneMatch, Prefer, Shown, respond, show
from handlers.http.json_body import OrderRoute
from handlers.http.pagination import After, Limit, cut, place
from handlers.http.problems import OF_BODIES, ProblemError, away, documented
from handlers.live.watcher import Watch
from handlers.queries import orders
from models.messages import OrderBody, money_text, total_of
from models.states import OrderStatus
from saga import store
from saga.arrivals import Accepted, OrderRequest
from saga.domain import Policy
from saga.engine import Engine
from saga.errors import DifferentContentError, UnknownOrderError
from saga.insight.forecast import require_known
from saga.runtime.database import Sessions
from saga.runtime.failpoints import reach

ACCEPT_SECONDS = 5.0
"""How long a client waits for its order to be committed before it is told to come again."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="The client's own identity of this request: sent again with the same body, it gives that order.",
    ),
]
_CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "ETag": CONDITIONAL_HEADERS["ETag"],
            "Location": {"description": "Where the order is.", "schema": {"type": "string"}},
            "Idempotency-Replayed": {
                "description": "`true` where the key had given this order before.",
                "schema": {"type": "string"},
            },
        }
    }
}


def order_routes(engine: Engine, sessions: Sessions, policy: Policy, watch: Watch, limits: Limits) -> APIRouter:
    """The routes under `/api/orders`."""
    router = APIRouter(prefix="/api/orders", tags=["orders"], route_class=OrderRoute)
    waits = AtOnce(limits.streams_per_client)

    async def changed(caller: Caller, order_id: UUID, what: Literal["order", "saga"], seen: datetime | None) -> None:
        with waits.one_more(caller, "too_many_waits"):
            await watch.changed(order_id, what, seen)

    @router.post("", status_code=201, response_model=OrderView, responses=_CREATED | documented(*OF_BODIES))
    async def create_order(caller: AnyCaller, body: OrderBody, idempotency_key: IdempotencyKey = None) -> Response:
        """Place an order. With the answer it is committed, and its saga has begun."""
        if caller.user_id not in (None, body.user_id):
            raise forbidden("You may order for yourself only: `userId` must be the `sub` of your token.")
        if not caller.local:
            await _require_room(sessions, body.user_id, idempotency_key, limits.open_orders_per_user)
        reach("http.read")
        request, accepted = await accept(engine, body, idempotency_key)
        reach("http.accepted")
        # what was committed just now need not be read again; nor may a failing read deny it
        shown = await _read_order(sessions, accepted.order_id) if accepted.replayed else _just_placed(request, accepted)
        response = respond(shown, 201)
        response.headers["Location"] = f"/api/orders/{accepted.order_id}"
        if accepted.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    @router.get("/user/{user_id}", response_model=OrderPage, responses=documented(404, 422, 503))
    async def list_orders(
        request: Request, caller: AnyCaller, user_id: UUID, limit: Limit = 20, after: After = None
    ) -> Response:
        """A customer's orders, newest first."""
        spend_rows(request, limit)
        behind = place(after)
        if caller.orders_of not in (None, user_id):
            raise ProblemError(404, "unknown_user", "There is no such customer.")
        async with sessions() as session:
            found = await orders.list_orders_of_user(session, user_id, limit + 1, behind)
        page, following = cut(found, limit, lambda order: (order.created_at, order.id))
        return order_page(page, following)

    @router.get("/{order_id}", response_model=OrderView, responses=DOCUMENTED | documented(404, 422, 503))
    async def get_order(
        request: Request,
        caller: AnyCaller,
        order_id: UUID,
        if_none_match: IfNoneMatch = None,
        prefer: Prefer = None,
    ) -> Response:
        """An order."""
        return await show(
            request,
            lambda: _read_order(sessions, order_id, caller.orders_of),
            lambda seen: changed(caller, order_id, "order", seen),
            if_none_match,
            prefer,
        )

    @router.get("/{order_id}/saga", response_model=SagaView, responses=DOCUMENTED | documented(404, 422, 503))
    async def get_saga(
        request: Request,
        caller: AnyCaller,
        order_id: UUID,
        if_none_match: IfNoneMatch = None,
        prefer: Prefer = None,
    ) -> Response:
        """How far an order has come, what is awaited, and all that happened on the way."""
        return await show(
            request,
            lambda: _read_saga(sessions, order_id, policy, caller),
            lambda seen: changed(caller, order_id, "saga", seen),
            if_none_match,
            prefer,
        )

    return router


async def _require_room(sessions: Sessions, user_id: UUID, idempotency_key: str | None, most: int) -> None:
    """Refuse one more order of somebody who has so many open ones; not one that is only placed again."""
    async with sessions() as session:
        full = await orders.has_open_orders(session, user_id, most)
        again = full and idempotency_key and await orders.is_known(session, _identity(user_id, idempotency_key))
    if full and not again:
        raise too_many("too_many_open_orders", f"This customer has {most} open orders.", ORDERS_AGAIN_SECONDS)


async def accept(engine: Engine, body: OrderBody, idempotency_key: str | None) -> tuple[OrderRequest, Accepted]:
    """Have an order accepted; what it asked for, and what it became.

    Raises:
        DifferentContentError: the key was used before for something else.
        ProblemError: the database is away.
    """
    request = _request(body, idempotency_key)
    try:
        async with asyncio.timeout(ACCEPT_SECONDS):
            return request, await engine.create(request)
    except DifferentContentError as error:
        raise DifferentContentError("This Idempotency-Key") from error
    except TimeoutError as error:
        raise away(
            "The order could not be committed in time. Send it again, with the same Idempotency-Key if it had one."
        ) from error


def _just_placed(request: OrderRequest, accepted: Accepted) -> Shown:
    order = orders.OrderView(
        id=accepted.order_id,
        user_id=request.user_id,
        status=OrderStatus.PENDING,
        items=request.items,
        total_amount=money_text(request.total_amount),
        created_at=accepted.created_at,
        updated_at=None,
        saga_id=accepted.saga_id,
    )
    return Shown(order_view(order), None, final=False)


async def _read_order(sessions: Sessions, order_id: UUID, user_id: UUID | None = None) -> Shown:
    async with sessions() as session:
        order = await orders.find_order(session, order_id, user_id)
    if order is None:
        raise UnknownOrderError(order_id)
    return Shown(order_view(order), order.updated_at, final=order.status is not OrderStatus.PENDING)


async def _read_saga(sessions: Sessions, order_id: UUID, policy: Policy, caller: Caller) -> Shown:
    async with sessions() as session:
        stored = await store.find_saga(session, order_id, caller.orders_of)
    if stored is None:
        raise UnknownOrderError(order_id)
    require_known(stored.saga)
    view = saga_view(stored, policy, to_operators=caller.may(Scope.OPERATE))
    return Shown(view, stored.saga.updated_at, final=stored.saga.completed_at is not None)


def _request(body: OrderBody, idempotency_key: str | None) -> OrderRequest:
    """What the body asks for. A key counts per customer; without one every request is an order of its own."""
    order_id = uuid4()
    return OrderRequest(
        identity=_identity(body.user_id, idempotency_key) if idempotency_key else f"order:{order_id}",
        order_id=order_id,
        chosen=False,
        user_id=body.user_id,
        items=[item.model_dump(mode="json", by_alias=True) for item in body.items],
        total_amount=total_of(body.items),
    )


def _identity(user_id: UUID, idempotency_key: str) -> str:
    return f"key:{user_id}:{idempotency_key}"
