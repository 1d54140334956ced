"""The service's settings: read once from the environment, `.env`, or `*_FILE` for secrets. Opens nothing.

A wrong value stops the start with one line that names the variable.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from yarl import URL

from handlers.access.api_keys import Key, parse_keys
from handlers.access.origin import is_loopback
from handlers.access.settings import AccessSettings, refuse_empty, require_meant
from handlers.bus.queues import KEYS
from handlers.bus.trusted_senders import Senders, expected_senders, user_in
from handlers.dashboard.pages.stand_ins import local_addresses
from saga.domain import Policy
from saga.errors import ConfigurationError
from saga.runtime.dsn import amqp_address, amqp_dsn, host_in_address, postgres_dsn
from saga.telemetry.otel_settings import OtelSettings, ReadByOpenTelemetry
from saga.webhooks.proxy import Proxy, read_proxy
from saga.webhooks.retry import STANDARD, waits_in
from saga.webhooks.secret_wrapping import Wrapping, read_keys
from saga.webhooks.ssrf import Allowed, Denied, allowances, denials

Seconds = Annotated[float, Field(allow_inf_nan=False)]
_READ = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")


class Settings(AccessSettings, OtelSettings, BaseSettings):
    """What can be set, with the defaults of the contract."""

    model_config = _READ | SettingsConfigDict(frozen=True)

    database_url: SecretStr | None = None
    rabbitmq_url: SecretStr | None = None
    rabbitmq_host: str | None = None
    rabbitmq_port: int = Field(default=5672, ge=1, le=65535)
    rabbitmq_user: str | None = None
    rabbitmq_password: SecretStr | None = None
    rabbitmq_vhost: str = "/"
    saga_timeout_seconds: Seconds = Field(default=300, gt=0, le=31_536_000)
    saga_step_timeout_seconds: Seconds = Field(default=30, gt=0, le=86_400)
    saga_retry_attempts: int = Field(default=3, ge=0, le=20)
    saga_retry_delay_seconds: Seconds = Field(default=5, gt=0, le=3_600)
    saga_reask_seconds: Seconds = Field(default=300, ge=0, le=31_536_000)
    auto_migrate: bool = True
    trusted_senders: str | None = None
    stand_ins: str | None = None
    """Where the stand-in participants of a local system are told how to behave; without it there is no page `/try`."""
    trace_url: str | None = None
    webhook_allow: str | None = None
    webhook_deny: str | None = None
    webhook_proxy: SecretStr | None = None
    webhook_retry_seconds: str | None = None
    webhook_secret_key: SecretStr | None = None
    test_failpoint: str | None = None
    """For the fault tests: see `saga.runtime.failpoints`."""

    @field_validator("database_url")
    @classmethod
    def _of_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        return SecretStr(postgres_dsn(value.get_secret_value())) if value else None

    @field_validator("rabbitmq_url")
    @classmethod
    def _of_rabbitmq(cls, value: SecretStr | None) -> SecretStr | None:
        return SecretStr(amqp_dsn(value.get_secret_value())) if value else None

    @field_validator("rabbitmq_host")
    @classmethod
    def _a_host(cls, value: str | None) -> str | None:
        return host_in_address(value) if value else None

    @field_validator("trusted_senders", mode="before")
    @classmethod
    def _not_everybody(cls, value: object) -> object:
        return refuse_empty(value)

    @field_validator("trusted_senders")
    @classmethod
    def _by_prefix(cls, value: str | None) -> str | None:
        expected_senders(value or "")
        return value

    @field_validator("stand_ins")
    @classmethod
    def _by_name(cls, value: str | None) -> str | None:
        local_addresses(value or "")
        return value

    @field_validator("webhook_allow")
    @classmethod
    def _hosts_and_ports(cls, value: str | None) -> str | None:
        allowances(value or "")
        return value

    @field_validator("webhook_deny")
    @classmethod
    def _networks(cls, value: str | None) -> str | None:
        denials(value or "")
        return value

    @field_validator("webhook_proxy")
    @classmethod
    def _a_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            read_proxy(value.get_secret_value())
        return value

    @field_validator("webhook_secret_key")
    @classmethod
    def _keys_of_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            read_keys(value.get_secret_value())
        return value

    @field_validator("webhook_retry_seconds")
    @classmethod
    def _waits(cls, value: str | None) -> str | None:
        if value is not None:
            waits_in(value)
        return value

    @field_validator("trace_url")
    @classmethod
    def _for_a_trace(cls, value: str | None) -> str | None:
        if value is not None and not (value.startswith(("http://", "https://")) and "{traceId}" in value):
            raise ValueError(
                "must begin with http:// or https:// and have {traceId} in it: http://localhost:16686/trace/{traceId}"
            )
        return value

    @model_validator(mode="after")
    def _one_way_to_rabbitmq(self) -> Self:
        if self.rabbitmq_url and self.rabbitmq_host:
            raise ValueError("RABBITMQ_URL, RABBITMQ_HOST: set one of them, not both")
        if self.rabbitmq_host and not (self.rabbitmq_user and self.rabbitmq_password):
            raise ValueError("RABBITMQ_USER, RABBITMQ_PASSWORD: both are needed beside RABBITMQ_HOST")
        return self

    @model_validator(mode="after")
    def _a_sender_of_its_own(self) -> Self:
        if self.trusted_senders and user_in(self.amqp_dsn) is None:
            # what it copies and redrives would be nobody's, and never be trusted again
            raise ValueError(
                "RABBITMQ_URL: with TRUSTED_SENDERS it must name its user: amqps://user@host/?auth=external"
            )
        return self

    @property
    def amqp_url(self) -> str | None:
        """Where RabbitMQ is; None where nothing says so."""
        if self.rabbitmq_url:
            return self.rabbitmq_url.get_secret_value()
        if not (self.rabbitmq_host and self.rabbitmq_user and self.rabbitmq_password):
            return None
        user, password = self.rabbitmq_user, self.rabbitmq_password.get_secret_value()
        return amqp_dsn(amqp_address(self.rabbitmq_host, self.rabbitmq_port, user, password, self.rabbitmq_vhost))

    def require_addresses(self) -> None:
        """Nothing works without a database and a broker.

        Raises:
            ConfigurationError: one of the two is not named.
        """
        if self.database_url is None:
            raise ConfigurationError(
                "DATABASE_URL is not set: give it postgresql+asyncpg://user:password@host/database"
            )
        if self.amqp_url is None:
            raise ConfigurationError("RABBITMQ_URL is not set: give it amqp://user:password@host:5672/vhost")

    @property
    def senders(self) -> Senders:
        """Whose messages count."""
        return Senders(user_in(self.amqp_dsn), expected_senders(self.trusted_senders or ""))

    @property
    def believes_strangers(self) -> bool:
        """Whether anybody counts under some routing key on a broker that is not this machine's alone.

        Who else has a user there, RabbitMQ tells nobody who may only send and receive.
        """
        somebody_is_missing = any(self.senders.expected(key) is None for key in KEYS)
        return somebody_is_missing and not is_loopback(URL(self.amqp_dsn).host or "")

    @property
    def stand_in_addresses(self) -> dict[str, str]:
        """The addresses by name; none where this is no local system."""
        return local_addresses(self.stand_ins or "")

    @property
    def allowed_receivers(self) -> Allowed:
        """Where webhooks may go besides https and public addresses."""
        return allowances(self.webhook_allow or "")

    @property
    def denied_receivers(self) -> Denied:
        """Networks that webhooks never go to."""
        return denials(self.webhook_deny or "")

    @property
    def egress_proxy(self) -> Proxy | None:
        """What webhooks go through; None: nothing."""
        return read_proxy(self.webhook_proxy.get_secret_value()) if self.webhook_proxy else None

    @property
    def wrapping(self) -> Wrapping:
        """How the secrets of webhooks are stored."""
        return Wrapping(read_keys(self.webhook_secret_key.get_secret_value()) if self.webhook_secret_key else ())

    @property
    def webhook_waits(self) -> tuple[timedelta, ...]:
        """The waits before each further attempt of a webhook."""
        return STANDARD if self.webhook_retry_seconds is None else waits_in(self.webhook_retry_seconds)

    @property
    def database_dsn(self) -> str:
        """Where the database is; a place that does not exist where nothing says so, since contracts need none."""
        return self.database_url.get_secret_value() if self.database_url else "postgresql+asyncpg://nowhere.invalid/"

    @property
    def amqp_dsn(self) -> str:
        """Where RabbitMQ is; a place that does not exist where nothing says so, since contracts need none."""
        return self.amqp_url or "amqp://nowhere.invalid/"

    @property
    def policy(self) -> Policy:
        """How long a saga waits, how often it asks."""
        return Policy(
            step_timeout=timedelta(seconds=self.saga_step_timeout_seconds),
            retry_attempts=self.saga_retry_attempts,
            retry_delay=timedelta(seconds=self.saga_retry_delay_seconds),
            reask=timedelta(seconds=self.saga_reask_seconds) if self.saga_reask_seconds else None,
            saga_timeout=timedelta(seconds=self.saga_timeout_seconds),
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - its form
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over `*_FILE`, and that over `.env`."""
        return init_settings, env_settings, _FilesNamedByTheEnvironment(settings_cls), dotenv_settings


class _ReadByOpenTelemetry(ReadByOpenTelemetry, BaseSettings):
    model_config = _READ


class _FilesNamedByTheEnvironment(PydanticBaseSettingsSource):
    """`NAME_FILE=/run/secrets/x` gives NAME the content of that file."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - its form
        variable = f"{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        return _content(variable, path), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


def _content(variable: str, path: str) -> str:
    """What the file has that a variable names.

    Raises:
        ConfigurationError: it cannot be read. What the variable names is not repeated: that may be the secret itself.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{variable} does not name a file that can be read: {error.strerror}") from error
    except UnicodeError as error:
        raise ConfigurationError(f"{variable} names a file that is not a text in UTF-8") from error


def keys_in_file() -> tuple[Key, ...] | None:
    """The API keys, as their file has them now; None: they are not in a file.

    Raises:
        ConfigurationError: it cannot be read, or an entry is wrong.
    """
    path = os.environ.get("API_KEYS_FILE")
    if not path or os.environ.get("API_KEYS"):
        return None
    try:
        return parse_keys(_content("API_KEYS_FILE", path))
    except ValueError as error:
        raise ConfigurationError(f"API_KEYS: {error}") from error


def load() -> Settings:
    """Read the settings.

    Raises:
        ConfigurationError: a value is wrong; the message is one line and names the variable.
    """
    said = dotenv_values(".env")
    for place in (os.environ, said):
        require_meant(place, [name.upper() for name in Settings.model_fields])
    for variable, path in [*os.environ.items()]:
        # OpenTelemetry looks for its own settings in the environment alone
        if variable.startswith("OTEL_") and variable.endswith("_FILE") and path:
            os.environ.setdefault(variable.removesuffix("_FILE"), _content(variable, path))
    try:
        settings = Settings()
        _ReadByOpenTelemetry()
    except ValidationError as error:
        wrong = (
            f"{str(one['loc'][0]).upper() + ': ' if one['loc'] else ''}{one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_input=False)
        )
        raise ConfigurationError("; ".join(wrong)) from error
    for name, value in said.items():
        if name.startswith("OTEL_") and value:
            os.environ.setdefault(name, value)
    return settings
