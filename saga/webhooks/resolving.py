"""Looking up what addresses a name stands for, off the loop and without keeping anybody else from theirs."""

import asyncio
import socket
from asyncio import AbstractEventLoop, Future, Task
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from threading import Thread
from typing import TypeAlias

from saga.webhooks.addresses import Address

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""From a name to its addresses; none where it has none."""
Found: TypeAlias = list[Address]

MOST_AT_ONCE = 32
"""A look-up holds a thread until the name server has answered, and that server may be the receiver's own."""


class Resolver:
    """The system's resolver, in threads of its own: the loop's are few, and others need them.

    Who asks for a name that is being looked up waits for the same answer, so a name never holds more than one thread.
    """

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._under_way: dict[str, Task[Found]] = {}

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
        """Wait for no look-up any more."""
        for looking in self._under_way.values():
            looking.cancel()

    async def _look_up(self, name: str) -> Found:
        async with self._room:
            loop = asyncio.get_running_loop()
            found: Future[Found] = loop.create_future()
            # a pool's threads would keep the process from ending as long as a name server is silent
            Thread(target=_ask, args=(name, loop, found), name="resolving", daemon=True).start()
            return await found


def _ask(name: str, loop: AbstractEventLoop, found: Future[Found]) -> None:
    addresses = _addresses(name)
    # a loop that is closed awaits nothing
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_tell, found, addresses)


def _tell(found: Future[Found], addresses: Found) -> None:
    if not found.done():
        found.set_result(addresses)


def _addresses(name: str) -> Found:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ip_address(where[0]) for family, _, _, _, where in found if family in (socket.AF_INET, socket.AF_INET6)]
