"""Settings of the connections to Postgres, and of how long requests and statements may take."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pixelflow.settings.errors import PREFIX
from pixelflow.settings.field_types import DatabaseUrl, SecretsKeys

SECRETS_KEY = Field(
    description="Key that encrypts webhook secrets and stored responses: 32 random bytes in URL-safe base64. "
    "Required by the API and the controller. During a change of the key: several, separated by commas; the "
    "first encrypts, all decrypt"
)


class DatabaseSettings(BaseSettings):
    """Settings of commands that use only the database."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[
        DatabaseUrl, Field(description="Postgres URL, such as postgresql://user:password@host:5432/pixelflow")
    ]


class RotationSettings(DatabaseSettings):
    """Settings of the command that re-encrypts stored values."""

    secrets_key: Annotated[SecretsKeys, SECRETS_KEY]


class ConnectionSettings(DatabaseSettings):
    """Settings of the connections of each process."""

    api_request_seconds: Annotated[
        float,
        Field(
            ge=1, le=300, description="Maximum seconds that the API works on one request, with the transfer of its body"
        ),
    ] = 30
    database_prepared_statements: Annotated[
        bool,
        Field(
            description="Whether frequent statements are prepared. False is for poolers that share sessions "
            "and don't support prepared statements, such as PgBouncer before 1.21"
        ),
    ] = True
    api_database_connections: Annotated[
        int,
        Field(
            ge=2,
            le=100,
            description="Maximum connections of one API process. Requests of one user use at most half of them at once",
        ),
    ] = 7
    api_statement_seconds: Annotated[
        float, Field(gt=0, le=300, description="Maximum seconds of a statement of the API")
    ] = 5
    api_lock_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=60,
            description="Maximum seconds that a statement of the API waits for a lock, such as that of a job's row",
        ),
    ] = 1
    worker_statement_seconds: Annotated[
        float, Field(gt=0, le=300, description="Maximum seconds of a statement of a worker")
    ] = 10
    worker_lock_seconds: Annotated[
        float, Field(gt=0, le=60, description="Maximum seconds that a statement of a worker waits for a lock")
    ] = 3
    controller_statement_seconds: Annotated[
        float, Field(gt=0, le=3600, description="Maximum seconds of a statement of the controller")
    ] = 60
    controller_lock_seconds: Annotated[
        float, Field(gt=0, le=60, description="Maximum seconds that a statement of the controller waits for a lock")
    ] = 3

    @property
    def idempotency_lease(self) -> timedelta:
        """How long a request holds its idempotency key.

        Longer than the request has effects: its last statement begins before its deadline and ends within the limit of
        a statement. The last second is for the messages in between.
        """
        return timedelta(seconds=self.api_request_seconds + self.api_statement_seconds + 1)
