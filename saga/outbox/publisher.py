"""What the relay needs of a bus, whichever it is."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from saga.outbox.message import Envelope
from saga.telemetry.redaction import Words

PUBLISH_TIMEOUT = timedelta(seconds=5)
"""How long a batch may take to be confirmed; what is not is left in the outbox."""
UNROUTABLE = Words("unroutable: no queue is bound for it")
"""Why a message stays in the outbox until its participant has declared a queue."""


class Publisher(Protocol):
    """Publishes with confirms."""

    async def keep_open(self) -> None:
        """Connect, where that is not done; a failure is logged, and no error."""

    async def publish(self, envelopes: Sequence[Envelope]) -> dict[UUID, Words]:
        """Publish these and wait until each is confirmed and routed, or `PUBLISH_TIMEOUT` is over.

        Returns:
            why not, by envelope id, for those that are not known to have arrived.
        """
