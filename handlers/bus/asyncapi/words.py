"""The prose and the examples of the bus contract. All examples are about one order of one laptop."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from handlers.bus.publisher import APP_ID, DEAD_LETTER_QUEUE, DELIVERY_LIMIT, SOURCE
from models.messages import CancelOrder, CreateOrder, Failure, InventoryReleased, Item, PaymentRefunded, Reply, Wire
from models.states import CurrentStep
from saga.domain import message_id
from saga.outbox.message import DEAD_LETTER_EXCHANGE, EXCHANGE

TITLE = "Order Service"
DESCRIPTION = f"""\
Takes order requests, asks Inventory and Billing to carry them out, and undoes what was done when one of them cannot.

**Where.** One durable topic exchange, `{EXCHANGE}`; the routing key is the channel's address. The service declares its
own queues and never another service's: each service binds a queue of its own to what it wants to hear.

**Format.** JSON, UTF-8, camelCase, at most 1 MiB. Fields that are not known are ignored, in both directions. Money is a
JSON string with two decimals in what leaves; in what comes in it is a string or a number, never rounded.

**At least once.** Every message may arrive more than once; the copies of one message have the same `eventId`. A command
that is sent again, after a timeout or a transient failure, keeps its `eventId` too; only `attempt` grows.

**What a participant owes.** Deduplicate on `eventId`, and on a duplicate *send the same answer again*. Answer
ReleaseInventory and RefundPayment with success even if there is nothing to undo, and refuse the action if it arrives
afterwards: a compensation may overtake, or come without, what it compensates. Say `retryable: true` in a failure that
may pass: it is answered by a retry, not by compensation.

**Who sends.** Publish with the AMQP property `user_id` set to your own broker user. RabbitMQ refuses any other, so it
alone tells who answers. The service may be told whose answers count (`TRUSTED_SENDERS`); then an answer of anybody
else, or without `user_id`, is a dead letter. What the service publishes has its own broker user as `user_id`: carry
out a command only if its `user_id` is the order service's. A routing key is no proof, on no broker: who may not write
one can have RabbitMQ do it, by a queue or an exchange of their own or, before RabbitMQ 4.0.3, by a header `CC`.

**Silence concludes nothing.** A command without a reply is sent again after a growing delay, then slowly and without
end, while a person is alerted. ProcessPayment that is not answered is never followed by a release.

**Request and reply** in the sense of AMQP is not offered: a `reply_to` is ignored.

**Dead letters.** What cannot be handled (not JSON, not this schema, too large, an order that does not exist, a sender
who is not trusted) goes to the exchange `{DEAD_LETTER_EXCHANGE}` at once, once, and waits in `{DEAD_LETTER_QUEUE}`: the
message as it was, with the headers `x-dead-letter-reason` (one word), `x-dead-letter-error` (what is wrong),
`x-dead-letter-routing-key` and `x-dead-letter-exchange` (where it had been sent), `x-dead-letter-queue` (where it
waited), `x-dead-letter-user-id` (by whom it was sent). Of a body over 1 MiB there is the beginning, and its size and
SHA-256 in `x-whole-body-size` and `x-whole-body-sha256`. A person may have it published again: the same body and ids,
the headers of trace context and CloudEvents, and no others, to the queue where it waited.
A command that stays unanswered after its last retry is copied there too. A message that was handed out {DELIVERY_LIMIT}
times in vain is put there by RabbitMQ, with its `x-death` header.
"""

OUTGOING_HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "W3C trace context, and the CloudEvents attributes in binary mode.",
    "required": [
        "traceparent", "ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time",
    ],
    "properties": {
        "traceparent": {
            "type": "string",
            "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
            "description": "The saga's trace: one for its whole life.",
        },
        "tracestate": {"type": "string", "description": "Where there is one."},
        "ce-specversion": {"type": "string", "const": "1.0"},
        "ce-id": {"type": "string", "format": "uuid", "description": "The `eventId`."},
        "ce-type": {"type": "string", "description": "The routing key."},
        "ce-source": {"type": "string", "const": SOURCE},
        "ce-subject": {"type": "string", "format": "uuid", "description": "The order's id."},
        "ce-time": {"type": "string", "format": "date-time", "description": "The `occurredAt`."},
    },
}  # fmt: skip

CORRELATION: dict[str, dict[str, str]] = {
    "request": {
        "location": "$message.payload#/eventId",
        "description": "The request's identity; OrderCreated names it as its `causationId`.",
    },
    "order": {"location": "$message.payload#/orderId", "description": "The order that it is about."},
    "saga": {
        "location": "$message.payload#/sagaId",
        "description": "The order's saga; the AMQP property `correlation_id` has it too.",
    },
}

_SAGA_ID = UUID("0f8b6a52-4f0c-4d57-9a53-6c1f3f2b7d10")
_LAPTOP = Item(
    productId=UUID("5b1f7f0e-9a3e-4c40-8d1f-0f6f2a6e0c11"),
    productName="Laptop",
    quantity=1,
    price=Decimal("1299.99"),
)
_REQUEST_ID = UUID("7c1d0c3e-2b43-4d0c-9d0e-3f8a51b6e9a4")
_FACTS: dict[str, Any] = {
    "order_id": UUID("c3f2a9d4-6f0b-4f0e-8a55-1c2d3e4f5a6b"),
    "saga_id": _SAGA_ID,
    "user_id": UUID("9d2c7b1a-0e4f-4a8b-b3c6-5d7e8f9a0b1c"),
    "items": [_LAPTOP],
    "total_amount": _LAPTOP.price,
    "occurred_at": datetime(2024, 12, 5, 10, 0, tzinfo=UTC),
    "attempt": 1,
    "reason": "Payment failed",
    "failed_step": CurrentStep.PROCESS_PAYMENT,
    "compensated": True,
}


def examples(model: type[Wire]) -> Iterator[dict[str, Any]]:
    """Example payloads of a message, as the wire has them; the first is the usual one."""
    # the saga derives its ids in just this way: its commands' ids are what the replies name as their cause
    usual = _FACTS | {"event_id": uuid5(_SAGA_ID, model.__name__), "causation_id": _REQUEST_ID}
    if model is CreateOrder:
        usual["event_id"] = _REQUEST_ID
    elif issubclass(model, Reply):
        usual |= {"causation_id": message_id(_SAGA_ID, model.answers), "occurred_at": "2024-12-05T10:00:01Z"}
        usual["reason"] = "Not possible at the moment" if issubclass(model, Failure) else None
    elif model is CancelOrder:
        usual["reason"] = "Ordered by mistake"
    yield _payload(model, usual)
    if model is CreateOrder:
        number = _payload(model, usual)
        number["items"][0]["price"] = float(_LAPTOP.price)
        yield number
    elif issubclass(model, Failure):
        yield _payload(model, usual | {"retryable": True})
    elif model in (InventoryReleased, PaymentRefunded):
        yield _payload(model, usual | {"message": "There was nothing to undo"})


def headers(routing_key: str, payload: dict[str, Any]) -> dict[str, str]:
    """The headers that an outgoing message with this payload has."""
    return {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "ce-specversion": "1.0",
        "ce-id": payload["eventId"],
        "ce-type": routing_key,
        "ce-source": SOURCE,
        "ce-subject": payload["orderId"],
        "ce-time": payload["occurredAt"],
    }


def properties(routing_key: str) -> dict[str, Any]:
    """The AMQP properties that an outgoing message has; AsyncAPI has no place of its own for them."""
    return {
        "message_id": "$message.payload#/eventId",
        "correlation_id": "$message.payload#/sagaId",
        "type": routing_key,
        "app_id": APP_ID,
        "content_type": "application/json",
        "timestamp": "$message.payload#/occurredAt",
        "delivery_mode": 2,
    }


def _payload(model: type[Wire], facts: dict[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in facts.items() if name in model.model_fields}
    payload = model.model_validate(known, by_name=True)
    return payload.model_dump(mode="json", by_alias=True, exclude_none=True)
