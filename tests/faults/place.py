"""The whole system where things break: services behind proxies, participants, clients, and three witnesses."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg

from local import billing, inventory, ledger
from local.broker import RabbitMQ
from local.ledger import Record
from local.management import ManagementError
from local.participant import Participant
from local.postgres import PrivatePostgres
from local.stand_in import ledger_path
from tests.direct import Direct
from tests.faults import laws
from tests.faults.clients import MIX, Clients, Kind, wish
from tests.faults.firehose import Firehose, Heard
from tests.faults.proxy import Proxy
from tests.service import Service
from tests.waiting import until

IMPATIENT = {
    "SAGA_STEP_TIMEOUT_SECONDS": "2",
    "SAGA_RETRY_ATTEMPTS": "5",
    "SAGA_RETRY_DELAY_SECONDS": "0.3",
    "SAGA_REASK_SECONDS": "2",
}
"""What a service is told where faults are followed by a recovery that somebody waits for."""
LETTERS_WITHIN = 10.0
"""Seconds from rest until the last dead letter is stored."""
TRANSACTIONS = """
SELECT pid, state, wait_event, clock_timestamp() - xact_start AS since, pg_blocking_pids(pid) AS waits_for,
    left(query, 60) AS query
FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
"""
"""What goes on in the database, and who waits for whom: for whoever looks for the reason."""


class Place:
    """Made by `place`."""

    def __init__(  # noqa: PLR0917 - all that it is made of
        self, postgres: PrivatePostgres, rabbitmq: RabbitMQ, folder: Path, dsn: str, vhost: str, outside: str
    ) -> None:
        self.postgres, self.rabbitmq = postgres, rabbitmq
        self.folder, self.dsn, self.vhost, self.outside = folder, dsn, vhost, outside
        self.database_proxy, self.bus_proxy = Proxy(postgres.port), Proxy(rabbitmq.port)
        self.services: list[Service] = []
        self.participants: dict[str, Participant] = {}
        self.clients = Clients([], rabbitmq.url(outside))
        self.heard: list[Heard] = []
        self._direct = Direct(dsn)
        self._locking: asyncpg.Connection | None = None
        self._firehose = Firehose(rabbitmq.url(vhost))

    @property
    def service(self) -> Service:
        """The first of them, where there is only one."""
        return self.services[0]

    @property
    def environment(self) -> dict[str, str]:
        """What a service is told: its servers are behind the proxies."""
        return {
            "DATABASE_URL": through(self.dsn, self.database_proxy),
            "RABBITMQ_URL": through(self.rabbitmq.url(self.vhost), self.bus_proxy),
            **IMPATIENT,
        }

    async def start_service(self, app: str = "app:app", **settings: str) -> Service:
        """One more instance, ready."""
        return await self.run_service(Service(self.folder, self.environment | settings, app=app))

    async def run_service(self, service: Service) -> Service:
        """One more instance, as the caller has started it, ready."""
        self.services.append(service)
        self.clients.urls.append(service.url)
        await service.ready()
        return service

    async def order(self, kinds: Sequence[Kind], random: Random) -> list[UUID]:
        """Place these orders, all at once, by turns over HTTP and over the bus; their ids."""
        doors = (self.clients.over_http, self.clients.over_bus)
        return await asyncio.gather(*(doors[n % 2](wish(kind, random)) for n, kind in enumerate(kinds)))

    async def mixed(self, count: int, random: Random) -> list[UUID]:
        """Place that many orders of the usual mix."""
        return await self.order([random.choice(MIX) for _ in range(count)], random)

    @asynccontextmanager
    async def load(self, random: Random, at_once: int = 6) -> AsyncIterator[None]:
        """Orders of the usual mix, placed on and on as long as the block lasts; what was begun is seen through."""
        done = asyncio.Event()

        async def place_orders() -> None:
            while not done.is_set():
                await self.mixed(at_once, random)

        placing = asyncio.create_task(place_orders())
        try:
            yield
        finally:
            done.set()
            await placing

    async def ended(self, order_ids: Sequence[UUID], seconds: float = 60) -> None:
        """Return when these sagas have come to their end."""

        async def all_have() -> bool:
            query = "SELECT 1 FROM order_sagas WHERE order_id = ANY($1) AND completed_at IS NOT NULL"
            return len(await self.rows(query, list(order_ids))) == len(set(order_ids))

        await until(all_have, seconds)

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What the database says, asked directly."""
        return await self._direct.rows(query, *values)

    async def lock(self, order_id: UUID) -> None:
        """Have a saga's row locked, as by a transaction that hangs, until `unlock`."""
        self._locking = await asyncpg.connect(self.dsn.replace("+asyncpg", ""))
        await self._locking.execute("BEGIN")
        await self._locking.execute("SELECT 1 FROM order_sagas WHERE order_id = $1 FOR UPDATE", order_id)

    async def unlock(self) -> None:
        """Let go of it."""
        assert self._locking is not None, "only what was locked is unlocked"
        await self._locking.close()

    def ledger(self) -> dict[UUID, Record]:
        """What was really done, by order id."""
        return ledger.read(*(ledger_path(self.folder, name) for name in ("inventory", "billing")))

    async def run_out(self) -> None:
        """Let the leases of the outbox and of webhooks run out: what time would do."""
        await self.rows("UPDATE outbox SET lease_until = clock_timestamp()")
        await self.rows("UPDATE webhook_deliveries SET next_attempt_at = clock_timestamp() WHERE lease IS NOT NULL")

    async def quiet(self, seconds: float = 60) -> None:
        """Return when nothing is left to be done by anybody: no open command, no message in outbox or queues."""

        async def rests() -> bool:
            # a broker's numbers are some moments old: what was promised may not have been handed out yet; and only of
            # an order that is there can be said that nothing of it is left to be done
            found = await self.rows("SELECT id FROM orders WHERE id = ANY($1)", list(self.clients.promised))
            if len(found) < len(self.clients.promised):
                return False
            unfinished = "SELECT 1 FROM order_sagas WHERE open_command IS NOT NULL LIMIT 1"
            if await self.rows(f"SELECT 1 FROM outbox UNION ALL ({unfinished})"):
                return False
            for vhost in {self.vhost, self.outside}:
                queues = await asyncio.to_thread(self.rabbitmq.queues, vhost)
                if any(count for name, count in queues.items() if name != "firehose"):
                    return False
            return True

        await until(rests, seconds)

    async def broken(self, expected_letters: Iterable[str] = ()) -> list[str]:
        """Every law that does not hold, now that all is quiet."""
        return laws.broken(await self.world(expected_letters))

    async def world(self, expected_letters: Iterable[str] = ()) -> laws.World:
        """All that is left, for the laws and for whoever has more to ask."""
        heard, ledgers, promised = await self.hear(), self.folder, self.clients.promised
        expected = tuple(expected_letters)
        found = await laws.world(self.dsn, ledgers, heard, promised, expected)

        async def all_letters() -> bool:
            return len(await self.rows("SELECT 1 FROM dead_letters")) >= found.owed_letters.total()

        # the broker's numbers are some moments old: a letter may have been in its queue when that was said to be empty
        try:
            await until(all_letters, LETTERS_WITHIN)
        except TimeoutError:
            return found
        return await laws.world(self.dsn, ledgers, heard, promised, expected)

    async def hear(self, seconds: float = 120) -> list[Heard]:
        """All that anybody has published so far."""
        self.heard += await self._firehose.drain(seconds)
        return self.heard

    async def open(self, stack: AsyncExitStack, *, participants: bool = True) -> None:
        """Everything but the services."""
        for proxy in (self.database_proxy, self.bus_proxy):
            await proxy.listen()
            stack.push_async_callback(proxy.refuse)
        await self._firehose.open()
        stack.push_async_callback(self.clients.close)
        stack.push_async_callback(self._direct.close)
        for stand_in in (inventory, billing) if participants else ():
            participant = Participant(
                stand_in.NAME,
                stand_in.RULES,
                rabbitmq_url=self.rabbitmq.url(self.outside),
                ledger=ledger_path(self.folder, stand_in.NAME),
            )
            self.participants[stand_in.NAME] = await stack.enter_async_context(participant)


@asynccontextmanager
async def place(
    postgres: PrivatePostgres,
    rabbitmq: RabbitMQ,
    folder: Path,
    *,
    template: str | None = None,
    apart: bool = False,
    participants: bool = True,
) -> AsyncIterator[Place]:
    """A database and a virtual host of its own on these servers, and all that belongs to it but the services.

    Args:
        postgres: the database server.
        rabbitmq: the broker.
        folder: for logs and ledgers.
        template: a database to begin with; None: an empty one.
        apart: whether participants and clients are on a virtual host of their own: somebody else has to carry what is
            said between them and the service.
        participants: whether they run, in this process; otherwise the caller has some.
    """
    name = f"faults-{uuid4().hex}"
    dsn = await asyncio.to_thread(postgres.create_database, name, template)
    await asyncio.to_thread(rabbitmq.create_vhost, name)
    outside = f"{name}-outside" if apart else name
    if apart:
        await asyncio.to_thread(rabbitmq.create_vhost, outside)
    here = Place(postgres, rabbitmq, folder, dsn, name, outside)
    async with AsyncExitStack() as stack:
        await here.open(stack, participants=participants)
        try:
            yield here
        finally:
            for service in here.services:
                await asyncio.to_thread(service.stop)
    # quorum queues are dear to a broker even when nobody uses them; where it was killed, they may stay
    with suppress(ManagementError):
        await asyncio.to_thread(rabbitmq.delete_vhost, name)


def through(url: str, proxy: Proxy) -> str:
    """The same address, by way of the proxy."""
    parts = urlsplit(url)
    login, _, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))
