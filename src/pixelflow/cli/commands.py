"""The command line: what commands there are. Each lives in a module of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from pixelflow import __version__
from pixelflow.cli import deliveries, demo, exit_codes, jobs, keys, run, submit, usage, webhook

_PHOTOS, _WEBHOOKS, _SERVICE = "Photos", "Webhooks", "The service"


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="pixelflow",
        help="Self-hosted, asynchronous image processing.",
        epilog=exit_codes.legend(),
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command(rich_help_panel=_PHOTOS, epilog=exit_codes.legend())(submit.submit)
    app.add_typer(jobs.commands(), name="jobs", rich_help_panel=_PHOTOS)
    app.command(rich_help_panel=_PHOTOS)(usage.usage)
    app.add_typer(deliveries.commands(), name="deliveries", rich_help_panel=_WEBHOOKS)
    app.add_typer(webhook.commands(), name="webhook", rich_help_panel=_WEBHOOKS)
    app.command(rich_help_panel=_SERVICE)(run.up)
    app.command(rich_help_panel=_SERVICE)(demo.demo)
    app.add_typer(keys.commands(), name="keys", rich_help_panel=_SERVICE)
    for process in (run.api, run.worker, run.controller, run.migrate):
        app.command(rich_help_panel=_SERVICE)(process)
    return app


def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda asked: _say_version() if asked else None,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Self-hosted, asynchronous image processing."""


def _say_version() -> None:
    print(f"pixelflow {__version__}")
    raise typer.Exit
