"""One attempt at a delivery: what is sent, what was answered, and what follows from it. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from uuid import UUID

from standardwebhooks import Webhook as Signer

from models.states import WebhookType
from saga.telemetry.traceparent import HEADER
from saga.webhooks.answers import Answer
from saga.webhooks.retry import wait_after
from saga.webhooks.secret_wrapping import Wrapping


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this worker has in hand, and where it goes."""

    id: UUID
    webhook_id: UUID
    event_id: UUID
    order_id: UUID | None
    type: str
    body: bytes
    traceparent: str | None
    attempts: int
    """Made before."""
    lease: UUID
    url: str
    secret: str
    """As it is stored (`saga.webhooks.secret_wrapping`); the one before too."""
    previous_secret: str | None
    """Where that is still to sign."""
    held_back: bool
    """Whether the endpoint's last attempt has failed, or it is slow."""
    now: datetime
    """By the database's clock, when it was claimed."""

    @property
    def ping(self) -> bool:
        """Whether it is only a test of the endpoint."""
        return self.type == WebhookType.PING


class Outcome(StrEnum):
    """What became of an attempt."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    """It failed, and is followed by another one."""
    FAILED = "failed"
    """It was the last one."""
    GONE = "gone"
    """The receiver wants no more, ever."""
    REFUSED = "refused"
    """Nothing may be sent there; followed by another attempt, in case that changes."""
    LOST = "lost"
    """Another worker has it in hand meanwhile, or a person: what came of it is not written down."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that is over."""

    claimed: Claimed
    answer: Answer
    context: str | None
    """The trace context that went with it."""
    began: int
    """Nanoseconds since 1970; `ended` too."""
    ended: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an attempt."""

    outcome: Outcome
    error: str | None = None
    """Why it failed, in our own words."""
    wait: timedelta | None = None
    """Before the next attempt."""
    disables: str | None = None
    """Why the endpoint is to be sent nothing any more."""


def headers(claimed: Claimed, context: str | None, wrapping: Wrapping) -> dict[str, str]:
    """What Standard Webhooks has beside the body, signed for an attempt that begins when the delivery was claimed.

    Raises:
        UnwrapError: there is nothing to sign with.
    """
    id_, text = str(claimed.event_id), claimed.body.decode()
    stored = [claimed.secret, *([claimed.previous_secret] if claimed.previous_secret else [])]
    secrets = [wrapping.unwrap(claimed.webhook_id, one) for one in stored]
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(int(claimed.now.timestamp())),
        "webhook-signature": " ".join(Signer(secret).sign(id_, claimed.now, text) for secret in secrets),
        "content-type": "application/json",
        **({HEADER: context} if context else {}),
    }


def verdict(claimed: Claimed, answer: Answer, waits: Sequence[timedelta]) -> Verdict:
    """What follows from this answer, where a failed attempt is followed by others after these waits."""
    status = answer.status
    if answer.good:
        return Verdict(Outcome.DELIVERED)
    error = f"answered {status}" if status else answer.error or "nobody answered"
    if claimed.ping:
        return Verdict(Outcome.FAILED, error)
    if status == HTTPStatus.GONE:
        return Verdict(Outcome.GONE, error, disables="410 Gone")
    attempts = claimed.attempts + 1
    wait = wait_after(attempts, waits, answer.retry_after)
    if wait is None:
        return Verdict(
            Outcome.FAILED, error, disables=f"all {attempts} attempts of a delivery failed, the last: {error}"
        )
    return Verdict(Outcome.REFUSED if answer.refused else Outcome.RETRIED, error, wait)
