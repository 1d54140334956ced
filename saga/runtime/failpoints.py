"""The points in a message's life at which a test may have this process killed. Inert unless TEST_FAILPOINT names one.

Only a checkout that has the fault tests can be armed. The image has none, so there TEST_FAILPOINT has no effect.

What survives a SIGKILL at each of them survives a crash anywhere: between two of them nothing is made durable.
"""

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Literal, get_args

from saga.errors import ConfigurationError
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

Point = Literal[
    # a message from the bus
    "message.taken",
    "message.decoded",
    "message.answered",
    "message.acking",
    "message.acked",
    # one that cannot be handled
    "letter.refused",
    "letter.copying",
    "letter.copied",
    "letter.taken",
    "letter.stored",
    # one that a person publishes again
    "redrive.confirmed",
    "redrive.marked",
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
    "relay.sending",
    "relay.one-confirmed",
    "relay.confirmed",
    "relay.removed",
    "relay.claimed",
    # a delivery of a webhook
    "webhook.claimed",
    "webhook.sent",
    "webhook.marked",
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

TELL = "tell"
"""Instead of a point: kill nobody, and tell every point that is reached."""

_FAULT_TESTS = Path(__file__).parents[2] / "tests" / "faults"

_armed: str | None = None
_reached: Counter[Point] = Counter()


def arm(where: str | None) -> None:
    """Kill this process with SIGKILL at `relay.confirmed:3`, the third time that it comes there; None disarms.

    Without the fault tests beside this package nothing is armed.

    Raises:
        ConfigurationError: there is no such point.
    """
    global _armed  # noqa: PLW0603 - the whole process is armed, or not
    if where and not _FAULT_TESTS.is_dir():
        log.warning("TEST_FAILPOINT ignored: the tests are not installed")
        return
    point, _, times = (where or "").partition(":")
    times = times or "1"
    if where and where != TELL and (point not in POINTS or not times.isdigit() or not int(times)):
        raise ConfigurationError(f"TEST_FAILPOINT: {where} is no point:times; the points: {', '.join(POINTS)}")
    _armed = f"{point}:{times}" if point in POINTS else where
    _reached.clear()


def reach(point: Point) -> None:
    """The process has come to this point."""
    if _armed:
        _arrive(point)


def _arrive(point: Point) -> None:
    _reached[point] += 1
    here = f"{point}:{_reached[point]}"
    if _armed in (here, TELL):
        # past all buffers: what is told must not die with the process
        os.write(sys.stderr.fileno(), f"failpoint {here}\n".encode())
    if _armed == here:
        os.kill(os.getpid(), signal.SIGKILL)
