"""What goes into a decision and what comes out of it: values, never changed in place."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NotRequired, TypedDict
from uuid import UUID, uuid5

from models.states import Command, OrderEvent, Position, Timer
from saga.transitions import WHEN_DUE, Signal


class Entry(TypedDict):
    """One entry of the history, as it is stored. What the HTTP API leaves out is for the saga itself.

    `event` is the signal; `words` are a person's own, without ours; `incident` is what it shows to a person;
    `earlierIds` are the `eventId`s of the entries whose place it took.
    """

    step: str
    status: str
    message: str
    timestamp: str
    attempt: int
    event: str
    eventId: NotRequired[str]
    actor: NotRequired[str]
    count: NotRequired[int]
    words: NotRequired[str]
    incident: NotRequired[str]
    earlierIds: NotRequired[list[str]]


class Incident(TypedDict):
    """Why a person should look at a saga, since when (RFC 3339), in words."""

    kind: str
    since: str
    detail: str


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a saga waits and how often it asks."""

    step_timeout: timedelta = timedelta(seconds=30)
    retry_attempts: int = 3
    retry_delay: timedelta = timedelta(seconds=5)
    reask: timedelta | None = timedelta(seconds=300)
    """How often a parked command is asked again by itself; None: never."""
    saga_timeout: timedelta = timedelta(seconds=300)


@dataclass(frozen=True, slots=True)
class Deadline:
    """What a timer belongs to. A timer whose saga has moved on is stale and does nothing."""

    command: Command
    timer: Timer
    attempt: int

    @classmethod
    def of(cls, saga: "Saga") -> "Deadline | None":
        """What a saga's present timer belongs to; None where nothing is awaited."""
        command = saga.position.open_command
        return cls(command, saga.timer, saga.attempt) if command and saga.timer else None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to a saga."""

    signal: Signal
    order_id: UUID
    event_id: UUID | None = None
    """Identity of the message that brought it; None for timers and HTTP requests."""
    causation_id: UUID | None = None
    """The command that a reply says it answers, or a person means; the saga itself where none was open."""
    retryable: bool = False
    """A failure reply that says it is transient."""
    words: str | None = None
    """The participant's or the person's own words, shown in the history."""
    actor: str | None = None
    deadline: Deadline | None = None
    saga_id: UUID | None = None
    """The saga that a reply names, where it names one."""


@dataclass(frozen=True, slots=True)
class Saga:
    """A saga as `decide` sees it: a value. `history` is never changed in place."""

    id: UUID
    order_id: UUID
    table_version: int
    position: Position
    created_at: datetime
    updated_at: datetime
    entered_at: datetime
    """When it took its position."""
    sent: dict[str, int]
    """How often each command was sent so far; the attempt of the open one among them."""
    history: list[Entry]
    timer: Timer | None = None
    due_at: datetime | None = None
    completed_at: datetime | None = None
    incident: Incident | None = None
    cancel_requested: bool = False
    failed_step: str | None = None
    reason: str | None = None

    @property
    def attempt(self) -> int:
        """How often the open command was sent; 0 where none is open."""
        command = self.position.open_command
        return self.sent.get(command, 0) if command else 0

    @property
    def parked(self) -> bool:
        """Whether the fast retries are spent."""
        return self.timer is Timer.REASK


@dataclass(frozen=True, slots=True)
class Send:
    """A message to be published: a command or an order event; its body is built from the saga and the order."""

    kind: Command | OrderEvent
    attempt: int | None = None
    dead_letter: bool = False
    """A copy for the dead letters, not for the participant."""


def when_due(saga: Saga) -> Event | None:
    """What happens to a saga when its present timer runs out; None where none is set."""
    if saga.timer is None:
        return None
    return Event(WHEN_DUE[saga.timer], saga.order_id, deadline=Deadline.of(saga))


class Outcome(StrEnum):
    """What became of an event. Every consumed event has exactly one."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    CONFLICT = "conflict"
    REFUSED = "refused"
    """Only what is asked over HTTP, where somebody waits for the answer; a message is ignored (I12)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The saga afterwards (the very same object when nothing changed), what to publish, and why."""

    outcome: Outcome
    saga: Saga
    sends: tuple[Send, ...] = ()
    why: str = ""


def message_id(saga_id: UUID, kind: Command | OrderEvent) -> UUID:
    """The `eventId` of a saga's command or event: derived, so that it never changes, whatever is retried (I6)."""
    return uuid5(saga_id, kind)
