"""What a page says about what was done on the page before: one of these, whatever stands in the address."""

from typing import Literal, get_args

Done = Literal[
    "retried", "resolved", "acknowledged", "compensated", "cancelled", "redriven", "unchanged", "discarded",
    "discarded-before", "told", "switched-on", "switched-off", "pinged", "redelivered", "redelivered-failed",
    "none-failed", "taken-away",
]  # fmt: skip

_NOTICES: dict[str, str] = {
    "retried": "The open command was sent again.",
    "resolved": "Your verdict stands in the history, and the saga went on with it.",
    "acknowledged": "The incident is closed.",
    "compensated": "The order is given up. What was, or may have been, done for it is undone.",
    "cancelled": "The order is cancelled, or will be as soon as the reply in flight has come.",
    "redriven": "The letter was published again, as it was. It is open again if it comes back.",
    "unchanged": "It was redriven before and has not come back: nothing was done twice.",
    "discarded": "The letter was given up. It is kept, and open again if it comes back.",
    "discarded-before": "It had been given up before: the reason that was given then stands, and yours is not kept.",
    "told": "The stand-ins were told.",
    "switched-on": "The webhook is enabled: it is told of what happens from now on.",
    "switched-off": "The webhook is disabled: it is sent nothing any more.",
    "pinged": "A ping is on its way; the log tells what became of it.",
    "redelivered": "It is delivered again, under the same webhook-id.",
    "redelivered-failed": "What failed since then is delivered again.",
    "none-failed": "Nothing that was written since then has failed.",
    "taken-away": "The webhook is taken away: it is sent nothing any more.",
}
assert _NOTICES.keys() == set(get_args(Done)), "every notice has its words"


def notice(done: str | None) -> str | None:
    """The words; None where there is nothing to say."""
    return _NOTICES.get(done or "")
