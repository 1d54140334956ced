"""What people do to a saga, whichever door they come through: cancel, ask again, resolve, give up.

All of it goes through the engine as an event like any other. What the table refuses is a problem that says why; so is
a wish about a command that is not open any more, where somebody names the one that they mean.
"""

import asyncio
from dataclasses import replace
from typing import Final, Literal
from uuid import UUID

from handlers.api.orders import ACCEPT_SECONDS
from handlers.http.problems import ProblemError, away
from models.states import Command, EntryStatus
from saga import store
from saga.domain import Event, Outcome, Saga, message_id
from saga.engine import Engine
from saga.errors import UnknownOrderError
from saga.insight.forecast import require_known
from saga.runtime.database import Sessions
from saga.store import Stored
from saga.transitions import Signal

Truth = Literal["succeeded", "failed"]
"""What really happened to a command."""
NOTHING: Final = "nothing"
Meant = Command | Literal["nothing"] | None
"""The command that was open as far as somebody knows; None: whatever is open."""

_SAID_BEFORE = (
    "Nothing was changed: you said just this before, of {}, and now {} is open. If that is meant: name the `step`, or"
    " give another reason."
)


class Actions:
    """Does what people ask for. Each action returns the saga as it is then.

    Every one of them raises `ProblemError` where nothing was changed, or where that is not known, `UnknownOrderError`,
    and `UnknownTableError` where another release has to do it.

    Args:
        engine: carries it out.
        sessions: for reading.
    """

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine = engine
        self._sessions = sessions

    async def find(self, order_id: UUID, user_id: UUID | None = None) -> Stored:
        """The saga of an order, if this release can tell what lies ahead of it; with `user_id`, only of theirs."""
        async with self._sessions() as session:
            stored = await store.find_saga(session, order_id, user_id)
        if stored is None:
            raise UnknownOrderError(order_id)
        require_known(stored.saga)
        return stored

    async def cancel(
        self, order_id: UUID, reason: str | None, *, actor: str | None = None, meant: Meant = None
    ) -> Stored:
        """Give an order up as its client, as long as its payment was not asked for. Twice is once."""
        return await self._wish(Event(Signal.CANCEL, order_id, words=reason, actor=actor), meant)

    async def retry(self, order_id: UUID, actor: str, reason: str | None, *, meant: Meant = None) -> Stored:
        """Ask the open command again, now."""
        return await self._wish(retry_of(order_id, actor, reason), meant)

    async def compensate(self, order_id: UUID, actor: str, reason: str, *, meant: Meant = None) -> Stored:
        """Give an order up and undo what was, or may have been, done for it."""
        return await self._wish(Event(Signal.OPERATOR_COMPENSATE, order_id, words=reason, actor=actor), meant)

    async def resolve(self, order_id: UUID, actor: str, truth: Truth, reason: str, *, meant: Meant = None) -> Stored:
        """Say what really happened to the open command, or close the incident of a saga that has ended.

        The same verdict again changes nothing; where something else is open since, it is refused until it says what is
        meant.
        """
        stored = await self.find(order_id)
        event = _verdict(stored.saga, actor, truth, reason, meant)
        return await self._advance(event) if event else stored

    async def _wish(self, event: Event, meant: Meant) -> Stored:
        if meant:
            saga = (await self.find(event.order_id)).saga
            event = replace(event, causation_id=_named(saga, meant))
        return await self._advance(event)

    async def _advance(self, event: Event) -> Stored:
        try:
            async with asyncio.timeout(ACCEPT_SECONDS):
                decision = await self._engine.advance(event)
        except TimeoutError as error:
            raise away("It could not be committed in time. Look at the saga, and ask again if need be.") from error
        if decision.outcome in (Outcome.REFUSED, Outcome.IGNORED):
            raise ProblemError(409, "refused", f"Nothing was changed: {decision.why}.")
        return await self.find(event.order_id)


def retry_of(order_id: UUID, actor: str, reason: str | None = None) -> Event:
    """An operator asks the open command again."""
    return Event(Signal.OPERATOR_RETRY, order_id, words=reason, actor=actor)


def _verdict(saga: Saga, actor: str, truth: Truth, reason: str, meant: Meant) -> Event | None:
    """What a verdict tells the saga; None where it was given before, and must not count for the next command.

    Raises:
        ProblemError: another command is open than the one that is meant, or it is not sure which one is.
    """
    signal = Signal.OPERATOR_SUCCEEDED if truth == "succeeded" else Signal.OPERATOR_FAILED
    open_, given = saga.position.open_command, [e for e in saga.history if e["status"] == EntryStatus.RESOLVED]
    if meant not in (None, open_ or NOTHING):
        if any((entry["step"], entry["event"]) == (meant, signal) for entry in given):
            return None
        raise ProblemError(409, "refused", f"Nothing was changed: {meant} is not open, {open_ or 'no command'} is.")
    told = (signal, actor, reason)
    same = [entry for entry in given if (entry["event"], entry.get("actor"), entry.get("words")) == told]
    if same and not (open_ or saga.incident):
        return None
    if same and not meant:
        if same[-1] is saga.history[-1]:
            return None
        raise ProblemError(409, "refused", _SAID_BEFORE.format(same[-1]["step"], open_ or "an incident"))
    # what is open may be another command by the time that this is committed
    cause = _named(saga, open_ or NOTHING)
    return Event(signal, saga.order_id, causation_id=cause, words=reason, actor=actor)


def _named(saga: Saga, meant: Command | Literal["nothing"]) -> UUID:
    """How an event names what it is about; that nothing is open is named by the saga's own id."""
    return message_id(saga.id, meant) if isinstance(meant, Command) else saga.id
