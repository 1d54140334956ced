"""Looking up what addresses a name stands for, off the loop and without keeping anybody else from theirs."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from threading import Thread
from typing import TypeAlias

from saga.webhooks.addresses import Address

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""From a name to its addresses; none where it has none."""


class Resolver:
    """The system's resolver, in threads of its own: the loop's are few, and others need them.

    A look-up holds a thread until the name server has answered, and that server may be the receiver's own. Who asks for
    a name that is being looked up waits for the same answer, so a name never holds more than one; and no stop of the
    service waits for one: a pool's threads would be waited for.

    Args:
        most_at_once: names that are looked up at the same time; any further one waits.
    """

    def __init__(self, most_at_once: int) -> None:
        self._free = asyncio.Semaphore(most_at_once)
        self._under_way: dict[str, asyncio.Task[list[Address]]] = {}

    async def __call__(self, name: str) -> Sequence[Address]:
        """The addresses of this name, in the order in which they should be tried."""
        looking = self._under_way.get(name)
        if looking is None:
            looking = asyncio.create_task(self._look_up(name))
            self._under_way[name] = looking
            looking.add_done_callback(lambda _: self._under_way.pop(name))
        # a thread cannot be called back: who has waited long enough goes, and the look-up ends by itself
        return await asyncio.shield(looking)

    def close(self) -> None:
        """Begin no further look-up, and wait for none."""
        for looking in self._under_way.values():
            looking.cancel()

    async def _look_up(self, name: str) -> list[Address]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Address]] = loop.create_future()

        def tell(addresses: list[Address]) -> None:
            if not answer.done():
                answer.set_result(addresses)

        def look_up() -> None:
            addresses = _addresses(name)
            # the loop is closed where the service has stopped meanwhile
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(tell, addresses)

        async with self._free:
            Thread(target=look_up, name="resolving", daemon=True).start()
            return await answer


def _addresses(name: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ip_address(where[0]) for family, _, _, _, where in found if family in (socket.AF_INET, socket.AF_INET6)]
