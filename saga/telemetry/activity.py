"""What happened in the last minutes, all workers of all instances together: for the charts of the overview.

Every worker adds what it committed to a row of its own, now and then; so nobody waits for anybody, and no transaction
of a saga becomes longer. What a stop takes with it is a few seconds of a chart.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import Interval, bindparam, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from models.states import SagaStatus
from models.tables import Activity as ActivityRow
from models.tables import table_of
from saga.errors import classify
from saga.runtime.database import Sessions
from saga.telemetry.applied_events import Move

NOTE_EVERY = timedelta(seconds=5)
"""How late a chart may be."""
KEEP = timedelta(hours=1)
_SLICE, _MINUTE = timedelta(seconds=10), timedelta(minutes=1)
"""What a row stands for, and a bar of a chart."""
_FORGET_EVERY = 60
"""Notes between two looks for rows that are too old."""
_ROWS = table_of(ActivityRow)


@dataclass(slots=True)
class Activity:
    """How many sagas began and how they ended, and how long those took that ended: in all, and at most, in seconds."""

    started: int = 0
    completed: int = 0
    failed: int = 0
    compensated: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    @property
    def ended(self) -> int:
        """All that ended, however."""
        return self.completed + self.failed + self.compensated

    @property
    def mean(self) -> float | None:
        """How long those took that ended, on average; None where none did."""
        return self.seconds / self.ended if self.ended else None

    def add(self, moves: Iterable[Move]) -> None:
        """Count these."""
        for move in moves:
            self.started += move.began
            if move.ended:
                status = move.after.position.status
                self.completed += status is SagaStatus.COMPLETED
                self.failed += status is SagaStatus.FAILED
                self.compensated += status is SagaStatus.COMPENSATED
                self.seconds += move.lasted
                self.slowest = max(self.slowest, move.lasted)

    def take(self) -> "Activity":
        """What has been counted; counting begins anew."""
        taken = replace(self)
        for field in fields(self):
            setattr(self, field.name, field.default)
        return taken

    def put_back(self, taken: "Activity") -> None:
        """It could not be noted: it counts with what has happened since."""
        for field in fields(self):
            one, other = getattr(self, field.name), getattr(taken, field.name)
            setattr(self, field.name, max(one, other) if field.name == "slowest" else one + other)


ACTIVITY = Activity()
"""What this process has committed and not noted yet."""


class Recorder:
    """Notes in the database what this process has committed. `run` must be running.

    Args:
        sessions: in which every statement is a transaction of its own.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._worker = uuid4()
        self._noted = 0

    async def run(self) -> None:
        """Note, and sleep, until cancelled."""
        while True:
            await asyncio.sleep(NOTE_EVERY.total_seconds())
            await self.note()

    async def note(self) -> None:
        """Write what happened since the last time; while the database is away it is kept."""
        taken = ACTIVITY.take()
        if taken == Activity():
            return
        try:
            async with self._sessions() as session:
                if self._noted % _FORGET_EVERY == 0:
                    await session.execute(_FORGET)
                await session.execute(_ADD, asdict(taken) | {"worker": self._worker})
        except Exception as error:
            ACTIVITY.put_back(taken)
            if not classify(error).transient:
                raise
        else:
            self._noted += 1


_EPOCH = datetime.fromisoformat("2000-01-01T00:00:00Z")
_VALUES = insert(_ROWS).values(
    begin=func.date_bin(literal(_SLICE, Interval()), func.clock_timestamp(), _EPOCH),
    worker=bindparam("worker"),
    **{field.name: bindparam(field.name) for field in fields(Activity)},
)
_ADD = _VALUES.on_conflict_do_update(
    index_elements=[_ROWS.c.begin, _ROWS.c.worker],
    set_={
        field.name: func.greatest(_ROWS.c.slowest, _VALUES.excluded.slowest)
        if field.name == "slowest"
        else _ROWS.c[field.name] + _VALUES.excluded[field.name]
        for field in fields(Activity)
    },
)
_FORGET = delete(_ROWS).where(_ROWS.c.begin < func.clock_timestamp() - literal(KEEP, Interval()))

_AT = func.date_bin(literal(_MINUTE, Interval()), _ROWS.c.begin, _EPOCH).label("minute")
_LAST = (
    select(
        _AT,
        *(
            func.max(_ROWS.c.slowest) if field.name == "slowest" else func.sum(_ROWS.c[field.name])
            for field in fields(Activity)
        ),
    )
    .where(_ROWS.c.begin > func.clock_timestamp() - bindparam("past", type_=Interval()))
    .group_by("minute")
)
_NOW = select(func.date_bin(literal(_MINUTE, Interval()), func.clock_timestamp(), _EPOCH))


async def last_minutes(session: AsyncSession, count: int) -> list[tuple[datetime, Activity]]:
    """The last so many minutes, the present one last, each with when it began; minutes without anything included."""
    now: datetime = (await session.execute(_NOW)).scalar_one()
    rows = await session.execute(_LAST, {"past": count * _MINUTE})
    known = {begin: Activity(*counted) for begin, *counted in rows}
    minutes = [now - ago * _MINUTE for ago in reversed(range(count))]
    return [(minute, known.get(minute, Activity())) for minute in minutes]
