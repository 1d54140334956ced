"""What a committed event did to a saga, and what brought the event here: all that telemetry tells is read off these."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from models.states import Command
from saga.domain import Entry, Outcome, Saga, Send

COMPENSATIONS = frozenset({Command.REFUND_PAYMENT, Command.RELEASE_INVENTORY})


@dataclass(frozen=True, slots=True)
class Origin:
    """The message or request that is being handled. `began` is when that began, in nanoseconds of this machine's clock.

    `describe` gives its name and, in the words of OpenTelemetry's conventions, its attributes; it is called only where
    somebody wants to know.
    """

    is_message: bool
    began: int
    traceparent: str | None
    describe: Callable[[], tuple[str, Mapping[str, str]]]


ORIGIN: ContextVar[Origin | None] = ContextVar("origin", default=None)
"""What is being handled by the running task; None where nobody asked for it: a timer, say."""


@dataclass(frozen=True, slots=True)
class Move:
    """One event and what it did. `before` is None where a saga began; the same as `after` where nothing happened."""

    signal: str
    outcome: Outcome
    before: Saga | None
    after: Saga
    traceparent: str
    sends: tuple[Send, ...] = ()
    origin: Origin | None = None

    @property
    def began(self) -> bool:
        """Whether the saga began with this."""
        return self.before is None

    @property
    def ended(self) -> bool:
        """Whether the order's fate was sealed with this."""
        return self.after.completed_at is not None and (self.before is None or self.before.completed_at is None)

    @property
    def lasted(self) -> float:
        """Seconds from the saga's begin to this."""
        return (self.after.updated_at - self.after.created_at).total_seconds()

    @property
    def step(self) -> str:
        """The step that this was about, or where the saga stands."""
        position = self.before.position if self.before else self.after.position
        return position.open_command or position.current_step

    @property
    def left(self) -> tuple[Saga, Command] | None:
        """The step that ended with this: the saga as it stood there, and the command; None where none did."""
        before, after = self.before, self.after
        if before is None or before.position.open_command is None:
            return None
        return None if after.position is before.position else (before, before.position.open_command)

    @property
    def outcome_of_step(self) -> str:
        """How the step ended that ended with this: the status of the entry that tells so."""
        return self.after.history[-1]["status"]

    @property
    def compensates(self) -> bool:
        """Whether undoing the order began with this; what is undone late, after the end, does not count."""
        before = self.before.position if self.before else None
        undone = before is not None and (before.ended or before.open_command in COMPENSATIONS)
        return self.after.position.open_command in COMPENSATIONS and not undone

    @property
    def entries(self) -> list[Entry]:
        """What was written into the history, in order."""
        if self.before is None:
            return self.after.history
        known = {id(entry) for entry in self.before.history}
        return [entry for entry in self.after.history if id(entry) not in known]

    @property
    def incident(self) -> str | None:
        """The kind of incident that began with this; None where none did."""
        kind = self.after.incident["kind"] if self.after.incident else None
        had = self.before.incident["kind"] if self.before and self.before.incident else None
        return kind if kind != had else None
