"""``pixelflow demo``: runs one job on a temporary service, through the public API, and prints every stage."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import (
    cell,
    echo,
    echo_error,
    format_change,
    format_pixels,
    format_size,
    print_table,
    printable,
    table,
)
from pixelflow.cli.temporary_stack import StartFailedError, run_temporary_stack
from pixelflow.client import Client
from pixelflow.client.files import file_of
from pixelflow.client.session import Session
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import Job
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.devstack import launcher
from pixelflow.imaging.file_types import describe
from pixelflow.imaging.format import SIGNATURE_BYTES
from pixelflow.imaging.formats.registry import INPUT_FORMATS

PIPELINE: list[dict[str, Any]] = [
    {"id": "thumb", "action": "resize", "width": 150, "format": "webp", "quality": 80},
    {"id": "card", "action": "resize", "width": 640, "format": "webp"},
    {
        "id": "hero", "action": "resize", "width": 1600, "height": 700, "fit": "cover", "gravity": "attention",
        "format": "avif",
    },
    {
        "id": "hero_marked", "from": "hero", "action": "watermark", "format": "jpeg",
        "watermark": {"text": "© PixelFlow", "opacity": 0.65, "gravity": "southeast"},
    },
    {
        "id": "tile", "action": "resize", "width": 256, "height": 256, "fit": "cover", "gravity": "attention",
        "format": "png",
    },
]  # fmt: skip
"""Five outputs in four formats; the watermarked one is derived from another."""
WAIT_SECONDS = 120.0
POLL_SECONDS = 0.02
_STATUS_NOTES: dict[str, str] = {
    JobStatus.PROCESSING: "in a child process that holds no credentials",
    JobStatus.SUCCEEDED: "the source was decoded once for all five outputs",
}


def demo(
    *,
    photo: Annotated[
        Path | None,
        typer.Argument(
            metavar="PHOTO",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Photo to process. Default: one that PixelFlow brings.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", file_okay=False, help="Directory for the outputs.")] = Path(
        "demo-output"
    ),
) -> None:
    """Run one photo through a temporary service and save five outputs."""
    photo = photo or _own_photo()
    if refusal := _refusal(photo):
        echo_error(refusal)
        raise typer.Exit(ExitCode.USAGE)
    log = _StageLog()
    log.print("starting", "Postgres, Valkey, an S3 server, then API, controller and worker")
    try:
        with exit_on_error(), run_temporary_stack() as session:
            log.print("ready", f"API at {session.api_url}")
            job, paths = _process(session, photo, out, log)
            _print_outputs(job, paths)
    except StartFailedError as error:
        echo_error("The service did not start. Its output:")
        for line in str(error).splitlines():
            echo(f"  {line}")
        raise typer.Exit(error.exit_code) from None
    log.print("stopped", "all processes; the outputs are kept")


def _own_photo() -> Path:
    return Path(launcher.__file__).with_name("photo.jpg")


def _refusal(photo: Path) -> str | None:
    """Say why the service would refuse the file by its first bytes, if it would; nothing is decoded.

    Raises:
        OSError: the file can't be read.
    """
    with photo.open("rb") as file:
        head = file.read(SIGNATURE_BYTES)
    if any(format_.matches and format_.matches(head) for format_ in INPUT_FORMATS.values()):
        return None
    return f"{photo} is {describe(head) or 'not an image of a known format'}"


class _StageLog:
    """Prints stages with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def print(self, stage: str, detail: str) -> None:
        print(f"{time.monotonic() - self._started:7.2f} s  {stage:<11} {printable(detail)}", flush=True)

    def print_status(self, job: Job) -> None:
        if job.status in _STATUS_NOTES:
            self.print(job.status, _STATUS_NOTES[job.status])


def _process(session: Session, photo: Path, folder: Path, log: _StageLog) -> tuple[Job, list[Path]]:
    request = CreateJobRequest.model_validate({"source": file_of(photo).declared, "pipeline": PIPELINE})
    with Client(session=session) as client:
        created = client.create_job(request)
        log.print(created.status, f"job {created.job_id}, {len(request.pipeline)} steps")
        client.upload(created.upload, photo)
        log.print("uploaded", f"{photo}, {format_size(photo.stat().st_size)}, directly to object storage")
        log.print(client.start_job(created.job_id).status, "waiting for a worker")
        job = client.wait(created.job_id, timeout=WAIT_SECONDS, poll_interval=POLL_SECONDS, on_change=log.print_status)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [client.download(output, folder / f"{output.step_id}.{output.extension}") for output in job.outputs]
        log.print("downloaded", f"{len(paths)} outputs, checksums verified")
    return job, paths


def _print_outputs(job: Job, paths: list[Path]) -> None:
    rows = table("Output", "Format", "Pixels", "Size", "Change", "File", right=("Pixels", "Size", "Change"))
    for output, path in zip(job.outputs, paths, strict=True):
        rows.add_row(
            cell(output.step_id, "bold"),
            cell(output.format),
            cell(format_pixels(output.width, output.height)),
            cell(format_size(output.bytes)),
            cell(format_change(job.source.bytes, output.bytes), "green"),
            cell(path),
        )
    print()
    print_table(rows)
    print()
