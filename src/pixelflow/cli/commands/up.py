"""``pixelflow up``: runs the whole service on this machine.

The stack of servers knows nothing about the service: this module passes it the migrations and the first API key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from pixelflow import settings
from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.adapters.telemetry import trace_settings
from pixelflow.cli.credentials import DATABASE_VARIABLE, PUBLIC_URL_VARIABLE
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import echo, echo_error, printable
from pixelflow.cli.server_settings import echo_settings_error
from pixelflow.controlplane.keys import admin
from pixelflow.devstack import up as stack
from pixelflow.devstack.errors import StackError
from pixelflow.errors import PixelflowError
from pixelflow.settings.field_types import EndpointUrl

USER = "local"
"""The user whom the stack's own API key belongs to."""


def _public_url(value: str) -> str:
    """Parse the address of a server in front of the bucket; empty if there is none any more."""
    if value == "none":
        return ""
    try:
        return TypeAdapter(EndpointUrl).validate_python(value)
    except ValidationError:
        raise typer.BadParameter("must be an http or https URL, such as http://127.0.0.1:8081, or none") from None


def up(
    *,
    home: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, envvar="PIXELFLOW_HOME", help="Directory for all data."),
    ] = None,
    api_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            envvar="PIXELFLOW_API_PORT",
            help="Port of the API. If it is busy, the next free one is used; 0 picks any.",
        ),
    ] = 8080,
    metrics: Annotated[
        bool, typer.Option(envvar="PIXELFLOW_METRICS_ENABLED", help="Whether the processes serve metrics.")
    ] = True,
    metrics_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            envvar="PIXELFLOW_METRICS_PORT",
            help="Metrics port of the API; the worker and the controller use the ones after it. "
            "Busy ports are skipped; 0 picks any.",
        ),
    ] = 9090,
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            parser=_public_url,
            envvar=PUBLIC_URL_VARIABLE,
            help="What the URLs of outputs in the bucket `public` begin with: the address of your nginx or CDN in "
            "front of it. Kept for later starts, until `none`, which stands for its own web server.",
        ),
    ] = None,
) -> None:
    """Run the whole service on this machine until Ctrl-C.

    Starts Postgres, Valkey, an S3 server, the API, a worker and the controller. Ctrl-C stops all of them and exits
    with code 0.
    """
    try:
        stack.run(
            home,
            api_port=api_port,
            metrics_port=metrics_port if metrics else None,
            public_url=public_url,
            echo=_print_line,
            check=_check_settings,
            migrate=_migrate,
            seed=_create_key,
        )
    except settings.SettingsError as error:
        echo_settings_error(error)
        raise typer.Exit(ExitCode.MISCONFIGURED) from None
    except (StackError, PixelflowError) as error:
        _echo_failure(error)
        raise typer.Exit(ExitCode.FAILED) from None


def _print_line(text: str) -> None:
    # Flushed: a program that reads this through a pipe waits for the line.
    print(printable(text), flush=True)


def _check_settings(environment: Mapping[str, str]) -> None:
    settings.load(environment)
    trace_settings.load()


def _migrate(environment: Mapping[str, str]) -> None:
    migrate(environment[DATABASE_VARIABLE])


def _create_key(environment: Mapping[str, str]) -> str:
    return admin.issue_key(environment[DATABASE_VARIABLE], user_id=USER, name="pixelflow up")


def _echo_failure(error: Exception) -> None:
    """Print the first line as the error; the lines after it are the log of the failed process."""
    message, *log = str(error).splitlines()
    echo_error(message)
    for line in log:
        echo(f"  {line}")
