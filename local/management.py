"""RabbitMQ's management API over HTTP, as far as the tests and the runner need it.

A call takes milliseconds where `rabbitmqctl` takes a second, most of it the start of a second Erlang.
"""

import base64
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

from local.errors import LocalError

SECONDS = 15.0


class ManagementError(LocalError):
    """The management API refused or could not be reached; the message has its words."""


class Management:
    """The management API at `url` (`http://host:port`)."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def create_vhost(self, name: str) -> None:
        """Create a virtual host in which the calling user may do all; nothing happens if it exists."""
        self.call("PUT", f"vhosts/{quote(name, safe='')}")

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host and all in it."""
        self.call("DELETE", f"vhosts/{quote(name, safe='')}")

    def create_user(self, name: str, password: str) -> None:
        """Create a user who may do nothing yet."""
        self.call("PUT", f"users/{quote(name, safe='')}", {"password": password, "tags": ""})

    def delete_user(self, name: str) -> None:
        """Delete a user and cut his connections."""
        self.call("DELETE", f"users/{quote(name, safe='')}")

    def permit(self, vhost: str, user: str, *, configure: str, write: str, read: str) -> None:
        """Let a user do this to queues and exchanges whose names match; nothing else."""
        rights = {"configure": configure, "write": write, "read": read}
        self.call("PUT", f"permissions/{quote(vhost, safe='')}/{quote(user, safe='')}", rights)

    def permit_topics(self, vhost: str, user: str, exchange: str, *, write: str, read: str) -> None:
        """Let a user publish to a topic exchange, and bind to it, by routing keys that match; no others."""
        rights = {"exchange": exchange, "write": write, "read": read}
        self.call("PUT", f"topic-permissions/{quote(vhost, safe='')}/{quote(user, safe='')}", rights)

    def queues(self, vhost: str) -> dict[str, int]:
        """Every queue of a virtual host with the number of its messages, unacknowledged ones included, as of now."""
        # Without these two the numbers are up to five seconds old.
        rows = self.call("GET", f"queues/{quote(vhost, safe='')}?disable_stats=true&enable_queue_totals=true")
        return {row["name"]: row.get("messages", 0) for row in rows}

    def delete_queue(self, vhost: str, name: str) -> None:
        """Delete a queue and the messages in it, as a fault."""
        self.call("DELETE", f"queues/{quote(vhost, safe='')}/{quote(name, safe='')}")

    def bindings(self, vhost: str, exchange: str, queue: str) -> list[str]:
        """By which keys a queue is bound to an exchange."""
        rows = self.call("GET", _between(vhost, exchange, queue))
        return [row["properties_key"] for row in rows]

    def unbind(self, vhost: str, exchange: str, queue: str, key: str) -> None:
        """Remove a binding, as a fault."""
        self.call("DELETE", f"{_between(vhost, exchange, queue)}/{quote(key, safe='')}")

    def alarmed(self) -> bool:
        """Whether memory or disk are short, so that publishers are blocked."""
        try:
            self.call("GET", "health/checks/local-alarms")
        except ManagementError as error:
            if "503" not in str(error):
                raise
            return True
        return False

    def connections(self) -> list[str]:
        """The names of all open connections."""
        return [row["name"] for row in self.call("GET", "connections")]

    def close_connection(self, name: str) -> None:
        """Cut a connection, as a fault; nothing happens if it is gone."""
        try:
            self.call("DELETE", f"connections/{quote(name, safe='')}")
        except ManagementError as error:
            if "404" not in str(error):
                raise

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            self.call("GET", "whoami")
        except ManagementError:
            return False
        return True

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call `/api/<path>` and return the decoded answer, None if it is empty.

        Raises:
            ManagementError: an error status, or no connection.

        """
        request = urllib.request.Request(  # noqa: S310 (our own address, never a user's)
            f"{self._url}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": self._authorization, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310 (the same)
                text = response.read()
        except urllib.error.HTTPError as error:
            raise ManagementError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None
        except OSError as error:
            raise ManagementError(f"{method} {path} at {self._url}: {error}") from None
        return json.loads(text) if text else None


def _between(vhost: str, exchange: str, queue: str) -> str:
    vhost, exchange, queue = (quote(name, safe="") for name in (vhost, exchange, queue))
    return f"bindings/{vhost}/e/{exchange}/q/{queue}"
