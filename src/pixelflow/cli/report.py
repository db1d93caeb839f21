"""What became of the photos of ``submit``: for people as a table, for programs as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pixelflow.cli.batch import Photo
from pixelflow.cli.exit_codes import ExitCode, gravest
from pixelflow.cli.failures import code_of, described, tell
from pixelflow.cli.output import cell, change, plain, say, show, show_json, size, table
from pixelflow.contracts.jobs import Output


def present(photos: Sequence[Photo], *, as_json: bool) -> ExitCode:
    """Show the results on stdout, what went wrong on stderr; the exit code that says it all."""
    if as_json:
        show_json({"jobs": [_described(photo) for photo in photos]})
    else:
        _show(photos)
    _tell_errors(photos)
    if skipped := sum(photo.skipped for photo in photos):
        say(f"{skipped} more not sent")
    return gravest(code_of(photo.error) for photo in photos if photo.error is not None)


def _tell_errors(photos: Sequence[Photo]) -> None:
    """Each error once: what bars one photo often bars others."""
    alike: dict[str, list[Photo]] = {}
    for photo in photos:
        if photo.error is not None:
            alike.setdefault(str(photo.error), []).append(photo)
    for group in alike.values():
        first, error = group[0], group[0].error
        if error is not None:
            tell(error, first.path if len(group) == 1 else f"{len(group)} photos")


def _show(photos: Sequence[Photo]) -> None:
    if any(photo.job and photo.job.outputs for photo in photos):
        _show_outputs(photos)
    elif started := [photo for photo in photos if photo.job_id and not photo.error]:
        rows = table("Photo", "Job", "Status")
        for photo in started:
            rows.add_row(cell(photo.path), cell(photo.job_id), cell(photo.status))
        show(rows)


def _show_outputs(photos: Sequence[Photo]) -> None:
    rows = table(
        "Photo", "Output", "Pixels", "Before", "After", "Change", right=("Pixels", "Before", "After", "Change")
    )
    for photo in photos:
        for output in photo.job.outputs if photo.job else ():
            rows.add_row(*_row(photo, output))
    show(rows)


def _row(photo: Photo, output: Output) -> list[Any]:
    before = photo.job.source.bytes if photo.job else None
    return [
        cell(photo.path),
        cell(photo.files.get(output.step_id, f"{output.step_id} ({output.format.value})")),
        cell(f"{output.width}×{output.height}"),
        cell(size(before) if before else ""),
        cell(size(output.bytes)),
        cell(change(before, output.bytes)),
    ]


def _described(photo: Photo) -> dict[str, Any]:
    return {
        "photo": plain(photo.path),
        "job_id": str(photo.job_id) if photo.job_id else None,
        "status": photo.status.value if photo.status else "not_sent",
        "source_bytes": photo.job.source.bytes if photo.job else None,
        "outputs": [_output(photo, output) for output in (photo.job.outputs if photo.job else ())],
        "error": described(photo.error) if photo.error else None,
    }


def _output(photo: Photo, output: Output) -> dict[str, Any]:
    path = photo.files.get(output.step_id)
    return output.model_dump(mode="json") | {"path": plain(path) if path else None}
