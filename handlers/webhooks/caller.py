"""Who asks about webhooks, and whose that makes them."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends

from handlers.access.principal import AnyCaller, Scope


@dataclass(frozen=True, slots=True)
class Asking:
    """Somebody who may subscribe."""

    name: str
    """As it is told who did something."""
    owner: str
    """Whose the endpoints are that they make."""
    sees_all: bool = False
    """Whether everybody's endpoints are theirs to look after."""
    person: bool = False
    """Whether they are a person, who has fewer endpoints than a service."""
    user_id: UUID | None = None
    """The one person whose orders they may be told of; None: anybody."""

    @property
    def sees(self) -> str | None:
        """The owner whose endpoints they see; None: everybody's."""
        return None if self.sees_all else self.owner


def asking(caller: AnyCaller) -> Asking:
    """Who asks, as the guard found it: operators look after everybody's endpoints, a person is told of their orders."""
    operates = caller.may(Scope.OPERATE)
    return Asking(caller.name, caller.owner, operates, caller.person, None if operates else caller.orders_of)


Asks = Annotated[Asking, Depends(asking)]
