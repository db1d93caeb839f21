"""What ``up`` does: hands the embedded stack what brings its database up to date, and what makes its first key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pixelflow import settings
from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.adapters.telemetry import trace_settings
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import complain, plain, say
from pixelflow.cli.service import complain_by_line
from pixelflow.contracts.errors import PixelflowError
from pixelflow.controlplane.keys import admin
from pixelflow.devstack import up
from pixelflow.devstack.errors import StackError

USER = "local"
"""Whose jobs the stack's own key sees."""
_DATABASE_URL = "PIXELFLOW_DATABASE_URL"


def run(home: Path | None, api_port: int, metrics_port: int | None) -> ExitCode:
    """Run the whole service until it is told to end."""
    try:
        up.run(
            home,
            api_port=api_port,
            metrics_port=metrics_port,
            echo=_say,
            check=_check,
            migrate=_migrate,
            seed=_seed,
        )
    except settings.SettingsError as error:
        complain_by_line(error)
        return ExitCode.MISCONFIGURED
    except (StackError, PixelflowError) as error:
        _complain_with_log(error)
        return ExitCode.FAILED
    return ExitCode.DONE


def _check(environment: Mapping[str, str]) -> None:
    settings.load(environment)
    trace_settings.load()


def _complain_with_log(error: Exception) -> None:
    """The first line is ours; what follows was said by the process that failed, and says itself that it is an error."""
    sentence, *log = str(error).splitlines()
    complain(sentence)
    for line in log:
        say(f"  {line}")


def _say(sentence: str) -> None:
    # Flushed, for whoever reads it by a pipe waits for it.
    print(plain(sentence), flush=True)


def _migrate(environment: Mapping[str, str]) -> None:
    migrate(environment[_DATABASE_URL])


def _seed(environment: Mapping[str, str]) -> str:
    return admin.issue_key(environment[_DATABASE_URL], user_id=USER, name="pixelflow up")
