"""Tokens, for people and gateways: JWT (RFC 7519) of the one issuer that is configured, checked by PyJWT."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import jwt

from handlers.access.callers import OF_CUSTOMERS, Caller, Scope
from handlers.access.refusals import unauthorized
from handlers.access.signing import SigningKeys
from handlers.problems import ProblemError

LEEWAY_SECONDS = 60
"""As much clocks may differ."""
MOST_BYTES = 8 * 1024
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Told:
    """What a sound token says."""

    caller: Caller
    expires_at: datetime
    """From when on it is refused, the leeway included."""


class Tokens:
    """Reads tokens.

    Args:
        issuer: whose they must be.
        audience: whom they must be for.
        keys: that they are signed with.
    """

    def __init__(self, issuer: str, audience: str, keys: SigningKeys) -> None:
        self.issuer = issuer
        self._audience = audience
        self._keys = keys

    async def read(self, token: str) -> Told:
        """Who presents this token.

        Raises:
            ProblemError: 401, it is not sound; 503, that cannot be told at the moment.
        """
        if len(token) > MOST_BYTES:
            raise unauthorized("This token is too large; at most 8 kB are taken.", invalid=True)
        try:
            return _told(await self._claims(token))
        except ProblemError:
            raise
        except jwt.ExpiredSignatureError as error:
            raise unauthorized("This token has expired. Get a new one from its issuer.", invalid=True) from error
        except Exception as error:  # whatever else somebody sends, and however the library fails over it, is no token
            raise unauthorized(
                "This is no token for this service: its issuer, audience, signature, times or form are not right.",
                invalid=True,
            ) from error

    async def _claims(self, token: str) -> dict[str, Any]:
        key = await self._keys.find(jwt.get_unverified_header(token).get("kid"))
        if key is None:
            raise jwt.InvalidTokenError("not signed with a key of the issuer's")
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            issuer=self.issuer,
            audience=self._audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )


def _told(claims: dict[str, Any]) -> Told:
    subject, scope = claims["sub"], claims.get("scope", "")
    if not _SUBJECT.fullmatch(subject):
        raise jwt.InvalidTokenError("nobody is called so")
    scopes = frozenset(word for word in Scope if word in scope.split())
    expires_at = datetime.fromtimestamp(int(claims["exp"]) + LEEWAY_SECONDS, UTC)
    if _UUID.fullmatch(subject):
        user_id = UUID(subject)
        return Told(Caller(f"user:{user_id}", scopes, user_id), expires_at)
    # no order can be theirs: and they must not pass for a service, which may order for anybody and be told of it
    return Told(Caller(f"user:{subject}", scopes - OF_CUSTOMERS), expires_at)
