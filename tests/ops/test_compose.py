"""`docker compose up`, as far as can be told without Docker: by Compose itself, and by what the files must agree on."""

import base64
import copy
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import yaml
from opentelemetry.sdk import environment_variables as otel
from yarl import URL

from handlers.access.api_keys import find_key, parse_keys
from handlers.access.principal import Scope
from local.broker import RabbitMQ
from local.child import Child
from local.host import LOOPBACK, free_port
from local.management import Management, ManagementError
from settings import Settings
from tests.ops.programs import OPS, PROJECT, RejectedError, compose_config
from tests.system.permissions import Rights, documented_rights
from tests.system.roles import documented_roles
from tests.waiting import until

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
    base, *stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(PINNED, base[0])
    assert {built_on for built_on, _ in stages} == {base[1]}
    for name in OURS:
        build = SERVICES[name]["build"]
        assert (PROJECT / build["dockerfile"]).is_file()
        assert build["target"] in {stage for _, stage in stages}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]
    assert service["pids_limit"] > 0
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    uid, _, gid = service["user"].partition(":")
    assert int(uid) > 0
    assert gid.isdecimal()
    assert not {"privileged", "cap_add", "pid", "ipc"} & service.keys()
    if name in OURS:
        assert f"USER {service['user']}\n" in DOCKERFILE


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
def test_only_this_machine_reaches_it_and_it_is_on_networks_of_its_own_kind(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))
    assert "network_mode" not in SERVICES[name]
    assert set(SERVICES[name]["networks"]) <= COMPOSE["networks"].keys()


def test_the_database_and_the_broker_are_reached_by_those_alone_who_need_them() -> None:
    beside = {
        network: {name for name in SERVICES if network in SERVICES[name]["networks"]} for network in COMPOSE["networks"]
    }
    assert beside["database"] == {"postgres", "migrate", "service"}
    assert beside["bus"] == {"rabbitmq", "service", "inventory", "billing", "notifications"}


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
        read |= {"ORDER_SERVICE_KEY_FILE", "DATABASE_URL"}
    elif name in OURS:
        sources = "".join(path.read_text() for path in (PROJECT / "local").glob("*.py"))
        read |= set(re.findall(r'environ\.get\("(\w+)"', sources))
    else:
        read = {variable for variable in given if variable.startswith(IMAGE_VARIABLES[name])}
    assert given <= read


def test_the_service_would_start_with_its_settings() -> None:
    given = {variable.lower(): value for variable, value in SERVICES["service"]["environment"].items()}
    Settings.model_validate(given).require_addresses()


def test_every_address_names_a_service_on_a_network_of_who_asks() -> None:
    addresses = list(_addresses())
    assert len(addresses) > 10
    for name, address in addresses:
        parts = urlsplit(address)
        if parts.hostname in SERVICES:
            assert set(SERVICES[name]["networks"]) & set(SERVICES[parts.hostname]["networks"]), (name, address)
        # what a browser on this machine follows leads to a port that is published
        assert parts.hostname in SERVICES or (parts.hostname == "localhost" and _published(parts.port)), address


def _published(port: int | None) -> bool:
    return any(f":{port}:" in str(one) for service in SERVICES.values() for one in service.get("ports", []))


def _addresses() -> Iterator[tuple[str, str]]:
    """Who asks, and where."""
    for name, service in SERVICES.items():
        yield from ((name, value) for value in service.get("environment", {}).values() if "://" in value)
    for source in yaml.safe_load((OPS / "grafana/datasources.yaml").read_text())["datasources"]:
        yield "grafana", source["url"]
    prometheus = yaml.safe_load((OPS / "prometheus/prometheus.yml").read_text())
    for job in prometheus["scrape_configs"]:
        for config in job["static_configs"]:
            yield from (("prometheus", f"http://{target}") for target in config["targets"])


DEFINITIONS: dict[str, Any] = json.loads((OPS / "rabbitmq/definitions.json").read_text())


def test_every_program_has_a_broker_user_of_its_own_with_the_rights_of_the_readme() -> None:
    granted = {
        row["user"]: Rights(row["configure"], row["write"], row["read"], topics["write"], topics["read"])
        for row, topics in zip(DEFINITIONS["permissions"], DEFINITIONS["topic_permissions"], strict=True)
        if row["user"] == topics["user"]
    }
    expected = documented_rights()
    # nobody in these containers is a client that orders; what listens to events is no participant
    del expected["shop"]
    assert {name: rights for name, rights in granted.items() if name in expected} == expected
    nothing = "^$"
    assert granted.keys() - expected.keys() == {"notifications", "viewer"}
    assert granted["notifications"].topic_write == nothing
    assert not re.match(granted["notifications"].write, "domain")
    assert granted["viewer"] == Rights(nothing, nothing, nothing, nothing, nothing)


def test_the_broker_knows_each_by_the_password_in_its_address_and_nobody_else() -> None:
    users = {user["name"]: user for user in DEFINITIONS["users"]}
    addresses = {
        name: urlsplit(service["environment"]["RABBITMQ_URL"])
        for name, service in SERVICES.items()
        if "RABBITMQ_URL" in service.get("environment", {})
    }
    logins = {str(address.username): str(address.password) for address in addresses.values()}
    assert len(logins) == len(addresses) == 4
    for user, password in (logins | {"viewer": "viewer"}).items():
        kept = base64.b64decode(users[user]["password_hash"])
        assert kept[4:] == hashlib.sha256(kept[:4] + password.encode()).digest(), user
    assert users.keys() == logins.keys() | {"viewer"}
    assert {name for name, user in users.items() if user["tags"]} == {"viewer"}
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["rabbitmq"]["volumes"])
    assert (
        f"load_definitions = {mounted['./ops/rabbitmq/definitions.json']}\n"
        in (OPS / "rabbitmq/rabbitmq.conf").read_text()
    )
    assert mounted["./ops/rabbitmq/rabbitmq.conf"].startswith("/etc/rabbitmq/conf.d/")


PUBLICATION = {
    "properties": {},
    "routing_key": "domain.billing.PaymentProcessed",
    "payload": "{}",
    "payload_encoding": "string",
}


@dataclass(frozen=True)
class Defined:
    """A virtual host with the users of the definitions, whose names there end in a suffix."""

    management: Management
    url: URL
    suffix: str

    @property
    def vhost(self) -> str:
        return self.url.path.removeprefix("/")

    def named(self, user: str) -> str:
        return f"{user}-{self.suffix}"

    def login(self, user: str) -> str:
        return str(self.url.with_user(self.named(user)).with_password(user))


@pytest.fixture
def defined(rabbitmq: RabbitMQ, vhost: str) -> Iterator[Defined]:
    """RabbitMQ with our definitions, taken as at its start."""
    here = Defined(rabbitmq.management, URL(vhost), uuid4().hex[:8])
    users = [user | {"name": here.named(user["name"])} for user in DEFINITIONS["users"]]
    renamed = {
        "users": users,
        "vhosts": [],
        "exchanges": [one | {"vhost": here.vhost} for one in DEFINITIONS["exchanges"]],
        **{
            kind: [row | {"vhost": here.vhost, "user": here.named(row["user"])} for row in DEFINITIONS[kind]]
            for kind in ("permissions", "topic_permissions")
        },
    }
    here.management.call("POST", "definitions", renamed)
    yield here
    for user in users:
        here.management.delete_user(user["name"])


def test_who_looks_at_rabbitmq_cannot_publish(defined: Defined) -> None:
    viewer = Management(defined.management._url, defined.named("viewer"), "viewer")
    assert viewer.queues(defined.vhost) == {}
    publish = f"exchanges/{defined.vhost}/domain/publish"
    assert defined.management.call("POST", publish, PUBLICATION) == {"routed": False}
    with pytest.raises(ManagementError):
        viewer.call("POST", publish, PUBLICATION)


@pytest.mark.parametrize(
    ("name", "queue"),
    [
        ("inventory", "inventory.ValidateInventory"),
        ("billing", "billing.ProcessPayment"),
        ("notifications", "notifications.OrderCreated"),
    ],
)
async def test_a_simulator_listens_as_its_own_user(defined: Defined, name: str, queue: str, tmp_path: Path) -> None:
    service = SERVICES[name]
    command = [sys.executable, "-m", *service["command"]]
    command[command.index("--host") + 1], command[command.index("--port") + 1] = LOOPBACK, str(free_port())
    env = service["environment"] | {"RABBITMQ_URL": defined.login(name), "LEDGER_DIR": str(tmp_path)}
    env["OTEL_SDK_DISABLED"] = "true"
    del env["OTEL_EXPORTER_OTLP_ENDPOINT"]
    child = Child(name, command, log=tmp_path / "log", env=os.environ | env, cwd=PROJECT)

    async def listens() -> bool:
        assert child.returncode is None, child.log.read_text()
        return defined.management.bindings(defined.vhost, "domain", queue) == [f"domain.order.{queue.split('.')[1]}"]

    try:
        await until(listens, 30)
    finally:
        child.stop(seconds=10)


def test_the_schema_belongs_to_who_migrates_and_the_service_only_uses_it() -> None:
    owner, user = (urlsplit(SERVICES[name]["environment"]["DATABASE_URL"]) for name in ("migrate", "service"))
    assert (owner.username, user.username) == ("orders_owner", "orders_service")
    assert SERVICES["service"]["environment"]["AUTO_MIGRATE"] == "false"
    assert SERVICES["service"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    script = (OPS / "postgres/roles.sql").read_text()
    for url in (owner, user):
        assert f"CREATE ROLE {url.username} LOGIN PASSWORD '{url.password}';\n" in script
    # what docs/operations.md tells others to do, word for word but for the passwords
    statements = re.sub(r"PASSWORD '[^']*'", "PASSWORD ''", script)
    assert re.sub(r"PASSWORD '[^']*'", "PASSWORD ''", documented_roles()) in statements
    assert "ALTER ROLE postgres PASSWORD NULL;" in script


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
    # once and for all; and the log has none of them
    assert len(keys) == 2
    assert told == ""
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
    (folders,) = re.findall(r"chown 10001:10001 (.+)$", DOCKERFILE, re.MULTILINE)
    written = {
        volume.split(":")[1]
        for name in OURS
        for volume in SERVICES[name].get("volumes", [])
        if not volume.endswith(":ro")
    }
    assert written <= set(folders.split())
