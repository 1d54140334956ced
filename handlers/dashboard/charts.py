"""Small charts of the last minutes: where each bar and each point stands, for a template to draw as SVG. Pure.

A chart is `WIDTH` by `HEIGHT` units; the template says how large a unit is. The line on top stands for `most`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from saga.telemetry.activity import Activity

WIDTH, HEIGHT = 300, 64
_GAP = 2
_ROUND = (1, 2, 5)

Minutes = Sequence[tuple[datetime, Activity]]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: what it counts, as a class of the style, and where it stands."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A minute: its parts from the bottom up, and what it says to whoever points at it."""

    begin: datetime
    x: float
    width: float
    parts: tuple[Part, ...]
    activity: Activity


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart; `most` is what its upper edge stands for."""

    most: float
    bars: tuple[Bar, ...]


def ends(minutes: Minutes) -> Chart:
    """How many sagas ended in each minute, by how."""
    kinds: tuple[tuple[str, Callable[[Activity], float]], ...] = (
        ("good", lambda one: one.completed),
        ("undone", lambda one: one.compensated),
        ("bad", lambda one: one.failed),
    )
    return _chart(minutes, kinds, rounded(max((one.ended for _, one in minutes), default=0)))


def durations(minutes: Minutes) -> Chart:
    """How long the sagas took that ended in each minute, on average; and, above that, the slowest of them."""
    kinds: tuple[tuple[str, Callable[[Activity], float]], ...] = (
        ("mean", lambda one: one.mean or 0.0),
        ("slowest", lambda one: one.slowest - (one.mean or 0.0)),
    )
    return _chart(minutes, kinds, rounded(max((one.slowest for _, one in minutes), default=0.0)))


def rounded(most: float) -> float:
    """The next round number above: 1, 2 or 5 times a power of ten; at least a thousandth."""
    if most <= 0:
        return 1.0
    power = 0.001
    while True:
        for step in _ROUND:
            if most <= step * power * (1 + 1e-9):
                return step * power
        power *= 10


def _chart(minutes: Minutes, kinds: Sequence[tuple[str, Callable[[Activity], float]]], most: float) -> Chart:
    step = WIDTH / max(len(minutes), 1)
    return Chart(
        most,
        tuple(
            Bar(begin, round(number * step, 2), round(step - _GAP, 2), _parts(one, kinds, most), one)
            for number, (begin, one) in enumerate(minutes)
        ),
    )


def _parts(
    activity: Activity, kinds: Sequence[tuple[str, Callable[[Activity], float]]], most: float
) -> tuple[Part, ...]:
    parts: list[Part] = []
    y = float(HEIGHT)
    for kind, of in kinds:
        height = of(activity) / most * HEIGHT
        if height > 0:
            # one among thousands is still to be seen
            height = max(height, 1.0)
            y -= height
            parts.append(Part(kind, round(max(y, 0.0), 2), round(height, 2)))
    return tuple(parts)
