"""The private PostgreSQL."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from local.child import Child, born
from local.errors import HomeInUseError, LocalError, PortTakenError
from local.host import LOOPBACK, server_account, temporary_home
from local.postgres import PrivatePostgres


@pytest.fixture
def own_home() -> Iterator[Path]:
    with temporary_home() as folder:
        yield folder


def test_what_is_committed_outlives_stop_and_kill(own_home: Path) -> None:
    with PrivatePostgres(own_home) as server:
        server.create_database("shop")
        address = server.url("shop")
        server.sql("CREATE TABLE t AS SELECT 1 AS n", database="shop")
        server.stop()
        server.start()
        server.sql("UPDATE t SET n = 2", database="shop")
        server.kill()
        server.start()
        assert server.sql("SELECT n FROM t", database="shop") == "2"
        assert server.url("shop") == address


def test_a_database_can_be_a_copy_of_another(postgres: PrivatePostgres) -> None:
    postgres.create_database("original")
    postgres.sql("CREATE TABLE t AS SELECT 7 AS n", database="original")
    postgres.create_database("copy", template="original")
    assert postgres.sql("SELECT n FROM t", database="copy") == "7"


async def test_it_lets_nobody_in_without_the_password(database: str) -> None:
    plain = database.replace("+asyncpg", "")
    connection = await asyncpg.connect(plain)
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(plain, password="guessed")


def test_refusals_come_in_postgres_own_words(postgres: PrivatePostgres) -> None:
    with pytest.raises(LocalError, match="syntax error"):
        postgres.sql("SELEC 1")


def test_a_taken_port_is_named(own_home: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=str(port)):
            PrivatePostgres(own_home, port).start()


def test_two_runs_do_not_share_a_home(own_home: Path) -> None:
    with PrivatePostgres(own_home, durable=False), pytest.raises(HomeInUseError):
        PrivatePostgres(own_home).start()


def test_it_dies_with_a_killed_owner_and_starts_again(own_home: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from local.postgres import PrivatePostgres;"
        "server = PrivatePostgres(Path(sys.argv[1]), durable=False); server.start();"
        "print(server.child.pid, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, own_home], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    with PrivatePostgres(own_home, durable=False) as server:
        assert born(int(killed.stdout)) == ""
        assert server.sql("SELECT 1") == "1"


def test_a_lock_file_with_the_number_of_another_process_is_no_obstacle(own_home: Path) -> None:
    with PrivatePostgres(own_home, durable=False) as server:
        server.kill()
        other = Child("sleep", ["sleep", "60"], log=own_home / "sleep.log", account=server_account())
        try:
            (own_home / "data" / "postmaster.pid").write_text(f"{other.pid}\n")
            server.start()
            assert server.sql("SELECT 1") == "1"
        finally:
            other.kill()
