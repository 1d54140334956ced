"""Who sent a message, as RabbitMQ knows it, and whose word counts for what.

The AMQP property `user_id` is the one thing about a message that nobody can make up: RabbitMQ refuses a message whose
`user_id` is not the user of the connection that it came by. Everything else (its `app_id`, its headers, its body) is
what somebody says of himself.

What this service publishes on somebody's behalf, a copy for the dead letters or a letter that a person redrives, is
under its own user. So it says in a header who had sent it at first, and that header counts under its own user alone.
A message keeps its first sender on every way, and no redrive makes a trusted one of it.
"""

import re
from collections.abc import Mapping
from typing import Any

from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from saga.errors import RefusedError
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

FIRST_SENDER = "x-dead-letter-user-id"
"""The header with the `user_id` that a message had at first; empty where it had none."""
_EXPECTED = re.compile(r"domain\.[A-Za-z.]*=(?!\S*,domain\.)\S+")
_ASSUMED = "guest"
"""Whom the client library takes, where an address names nobody."""


class UntrustedSenderError(RefusedError):
    """The message's sender is not the one that TRUSTED_SENDERS names for its routing key; nothing was done."""

    reason = "untrusted_sender"
    quotes = False

    def __init__(self) -> None:
        super().__init__(
            "its user_id is not the one that TRUSTED_SENDERS names for this routing key, or is missing: whoever may"
            " send this message has to publish it with the user_id of its own broker user"
        )


def expected_senders(text: str) -> dict[str, str]:
    """The broker users that somebody names, by the beginnings of the routing keys that are theirs alone.

    Raises:
        ValueError: they are none, or one beginning is named twice.
    """
    named = text.split()
    senders = dict(one.split("=", 1) for one in named if _EXPECTED.fullmatch(one))
    if len(senders) < len(named):
        raise ValueError(
            "must be prefix=brokeruser for each, blank-separated, no prefix twice:"
            " domain.inventory.=inventory domain.billing.=billing"
        )
    return senders


def user_in(url: str) -> str | None:
    """The broker's name for whoever connects by this address; None where a certificate alone tells it."""
    address = URL(url)
    return address.user or (None if "auth" in address.query else _ASSUMED)


def sender_of(message: AbstractIncomingMessage, own: str | None) -> str | None:
    """Who sent this at first; None where nobody can tell.

    Args:
        message: as RabbitMQ delivered it.
        own: the broker user of this service, whose word counts for the first sender.
    """
    if message.user_id and message.user_id == own:
        first = message.headers.get(FIRST_SENDER, own)
        return first if isinstance(first, str) and first else None
    return message.user_id or None


def on_behalf_of(sender: str | None, own: str | None) -> Mapping[str, Any]:
    """The headers by which a message that `own` publishes says who had sent it at first."""
    return {} if sender and sender == own else {FIRST_SENDER: sender or ""}


class Senders:
    """Whose messages count: by the longest beginning of the routing key that somebody is named for.

    Args:
        own: the broker user of this service.
        expected: broker users by the beginnings of the routing keys that are theirs alone. What nobody is named for
            counts from everybody.
    """

    def __init__(self, own: str | None = None, expected: Mapping[str, str] | None = None) -> None:
        self.own = own
        self._expected = sorted((expected or {}).items(), key=lambda one: -len(one[0]))
        self._has_warned = False

    def expected(self, routing_key: str) -> str | None:
        """Who alone may send messages under this routing key; None where nobody is named for it."""
        return next((user for prefix, user in self._expected if routing_key.startswith(prefix)), None)

    def trusts(self, routing_key: str, sender: str | None) -> bool:
        """Whether what this sender says under this routing key counts."""
        expected = self.expected(routing_key)
        return expected is None or sender == expected

    def require_trusted(self, message: AbstractIncomingMessage, routing_key: str) -> None:
        """Let a message pass.

        Args:
            message: as RabbitMQ delivered it.
            routing_key: what it is taken for. Its own need not be that: whoever may publish straight to a queue, or
                bind it to other keys, has it come by any.

        Raises:
            UntrustedSenderError: it is not from whom it has to be.
        """
        sender, expected = sender_of(message, self.own), self.expected(routing_key)
        if expected is not None and sender != expected:
            raise UntrustedSenderError
        if expected is None and sender not in (None, self.own) and not self._has_warned:
            self._has_warned = True
            log.warning(
                "RabbitMQ has other users, and each of them is believed under this routing key: set TRUSTED_SENDERS",
                routing_key=routing_key,
            )


EVERYBODY = Senders()
"""Nobody is named: all messages count."""
