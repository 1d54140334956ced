"""Sagas as they are now, rendered for many at once: who asks together is answered by one query and one rendering."""

import asyncio
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from handlers.api.schemas import saga_view
from handlers.http.conditional import digest
from models.states import SagaStatus
from saga import store
from saga.domain import Policy
from saga.errors import UnknownOrderError
from saga.insight.forecast import require_known
from saga.runtime.database import Sessions


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A saga at one moment, as `GET /api/orders/{id}/saga` has it."""

    json: bytes
    version: str
    """Identifies this very content: the ETag there, without its quotes."""
    updated_at: datetime
    status: SagaStatus
    final: bool
    """Whether no command is open. One may still be after the end, to undo what a participant did late."""


@dataclass(slots=True, eq=False)
class _Batch:
    """What is read together."""

    asked: set[UUID] = field(default_factory=set)
    stored: dict[UUID, store.Stored] = field(default_factory=dict)
    rendered: dict[tuple[UUID, bool], Snapshot] = field(default_factory=dict)
    reading: asyncio.Task[None] | None = None


class Snapshots:
    """Reads sagas for all who follow them in this process; whatever is asked for during a query is read by the next.

    Args:
        sessions: where to read.
        policy: how long sagas wait, for telling so.
    """

    def __init__(self, sessions: Sessions, policy: Policy) -> None:
        self._sessions = sessions
        self._policy = policy
        self._next: _Batch | None = None
        self._turn = asyncio.Lock()

    async def take(self, order_id: UUID, *, to_operators: bool = True) -> Snapshot:
        """The saga of an order, as it is no sooner than now, and as operators see it, or others.

        Raises:
            UnknownOrderError: there is no such order.
            UnknownTableError: another release has to tell what lies ahead of it.
        """
        if self._next is None:
            self._next = _Batch()
            # it reads for all who ask, and not for the one that happens to be the first
            self._next.reading = asyncio.create_task(self._read(self._next), name="snapshots", context=Context())
            self._next.reading.add_done_callback(_heard)
        batch = self._next
        batch.asked.add(order_id)
        assert batch.reading is not None, "set where the batch is made"
        # who leaves must not take it from the others
        await asyncio.shield(batch.reading)
        if (order_id, to_operators) not in batch.rendered:
            batch.rendered[order_id, to_operators] = self._render(batch, order_id, to_operators=to_operators)
        return batch.rendered[order_id, to_operators]

    async def _read(self, batch: _Batch) -> None:
        async with self._turn:
            self._next = None
            async with self._sessions() as session:
                batch.stored = await store.find_orders(session, batch.asked)

    def _render(self, batch: _Batch, order_id: UUID, *, to_operators: bool) -> Snapshot:
        stored = batch.stored.get(order_id)
        if stored is None:
            raise UnknownOrderError(order_id)
        saga = stored.saga
        require_known(saga)
        json = saga_view(stored, self._policy, to_operators=to_operators).model_dump_json(by_alias=True).encode()
        return Snapshot(
            json, digest(json), saga.updated_at, saga.position.status, final=saga.position.open_command is None
        )


def _heard(reading: asyncio.Task[None]) -> None:
    """An error that nobody waits for any more is nobody's."""
    if not reading.cancelled():
        reading.exception()
