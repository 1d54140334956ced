"""Addresses, as the service will use them."""

import pytest
from pydantic import ValidationError

from settings import Settings


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p@h/x", "postgresql+asyncpg://u:p@h/x"),
        ("postgresql+asyncpg://u:p%40ss@h:5433/x", "postgresql+asyncpg://u:p%40ss@h:5433/x"),
        ("postgresql://u:p@h/x?sslmode=require", "postgresql+asyncpg://u:p@h/x?ssl=require"),
    ],
)
def test_the_database_is_reached_by_the_asynchronous_driver(given: str, used: str) -> None:
    assert Settings.model_validate({"database_url": given}).database_dsn == used


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({"rabbitmq_url": "amqp://u:p@h:5673/v"}, "amqp://u:p@h:5673/v?heartbeat=5"),
        ({"rabbitmq_url": "amqps://u:p@h/v?heartbeat=60"}, "amqps://u:p@h/v?heartbeat=60"),
        ({"rabbitmq_host": "h"}, "amqp://guest:guest@h:5672/%2F?heartbeat=5"),
        (
            {"rabbitmq_host": "h", "rabbitmq_password": "a/b@c", "rabbitmq_vhost": "v"},
            "amqp://guest:a%2Fb%40c@h:5672/v?heartbeat=5",
        ),
    ],
)
def test_a_broker_that_is_silent_is_noticed_soon(given: dict[str, str], used: str) -> None:
    assert Settings.model_validate(given).amqp_dsn == used


def test_stand_ins_are_found_by_name() -> None:
    given = {"stand_ins": "inventory=http://127.0.0.1:5003  billing=http://[::1]:5004"}
    assert Settings.model_validate(given).stand_in_addresses == {
        "inventory": "http://127.0.0.1:5003",
        "billing": "http://[::1]:5004",
    }
    assert Settings().stand_in_addresses == {}


@pytest.mark.parametrize(
    "given",
    ["inventory", "inventory=https://127.0.0.1:1", "x=http://127.0.0.1.evil.example:1", "x=http://evil.example:1",
     "x=http://127.0.0.1:1/path", "x=http://user@127.0.0.1:1", "x=http://127.0.0.1"],
)  # fmt: skip
def test_a_stand_in_is_on_this_machine(given: str) -> None:
    with pytest.raises(ValidationError, match="this machine"):
        Settings.model_validate({"stand_ins": given})
