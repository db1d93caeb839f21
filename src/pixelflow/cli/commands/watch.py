"""``pixelflow jobs watch``: shows how jobs proceed, as it happens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from pixelflow.cli.credentials import find_session
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.output import cell, printable
from pixelflow.client import Client, JobEvent, JobFailedError
from pixelflow.contracts.jobs.states import JobStatus

MAX_ROWS = 20
"""Jobs that are shown at once: those that changed last."""
_STYLES: dict[str, str] = {JobStatus.SUCCEEDED: "green", JobStatus.FAILED: "red", JobStatus.PROCESSING: "yellow"}

Show = Callable[[JobEvent], None]


def watch(
    *,
    job_id: Annotated[
        UUID | None, typer.Argument(metavar="[JOB_ID]", help="Job to watch until it has finished. Default: all jobs.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON to stdout.")] = False,
) -> None:
    """Watch a job until it has finished, or all jobs until you press Ctrl+C."""
    with exit_on_error(), Client(session=find_session()) as client:
        with _json_lines() if as_json else _live_table() if sys.stdout.isatty() else _lines() as show:
            event = None
            for event in client.events(job_id):  # the last one is looked at below
                show(event)
        if event is not None and event.status in {JobStatus.FAILED, JobStatus.CANCELED} and event.type == "status":
            raise JobFailedError(client.get_job(event.job_id))


@contextmanager
def _json_lines() -> Iterator[Show]:
    def show(event: JobEvent) -> None:
        print(event.model_dump_json(), flush=True)

    yield show


@contextmanager
def _lines() -> Iterator[Show]:
    """A line for each event, for files and other programs."""

    def show(event: JobEvent) -> None:
        time = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        print(" ".join([time, str(event.job_id), *filter(None, _words(event))]), flush=True)

    yield show


@contextmanager
def _live_table() -> Iterator[Show]:
    """A table of the jobs that changed last, which is drawn again with each event."""
    latest: dict[UUID, JobEvent] = {}
    with Live(console=Console(highlight=False), auto_refresh=False, transient=False) as live:

        def show(event: JobEvent) -> None:
            latest.pop(event.job_id, None)
            latest[event.job_id] = event
            if len(latest) > MAX_ROWS:
                latest.pop(next(iter(latest)))
            live.update(_table(latest), refresh=True)

        yield show


def _table(latest: dict[UUID, JobEvent]) -> Table:
    rows = Table.grid(padding=(0, 2))
    for event in latest.values():
        status, stage, percent, note = _words(event)
        bar = "" if event.percent is None else ProgressBar(total=100, completed=event.percent, width=20)
        rows.add_row(cell(event.job_id), cell(status, _STYLES.get(status, "")), cell(stage), bar, percent, cell(note))
    return rows


def _words(event: JobEvent) -> tuple[str, str, str, str]:
    """The status, the stage, its percentage, and what else there is to say; each may be empty."""
    status = "erased" if event.type == "erased" else printable(event.status)
    attempt = f"attempt {event.attempts}" if event.attempts > 1 else ""
    error = f"{printable(event.error.message)} ({printable(event.error.code)})" if event.error else ""
    percent = "" if event.percent is None else f"{event.percent} %"
    return status, printable(event.stage or ""), percent, ", ".join(filter(None, [attempt, error]))
