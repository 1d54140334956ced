"""Tokens, for people and gateways: JWT (RFC 7519) of the one issuer that is configured, checked by PyJWT."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import jwt

from handlers.access.errors import unauthorized
from handlers.access.principal import OF_CUSTOMERS, Caller, Scope
from handlers.access.signing import SigningKeys
from handlers.http.problems import ProblemError

LEEWAY_SECONDS = 60
"""As much clocks may differ."""
MOST_BYTES = 8 * 1024
_TYPES = ("jwt", "at+jwt")
"""What the header of an access token may say that it is: RFC 9068's word, or, with most issuers, nothing special."""
_OTHER_KINDS = ("id", "refresh", "offline", "logout")
"""What Keycloak writes into `typ`, a claim of its own, of tokens that give no access."""
_OF_ID_TOKENS = frozenset({"at_hash", "c_hash"})
"""Claims that only ID tokens have (OpenID Connect Core)."""
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
        except _OtherKindError as error:
            raise unauthorized("This is no access token: send that, and not an ID token.", invalid=True) from error
        except jwt.ExpiredSignatureError as error:
            raise unauthorized("This token has expired. Get a new one from its issuer.", invalid=True) from error
        except Exception as error:  # whatever else somebody sends, and however the library fails over it, is no token
            raise unauthorized(
                "This is no token for this service: its issuer, audience, signature, times or form are not right.",
                invalid=True,
            ) from error

    async def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in _TYPES:
            raise _OtherKindError
        key = await self._keys.find(header.get("kid"))
        if key is None:
            raise jwt.InvalidTokenError("not signed with a key of the issuer's")
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            issuer=self.issuer,
            audience=self._audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        if _says_other_kind(claims):
            raise _OtherKindError
        return claims


class _OtherKindError(jwt.InvalidTokenError):
    """A token of the issuer's that is not for asking a service: one that says who somebody is, say."""


def _says_other_kind(claims: dict[str, Any]) -> bool:
    """Whether a token says of itself that it gives no access, in the ways in which issuers say so."""
    kind, use = claims.get("typ"), claims.get("token_use", "access")
    return str(kind).lower() in _OTHER_KINDS or use != "access" or not _OF_ID_TOKENS.isdisjoint(claims)


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
