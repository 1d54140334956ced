"""Known mistakes, planted one at a time: the proof must find each, or it proves nothing.

Each is planted where somebody would make it: in a cell of the table, or in a function behind `decide`, engine or relay;
nothing of the proof itself is touched. `found_by` is the world that is searched, None for the simulation; `law` is what
must be broken first.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from models.states import EntryStatus, OrderEvent, Position
from saga import decide as deciding
from saga.domain import Decision, Event, Policy, Saga, Send
from saga.outbox.relay import Relay
from saga.table import TABLE, VERSION
from saga.transitions import Cell, Go, Ignore, Note, Retry, Signal
from tests.proof.search import CONTRADICTING, HASTY, LOSSY, UNASKED, World, small

P, G, S = Position, Signal, EntryStatus
Plant = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake, and what finds it."""

    name: str
    law: str
    found_by: World | None
    plant: Plant


def cells(*changes: tuple[Position, Signal, Cell]) -> Plant:
    """The table with other cells."""

    def plant() -> AbstractContextManager[object]:
        table = {position: dict(row) for position, row in TABLE.items()}
        for position, signal, cell in changes:
            table[position][signal] = cell
        return patch.object(deciding, "TABLES", {VERSION: table})

    return plant


def function(name: str, instead: Callable[..., Any]) -> Plant:
    """Another function behind `decide`."""
    return lambda: patch.object(deciding, name, instead)


def changed(position: Position, signal: Signal, **fields: Any) -> tuple[Position, Signal, Cell]:
    """A cell with something else in it."""
    cell = TABLE[position][signal]
    assert isinstance(cell, Go | Retry | Note)
    return position, signal, replace(cell, **fields)


_park, _enter, _is_duplicate = deciding._park, deciding._enter, deciding._is_duplicate
_BACK = [here for here in P if here is not P.COMPLETED and (here.ended or here in (P.REFUNDING, P.RELEASING))]
_DROPPED = Ignore("too late")
_UNDOING_PAYMENT = (P.REFUNDING, P.FAILED_REFUNDING, P.COMPENSATED_REFUNDING)
"""There a late reservation waits for the money to be back, and is released then."""


def _gives_up(saga: Saga, event: Event, cell: Retry, now: datetime, policy: Policy) -> Decision:
    if saga.position is P.RELEASING:
        return deciding._go(saga, event, Go(P.COMPENSATED, S.FAILED, "gave up"), now, policy)
    return _park(saga, event, cell, now, policy)


def _parks_silently(saga: Saga, event: Event, cell: Retry, now: datetime, policy: Policy) -> Decision:
    decision = _park(saga, event, cell, now, policy)
    return replace(decision, saga=replace(decision.saga, incident=None))


def _tells_again(saga: Saga, to: Position, now: datetime, policy: Policy) -> tuple[Saga, tuple[Send, ...]]:
    after, sends = _enter(saga, to, now, policy)
    if saga.completed_at and to is P.FAILED:
        sends = (*sends, Send(OrderEvent.ORDER_FAILED))
    return after, sends


def _seen_is_seen(saga: Saga, event: Event, cell: Cell) -> bool:
    seen = event.event_id and any(one.get("eventId") == str(event.event_id) for one in saga.history)
    return bool(seen) or _is_duplicate(saga, event, cell)


async def _no_sweep(_: Relay) -> None:
    pass


def _settles_all() -> AbstractContextManager[object]:
    settle = Relay._settle

    async def careless(self: Relay, published: list[Any], dropped: list[Any], failed: list[tuple[Any, str]]) -> None:
        await settle(self, [*published, *(envelope for envelope, _ in failed)], dropped, [])

    return patch.object(Relay, "_settle", careless)


L, H, X, U = small(LOSSY), small(HASTY), small(CONTRADICTING), small(UNASKED)
HICCUPY = replace(L, name="small lossy, with a transient failure", hiccups=1)

MISTAKES = (
    Mistake(
        "release on payment timeout", "I5", L, cells((P.CHARGING, G.TIMED_OUT, Go(P.RELEASING, S.TIMED_OUT, "silence")))
    ),
    Mistake(
        "a transient failure of the payment is taken for good",
        "I5",
        HICCUPY,
        cells((P.CHARGING, G.TRANSIENT_FAILURE, Go(P.RELEASING, S.FAILED, "declined"))),
    ),
    Mistake("release before refund", "I5", L, cells(changed(P.CHARGING, G.OPERATOR_COMPENSATE, to=P.RELEASING))),
    Mistake("no release after the refund", "I4", L, cells(changed(P.REFUNDING, G.PAYMENT_REFUNDED, to=P.COMPENSATED))),
    Mistake(
        "timeout of ReserveInventory is failure",
        "I4",
        L,
        cells((P.RESERVING, G.TIMED_OUT, Go(P.FAILED, S.FAILED, "silence"))),
    ),
    Mistake(
        "cancel while reserving forgets the null compensation",
        "I4",
        L,
        cells(
            changed(P.RESERVING, G.CANCEL, to=P.FAILED),
            changed(P.RESERVING, G.TIMED_OUT, if_cancelled=P.FAILED),
            changed(P.RESERVING, G.TRANSIENT_FAILURE, if_cancelled=P.FAILED),
        ),
    ),
    Mistake("compensation gives up when its retries are spent", "I4", L, function("_park", _gives_up)),
    *(
        Mistake(f"late reservation dropped at {here.name}", "rule 7", X, cells((here, G.INVENTORY_RESERVED, _DROPPED)))
        for here in _BACK
        if here not in _UNDOING_PAYMENT
    ),
    *(
        Mistake(f"late payment ignored at {here.name}", "rule 7", X, cells((here, G.PAYMENT_PROCESSED, _DROPPED)))
        for here in _BACK
    ),
    Mistake(
        "cancel during charging allowed",
        "rule 10",
        L,
        cells((P.CHARGING, G.CANCEL, Go(P.REFUNDING, S.CANCELLED, "as you like"))),
    ),
    Mistake("a new id per attempt", "I6", L, lambda: patch("saga.outbox.message.message_id", lambda *_: uuid4())),
    Mistake(
        "a late success resurrects what has ended",
        "I7",
        X,
        cells(changed(P.FAILED, G.INVENTORY_RESERVED, to=P.CHARGING)),
    ),
    Mistake("OrderFailed is sent again on a late undo", "I8", X, function("_enter", _tells_again)),
    Mistake("stale timers obeyed", "I13", L, function("_is_current", lambda *_: True)),
    Mistake("parked without a re-ask", "I15", L, function("_reask_at", lambda *_: None)),
    Mistake("parked and nobody told", "I15", U, function("_park", _parks_silently)),
    Mistake("a duplicate is applied twice", "rule 8", X, function("_is_duplicate", lambda *_: False)),
    Mistake(
        "a conflict overwrites",
        "rule 9",
        X,
        cells((P.CHARGING, G.INVENTORY_RESERVATION_FAILED, Go(P.FAILED, S.FAILED, "sold out after all"))),
    ),
    Mistake("a contradiction is lost", "rule 9", X, function("open_contradiction", lambda _: None)),
    Mistake("a verdict counts for whatever is open by then", "rule 13", L, function("WISHES", ())),  # type: ignore[arg-type]
    Mistake("an answer said again does not count", "liveness", L, function("_is_duplicate", _seen_is_seen)),
    Mistake("a crash forgets what is unpublished", "liveness", None, lambda: patch.object(Relay, "_sweep", _no_sweep)),
    Mistake("rows deleted before they are confirmed", "I9", None, _settles_all),
    Mistake(
        "a new id per attempt, on the wire",
        "I6",
        None,
        lambda: patch("saga.outbox.message.message_id", lambda *_: uuid4()),
    ),
)
