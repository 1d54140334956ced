"""When a delivery is tried again. Pure; the jitter is added where the time is written."""

from collections.abc import Sequence
from datetime import timedelta

STANDARD = tuple(timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400))
"""The waits before each further attempt: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, as Standard Webhooks
recommends it. Three days and a half in all."""
JITTER = 0.1
"""Up to this share of a wait is added to it: what failed together is not tried together again."""
_LONGEST_WAIT, _MOST_WAITS = 604_800, 50
"""Seconds, and how many."""


def waits_in(text: str) -> tuple[timedelta, ...]:
    """The waits that somebody names, in seconds, separated by commas.

    Raises:
        ValueError: they are none.
    """
    try:
        seconds = [float(one) for one in text.split(",")]
    except ValueError:
        seconds = [0.0]
    # nan is in no such range
    if len(seconds) > _MOST_WAITS or not all(0 < one <= _LONGEST_WAIT for one in seconds):
        raise ValueError(
            f"must be at most {_MOST_WAITS} waits in seconds, comma-separated, each above 0 and at most"
            f" {_LONGEST_WAIT}: 5,300,1800"
        )
    return tuple(timedelta(seconds=one) for one in seconds)


def longest(waits: Sequence[timedelta], attempt: timedelta) -> timedelta:
    """How long all attempts at a delivery take that are made as soon as they are due.

    Args:
        waits: before each further attempt.
        attempt: the time of one.
    """
    return sum(waits, timedelta(0)) * (1 + JITTER) + attempt * (len(waits) + 1)


def wait_after(attempts: int, waits: Sequence[timedelta], asked_for: timedelta | None) -> timedelta | None:
    """How long to wait after so many attempts, the last of which has failed; None: no further one is made.

    Args:
        attempts: made so far, at least one.
        waits: before each further attempt.
        asked_for: what the receiver asks for, a day at most (`saga.webhooks.answers`); the longer of both counts.
    """
    if attempts > len(waits):
        return None
    return max(waits[attempts - 1], asked_for or timedelta(0))
