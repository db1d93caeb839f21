"""The results of a batch of photos: a table or JSON on stdout, notes and errors on stderr."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pixelflow.cli.errors import echo_client_error, error_json, exit_code_of
from pixelflow.cli.exit_codes import worst
from pixelflow.cli.manifest import SentBefore
from pixelflow.cli.output import (
    cell,
    echo,
    format_change,
    format_pixels,
    format_size,
    print_json,
    print_table,
    printable,
    table,
)
from pixelflow.cli.sending import BatchItem
from pixelflow.contracts.jobs.responses import Output


def print_results(items: Sequence[BatchItem], *, as_json: bool) -> int:
    """Print results to stdout and errors to stderr; return the exit code."""
    if as_json:
        print_json({"jobs": [_item_json(item) for item in items]})
    elif any(item.job and item.job.outputs for item in items):
        _print_outputs(items)
    else:
        _print_started_jobs(items)
    _print_resumed(items)
    _print_warnings(items)
    _print_errors(items)
    if skipped := sum(item.skipped for item in items):
        echo(f"{skipped} more not sent")
    return worst(exit_code_of(item.error) for item in items if item.error is not None)


def _print_outputs(items: Sequence[BatchItem]) -> None:
    rows = table(
        "Photo", "Output", "Pixels", "Before", "After", "Change", right=("Pixels", "Before", "After", "Change")
    )
    for item in items:
        before = item.job.source.bytes if item.job else None
        for output in item.job.outputs if item.job else ():
            rows.add_row(
                cell(item.photo.path),
                cell(item.files.get(output.step_id, f"{output.step_id} ({output.format})")),
                cell(format_pixels(output.width, output.height)),
                cell(format_size(before) if before else ""),
                cell(format_size(output.bytes)),
                cell(format_change(before, output.bytes)),
            )
    print_table(rows)


def _print_started_jobs(items: Sequence[BatchItem]) -> None:
    if started := [item for item in items if item.job_id and not item.error]:
        rows = table("Photo", "Job", "Status")
        for item in started:
            rows.add_row(cell(item.photo.path), cell(item.job_id), cell(item.status))
        print_table(rows)


def _print_resumed(items: Sequence[BatchItem]) -> None:
    """Say what the manifest had, and why photos in it were sent again."""
    notes = {
        SentBefore.SAME: "{} photos were sent before",
        SentBefore.OTHER_CONTENT: "{} photos have changed since they were sent: they were sent again",
        SentBefore.OTHER_PIPELINE: "{} photos were sent with another pipeline before: they were sent again",
    }
    counts = Counter(item.before for item in items)
    for before, note in notes.items():
        if counts[before]:
            echo(note.format(counts[before]))


def _print_warnings(items: Sequence[BatchItem]) -> None:
    for item in items:
        for warning in item.job.warnings if item.job else ():
            echo(f"{printable(item.photo.path)}: {warning.message} ({warning.code})")


def _print_errors(items: Sequence[BatchItem]) -> None:
    """Print each distinct error once: an error that is fatal for the batch often hits several photos."""
    by_message: dict[str, list[BatchItem]] = {}
    for item in items:
        if item.error is not None:
            by_message.setdefault(str(item.error), []).append(item)
    for group in by_message.values():
        first, error = group[0], group[0].error
        if error is not None:
            echo_client_error(error, first.photo.path if len(group) == 1 else f"{len(group)} photos")


def _item_json(item: BatchItem) -> dict[str, Any]:
    return {
        "photo": printable(item.photo.path),
        "job_id": str(item.job_id) if item.job_id else None,
        "status": str(item.status) if item.status else "not_sent",
        "sent_before": item.before.value,
        "source_bytes": item.job.source.bytes if item.job else None,
        "outputs": [_output_json(item, output) for output in (item.job.outputs if item.job else ())],
        "warnings": [warning.model_dump(mode="json") for warning in (item.job.warnings if item.job else ())],
        "error": error_json(item.error) if item.error else None,
    }


def _output_json(item: BatchItem, output: Output) -> dict[str, Any]:
    path = item.files.get(output.step_id)
    return output.model_dump(mode="json") | {"path": printable(path) if path else None}
