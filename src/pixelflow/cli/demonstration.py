"""What ``demo`` does: a job's whole life, step by step, by the SDK alone, as any program would."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.failures import reported
from pixelflow.cli.output import cell, change, complain, plain, say, show, size, table
from pixelflow.cli.signatures import begins_like_a_picture
from pixelflow.cli.temporary_stack import StartFailedError, running
from pixelflow.client import Client
from pixelflow.client.session import Session
from pixelflow.client.transfers import declared_source
from pixelflow.contracts.jobs import CreateJobRequest, Job, JobStatus
from pixelflow.contracts.pipeline import EXTENSIONS

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
"""Five outputs of four formats; the marked one is derived from another."""
WAIT_SECONDS = 120.0
POLL_SECONDS = 0.02


def run(photo: Path, folder: Path) -> ExitCode:
    """Show one job on ``photo`` from the start of the service to its end; outputs go to ``folder``."""
    if not begins_like_a_picture(photo):
        complain(f"{photo} is no JPEG, PNG, WebP or AVIF")
        return ExitCode.USAGE
    story = _Story()
    story.tell("starting", "Postgres, Valkey, an S3 server, then API, controller and worker")
    try:
        with reported(), running() as session:
            story.tell("ready", f"API at {session.api_url}")
            job, paths = _process(session, photo, folder, story)
            _show(job, paths)
    except StartFailedError as error:
        complain("The service did not start. It said:")
        for line in str(error).splitlines():
            say(f"  {line}")
        return error.code
    story.tell("stopped", "all of it; the outputs stay")
    return ExitCode.DONE


_MORE = {
    JobStatus.PROCESSING: "in a child process that holds no credentials",
    JobStatus.SUCCEEDED: "the source decoded once for all five outputs",
}


class _Story:
    """Lines of what happened, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def tell(self, what: str, more: str) -> None:
        print(f"{time.monotonic() - self._began:7.2f} s  {what:<11} {plain(more)}", flush=True)

    def tell_change(self, job: Job) -> None:
        if job.status in _MORE:
            self.tell(job.status, _MORE[job.status])


def _process(session: Session, photo: Path, folder: Path, story: _Story) -> tuple[Job, list[Path]]:
    request = CreateJobRequest.model_validate({"source": declared_source(photo), "pipeline": PIPELINE})
    with Client(session=session) as client:
        created = client.create_job(request)
        story.tell(created.status, f"job {created.job_id}, {len(request.pipeline)} steps")
        client.upload(created.upload, photo)
        story.tell("uploaded", f"{photo}, {size(photo.stat().st_size)}, straight to object storage")
        story.tell(client.start_job(created.job_id).status, "waiting for a worker")
        job = client.wait(created.job_id, timeout=WAIT_SECONDS, poll_interval=POLL_SECONDS, on_change=story.tell_change)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [
            client.download(output, folder / f"{output.step_id}.{EXTENSIONS[output.format]}") for output in job.outputs
        ]
        story.tell("downloaded", f"{len(paths)} outputs, checksums compared")
    return job, paths


def _show(job: Job, paths: list[Path]) -> None:
    rows = table("Output", "Format", "Pixels", "Size", "Change", "File", right=("Pixels", "Size", "Change"))
    for output, path in zip(job.outputs, paths, strict=True):
        rows.add_row(
            cell(output.step_id, "bold"),
            cell(output.format),
            cell(f"{output.width}×{output.height}"),
            cell(size(output.bytes)),
            cell(change(job.source.bytes, output.bytes), "green"),
            cell(path),
        )
    print()
    show(rows)
    print()
