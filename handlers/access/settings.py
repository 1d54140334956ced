"""What is set about who may do what, and how much of it."""

from typing import Self

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from yarl import URL

from handlers.access.keys import Key, parse_keys
from handlers.access.limits import Limits
from handlers.access.local import is_loopback
from handlers.access.signing import key_of_pem

_LIMITS = Limits()


class AccessSettings(BaseModel):
    """Keys, tokens and limits; where nothing is set, whoever is on this machine may do everything."""

    api_keys: SecretStr | None = None
    """No key can be told from it, but whose there are."""
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_jwks_url: str | None = None
    jwt_public_key: str | None = None
    """PEM: what JWT_PUBLIC_KEY_FILE names."""
    key_requests_per_second: float = Field(default=_LIMITS.key_requests_per_second, ge=0.001, le=1_000_000)
    user_requests_per_second: float = Field(default=_LIMITS.user_requests_per_second, ge=0.001, le=1_000_000)
    open_orders_per_user: int = Field(default=_LIMITS.open_orders_per_user, ge=1, le=1_000_000)
    streams_per_client: int = Field(default=_LIMITS.streams_per_client, ge=1, le=1_000_000)

    @field_validator("api_keys")
    @classmethod
    def _of_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_keys(value.get_secret_value())
        return value

    @field_validator("jwt_public_key")
    @classmethod
    def _public(cls, value: str | None) -> str | None:
        if value is not None:
            key_of_pem(value)
        return value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _published(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            url = URL(value)
            right = bool(url.host) and (url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host or "")))
        except ValueError:
            right = False
        if not right or url.user or url.password:
            raise ValueError("must begin with https://, or with http:// on this machine, and have no password in it")
        return value

    @model_validator(mode="after")
    def _all_that_tokens_need(self) -> Self:
        ways = [name for name in ("jwt_jwks_url", "jwt_public_key") if getattr(self, name)]
        given = [self.jwt_issuer, self.jwt_audience, *ways]
        if any(given) and not (self.jwt_issuer and self.jwt_audience and len(ways) == 1):
            raise ValueError(
                "JWT_ISSUER, JWT_AUDIENCE, and one of JWT_JWKS_URL and JWT_PUBLIC_KEY_FILE: set all three, or none"
            )
        return self

    @property
    def keys(self) -> tuple[Key, ...]:
        """The API keys that services may have."""
        return parse_keys(self.api_keys.get_secret_value()) if self.api_keys else ()

    @property
    def limits(self) -> Limits:
        """How much one client may ask for."""
        return Limits(
            key_requests_per_second=self.key_requests_per_second,
            user_requests_per_second=self.user_requests_per_second,
            open_orders_per_user=self.open_orders_per_user,
            streams_per_client=self.streams_per_client,
        )
