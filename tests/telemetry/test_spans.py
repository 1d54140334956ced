"""Whatever happens to a saga, its spans are one tree; without a service, a bus or a collector."""

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Self
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.states import Command
from saga.batch import _enclosed, _Message
from saga.domain import Event, Outcome, Policy, Saga, Send
from saga.outbox.message import OrderFacts
from saga.store import Stored
from saga.telemetry.applied_events import Move, Origin
from saga.telemetry.spans import Span, of_move, of_publication
from saga.telemetry.traceparent import is_sampled, new_root, new_trace_id, of_message, of_step, span_id, trace_id, valid
from tests.table.dialogue import ORDER_ID, SAGA_ID, START, Dialogue, G, P, standing_at
from tests.table.test_walks import POLICIES, STEPS, take

FACTS = OrderFacts(ORDER_ID, UUID(int=1), [], Decimal("1.00"))
SOMEBODYS = f"00-{'5' * 32}-{'6' * 16}-01"
LATER = timedelta(milliseconds=5)
"""From a decision to its commit."""


def nanoseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1_000_000) * 1000


class Told(Dialogue):
    """A saga of which everything is told, and every message published."""

    def __init__(self, policy: Policy, *, sampled: bool = True) -> None:
        super().__init__(policy)
        self.root = new_root(new_trace_id(), sampled=sampled)
        self.spans: list[Span] = []
        self.came_from: str | None = None
        """What the next message says of where it came from."""
        self.entered = 0
        self._tell("CreateOrder", None, brought=True)

    def told(self, event: Event) -> Self:
        before = self.saga
        super().told(event)
        self._tell(event.signal, before, brought=bool(event.event_id or event.actor))
        return self

    def _tell(self, signal: str, before: Saga | None, *, brought: bool) -> None:
        origin = Origin(True, nanoseconds(self.now - LATER), self.came_from, lambda: ("process", {}))
        now, sends = nanoseconds(self.now + LATER), self.decision.sends
        outcome = self.decision.outcome
        move = Move(signal, outcome, before, self.saga, self.root, sends, origin if brought else None)
        self.spans += of_move(move, now)
        for send in sends:
            envelope = _enclosed(_Message(send, Stored(self.saga, FACTS, self.root)), self.now)
            if is_sampled(envelope.traceparent):
                self.spans.append(of_publication(envelope, now))
        here = (self.saga.position, self.saga.entered_at)
        if self.saga.position.open_command and (before is None or here != (before.position, before.entered_at)):
            self.entered += 1

    @property
    def under_way(self) -> set[str]:
        """The spans that others may name already, and that are told when they are over."""
        steps = {span_id(of_step(self.root, self.saga))}
        return steps if self.saga.completed_at else {*steps, span_id(self.root)}

    def steps(self) -> list[Span]:
        return [span for span in self.spans if span.name in set(Command)]

    def last_published(self) -> str:
        return [span for span in self.spans if span.kind == "producer"][-1].context


def require_a_tree(saga: Told) -> None:
    """All that holds at any time."""
    ids = Counter(span_id(span.context) for span in saga.spans)
    assert max(ids.values()) == 1
    assert {trace_id(span.context) for span in saga.spans} == {trace_id(saga.root)}
    for span in saga.spans:
        assert valid(span.context)
        times = [span.start, *(time for _, time, _ in span.events), span.end]
        assert times == sorted(times), span
        if span.parent:
            assert span_id(span.parent) in ids.keys() | saga.under_way, span
    roots = [span for span in saga.spans if span.parent is None]
    assert len(roots) == (saga.saga.completed_at is not None)
    assert all(root.context == saga.root for root in roots)
    # every step that was entered is told of once: when it is left
    assert len(saga.steps()) == saga.entered - (saga.saga.position.open_command is not None)
    for step in saga.steps():
        assert step.parent == saga.root
        published = [span for span in saga.spans if span.parent == step.context and span.kind == "producer"]
        assert published, "a step begins with a command"
        assert published[0].start == step.start


ORIGINS = st.sampled_from([None, SOMEBODYS, "published"])


@given(POLICIES, st.lists(st.tuples(STEPS, ORIGINS), max_size=40))
def test_whatever_happens_the_spans_are_one_tree(policy: Policy, steps: list[tuple[Any, str | None]]) -> None:
    saga = Told(policy)
    require_a_tree(saga)
    for step, came_from in steps:
        saga.came_from = saga.last_published() if came_from == "published" else came_from
        take(saga, step)
        require_a_tree(saga)


@given(POLICIES, st.lists(STEPS, max_size=40))
def test_of_a_saga_that_is_not_sampled_nothing_is_told(policy: Policy, steps: list[Any]) -> None:
    saga = Told(policy, sampled=False)
    for step in steps:
        take(saga, step)
    assert saga.spans == []
    envelope = _enclosed(_Message(Send(Command.VALIDATE_INVENTORY, 1), Stored(saga.saga, FACTS, saga.root)), START)
    assert of_message(envelope.traceparent, envelope.id) == saga.root


def test_a_step_that_is_taken_twice_has_two_spans() -> None:
    saga = Told(Policy())
    for reply in (G.INVENTORY_VALIDATED, G.INVENTORY_RESERVED, G.PAYMENT_FAILED):
        saga.hears(reply)
    saga.hears(G.PAYMENT_PROCESSED).hears(G.PAYMENT_REFUNDED).hears(G.INVENTORY_RELEASED)
    assert saga.saga.position is P.COMPENSATED
    names = [span.name for span in saga.steps()][3:]
    assert names == ["ReleaseInventory", "RefundPayment", "ReleaseInventory"]
    first, _, second = saga.steps()[3:]
    assert first.context != second.context
    assert (first.error, second.error) == ("Conflict", None)
    assert [span.name for span in saga.spans if span.parent == second.context] == [
        "publish domain.order.ReleaseInventory", "process",
    ]  # fmt: skip


def handled(came_from: str | None) -> Span:
    """How a reply is told that names this span, where the saga's trace is `00-1…1`."""
    saga = standing_at(P.RESERVING).saga
    origin = Origin(True, 1, came_from, lambda: ("process", {"messaging.system": "rabbitmq"}))
    move = Move(G.INVENTORY_RESERVED, Outcome.IGNORED, saga, saga, ROOT, (), origin)
    (span,) = of_move(move, 2)
    return span


ROOT = f"00-{'1' * 32}-{'2' * 16}-01"
STEP = of_step(ROOT, standing_at(P.RESERVING).saga)


@pytest.mark.parametrize(
    ("came_from", "parent", "links"),
    [
        (None, STEP, ()),
        (f"00-{'1' * 32}-{'3' * 16}-01", f"00-{'1' * 32}-{'3' * 16}-01", ()),
        # a participant that goes on with the trace and tells nothing of it
        (f"00-{'1' * 32}-{'3' * 16}-00", STEP, ()),
        (SOMEBODYS, STEP, (SOMEBODYS,)),
    ],
)
def test_what_is_handled_stands_where_it_came_from(came_from: str, parent: str, links: tuple[str, ...]) -> None:
    span = handled(came_from)
    assert (span.parent, span.links) == (parent, links)


@pytest.mark.parametrize(
    "header",
    [
        None,
        17,
        b"00-11111111111111111111111111111111-2222222222222222-01",
        "00-11111111111111111111111111111111-2222222222222222",
        "00-11111111111111111111111111111111-2222222222222222-01-more",
        "00-1111111111111111111111111111111G-2222222222222222-01",
        "00-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-2222222222222222-01",
        "00-00000000000000000000000000000000-2222222222222222-01",
        "00-11111111111111111111111111111111-0000000000000000-01",
        "ff-11111111111111111111111111111111-2222222222222222-01",
        "00-11111111111111111111111111111111-2222222222222222-01\n",
    ],
)
def test_what_is_no_trace_context_is_not_taken_for_one(header: object) -> None:
    assert valid(header) is None


def test_contexts_that_are_derived_are_the_same_for_whoever_derives_them() -> None:
    saga = standing_at(P.RESERVING).saga
    assert of_step(ROOT, saga) == of_step(ROOT, standing_at(P.RESERVING).saga) == STEP
    assert valid(STEP)
    row = uuid5(SAGA_ID, "row")
    assert valid(of_message(STEP, row))
    assert of_message(STEP, row) == of_message(ROOT, row)
