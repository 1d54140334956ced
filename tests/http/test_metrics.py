"""What `/metrics` tells when all is not well, and what nobody can make it tell."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import text

from handlers.api import exposition
from handlers.queries import overview
from saga.transitions import Signal
from tests.faults.metrics import metrics
from tests.http.conftest import Service

NOTHING: frozenset[tuple[str, str]] = frozenset()


async def test_without_the_database_the_rest_is_told_and_that_it_is_missing(homeless: Service) -> None:
    response = await homeless.client.get("/metrics")
    assert response.status_code == 200
    told = metrics(response.text)
    assert told["order_service_state_read_success"][NOTHING] == 0
    assert "order_service_sagas_unfinished" not in told
    assert "order_service_sagas_started_total" in told


async def test_a_database_that_does_not_answer_is_not_waited_for(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def for_ever(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(exposition, "look", for_ever)
    monkeypatch.setattr(exposition, "ANSWER_SECONDS", 0.01)
    told = metrics((await service.client.get("/metrics")).text)
    assert told["order_service_state_read_success"][NOTHING] == 0


async def test_many_who_ask_make_one_look(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    look = overview.look

    async def counted(*arguments: object) -> object:
        looks.append(1)
        return await look(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(exposition, "look", counted)
    await asyncio.gather(*(service.client.get("/metrics") for _ in range(20)))
    assert len(looks) == 1


async def test_ages_and_kinds_are_those_of_what_is_stored(service: Service) -> None:
    order = await service.place()
    other = await service.place()
    await service.happen(other["id"], Signal.INVENTORY_VALIDATION_FAILED)
    async with service.sessions() as session, session.begin():
        for change in (
            "UPDATE order_sagas SET created_at = created_at - interval '1 hour' WHERE completed_at IS NULL",
            "UPDATE outbox SET created_at = created_at - interval '5 min' WHERE routing_key LIKE '%OrderFailed'",
            "UPDATE outbox SET last_error = 'unroutable: no queue is bound for it' WHERE routing_key LIKE '%Validate%'",
        ):
            await session.execute(text(change))
    told = metrics((await service.client.get("/metrics")).text)
    assert told["order_service_sagas_unfinished"][NOTHING] == 1
    assert told["order_service_sagas_timed_out"][NOTHING] == 1
    assert 3600 < told["order_service_oldest_unfinished_saga_age_seconds"][NOTHING] < 3700
    assert told["order_service_outbox_messages"][NOTHING] == 5
    assert 300 < told["order_service_outbox_oldest_message_age_seconds"][NOTHING] < 400
    unroutable = told["order_service_outbox_unroutable_messages"]
    assert unroutable == {frozenset({("key", "domain.order.ValidateInventory")}): 2}
    await service.happen(order["id"], Signal.INVENTORY_VALIDATION_FAILED)


async def test_a_reason_that_somebody_invents_makes_no_series(service: Service) -> None:
    invented = uuid4().hex
    async with service.sessions() as session, session.begin():
        await session.execute(
            text(
                "INSERT INTO dead_letters (id, identity, reason, error, routing_key, exchange, headers, properties,"
                " body, first_at, last_at) VALUES (gen_random_uuid(), sha256('x'), :reason, '', '', '', '{}', '{}', '',"
                " now(), now())"
            ),
            {"reason": invented},
        )
    response = await service.client.get("/metrics")
    assert invented not in response.text
    assert metrics(response.text)["order_service_dead_letters_open"][frozenset({("reason", "unknown")})] == 1
