"""Dead letters from the command line, against the real routes on a real database and a real broker."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.bus.pamqp_patch import WHOLE_SHA256, WHOLE_SIZE
from handlers.bus.publisher import Bus
from saga.domain import Event
from saga.engine import Engine
from saga.transitions import Signal
from tests.cli.conftest import CommandLine
from tests.dead_letters.conftest import (  # noqa: F401 - fixtures
    Table,
    Wire,
    bus,
    engine,
    letters_app,
    pool,
    subscriber,
    table,
    take,
    wire,
)
from tests.engine.conftest import order_request
from tests.http.conftest import listening

pytestmark = pytest.mark.usefixtures("subscriber")
KEY = "domain.order.CreateOrder"
INVALID: dict[str, Any] = {"x-dead-letter-reason": "invalid", "x-dead-letter-error": "price: no number\x1b[2J"}


@pytest.fixture
async def shell(pool: AsyncEngine, bus: Bus) -> AsyncIterator[CommandLine]:  # noqa: F811 - the fixtures
    """The command line beside a service that listens."""
    async with listening(letters_app(pool, bus)) as url:
        yield CommandLine(url)


class Letters:
    """What arrives at the dead letters, and what they look like."""

    def __init__(self, wire: Wire, table: Table, shell: CommandLine) -> None:  # noqa: F811
        self._wire, self._table, self._shell = wire, table, shell
        self._count = 0

    async def arrive(self, body: bytes = b"x", key: str = KEY, headers: dict[str, Any] = INVALID) -> str:
        """One of them arrives; its id."""
        self._count += 1
        await self._wire.publish(body, key, message_id=str(self._count), headers=headers)
        return str((await self._table.arrivals(self._count))[-1]["id"])

    async def state(self, id_: str) -> str:
        return str(json.loads(await self._shell.run("--json", "dead-letters", "show", id_))["state"])


@pytest.fixture
def letters(wire: Wire, table: Table, shell: CommandLine) -> Letters:  # noqa: F811
    return Letters(wire, table, shell)


async def test_letters_are_listed_with_what_is_known_of_each(shell: CommandLine, letters: Letters) -> None:
    first, second = await letters.arrive(), await letters.arrive(b"y")
    told = await shell.run("dead-letters", "list", "--limit", 1)
    assert all(word in told for word in (second, "invalid", "It names no order", "price: no number\ufffd[2J"))
    assert first in await shell.run("dead-letters", "list", "--after", told.split("--after ")[1].strip())
    for options, wanted in (
        (("--reason", "invalid", "--routing-key", KEY), [second, first]),
        (("--routing-key", "a b&c"), []),
        (("--order", uuid4()), []),
        (("--state", "discarded"), []),
    ):
        page = json.loads(await shell.run("--json", "dead-letters", "list", *options))
        assert [letter["id"] for letter in page["items"]] == wanted


async def test_a_letter_is_shown_with_all_that_it_has_and_commands_no_terminal(
    shell: CommandLine, letters: Letters
) -> None:
    text = await letters.arrive(
        '{\n\t"name": "Größe"\n}'.encode(), headers=INVALID | {"mine": "a\x9bb", "many": [1, None]}
    )
    told = await shell.run("dead-letters", "show", text)
    for words in (
        '{\n        "name": "Größe"\n}\n',
        "price: no number\ufffd[2J",
        "a\ufffdb",
        "[1, null]",
        "It names no",
    ):
        assert words in told
    bytes_ = await letters.arrive(b"\x1b[2J")
    told = await shell.run("dead-letters", "show", bytes_)
    assert "G1sySg==" in told
    assert "\x1b" not in told
    as_json = await shell.run("--json", "dead-letters", "show", text)
    assert "a\\u009bb" in as_json
    assert json.loads(as_json)["headers"]["mine"] == "a\x9bb"
    await shell.run("dead-letters", "show", uuid4(), code=3)


async def test_of_a_letter_that_was_too_large_the_beginning_is_shown_and_said_to_be_no_more(
    shell: CommandLine, letters: Letters
) -> None:
    digest = "0f" * 32
    id_ = await letters.arrive(b"so it begins", headers=INVALID | {WHOLE_SIZE: 2_000_000, WHOLE_SHA256: digest})
    told = await shell.run("dead-letters", "show", id_)
    assert all(word in told for word in ("2000000", digest, "beginning of the body:", "so it begins"))
    assert "only the beginning" in await shell.run("dead-letters", "redrive", id_, "--yes", code=3)


async def test_a_letter_is_redriven_once_a_person_has_read_what_would_come_of_it(
    shell: CommandLine, letters: Letters, wire: Wire  # noqa: F811
) -> None:  # fmt: skip
    messages = await wire.listen(KEY)
    id_ = await letters.arrive()
    for answer in ("n\n", ""):
        told = await shell.run("dead-letters", "redrive", id_, answer=answer, code=3)
        assert "It names no order" in told
        assert "Nothing was done" in told
    assert await letters.state(id_) == "open"
    assert "redriven" in await shell.run("dead-letters", "redrive", id_, answer="y\n")
    assert (await take(messages)).body == b"x"
    assert "unchanged" in await shell.run("dead-letters", "redrive", id_)


async def test_what_is_not_to_be_redriven_is_refused_without_a_question(shell: CommandLine, letters: Letters) -> None:
    id_ = await letters.arrive(key="domain.order.ProcessPayment")
    assert "nobody waits for this command" in await shell.run("dead-letters", "redrive", id_, code=3)


async def test_what_a_late_reply_would_do_is_told_before(
    shell: CommandLine, letters: Letters, wire: Wire, engine: Engine  # noqa: F811
) -> None:  # fmt: skip
    order_id: UUID = (await engine.create(order_request())).order_id
    await engine.advance(Event(Signal.INVENTORY_VALIDATION_FAILED, order_id, event_id=uuid4()))
    body = {"eventId": str(uuid4()), "orderId": str(order_id)}
    id_ = await letters.arrive(json.dumps(body).encode(), "domain.billing.PaymentProcessed")
    await wire.listen("domain.billing.PaymentProcessed")
    assert "RefundPayment would be sent" in await shell.run("dead-letters", "redrive", id_, "--yes")


async def test_many_are_redriven_by_filter_once_a_person_has_seen_which(
    shell: CommandLine, letters: Letters, wire: Wire  # noqa: F811
) -> None:  # fmt: skip
    messages = await wire.listen(KEY)
    ids = [await letters.arrive(str(number).encode()) for number in range(3)]
    other = await letters.arrive(headers={"x-dead-letter-reason": "unreadable"})
    many = ("dead-letters", "redrive-many", "--reason", "invalid")
    told = await shell.run(*many, "--dry-run")
    assert all(id_ in told for id_ in ids)
    assert other not in told
    assert "Publish 3 again?" in await shell.run(*many, answer="n\n", code=3)
    assert messages.empty()
    first = await shell.run(*many, "--limit", 2, answer="y\n")
    assert first.count(" redriven") == 2
    after = first.rsplit("--after ", maxsplit=1)[1].strip()
    told = await shell.run("--json", *many, "--after", after, answer="y\n")
    rest = json.loads(told[told.index("{") :])
    assert "would_redrive" in told
    assert [(item["id"], item["outcome"]) for item in rest["items"]] == [(ids[0], "redriven")]
    assert {(await take(messages)).body for _ in range(3)} == {b"0", b"1", b"2"}
    assert await shell.run(*many) == "none\n"
    assert await letters.state(other) == "open"


async def test_a_broker_that_is_away_ends_it_with_4(
    shell: CommandLine, letters: Letters, wire: Wire, bus: Bus, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    await wire.listen(KEY)
    for number in range(2):
        await letters.arrive(str(number).encode())
    answers = [None, "not now", "not now"]

    async def republish(*of: Any) -> str | None:
        return answers.pop(0) or await Bus.republish(bus, *of)

    monkeypatch.setattr(bus, "republish", republish)
    told = await shell.run("dead-letters", "redrive-many", "--yes", code=4)
    assert "bus_away" in told
    assert "more: --after" in told
    assert "RabbitMQ did not confirm it" in await shell.run("dead-letters", "redrive-many", "--yes", code=4)


async def test_a_letter_is_discarded_with_a_reason(shell: CommandLine, letters: Letters) -> None:
    id_ = await letters.arrive()
    assert await shell.run("dead-letters", "discard", id_, "--reason", "a test") == "discarded\n"
    assert await letters.state(id_) == "discarded"
    await shell.run("dead-letters", "discard", id_, code=2)
