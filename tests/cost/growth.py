"""How the time of some work grows with the size of its input, measured so that a busy machine does not show."""

import gc
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastapi import HTTPException
from starlette.responses import MalformedRangeHeader

from saga.errors import RefusedError

FACTOR = 8
"""Of the larger input to the smaller one: three doublings tell work that grows faster from noise."""
MOST = 2.5**3
"""Linear work takes `FACTOR` times as long, quadratic work 64 times."""
_LONG_ENOUGH = 0.002
"""Seconds of CPU that one measurement takes at least."""
_ROUNDS = 3, 12
"""At least so many, and at most; beyond the least only where the growth seems too much."""


def growth(make: Callable[[int], Any], eat: Callable[[Any], object], largest: int) -> float:
    """How many times as long `eat` takes for the largest input as for one of an eighth of its size.

    Args:
        make: an input of a size.
        eat: the work; it may refuse the input.
        largest: the size of the largest input.
    """
    small, large = _work(eat, make(largest // FACTOR)), _work(eat, make(largest))
    shortest = [math.inf, math.inf]
    for number in range(_ROUNDS[1]):
        shortest = [min(one, _seconds(work)) for one, work in zip(shortest, (small, large), strict=True)]
        if number + 1 >= _ROUNDS[0] and shortest[1] / shortest[0] < MOST:
            break
    return shortest[1] / shortest[0]


def _work(eat: Callable[[Any], object], given: Any) -> Callable[[], None]:
    def work() -> None:
        with suppress(RefusedError, HTTPException, MalformedRangeHeader, ValueError):
            eat(given)

    return work


def _seconds(work: Callable[[], None]) -> float:
    """CPU seconds of this thread for one call."""
    times = 1
    gc.disable()
    try:
        while True:
            begin = time.thread_time()
            for _ in range(times):
                work()
            taken = time.thread_time() - begin
            if taken >= _LONG_ENOUGH:
                return taken / times
            times *= 2
    finally:
        gc.enable()
