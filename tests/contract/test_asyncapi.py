"""The committed contract is what the code gives, it is complete, and its examples are true."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from handlers.bus.asyncapi.document import INCOMING, OUTGOING
from handlers.strict_json import decode
from models.messages import Outgoing, Wire

ROOT = Path(__file__).parent.parent.parent

INCOMING_KEYS = {
    "domain.order.CreateOrder",
    "domain.order.CancelOrder",
    "domain.inventory.InventoryValidated",
    "domain.inventory.InventoryValidationFailed",
    "domain.inventory.InventoryReserved",
    "domain.inventory.InventoryReservationFailed",
    "domain.inventory.InventoryReleased",
    "domain.inventory.InventoryReleaseFailed",
    "domain.billing.PaymentProcessed",
    "domain.billing.PaymentFailed",
    "domain.billing.PaymentRefunded",
    "domain.billing.PaymentRefundFailed",
}
OUTGOING_KEYS = {
    "domain.order.ValidateInventory",
    "domain.order.ReserveInventory",
    "domain.order.ReleaseInventory",
    "domain.order.ProcessPayment",
    "domain.order.RefundPayment",
    "domain.order.OrderCreated",
    "domain.order.OrderCompleted",
    "domain.order.OrderFailed",
}
ANSWERS = {
    "ValidateInventory": ("InventoryValidated", "InventoryValidationFailed"),
    "ReserveInventory": ("InventoryReserved", "InventoryReservationFailed"),
    "ReleaseInventory": ("InventoryReleased", "InventoryReleaseFailed"),
    "ProcessPayment": ("PaymentProcessed", "PaymentFailed"),
    "RefundPayment": ("PaymentRefunded", "PaymentRefundFailed"),
}
MODELS: dict[str, type[Wire]] = {model.__name__: model for model in (*INCOMING, *OUTGOING)}


@pytest.fixture(scope="module")
def committed() -> Any:
    return yaml.safe_load((ROOT / "asyncapi.yaml").read_text(encoding="utf-8"))


def generate(*options: str) -> None:
    """What an integrator runs: nothing in the environment, no broker, no database."""
    command = [sys.executable, "-m", "faststream", "docs", "gen", "app:app", *options]
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_committed_contract_is_what_the_command_gives_without_any_environment(
    tmp_path: Path, committed: Any
) -> None:
    generate("--yaml", "--out", str(tmp_path / "asyncapi.yaml"))
    assert yaml.safe_load((tmp_path / "asyncapi.yaml").read_text(encoding="utf-8")) == committed, "run `make contract`"


def test_yaml_and_json_say_the_same_in_the_same_order(tmp_path: Path, committed: Any) -> None:
    generate("--out", str(tmp_path / "asyncapi.json"))
    assert (tmp_path / "asyncapi.json").read_text(encoding="utf-8") == json.dumps(committed, indent=2)


def test_every_message_of_the_contract_is_there_and_no_other(committed: Any) -> None:
    by_action: dict[str, set[str]] = {"receive": set(), "send": set()}
    for operation in committed["operations"].values():
        channel = operation["channel"]["$ref"].rsplit("/", 1)[-1]
        by_action[operation["action"]].add(committed["channels"][channel]["address"])
    assert by_action == {"receive": INCOMING_KEYS, "send": OUTGOING_KEYS}
    assert {channel["address"] for channel in committed["channels"].values()} == INCOMING_KEYS | OUTGOING_KEYS


@pytest.mark.parametrize("name", MODELS)
def test_every_message_bears_the_name_of_the_wire_and_says_what_it_is(committed: Any, name: str) -> None:
    message, channel = committed["components"]["messages"][name], committed["channels"][name]
    assert message["name"] == message["title"] == channel["address"].rsplit(".", 1)[-1] == name
    assert message["description"]
    assert channel["description"]
    assert message["contentType"] == "application/json"
    assert message["examples"]


@pytest.mark.parametrize("command", ANSWERS)
def test_commands_name_their_replies_and_replies_their_command(committed: Any, command: str) -> None:
    messages = committed["components"]["messages"]
    for reply in ANSWERS[command]:
        assert f"`{reply}`" in messages[command]["description"]
        assert f"Answers `{command}`" in messages[reply]["description"]


def test_a_queue_of_ours_is_documented_as_it_is_declared(committed: Any) -> None:
    for name in (model.__name__ for model in INCOMING):
        channel = committed["channels"][name]
        assert channel["bindings"]["amqp"]["queue"]["name"] == f"order-service.{name}"
        assert channel["x-queue-arguments"]["x-queue-type"] == "quorum"
        assert channel["x-queue-arguments"]["x-delivery-limit"] > 0
        assert channel["x-queue-arguments"]["x-dead-letter-exchange"] == "order-service.dlx"


@cache
def examples() -> list[Any]:
    """Every example of the committed contract."""
    document = yaml.load((ROOT / "asyncapi.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
    return [
        pytest.param(name, example, id=example["name"])
        for name, message in document["components"]["messages"].items()
        for example in message["examples"]
    ]


@pytest.mark.parametrize(("name", "example"), examples())
def test_every_example_is_valid(committed: Any, name: str, example: Any) -> None:
    body = json.dumps(example["payload"]).encode()
    assert MODELS[name].model_validate(decode(body))
    schema = {"$ref": f"#/components/schemas/{name}", "components": committed["components"]}
    jsonschema_rs.validate(schema, example["payload"])
    if "headers" in example:
        jsonschema_rs.validate(committed["components"]["schemas"]["OutgoingHeaders"], example["headers"])


@pytest.mark.parametrize(
    ("name", "example"), [one for one in examples() if issubclass(MODELS[one.values[0]], Outgoing)]
)
def test_every_example_that_leaves_has_the_common_part_and_its_headers(name: str, example: Any) -> None:
    payload = example["payload"]
    assert payload.keys() >= {"eventId", "orderId", "sagaId", "occurredAt"}
    assert payload["occurredAt"].endswith("Z")
    assert ("attempt" in payload) == (name in ANSWERS)
    assert example["headers"]["ce-id"] == payload["eventId"]
    assert example["headers"]["ce-subject"] == payload["orderId"]
    assert example["headers"]["ce-type"] == f"domain.order.{name}"


def test_money_is_a_string_in_what_leaves_and_also_a_number_in_what_comes(committed: Any) -> None:
    schemas = committed["components"]["schemas"]
    assert schemas["Item-Output"]["properties"]["price"]["type"] == "string"
    assert schemas["ProcessPayment"]["properties"]["totalAmount"]["type"] == "string"
    assert {one["type"] for one in schemas["Item-Input"]["properties"]["price"]["anyOf"]} == {"string", "number"}


def test_no_schema_has_a_title_for_a_field_or_a_null_in_what_leaves(committed: Any) -> None:
    for name, schema in committed["components"]["schemas"].items():
        fields = schema.get("properties", {}).values()
        assert not [field for field in fields if "title" in field], name
        if name in {model.__name__ for model in OUTGOING}:
            assert "null" not in json.dumps(schema), name


def test_no_address_or_secret_of_ours_is_in_it(committed: Any) -> None:
    assert committed["servers"] == {
        "rabbitmq": {"host": "localhost:5672", "protocol": "amqp", "protocolVersion": "0.9.1"}
    }
