"""What an operator can ask of a saga: its pages' words, and which wish of the saga each is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from handlers.dashboard.flash import Done
from saga.domain import Policy, Saga
from saga.insight.options import choices
from saga.transitions import Signal

G = Signal


@dataclass(frozen=True, slots=True)
class Wish:
    """A confirmation page."""

    path: str
    title: str
    button: str
    explains: str
    signals: Mapping[str, Signal]
    """By the answer that is chosen on the page; by `yes` where there is nothing to choose."""
    done: Done
    needs_reason: bool = True
    danger: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    """The answers that can be chosen, in words."""


WISHES: Mapping[str, Wish] = {
    wish.path: wish
    for wish in (
        Wish(
            path="retry",
            title="Ask again",
            button="Ask again now",
            explains="The open command is sent once more, under the same eventId. A participant that has carried it out"
            " already does nothing, and only answers again.",
            signals={"yes": G.OPERATOR_RETRY},
            done="retried",
            needs_reason=False,
        ),
        Wish(
            path="resolve",
            title="Say what really happened",
            button="That is what happened",
            explains="Say what really happened to the open command, as you found out with its participant. The saga"
            " goes on as if the participant had said so itself.",
            signals={"succeeded": G.OPERATOR_SUCCEEDED, "failed": G.OPERATOR_FAILED},
            done="resolved",
            danger=True,
            labels={"succeeded": "It was carried out", "failed": "It was not carried out, and will not be"},
        ),
        Wish(
            path="compensate",
            title="Give up and undo",
            button="Give this order up",
            explains="The order fails. What was done for it is undone, and what may have been done as well: a payment"
            " is refunded before the stock is released.",
            signals={"yes": G.OPERATOR_COMPENSATE},
            done="compensated",
            danger=True,
        ),
        Wish(
            path="cancel",
            title="Cancel for the client",
            button="Cancel this order",
            explains="As its customer would, as long as the payment was not asked for. While a reservation is in"
            " flight, its reply is waited for first.",
            signals={"yes": G.CANCEL},
            done="cancelled",
            needs_reason=False,
            danger=True,
        ),
    )
}
"""By the last part of their address."""
ACKNOWLEDGE = Wish(
    path="resolve",
    title="Close the incident",
    button="Close it",
    explains="The order has ended, and nothing is open. Say how it was settled: the incident is closed with it.",
    signals={"succeeded": G.OPERATOR_SUCCEEDED},
    done="acknowledged",
)
"""What can be resolved of a saga that has no open command."""


@dataclass(frozen=True, slots=True)
class Deed:
    """A wish, and whether it is open about a saga as it stands."""

    wish: Wish
    possible: bool
    why: str


def deeds(saga: Saga, policy: Policy) -> list[Deed]:
    """What can be done about a saga, and why the rest cannot."""
    open_ = choices(saga, policy)
    wishes = [wish_about(saga, wish) for wish in WISHES.values()]
    told = [(wish, [open_[signal] for signal in wish.signals.values()]) for wish in wishes]
    return [Deed(wish, any(choice.possible for choice in those), those[0].why) for wish, those in told]


def wish_about(saga: Saga, wish: Wish) -> Wish:
    """What can be asked for at this address about this saga."""
    return ACKNOWLEDGE if wish.path == ACKNOWLEDGE.path and not saga.position.open_command else wish
