"""The API process: composition root."""

from __future__ import annotations

import functools

import uvicorn

from pixelflow.adapters.telemetry import configure_logs
from pixelflow.controlplane.api.app import make_app
from pixelflow.controlplane.api.services import open_services
from pixelflow.settings import Settings

_GRACE_SECONDS = 5


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: what only this process needs is not set.
    """
    settings.require_secrets_key()
    configure_logs(settings, role="api")
    uvicorn.run(
        make_app(functools.partial(open_services, settings)),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
