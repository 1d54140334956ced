"""What an endpoint is sent, in the wire's own words. https://www.standardwebhooks.com has the form."""

from pydantic import Field

from models.messages import Id, Instant, Money, Wire
from models.states import OrderStatus, WebhookType


class OrderNews(Wire):
    """An order as it stood when the event happened."""

    order_id: Id
    saga_id: Id
    user_id: Id
    status: OrderStatus
    total_amount: Money
    reason: str | None = Field(description="Why it failed; null where it did not.")


class PingNews(Wire):
    """Nothing but the endpoint that is tried."""

    webhook_id: Id


class WebhookMessage(Wire):
    """The body of what an endpoint is sent. It is the same at every attempt, byte for byte."""

    type: WebhookType
    timestamp: Instant = Field(description="When the event happened.")
    data: OrderNews | PingNews
