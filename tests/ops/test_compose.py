"""`docker compose up`, as far as can be told without Docker: by Compose itself, and by what the files must agree on."""

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from opentelemetry.sdk import environment_variables as otel

from handlers.access.callers import Scope
from handlers.access.keys import find_key, parse_keys
from settings import Settings
from tests.ops.programs import OPS, PROJECT, RejectedError, compose_config

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (OPS / "Dockerfile").read_text()
ONCE = [name for name, service in SERVICES.items() if service.get("restart") == "no"]
"""What does its work and ends."""
SERVED = [name for name in SERVICES if name not in ONCE]
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


@pytest.mark.parametrize("name", SERVED)
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
        fields = {field.upper() for field in Settings.model_fields}
        read |= fields | {f"{field}_FILE" for field in fields}
    elif name in ONCE:
        read |= {"ORDER_SERVICE_KEY_FILE"}
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


def test_the_keys_are_made_where_they_are_looked_for(tmp_path: Path) -> None:
    """The command itself, in folders that stand for the volumes: nothing of it is in the repository."""
    for _ in range(2):
        told = _make_keys(tmp_path)
    keys = parse_keys((tmp_path / "keys/entries").read_text())
    operator = find_key(keys, (tmp_path / "operator/key").read_text().strip())
    scraper = find_key(keys, (tmp_path / "scraper/key").read_text().strip())
    assert operator
    assert operator.scopes == set(Scope)
    assert scraper
    assert scraper.scopes == {Scope.METRICS}
    # once and for all, and shown at every start; Prometheus' is nobody's business
    assert len(keys) == 2
    assert told == f"operator: {(tmp_path / 'operator/key').read_text()}"
    assert (tmp_path / "operator/key").stat().st_mode & 0o077 == 0


def _make_keys(root: Path) -> str:
    options, script = SERVICES["keys"]["command"][1:]
    for volume in SERVICES["keys"]["volumes"]:
        folder = volume.split(":")[1]
        (root / folder[1:]).mkdir(exist_ok=True)
        script = script.replace(f" {folder}/", f" {root}{folder}/")
    script = script.replace("$$", "$").replace("python ", f"{sys.executable} ")
    done = subprocess.run(["sh", options, script], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout


def test_whoever_needs_a_key_waits_for_it_and_finds_it() -> None:
    made = {volume.split(":")[0] for volume in SERVICES["keys"]["volumes"]}
    (job,) = yaml.safe_load((OPS / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    for name, file in (
        ("service", SERVICES["service"]["environment"]["API_KEYS_FILE"]),
        ("prometheus", job["authorization"]["credentials_file"]),
    ):
        assert SERVICES[name]["depends_on"]["keys"] == {"condition": "service_completed_successfully"}
        mounts = [volume.split(":") for volume in SERVICES[name]["volumes"] if volume.split(":")[0] in made]
        assert [mount[2] for mount in mounts] == ["ro"]
        assert file.startswith(f"{mounts[0][1]}/")


def test_our_image_has_a_folder_of_its_user_s_for_each_volume_that_we_write() -> None:
    (folders,) = re.findall(r"chown orders (.+)$", DOCKERFILE, re.MULTILINE)
    written = {
        volume.split(":")[1]
        for name in OURS
        for volume in SERVICES[name].get("volumes", [])
        if not volume.endswith(":ro")
    }
    assert written <= set(folders.split())
