"""How endpoints and their deliveries look over HTTP."""

from typing import Any
from uuid import UUID

from pydantic import Field

from handlers.api.schemas import When
from models.messages import Wire
from models.states import DeliveryStatus, WebhookStatus, WebhookType
from saga.webhooks.deliveries import Delivery
from saga.webhooks.endpoints import MOST_COUNTED, Endpoint, Health


class EndpointView(Wire):
    """An endpoint, and how it takes what it is sent."""

    id: UUID
    owner: str = Field(description="Who subscribed.", examples=["key:shop"])
    url: str
    events: list[WebhookType]
    user_id: UUID | None = Field(description="Whose orders it is told of; null: everybody's.")
    description: str | None
    status: WebhookStatus
    disabled_reason: str | None
    disabled_at: When | None
    failures: int = Field(ge=0, description="Attempts that failed since the last one that succeeded.")
    failing_since: When | None
    overflowing: bool = Field(
        description="Whether so much waits that what happens is written as failed at once, and can be delivered again."
    )
    last_delivered_at: When | None
    pending: int = Field(ge=0, description=f"Deliveries that wait, or are under way; counted up to {MOST_COUNTED}.")
    created_at: When


class NewEndpointView(EndpointView):
    """An endpoint that has just been made."""

    secret: str = Field(description="What deliveries are signed with. It is told this once only.")


class SecretView(Wire):
    """A new secret. The one before signs too for 24 hours: a receiver has as long to change."""

    id: UUID
    secret: str = Field(description="It is told this once only.")


class EndpointPage(Wire):
    """Some endpoints, newest first."""

    items: list[EndpointView]
    next: str | None = Field(description="Give it as `after` to get those behind these; null on the last page.")


class DeliveryView(Wire):
    """An event on its way to an endpoint."""

    id: UUID
    event_id: UUID = Field(description="The `webhook-id` of every attempt.")
    order_id: UUID | None = Field(description="Null for a ping.")
    type: WebhookType
    status: DeliveryStatus
    attempts: int = Field(ge=0, description="Since it was written, or since it was last asked for again.")
    last_status_code: int | None
    last_error: str | None
    last_seconds: float | None = Field(description="How long the last attempt took.")
    last_excerpt: str | None = Field(description="How the text of the last answer began.")
    next_attempt_at: When | None
    created_at: When
    delivered_at: When | None


class AttemptView(Wire):
    """One attempt."""

    at: str
    status_code: int | None = Field(description="Null where nobody answered.")
    seconds: float
    error: str | None = Field(description="Why nobody answered, or what was wrong with the answer.")
    excerpt: str = Field(description="The beginning of the answer's text.")


class DeliveryDetail(DeliveryView):
    """A delivery with all that it has."""

    body: str = Field(description="What is sent: the same at every attempt.")
    log: list[AttemptView] = Field(description="The last attempts, the latest last.")


class DeliveryPage(Wire):
    """Some of an endpoint's deliveries, newest first."""

    items: list[DeliveryView]
    next: str | None = Field(description="Give it as `after` to get those behind these; null on the last page.")


class Count(Wire):
    """How many it were."""

    count: int = Field(ge=0)


def endpoint_view(endpoint: Endpoint, health: Health) -> EndpointView:
    """An endpoint as lists show it."""
    return EndpointView.model_validate(_fields(endpoint, health))


def new_endpoint_view(endpoint: Endpoint, secret: str) -> NewEndpointView:
    """An endpoint with its secret, this once."""
    return NewEndpointView.model_validate(_fields(endpoint, Health(None, 0)) | {"secret": secret})


def delivery_view(delivery: Delivery) -> DeliveryView:
    """A delivery as lists show it."""
    return DeliveryView.model_validate({name: getattr(delivery, name) for name in DeliveryView.model_fields})


def delivery_detail(delivery: Delivery) -> DeliveryDetail:
    """A delivery by itself."""
    shown: dict[str, Any] = {name: getattr(delivery, name) for name in DeliveryView.model_fields}
    return DeliveryDetail.model_validate(shown | {"body": (delivery.body or b"").decode(), "log": delivery.log or []})


def _fields(endpoint: Endpoint, health: Health) -> dict[str, Any]:
    of_health = {"last_delivered_at", "pending"}
    shown = EndpointView.model_fields.keys()
    return {name: getattr(health if name in of_health else endpoint, name) for name in shown}
