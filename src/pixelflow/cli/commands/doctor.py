"""``pixelflow doctor``: checks this installation and says what is missing and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from pixelflow.cli.diagnosis import configuration, installation, servers, transforms
from pixelflow.cli.diagnosis.finding import Finding, FindingStatus, absent
from pixelflow.cli.exit_codes import worst
from pixelflow.cli.output import cell, echo, print_json, print_table, table

_STYLES = {FindingStatus.OK: "green", FindingStatus.WARNING: "yellow", FindingStatus.ERROR: "red"}


def doctor(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")] = False
) -> None:
    """Check this installation and say what to do about what is missing.

    It changes nothing. It checks the servers that the PIXELFLOW_ settings name, and the API that the command line uses.
    """
    findings = list(_findings())
    if as_json:
        print_json({"ok": not _errors(findings), "checks": [_as_json(finding) for finding in findings]})
    else:
        _print(findings)
    raise typer.Exit(worst(finding.exit_code for finding in _errors(findings)))


def _findings() -> Iterator[Finding]:
    yield from installation.check()
    if installation.has_part("worker"):
        yield from transforms.check()
    if installation.has_part("worker") or installation.has_part("api"):
        found, settings = configuration.check()
        yield from found
        if settings is not None:
            yield from servers.check_service(settings)
    else:
        yield absent("settings", "not checked: no process of the service is installed")
    yield from servers.check_api()


def _errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.status is FindingStatus.ERROR]


def _print(findings: list[Finding]) -> None:
    rows = table("Check", "Status", "Found")
    for finding in findings:
        rows.add_row(cell(finding.name), cell(finding.status, _STYLES.get(finding.status, "")), cell(finding.detail))
        if finding.advice:
            rows.add_row("", "", cell(f"→ {finding.advice}"))
    print_table(rows)
    count = len(_errors(findings))
    echo("No errors." if count == 0 else "1 error." if count == 1 else f"{count} errors.")


def _as_json(finding: Finding) -> dict[str, str | None]:
    return {"name": finding.name, "status": finding.status, "detail": finding.detail, "advice": finding.advice}
