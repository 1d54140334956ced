"""The service as its users run it, among clients that mean it no good."""

import asyncio
import os
import signal
import struct
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from handlers.http.connections import BODIES, REQUESTS
from handlers.http.open_files import room_for
from handlers.http.shutdown import END_WITHIN
from handlers.live.streams import MAX_FOLLOWERS
from local.rule import Behaviour
from tests.connections.clients import Client, connected, deaf
from tests.connections.serving import here
from tests.service import STOP_SECONDS, Service, complaints
from tests.system.conftest import System, order_body
from tests.waiting import until

MEGABYTE = 1_000_000
HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: h\r\nX-Long: " + b"x" * 15_000
HALF_A_BODY = (
    b"POST /api/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 260000\r\n\r\n"
    b'{"userId":"' + b"x" * 240_000
)


def memory(service: Service) -> int:
    """Bytes that the process has in memory."""
    status = Path(f"/proc/{service.child.pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


async def stands_still(port: int) -> bool:
    """Whether the service has said as much as the kernel keeps for its clients."""

    def unsent() -> list[str]:
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return [queues for _, local, _, _, queues, *_ in sockets if local.endswith(f":{port:04X}")]

    before = unsent()
    await asyncio.sleep(0.2)
    return unsent() == before and any(not queues.startswith("00000000") for queues in before)


async def order(system: System) -> None:
    """A customer like any other, over a connection of his own."""
    async with httpx2.AsyncClient(base_url=system.service.url, timeout=15, verify=False) as client:
        answer = await client.post("/api/orders", json=order_body())
    assert answer.status_code == 201, answer.text
    assert (await system.ended(answer.json()["id"]))["status"] == "Completed"


async def test_crowds_that_never_come_to_the_point_keep_nobody_from_ordering_and_are_forgotten(system: System) -> None:
    most = MAX_FOLLOWERS + REQUESTS
    assert room_for(2 * most) == 2 * most, "the hard limit of open files is too low for this test"
    await order(system)
    before, most_memory = memory(system.service), 0
    async with AsyncExitStack() as stack:

        async def crowd(count: int, says: bytes) -> list[Client]:
            clients = []
            for _ in range(count):
                clients.append(await stack.enter_async_context(connected(system.service.port)))
                async with asyncio.timeout(30):
                    await clients[-1].say(says)
            return clients

        bodies = await crowd(BODIES + 50, HALF_A_BODY)
        await order(system)
        heads = await crowd(most + 100, HALF_A_HEAD)
        await order(system)
        most_memory = memory(system.service)
        assert await bodies[0].refused() == (503, "too-many-connections")
        assert await heads[-1].refused() == (408, "request-timeout")
        await order(system)
    assert most_memory - before < (BODIES + 50) * 0.4 * MEGABYTE + most * 0.05 * MEGABYTE
    assert complaints(system.service.log) == []


async def test_who_leaves_in_the_middle_of_a_body_is_no_mistake_of_ours(system: System) -> None:
    for path in (b"/api/orders", b"/sagas/retry"):
        async with connected(system.service.port) as client:
            await client.say(HALF_A_BODY[:200].replace(b"/api/orders", path))
    await order(system)
    assert complaints(system.service.log) == []


async def test_more_over_a_websocket_than_is_listened_to_is_not_even_kept(system: System) -> None:
    # its saga goes on for longer than this test
    system.inventory.behaviour["ValidateInventory"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())
    async with connected(system.service.port) as client:
        await client.say(
            f"GET /api/orders/{order_id}/ws HTTP/1.1\r\nHost: localhost\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert (await client.head()).startswith("HTTP/1.1 101")
        # the first frame of a message of 16 MB: the length alone is enough
        await client.say(b"\x82\xff" + struct.pack(">Q", 16_000_000) + b"\0" * 4 + b"x" * 1000)
        assert struct.pack(">H", 1009) in await client.rest()


async def test_who_does_not_read_keeps_the_service_no_longer_than_other_requests_do(service: Service) -> None:
    await service.ready()
    async with deaf(service.port) as client:
        # for more than the kernel keeps for anybody
        await client.say(b"GET /assets/swagger-ui.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        await until(lambda: stands_still(service.port))
        began = time.monotonic()
        os.kill(service.child.pid, signal.SIGTERM)
        await until(lambda: here(service.child.returncode is not None), STOP_SECONDS)
        assert END_WITHIN <= time.monotonic() - began < END_WITHIN + 2
    # of what it was told to stop with: the server says so in the end, and an alarm would be another one
    assert service.child.returncode == -signal.SIGTERM
    assert "Application shutdown complete" in service.log.read_text()
    assert complaints(service.log) == []


class TestWorkers:
    """Each of several has the same limits, although nobody passes them on."""

    @pytest.fixture
    def workers(self) -> int:
        return 2

    async def test_every_worker_keeps_them(self, service: Service) -> None:
        await service.ready()
        async with AsyncExitStack() as stack:
            for _ in range(20):
                client = await stack.enter_async_context(connected(service.port))
                await client.say(HALF_A_HEAD + b"x" * 5_000)
                assert await client.refused() == (431, "head-too-large")
