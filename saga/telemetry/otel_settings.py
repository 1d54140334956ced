"""What OpenTelemetry's own variables say: whether traces have somewhere to go, and of how many sagas there are some."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, FilePath, PositiveFloat, PositiveInt, field_validator, model_validator

_SAMPLERS = ("always_on", "always_off", "traceidratio")
_Pairs = Annotated[str | None, Field(pattern=r"^\s*[^=,\s]+=[^,]*(,\s*[^=,\s]+=[^,]*)*$")]
"""`key=value,key=value`."""


class OtelSettings(BaseModel):
    """What the service itself goes by."""

    otel_exporter_otlp_endpoint: str | None = None
    otel_exporter_otlp_traces_endpoint: str | None = None
    otel_exporter_otlp_protocol: str = "http/protobuf"
    otel_exporter_otlp_traces_protocol: str | None = None
    otel_traces_exporter: str = "otlp"
    otel_traces_sampler: str = "parentbased_always_on"
    otel_traces_sampler_arg: str | None = None
    otel_sdk_disabled: bool = False

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

    @property
    def collector(self) -> str | None:
        """Where traces go; None where they go nowhere."""
        on = self.otel_traces_exporter == "otlp" and not self.otel_sdk_disabled
        return (self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint) if on else None

    @property
    def tracing(self) -> bool:
        """Whether traces have somewhere to go."""
        return bool(self.collector)

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


class ReadByOpenTelemetry(BaseModel):
    """What OpenTelemetry reads by itself, and would pass over in its log where it is wrong."""

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
