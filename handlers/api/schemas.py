"""What the HTTP API answers with: orders and sagas as JSON, and `/openapi.json` is written from here."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from handlers.queries import orders
from models.messages import Instant, Item, Money, Wire, instant_text
from models.states import Command, CurrentStep, EntryStatus, IncidentKind, OrderStatus, SagaStatus
from saga import store
from saga.domain import Entry, Policy
from saga.insight.forecast import remaining_steps, waiting
from saga.telemetry.traceparent import trace_id

_INSTANT_SCHEMA: dict[str, Any] = {
    "type": "string",
    "format": "date-time",
    "description": "RFC 3339, UTC.",
    "examples": ["2026-01-15T09:30:00.000000Z"],
}
When = Annotated[Instant, WithJsonSchema(_INSTANT_SCHEMA)]
"""A time of the database."""
WhenText = Annotated[str, WithJsonSchema(_INSTANT_SCHEMA)]
"""A time that is stored as the wire has it."""

_ORDER_ID = "6f1c2a34-7b1e-4b57-9a3a-2d1f0c9e8b7a"
_SAGA_ID = "a3b1d0c2-5e6f-4a7b-8c9d-0e1f2a3b4c5d"


def _none(value: object) -> bool:
    return value is None


class OrderView(Wire):
    """An order. Its items and amounts never change; only the status does, once."""

    id: UUID = Field(examples=[_ORDER_ID])
    user_id: UUID = Field(description="The customer.")
    status: OrderStatus = Field(description="Pending until its saga has ended.")
    items: list[Item]
    total_amount: Money = Field(description="The exact sum of quantity times price.")
    created_at: When
    updated_at: When | None = Field(description="When the status changed; null while it is Pending.")
    saga_id: UUID = Field(examples=[_SAGA_ID])


class OrderPage(Wire):
    """Some of a user's orders, newest first."""

    items: list[OrderView]
    next: str | None = Field(description="Give it as `after` to get the orders behind these; null on the last page.")


class EntryView(Wire):
    """One entry of a saga's history: what became of a step."""

    step: Command | CurrentStep = Field(description="The step that it is about.", examples=["ValidateInventory"])
    status: EntryStatus
    message: str = Field(description="In words, for people.", examples=["Inventory validated"])
    timestamp: WhenText
    attempt: int = Field(ge=1, description="Which send of the command it is about.", examples=[1])
    event_id: UUID | None = Field(default=None, description="The message that brought it; null for timers and people.")
    actor: str | SkipJsonSchema[None] = Field(
        default=None, exclude_if=_none, description="Who did it, where it was an operator; told to operators alone."
    )
    count: int | SkipJsonSchema[None] = Field(
        default=None, exclude_if=_none, ge=2, description="How often it happened, where more than once."
    )


class IncidentView(Wire):
    """Why a person should look at this saga."""

    kind: IncidentKind
    since: WhenText
    detail: str


class WaitingView(Wire):
    """What the saga waits for, and what happens if it does not come."""

    for_: list[str] = Field(
        alias="for",
        description="The replies that answer the open command.",
        examples=[["InventoryReserved", "InventoryReservationFailed"]],
    )
    attempt: int = Field(ge=1, description="How often the open command was sent so far.")
    attempts: int = Field(ge=1, description="How often it is sent before the saga is parked.")
    until: WhenText | None = Field(description="When its patience ends; null where only a reply or a person helps.")
    then: str = Field(description="What happens then, in words.", examples=["send ReserveInventory again"])


class SagaView(Wire):
    """How far an order has come, what is awaited until when, and all that happened on the way."""

    id: UUID = Field(examples=[_SAGA_ID])
    order_id: UUID = Field(examples=[_ORDER_ID])
    status: SagaStatus
    current_step: CurrentStep
    history: list[EntryView] = Field(description="What happened, oldest first; repetitions are one entry.")
    created_at: When
    completed_at: When | None = Field(description="When it ended; null while it has not.")
    updated_at: When
    trace_id: str = Field(
        pattern="^[0-9a-f]{32}$",
        description="The W3C trace that all messages of this saga belong to.",
        examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
    )
    incident: IncidentView | None = Field(description="Null while no person needs to look.")
    cancel_requested: bool
    waiting: WaitingView | None = Field(description="Null where no reply is awaited.")
    remaining_steps: list[Command] = Field(
        description="The commands that follow the open one if all goes well.", examples=[["ProcessPayment"]]
    )


class CancelView(Wire):
    """What a client is told of a saga that may cancel an order and not read it."""

    id: UUID = Field(examples=[_SAGA_ID])
    order_id: UUID = Field(examples=[_ORDER_ID])
    status: SagaStatus
    current_step: CurrentStep
    cancel_requested: bool


def as_json(view: BaseModel, status: int = 200) -> Response:
    """The answer that shows this, as it is: FastAPI would validate it once more."""
    return Response(view.model_dump_json(by_alias=True), status, media_type="application/json")


def order_view(order: orders.OrderView[list[dict[str, Any]]]) -> OrderView:
    """An order as the API shows it."""
    return OrderView(
        id=order.id,
        user_id=order.user_id,
        status=order.status,
        items=[Item.model_validate(item) for item in order.items],
        # a text such as "1299.99"; Money reads it exactly
        total_amount=order.total_amount,
        created_at=order.created_at,
        updated_at=order.updated_at,
        saga_id=order.saga_id,
    )


def order_page(page: Sequence[orders.OrderText], following: str | None) -> Response:
    """An `OrderPage` as it is stored: 100 orders of 100 items would take half a second to be validated once more."""
    body = f'{{"items":[{",".join(map(_order_json, page))}],"next":{json.dumps(following)}}}'
    return Response(body, media_type="application/json")


def _order_json(order: orders.OrderText) -> str:
    return (
        f'{{"id":"{order.id}","userId":"{order.user_id}","status":"{order.status}","items":{order.items},'
        f'"totalAmount":"{order.total_amount}","createdAt":"{instant_text(order.created_at)}",'
        f'"updatedAt":{_instant_json(order.updated_at)},"sagaId":"{order.saga_id}"}}'
    )


def _instant_json(instant: datetime | None) -> str:
    return "null" if instant is None else f'"{instant_text(instant)}"'


def saga_view(stored: store.Stored, policy: Policy, *, to_operators: bool) -> SagaView:
    """A saga as the API shows it.

    Args:
        stored: the saga.
        policy: how long it waits.
        to_operators: whether who asks may operate: only they are told which of them did what, and what they noted.
    """
    saga = stored.saga
    awaited = waiting(saga, policy)
    return SagaView(
        id=saga.id,
        order_id=saga.order_id,
        status=saga.position.status,
        current_step=saga.position.current_step,
        history=[EntryView.model_validate(entry if to_operators else _for_others(entry)) for entry in saga.history],
        created_at=saga.created_at,
        completed_at=saga.completed_at,
        updated_at=saga.updated_at,
        trace_id=trace_id(stored.traceparent),
        incident=IncidentView.model_validate(saga.incident) if saga.incident else None,
        cancel_requested=saga.cancel_requested,
        waiting=WaitingView.model_validate(awaited) if awaited else None,
        remaining_steps=[Command(step) for step in remaining_steps(saga)],
    )


def cancel_view(stored: store.Stored) -> CancelView:
    """The state of a saga, for a client that may not read the order."""
    saga = stored.saga
    return CancelView(
        id=saga.id,
        order_id=saga.order_id,
        status=saga.position.status,
        current_step=saga.position.current_step,
        cancel_requested=saga.cancel_requested,
    )


def _for_others(entry: Entry) -> dict[str, Any]:
    """An entry without who did it, and without what they noted; what a customer said of their own order stays."""
    told = {name: value for name, value in entry.items() if name != "actor"}
    if "actor" in entry and "words" in entry:
        told["message"] = entry["message"].partition(": ")[0]
    return told
