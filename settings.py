"""The service's settings: read once from the environment, `.env`, or `*_FILE` for secrets. Opens nothing.

A wrong value stops the start with one line that names the variable.
"""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from dotenv import dotenv_values
from pydantic import (
    Field,
    FilePath,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from yarl import URL

from handlers.access.keys import Key, parse_keys
from handlers.access.limits import Limits
from handlers.access.local import is_loopback
from handlers.access.signing import key_of_pem
from saga.errors import ConfigurationError
from saga.senders import Senders, user_in
from saga.tls import require_certificates, require_file
from saga.values import Policy
from saga.webhooks.addresses import Allowed, allowances
from saga.webhooks.schedule import STANDARD

_HEARTBEAT = 5
"""Seconds. RabbitMQ takes back what a consumer holds that has been silent for two to three times as long: until then
those orders stand still. The client library's own minute is long for who waits."""

_STAND_IN = re.compile(r"[a-z]+=http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}")
_TRUSTED = re.compile(r"domain\.[A-Za-z.]*=(?!\S*,domain\.)\S+")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_ROOT_CERTIFICATE = Path("~/.postgresql/root.crt")
"""Where libpq, and so our driver, looks for a CA of which nothing is said."""
_LONGEST_WAIT, _MOST_WAITS = 604_800, 50
"""Of a webhook: seconds, and how many."""
_SAMPLERS = ("always_on", "always_off", "traceidratio")

_LIMITS = Limits()

Seconds = Annotated[float, Field(allow_inf_nan=False)]
_Pairs = Annotated[str | None, Field(pattern=r"^\s*[^=,\s]+=[^,]*(,\s*[^=,\s]+=[^,]*)*$")]
"""`key=value,key=value`."""


class Settings(BaseSettings):
    """What can be set, with the defaults of the contract."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    database_url: SecretStr | None = None
    rabbitmq_url: SecretStr | None = None
    rabbitmq_host: str | None = None
    rabbitmq_port: int = Field(default=5672, ge=1, le=65535)
    rabbitmq_user: str = "guest"
    rabbitmq_password: SecretStr = SecretStr("guest")
    rabbitmq_vhost: str = "/"
    saga_timeout_seconds: Seconds = Field(default=300, gt=0, le=31_536_000)
    saga_step_timeout_seconds: Seconds = Field(default=30, gt=0, le=86_400)
    saga_retry_attempts: int = Field(default=3, ge=0, le=20)
    saga_retry_delay_seconds: Seconds = Field(default=5, gt=0, le=3_600)
    saga_reask_seconds: Seconds = Field(default=300, ge=0, le=31_536_000)
    auto_migrate: bool = True
    trusted_senders: str | None = None
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
    stand_ins: str | None = None
    """Where the stand-in participants of a local system are told how to behave, for the dashboard's page `/try`."""
    otel_exporter_otlp_endpoint: str | None = None
    otel_exporter_otlp_traces_endpoint: str | None = None
    otel_exporter_otlp_protocol: str = "http/protobuf"
    otel_exporter_otlp_traces_protocol: str | None = None
    otel_traces_exporter: str = "otlp"
    otel_traces_sampler: str = "parentbased_always_on"
    otel_traces_sampler_arg: str | None = None
    otel_sdk_disabled: bool = False
    trace_url: str | None = None
    webhook_allow: str | None = None
    webhook_retry_seconds: str | None = None
    test_failpoint: str | None = None
    """For the fault tests: see `saga.failpoints`."""

    @field_validator("database_url")
    @classmethod
    def _with_driver(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            url = make_url(value.get_secret_value())
        except (ArgumentError, ValueError):
            url = None
        if url is None or url.drivername not in ("postgresql", "postgres", "postgresql+asyncpg"):
            raise ValueError("must begin with postgresql+asyncpg:// or postgresql://, and be an address")
        if not (url.host or url.query.get("host")) or not url.database:
            raise ValueError("must name a host and a database: postgresql+asyncpg://user:password@host/database")
        # the name that libpq and everybody else has for it
        query = {"sslmode" if name == "ssl" else name: option for name, option in url.query.items()}
        _check_postgres_tls(query)
        url = url.set(drivername="postgresql+asyncpg", query=query)
        return SecretStr(url.render_as_string(hide_password=False))

    @field_validator("rabbitmq_url")
    @classmethod
    def _amqp(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            url = URL(value.get_secret_value())
            right = url.scheme in ("amqp", "amqps") and bool(url.host) and url.port != 0
        except ValueError:
            right = False
        if not right:
            raise ValueError(
                "must begin with amqp:// or amqps://, and name a host: amqp://user:password@host:5672/vhost"
            )
        if url.scheme == "amqps" and "cafile" in url.query:
            require_certificates("cafile", url.query["cafile"])
        for name in ("certfile", "keyfile"):
            if name in url.query:
                require_file(name, url.query[name])
        return value

    @field_validator("trusted_senders")
    @classmethod
    def _prefixes(cls, value: str | None) -> str | None:
        pairs = (value or "").split()
        prefixes = {one.partition("=")[0] for one in pairs}
        if not all(_TRUSTED.fullmatch(one) for one in pairs) or len(prefixes) < len(pairs):
            raise ValueError(
                "must be prefix=brokeruser for each, blank-separated, no prefix twice:"
                " domain.inventory.=inventory domain.billing.=billing"
            )
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
        try:
            url = URL(value)
            right = bool(url.host) and (url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host or "")))
        except ValueError:
            right = False
        if not right or url.user or url.password:
            raise ValueError("must begin with https://, or with http:// on this machine, and have no password in it")
        return value

    @field_validator("stand_ins")
    @classmethod
    def _of_this_machine(cls, value: str | None) -> str | None:
        if not all(_STAND_IN.fullmatch(one) for one in (value or "").split()):
            raise ValueError(
                "must be name=http://127.0.0.1:port for each, blank-separated, on this machine's own address"
            )
        return value

    @field_validator("webhook_allow")
    @classmethod
    def _hosts_and_ports(cls, value: str | None) -> str | None:
        allowances(value or "")
        return value

    @field_validator("webhook_retry_seconds")
    @classmethod
    def _waits(cls, value: str | None) -> str | None:
        try:
            waits = [float(one) for one in value.split(",")] if value is not None else []
        except ValueError:
            waits = [0.0]
        # nan is in no such range
        if len(waits) > _MOST_WAITS or not all(0 < wait <= _LONGEST_WAIT for wait in waits):
            raise ValueError(
                f"must be at most {_MOST_WAITS} waits in seconds, comma-separated, each above 0 and at most"
                f" {_LONGEST_WAIT}: 5,300,1800"
            )
        return value

    @field_validator("otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint")
    @classmethod
    def _over_http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://, as http://localhost:4318")
        return value

    @field_validator("otel_exporter_otlp_protocol", "otel_exporter_otlp_traces_protocol")
    @classmethod
    def _spoken(cls, value: str | None) -> str | None:
        if value not in (None, "http/protobuf"):
            raise ValueError("traces leave as http/protobuf; a collector takes that at port 4318")
        return value

    @field_validator("otel_traces_exporter")
    @classmethod
    def _known_exporter(cls, value: str) -> str:
        if value not in ("otlp", "none"):
            raise ValueError("must be otlp or none")
        return value

    @field_validator("otel_traces_sampler")
    @classmethod
    def _known_sampler(cls, value: str) -> str:
        if value.removeprefix("parentbased_") not in _SAMPLERS:
            raise ValueError(f"must be one of {', '.join(_SAMPLERS)}, or one of these after parentbased_")
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
    def _a_share(self) -> Self:
        if self.otel_traces_sampler.endswith("traceidratio") and self.otel_traces_sampler_arg is not None:
            try:
                right = 0 <= float(self.otel_traces_sampler_arg) <= 1
            except ValueError:
                right = False
            if not right:
                raise ValueError("OTEL_TRACES_SAMPLER_ARG: must be a share between 0 and 1")
        return self

    @model_validator(mode="after")
    def _one_way_to_rabbitmq(self) -> Self:
        if self.rabbitmq_url and self.rabbitmq_host:
            raise ValueError("RABBITMQ_URL, RABBITMQ_HOST: set one of them, not both")
        return self

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
    def amqp_url(self) -> str | None:
        """Where RabbitMQ is; None where nothing says so."""
        if self.rabbitmq_url:
            url = URL(self.rabbitmq_url.get_secret_value())
        elif self.rabbitmq_host:
            user, password = quote(self.rabbitmq_user, safe=""), self.rabbitmq_password.get_secret_value()
            vhost = quote(self.rabbitmq_vhost, safe="")
            address = f"{self.rabbitmq_host}:{self.rabbitmq_port}/{vhost}"
            url = URL(f"amqp://{user}:{quote(password, safe='')}@{address}", encoded=True)
        else:
            return None
        return str(url if "heartbeat" in url.query else url.update_query(heartbeat=_HEARTBEAT))

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
        expected = dict(one.split("=", 1) for one in (self.trusted_senders or "").split())
        return Senders(user_in(self.amqp_dsn), expected)

    @property
    def stand_in_addresses(self) -> dict[str, str]:
        """The addresses by name; none where this is no local system."""
        return dict(one.split("=", 1) for one in (self.stand_ins or "").split())

    @property
    def allowed_receivers(self) -> Allowed:
        """Where webhooks may go besides https and public addresses."""
        return allowances(self.webhook_allow or "")

    @property
    def webhook_waits(self) -> tuple[timedelta, ...]:
        """The waits before each further attempt of a webhook."""
        if self.webhook_retry_seconds is None:
            return STANDARD
        return tuple(timedelta(seconds=float(one)) for one in self.webhook_retry_seconds.split(","))

    @property
    def tracing(self) -> bool:
        """Whether traces have somewhere to go."""
        endpoint = self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint
        return bool(endpoint) and self.otel_traces_exporter == "otlp" and not self.otel_sdk_disabled

    @property
    def traced_share(self) -> float:
        """Of how many sagas there is a trace, between 0 and 1. Every saga begins one: it has no parent to ask."""
        match self.otel_traces_sampler.removeprefix("parentbased_"):
            case "always_off":
                return 0
            case "traceidratio":
                return float(self.otel_traces_sampler_arg or 1)
            case _:
                return 1

    @property
    def database_dsn(self) -> str:
        """Where the database is; a place that does not exist where nothing says so, since contracts need none."""
        return self.database_url.get_secret_value() if self.database_url else "postgresql+asyncpg://nowhere.invalid/"

    @property
    def amqp_dsn(self) -> str:
        """Where RabbitMQ is; a place that does not exist where nothing says so, since contracts need none."""
        return self.amqp_url or "amqp://nowhere.invalid/"

    @property
    def limits(self) -> Limits:
        """How much one client may ask for."""
        return Limits(
            key_requests_per_second=self.key_requests_per_second,
            user_requests_per_second=self.user_requests_per_second,
            open_orders_per_user=self.open_orders_per_user,
            streams_per_client=self.streams_per_client,
        )

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


def _check_postgres_tls(query: Mapping[str, str | tuple[str, ...]]) -> None:
    """See that what is said about TLS can be meant: the driver looks at it with each connection, and too late.

    Raises:
        ValueError: it cannot.
    """
    tls = {name: option for name, option in query.items() if isinstance(option, str)}
    mode = tls.get("sslmode", "prefer")
    if mode not in _SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(_SSL_MODES)}")
    if "sslrootcert" in tls:
        require_certificates("sslrootcert", tls["sslrootcert"])
    elif mode.startswith("verify") and not ("PGSSLROOTCERT" in os.environ or _ROOT_CERTIFICATE.expanduser().exists()):
        raise ValueError(f"sslmode={mode} needs sslrootcert=, a file with the certificate of the CA that is trusted")
    for name in ("sslcert", "sslkey", "sslcrl"):
        if name in tls:
            require_file(name, tls[name])


class _ReadByOpenTelemetry(BaseSettings):
    """What OpenTelemetry reads by itself, and would pass over in its log where it is wrong."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    otel_resource_attributes: _Pairs = None
    otel_exporter_otlp_headers: _Pairs = None
    otel_exporter_otlp_traces_headers: _Pairs = None
    otel_exporter_otlp_timeout: PositiveFloat = 10
    otel_exporter_otlp_traces_timeout: PositiveFloat = 10
    otel_exporter_otlp_compression: Literal["none", "gzip", "deflate"] = "none"
    otel_exporter_otlp_traces_compression: Literal["none", "gzip", "deflate"] = "none"
    otel_exporter_otlp_certificate: FilePath | None = None
    otel_exporter_otlp_traces_certificate: FilePath | None = None
    otel_bsp_schedule_delay: PositiveInt = 5000
    otel_bsp_max_queue_size: PositiveInt = 2048
    otel_bsp_max_export_batch_size: PositiveInt = 512

    @model_validator(mode="after")
    def _a_batch_fits(self) -> Self:
        if self.otel_bsp_max_export_batch_size > self.otel_bsp_max_queue_size:
            raise ValueError("OTEL_BSP_MAX_EXPORT_BATCH_SIZE: must be at most OTEL_BSP_MAX_QUEUE_SIZE")
        return self


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


def load() -> Settings:
    """Read the settings.

    Raises:
        ConfigurationError: a value is wrong; the message is one line and names the variable.
    """
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
    for name, value in dotenv_values(".env").items():
        if name.startswith("OTEL_") and value:
            os.environ.setdefault(name, value)
    return settings
