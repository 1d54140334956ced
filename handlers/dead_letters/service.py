"""What operators do about dead letters, whichever door they come through: look, publish again, give up."""

from uuid import UUID

from handlers.bus.publisher import Bus
from handlers.bus.trusted_senders import Senders
from handlers.dead_letters.bulk_redrive import not_now, redrive_all
from handlers.dead_letters.decoding import event_in
from handlers.dead_letters.filters import BulkRedrive, LetterQuery
from handlers.dead_letters.redrive import Redrive, RedriveOutcome, Redrives, Safety, discard
from handlers.dead_letters.schemas import RedrivePage
from handlers.dead_letters.store import Letter, LetterState, find, list_letters
from handlers.http.pagination import cut, place
from handlers.http.problems import ProblemError
from saga.domain import Policy
from saga.runtime.database import Sessions


class Letters:
    """The dead letters. One per process: only a few are published at once.

    What cannot be done as a letter stands raises `ProblemError`, and changes nothing.

    Args:
        sessions: each of which is one transaction.
        bus: publishes what is redriven.
        policy: how long sagas wait, for telling what they wait for.
        senders: whose messages count, and who we are.
    """

    def __init__(self, sessions: Sessions, bus: Bus, policy: Policy, senders: Senders) -> None:
        self._sessions = sessions
        self._redrives = Redrives(sessions, bus, policy, event_in, senders)

    async def list(self, wanted: LetterQuery) -> tuple[list[tuple[Letter, Safety]], str | None]:
        """Such letters, the newest arrival first, with what is known about each, and where the next page begins."""
        async with self._sessions() as session:
            found = await list_letters(session, wanted.filter(wanted.state), wanted.limit + 1, place(wanted.after))
            shown, following = cut(found, wanted.limit, lambda letter: (letter.last_at, letter.id))
            return await self._redrives.known(session, shown), following

    async def find(self, id_: UUID) -> tuple[Letter, Safety]:
        """A letter with all that it has, and what is known about it."""
        async with self._sessions() as session:
            letter = await find(session, id_)
            if letter is None:
                raise _gone()
            return (await self._redrives.known(session, [letter]))[0]

    async def redrive(self, id_: UUID, by: str) -> Redrive:
        """Publish a letter again unchanged. One that was redriven and has not come back stays as it is."""
        done = await self._redrives.redrive(id_, by)
        match done.outcome:
            case RedriveOutcome.GONE:
                raise _gone()
            case RedriveOutcome.REFUSED | RedriveOutcome.UNROUTABLE:
                raise ProblemError(409, f"redrive_{done.outcome}", done.words)
            case RedriveOutcome.BUS_AWAY | RedriveOutcome.BUSY:
                raise not_now(done)
        return done

    async def redrive_many(self, wanted: BulkRedrive, by: str) -> RedrivePage:
        """Publish such open letters again, each by itself, or tell what would become of each."""
        return await redrive_all(self._redrives, self._sessions, wanted, by)

    async def discard(self, id_: UUID, by: str, reason: str) -> tuple[Letter, Safety]:
        """Give a letter up. It is kept; should it arrive again, it is open again."""
        letter = await discard(self._sessions, id_, by, reason)
        if letter is None:
            raise _gone()
        if letter.state is LetterState.REDRIVEN:
            raise ProblemError(409, "redriven", "It was redriven and has not come back: there is nothing to discard.")
        return await self.find(id_)


def _gone() -> ProblemError:
    return ProblemError(404, "unknown_dead_letter", "There is no such dead letter.")
