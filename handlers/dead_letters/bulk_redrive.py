"""Redriving many dead letters: one after the other, within the time that one request may take."""

import asyncio

from handlers.dead_letters.filters import BulkRedrive
from handlers.dead_letters.redrive import Redrive, RedriveOutcome, Redrives, Safety, foresee
from handlers.dead_letters.schemas import RedrivePage, redrive_view
from handlers.dead_letters.store import Letter, LetterState, list_letters
from handlers.http.pagination import BULK_SECONDS, cursor, place
from handlers.http.problems import RETRY_AFTER_SECONDS, ProblemError
from saga.runtime.database import Sessions

NOT_NOW = (RedriveOutcome.BUS_AWAY, RedriveOutcome.BUSY)
"""What may be otherwise a little later; the letter is open still."""


async def redrive_all(redrives: Redrives, sessions: Sessions, body: BulkRedrive, by: str) -> RedrivePage:
    """Redrive such open letters, or tell what would become of each, the newest arrival first.

    It ends early where one cannot be published now, or after `BULK_SECONDS`; `next` goes on with the first undone.

    Raises:
        ProblemError: 503, none could be published now.
    """
    async with sessions() as session:
        # one more than asked for tells whether there is a next page
        found = await list_letters(session, body.filter(LetterState.OPEN), body.limit + 1, place(body.after))
        known = await redrives.known(session, found[: body.limit])
    if body.dry_run:
        told = [foresee(*one) for one in known]
        done = len(told)
    else:
        told = await _redrive_in_turn(redrives, known, by)
        done = sum(one.outcome not in NOT_NOW for one in told)
    if done < len(told) and all(one.outcome is not RedriveOutcome.REDRIVEN for one in told):
        raise not_now(told[-1])
    last = found[done - 1] if 0 < done < len(found) else None
    following = cursor(last.last_at, last.id) if last else None
    return RedrivePage(items=[redrive_view(one) for one in told], next=following)


def not_now(redrive: Redrive) -> ProblemError:
    """How a client is told to come again, since a letter cannot be published at this moment."""
    detail = f"{redrive.words} Nothing was published. Try again."
    if redrive.outcome is RedriveOutcome.BUS_AWAY:
        detail = f"RabbitMQ did not confirm it ({redrive.words}). Try again."
    return ProblemError(503, redrive.outcome, detail, {"Retry-After": str(RETRY_AFTER_SECONDS)})


async def _redrive_in_turn(redrives: Redrives, known: list[tuple[Letter, Safety]], by: str) -> list[Redrive]:
    clock = asyncio.get_running_loop().time
    end = clock() + BULK_SECONDS
    told: list[Redrive] = []
    for letter, _ in known:
        told.append(await redrives.redrive(letter.id, by))
        if told[-1].outcome in NOT_NOW or clock() > end:
            break
    return told
