"""Addresses, as the service will use them; and where traces go, and of what."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from saga.errors import ConfigurationError
from saga.runtime.plaintext import exposed_broker, exposed_collector, exposed_database
from saga.webhooks.proxy import Proxy
from settings import Settings, load

LOGIN = {"rabbitmq_user": "u", "rabbitmq_password": "p"}


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p@h/x", "postgresql+asyncpg://u:p@h/x"),
        ("postgresql+asyncpg://u:p%40ss@h:5433/x", "postgresql+asyncpg://u:p%40ss@h:5433/x"),
        ("postgresql://u:p@h/x?ssl=require", "postgresql+asyncpg://u:p@h/x?sslmode=require"),
        ("postgresql://u:p@h/x?sslmode=require", "postgresql+asyncpg://u:p@h/x?sslmode=require"),
    ],
)
def test_the_database_is_reached_by_the_asynchronous_driver(given: str, used: str) -> None:
    assert Settings.model_validate({"database_url": given}).database_dsn == used


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({"rabbitmq_url": "amqp://u:p@h:5673/v"}, "amqp://u:p@h:5673/v?heartbeat=5"),
        ({"rabbitmq_url": "amqps://u:p@h/v?heartbeat=60"}, "amqps://u:p@h/v?heartbeat=60"),
        (LOGIN | {"rabbitmq_host": "::1"}, "amqp://u:p@[::1]:5672/%2F?heartbeat=5"),
        (LOGIN | {"rabbitmq_host": "h"}, "amqp://u:p@h:5672/%2F?heartbeat=5"),
        (
            LOGIN | {"rabbitmq_host": "h", "rabbitmq_password": "a/b@c", "rabbitmq_vhost": "v"},
            "amqp://u:a%2Fb%40c@h:5672/v?heartbeat=5",
        ),
        ({"rabbitmq_url": "amqps://h/?auth=external"}, "amqps://h/?auth=external&heartbeat=5"),
    ],
)
def test_a_broker_that_is_silent_is_noticed_soon(given: dict[str, str], used: str) -> None:
    assert Settings.model_validate(given).amqp_dsn == used


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rabbitmq_host": "h"}, "RABBITMQ_USER, RABBITMQ_PASSWORD: both are needed"),
        ({"rabbitmq_host": "h", "rabbitmq_user": "u"}, "RABBITMQ_USER, RABBITMQ_PASSWORD: both are needed"),
        ({"rabbitmq_host": "h", "rabbitmq_password": "p"}, "RABBITMQ_USER, RABBITMQ_PASSWORD: both are needed"),
        ({"rabbitmq_url": "amqp://h/"}, "must name a user"),
        ({"rabbitmq_url": "amqp://:p@h/"}, "must name a user"),
    ],
)
def test_nobody_is_guest_by_default(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate(given)


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql+asyncpg://u:p@db/x", ["db"]),
        ("postgresql+asyncpg://u:p@[::1]:5432/x?sslmode=require", ["::1"]),
        ("postgresql+asyncpg://u:p@10.0.0.5/x?sslmode=prefer", ["10.0.0.5"]),
        ("postgresql+asyncpg://u:p@/x?host=127.0.0.1:5432&host=[::1]:5433&host=db", ["127.0.0.1", "::1", "db"]),
        ("postgresql+asyncpg://u:p@/x?host=/var/run/postgresql", []),
        ("postgresql+asyncpg://u:p@db/x?sslmode=verify-full", []),
        ("postgresql+asyncpg://u:p@db/x?sslmode=verify-ca", []),
    ],
)
def test_a_database_that_others_may_listen_to_is_known(dsn: str, hosts: list[str]) -> None:
    assert exposed_database(dsn) == hosts


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("amqp://u:p@mq/", ["mq"]),
        ("amqp://u:p@[::1]:5672/v", ["::1"]),
        ("amqps://u:p@mq/?no_verify_ssl=1", ["mq"]),
        ("amqps://u:p@mq/?no_verify_ssl=0", []),
        ("amqps://u:p@mq/", []),
    ],
)
def test_a_broker_that_others_may_listen_to_is_known(dsn: str, hosts: list[str]) -> None:
    assert exposed_broker(dsn) == hosts


@pytest.mark.parametrize(
    ("endpoint", "hosts"), [("http://collector:4318", ["collector"]), ("https://collector", []), (None, [])]
)
def test_a_collector_that_others_may_listen_to_is_known(endpoint: str | None, hosts: list[str]) -> None:
    assert exposed_collector(endpoint) == hosts


@pytest.mark.parametrize(
    ("given", "collector"),
    [
        ({}, None),
        ({"otel_exporter_otlp_endpoint": "http://a:4318"}, "http://a:4318"),
        (
            {"otel_exporter_otlp_endpoint": "http://a:4318", "otel_exporter_otlp_traces_endpoint": "http://b/x"},
            "http://b/x",
        ),
        ({"otel_exporter_otlp_endpoint": "http://a:4318", "otel_traces_exporter": "none"}, None),
    ],
)
def test_it_is_known_where_traces_go(given: dict[str, str], collector: str | None) -> None:
    assert Settings.model_validate(given).collector == collector


@pytest.mark.parametrize(
    "said",
    ["application_name=x", "options=-csearch_path%3Dx", "connect_timeout=5", "sslnegotiation=direct", "dsn=x",
     "sslmode=require&sslmode=disable", "command_timeout=1"],
)  # fmt: skip
def test_what_the_service_says_to_the_database_by_itself_is_not_said_in_the_address(said: str) -> None:
    name = said.partition("=")[0]
    with pytest.raises(ValidationError, match=rf"must not have \?{name}= in it, or more than one: it may have host, "):
        Settings.model_validate({"database_url": f"postgresql://u:p@h/x?{said}"})


@pytest.mark.parametrize(
    "given",
    ["host=a&host=b", "target_session_attrs=read-write", "passfile=/x", "ssl_min_protocol_version=TLSv1.3&ssl=require"],
)
def test_what_the_driver_takes_may_be_said_in_the_address(given: str) -> None:
    assert Settings.model_validate({"database_url": f"postgresql://u:p@/x?host=h&{given}"}).database_dsn


@pytest.mark.parametrize("given", ["rabbit:5672", "a b", "user@h", "h/v", "[::1]"])
def test_a_host_is_a_host(given: str) -> None:
    with pytest.raises(ValidationError, match="must be a name or an IP address"):
        Settings.model_validate({"rabbitmq_host": given})


COLLECTOR = "http://localhost:4318"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder without a `.env`, and an environment that says nothing of traces."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "tracing"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{COLLECTOR}/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
)
def test_traces_are_made_where_they_have_somewhere_to_go(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], tracing: bool
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load().tracing is tracing


@pytest.mark.parametrize(
    ("sampler", "argument", "share"),
    [
        (None, None, 1),
        ("always_on", None, 1),
        ("parentbased_always_on", "0.1", 1),
        ("always_off", None, 0),
        ("parentbased_always_off", None, 0),
        ("traceidratio", "0.1", 0.1),
        ("parentbased_traceidratio", "0", 0),
        ("traceidratio", "1.0", 1),
        ("traceidratio", None, 1),
    ],
)
def test_the_share_of_sagas_that_is_traced_is_said_as_everywhere(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, sampler: str | None, argument: str | None, share: float
) -> None:
    for name, value in (("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert load().traced_share == share


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://localhost:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "10 %"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_SDK_DISABLED", "perhaps"),
        ("OTEL_RESOURCE_ATTRIBUTES", "test"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("WEBHOOK_ALLOW", "localhost"),
        ("WEBHOOK_ALLOW", "localhost:8000 secret@b:1"),
    ],
)
def test_a_wrong_value_is_named_in_one_line_and_not_repeated(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    if name == "OTEL_TRACES_SAMPLER_ARG":
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"^{name}: [^\n]+$") as raised:
        load()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test, service.version=1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20YTpi,x-tenant=a=b"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5"),
    ],
)
def test_what_is_right_is_let_through(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert not load().tracing


def test_what_env_says_of_opentelemetry_reaches_it(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ, OTEL_SERVICE_NAME="shop"))
    (elsewhere / ".env").write_text(
        f"OTEL_EXPORTER_OTLP_ENDPOINT={COLLECTOR}\nOTEL_SERVICE_NAME=other\nOTEL_BSP_SCHEDULE_DELAY=50\n"
    )
    assert load().tracing
    said = {name: os.environ[name] for name in os.environ if name.startswith("OTEL_")}
    assert said == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR,
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    (elsewhere / ".env").write_text("OTEL_BSP_SCHEDULE_DELAY=soon\n")
    monkeypatch.delitem(os.environ, "OTEL_BSP_SCHEDULE_DELAY")
    with pytest.raises(ConfigurationError, match="OTEL_BSP_SCHEDULE_DELAY"):
        load()


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


@pytest.mark.parametrize(
    "given",
    ["inventory", "=inventory", "domain.inventory.=", "domain.inventory. = inventory", "order-service.=x",
     "domain.a.=x domain.a.=y", "domain.inventory.=inventory,domain.billing.=billing"],
)  # fmt: skip
def test_a_trusted_sender_is_named_for_routing_keys_of_the_contract(given: str) -> None:
    with pytest.raises(ValidationError, match="prefix=brokeruser"):
        Settings.model_validate({"trusted_senders": given})


def test_trusted_senders_are_found_by_the_beginning_of_the_routing_key() -> None:
    given = {"trusted_senders": "domain.inventory.=inv=1 domain.billing.=billing", "rabbitmq_url": "amqp://us:p@h/"}
    senders = Settings.model_validate(given).senders
    assert senders.own == "us"
    assert senders.trusts("domain.inventory.InventoryValidated", "inv=1")
    assert not senders.trusts("domain.billing.PaymentProcessed", "inv=1")
    assert Settings().senders.trusts("domain.billing.PaymentProcessed", None)


def test_whoever_trusts_senders_has_a_name_of_its_own() -> None:
    given = {"trusted_senders": "domain.inventory.=inventory", "rabbitmq_url": "amqps://h/?auth=external"}
    with pytest.raises(ValidationError, match="RABBITMQ_URL: with TRUSTED_SENDERS it must name its user"):
        Settings.model_validate(given)
    assert Settings.model_validate(given | {"rabbitmq_url": "amqps://us@h/?auth=external"}).senders.own == "us"


def test_a_secret_of_opentelemetry_may_be_in_a_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (elsewhere / "headers").write_text("authorization=Bearer%20x\n")
    os.environ["OTEL_EXPORTER_OTLP_HEADERS_FILE"] = str(elsewhere / "headers")
    load()
    assert os.environ["OTEL_EXPORTER_OTLP_HEADERS"] == "authorization=Bearer%20x"


def test_exceptions_for_webhooks_are_hosts_and_ports() -> None:
    given = {"webhook_allow": "localhost:8000  [::1]:8001"}
    assert Settings.model_validate(given).allowed_receivers == {("localhost", 8000), ("::1", 8001)}
    assert Settings().allowed_receivers == set()


def test_networks_that_webhooks_never_go_to_and_what_they_go_through() -> None:
    settings = Settings.model_validate({"webhook_deny": "203.0.113.0/24", "webhook_proxy": "http://u:p@egress:4750"})
    assert [str(network) for network in settings.denied_receivers] == ["203.0.113.0/24"]
    assert settings.egress_proxy == Proxy("egress", 4750, "Basic dTpw")
    assert "u:p" not in repr(settings)
    assert (Settings().denied_receivers, Settings().egress_proxy) == ((), None)
    for wrong in ({"webhook_deny": "203.0.113.1/24"}, {"webhook_proxy": "https://u:p@egress"}):
        with pytest.raises(ValidationError, match="must be "):
            Settings.model_validate(wrong)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]),
        ({"webhook_retry_seconds": "0.5, 2,60"}, [0.5, 2, 60]),
    ],
)
def test_webhooks_are_tried_again_by_the_standards_schedule_or_as_is_said(
    given: dict[str, str], seconds: list[float]
) -> None:
    assert [wait.total_seconds() for wait in Settings.model_validate(given).webhook_waits] == seconds


@pytest.mark.parametrize("given", ["soon", "5,,6", "0", "-1", "nan", "inf", "604801", ",".join(["1"] * 51)])
def test_waits_of_webhooks_that_are_none_are_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="must be at most 50 waits"):
        Settings.model_validate({"webhook_retry_seconds": given})


_EVERYBODY = "domain.inventory.=inventory domain.billing.=billing domain.order.=shop"


@pytest.mark.parametrize(
    ("url", "named", "believes"),
    [
        ("amqp://u:p@broker/", None, True),
        ("amqp://u:p@broker/", "domain.inventory.=inventory domain.billing.=billing", True),
        ("amqp://u:p@broker/", _EVERYBODY, False),
        ("amqp://u:p@broker/", "domain.=u", False),
        ("amqp://u:p@localhost/", None, False),
        ("amqp://u:p@[::1]/", None, False),
    ],
)
def test_it_is_said_where_strangers_may_be_on_the_broker_and_would_be_believed(
    url: str, named: str | None, believes: bool
) -> None:
    settings = Settings.model_validate({"rabbitmq_url": url, "trusted_senders": named})
    assert settings.believes_strangers is believes
