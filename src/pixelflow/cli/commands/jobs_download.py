"""``pixelflow jobs download``: downloads the outputs of jobs, and continues after an interruption."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from pixelflow.cli.credentials import find_session
from pixelflow.cli.downloads import OutputFolders, has_content
from pixelflow.cli.errors import echo_client_error, error_json, exit_code_of, exit_on_error, is_fatal_for_batch
from pixelflow.cli.exit_codes import worst
from pixelflow.cli.job_filters import (
    CreatedAfter,
    CreatedBefore,
    JobChoice,
    MetadataPairs,
    OfBatch,
    OfPreset,
    Status,
)
from pixelflow.cli.output import cell, echo, format_size, print_json, print_table, printable, table
from pixelflow.client import AsyncClient, ClientError, TransferError
from pixelflow.contracts.jobs.responses import Job, Output
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.imaging.fields import STEP_ID_PATTERN

CONCURRENCY = 8
"""Downloads at a time."""
PAGE_SIZE = 32
"""Jobs that are fetched at a time, so that their download URLs don't expire before they are used."""


@dataclass
class _File:
    """An output and its file."""

    job_id: UUID
    step_id: str
    path: Path | None = None
    bytes: int = 0
    existed: bool = False
    error: ClientError | None = None

    @property
    def result(self) -> str:
        return "failed" if self.error else "existing" if self.existed else "downloaded"


class _Saver:
    """Downloads outputs to a directory, several at a time."""

    def __init__(self, client: AsyncClient, out: Path) -> None:
        self._client = client
        self._out = out
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._folders = OutputFolders()

    async def save(self, file: _File, output: Output) -> None:
        """Download the output unless its file is there already; set the result in ``file``."""
        async with self._slots:
            try:
                if not re.fullmatch(STEP_ID_PATTERN, output.step_id):
                    # The ID becomes part of a path: a server must not choose where a file is written.
                    raise TransferError("The job has an output whose step has no valid ID")
                self._folders.prepare(self._out)
                path = self._out / f"{file.job_id}-{output.step_id}.{output.extension}"
                file.existed = await asyncio.to_thread(has_content, path, output)
                if not file.existed:
                    await self._client.download(output, path)
                file.path = path
            except ClientError as error:
                file.error = error


def download(
    *,
    job_ids: Annotated[
        list[UUID] | None, typer.Argument(metavar="[JOB_ID…]", help="Job IDs, instead of the conditions below.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", file_okay=False, help="Directory for the outputs.")] = Path(),
    step: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Only outputs of this step. Can be repeated.")
    ] = None,
    status: Status = None,
    metadata: MetadataPairs = None,
    preset: OfPreset = None,
    batch: OfBatch = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")] = False,
) -> None:
    """Download the outputs of jobs as JOB_ID-STEP.EXT, by their IDs or by conditions.

    A file that is there already and complete is not downloaded again, so the same command continues after an
    interruption.
    """
    choice = JobChoice.of(
        status=status,
        metadata=metadata,
        preset=preset,
        batch=batch,
        created_after=created_after,
        created_before=created_before,
    )
    if bool(job_ids) == bool(choice.conditions):
        raise typer.BadParameter("name jobs, or set conditions such as --metadata, not both", param_hint="JOB_ID")
    with exit_on_error():
        files = asyncio.run(_download(choice, job_ids or [], out, step))
    _print(files, as_json=as_json)
    raise typer.Exit(worst(exit_code_of(file.error) for file in files if file.error is not None))


async def _download(choice: JobChoice, job_ids: Sequence[UUID], out: Path, steps: Sequence[str] | None) -> list[_File]:
    files: list[_File] = []
    async with AsyncClient(session=find_session()) as client:
        saver = _Saver(client, out)
        pages = _named(client, job_ids, files) if job_ids else _chosen(client, choice)
        async for jobs in pages:
            outputs = [(job, each) for job in jobs for each in job.outputs if not steps or each.step_id in steps]
            found = [_File(job.job_id, output.step_id, bytes=output.bytes) for job, output in outputs]
            files += found
            async with asyncio.TaskGroup() as group:
                for file, (_, output) in zip(found, outputs, strict=True):
                    group.create_task(saver.save(file, output))
            if any(file.error is not None and is_fatal_for_batch(file.error) for file in found):
                break
    return files


async def _chosen(client: AsyncClient, choice: JobChoice) -> AsyncIterator[list[Job]]:
    """Pages of the jobs; by default those that succeeded, because others have no outputs."""
    jobs = []
    conditions: dict[str, Any] = {"status": JobStatus.SUCCEEDED} | choice.conditions
    async for job in client.iter_jobs(**conditions, page_size=PAGE_SIZE):
        jobs.append(job)
        if len(jobs) == PAGE_SIZE:
            yield jobs
            jobs = []
    yield jobs


async def _named(client: AsyncClient, job_ids: Sequence[UUID], files: list[_File]) -> AsyncIterator[list[Job]]:
    """Pages of the jobs with these IDs. Adds those that can't be fetched to ``files``."""
    left = iter(dict.fromkeys(job_ids))
    while page := list(islice(left, PAGE_SIZE)):
        jobs = []
        for job_id in page:
            try:
                jobs.append(await client.get_job(job_id))
            except ClientError as error:
                files.append(_File(job_id, "", error=error))
                if is_fatal_for_batch(error):
                    return
        yield jobs


# ── Output ───────────────────────────────────────────────────────────────────────────────────────


def _print(files: Sequence[_File], *, as_json: bool) -> None:
    saved = [file for file in files if file.path is not None]
    if as_json:
        print_json({"files": [_file_json(file) for file in files]})
    elif new := [file for file in saved if not file.existed]:
        rows = table("File", "Size", right=("Size",))
        for file in new:
            rows.add_row(cell(file.path), cell(format_size(file.bytes)))
        print_table(rows)
    if existing := sum(file.existed for file in saved):
        echo(f"{existing} files were there already")
    if not files:
        echo("No job has such an output")
    for file in files:
        if file.error is not None:
            echo_client_error(file.error, f"{file.job_id} {file.step_id}".strip())


def _file_json(file: _File) -> dict[str, object]:
    return {
        "job_id": str(file.job_id),
        "step_id": file.step_id or None,
        "path": printable(file.path) if file.path else None,
        "result": file.result,
        "error": error_json(file.error) if file.error else None,
    }
