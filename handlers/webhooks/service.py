"""What people do about webhooks, whichever door they come through: subscribe, look, switch, have things sent again."""

from collections.abc import Callable, Sequence
from datetime import datetime
from math import ceil
from uuid import UUID

from handlers.access.rate_limits import too_many
from handlers.access.token_bucket import Rate
from handlers.http.pagination import cut, place
from handlers.http.problems import RETRY_AFTER_SECONDS, FieldError, InvalidError, ProblemError
from handlers.webhooks.caller import Asking
from handlers.webhooks.requests import DeliveryQuery, EndpointQuery, Subscription
from models.states import WebhookStatus
from saga.errors import WebhookDisabledError
from saga.runtime.database import Sessions
from saga.runtime.rows import Place
from saga.webhooks import deliveries, endpoints
from saga.webhooks.client import Sender
from saga.webhooks.deliveries import Delivery
from saga.webhooks.endpoints import Endpoint, Health
from saga.webhooks.name_resolution import TooManyLookUpsError
from saga.webhooks.secret_wrapping import Wrapping
from saga.webhooks.ssrf import AddressRefusedError

MOST_ENDPOINTS, MOST_ENDPOINTS_OF_PERSON = 50, 5
"""Of a service's key, which may be many customers' systems; and of a person, who is one."""
ASKED_FOR_PER_SECOND = 1.0
"""Pings and redeliveries of one endpoint that may be asked for, on average; five seconds' worth at once."""


class Webhooks:
    """The endpoints and their deliveries, to whoever may deal with them: others' are not there.

    Args:
        sessions: each of which is one transaction.
        statements: in which every statement is one.
        sender: knows where webhooks may be sent to.
        announced: is told that something waits to be sent.
        wrapping: wraps the secrets that are stored.
    """

    def __init__(
        self,
        sessions: Sessions,
        statements: Sessions,
        sender: Sender,
        announced: Callable[[], None],
        wrapping: Wrapping,
    ) -> None:
        self._sessions = sessions
        self._statements = statements
        self._sender = sender
        self._announced = announced
        self._wrapping = wrapping
        self._asked_for = Rate(ASKED_FOR_PER_SECOND)

    async def subscribe(self, wanted: Subscription, by: Asking) -> tuple[Endpoint, str]:
        """A new endpoint, enabled, and its secret, which nothing tells again.

        Raises:
            InvalidError: nothing may be sent there, or it is not theirs to be told of.
            ProblemError: 409, they have as many as they may have; 429, too many names are being looked up for them.
        """
        user_id = _whose(wanted, by)
        # a look-up may take seconds: it is made outside a transaction, and only for an endpoint that there is room for
        async with self._statements() as session:
            _require_room(await endpoints.count_endpoints(session, by.owner), by)
        try:
            await self._sender.admit(wanted.url, by.owner)
        except AddressRefusedError as error:
            raise InvalidError([FieldError(field="url", location="body", detail=str(error))]) from error
        except TooManyLookUpsError as error:
            raise too_many("too_many_look_ups", f"{str(error).capitalize()}.", RETRY_AFTER_SECONDS) from error
        async with self._sessions() as session, session.begin():
            await endpoints.lock_owner(session, by.owner)
            _require_room(await endpoints.count_endpoints(session, by.owner), by)
            return await endpoints.subscribe(
                session, self._wrapping, by.owner, wanted.url, wanted.events, user_id, wanted.description
            )

    async def listed(self, wanted: EndpointQuery, by: Asking) -> tuple[list[tuple[Endpoint, Health]], str | None]:
        """Endpoints with their health, newest first, and where the next page begins."""
        async with self._statements() as session:
            found = await endpoints.list_endpoints(session, by.sees, wanted.limit + 1, place(wanted.after))
            shown, following = cut(found, wanted.limit, _place_of)
            health = await endpoints.health_of(session, shown)
        return [(endpoint, health[endpoint.id]) for endpoint in shown], following

    async def find(self, id_: UUID, by: Asking) -> tuple[Endpoint, Health]:
        """An endpoint with its health."""
        async with self._statements() as session:
            endpoint = await endpoints.find_endpoint(session, id_, by.sees)
            return endpoint, (await endpoints.health_of(session, [endpoint]))[id_]

    async def switch(self, id_: UUID, status: WebhookStatus, by: Asking) -> None:
        """Send it things, or nothing any more. Twice is once."""
        async with self._statements() as session:
            if status is WebhookStatus.ENABLED:
                await endpoints.enable(session, id_, by.sees)
            else:
                await endpoints.disable(session, id_, f"disabled by {by.name}", by.sees)

    async def delete(self, id_: UUID, by: Asking) -> None:
        """Take it away for good."""
        async with self._statements() as session:
            await endpoints.delete(session, id_, by.sees)

    async def rotate_secret(self, id_: UUID, by: Asking) -> str:
        """Its new secret, which nothing tells again; the one before signs too for a while."""
        async with self._statements() as session:
            return await endpoints.rotate_secret(session, id_, self._wrapping, by.sees)

    async def ping(self, id_: UUID, by: Asking) -> Delivery:
        """Have it sent a test, once.

        Raises:
            WebhookDisabledError: it is disabled.
            ProblemError: 429, too much is asked for.
        """
        await self._found_to_send(id_, by)
        async with self._statements() as session:
            written = await endpoints.ping(session, id_, by.sees)
        self._announced()
        return written

    async def log(self, id_: UUID, wanted: DeliveryQuery, by: Asking) -> tuple[Sequence[Delivery], str | None]:
        """An endpoint's deliveries, newest first, and where the next page begins."""
        async with self._statements() as session:
            await endpoints.find_endpoint(session, id_, by.sees)
            behind = place(wanted.after)
            found = await deliveries.list_deliveries(session, id_, wanted.limit + 1, behind, wanted.status)
        return cut(found, wanted.limit, _place_of)

    async def delivery(self, id_: UUID, delivery_id: UUID, by: Asking) -> Delivery:
        """One delivery with all that it has."""
        async with self._statements() as session:
            await endpoints.find_endpoint(session, id_, by.sees)
            return await deliveries.find_delivery(session, id_, delivery_id)

    async def redeliver(self, id_: UUID, delivery_id: UUID, by: Asking) -> Delivery:
        """Deliver it again, whatever became of it, with the same `webhook-id`.

        Raises:
            WebhookDisabledError: the endpoint is disabled.
            ProblemError: 429, too much is asked for.
        """
        await self._found_to_send(id_, by)
        async with self._statements() as session:
            again = await deliveries.redeliver(session, id_, delivery_id)
        self._announced()
        return again

    async def redeliver_failed(self, id_: UUID, since: datetime, by: Asking) -> int:
        """Deliver again all that was written since then and has failed; returns how many.

        Raises:
            WebhookDisabledError: the endpoint is disabled.
            ProblemError: 429, too much is asked for.
        """
        endpoint = await self._found_to_send(id_, by)
        if endpoint.status != WebhookStatus.ENABLED:
            raise WebhookDisabledError(id_)
        async with self._statements() as session:
            count = await deliveries.redeliver_failed(session, id_, since)
        if count:
            self._announced()
        return count

    async def _found_to_send(self, id_: UUID, by: Asking) -> Endpoint:
        """The endpoint, to which something is to be sent because a client asks for it; that is counted.

        Raises:
            ProblemError: 429, the client has asked too often.
        """
        async with self._statements() as session:
            endpoint = await endpoints.find_endpoint(session, id_, by.sees)
        if seconds := self._asked_for.wait(str(id_)):
            raise too_many("too_many_requests", "You ask for too much to be sent to this webhook.", ceil(seconds))
        return endpoint


def _require_room(count: int, by: Asking) -> None:
    most = MOST_ENDPOINTS_OF_PERSON if by.person else MOST_ENDPOINTS
    if count >= most:
        raise ProblemError(409, "too_many_webhooks", f"You have {most} webhooks, and no more. Delete one first.")


def _place_of(one: Endpoint | Delivery) -> Place:
    return one.created_at, one.id


def _whose(wanted: Subscription, by: Asking) -> UUID | None:
    """Whose orders it is to be told of.

    Raises:
        InvalidError: of somebody else's.
    """
    if by.user_id is None:
        return wanted.user_id
    if wanted.user_id not in (None, by.user_id):
        raise InvalidError([FieldError(field="userId", location="body", detail="must be your own, or left out")])
    return by.user_id
