"""What lies ahead of a saga, for people: what it waits for, what follows if nothing comes, what is still to do.

Pure, and without rules of its own: `decide` is asked what it would do, and nothing of its answer is carried out. Of a
saga that was started under a table of another release that cannot be told.
"""

from dataclasses import replace
from typing import TypedDict

from models.messages import REPLIES, instant_text
from models.states import Command, Position
from saga.decide import decide
from saga.domain import Event, Outcome, Policy, Saga, message_id, when_due
from saga.errors import UnknownTableError
from saga.table import TABLES
from saga.transitions import REPLY_MODELS, Signal

_SUCCESS: dict[Command, Signal] = {model.answers: signal for signal, model in REPLY_MODELS.items() if model.success}

# `for` is no name that Python lets a class have
Waiting = TypedDict("Waiting", {"for": list[str], "attempt": int, "attempts": int, "until": str | None, "then": str})


def require_known(saga: Saga) -> None:
    """See that it can be told what lies ahead of a saga; of one that waits for nothing that is easy.

    Raises:
        UnknownTableError: another release has to tell.
    """
    if saga.position.open_command and saga.table_version not in TABLES:
        raise UnknownTableError(saga.order_id, saga.table_version)


def waiting(saga: Saga, policy: Policy) -> Waiting | None:
    """What the saga waits for: the two answers to its open command, until when, and what happens then.

    Returns:
        None where no command is open; `until` is None where only a reply or a person moves it on.
    """
    command = saga.position.open_command
    if command is None:
        return None
    return {
        "for": [reply.__name__ for reply in REPLIES if reply.answers is command],
        "attempt": saga.attempt,
        "attempts": policy.retry_attempts + 1,
        "until": instant_text(saga.due_at) if saga.due_at else None,
        "then": _then(saga, policy),
    }


def way_ahead(saga: Saga) -> list[Position]:
    """The positions that follow if everything succeeds from here on, in their order; nothing follows the end."""
    ahead: list[Position] = []
    if saga.table_version not in TABLES:
        return ahead
    while command := saga.position.open_command:
        saga = decide(saga, Event(_SUCCESS[command], saga.order_id), saga.updated_at, Policy()).saga
        ahead.append(saga.position)
    return ahead


def remaining_steps(saga: Saga) -> list[str]:
    """The commands that follow the open one if everything succeeds from here on, in their order."""
    return [position.open_command for position in way_ahead(saga) if position.open_command]


def answers(saga: Saga, event: Event) -> bool:
    """Whether an event is the answer that the saga's open command waits for."""
    reply, command = REPLY_MODELS.get(event.signal), saga.position.open_command
    if reply is None or command is None or reply.answers is not command:
        return False
    return event.causation_id in (None, message_id(saga.id, command))


def foretold(saga: Saga, event: Event, policy: Policy) -> str:
    """What would come of an event if it came now, in the table's words and not in its sender's."""
    if saga.table_version not in TABLES:
        return (
            f"Another release knows what would come of it: the saga is under version {saga.table_version} of the table."
        )
    decision = decide(saga, replace(event, words=None), saga.updated_at, policy)
    after = decision.saga
    if decision.outcome in (Outcome.DUPLICATE, Outcome.IGNORED):
        return f"It would change nothing: {decision.why}."
    said = [decision.why]
    if (after.position.status, after.position.current_step) != (saga.position.status, saga.position.current_step):
        said.append(f"the saga would be {after.position.status} at {after.position.current_step}")
    if kinds := " and ".join(send.kind for send in decision.sends):
        said.append(f"{kinds} would be sent")
    if after.incident and after.incident != saga.incident:
        said.append(f"incident {after.incident['kind']}")
    return f"It would be applied: {'; '.join(said)}."


def _then(saga: Saga, policy: Policy) -> str:
    """What the timer will bring, in words."""
    if saga.table_version not in TABLES:
        return f"what version {saga.table_version} of the table says; another release knows it"
    expiry = when_due(saga)
    if expiry is None or saga.due_at is None:
        return "wait for a reply or an operator"
    after = decide(saga, expiry, saga.due_at, policy).saga
    if after.parked and not saga.parked:
        return "park it and tell an operator"
    if after.position is saga.position:
        return f"send {after.position.open_command} again"
    return f"send {after.position.open_command}"
