"""The settings: names, types, defaults and descriptions, which are also the table in ``docs/configuration.md``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import MISSING, CrossFieldError, validate
from pixelflow.settings import retention
from pixelflow.settings.database import SECRETS_KEY
from pixelflow.settings.errors import PREFIX, SettingsError, missing_message, valid_values
from pixelflow.settings.field_types import Directories, Networks, RedisUrl, SecretsKeys, WebUrl
from pixelflow.settings.http_server import HttpServerSettings

_Days: TypeAlias = Annotated[float, Field(gt=0, le=retention.MAX_DAYS)]
_WholeDays: TypeAlias = Annotated[float, Field(ge=1, le=retention.MAX_DAYS)]


class Settings(HttpServerSettings):
    """Settings of every process of the service."""

    # Servers
    redis_url: Annotated[RedisUrl, Field(description="Redis or Valkey URL, such as redis://:password@host:6379/0")]

    # Rate limits
    rate_limit_enabled: Annotated[
        bool, Field(description="Whether requests are rate limited. The default of `pixelflow up` is false")
    ] = True
    rate_limit_capacity: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description="Requests that a user can send at once, per route class. Five times as many that only read",
        ),
    ] = 600
    rate_limit_window_seconds: Annotated[
        int, Field(ge=1, le=86_400, description="Seconds in which an empty bucket refills")
    ] = 60
    rate_limit_without_redis: Annotated[
        Literal["pass", "refuse"],
        Field(description="Whether requests pass or are refused while Redis is unavailable"),
    ] = "pass"

    # Tokens
    jwt_issuer: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Issuer (`iss`) of the JWTs that are accepted besides API keys. Default: none are accepted",
        ),
    ] = None
    jwt_jwks_url: Annotated[
        WebUrl | None, Field(description="URL of the issuer's key set, such as https://id.example/jwks.json")
    ] = None
    jwt_audience: Annotated[str | None, Field(min_length=1, description="Required audience (`aud`) of a token")] = None
    jwt_user_claim: Annotated[str, Field(min_length=1, description="Claim of a token that holds the user ID")] = "sub"

    # Limits
    max_source_bytes: Annotated[int, Field(ge=1, le=5_000_000_000, description="Maximum size of a source in bytes")] = (
        100_000_000
    )
    max_source_pixels: Annotated[
        int, Field(ge=1, description="Maximum pixels of a source (width × height × frames)")
    ] = 100_000_000
    max_output_pixels: Annotated[int, Field(ge=1, description="Maximum pixels of a step's result")] = 100_000_000
    max_job_output_pixels: Annotated[
        int, Field(ge=1, description="Maximum pixels of the results of all steps of a job together")
    ] = 400_000_000
    max_frames: Annotated[int, Field(ge=1, description="Maximum frames of an animated source that are decoded")] = 1000
    max_jpeg_scans: Annotated[int, Field(ge=1, description="Maximum scans of a progressive JPEG")] = 500
    max_output_bytes: Annotated[int, Field(ge=1, description="Maximum total bytes of a job's outputs")] = 500_000_000
    max_pending_uploads: Annotated[
        int, Field(ge=1, le=100_000, description="Maximum number of a user's jobs with an upload that were not started")
    ] = 10_000
    max_pending_upload_bytes: Annotated[
        int, Field(ge=1, description="Maximum total bytes that a user's jobs which were not started may upload")
    ] = 10_000_000_000
    max_assets: Annotated[int, Field(ge=0, le=10_000, description="Maximum number of assets of a user")] = 100
    max_asset_bytes: Annotated[int, Field(ge=1, le=1_000_000_000, description="Maximum size of an asset in bytes")] = (
        10_000_000
    )
    max_assets_bytes: Annotated[int, Field(ge=1, description="Maximum total bytes of the assets of a user")] = (
        100_000_000
    )
    max_presets: Annotated[int, Field(ge=0, le=10_000, description="Maximum number of presets of a user")] = 100
    max_preset_versions: Annotated[
        int, Field(ge=1, le=10_000, description="Maximum number of versions of a preset")
    ] = 100
    local_roots: Annotated[
        Directories,
        Field(
            description="Directories, separated by `:`, that `local_file` jobs can read and write. "
            "Default: none, local files are disabled"
        ),
    ] = ()
    local_access: Annotated[
        Literal["user", "shared"],
        Field(
            description="Which files under the directories a user's `local_file` jobs can read: those in the "
            "directory's folder with the user's ID as its name, or all"
        ),
    ] = "user"

    # Jobs
    lease_seconds: Annotated[
        float,
        Field(gt=0, le=3600, description="Seconds after a worker's last lease renewal until its jobs are requeued"),
    ] = 30
    max_attempts: Annotated[int, Field(ge=1, le=100, description="Maximum attempts of a job")] = 5
    unsupported_jobs: Annotated[
        Literal["refuse", "wait"],
        Field(
            description="Whether a job is refused or waits if it requires an optional capability, such as `heic`, and "
            "workers are live, but none of them and of those seen in the last ten minutes has it"
        ),
    ] = "refuse"
    queue_max_active_per_user: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="Maximum jobs of one user that are processed at once, unless `pixelflow users set` set another "
            "limit. Default: no limit",
        ),
    ] = None
    job_max_wait_seconds: Annotated[
        float,
        Field(
            ge=0,
            le=31_536_000,
            description="Seconds that a started job waits while the service's storage, database or machines fail; "
            "then it fails as `service_unavailable`",
        ),
    ] = 604_800
    job_timeout_seconds: Annotated[float, Field(gt=0, le=86_400, description="Maximum seconds of one transform")] = 180

    # Retention
    retention_source_days: Annotated[
        _Days | None,
        Field(description="Days from a job's end until its uploaded source is deleted. Default: with the job"),
    ] = None
    retention_output_days: Annotated[
        _Days | None, Field(description="Days from a job's end until its outputs are deleted. Default: with the job")
    ] = None
    retention_job_days: Annotated[
        _WholeDays | None,
        Field(
            description="Days from a job's end until it is deleted with its files; its usage record stays. "
            "Default: never"
        ),
    ] = None
    retention_upload_days: Annotated[
        _Days,
        Field(description="Days from a job's creation until it is deleted with its upload, if it was never started"),
    ] = 7
    retention_history_days: Annotated[
        _WholeDays,
        Field(description="Days until finished attempts are deleted, and events with their deliveries"),
    ] = 90

    # Webhooks
    secrets_key: Annotated[SecretsKeys | None, SECRETS_KEY] = None
    max_webhook_endpoints: Annotated[
        int,
        Field(ge=0, le=100, description="Maximum number of webhook endpoints of a user; a job's event is sent to each"),
    ] = 10
    webhook_allow_cidrs: Annotated[
        Networks,
        Field(
            description="Non-public networks that webhooks can be sent to, separated by commas, such as 10.20.0.0/16. "
            "Default: none; of `pixelflow up`: loopback"
        ),
    ] = ()
    webhook_allow_http: Annotated[
        bool,
        Field(description="Whether webhooks can be sent to http:// URLs too. The default of `pixelflow up` is true"),
    ] = False

    # Worker
    worker_concurrency: Annotated[
        int | None,
        Field(
            ge=1,
            le=256,
            description="Jobs that a worker handles concurrently; they overlap their I/O. "
            "Default: four per slot, at least 8",
        ),
    ] = None
    worker_max_active_jobs: Annotated[
        int | None,
        Field(
            ge=1,
            le=256,
            description="Transforms that a worker runs concurrently (slots). "
            "Default: the cores that the machine or the container may use",
        ),
    ] = None
    worker_child_memory_bytes: Annotated[
        int | None,
        Field(
            ge=200_000_000,
            description="Memory limit of one transform in bytes. "
            "Default: 2000000000, or less if the container's memory does not suffice for all slots",
        ),
    ] = None
    worker_memory_bytes: Annotated[
        int | None,
        Field(
            ge=200_000_000,
            description="Memory that a worker's transforms may use together, by their estimates; large images take "
            "turns. Default: three quarters of the memory of the container or the machine",
        ),
    ] = None
    worker_isolation: Annotated[
        Literal["user", "job"],
        Field(description="Whether a transform process serves the jobs of one user, or one job"),
    ] = "user"
    worker_child_uid: Annotated[
        int, Field(ge=1, lt=2**32 - 1, description="User ID of the transform processes of a worker that runs as root")
    ] = 65_534
    worker_require_confinement: Annotated[
        bool,
        Field(
            description="Whether a worker refuses to start where transform processes can't be fully confined. "
            "True in the container images"
        ),
    ] = False
    worker_grace_seconds: Annotated[
        float, Field(ge=0, le=600, description="Seconds that a stopping worker waits for its jobs to finish")
    ] = 5
    worker_temp_dir: Annotated[
        Path | None,
        Field(description="Directory for sources and outputs during processing. Default: the system's"),
    ] = None
    worker_min_free_bytes: Annotated[
        int | None,
        Field(
            ge=0,
            description="Free bytes of the directory's file system below which a worker claims no jobs. "
            "Default: PIXELFLOW_MAX_SOURCE_BYTES",
        ),
    ] = None

    # Metrics
    metrics_enabled: Annotated[bool, Field(description="Whether /metrics is served to Prometheus")] = True
    metrics_host: Annotated[str, Field(description="Address that /metrics is served on")] = "127.0.0.1"
    metrics_port: Annotated[
        int | None,
        Field(
            ge=0,
            le=65535,
            description="Port that /metrics is served on; 0 selects a free port, which is logged. "
            "Default: 9090 for an API, 9091 for a worker, 9092 for a controller",
        ),
    ] = None
    metrics_top_users: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="Number of users with the most pixels that the controller's metrics list by ID; 0 lists none, "
            "so that metrics name nobody",
        ),
    ] = 0

    # Logs
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="Log format; `auto` is `console` on a terminal and `json` elsewhere"),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="Lowest level that is logged; libraries never log below `info`"),
    ] = "info"

    @model_validator(mode="wrap")
    @classmethod
    def _check_together(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, cls._cross_field_errors)

    @classmethod
    def _cross_field_errors(cls, checked: object) -> Iterator[CrossFieldError]:
        """What is wrong between settings. Those that are not valid themselves count as not set."""
        self = checked if isinstance(checked, cls) else cls.model_construct(**valid_values(cls, checked))
        given = checked if isinstance(checked, Mapping) else self.__dict__
        yield from (((name,), MISSING) for name in self.missing_keys())
        yield from (((), each) for each in self._conflicts(given))

    def _conflicts(self, given: Mapping[str, Any]) -> Iterator[str]:
        if (self.worker_concurrency or math.inf) < (self.worker_max_active_jobs or 0):
            yield (
                "PIXELFLOW_WORKER_CONCURRENCY must be at least PIXELFLOW_WORKER_MAX_ACTIVE_JOBS; "
                "otherwise some slots are never used"
            )
        yield from self.conflicts_of_storage()
        missing = [f"{PREFIX}JWT_{name}" for name in ("JWKS_URL", "AUDIENCE") if not given.get(f"jwt_{name.lower()}")]
        if self.jwt_issuer is not None and missing:
            yield f"PIXELFLOW_JWT_ISSUER requires {' and '.join(missing)}: tokens are validated against all of them"
        periods = {name: getattr(self, name) for name in retention.PERIOD_SETTINGS}
        yield from retention.period_errors(periods, grace=self.upload_grace)

    @property
    def upload_grace(self) -> timedelta:
        """How long after a job's end or erasure its files may still arrive."""
        return retention.upload_grace(self.upload_url_seconds, self.lease_seconds)

    def require_secrets_keys(self) -> tuple[bytes, ...]:
        """The keys that secrets are decrypted with; the first encrypts.

        Raises:
            SettingsError: ``PIXELFLOW_SECRETS_KEY`` is not set.
        """
        if self.secrets_key is None:
            raise SettingsError(missing_message("secrets_key", type(self).model_fields["secrets_key"]))
        return tuple(key.get_secret_value() for key in self.secrets_key)


class ControlPlaneSettings(Settings):
    """Settings of the API and of the controller, which encrypt and decrypt secrets."""

    secrets_key: Annotated[SecretsKeys, SECRETS_KEY]
