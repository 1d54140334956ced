"""`python -m local`, with a stub in the service's place and the session's RabbitMQ."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from local.child import born
from local.host import LOOPBACK, free_port, temporary_home
from tests.collector import Collector
from tests.local.bus import Bus, command

SECONDS = 60.0
TOLD_OTHERWISE = "7"
"""Seconds that `make run` would set to less."""


@pytest.fixture
def ports() -> dict[str, int]:
    return {f"--{name}": free_port() for name in ("port", "inventory-port", "billing-port", "notifications-port")}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """To which everybody tells of traces."""
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


@pytest.fixture
async def started(
    ports: dict[str, int], vhost: str, collector: Collector
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path, str]]:
    with temporary_home() as own:
        home = own / "run"
        process = await start(home, ports, vhost)
        said = await until(process, "Ctrl-C stops")
        yield process, home, said
        if process.returncode is None:
            process.kill()
        await process.wait()


async def start(home: Path, ports: dict[str, int], rabbitmq_url: str) -> asyncio.subprocess.Process:
    options = [str(part) for option in ports.items() for part in option]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local", "--home", str(home), "--app", "tests.local.stub:app", *options),
        env=os.environ | {"RABBITMQ_URL": rabbitmq_url, "SAGA_RETRY_DELAY_SECONDS": TOLD_OTHERWISE},
        stdout=asyncio.subprocess.PIPE,
    )


async def until(process: asyncio.subprocess.Process, text: str) -> str:
    """What it prints up to and including the line with `text`."""
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(SECONDS):
        while text not in said:
            line = (await process.stdout.readline()).decode()
            assert line, said
            said += line
    return said


async def test_everything_runs_and_stops_on_one_signal(
    started: tuple[asyncio.subprocess.Process, Path, str], ports: dict[str, int], bus: Bus, collector: Collector
) -> None:
    process, home, said = started
    assert f"curl -X POST http://localhost:{ports['--port']}/api/orders" in said
    assert (await bus.ask("ReserveInventory", command()))[0] == "domain.inventory.InventoryReserved"
    traced = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    assert (await bus.ask("ProcessPayment", command(), traced))[0] == "domain.billing.PaymentProcessed"
    await _behaviour_is_seen_and_changed(ports, bus)
    await _the_service_knows_its_stand_ins_and_is_impatient_unless_told_otherwise(ports)
    pids = [int(path.read_text().split()[0]) for path in home.rglob("*.pid") if path.name != "postmaster.pid"]
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(SECONDS):
        assert await process.wait() == 0
    assert time.monotonic() - began < 10
    assert f"Traces go to      {collector.url}\n" in said
    assert {(span.service, span.name) for span in collector.trace("1" * 32)} == {
        ("billing", "process domain.order.ProcessPayment"),
        ("billing", "publish domain.billing.PaymentProcessed"),
    }
    assert len(pids) == 5
    assert not any(map(born, pids))


async def _behaviour_is_seen_and_changed(ports: dict[str, int], bus: Bus) -> None:
    async with httpx2.AsyncClient(base_url=f"http://{LOOPBACK}:{ports['--billing-port']}") as client:
        assert (await client.get("/behaviour")).json()["ProcessPayment"]["mode"] == "normal"
        changed = await client.put("/behaviour", json={"ProcessPayment": {"mode": "fail", "reason": "closed"}})
        assert (changed.status_code, changed.json()["ProcessPayment"]["mode"]) == (200, "fail")
        key, said = await bus.ask("ProcessPayment", command())
        assert (key, said["reason"]) == ("domain.billing.PaymentFailed", "closed")
        assert (await client.put("/behaviour", json={"ReserveInventory": {}})).status_code == 422
        assert (await client.put("/behaviour", json={"ProcessPayment": {"mode": "odd"}})).status_code == 422
        assert (await client.put("/behaviour", content=b"{")).status_code == 422
        assert (await client.delete("/behaviour")).status_code == 405


async def _the_service_knows_its_stand_ins_and_is_impatient_unless_told_otherwise(ports: dict[str, int]) -> None:
    async with httpx2.AsyncClient(base_url=f"http://{LOOPBACK}:{ports['--port']}") as client:
        told = (await client.get("/told")).json()
    inventory, billing = ports["--inventory-port"], ports["--billing-port"]
    assert told == {
        "STAND_INS": f"inventory=http://127.0.0.1:{inventory} billing=http://127.0.0.1:{billing}",
        "SAGA_STEP_TIMEOUT_SECONDS": "3",
        "SAGA_RETRY_DELAY_SECONDS": TOLD_OTHERWISE,
        "SAGA_REASK_SECONDS": "60",
    }


async def test_a_child_that_dies_is_named_and_everything_stops(
    started: tuple[asyncio.subprocess.Process, Path, str],
) -> None:
    process, home, _said = started
    os.kill(int((home / "inventory.pid").read_text().split()[0]), signal.SIGKILL)
    said = await until(process, "inventory ended by itself with exit code -9")
    assert said
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        await process.stdout.read()
        assert await process.wait() == 1
    assert born(int((home / "service.pid").read_text().split()[0])) == ""


async def test_a_taken_port_is_named_with_its_option(ports: dict[str, int], vhost: str, tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, ports["--port"])):
        process = await start(tmp_path, ports, vhost)
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS):
            said = (await process.stdout.read()).decode()
            assert await process.wait() == 1
    assert f"Port {ports['--port']}" in said
    assert "--port" in said
