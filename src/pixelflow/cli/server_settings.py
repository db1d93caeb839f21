"""Settings for the commands that run or administer the service. Failures end the command with a message and a code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from pixelflow import settings
from pixelflow.adapters.telemetry import trace_settings
from pixelflow.cli.credentials import CLIENT_VARIABLES, find_database, find_secrets
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import echo, echo_error
from pixelflow.devstack.errors import StackError
from pixelflow.errors import DependencyError, PixelflowError


@contextmanager
def load_settings(load: Callable[[], settings.Settings] = settings.load) -> Iterator[settings.Settings]:
    """Yield the settings from the environment; print any failure of the service inside and exit with its code.

    ``load`` reads the settings that the process needs.
    """
    with _exit_on_error():
        # First: the OpenTelemetry libraries read these variables when they are imported.
        tracing = _fault_of_tracing()
        try:
            loaded = load()
        except settings.SettingsError as error:
            raise settings.SettingsError("\n".join([*tracing, str(error)])) from None
        if tracing:
            raise settings.SettingsError("\n".join(tracing))
        _warn_of_unknown()
        yield loaded


def _fault_of_tracing() -> list[str]:
    try:
        trace_settings.load()
    except settings.SettingsError as error:
        return [str(error)]
    return []


def _warn_of_unknown() -> None:
    """Warn only: a release that is rolled back to starts with the settings of the newer one."""
    for name, meant in settings.find_unknown(CLIENT_VARIABLES).items():
        echo(f"Warning: {name} is not a setting" + (f"; did you mean {meant}?" if meant else " and has no effect"))


@contextmanager
def load_database_url() -> Iterator[str]:
    """Yield the database URL from the environment or the stack on this machine; handle failures the same way."""
    with _exit_on_error():
        yield settings.load_database(find_database()).database_url.get_secret_value()


@contextmanager
def load_rotation() -> Iterator[settings.RotationSettings]:
    """Yield database and keys from the environment or the stack on this machine; handle failures the same way."""
    with _exit_on_error():
        yield settings.load_rotation(find_secrets())


@contextmanager
def _exit_on_error() -> Iterator[None]:
    try:
        yield
    except settings.SettingsError as error:
        echo_settings_error(error)
        raise typer.Exit(ExitCode.MISCONFIGURED) from None
    except (DependencyError, StackError) as error:
        echo_error(error)
        raise typer.Exit(ExitCode.UNREACHABLE) from error
    except PixelflowError as error:
        echo_error(error)
        raise typer.Exit(ExitCode.FAILED) from error


def echo_settings_error(error: settings.SettingsError) -> None:
    """Print one error per wrong setting: the message has a line for each."""
    for line in str(error).splitlines():
        echo_error(line)
