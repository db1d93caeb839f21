"""``pixelflow up|api|worker|controller|migrate``: start what the service consists of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixelflow.cli.output import say
from pixelflow.cli.service import operating, operating_on_database


def up(
    *,
    home: Annotated[
        Path | None, typer.Option(metavar="DIR", file_okay=False, envvar="PIXELFLOW_HOME", help="Where its data lies.")
    ] = None,
    api_port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, envvar="PIXELFLOW_API_PORT", help="Of the API; if it is busy, the next free one; 0: any."
        ),
    ] = 8080,
    metrics: Annotated[
        bool, typer.Option(envvar="PIXELFLOW_METRICS_ENABLED", help="Whether its processes tell metrics.")
    ] = True,
    metrics_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            envvar="PIXELFLOW_METRICS_PORT",
            help="Of the API's metrics, the worker's and the controller's after it; busy ones are left out; 0: any.",
        ),
    ] = 9090,
) -> None:
    """Run the whole service on this machine, servers included, until Ctrl-C, which ends it with exit code 0."""
    from pixelflow.cli import local_service  # noqa: PLC0415 - see the package's docstring

    raise typer.Exit(local_service.run(home, api_port, metrics_port if metrics else None))


def api() -> None:
    """Run the API."""
    with operating() as settings:
        from pixelflow.controlplane.api import main as api_main  # noqa: PLC0415 - see the package's docstring

        api_main.run(settings)


def worker() -> None:
    """Run a worker, which transforms pictures."""
    with operating() as settings:
        from pixelflow.dataplane.worker import main as process  # noqa: PLC0415 - see the package's docstring

        process.run(settings)


def controller() -> None:
    """Run the controller, which moves on what got stuck."""
    with operating() as settings:
        from pixelflow.controlplane.controller import main as process  # noqa: PLC0415 - see the package's docstring

        process.run(settings)


def migrate() -> None:
    """Bring the database's schema up to date."""
    with operating_on_database() as url:
        from pixelflow.adapters.postgres import migrate as schema  # noqa: PLC0415 - see the package's docstring

        applied = schema.migrate(url)
    say(f"Applied {', '.join(applied)}" if applied else "Nothing to apply")
