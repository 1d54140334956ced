"""The table of rules: what each operation needs. What has no rule here is refused; a test asks for one per route.

An operation is a method and the template of a path, whatever its parameters are called. Nobody looks elsewhere for who
may do what: the guard at the door asks this table, and `/openapi.json` is written from it. What remains is whose: a
person's `orders:*` are about that person's orders alone, and the queries see to that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from handlers.access.principal import OF_CUSTOMERS, Caller, Scope


@dataclass(frozen=True, slots=True)
class Rule:
    """What an operation needs."""

    scope: Scope | None
    """None: nothing. It is open to everybody."""
    page: bool = False
    """Whether a browser shows it: then whoever is nobody is led to the login."""

    def refuses(self, caller: Caller) -> str | None:
        """Why this caller may not; None where they may."""
        if self.scope is Scope.ORDERS_READ and caller.may(Scope.ORDERS_READ_ANY):
            return None
        if self.scope in OF_CUSTOMERS and caller.person and caller.user_id is None:
            return f"`{self.scope}` is for customers, and the `sub` of your token is no customer's id: those are UUIDs."
        if self.scope and not caller.may(self.scope):
            return f"This needs the scope `{self.scope}`, which your credential does not have."
        if self.scope is Scope.ORDERS_READ and caller.user_id is None:
            return "`orders:read` is about a person's own orders, and you are a service: you need `orders:read:any`."
        return None


OPEN: Final = None
_WRITE, _READ, _OPERATE = Scope.ORDERS_WRITE, Scope.ORDERS_READ, Scope.OPERATE
_METRICS, _WEBHOOKS = Scope.METRICS, Scope.WEBHOOKS

_API: tuple[tuple[Scope | None, str], ...] = (
    (OPEN,      "GET    /health/live"),
    (OPEN,      "GET    /health/ready"),
    (_METRICS,  "GET    /metrics"),
    # the contracts, and what their pages load
    (OPEN,      "GET    /docs"),
    (OPEN,      "GET    /openapi.json"),
    (OPEN,      "GET    /asyncapi"),
    (OPEN,      "GET    /asyncapi.json"),
    (OPEN,      "GET    /assets/{name}"),
    (OPEN,      "GET    /assets/copy.js"),
    (OPEN,      "GET    /assets/countdown.js"),
    (OPEN,      "GET    /assets/forms.css"),
    (OPEN,      "GET    /assets/go_on.js"),
    (OPEN,      "GET    /assets/live.js"),
    (OPEN,      "GET    /assets/morph.js"),
    (OPEN,      "GET    /assets/saga.css"),
    (OPEN,      "GET    /assets/style.css"),
    # orders: a person's own, or anybody's for a service
    (_WRITE,    "POST   /api/orders"),
    (_WRITE,    "POST   /api/orders/{order_id}/cancel"),
    (_READ,     "GET    /api/orders/{order_id}"),
    (_READ,     "GET    /api/orders/user/{user_id}"),
    (_READ,     "GET    /api/orders/{order_id}/saga"),
    (_READ,     "GET    /api/orders/{order_id}/events"),
    (_READ,     "WS     /api/orders/{order_id}/ws"),
    # operators
    (_OPERATE,  "GET    /api/sagas"),
    (_OPERATE,  "POST   /api/sagas/retry"),
    (_OPERATE,  "POST   /api/sagas/{order_id}/retry"),
    (_OPERATE,  "POST   /api/sagas/{order_id}/resolve"),
    (_OPERATE,  "POST   /api/sagas/{order_id}/compensate"),
    (_OPERATE,  "GET    /api/dead-letters"),
    (_OPERATE,  "POST   /api/dead-letters/redrive"),
    (_OPERATE,  "GET    /api/dead-letters/{id}"),
    (_OPERATE,  "DELETE /api/dead-letters/{id}"),
    (_OPERATE,  "POST   /api/dead-letters/{id}/redrive"),
    # of the dashboard: no page, but what one listens to
    (_OPERATE,  "GET    /sagas/{order_id}/events"),
    # who is told of orders
    (_WEBHOOKS, "POST   /api/webhooks"),
    (_WEBHOOKS, "GET    /api/webhooks"),
    (_WEBHOOKS, "GET    /api/webhooks/{webhook_id}"),
    (_WEBHOOKS, "PATCH  /api/webhooks/{webhook_id}"),
    (_WEBHOOKS, "DELETE /api/webhooks/{webhook_id}"),
    (_WEBHOOKS, "POST   /api/webhooks/{webhook_id}/rotate-secret"),
    (_WEBHOOKS, "POST   /api/webhooks/{webhook_id}/ping"),
    (_WEBHOOKS, "POST   /api/webhooks/{webhook_id}/redeliver"),
    (_WEBHOOKS, "GET    /api/webhooks/{webhook_id}/deliveries"),
    (_WEBHOOKS, "GET    /api/webhooks/{webhook_id}/deliveries/{delivery_id}"),
    (_WEBHOOKS, "POST   /api/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"),
)  # fmt: skip
_PAGES: tuple[tuple[Scope | None, str], ...] = (
    (OPEN,      "GET    /login"),
    (OPEN,      "POST   /login"),
    (_OPERATE,  "POST   /logout"),
    (_OPERATE,  "GET    /"),
    (_OPERATE,  "GET    /try"),
    (_OPERATE,  "POST   /try"),
    (_OPERATE,  "GET    /sagas"),
    (_OPERATE,  "GET    /sagas/retry"),
    (_OPERATE,  "POST   /sagas/retry"),
    (_OPERATE,  "GET    /sagas/{order_id}"),
    (_OPERATE,  "GET    /sagas/{order_id}/retry"),
    (_OPERATE,  "POST   /sagas/{order_id}/retry"),
    (_OPERATE,  "GET    /sagas/{order_id}/resolve"),
    (_OPERATE,  "POST   /sagas/{order_id}/resolve"),
    (_OPERATE,  "GET    /sagas/{order_id}/compensate"),
    (_OPERATE,  "POST   /sagas/{order_id}/compensate"),
    (_OPERATE,  "GET    /sagas/{order_id}/cancel"),
    (_OPERATE,  "POST   /sagas/{order_id}/cancel"),
    (_OPERATE,  "GET    /dead-letters"),
    (_OPERATE,  "GET    /dead-letters/{id}"),
    (_OPERATE,  "POST   /dead-letters/{id}"),
    (_OPERATE,  "GET    /dead-letters/redrive"),
    (_OPERATE,  "POST   /dead-letters/redrive"),
    (_OPERATE,  "GET    /webhooks"),
    (_OPERATE,  "POST   /webhooks"),
    (_OPERATE,  "GET    /webhooks/{webhook_id}"),
    (_OPERATE,  "POST   /webhooks/{webhook_id}"),
    (_OPERATE,  "GET    /webhooks/{webhook_id}/deliveries/{delivery_id}"),
)  # fmt: skip
_PARAMETER = re.compile(r"\{[^}]*\}")


def operation(method: str, path: str) -> str:
    """How the table names an operation: `GET /api/orders/{}`. What answers GET answers HEAD."""
    return f"{'GET' if method == 'HEAD' else method} {_PARAMETER.sub('{}', path)}"


RULES: Mapping[str, Rule] = {
    operation(*line.split()): Rule(scope, page)
    for rows, page in ((_API, False), (_PAGES, True))
    for scope, line in rows
}
"""By operation."""
