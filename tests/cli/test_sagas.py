"""Sagas from the command line."""

import json
from typing import Any
from uuid import uuid4

import pytest

from handlers.cli.showing import duration
from saga.transitions import Signal
from tests.cli.conftest import CommandLine
from tests.http.conftest import HAPPY, Service


async def test_sagas_are_listed_with_their_whole_ids_and_the_way_to_the_next_page(
    service: Service, shell: CommandLine
) -> None:
    orders = [(await service.place())["id"] for _ in range(3)]
    first = await shell.run("sagas", "--limit", 2)
    assert all(order in first for order in orders[1:])
    second = await shell.run("sagas", "--after", first.split("--after ")[1].strip())
    assert orders[0] in second
    assert "more:" not in second


async def test_the_list_is_filtered(service: Service, shell: CommandLine) -> None:
    user, done = uuid4(), (await service.place())["id"]
    mine = (await service.place(userId=str(user)))["id"]
    await service.happen(done, *HAPPY)
    for options, wanted in (
        (("--status", "Completed"), [done]),
        (("--step", "ValidateInventory"), [mine]),
        (("--user", user), [mine]),
        (("--no-incident",), [mine, done]),
        (("--incident",), []),
        (("--older-than", 3600), []),
    ):
        page = json.loads(await shell.run("--json", "sagas", *options))
        assert [saga["orderId"] for saga in page["items"]] == wanted
    assert await shell.run("sagas", "--incident") == "none\n"


async def test_a_saga_tells_its_way_with_durations_and_what_it_waits_for(service: Service, shell: CommandLine) -> None:
    order = await service.place()
    await service.happen(order["id"], *HAPPY[:2], words="all of it \x1b[31m[red]")
    told = await shell.run("saga", order["id"])
    assert "InProgress / ProcessPayment" in told
    assert "all of it \N{REPLACEMENT CHARACTER}[31m[red]" in told
    assert "waits for PaymentProcessed or PaymentFailed (attempt 1/4) until" in told
    assert told.count(" s  ") == 2
    await service.happen(order["id"], HAPPY[2])
    assert "ended after 0." in await shell.run("saga", order["id"])


async def test_an_operator_asks_again_resolves_and_gives_up(service: Service, shell: CommandLine) -> None:
    order = (await service.place())["id"]
    assert "attempt 2/4" in await shell.run("--operator", "Änne", "retry", order, "--reason", "again")
    body = ("resolve", order, "succeeded", "--reason", "looked", "--step", "ValidateInventory")
    assert await shell.run(*body) == await shell.run(*body)
    assert "Compensating" in await shell.run("compensate", order, "--reason", "enough")
    history = (await service.saga(order))["history"]
    assert [entry["status"] for entry in history] == ["Resumed", "Resolved", "Cancelled"]
    assert history[0]["actor"] == "operator@127.0.0.1 (Änne)"
    assert history[0]["message"] == "asked again by an operator: again"


async def test_a_verdict_names_the_command_that_it_is_about_where_one_is_open(
    service: Service, shell: CommandLine
) -> None:
    order = (await service.place())["id"]
    verdict = ("resolve", order, "succeeded", "--reason", "looked")
    assert "ValidateInventory is open now" in await shell.run(*verdict, code=2)
    assert (await service.saga(order))["history"] == []
    await service.happen(order, *HAPPY, Signal.PAYMENT_FAILED)
    assert "incident" in await shell.run("saga", order)
    assert "incident" not in await shell.run(*verdict)


async def test_an_order_is_cancelled(service: Service, shell: CommandLine) -> None:
    order = (await service.place())["id"]
    assert "Cancelled by the client: changed my mind" in await shell.run("cancel", order, "--reason", "changed my mind")


async def test_many_are_only_asked_again_where_that_is_really_meant(service: Service, shell: CommandLine) -> None:
    order = (await service.place())["id"]
    assert "would-retry" in await shell.run("retry-many", "--status", "Started")
    assert (await service.saga(order))["history"] == []
    really = ("--really", "--rate", 1000, "--reason", "Inventory is back")
    assert "applied" in await shell.run("retry-many", "--status", "Started", *really)
    saga = await service.saga(order)
    assert (saga["waiting"]["attempt"], saga["history"][-1]["message"]) == (
        2,
        "asked again by an operator: Inventory is back",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("saga", uuid4()), "there is no order"),
        (("retry", uuid4()), "(404)"),
        (("compensate", uuid4(), "--reason", " "), "(422)"),
        (("sagas", "--after", "x"), "after"),
    ],
)
async def test_what_is_refused_is_said_in_words_and_ends_with_3(
    shell: CommandLine, arguments: tuple[Any, ...], words: str
) -> None:
    assert words in await shell.run(*arguments, code=3)


async def test_what_the_table_refuses_ends_with_3_and_its_reason(service: Service, shell: CommandLine) -> None:
    order = (await service.place())["id"]
    await service.happen(order, *HAPPY[:2], Signal.PAYMENT_FAILED)
    assert "already being undone" in await shell.run("cancel", order, code=3)


@pytest.mark.parametrize(
    "arguments",
    [("saga", "x"), ("sagas", "--status", "Lost"), ("sagas", "--limit", 0),
     ("resolve", uuid4(), "maybe", "--reason", 1), ("compensate", uuid4()), ("retry-many", "--rate", 0), ("nothing",),
     ("--operator", "a\tb", "sagas")],
)  # fmt: skip
async def test_a_wrong_command_line_ends_with_2(arguments: tuple[Any, ...]) -> None:
    await CommandLine("http://127.0.0.1:1").run(*arguments, code=2)


async def test_a_service_that_does_not_answer_ends_with_4() -> None:
    assert "Is it running there?" in await CommandLine("http://127.0.0.1:1").run("sagas", code=4)
    assert "must begin with http" in await CommandLine("file:///etc").run("sagas", code=2)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2451, "0.245 s"), (12.34, "12.3 s"), (200, "3 min 20 s"), (7500.9, "2 h 5 min"), (273_600, "3 d 4 h")],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
