"""All SQL of the dead letters. Every function takes the caller's session; none begins, commits or decides anything.

A letter is open until it is redriven or discarded. When it arrives again it is counted, and open again.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, Select, bindparam, case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import ColumnElement

from handlers.bus.queues import KEY_OF_QUEUE
from models.states import SENDERS_FAULTS
from models.tables import DeadLetter, table_of
from saga.runtime.rows import Place, behind

_LETTERS = table_of(DeadLetter)

MOST_OPEN = 1_000
"""Open letters of one sender from one queue: far more than a person reads one by one."""
SHORT_BODY_BYTES = 8 * 1024
"""Up to here a body is read where many are listed: a reply or a request to cancel is far shorter."""


class LetterState(StrEnum):
    """What was done about a letter since it last arrived."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came out of the queue of dead letters."""

    identity: bytes
    reason: str
    error: str
    routing_key: str
    """Under which it was published at first."""
    exchange: str
    headers: dict[str, Any]
    """As `handlers.bus.amqp_json` writes them; the properties too."""
    properties: dict[str, Any]
    body: bytes
    order_id: UUID | None
    queue: str | None = None
    """In which of this service's queues it waited; None where it did in none, or that is not known."""
    whole_size: int | None = None
    """Where `body` is only the beginning: how many bytes the whole has."""
    whole_sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A stored letter. Where many are listed, headers and long bodies stay where they are."""

    id: UUID
    state: LetterState
    reason: str
    error: str
    routing_key: str
    exchange: str
    queue: str | None
    message_id: str | None
    """As the properties have it, unless it is no plain text."""
    sender: str | None
    """The broker user that had sent it at first, where that is known."""
    order_id: UUID | None
    body_size: int
    """In bytes, of the whole, whatever is kept of it."""
    whole_sha256: bytes | None
    """Of a body that was too large to be kept: of that there is only the beginning."""
    first_at: datetime
    last_at: datetime
    count: int
    """How often it has arrived."""
    redriven_at: datetime | None
    redriven_count: int
    discarded_at: datetime | None
    discard_reason: str | None
    closed_by: str | None
    """Who redrove or discarded it."""
    headers: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    body: bytes | None = None

    @property
    def belongs_to(self) -> str:
        """The routing key under which it is published again."""
        return belonging(self.queue, self.routing_key)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters; None is all of them."""

    state: LetterState | None = None
    reason: str | None = None
    routing_key: str | None = None
    order_id: UUID | None = None


def belonging(queue: str | None, routing_key: str) -> str:
    """The routing key that belongs to the queue in which a message waited, else its own."""
    return KEY_OF_QUEUE.get(queue or "", routing_key)


def identity_of(routing_key: str, message_id: str | None, body: bytes, sender: str | None = None) -> bytes:
    """What makes two arrivals the same letter: SHA-256 of where it belongs, its name, its body, and who else sent it.

    Nobody can put himself in another's place by sending the very same.
    """
    identity = _digest(routing_key, "", body)
    if message_id not in (None, "", _name(identity)):
        identity = _digest(routing_key, message_id, body)
    return _digest(sender, "", identity) if sender else identity


def name_of(routing_key: str, body: bytes) -> str:
    """The message id that a letter without one is published with again: so that it is known when it comes back."""
    return _name(_digest(routing_key, "", body))


def _name(nameless: bytes) -> str:
    return str(UUID(bytes=nameless[:16], version=4))


def _digest(routing_key: str, message_id: str, body: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in (routing_key.encode(errors="surrogatepass"), message_id.encode(errors="surrogatepass")):
        digest.update(len(part).to_bytes(8, "big") + part)
    digest.update(body)
    return digest.digest()


_INSERT = insert(_LETTERS)
_KEEP = (
    _INSERT.on_conflict_do_update(
        index_elements=["identity"],
        set_={name: _INSERT.excluded[name] for name in ("reason", "error", "queue", "headers", "properties")}
        | {"count": _LETTERS.c["count"] + 1, "last_at": func.greatest(_LETTERS.c.last_at, func.clock_timestamp())}
        | dict.fromkeys(("redriven_at", "discarded_at", "discard_reason", "closed_by")),
    )
    .values(first_at=func.now(), last_at=func.now())
    .returning(_LETTERS.c["count"])
)


async def keep(session: AsyncSession, arrival: Arrival) -> int:
    """Store a letter, or count it once more; a person who is dealing with it at this moment is waited for.

    Of what a sender alone is to blame for no more than `MOST_OPEN` are kept: whoever floods a queue fills no disk, and
    takes nobody else's room. What may be our own fault, such as a message that PostgreSQL refuses, or a command that
    was parked, is always kept.

    Returns:
        how often it has arrived; 0 where it is not kept.
    """
    if arrival.reason in SENDERS_FAULTS and await _is_crowded(session, arrival):
        return 0
    values = {name: getattr(arrival, name) for name in Arrival.__slots__} | {"id": uuid4()}
    count: int = (await session.execute(_KEEP, values)).scalar_one()
    return count


# in the words of the partial index
_CROWDED = text("""
SELECT NOT EXISTS (SELECT FROM dead_letters WHERE identity = :identity) AND :most <= (
    SELECT count(*) FROM (
        SELECT FROM dead_letters
        WHERE coalesce(queue, '') = :queue AND coalesce(properties ->> 'user_id', '') = :sender
          AND redriven_at IS NULL AND discarded_at IS NULL
        LIMIT :most
    ) AS open
)
""")


async def _is_crowded(session: AsyncSession, arrival: Arrival) -> bool:
    """Whether a letter that is not there yet has no room."""
    sender = arrival.properties.get("user_id")
    values = {
        "identity": arrival.identity,
        "queue": arrival.queue or "",
        "sender": sender if isinstance(sender, str) else "",
        "most": MOST_OPEN,
    }
    crowded: bool = (await session.execute(_CROWDED, values)).scalar_one()
    return crowded


_STATE = case(
    (_LETTERS.c.discarded_at.is_not(None), LetterState.DISCARDED.value),
    (_LETTERS.c.redriven_at.is_not(None), LetterState.REDRIVEN.value),
    else_=LetterState.OPEN.value,
).label("state")


def _property(name: str) -> ColumnElement[str]:
    # what is no plain text is an object there
    value = _LETTERS.c.properties[name]
    return case((func.jsonb_typeof(value) == "string", value.astext))


_DERIVED = {
    "state": _STATE,
    "message_id": _property("message_id").label("message_id"),
    "sender": _property("user_id").label("sender"),
    "body_size": func.coalesce(_LETTERS.c.whole_size, func.octet_length(_LETTERS.c.body)).label("body_size"),
}
_SHORT_BODY = case((func.octet_length(_LETTERS.c.body) <= SHORT_BODY_BYTES, _LETTERS.c.body)).label("body")
_WHOLE = Letter.__slots__
_BRIEF = tuple(name for name in _WHOLE if name not in ("headers", "properties", "body"))


def _select(names: tuple[str, ...]) -> Select[Any]:
    return select(*(_DERIVED[name] if name in _DERIVED else _LETTERS.c[name] for name in names))


async def list_letters(session: AsyncSession, wanted: Filter, limit: int, after: Place | None) -> list[Letter]:
    """Letters without headers and long bodies, the newest arrival first, behind the one that `after` names."""
    query = _select(_BRIEF).add_columns(_SHORT_BODY).where(*_conditions(wanted))
    if after:
        query = query.where(behind(after, _LETTERS.c.last_at, _LETTERS.c.id))
    rows = await session.execute(query.order_by(_LETTERS.c.last_at.desc(), _LETTERS.c.id.desc()).limit(limit))
    return [_letter(row) for row in rows]


def _conditions(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    redriven, discarded = _LETTERS.c.redriven_at.is_not(None), _LETTERS.c.discarded_at.is_not(None)
    match wanted.state:
        case LetterState.OPEN:
            # in the words of the partial index
            yield from (_LETTERS.c.redriven_at.is_(None), _LETTERS.c.discarded_at.is_(None))
        case LetterState.REDRIVEN:
            yield redriven
        case LetterState.DISCARDED:
            yield discarded
    for name in ("reason", "routing_key", "order_id"):
        if (value := getattr(wanted, name)) is not None:
            yield _LETTERS.c[name] == value


_FIND = _select(_WHOLE).where(_LETTERS.c.id == bindparam("letter_id"))
_LOCK = _FIND.with_for_update()


async def find(session: AsyncSession, id_: UUID, *, lock: bool = False) -> Letter | None:
    """A letter with all that it has, or None; on demand nobody else deals with it until the transaction ends."""
    row = (await session.execute(_LOCK if lock else _FIND, {"letter_id": id_})).one_or_none()
    return _letter(row) if row else None


_MARK = update(_LETTERS).where(_LETTERS.c.id == bindparam("letter_id")).values(closed_by=bindparam("by"))
_MARK_REDRIVEN = _MARK.values(redriven_at=func.clock_timestamp(), redriven_count=_LETTERS.c.redriven_count + 1)
_MARK_DISCARDED = _MARK.values(discarded_at=func.clock_timestamp(), discard_reason=bindparam("why"))


async def mark_redriven(session: AsyncSession, id_: UUID, by: str) -> None:
    """Close a letter that this transaction has locked and found open: it was published again."""
    await session.execute(_MARK_REDRIVEN, {"letter_id": id_, "by": by})


async def mark_discarded(session: AsyncSession, id_: UUID, by: str, reason: str) -> None:
    """Close a letter that this transaction has locked and found open: nothing is to be done about it."""
    await session.execute(_MARK_DISCARDED, {"letter_id": id_, "by": by, "why": reason})


def _letter(row: Row[Any]) -> Letter:
    values = row._asdict()
    return Letter(**values | {"state": LetterState(row.state)})
