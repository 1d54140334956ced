"""What people can do about a saga as it stands, and what would come of each.

Pure, and without rules of its own: `decide` is asked, and nothing of its answer is carried out.
"""

from dataclasses import dataclass

from saga.decide import decide
from saga.domain import Event, Outcome, Policy, Saga, Send
from saga.table import TABLES
from saga.transitions import WISHES, Signal


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that a person could ask for."""

    wish: Signal
    possible: bool
    """Whether it would change anything."""
    why: str
    """What it would be in the history, or why it is not possible: in the table's words."""
    after: Saga
    """The saga as it would be then; the very same where nothing would change."""
    sends: tuple[Send, ...] = ()


def choices(saga: Saga, policy: Policy) -> dict[Signal, Choice]:
    """All that people can ask for, by what it is. Of a table of another release nothing can be told."""
    return {wish: _choice(saga, wish, policy) for wish in WISHES}


def _choice(saga: Saga, wish: Signal, policy: Policy) -> Choice:
    if saga.table_version not in TABLES:
        return Choice(wish, possible=False, why="another release has to do it", after=saga)
    if wish is Signal.CANCEL and saga.cancel_requested:
        return Choice(wish, possible=False, why="it has been asked for already", after=saga)
    decision = decide(saga, Event(wish, saga.order_id), saga.updated_at, policy)
    applied = decision.outcome is Outcome.APPLIED
    return Choice(wish, applied, decision.why, decision.saga, decision.sends)
