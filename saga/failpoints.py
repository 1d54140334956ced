"""The points in a message's life at which a test may have this process killed. Inert unless TEST_FAILPOINT names one.

What survives a SIGKILL at each of them survives a crash anywhere: between two of them nothing is made durable.
"""

import os
import signal
from typing import Literal, get_args

from saga.errors import ConfigurationError

Point = Literal[
    # a message from the bus
    "message.taken",
    "message.decoded",
    "message.answered",
    "message.acking",
    "message.acked",
    # one that cannot be handled
    "letter.refused",
    "letter.copied",
    "letter.taken",
    "letter.stored",
    # a transaction of the engine
    "engine.gathered",
    "engine.locked",
    "engine.decided",
    "engine.saved",
    "engine.enqueued",
    "engine.committed",
    "engine.handed-over",
    # the relay
    "relay.taken",
    "relay.confirmed",
    "relay.removed",
    "relay.claimed",
    # a deadline
    "timer.due",
    "timer.locked",
    "timer.fired",
    # a request over HTTP
    "http.read",
    "http.accepted",
    # the schema
    "migration.begun",
    "migration.done",
    "migration.committed",
]
POINTS: tuple[Point, ...] = get_args(Point)

_armed: str | None = None
_times_left = 0


def arm(where: str | None) -> None:
    """Kill this process with SIGKILL at `relay.confirmed:3`, the third time that it comes there; None disarms.

    Raises:
        ConfigurationError: there is no such point.
    """
    global _armed, _times_left
    point, _, times = (where or "").partition(":")
    if where and (point not in POINTS or not (times or "1").isdigit()):
        raise ConfigurationError(f"TEST_FAILPOINT: {where} is no point:times; the points: {', '.join(POINTS)}")
    _armed, _times_left = point or None, int(times or 1)


def reach(point: Point) -> None:
    """The process has come to this point."""
    global _times_left  # noqa: PLW0603 - the same
    if _armed == point:
        _times_left -= 1
        if _times_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
