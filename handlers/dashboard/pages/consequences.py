"""What an operator's wish would come to, in the words of a page."""

from dataclasses import dataclass

from models.messages import REPLIES
from models.states import Command, OrderEvent
from saga.domain import Policy, Saga, Send
from saga.insight.forecast import remaining_steps, waiting
from saga.insight.options import Choice

_SERVICES = {reply.answers: reply.service.capitalize() for reply in REPLIES}


@dataclass(frozen=True, slots=True)
class Sending:
    """A message that would be sent."""

    kind: Command | OrderEvent
    to: str
    attempt: int | None


@dataclass(frozen=True, slots=True)
class Consequence:
    """What would come of a wish, or why nothing would."""

    possible: bool
    why: str
    sendings: list[Sending]
    before: Saga
    after: Saga
    moves: bool
    """Whether the outside would see it stand elsewhere."""
    awaited: list[str]
    """The replies that it would wait for."""
    following: list[str]
    """The commands that would follow if all goes well."""
    closes: bool
    """Whether its incident would be over with it."""


def consequence(saga: Saga, choice: Choice, policy: Policy) -> Consequence:
    """What would come of a choice that is open about this saga."""
    before, after = saga.position, choice.after.position
    awaited = waiting(choice.after, policy)
    return Consequence(
        possible=choice.possible,
        why=choice.why,
        sendings=[_sending(send) for send in choice.sends],
        before=saga,
        after=choice.after,
        moves=(before.status, before.current_step) != (after.status, after.current_step),
        awaited=awaited["for"] if awaited else [],
        following=remaining_steps(choice.after),
        closes=saga.incident is not None and choice.after.incident is None,
    )


def _sending(send: Send) -> Sending:
    command = send.kind if isinstance(send.kind, Command) else None
    return Sending(send.kind, _SERVICES[command] if command else "everybody who listens", send.attempt)
