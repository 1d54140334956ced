"""Which sagas are meant: the filters of the list, in a query and in a body alike."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints
from pydantic.alias_generators import to_camel

from handlers.api.schemas import SagaView
from handlers.http.problems import FieldError, InvalidError
from handlers.queries.sagas import Filter
from models.messages import Closed, Incoming, Text, Wire
from models.states import CurrentStep, SagaStatus

MAX_FOUND = 100
Reason = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"\S")]
"""Why a person does something, in their words."""

_OlderThan = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
AtMost = Annotated[int, Field(ge=1, le=MAX_FOUND, description="How many at most.")]
AfterThat = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{32}$", description="The `next` of the page before; opaque.")]


class Wanted(Incoming):
    """Which sagas; all of what is named has to hold."""

    status: SagaStatus | None = None
    step: CurrentStep | None = Field(default=None, description="Where the saga stands, as its `currentStep` says.")
    incident: bool | None = Field(default=None, description="Whether a person should look at it.")
    user_id: UUID | None = Field(default=None, description="Whose order.")
    older_than: _OlderThan | None = Field(default=None, description="Begun at least so many seconds ago.")

    def filter(self) -> Filter:
        """The same in the words of the query."""
        older_than = None if self.older_than is None else timedelta(seconds=self.older_than)
        return Filter(self.status, self.step, self.incident, self.user_id, older_than)


class SagaQuery(Wanted):
    """What the list is asked for."""

    limit: AtMost = 20
    after: AfterThat | None = None


class AlsoWanted(Wanted, Closed):
    """The filters of the list as the list takes them, in the query. What is not known is refused."""


class BulkRetry(Wanted, Closed):
    """Asks many sagas' open commands again. A field that is not known is refused: a filter must not be lost."""

    limit: AtMost = MAX_FOUND
    after: AfterThat | None = None
    dry_run: Annotated[bool, Field(strict=True)] = Field(default=True, description="Only tell what would be done.")
    reason: Reason | None = Field(default=None, description="Shown in the history of each saga that is asked again.")
    rate_per_second: float = Field(default=10, ge=0.1, le=1000, description="How many are asked a second, at most.")

    def and_also(self, query: AlsoWanted) -> "BulkRetry":
        """The same with the filters of the query.

        Raises:
            InvalidError: both name the same filter, and not the same value.
        """
        also = query.model_dump(exclude_none=True)
        twice = [name for name, value in also.items() if getattr(self, name) not in (None, value)]
        if twice:
            said = "is in the body, too, and something else there"
            raise InvalidError([FieldError(field=to_camel(name), location="query", detail=said) for name in twice])
        return self.model_copy(update=also)


class SagaPage(Wire):
    """Some sagas, newest first."""

    items: list[SagaView]
    next: str | None = Field(description="Give it as `after` to get the sagas behind these; null on the last page.")
