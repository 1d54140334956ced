"""What is asked about webhooks. A field of a body that is not known is refused: a filter must not be lost."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints

from handlers.api.filters import AfterThat, AtMost
from models.messages import Closed, Id, Incoming, Text
from models.states import SUBSCRIBABLE, DeliveryStatus, WebhookStatus, WebhookType
from saga.webhooks.ssrf import LONGEST_URL

_LONGEST_DESCRIPTION = 200
_TIME = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]")
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def _as_text(value: object) -> object:
    # pydantic would take numbers too, for seconds or for milliseconds
    if not isinstance(value, str) or not _TIME.match(value):
        raise ValueError("must be a time in a string, such as 2026-01-15T09:30:00Z")
    return value


def _of_our_time(time: datetime) -> datetime:
    if not _EARLIEST <= time <= _LATEST:
        raise ValueError("must be a time between the years 2000 and 9999")
    return time


def _subscribable(event: WebhookType) -> WebhookType:
    if event not in SUBSCRIBABLE:
        raise ValueError(f"must be one of {', '.join(SUBSCRIBABLE)}")
    return event


Url = Annotated[Text, StringConstraints(min_length=1, max_length=LONGEST_URL)]
Description = Annotated[Text, StringConstraints(max_length=_LONGEST_DESCRIPTION)]
_Event = Annotated[WebhookType, AfterValidator(_subscribable), Field(json_schema_extra={"enum": [*SUBSCRIBABLE]})]
_Since = Annotated[AwareDatetime, BeforeValidator(_as_text), AfterValidator(_of_our_time)]


class Subscription(Incoming, Closed):
    """An endpoint that is to be told of orders."""

    url: Url = Field(
        description="Where it is: https, and at a public address.", examples=["https://hooks.shop.example/orders"]
    )
    events: Annotated[list[_Event], Field(min_length=1, max_length=len(SUBSCRIBABLE))] = Field(
        description="What it is told of.", examples=[["order.completed", "order.failed"]]
    )
    user_id: Id | None = Field(default=None, description="Whose orders; left out: everybody's.")
    description: Description | None = Field(default=None, description="For people.")


class StatusWish(Incoming, Closed):
    """Whether an endpoint is to be sent anything."""

    status: WebhookStatus


class FailedSince(Incoming, Closed):
    """Which deliveries are to be made again."""

    since: _Since = Field(description="All that was written since then, and failed.", examples=["2026-01-15T09:30:00Z"])


class EndpointQuery(Incoming):
    """What the list of endpoints is asked for."""

    limit: AtMost = 20
    after: AfterThat | None = None


class DeliveryQuery(EndpointQuery):
    """What the log of an endpoint's deliveries is asked for."""

    status: DeliveryStatus | None = None
