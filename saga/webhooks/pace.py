"""How many attempts an endpoint may have under way at this worker: the slower it answers, the fewer.

Each attempt that takes long halves them, down to one, and each delivery that does not doubles them, up to `MOST_EACH`.
So an endpoint that is slow and takes everything goes on, one attempt at a time. Every worker sees for itself.
"""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from saga.webhooks.attempts import Attempt
from saga.webhooks.claims import MOST_EACH

SLOW = timedelta(seconds=3)
"""An attempt that takes longer is slow."""
MOST_REMEMBERED = 1_000
"""Endpoints that have fewer than `MOST_EACH`: an endpoint that is forgotten begins anew."""


class Pace:
    """Counts the slots of endpoints."""

    def __init__(self) -> None:
        self._slots: OrderedDict[UUID, int] = OrderedDict()

    @property
    def slots(self) -> Mapping[UUID, int]:
        """The slots of each endpoint that has fewer than `MOST_EACH`."""
        return self._slots

    def note(self, attempt: Attempt) -> None:
        """Count an attempt that is over."""
        webhook_id = attempt.claimed.webhook_id
        before = self._slots.get(webhook_id, MOST_EACH)
        if attempt.answer.seconds > SLOW.total_seconds():
            after = max(before // 2, 1)
        else:
            after = min(before * 2, MOST_EACH) if attempt.answer.good else before
        self._slots.pop(webhook_id, None)
        if after < MOST_EACH:
            self._slots[webhook_id] = after
        if len(self._slots) > MOST_REMEMBERED:
            self._slots.popitem(last=False)
