"""``pixelflow api|worker|controller|migrate``: run one process of the service.

Each command imports its own process only: the API must not load what the worker needs, nor the other way round.
"""

from __future__ import annotations

from pixelflow.cli.output import echo
from pixelflow.cli.server_settings import load_database_url, load_settings
from pixelflow.settings import load_control_plane


def api() -> None:
    """Run the API."""
    with load_settings(load_control_plane) as settings:
        from pixelflow.controlplane.api import main  # noqa: PLC0415 - see the module's docstring

        main.run(settings)


def worker() -> None:
    """Run a worker, which processes jobs."""
    with load_settings() as settings:
        from pixelflow.adapters.termination import exit_now  # noqa: PLC0415
        from pixelflow.dataplane.worker import main  # noqa: PLC0415 - see the module's docstring

        main.run(settings)
        exit_now()


def controller() -> None:
    """Run the controller, which does the background work.

    It requeues lost jobs, reaps expired leases, delivers webhooks, collects garbage and counts jobs for the metrics.
    """
    with load_settings(load_control_plane) as settings:
        from pixelflow.adapters.termination import exit_now  # noqa: PLC0415
        from pixelflow.controlplane.controller import main  # noqa: PLC0415 - see the module's docstring

        main.run(settings)
        exit_now()


def migrate() -> None:
    """Migrate the database and set the rights of roles.

    Uses the database of PIXELFLOW_DATABASE_URL or, if that is not set, of the `pixelflow up` running on this machine.
    """
    with load_database_url() as url:
        from pixelflow.adapters.postgres import migrate as schema  # noqa: PLC0415 - see the module's docstring

        applied = schema.migrate(url, echo=echo)
    echo(f"Applied {', '.join(applied)}" if applied else "The database is up to date")
