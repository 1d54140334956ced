"""PostgreSQL and RabbitMQ over TLS: whose certificate is accepted, and how a start ends where it is not."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from yarl import URL

from local.host import LOOPBACK, free_port, prepare_home, temporary_home
from local.postgres import PrivatePostgres
from local.programs import find_programs
from local.rabbitmq import PrivateRabbitMQ
from saga.runtime.database import connect, schema_is_current
from settings import Settings
from tests.certificates import DAY, Authority
from tests.databases import Databases
from tests.system.conftest import System, failed_start, order_body
from tests.tls.terminator import encrypted

HOST = "localhost"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where the servers find their certificates, and keep their data."""
    with temporary_home() as home:
        tls = home / "tls"
        prepare_home(tls)
        yield tls


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "ca")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Authority:
    """A CA that has signed nothing here."""
    return Authority(folder, "stranger")


@dataclass
class Secured:
    """A database that is reached over TLS, and in no other way."""

    url: str
    port: int

    def over_tls(self, mode: str, authority: Authority | None = None, host: str = HOST) -> str:
        """Its address, with whom to trust."""
        address = make_url(self.url).set(drivername="postgresql", host=host, port=self.port)
        ca = {"sslrootcert": str(authority.file)} if authority else {}
        return address.update_query_dict({"sslmode": mode, **ca}).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def secured(databases: Databases, template: str, postgres: PrivatePostgres, authority: Authority) -> Iterator[Secured]:
    with databases.lent(template) as url, encrypted(authority.signed(HOST), postgres.port) as port:
        yield Secured(url, port)


@pytest.fixture(scope="module")
def amqps(folder: Path, authority: Authority) -> Iterator[URL]:
    """The address of a RabbitMQ that speaks TLS, without a CA."""
    programs = None if "RABBITMQ_URL" in os.environ else find_programs(print)
    if programs is None:
        pytest.skip("RabbitMQ is not ours to configure")
    port, (file, key) = free_port(), authority.signed(HOST)
    more = [
        f"listeners.ssl.default = {LOOPBACK}:{port}",
        f"ssl_options.cacertfile = {authority.file}",
        f"ssl_options.certfile = {file}",
        f"ssl_options.keyfile = {key}",
    ]
    with PrivateRabbitMQ(folder.parent / "rabbitmq", programs=programs, more=more) as server:
        yield URL(server.url()).with_scheme("amqps").with_host(HOST).with_port(port)


class TestOrders:
    """The whole service, over TLS on both sides."""

    @pytest.fixture
    def vhost(self, amqps: URL, authority: Authority) -> str:
        return str(amqps.update_query(cafile=str(authority.file)))

    @pytest.fixture
    def migrated(self, secured: Secured, authority: Authority) -> str:
        return secured.over_tls("verify-full", authority)

    async def test_an_order_completes(self, system: System) -> None:
        order_id = await system.order(order_body())
        assert (await system.ended(order_id))["status"] == "Completed"
        assert system.service.child.returncode is None


def refusal(folder: Path, env: dict[str, str]) -> list[str]:
    """What a start that goes wrong says of a certificate."""
    return [line for line in failed_start(folder, env).splitlines() if "certificate" in line or "ssl" in line]


NOBODY = "amqp://user:password@127.0.0.1:9/"
UNTRUSTED, OTHER_HOST, EXPIRED = (
    "it is not signed by a CA that is trusted here",
    "it is for another host than the IP address in the address",
    "it has expired",
)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_postgresql_of_another_authority_is_refused(
    tmp_path: Path, secured: Secured, stranger: Authority, mode: str
) -> None:
    [line] = refusal(tmp_path, {"DATABASE_URL": secured.over_tls(mode, stranger), "RABBITMQ_URL": NOBODY})
    assert f"DATABASE_URL: PostgreSQL's certificate is refused: {UNTRUSTED}" in line


def test_postgresql_of_another_host_is_refused(tmp_path: Path, secured: Secured, authority: Authority) -> None:
    address = secured.over_tls("verify-full", authority, LOOPBACK)
    [line] = refusal(tmp_path, {"DATABASE_URL": address, "RABBITMQ_URL": NOBODY})
    assert f"DATABASE_URL: PostgreSQL's certificate is refused: {OTHER_HOST}" in line


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_postgresql_with_an_expired_certificate_is_refused(
    tmp_path: Path, postgres: PrivatePostgres, authority: Authority, mode: str
) -> None:
    with encrypted(authority.signed(HOST, ends=-DAY), postgres.port) as port:
        address = Secured(postgres.url("postgres"), port).over_tls(mode, authority)
        [line] = refusal(tmp_path, {"DATABASE_URL": address, "RABBITMQ_URL": NOBODY})
    assert f"DATABASE_URL: PostgreSQL's certificate is refused: {EXPIRED}" in line


def test_rabbitmq_of_another_authority_is_refused(tmp_path: Path, amqps: URL, stranger: Authority) -> None:
    address = str(amqps.update_query(cafile=str(stranger.file)))
    [line] = refusal(tmp_path, {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "RABBITMQ_URL": address})
    assert f"RABBITMQ_URL: RabbitMQ's certificate is refused: {UNTRUSTED}" in line


def test_rabbitmq_is_not_trusted_without_a_word_about_whom_to_trust(tmp_path: Path, amqps: URL) -> None:
    [line] = refusal(tmp_path, {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "RABBITMQ_URL": str(amqps)})
    assert f"RABBITMQ_URL: RabbitMQ's certificate is refused: {UNTRUSTED}" in line


def test_rabbitmq_of_another_host_is_refused(tmp_path: Path, amqps: URL, authority: Authority) -> None:
    address = str(amqps.with_host(LOOPBACK).update_query(cafile=str(authority.file)))
    [line] = refusal(tmp_path, {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "RABBITMQ_URL": address})
    assert f"RABBITMQ_URL: RabbitMQ's certificate is refused: {OTHER_HOST}" in line


def test_rabbitmq_with_an_expired_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    with encrypted(authority.signed(HOST, ends=-DAY), 9, asked_first=False) as port:
        address = f"amqps://guest:guest@{HOST}:{port}/?cafile={authority.file}"
        [line] = refusal(tmp_path, {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "RABBITMQ_URL": address})
    assert f"RABBITMQ_URL: RabbitMQ's certificate is refused: {EXPIRED}" in line


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            {"DATABASE_URL": "postgresql://h/x?sslmode=verify-full"},
            "DATABASE_URL: sslmode=verify-full needs sslrootcert=",
        ),
        ({"DATABASE_URL": "postgresql://h/x?sslmode=verify_full"}, "DATABASE_URL: sslmode must be one of disable, "),
        ({"DATABASE_URL": "postgresql://h/x?sslrootcert=/nowhere"}, "DATABASE_URL: sslrootcert does not name a file"),
        ({"DATABASE_URL": "postgresql://h/x?sslrootcert=README.md"}, "DATABASE_URL: sslrootcert names a file without"),
        ({"RABBITMQ_URL": "amqps://h/?cafile=/nowhere"}, "RABBITMQ_URL: cafile does not name a file"),
        ({"RABBITMQ_URL": "amqps://h/?cafile=README.md"}, "RABBITMQ_URL: cafile names a file without"),
        ({"RABBITMQ_URL": "amqps://h/?certfile=/nowhere"}, "RABBITMQ_URL: certfile does not name a file"),
    ],
)
def test_what_is_said_about_tls_and_cannot_be_meant_stops_the_start(
    tmp_path: Path, setting: dict[str, str], said: str
) -> None:
    right = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "RABBITMQ_URL": NOBODY}
    text = failed_start(tmp_path, right | setting)
    assert len([line for line in text.splitlines() if said in line]) == 1, text


@pytest.mark.parametrize("mode", ["require", "verify-ca"])
async def test_what_asks_for_no_host_name_is_content_with_the_authority(
    secured: Secured, authority: Authority, mode: str
) -> None:
    pool = connect(
        Settings.model_validate({"database_url": secured.over_tls(mode, authority, LOOPBACK)}).database_dsn,
        connections=1,
        name="test",
    )
    assert await schema_is_current(pool)
    await pool.dispose()
