"""Who asks about webhooks, and whose that makes them."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends

from handlers.operators import Actor


@dataclass(frozen=True, slots=True)
class Asking:
    """Somebody who may subscribe."""

    name: str
    """As logs of what was done record it."""
    owner: str
    """Whose the endpoints are that they make."""
    sees_all: bool
    """Whether everybody's endpoints are theirs to look after."""
    user_id: UUID | None
    """The one person whose orders they may be told of; None: anybody."""

    @property
    def sees(self) -> str | None:
        """The owner whose endpoints they see; None: everybody's."""
        return None if self.sees_all else self.owner


def asking(actor: Actor) -> Asking:
    """Who asks, as the guard found it."""
    return Asking(name=actor, owner="local", sees_all=True, user_id=None)


Asks = Annotated[Asking, Depends(asking)]
