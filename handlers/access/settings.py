"""What is set about who may do what, and how much of it."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from handlers.access.api_keys import Key, parse_keys
from handlers.access.origin import is_loopback
from handlers.access.rate_limits import Limits
from handlers.access.signing import key_of_pem
from handlers.access.site import private_url
from saga.errors import ConfigurationError

_LIMITS = Limits()
SECURITY_SETTINGS = (
    *("ACCESS", "PUBLIC_URL", "API_KEYS", "TRUSTED_SENDERS"),
    *("JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL", "JWT_PUBLIC_KEY"),
)
"""Settings whose absence lets more people in, or none: an empty one is a template that nobody filled in."""
_FAMILIES = ("API_KEY", "JWT_")
"""What begins like this is meant for us."""
_OF_KUBERNETES = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_\w+)?)")
"""What it sets in every container for a service that happens to be called `jwt`."""
_ALIKE = 0.85


def require_meant(said: Mapping[str, str | None], known: Collection[str]) -> None:
    """Refuse a security setting that is empty, or a name that is nearly one: neither may pass for "not set".

    Args:
        said: the environment, or `.env`.
        known: the names of all settings.

    Raises:
        ConfigurationError: which one. Its value is not quoted.
    """
    ours = {*known, *(f"{name}_FILE" for name in known)}
    sensitive = [*SECURITY_SETTINGS, *(f"{name}_FILE" for name in SECURITY_SETTINGS)]
    for name, value in ((name.upper(), value) for name, value in said.items()):
        if name in sensitive and not (value and value.strip()):
            raise ConfigurationError(f"{name}: is empty; give it a value, or leave it out")
        if name in ours or _OF_KUBERNETES.fullmatch(name):
            continue
        meant = get_close_matches(name, sensitive, n=1, cutoff=_ALIKE)
        if meant or name.startswith(_FAMILIES):
            raise ConfigurationError(f"{name}: there is no such setting{f'; {meant[0]} is one' if meant else ''}")


class AccessSettings(BaseModel):
    """Keys, tokens and limits. Without keys and tokens the service starts only where ACCESS says who may ask then."""

    access: Literal["local"] | None = None
    """`local`: whoever is on this machine may do everything, and nobody else anything."""
    public_url: str | None = None
    """Under which browsers reach the service."""
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

    @field_validator("access", "public_url", "jwt_issuer", "jwt_audience", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        return refuse_empty(value)

    @field_validator("public_url")
    @classmethod
    def _for_browsers(cls, value: str | None) -> str | None:
        if value is not None:
            url = private_url(value)
            if url.query_string or url.fragment:
                raise ValueError("must not have a ? or a # in it")
        return value

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
        private_url(value)
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

    @model_validator(mode="after")
    def _local_alone(self) -> Self:
        if self.access and (self.api_keys or self.jwt_issuer or self.public_url):
            raise ValueError("ACCESS: `local` stands alone; take it out, or API_KEYS, JWT_ISSUER and PUBLIC_URL")
        return self

    def require_access(self, host: str) -> None:
        """Refuse to serve where it is not said who may ask, or where browsers of other machines reach the service.

        Args:
            host: that the server listens on; empty: a socket of another kind.

        Raises:
            ConfigurationError: what to set.
        """
        if not (self.access or self.api_keys or self.jwt_issuer):
            raise ConfigurationError(
                "ACCESS: nobody is named who may ask. Set API_KEYS, or JWT_ISSUER and what belongs to it; or "
                "ACCESS=local, and whoever is on this machine may do everything"
            )
        if not (self.access or self.public_url or is_loopback(host)):
            raise ConfigurationError(
                "PUBLIC_URL is not set: give it the https://… under which browsers reach the service, which listens on "
                "more than this machine's own address"
            )

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


def refuse_empty(value: object) -> object:
    """The value of a setting whose absence lets more people in.

    Raises:
        ValueError: it is blank, as from a file that nobody filled in.
    """
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty; give it a value, or leave it out")
    return value
