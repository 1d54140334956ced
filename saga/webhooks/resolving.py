"""Looking up what addresses a name stands for, off the loop and without keeping anybody else from theirs."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import TypeAlias

from saga.webhooks.addresses import Address

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""From a name to its addresses; none where it has none."""

MOST_AT_ONCE = 32
"""A look-up holds a thread until the name server has answered, and that server may be the receiver's own."""


class Resolver:
    """The system's resolver, in threads of its own: the loop's are few, and others need them.

    Who asks for a name that is being looked up waits for the same answer, so a name never holds more than one thread.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="resolving")
        self._under_way: dict[str, asyncio.Future[list[Address]]] = {}

    async def __call__(self, name: str) -> Sequence[Address]:
        """The addresses of this name, in the order in which they should be tried."""
        looking = self._under_way.get(name)
        if looking is None:
            looking = asyncio.get_running_loop().run_in_executor(self._threads, _look_up, name)
            self._under_way[name] = looking
            looking.add_done_callback(lambda _: self._under_way.pop(name))
        # a thread cannot be called back: who has waited long enough goes, and the look-up ends by itself
        return await asyncio.shield(looking)

    def close(self) -> None:
        """Begin no further look-up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(name: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ip_address(where[0]) for family, _, _, _, where in found if family in (socket.AF_INET, socket.AF_INET6)]
