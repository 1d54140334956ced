"""Clients that follow a saga: told how it stands, at once and after every change, until it has ended.

Nothing is kept for a client but what it was told last. While it takes that, the saga may move on; then it is told how
the saga stands now. So whoever reads slowly misses steps, all of which are in the history, and costs no memory.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

from starlette.types import Scope

from handlers.access.middleware import still_in
from handlers.access.principal import Caller
from handlers.access.principal import Scope as Right
from handlers.access.rate_limits import AtOnce
from handlers.http.hang_up import hang_up_of
from handlers.http.problems import RETRY_AFTER_SECONDS, ProblemError
from handlers.live.snapshots import Snapshot, Snapshots
from handlers.live.watcher import Watch
from saga.errors import DATABASE_ERRORS, UnknownOrderError, UnknownTableError, classify
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

MAX_FOLLOWERS = 2000
"""As many clients follow sagas in one process; the next is told to come again. Each costs about 30 kB, and one that
does not read 64 kB and a saga more."""
KEEP_ALIVE_SECONDS = 15.0
"""Where nothing changes for so long, something is said all the same: for proxies, and to see who is gone."""
SEND_SECONDS = 10.0
"""How long a client may take to read what it was told; then it is hung up on."""
GOODBYE_SECONDS = 1.0
"""How long streams have to end, once the service has been told to stop; then they are cut."""
MOST_SECONDS = 3600.0
"""The longest that one stream goes on; then the client comes again, and is asked anew who it is."""
_PAUSE = 1.0
"""Seconds before the next attempt to read what the database did not give."""


class Followers:
    """All clients of this process that follow a saga.

    Args:
        watch: tells when a saga changes.
        snapshots: reads how it stands.
        keep_alive: seconds after which something is said although nothing changed.
        patience: seconds that a client may take to read.
        per_client: the most that one client may follow at once; on this machine anybody may, where access is open.
    """

    def __init__(
        self,
        watch: Watch,
        snapshots: Snapshots,
        *,
        keep_alive: float = KEEP_ALIVE_SECONDS,
        patience: float = SEND_SECONDS,
        per_client: int = MAX_FOLLOWERS,
    ) -> None:
        self.limit = MAX_FOLLOWERS
        """How many there may be."""
        self.watch, self.snapshots, self.keep_alive, self.patience = watch, snapshots, keep_alive, patience
        self._open: set[Follower] = set()
        self._of_each = AtOnce(per_client)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    @contextmanager
    def welcome(self, scope: Scope) -> Iterator["Follower"]:
        """A client, as long as the block lasts.

        Raises:
            ProblemError: 503, there are too many, or the service is stopping; 429, too many of this client's.
        """
        caller: Caller = scope["caller"]
        with self._of_each.one_more(caller, "too_many_streams"):
            if self.watch.closed or len(self) >= self.limit:
                raise ProblemError(
                    503,
                    "too_many_followers",
                    "No more clients can follow an order here at the moment. Come again, or ask for the saga itself.",
                    {"Retry-After": str(RETRY_AFTER_SECONDS)},
                )
            follower = Follower(self, scope)
            self._open.add(follower)
            try:
                yield follower
            finally:
                self._open.discard(follower)

    def close(self) -> None:
        """Cut what goes on a second from now. Close the watch too: then streams end by themselves before."""
        asyncio.get_running_loop().call_later(GOODBYE_SECONDS, self._cut)

    def _cut(self) -> None:
        for follower in self._open:
            follower.hang_up()


class Follower:
    """One client that follows a saga. Made by `Followers.welcome`.

    Args:
        all_of_them: whose one it is.
        scope: of its request.
    """

    def __init__(self, all_of_them: Followers, scope: Scope) -> None:
        self._all = all_of_them
        self._scope = scope
        self._now = asyncio.get_running_loop().time
        self._until = self._now() + _seconds_left(scope["caller"])
        self._look_again_at = self._now() + all_of_them.keep_alive
        self.hang_up = hang_up_of(scope)
        self.put_out = False
        """Whether it may follow no more: what it showed has ended, or was withdrawn."""

    async def begin(self, order_id: UUID) -> Snapshot:
        """How the saga stands.

        Raises:
            UnknownOrderError: there is no such order.
            UnknownTableError: another release has to tell.
        """
        return await self._take(order_id)

    async def changes(self, order_id: UUID, now: Snapshot) -> AsyncIterator[Snapshot | None]:
        """How the saga stands after every change from `now` on; None where nothing changed for a while.

        It ends after a final one; or before, when the service stops, when another release has to tell, when an hour is
        over, and with what the client showed.
        """
        while not (now.final or self._all.watch.closed) and await self._may_go_on():
            try:
                async with asyncio.timeout_at(min(self._now() + self._all.keep_alive, self._until)):
                    newer = await self._newer(order_id, now)
            except TimeoutError:
                yield None
                continue
            except (UnknownOrderError, UnknownTableError):
                return
            if newer is not now:
                now = newer
                yield now

    async def _may_go_on(self) -> bool:
        """Whether it may: asked anew each time that something is said because nothing has changed."""
        if self._now() >= self._until:
            self.put_out = _seconds_left(self._scope["caller"]) <= 0
            return False
        if self._now() >= self._look_again_at:
            self._look_again_at = self._now() + self._all.keep_alive
            self.put_out = not await still_in(self._scope)
        return not self.put_out

    async def tell(self, saying: Awaitable[None]) -> None:
        """Say something to the client, and hang up on one that does not listen."""
        try:
            async with asyncio.timeout(self._all.patience):
                await saying
        except TimeoutError:
            log.warning("hanging up on a client that follows a saga and does not read")
            self.hang_up()
            # its server notices, and then whoever waits for the client to leave
            await asyncio.sleep(GOODBYE_SECONDS)

    async def _take(self, order_id: UUID) -> Snapshot:
        may_operate: bool = self._scope["caller"].may(Right.OPERATE)
        return await self._all.snapshots.take(order_id, to_operators=may_operate)

    async def _newer(self, order_id: UUID, seen: Snapshot) -> Snapshot:
        """How it stands once it has changed, or `seen` when the service stops. While the database is away it waits."""
        while True:
            await self._all.watch.changed(order_id, "saga", seen.updated_at)
            if self._all.watch.closed:
                return seen
            try:
                return await self._take(order_id)
            except DATABASE_ERRORS as error:
                if not classify(error).transient:
                    raise
            await asyncio.sleep(_PAUSE)


def _seconds_left(caller: Caller) -> float:
    """How long whoever follows may do so with what they showed."""
    if caller.expires_at is None:
        return MOST_SECONDS
    return min(MOST_SECONDS, (caller.expires_at - datetime.now(UTC)).total_seconds())
