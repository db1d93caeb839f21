"""Every setting of the service, read from the environment once, at start. Nothing else reads ``PIXELFLOW_…`` here.

There is no default for a secret or for the address of a server: a process that is missing one refuses to start.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "PIXELFLOW_"
_DATABASE_NUMBER = re.compile(r"/?|/[0-9]+")
"""What follows the host of a Redis; its client takes anything else for database 0."""


class SettingsError(Exception):
    """The environment can't be used; ``str()`` has one sentence per wrong or missing setting."""


class Settings(BaseSettings):
    """What every process of PixelFlow is configured by."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    # Servers
    database_url: Annotated[
        SecretStr, Field(description="Postgres, such as postgresql://user:password@host:5432/pixelflow")
    ]
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
        tuple[Path, ...],
        NoDecode,
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

    # Logs
    log_format: Annotated[
        Literal["auto", "json", "console"], Field(description="`auto`: readable on a terminal, else JSON")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="Least level that is written; of libraries nothing below `info` ever is"),
    ] = "info"

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        parts = _split(url, "postgresql", "postgres")
        if "," in parts.netloc.rpartition("@")[2]:
            raise PydanticCustomError("several_hosts", "must name one host")
        # libpq ends the password at the first «@», others at the last.
        if not _port_is_fine(parts) or parts.netloc.count("@") > 1 or not _is_read_by_libpq(url):
            raise _unreadable()
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        parts = _split(value.get_secret_value(), "redis", "rediss", "unix")
        if not _port_is_fine(parts):
            raise _unreadable()
        if not (parts.path if parts.scheme == "unix" else parts.hostname and _DATABASE_NUMBER.fullmatch(parts.path)):
            raise _unreadable()
        return value

    @field_validator("s3_endpoint_url", "s3_public_endpoint_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = _split(value, "http", "https")
        if not _port_is_fine(parts) or not parts.hostname:
            raise _unreadable()
        if "@" in parts.netloc or "?" in value:
            raise PydanticCustomError("more_than_an_endpoint", "must not hold a user, a password or a query")
        return value.rstrip("/")

    @field_validator("local_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value

    @field_validator("local_roots")
    @classmethod
    def _resolve_roots(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        for root in roots:
            if not root.is_absolute() or not root.is_dir():
                raise PydanticCustomError(
                    "not_a_folder",
                    "must name folders that exist, by absolute paths; {root} is not one",
                    {"root": str(root)},
                )
        return tuple(root.resolve() for root in roots)

    @model_validator(mode="after")
    def _overlaps(self) -> Settings:
        if self.worker_concurrency < self.worker_max_active_jobs:
            raise PydanticCustomError(
                "too_few_threads",
                "PIXELFLOW_WORKER_CONCURRENCY must be at least PIXELFLOW_WORKER_MAX_ACTIVE_JOBS, "
                "or some slots stay empty",
            )
        return self

    @property
    def public_endpoint_url(self) -> str:
        """The endpoint that presigned URLs name."""
        return self.s3_public_endpoint_url or self.s3_endpoint_url


def _split(url: str, *schemes: str) -> SplitResult:
    """The parts of a URL. What is said of a wrong one is fixed: its parts may hold a password, or half of one."""
    if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        allowed = " or ".join(f"{scheme}://" for scheme in schemes)
        raise PydanticCustomError("scheme", "must start with {allowed}", {"allowed": allowed})
    if "#" in url or any(sign <= " " for sign in url):
        raise _unreadable()
    try:
        return urlsplit(url)
    except ValueError:
        raise _unreadable() from None


def _port_is_fine(parts: SplitResult) -> bool:
    """Whether what stands for the port is one, or nothing."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _is_read_by_libpq(url: str) -> bool:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # quotes the URL, whole
        return False
    return True


def _unreadable() -> PydanticCustomError:
    return PydanticCustomError(
        "url", "can't be read as a URL; in a user name or password, write signs such as @ : / ? # % as %40 and so on"
    )


def load() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: one sentence per wrong or missing setting; no value is repeated, since it may be a secret.
    """
    try:
        return Settings()  # the environment gives what is required
    except ValidationError as error:
        sentences = [_sentence(row) for row in error.errors(include_url=False, include_input=False)]
        raise SettingsError("\n".join(sentences)) from None


def _sentence(row: ErrorDetails) -> str:
    if not row["loc"]:
        return f"{row['msg']}."
    name = f"{PREFIX}{str(row['loc'][0]).upper()}"
    field = Settings.model_fields[str(row["loc"][0])]
    if row["type"] == "missing":
        return f"{name} is not set. It is: {field.description}."
    return f"{name} is wrong: {row['msg'][0].lower()}{row['msg'][1:]}. It is: {field.description}."
