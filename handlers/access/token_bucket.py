"""How often one who asks is let in: so many times a second, and more at once after a pause.

This is the leaky bucket as a meter, in its form with one number for each (GCRA of ITU-T I.371): the time at which the
bucket will have run empty. Every worker counts for itself.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

BURST_SECONDS = 5.0
"""Whoever paused for so long may ask for as much at once."""
MOST_NAMES = 10_000
"""As many are remembered. Whoever is forgotten begins anew."""
_SECOND = 1_000_000_000


class Rate:
    """Lets each through so many times a second.

    Args:
        per_second: how often, on average.
        clock: tells nanoseconds, in which all is reckoned: sums of fractions would drift.
    """

    def __init__(self, per_second: float, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._each = round(_SECOND / per_second)
        self._burst = max(round(BURST_SECONDS * _SECOND), self._each)
        self._clock = clock
        self._empty_at: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._empty_at)

    def wait(self, name: str, times: int = 1) -> float:
        """Seconds until this one is let in; 0: it is, and that was counted.

        Args:
            name: who asks.
            times: as much as so many count; never as so much that not even a pause would let it in.
        """
        now = self._clock()
        empty_at = max(self._empty_at.get(name, now), now) + self._cost(times)
        if (over := empty_at - now - self._burst) > 0:
            return over / _SECOND
        self._empty_at[name] = empty_at
        self._empty_at.move_to_end(name)
        if len(self._empty_at) > MOST_NAMES:
            self._empty_at.popitem(last=False)
        return 0.0

    def _cost(self, times: int) -> int:
        # what comes on top of a request finds that one counted already
        return self._each if times == 1 else min(times * self._each, self._burst - self._each)
