"""The audit log: who did, or tried, what is worth asking about later. One line each, by the logger `audit`.

Only the guard writes it, for every request that it sees, so that no route can forget to; what is refused is counted,
too. Who asks is told by the id of their key, or, for people, by a keyed digest of their `sub`: the same person has the
same one for ever, and nobody can find out whose it is but who has the database. Where from: the network alone.
"""

from enum import StrEnum
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.types import Scope

from handlers.access.policy import Rule
from handlers.access.principal import LOCAL, Caller
from handlers.access.principal import Scope as Right
from handlers.access.server_key import ServerKey
from handlers.access.token_bucket import Rate
from saga.errors import DATABASE_ERRORS
from saga.telemetry.log_setup import get_logger
from saga.telemetry.metrics import REFUSED
from saga.telemetry.redaction import Words

log = get_logger("audit")

USED_AGAIN_SECONDS = 3600.0
"""After so long the use of a credential, from the network where it was used before, is told again."""
NOBODY = "nobody"
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
_SAFE = ("GET", "HEAD")
_PREFIX_V4, _PREFIX_V6 = 24, 48
_DIGEST_CHARACTERS = 16


class Action(StrEnum):
    """What was done, or tried."""

    LOGIN = "login"
    LOGOUT = "logout"
    OPERATE = "operator action"
    SECRET = "webhook secret used"  # noqa: S105 - the name of what is done
    READ_LETTERS = "dead letters read"
    USED = "credential used"
    REQUEST = "request"


class Result(StrEnum):
    """What came of it."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"


class Audit:
    """Writes the audit log.

    Args:
        key: by which people's names are digested.
    """

    def __init__(self, key: ServerKey) -> None:
        self._key = key
        self._uses = Rate(1 / USED_AGAIN_SECONDS)

    async def tell(self, scope: Scope, path: str, rule: Rule | None, status: int) -> None:
        """Tell of a request that was answered, if it is worth it.

        Args:
            scope: of the request.
            path: the template of its operation.
            rule: of its operation.
            status: that it was answered with.
        """
        if status in _REFUSED:
            REFUSED.labels(str(status)).inc()
        caller = scope.get("caller")
        network = network_of(scope)
        action = _action(scope, path, rule)
        if action is Action.REQUEST and status not in _REFUSED:
            if not isinstance(caller, Caller) or caller.local or self._uses.wait(f"{caller.name} {network}"):
                return
            action = Action.USED
        log.info(
            "audit",
            action=action,
            outcome=_result(status),
            caller=await self._known_as(caller),
            network=network,
            method=scope.get("method"),
            route=Words(path),
            http_status=status,
        )

    async def _known_as(self, caller: Caller | None) -> Words:
        if caller is None:
            return Words(NOBODY)
        if caller.local:
            return Words(LOCAL)
        if not caller.person:
            return Words(caller.name)
        try:
            digest = await self._key.digest("audit", caller.name)
        except DATABASE_ERRORS:
            return Words("user:?")
        return Words(f"user:{digest[:_DIGEST_CHARACTERS]}")


def network_of(scope: Scope) -> Words:
    """The network that a request comes from: /24, or /48 of IPv6."""
    try:
        address = ip_address((scope.get("client") or ("",))[0])
    except ValueError:
        return Words("?")
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    prefix = _PREFIX_V6 if isinstance(address, IPv6Address) else _PREFIX_V4
    return Words(ip_network(f"{address.compressed.partition('%')[0]}/{prefix}", strict=False))


def _action(scope: Scope, path: str, rule: Rule | None) -> Action:
    method = scope.get("method", "GET")
    if path == "/logout":
        return Action.LOGOUT
    if method in _SAFE:
        return Action.READ_LETTERS if "/dead-letters" in path else Action.REQUEST
    if path == "/login":
        return Action.LOGIN
    if rule and rule.scope is Right.WEBHOOKS:
        return Action.SECRET
    return Action.OPERATE if rule and rule.scope is Right.OPERATE else Action.REQUEST


def _result(status: int) -> Result:
    if status < HTTPStatus.BAD_REQUEST:
        return Result.ACCEPTED
    return Result.REFUSED if status in _REFUSED else Result.FAILED
