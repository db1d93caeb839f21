"""What the routes work with: built once per process, handed to each request."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.local_files import LocalFiles
from pixelflow.adapters.objects import ObjectStorage
from pixelflow.adapters.queue import JobQueue
from pixelflow.adapters.store.database import AsyncDatabase
from pixelflow.controlplane.api.readiness import Dependencies
from pixelflow.controlplane.jobs import Jobs
from pixelflow.settings import Settings

MAX_CONNECTIONS = 10


@dataclass(frozen=True)
class Services:
    """The API's collaborators."""

    database: AsyncDatabase
    dependencies: Dependencies
    jobs: Jobs


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Build them, and close them at the end."""
    queue = JobQueue(settings.redis_url.get_secret_value())
    objects = ObjectStorage(settings)
    url = settings.database_url.get_secret_value()
    try:
        async with AsyncDatabase(url, max_connections=MAX_CONNECTIONS, application="pixelflow-api") as database:
            jobs = Jobs(
                settings,
                database=database,
                queue=queue,
                objects=objects,
                local_files=LocalFiles(settings.local_roots),
                new_id=new_id,
            )
            dependencies = Dependencies(
                {
                    "postgres": functools.partial(_ask, database),
                    "redis": functools.partial(asyncio.to_thread, queue.ping),
                    "object_storage": objects.ping,
                }
            )
            yield Services(database=database, dependencies=dependencies, jobs=jobs)
    finally:
        queue.close()


async def _ask(database: AsyncDatabase) -> None:
    async with database.connection() as connection:
        await connection.execute("SELECT 1")


def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


ServicesOf = Annotated[Services, Depends(_services)]
"""The services, for a route."""
