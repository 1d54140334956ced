"""What follows from an attempt, and what is told of it. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from saga.telemetry import spans
from saga.telemetry.traceparent import new_child
from saga.webhooks.answers import LONGEST_WAIT, Answer
from saga.webhooks.attempts import Attempt, Claimed, Outcome, headers, verdict
from saga.webhooks.retry import STANDARD, wait_after
from saga.webhooks.secret_wrapping import Wrapping
from tests.webhooks.conftest import TRACEPARENT

SECRETS = ("whsec_bmV3IHNlY3JldCBvZiB0aGlzIHRlc3Qh", "whsec_b2xkIHNlY3JldCBvZiB0aGlzIHRlc3Qh")


def claimed(**changed: Any) -> Claimed:
    fields: dict[str, Any] = {
        "id": uuid4(),
        "webhook_id": uuid4(),
        "event_id": uuid4(),
        "order_id": uuid4(),
        "type": "order.completed",
        "body": '{"word": "Größe"}'.encode(),
        "traceparent": TRACEPARENT,
        "attempts": 2,
        "lease": uuid4(),
        "url": "https://shop.example/hooks?token=hidden",
        "secret": SECRETS[0],
        "previous_secret": None,
        "held_back": False,
        "now": datetime.now(UTC),
    }
    return Claimed(**fields | changed)


def answer(status: int | None, error: str | None = None, **changed: Any) -> Answer:
    return Answer(**{"status": status, "error": error, "excerpt": "", "retry_after": None, "seconds": 0.5} | changed)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (answer(200), Outcome.DELIVERED),
        (answer(204), Outcome.DELIVERED),
        (answer(199), Outcome.RETRIED),
        (answer(301), Outcome.RETRIED),
        (answer(404), Outcome.RETRIED),
        (answer(410), Outcome.GONE),
        (answer(None, "timed out after 15 s"), Outcome.RETRIED),
        (answer(None, "the address is not allowed: it must be public", refused=True), Outcome.REFUSED),
    ],
)
def test_only_2xx_is_delivered_and_only_410_ends_it_at_once(given: Answer, outcome: Outcome) -> None:
    judged = verdict(claimed(), given, STANDARD)
    assert judged.outcome is outcome
    assert (judged.error is None) == (outcome is Outcome.DELIVERED)
    assert (judged.wait is not None) == (outcome in (Outcome.RETRIED, Outcome.REFUSED))
    assert judged.disables == ("410 Gone" if outcome is Outcome.GONE else None)


def test_the_later_of_schedule_and_what_is_asked_for_counts_up_to_a_day() -> None:
    assert wait_after(1, STANDARD, timedelta(seconds=1)) == timedelta(seconds=5)
    assert wait_after(1, STANDARD, timedelta(seconds=60)) == timedelta(seconds=60)
    assert wait_after(1, STANDARD, LONGEST_WAIT) == timedelta(hours=24)
    assert wait_after(len(STANDARD), STANDARD, None) == timedelta(hours=24)
    assert wait_after(len(STANDARD) + 1, STANDARD, timedelta(seconds=60)) is None


def test_each_of_two_secrets_verifies_what_was_signed_with_both() -> None:
    one = claimed(previous_secret=SECRETS[1])
    told = headers(one, TRACEPARENT, Wrapping())
    assert told["webhook-id"] == str(one.event_id)
    assert told["traceparent"] == TRACEPARENT
    for secret in SECRETS:
        assert Webhook(secret).verify(one.body, told) == {"word": "Größe"}


def test_an_attempt_is_a_span_in_the_trace_of_its_saga_and_names_no_url() -> None:
    one = claimed()
    context = new_child(TRACEPARENT)
    [span] = spans.of_attempt(Attempt(one, answer(500), context, 5, 9), Outcome.RETRIED)
    assert (span.name, span.kind, span.context, span.parent) == (
        "webhook order.completed",
        "client",
        context,
        TRACEPARENT,
    )
    assert (span.start, span.end, span.error) == (5, 9, "500")
    assert span.attributes["http.response.status_code"] == 500
    assert span.attributes["webhook.attempt"] == 3
    assert "shop" not in repr(span)
    unsampled = claimed(traceparent=f"{TRACEPARENT[:-2]}00")
    assert not list(spans.of_attempt(Attempt(unsampled, answer(500), TRACEPARENT, 5, 9), Outcome.RETRIED))
