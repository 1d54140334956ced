"""What really happened at the stand-in participants, per order: the truth that tests compare the saga with."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    command_id  TEXT PRIMARY KEY,     -- the eventId of the command, on which a participant deduplicates
    order_id    TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    event_id    TEXT NOT NULL,        -- the eventId of the answer
    body        BLOB NOT NULL         -- the very bytes that are sent again
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS effects (
    order_id    TEXT NOT NULL,
    effect      TEXT NOT NULL CHECK (effect IN ('reserve', 'release', 'charge', 'refund')),
    command_id  TEXT NOT NULL,
    amount      TEXT NOT NULL,        -- decimal: units of stock, or money
    PRIMARY KEY (order_id, effect, command_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS closed (   -- undone, or to be refused should it arrive after its own compensation
    order_id    TEXT NOT NULL,
    effect      TEXT NOT NULL,
    PRIMARY KEY (order_id, effect)
) WITHOUT ROWID;
"""


class Effect(StrEnum):
    """What a participant can do for an order."""

    RESERVE = "reserve"
    RELEASE = "release"
    CHARGE = "charge"
    REFUND = "refund"


class Tally(NamedTuple):
    """How often something was done for an order, and how much of it altogether (units of stock, or money)."""

    times: int = 0
    amount: Decimal = Decimal(0)


class Record(NamedTuple):
    """All that was effectively done for one order. A compensation of nothing does nothing, so it does not count."""

    reserved: Tally = Tally()
    released: Tally = Tally()
    charged: Tally = Tally()
    refunded: Tally = Tally()


class Answer(NamedTuple):
    """An answer as it was sent, and will be sent again."""

    command_id: UUID
    order_id: UUID
    routing_key: str
    event_id: UUID
    body: bytes


class Ledger:
    """One participant's book, in an SQLite file that several processes may use.

    Calls block for well under a millisecond, less than handing them to a thread would cost. A commit survives the death
    of the process; the last ones may be lost with the power, which is enough for a stand-in.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is committed together, or not at all; nobody else writes meanwhile."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def answer_to(self, command_id: UUID) -> Answer | None:
        """The answer already given to this command."""
        row = self._db.execute(
            "SELECT order_id, routing_key, event_id, body FROM answers WHERE command_id = ?", (str(command_id),)
        ).fetchone()
        return row and Answer(command_id, UUID(row[0]), row[1], UUID(row[2]), row[3])

    def remember(self, answer: Answer) -> None:
        """Keep the answer, to be given again."""
        values = (str(answer.command_id), str(answer.order_id), answer.routing_key, str(answer.event_id), answer.body)
        self._db.execute(
            "INSERT INTO answers (command_id, order_id, routing_key, event_id, body) VALUES (?, ?, ?, ?, ?)", values
        )

    def do(self, order_id: UUID, effect: Effect, command_id: UUID, amount: Decimal) -> None:
        """Note that something was done."""
        self._db.execute(
            "INSERT INTO effects VALUES (?, ?, ?, ?)", (str(order_id), effect, str(command_id), str(amount))
        )

    def close_effect(self, order_id: UUID, effect: Effect) -> None:
        """From now on this is undone, and refused for ever, for this order."""
        self._db.execute("INSERT OR IGNORE INTO closed VALUES (?, ?)", (str(order_id), effect))

    def is_closed(self, order_id: UUID, effect: Effect) -> bool:
        """Whether this was undone, or its compensation came first."""
        found = self._db.execute(
            "SELECT 1 FROM closed WHERE order_id = ? AND effect = ?", (str(order_id), effect)
        ).fetchone()
        return found is not None

    def done(self, order_id: UUID, effect: Effect) -> Tally:
        """How often and how much of it was done for this order."""
        rows = self._db.execute(
            "SELECT amount FROM effects WHERE order_id = ? AND effect = ?", (str(order_id), effect)
        ).fetchall()
        return Tally(len(rows), sum((Decimal(amount) for (amount,) in rows), Decimal(0)))


def read(*paths: Path) -> dict[UUID, Record]:
    """What the ledgers in `paths` say together, per order: the basis for `reserved == released` and exact totals.

    A participant may be writing meanwhile. A file that is not there yet counts as empty.
    """
    tallies: dict[UUID, dict[Effect, Tally]] = {}
    for path in filter(Path.exists, paths):
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            for order, effect, amount in db.execute("SELECT order_id, effect, amount FROM effects"):
                found = tallies.setdefault(UUID(order), dict.fromkeys(Effect, Tally()))
                times, total = found[Effect(effect)]
                found[Effect(effect)] = Tally(times + 1, total + Decimal(amount))
    return {order: Record(*(found[effect] for effect in Effect)) for order, found in tallies.items()}
