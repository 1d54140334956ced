"""The composition root: every part is made and joined here, and nowhere else.

Run it with `faststream run app:app --port 5002`. Every worker consumes, serves HTTP and relays.
"""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from faststream.asgi import AsgiFastStream
from prometheus_client import CollectorRegistry

from handlers.access.authenticator import Access
from handlers.access.jwks import PublishedKeys
from handlers.access.middleware import guarded
from handlers.access.origin import is_loopback
from handlers.access.signing import OneKey, key_of_pem
from handlers.access.site import Site
from handlers.access.tokens import Tokens
from handlers.api.app import http_api
from handlers.api.exposition import Exposition
from handlers.api.fresh import Fresh
from handlers.api.readiness import unready
from handlers.api.sagas import operating_routes
from handlers.bus.asyncapi.document import Contract, declare_publishers
from handlers.bus.consumer import Consumers
from handlers.bus.metrics import counting
from handlers.bus.orders import order_requests
from handlers.bus.pamqp_patch import read_whatever_comes
from handlers.bus.publisher import Bus
from handlers.bus.replies import participant_replies
from handlers.bus.subscribe import settlement
from handlers.dashboard.pages.login import refusing_pages
from handlers.dashboard.pages.stand_ins import StandIns
from handlers.dashboard.routes import dashboard_routes
from handlers.dead_letters.consumer import dead_letters
from handlers.dead_letters.retention import LetterRetention
from handlers.dead_letters.routes import dead_letter_routes
from handlers.dead_letters.service import Letters
from handlers.http.access_log import AccessLog
from handlers.http.connections import REQUESTS, serve_bounded, server_config
from handlers.http.open_files import room_for
from handlers.http.shutdown import Endable
from handlers.live.routes import live_routes
from handlers.live.snapshots import Snapshots
from handlers.live.streams import MAX_FOLLOWERS, Followers
from handlers.live.watcher import Watch
from handlers.live.websocket import MAX_SAID_BYTES
from handlers.webhooks.routes import webhook_routes
from handlers.webhooks.service import Webhooks
from saga.engine import Engine
from saga.errors import ConfigurationError
from saga.outbox.relay import Relay
from saga.runtime import failpoints
from saga.runtime.database import Sessions, connect, sessions, statements
from saga.runtime.loop_lag import watch_lag
from saga.runtime.plaintext import exposed_broker, exposed_collector, exposed_database
from saga.runtime.startup import prepare
from saga.runtime.tasks import supervised, upon_hangup, upon_stop_signal
from saga.telemetry.activity import Recorder
from saga.telemetry.log_setup import configure, get_logger
from saga.telemetry.tracing import TRACER
from saga.timers import Timers
from saga.webhooks.client import Sender
from saga.webhooks.dispatcher import Courier
from saga.webhooks.retention import Housekeeping
from saga.webhooks.stored_secrets import wrap_stored
from settings import Settings, keys_in_file, load

log = get_logger(__name__)


class Service(AsgiFastStream):
    """FastStream's application, with the HTTP API behind it for every path that FastStream does not serve itself."""

    http: Endable
    settings: Settings

    async def not_found(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand over to the HTTP API."""
        await self.http(scope, receive, send)

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse to start without the two addresses, or where it is not said who may ask, in one line."""
        try:
            self.settings.require_addresses()
            server = server_config(receive)
            self.settings.require_access("" if server.uds or server.fd is not None else server.host)
        except ConfigurationError as error:
            log.critical("the service cannot start like this", error=error)
            await receive()
            await send({"type": "lifespan.startup.failed", "message": ""})
            return
        if self.settings.believes_strangers:
            log.warning(
                "TRUSTED_SENDERS does not name everybody: whoever may publish to RabbitMQ can say that an order is"
                " paid. Set TRUSTED_SENDERS='domain.inventory.=USER domain.billing.=USER domain.order.=USER'"
            )
        serve_bounded(server, room_for(MAX_FOLLOWERS) + REQUESTS, MAX_SAID_BYTES)
        try:
            await super().lifespan(scope, receive, send)
        except BaseException:
            # the server is told of it in a text, with all that it quotes, and of that the logs show nothing
            log.exception("the service cannot start, or stop")
            raise


class Pools:
    """The connections to the database: who need not wait for one another has some of their own."""

    def __init__(self, dsn: str) -> None:
        self.sagas = connect(dsn, connections=4, name="order-service")
        # a deletion that a power cut undoes is a message published twice, which the contract allows: not worth a wait
        self.outbox = connect(dsn, connections=1, name="order-service relay", synchronous_commit="off")
        # and a webhook sent twice
        self.webhooks = connect(dsn, connections=2, name="order-service webhooks", synchronous_commit="off")
        # readers never keep the sagas waiting
        self.reading = connect(dsn, connections=5, name="order-service api", checked=True)

    async def dispose(self) -> None:
        """Close them."""
        for pool in (self.sagas, self.outbox, self.webhooks, self.reading):
            await pool.dispose()


def compose(settings: Settings) -> Service:
    """Make the service. Nothing is connected, opened or started before it runs."""
    failpoints.arm(settings.test_failpoint)
    read_whatever_comes()
    pools = Pools(settings.database_dsn)
    asking = statements(pools.reading)
    bus = Bus(settings.amqp_dsn)
    relay = Relay(statements(pools.outbox), bus)
    sender = Sender(settings.allowed_receivers, settings.denied_receivers, proxy=settings.egress_proxy)
    courier = Courier(sessions(pools.webhooks), sender, settings.webhook_waits, settings.wrapping)
    engine = Engine(sessions(pools.sagas), settings.policy, relay.hand_over, courier.wake)
    timers = Timers(statements(pools.sagas), engine, settings.policy.reask)

    framework = CollectorRegistry()
    consumers = _consumers(settings, bus, framework, engine, sessions(pools.sagas))

    async def advance() -> None:
        await prepare(pools.sagas, auto_migrate=settings.auto_migrate)
        await wrap_stored(sessions(pools.webhooks), settings.wrapping)
        await engine.run()

    watch = Watch(asking)
    snapshots = Snapshots(asking, settings.policy)
    followers = Followers(watch, snapshots, per_client=settings.limits.streams_per_client)

    published = PublishedKeys(settings.jwt_jwks_url) if settings.jwt_jwks_url else None
    access = Access(
        asking,
        settings.keys,
        _tokens(settings, published),
        local=settings.access == "local",
        site=Site(settings.public_url),
    )

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        followers.limit = room_for(MAX_FOLLOWERS)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(pools.dispose)
            stack.push_async_callback(watch.aclose)
            stack.push_async_callback(bus.close)
            stack.push_async_callback(sender.close)
            if settings.tracing:
                await stack.enter_async_context(TRACER.exporting(settings.traced_share))
            _warn_of_plain_text(settings)
            await stack.enter_async_context(supervised("relay", relay.run))
            stack.push_async_callback(relay.finish)
            for name, work in (
                ("courier", courier.run),
                ("housekeeping", Housekeeping(statements(pools.webhooks)).run),
                ("retention", LetterRetention(statements(pools.webhooks)).run),
                ("engine", advance),
                ("timers", timers.run),
                ("activity", Recorder(statements(pools.sagas)).run),
                ("consumers", consumers.run),
                ("loop lag", watch_lag),
            ):
                await stack.enter_async_context(supervised(name, work))
            await stack.enter_async_context(_admitting(access, published))
            stack.enter_context(upon_stop_signal(let_go_of_clients))
            yield

    def let_go_of_clients() -> None:
        """One that waits must not keep the service from stopping, nor one that is slow."""
        watch.close()
        followers.close()
        service.http.end()

    letters = Letters(sessions(pools.reading), bus, settings.policy, settings.senders)
    webhooks = Webhooks(sessions(pools.reading), asking, sender, courier.wake, settings.wrapping)
    contract = Contract()
    # `--log-level` sets this logger: the root is everybody's
    service = Service(consumers, specification=contract, lifespan=lifespan, logger=logging.root)
    service.settings = settings
    api = http_api(
        engine,
        asking,
        settings.policy,
        unready=Fresh(lambda: unready(pools.reading, engine, bus, consumers)),
        asyncapi=lambda: contract.to_specification().to_jsonable(),
        watch=watch,
        metrics=Exposition(asking, framework, settings.policy.saga_timeout).text,
        access=access,
        limits=settings.limits,
        more=[
            operating_routes(engine, asking, settings.policy),
            dead_letter_routes(letters),
            webhook_routes(webhooks),
            dashboard_routes(
                engine,
                asking,
                settings.policy,
                letters,
                webhooks,
                StandIns(settings.stand_in_addresses),
                settings.trace_url,
            ),
            live_routes(followers, asking),
        ],
    )
    service.http = Endable(AccessLog(guarded(api, access, settings.limits, refusing_pages(access)), api))
    return service


def _consumers(
    settings: Settings, bus: Bus, framework: CollectorRegistry, engine: Engine, stored: Sessions
) -> Consumers:
    """All that comes from the bus, each to its door."""
    consumers = Consumers(
        settings.amqp_dsn,
        specification_url="amqp://localhost:5672",
        apply_types=False,
        logger=None,
        middlewares=[settlement(bus), counting(framework)],
    )
    senders = settings.senders
    order_requests(consumers, engine, senders)
    participant_replies(consumers, engine, senders)
    dead_letters(consumers, stored, bus.user)
    declare_publishers(consumers)
    return consumers


def _warn_of_plain_text(settings: Settings) -> None:
    """Say which connections others could listen to."""
    if not all(map(is_loopback, exposed_database(settings.database_dsn))):
        log.warning("DATABASE_URL leads to another host without sslmode=verify-full: others may listen")
    if not all(map(is_loopback, exposed_broker(settings.amqp_dsn))):
        log.warning("RABBITMQ_URL leads to another host without amqps:// and a certificate: others may listen")
    if not all(map(is_loopback, exposed_collector(settings.collector))):
        log.warning("OTEL_EXPORTER_OTLP_ENDPOINT leads to another host without https://: others may listen")


@asynccontextmanager
async def _admitting(access: Access, published: PublishedKeys | None) -> AsyncIterator[None]:
    """Let people in whose tokens are signed with published keys; say whom else, where that is a surprise."""
    if access.local:
        log.warning("no access is configured: only clients on this machine are answered, and may do all")

    def read_keys_again() -> None:
        try:
            keys = keys_in_file() or ()
        except ConfigurationError as error:
            log.warning("the API keys were not read again; those before are kept", error=error)
        else:
            access.replace_keys(keys)
            log.info("the API keys were read again", count=len(keys))

    async with AsyncExitStack() as stack:
        if keys_in_file() is not None:
            stack.enter_context(upon_hangup(read_keys_again))
        if published:
            await stack.enter_async_context(supervised("signing keys", published.run))
        yield


def _tokens(settings: Settings, published: PublishedKeys | None) -> Tokens | None:
    """What reads the tokens of people; None where they have none."""
    if settings.jwt_issuer is None or settings.jwt_audience is None:
        return None
    keys = published or OneKey(key_of_pem(settings.jwt_public_key or ""))
    return Tokens(settings.jwt_issuer, settings.jwt_audience, keys)


configure()
try:
    app = compose(load())
except ConfigurationError as error:
    log.critical("the service cannot start like this", error=error)
    sys.exit(1)
