"""Every setting of the service, read from the environment once, at start. Nothing else reads ``PIXELFLOW_…`` here.

There is no default for a secret or for the address of a server: a process that is missing one refuses to start.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pixelflow import setting_periods, setting_sentences, setting_urls, setting_values
from pixelflow.setting_values import Folders, Networks

PREFIX = setting_sentences.PREFIX


_Kind = TypeVar("_Kind", bound=BaseSettings)


class SettingsError(Exception):
    """The environment can't be used; ``str()`` has one sentence per wrong or missing setting."""


class DatabaseSettings(BaseSettings):
    """What is enough for whoever works on the database alone."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[
        SecretStr, Field(description="Postgres, such as postgresql://user:password@host:5432/pixelflow")
    ]

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        setting_urls.check_postgres(value.get_secret_value())
        return value


class Settings(DatabaseSettings):
    """What every process of PixelFlow is configured by."""

    # Servers
    redis_url: Annotated[SecretStr, Field(description="Redis or Valkey, such as redis://:password@host:6379/0")]
    s3_endpoint_url: Annotated[
        str,
        Field(description="Object storage as the service reaches it, such as https://s3.eu-central-1.amazonaws.com"),
    ]
    s3_public_endpoint_url: Annotated[
        str | None,
        Field(description="Object storage as clients reach it; presigned URLs name it. Default: the one above"),
    ] = None
    s3_region: Annotated[str, Field(description="Region that requests are signed for")] = "us-east-1"
    s3_bucket: Annotated[str, Field(description="Bucket of sources and outputs")]
    s3_access_key_id: Annotated[str, Field(description="Access key")]
    s3_secret_access_key: Annotated[SecretStr, Field(description="Secret key")]

    # API
    api_host: Annotated[str, Field(description="Address that the API listens on")] = "127.0.0.1"
    api_port: Annotated[int, Field(ge=1, le=65535, description="Port that the API listens on")] = 8080
    api_socket: Annotated[
        int | None,
        Field(ge=3, description="Descriptor of a socket that listens already, inherited, in place of address and port"),
    ] = None
    upload_url_seconds: Annotated[int, Field(ge=1, le=604_800, description="How long an upload URL is valid")] = 3600
    download_url_seconds: Annotated[int, Field(ge=1, le=604_800, description="How long a download URL is valid")] = 3600
    trusted_proxies: Annotated[
        Networks,
        Field(
            description="Networks, separated by commas, of proxies whose `X-Forwarded-For` is believed, such as "
            "10.0.0.0/8. Default: nobody's"
        ),
    ] = ()

    # Rate limits
    rate_limit_enabled: Annotated[
        bool, Field(description="Whether requests are limited. Under `pixelflow up` the default is no")
    ] = True
    rate_limit_capacity: Annotated[
        int, Field(ge=1, le=1_000_000, description="Requests of one user and class that may come at once")
    ] = 60
    rate_limit_window_seconds: Annotated[
        int, Field(ge=1, le=86_400, description="In which so many requests become possible again, one by one")
    ] = 60
    rate_limit_without_redis: Annotated[
        Literal["pass", "refuse"],
        Field(description="What becomes of requests while Redis is away and they can't be counted"),
    ] = "pass"

    # Tokens
    jwt_issuer: Annotated[
        str | None,
        Field(min_length=1, description="Whose tokens (JWT) are taken beside API keys: their `iss`. Default: nobody's"),
    ] = None
    jwt_jwks_url: Annotated[
        str | None,
        AfterValidator(setting_urls.checked_jwks),
        Field(description="Where the issuer publishes its keys, such as https://id.example/jwks.json"),
    ] = None
    jwt_audience: Annotated[
        str | None, Field(min_length=1, description="What tokens for this service hold in their `aud`")
    ] = None
    jwt_user_claim: Annotated[str, Field(min_length=1, description="The claim of a token that is the user's id")] = (
        "sub"
    )

    # Limits
    max_source_bytes: Annotated[int, Field(ge=1, le=5_000_000_000, description="Largest source, in bytes")] = (
        100_000_000
    )
    max_source_pixels: Annotated[
        int, Field(ge=1, description="Largest source, in pixels (width × height × frames)")
    ] = 100_000_000
    max_output_pixels: Annotated[int, Field(ge=1, description="Largest picture that a step may make, in pixels")] = (
        100_000_000
    )
    max_output_bytes: Annotated[int, Field(ge=1, description="All outputs of one job together, in bytes")] = 500_000_000
    local_roots: Annotated[
        Folders,
        Field(
            description="Folders, separated by `:`, that `local_file` jobs may read and write. "
            "Default: none, local files are off"
        ),
    ] = ()

    # Jobs
    lease_seconds: Annotated[
        float, Field(gt=0, le=3600, description="How long a worker may be silent before its jobs go to another")
    ] = 30
    max_attempts: Annotated[int, Field(ge=1, le=100, description="How often a job is tried")] = 5
    job_timeout_seconds: Annotated[float, Field(gt=0, le=86_400, description="How long one transform may take")] = 180

    # Retention
    retention_source_days: setting_periods.SourceDays = None
    retention_output_days: setting_periods.OutputDays = None
    retention_job_days: setting_periods.JobDays = None
    retention_upload_days: setting_periods.UploadDays = 7
    retention_history_days: setting_periods.HistoryDays = 90

    # Webhooks
    secrets_key: Annotated[
        SecretStr | None,
        AfterValidator(setting_values.checked_key),
        Field(
            description="The key that webhook secrets and kept answers are encrypted with: 32 random bytes in "
            "URL-safe base64. The API and the controller don't start without it"
        ),
    ] = None
    webhook_allow_cidrs: Annotated[
        Networks,
        Field(
            description="Networks, separated by commas, that webhooks may go to although they are not public, "
            "such as 10.20.0.0/16. Default: none"
        ),
    ] = ()
    webhook_allow_http: Annotated[bool, Field(description="Whether webhooks may go to http:// URLs too")] = False

    # Worker
    worker_concurrency: Annotated[
        int, Field(ge=1, le=256, description="Jobs that one worker has in hand; they overlap their I/O")
    ] = 4
    worker_max_active_jobs: Annotated[
        int, Field(ge=1, le=256, description="Transforms that one worker runs at the same time")
    ] = 2
    worker_child_memory_bytes: Annotated[
        int, Field(ge=200_000_000, description="Memory that one transform may use, in bytes")
    ] = 2_000_000_000
    worker_grace_seconds: Annotated[
        float, Field(ge=0, le=600, description="How long a worker that is told to stop finishes what it has in hand")
    ] = 5
    worker_temp_dir: Annotated[
        Path | None, Field(description="Where sources and outputs lie while they are worked on. Default: the system's")
    ] = None

    # Metrics
    metrics_enabled: Annotated[bool, Field(description="Whether /metrics is served to Prometheus at all")] = True
    metrics_host: Annotated[str, Field(description="Address that /metrics is served on")] = "127.0.0.1"
    metrics_port: Annotated[
        int | None,
        Field(
            ge=0,
            le=65535,
            description="Port that /metrics is served on; 0: any free one, which is logged. "
            "Default: 9090 of an API, 9091 of a worker, 9092 of a controller",
        ),
    ] = None
    metrics_top_users: Annotated[
        int,
        Field(
            ge=0, le=1000, description="How many users the controller's metrics name, those with most pixels; 0: none"
        ),
    ] = 10

    # Logs
    log_format: Annotated[
        Literal["auto", "json", "console"], Field(description="`auto`: readable on a terminal, else JSON")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="Least level that is written; of libraries nothing below `info` ever is"),
    ] = "info"

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        setting_urls.check_redis(value.get_secret_value())
        return value

    @field_validator("s3_endpoint_url", "s3_public_endpoint_url")
    @classmethod
    def _is_endpoint(cls, value: str | None) -> str | None:
        return None if value is None else setting_urls.endpoint(value)

    @model_validator(mode="after")
    def _overlaps(self) -> Settings:
        if self.worker_concurrency < self.worker_max_active_jobs:
            raise PydanticCustomError(
                "too_few_threads",
                "PIXELFLOW_WORKER_CONCURRENCY must be at least PIXELFLOW_WORKER_MAX_ACTIVE_JOBS, "
                "or some slots stay empty",
            )
        return self

    @model_validator(mode="after")
    def _trusts_whole(self) -> Settings:
        missing = [name for name in ("jwks_url", "audience") if getattr(self, f"jwt_{name}") is None]
        if self.jwt_issuer is not None and missing:
            raise PydanticCustomError(
                "issuer_without",
                "PIXELFLOW_JWT_ISSUER is set, so {missing} must be, too: tokens are checked by all of them",
                {"missing": " and ".join(f"PIXELFLOW_JWT_{name.upper()}" for name in missing)},
            )
        return self

    @model_validator(mode="after")
    def _keeps_what_is_needed(self) -> Settings:
        setting_periods.check(self.model_dump(include=setting_periods.TOGETHER), upload_grace=self.upload_grace)
        return self

    @property
    def upload_grace(self) -> timedelta:
        """How long after a job's end or erasure its files may still arrive."""
        return setting_periods.upload_grace(self.upload_url_seconds, self.lease_seconds)

    @property
    def public_endpoint_url(self) -> str:
        """The endpoint that presigned URLs name."""
        return self.s3_public_endpoint_url or self.s3_endpoint_url

    def require_secrets_key(self) -> bytes:
        """The key that secrets are encrypted with, for a process that needs it.

        Raises:
            SettingsError: it is not set.
        """
        if self.secrets_key is None:
            raise SettingsError(setting_sentences.missing("secrets_key", _meaning))
        return setting_values.unbase64(self.secrets_key.get_secret_value())


def load(given: Mapping[str, str] | None = None) -> Settings:
    """Read the environment.

    Args:
        given: variables that count in place of the environment's own.

    Raises:
        SettingsError: one sentence per wrong or missing setting; no value is repeated, since it may be a secret.
    """
    return _read(Settings, given)


def load_database(given: Mapping[str, str] | None = None) -> DatabaseSettings:
    """As :func:`load`, for whoever works on the database alone: nothing else need be set, or right."""
    return _read(DatabaseSettings, given)


def _read(kind: type[_Kind], given: Mapping[str, str] | None) -> _Kind:
    try:
        return kind(**_by_field(given or {}))  # the environment gives the rest of what is required
    except ValidationError as error:
        rows = error.errors(include_url=False, include_input=False)
        sentences = [setting_sentences.wrong(row, _meaning) for row in rows]
        raise SettingsError("\n".join(sentences)) from None


def _by_field(variables: Mapping[str, str]) -> dict[str, Any]:
    return {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}


def _meaning(name: str) -> str:
    return Settings.model_fields[name].description or ""
