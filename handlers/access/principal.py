"""Who asks, and what that lets them do: the one word for it between the guard at the door and what stands behind."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from starlette.requests import HTTPConnection

from handlers.access.errors import forbidden

LOCAL = "local"
"""Owns what is made where no access is configured: whoever is on this machine."""


class Scope(StrEnum):
    """What a credential is good for."""

    ORDERS_WRITE = "orders:write"
    ORDERS_READ = "orders:read"
    ORDERS_READ_ANY = "orders:read:any"
    OPERATE = "operate"
    WEBHOOKS = "webhooks"
    METRICS = "metrics"


EVERY_SCOPE = frozenset(Scope)
OF_CUSTOMERS = frozenset({Scope.ORDERS_READ, Scope.ORDERS_WRITE, Scope.WEBHOOKS})
"""What a person has for their own orders alone: one whose id is no customer's has none of it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks.

    Args:
        name: as histories record it: `key:<id>`, `user:<sub>`, or `operator@127.0.0.1` where nothing is configured.
        scopes: what they may do.
        user_id: the person, whose orders `orders:*` are about; None for a service.
        local: whether they may do all because they are on this machine, and nothing is configured.
        expires_at: when what they showed ends; None: it does not by itself.
    """

    name: str
    scopes: frozenset[Scope]
    user_id: UUID | None = None
    local: bool = False
    expires_at: datetime | None = None

    @property
    def person(self) -> bool:
        """Whether they are one, be it one whose id is no customer's."""
        return self.name.startswith("user:")

    def may(self, scope: Scope) -> bool:
        """Whether they have that scope."""
        return scope in self.scopes

    @property
    def orders_of(self) -> UUID | None:
        """Whose orders they may see: their own, where they are a person; None: anybody's.

        Whether they may see or place any at all the guard has asked.
        """
        return None if self.may(Scope.ORDERS_READ_ANY) else self.user_id

    @property
    def reads(self) -> bool:
        """Whether they may read what they may write: the orders that `orders:write` is about."""
        return bool({Scope.OPERATE, Scope.ORDERS_READ_ANY} & self.scopes) or (
            self.user_id is not None and self.may(Scope.ORDERS_READ)
        )

    @property
    def owner(self) -> str:
        """Whose the things are that they make: the same with every request and credential of theirs."""
        return LOCAL if self.local else self.name


def caller_of(connection: HTTPConnection) -> Caller:
    """Who asks, as the guard found it.

    Raises:
        ProblemError: 403, no guard stands before this: nobody may do it.
    """
    caller = connection.scope.get("caller")
    if isinstance(caller, Caller):
        return caller
    raise forbidden("Nobody may do this: nobody has asked who it is.")


AnyCaller = Annotated[Caller, Depends(caller_of)]
