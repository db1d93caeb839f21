"""What the commands that run the service have in common: settings first, and failures told in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import complain

if TYPE_CHECKING:
    from pixelflow.settings import Settings


@contextmanager
def operating() -> Iterator[Settings]:
    """The settings from the environment; a failure of the service within ends the command, told, with its code."""
    from pixelflow import settings  # noqa: PLC0415 - see the package's docstring
    from pixelflow.adapters.telemetry import trace_settings  # noqa: PLC0415

    with _reported():
        trace_settings.load()  # at once: libraries read these variables as they are loaded
        yield settings.load()


@contextmanager
def operating_on_database() -> Iterator[str]:
    """As :func:`operating`, of the database alone: the URL from the environment, else of the stack on this machine."""
    from pixelflow import settings  # noqa: PLC0415
    from pixelflow.cli.credentials import find_database  # noqa: PLC0415

    with _reported():
        yield settings.load_database(find_database()).database_url.get_secret_value()


@contextmanager
def _reported() -> Iterator[None]:
    from pixelflow import settings  # noqa: PLC0415
    from pixelflow.contracts.errors import DependencyError, PixelflowError  # noqa: PLC0415
    from pixelflow.devstack.errors import StackError  # noqa: PLC0415

    try:
        yield
    except settings.SettingsError as error:
        complain_by_line(error)
        raise typer.Exit(ExitCode.MISCONFIGURED) from None
    except (DependencyError, StackError) as error:
        complain(error)
        raise typer.Exit(ExitCode.UNREACHABLE) from error
    except PixelflowError as error:
        complain(error)
        raise typer.Exit(ExitCode.FAILED) from error


def complain_by_line(error: Exception) -> None:
    """Each line of the message for itself: there is one per wrong setting."""
    for line in str(error).splitlines():
        complain(line)
