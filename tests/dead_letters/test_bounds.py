"""What is kept of dead letters is bounded: of one, of a sender's, and for how long."""

import asyncio
import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.bus.pamqp_patch import BEGINNING_BYTES, WHOLE_SHA256, WHOLE_SIZE
from handlers.bus.publisher import Bus
from handlers.dead_letters import retention as letter_retention
from handlers.dead_letters import store as dead_letters
from handlers.dead_letters.retention import KEPT_FOR, LetterRetention
from models.messages import MAX_BODY_BYTES
from saga.outbox.message import DEAD_LETTER_EXCHANGE
from saga.runtime.database import statements
from tests.databases import connect_looping
from tests.dead_letters.conftest import Api, Table, Wire, problem, take
from tests.relay.conftest import envelope
from tests.waiting import until

KEY, QUEUE = "domain.order.CreateOrder", "order-service.CreateOrder"
pytestmark = pytest.mark.usefixtures("subscriber")


@pytest.mark.parametrize("way", ["copied by us", "given up by RabbitMQ"])
async def test_of_a_large_body_the_beginning_the_size_and_the_digest_are_kept(
    wire: Wire, bus: Bus, table: Table, api: Api, way: str
) -> None:
    body = ("ä" * 2_000_000).encode()
    messages = await wire.listen(KEY, **{"x-dead-letter-exchange": DEAD_LETTER_EXCHANGE})
    for times, last in ((1, b"1"), (2, b"1"), (3, b"2")):
        # too many headers to be copied, which the size must outlast
        headers: dict[str, Any] = {"long": "y" * 119_900}
        await wire.publish(b"x" + body + last, KEY, "domain", message_id="m", headers=headers)
        message = await take(messages)
        assert len(message.body) == BEGINNING_BYTES
        if way == "copied by us":
            await bus.dead_letter(message, "too_large", "why", queue=QUEUE)
        else:
            await message.reject(requeue=False)
        rows = await table.arrivals(times)
    # the same again is counted, and what differs only in its end is another
    assert [row["count"] for row in rows] == [2, 1]
    row, whole = rows[0], b"x" + body + b"1"
    assert row["body"] == whole[:BEGINNING_BYTES]
    assert (row["whole_size"], row["whole_sha256"]) == (len(whole), hashlib.sha256(whole).digest())

    letter = await api.get(row["id"])
    assert (letter["bodySize"], letter["bodySha256"]) == (len(whole), hashlib.sha256(whole).hexdigest())
    # the beginning ends within a character
    assert letter["body"] == whole[: BEGINNING_BYTES - 1].decode()
    assert not letter["safety"]["redrivable"]
    assert "only the beginning" in letter["safety"]["detail"]
    assert problem(await api.redrive(row["id"]), 409) == "redrive-refused"


async def test_one_mebibyte_is_kept_whole(wire: Wire, table: Table, api: Api) -> None:
    await wire.publish(b"x" * MAX_BODY_BYTES, KEY)
    (row,) = await table.arrivals(1)
    letter = await api.get(row["id"])
    assert (letter["bodySize"], len(letter["body"]), letter["bodySha256"]) == (MAX_BODY_BYTES, MAX_BODY_BYTES, None)
    assert letter["safety"]["redrivable"]


@pytest.mark.parametrize("size", [True, -1, 1, "7", None])
@pytest.mark.parametrize("digest", ["0" * 64, "0" * 63, "z" * 64, 7, None])
async def test_whatever_somebody_says_of_a_larger_body_the_letter_is_stored(
    wire: Wire, table: Table, size: Any, digest: Any
) -> None:
    await wire.publish(b"x", KEY, headers={WHOLE_SIZE: size, WHOLE_SHA256: digest})
    (row,) = await table.arrivals(1)
    assert (row["body"], row["whole_size"], row["whole_sha256"]) == (b"x", None, None)


@pytest.fixture
def room_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "MOST_OPEN", 2)


async def letter(wire: Wire, name: str, *, reason: str = "invalid", queue: str = QUEUE, sender: str = "shop") -> None:
    """A copy of somebody's message, as this service makes it."""
    headers = {
        "x-dead-letter-reason": reason,
        "x-dead-letter-queue": queue,
        "x-dead-letter-message-id": name,
        "x-dead-letter-user-id": sender,
    }
    await wire.publish(name.encode(), f"domain.invented.{name}", headers=headers)


@pytest.mark.usefixtures("room_for_two")
async def test_of_one_sender_only_so_many_are_kept_and_nobody_elses_room_is_taken(
    wire: Wire, bus: Bus, table: Table, api: Api, pool: AsyncEngine
) -> None:
    for name in ("1", "2", "3", "4"):
        await letter(wire, name)
    # in turn: when this one is stored, so are those before it
    await letter(wire, "from another", sender="inventory")
    await letter(wire, "from another queue", queue="order-service.CancelOrder")
    await letter(wire, "2")
    parked = envelope("domain.order.ProcessPayment", exchange=DEAD_LETTER_EXCHANGE)
    ours = ("refused_by_database", "delivery_limit")
    for reason in ours:
        for number in range(3):
            await letter(wire, f"{reason} {number}", reason=reason, sender="billing")
    assert await bus.publish([parked]) == {}
    rows = await table.arrivals(12)
    assert {row["body"]: row["count"] for row in rows} == {
        b"1": 1,
        b"2": 2,
        b"from another": 1,
        b"from another queue": 1,
        **{f"{reason} {number}".encode(): 1 for reason in ours for number in range(3)},
        parked.body: 1,
    }

    # whoever deals with one makes room
    await api.call("DELETE", f"/{rows[0]['id']}", params={"reason": "a test"})
    await letter(wire, "5")
    assert b"5" in {row["body"] for row in await table.arrivals(13)}
    plan = await explained(pool)
    assert "ix_dead_letters_queue_sender" in plan, plan


async def explained(pool: AsyncEngine) -> str:
    """How PostgreSQL counts a sender's open letters."""
    values = {"identity": b"", "queue": QUEUE, "sender": "shop", "most": 2}
    async with pool.connect() as connection:
        # the table is too small for an index to be worth it
        await connection.execute(text("SET enable_seqscan = off"))
        rows = await connection.execute(text(f"EXPLAIN {dead_letters._CROWDED.text}"), values)
        return "\n".join(rows.scalars())


async def test_closed_letters_are_deleted_after_their_time_in_pieces_and_open_ones_never(
    wire: Wire, table: Table, api: Api, pool: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wire.listen(KEY)
    for body in (b"a", b"b", b"c", b"d", b"e", b"f"):
        await wire.publish(body, KEY)
    ids: dict[bytes, UUID] = {row["body"]: row["id"] for row in await table.arrivals(6)}
    for name in (b"a", b"b", b"c"):
        assert (await api.redrive(ids[name])).json()["outcome"] == "redriven"
    for name in (b"d", b"e"):
        await api.call("DELETE", f"/{ids[name]}", params={"reason": "a test"})
    age = KEPT_FOR + timedelta(minutes=1)
    async with pool.begin() as connection:
        await connection.execute(
            text(
                "UPDATE dead_letters SET redriven_at = redriven_at - age, discarded_at = discarded_at - age,"
                " first_at = first_at - age, last_at = last_at - age"
                " FROM CAST(:age AS interval) AS age WHERE body IN ('a', 'b', 'd', 'f')"
            ),
            {"age": age},
        )
    monkeypatch.setattr(letter_retention, "PIECE", 1)
    loops = connect_looping(pool.url)
    await LetterRetention(statements(loops)).delete()
    await loops.dispose()
    assert {row["body"] for row in await table.rows()} == {b"c", b"e", b"f"}


async def test_what_is_due_is_deleted_while_the_service_runs(
    wire: Wire, table: Table, api: Api, pool: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letter_retention, "KEPT_FOR", timedelta(0))
    monkeypatch.setattr(letter_retention, "EVERY", timedelta(0))
    running = asyncio.create_task(LetterRetention(statements(pool)).run())
    await wire.publish(b"x", KEY)
    (row,) = await table.arrivals(1)
    await api.call("DELETE", f"/{row['id']}", params={"reason": "a test"})

    async def gone() -> bool:
        return await table.rows() == []

    await until(gone)
    running.cancel()
    await asyncio.wait([running])
