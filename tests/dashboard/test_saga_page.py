"""The page of one saga, in every state that a saga can be in."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import event, text

from handlers.bus.publisher import BLOCKED
from handlers.dashboard.pages.saga import saga_page_routes
from models.states import Command, OrderEvent, Position
from saga.domain import Policy, message_id
from saga.insight.diagram import name
from saga.outbox.publisher import UNROUTABLE
from saga.transitions import Signal
from tests.dashboard.pages import Page
from tests.databases import Databases
from tests.http.conftest import HAPPY, Service, running
from tests.table.dialogue import ROADS

G = Signal
PATIENT = Policy(retry_attempts=1, saga_timeout=timedelta(days=1))
PARKING = 3
"""As many deadlines pass until this policy parks a command."""
CANARY = (
    """<script>alert(1)</script>"><img src=x onerror=alert(1)>' onmouseover='alert(1)</title></main>{{ 7 * 7 }}&lt;"""
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(databases: Databases, template: str) -> AsyncIterator[Service]:
    """One for all tests here: none minds the orders of the others."""
    with databases.lent(template) as url:
        async with running(url, PATIENT) as service:
            yield service


async def placed(service: Service, *signals: Signal, **changed: Any) -> str:
    """An order to whose saga all this has happened."""
    order_id = str((await service.place(**changed))["id"])
    for signal in signals:
        people = {"event_id": None, "actor": "ann"} if signal.startswith("operator") else {}
        await service.happen(order_id, signal, **people)
    return order_id


async def shown(service: Service, order_id: str) -> Page:
    return Page.of(await service.client.get(f"/sagas/{order_id}"))


async def execute(service: Service, statement: str, **values: Any) -> None:
    async with service.sessions() as session, session.begin():
        await session.execute(text(statement), values)


def marked(page: Page, mark: str, kind: str) -> set[str]:
    """The positions, or the edges, of the state diagram that have this mark."""
    parts = {part.attributes["id"] for part in page.all("g", class_=mark)}
    return {part.removeprefix(f"{kind}-") for part in parts if part.startswith(kind)}


# --------------------------------------------------------------------------------------------------- where it stands


@pytest.mark.parametrize("position", Position)
async def test_at_every_position_the_page_shows_the_way_and_where_it_stands(
    service: Service, position: Position
) -> None:
    page = await shown(service, await placed(service, *ROADS[position]))
    way = [step.words for step in page.one("ol", class_="trail").all("li")]
    assert (way[0], way[-1]) == ("validating", name(position))
    assert marked(page, "present", "position") == {name(position)}
    assert marked(page, "taken", "position") == set(way)
    assert marked(page, "taken", "edge") == {f"{here}-{to}" for here, to in pairwise(way)}
    assert bool(marked(page, "ahead", "edge")) == (position.open_command is not None)

    facts, waiting = page.one(id="facts").words, page.one(id="waiting").words
    assert f"Order {position.order_status}" in facts
    assert f"Saga {position.status} at {position.current_step}" in facts
    assert (f"{position.open_command} was sent" if position.open_command else "Nothing: it has ended.") in waiting
    steps = [bar.one("th").words for bar in page.one("table", class_="bars").all("tr")[1:]]
    assert steps[0] == "ValidateInventory"
    assert steps[-1] == position.open_command or position.open_command is None


async def test_what_is_ahead_is_what_comes_if_all_goes_well(service: Service) -> None:
    page = await shown(service, await placed(service))
    assert marked(page, "ahead", "edge") == {"validating-reserving", "reserving-charging", "charging-completed"}
    assert "Then, if all goes well: ReserveInventory, ProcessPayment." in page.one(id="waiting").words


async def test_a_saga_that_waits_says_for_what_until_when_and_what_then(service: Service) -> None:
    page = await shown(service, await placed(service, G.INVENTORY_VALIDATED))
    waiting = page.one(id="waiting")
    assert "InventoryReserved or InventoryReservationFailed moves it on." in waiting.words
    assert "Attempt 1 of 2." in waiting.words
    assert "then: send ReserveInventory again." in waiting.words
    (left,) = waiting.having("data-left")
    assert 0 < float(left.attributes["data-left"]) <= 30
    assert left.words.endswith(" s")


async def test_a_parked_saga_says_what_a_person_should_look_at(service: Service) -> None:
    order_id = await placed(service, *HAPPY[:2])
    await service.expire(order_id, PARKING)
    page = await shown(service, order_id)
    waiting = page.one(id="waiting")
    assert "alert" in waiting.classes
    assert "payment outcome unknown since" in waiting.words
    assert "It is parked: ProcessPayment went unanswered." in waiting.words
    assert page.one(id="history").column("What") == [
        "Completed", "Completed", "TimedOut", "Retrying", "TimedOut", "Parked",
    ]  # fmt: skip
    bars = page.one("table", class_="bars").all("tr")[1:]
    assert [(bar.one("th").words, len(bar.all("path", class_="tick"))) for bar in bars] == [
        ("ValidateInventory", 1),
        ("ReserveInventory", 1),
        ("ProcessPayment", 2),
    ]
    assert "charging-charging" in marked(page, "taken", "edge")
    sent = page.one(id="sent")
    assert sent.column("To")[-2:] == ["Billing", "the dead letters"]
    # two attempts, and a copy of the last one for the dead letters
    assert [where.count("leaving") for where in sent.column("Where it is")[-2:]] == [2, 1]


async def test_a_saga_that_is_never_asked_again_by_itself_has_no_deadline(service: Service) -> None:
    order_id = await placed(service)
    await service.expire(order_id, PARKING)
    await execute(service, "UPDATE order_sagas SET due_at = NULL WHERE order_id = :id", id=UUID(order_id))
    waiting = (await shown(service, order_id)).one(id="waiting")
    assert "No deadline: wait for a reply or an operator." in waiting.words
    assert not waiting.having("data-left")


async def test_a_release_that_another_one_has_to_tell_about_is_shown_as_far_as_this_one_knows(
    service: Service,
) -> None:
    order_id = await placed(service, G.INVENTORY_VALIDATED)
    await execute(service, "UPDATE order_sagas SET table_version = 99 WHERE order_id = :id", id=UUID(order_id))
    page = await shown(service, order_id)
    assert "another release knows it" in page.one(id="waiting").words
    assert marked(page, "taken", "position") == {"reserving"}
    assert not page.all("table", class_="bars")
    assert page.one(id="history").column("What") == ["Completed"]


# ---------------------------------------------------------------------------------------------------------- messages


async def test_every_message_has_its_id_and_says_where_it_is(service: Service) -> None:
    order_id = await placed(service, *HAPPY)
    saga = await service.saga(order_id)
    sent = (await shown(service, order_id)).one(id="sent")
    kinds: list[Command | OrderEvent] = [
        OrderEvent.ORDER_CREATED, Command.VALIDATE_INVENTORY, Command.RESERVE_INVENTORY, Command.PROCESS_PAYMENT,
        OrderEvent.ORDER_COMPLETED,
    ]  # fmt: skip
    assert sent.column("Message") == [str(kind) for kind in kinds]
    assert sent.column("To") == ["everybody", "Inventory", "Inventory", "Billing", "everybody"]
    assert sent.column("eventId") == [str(message_id(UUID(saga["id"]), kind)) for kind in kinds]
    assert set(sent.column("Where it is")) == {"leaving a worker is publishing it"}
    received = (await shown(service, order_id)).one(id="received")
    assert received.column("Message") == ["InventoryValidated", "InventoryReserved", "PaymentProcessed"]
    assert received.column("From") == ["Inventory", "Inventory", "Billing"]
    assert received.column("eventId") == [entry["eventId"] for entry in saga["history"]]

    await execute(service, "DELETE FROM outbox WHERE order_id = :id", id=UUID(order_id))
    sent = (await shown(service, order_id)).one(id="sent")
    assert set(sent.column("Where it is")) == {"confirmed by RabbitMQ"}


@pytest.mark.parametrize(
    ("error", "lease", "said"),
    [
        (UNROUTABLE, 2, "no queue takes it: whoever it is for has not declared one; next try: 2 s"),
        (BLOCKED, 0, f"it could not be published ({BLOCKED}); next try: any moment"),
        (None, -1, "the worker that had it did not publish it in time"),
    ],
)
async def test_a_message_that_has_not_left_says_why(service: Service, error: str | None, lease: int, said: str) -> None:
    order_id = await placed(service)
    await execute(
        service,
        "UPDATE outbox SET last_error = :error, lease_until = clock_timestamp() + :lease * interval '1 s' "
        "WHERE order_id = :id AND routing_key LIKE '%Validate%'",
        error=error,
        lease=lease,
        id=UUID(order_id),
    )
    sent = (await shown(service, order_id)).one(id="sent")
    assert [where.endswith(said) for where in sent.column("Where it is")] == [False, True]


async def test_what_came_more_than_once_has_all_its_ids(service: Service) -> None:
    order_id = await placed(service, *ROADS[Position.RELEASING])
    ids = [uuid4(), uuid4()]
    for one in ids:
        await service.happen(order_id, G.INVENTORY_RELEASE_FAILED, event_id=one, retryable=True)
    received = (await shown(service, order_id)).one(id="received")
    assert received.column("Message")[-1] == "InventoryReleaseFailed, retryable"
    told = [one.attributes["data-copy"] for one in received.having("data-copy")]
    assert {str(one) for one in ids} <= set(told)


# ------------------------------------------------------------------------------------------------ what people typed


async def test_whatever_people_typed_is_shown_whole_and_is_nothing_but_text(service: Service) -> None:
    items = [{"productId": str(uuid4()), "productName": CANARY, "quantity": 2, "price": "0.99"}]
    order_id = await placed(service, G.INVENTORY_VALIDATED, items=items)
    await service.expire(order_id, PARKING)
    await service.happen(order_id, G.OPERATOR_RETRY, event_id=None, words=f"why {CANARY}", actor=f"ann {CANARY}")
    await service.happen(order_id, G.CANCEL, event_id=None, words=f"no {CANARY}")
    await service.happen(order_id, G.INVENTORY_RELEASE_FAILED, words=f"stuck {CANARY}")
    await service.happen(order_id, G.INVENTORY_RELEASED, words=f"done {CANARY}")
    page = await shown(service, order_id)
    assert page.one(id="items").column("Product") == [CANARY]
    words = page.one(id="history").column("In words")
    for typed in ("why", "by ann", "no", "stuck", "done"):
        assert any(f"{typed} {CANARY}" in told for told in words), typed
    assert f"no {CANARY}" in page.one(id="facts").words
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert f"done {CANARY}" in page.one("main").attributes["data-said"]


async def test_characters_that_hide_or_turn_the_line_around_are_named(service: Service) -> None:
    named = "\u202egnp.exe\u200b\x1b[31m\x85\nnext"
    items = [{"productId": str(uuid4()), "productName": named, "quantity": 1, "price": "1"}]
    page = await shown(service, await placed(service, items=items))
    assert page.one(id="items").column("Product") == ["⟨U+202E⟩gnp.exe⟨U+200B⟩␛[31m⟨U+0085⟩ next"]


# --------------------------------------------------------------------------------------------------- what it costs


async def test_a_page_costs_two_queries_however_much_has_happened(service: Service) -> None:
    order_id = await placed(service, *ROADS[Position.COMPENSATED_REFUNDING])
    engine, told = service.sessions.kw["bind"].sync_engine, []
    event.listen(engine, "before_cursor_execute", count := lambda *call: told.append(call[2]))
    await shown(service, order_id)
    event.remove(engine, "before_cursor_execute", count)
    assert len(told) == 2


@pytest.mark.parametrize(
    ("address", "sampled", "links"),
    [
        (None, True, 0),
        ("http://traces:16686/trace/{traceId}?x={traceId}", True, 1),
        ("http://traces:16686/trace/{traceId}", False, 0),
    ],
)
async def test_a_trace_is_linked_where_there_is_a_place_to_look_at_it(
    service: Service, address: str | None, sampled: bool, links: int
) -> None:
    order_id = await placed(service)
    trace = (await service.saga(order_id))["traceId"]
    parent = f"00-{trace}-{'1' * 16}-0{int(sampled)}"
    await execute(
        service, "UPDATE order_sagas SET traceparent = :it WHERE order_id = :id", it=parent, id=UUID(order_id)
    )
    app = FastAPI()
    app.include_router(saga_page_routes(service.sessions, PATIENT, address))
    there = (address or "").replace("{traceId}", trace)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client:
        response = await client.get(f"/sagas/{order_id}")
    # that is for the application to add
    response.headers["x-content-type-options"] = "nosniff"
    facts = Page.of(response, elsewhere=(there,)).one(id="facts")
    assert trace in facts.words
    assert [link.attributes["href"] for link in facts.all("a", rel="noreferrer")] == [there] * links
    assert ("not recorded" in facts.words) == (not sampled)
