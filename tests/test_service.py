"""The service as tests start it: a process like any other, and on a leash."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.child import born
from tests.forked import FORKING
from tests.service import PROJECT, Service
from tests.waiting import until

START = (
    "import os, signal, sys; from pathlib import Path; from tests.service import Service;"
    "service = Service(Path(sys.argv[1]), {'DATABASE_URL': sys.argv[2], 'RABBITMQ_URL': sys.argv[3]});"
    "os.kill(service.child.pid, signal.SIGSTOP);"
    "print(service.child.pid, flush=True);"
    "os.kill(os.getpid(), signal.SIGKILL)"
)


@pytest.fixture
def addresses(migrated: str, vhost: str) -> dict[str, str]:
    return {"DATABASE_URL": migrated, "RABBITMQ_URL": vhost}


async def test_it_starts_is_killed_starts_again_and_stops(tmp_path: Path, addresses: dict[str, str]) -> None:
    service = Service(tmp_path, addresses)
    await service.ready()
    assert born(first := service.child.pid)
    service.kill()
    assert service.child.returncode == -signal.SIGKILL
    assert born(first) == ""
    await service.restart()
    service.stop()
    assert (service.child.returncode, born(service.child.pid)) == (-signal.SIGTERM, "")
    assert "Finished server process" in service.child.last_lines()


@pytest.mark.parametrize("typed", [False, True])
async def test_what_it_says_and_how_it_ends_is_known(tmp_path: Path, typed: bool) -> None:
    service = Service(
        tmp_path, {"DATABASE_URL": "mysql://x", "RABBITMQ_URL": "amqp://user:password@127.0.0.1:9/"}, typed=typed
    )

    async def ended() -> bool:
        return service.child.returncode is not None

    await until(ended)
    assert service.child.returncode == 1
    assert "DATABASE_URL: must begin with postgresql" in service.child.last_lines()
    service.stop()


def test_it_does_not_outlive_tests_that_are_killed_not_even_while_it_is_halted(
    tmp_path: Path, addresses: dict[str, str]
) -> None:
    command = [sys.executable, "-c", START, str(tmp_path), *addresses.values()]
    killed = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL

    async def gone() -> bool:
        return born(int(killed.stdout)) == ""

    asyncio.run(until(gone))


def end_with_what_was_imported() -> None:
    sys.exit(" ".join({"app", "settings"} & sys.modules.keys()) or 0)


def test_nothing_that_reads_the_environment_is_imported_before_it_is_set() -> None:
    process = FORKING.Process(target=end_with_what_was_imported)
    process.start()
    process.join()
    assert process.exitcode == 0
