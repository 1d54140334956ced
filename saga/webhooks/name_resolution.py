"""Looking up what addresses a name stands for, off the loop and without keeping anybody else from theirs."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from threading import Thread
from typing import TypeAlias

from saga.errors import RefusedError
from saga.webhooks.ssrf import Address

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""From a name to its addresses; none where it has none."""

MOST_OF_OWNER = 2
"""Names that are looked up at once for one owner: what one asks for must not fill the queue of all."""


class TooManyLookUpsError(RefusedError):
    """So many names are being looked up in one owner's name already: one of those look-ups has to end first."""

    reason = "too_many_look_ups"
    quotes = False


@dataclass(slots=True)
class _LookUp:
    """A name that is looked up, or waits for its turn."""

    task: asyncio.Task[list[Address]]
    owners: set[str]
    """In whose names it was asked for, whether or not they still wait."""
    waiting: int = 0
    begun: bool = False
    """Whether it holds a thread, which cannot be called back."""


class Resolver:
    """The system's resolver, in threads of its own: the loop's are few, and others need them.

    A look-up holds a thread until the name server has answered, and that server may be the receiver's own. Callers that
    ask for the same name wait for the same answer, so a name never holds more than one thread. A look-up that nobody
    waits for any more leaves the queue; one that has begun goes on, and counts for its owners until it ends. No stop of
    the service waits for a look-up: a pool's threads would be waited for.

    Args:
        most_at_once: names that are looked up at the same time; any further one waits.
        most_of_owner: names that are looked up, or wait, in the name of one owner.
    """

    def __init__(self, most_at_once: int, most_of_owner: int = MOST_OF_OWNER) -> None:
        self._free = asyncio.Semaphore(most_at_once)
        self._most_of_owner = most_of_owner
        self._under_way: dict[str, _LookUp] = {}

    def __len__(self) -> int:
        """How many names are looked up, or wait for their turn."""
        return len(self._under_way)

    async def __call__(self, name: str, owner: str | None = None) -> Sequence[Address]:
        """The addresses of this name, in the order in which they should be tried.

        Args:
            name: a name of the DNS.
            owner: the owner that the look-up counts for; None: it counts for none.

        Raises:
            TooManyLookUpsError: the owner has as many under way as one may have.
        """
        looking = self._under_way.get(name)
        if owner and not (looking and owner in looking.owners):
            self._require_room(owner)
        if looking is None:
            looking = _LookUp(asyncio.create_task(self._look_up(name)), set())
            self._under_way[name] = looking
            looking.task.add_done_callback(lambda _: self._forget(name, looking))
        looking.owners |= {owner} if owner else set()
        looking.waiting += 1
        try:
            return await asyncio.shield(looking.task)
        finally:
            looking.waiting -= 1
            if not looking.waiting and not looking.begun:
                looking.task.cancel()
                self._forget(name, looking)

    def close(self) -> None:
        """Begin no further look-up, and wait for none."""
        for looking in self._under_way.values():
            looking.task.cancel()

    def _require_room(self, owner: str) -> None:
        if sum(owner in looking.owners for looking in self._under_way.values()) >= self._most_of_owner:
            raise TooManyLookUpsError(f"{self._most_of_owner} names are being looked up for you already")

    def _forget(self, name: str, looking: _LookUp) -> None:
        if self._under_way.get(name) is looking:
            del self._under_way[name]

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
            self._under_way[name].begun = True
            Thread(target=look_up, name="resolving", daemon=True).start()
            return await answer


def _addresses(name: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ip_address(where[0]) for family, _, _, _, where in found if family in (socket.AF_INET, socket.AF_INET6)]
