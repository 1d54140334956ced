"""Starting, with what a person forgets or mistypes."""

import asyncio
from pathlib import Path

import pytest

from local.rule import Behaviour
from tests.service import Service
from tests.system.conftest import System, failed_start, order_body
from tests.waiting import until


@pytest.fixture
def typed() -> bool:
    """What a person types, and all that it does."""
    return True


@pytest.fixture
def migrated(database: str) -> str:
    """An empty one: the service migrates it."""
    return database


RIGHT = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "RABBITMQ_URL": "amqp://user:password@127.0.0.1:9/"}
WRONG: list[tuple[dict[str, str | None], str]] = [
    ({"DATABASE_URL": None}, "DATABASE_URL is not set"),
    ({"RABBITMQ_URL": None}, "RABBITMQ_URL is not set"),
    ({"DATABASE_URL": "mysql://localhost/x"}, "DATABASE_URL: must begin with postgresql"),
    ({"RABBITMQ_URL": "http://localhost"}, "RABBITMQ_URL: must begin with amqp"),
    ({"STAND_INS": "inventory=http://10.0.0.1:5003"}, "STAND_INS: must be name=http://127.0.0.1:port"),
    ({"SAGA_RETRY_ATTEMPTS": "-1"}, "SAGA_RETRY_ATTEMPTS: Input should be greater than or equal to 0"),
    ({"SAGA_STEP_TIMEOUT_SECONDS": "soon"}, "SAGA_STEP_TIMEOUT_SECONDS: Input should be a valid number"),
    ({"RABBITMQ_HOST": "localhost"}, "RABBITMQ_URL, RABBITMQ_HOST: set one of them, not both"),
    ({"DATABASE_URL": "postgresql://u:p@h:port/x"}, "DATABASE_URL: must begin with postgresql"),
    ({"DATABASE_URL": "postgresql://"}, "DATABASE_URL: must name a host and a database"),
    ({"RABBITMQ_URL": "amqp://h:port/"}, "RABBITMQ_URL: must begin with amqp"),
    ({"RABBITMQ_URL": "amqp://"}, "RABBITMQ_URL: must begin with amqp"),
    (
        {"TRACE_URL": "http://localhost:16686/trace"},
        "TRACE_URL: must begin with http:// or https:// and have {traceId}",
    ),
    ({"TRACE_URL": "javascript:{traceId}"}, "TRACE_URL: must begin with http:// or https://"),
    (
        {"DATABASE_URL": None, "DATABASE_URL_FILE": "/nowhere"},
        "DATABASE_URL_FILE does not name a file",
    ),
    ({"DATABASE_URL": "postgresql://u:p@h:99999/x"}, "DATABASE_URL: must name a port between 1 and 65535"),
    ({"DATABASE_URL": "postgresql://u:p@h/x?connect_timeout=5"}, "DATABASE_URL: must not have ?connect_timeout= in it"),
    (
        {"RABBITMQ_URL": "amqp://h/?heartbeat=soon"},
        "RABBITMQ_URL: heartbeat must be a number of seconds",
    ),
    ({"RABBITMQ_URL": None, "RABBITMQ_HOST": "rabbit:5672"}, "RABBITMQ_HOST: must be a name or an IP address"),
    ({"TRUSTED_SENDERS": "domain.inventory."}, "TRUSTED_SENDERS: must be prefix=brokeruser for each"),
    ({"WEBHOOK_SECRET_KEY": "hunter2"}, "WEBHOOK_SECRET_KEY: must be 32 random bytes in base64"),
    ({"WEBHOOK_PROXY": "https://u:p@egress:1"}, "WEBHOOK_PROXY: must be http://host:port"),
    ({"WEBHOOK_DENY": "10.0.0.1/8"}, "WEBHOOK_DENY: must be networks"),
    ({"API_KEYS": "ops:secret:operate"}, "API_KEYS: entry 1 is not id:sha256-of-the-secret:scope"),
    ({"JWT_ISSUER": "https://issuer.example"}, "JWT_ISSUER, JWT_AUDIENCE, and one of JWT_JWKS_URL and"),
    ({"ACCESS": "lokal"}, "ACCESS: Input should be 'local'"),
    ({"API_KEYS": ""}, "API_KEYS: is empty"),
    ({"API_KEY": "x"}, "API_KEY: there is no such setting; API_KEYS is one"),
    ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER: must be one of always_on, always_off, traceidratio"),
    ({"OTEL_BSP_SCHEDULE_DELAY": "soon"}, "OTEL_BSP_SCHEDULE_DELAY: Input should be a valid integer"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(
    tmp_path: Path, wrong: dict[str, str | None], said: str
) -> None:
    text = failed_start(tmp_path, {name: value for name, value in (RIGHT | wrong).items() if value is not None})
    assert len([line for line in text.splitlines() if said in line]) == 1, text


async def test_a_client_that_waits_does_not_keep_the_service_from_stopping(system: System) -> None:
    system.inventory.behaviour["ValidateInventory"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())
    waiting = asyncio.create_task(system.client.get(f"/api/orders/{order_id}", headers={"Prefer": "wait=30"}))

    async def is_watched() -> bool:
        watching = "application_name = 'order-service api' AND query LIKE '%ANY%' AND query NOT LIKE '%items%'"
        return bool(await system.rows(f"SELECT 1 FROM pg_stat_activity WHERE {watching}"))

    await until(is_watched)
    await asyncio.to_thread(system.service.child.stop, seconds=17)
    assert (await waiting).json()["status"] == "Pending"
    assert "Finished server process" in system.service.log.read_text()


async def test_a_service_that_is_ready_says_so_and_stops_when_told(service: Service) -> None:
    await service.ready()
    service.child.stop(seconds=17)
    assert "Finished server process" in service.log.read_text()
