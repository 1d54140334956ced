"""The composition root: every part is made and joined here, and nowhere else.

Run it with `faststream run app:app --port 5002`. Every worker consumes, serves HTTP and relays.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from faststream.asgi import AsgiFastStream
from faststream.rabbit import RabbitBroker

from handlers.contract import Contract, declare_publishers
from handlers.dead_letter_routes import dead_letter_routes
from handlers.dead_letters import dead_letters
from handlers.http import http_app
from handlers.operating import operating_routes
from handlers.orders import order_requests
from handlers.replies import participant_replies
from handlers.subscribing import settlement
from handlers.watching import Watch
from saga import store
from saga.bus import Bus
from saga.database import Sessions, connect, migrate, sessions, statements
from saga.engine import Engine
from saga.errors import ConfigurationError, classify
from saga.readiness import unready
from saga.relay import Relay
from saga.supervise import supervised, upon_stop_signal
from saga.table import TABLES
from saga.timers import Timers
from settings import Settings, load

log = logging.getLogger("order-service")


class Service(AsgiFastStream):
    """FastStream's application, with the HTTP API behind it for every path that FastStream does not serve itself."""

    http: Any
    settings: Settings

    async def not_found(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand over to the HTTP API."""
        await self.http(scope, receive, send)

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse to start without the two addresses, in one line."""
        try:
            self.settings.require_addresses()
        except ConfigurationError as error:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await super().lifespan(scope, receive, send)


def compose(settings: Settings) -> Service:
    """Make the service. Nothing is connected, opened or started before it runs."""
    database = connect(settings.database_dsn, connections=3, name="order-service")
    # a deletion that a power cut undoes is a message published twice, which the contract allows: not worth a wait
    outbox = connect(settings.database_dsn, connections=1, name="order-service relay", synchronous_commit="off")
    # queries have connections of their own, so that readers never keep the sagas waiting
    reading = connect(settings.database_dsn, connections=5, name="order-service api", checked=True)
    bus = Bus(settings.amqp_dsn)
    relay = Relay(statements(outbox), bus)
    engine = Engine(sessions(database), settings.policy, relay.hand_over)

    timers = Timers(statements(database), engine)

    broker = RabbitBroker(
        settings.amqp_dsn,
        specification_url="amqp://localhost:5672",
        apply_types=False,
        logger=None,
        middlewares=[settlement(bus)],
    )
    order_requests(broker, engine)
    participant_replies(broker, engine)
    dead_letters(broker, sessions(database))
    declare_publishers(broker)

    async def advance() -> None:
        if settings.auto_migrate:
            await _migrate_when_reachable(database)
        await _refuse_unknown_tables(sessions(database))
        await engine.run()

    watch = Watch(statements(reading))

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.dispose)
            stack.push_async_callback(outbox.dispose)
            stack.push_async_callback(reading.dispose)
            stack.push_async_callback(bus.close)
            await stack.enter_async_context(supervised("relay", relay.run))
            await stack.enter_async_context(supervised("engine", advance))
            await stack.enter_async_context(supervised("timers", timers.run))
            # a client that waits must not keep the service from stopping
            stack.enter_context(upon_stop_signal(watch.close))
            yield

    contract = Contract()
    service = Service(broker, specification=contract, lifespan=lifespan)
    service.settings = settings
    service.http = http_app(
        engine,
        statements(reading),
        settings.policy,
        unready=lambda: unready(reading, bus, broker),
        asyncapi=lambda: contract.to_specification().to_jsonable(),
        watch=watch,
        more=[
            operating_routes(engine, statements(reading), settings.policy),
            dead_letter_routes(sessions(reading), bus, settings.policy),
        ],
    )
    return service


async def _migrate_when_reachable(database: Any) -> None:
    while True:
        try:
            await migrate(database)
        except Exception as error:
            if not classify(error).transient:
                raise
            log.warning("the database cannot be reached yet (%s); trying again", type(error).__name__)
            await asyncio.sleep(1)
        else:
            return


async def _refuse_unknown_tables(work: Sessions) -> None:
    """End the process over sagas that were started under a table that this code does not know (semantics, rule 14)."""
    async with work() as session:
        unknown = await store.table_versions_in_use(session) - TABLES.keys()
    if unknown:
        versions = ", ".join(str(version) for version in sorted(unknown))
        known = ", ".join(str(version) for version in TABLES)
        raise SystemExit(
            f"order-service: unfinished sagas were started under version {versions} of the transition table, and this"
            f" release knows {known} only; run the release that they were started with"
        )


logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
logging.getLogger("alembic").setLevel(logging.WARNING)
try:
    app = compose(load())
except ConfigurationError as error:
    sys.exit(f"order-service: {error}")
