"""How long closed dead letters are kept. Any worker deletes them, in pieces, passing over what another has in hand."""

from datetime import timedelta

from sqlalchemy import Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from saga.runtime.database import Sessions
from saga.runtime.rows import changed, in_pieces
from saga.runtime.tasks import regularly
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

EVERY = timedelta(minutes=1)
KEPT_FOR = timedelta(days=30)
"""From when a letter was redriven or discarded. An open one is kept until a person deals with it."""
PIECE = 100
"""As many are deleted by one statement: each may have 1 MiB."""

# in the words of the partial index; picked in WITH, which runs once, however the deletion is planned
_DELETE = text("""
WITH picked AS MATERIALIZED (
    SELECT id FROM dead_letters
    WHERE coalesce(redriven_at, discarded_at) < now() - :kept
      AND (redriven_at IS NOT NULL OR discarded_at IS NOT NULL)
    ORDER BY coalesce(redriven_at, discarded_at) LIMIT :piece FOR UPDATE SKIP LOCKED
)
DELETE FROM dead_letters WHERE id IN (SELECT id FROM picked)
""").bindparams(bindparam("kept", type_=Interval()))


class LetterRetention:
    """Deletes letters that have been closed for long. `run` must be running.

    Args:
        sessions: in which every statement is a transaction; one is used at a time.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def run(self) -> None:
        """Delete what is due now and then, until cancelled."""
        await regularly(
            EVERY, self.delete, lambda error: log.debug("closed dead letters cannot be deleted for now", error=error)
        )

    async def delete(self) -> None:
        """Delete all that is due."""
        await in_pieces(self._sessions, _delete, PIECE)


async def _delete(session: AsyncSession) -> int:
    return await changed(session, _DELETE, {"kept": KEPT_FOR, "piece": PIECE})
