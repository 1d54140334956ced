"""What every RabbitMQ of ours can do, wherever it comes from."""

import asyncio
import socket
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self
from urllib.parse import quote

import aiormq
from yarl import URL

from local.child import Child
from local.errors import NotPrivateError
from local.host import LOOPBACK, free_port
from local.management import Management

USER = "orders"
# A fraction of the memory so small that the alarm goes off, and RabbitMQ's own default.
ALARM, NO_ALARM = 1e-9, 0.4


class RabbitMQ(ABC):
    """A RabbitMQ: addresses, virtual hosts, and the faults that tests need.

    `start`, `stop` and `kill` block; a port 0 becomes a free one and stays the same as long as this object lives.
    """

    def __init__(self, port: int = 0, *, host: str = LOOPBACK, user: str = USER, management_port: int = 0) -> None:
        self.host = host
        self.user = user
        self.port = port or free_port()
        self.management_port = management_port or free_port()

    @property
    @abstractmethod
    def password(self) -> str:
        """The password of `user`."""

    @property
    def child(self) -> Child | None:
        """The running server process, None when it is stopped or no child of ours."""
        return None

    @property
    def management(self) -> Management:
        """The management API."""
        return Management(f"http://{self.host}:{self.management_port}", self.user, self.password)

    def url(self, vhost: str = "/") -> str:
        """The AMQP address of a virtual host, password included."""
        path = "" if vhost == "/" else quote(vhost, safe="")
        return f"amqp://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{self.host}:{self.port}/{path}"

    def create_vhost(self, name: str) -> str:
        """Create a virtual host (nothing happens if it exists) and return its AMQP address."""
        self.management.create_vhost(name)
        return self.url(name)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all its queues and connections."""
        self.management.delete_vhost(name)

    def queues(self, vhost: str = "/") -> dict[str, int]:
        """Every queue with the number of its messages now, unacknowledged ones included."""
        return self.management.queues(vhost)

    def raise_memory_alarm(self) -> None:
        """Make RabbitMQ believe that its memory is full: publishers are blocked, consumers go on. Takes 1 to 2 s."""
        self.control("set_vm_memory_high_watermark", f"{ALARM:.9f}")

    def clear_memory_alarm(self) -> None:
        """Back to the default limit."""
        self.control("set_vm_memory_high_watermark", str(NO_ALARM))

    @abstractmethod
    def start(self) -> None:
        """Start and wait until an AMQP connection can be opened."""

    @abstractmethod
    def stop(self) -> None:
        """Stop in order; the data stays. Stopping twice is stopping once."""

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL, as a fault."""

    @abstractmethod
    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` and return what it printed. Takes 1 to 2 s: a whole Erlang is started for it."""

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


class ForeignRabbitMQ(RabbitMQ):
    """A RabbitMQ that runs already, as one that RABBITMQ_URL names: used as it is.

    Virtual hosts need its management plug-in on the same host.
    """

    def __init__(self, url: str, management_port: int = 15672) -> None:
        self._url = URL(url)
        super().__init__(
            self._url.port or 5672,
            host=self._url.host or LOOPBACK,
            user=self._url.user or "guest",
            management_port=management_port,
        )

    @property
    def password(self) -> str:
        """The password in the address."""
        return self._url.password or "guest"

    def url(self, vhost: str | None = None) -> str:
        """The given address, with another virtual host if one is named."""
        return str(self._url if vhost is None else self._url.with_path(f"/{quote(vhost, safe='')}", encoded=True))

    def start(self) -> None:
        """See that it answers."""
        if not accepts(self.url()):
            raise NotPrivateError(
                f"RABBITMQ_URL names a RabbitMQ at {self.host}:{self.port}, but it does not answer. "
                "Start it, or unset the variable."
            )

    def stop(self) -> None:
        """Leave it running."""

    def kill(self) -> None:
        """Refuse."""
        raise NotPrivateError(
            "The RabbitMQ that RABBITMQ_URL names is not ours to kill. Unset the variable to get a private one."
        )

    def control(self, *arguments: str) -> str:
        """Refuse."""
        raise NotPrivateError(
            f"`rabbitmqctl {' '.join(arguments)}` is for a private RabbitMQ. Unset RABBITMQ_URL to get one."
        )


def accepts(url: str) -> bool:
    """Whether an AMQP connection to `url` can be opened, login included. May be called inside an event loop too."""
    address = URL(url)
    with socket.socket() as probe:
        # aiormq logs every refused connection as an error; nobody listening yet is none.
        if probe.connect_ex((address.host, address.port or 5672)) != 0:
            return False
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _accepts(url)).result()


async def _accepts(url: str) -> bool:
    try:
        async with asyncio.timeout(5):
            connection = await aiormq.connect(url)
            await connection.close()
    except (OSError, aiormq.AMQPError, TimeoutError):
        return False
    return True
