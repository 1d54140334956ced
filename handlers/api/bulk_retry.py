"""Asking many sagas again: one after the other, at a rate, within the time that one request may take."""

import asyncio
from typing import Literal
from uuid import UUID

from pydantic import Field

from handlers.api.filters import BulkRetry
from handlers.api.orders import ACCEPT_SECONDS
from handlers.api.saga_actions import retry_of
from handlers.http.pagination import BULK_SECONDS, cursor, place
from handlers.queries.sagas import list_sagas
from models.messages import Wire
from saga.decide import decide
from saga.domain import Event, Outcome, Policy
from saga.engine import Engine
from saga.errors import UnknownTableError
from saga.insight.forecast import require_known
from saga.runtime.database import Sessions
from saga.store import Stored

_UNKNOWN = "not committed in time; it may have been asked again, or not: look at it"

BulkOutcome = Outcome | Literal["would-retry", "unknown"]


class BulkItem(Wire):
    """What became of one saga."""

    order_id: UUID
    saga_id: UUID
    outcome: BulkOutcome = Field(
        description="`would-retry` in a dry run; `applied` when it was asked again; `refused` where there is nothing to"
        " ask; `unknown` where the database did not answer in time, which ends the request."
    )
    why: str = Field(description="In words.")


class BulkAnswer(Wire):
    """What became of each."""

    items: list[BulkItem]
    next: str | None = Field(description="Give it as `after`, with the same filters, to go on; null when all are done.")


async def ask_all_again(engine: Engine, sessions: Sessions, policy: Policy, body: BulkRetry, actor: str) -> BulkAnswer:
    """Ask such sagas again, newest first: at most `limit` of them, and as many as the rate allows in `BULK_SECONDS`."""
    async with sessions() as session:
        found = await list_sagas(session, body.filter(), body.limit + 1, place(body.after))
    clock = asyncio.get_running_loop().time
    start = clock()
    items: list[BulkItem] = []
    for number, stored in enumerate(found[: body.limit]):
        if body.dry_run:
            items.append(_would(stored, actor, policy))
            continue
        turn = start + number / body.rate_per_second
        if max(turn, clock()) - start > BULK_SECONDS:
            break
        await asyncio.sleep(turn - clock())
        items.append(await _ask(engine, retry_of(stored.saga.order_id, actor, body.reason), stored))
        if items[-1].outcome == "unknown":
            break
    done = found[len(items) - 1] if items else None
    more = done is not None and len(items) < len(found)
    return BulkAnswer(items=items, next=cursor(done.saga.created_at, done.saga.order_id) if done and more else None)


def _would(stored: Stored, actor: str, policy: Policy) -> BulkItem:
    saga = stored.saga
    try:
        require_known(saga)
    except UnknownTableError as error:
        return _item(stored, Outcome.REFUSED, str(error))
    decision = decide(saga, retry_of(saga.order_id, actor), saga.updated_at, policy)
    if decision.outcome is not Outcome.APPLIED:
        return _item(stored, decision.outcome, decision.why)
    return _item(stored, "would-retry", f"send {saga.position.open_command} again, attempt {decision.saga.attempt}")


async def _ask(engine: Engine, event: Event, stored: Stored) -> BulkItem:
    try:
        async with asyncio.timeout(ACCEPT_SECONDS):
            decision = await engine.advance(event)
    except TimeoutError:
        return _item(stored, "unknown", _UNKNOWN)
    except UnknownTableError as error:
        return _item(stored, Outcome.REFUSED, str(error))
    return _item(stored, decision.outcome, decision.why)


def _item(stored: Stored, outcome: BulkOutcome, why: str) -> BulkItem:
    return BulkItem(order_id=stored.saga.order_id, saga_id=stored.saga.id, outcome=outcome, why=why)
