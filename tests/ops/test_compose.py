"""`docker compose up`, as far as can be told without Docker: by Compose itself, and by what the files must agree on."""

import copy
import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from opentelemetry.sdk import environment_variables as otel

from settings import Settings
from tests.ops.programs import OPS, PROJECT, RejectedError, compose_config

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (OPS / "Dockerfile").read_text()
OURS = [name for name, service in SERVICES.items() if "build" in service]
OTHERS = [name for name in SERVICES if name not in OURS]
IMAGE_VARIABLES = {"postgres": "POSTGRES_", "rabbitmq": "RABBITMQ_DEFAULT_", "grafana": "GF_"}
PINNED = r"(postgres:\d+\.\d+|[\w./]+:v?\d+\.\d+\.\d+)(-[a-z]+)*"
"""PostgreSQL's releases have two numbers."""


def test_compose_accepts_it() -> None:
    assert set(compose_config(COMPOSE)["services"]) == set(SERVICES)


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        (("services", "service", "helthcheck"), {}),
        (("services", "service", "depends_on"), ["nobody"]),
        (("services", "grafana", "volumes"), ["undeclared:/data"]),
        (("services", "jaeger", "healthcheck", "interval"), "often"),
    ],
)
def test_compose_refuses_what_is_wrong(where: tuple[str, ...], wrong: Any) -> None:
    document = copy.deepcopy(COMPOSE)
    place = document
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = wrong
    with pytest.raises(RejectedError):
        compose_config(document)


@pytest.mark.parametrize("name", OTHERS)
def test_an_image_is_a_certain_release(name: str) -> None:
    assert re.fullmatch(PINNED, SERVICES[name]["image"])


def test_what_our_own_image_is_made_of_is_there() -> None:
    (base,) = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(PINNED, base)
    default = re.findall(r"^ARG requirements=(\S+)$", DOCKERFILE, re.MULTILINE)
    builds = [SERVICES[name]["build"] for name in OURS]
    for path in (*default, *(build["dockerfile"] for build in builds)):
        assert (PROJECT / path).is_file()
    for build in builds:
        assert (PROJECT / build.get("args", {}).get("requirements", *default)).is_file()
    copied = re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE)
    assert copied == ["${requirements}", "."]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_asked_whether_it_is_well_where_it_listens(name: str) -> None:
    test = " ".join(SERVICES[name]["healthcheck"]["test"])
    port = re.search(r"http://127\.0\.0\.1:(\d+)/", test)
    if name in OURS:
        command = SERVICES[name].get("command") or re.findall(r'"([^"]+)"', DOCKERFILE.partition("CMD")[2])
        assert port
        assert port[1] == command[command.index("--port") + 1]
        module, _, attribute = command[2].partition(":")
        assert command[:2] == ["faststream", "run"]
        assert attribute == "app"
        assert find_spec(module)


@pytest.mark.parametrize("name", SERVICES)
def test_only_this_machine_reaches_it_and_all_are_on_one_network(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))
    assert not {"networks", "network_mode"} & SERVICES[name].keys()
    assert "networks" not in COMPOSE


def test_no_port_is_published_twice() -> None:
    ports = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there_and_stays_as_it_is(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert (PROJECT / source).exists()
            assert rest.endswith(":ro")


@pytest.mark.parametrize("name", SERVICES)
def test_a_variable_is_one_that_somebody_reads(name: str) -> None:
    given = set(SERVICES[name].get("environment", {}))
    read = {str(value) for constant, value in vars(otel).items() if constant.startswith("OTEL_")}
    if name == "service":
        read |= {field.upper() for field in Settings.model_fields}
    elif name in OURS:
        sources = "".join(path.read_text() for path in (PROJECT / "local").glob("*.py"))
        read |= set(re.findall(r'environ\.get\("(\w+)"', sources))
    else:
        read = {variable for variable in given if variable.startswith(IMAGE_VARIABLES[name])}
    assert given <= read


def test_the_service_would_start_with_its_settings() -> None:
    given = {variable.lower(): value for variable, value in SERVICES["service"]["environment"].items()}
    Settings.model_validate(given).require_addresses()


def test_every_address_names_a_service() -> None:
    addresses = list(_addresses())
    assert len(addresses) > 10
    for address in addresses:
        parts = urlsplit(address)
        # what a browser on this machine follows leads to a port that is published
        assert parts.hostname in SERVICES or (parts.hostname == "localhost" and _published(parts.port)), address


def _published(port: int | None) -> bool:
    return any(f":{port}:" in str(one) for service in SERVICES.values() for one in service.get("ports", []))


def _addresses() -> Iterator[str]:
    for service in SERVICES.values():
        yield from (value for value in service.get("environment", {}).values() if "://" in value)
    yield from (
        source["url"] for source in yaml.safe_load((OPS / "grafana/datasources.yaml").read_text())["datasources"]
    )
    prometheus = yaml.safe_load((OPS / "prometheus/prometheus.yml").read_text())
    for job in prometheus["scrape_configs"]:
        yield from (f"http://{target}" for config in job["static_configs"] for target in config["targets"])


def test_the_service_is_scraped_where_it_listens_under_the_name_that_the_alerts_know() -> None:
    (job,) = yaml.safe_load((OPS / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "order-service"
    assert job["static_configs"] == [{"targets": ["service:5002"]}]
    assert "127.0.0.1:5002:5002" in SERVICES["service"]["ports"]
