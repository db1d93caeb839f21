"""The controller process: composition root."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta

import structlog

from pixelflow.adapters.local_files import LocalFiles
from pixelflow.adapters.objects import ObjectStorage
from pixelflow.adapters.queue import JobQueue
from pixelflow.adapters.store.database import AsyncDatabase
from pixelflow.adapters.telemetry import configure_logs
from pixelflow.controlplane.controller.loop import repeat
from pixelflow.controlplane.controller.pruner import Pruner
from pixelflow.controlplane.controller.relay import Relay
from pixelflow.controlplane.controller.rescuer import Rescuer
from pixelflow.settings import Settings

PAUSE_SECONDS = 1.0
MAX_CONNECTIONS = 4

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Run the loops until SIGTERM or SIGINT."""
    configure_logs(settings, role="controller")
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop.set)
    queue = JobQueue(settings.redis_url.get_secret_value())
    url = settings.database_url.get_secret_value()
    async with AsyncDatabase(url, max_connections=MAX_CONNECTIONS, application="pixelflow-controller") as database:
        pruner = Pruner(
            database,
            ObjectStorage(settings),
            LocalFiles(settings.local_roots),
            upload_url_valid=timedelta(seconds=settings.upload_url_seconds),
        )
        _log.info("controller started")
        await asyncio.gather(
            repeat(Relay(database, queue), pause=PAUSE_SECONDS, stop=stop),
            repeat(Rescuer(database), pause=PAUSE_SECONDS, stop=stop),
            repeat(pruner, pause=PAUSE_SECONDS, stop=stop),
        )
    queue.close()
    _log.info("controller stopped")
