"""A real browser, once per session, a running system, once per file, and a visitor for every test."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from local import billing, inventory
from local.broker import RabbitMQ
from local.chromium import chromium
from local.participant import Participant
from local.stand_in import control, ledger_path
from tests.dashboard.stories import calm
from tests.dashboard.visitor import Visitor
from tests.databases import Databases
from tests.http.conftest import listening
from tests.service import Service
from tests.system.conftest import Ear, System

ARGUMENTS = [
    # root may run it, on a machine without a graphics card
    "--no-sandbox",
    "--disable-gpu",
    # nothing leaves this machine
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    # parked after one attempt of a second
    "SAGA_STEP_TIMEOUT_SECONDS": "1",
    "SAGA_RETRY_ATTEMPTS": "0",
    "SAGA_REASK_SECONDS": "0",
    # where webhooks may go: nobody is there
    "WEBHOOK_ALLOW": "127.0.0.1:9",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A Chromium; once per process."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(print), args=ARGUMENTS)
        yield browser
        await browser.close()


# once per file: between files its loop stands still, and RabbitMQ hangs up on who is silent for minutes
@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(
    databases: Databases, template: str, rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    """The service with its stand-ins, which can be told how to behave; its database begins empty."""
    folder = tmp_path_factory.mktemp("shop")
    name = f"shop-{uuid4().hex}"
    vhost = rabbitmq.create_vhost(name)
    async with AsyncExitStack() as stack:
        dsn = stack.enter_context(databases.lent(template))
        stack.callback(rabbitmq.delete_vhost, name)
        participants, addresses = {}, []
        for one in (inventory, billing):
            ledger = ledger_path(folder, one.NAME)
            participants[one.NAME] = Participant(one.NAME, one.RULES, rabbitmq_url=vhost, ledger=ledger)
            address = await stack.enter_async_context(listening(control(participants[one.NAME])))
            addresses.append(f"{one.NAME}={address}")
        environment = {"DATABASE_URL": dsn, "RABBITMQ_URL": vhost, "STAND_INS": " ".join(addresses)}
        service = Service(folder, SETTINGS | environment)
        stack.callback(service.stop)
        connection = await stack.enter_async_context(await aio_pika.connect(vhost))
        channel = await connection.channel()
        ear = Ear(channel, await channel.declare_exchange("domain", aio_pika.ExchangeType.TOPIC, durable=True))
        await ear.listen()
        for participant in participants.values():
            await stack.enter_async_context(participant)
        await service.ready()
        system = System(service, ear, participants, folder, dsn)
        await stack.enter_async_context(system.client)
        stack.push_async_callback(system.direct.close)
        yield system


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser, shop: System) -> AsyncIterator[Visitor]:
    """A person at a wide, light screen. The test fails if a page did what it must not."""
    async with Visitor(browser, shop.service.url) as visitor:
        yield visitor
        assert visitor.unexpected() == []
    calm(shop)


@pytest.fixture(scope="session")
def screenshots(pytestconfig: pytest.Config) -> Path | None:
    """Where pictures of the pages go, if anybody wants them."""
    folder: Path | None = pytestconfig.getoption("screenshots")
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    return folder
