"""How dead letters look over HTTP: safely, whatever bytes they have."""

import base64
import codecs
import re
from typing import Any
from uuid import UUID

from pydantic import Field

from handlers.api.schemas import When
from handlers.dead_letters.redrive import Redrive, RedriveOutcome, Safety
from handlers.dead_letters.store import Letter, LetterState
from models.messages import Wire
from models.states import CurrentStep, SagaStatus

_DECODER = codecs.getincrementaldecoder("utf-8")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class SafetyView(Wire):
    """What the table knows about publishing it again, as its order stands now."""

    redrivable: bool = Field(description="False where it would do nothing, or harm.")
    awaited: bool | None = Field(description="Whether its saga waits for it; null where that cannot be told.")
    saga_status: SagaStatus | None = Field(description="Null where there is no such order.")
    saga_step: CurrentStep | None
    detail: str = Field(description="In words, for people.")


class DeadLetterView(Wire):
    """A message that could not be handled. It is open until it is redriven or discarded, or when it comes again."""

    id: UUID
    state: LetterState
    reason: str = Field(description="Why, in one word.", examples=["invalid"])
    error: str = Field(description="Why, in words.")
    routing_key: str = Field(
        description="Under which it was published at first.", examples=["domain.order.CreateOrder"]
    )
    exchange: str = Field(description="To which it was published at first.", examples=["domain"])
    queue: str | None = Field(
        description="In which of this service's queues it waited; redriven, it goes back there. Null for a command.",
        examples=["order-service.CreateOrder"],
    )
    message_id: str | None
    order_id: UUID | None = Field(description="If its body tells; there need not be such an order.")
    body_size: int = Field(ge=0, description="In bytes, of the whole body.")
    body_sha256: str | None = Field(
        description="Of the whole body, where that is over 1 MiB: only its beginning is kept then. Else null."
    )
    first_at: When
    last_at: When = Field(description="When it last arrived; lists are in this order.")
    count: int = Field(ge=1, description="How often it has arrived.")
    redriven_at: When | None
    redriven_count: int = Field(ge=0)
    discarded_at: When | None
    discard_reason: str | None
    closed_by: str | None = Field(description="Who redrove or discarded it.")
    safety: SafetyView


class DeadLetterDetail(DeadLetterView):
    """A dead letter with all that it has."""

    headers: dict[str, Any] = Field(
        description="What JSON has no words for is an object whose one key begins with `$`: `$bytes`, `$time`, …"
    )
    properties: dict[str, Any] = Field(description="The AMQP properties that it came with; as the headers.")
    body: str | None = Field(
        description="As text, where it is UTF-8 without control characters. The beginning alone, where there is a"
        " `bodySha256`."
    )
    body_base64: str | None = Field(description="Where it is not.")


class DeadLetterPage(Wire):
    """Some of the dead letters, the newest arrival first."""

    items: list[DeadLetterView]
    next: str | None = Field(description="Give it as `after` to get the letters behind these; null on the last page.")


class RedriveView(Wire):
    """What became of the wish to publish a letter again."""

    id: UUID
    outcome: RedriveOutcome
    detail: str


class RedrivePage(Wire):
    """What became of each of the letters, the newest arrival first.

    One whose outcome is `bus_away` or `busy` ends the page, and is the first of the next one.
    """

    items: list[RedriveView]
    next: str | None = Field(
        description="Give it as `after`, with the same filters, to go on with what is left; null when all are done."
    )


def letter_view(letter: Letter, known: Safety) -> DeadLetterView:
    """A letter as a list shows it."""
    return DeadLetterView.model_validate(_fields(letter, known))


def letter_detail(letter: Letter, known: Safety) -> DeadLetterDetail:
    """A letter by itself."""
    body = letter.body or b""
    text = _readable(body, whole=letter.whole_sha256 is None)
    return DeadLetterDetail.model_validate(
        _fields(letter, known)
        | {
            "headers": letter.headers or {},
            "properties": letter.properties or {},
            "body": text,
            "body_base64": base64.b64encode(body).decode() if text is None else None,
        }
    )


def redrive_view(redrive: Redrive) -> RedriveView:
    """What became of one letter."""
    return RedriveView(id=redrive.id, outcome=redrive.outcome, detail=redrive.words)


def _fields(letter: Letter, known: Safety) -> dict[str, Any]:
    shown = DeadLetterView.model_fields.keys() - {"body_sha256", "safety"}
    return {name: getattr(letter, name) for name in shown} | {
        "body_sha256": letter.whole_sha256.hex() if letter.whole_sha256 else None,
        "safety": SafetyView(
            redrivable=known.redrivable,
            awaited=known.awaited,
            saga_status=known.status,
            saga_step=known.step,
            detail=known.words,
        ),
    }


def _readable(body: bytes, *, whole: bool) -> str | None:
    try:
        # a beginning may end within a character
        text = _DECODER().decode(body, final=whole)
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text
