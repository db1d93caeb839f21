"""Runs ``pixelflow`` commands in the process of a test: one of its own takes 0.7 s of CPU, most of it for imports."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from subprocess import CompletedProcess

import httpx
from typer.testing import CliRunner

from pixelflow.cli.app import build_app

Run = Callable[..., CompletedProcess[str]]


def command_line(settings: Mapping[str, str]) -> Run:
    """Return ``pixelflow("submit", photo, …)`` with these settings in its environment, and no others of PixelFlow."""
    app = build_app()
    environment: dict[str, str | None] = {name: None for name in os.environ if name.startswith("PIXELFLOW_")}
    environment |= settings

    def run(*arguments: object) -> CompletedProcess[str]:
        command = [str(argument) for argument in arguments]
        result = CliRunner().invoke(app, command, env=environment)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return CompletedProcess(command, result.exit_code, result.stdout, result.stderr)

    return run


def command_line_of(client: httpx.Client) -> Run:
    """Return the same for the API and the user of ``client``."""
    key = client.headers["Authorization"].removeprefix("Bearer ")
    return command_line({"PIXELFLOW_API_URL": str(client.base_url), "PIXELFLOW_API_KEY": key})
