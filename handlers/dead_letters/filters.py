"""Which dead letters are meant: the filters of the list, in a query and in a body alike."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from handlers.api.filters import MAX_FOUND, AfterThat, AtMost
from handlers.dead_letters.store import Filter, LetterState
from models.messages import Closed, Incoming

NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"
_Reason = Annotated[str, Field(min_length=1, max_length=100, pattern=NO_CONTROL)]
_RoutingKey = Annotated[str, Field(min_length=1, max_length=255, pattern=NO_CONTROL)]


class WantedLetters(Incoming):
    """Which letters; all of what is named has to hold."""

    reason: _Reason | None = Field(default=None, description="Only this reason.")
    routing_key: _RoutingKey | None = Field(default=None, description="Only this routing key.")
    order_id: UUID | None = Field(default=None, description="Only this order's.")

    def filter(self, state: LetterState) -> Filter:
        """The same in the words of the query."""
        return Filter(state, self.reason, self.routing_key, self.order_id)


class LetterQuery(WantedLetters):
    """What the list is asked for."""

    state: LetterState = Field(
        default=LetterState.OPEN, description="What was done about them since they last arrived."
    )
    limit: AtMost = 20
    after: AfterThat | None = None


class BulkRedrive(WantedLetters, Closed):
    """Publishes many open letters again. A field that is not known is refused: a filter must not be lost."""

    limit: AtMost = MAX_FOUND
    after: AfterThat | None = None
    dry_run: Annotated[bool, Field(strict=True)] = Field(default=True, description="Only tell what would be done.")


class NoQuery(Closed):
    """A query that is not known is refused: a filter belongs into the body, and must not be lost."""
