"""What is stored of webhooks' secrets, brought up to the keys that are given: at every start, in pieces."""

from uuid import UUID

from sqlalchemy import Integer, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from saga.errors import ConfigurationError
from saga.runtime.database import Sessions
from saga.telemetry.log_setup import get_logger
from saga.webhooks.disabling import PIECE
from saga.webhooks.secret_wrapping import UnwrapError, Wrapping

log = get_logger(__name__)

_FIRST_ID = UUID(int=0)
_UNKNOWN = text("""
SELECT DISTINCT split_part(stored, ':', 2) FROM webhooks CROSS JOIN unnest(ARRAY[secret, previous_secret]) AS stored
WHERE deleted_at IS NULL AND NOT starts_with(stored, 'whsec_') AND split_part(stored, ':', 2) <> ALL(:known)
""").bindparams(bindparam("known", type_=ARRAY(Text())))
# whoever waits for a row here finds it as another worker has left it, and passes over it
_TO_WRAP = text("""
SELECT id, secret, previous_secret FROM webhooks
WHERE deleted_at IS NULL AND id > :after
  AND NOT (starts_with(secret, :first) AND starts_with(coalesce(previous_secret, :first), :first))
ORDER BY id LIMIT :piece FOR NO KEY UPDATE
""").bindparams(bindparam("after", type_=Uuid()), bindparam("first", type_=Text()), bindparam("piece", type_=Integer()))
_WRAP = text("""
UPDATE webhooks w SET secret = wrapped.secret, previous_secret = wrapped.previous_secret
FROM unnest(:ids, :secrets, :previous) AS wrapped (id, secret, previous_secret) WHERE w.id = wrapped.id
""").bindparams(
    bindparam("ids", type_=ARRAY(Uuid())),
    bindparam("secrets", type_=ARRAY(Text())),
    bindparam("previous", type_=ARRAY(Text())),
)


async def wrap_stored(sessions: Sessions, wrapping: Wrapping) -> None:
    """Wrap what is stored as it is, or with another key than the first.

    Args:
        sessions: in which this begins its own transactions.
        wrapping: with the keys that are given.

    Raises:
        ConfigurationError: secrets are wrapped with keys that are not given.
    """
    async with sessions() as session, session.begin():
        unknown = set(await session.scalars(_UNKNOWN, {"known": wrapping.key_ids}))
    if unknown:
        raise ConfigurationError(
            "WEBHOOK_SECRET_KEY: secrets of webhooks are wrapped with keys that are not given (the SHA-256 of each"
            f" begins with {', '.join(sorted(unknown))}); give them too, behind the one that is to wrap"
        )
    if wrapping.begins is None:
        return
    after: UUID | None = _FIRST_ID
    while after:
        async with sessions() as session, session.begin():
            after = await _wrap_piece(session, wrapping, wrapping.begins, after)


async def _wrap_piece(session: AsyncSession, wrapping: Wrapping, first: str, after: UUID) -> UUID | None:
    """Wrap a piece of what stands behind that id; returns the last id of it, None where nothing was left."""
    found = await session.execute(_TO_WRAP, {"first": first, "after": after, "piece": PIECE})
    rows: list[tuple[UUID, str, str | None]] = [(row.id, row.secret, row.previous_secret) for row in found]
    wrapped = [
        (id_, _wrapped(wrapping, id_, secret), previous and _wrapped(wrapping, id_, previous))
        for id_, secret, previous in rows
    ]
    if not wrapped:
        return None
    ids, secrets, previous = zip(*wrapped, strict=True)
    await session.execute(_WRAP, {"ids": ids, "secrets": secrets, "previous": previous})
    return rows[-1][0]


def _wrapped(wrapping: Wrapping, webhook_id: UUID, stored: str) -> str:
    try:
        return wrapping.wrap(webhook_id, wrapping.unwrap(webhook_id, stored))
    except UnwrapError:
        log.exception("webhook secret left as it is: it cannot be opened", webhook_id=webhook_id)
        return stored
