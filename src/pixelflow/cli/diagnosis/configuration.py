"""Checks of the settings in the environment. No finding repeats a value, which may be a secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pixelflow.cli.credentials import CLIENT_VARIABLES
from pixelflow.cli.diagnosis.finding import Finding, absent, error, ok, warning
from pixelflow.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from pixelflow.settings import Settings


def check() -> tuple[list[Finding], Settings | None]:
    """Return what is wrong with the settings, and the settings if they are complete."""
    from pixelflow import settings  # noqa: PLC0415 - see the package's docstring

    findings = list(_unknown())
    if not settings.is_configured():
        text = "no server is set; only the processes of the service need settings"
        return [*findings, absent("settings", text, "See docs/configuration.md.")], None
    findings += _traces()
    try:
        loaded = settings.load()
    except settings.SettingsError as failure:
        lines = str(failure).splitlines()
        return [*findings, *(error("settings", line, None, ExitCode.MISCONFIGURED) for line in lines)], None
    findings.append(ok("settings", "complete and valid"))
    if loaded.secrets_key is None:
        findings.append(
            warning(
                "settings",
                "PIXELFLOW_SECRETS_KEY is not set",
                "Set it for the API and the controller; workers don't use it.",
            )
        )
    return findings, loaded


def _unknown() -> Iterator[Finding]:
    from pixelflow import settings  # noqa: PLC0415 - see the package's docstring

    for name, meant in settings.find_unknown(CLIENT_VARIABLES).items():
        if meant:
            yield error("settings", f"{name} is not a setting", f"Did you mean {meant}?", ExitCode.MISCONFIGURED)
        else:
            yield warning("settings", f"{name} is not a setting of this release", "It has no effect; remove it.")


def _traces() -> Iterator[Finding]:
    from pixelflow.adapters.telemetry import trace_settings  # noqa: PLC0415 - see the package's docstring
    from pixelflow.settings import SettingsError  # noqa: PLC0415 - see the package's docstring

    try:
        trace_settings.load()
    except SettingsError as failure:
        yield from (error("traces", line, None, ExitCode.MISCONFIGURED) for line in str(failure).splitlines())
